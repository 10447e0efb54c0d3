"""The funnel: counts of the rows of each source, from one data stage to the next, and the gaps where they do not add up.

Every data stage reports `{"funnel": {source: {"in": n, "kept": n, "dropped": {reason: n}}}}`. Two sums must hold: within a stage, what goes
in is kept or dropped; from stage to stage, what one keeps is what the next takes in.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tasks.text import privacy

TRAINS = {"documents", "conversations", "preferences"}  # kinds that go the whole way; others leave it for the evaluation

Nodes = dict[
    str, dict[str, Any]
]  # node name → {stage, title, key, digest, version, group, section, step, stats, …}, in pipeline order


@dataclass(frozen=True)
class Cell:
    """One source at one step."""

    node: str
    taken: int
    kept: int
    dropped: dict[str, int]

    @property
    def lost(self) -> int:
        return sum(self.dropped.values())


@dataclass
class SourceFunnel:
    """One source's row of the table: a cell a step, None where the source does not come by."""

    source: str
    kinds: list[str]
    cells: list[Cell | None]
    problems: list[str] = field(default_factory=list)

    @property
    def passed(self) -> list[Cell]:
        return [cell for cell in self.cells if cell]

    @property
    def read(self) -> int:
        return self.passed[0].taken

    @property
    def used(self) -> int:
        return self.passed[-1].kept

    @property
    def shares(self) -> list[tuple[int | None, int, float]]:
        """(step, rows lost there, their share of what was read), and at last (None, rows used, their share)."""
        lost = [(step, cell.lost) for step, cell in enumerate(self.cells) if cell and cell.lost]
        parts: list[tuple[int | None, int]] = [*lost, (None, self.used)]
        whole = max(self.read, sum(rows for _, rows in parts))  # more out than in is a problem, not a bar beyond its frame
        return [(step, rows, rows / whole if whole else 0.0) for step, rows in parts]


@dataclass
class Funnel:
    steps: list[str]
    sources: list[SourceFunnel]
    problems: list[str]

    @property
    def read(self) -> int:
        return sum(row.read for row in self.sources)

    def kept(self, step: int) -> int:
        return sum(cell.kept for row in self.sources if (cell := row.cells[step]))

    @property
    def used(self) -> int:
        """Rows that training uses: those that the split kept; 0 without one."""
        return self.kept(self.steps.index("split")) if "split" in self.steps else 0


def kinds(folder: Path | None) -> list[str]:
    """The kinds of rows that an artifact holds: the names of its folders, without those of dropped rows and of cuts."""
    return (
        sorted(path.name for path in folder.iterdir() if path.is_dir() and path.name not in ("dropped", "ledger"))
        if folder and folder.is_dir()
        else []
    )


def build(nodes: Nodes, artifacts: dict[str, Path]) -> Funnel:
    """The table of all sources that any step counted, with every sum that does not hold put into words."""
    steps = list(
        dict.fromkeys(entry["step"] for entry in nodes.values() if entry["section"] == "rows" and "funnel" in entry["stats"])
    )
    table: dict[str, list[Cell | None]] = {}
    problems: list[str] = []
    of_source: dict[str, list[str]] = {}
    for node, entry in nodes.items():
        for source, counts in entry["stats"].get("funnel", {}).items():
            cell = Cell(node, counts["in"], counts["kept"], counts["dropped"])
            if missing := cell.taken - cell.kept - cell.lost:
                what = f"{abs(missing):,} {'unaccounted for' if missing > 0 else 'too many'}"
                problem = f"{node}, {source}: of {cell.taken:,} rows {cell.kept:,} were kept and {cell.lost:,} dropped, {what}"
                problems.append(problem)
                of_source.setdefault(source, []).append(problem)
            if entry["section"] == "rows":
                table.setdefault(source, [None] * len(steps))[steps.index(entry["step"])] = cell
    sources = []
    for source, cells in table.items():
        folder = artifacts.get(next(cell.node for cell in cells if cell))
        sources.append(SourceFunnel(source, kinds(folder), cells, of_source.get(source, [])))
        row = sources[-1]
        gaps = _gaps(row, _rows_for_evaluation(folder, row.kinds))
        row.problems += gaps
        problems += gaps
    return Funnel(steps, sources, problems)


