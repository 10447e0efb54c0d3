"""The console's common parts, for all commands: the store of this environment, and rows printed as a table."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tasks.artifacts.store import Store

WHOLE = (
    "stage",
    "step",
    "key",
    "digest",
    "commit",
    "made",
    "version",
)  # columns that are not broken where the terminal is narrow


def store() -> Store:
    """The store that HANLIN_STORE names, else ./store."""
    from tasks.artifacts.store import Store, store_folder

    return Store(store_folder())


def table(rows: list[dict[str, Any]]) -> None:
    """Rows as aligned columns; Chinese characters are two columns wide."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    columns = Table(box=None, header_style="bold", pad_edge=False)
    for name in rows[0] if rows else []:
        columns.add_column(name, overflow="fold", no_wrap=name in WHOLE)
    colours = {"HIT": "green", "RESUME": "yellow", "MISS": "cyan"}
    for row in rows:
        columns.add_row(*(Text(str(value), style=colours.get(str(value), "")) for value in row.values()))
    Console(width=None if sys.stdout.isatty() else 160, highlight=False).print(columns)
