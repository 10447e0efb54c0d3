"""The mixture of a corpus by weights: the times that each document is taken, and an order that no longer goes by source.

A group of sources gets its share of the tokens. The group with the most text for its share is taken once and the others are repeated to match
it; one that would have to be repeated more often than allowed (four passes are nearly as good as fresh text: Muennighoff et al. 2023,
arXiv 2305.16264) sets the size of the whole instead, and the others are cut. Which documents a part of a pass takes, and where each copy
stands, is decided by a hash of the document's id: the same for any order of the input, and little changed when documents are added.

Memory holds one piece of the input or one bucket of the output, whatever the size of the corpus.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tasks.artifacts.stage import Stats

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

DOCUMENTS = "documents.npy"  # beside a piece's `tokens.bin`: a row a document, of `FIELDS`
FIELDS = [("tokens", "<i8"), ("source", "<i4"), ("hash", "<u8"), ("characters", "<i8"), ("bytes", "<i8")]
BINS = 16  # bits of a hash that decide whether a part of a pass takes the document: to 1/65,536 of a group's tokens
BUCKET = 64 << 20  # bytes of tokens sorted in memory at a time


def groups(weights: Mapping[str, float]) -> dict[str, list[str]]:
    """The sources of each weight: `zhwiki: 7`, or `zhwiki+zhihu: 7` for two that share it in the proportions they have."""
    return {name: name.split("+") for name in weights}


def problems(weights: Mapping[str, float], sources: Sequence[str]) -> list[str]:
    """The mistakes in the weights for these sources, a line each: one that is unknown, named twice, or left without a weight."""
    named = [source for members in groups(weights).values() for source in members]
    lines = [
        f"{source!r} has a weight, but no source of that name has documents to pretrain on (there are: {', '.join(sources)})"
        for source in dict.fromkeys(named)
        if source not in sources
    ]
    lines += [
        f"{source!r} is named {named.count(source)} times; give it one weight"
        for source in dict.fromkeys(named)
        if named.count(source) > 1
    ]
    return lines + [
        f"{source!r} has no weight; give it one, or take `pretrain` out of its `use`" for source in sources if source not in named
    ]


@dataclass(frozen=True)
class Portion:
    """The part of one group that is taken: all of it `passes` times, and once more the documents whose hash falls below `cut`."""

    name: str
    weight: float
    share: float
    available: int  # tokens
    taken: int
    passes: int
    cut: int  # of 2**BINS


def plan(weights: Mapping[str, float], tokens: Mapping[str, NDArray[np.int64]], max_repeats: int) -> dict[str, Portion]:
    """`tokens` has, for each group, the tokens of the documents in each of the 2**BINS bins of their hash."""
    import numpy as np

    whole = sum(weights.values())
    share = {name: weight / whole for name, weight in weights.items()}
    available = {name: int(counts.sum()) for name, counts in tokens.items()}
    fills = {name: available[name] / share[name] for name in weights}  # tokens of a mix in which the group is taken once
    size = min(max(fills.values()), max_repeats * min(fills.values()))
    portions = {}
    for name, weight in weights.items():
        passes = int(size / fills[name] + 1e-9)
        rest = share[name] * size - passes * available[name]
        reached = np.concatenate(([0], np.cumsum(tokens[name])))
        cut = int(np.argmin(np.abs(reached - rest)))  # the first of the nearest
        taken = passes * available[name] + int(reached[cut])
        portions[name] = Portion(name, weight, share[name], available[name], taken, passes, cut)
    return portions


@dataclass(frozen=True)
class Piece:
    """A part of the corpus on disk: `tokens.bin` and `documents.npy`, whose source numbers stand for `sources`."""

    home: Path
    sources: Sequence[str]

    def documents(self) -> NDArray[Any]:
        import numpy as np

        return np.load(self.home / DOCUMENTS)

    def numbers(self, order: Mapping[str, int], documents: NDArray[Any]) -> NDArray[np.int64]:
        """For each document, the number that `order` gives its source."""
        import numpy as np

        return np.array([order[source] for source in self.sources], np.int64)[documents["source"]]


def mixed(
    pieces: Sequence[Piece], weights: Mapping[str, float], max_repeats: int, seed: int, itemsize: int, out: Path, scratch: Path
) -> Stats:
    """Write `<out>.bin` and `<out>.offsets.npy` from the pieces; returns `{"splits": totals, "groups": [a row a group], "sources": …}`.

    Raises `ValueError` with every problem where the weights do not fit the sources that have documents.
    """
    import numpy as np

    there = sorted({source for piece in pieces for source in piece.sources})
    if wrong := problems(weights, there):
        raise ValueError("pack.weights: " + "; ".join(wrong))
    order = {name: number for number, name in enumerate(weights)}
    of_source = {source: order[name] for name, members in groups(weights).items() for source in members}
    counted = np.zeros((len(weights), 1 << BINS), np.int64)
    for piece in pieces:
        rows = piece.documents()
        np.add.at(counted, (piece.numbers(of_source, rows), drawn(rows["hash"], seed) >> np.uint64(64 - BINS)), rows["tokens"])
    portions = plan(weights, dict(zip(weights, counted, strict=True)), max_repeats)
    passes = np.array([portion.passes for portion in portions.values()])
    cuts = np.array([portion.cut for portion in portions.values()], np.uint64)

    totals = dict.fromkeys(("tokens", "documents", "characters", "bytes_utf8"), 0)
    sources = dict.fromkeys(there, 0)
    documents = {name: {"documents": 0, "repeated": 0, "left_out": 0} for name in weights}
    buckets = _Buckets(scratch, sum(portion.taken for portion in portions.values()) * itemsize)
    for piece in pieces:
        rows = piece.documents()
        numbers = piece.numbers(of_source, rows)
        draws = drawn(rows["hash"], seed)
        copies = passes[numbers] + ((draws >> np.uint64(64 - BINS)) < cuts[numbers])
        for name, field in (("tokens", "tokens"), ("characters", "characters"), ("bytes_utf8", "bytes")):
            totals[name] += int((copies * rows[field]).sum())
        totals["documents"] += int(copies.sum())
        for number, source in enumerate(piece.sources):
            sources[source] += int((copies * rows["tokens"])[rows["source"] == number].sum())
        for name, number in order.items():
            mine = copies[numbers == number]
            documents[name]["documents"] += len(mine)
            documents[name]["repeated"] += int((mine > 1).sum())
            documents[name]["left_out"] += int((mine == 0).sum())
        buckets.add(piece.home / "tokens.bin", rows["tokens"] * itemsize, copies, draws)
    buckets.write(out, itemsize)
    whole = totals["tokens"]
    return {
        "totals": totals | {"sources": sources},
        "groups": [
            {
                "group": portion.name,
                "weight": portion.weight,
                "share": round(portion.share, 6),
                "available": portion.available,
                "taken": portion.taken,
                "share_taken": round(portion.taken / whole, 6),
                "passes": round(portion.taken / portion.available, 4),
                **documents[portion.name],
            }
            for portion in portions.values()
        ],
    }


def told(groups: Sequence[Mapping[str, Any]], max_repeats: int) -> Iterator[str]:
    """For the log: what the mix took of each group, and why."""
    for row in groups:
        passes = row["passes"]
        how = (
            "all of it once"
            if passes == 1
            else f"{passes:.2f} passes, {row['repeated']:,} of {row['documents']:,} documents more than once"
            if passes > 1
            else f"{100 * passes:.1f} % of it, {row['left_out']:,} of {row['documents']:,} documents left out"
        )
        share = f"{100 * row['share_taken']:.2f} % (weight {row['weight']:g})"
        yield f"mix: {row['group']} is {share}: {row['taken']:,} tokens from {row['available']:,}, {how}"
    if any(row["passes"] < 1 for row in groups):
        short = ", ".join(row["group"] for row in groups if row["passes"] > max_repeats - 0.01)
        yield f"mix: {short} would have to be repeated more than {max_repeats} times (pack.max_repeats), so the others are cut"


def id_hash(id: str) -> int:
    """64 bits of a document's id, by which it is drawn."""
    return int.from_bytes(hashlib.blake2b(id.encode(), digest_size=8).digest(), "little")


