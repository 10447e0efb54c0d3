"""The steps of deduplication as pieces of work: which there are for the rows of one kind, and where each leaves its files."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from tasks.artifacts.stage import Job
from tasks.duplicates.candidates import Partition, Signed
from tasks.processes import workers
from tasks.processes.shards import Piece

PARTITION = 4_000_000  # rows of a partition: each reads all hashes, so few are better, and DuckDB spills
AT_ONCE = 1_000_000  # hashes of bands that one piece takes together, where rows are few
COMPARISONS = 200_000  # pairs of a partition
ROW_BYTES = 40  # of a row's signature that a step reads, about


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
    key: str  # of the shard with its hashes


class Steps:
    """The pieces of every step for the rows of one kind. What a step leaves is where its pieces' keys say."""

    def __init__(self, job: Job, version: int, params: Any, kind: str, units: list[Unit]):
        self.job, self.params, self.kind, self.units = job, params, kind, units
        self.rows = sum(unit.rows for unit in units)
        self.identity = job.shard_key(version, params.model_dump(mode="json"), [[unit.key, unit.source] for unit in units])
        self.signed = [Signed(job.shard_home(unit.key) / "signatures.parquet", unit.source, unit.first) for unit in units]
        self.crew = workers.crew(job)

    def sign(self) -> list[Piece]:
        how = (self.params.ngram, self.params.permutations, self.params.bands)
        return [Piece(unit.key, (unit.path, unit.kind, unit.groups, *how), unit.rows, unit.bytes) for unit in self.units]

    def exact(self) -> list[Piece]:
        return self._partitions("exact", self.parts, self.signed, self.params.keep)

    def pairs(self) -> list[Piece]:
        bands, at_once = self.params.bands, max(1, AT_ONCE // (self.rows + 1))
        spans = [range(band, min(band + at_once, bands)) for band in range(0, bands, at_once)]
        same = self._left("exact.parquet", self.exact())
        return [
            piece for some in spans for piece in self._partitions("pairs", self.parts, self.signed, self.params.keep, same, some)
        ]

    @cached_property
    def found(self) -> int:
        """Pairs to compare, once the step is done."""
        return sum(self.stats(self.pairs(), "rows"))

    def members(self) -> list[Piece]:
        return self._partitions("members", 1, self._left("pairs.parquet", self.pairs())) if self.found else []

    def texts(self) -> list[Piece]:
        members = self._left("members.parquet", self.members())
        return [
            Piece(
                self.job.shard_key("texts", self.identity, number),
                (unit.path, unit.kind, unit.groups, unit.first, unit.rows, number, *members),
                unit.rows,
                unit.bytes,
            )
            for number, unit in enumerate(self.units if members else ())
        ]

    def compare(self) -> list[Piece]:
        return self._compare("compare", "pairs.parquet", self.pairs(), self.found, self.params.threshold)

    def cluster(self) -> list[Piece]:
        alike = self._left("alike.parquet", self.compare())
        return self._partitions("cluster", 1, alike, self.rows) if alike else []

    def unseen(self) -> list[Piece]:
        """How alike the rows of a chain and the row that stays for them are."""
        return self._compare("unseen", "far.parquet", self.cluster(), sum(self.stats(self.cluster(), "far")), 0.0)

    def verdict(self) -> list[Piece]:
        same = self._left("exact.parquet", self.exact())
        alike = self._left("near.parquet", self.cluster()) + self._left("alike.parquet", self.unseen())
        return self._partitions("verdict", 1, self.signed, self.params.keep, same, alike)

    def write(self) -> list[Piece]:
        [verdict] = self._left("verdict.parquet", self.verdict())
        show = sorted({number for keeper, _, worse, _ in self.chosen() for number in (keeper, worse)})
        return [
            Piece(self.job.shard_key("rows", self.identity, number), (unit, verdict, show), unit.rows, unit.bytes)
            for number, unit in enumerate(self.units)
        ]

    def chosen(self) -> list[list[Any]]:
        """Clusters for people to read, as `duplicates.verdict` chose them."""
        [chosen] = self.stats(self.verdict(), "examples")
        return list(chosen)

    def _compare(self, step: str, name: str, source: list[Piece], pairs: int, least: float) -> list[Piece]:
        if not pairs:
            return []
        texts, places = (self._left(what, self.texts()) for what in ("texts.bin", "places.parquet"))
        parts = 1 + pairs // COMPARISONS
        return self._partitions(step, parts, self._left(name, source), places, texts, self.params.ngram, least)

    @property
    def parts(self) -> int:
        return 1 + self.rows // PARTITION

    def _partitions(self, step: str, parts: int, *arguments: Any) -> list[Piece]:
        threads = max(1, self.job.resources.cores // self.crew.processes)
        about = [str(some) for some in arguments if isinstance(some, range)]
        return [
            Piece(
                self.job.shard_key(step, self.identity, *about, part, parts),
                (*arguments, Partition(part, parts, self.crew.memory, threads)),
                size=1,
                bytes=ROW_BYTES * self.rows // parts,
            )
            for part in range(parts)
        ]

    def _left(self, name: str, pieces: list[Piece]) -> list[Path]:
        return [self.job.shard_home(piece.key) / name for piece in pieces]

    def stats(self, pieces: list[Piece], name: str) -> list[Any]:
        """One figure of every piece of a step that is done."""
        found = [self.job.finished(piece.key) for piece in pieces]
        assert None not in found, "the step is done"
        return [stats[name] for stats in found if stats is not None]
