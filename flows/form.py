"""The forms with which an operator starts a run: a recipe by its name with the few settings that most runs differ by, or every field of it.

The types here only say how the Prefect UI renders a parameter; a form returns plain JSON, which `chosen_recipe` and `filled_recipe` turn into
a recipe. They check it themselves, so that the run's state names the mistake in the recipe's own words.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable
from typing import Annotated, Any

from pydantic import BaseModel, Field

from flows import long_form
from flows import recipe as recipes
from flows.recipe import BadRecipe, Flow, Recipe
from flows.schema import SchemaExtension
from flows.short_form import changes_of

Changes = tuple[Annotated[str, Field(pattern=r"^[A-Za-z_][^=\s]*=")], ...]
StageName = Annotated[str, Field(pattern=r"^[a-z0-9-]*$")]
StageNames = tuple[Annotated[str, Field(pattern=r"^[a-z0-9-]+$")], ...]
RecipeFile = Annotated[str, Field(pattern=r"^$|\.ya?ml$")]
RecipeName = Annotated[str, SchemaExtension(lambda: {"enum": recipes.names()})]


def recipe_form(flow: Flow) -> Any:
    """The type of the parameter `recipe` of a flow's long form."""
    return Annotated[long_form.model(flow), SchemaExtension(lambda: {"default": long_form.start(flow)})]


PARAMETERS = {  # the description of each parameter of a flow, as the Prefect UI shows it beside the field
    "recipe_form": "The recipe, stage by stage. It begins with the values of the recipe `sample`; a section that stays closed keeps them.",
    "recipe_name": "Name of a recipe that ships with Hanlin.",
    "changes": "Fields of the recipe to change for this run, each as field=value, such as pretrain.tokens=2M or resources.device=cuda.",
    "file": "In place of a recipe that ships with Hanlin: the path of a .yaml file on the machine of the worker.",
    "name": "Name of the recipe, under which its runs are found and compared; empty: as in the recipe.",
    "raw": "Folder of your raw files on the machine of the worker; empty: as in the recipe.",
    "sources": "Your sources, in place of the recipe's: files below the folder, how they are read, and what their rows are used for. None: as in the "
    "recipe.",
    "size": "Size of a new model, as a preset's name.",
    "tokens": "Length of pretraining in tokens, such as 400k or 2M; empty: as in the recipe.",
    "device": "Device to train on; auto takes a GPU where there is one.",
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


def chosen_recipe(recipe: str, changes: Iterable[str] = (), file: str = "", flow: Flow = "pipeline", **short: Any) -> Recipe:
    """A recipe by the name of one that ships, or by the path of a file, with the fields of a short form and `field.path=value` changes on top.

    Raises `BadRecipe`.
    """
    if file and not file.endswith((".yaml", ".yml")):
        raise BadRecipe(file, ["file: a recipe is a .yaml file; leave it empty for one that ships"])
    return recipes.load(file or recipe, [*changes_of(short), *changes], flow)


def filled_recipe(recipe: BaseModel | dict[str, Any], flow: Flow = "pipeline") -> Recipe:
    """A recipe from the JSON of the form with every field. Raises `BadRecipe` with all mistakes in it."""
    if isinstance(recipe, Recipe):
        return recipe
    data = long_form.opened(recipe if isinstance(recipe, dict) else recipe.model_dump(mode="json"))
    if problems := recipes.check(data, flow):
        raise BadRecipe(str(data["name"]), problems)
    return Recipe.model_validate(data)
