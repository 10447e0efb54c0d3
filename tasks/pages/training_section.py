"""The report page's section on training, made ready for its template: facts and curves of each stage, the use of experts, and the pairs
that preferences were learned from."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

from tasks.artifacts.stage import Stats
from tasks.metrics.intervals import wilson
from tasks.pages import plots

# of a training stage's statistics; its others tell of the machine, which is the record's business
FACTS = (
    "architecture",
    "new_tokens",
    "characters_per_token",
    "parameters",
    "tokens",
    "passes",
    "steps",
    "batch",
    "learning_rate",
    "precision",
    "best_eval_loss",
    "best_step",
    "eval_kl",
)
NAMES = {"best_eval_loss": "best validation loss", "best_step": "at step", "eval_kl": "KL (nats)"}
CHECKED = 4  # the colour of what was measured in validation

# (title, figure in the log, unit, a level to compare with)
CURVES = (
    ("Loss", "loss", "nats a token", None),
    ("Preference accuracy", "accuracy", "share of pairs", 0.5),
    ("Preference margin", "margin", "beta × nats", 0.0),
    ("KL from the model before", "kl", "nats a token", None),
    ("Balance loss of the experts", "balance", "1 is even", 1.0),
    ("Learning rate", "learning_rate", "", None),
    ("Gradient norm", "grad_norm", "before clipping", None),
)


def training_stage(name: str, entry: dict[str, Any], folder: Path, colours: dict[str, int]) -> dict[str, Any]:
    """A training stage's facts and charts, from its record and from its log (one JSON object a line)."""
    path = folder / "log.jsonl"
    log = [json.loads(line) for line in path.read_text("utf-8").splitlines() if line.strip()] if path.is_file() else []
    stats = entry["stats"]
    facts = {NAMES.get(fact, fact.replace("_", " ")): stats[fact] for fact in FACTS if stats.get(fact) is not None}
    facts |= {f"rows {what.replace('_', ' ')}": count for what, count in stats.get("rows", {}).items()}
    rows = [(fact, value if isinstance(value, str) else number(value)) for fact, value in facts.items()]
    charts = _curves(name, log, colours.get(name, 1))
    if use := stats.get("expert_use"):
        charts.insert(1, plots.Chart("Experts: share of a layer's tokens", plots.expert_shares(f"Experts, {name}", use)))
    return {"node": name, "title": entry["title"], "facts": rows, "judged": _judged(stats), "charts": charts}


def _judged(stats: Stats) -> dict[str, Any] | None:
    """The share of validation pairs whose better answer is found, with its 95 % interval."""
    if stats.get("eval_accuracy") is None or not stats.get("eval_rows"):
        return None
    share, n = stats["eval_accuracy"], stats["eval_rows"]
    low, high = wilson(round(share * n), n)
    return {"value": share, "low": low, "high": high, "n": n}


def _curves(name: str, log: list[dict[str, Any]], colour: int) -> list[plots.Chart]:
    charts = []
    for title, key, unit, level in CURVES:
        both = [_line("training", key, log, colour), _line("validation", f"eval_{key}", log, CHECKED, "points")]
        unit = "" if key == "loss" and name in ("dpo", "reward") else "nats" if key == "margin" and name == "reward" else unit
        if lines := [line for line in both if line.y]:
            charts.append(plots.Chart(title, plots.curves(f"{title}, {name}", lines, y=unit, level=level)))
    if name == "dpo":
        sides = [_line(f"{side} answer", f"{side}_reward", log, number) for side, number in (("chosen", colour), ("rejected", 2))]
        if all(line.y for line in sides):
            svg = plots.curves(f"Rewards, {name}", sides, y="beta × nats", level=0.0)
            charts.insert(3, plots.Chart("Reward of either answer", svg))
    return charts


def _line(label: str, key: str, log: list[dict[str, Any]], colour: int, mark: plots.Mark = "line") -> plots.Line:
    points = [(row["step"], row[key]) for row in log if row.get(key) is not None and math.isfinite(row[key])]
    return plots.Line(label, [step for step, _ in points], [value for _, value in points], colour, mark)


def number(value: float) -> str:
    """Whole numbers in full, others short."""
    return f"{value:,}" if isinstance(value, int) else plots.short_number(value)


def preference_pairs(stats: Stats, folder: Path | None, examples: int) -> dict[str, Any] | None:
    """The origin of the pairs, their lengths, and some of them to read; None where the run has none."""
    if not stats.get("funnel"):
        return None
    counts = stats["funnel"].values()
    reasons: dict[str, int] = {}
    for source in counts:
        for reason, count in source["dropped"].items():
            reasons[reason] = reasons.get(reason, 0) + count
    return {
        "taken": sum(source["in"] for source in counts),
        "kept": sum(source["kept"] for source in counts),
        "reasons": sorted(reasons.items(), key=lambda one: -one[1]),
        "lengths": [_length(what, figures) for what, figures in stats.get("lengths", {}).items()],
        "examples": _pairs(folder, examples),
    }


def _length(what: str, figures: dict[str, Any]) -> dict[str, Any]:
    """The share of pairs whose better answer is the longer one, with its interval, and whether length alone would tell the two apart."""
    share, n = figures["chosen_longer"], figures["pairs"]
    low, high = wilson(round(share * n), n)
    verdict = "tell" if low > 0.5 or high < 0.5 else "chance"
    return {"what": what, "low": low, "high": high, "told": verdict, **figures}


def _pairs(folder: Path | None, limit: int) -> list[dict[str, Any]]:
    from itertools import islice

    from tasks.data.rows import read

    path = folder / "preferences" / "train.parquet" if folder else None
    if path is None or not path.is_file():
        return []
    rows = islice(read([path]), limit)
    return [
        {**row, "prompt": row["messages"][-1]["content"], "temperature": json.loads(row["meta"]).get("temperature")}
        for row in rows
    ]
