"""Chat with a model in the terminal; its words are printed as they come."""

from __future__ import annotations

import random
import sys
from dataclasses import replace
from pathlib import Path
from typing import TextIO

from models import template
from models.engines.own import OwnEngine
from models.engines.searches import CANDIDATES
from models.engines.settings import DecodingSettings
from models.engines.text_stream import TextStream

EXIT, CLEAR = ("exit", "quit"), "clear"
USUAL = DecodingSettings(512, temperature=0.7, top_p=0.9)


def chat(
    folder: Path,
    message: str | None = None,
    *,
    settings: DecodingSettings = USUAL,
    system: str = "",
    seed: int | None = None,
    device: str = "auto",
    out: TextIO | None = None,
) -> None:
    """Answer one `message`, or talk until `exit` or the end of input; `clear` forgets what was said. Ctrl-C ends an answer.

    `folder` is a model's, or a training stage's artifact. `system` opens the conversation, and is never forgotten. `ValueError` where the
    folder holds no model, for settings out of their ranges, and for a message that is longer than the model's context.
    """
    out = out or sys.stdout
    width = max(settings.beams, (settings.top_k or CANDIDATES) if settings.contrastive_alpha else 1)
    engine = OwnEngine(folder, device, slots=width)
    try:
        talk = Conversation(engine, settings, out, system, seed)
        if message is not None:
            talk.say(message)
        else:
            _talk(talk, out)
    finally:
        engine.close()


def _talk(talk: Conversation, out: TextIO) -> None:
    print(f"Type a message; `{CLEAR}` forgets the conversation, `{EXIT[0]}` ends it", file=out)
    while True:
        try:
            line = input("> ").strip()
        except (EOFError, KeyboardInterrupt):
            print(file=out)
            return
        if line in EXIT:
            return
        if line == CLEAR:
            talk.turns.clear()
            print("(forgotten)", file=out)
        elif line:
            try:
                talk.say(line)
            except ValueError as mistake:
                print(mistake, file=out)


class Conversation:
    """A conversation: the turns so far, and the engine that takes the next one."""

    def __init__(self, engine: OwnEngine, settings: DecodingSettings, out: TextIO, system: str = "", seed: int | None = None):
        self.engine, self.tokenizer, self.out = engine, engine.tokenizer, out
        self.settings = replace(settings, max_new_tokens=min(settings.max_new_tokens, engine.context // 2))
        self.opening = [{"role": "system", "content": system}] if system else []
        self.turns: list[dict[str, str]] = []
        self.seeds = random.Random(seed)  # None: others each time

    def say(self, message: str) -> str:
        """Take one turn: print the answer while it is written, remember both sides, and return it. Ctrl-C keeps what was said so far."""
        ids = self._fitting({"role": "user", "content": message})
        text = TextStream(self.tokenizer, self.settings.stop)
        answer = self.engine.submit(ids, self.settings, self.seeds.getrandbits(32))
        try:
            for token in answer:
                print(text.put(token.id), end="", file=self.out, flush=True)
        except KeyboardInterrupt:
            answer.cancel()
        print(text.finish(), file=self.out, flush=True)
        self.turns.append({"role": "assistant", "content": text.text})
        return text.text

    def _fitting(self, turn: dict[str, str]) -> list[int]:
        """The ids of the prompt that ends with this turn. Where the conversation outgrows the context, it loses its oldest exchanges."""
        turns = [*self.turns, turn]
        room = self.engine.context - self.settings.max_new_tokens
        while len(ids := template.prompt(self.tokenizer, [*self.opening, *turns])) > room:
            if len(turns) == 1:
                raise ValueError(f"the message has {len(ids)} tokens, and the model reads {room} beside its answer; shorten it")
            del turns[:2]
        self.turns = turns
        return ids
