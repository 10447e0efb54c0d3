"""Chat with a model in the terminal; its words are printed as they come."""

from __future__ import annotations

import contextlib
import sys
from dataclasses import replace
from pathlib import Path
from typing import TextIO

import torch
from transformers import PreTrainedModel, PreTrainedTokenizerBase
from transformers.generation import BaseStreamer

from models import template
from models.decoding import greedy_config, threads
from models.loading import context_of, device_of, has_bf16, load
from models.sampling import Sampling

EXIT, CLEAR = ("exit", "quit"), "clear"


def chat(
    folder: Path,
    message: str | None = None,
    *,
    temperature: float = 0.7,
    top_p: float = 0.9,
    max_new_tokens: int = 512,
    seed: int | None = None,
    device: str = "auto",
    out: TextIO | None = None,
) -> None:
    """Answer one `message`, or talk until `exit` or the end of input; `clear` forgets what was said. Ctrl-C ends an answer.

    `folder` is a model's, or a training stage's artifact. Temperature 0 is greedy. `ValueError` where the folder holds no model, or a
    message is longer than its context.
    """
    out = out or sys.stdout
    if seed is not None:
        torch.manual_seed(seed)
    talk = Conversation(*load(folder, device_of(device)), Sampling(max_new_tokens, temperature, top_p), out)
    if message is not None:
        talk.say(message)
        return
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
    """A conversation: the turns so far, and the model that takes the next one."""

    def __init__(self, model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, sampling: Sampling, out: TextIO):
        self.model = model.to(torch.bfloat16) if has_bf16(model.device) else model
        self.tokenizer, self.out = tokenizer, out
        self.context = context_of(model)
        self.sampling = replace(sampling, max_new_tokens=min(sampling.max_new_tokens, self.context // 2))
        self.turns: list[dict[str, str]] = []

    def say(self, message: str) -> str:
        """Take one turn: print the answer while it is written, remember both sides, and return it. Ctrl-C keeps what was said so far."""
        ids = self._fitting({"role": "user", "content": message})
        printer = TokenPrinter(self.tokenizer, self.out)
        with contextlib.suppress(KeyboardInterrupt):
            self._generate(ids, printer)
        print(file=self.out, flush=True)
        self.turns.append({"role": "assistant", "content": printer.text})
        return printer.text

    def _fitting(self, turn: dict[str, str]) -> list[int]:
        """The ids of the prompt that ends with this turn. Where the conversation outgrows the context, it loses its oldest exchanges."""
        turns = [*self.turns, turn]
        room = self.context - self.sampling.max_new_tokens
        while len(ids := template.prompt(self.tokenizer, turns)) > room:
            if len(turns) == 1:
                raise ValueError(f"the message has {len(ids)} tokens, and the model reads {room} beside its answer; shorten it")
            del turns[:2]
        self.turns = turns
        return ids

    def _generate(self, ids: list[int], printer: TokenPrinter) -> None:
        prompt = torch.tensor([ids], device=self.model.device)
        config = greedy_config(self.tokenizer, self.sampling)
        with torch.inference_mode(), threads(self.model, 1):
            self.model.generate(
                prompt,
                attention_mask=torch.ones_like(prompt),
                generation_config=config,
                logits_processor=self.sampling.processors(),
                streamer=printer,
            )


class TokenPrinter(BaseStreamer):
    """A streamer that prints tokens as text while they come.

    A token may end inside a character (one of Chinese has three bytes), which then waits for the rest of its bytes.
    """

    def __init__(self, tokenizer: PreTrainedTokenizerBase, out: TextIO):
        self.tokenizer, self.out = tokenizer, out
        self.ids: list[int] = []
        self.text = ""
        self.prompt = True  # the first thing that `generate` reports is the prompt

    def put(self, value: torch.Tensor) -> None:
        if self.prompt:
            self.prompt = False
            return
        self.ids += value.flatten().tolist()
        whole = self.tokenizer.decode(self.ids, skip_special_tokens=True).rstrip("\ufffd")
        if len(whole) > len(self.text):
            print(whole[len(self.text) :], end="", file=self.out, flush=True)
            self.text = whole

    def end(self) -> None:
        """The end of an answer. Bytes that never became a character are not printed."""
