"""Which rows are good enough to learn from: every rule drops a row with its reason, and the first that objects decides.

A row goes through in this order: personal data is masked, sentences that advertise are cut, the checks look at what is left, and at last the
row is searched for evaluation questions.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import lru_cache
from itertools import zip_longest
from pathlib import Path
from typing import Any

from pydantic import Field, model_validator

from tasks.artifacts.stage import Job, Stats, stage
from tasks.data.excerpts import excerpt
from tasks.data.rows import Drop, Writer, batches, files, read
from tasks.filters.checks import CHECKS, View, characters, masked, shortened, strings, view_of, without_boilerplate
from tasks.filters.decontamination import Leaks
from tasks.filters.thresholds import Rules
from tasks.processes import shards, workers

KINDS = ("documents", "conversations", "preferences")
SAMPLES = 5  # dropped rows of each reason shown to a person
TENTHS = 10  # buckets of the shares of Chinese characters


class Params(Rules):
    decontaminate_characters: int = Field(
        13,
        ge=5,
        le=200,
        description="Letters, digits and Han characters from which an evaluation question is searched for without its choices",
    )
    decontaminate_ngram: int = Field(
        13,
        ge=5,
        le=50,
        description="Longest n-gram to search by, in characters; shorter questions are searched for by shorter ones",
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


@stage("filter", version=2, title="Filter", params=Params, section="rows")
def run(job: Job, params: Params, *, rows: Path, questions: dict[str, Path]) -> Stats:
    """`rows` holds `<kind>/*.parquet`; so does the result, in input order, with what went in `dropped/`. `questions` are searched for in them."""
    import pyarrow.parquet as pq

    workers.enough(job)
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
    leaks = leaks_of(asked, *_search(params))
    stats = total.stats()
    del stats["leaks"]  # counted below
    return stats | {"questions": leaks.counts, "contamination": contamination(total, leaks)}


def _digest(path: Path) -> str:
    with path.open("rb") as raw:
        return hashlib.file_digest(raw, "sha256").hexdigest()


def _search(params: Params) -> tuple[int, float, int]:
    """How questions are searched for: by the least share that any source asks for."""
    shares = [params.decontaminate_share, *(rules.decontaminate_share for rules in params.sources.values())]
    return params.decontaminate_characters, min(shares), params.decontaminate_ngram


@lru_cache(maxsize=1)  # once a worker process, not once a file
def leaks_of(questions: tuple[Path, ...], characters: int, share: float, n: int) -> Leaks:
    return Leaks(read(questions, columns=["id", "source", "question", "choices"]), characters, share, n)


def filter_file(draft: Path, path: Path, kind: str, params: Params, questions: tuple[Path, ...]) -> Stats:
    """Filter one file of rows into `<kind>.parquet` and `dropped.parquet`."""
    leaks, tally = leaks_of(questions, *_search(params)), Tally()
    with Writer(draft / f"{kind}.parquet", kind) as kept, Writer(draft / "dropped.parquet", "dropped") as dropped:
        for batch in batches(path):
            for verdict in verdicts(kind, batch.to_pylist(), params, leaks):
                tally.count(verdict)
                if verdict.drop is None:
                    kept.add(verdict.row)
                    continue
                row = verdict.row
                gone = {"id": row["id"], "source": row["source"], "reason": verdict.drop.reason, "detail": verdict.drop.detail}
                gone["excerpt"] = excerpt("\n".join(strings(kind, row)))
                dropped.add(gone)
                tally.drop(gone)
    return tally.stats()


def contamination(total: Tally, leaks: Leaks) -> Stats:
    """Evaluation set → how many questions it has, how many of them were found, in how many rows, and examples."""
    sets = Counter(of for _, of, _ in leaks.asked)
    found = {of: total.leaks.get(of, Found()) for of in sets}
    return {
        of: {"questions": count, "found": len(found[of].questions), "rows": found[of].rows, "examples": found[of].examples}
        for of, count in sets.items()
    }


@dataclass
class Found:
    """What of an evaluation set was found: questions by their place in `Leaks.asked`, rows, and a few rows to read."""

    questions: set[int] = field(default_factory=set)
    rows: int = 0
    examples: list[dict[str, Any]] = field(default_factory=list)

    def add(self, other: Found) -> None:
        self.questions |= other.questions
        self.rows += other.rows
        self.examples = (self.examples + other.examples)[:SAMPLES]


@dataclass
class Verdict:
    """A row as it would be kept (masked, cut; its id stays that of the row that was read), and why it goes, if it does."""

    row: dict[str, Any]
    drop: Drop | None
    before: View  # as it was read
    after: View
    personal: Counter[str]
    leaks: dict[str, Found] = field(default_factory=dict)  # evaluation set → what of it stands in the row


def verdicts(kind: str, rows: list[dict[str, Any]], params: Params, leaks: Leaks) -> Iterator[Verdict]:
    """Judge rows, in order. Only what passed all checks is searched for questions, all of it together."""
    judged = [judge(kind, row, params.sources.get(row["source"], params)) for row in rows]
    passed = [verdict for verdict in judged if verdict.drop is None]
    texts = [strings(kind, verdict.row) for verdict in passed]
    for verdict, parts, leak in zip(passed, texts, leaks.find(texts), strict=True):
        rules = params.sources.get(verdict.row["source"], params)
        if leak is None or leak.share < rules.decontaminate_share:
            continue
        around = excerpt("\n".join(parts)[leak.start :])
        for place in leak.questions:
            id, of, question = leaks.asked[place]
            example = {"id": id, "question": excerpt(question), "row": verdict.row["id"], "source": verdict.row["source"]}
            found = verdict.leaks.setdefault(of, Found())
            found.add(Found({place}, 1 - found.rows, [example | {"share": round(leak.share, 3), "excerpt": around}]))
        if rules.decontaminate == "drop":
            id, of, _ = leaks.asked[leak.questions[0]]
            verdict.drop = Drop("leaked evaluation question", f"question {id} of {of}, {leak.share:.0%} of it")
    yield from judged


def judge(kind: str, row: dict[str, Any], rules: Rules) -> Verdict:
    """What the rules make of one row, evaluation questions left aside."""
    before = view_of(kind, row)
    clean, personal, drop = masked(kind, row, rules)
    if drop:
        return Verdict(row, drop, before, before, personal)
    clean, drop = without_boilerplate(kind, clean, rules)
    clean = shortened(kind, clean, rules)
    after = before if clean is row else view_of(kind, clean)
    drop = drop or next((found for check in CHECKS if (found := check(after, rules))), None)
    return Verdict(clean, drop, before, after, personal)


Histograms = dict[str, dict[str, list[int]]]  # source → before and after → rows in each bucket


@dataclass
class Tally:
    """Counts of one file, or of all. Lengths are counted in buckets of 0, 1, 2, 4, 8 … characters, shares of Chinese characters in tenths."""

    funnel: dict[str, dict[str, Any]] = field(default_factory=dict)
    samples: dict[str, list[dict[str, str]]] = field(default_factory=dict)
    lengths: Histograms = field(default_factory=dict)
    scripts: Histograms = field(default_factory=dict)
    personal: dict[str, Counter[str]] = field(default_factory=dict)
    leaks: dict[str, Found] = field(default_factory=dict)  # evaluation set → what was found of it

    def count(self, verdict: Verdict) -> None:
        """Count a row, kept or dropped."""
        source, kind = verdict.row["source"], verdict.before.kind
        counts = self.funnel.setdefault(source, {"in": 0, "kept": 0, "dropped": Counter()})
        counts["in"] += 1
        counts["kept"] += verdict.drop is None
        for when, view in (("before", verdict.before), ("after", verdict.after)):
            lengths = self.lengths.setdefault(source, {"before": [], "after": []})
            scripts = self.scripts.setdefault(source, {"before": [0] * TENTHS, "after": [0] * TENTHS})
            if when == "before" or verdict.drop is None:
                _count(lengths[when], characters(kind, view.row).bit_length())
                scripts[when][min(TENTHS - 1, int(TENTHS * view.shares["han"]))] += 1
        self.personal.setdefault(source, Counter()).update(verdict.personal)
        for of, found in verdict.leaks.items():
            self.leaks.setdefault(of, Found()).add(found)

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
        for theirs, histograms in ((part["lengths"], self.lengths), (part["scripts"], self.scripts)):
            for source, counted in theirs.items():
                sums = histograms.setdefault(source, {"before": [], "after": []})
                for when in sums:
                    sums[when] = [sum(both) for both in zip_longest(sums[when], counted[when], fillvalue=0)]
        for source, personal in part["personal_data"].items():
            self.personal.setdefault(source, Counter()).update(personal)
        for of, found in part["leaks"].items():
            self.leaks.setdefault(of, Found()).add(Found(set(found["questions"]), found["rows"], found["examples"]))

    def stats(self) -> Stats:
        lengths = {}
        for source, counted in self.lengths.items():
            buckets = max(map(len, counted.values()))
            filled = {when: counts + [0] * (buckets - len(counts)) for when, counts in counted.items()}
            lengths[source] = {"bounds": [0, *(2**bucket for bucket in range(buckets))], **filled}
        bounds = {"bounds": [tenth / TENTHS for tenth in range(TENTHS + 1)]}
        return {
            "funnel": {source: counts | {"dropped": dict(counts["dropped"])} for source, counts in self.funnel.items()},
            "samples": self.samples,
            "lengths": lengths,
            "scripts": {source: bounds | counted for source, counted in self.scripts.items()},
            "personal_data": {source: dict(counts) for source, counts in self.personal.items()},
            "leaks": {
                of: {"questions": sorted(found.questions), "rows": found.rows, "examples": found.examples}
                for of, found in self.leaks.items()
            },
        }


def _count(counts: list[int], bucket: int) -> None:
    counts.extend([0] * (bucket + 1 - len(counts)))
    counts[bucket] += 1
