"""Which rows are good enough to learn from: every rule drops a row with its reason, and the first that objects decides.

A row goes through in this order: personal data is masked, sentences that advertise are cut, the rules look at what is left, and at last the row
is searched for evaluation questions.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from dataclasses import dataclass, field
from functools import lru_cache
from itertools import zip_longest
from pathlib import Path
from typing import Any

from pydantic import Field, model_validator

from tasks import shards
from tasks.leaks import Leaks
from tasks.rows import EXCERPT, Drop, Writer, files, read
from tasks.rules import RULES, Rules, characters, masked, strings, view_of, without_boilerplate
from tasks.stage import Job, Stats, stage
from tasks.text import privacy

KINDS = ("documents", "conversations", "preferences")
BATCH = 2_000  # rows in memory at a time
SAMPLES = 5  # dropped rows of each reason shown to a person


class Params(Rules):
    decontaminate_characters: int = Field(
        13,
        ge=5,
        le=200,
        description="Letters, digits and Han characters from which an evaluation question is searched for in the rows",
    )
    sources: dict[str, Rules] = Field(
        default_factory=dict, description="Source name → other thresholds for its rows; what is not given there is as above"
    )

    @model_validator(mode="before")
    @classmethod
    def _inherit(cls, data: Any) -> Any:
        """Each source's rules are made whole here, so that the identity says what is applied."""
        if not isinstance(data, dict) or not isinstance(data.get("sources"), dict):
            return data
        common = {name: data[name] for name in Rules.model_fields if name in data}
        return {
            **data,
            "sources": {name: {**common, **own} if isinstance(own, dict) else own for name, own in data["sources"].items()},
        }


@stage("filter", version=1, title="Filter", params=Params)
def run(job: Job, params: Params, *, rows: Path, questions: dict[str, Path]) -> Stats:
    """`rows` holds `<kind>/*.parquet`; so does the result, in input order, with what went in `dropped/`. `questions` are searched for in them."""
    import pyarrow.parquet as pq

    asked = tuple(path for folder in questions.values() for path in files(folder, kind="questions"))
    meaning = [run.version, params.model_dump(mode="json"), [_digest(path) for path in asked]]
    pieces = [
        shards.Piece(
            key=job.shard_key("filter", kind, _digest(path), *meaning),
            arguments=(path, kind, params, asked),
            size=pq.read_metadata(path).num_rows,
            bytes=path.stat().st_size,
        )
        for kind in KINDS
        for path in files(rows, kind=kind)
    ]
    total = Tally()
    for part in shards.do(job, filter_file, pieces, "row"):
        total.add(part)
    job.collect([piece.key for piece in pieces])
    for source in params.sources:
        if source not in total.funnel:
            job.log(f"filter.sources.{source} is ignored: no row has this source")
    return total.stats() | {"questions": leaks_of(asked, params.decontaminate_characters).counts}


def _digest(path: Path) -> str:
    with path.open("rb") as raw:
        return hashlib.file_digest(raw, "sha256").hexdigest()


def filter_file(draft: Path, path: Path, kind: str, params: Params, questions: tuple[Path, ...]) -> Stats:
    """Filter one file of rows into `<kind>.parquet` and `dropped.parquet`."""
    import pyarrow.parquet as pq

    leaks = leaks_of(questions, params.decontaminate_characters)
    tally = Tally()
    with Writer(draft / f"{kind}.parquet", kind) as kept, Writer(draft / "dropped.parquet", "dropped") as dropped:
        for batch in pq.ParquetFile(path).iter_batches(BATCH):
            for read_row in batch.to_pylist():
                rules = params.sources.get(read_row["source"], params)
                row, personal, drop = judge(kind, read_row, rules, leaks)
                tally.row(row["source"], characters(kind, read_row), None if drop else characters(kind, row), personal)
                if drop is None:
                    kept.add(row)
                    continue
                excerpt = privacy.mask("\n".join(strings(kind, row))[: 4 * EXCERPT])[0][:EXCERPT]
                gone = {
                    "id": row["id"],
                    "source": row["source"],
                    "reason": drop.reason,
                    "detail": drop.detail,
                    "excerpt": excerpt,
                }
                dropped.add(gone)
                tally.drop(gone)
    return tally.stats()


