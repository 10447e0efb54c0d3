"""The console's common parts, for all commands: the store of this environment, `hanlin` as it is typed here, rows printed as a table."""

from __future__ import annotations

import shlex
import shutil
import sys
from pathlib import Path
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


def command() -> str:
    """The command `hanlin` as it works when typed in this folder: its name where the shell finds it, else its path."""
    called, found = Path(sys.argv[0]), shutil.which("hanlin")
    if called.name != "hanlin" or not called.is_file():
        return f"{shlex.quote(sys.executable)} -m flows.cli"
    if found and called.samefile(found):
        return "hanlin"
    whole, here = called.absolute(), Path.cwd()
    return shlex.quote(str(whole.relative_to(here) if whole.is_relative_to(here) else whole))


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
