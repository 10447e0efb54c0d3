"""The filter of rows that are not good enough to learn from: each rule drops a row with its reason, and the first that objects decides.

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
from tasks.data.cuts import shown_cut
from tasks.data.excerpts import excerpt
from tasks.data.rows import Drop, Writer, batches, files, read, texts
from tasks.filters.checks import (
    CHECKS,
    View,
    cut_boilerplate,
    mask_personal_data,
    shorten,
    view_of,
    views_of,
)
from tasks.filters.decontamination import QuestionIndex
from tasks.filters.thresholds import FilterRules
from tasks.processes import shards, workers
from tasks.text.ledger import NO_LEDGER, Account, Excerpt, Ledger, summed_stats

KINDS = ("documents", "conversations", "preferences")
SAMPLES = 5  # dropped rows of each reason shown to a person
TENTHS = 10  # buckets of the shares of Chinese characters


class Params(FilterRules):
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
    sources: dict[str, FilterRules] = Field(
        default_factory=dict, description="Source name → other thresholds for its rows; what is not given there is as above"
    )

    @model_validator(mode="before")
    @classmethod
    def _inherit(cls, data: Any) -> Any:
        """Each source's rules are made whole here, so that the identity says what is applied."""
        if not isinstance(data, dict) or not isinstance(data.get("sources"), dict):
            return data
        common = {name: data[name] for name in FilterRules.model_fields if name in data}
        return {
            **data,
            "sources": {name: {**common, **own} if isinstance(own, dict) else own for name, own in data["sources"].items()},
        }


@stage("filter", version=4, title="Filter", params=Params, section="rows")
def run(job: Job, params: Params, *, rows: Path, questions: dict[str, Path]) -> Stats:
    """`rows` holds `<kind>/*.parquet`; so does the result, in input order, with what went in `dropped/`. `questions` are searched for in them."""
    import pyarrow.parquet as pq

    workers.enough(job)
    question_files = tuple(path for folder in questions.values() for path in files(folder, kind="questions"))
    meaning = [run.version, params.model_dump(mode="json"), [_digest(path) for path in question_files]]
    pieces = [
        shards.Piece(
            key=job.shard_key("filter", kind, _digest(path), *meaning),
            arguments=(path, kind, params, question_files),
            size=pq.read_metadata(path).num_rows,
            bytes=path.stat().st_size,
        )
        for kind in KINDS
        for path in files(rows, kind=kind)
    ]
    total = FilterCounts()
    for part in shards.do(job, filter_file, pieces, "row"):
        total.add(part)
    job.collect([piece.key for piece in pieces])
    for source in params.sources:
        if source not in total.funnel:
            job.log(f"filter.sources.{source} is ignored: no row has this source")
    index = question_index(question_files, *_search(params))
    stats = total.stats()
    del stats["leaks"]  # counted below
    return stats | {"questions": index.counts, "contamination": contamination(total, index)}


def _digest(path: Path) -> str:
    with path.open("rb") as raw:
        return hashlib.file_digest(raw, "sha256").hexdigest()


def _search(params: Params) -> tuple[int, float, int]:
    """Characters, share and n of the search for questions; the share is the least that any source asks for."""
    shares = [params.decontaminate_share, *(rules.decontaminate_share for rules in params.sources.values())]
    return params.decontaminate_characters, min(shares), params.decontaminate_ngram


@lru_cache(maxsize=1)  # once a worker process, not once a file
def question_index(questions: tuple[Path, ...], characters: int, share: float, n: int) -> QuestionIndex:
    """The index of the questions in these files."""
    return QuestionIndex(read(questions, columns=["id", "source", "question", "choices"]), characters, share, n)


def filter_file(draft: Path, path: Path, kind: str, params: Params, questions: tuple[Path, ...]) -> Stats:
    """Filter one file of rows into `<kind>.parquet`, `dropped.parquet` and `ledger.parquet`."""
    index, counts = question_index(questions, *_search(params)), FilterCounts()
    with (
        Writer(draft / f"{kind}.parquet", kind) as passing,
        Writer(draft / "dropped.parquet", "dropped") as dropped,
        Writer(draft / "ledger.parquet", "ledger") as cuts,
    ):
        for batch in batches(path):
            for filtered in filtered_rows(kind, batch.to_pylist(), params, index, counts.accounts):
                counts.count(filtered)
                if filtered.drop is None:
                    passing.add(filtered.row)
                    for cut in counts.settle(filtered):
                        cuts.add(shown_cut(filtered.row["source"], cut))
                    continue
                row = filtered.row
                dropped_row = {
                    "id": row["id"],
                    "source": row["source"],
                    "reason": filtered.drop.reason,
                    "detail": filtered.drop.detail,
                }
                dropped_row["excerpt"] = excerpt("\n".join(texts(kind, row)))
                dropped.add(dropped_row)
                counts.drop(dropped_row)
    return counts.stats()


