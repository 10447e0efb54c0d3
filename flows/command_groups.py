"""The commands in the order in which a person needs them, in groups, and what a shell offers to complete."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import typer
from typer.core import TyperGroup

GROUPS = {
    "Begin": ("recipes", "sniff", "init"),
    "Train": ("plan", "run", "sources", "retrain"),
    "Watch": ("status", "runs", "logs", "cancel"),
    "Use a model": ("chat", "serve", "export", "trace"),
    "Publish": ("card", "publish"),
    "Keep": ("artifacts", "rollback", "upkeep"),
    "Server": ("up", "worker", "arrived"),
}
ORDER = [name for names in GROUPS.values() for name in names]
RECIPES = Path(__file__).parent / "recipes"
STAGES = (
    "sample dedup filter split counts tokenizer pack pack_pairs pretrain base sft rejected reward reference dpo triples trace_index "
    "extraction evaluate gate report"
).split()


class InOrder(TyperGroup):
    """A group of commands that are listed in the order of `ORDER`."""

    def list_commands(self, ctx: Any) -> list[str]:
        return sorted(self.commands, key=lambda name: ORDER.index(name) if name in ORDER else len(ORDER))


def grouped(app: typer.Typer) -> typer.Typer:
    """The application with each of its commands under the heading of its group."""
    groups = {name: group for group, names in GROUPS.items() for name in names}
    every: list[Any] = [*app.registered_commands, *app.registered_groups]
    for command in every:
        name = command.name or getattr(command.callback, "__name__", "")
        command.rich_help_panel = groups.get(name, "Others")
    return app


# -- completion: nothing heavy may be imported, since the shell waits ------------------------------------------------------


def recipe_names(incomplete: str) -> list[str]:
    """The recipes that ship, and the .yaml files and folders that a path begins with."""
    names = sorted(path.stem for path in RECIPES.glob("*.yaml"))
    return _beginning(incomplete, names) + _paths(incomplete, (".yaml", ".yml"))


def stage_names(ctx: typer.Context, incomplete: str) -> list[str]:
    """The stages of the recipe that is already typed, those of each source too."""
    recipe = ctx.params.get("recipe") or next(iter(ctx.args), "")  # a line that is not complete is not read to its end
    sources = _sources(str(recipe))
    return _beginning(incomplete, [*(f"ingest-{name}" for name in sources), *STAGES])


def model_names(incomplete: str) -> list[str]:
    """The tags of the store, the stages that make a model, and folders."""
    from flows.console import store

    return _beginning(incomplete, [*store().tags(), "dpo", "sft", "pretrain", "base"]) + _paths(incomplete, ())


def artifact_names(incomplete: str) -> list[str]:
    """The tags of the store, and the stages that it has a result of."""
    from flows.console import store

    return _beginning(incomplete, [*store().tags(), *dict.fromkeys(record.stage for record in store().records())])


def _beginning(incomplete: str, names: list[str]) -> list[str]:
    return [name for name in names if name.startswith(incomplete)]


def _paths(incomplete: str, endings: tuple[str, ...]) -> list[str]:
    folder, _, begun = incomplete.rpartition("/")
    home = Path(folder).expanduser() if folder else Path("/" if incomplete.startswith("/") else ".")
    before = f"{folder}/" if "/" in incomplete else ""
    try:
        found = sorted(os.scandir(home), key=lambda entry: entry.name)
    except OSError:
        return []
    return [
        f"{before}{entry.name}{'/' if entry.is_dir() else ''}"
        for entry in found
        if entry.name.startswith(begun) and (begun or not entry.name.startswith("."))
        if entry.is_dir() or entry.name.endswith(endings or ("\0",))
    ]


def _sources(recipe: str) -> list[str]:
    """The names of a recipe's sources; none where it cannot be read, which is no reason to disturb whoever types."""
    import yaml

    names: list[str] = []
    for _ in range(5):  # a recipe may extend another, but hardly five
        path = Path(recipe) if recipe.endswith((".yaml", ".yml")) else RECIPES / f"{recipe}.yaml"
        try:
            data = yaml.safe_load(path.read_text("utf-8"))
            names += map(str, data.get("sources") or {})
            recipe = str(data.get("extends") or "")
        except (OSError, ValueError, AttributeError, yaml.YAMLError):
            break
    return sorted(set(names))
