"""Checks of what a run is asked for beside its recipe, made before anything is started: names of stages, the device, the tracker."""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from typing import get_args

from flows.devices import missing_device
from flows.graph import Node
from flows.recipe import Recipe
from flows.switched_off import switched_off
from flows.tracker import tracker_problem
from tasks.artifacts.build import Drift
from tasks.data import contract


def check_options(
    recipe: Recipe,
    nodes: Sequence[Node],
    *,
    refresh: Sequence[str] = (),
    until: str = "",
    accept: Sequence[str] = (),
    drift: str = "warn",
) -> None:
    """Raise `ValueError` with every mistake, a line each, where an option names no stage of the run, or the machine lacks the device."""
    stages = {node.name: node.stage for node in nodes}
    off = _absent(recipe)
    problems = [
        f"{option}: {problem}"
        for option, names in {"until": [until] if until else [], "refresh": refresh, "accept": accept}.items()
        for name in names
        if (problem := _unknown(name, list(stages), recipe.name, off))
    ]
    problems += [
        f"accept: {name} has no contract that could be accepted: it is no data stage; leave it out"
        for name in accept
        if name in stages and not contract.applies(stages[name])
    ]
    problems += [
        f"resources.hours.{name}: {problem}"
        for name in recipe.resources.hours
        if (problem := _unknown(name, list(stages), recipe.name, off))
    ]
    problems += _drift_problems(drift)
    if missing := missing_device(recipe.resources.device):
        problems.append(f"resources.device: {recipe.resources.device}, and {missing}")
    if problem := tracker_problem():
        problems.append(problem)
    if problems:
        several = [f"{len(problems)} problems; nothing was run", *(f"  - {problem}" for problem in problems)]
        raise ValueError("\n".join(several) if len(problems) > 1 else f"{problems[0]} (nothing was run)")


def check_plan_options(recipe: Recipe, nodes: Sequence[Node], refresh: Sequence[str], until: str, drift: str) -> None:
    """Raise `ValueError` for the first mistake in the options of a plan: a name that no stage has, or an unknown `drift`."""
    names, off = [node.name for node in nodes], _absent(recipe)
    asked = [*([until] if until else []), *refresh]
    for problem in [*(_unknown(name, names, recipe.name, off) for name in asked), *_drift_problems(drift)]:
        if problem:
            raise ValueError(problem)


def _drift_problems(drift: str) -> list[str]:
    known = get_args(Drift)
    return [] if drift in known else [f"drift: {drift!r} is none of {', '.join(known)}{_near(drift, known)}"]


def _absent(recipe: Recipe) -> dict[str, str]:
    """Stages that a recipe goes without, each with the reason."""
    groups = {"dpo": ("rejected", "reference", "dpo"), "corpus": ("dedup", "filter", "split")}
    off = {stage: why for group, why in switched_off(recipe).items() for stage in groups.get(group, (group,))}
    return ({} if recipe.reward else {"reward": "its section `reward` is not there"}) | off


def _unknown(name: str, names: list[str], recipe: str, off: dict[str, str]) -> str:
    """The mistake in a stage's name; empty where there is none."""
    if name in names:
        return ""
    if name in off:
        return f"recipe {recipe} has no stage {name!r}: {off[name]}"
    parts = [other for other in names if other.startswith(f"{name}-")]
    every = f"; its stages: {', '.join(names)}"
    near = f"; did you mean {' or '.join(parts)}?" if parts else _near(name, names)
    return f"no stage {name!r} in recipe {recipe}{near or every}"


def _near(name: str, names: Sequence[str]) -> str:
    near = difflib.get_close_matches(name.strip().lower(), names, 1)
    return f"; did you mean {near[0]}?" if near else ""
