"""The corpus flow: raw sources → curated corpus, with a report about the data. The data half of the pipeline, and the same artifacts.

Run it with `hanlin run RECIPE --flow corpus`. A recipe for it needs no source for fine-tuning, preferences or evaluation.
"""

from __future__ import annotations

from collections.abc import Sequence

from prefect import flow

from flows.execution import Outcome, plainly, run_name, walk
from flows.form import RecipeForm, RecipeName, chosen, parsed
from flows.graph import graph
from flows.recipe import Recipe
from tasks.artifacts.build import Drift


@flow(name="corpus", flow_run_name=run_name, persist_result=False, validate_parameters=False)
@plainly
def corpus(
    recipe: RecipeForm,
    refresh: tuple[str, ...] = (),
    until: str = "",
    drift: Drift = "warn",
    accept: tuple[str, ...] = (),
) -> Outcome:
    """From raw files to deduplicated, filtered and split rows; every finished stage is reused, by the pipeline flow too.

    Args:
        recipe: What to make, and with which resources.
        refresh: Stages to build again even if their artifact is there.
        until: Last stage to run; empty runs them all.
        drift: What to do where an artifact was made by other code of the same stage version: warn, rebuild or fail.
        accept: Data stages whose result may break their contract this time.
    """
    return _run(parsed(recipe, "corpus"), refresh, until, drift, accept)


@flow(name="corpus", flow_run_name=run_name, persist_result=False, validate_parameters=False)
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
    """From raw files to deduplicated, filtered and split rows; every finished stage is reused, by the pipeline flow too.

    Args:
        recipe: A recipe that ships with Hanlin.
        changes: Fields to change, each as field=value, such as pretrain.tokens=2000000 or resources.device=cuda.
        file: In place of a recipe that ships: the path of a .yaml file, on the machine that runs it.
        refresh: Stages to build again even if their artifact is there.
        until: Last stage to run; empty runs them all.
        drift: What to do where an artifact was made by other code of the same stage version: warn, rebuild or fail.
        accept: Data stages whose result may break their contract this time.
    """
    return _run(chosen(recipe, changes, file, "corpus"), refresh, until, drift, accept)


def _run(recipe: Recipe, refresh: Sequence[str], until: str, drift: Drift, accept: Sequence[str]) -> Outcome:
    return walk(recipe, graph(recipe, "corpus"), refresh=refresh, until=until, drift=drift, accept=accept)
