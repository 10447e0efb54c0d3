"""The index of training texts: shards of a suffix array (Manber and Myers 1990), which read from the disk what a search needs.

A shard holds the UTF-8 of its texts one after the other, a byte that no UTF-8 has after each, and the places of all characters, sorted by
the text that begins there. Any string is then found, counted and located by bisection, however often it occurs: nothing is sampled, and no
length is too short. Since only places where a character begins are kept, Chinese text takes a third of the places of its bytes.

text.bin        the texts, each ended by 0xFF
places.bin      4 bytes a character: where it begins in text.bin, in the order of what follows
heads.npy       the first bytes of what follows each 256th of these places, so that a search begins near its end
texts.npy       a row a text: `FIELDS`
ids.npy         the ids of the rows
"""

from __future__ import annotations

import json
import mmap
from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from tasks.artifacts.stage import Stats
from tasks.trace.texts import COLUMNS, PARTS, bytes_of, draws_of, kind_of, texts_of

SHARD = 128_000_000  # bytes of text in a shard, about: what is sorted at a time
MEMORY = 8 * SHARD  # bytes that a shard of Chinese takes: 6 for each byte of text, and 4 for each character
END = b"\xff"
FIELDS = [("start", "<u4"), ("row", "<u4"), ("source", "<u2"), ("part", "u1")]
EVERY, HEAD = 256, 16  # places from head to head, and the bytes of a head
FIRST = 48  # bytes compared at first; most matches are shorter
DESCRIPTION = "index.json"


def row_groups(path: Path) -> Iterator[tuple[list[int], int]]:
    """The row groups of a file of rows, in lists of about `SHARD` bytes of text, with these bytes."""
    import pyarrow.parquet as pq

    file, columns = pq.ParquetFile(path), [name for name in COLUMNS[kind_of(path)] if name not in ("id", "source")]
    held: list[int] = []
    size = 0
    for group in range(file.num_row_groups):
        more = bytes_of(file.read_row_group(group, columns))
        if held and size + more > SHARD:
            yield held, size
            held, size = [], 0
        held.append(group)
        size += more
    if held:
        yield held, size


def suffix_array() -> Any:
    """The function that sorts suffixes. Raises `ValueError` where its package is missing."""
    try:
        from pydivsufsort import divsufsort
    except ImportError:
        raise ValueError(
            "tracing sorts the training text with pydivsufsort, which is not installed; run: pip install 'hanlin[trace]'"
        ) from None
    return divsufsort


def build(draft: Path, path: Path, groups: list[int], last_draws: dict[str, int], seed: int) -> Stats:
    """The shard of these row groups, without documents that the mixture with this seed drew later than the last of their source."""
    import numpy as np
    import pyarrow.parquet as pq

    sources: dict[str, int] = {}
    ids: list[bytes] = []
    texts: list[tuple[int, int, int, int]] = []
    written = bytearray()
    for batch in pq.ParquetFile(path).iter_batches(500, groups, COLUMNS[kind_of(path)]):
        rows = batch.to_pylist()
        draws = draws_of([row["id"] for row in rows], seed).tolist() if last_draws else [0] * len(rows)
        for row, draw in zip(rows, draws, strict=True):
            if draw > last_draws.get(row["source"], draw):
                continue
            source = sources.setdefault(row["source"], len(sources))
            for part, content in texts_of(row):
                texts.append((len(written), len(ids), source, PARTS.index(part)))
                written += content.encode() + END
            ids.append(row["id"].encode())
    text = bytes(written)
    del written
    assert len(text) < 1 << 31, "a row group has at most some million characters"
    (draft / "text.bin").write_bytes(text)
    places = _places(text)
    places.tofile(draft / "places.bin")
    np.save(draft / "heads.npy", np.array([text[place : place + HEAD] for place in places[::EVERY].tolist()], f"S{HEAD}"))
    np.save(draft / "texts.npy", np.array(texts, FIELDS))
    np.save(draft / "ids.npy", np.array(ids, np.bytes_))
    return {
        "bytes": len(text) - len(texts),
        "characters": len(places),
        "rows": len(ids),
        "texts": len(texts),
        "sources": list(sources),
    }