def contamination(total: FilterCounts, index: QuestionIndex) -> Stats:
    """Evaluation set → the number of its questions, of those that were found, and of the rows that hold them, and examples."""
    sets = Counter(name for _, name, _ in index.questions)
    parts = {name: total.contamination.get(name, Contamination()) for name in sets}
    return {
        name: {
            "questions": count,
            "found": len(parts[name].questions),
            "rows": parts[name].rows,
            "examples": parts[name].examples,
        }
        for name, count in sets.items()
    }


@dataclass
class Contamination:
    """The part of an evaluation set that stands in rows: its questions by their place in `QuestionIndex.questions`, the number of rows, and a few
    of them to read."""

    questions: set[int] = field(default_factory=set)
    rows: int = 0
    examples: list[dict[str, Any]] = field(default_factory=list)

    def add(self, other: Contamination) -> None:
        self.questions |= other.questions
        self.rows += other.rows
        self.examples = (self.examples + other.examples)[:SAMPLES]


@dataclass
class FilteredRow:
    """A row as it would stay (masked, cut; its id stays that of the row that was read), and the reason if it goes."""

    row: dict[str, Any]
    drop: Drop | None
    before: View  # as it was read
    after: View
    personal: Counter[str]
    ledger: Ledger
    contamination: dict[str, Contamination] = field(default_factory=dict)  # by evaluation set


def filtered_rows(
    kind: str, rows: list[dict[str, Any]], params: Params, index: QuestionIndex, accounts: dict[str, Account]
) -> Iterator[FilteredRow]:
    """Judge rows, in order. Only what passed all checks is searched for questions, all of it together. `accounts` are those of their sources."""
    filtered = [
        judge(view, params.sources.get(source := view.row["source"], params), accounts.setdefault(source, Account()).ledger())
        for view in views_of(kind, rows)
    ]
    passed = [result for result in filtered if result.drop is None]
    searched = [result.after.texts for result in passed]
    for result, parts, match in zip(passed, searched, index.find(searched), strict=True):
        rules = params.sources.get(result.row["source"], params)
        if match is None or match.share < rules.decontaminate_share:
            continue
        around = excerpt("\n".join(parts)[match.start :])
        for place in match.questions:
            id, exam, question = index.questions[place]
            example = {"id": id, "question": excerpt(question), "row": result.row["id"], "source": result.row["source"]}
            part = result.contamination.setdefault(exam, Contamination())
            part.add(Contamination({place}, 1 - part.rows, [example | {"share": round(match.share, 3), "excerpt": around}]))
        if rules.decontaminate == "drop":
            id, exam, _ = index.questions[match.questions[0]]
            result.drop = Drop("leaked evaluation question", f"question {id} of {exam}, {match.share:.0%} of it")
    yield from filtered


def judge_row(kind: str, row: dict[str, Any], rules: FilterRules, ledger: Ledger = NO_LEDGER) -> FilteredRow:
    """One row by its source's rules, evaluation questions left aside."""
    return judge(view_of(kind, row), rules, ledger)


def judge(before: View, rules: FilterRules, ledger: Ledger) -> FilteredRow:
    """A row that is looked at by its source's rules."""
    clean, personal, drop = mask_personal_data(before, rules, ledger)
    if drop:
        return FilteredRow(before.row, drop, before, before, personal, ledger)
    masked = before if clean is before.row else view_of(before.kind, clean)
    clean, drop = cut_boilerplate(masked, rules, ledger)
    clean = shorten(before.kind, clean, rules, ledger)
    after = masked if clean is masked.row else view_of(before.kind, clean)
    drop = drop or next((objection for check in CHECKS if (objection := check(after, rules))), None)
    return FilteredRow(clean, drop, before, after, personal, ledger)


Histograms = dict[str, dict[str, list[int]]]  # source → before and after → rows in each bucket


