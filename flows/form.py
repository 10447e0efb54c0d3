"""The forms with which an operator starts a run: a recipe by its name with a few changes, or every field of it.

The types here only say how the Prefect UI renders a parameter; a form returns plain JSON, which `chosen_recipe` and `filled_recipe` turn into
a recipe. They check it themselves, so that the run's state names the mistake in the recipe's own words.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable
from typing import Annotated, Any

from pydantic import Field, GetJsonSchemaHandler
from pydantic_core import CoreSchema

from flows import recipe as recipes
from flows.recipe import BadRecipe, Flow, Recipe

PREFILLED = "sample"  # the recipe that a form starts from


class _SchemaExtension:
    """An annotation that extends a parameter's JSON schema with values computed when the schema is generated."""

    def __init__(self, more: Callable[[], dict[str, Any]]):
        self.more = more

    def __get_pydantic_json_schema__(self, core: CoreSchema, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        return {**handler(core), **self.more()}


def _prefilled() -> dict[str, Any]:
    """The first values of the form with every field. Sources have ranks, since neither JSON schemas nor Postgres keep the order of names."""
    values = Recipe.model_validate(recipes.fields(PREFILLED)).model_dump(mode="json")
    for rank, source in enumerate(values["sources"].values(), 1):
        source["rank"] = rank
    return {"default": values}


Changes = tuple[Annotated[str, Field(pattern=r"^[A-Za-z_][^=\s]*=")], ...]
StageName = Annotated[str, Field(pattern=r"^[a-z0-9-]*$")]
StageNames = tuple[Annotated[str, Field(pattern=r"^[a-z0-9-]+$")], ...]
RecipeFile = Annotated[str, Field(pattern=r"^$|\.ya?ml$")]
RecipeName = Annotated[str, _SchemaExtension(lambda: {"enum": recipes.names()})]
RecipeForm = Annotated[Recipe, _SchemaExtension(_prefilled)]

PARAMETERS = {  # the description of each parameter of a flow, as the Prefect UI shows it beside the field
    "recipe_form": "The settings of every stage, and the resources to run with.",
    "recipe_name": "Name of a recipe that ships with Hanlin.",
    "changes": "Fields of the recipe to change for this run, each as field=value, such as pretrain.tokens=2M or resources.device=cuda.",
    "file": "In place of a recipe that ships with Hanlin: the path of a .yaml file on the machine of the worker.",
    "refresh": "Names of stages to build again even if the store has their results, as the plan of a run shows them, such as sft or ingest-belle.",
    "until": "Name of the last stage to run, such as split; empty: all stages are run.",
    "drift": "What to do with a stored result if the code of its stage has changed since, but not its version number. warn: reuse it and say so; "
    "rebuild: make it again; fail: stop.",
    "accept": "Names of data stages whose results are used in this run even if they break the recipe's contract, because they differ too much from "
    "the last run's.",
    "share": "Length of the new pretraining, as a share of the first one's tokens. It continues from the checkpoint of the model in production that "
    "was kept before its learning rate went down. 0: pretrain a new model from random weights.",
    "approve": "Ask an operator for approval before the new model replaces the one in production. The run is suspended meanwhile.",
    "tag": "Name (tag) under which the store knows the model in production.",
    "force": "Train even if no source has new data.",
    "wait_hours": "Longest wait for an operator's answer, in hours; then the run fails.",
}


def documented(summary: str, **described: str) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """A decorator that writes a flow's docstring, from which Prefect takes the descriptions of the flow and of each of its parameters.

    `described` replaces texts of `PARAMETERS`. The parameter `recipe` is `recipe_name` where a recipe is named, `recipe_form` where it is
    filled in.
    """
    texts = PARAMETERS | described

    def write(function: Callable[..., Any]) -> Callable[..., Any]:
        names = list(inspect.signature(function).parameters)
        of_recipe = "recipe_name" if "changes" in names else "recipe_form"
        lines = [f"    {name}: {texts[of_recipe if name == 'recipe' else name]}" for name in names]
        function.__doc__ = "\n".join([summary, "", "Args:", *lines])
        return function

    return write


def chosen_recipe(recipe: str, changes: Iterable[str] = (), file: str = "", flow: Flow = "pipeline") -> Recipe:
    """A recipe by the name of one that ships, or by the path of a file, with `field.path=value` changes. Raises `BadRecipe`."""
    if file and not file.endswith((".yaml", ".yml")):
        raise BadRecipe(file, ["file: a recipe is a .yaml file; leave it empty for one that ships"])
    return recipes.load(file or recipe, changes, flow)


def filled_recipe(recipe: Recipe | dict[str, Any], flow: Flow = "pipeline") -> Recipe:
    """A recipe from the JSON of the form with every field. Raises `BadRecipe` with all mistakes in it."""
    if isinstance(recipe, Recipe):
        return recipe
    if problems := recipes.check(recipe, flow):
        raise BadRecipe(str(recipe.get("name", "of the form")), problems)
    return Recipe.model_validate(recipe)
