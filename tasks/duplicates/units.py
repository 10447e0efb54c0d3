"""The units that deduplication works by: row groups of input files, partitions of a step, and what a piece of work may take of the machine."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal, Protocol

from tasks.artifacts.stage import Job
from tasks.data.rows import files

KINDS = ("documents", "conversations", "preferences")
UNIT_BYTES = 16_000_000  # of row groups, uncompressed, that are one unit

Keep = Literal["longest", "first"]


class Settings(Protocol):
    """The parameters of deduplication that its steps read. All of them are in the key of every piece."""

    @property
    def ngram(self) -> int: ...
    @property
    def permutations(self) -> int: ...
    @property
    def bands(self) -> int: ...
    @property
    def threshold(self) -> float: ...
    @property
    def keep(self) -> Keep: ...
    def model_dump(self, *, mode: Literal["json"]) -> dict[str, Any]: ...


@dataclass(frozen=True)
class Signing:
    """The parameters of a signature. All of them are in its key, and no others: another threshold needs no new signatures."""

    ngram: int
    permutations: int
    bands: int


@dataclass(frozen=True)
class Unit:
    """Consecutive row groups of an input file. Its rows are numbered from `first`, over all of the kind in recipe order."""

    path: Path
    kind: str
    source: str
    groups: range
    first: int
    rows: int
    bytes: int
    key: str  # of the shard with its signatures


@dataclass(frozen=True)
class SignatureFile:
    """The signatures of one unit: their file, source, and the number of the first row among all rows of the kind."""

    path: Path
    source: str
    first: int
    rows: int


@dataclass(frozen=True)
class Partition:
    """One of `parts` shares of a step's work. Every field is in the key of its piece."""

    part: int
    parts: int

    @property
    def key(self) -> tuple[str | int, ...]:
        return self.part, self.parts


@dataclass(frozen=True)
class BandPartition(Partition):
    """A partition of the buckets of some bands."""

    bands: range

    @property
    def key(self) -> tuple[str | int, ...]:
        return (str(self.bands), *super().key)


@dataclass(frozen=True)
class Budget:
    """The share of the machine that a piece of work may take: bytes of memory, and threads. It changes no result, so it is in no key."""

    memory: int
    threads: int


def units(job: Job, version: int, signing: Signing, sources: dict[str, Path]) -> list[Unit]:
    """The units of all sources, kind by kind, in recipe order. Raises `ValueError` where no source holds rows of a kind of `KINDS`."""
    import pyarrow.parquet as pq

    cut: list[Unit] = []
    for kind in KINDS:
        first = 0
        for source, folder in sources.items():
            for path in files(folder, kind=kind):
                with path.open("rb") as raw:
                    digest = hashlib.file_digest(raw, "sha256").hexdigest()
                metadata = pq.read_metadata(path)
                row_groups = [metadata.row_group(number) for number in range(metadata.num_row_groups)]
                for span in _spans([group.total_byte_size for group in row_groups]):
                    groups = row_groups[span.start : span.stop]
                    rows, size = sum(group.num_rows for group in groups), sum(group.total_byte_size for group in groups)
                    key = job.shard_key("signatures", version, kind, digest, [span.start, span.stop], asdict(signing))
                    cut.append(Unit(path, kind, source, span, first, rows, size, key))
                    first += rows
    if not cut:
        raise ValueError(
            f"no source ({', '.join(sources)}) holds {' or '.join(KINDS)}: nothing to deduplicate; add a source to train on"
        )
    return cut


def _spans(sizes: Sequence[int]) -> Iterator[range]:
    """Row groups in runs of at most `UNIT_BYTES`, or of one; a file without any is one run of none."""
    start = size = 0
    for group, more in enumerate(sizes):
        if size and size + more > UNIT_BYTES:
            yield range(start, group)
            start, size = group, 0
        size += more
    yield range(start, len(sizes))
