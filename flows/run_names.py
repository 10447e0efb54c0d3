"""The names of runs: the one that a person typed, else the recipe and what differs from it, such as `sample · pretrain.tokens=100000`."""

from __future__ import annotations

import functools
import inspect
import re
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from prefect import runtime
from prefect.context import FlowRunContext
from pydantic import BaseModel

from flows import long_form
from flows import recipe as recipes
from flows.recipe import Recipe
from flows.run_plan import flatten

LONGEST = 120  # characters of a name
OF_THE_RECIPE = ("recipe", "file", "changes", "name")  # parameters that say what is run; others say how
FORM = re.compile(  # names with which the form of Prefect's UI begins
    "(Awesome|Rustic|Small|Gorgeous|Fantastic|Sleek|Intelligent|Unbranded|Refined|Licensed|Generic|Practical|Ergonomic|Handcrafted|Tasty|Handmade|"
    "Incredible)-.{1,6}"
)


def keeps_typed_name(other: Callable[[dict[str, Any]], str]) -> Callable[[], str]:
    """A flow's `flow_run_name`: the name that a person typed, or that an earlier attempt has got; else `other(parameters)`."""

    def name() -> str:
        given = str(runtime.flow_run.name or "")
        return given if given and not is_generated(given) else shortened(other(_defaults() | runtime.flow_run.parameters))

    return name


def shortened(name: str) -> str:
    """A name of at most `LONGEST` characters, cut after a whole difference, else after a word, if half of it stays; … for the rest."""
    if len(name) <= LONGEST:
        return name
    start = name[: LONGEST - 3]
    for mark in (", ", " "):
        if (end := start.rfind(mark)) > LONGEST // 2:
            return f"{start[:end]}{mark}…"
    return f"{start}…"


def recipe_and_differences(parameters: dict[str, Any]) -> str:
    """A recipe's name, and what this run changes in it and in the flow's parameters; the time where nothing is changed."""
    recipe = parameters.get("recipe")
    if isinstance(recipe, BaseModel):
        recipe = recipe.model_dump(mode="json")
    if isinstance(recipe, dict):
        recipe = long_form.opened(recipe)
        title, changes = str(recipe["name"]), _differences(recipe)
    else:
        title = str(parameters.get("name") or (Path(parameters["file"]).stem if parameters.get("file") else recipe))
        changes = [str(change) for change in parameters.get("changes") or ()]
    return _joined(title, [*changes, *_options(parameters)])


def flow_and_differences(parameters: dict[str, Any]) -> str:
    """A flow's name, and its parameters that are not the usual ones; the time where all are."""
    return _joined(str(runtime.flow_run.flow_name), _options(parameters))


def is_generated(name: str) -> bool:
    """True of the two words that Prefect's server, its commands and its form give to a run that nobody named."""
    words = name.split("-")
    return bool(FORM.fullmatch(name)) or (len(words) == 2 and all(word in _words() for word in words))


@functools.cache
def _words() -> frozenset[str]:
    from coolname.data import config  # of which Prefect makes its names

    lists: dict[str, Any] = config
    return frozenset(word for entry in lists.values() for word in entry.get("words", ()))


def _joined(title: str, differences: list[str]) -> str:
    return f"{title} · {', '.join(differences) or time.strftime('%Y-%m-%d %H:%M:%S')}"


def _options(parameters: dict[str, Any]) -> list[str]:
    """The parameters that say how, where they are not the flow's own: `until=sft`."""
    usual = _defaults()
    how = {name: value for name, value in parameters.items() if name not in OF_THE_RECIPE}
    return [f"{name}={_shown(value)}" for name, value in how.items() if name not in usual or not _same(value, usual[name])]


def _defaults() -> dict[str, Any]:
    """The defaults of the current flow's parameters."""
    context = FlowRunContext.get()
    assert context is not None and context.flow is not None, "names are made inside a run"
    declared = inspect.signature(context.flow.fn).parameters.values()
    return {parameter.name: parameter.default for parameter in declared if parameter.default is not parameter.empty}


def _differences(recipe: dict[str, Any]) -> list[str]:
    """The fields of a filled-in form that are not those of the recipe that ships under its name; none where none ships."""
    if (name := recipe.get("name")) not in recipes.names():
        return []
    ships = flatten(Recipe.model_validate(recipes.fields(str(name))).model_dump(mode="json"))
    return [
        f"{field}={_shown(value)}"
        for field, value in flatten(recipe).items()
        if not re.fullmatch(r"sources\.[^.]+\.rank", field) and not _same(value, ships.get(field))
    ]


def _same(one: Any, other: Any) -> bool:
    """True of 1 and 1.0, and of an empty list and nothing: a browser's JSON does not tell them apart."""
    return one == other or _shown(one) == _shown(other)


def _shown(value: Any) -> str:
    """A value as it is typed: items of a list side by side, nothing for an empty one."""
    return ",".join(map(str, value)) if isinstance(value, list | tuple) else "" if value is None else str(value)
