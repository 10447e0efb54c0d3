"""The circumstances of a run, as a file for the report: recipe, dates, machines, time, operations, versions. None of them is in its key."""

from __future__ import annotations

import importlib.metadata
from collections.abc import Mapping
from typing import Any

import yaml

from flows.devices import PEAKS, USED
from flows.inputs import NodeInput, Records
from flows.recipe import Recipe
from models.scaling import compute
from tasks.artifacts.build import Input
from tasks.artifacts.stage import Stage
from tasks.artifacts.store import Record, Store

CARDS = {"H100": "H100", "A100": "A100", "RTX 4090": "4090"}  # whose hours the report gives, and their names among the peaks


def run_facts(recipe: Recipe, stages: Mapping[str, Stage]) -> NodeInput:
    """The facts about the artifacts of these nodes, from their records: those of an artifact that was reused are of when it was made."""

    def resolve(store: Store, records: Records) -> Input:
        of_run = [(name, records[name]) for name in stages]
        return Input(store.note(facts(recipe, dict(of_run))), None)

    return NodeInput(tuple(stages), resolve)


def facts(recipe: Recipe, records: Records) -> dict[str, Any]:
    """`recipe`, its text as YAML; `stages`, `{node, finished, seconds, machine}` each; `trainings`, what each took; `cards`, hours of one
    accelerator for all of them, by name; `share`, the share of its peak that these assume; `versions` of the newest artifact's making."""
    made = [(name, record.made) for name, record in records.items()]
    trainings = [
        _training(name, record) for name, record in records.items() if record.stats.get("steps") and "tokens" in record.stats
    ]
    flops = sum(training["flops"] for training in trainings)
    newest = max((facts for _, facts in made), key=lambda facts: float(facts.get("finished", 0)), default={})
    return {
        "recipe": yaml.safe_dump(
            recipe.model_dump(mode="json", exclude_defaults=True), allow_unicode=True, sort_keys=False, width=120
        ),
        "stages": [
            {
                "node": name,
                "finished": facts.get("finished"),
                "seconds": facts.get("seconds"),
                "machine": facts.get("machine", "unknown"),
            }
            for name, facts in made
        ],
        "trainings": trainings,
        "cards": {name: flops / (USED * PEAKS[card]) / 3600 for name, card in CARDS.items()} if flops else {},
        "share": USED,
        "versions": _versions(newest),
    }


def _training(name: str, record: Record) -> dict[str, Any]:
    """A training's seconds (those before a resumption at the speed of those after it), tokens, operations and hours of accelerators."""
    stats = record.stats
    seconds = float(stats.get("seconds") or record.made.get("seconds") or 0)
    if stats.get("resumed_from") and stats.get("seconds_per_step"):
        seconds = max(seconds, stats["seconds_per_step"] * stats["steps"])
    device, processes = stats.get("device", "cpu"), int(stats.get("processes", 1))
    return {
        "node": name,
        "parameters": stats.get("parameters"),
        "tokens": stats["tokens"],
        "seconds": seconds,
        "tokens_a_second": stats["tokens"] / seconds if seconds else None,
        "flops": compute(int(stats.get("parameters") or 0), stats["tokens"]),
        "device": f"{processes} × {device}" if processes > 1 else device,
        "accelerator_hours": 0.0 if device == "cpu" else seconds * processes / 3600,
    }


def _versions(made: dict[str, Any]) -> dict[str, str]:
    """Hanlin with its commit, Python, and the packages that a record names."""
    commit = made.get("commit", "")[:12] + (" with uncommitted changes" if made.get("dirty") else "")
    hanlin = importlib.metadata.version("hanlin") + (f", commit {commit}" if commit else "")
    return {"hanlin": hanlin, "python": made.get("python", "unknown"), **made.get("versions", {})}
