"""Training data: packed documents, conversations and preference pairs as data sets, their batches, and the order of samples.

All data sets are map-style, and the order is a pure function of (seed, global sample index). So a run that is killed and resumed at any step, on
any number of processes, sees the same batches.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import pairwise, takewhile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch.utils.data import Dataset, Sampler

from models import packing, template
from models.losses import IGNORE

if TYPE_CHECKING:
    import datasets
    from transformers import PreTrainedTokenizerBase

ROWS = 1000  # tokenised in one call
BLOCK = 64  # batches sorted by length together, at most: long enough for little padding, short enough that neighbours differ from pass to pass


def sample_order(rows: int, samples: int, seed: int, *, batch: int = 1, lengths: np.ndarray | None = None) -> np.ndarray:
    """The row of each sample of a run, (samples,): one permutation of the rows after the other, as many as it takes. A longer run begins
    as a shorter one.

    With `lengths` (rows,), rows of like length share a batch and little is padded: the batches that begin in one pass make blocks of at
    most 64, alike in size; each is sorted by length, cut into batches, and these come in random order. A block keeps to its pass, but for
    the batch that reaches into the next one: were passes sorted together, a batch of few rows would hold the same one again and again.
    """
    passes = -(-samples // rows)
    ahead = 0 if lengths is None else -(-batch // rows)  # where the last batch ends
    drawers = [np.random.default_rng([seed, number]) for number in range(passes + ahead)]
    drawn = np.concatenate([drawer.permutation(rows) for drawer in drawers])
    if lengths is not None:
        firsts = [-(-number * rows // batch) for number in range(passes + 1)]  # batch that each pass begins with
        for drawer, first, last in zip(drawers[:passes], firsts[:-1], firsts[1:], strict=True):
            edges = np.linspace(first, last, 1 - (first - last) // BLOCK, dtype=np.int64) * batch
            for start, end in pairwise(edges.tolist()):
                block = drawn[start:end]
                batches = block[np.argsort(lengths[block], kind="stable")].reshape(-1, batch)
                drawn[start:end] = drawer.permutation(batches).ravel()
    return drawn[:samples]


def validation_rows(lengths: np.ndarray, tokens: int) -> np.ndarray:
    """The rows that a validation reads, of those with these lengths (rows,), the longest first: as many as `tokens` allow, one at least if
    there is one.

    They are drawn, since a split holds one source after the other, and by one seed whatever the run's, so that losses of runs compare.
    """
    drawn = np.random.default_rng(0).permutation(len(lengths))
    number = max(1, int((np.cumsum(lengths[drawn]) <= tokens).sum()))
    return drawn[:number][np.argsort(-lengths[drawn[:number]], kind="stable")]


class OrderSampler(Sampler[int]):
    """A DataLoader's sampler of row numbers in a given order."""

    def __init__(self, rows: np.ndarray):
        self.rows = rows

    def __len__(self) -> int:
        return len(self.rows)

    def __iter__(self) -> Iterator[int]:
        return map(int, self.rows)


def load_packed(folder: Path, split: str) -> tuple[np.ndarray, np.ndarray, dict[str, Any]]:
    """The tokens of one split of a packed corpus, (tokens,), mapped into memory; the offsets of its parts, and last that of the end,
    (parts + 1,); and the content of `pack.json`."""
    packed = json.loads((folder / "pack.json").read_text("utf-8"))
    path = folder / f"{split}.bin"
    empty = path.stat().st_size == 0  # which cannot be mapped
    dtype = np.dtype(packed["dtype"]).newbyteorder("<")
    return np.zeros(0, dtype) if empty else np.memmap(path, dtype, mode="r"), np.load(folder / f"{split}.offsets.npy"), packed


