"""The registry of formats: a format's name → its reader, of this package and of others, each loaded when it is first asked for.

Our own readers are the modules of `tasks/sources`, named as their files are; those of other packages are entry points of the group
`hanlin.readers` (name = the format, value = the module). `tasks/sources/__init__.py` is the contract that a reader module fulfils.
"""

from __future__ import annotations

import difflib
import importlib
import pkgutil
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import Annotated, Any, get_args

from pydantic import AfterValidator, GetJsonSchemaHandler
from pydantic_core import CoreSchema

from tasks.data.rows import Drop, Kind, Row

GROUP = "hanlin.readers"  # of entry points
OURS = "hanlin"  # the package that our own readers are of
TABLES = ("json", "parquet", "csv", "tsv")  # containers of records; JSON is an array, JSON Lines or objects over several lines

Record = dict[str, Any]  # as a file has it
_HOME = Path(__file__).parents[1] / "sources"


class BadReader(ValueError):
    """A reader that cannot be used, named with its format and the package it is of."""


@dataclass(frozen=True, kw_only=True)
class Reader:
    """A format and how its files are read. `tasks/sources/__init__.py` explains every field."""

    description: str
    kind: Kind
    expects: str
    rarity: int
    read: Callable[..., Iterator[Row | Drop]]
    row: Callable[[Record], Row | Drop] | None = None
    containers: tuple[str, ...] = TABLES
    named: bool = False
    joined: bool = False
    titled: bool = False
    cuts: bool = False
    columns: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.kind not in get_args(Kind):
            raise ValueError(f"kind {self.kind!r} is no kind of row; kinds: {', '.join(get_args(Kind))}")
        if not isinstance(self.containers, tuple) or not self.containers:
            raise ValueError(f"containers {self.containers!r} names none; give a tuple, such as TABLES or ('csv', 'tsv')")
        if not 0 <= self.rarity <= 100:
            raise ValueError(f"rarity {self.rarity} is not from 0 to 100")
        if self.titled and self.kind != "conversations":
            raise ValueError(f"titled is of questions in conversations, and kind is {self.kind}")


@dataclass(frozen=True)
class Offer:
    """A reader that some package has: the module to import for it."""

    format: str
    module: str
    package: str


def ours() -> list[str]:
    """The formats whose readers are modules of `tasks/sources`, sorted."""
    return sorted(info.name for info in pkgutil.iter_modules([str(_HOME)]) if not info.name.startswith("_"))


def offers() -> dict[str, list[Offer]]:
    """Format → who offers a reader of it, sorted by name; ours come first. Imports none of them."""
    by_format: dict[str, list[Offer]] = {}
    for offer in [*(Offer(name, f"tasks.sources.{name}", OURS) for name in ours()), *_installed(tuple(sys.path))]:
        by_format.setdefault(offer.format, []).append(offer)
    return dict(sorted(by_format.items()))


@cache
def _installed(path: tuple[str, ...]) -> tuple[Offer, ...]:
    """The readers of other packages that are installed on a search path."""
    points = metadata.entry_points(group=GROUP)
    return tuple(Offer(point.name, point.module, point.dist.name if point.dist else point.module) for point in points)


def formats() -> list[str]:
    """Every format there is, sorted."""
    return list(offers())


def modules() -> dict[str, str]:
    """Format → the module of its reader."""
    return {name: rivals[0].module for name, rivals in offers().items()}


def reader(name: str) -> Reader:
    """The reader of a format. ValueError, with the nearest name, for an unknown one; BadReader for one that cannot be used."""
    by_format = offers()
    if name not in by_format:
        near = difflib.get_close_matches(name, by_format, 1, cutoff=0.5)
        hint = f"did you mean {near[0]!r}? " if near else ""
        raise ValueError(f"no such format: {name!r}; {hint}known are {', '.join(by_format)}")
    offer, *rivals = by_format[name]
    if rivals:
        packages = ", ".join(rival.package for rival in rivals)
        raise BadReader(
            f"format {name!r} is of {offer.package} and also offered by {packages}; rename it there, or uninstall one"
        )
    return _load(offer)


def _load(offer: Offer) -> Reader:
    """Import a reader's module and check that it has what the contract asks for."""
    who = f"the reader of format {offer.format!r} (module {offer.module} of package {offer.package})"
    try:
        module = importlib.import_module(offer.module)
    except (Exception, SystemExit) as error:  # of other people's code: anything
        raise BadReader(f"{who} cannot be imported: {type(error).__name__}: {error}; mend or uninstall the package") from error
    candidate = getattr(module, "READER", None)
    if not isinstance(candidate, Reader):
        raise BadReader(f"{who} has no READER, a tasks.formats.registry.Reader; tasks/sources/__init__.py says what it holds")
    return candidate


def _checked(name: str) -> str:
    reader(name)
    return name


class _Names:
    """The names of the formats as the choices of a form, looked up when its JSON schema is asked for."""

    def __get_pydantic_json_schema__(self, core: CoreSchema, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        return {**handler(core), "enum": formats()}


Format = Annotated[str, AfterValidator(_checked), _Names()]  # a setting that names a format
