"""The factory of the flows that run a recipe's graph, `pipeline`, `corpus` and `finetune`: a Prefect flow for each of the two forms."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from prefect import flow

from flows.execution import Outcome, reports_mistakes, run_graph, run_name
from flows.form import (
    PREFILLED,
    Changes,
    RecipeFile,
    RecipeForm,
    RecipeName,
    StageName,
    StageNames,
    chosen_recipe,
    documented,
    filled_recipe,
)
from flows.graph import graph
from flows.recipe import Flow, Recipe
from tasks.artifacts.build import Drift


def recipe_flows(name: Flow, summary: str, *, default: str = PREFILLED, **described: str) -> tuple[Any, Any]:
    """The two Prefect flows of one name: the recipe as a form with every field, and a recipe by its name with a few changes.

    They belong to the module `flows.<name>`, which assigns them to `<name>` and `named`: deployments and recorded runs find them there.
    `summary` is the first line of their description, `default` the recipe that the second form begins with; `described` are descriptions of
    parameters that differ from `flows.form.PARAMETERS`.
    """

    def by_form(
        recipe: RecipeForm,
        refresh: StageNames = (),
        until: StageName = "",
        drift: Drift = "warn",
        accept: StageNames = (),
    ) -> Outcome:
        return _run(filled_recipe(recipe, name), name, refresh, until, drift, accept)

    def by_name(
        recipe: RecipeName = default,
        changes: Changes = (),
        file: RecipeFile = "",
        refresh: StageNames = (),
        until: StageName = "",
        drift: Drift = "warn",
        accept: StageNames = (),
    ) -> Outcome:
        return _run(chosen_recipe(recipe, changes, file, name), name, refresh, until, drift, accept)

    flows = []
    for attribute, function in ((name, by_form), ("named", by_name)):
        function.__module__, function.__name__, function.__qualname__ = f"flows.{name}", attribute, attribute
        described_function = reports_mistakes(documented(summary, **described)(function))
        flows.append(flow(name=name, flow_run_name=run_name, persist_result=False, validate_parameters=False)(described_function))
    return flows[0], flows[1]


def _run(recipe: Recipe, name: Flow, refresh: Sequence[str], until: str, drift: Drift, accept: Sequence[str]) -> Outcome:
    return run_graph(recipe, graph(recipe, name), refresh=refresh, until=until, drift=drift, accept=accept)
