"""What an operator fills in to start a run: a recipe by its name with a few changes, or every field of it.

The types here only say how the Prefect UI renders a parameter; what comes back is plain JSON, which `chosen` and `parsed` turn
into a recipe. They check it themselves, so that the run's state says what is wrong in the recipe's own words.
"""

from __future__ import annotations

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
