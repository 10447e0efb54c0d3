"""The report page's picture of the lineage: from the files of every source, by its licence and the filters, to the run's last model."""

from __future__ import annotations

from dataclasses import dataclass

from tasks.data.funnel import Nodes
from tasks.pages import diagram

READS = ("extract", "ingest")  # stages that read the files of one source
FIT = 30  # columns of a line of text


@dataclass(frozen=True)
class Picture:
    """Two drawings of the same boxes; of each box its lines, its group (for the colour), and all that is known of it."""

    across: diagram.Drawing
    down: diagram.Drawing
    lines: dict[str, list[str]]
    groups: dict[str, str]
    notes: dict[str, str]


def picture(nodes: Nodes, parents: dict[str, list[str]]) -> Picture | None:
    """The picture of a run's nodes and of the nodes that each read; None where no node read a source.

    Boxes are the files of each source, the source, every step that counted its rows, and the models on the way to the last one, or to the last
    rows where the run made no model. An edge leads from a box to the next one after it, over what is not shown.
    """
    trained = [name for name, entry in nodes.items() if entry["section"] == "training" and entry["group"] == "model"]
    counted = [name for name, entry in nodes.items() if "funnel" in entry["stats"] and entry["group"] == "data"]
    if not (trained or counted) or not any(nodes[name]["stage"] in READS for name in counted):
        return None
    way = _ancestors((trained or counted)[-1], parents)
    shown = [name for name in nodes if name in way and (name in trained or "funnel" in nodes[name]["stats"])]
    edges: dict[str, list[str]] = {}
    lines, groups, notes = dict[str, list[str]](), dict[str, str](), dict[str, str]()
    for name in shown:
        above = _next_shown(name, parents, set(shown))
        if nodes[name]["stage"] in READS:
            files = f"files of {name}"
            edges[files], lines[files], groups[files], notes[files] = (
                [],
                _file_lines(nodes, name),
                "files",
                _file_note(nodes, name),
            )
            above = [files]
        edges[name], lines[name], groups[name], notes[name] = above, _lines(nodes, name), nodes[name]["group"], _note(nodes, name)
    return Picture(diagram.across(edges, lines), diagram.down(edges, lines), lines, groups, notes)


def _ancestors(name: str, parents: dict[str, list[str]]) -> set[str]:
    found, waiting = set[str](), [name]
    while waiting:
        one = waiting.pop()
        if one not in found:
            found.add(one)
            waiting += parents[one]
    return found


def _next_shown(name: str, parents: dict[str, list[str]], shown: set[str]) -> list[str]:
    """The nearest shown nodes above one; none twice, and none that is above another of them by way of what is not shown."""
    found, waiting, seen = list[str](), list(parents[name]), set[str]()
    while waiting:
        one = waiting.pop(0)
        if one in shown:
            found += [one] if one not in found else []
        elif one not in seen:
            seen.add(one)
            waiting += parents[one]
    return found


def _file_lines(nodes: Nodes, name: str) -> list[str]:
    origin = nodes[name].get("origin", {})
    where = {"sample": "sample corpus", "files": "files of one's own"}.get(origin.get("kind", "files"), "")
    files = [file for file, _ in origin.get("files", ())]
    address = origin.get("where", "").partition("://")[2].strip("/")
    state = origin.get("state", "")
    return [
        *_folded(address or where),
        *([f"state {state[:12]}"] if state and state not in address else []),
        *(_cut(file) for file in files[:1]),
        *([f"and {len(files) - 1:,} more files"] if len(files) > 1 else []),
    ]


def _folded(text: str) -> list[str]:
    """An address in two lines where it is long."""
    if len(text) <= FIT:
        return [text]
    host, _, rest = text.partition("/")
    return [_cut(host), _cut(rest)] if rest else [_cut(text)]


def _cut(text: str) -> str:
    return text if len(text) <= FIT else f"{text[: FIT - 1]}…"


def _lines(nodes: Nodes, name: str) -> list[str]:
    entry = nodes[name]
    lines = [name]
    if entry["stage"] in READS:
        licence = entry.get("origin", {}).get("licence", "unknown")
        lines.append("licence unknown" if licence == "unknown" else _cut(licence))
    if funnel := entry["stats"].get("funnel"):
        taken, kept = (sum(counts[side] for counts in funnel.values()) for side in ("in", "kept"))
        lines.append(f"{kept:,} of {taken:,} rows")
    commit = entry.get("commit", "")
    return [
        *lines,
        f"v{entry['version']} {entry['digest'][:7]}",
        *([f"commit {commit[:7]}{'+' * commit.endswith('+')}"] if commit else []),
    ]


def _note(nodes: Nodes, name: str) -> str:
    """All that a box has no room for: title, licence, reasons of dropped rows, commit."""
    entry = nodes[name]
    reasons: dict[str, int] = {}
    for counts in entry["stats"].get("funnel", {}).values():
        for reason, count in counts["dropped"].items():
            reasons[reason] = reasons.get(reason, 0) + count
    dropped = ", ".join(
        f"{reason} {count:,}" for reason, count in sorted(reasons.items(), key=lambda one: (-one[1], one[0])) if count
    )
    licence = entry.get("origin", {}).get("licence", "")
    parts = [entry["title"], licence and f"licence: {licence}", dropped and f"dropped: {dropped}", f"digest {entry['digest']}"]
    return "; ".join(filter(None, [*parts, entry.get("commit") and f"commit {entry['commit']}"]))


def _file_note(nodes: Nodes, name: str) -> str:
    origin = nodes[name].get("origin", {})
    files = ", ".join(f"{file} ({digest[:12]})" for file, digest in origin.get("files", ()))
    return "; ".join(filter(None, [origin.get("where", ""), origin.get("state", ""), files])) or "nothing is noted of these files"
