"""The report page's section on data, made ready for its template: uses, charts, duplicates side by side, changes since the last run."""

from __future__ import annotations

from difflib import SequenceMatcher
from typing import Any

from tasks.artifacts.stage import Stats
from tasks.data.funnel import Nodes
from tasks.pages import plots


def stats_of(nodes: Nodes, name: str) -> Stats:
    """A node's statistics; none where the run has no such node."""
    return nodes[name]["stats"] if name in nodes else {}


def uses(uses: dict[str, Any]) -> list[dict[str, Any]]:
    """A line for each use and source: rows to train on, rows held out, rows of the test side (None where there is no such side), characters
    of all."""
    lines = []
    for use, sides in uses.items():
        for source in dict.fromkeys(source for side in sides.values() for source in side):
            amounts = {side: sides.get(side, {}).get(source, {"rows": 0, "characters": 0}) for side in ("train", "valid", "test")}
            line = {side: amount["rows"] for side, amount in amounts.items()}
            line |= {"test": None} if "test" not in sides else {}
            lines.append(
                {"use": use, "source": source, **line, "characters": sum(amount["characters"] for amount in amounts.values())}
            )
    return lines


def left_out(nodes: Nodes) -> list[dict[str, str]]:
    """The files that could not be read and that a source went on without: source, file, why."""
    return [
        {"source": source, **file}
        for entry in nodes.values()
        for source in entry["stats"].get("funnel", {})
        for file in entry["stats"].get("left_out", ())
    ]


def clusters(clusters: dict[str, Any] | None) -> dict[str, Any] | None:
    """Groups of duplicates, each text of a dropped row in pieces: (what, whether the kept row has it there too)."""
    if clusters is None:
        return None
    examples = {
        kind: [
            group
            | {"dropped": [row | {"pieces": differing(group["kept"]["excerpt"], row["excerpt"])} for row in group["dropped"]]}
            for group in groups
        ]
        for kind, groups in clusters["examples"].items()
    }
    return clusters | {"examples": examples}


def differing(original: str, dropped: str) -> list[tuple[str, bool]]:
    """A text in pieces: (piece, whether it stands in the other text at the same place). What was left out of it is an empty piece."""
    matcher = SequenceMatcher(None, original, dropped, autojunk=False)
    return [(dropped[start:end], what == "equal") for what, _, _, start, end in matcher.get_opcodes()]


def contract_changes(verdicts: dict[str, Any]) -> dict[str, Any]:
    """The data stages that were compared with another run, every breach, and every change of a figure."""
    changes = [change | {"node": node} for node, verdict in verdicts.items() for change in verdict["changes"]]
    return {
        "stages": len(verdicts),
        "compared": [node for node, verdict in verdicts.items() if verdict["against"]],
        "broken": [{"node": node, "line": line} for node, verdict in verdicts.items() for line in verdict["broken"]],
        "breaches": [change for change in changes if change["breach"]],
        "changes": [change for change in changes if not change["breach"]],
    }


def length_histograms(stats: Stats) -> list[plots.Chart]:
    """Lengths of rows before and after the filter, a chart a source, from the first length that any row has."""
    charts = []
    for source, histogram in stats.get("lengths", {}).items():
        first = next((place for place, count in enumerate(histogram["before"]) if count), 0)
        labels = [plots.short_number(bound) for bound in histogram["bounds"][first:]]
        svg = plots.histogram(
            f"Lengths of {source}", labels, histogram["before"][first:], histogram["after"][first:], x="characters"
        )
        charts.append(plots.Chart(source, svg))
    return charts


def script_histograms(stats: Stats) -> list[plots.Chart]:
    """The share of Chinese characters in rows before and after the filter, a chart a source."""
    charts = []
    for source, histogram in stats.get("scripts", {}).items():
        labels = [f"{100 * bound:.0f}" for bound in histogram["bounds"]]
        svg = plots.histogram(f"Scripts of {source}", labels, histogram["before"], histogram["after"], x="% Han characters")
        charts.append(plots.Chart(source, svg))
    return charts


def data_tiles(nodes: Nodes) -> list[dict[str, str]]:
    """More figures for a page about data alone."""
    sides = [side for sides in stats_of(nodes, "split").get("uses", {}).values() for side in (sides["train"],)]
    characters = sum(amount["characters"] for side in sides for amount in side.values())
    same = sum(
        count
        for counts in stats_of(nodes, "dedup").get("funnel", {}).values()
        for reason, count in counts["dropped"].items()
        if "duplicate" in reason
    )
    exams = stats_of(nodes, "filter").get("contamination", {})
    tiles = []
    if sides:
        tiles.append({"what": "Characters to train on", "big": plots.short_number(characters), "more": "of all uses"})
    if "dedup" in nodes:
        tiles.append({"what": "Duplicates removed", "big": f"{same:,}", "more": "exact and near"})
    if exams:
        rows, questions = (sum(counts[name] for counts in exams.values()) for name in ("rows", "questions"))
        tiles.append(
            {"what": "Rows with an evaluation question", "big": f"{rows:,}", "more": f"of {questions:,} questions searched for"}
        )
    return tiles
