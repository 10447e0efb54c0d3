"""The cache of a running batch: a row for each answer, and rows come and go while the others stand still.

Rows of keys and values end in the same column, as in a batch that is padded on the left: a step then writes one column for all of them, and
an attention that knows relative positions alone (T5's) is right for every row. What stands left of a row's beginning is masked.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from transformers import Cache, EncoderDecoderCache
from transformers.cache_utils import DynamicLayer

from models.architectures.retnet.cache import RetentionState, RetNetCache

SPARE = 128  # columns made beyond those in use


class Columns:
    """The columns that the rows take up, the same in all layers."""

    def __init__(self) -> None:
        self.starts: list[int] = []  # of each row, its first column
        self.end = 0  # behind the last column of all rows
        self.room = 0  # columns there are

    @property
    def start(self) -> int:
        """The first column that a row needs."""
        return min(self.starts, default=self.end)


class GrowingRows(DynamicLayer):
    """The keys and values of one layer's self-attention, (rows, heads, columns, head size)."""

    def __init__(self, columns: Columns):
        super().__init__()
        self.columns = columns
        self.is_initialized = True
        self.stored: tuple[Tensor, Tensor] | None = None

    def update(self, key_states: Tensor, value_states: Tensor, *args: Any, **kwargs: Any) -> tuple[Tensor, Tensor]:
        """Write the keys and values (rows, heads, 1, head size) of a step into the next column; returns all that a row may need."""
        assert self.stored is not None
        rows, start, end = len(key_states), self.columns.start, self.columns.end
        for stored, new in zip(self.stored, (key_states, value_states), strict=True):
            stored[:rows, :, end] = new[:, :, 0]
        keys, values = self.stored
        return keys[:rows, :, start : end + 1], values[:rows, :, start : end + 1]

    def get_seq_length(self) -> int:
        return self.columns.end - self.columns.start

    def get_mask_sizes(self, query_length: int) -> tuple[int, int]:
        return self.get_seq_length() + query_length, 0

    def resized(self, source: Any, rows: int, end: int, room: int) -> tuple[Tensor, Tensor]:
        """Storage of so many rows and columns, in which the columns in use end at `end`; of the shape of `source` at first."""
        old, used = self.stored, len(self.columns.starts)
        size = self.columns.end - self.columns.start
        made = []
        for number, like in enumerate(old or (source.keys, source.values)):
            new = like.new_zeros(rows, like.shape[1], room, like.shape[3])  # what is masked must still be a number
            if old is not None and used:
                new[:used, :, end - size : end] = old[number][:used, :, self.columns.start : self.columns.end]
            made.append(new)
        return made[0], made[1]

    def put(self, rows: slice, source: DynamicLayer, row: int, length: int, shared: int = 0) -> None:
        """Copy the first `shared` and the last columns of a row of `source`, together `length`, into these rows."""
        assert self.stored is not None
        end, own = self.columns.end, length - shared
        for stored, new in zip(self.stored, (source.keys, source.values), strict=True):
            if shared:
                stored[rows, :, end - length : end - own] = new[row, :, :shared]
            stored[rows, :, end - own : end] = new[row, :, new.shape[2] - own :]

    def copy(self, sources: Tensor, targets: Tensor) -> None:
        """Make rows what others are; all are read before one is written."""
        assert self.stored is not None
        used = slice(self.columns.start, self.columns.end)
        for stored in self.stored:
            stored[targets, :, used] = stored[sources, :, used]


