"""Memory for answers under way: what the cache of a running batch takes, and how much of it there may be.

A row of keys and values grows with its answer, so an answer is let in by what it may need at its end. While the rows are made longer, the old
ones and the new ones are there at once.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from transformers import EncoderDecoderCache

from models.architectures.retnet.cache import RetNetCache
from models.engines.batch import Batch, Reading
from models.engines.row_cache import SPARE, power_of_two

SHARE = 0.8  # of the memory that is free once the model is loaded; the rest is for what a step works with
GROUPS = Path("/sys/fs/cgroup")  # where a container says how much memory it may take


@dataclass(frozen=True)
class Memory:
    """Memory that the answers of an engine may take: so many bytes, or where that is 0 a share of what is free once its model is loaded."""

    size: int = 0
    share: float = SHARE

    def on(self, device: torch.device) -> int:
        """Bytes of it on a device."""
        return self.size or int(self.share * free(device))


@dataclass(frozen=True)
class RowSize:
    """Bytes of a row of the cache."""

    state: int = 0  # whatever its length
    prompt: int = 0  # for each token of the prompt, where that is kept apart
    column: int = 0  # for each token

    def of(self, answers: Iterable[tuple[int, int, int]]) -> int:
        """Bytes of a batch of answers at their ends: (rows, tokens of the prompt, most tokens of a row) of each."""
        rows, prompts, lengths = zip(*answers, strict=True)
        each = self.state + self.prompt * max(prompts) + self.column * (max(lengths) + SPARE)
        return power_of_two(sum(rows)) * each


def row_size(batch: Batch) -> RowSize:
    """The size of a row, measured on a prompt of two tokens."""
    reading = Reading(batch.model, [[0, 0]], [""])
    with torch.inference_mode():
        batch.read(reading)
    cache = reading.cache
    if isinstance(cache, RetNetCache):
        return RowSize(state=sum(layer.state.nbytes for layer in cache.layers))
    if isinstance(cache, EncoderDecoderCache):
        return RowSize(prompt=_column(cache.cross_attention_cache), column=_column(cache.self_attention_cache))
    return RowSize(column=_column(cache))


def _column(cache: Any) -> int:
    return sum((layer.keys.nbytes + layer.values.nbytes) // layer.keys.shape[2] for layer in cache.layers)


def free(device: torch.device) -> int:
    """Bytes that can be taken on a device now; on a CPU as many as the machine and the container leave."""
    if device.type == "cuda":
        return torch.cuda.mem_get_info(device)[0]
    here = _free_here()
    try:
        most, used = (int((GROUPS / name).read_text()) for name in ("memory.max", "memory.current"))
        counts = dict(line.split() for line in (GROUPS / "memory.stat").read_text().splitlines())
    except (OSError, ValueError):  # no container, or one without a limit ("max")
        return here
    return min(here, most - used + int(counts.get("inactive_file", 0)))  # files that were read are let go


def _free_here() -> int:
    """Bytes that Linux says can be taken without swapping; of another system half of its memory."""
    try:
        lines = dict(line.split(":", 1) for line in Path("/proc/meminfo").read_text().splitlines())
        return int(lines["MemAvailable"].split()[0]) * 1024
    except (OSError, KeyError):
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // 2


def in_words(size: float) -> str:
    """Bytes for people."""
    return f"{size / 1e9:.2f} GB" if size >= 1e7 else f"{size / 1e6:.2f} MB"
