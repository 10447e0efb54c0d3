"""One page about a run: what went in, what was dropped and why, how training went, how good the model is; and the same as JSON.

The page is one HTML file that asks nobody for anything: drawings are inline SVG, there is no script, and a content policy in it forbids
requests. A recipe may lack any stage; the page then says what is missing instead of showing it. A run of the data half alone has a page
about the data alone.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

from pydantic import Field

from tasks.artifacts.stage import Identity, Job, Stats, stage
from tasks.data import characters, funnel, tokens
from tasks.data.funnel import Funnel, Nodes
from tasks.metrics.intervals import wilson
from tasks.pages import data_section, diagram, lineage_section, plots, run_section, training_section, triples_section
from tasks.pages.data_section import stats_of
from tasks.pages.render import percent, render

# of a model, everywhere on the page
COLOURS = {"base": 1, "pretrain": 1, "sft": 2, "dpo": 3, "extractor-fresh": 1, "extractor": 3}
CHOICE = "likeliest choice right"  # among the choices of a question, by likelihood; nothing is written
CUT = 160  # characters of a text shown as tokens
NEEDED = {
    "split": "This run split no data, so nothing is known of what was used for training",
    "pretrain": "There is no pretraining in this run",
    "sft": "There is no supervised fine-tuning in this run",
    "dpo": "There is no preference training (DPO) in this run",
    "questions": "No multiple-choice question was asked",
    "evaluate": "There is no evaluation in this run, so nothing is known of how good its model is",
}


class Params(Identity):
    recipe: str = Field(default="", max_length=120, description="Name of the recipe, for the page's title")
    examples: int = Field(default=3, ge=0, le=50, description="Dropped rows to show for each reason and source, in rows")
    cuts: int = Field(default=20, ge=0, le=20, description="Cuts within kept rows to show for each rule and source")
    answers: int = Field(default=8, ge=0, le=200, description="Questions whose answers are shown side by side")


@dataclass(frozen=True)
class ModelScore:
    """A share of `n` cases with its 95 % interval, of one model."""

    model: str
    value: float
    low: float
    high: float
    n: int

    @property
    def colour(self) -> int:
        return COLOURS.get(self.model, 4)


@stage("report", version=8, title="Report of a run", params=Params, group="result", tools=("jinja2", "matplotlib"))
def run(
    job: Job,
    params: Params,
    *,
    artifacts: dict[str, Path],
    statistics: Path,
    contracts: Path,
    switched_off: Path | None = None,
    about: Path | None = None,
) -> Stats:
    """Write `report.html` and `figures.json`.

    `artifacts` are the folders of a run's artifacts by node name; `statistics` is a JSON file with what their records say: node name →
    `{stage, title, key, digest, version, stats, bytes, reproducibility, lineage, group, section, step}` in pipeline order, where `lineage`
    maps an input's role to the key of the artifact it came from, and the last three are the stage's (see `Stage`); where they are known also
    `commit`, and of what read a source `origin`, `{kind, where, state, licence, files}` (see `origins` of flows/inputs.py); `contracts` is one with
    the verdict on each data stage's contract, as `contract.Verdict` has it; `switched_off` one with the stages that the recipe goes without, and
    why; `about` one with the circumstances of the run (see flows/run_facts.py): what is in it differs from machine to machine. Rows that do
    not add up are not an error here: the page says so, at its top.
    """
    nodes: Nodes = json.loads(statistics.read_text("utf-8"))
    rows = funnel.build(nodes, artifacts)
    accounts = characters.accounts(nodes, artifacts, params.cuts)
    rows.problems += [problem for source in accounts for problem in source.problems]
    if rows.problems:
        job.log(f"the data does not add up: {'; '.join(rows.problems)}")
    off, circumstances = (json.loads(path.read_text("utf-8")) if path else {} for path in (switched_off, about))
    page = _page(params, nodes, artifacts, rows) | {
        "missing": list(_missing(nodes, off)),
        "about": run_section.run_section(circumstances),
        "characters": accounts,
        "contracts": data_section.contract_changes(json.loads(contracts.read_text("utf-8"))),
    }
    (job.out / "report.html").write_text(render("report.html.j2", **page), "utf-8")
    figures = {
        "rows": page["figures"],
        "funnel": _sums(rows),
        "characters": _characters(accounts),
        "adds_up": not rows.problems,
        "problems": rows.problems,
        "left_out": page["left_out"],
    }
    (job.out / "figures.json").write_text(json.dumps(figures, ensure_ascii=False, indent=1) + "\n", "utf-8")
    return {"adds_up": not rows.problems, "figures": len(page["figures"])}


def _page(params: Params, nodes: Nodes, artifacts: dict[str, Path], rows: Funnel) -> dict[str, Any]:
    """Everything that the template shows."""
    parents = _parents(nodes)
    data_only = all(entry["group"] == "data" for entry in nodes.values())
    filter_stats = stats_of(nodes, "filter")
    scores = _json(artifacts, "evaluate", "scores.json")
    results = _results(scores)
    triple_scores = _json(artifacts, "extraction", "scores.json")
    answers = _json(artifacts, "evaluate", "answers.json") or []
    return {
        "recipe": params.recipe,
        "nodes": nodes,
        "graphs": {"across": diagram.across(parents), "down": diagram.down(parents)},
        "ancestry": lineage_section.picture(nodes, parents),
        "data_only": data_only,
        "tuned": "base" in nodes,
        "funnel": rows,
        "left_out": data_section.left_out(nodes),
        "drops": funnel.drops(nodes, artifacts, params.examples),
        "clusters": data_section.clusters(stats_of(nodes, "dedup").get("clusters")),
        "uses": data_section.uses(stats_of(nodes, "split").get("uses", {})),
        "mix": stats_of(nodes, "pack").get("mix", []),
        "personal": {source: counts for source, counts in filter_stats.get("personal_data", {}).items() if counts},
        "contamination": filter_stats.get("contamination", {}),
        "preferences": training_section.preference_pairs(stats_of(nodes, "rejected"), artifacts.get("rejected"), params.examples),
        "tokenizer": _json(artifacts, "tokenizer", "report.json"),
        "training": [
            training_section.training_stage(name, entry, artifacts[name], COLOURS)
            for name, entry in nodes.items()
            if entry["section"] == "training"
        ],
        "scores": scores,
        "results": results,
        "colours": COLOURS,
        "after": {"ingest": "ingested", "dedup": "after dedup", "filter": "after filter", "split": "used"},
        "when": {"base": "as it came", "pretrain": "after pretraining", "sft": "after fine-tuning", "dpo": "after DPO"},
        "health": scores.get("health", []),
        "again": {
            "bitwise": "the same to the last bit",
            "seeded": "the same on the same hardware",
            "external": "what the outside gives",
        },
        "tiles": _tiles(results, scores, rows)
        + triples_section.triple_tiles(triple_scores)
        + (data_section.data_tiles(nodes) if data_only else []),
        "histograms": data_section.length_histograms(filter_stats),
        "scripts": data_section.script_histograms(filter_stats),
        "answers": answers[: params.answers],
        "facts_asked": (_json(artifacts, "evaluate", "facts.json") or [])[: params.answers],
        "cut": _cut(artifacts, answers[0]["reference"]) if answers else [],
        "figures": _figures(results, rows) + triples_section.triple_figures(triple_scores),
        "extraction": triple_scores,
        "extracted": triples_section.compared_answers((_json(artifacts, "extraction", "answers.json") or [])[: params.answers]),
        "who": triples_section.WHO,
    }


def _missing(nodes: Nodes, off: dict[str, str]) -> Iterator[str]:
    """A sentence for each part of a run that this one has not, with the reason where the recipe switched it off."""
    reasons = off | ({"split": off["corpus"]} if "corpus" in off else {})
    data_only = all(entry["group"] == "data" for entry in nodes.values())
    from_outside = {"pretrain", "dpo"} if "base" in nodes else set()
    for name, text in NEEDED.items():
        if name in reasons:
            yield f"{text}: {reasons[name]}."
        elif name not in nodes and name not in from_outside | {"questions"} and (name == "split" or not data_only):
            yield f"{text}."


def _parents(nodes: Nodes) -> dict[str, list[str]]:
    """The nodes that each node read, from the keys in their lineage; where a record has none, the node before it."""
    of_key = {entry["key"]: name for name, entry in nodes.items()}
    before = [None, *nodes]
    parents = {}
    for (name, entry), previous in zip(nodes.items(), before, strict=False):
        chain = [previous] if previous else []
        parents[name] = (
            [of_key[key] for key in dict.fromkeys(entry["lineage"].values()) if key in of_key] if "lineage" in entry else chain
        )
    return parents


def _json(artifacts: dict[str, Path], node: str, name: str) -> Any:
    """The content of a JSON file of an artifact; an empty dict where the run has no such stage or file."""
    path = artifacts[node] / name if node in artifacts else None
    return json.loads(path.read_text("utf-8")) if path and path.is_file() else {}


def _cut(artifacts: dict[str, Path], text: str) -> list[tuple[str, int]]:
    """A text as its tokens: (what is read, how many tokens it takes), where only a character that fell into bytes takes several."""
    if "tokenizer" not in artifacts or not (artifacts["tokenizer"] / "tokenizer.json").is_file():
        return []
    encoder = tokens.encoder(artifacts["tokenizer"])
    pieces, waiting = [], list[int]()
    for token in encoder.encode(text[:CUT], add_special_tokens=False).ids:
        waiting.append(token)
        if "\ufffd" not in (read := encoder.decode(waiting)):
            pieces.append((read, len(waiting)))
            waiting = []
    return pieces


# -- evaluation ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Results:
    """The key figures: for each of them the models that have it, in training order."""

    facts: list[ModelScore]
    kinds: list[tuple[str, float, list[ModelScore]]]  # kind of fact, chance, scores
    accuracy: list[ModelScore]
    bits: list[tuple[str, float]]
    risen: list[tuple[str, str, float]]  # the model before, a tuned one that needs more bits, how many more
    preference: list[ModelScore]
    stops: list[ModelScore]
    subjects: list[tuple[str, str, float, list[ModelScore]]]  # source, subject, chance, scores
    chance: float | None


def _results(scores: dict[str, Any]) -> Results:
    models = scores.get("models", {})
    answered = {name: score["questions"] for name, score in models.items() if score["questions"]}
    subjects = []
    for source, tallies in next(iter(answered.values()))["subjects"].items() if answered else ():
        for subject, tally in tallies.items():
            row = [_tally(name, score["subjects"][source][subject]) for name, score in answered.items()]
            subjects.append((source, subject, tally["chance"], row))
    told = {name: score["facts"] for name, score in models.items() if score.get("facts")}
    first: dict[str, Any] = next(iter(told.values()), {"kinds": {}})
    bits = [(name, score["bits_per_byte"]["all"]["value"]) for name, score in models.items() if score["bits_per_byte"]]
    return Results(
        facts=[_tally(name, score["all"]) for name, score in told.items()],
        kinds=[
            (kind, share["chance"], [_tally(name, score["kinds"][kind]) for name, score in told.items()])
            for kind, share in first["kinds"].items()
        ],
        accuracy=[_tally(name, score["all"]) for name, score in answered.items()],
        bits=bits,
        risen=[(before, after, more - less) for (before, less), (after, more) in pairwise(bits) if more - less >= 0.0005],
        preference=[_share(name, score["preference"], "accuracy") for name, score in models.items() if score["preference"]],
        stops=[_share(name, score["generation"], "stop_rate") for name, score in models.items() if score["generation"]],
        subjects=subjects,
        chance=scores.get("reference", {}).get("accuracy"),
    )


def _tiles(results: Results, scores: dict[str, Any], rows: Funnel) -> list[dict[str, str]]:
    """The figures at the top of the page: what, the figure itself, what it is of."""
    tiles = []

    def add(what: str, big: str, more: str) -> None:
        tiles.append({"what": what, "big": big, "more": more})

    if results.bits:
        guessing = scores["reference"]["bits_per_byte"]
        add("Bits per byte of held-out text", f"{results.bits[-1][1]:.2f}", f"lower is better; all tokens alike: {guessing:.2f}")
    if results.preference:
        last = results.preference[-1]
        before = f"{percent(results.preference[-2].value)} before; " if len(results.preference) > 1 else ""
        add("Better answer likelier", percent(last.value), f"{before}of {last.n:,} pair{'s' if last.n != 1 else ''}")
    if results.stops:
        add(
            "Answers that end",
            percent(results.stops[-1].value),
            f"of {(n := results.stops[-1].n):,} answer{'s' if n != 1 else ''}",
        )
    if rows.sources:
        add("Rows used", f"{rows.used:,}", f"of {rows.read:,} read")
    if scores:
        last_model = list(scores["models"].values())[-1]
        add(
            "Parameters",
            plots.short_number(last_model["parameters"]),
            f"{last_model['vocab_size']:,} tokens, context {_context(last_model['context'])}",
        )
    return tiles


def _context(tokens: int) -> str:
    return f"{tokens:,}" if tokens < 1 << 30 else "of any length"  # a T5's


def _tally(model: str, tally: dict[str, Any]) -> ModelScore:
    return ModelScore(model, tally["accuracy"], tally["low"], tally["high"], tally["n"])


def _share(model: str, figures: dict[str, Any], name: str) -> ModelScore:
    return ModelScore(model, figures[name], *wilson(round(figures[name] * figures["n"]), figures["n"]), figures["n"])


def _figures(results: Results, rows: Funnel) -> list[dict[str, Any]]:
    """The key figures as a table: figure, model, value, the bounds of its 95 % interval, and how many cases it is of."""

    def row(
        figure: str, value: float, model: str = "", low: float | None = None, high: float | None = None, n: int | None = None
    ) -> dict[str, Any]:
        return {"figure": figure, "model": model, "value": value, "low": low, "high": high, "n": n}

    table = [row("rows read", rows.read), row("rows used", rows.used)] if rows.sources else []
    for name, shares in (
        ("right free answer", results.facts),
        (CHOICE, results.accuracy),
        ("preference accuracy", results.preference),
        ("stop rate", results.stops),
    ):
        table += [row(name, s.value, s.model, round(s.low, 6), round(s.high, 6), s.n) for s in shares]
    if results.chance is not None:
        table.append(row(f"{CHOICE}, guessing", results.chance))
    return table + [row("bits per byte", value, model) for model, value in results.bits]


def _characters(accounts: list[characters.SourceAccount]) -> dict[str, Any]:
    """The accounts of characters as JSON: for each source and stage the sums, and for each rule what it cut, added and changed."""
    return {
        account.source: {
            stage.node: {
                **{name: getattr(stage, name) for name in ("read", "kept", "cut", "added", "changed", "missing")},
                "rules": {rule.name: {"cut": rule.cut, "added": rule.added, "changed": rule.changed} for rule in stage.rules},
            }
            for stage in account.stages
        }
        for account in accounts
    }


def _sums(rows: Funnel) -> dict[str, Any]:
    """The funnel as JSON: for each source what went into each step, what it kept, and what was dropped for which reason."""

    def counts(cell: funnel.Cell) -> dict[str, Any]:
        return {"in": cell.taken, "kept": cell.kept, "dropped": cell.dropped}

    return {
        row.source: {step: counts(cell) for step, cell in zip(rows.steps, row.cells, strict=True) if cell} for row in rows.sources
    }
