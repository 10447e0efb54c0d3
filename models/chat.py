"""A talk with a model: its turns, its memory, and answers that are printed while they are written."""

from __future__ import annotations

import random
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TextIO

from models import template
from models.engines.own import OwnEngine
from models.engines.searches import CANDIDATES
from models.engines.settings import DecodingSettings
from models.engines.text_stream import TextStream

EXIT, CLEAR = ("exit", "quit", "/bye"), ("clear", "/clear")
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
    verbose: bool = False,
    ready: Callable[[], None] = lambda: None,
) -> None:
    """Answer one `message`, or each line of the input until `exit` or its end; `clear` forgets what was said.

    `folder` is a model's, or a training stage's artifact. `system` opens the conversation, and is never forgotten. `verbose` tells the speed
    of each answer on standard error; `ready` is called once the model is loaded. `ValueError` where the folder holds no model, for settings
    out of their ranges, and for a message that is longer than the model's context.
    """
    out = out or sys.stdout
    width = max(settings.beams, (settings.top_k or CANDIDATES) if settings.contrastive_alpha else 1)
    engine = OwnEngine(folder, device, slots=width)
    ready()
    try:
        talk = Conversation(engine, settings, out, system, seed)
        if message is not None:
            talk.say(readable(message))
            _tell(talk, verbose)
        else:
            _talk(talk, out, verbose)
    finally:
        engine.close()


def _talk(talk: Conversation, out: TextIO, verbose: bool) -> None:
    print(f"Type a message; `{CLEAR[0]}` forgets the conversation, `{EXIT[0]}` ends it", file=out)
    while True:
        try:
            line = readable(input("> ")).strip()
        except (EOFError, KeyboardInterrupt):
            print(file=out)
            return
        if line in EXIT:
            return
        if line in CLEAR:
            talk.clear()
            print("(forgotten)", file=out)
        elif line:
            try:
                talk.say(line)
                _tell(talk, verbose)
            except ValueError as mistake:
                print(mistake, file=out)


def _tell(talk: Conversation, verbose: bool) -> None:
    """Tell on standard error what was forgotten for the last answer, and its speed."""
    for line in (talk.forgotten, talk.speed.told if verbose and talk.speed else ""):
        if line:
            print(f"({line})", file=sys.stderr)


def readable(text: str) -> str:
    """A text without what is not part of any character: bytes that were no UTF-8, halves of surrogate pairs."""
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "ignore")


@dataclass(frozen=True)
class Speed:
    """The tokens of a prompt and of its answer, and the seconds until the first and the last of the answer's."""

    prompt: int
    answer: int
    first: float
    last: float

    @property
    def told(self) -> str:
        """`41 tokens in 0.9 s, 45.6 tokens/s; prompt of 23 tokens, first token after 0.1 s`"""
        rate = self.answer / self.last if self.last else 0.0
        return (
            f"{self.answer:,} tokens in {self.last:.1f} s, {rate:.1f} tokens/s; prompt of {self.prompt:,} tokens, first token after "
            f"{self.first:.2f} s"
        )


class Conversation:
    """A conversation: the turns so far, and the engine that takes the next one."""

    def __init__(self, engine: OwnEngine, settings: DecodingSettings, out: TextIO, system: str = "", seed: int | None = None):
        self.engine, self.tokenizer, self.out = engine, engine.tokenizer, out
        self.change(settings)
        self.instruct(system)
        self.turns: list[dict[str, str]] = []
        self.draw_from(seed)
        self.forgotten = ""  # for the last answer, in words; empty where all was remembered
        self.speed: Speed | None = None  # of the last answer

    def change(self, settings: DecodingSettings) -> None:
        """Take other settings from the next answer on. At most half of the context is an answer's."""
        self.settings = replace(settings, max_new_tokens=min(settings.max_new_tokens, max(1, self.engine.context // 2)))

    def instruct(self, system: str) -> None:
        """Open the conversation with a system message from now on; with none where it is empty."""
        self.opening = [{"role": "system", "content": system}] if system else []

    def draw_from(self, seed: int | None) -> None:
        """Draw from a seed from now on; None: another each time."""
        self.seed, self.seeds = seed, random.Random(seed)

    def clear(self) -> None:
        """Forget all turns; the system message stays."""
        self.turns.clear()

    def say(self, message: str) -> str:
        """Take one turn: print the answer while it is written, remember both sides, and return it. Ctrl-C keeps what was said so far."""
        before = len(self.turns)
        ids = self._fitting({"role": "user", "content": message})
        lost = before + 1 - len(self.turns)
        self.forgotten = (
            f"the conversation is longer than the {self.engine.context:,} tokens that the model reads: its {lost} oldest messages are "
            "forgotten"
            if lost
            else ""
        )
        return self._answer(ids)

    def regenerate(self) -> str:
        """Answer the last message again. `ValueError` where nothing was said yet."""
        said = [turn["content"] for turn in self.turns if turn["role"] == "user"]
        if not said:
            raise ValueError("nothing was said yet; type a message first")
        while self.turns.pop()["role"] != "user":
            pass
        return self.say(said[-1])

    def _answer(self, ids: list[int]) -> str:
        text = TextStream(self.tokenizer, self.settings.stop)
        began, first, tokens = time.monotonic(), 0.0, 0
        answer = self.engine.submit(ids, self.settings, self.seeds.getrandbits(32))
        try:
            for token in answer:
                tokens, first = tokens + 1, first or time.monotonic() - began
                print(text.put(token.id), end="", file=self.out, flush=True)
        except KeyboardInterrupt:
            answer.cancel()
        self.speed = Speed(len(ids), tokens, first, time.monotonic() - began)
        print(text.finish(), file=self.out, flush=True)
        self.turns.append({"role": "assistant", "content": text.text})
        return text.text

    def _fitting(self, turn: dict[str, str]) -> list[int]:
        """The ids of the prompt that ends with this turn. Where the conversation outgrows the context, it loses its oldest exchanges."""
        turns = [*self.turns, turn]
        room = self.engine.context - self.settings.max_new_tokens
        while len(ids := template.prompt(self.tokenizer, [*self.opening, *turns])) > room:
            if len(turns) == 1:
                raise ValueError(self._too_long(len(ids), len(template.prompt(self.tokenizer, turns)), room))
            del turns[:2]
        self.turns = turns
        return ids

    def _too_long(self, tokens: int, alone: int, room: int) -> str:
        """The mistake of a prompt without room, in words. Of its tokens the last message takes `alone`, and the system message the rest."""
        reads = f"and the model reads {room} beside its answer"
        if alone > room:
            return f"the message has {alone} tokens, {reads}; shorten it"
        longer = "message" if alone >= tokens - alone else "system message"
        return f"the system message takes {tokens - alone} tokens and the message {alone}, {reads}; shorten the {longer}"
