"""What an operator fills in to start a run: a recipe by its name with a few changes, or every field of it.

The types here only say how the Prefect UI renders a parameter; what comes back is plain JSON, which `chosen` and `parsed` turn
into a recipe. They check it themselves, so that the run's state says what is wrong in the recipe's own words.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable
from typing import Annotated, Any

from pydantic import GetJsonSchemaHandler
from pydantic_core import CoreSchema

from flows import recipe as recipes
from flows.recipe import BadRecipe, Flow, Recipe

PREFILLED = "sample"  # the recipe that a form starts from


class _Rendered:
    """Adds to a parameter's JSON schema what is only known when the schema is asked for."""

    def __init__(self, more: Callable[[], dict[str, Any]]):
        self.more = more

    def __get_pydantic_json_schema__(self, core: CoreSchema, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        return {**handler(core), **self.more()}


def _prefilled() -> dict[str, Any]:
    """The form's first values. Sources have ranks, since neither JSON schemas nor Postgres keep the order of names."""
    filled = Recipe.model_validate(recipes.fields(PREFILLED)).model_dump(mode="json")
    for rank, source in enumerate(filled["sources"].values(), 1):
        source["rank"] = rank
    return {"default": filled}


RecipeName = Annotated[str, _Rendered(lambda: {"enum": recipes.names()})]
RecipeForm = Annotated[Recipe, _Rendered(_prefilled)]

PARAMETERS = {  # the description of each parameter of a flow, as the Prefect UI shows it beside the field
    "recipe_form": "What to make, and with which resources.",
    "recipe_name": "A recipe that ships with Hanlin.",
    "changes": "Fields to change, each as field=value, such as pretrain.tokens=2000000 or resources.device=cuda.",
    "file": "In place of a recipe that ships: the path of a .yaml file, on the machine that runs it.",
    "refresh": "Stages to build again even if their artifact is there.",
    "until": "Last stage to run; empty runs them all.",
    "drift": "What to do where an artifact was made by other code of the same stage version: warn, rebuild or fail.",
    "accept": "Data stages whose result may break their contract this time.",
    "share": "Of the pretraining's tokens, trained again from the stable phase of the model in production; 0: train from nothing.",
    "approve": "Ask an operator before the model takes over. The run is suspended meanwhile, and holds no process.",
    "tag": "The tag that names the model in production.",
    "force": "Go on even if no source is new.",
    "wait_hours": "How long an operator's answer is waited for, in hours.",
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


def chosen(recipe: str, changes: Iterable[str] = (), file: str = "", flow: Flow = "pipeline") -> Recipe:
    """A recipe by the name of one that ships, or by the path of a file, with `field.path=value` changes. Raises `BadRecipe`."""
    if file and not file.endswith((".yaml", ".yml")):
        raise BadRecipe(file, ["file: a recipe is a .yaml file; leave it empty for one that ships"])
    return recipes.load(file or recipe, changes, flow)


def parsed(recipe: Recipe | dict[str, Any], flow: Flow = "pipeline") -> Recipe:
    """A recipe from a form's JSON. Raises `BadRecipe` with all that is wrong in it."""
    if isinstance(recipe, Recipe):
        return recipe
    if problems := recipes.check(recipe, flow):
        raise BadRecipe(str(recipe.get("name", "of the form")), problems)
    return Recipe.model_validate(recipe)
