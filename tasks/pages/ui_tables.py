"""Tables for the Prefect UI: the figures that the report page shows at the end, there as soon as their stage is done."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tasks.artifacts.stage import Stats
from tasks.data import characters, funnel
from tasks.data.funnel import Nodes
from tasks.metrics import bootstrap

Table = list[dict[str, Any]]
READ = 2  # rows to read for each reason and source


def stage_tables(node: str, nodes: Nodes, artifacts: dict[str, Path]) -> dict[str, tuple[str, Table]]:
    """Artifact key → (description, rows) of what can be shown once `node` is done; `nodes` are those done so far, itself included."""
    stats = nodes[node]["stats"]
    tables: dict[str, tuple[str, Table]] = {}
    if node == "dedup":
        tables["data-duplicates"] = (
            "# Near duplicates\nGroups to judge by eye: the row that stays, and rows that went",
            _clusters(stats),
        )
    if node == "filter":
        tables["data-contamination"] = (
            "# Evaluation questions found in the rows",
            _contamination(stats.get("contamination", {})),
        )
    if node == "split":
        rows = funnel.build(nodes, artifacts)
        adds_up = "Every sum holds." if not rows.problems else "**It does not add up:** " + "; ".join(rows.problems)
        tables["data-funnel"] = (f"# The way of the rows\n{adds_up}", _funnel(rows))
        accounts = characters.accounts(nodes, artifacts, READ)
        tables["data-characters"] = ("# Characters within kept rows: what each rule cut, added or changed", _characters(accounts))
        tables["data-reasons"] = ("# Why rows were dropped, with rows to read", _reasons(funnel.drops(nodes, artifacts, READ)))
    if node == "rejected":
        tables["data-pairs"] = (
            "# Preference pairs: is the better answer merely the longer one?",
            _lengths(stats.get("lengths", {})),
        )
    if node == "evaluate":
        tables["model-health"] = _health(stats.get("health", ()))
    if node == "pack":
        tables["data-mix"] = ("# Sources by weight, in tokens", [dict(row) for row in stats.get("mix", ())])
    if node == "extraction":
        tables["data-extraction"] = ("# Triple extraction, on held-out texts", _extraction(stats.get("models", {})))
    if node == "gate":
        verdict = "; ".join(stats["refused"]) or (
            "nothing worse beyond noise" if stats["measures"] else "healthy, nothing to compare with"
        )
        tables["gate"] = (f"# Candidate against production\n{verdict}", _measures(stats) or _fitness(stats))
    return {key: (about, rows) for key, (about, rows) in tables.items() if rows}


def _funnel(rows: funnel.Funnel) -> Table:
    """A row a source: what was read, and what each step kept."""
    return [
        {
            "source": row.source,
            "read": f"{row.read:,}",
            **{f"after {step}": f"{cell.kept:,}" if cell else "–" for step, cell in zip(rows.steps, row.cells, strict=True)},
            "left": f"{100 * row.used / row.read:.1f} %" if row.read else "–",
            "adds up": "no" if row.problems else "yes",
        }
        for row in rows.sources
    ]


def _measures(stats: Stats) -> Table:
    """A row a measure of the gate: both models, and the candidate's gain with its interval."""
    rows = []
    for measure in stats["measures"]:
        unit = "%" if measure["unit"] == "percent" else "points"
        gain, low, high = (f"{100 * bootstrap.gain_as_share(measure, name):+.1f}" for name in ("change", "low", "high"))
        rows.append(
            {
                "measure": measure["title"],
                "rows": f"{measure['n']:,}",
                "production": f"{measure['old']:.3f}",
                "candidate": f"{measure['new']:.3f}",
                "gain": f"{gain} {unit} ({low} to {high})",
                "verdict": measure["verdict"],
            }
        )
    return rows


def _fitness(stats: Stats) -> Table:
    return [
        {
            "measure": check["title"],
            "candidate": bootstrap.formatted(check["value"]),
            "wanted": check["limit"],
            "verdict": "ok" if check["ok"] else "sick",
        }
        for check in stats["health"]
    ]


def _reasons(stages: list[funnel.Drops]) -> Table:
    return [
        {
            "stage": stage.node,
            "reason": reason.name,
            "source": group.source,
            "rows": f"{group.count:,}",
            "share of its rows": f"{100 * group.share:.2f} %",
            "to read": "\n".join(row["excerpt"] or row["detail"] for row in group.examples),
        }
        for stage in stages
        for reason in stage.reasons
        for group in reason.groups
    ]


def _characters(accounts: list[characters.SourceAccount]) -> Table:
    return [
        {
            "source": account.source,
            "stage": stage.node,
            "rule": rule.name,
            "rows": f"{rule.rows:,}",
            "cut": f"{rule.cut:,}",
            "added": f"{rule.added:,}",
            "changed": f"{rule.changed:,}",
            "of characters read": f"{100 * rule.share:.2f} %",
            "to read": "\n".join(f"{cut['before']}⟦{cut['cut']}⟧{cut['instead']}{cut['after']}" for cut in rule.excerpts),
        }
        for account in accounts
        for stage in account.stages
        for rule in stage.rules
        if not rule.name.startswith(characters.FIELD)
    ]


def _lengths(lengths: dict[str, Any]) -> Table:
    return [
        {
            "pairs": what,
            "number": f"{row['pairs']:,}",
            "characters, chosen": f"{row['chosen_characters']:.0f}",
            "characters, rejected": f"{row['rejected_characters']:.0f}",
            "chosen is longer": f"{100 * row['chosen_longer']:.1f} %",
        }
        for what, row in lengths.items()
    ]


def _health(checks: Sequence[dict[str, Any]]) -> tuple[str, Table]:
    """Each chat model's answers against those of the one before it."""
    about = [f"{one['after']} against {one['before']}: **{'; '.join([one['verdict'], *one['problems']])}**" for one in checks]
    table = [
        {
            "model": f"{one['after']} against {one['before']}",
            "of the answers": row["figure"],
            **{
                what: f"{row[what]:.3g}" if row[what] is not None else "–"
                for what in ("before", "after", "change", "low", "high", "bound")
            },
            "state": row["state"],
        }
        for one in checks
        for row in one["figures"]
    ]
    return "\n".join(["# Does the model still write as well?", *about]), table


def _contamination(exams: dict[str, Any]) -> Table:
    return [
        {
            "set": name,
            "questions": f"{counts['questions']:,}",
            "found": f"{counts['found']:,}",
            "rows": f"{counts['rows']:,}",
            "to read": "\n".join(f"{row['question']} ⟵ {row['source']}: {row['excerpt']}" for row in counts["examples"][:READ]),
        }
        for name, counts in exams.items()
    ]


def _clusters(stats: dict[str, Any]) -> Table:
    return [
        {
            "kind": kind,
            "rows": group["size"],
            "kept": f"{group['kept']['source']}: {group['kept']['excerpt']}",
            "dropped": "\n".join(f"{row['source']}, {row['similarity']:.3f}: {row['excerpt']}" for row in group["dropped"]),
        }
        for kind, groups in stats.get("clusters", {}).get("examples", {}).items()
        for group in groups
    ]


def _extraction(models: dict[str, Any]) -> Table:
    return [
        {
            "model": name,
            **{figure: f"{100 * score[figure]:.1f} %" for figure in ("f1", "precision", "recall")},
            "right / said / stated": f"{score['right']:,} / {score['said']:,} / {score['true']:,}",
            "malformed": f"{score['malformed']:,} of {score['texts']:,}",
        }
        for name, score in models.items()
    ]