class WindowDataset(Dataset[dict[str, torch.Tensor]]):
    """Windows of `context` tokens over one split of a packed corpus, mapped into memory.

    Neighbours share one token, so that every token but the first is a target exactly once. Documents do not see each other: positions
    start again where one ends, which transformers reads as a block mask as long as it gets no attention mask and keeps no cache (measured:
    0 to 8 % of the time of a small model's step). The end token of one document is the first token of the next one's segment, so a model
    also learns how documents begin. Cutting fixed windows wastes no padding and needs no plan of what goes where; a document that a
    window's edge cuts goes on in another window without what came before.
    """

    def __init__(self, folder: Path, split: str, context: int):
        self.tokens, offsets, packed = load_packed(folder, split)
        self.openings = offsets[1:] - 1  # the end tokens: each opens the next segment
        self.context = context
        self.vocab_size: int = packed["vocab_size"]

    def __len__(self) -> int:
        return max(0, (len(self.tokens) - 1) // (self.context - 1))

    def __getitem__(self, number: int) -> dict[str, torch.Tensor]:
        if not 0 <= number < len(self):
            raise IndexError(number)
        start = number * (self.context - 1)
        ids = torch.from_numpy(self.tokens[start : start + self.context].astype(np.int64))
        here = slice(*np.searchsorted(self.openings, (start, start + self.context)))
        begins = np.zeros(self.context, np.int64)
        begins[self.openings[here] - start] = self.openings[here] - start
        places = np.arange(self.context)
        return {"input_ids": ids, "position_ids": torch.from_numpy(places - np.maximum.accumulate(begins)), "labels": ids}


class BestFitDataset(Dataset[dict[str, torch.Tensor]]):
    """Documents of one split of a packed corpus, put together by best fit in rows of `context` places (Ding et al.,
    https://arxiv.org/abs/2404.10830). `WindowDataset` fills every place and cuts documents at its edges; this cuts those that no row holds.

    As in `WindowDataset`, the end token before a document is the first one of its segment, every token is a target once (that of the first
    document, too) and no document sees another. A long one fills rows of its own, each of which repeats the last token of the row before;
    what is left of it shares a row, and its first token, which repeats one as well, costs a place. The empty places of a row are a
    segment of padding that is no target.

    The plan takes 24 bytes a document, and 3 seconds for 10 million; tokens stay in the map.
    """

    def __init__(self, folder: Path, split: str, context: int, pad_id: int):
        self.tokens, self.offsets, packed = load_packed(folder, split)
        self.vocab_size: int = packed["vocab_size"]
        self.context, self.room, self.pad_id = context, context - 1, pad_id  # a row has one target less than places
        sizes = np.diff(self.offsets)
        alone, rests = np.divmod(sizes, self.room)
        self.alone = np.cumsum(alone)  # rows that documents fill by themselves, up to each document
        shared = np.flatnonzero(rests)
        plan = packing.best_fit((rests + (alone > 0))[shared], self.room)
        self.plan = packing.Plan(shared[plan.rows], plan.starts)  # the documents of each row that several share
        self.waste = packing.waste(sizes, len(self), self.room)  # share of the possible targets that are none
        self.cut = _share(alone + (rests > 0) > 1)  # of the documents
        edges = np.maximum(self.offsets - 1, 0) // self.room, (self.offsets - 2) // self.room  # windows of first and last targets
        self.cut_by_windows = _share(edges[0][:-1] < edges[1][1:])

    def __len__(self) -> int:
        return int(self.alone[-1]) + len(self.plan) if len(self.alone) else 0

    def __getitem__(self, number: int) -> dict[str, torch.Tensor]:
        if not 0 <= number < len(self):
            raise IndexError(number)
        ids, labels = np.full(self.context, self.pad_id, np.int64), np.full(self.context, IGNORE, np.int64)
        places = np.zeros(self.context, np.int64)
        at = 0
        for start, end, whole in self._segments(number):
            at -= whole and at > 0  # it is opened by the end token that is there
            segment = self.tokens[max(start, 0) : end].astype(np.int64)
            if start < 0:  # of the first document
                segment = np.concatenate([self.tokens[-1:], segment])
            until = at + len(segment)
            ids[at:until], labels[at + 1 : until], places[at:until] = segment, segment[1:], np.arange(len(segment))
            at = until
        places[at:] = np.arange(self.context - at)
        return {
            name: torch.from_numpy(column) for name, column in (("input_ids", ids), ("position_ids", places), ("labels", labels))
        }

    def _segments(self, number: int) -> list[tuple[int, int, bool]]:
        """The segments of a row: where each begins and ends in the run of tokens, and whether it is a whole document. These come last, so
        that there is an end token before each."""
        shared = number - int(self.alone[-1])
        if shared < 0:
            document = int(np.searchsorted(self.alone, number, "right"))
            start = int(self.offsets[document]) - 1 + (number - int(self.alone[document - 1] if document else 0)) * self.room
            return [(start, start + self.context, False)]
        segments = []
        for document in self.plan[shared].tolist():
            begin, end = self.offsets[document : document + 2].tolist()
            segments.append((end - (end - begin) % self.room - 1, end, end - begin < self.room))
        return sorted(segments, key=lambda segment: segment[2])


def _share(mask: np.ndarray) -> float:
    """The share of a mask that is set, 0 where it is empty."""
    return float(mask.mean()) if len(mask) else 0.0


def collate(samples: list[dict[str, torch.Tensor]]) -> dict[str, torch.Tensor]:
    """A batch of samples that are all of one length."""
    return {name: torch.stack([sample[name] for sample in samples]) for name in samples[0]}


@dataclass
class RowCounts:
    """Counts of a split's rows: how many are kept whole or in part, and how many are left out and why."""

    kept: int = 0
    cut: int = 0  # lost their last turns
    too_long: int = 0  # not even the first answer fits
    empty: int = 0  # nothing to learn

    def summary(self, unit: str, longest: int) -> str:
        """The counts in words, for the log; zeros are left out."""
        parts = {
            f"{self.kept:,} {unit}": True,
            f"{self.cut:,} of them with their first turns only": self.cut,
            f"{self.too_long:,} left out, longer than {longest} tokens": self.too_long,
            f"{self.empty:,} left out, with nothing to learn": self.empty,
        }
        return ", ".join(part for part, count in parts.items() if count)


def conversations(path: Path, tokenizer: PreTrainedTokenizerBase, max_length: int) -> tuple[datasets.Dataset, RowCounts]:
    """Conversations as `input_ids` and `labels`, −100 where the loss does not count.

    A conversation that is too long keeps the whole exchanges that fit: an answer that is cut off would teach the model not to end.
    """
    counts = RowCounts()
    rows = _Rows("input_ids", "labels")
    for batch in _batches(path, ["messages", "meta"]):
        for ids, trained in template.encode(tokenizer, [template.marked(row["messages"], row["meta"]) for row in batch]):
            ends = [end for end, counted in enumerate(trained, 1) if counted and not any(trained[end : end + 1])]  # of answers
            fitting = [end for end in ends if end <= max_length]
            if not fitting:
                counts.too_long += bool(ends)
                counts.empty += not ends
                continue
            end = fitting[-1]
            counts.kept += 1
            counts.cut += end < ends[-1]
            labels = [token if counted else IGNORE for token, counted in zip(ids[:end], trained[:end], strict=True)]
            rows.add(ids[:end], labels)
    return rows.dataset(path.stem), counts


def exchanges(path: Path, tokenizer: PreTrainedTokenizerBase, max_length: int) -> tuple[datasets.Dataset, RowCounts]:
    """Every answer of the conversations, for a model that reads a prompt and writes a response: `prompt_ids` (the conversation up to it) and
    `answer_ids` (with its end of turn), each of at most `max_length` tokens.

    A conversation ends where one side no longer fits: an answer that is cut off would teach the model not to end.
    """
    counts = RowCounts()
    rows = _Rows("prompt_ids", "answer_ids")
    for batch in _batches(path, ["messages", "meta"]):
        for pairs in template.exchanges(tokenizer, [template.marked(row["messages"], row["meta"]) for row in batch]):
            fitting = list(takewhile(lambda pair: max(map(len, pair)) <= max_length, pairs))
            for prompt, answer in fitting:
                rows.add(prompt, answer)
            counts.kept += len(fitting)
            counts.cut += 0 < len(fitting) < len(pairs)
            counts.too_long += bool(pairs) and not fitting
            counts.empty += not pairs
    return rows.dataset(path.stem), counts


class PairDataset(Dataset[dict[str, Any]]):
    """Prompts and responses of one split of a packed corpus, mapped into memory; of each at most `context` tokens, the prompt's last and the
    response's first."""

    def __init__(self, folder: Path, split: str, context: int):
        self.tokens, self.places, packed = load_packed(folder, split)
        self.context = context
        self.vocab_size: int = packed["vocab_size"]

    def __len__(self) -> int:
        return len(self.places) // 2

    def __getitem__(self, number: int) -> dict[str, Any]:
        start, middle, end = self.places[2 * number : 2 * number + 3].tolist()
        prompt = self.tokens[max(start, middle - self.context) : middle]
        return {"prompt_ids": prompt.tolist(), "answer_ids": self.tokens[middle : min(end, middle + self.context)].tolist()}

    @property
    def lengths(self) -> np.ndarray:
        """Tokens of each prompt and response together, (pairs,)."""
        return np.minimum(np.diff(self.places), self.context).reshape(-1, 2).sum(1)


def collate_pairs(samples: list[dict[str, list[int]]], pad_id: int) -> dict[str, torch.Tensor]:
    """A batch of prompts and responses, rows of `exchanges` or of a `PairDataset`: `input_ids` and `attention_mask` (rows, longest prompt),
    `labels` (rows, longest answer)."""
    prompts = [torch.tensor(sample["prompt_ids"]) for sample in samples]
    answers = [torch.tensor(sample["answer_ids"]) for sample in samples]
    pad = torch.nn.utils.rnn.pad_sequence
    return {
        "input_ids": pad(prompts, batch_first=True, padding_value=pad_id),
        "attention_mask": pad([torch.ones_like(prompt) for prompt in prompts], batch_first=True),
        "labels": pad(answers, batch_first=True, padding_value=IGNORE),
    }


class PackedDataset(Dataset[dict[str, torch.Tensor]]):
    """Rows of `input_ids` and `labels` put together, `room` tokens at most; (room,) each. Positions start again with each row, and none
    predicts the next one's first token, so they do not see each other."""

    def __init__(self, rows: datasets.Dataset, room: int, pad_id: int):
        self.rows, self.room, self.pad_id = rows, room, pad_id
        sizes = lengths(rows)
        self.windows = packing.best_fit(sizes, room)
        self.waste = packing.waste(sizes, len(self.windows), room)

    def __len__(self) -> int:
        return len(self.windows)

    def __getitem__(self, number: int) -> dict[str, torch.Tensor]:
        ids: list[int] = []
        labels: list[int] = []
        places: list[int] = []
        for row in self.windows[number].tolist():
            text = self.rows[row]
            ids += text["input_ids"]
            labels += [IGNORE, *text["labels"][1:]]
            places += range(len(text["input_ids"]))
        rest = self.room - len(ids)  # a document of its own, of which nothing is learned
        filled = {
            "input_ids": ids + [self.pad_id] * rest,
            "labels": labels + [IGNORE] * rest,
            "position_ids": places + list(range(rest)),
        }
        return {name: torch.tensor(column) for name, column in filled.items()}


def preferences(path: Path, tokenizer: PreTrainedTokenizerBase, max_length: int) -> tuple[datasets.Dataset, RowCounts]:
    """Pairs as `prompt_ids`, `chosen_ids` and `rejected_ids`, the answers with their end of turn. A pair with a side that is too long is
    left out: what is compared would no longer be two whole answers."""
    counts = RowCounts()
    rows = _Rows("prompt_ids", "chosen_ids", "rejected_ids")
    for batch in _batches(path, ["messages", "chosen", "rejected"]):
        prompts = [ids for ids, _ in template.encode(tokenizer, [row["messages"] for row in batch], reply=True)]
        texts = [row[side] for side in ("chosen", "rejected") for row in batch]
        answers = template.replies(tokenizer, [row["messages"] for row in batch] * 2, texts)
        for prompt, chosen, rejected in zip(prompts, answers[: len(batch)], answers[len(batch) :], strict=True):
            if len(prompt) + max(len(chosen), len(rejected)) > max_length:
                counts.too_long += 1
            elif chosen == rejected:
                counts.empty += 1
            else:
                counts.kept += 1
                rows.add(prompt, chosen, rejected)
    return rows.dataset(path.stem), counts


def lengths(rows: datasets.Dataset) -> np.ndarray:
    """Tokens of each row, (rows,). Of a pair: of both its sequences, as the model reads them."""
    import pyarrow.compute as pc

    each = {
        name: pc.list_value_length(rows.data.column(name)).to_numpy().astype(np.int64)
        for name in rows.column_names
        if name.endswith("_ids")
    }
    if "input_ids" in each:
        return each["input_ids"]
    if "answer_ids" in each:
        return each["prompt_ids"] + each["answer_ids"]
    return 2 * each["prompt_ids"] + each["chosen_ids"] + each["rejected_ids"]


class _Rows:
    """A builder of data sets from rows of token lists, in Arrow's own flat layout, 4 bytes a token."""

    def __init__(self, *names: str):
        self.columns: dict[str, list[Any]] = {name: [] for name in names}
        self.waiting: dict[str, list[list[int]]] = {name: [] for name in names}

    def add(self, *lists: list[int]) -> None:
        """Add a row: a list for each column."""
        for name, numbers in zip(self.waiting, lists, strict=True):
            self.waiting[name].append(numbers)
        if len(next(iter(self.waiting.values()))) >= ROWS:
            self._flush()

    def _flush(self) -> None:
        import pyarrow as pa

        for name, numbers in self.waiting.items():
            self.columns[name].append(pa.array(numbers, pa.list_(pa.int32())))
            numbers.clear()

    def dataset(self, fingerprint: str) -> datasets.Dataset:
        """The rows so far, in memory: nothing is cached on disk."""
        import datasets
        import pyarrow as pa

        self._flush()
        columns = {name: pa.chunked_array(chunks, pa.list_(pa.int32())) for name, chunks in self.columns.items()}
        return datasets.Dataset(datasets.table.InMemoryTable(pa.table(columns)), fingerprint=fingerprint)


def _batches(path: Path, columns: list[str]) -> Iterable[list[dict[str, Any]]]:
    """The rows of a Parquet file, a batch at a time. `ValueError` where there is none."""
    import pyarrow.parquet as pq

    if not path.is_file():
        raise ValueError(f"{path} is missing; run the stage before this one first, or name the folder that holds its files")
    for batch in pq.ParquetFile(path).iter_batches(ROWS, columns=columns):
        yield batch.to_pylist()
