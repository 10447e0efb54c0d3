"""The corpus flow: raw sources → curated corpus, with a report about the data. The data half of the pipeline, and the same artifacts.

Run it with `hanlin run RECIPE --flow corpus`. A recipe for it needs no source for fine-tuning, preferences or evaluation.
"""

from __future__ import annotations

from prefect import flow

from flows.graph import graph
from flows.recipe import Recipe
from flows.walk import Outcome, walk
from tasks.build import Drift


@flow(name="corpus", flow_run_name="{recipe.name}", persist_result=False, validate_parameters=True)
def corpus(
    recipe: Recipe,
    refresh: list[str] | None = None,
    until: str = "",
    drift: Drift = "warn",
    accept: list[str] | None = None,
) -> Outcome:
    """From raw files to deduplicated, filtered and split rows; every finished stage is reused, by the pipeline flow too.

    Args:
        recipe: What to make, and with which resources.
        refresh: Stages to build again even if their artifact is there.
        until: Last stage to run; empty runs them all.
        drift: What to do where an artifact was made by other code of the same stage version: warn, rebuild or fail.
        accept: Data stages whose result may break their contract this time.
    """
    return walk(recipe, graph(recipe, "corpus"), refresh=refresh or [], until=until, drift=drift, accept=accept or [])
