"""Continuous batching of many prompts: answers that end make room for the next prompts between two steps (Yu et al., Orca, OSDI 2022), by the
rows of the serving engine, without its requests.

A row's random numbers are its own, so an answer does not depend on what stands beside it, but for rounding.
"""

from __future__ import annotations

import inspect
import random
from collections.abc import Callable, Collection, Sequence
from typing import Any

import torch
from torch import Tensor
from transformers import PreTrainedModel
from transformers.cache_utils import DynamicLayer

from models.architectures.retnet.cache import RetentionState
from models.engines.batch import Prefix, Reading, Steps, new_cache
from models.sampling import Sampling, nucleus

# tokens of prompts read at once: a CPU is fastest where its caches hold them
READ = {"cpu": 1024, "mps": 8192, "cuda": 16_384}
LEAST = 16  # tokens from which a common beginning is worth a reading of its own


def is_supported(model: PreTrainedModel) -> bool:
    """True for a model whose cache can be cut into rows, and that takes a mask and positions for each of them."""
    if model.config._attn_implementation not in ("sdpa", "eager"):
        return False
    if model.config.is_encoder_decoder:  # with relative positions alone
        return model.config.model_type in ("t5", "mt5")
    if not {"position_ids", "logits_to_keep"} <= inspect.signature(model.forward).parameters.keys():
        return False
    return {type(layer) for layer in new_cache(model).layers} <= {DynamicLayer, RetentionState}


def shared(model: PreTrainedModel, prompts: Sequence[Sequence[int]]) -> Prefix | None:
    """The beginning that all prompts have in common, read, where it is long enough and the model reads from left to right."""
    if len(prompts) < 2 or model.config.is_encoder_decoder:
        return None
    first, last = min(map(list, prompts)), max(map(list, prompts))
    most = min(map(len, prompts)) - 1  # a token is left to read
    length = next((place for place in range(most) if first[place] != last[place]), most)
    return Prefix(model, first[:length]) if length >= LEAST else None


class ContinuousBatch:
    """Answers under way, a row each, and the prompts that wait for a row."""

    def __init__(self, model: PreTrainedModel, prompts: Sequence[Sequence[int]], slots: int):
        self.model, self.prompts, self.slots = model, prompts, slots
        self.steps = Steps(model)
        self.waiting = sorted(
            range(len(prompts)), key=lambda row: (len(prompts[row]), -row)
        )  # the longest is taken first, from the end
        self.prefix = shared(model, prompts)
        self.rows: list[int] = []  # row → the number of its prompt
        self.written: list[list[int]] = [[] for _ in prompts]

    def write(
        self, sampling: Sampling, stops: Collection[int], seeds: Sequence[int], done: Callable[[int], Any] | None = None
    ) -> list[list[int]]:
        """The tokens after each prompt, to its stop token or to the limit. `done` is told the number of finished answers now and then."""
        draws = [random.Random(seed) for seed in seeds] if sampling.temperature > 0 else []

        def take(logits: Tensor, numbers: Sequence[int]) -> list[bool]:
            """Add a token to each of these answers; True for those that go on."""
            if draws:
                points = [[draws[number].getrandbits(24) / (1 << 24) for _ in range(2)] for number in numbers]
                drawn = nucleus(logits, sampling.temperature, sampling.top_p, torch.tensor(points, device=logits.device))
                tokens = drawn[:, 0].tolist()
            else:
                tokens = logits.float().argmax(1).tolist()
            for number, token in zip(numbers, tokens, strict=True):
                self.written[number].append(token)
            return [
                token not in stops and len(self.written[number]) < sampling.max_new_tokens
                for number, token in zip(numbers, tokens, strict=True)
            ]

        while self.waiting or self.rows:
            while self.waiting and self._has_room():
                self._read(take)
            while self.rows and not (self.waiting and self._has_room()):
                going = take(self.steps.next([self.written[number][-1] for number in self.rows]), self.rows)
                self._leave(going)
            if done:
                done(len(self.prompts) - len(self.waiting) - len(self.rows))
        return self.written

    def _has_room(self) -> bool:
        """True where enough rows are free that reading prompts into them is worth a pass of the model."""
        free = self.slots - len(self.rows)
        return free >= min(len(self.waiting), max(1, self.slots // 4))

    def _read(self, take: Callable[[Tensor, Sequence[int]], list[bool]]) -> None:
        """Read the longest prompts that wait; those whose answer goes on behind its first token join the batch."""
        start = len(self.prefix.ids) if self.prefix else 0
        chunk = READ[self.model.device.type]
        count = max(1, min(self.slots - len(self.rows), chunk // (len(self.prompts[self.waiting[-1]]) - start)))
        numbers = self.waiting[-count:][::-1]
        del self.waiting[-count:]
        reading = Reading(self.model, [self.prompts[number][start:] for number in numbers], chunk=chunk, prefix=self.prefix)
        while not reading.advance():
            pass
        assert reading.logits is not None
        for row, (number, goes) in enumerate(zip(numbers, take(reading.logits, numbers), strict=True)):
            if goes:
                self.steps.rows.join(reading.cache, row, len(self.prompts[number]), shared=start)
                self.rows.append(number)

    def _leave(self, going: Sequence[bool]) -> None:
        """Take the rows of ended answers out of the batch; the last rows take their places."""
        count = sum(going)
        if count == len(self.rows):
            return
        free = [row for row in range(count) if not going[row]]
        moved = [row for row in range(count, len(self.rows)) if going[row]]
        if count:
            self.steps.rows.copy(moved, free)
        for source, target in zip(moved, free, strict=True):
            self.rows[target] = self.rows[source]
        del self.rows[count:]
        self.steps.rows.cut(count)
