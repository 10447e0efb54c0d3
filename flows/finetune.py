"""The fine-tune flow: a model that is there, or is pretrained first, learns from a recipe's rows. Run it with `hanlin run RECIPE --flow finetune`.

The data half is the pipeline's. Full fine-tuning, LoRA and QLoRA are settings of the recipe's `sft`; DPO follows where a source serves it, and so
does triple extraction.
"""

from __future__ import annotations

from collections.abc import Sequence

from prefect import flow

from flows.execution import Outcome, plainly, run_name, walk
from flows.form import RecipeForm, RecipeName, chosen, parsed
from flows.graph import graph
from flows.recipe import Recipe
from tasks.artifacts.build import Drift


@flow(name="finetune", flow_run_name=run_name, persist_result=False, validate_parameters=False)
@plainly
def finetune(
    recipe: RecipeForm,
    refresh: tuple[str, ...] = (),
    until: str = "",
    drift: Drift = "warn",
    accept: tuple[str, ...] = (),
) -> Outcome:
    """From a base model and raw files to an evaluated model that answers; every finished stage is reused.

    Args:
        recipe: What to make, from which base, and with which resources.
        refresh: Stages to build again even if their artifact is there.
        until: Last stage to run; empty runs them all.
        drift: What to do where an artifact was made by other code of the same stage version: warn, rebuild or fail.
        accept: Data stages whose result may break their contract this time.
    """
    return _run(parsed(recipe, "finetune"), refresh, until, drift, accept)


@flow(name="finetune", flow_run_name=run_name, persist_result=False, validate_parameters=False)
@plainly
def named(
    recipe: RecipeName = "vicuna-lora-tiny",
    changes: tuple[str, ...] = (),
    file: str = "",
    refresh: tuple[str, ...] = (),
    until: str = "",
    drift: Drift = "warn",
    accept: tuple[str, ...] = (),
) -> Outcome:
    """From a base model and raw files to an evaluated model that answers; every finished stage is reused.

    Args:
        recipe: A recipe that ships with Hanlin, and has a base.
        changes: Fields to change, each as field=value, such as base.path=/models/llama or sft.lora.bits=4.
        file: In place of a recipe that ships: the path of a .yaml file, on the machine that runs it.
        refresh: Stages to build again even if their artifact is there.
        until: Last stage to run; empty runs them all.
        drift: What to do where an artifact was made by other code of the same stage version: warn, rebuild or fail.
        accept: Data stages whose result may break their contract this time.
    """
    return _run(chosen(recipe, changes, file, "finetune"), refresh, until, drift, accept)


def _run(recipe: Recipe, refresh: Sequence[str], until: str, drift: Drift, accept: Sequence[str]) -> Outcome:
    return walk(recipe, graph(recipe, "finetune"), refresh=refresh, until=until, drift=drift, accept=accept)
