"""One page about a run: what went in, what was dropped and why, how training went, how good the model is; and the same as JSON.

The page is one HTML file that asks nobody for anything: drawings are inline SVG, there is no script, and a content policy in it forbids
requests. A recipe may lack any stage; the page then says what is missing instead of showing it.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import Field

from tasks import funnel, plots
from tasks.funnel import Funnel, Nodes
from tasks.stage import Identity, Job, Stats, stage

if TYPE_CHECKING:
    pass

TEMPLATE = Path(__file__).with_name("report.html.j2")

# what a stage makes, which colours its box; what is not named here makes data
GROUPS = {
    **dict.fromkeys(("tokenizer", "pack", "pretrain", "sft", "rejected", "dpo"), "model"),
    "evaluate": "result",
}
COLOURS = {"pretrain": 1, "sft": 2, "dpo": 3}  # of a model, everywhere on the page
NEEDED = {
    "split": "This run split no data, so nothing is known of what was used for training.",
    "pretrain": "There is no pretraining in this run.",
    "sft": "There is no supervised fine-tuning in this run.",
    "dpo": "There is no preference training (DPO) in this run.",
    "evaluate": "There is no evaluation in this run, so nothing is known of how good its model is.",
}


class Params(Identity):
    recipe: str = Field(default="", max_length=120, description="Name of the recipe, for the page's title")
    examples: int = Field(default=4, ge=0, le=50, description="Dropped rows to show for each reason, in rows")
    answers: int = Field(default=8, ge=0, le=200, description="Questions whose answers are shown side by side")


@dataclass(frozen=True)
class Score:
    """A share of `n` cases with its 95 % interval, of one model."""

    model: str
    value: float
    low: float
    high: float
    n: int

    @property
    def colour(self) -> int:
        return COLOURS.get(self.model, 4)


@dataclass(frozen=True)
class Chart:
    title: str
    svg: str


@stage("report", version=1, title="Report of a run", params=Params, tools=("jinja2", "matplotlib"))
def run(job: Job, params: Params, *, artifacts: dict[str, Path], statistics: Path) -> Stats:
    """Write `report.html` and `figures.json`.

    `artifacts` are the folders of a run's artifacts by node name; `statistics` is a JSON file with what their records say: node name →
    `{stage, title, key, digest, version, stats, bytes, reproducibility, lineage}` in pipeline order, where `lineage` maps an input's role
    to the key of the artifact it came from. Rows that do not add up are not an error here: the page says so, at its top.
    """
    nodes: Nodes = json.loads(statistics.read_text("utf-8"))
    rows = funnel.build(nodes, artifacts)
    if rows.problems:
        job.log(f"the data does not add up: {'; '.join(rows.problems)}")
    page = _page(params, nodes, artifacts, rows)
    (job.out / "report.html").write_text(_template().render(page), "utf-8")
    figures = {"rows": page["figures"], "funnel": _sums(rows), "adds_up": not rows.problems, "problems": rows.problems}
    (job.out / "figures.json").write_text(json.dumps(figures, ensure_ascii=False, indent=1) + "\n", "utf-8")
    return {"adds_up": not rows.problems, "figures": len(page["figures"])}


def _page(params: Params, nodes: Nodes, artifacts: dict[str, Path], rows: Funnel) -> dict[str, Any]:
    """Everything that the template shows."""
    parents = _parents(nodes)
    return {
        "recipe": params.recipe,
        "nodes": {name: entry | {"group": GROUPS.get(funnel.family(name), "data")} for name, entry in nodes.items()},
        "graphs": {"across": plots.across(parents), "down": plots.down(parents)},
        "missing": [text for name, text in NEEDED.items() if name not in nodes],
        "funnel": rows,
        "drops": funnel.drops(nodes, artifacts, params.examples),
        "clusters": nodes["dedup"]["stats"].get("clusters") if "dedup" in nodes else None,
        "uses": nodes["split"]["stats"].get("uses", {}) if "split" in nodes else {},
        "tokenizer": _json(artifacts, "tokenizer", "report.json"),
        "training": [_training(name, nodes[name], artifacts[name]) for name in COLOURS if name in nodes and name in artifacts],
    }


def _parents(nodes: Nodes) -> dict[str, list[str]]:
    """The nodes that each node read, from the keys in their lineage; where a record has none, the node before it."""
    of_key = {entry["key"]: name for name, entry in nodes.items()}
    before = [None, *nodes]
    parents = {}
    for (name, entry), previous in zip(nodes.items(), before, strict=False):
        chain = [previous] if previous else []
        parents[name] = [of_key[key] for key in dict.fromkeys(entry["lineage"].values()) if key in of_key] if "lineage" in entry else chain
    return parents


def _json(artifacts: dict[str, Path], node: str, name: str) -> dict[str, Any]:
    """A JSON file of an artifact; empty where the run has no such stage."""
    path = artifacts[node] / name if node in artifacts else None
    return json.loads(path.read_text("utf-8")) if path and path.is_file() else {}


# -- training -----------------------------------------------------------------------------------------------------------


def _training(name: str, entry: dict[str, Any], folder: Path) -> dict[str, Any]:
    """A model's facts and curves, from its record and from its log (one JSON object a line)."""
    path = folder / "log.jsonl"
    log = [json.loads(line) for line in path.read_text("utf-8").splitlines() if line.strip()] if path.is_file() else []
    facts = [(key.replace("_", " "), value) for key, value in entry["stats"].items() if isinstance(value, int | float | str)]
    return {"node": name, "title": entry["title"], "facts": facts, "charts": _curves(name, log)}


def _curves(name: str, log: list[dict[str, Any]]) -> list[Chart]:
    colour = COLOURS[name]

    def both(key: str) -> list[plots.Line]:
        """The figure in training and, as `eval_…`, in validation."""
        lines = [_line("training", key, log, colour), _line("validation", f"eval_{key}", log, 4, "points")]
        return [line for line in lines if line.y]

    wanted = [
        ("Loss", "nats a token" if name != "dpo" else "nats a pair", both("loss"), None),
        ("Preference margin", "chosen − rejected, nats × beta", both("rewards/margins"), 0.0),
        ("Preference accuracy", "share of pairs", both("rewards/accuracies"), 0.5),
        ("Learning rate", "", [line for line in [_line("", "learning_rate", log, colour)] if line.y], None),
        ("Gradient norm", "before clipping", [line for line in [_line("", "grad_norm", log, colour)] if line.y], None),
    ]
    return [Chart(title, plots.curves(f"{title}, {name}", lines, y=unit, level=level)) for title, unit, lines, level in wanted if lines]


def _line(label: str, key: str, log: list[dict[str, Any]], colour: int, mark: plots.Mark = "line") -> plots.Line:
    points = [(row["step"], row[key]) for row in log if row.get(key) is not None]
    return plots.Line(label, [step for step, _ in points], [value for _, value in points], colour, mark)
