"""Duplicates across all sources: exact ones by a hash, near ones by MinHash over character n-grams, checked by their true similarity.

Two rows are exact duplicates if their letters, digits, Han characters and signs agree (`tasks/text/fold.py`), and near duplicates if their
sets of character n-grams have a Jaccard similarity of `threshold` or more. Rows that a chain of near duplicates connects are one cluster, and
the best row of a cluster stays: the longest, then the one of the source that the recipe names first, then the first (`keep: first` leaves
length out). `clusters: similar` is more careful: a row goes only if it is similar to a row that stays, so a chain of small differences,
a ~ b ~ c, never removes a row unlike all that stay.

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

from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Self, TypeVarTuple

from pydantic import Field, model_validator

from tasks.artifacts.stage import Identity, Job, Stats, stage
from tasks.data.excerpts import excerpt
from tasks.data.rows import ROW_GROUP, Writer, batches
from tasks.duplicates import candidates, clusters, minhash, similarity
from tasks.duplicates.plan import DedupPlan
from tasks.duplicates.similarity import compared_texts
from tasks.duplicates.units import KINDS, Keep, Signing, Unit, units
from tasks.processes import shards, workers
from tasks.processes.shards import Piece

if TYPE_CHECKING:
    import pyarrow as pa

GROUP_BYTES = 12_000_000  # of a row group that is written, at most about

Ts = TypeVarTuple("Ts")


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
    keep: Keep = Field(
        "longest",
        description="Which row of a cluster stays; longest, and among these of the first source; or first, whatever its length",
    )

    @model_validator(mode="after")
    def _bands_divide(self) -> Self:
        if self.permutations % self.bands:
            raise ValueError(f"permutations ({self.permutations}) must be a multiple of bands ({self.bands})")
        return self


@stage("dedup", version=4, title="Remove duplicates", params=Params, section="rows")
def run(job: Job, params: Params, *, sources: dict[str, Path]) -> Stats:
    """`sources`, in recipe order, hold `<kind>/*.parquet`; so does the result, in input order, with what went in `dropped/`.

    Kinds that only the evaluation reads (questions, triples) are left out. Raises `ValueError` where no source holds any other.
    """
    signing = Signing(params.ngram, params.permutations, params.bands)
    every = units(job, run.version, signing, sources)
    workers.enough(job)
    of_kind = {kind: [unit for unit in every if unit.kind == kind] for kind in KINDS}
    plans = [DedupPlan(job, run.version, params, signing, some) for some in of_kind.values() if some]

    with shards.Pool(job) as pool:

        def do(work: Callable[[Path, *Ts], Stats], step: Callable[[DedupPlan], list[Piece[*Ts]]], unit: str = "part") -> None:
            pool.do(work, [piece for plan in plans for piece in step(plan)], unit)

        do(similarity.sign, lambda plan: plan.signatures, "row")
        do(candidates.exact_duplicates, lambda plan: plan.exact_duplicates)
        do(candidates.candidate_pairs, lambda plan: plan.candidate_pairs)
        do(candidates.candidate_rows, lambda plan: plan.candidate_rows)
        for plan in plans:
            job.log(f"{plan.kind}: {plan.pair_count:,} pairs of rows may be near duplicates and are compared")
        do(similarity.extract_texts, lambda plan: plan.texts, "row")
        do(similarity.similar_pairs, lambda plan: plan.similar_pairs)
        do(
            clusters.connected_clusters if params.clusters == "connected" else clusters.similar_clusters,
            lambda plan: plan.clusters,
        )
        do(similarity.all_pairs, lambda plan: plan.cluster_similarities)
        do(candidates.verdict, lambda plan: plan.verdict)
        do(split_rows, lambda plan: plan.results, "row")
    job.collect([unit.key for unit in every])
    job.collect([piece.key for plan in plans for piece in plan.results])
    return {
        "funnel": _funnel(plans),
        "clusters": {"sizes": _sizes(plans), "examples": {plan.kind: _examples(plan) for plan in plans}},
    }


def split_rows(draft: Path, unit: Unit, number: int, verdict: Path, examples: frozenset[int]) -> Stats:
    """`<kind>.parquet`: the rows that stay; `dropped.parquet`: the others. Returns the counts, and for people the rows numbered in `examples`."""
    import numpy as np
    import pyarrow as pa
    import pyarrow.parquet as pq

    going = pq.read_table(verdict, filters=[("number", ">=", unit.first), ("number", "<", unit.first + unit.rows)])
    numbers, at = going.column("number").to_numpy(), unit.first
    rows: dict[str, dict[str, str]] = {}
    stay = _RowGroups(draft / f"{unit.kind}.parquet", unit.kind)
    with stay.writer, Writer(draft / "dropped.parquet", "dropped") as dropped:
        for batch in batches(unit.path, groups=unit.groups):
            here = slice(*np.searchsorted(numbers, [at, at + len(batch)]))
            stays = np.ones(len(batch), bool)
            stays[numbers[here] - at] = False
            stay.add(batch.filter(pa.array(stays)))
            leaving = _summaries(unit, batch.filter(pa.array(~stays)))
            for row, why in zip(leaving, going.slice(here.start, len(leaving)).to_pylist(), strict=True):
                like = "" if why["similarity"] is None else f", similarity {why['similarity']:.3f}"
                dropped.add({**row, "reason": why["reason"], "detail": f"kept {why['id']} of {why['source']}{like}"})
            for row_number in (row_number for row_number in examples if at <= row_number < at + len(batch)):
                [rows[str(row_number)]] = _summaries(unit, batch.slice(row_number - at, 1))
            at += len(batch)
        stay.flush()
    return {"dropped": dict(Counter(going.column("reason").to_pylist())), "shown": rows}


class _RowGroups:
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


def _summaries(unit: Unit, rows: pa.RecordBatch) -> list[dict[str, str]]:
    """Id, source and excerpt of rows, for pages that people read: without personal data."""
    texts = zip(rows.column("id").to_pylist(), compared_texts(unit.kind, rows), strict=True)
    return [{"id": id, "source": unit.source, "excerpt": excerpt(text.replace(minhash.PART, "\n"))} for id, text in texts]


def _funnel(plans: list[DedupPlan]) -> dict[str, dict[str, Any]]:
    funnel: dict[str, dict[str, Any]] = {}
    for plan in plans:
        for unit, dropped in zip(plan.units, plan.figures(plan.results, "dropped"), strict=True):
            counts = funnel.setdefault(unit.source, {"in": 0, "kept": 0, "dropped": {}})
            counts["in"] += unit.rows
            counts["kept"] += unit.rows - sum(dropped.values())
            for reason, count in dropped.items():
                counts["dropped"][reason] = counts["dropped"].get(reason, 0) + count
    return funnel


def _sizes(plans: list[DedupPlan]) -> dict[str, int]:
    """The number of clusters of 2, 3–4, 5–8 … rows."""
    sizes: Counter[str] = Counter()
    for plan in plans:
        sizes.update(*plan.figures(plan.verdict, "sizes"))
    return dict(sorted(sizes.items(), key=lambda size: int(size[0].partition("–")[0])))


def _examples(plan: DedupPlan) -> list[dict[str, Any]]:
    """Clusters of near duplicates to read, each with its unlike-most rows."""
    rows = {int(number): row for rows_of_unit in plan.figures(plan.results, "shown") for number, row in rows_of_unit.items()}
    examples: dict[int, dict[str, Any]] = {}
    for keeper, size, worse, likeness in plan.examples:
        example = examples.setdefault(keeper, {"size": size, "kept": rows[keeper], "dropped": []})
        example["dropped"].append({**rows[worse], "similarity": round(likeness, 3)})
    return list(examples.values())