class PromptRows(DynamicLayer):
    """The keys and values of one layer's attention to the prompt (of an encoder-decoder), which begin in the first column and do not grow."""

    def __init__(self) -> None:
        super().__init__()
        self.is_initialized = True
        self.stored: tuple[Tensor, Tensor] | None = None

    def get_seq_length(self) -> int:
        return 0 if self.keys is None else self.keys.shape[2]

    def resized(self, source: Any, rows: int, room: int, used: int) -> tuple[Tensor, Tensor]:
        """Storage of so many rows and columns, the first `used` rows as they are."""
        made = []
        for number, like in enumerate(self.stored or (source.keys, source.values)):
            new = like.new_zeros(rows, like.shape[1], room, like.shape[3])
            if self.stored is not None and used:
                width = min(room, self.stored[number].shape[2])
                new[:used, :, :width] = self.stored[number][:used, :, :width]
            made.append(new)
        return made[0], made[1]

    def put(self, rows: slice, source: DynamicLayer, row: int, length: int) -> None:
        """Copy the last columns of a row of `source` into these rows."""
        assert self.stored is not None
        for stored, new in zip(self.stored, (source.keys, source.values), strict=True):
            stored[rows, :, :length] = new[row, :, new.shape[2] - length :]

    def copy(self, sources: Tensor, targets: Tensor) -> None:
        """Make rows what others are."""
        assert self.stored is not None
        for stored in self.stored:
            stored[targets] = stored[sources]

    def show(self, rows: int, columns: int) -> None:
        """Make `keys` and `values`, which the model reads, those of the rows and columns in use."""
        assert self.stored is not None
        self.keys, self.values = (stored[:rows, :, :columns] for stored in self.stored)


