"""The long form of a recipe: its sections, closed until somebody opens one, each with the values of the recipe that the form begins with.

The Prefect UI has no sections that fold. It shows a field that may be null as two tabs, and the tab of null has nothing in it: so every section
here may be null, which stands for the section of the recipe.
"""

from __future__ import annotations

import copy
from functools import cache
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, create_model

from flows import recipe as recipes
from flows.recipe import Flow, Recipe

PREFILLED = "sample"  # the recipe that a form begins with
DATA = ("sample", "dedup", "filter", "split", "contract", "report", "resources")  # sections of the flow `corpus`
ELSEWHERE = {"pipeline": ("base",), "corpus": (), "finetune": ()}  # sections that another flow needs, and this one refuses
DECIDED = {"split.use", "report.recipe", "extraction.rows.scored"}  # fields that a recipe must leave to the pipeline
CLOSED = "None: as in the recipe. "


@cache
def prefilled() -> dict[str, Any]:
    """The values of the recipe that a form begins with, in JSON. Sources have ranks, since neither JSON schemas nor Postgres keep their order."""
    recipe = Recipe.model_validate(recipes.fields(PREFILLED))
    sources = {name: source.model_dump(mode="json", exclude_defaults=True) for name, source in recipe.sources.items()}
    ranked = {name: source | {"rank": rank} for rank, (name, source) in enumerate(sources.items(), 1)}
    return recipe.model_dump(mode="json") | {"sources": ranked}


def sections(flow: Flow) -> list[str]:
    """The sections of a recipe that its long form has for a flow."""
    names = [name for name in Recipe.model_fields if name not in ("name", "raw", "sources")]
    return [name for name in names if (flow != "corpus" or name in DATA) and name not in ELSEWHERE[flow]]


@cache
def model(flow: Flow) -> type[BaseModel]:
    """The form of a flow as a model, for its JSON schema."""
    values = prefilled()
    fields: dict[str, Any] = {}
    for name in ("name", "raw", "sources"):
        field = copy.copy(Recipe.model_fields[name])
        field.default, field.default_factory = values[name], None
        fields[name] = (Recipe.model_fields[name].annotation, field)
    for name in sections(flow):
        whole = Recipe.model_fields[name]
        section = _section(name, recipes.section_of(whole.annotation), values[name] or {})
        fields[name] = (section | None, Field(default=None, title=whole.title, description=f"{CLOSED}{whole.description}"))
    return create_model("Recipe", __config__=ConfigDict(extra="forbid"), **fields)


def _section(path: str, section: type[BaseModel], values: dict[str, Any]) -> type[BaseModel]:
    """A section whose fields begin with these values, without those that only the pipeline itself sets."""
    fields: dict[str, Any] = {}
    for name, field in section.model_fields.items():
        if (inner := f"{path}.{name}") in DECIDED:
            continue
        field, annotation = copy.copy(field), field.annotation
        if isinstance(annotation, type) and issubclass(annotation, BaseModel):
            annotation = _section(inner, annotation, values.get(name, {}))
        if name in values:
            field.default, field.default_factory = values[name], None
        fields[name] = (annotation, field)
    form: type[BaseModel] = create_model(path.title().replace(".", ""), __config__=section.model_config, **fields)
    return form


def start(flow: Flow) -> dict[str, Any]:
    """The values with which the form opens: every section closed."""
    values = prefilled()
    return {name: values[name] for name in ("name", "raw", "sources")} | dict.fromkeys(sections(flow))


def opened(values: dict[str, Any]) -> dict[str, Any]:
    """A recipe's data from those of its form: what was not opened, or not filled in, is that of the recipe that the form begins with."""
    data = dict(prefilled())
    for name, value in values.items():
        section = data.get(name)
        if isinstance(section, dict) and isinstance(value, dict) and name != "sources":
            data[name] = section | value
        elif value is not None:
            data[name] = value
    return data
