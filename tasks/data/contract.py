"""The contract between data stages: what a stage hands on has the promised form, adds up, and is much like the last run's.

A first run is judged by itself: the schema of every file, the sums, and bounds that a recipe may set. Later runs are compared, source by
source, with what the last run of the recipe handed on at the same place: how many rows came, what share was kept, what each reason
dropped, what each rule cut or changed within rows, how long the rows are and in which script. Shares of a few rows say nothing and are not compared.

What is accepted becomes what the next run is compared with; what is refused never does.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from itertools import zip_longest
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from tasks.artifacts.stage import Stage, Stats
from tasks.artifacts.store import Record, Store
from tasks.data import characters

HISTOGRAMS = {"lengths": "length_shift", "scripts": "script_shift"}  # statistics → the bound on how far they may move
READ = ("extract", "ingest")  # stages that read rows: how many came is judged there


class Contract(BaseModel):
    """Bounds on how a data stage may differ from the last run. Never part of what is made."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    on_breach: Literal["warn", "pause", "fail"] = Field(
        default="warn",
        description="warn: say so and go on; pause: wait for an operator's yes in the Prefect UI (without one: fail); fail: stop",
    )
    wait_hours: float = Field(
        default=24.0, gt=0, le=720, description="How long a pause waits for an answer before the run fails, in hours"
    )
    rows_percent: float = Field(
        default=20.0, ge=0, le=100, description="A source may lose at most this share of its rows, in percent"
    )
    kept_points: float = Field(
        default=10.0, ge=0, le=100, description="The kept share of a source may fall by so much, in percentage points"
    )
    reason_points: float = Field(
        default=5.0,
        ge=0,
        le=100,
        description="The share that one reason drops of a source may grow by so much, in percentage points",
    )
    cut_points: float = Field(
        default=2.0,
        ge=0,
        le=100,
        description="The share of a source's characters that one rule cuts or changes within kept rows may grow by so much, in percentage points",
    )
    length_shift: float = Field(
        default=0.2, ge=0, le=1, description="Total variation distance that the lengths of a source's kept rows may move"
    )
    script_shift: float = Field(
        default=0.2, ge=0, le=1, description="Total variation distance that the script shares of a source's kept rows may move"
    )
    compare_from: int = Field(
        default=100, ge=1, le=10**9, description="Sources of fewer rows than this are not compared, in rows"
    )
    min_rows: int = Field(default=1, ge=0, le=10**12, description="Rows of a source that a stage must keep, in a first run too")
    max_drop_percent: float = Field(
        default=100.0, ge=0, le=100, description="Most of a source's rows that a stage may drop, in a first run too, in percent"
    )


@dataclass(frozen=True)
class Change:
    """One figure of one source, last time and now. `limit` says in words what was allowed; `breach` whether it was not kept."""

    source: str
    what: str
    last: str
    now: str
    change: str
    limit: str
    breach: bool

    @property
    def reason(self) -> str:
        """The reason that dropped rows, or "" for another figure."""
        return self.what.removeprefix("dropped: ") if self.what.startswith("dropped: ") else ""

    @property
    def rule(self) -> str:
        """The rule that cut or changed characters, or "" for another figure."""
        return self.what.removeprefix("cut by ") if self.what.startswith("cut by ") else ""

    @property
    def line(self) -> str:
        return " ".join(
            part
            for part in (
                f"{self.source}: {self.what}",
                f"{self.last} →" if self.last else "",
                self.now + (f" ({self.change})" if self.change else ""),
            )
            if part
        ) + (f"; {self.limit}" if self.limit else "")


@dataclass(frozen=True)
class Verdict:
    """The outcome of one stage's contract."""

    node: str
    against: str | None  # key of the artifact that it was compared with
    changes: list[Change] = field(default_factory=list)  # breaches first
    broken: list[str] = field(default_factory=list)  # a wrong schema, sums that do not hold

    @property
    def breaches(self) -> list[str]:
        """A line each."""
        return self.broken + [change.line for change in self.changes if change.breach]

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


def applies(stage: Stage) -> bool:
    """True for a stage with a contract: one whose rows the report counts."""
    return stage.section == "rows"


def _family(node: str) -> str:
    """`ingest-belle` is an `ingest`."""
    return node.partition("-")[0]


def judge(node: str, stats: Stats, folder: Path, rules: Contract, last: Record | None) -> Verdict:
    """Check a stage's statistics and files, by themselves and against the last run's."""
    changes = [*_alone(node, stats, rules), *(_compared(_family(node), stats, last.stats, rules) if last else ())]
    changes.sort(key=lambda change: not change.breach)  # stable: else in the order of the sources
    return Verdict(node, last.key if last else None, changes, list(_broken(node, stats, folder)))


