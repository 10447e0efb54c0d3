"""Whole numbers as people write large ones: `100k`, `2M`, `1.5B`, `1e5`, `1_000_000`."""

from __future__ import annotations

import re
import types
import typing
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pydantic import BaseModel

WRITTEN = re.compile(r"(\d[\d_]*(?:\.\d+)?)(?:[eE]\+?(\d{1,2}))?([kKmMgGbB]?)")
THOUSANDS = {"": 1, "k": 10**3, "m": 10**6, "g": 10**9, "b": 10**9}


def amount(text: str) -> int:
    """The number that a text means. Raises `ValueError` for one that is none, or not whole."""
    found = WRITTEN.fullmatch(text.strip())
    if found is None:
        raise ValueError(f"{text!r} is no number; write it as 100000, 100k, 2M or 1e5")
    digits, exponent, letter = found.groups()
    whole, _, fraction = digits.replace("_", "").partition(".")
    scale = THOUSANDS[letter.lower()] * 10 ** int(exponent or 0)
    value, rest = divmod(int(whole + fraction) * scale, 10 ** len(fraction))
    if rest:
        raise ValueError(f"{text!r} is no whole number; write it as 100000, 100k, 2M or 1e5")
    return value


def tokens(text: str) -> int:
    """A number of tokens as an option of a command: at least 1."""
    import typer

    try:
        number = amount(str(text))
    except ValueError as mistake:
        raise typer.BadParameter(str(mistake)) from None
    if number < 1:
        raise typer.BadParameter("it is 1 token at least")
    return number


def with_numbers(data: Any, model: type[BaseModel]) -> Any:
    """The data of a section with every whole number that is written so (or as 1e5, which YAML reads as a text) as a number.

    What cannot be read stays as it is, so that the section's own check names the field.
    """
    if not isinstance(data, dict):
        return data
    fields = {name: field.annotation for name, field in model.model_fields.items()}
    return {name: _value(value, fields[name]) if name in fields else value for name, value in data.items()}


def _value(value: Any, kind: Any) -> Any:
    from pydantic import BaseModel  # which the command line does without

    kinds = typing.get_args(kind) if typing.get_origin(kind) in (typing.Union, types.UnionType) else (kind,)
    for one in kinds:
        if isinstance(one, type) and issubclass(one, BaseModel):
            return with_numbers(value, one)
        if typing.get_origin(one) is dict and isinstance(value, dict):
            return {name: _value(inner, typing.get_args(one)[1]) for name, inner in value.items()}
    if isinstance(value, bool) and {int, float} & set(kinds) and bool not in kinds:
        return str(value).lower()  # which is no number, where `True` would be 1
    if isinstance(value, str) and int in kinds and str not in kinds:
        try:
            return amount(value)
        except ValueError:
            return value
    if isinstance(value, float) and int in kinds and float not in kinds and value.is_integer():
        return int(value)
    return value