@dataclass
class FilterCounts:
    """Counts of one file, or of all. Lengths are counted in buckets of 0, 1, 2, 4, 8 … characters, shares of Chinese characters in tenths."""

    funnel: dict[str, dict[str, Any]] = field(default_factory=dict)
    samples: dict[str, list[dict[str, str]]] = field(default_factory=dict)
    lengths: Histograms = field(default_factory=dict)
    scripts: Histograms = field(default_factory=dict)
    personal: dict[str, Counter[str]] = field(default_factory=dict)
    contamination: dict[str, Contamination] = field(default_factory=dict)  # by evaluation set
    accounts: dict[str, Account] = field(default_factory=dict)  # of the kept rows of each source, of one file
    parts: dict[str, list[Stats]] = field(default_factory=dict)  # statistics of such accounts, of all files

    def settle(self, filtered: FilteredRow) -> list[Excerpt]:
        """Take the ledger of a kept row into its source's account; returns its cuts that are to be shown."""
        return self.accounts[filtered.row["source"]].settle(filtered.ledger, filtered.before.size, filtered.after.size)

    def count(self, filtered: FilteredRow) -> None:
        """Count a row, kept or dropped."""
        source = filtered.row["source"]
        if source not in self.funnel:
            self.funnel[source] = {"in": 0, "kept": 0, "dropped": Counter()}
            self.lengths[source] = {"before": [], "after": []}
            self.scripts[source] = {"before": [0] * TENTHS, "after": [0] * TENTHS}
            self.personal[source] = Counter()
        counts = self.funnel[source]
        counts["in"] += 1
        counts["kept"] += filtered.drop is None
        lengths, scripts = self.lengths[source], self.scripts[source]
        for when, view in (("before", filtered.before), ("after", filtered.after)):
            if when == "before" or filtered.drop is None:
                _count(lengths[when], view.characters.bit_length())
                scripts[when][min(TENTHS - 1, int(TENTHS * view.shares["han"]))] += 1
        if filtered.personal:
            self.personal[source].update(filtered.personal)
        for name, part in filtered.contamination.items():
            self.contamination.setdefault(name, Contamination()).add(part)

    def drop(self, dropped_row: dict[str, str]) -> None:
        """Count a dropped row by its reason, and show the first few."""
        self.funnel[dropped_row["source"]]["dropped"][dropped_row["reason"]] += 1
        samples = self.samples.setdefault(dropped_row["reason"], [])
        if len(samples) < SAMPLES:
            samples.append({name: dropped_row[name] for name in ("id", "source", "detail", "excerpt")})

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
            for source, counts_when in theirs.items():
                sums = histograms.setdefault(source, {"before": [], "after": []})
                for when in sums:
                    sums[when] = [sum(both) for both in zip_longest(sums[when], counts_when[when], fillvalue=0)]
        for source, personal in part["personal_data"].items():
            self.personal.setdefault(source, Counter()).update(personal)
        for source, account in part["ledger"].items():
            self.parts.setdefault(source, []).append(account)
        for name, entry in part["leaks"].items():
            self.contamination.setdefault(name, Contamination()).add(
                Contamination(set(entry["questions"]), entry["rows"], entry["examples"])
            )

    def stats(self) -> Stats:
        lengths = {}
        for source, counts_when in self.lengths.items():
            buckets = max(map(len, counts_when.values()))
            filled = {when: counts + [0] * (buckets - len(counts)) for when, counts in counts_when.items()}
            lengths[source] = {"bounds": [0, *(2**bucket for bucket in range(buckets))], **filled}
        bounds = {"bounds": [tenth / TENTHS for tenth in range(TENTHS + 1)]}
        parts = self.parts or {source: [account.stats()] for source, account in self.accounts.items()}
        return {
            "funnel": {source: counts | {"dropped": dict(counts["dropped"])} for source, counts in self.funnel.items()},
            "ledger": {source: summed_stats(accounts) for source, accounts in parts.items()},
            "samples": self.samples,
            "lengths": lengths,
            "scripts": {source: bounds | counts_when for source, counts_when in self.scripts.items()},
            "personal_data": {source: dict(counts) for source, counts in self.personal.items()},
            "leaks": {
                name: {"questions": sorted(part.questions), "rows": part.rows, "examples": part.examples}
                for name, part in self.contamination.items()
            },
        }


def _count(counts: list[int], bucket: int) -> None:
    counts.extend([0] * (bucket + 1 - len(counts)))
    counts[bucket] += 1
