"""The characters of each source, stage by stage: read, kept, and what each rule cut, added or changed in between, with cuts to read.

Every stage that changes texts reports, of the rows that it keeps, `{"ledger": {source: account}}` with the account as `tasks/text/ledger.py` has it,
and writes cuts to read into `ledger/*.parquet`. read + added = kept + cut must hold.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tasks.data.funnel import Nodes
from tasks.text.ledger import EXCERPTS, difference

FIELD = "field "  # how the rules of a record's other fields begin: what is no text


@dataclass(frozen=True)
class Rule:
    """One rule's doing in the kept rows of a source at one stage, in characters."""

    name: str
    rows: int
    times: int
    cut: int
    added: int
    changed: int
    share: float  # cut and changed, of the characters read
    details: list[tuple[str, int, int]]  # (name, times, cut), the most frequent first
    excerpts: list[dict[str, str]]


@dataclass(frozen=True)
class StageAccount:
    """The account of one source at one stage."""

    node: str
    read: int
    kept: int
    rules: list[Rule]  # of texts, then of fields that are no text
    missing: int  # characters that no rule tells of

    @property
    def cut(self) -> int:
        return sum(rule.cut for rule in self.rules)

    @property
    def added(self) -> int:
        return sum(rule.added for rule in self.rules)

    @property
    def changed(self) -> int:
        return sum(rule.changed for rule in self.rules)

    @property
    def problem(self) -> str:
        """The gap in the sums, in words; "" if there is none."""
        if not self.missing:
            return ""
        what = f"{abs(self.missing):,} characters {'that no rule tells of' if self.missing > 0 else 'too many'}"
        return f"{self.node}: read {self.read:,}, added {self.added:,}, kept {self.kept:,}, cut {self.cut:,}: {what}"


@dataclass(frozen=True)
class SourceAccount:
    """The accounts of one source, in the order of the stages."""

    source: str
    stages: list[StageAccount]

    @property
    def problems(self) -> list[str]:
        return [f"{self.source}, {stage.problem}" for stage in self.stages if stage.problem]


def accounts(nodes: Nodes, artifacts: Mapping[str, Path], examples: int = EXCERPTS) -> list[SourceAccount]:
    """The accounts of all sources, each rule with so many cuts to read."""
    by_source: dict[str, list[StageAccount]] = {}
    for node, entry in nodes.items():
        for source, account in entry["stats"].get("ledger", {}).items():
            cuts = shown_cuts(artifacts.get(node), source, examples) if examples else {}
            by_source.setdefault(source, []).append(_stage_account(node, account, cuts))
    return [SourceAccount(source, stages) for source, stages in by_source.items()]


def _stage_account(node: str, account: dict[str, Any], cuts: dict[str, list[dict[str, str]]]) -> StageAccount:
    rules = [
        Rule(
            name,
            counts["rows"],
            counts["times"],
            counts["cut"],
            counts["added"],
            counts["changed"],
            hit_share(account, name),
            [(detail, times, cut) for detail, (times, cut) in account["details"].get(name, {}).items()],
            cuts.get(name, []),
        )
        for name, counts in account["rules"].items()
    ]
    rules.sort(key=lambda rule: (rule.name.startswith(FIELD), -rule.cut - rule.changed, -rule.added, rule.name))
    return StageAccount(node, account["read"], account["kept"], rules, difference(account))


def hit_share(account: Mapping[str, Any], rule: str) -> float:
    """The share of the characters read that a rule cut or changed, 0 to 1 (an unescaped text may be changed more than once)."""
    counts = account["rules"].get(rule)
    return (counts["cut"] + counts["changed"]) / account["read"] if counts and account["read"] else 0.0


def shown_cuts(folder: Path | None, source: str, most: int = EXCERPTS) -> dict[str, list[dict[str, str]]]:
    """Rule → cuts of one source to read (before, cut, instead, after, detail), as many from each part of the rows as there is room for."""
    import pyarrow.compute as pc
    import pyarrow.parquet as pq

    parts: list[dict[str, list[dict[str, str]]]] = []
    for path in sorted((folder / "ledger").glob("*.parquet")) if folder else []:
        table = pq.read_table(path)
        part: dict[str, list[dict[str, str]]] = {}
        for cut in table.filter(pc.equal(table["source"], source)).to_pylist():
            part.setdefault(cut["rule"], []).append(cut)
        parts.append(part)
    rules = dict.fromkeys(rule for part in parts for rule in part)
    return {rule: _in_turn([part[rule] for part in parts if rule in part], most) for rule in rules}


def _in_turn(parts: list[list[dict[str, str]]], most: int) -> list[dict[str, str]]:
    """The first of each part, then the second of each, up to so many."""
    longest = max(map(len, parts))
    return [part[place] for place in range(longest) for part in parts if place < len(part)][:most]