def last_run(store: Store, notes: Sequence[Mapping[str, Any]], recipe: str, now: Record) -> tuple[Record | None, bool]:
    """The artifact to compare with: the newest artifact of other content that a run of the recipe accepted at this node, if there is
    one; and whether the last run already accepted the same content. `notes` are the store's, newest first.
    """
    accepted = [
        key
        for note in notes
        if note["recipe"] == recipe and (key := note["artifacts"].get(now.stage)) and now.stage not in note.get("refused", ())
    ]
    settled: bool | None = None
    for key in dict.fromkeys(accepted):
        record = now if key == now.key else store.record(key)
        if record is None:
            continue
        same = record.digest == now.digest
        settled = same if settled is None else settled
        if not same:
            return record, settled
    return None, bool(settled)


# -- the form and the sums ----------------------------------------------------------------------------------------------


def _broken(node: str, stats: Stats, folder: Path) -> Iterator[str]:
    """Files that do not have the columns of their kind, and counts that do not add up: per source in the statistics, and in all between
    the statistics and the files. Reads the files' footers only."""
    import pyarrow.parquet as pq

    from tasks.data.rows import SCHEMAS

    rows = {True: 0, False: 0}  # dropped or not
    for path, kind in _files(folder):
        with pq.ParquetFile(path) as file:
            if kind != "ledger":
                rows[kind == "dropped"] += file.metadata.num_rows
            found, wanted = file.schema_arrow.remove_metadata(), SCHEMAS[kind]
        if not found.equals(wanted):
            yield (
                f"{path.relative_to(folder)}: its columns are {', '.join(f'{f.name} {f.type}' for f in found)}; "
                f"{kind} have {', '.join(f'{f.name} {f.type}' for f in wanted)}"
            )
    counts = stats.get("funnel", {})
    lost = {source: sum(count["dropped"].values()) for source, count in counts.items()}
    for source, count in counts.items():
        if count["in"] != count["kept"] + lost[source]:
            yield (
                f"{source}: of {count['in']:,} rows {count['kept']:,} were kept and {lost[source]:,} dropped, which is not all of them"
            )
    for source in characters.accounts({node: {"stats": stats}}, {}, 0):
        yield from source.problems
    kept = sum(count["kept"] for count in counts.values())
    if _family(node) == "split":  # a row of two uses is written twice
        kept = sum(
            amount["rows"] for sides in stats.get("uses", {}).values() for side in sides.values() for amount in side.values()
        )
    for what, said, there in (("kept", kept, rows[False]), ("dropped", sum(lost.values()), rows[True])):
        if said != there:
            yield f"{node} counted {said:,} rows as {what}, but its files hold {there:,}"


def _files(folder: Path) -> Iterator[tuple[Path, str]]:
    """The files of rows in an artifact, with their kind. Folders that are named by no kind and no use hold something else."""
    from tasks.data.rows import SCHEMAS
    from tasks.data.uses import MAKES

    kinds = {**{kind: kind for kind in SCHEMAS}, **MAKES}
    for home in sorted(path for path in folder.iterdir() if path.is_dir() and path.name in kinds):
        for path in sorted(home.glob("*.parquet")):
            yield path, kinds[home.name]


# -- counts and shares --------------------------------------------------------------------------------------------------


def _alone(node: str, stats: Stats, rules: Contract) -> Iterator[Change]:
    """Bounds that need no other run."""
    if _family(node) == "split":  # it drops what has no use
        return
    for source, count in stats.get("funnel", {}).items():
        if count["kept"] < rules.min_rows:
            yield Change(
                source,
                "rows kept",
                "",
                f"{count['kept']:,}",
                "",
                f"at least {rules.min_rows:,} must be (contract.min_rows){_went(count['dropped'])}",
                True,
            )
        dropped = 1 - count["kept"] / count["in"] if count["in"] else 0.0
        if 100 * dropped > rules.max_drop_percent:
            limit = f"at most {rules.max_drop_percent:g} % may be (contract.max_drop_percent)"
            yield Change(source, "rows dropped", "", percent(dropped), "", limit, True)


def _went(dropped: dict[str, int]) -> str:
    """The reason for which most rows went, in words."""
    if not dropped:
        return ""
    reason, count = max(dropped.items(), key=lambda item: item[1])
    return f"; {count:,} went as: {reason}"