@lru_cache(maxsize=1)  # once a worker process, not once a file
def leaks_of(questions: tuple[Path, ...], n: int) -> Leaks:
    return Leaks(read(questions, columns=["id", "source", "question"]), n)


def judge(kind: str, row: dict[str, Any], rules: Rules, leaks: Leaks) -> tuple[dict[str, Any], Counter[str], Drop | None]:
    """The row as it would be kept (masked, cut; its id stays that of the row that was read), its personal data, and why it goes, if it does."""
    clean, personal = masked(kind, row)
    if personal and rules.privacy == "drop":
        return row, personal, Drop("personal data", ", ".join(f"{what} {count}" for what, count in sorted(personal.items())))
    if rules.privacy == "mask":
        row = clean
    row, drop = without_boilerplate(kind, row, rules)
    seen = view_of(kind, row)
    drop = drop or next((found for rule in RULES if (found := rule(seen, rules))), None) or leaks.find(strings(kind, row))
    return row, personal, drop


@dataclass
class Tally:
    """Counts of one file, or of all. A histogram of lengths has bounds of 0, 1, 2, 4, 8 … characters."""

    funnel: dict[str, dict[str, Any]] = field(default_factory=dict)
    samples: dict[str, list[dict[str, str]]] = field(default_factory=dict)
    lengths: dict[str, dict[str, list[int]]] = field(default_factory=dict)
    personal: dict[str, Counter[str]] = field(default_factory=dict)

    def row(self, source: str, before: int, after: int | None, personal: Counter[str]) -> None:
        """Count a row of `before` characters, kept with `after` or dropped."""
        counts = self.funnel.setdefault(source, {"in": 0, "kept": 0, "dropped": Counter()})
        counts["in"] += 1
        counts["kept"] += after is not None
        lengths = self.lengths.setdefault(source, {"before": [], "after": []})
        for when, number in (("before", before), ("after", after)):
            if number is not None:
                _count(lengths[when], number.bit_length())
        self.personal.setdefault(source, Counter()).update(personal)

    def drop(self, gone: dict[str, str]) -> None:
        """Count a dropped row by its reason, and show the first few."""
        self.funnel[gone["source"]]["dropped"][gone["reason"]] += 1
        samples = self.samples.setdefault(gone["reason"], [])
        if len(samples) < SAMPLES:
            samples.append({name: gone[name] for name in ("id", "source", "detail", "excerpt")})

    def add(self, part: Stats) -> None:
        """Take in the statistics of a file."""
        for source, counts in part["funnel"].items():
            ours = self.funnel.setdefault(source, {"in": 0, "kept": 0, "dropped": Counter()})
            ours["in"] += counts["in"]
            ours["kept"] += counts["kept"]
            ours["dropped"].update(counts["dropped"])
        for reason, samples in part["samples"].items():
            self.samples[reason] = (self.samples.get(reason, []) + samples)[:SAMPLES]
        for source, lengths in part["lengths"].items():
            ours = self.lengths.setdefault(source, {"before": [], "after": []})
            for when in ours:
                ours[when] = [sum(both) for both in zip_longest(ours[when], lengths[when], fillvalue=0)]
        for source, personal in part["personal_data"].items():
            self.personal.setdefault(source, Counter()).update(personal)

    def stats(self) -> Stats:
        lengths = {}
        for source, counted in self.lengths.items():
            buckets = max(map(len, counted.values()))
            filled = {when: counts + [0] * (buckets - len(counts)) for when, counts in counted.items()}
            lengths[source] = {"bounds": [0, *(2**bucket for bucket in range(buckets))], **filled}
        funnel = {source: counts | {"dropped": dict(counts["dropped"])} for source, counts in self.funnel.items()}
        personal = {source: dict(counts) for source, counts in self.personal.items()}
        return {"funnel": funnel, "samples": self.samples, "lengths": lengths, "personal_data": personal}


def _count(counts: list[int], bucket: int) -> None:
    counts.extend([0] * (bucket + 1 - len(counts)))
    counts[bucket] += 1
