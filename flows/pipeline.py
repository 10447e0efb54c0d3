"""The pipeline flow: raw sources → evaluated, aligned chat model. Run it with `hanlin run RECIPE`, or from a deployment."""

from __future__ import annotations

from collections.abc import Sequence

from prefect import flow

from flows.execution import Outcome, plainly, run_name, walk
from flows.form import RecipeForm, RecipeName, chosen, parsed
from flows.graph import graph
from flows.recipe import Recipe
from tasks.artifacts.build import Drift


@flow(name="pipeline", flow_run_name=run_name, persist_result=False, validate_parameters=False)
@plainly
def pipeline(
    recipe: RecipeForm,
    refresh: tuple[str, ...] = (),
    until: str = "",
    drift: Drift = "warn",
    accept: tuple[str, ...] = (),
) -> Outcome:
    """From raw files to an evaluated, aligned chat model; every finished stage is reused.

    Args:
        recipe: What to make, and with which resources.
        refresh: Stages to build again even if their artifact is there.
        until: Last stage to run; empty runs them all.
        drift: What to do where an artifact was made by other code of the same stage version: warn, rebuild or fail.
        accept: Data stages whose result may break their contract this time.
    """
    return _run(parsed(recipe, "pipeline"), refresh, until, drift, accept)


@flow(name="pipeline", flow_run_name=run_name, persist_result=False, validate_parameters=False)
@plainly
def named(
    recipe: RecipeName = "sample",
    changes: tuple[str, ...] = (),
    file: str = "",
    refresh: tuple[str, ...] = (),
    until: str = "",
    drift: Drift = "warn",
    accept: tuple[str, ...] = (),
) -> Outcome:
    """From raw files to an evaluated, aligned chat model; every finished stage is reused.

    Args:
        recipe: A recipe that ships with Hanlin.
        changes: Fields to change, each as field=value, such as pretrain.tokens=2000000 or resources.device=cuda.
        file: In place of a recipe that ships: the path of a .yaml file, on the machine that runs it.
        refresh: Stages to build again even if their artifact is there.
        until: Last stage to run; empty runs them all.
        drift: What to do where an artifact was made by other code of the same stage version: warn, rebuild or fail.
        accept: Data stages whose result may break their contract this time.
    """
    return _run(chosen(recipe, changes, file, "pipeline"), refresh, until, drift, accept)


def _run(recipe: Recipe, refresh: Sequence[str], until: str, drift: Drift, accept: Sequence[str]) -> Outcome:
    return walk(recipe, graph(recipe, "pipeline"), refresh=refresh, until=until, drift=drift, accept=accept)