class Rows:
    """The rows of a running batch, in what the model takes for its cache."""

    def __init__(self) -> None:
        self.columns = Columns()
        self.count = 0
        self.prompts: list[int] = []  # of an encoder-decoder, the length of each row's prompt
        self.cache: Any = None

    def join(self, source: Any, row: int, length: int, copies: int = 1, shared: int = 0) -> list[int]:
        """Take a row of a cache in, as often as asked; returns the numbers of the new rows. `length`: the tokens of its prompt, which are the
        first `shared` and the last of those in the cache."""
        rows = slice(self.count, self.count + copies)
        if isinstance(source, RetNetCache):
            self._join_states(source, row, length, copies)
        elif isinstance(source, EncoderDecoderCache):
            if self.cache is None:
                self.cache = _encoder_decoder_cache(len(source.self_attention_cache.layers), self.columns)
            self._join_growing(self.cache.self_attention_cache, source.self_attention_cache, rows, row, 1)
            self._join_prompt(self.cache.cross_attention_cache, source.cross_attention_cache, rows, row, length)
        else:
            if self.cache is None:
                self.cache = Cache(layers=[GrowingRows(self.columns) for _ in source.layers])
            self._join_growing(self.cache, source, rows, row, length, shared)
        self.count += copies
        return list(range(rows.start, rows.stop))

    def _join_growing(self, cache: Cache, source: Cache, rows: slice, row: int, length: int, shared: int = 0) -> None:
        columns, stored = self.columns, cache.layers[0].stored
        room = 0 if stored is None else len(stored[0])
        if length > columns.end or rows.stop > room:
            self._resize(cache, source, power_of_two(rows.stop), max(length, columns.end - columns.start))
        for layer, one in zip(cache.layers, source.layers, strict=True):
            layer.put(rows, one, row, length, shared)
        columns.starts += [columns.end - length] * (rows.stop - rows.start)

    def _resize(self, cache: Cache, source: Cache | None, rows: int, end: int) -> None:
        columns = self.columns
        made = [
            layer.resized(source and source.layers[number], rows, end, end + SPARE) for number, layer in enumerate(cache.layers)
        ]
        for layer, stored in zip(cache.layers, made, strict=True):  # once there was memory for all
            layer.stored = stored
        columns.starts = [start + end - columns.end for start in columns.starts]
        columns.end, columns.room = end, end + SPARE

    def _join_prompt(self, cache: Cache, source: Cache, rows: slice, row: int, length: int) -> None:
        stored = cache.layers[0].stored
        room = (0, 0) if stored is None else (stored[0].shape[0], stored[0].shape[2])
        if rows.stop > room[0] or length > room[1]:
            for layer, one in zip(cache.layers, source.layers, strict=True):
                layer.stored = layer.resized(one, power_of_two(rows.stop), max(length, *self.prompts, 1), self.count)
        for layer, one in zip(cache.layers, source.layers, strict=True):
            layer.put(rows, one, row, length)
        self.prompts += [length] * (rows.stop - rows.start)

    def _join_states(self, source: RetNetCache, row: int, length: int, copies: int) -> None:
        if self.cache is None:
            self.cache = RetNetCache(len(source.layers))
        for layer, one in zip(self.cache.layers, source.layers, strict=True):
            new = one.state[row : row + 1].expand(copies, *one.state.shape[1:])
            layer.state = new.clone() if layer.state is None else torch.cat([layer.state, new])
            layer.is_initialized = True
        self.columns.starts += [self.columns.end - length] * copies

    def copy(self, sources: Sequence[int], targets: Sequence[int]) -> None:
        """Make rows what others are; all are read before one is written."""
        changes = [(source, target) for source, target in zip(sources, targets, strict=True) if source != target]
        if not changes:
            return
        starts, prompts = list(self.columns.starts), list(self.prompts)
        for source, target in changes:
            self.columns.starts[target] = starts[source]
            if prompts:
                self.prompts[target] = prompts[source]
        for layer in self._layers():
            if isinstance(layer, RetentionState):
                assert layer.state is not None
                read, written = (torch.tensor(side, device=layer.state.device) for side in zip(*changes, strict=True))
                layer.state[written] = layer.state[read]
            else:
                device = layer.stored[0].device
                read, written = (torch.tensor(side, device=device) for side in zip(*changes, strict=True))
                layer.copy(read, written)

    def cut(self, count: int) -> None:
        """Keep the first rows alone. With none left, all memory is given back."""
        self.count = count
        del self.columns.starts[count:], self.prompts[count:]
        if not count:
            self.cache, self.columns = None, Columns()
            return
        for layer in self._layers():
            if isinstance(layer, RetentionState):
                assert layer.state is not None
                layer.state = layer.state[:count]

    def _layers(self) -> list[Any]:
        if isinstance(self.cache, EncoderDecoderCache):
            return [*self.cache.self_attention_cache.layers, *self.cache.cross_attention_cache.layers]
        return list(self.cache.layers)

    @property
    def held(self) -> int:
        """Bytes that all rows hold, those without an answer among them."""
        if self.cache is None:
            return 0
        return sum(one.nbytes for layer in self._layers() for one in _tensors(layer))

    def prepare(self) -> None:
        """Make room for a step."""
        columns = self.columns
        cache = self.cache.self_attention_cache if isinstance(self.cache, EncoderDecoderCache) else self.cache
        if isinstance(cache, RetNetCache):
            return
        if columns.end == columns.room:
            self._resize(cache, None, power_of_two(self.count), columns.end - columns.start)
        if isinstance(self.cache, EncoderDecoderCache):
            for layer in self.cache.cross_attention_cache.layers:
                layer.show(self.count, max(self.prompts))

    def advance(self) -> None:
        """Note that a step was made."""
        self.columns.end += 1


def _encoder_decoder_cache(layers: int, columns: Columns) -> EncoderDecoderCache:
    cache = EncoderDecoderCache(
        Cache(layers=[GrowingRows(columns) for _ in range(layers)]), Cache(layers=[PromptRows() for _ in range(layers)])
    )
    cache.is_updated = dict.fromkeys(range(layers), True)  # the prompt's keys and values are there from the beginning
    return cache


def power_of_two(count: int) -> int:
    """The least power of two that is no less."""
    return 1 << (count - 1).bit_length()


def _tensors(layer: Any) -> Sequence[Tensor]:
    return [layer.state] if isinstance(layer, RetentionState) else layer.stored or ()
