"""Duplicates across all sources: exact ones by a hash, near ones by MinHash over character n-grams, checked by their true similarity.

Two rows are exact duplicates if their letters, digits and Han characters agree, and near duplicates if their sets of character n-grams have
a Jaccard similarity of `threshold` or more. Rows that a chain of near duplicates connects are one cluster, and the best row of a cluster
stays: the longest, then the one of the source that the recipe names first, then the first (`keep: first` leaves length out). `clusters: similar`
is more careful: a row goes only if it is similar to a row that stays, so a chain of small differences, a ~ b ~ c, never removes a row unlike all
that stay.

The work is a sequence of steps, each a plain function over (partition, paths) whose result is a Parquet file, so that every piece can be
done anywhere, is done once, and survives a kill:

    sign      row groups of a file → hashes of its rows, which the artifact keeps: rows of an earlier build are not read for them again
    exact     partition of the hashes → rows that repeat a better one
    pairs     band and partition of its buckets → pairs of rows that may be similar
    texts     row groups of a file → the texts of rows that are in some pair
    compare   partition of the pairs → those that are similar
    cluster   all similar pairs → which row goes for which
    write     row groups of a file → the rows that stay, and those that went
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Self

from pydantic import Field, model_validator

from tasks.artifacts.stage import Identity, Job, Stats, stage
from tasks.data.excerpts import excerpt
from tasks.data.rows import ROW_GROUP, Writer, batches, files
from tasks.duplicates import candidates, clusters, minhash
from tasks.duplicates import similarity as near
from tasks.duplicates.plan import Steps, Unit
from tasks.duplicates.similarity import judged
from tasks.processes import shards, workers
from tasks.processes.shards import Piece

if TYPE_CHECKING:
    import pyarrow as pa

KINDS = ("documents", "conversations", "preferences")
UNIT = 16_000_000  # bytes of row groups, uncompressed, that are one piece of work
GROUP_BYTES = 12_000_000  # of a row group that is written, at most about


class Params(Identity):
    ngram: int = Field(5, ge=2, le=20, description="Characters in an n-gram; texts shorter than one are only compared exactly")
    permutations: int = Field(120, ge=16, le=1024, description="MinHash values of a row; a multiple of `bands`")
    bands: int = Field(
        20,
        ge=2,
        le=128,
        description="LSH bands; 20 of 6 find a pair at similarity 0.75 with probability 0.980, at 0.8 with 0.998, at 0.85 with 0.9999",
    )
    threshold: float = Field(0.8, ge=0.5, le=1.0, description="Jaccard similarity from which two rows are near duplicates")
    clusters: Literal["connected", "similar"] = Field(
        "connected",
        description="connected: one row stays of all that a chain of near duplicates connects; similar: a row goes only if it is a near duplicate of "
        "one that stays",
    )
    keep: candidates.Keep = Field(
        "longest",
        description="Which row of a cluster stays; longest, and among these of the first source; or first, whatever its length",
    )

    @model_validator(mode="after")
    def _bands_divide(self) -> Self:
        if self.permutations % self.bands:
            raise ValueError(f"permutations ({self.permutations}) must be a multiple of bands ({self.bands})")
        return self


@stage("dedup", version=2, title="Remove duplicates", params=Params)
def run(job: Job, params: Params, *, sources: dict[str, Path]) -> Stats:
    """`sources`, in recipe order, hold `<kind>/*.parquet`; so does the result, in input order, with what went in `dropped/`.

    Kinds that only the evaluation reads (questions, triples) are left out. Raises `ValueError` where no source holds any other.
    """
    units = _units(job, params, sources)
    workers.enough(job)
    steps = [Steps(job, run.version, params, kind, [unit for unit in units if unit.kind == kind]) for kind in KINDS]
    steps = [each for each in steps if each.units]

    with shards.Pool(job) as pool:

        def do(work: Callable[..., Stats], step: Callable[[Steps], list[Piece]], unit: str = "part") -> None:
            pool.do(work, [piece for each in steps for piece in step(each)], unit)

        do(near.sign, Steps.sign, "row")
        do(candidates.exact, Steps.exact)
        do(candidates.pairs, Steps.pairs)
        do(candidates.members, Steps.members)
        for each in steps:
            job.log(f"{each.kind}: {each.found:,} pairs of rows may be near duplicates and are compared")
        do(near.texts, Steps.texts, "row")
        do(near.compare, Steps.compare)
        do(clusters.connected if params.clusters == "connected" else clusters.similar, Steps.cluster)
        do(near.compare, Steps.unseen)
        do(candidates.verdict, Steps.verdict)
        do(write, Steps.write, "row")
    job.collect([unit.key for unit in units])
    job.collect([piece.key for each in steps for piece in each.write()])
    return {"funnel": _funnel(steps), "clusters": {"sizes": _sizes(steps), "examples": {e.kind: _examples(e) for e in steps}}}


def _units(job: Job, params: Params, sources: dict[str, Path]) -> list[Unit]:
    import pyarrow.parquet as pq

    found: list[Unit] = []
    signing = params.model_dump(mode="json", include={"ngram", "permutations", "bands"})
    for kind in KINDS:
        first = 0
        for source, folder in sources.items():
            for path in files(folder, kind=kind):
                with path.open("rb") as raw:
                    digest = hashlib.file_digest(raw, "sha256").hexdigest()
                about = pq.read_metadata(path)
                for groups in _spans([about.row_group(group).total_byte_size for group in range(about.num_row_groups)]):
                    parts = [about.row_group(group) for group in groups]
                    rows, size = sum(part.num_rows for part in parts), sum(part.total_byte_size for part in parts)
                    key = job.shard_key("signatures", run.version, kind, digest, [groups.start, groups.stop], signing)
                    found.append(Unit(path, kind, source, groups, first, rows, size, key))
                    first += rows
    if not found:
        raise ValueError(
            f"no source ({', '.join(sources)}) holds {' or '.join(KINDS)}: nothing to deduplicate; add a source to train on"
        )
    return found


def _spans(sizes: Sequence[int]) -> Iterable[range]:
    """Row groups in runs of at most `UNIT` bytes, or of one; a file without any is one run of none."""
    start = size = 0
    for group, more in enumerate(sizes):
        if size and size + more > UNIT:
            yield range(start, group)
            start, size = group, 0
        size += more
    yield range(start, len(sizes))


def write(draft: Path, unit: Unit, verdict: Path, show: Sequence[int]) -> Stats:
    """`<kind>.parquet`: the rows that stay; `dropped.parquet`: the others. Returns the counts, and the rows with numbers in `show` for people."""
    import numpy as np
    import pyarrow as pa
    import pyarrow.parquet as pq

    going = pq.read_table(verdict, filters=[("number", ">=", unit.first), ("number", "<", unit.first + unit.rows)])
    numbers, at = going.column("number").to_numpy(), unit.first
    shown: dict[str, dict[str, str]] = {}
    stay = _Groups(draft / f"{unit.kind}.parquet", unit.kind)
    with stay.writer, Writer(draft / "dropped.parquet", "dropped") as dropped:
        for batch in batches(unit.path, groups=unit.groups):
            here = slice(*np.searchsorted(numbers, [at, at + len(batch)]))
            stays = np.ones(len(batch), bool)
            stays[numbers[here] - at] = False
            stay.add(batch.filter(pa.array(stays)))
            gone = _briefly(unit, batch.filter(pa.array(~stays)))
            for row, why in zip(gone, going.slice(here.start, len(gone)).to_pylist(), strict=True):
                like = "" if why["similarity"] is None else f", similarity {why['similarity']:.3f}"
                dropped.add({**row, "reason": why["reason"], "detail": f"kept {why['id']} of {why['source']}{like}"})
            for number in (number for number in show if at <= number < at + len(batch)):
                [shown[str(number)]] = _briefly(unit, batch.slice(number - at, 1))
            at += len(batch)
        stay.flush()
    return {"dropped": dict(Counter(going.column("reason").to_pylist())), "shown": shown}


class _Groups:
    """Writes batches of one kind in row groups of a good size."""

    def __init__(self, path: Path, kind: str):
        self.writer, self.waiting = Writer(path, kind), list[Any]()

    def add(self, batch: pa.RecordBatch) -> None:
        self.waiting.append(batch)
        if sum(map(len, self.waiting)) >= ROW_GROUP or sum(each.nbytes for each in self.waiting) >= GROUP_BYTES:
            self.flush()

    def flush(self) -> None:
        import pyarrow as pa

        if self.waiting:
            self.writer.write(pa.Table.from_batches(self.waiting))
            self.waiting.clear()


def _briefly(unit: Unit, rows: pa.RecordBatch) -> list[dict[str, str]]:
    """Id, source and excerpt of rows, for pages that people read: without personal data."""
    texts = zip(rows.column("id").to_pylist(), judged(unit.kind, rows), strict=True)
    return [{"id": id, "source": unit.source, "excerpt": excerpt(text.replace(minhash.PART, "\n"))} for id, text in texts]


def _funnel(steps: list[Steps]) -> dict[str, dict[str, Any]]:
    funnel: dict[str, dict[str, Any]] = {}
    for each in steps:
        for unit, dropped in zip(each.units, each.stats(each.write(), "dropped"), strict=True):
            counts = funnel.setdefault(unit.source, {"in": 0, "kept": 0, "dropped": {}})
            counts["in"] += unit.rows
            counts["kept"] += unit.rows - sum(dropped.values())
            for reason, count in dropped.items():
                counts["dropped"][reason] = counts["dropped"].get(reason, 0) + count
    return funnel


def _sizes(steps: list[Steps]) -> dict[str, int]:
    """How many clusters have 2, 3–4, 5–8 … rows."""
    sizes: Counter[str] = Counter()
    for each in steps:
        sizes.update(*each.stats(each.verdict(), "sizes"))
    return dict(sorted(sizes.items(), key=lambda size: int(size[0].partition("–")[0])))


def _examples(steps: Steps) -> list[dict[str, Any]]:
    """Clusters of near duplicates to read, each with its unlike-most rows."""
    shown = {int(number): row for found in steps.stats(steps.write(), "shown") for number, row in found.items()}
    examples: dict[int, dict[str, Any]] = {}
    for keeper, size, worse, similarity in steps.chosen():
        example = examples.setdefault(keeper, {"size": size, "kept": shown[keeper], "dropped": []})
        example["dropped"].append({**shown[worse], "similarity": round(similarity, 3)})
    return list(examples.values())