def _places(text: bytes) -> Any:
    """The places where characters begin, sorted by what follows."""
    import numpy as np

    sort, letters = suffix_array(), np.frombuffer(text, np.uint8)
    if not text:
        return np.zeros(0, "<u4")
    begins = ((letters & 0xC0) != 0x80) & (letters != 0xFF)
    found, order = np.empty(int(begins.sum()), "<u4"), sort(text)
    done = 0
    for first in range(0, len(order), 1 << 22):  # a part at a time, or the mask's copies would double the memory
        part = order[first : first + (1 << 22)]
        part = part[begins[part]]
        found[done : done + len(part)] = part
        done += len(part)
    return found


@dataclass(frozen=True)
class Place:
    """A place in the training texts: the row, its source, and the text there, with the place in it in bytes."""

    row: str
    source: str
    part: str
    text: bytes
    at: int


class Shard:
    """A shard of an index, mapped into memory."""

    def __init__(self, home: Path, sources: list[str]):
        import numpy as np

        self.home, self.sources = home, sources
        self.text = _mapped(home / "text.bin")
        self.places = memoryview(_mapped(home / "places.bin")).cast("I")
        self.heads, self.texts, self.ids = (np.load(home / f"{name}.npy", mmap_mode="r") for name in ("heads", "texts", "ids"))

    @cached_property
    def starts(self) -> Any:
        return self.texts["start"].copy()

    def longest(self, text: bytes, starts: Sequence[int]) -> Iterator[int]:
        """From each of these places of `text` on, the bytes of the longest string that stands in the shard."""
        import numpy as np

        heads = np.array([text[start : start + HEAD] for start in starts], f"S{HEAD}")
        after = np.maximum(np.searchsorted(self.heads, heads) - 1, 0) * EVERY
        before = np.minimum(np.searchsorted(self.heads, heads, "right") * EVERY, len(self.places))
        for start, low, high in zip(starts, after.tolist(), before.tolist(), strict=True):
            yield self._longest(text, start, low, high)

    def _longest(self, whole: bytes, start: int, low: int, high: int) -> int:
        """The bytes of the longest string from `start` on; it would stand between two places."""
        text, places, length = self.text, self.places, FIRST
        while True:
            query = whole[start : start + length]
            low = bisect_left(places, query, low, high, key=lambda place: text[place : place + length])
            found = 0
            for place in places[max(0, low - 1) : low + 1]:
                found = max(found, _common(query, text[place : place + length]))
            if found < length or start + length >= len(whole):
                return found
            length *= 4

    def find(self, query: bytes) -> tuple[int, int]:
        """The range of the places at which `query` stands: the number of the first, and of the one after the last."""
        text, length = self.text, len(query)
        first = bisect_left(self.places, query, key=lambda place: text[place : place + length])
        return first, bisect_right(self.places, query, first, key=lambda place: text[place : place + length])

    def located(self, first: int, end: int) -> tuple[Any, Any]:
        """The numbers of the texts that these places lie in, and the places."""
        import numpy as np

        places = np.array(self.places[first:end], np.int64)
        return np.searchsorted(self.starts, places, "right") - 1, places

    def place(self, number: int, at: int) -> Place:
        """A place in the text of this number."""
        entry = self.texts[number]
        start = int(entry["start"])
        end = int(self.starts[number + 1]) if number + 1 < len(self.starts) else len(self.text)
        row, source, part = str(self.ids[entry["row"]], "utf-8"), self.sources[entry["source"]], PARTS[entry["part"]]
        return Place(row, source, part, self.text[start : end - len(END)], at - start)


class Index:
    """The index of one training: its shards, what they hold, and the licences of its sources that are known."""

    def __init__(self, home: Path, licences: Mapping[str, str] | None = None):
        self.licences = licences or {}
        described = json.loads((home / DESCRIPTION).read_text("utf-8"))
        self.stage: str = described["stage"]
        self.characters: int = described["characters"]
        self.shards = [
            Shard(home / f"{number:05d}", shard["sources"]) for number, shard in enumerate(described["shards"]) if shard["texts"]
        ]


def _mapped(path: Path) -> mmap.mmap:
    with path.open("rb") as file:
        return mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)


def _common(one: bytes, other: bytes) -> int:
    """The bytes that two strings have in common at their beginnings."""
    shorter = min(len(one), len(other))
    differ = int.from_bytes(one[:shorter], "big") ^ int.from_bytes(other[:shorter], "big")
    return shorter - (differ.bit_length() + 7) // 8
