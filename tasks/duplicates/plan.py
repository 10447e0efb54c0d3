"""The plan of deduplication: the pieces of every step for the rows of one kind, each derived once, and where each leaves its files.

The key of a piece is a hash of the step's name, of the plan's identity (stage version, parameters, all rows of the kind) and of the
partition or the unit that the piece is about. So its other arguments must follow from these: signatures, files and figures of earlier
steps, and the parameters as a whole. `_implied` refuses everything else.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar, TypeVarTuple

from tasks.artifacts.stage import Job
from tasks.duplicates.units import BandPartition, Budget, Partition, Settings, SignatureFile, Signing, Unit
from tasks.processes import workers
from tasks.processes.shards import Piece

PARTITION = 4_000_000  # rows of a partition: each reads all hashes, so few are better, and DuckDB spills
AT_ONCE = 1_000_000  # hashes of bands that one piece takes together, where rows are few
COMPARISONS = 200_000  # pairs of a partition
ROW_BYTES = 40  # of a row's signature that a step reads, about

Ts = TypeVarTuple("Ts")
Share = TypeVar("Share", bound=Partition)


class DedupPlan:
    """The pieces of every step for the rows of one kind.

    The pieces of a step are a cached property. Some depend on the results of earlier steps: to ask for them before these are done is an
    `AssertionError`, and nothing is cached.
    """

    def __init__(self, job: Job, version: int, settings: Settings, signing: Signing, units: Sequence[Unit]):
        self.job, self.settings, self.signing, self.units = job, settings, signing, units
        self.kind = units[0].kind
        self.rows = sum(unit.rows for unit in units)
        self.identity = job.shard_key(version, settings.model_dump(mode="json"), [[unit.key, unit.source] for unit in units])
        self.signature_files = [
            SignatureFile(job.shard_home(unit.key) / "signatures.parquet", unit.source, unit.first, unit.rows) for unit in units
        ]
        crew = workers.crew(job)
        self.budget = Budget(crew.memory, max(1, job.resources.cores // crew.processes))

    @cached_property
    def signatures(self) -> list[Piece[Unit, Signing]]:
        return [Piece(unit.key, (unit, self.signing), unit.rows, unit.bytes) for unit in self.units]

    @cached_property
    def exact_duplicates(self) -> list[Piece[list[SignatureFile], Settings, Partition, Budget]]:
        return self._by_partition("exact", _shares(self._row_parts), self.signature_files, self.settings)

    @cached_property
    def candidate_pairs(self) -> list[Piece[list[SignatureFile], Settings, list[Path], BandPartition, Budget]]:
        bands, at_once = self.settings.bands, max(1, AT_ONCE // (self.rows + 1))
        shares = [
            BandPartition(part, self._row_parts, range(band, min(band + at_once, bands)))
            for band in range(0, bands, at_once)
            for part in range(self._row_parts)
        ]
        return self._by_partition("pairs", shares, self.signature_files, self.settings, self._repeats)

    @cached_property
    def pair_count(self) -> int:
        """Pairs to compare, once they are known."""
        return sum(self.figures(self.candidate_pairs, "rows"))

    @cached_property
    def candidate_rows(self) -> list[Piece[list[Path], Partition, Budget]]:
        if not self.pair_count:
            return []
        return self._by_partition("members", _shares(1), self._files("pairs.parquet", self.candidate_pairs))

    @cached_property
    def texts(self) -> list[Piece[Unit, int, Path]]:
        if not self.candidate_rows:
            return []
        [members] = self._files("members.parquet", self.candidate_rows)
        return [self._by_unit("texts", number, unit, members) for number, unit in enumerate(self.units)]

    @cached_property
    def similar_pairs(self) -> list[Piece[list[Path], list[Path], list[Path], Settings, Partition, Budget]]:
        return self._comparisons("compare", self._files("pairs.parquet", self.candidate_pairs), self.pair_count)

    @cached_property
    def clusters(self) -> list[Piece[list[Path], list[SignatureFile], Partition, Budget]]:
        similar = self._files("alike.parquet", self.similar_pairs)
        return self._by_partition("cluster", _shares(1), similar, self.signature_files) if similar else []

    @cached_property
    def cluster_similarities(self) -> list[Piece[list[Path], list[Path], list[Path], Settings, Partition, Budget]]:
        """The similarity of the rows of a chain to the row that stays for them, where the two were not compared before."""
        return self._comparisons("unseen", self._files("far.parquet", self.clusters), sum(self.figures(self.clusters, "far")))

    @cached_property
    def verdict(self) -> list[Piece[list[SignatureFile], Settings, list[Path], list[Path], Partition, Budget]]:
        near = self._files("near.parquet", self.clusters) + self._files("alike.parquet", self.cluster_similarities)
        return self._by_partition("verdict", _shares(1), self.signature_files, self.settings, self._repeats, near)

    @cached_property
    def results(self) -> list[Piece[Unit, int, Path, frozenset[int]]]:
        [verdict] = self._files("verdict.parquet", self.verdict)
        row_numbers = frozenset(number for keeper, _, worse, _ in self.examples for number in (keeper, worse))
        return [self._by_unit("rows", number, unit, verdict, row_numbers) for number, unit in enumerate(self.units)]

    @cached_property
    def examples(self) -> list[tuple[int, int, int, float]]:
        """Clusters for people to read, as `candidates.verdict` drew them."""
        [rows] = self.figures(self.verdict, "examples")
        return [tuple(row) for row in rows]

    def figures(self, pieces: Sequence[Piece[*tuple[Any, ...]]], name: str) -> list[Any]:
        """One figure of every piece of a step that is done."""
        records = [self.job.finished(piece.key) for piece in pieces]
        assert None not in records, "the step is done"
        return [stats[name] for stats in records if stats is not None]

    @property
    def _row_parts(self) -> int:
        return 1 + self.rows // PARTITION

    @property
    def _repeats(self) -> list[Path]:
        return self._files("exact.parquet", self.exact_duplicates)

    def _comparisons(
        self, step: str, pairs: list[Path], count: int
    ) -> list[Piece[list[Path], list[Path], list[Path], Settings, Partition, Budget]]:
        if not count:
            return []
        texts, places = (self._files(name, self.texts) for name in ("texts.bin", "places.parquet"))
        return self._by_partition(step, _shares(1 + count // COMPARISONS), pairs, places, texts, self.settings)

    def _by_partition(self, step: str, shares: Sequence[Share], *arguments: *Ts) -> list[Piece[*Ts, Share, Budget]]:
        self._assert_implied(step, arguments)
        return [
            Piece(
                self.job.shard_key(step, self.identity, *share.key),
                (*arguments, share, self.budget),
                size=1,
                bytes=ROW_BYTES * self.rows // share.parts,
            )
            for share in shares
        ]

    def _by_unit(self, step: str, number: int, unit: Unit, *arguments: *Ts) -> Piece[Unit, int, *Ts]:
        self._assert_implied(step, arguments)
        key = self.job.shard_key(step, self.identity, number)
        return Piece(key, (unit, number, *arguments), unit.rows, unit.bytes)

    def _assert_implied(self, step: str, arguments: tuple[Any, ...]) -> None:
        """A piece's key holds the plan's identity and its partition or unit: what else its result depends on must follow from these."""
        for argument in arguments:
            many = argument if isinstance(argument, list) else [argument]
            implied = all(isinstance(one, (Path, SignatureFile, frozenset)) or one is self.settings for one in many)
            assert implied, (
                f"step {step}: {argument!r} would not be in the key; make it a field of its partition or of the settings"
            )

    def _files(self, name: str, pieces: Sequence[Piece[*tuple[Any, ...]]]) -> list[Path]:
        return [self.job.shard_home(piece.key) / name for piece in pieces]


def _shares(parts: int) -> list[Partition]:
    return [Partition(part, parts) for part in range(parts)]