def _rows_for_evaluation(folder: Path | None, kinds: list[str]) -> int:
    """Rows of a source's artifact that go to the evaluation and not on to the next step."""
    import pyarrow.parquet as pq

    paths = [path for kind in kinds if kind not in TRAINS and folder for path in (folder / kind).glob("*.parquet")]
    return sum(pq.read_metadata(path).num_rows for path in paths)


def _gaps(row: SourceFunnel, leaving: int) -> list[str]:
    """Rows that one step kept and the next did not take in; `leaving` is how many may go after the first."""
    gaps = []
    for place, (before, after) in enumerate(zip(row.passed, row.passed[1:], strict=False)):
        passed = before.kept - (0 if place else leaving)
        if passed != after.taken:
            gaps.append(f"{row.source}: {before.node} kept {passed:,} rows, but {after.node} took in {after.taken:,}")
    last = row.passed[-1]
    if last is not row.cells[-1] and last.kept and TRAINS & set(row.kinds):
        gaps.append(f"{row.source}: {last.node} kept {last.kept:,} rows, and no later step counted them")
    return gaps


@dataclass(frozen=True)
class Group:
    """The rows of one source that one reason dropped at one stage, and a few of them to read."""

    source: str
    count: int
    share: float  # of the source's rows at that stage
    examples: list[dict[str, str]]


@dataclass(frozen=True)
class Reason:
    """One reason for which a stage dropped rows, with its count by source, the source that lost the most first."""

    name: str
    count: int
    share: float  # of the stage's rows
    groups: list[Group]


@dataclass(frozen=True)
class Drops:
    node: str
    taken: int
    dropped: int
    reasons: list[Reason]


def drops(nodes: Nodes, artifacts: dict[str, Path], examples: int) -> list[Drops]:
    """Every stage that dropped rows, its reasons from the most common to the rarest, each with so many examples of every source."""
    steps = []
    for node, entry in nodes.items():
        counts = entry["stats"].get("funnel", {})
        by_reason: dict[str, dict[str, int]] = {}
        for source, row in counts.items():
            for reason, count in row["dropped"].items():
                if count:
                    by_reason.setdefault(reason, {})[source] = count
        if not by_reason:
            continue
        paths = sorted((artifacts[node] / "dropped").glob("*.parquet")) if node in artifacts else []
        texts = _examples(paths, by_reason, examples)
        taken = sum(row["in"] for row in counts.values())
        reasons = []
        for name, sources in by_reason.items():
            groups = [
                Group(source, count, count / max(1, counts[source]["in"]), texts[name, source])
                for source, count in sorted(sources.items(), key=lambda each: (-each[1], each[0]))
            ]
            total = sum(sources.values())
            reasons.append(Reason(name, total, total / max(1, taken), groups))
        reasons.sort(key=lambda reason: (-reason.count, reason.name))
        steps.append(Drops(node, taken, sum(reason.count for reason in reasons), reasons))
    return steps


SCANNED = 200_000  # dropped rows looked at for examples: a rare reason of a huge stage may go without one, a page never waits


def _examples(paths: list[Path], wanted: dict[str, dict[str, int]], each: int) -> dict[tuple[str, str], list[dict[str, str]]]:
    """The first `each` dropped rows of every (reason, source). Personal data is masked: people read this."""
    import pyarrow.compute as pc
    import pyarrow.parquet as pq

    excerpts: dict[tuple[str, str], list[dict[str, str]]] = {
        (reason, source): [] for reason, sources in wanted.items() for source in sources
    }
    short = {(reason, source): min(each, wanted[reason][source]) for reason, source in excerpts}
    seen = 0
    for batch in (
        batch for path in paths for batch in pq.ParquetFile(path).iter_batches(columns=["source", "reason", "detail", "excerpt"])
    ):
        for (reason, source), still in list(short.items()):
            these = (
                batch.filter(pc.and_(pc.equal(batch["reason"], reason), pc.equal(batch["source"], source)))
                .slice(0, still)
                .to_pylist()
            )
            excerpts[reason, source] += [{name: privacy.mask(text or "")[0] for name, text in row.items()} for row in these]
            short[reason, source] -= len(these)
        short = {pair: still for pair, still in short.items() if still}
        seen += len(batch)
        if not short or seen >= SCANNED:
            break
    return excerpts
