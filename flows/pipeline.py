"""The pipeline flow: raw sources → evaluated, aligned chat model. Run it with `hanlin run RECIPE`, or from a deployment."""

from __future__ import annotations

from prefect import flow

from flows.graph import graph
from flows.recipe import Recipe
from flows.walk import Outcome, walk
from tasks.build import Drift


@flow(name="pipeline", flow_run_name="{recipe.name}", persist_result=False, validate_parameters=True)
def pipeline(
    recipe: Recipe,
    refresh: list[str] | None = None,
    until: str = "",
    drift: Drift = "warn",
    accept: list[str] | None = None,
) -> Outcome:
    """From raw files to an evaluated, aligned chat model; every finished stage is reused.

    Args:
        recipe: What to make, and with which resources.
        refresh: Stages to build again even if their artifact is there.
        until: Last stage to run; empty runs them all.
        drift: What to do where an artifact was made by other code of the same stage version: warn, rebuild or fail.
        accept: Data stages whose result may break their contract this time.
    """
    return walk(recipe, graph(recipe), refresh=refresh or [], until=until, drift=drift, accept=accept or [])
