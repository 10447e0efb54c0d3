"""Serving engines: what takes requests as token ids, and gives back tokens as they are made."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from typing import Protocol

from transformers import PreTrainedTokenizerBase

from models.engines.settings import DecodingSettings


class QueueFull(Exception):
    """The refusal of a request because too many wait; it may be sent again later."""


class ContextExceeded(ValueError):
    """The refusal of a prompt that leaves no room for an answer in the model's context."""


@dataclass(frozen=True)
class Token:
    """A token of an answer."""

    id: int
    logprob: float | None = None  # natural logarithm of its probability before temperature and penalties
    alternatives: tuple[tuple[int, float], ...] = ()  # the likeliest tokens and their log-probabilities, the likeliest first


class Generation(Protocol):
    """An answer under way: its tokens come as they are made, its stop token does not."""

    def __aiter__(self) -> AsyncIterator[Token]:
        """The tokens; raises what went wrong in the engine."""
        ...

    @property
    def end(self) -> str:
        """The reason of its end: `stop` for an answer that ended by itself, `length` for one that was cut off; empty while it goes on."""
        ...

    def cancel(self) -> None:
        """Free its place in the engine; safe at any time and from any thread."""
        ...


class ServingEngine(Protocol):
    """A loaded model that answers many requests at once."""

    tokenizer: PreTrainedTokenizerBase
    context: int  # tokens of a prompt and its answer together
    name: str  # of the engine, with its version
    slots: int  # answers made at once
    queue: int  # answers that may wait beside them

    def submit(self, ids: Sequence[int], settings: DecodingSettings, seed: int, adapter: str = "") -> Generation:
        """Queue a prompt (token ids). The same ids, settings and seed give the same tokens, whatever else is in the batch. `QueueFull`,
        `ContextExceeded`, and `ValueError` for settings that this engine has not."""
        ...

    def load(self) -> tuple[int, int]:
        """The numbers of requests (running, waiting)."""
        ...

    def close(self) -> None:
        """End what runs and free the model."""
        ...