def _compared(family: str, now: Stats, last: Stats, rules: Contract) -> Iterator[Change]:
    """Every figure that moved since the last run.

    How many rows came is judged where they are read, and a source that is gone where sources meet: what a step drops is held against it
    once, not against every step after it.
    """
    before, after = last.get("funnel", {}), now.get("funnel", {})
    for source in dict.fromkeys([*before, *after]):
        old, new = before.get(source), after.get(source)
        if old is None or new is None or not old["in"]:
            if new is not None and new["in"]:
                yield Change(source, "rows read", "none" if old else "", f"{new['in']:,}", "new", "", False)
            elif old is not None and old["in"]:
                yield from _rows(source, old["in"], 0, rules, family in (*READ, "dedup"))
            continue
        enough = min(old["in"], new["in"]) >= rules.compare_from
        yield from _rows(source, old["in"], new["in"], rules, family in READ)
        if new["in"]:
            yield from _share(
                source, "kept", old["kept"] / old["in"], new["kept"] / new["in"], -rules.kept_points, "kept_points", enough
            )
            for reason in dict.fromkeys([*old["dropped"], *new["dropped"]]):
                shares = old["dropped"].get(reason, 0) / old["in"], new["dropped"].get(reason, 0) / new["in"]
                yield from _share(source, f"dropped: {reason}", *shares, rules.reason_points, "reason_points", enough, grows=True)
    yield from _cuts(now, last, rules)
    for name, bound in HISTOGRAMS.items():
        for source, found in now.get(name, {}).items():
            if source in last.get(name, {}):
                yield from _shape(source, name, last[name][source], found, getattr(rules, bound), bound, rules.compare_from)


def _cuts(now: Stats, last: Stats, rules: Contract) -> Iterator[Change]:
    """The share that each rule cuts and changes within the rows that are kept, of their characters."""
    for source, new in now.get("ledger", {}).items():
        old = last.get("ledger", {}).get(source)
        if not old or not old["read"] or not new["read"]:
            continue
        enough = min(stats["funnel"][source]["kept"] for stats in (last, now)) >= rules.compare_from
        for rule in dict.fromkeys([*old["rules"], *new["rules"]]):
            shares = characters.hit_share(old, rule), characters.hit_share(new, rule)
            yield from _share(source, f"cut by {rule}", *shares, rules.cut_points, "cut_points", enough, grows=True)


def _rows(source: str, old: int, new: int, rules: Contract, judged: bool) -> Iterator[Change]:
    fallen = 100 * (1 - new / old)
    limit = f"it may fall by {rules.rows_percent:g} % (contract.rows_percent)" if judged else ""
    if new != old:
        breach = judged and fallen > rules.rows_percent and old >= rules.compare_from
        yield Change(source, "rows read", f"{old:,}", f"{new:,}", f"{-fallen:+.1f} %", limit, breach)


def _share(
    source: str, what: str, old: float, new: float, allowed: float, field: str, enough: bool, *, grows: bool = False
) -> Iterator[Change]:
    """A share that may fall (a negative `allowed`) or grow by so many points."""
    points = 100 * (new - old)
    breach = enough and (points > allowed if grows else points < allowed)
    if breach or abs(points) >= 0.05:  # less is shown as no change
        way = "grow" if grows else "fall"
        limit = f"it may {way} by {abs(allowed):g} points (contract.{field})"
        yield Change(source, what, percent(old), percent(new), f"{points:+.1f} points", limit, breach)


def _shape(
    source: str, name: str, old: Mapping[str, Any], new: Mapping[str, Any], allowed: float, field: str, least: int
) -> Iterator[Change]:
    shorter = min(len(old["bounds"]), len(new["bounds"]))
    if old["bounds"][:shorter] != new["bounds"][:shorter] or min(sum(old["after"]), sum(new["after"])) < least:
        return  # counted in other buckets, or of too few rows
    moved = distance(old["after"], new["after"])
    if moved >= 0.005:
        limit = f"they may move by {allowed:g} (contract.{field})"
        yield Change(source, f"{name} of kept rows", "", f"{moved:.2f} away", "", limit, moved > allowed)


def distance(old: Iterable[int], new: Iterable[int]) -> float:
    """Total variation: the share of rows that would have to change bucket, 0 to 1."""
    one, other = list(old), list(new)
    both = zip_longest(one, other, fillvalue=0)
    return sum(abs(a / sum(one) - b / sum(other)) for a, b in both) / 2


def percent(share: float) -> str:
    return f"{100 * share:.1f} %"