def drawn(hashes: NDArray[np.uint64], seed: int) -> NDArray[np.uint64]:
    """The draws of documents with these hashes of their ids: a part of a pass takes those with the smallest."""
    import numpy as np

    return _scrambled(hashes ^ _scrambled(np.array([seed], np.uint64)))


def _scrambled(numbers: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """The output function of SplitMix64 (Steele, Lea and Flood 2014), a bijection of 64 bits."""
    import numpy as np

    with np.errstate(over="ignore"):
        numbers = numbers + np.uint64(0x9E3779B97F4A7C15)
        numbers = (numbers ^ (numbers >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        numbers = (numbers ^ (numbers >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        return numbers ^ (numbers >> np.uint64(31))


class _Buckets:
    """An external sort: copies of documents go to buckets by the first bits of their place, and each bucket is sorted in memory."""

    def __init__(self, home: Path, size: int):
        import shutil

        self.home, self.bits = home, max(0, (size // BUCKET).bit_length())
        shutil.rmtree(home, ignore_errors=True)
        home.mkdir(parents=True)

    def add(self, tokens: Path, sizes: NDArray[np.int64], copies: NDArray[np.int64], drawn: NDArray[np.uint64]) -> None:
        """A piece's documents, `sizes` in bytes, each as often as `copies` says."""
        import numpy as np

        data = np.memmap(tokens, np.uint8, "r").data if sizes.sum() else memoryview(b"")
        ends = np.cumsum(sizes)
        rows = np.repeat(np.arange(len(sizes)), copies)
        copy = np.arange(len(rows)) - np.repeat(np.cumsum(copies) - copies, copies)
        with np.errstate(over="ignore"):
            places = _scrambled(drawn[rows] + copy.astype(np.uint64) * np.uint64(0xD1342543DE82EF95))
        into = (places >> np.uint64(64 - self.bits)).astype(np.int64) if self.bits else np.zeros(len(rows), np.int64)
        by_bucket = np.argsort(into, kind="stable")
        for chosen in np.split(by_bucket, np.flatnonzero(np.diff(into[by_bucket])) + 1):
            if len(chosen):
                name = self.home / f"{into[chosen[0]]:06d}"
                with name.with_suffix(".bin").open("ab") as target:
                    target.writelines(data[ends[row] - sizes[row] : ends[row]] for row in rows[chosen])
                with name.with_suffix(".places").open("ab") as target:
                    target.write(np.stack([places[chosen], sizes[rows[chosen]].astype(np.uint64)], 1).astype("<u8").tobytes())

    def write(self, out: Path, itemsize: int) -> None:
        """All buckets in order, each sorted; the buckets are gone afterwards."""
        import shutil

        import numpy as np

        lengths = [np.zeros(1, "<i8")]
        with out.with_name(f"{out.name}.bin").open("wb") as target:
            for path in sorted(self.home.glob("*.bin")):
                places, sizes = np.fromfile(path.with_suffix(".places"), "<u8").reshape(-1, 2).T
                data, order = memoryview(path.read_bytes()), np.argsort(places, kind="stable")
                ends = np.cumsum(sizes.astype(np.int64))
                target.writelines(data[ends[row] - int(sizes[row]) : ends[row]] for row in order)
                lengths.append(sizes[order].astype("<i8") // itemsize)
        np.save(out.with_name(f"{out.name}.offsets.npy"), np.cumsum(np.concatenate(lengths)))
        shutil.rmtree(self.home)
