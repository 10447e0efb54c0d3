"""The factory of the flows that run a recipe's graph, `pipeline`, `corpus` and `finetune`: a Prefect flow for each of the two forms."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from prefect import flow

from flows.execution import Outcome, reports_mistakes, run_graph
from flows.form import (
    Changes,
    RecipeFile,
    RecipeName,
    StageName,
    StageNames,
    chosen_recipe,
    documented,
    filled_recipe,
    recipe_form,
)
from flows.graph import graph
from flows.long_form import PREFILLED
from flows.recipe import Flow, Recipe
from flows.run_names import keeps_typed_name, recipe_and_differences
from flows.short_form import AS_RECIPE, Device, RunRecipeName, Size, Sources, Tokens
from tasks.artifacts.build import Drift


def recipe_flows(name: Flow, summary: str, *, default: str = PREFILLED, **described: str) -> tuple[Any, Any]:
    """The two Prefect flows of one name: the recipe as a form with every field, and a recipe by its name with a few changes.

    They belong to the module `flows.<name>`, which assigns them to `<name>` and `named`: deployments and recorded runs find them there.
    `summary` is the first line of their description, `default` the recipe that the second form begins with; `described` are descriptions of
    parameters that differ from `flows.form.PARAMETERS`.
    """

    def by_form(
        recipe: Any,
        refresh: StageNames = (),
        until: StageName = "",
        drift: Drift = "warn",
        accept: StageNames = (),
    ) -> Outcome:
        return _run(filled_recipe(recipe, name), name, refresh, until, drift, accept)

    by_form.__annotations__["recipe"] = recipe_form(name)
    by_name = _training_by_name(name, default) if name == "pipeline" else _rows_by_name(name, default)
    flows = []
    for attribute, function in ((name, by_form), ("named", by_name)):
        function.__module__, function.__name__, function.__qualname__ = f"flows.{name}", attribute, attribute
        described_function = reports_mistakes(documented(summary, **described)(function))
        run_name = keeps_typed_name(recipe_and_differences)
        flows.append(flow(name=name, flow_run_name=run_name, persist_result=False, validate_parameters=False)(described_function))
    return flows[0], flows[1]


def _training_by_name(flow_name: Flow, default: str) -> Callable[..., Outcome]:
    """The short form of a flow that trains a new model."""

    def by_name(
        recipe: RecipeName = default,
        file: RecipeFile = "",
        name: RunRecipeName = "",
        raw: str = "",
        sources: Sources = (),
        size: Size = AS_RECIPE,
        tokens: Tokens = "",
        device: Device = "as in the recipe",
        changes: Changes = (),
        until: StageName = "",
        refresh: StageNames = (),
        drift: Drift = "warn",
        accept: StageNames = (),
    ) -> Outcome:
        short = {"name": name, "raw": raw, "sources": sources, "size": size, "tokens": tokens, "device": device}
        return _run(chosen_recipe(recipe, changes, file, flow_name, **short), flow_name, refresh, until, drift, accept)

    return by_name


def _rows_by_name(flow_name: Flow, default: str) -> Callable[..., Outcome]:
    """The short form of a flow that pretrains nothing."""

    def by_name(
        recipe: RecipeName = default,
        file: RecipeFile = "",
        name: RunRecipeName = "",
        raw: str = "",
        sources: Sources = (),
        changes: Changes = (),
        until: StageName = "",
        refresh: StageNames = (),
        drift: Drift = "warn",
        accept: StageNames = (),
    ) -> Outcome:
        short = {"name": name, "raw": raw, "sources": sources}
        return _run(chosen_recipe(recipe, changes, file, flow_name, **short), flow_name, refresh, until, drift, accept)

    return by_name


def _run(recipe: Recipe, name: Flow, refresh: Sequence[str], until: str, drift: Drift, accept: Sequence[str]) -> Outcome:
    return run_graph(recipe, graph(recipe, name), refresh=refresh, until=until, drift=drift, accept=accept)
