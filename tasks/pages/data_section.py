"""What the report page says of the data, made ready for its template: uses, charts, duplicates side by side, what changed since the last run."""

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
            found = {side: sides.get(side, {}).get(source, {"rows": 0, "characters": 0}) for side in ("train", "valid", "test")}
            line = {side: amount["rows"] for side, amount in found.items()}
            line |= {"test": None} if "test" not in sides else {}
            lines.append(
                {"use": use, "source": source, **line, "characters": sum(amount["characters"] for amount in found.values())}
            )
    return lines


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


def differing(kept: str, dropped: str) -> list[tuple[str, bool]]:
    """A text in pieces: (piece, whether it stands in the other text at the same place). What was left out of it is an empty piece."""
    matcher = SequenceMatcher(None, kept, dropped, autojunk=False)
    return [(dropped[start:end], what == "equal") for what, _, _, start, end in matcher.get_opcodes()]


def contracts(verdicts: dict[str, Any]) -> dict[str, Any]:
    """Which data stages were compared with another run, every breach, and every change of a figure."""
    changes = [change | {"node": node} for node, verdict in verdicts.items() for change in verdict["changes"]]
    return {
        "stages": len(verdicts),
        "compared": [node for node, verdict in verdicts.items() if verdict["against"]],
        "broken": [{"node": node, "line": line} for node, verdict in verdicts.items() for line in verdict["broken"]],
        "breaches": [change for change in changes if change["breach"]],
        "changes": [change for change in changes if not change["breach"]],
    }


def histograms(stats: Stats) -> list[plots.Chart]:
    """Lengths of rows before and after the filter, a chart a source, from the first length that any row has."""
    charts = []
    for source, found in stats.get("lengths", {}).items():
        first = next((place for place, count in enumerate(found["before"]) if count), 0)
        labels = [plots.short_number(bound) for bound in found["bounds"][first:]]
        svg = plots.histogram(f"Lengths of {source}", labels, found["before"][first:], found["after"][first:], x="characters")
        charts.append(plots.Chart(source, svg))
    return charts


def scripts(stats: Stats) -> list[plots.Chart]:
    """How much of a row's text is Chinese, before and after the filter, a chart a source."""
    charts = []
    for source, found in stats.get("scripts", {}).items():
        labels = [f"{100 * bound:.0f}" for bound in found["bounds"]]
        svg = plots.histogram(f"Scripts of {source}", labels, found["before"], found["after"], x="% Han characters")
        charts.append(plots.Chart(source, svg))
    return charts


def tiles(nodes: Nodes) -> list[dict[str, str]]:
    """More figures for a page about data alone."""
    sides = [side for sides in stats_of(nodes, "split").get("uses", {}).values() for side in (sides["train"],)]
    characters = sum(amount["characters"] for side in sides for amount in side.values())
    same = sum(
        count
        for counts in stats_of(nodes, "dedup").get("funnel", {}).values()
        for reason, count in counts["dropped"].items()
        if "duplicate" in reason
    )
    found = stats_of(nodes, "filter").get("contamination", {})
    tiles = []
    if sides:
        tiles.append({"what": "Characters to train on", "big": plots.short_number(characters), "more": "of all uses"})
    if "dedup" in nodes:
        tiles.append({"what": "Duplicates removed", "big": f"{same:,}", "more": "exact and near"})
    if found:
        rows, asked = (sum(counts[name] for counts in found.values()) for name in ("rows", "questions"))
        tiles.append(
            {"what": "Rows with an evaluation question", "big": f"{rows:,}", "more": f"of {asked:,} questions searched for"}
        )
    return tiles
