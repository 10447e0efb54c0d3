"""The command line's own words: the version, and a help text for every command, argument and option."""

from __future__ import annotations

import importlib.metadata
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from typer.main import get_command

from flows import cli
from tasks.artifacts import provenance

ROOT = Path(__file__).parent.parent


def commands(command: Any, path: str = "hanlin") -> dict[str, Any]:
    """Every command below one, by its full name."""
    children = getattr(command, "commands", {})
    every = {path: command}
    for name, child in children.items():
        every |= commands(child, f"{path} {name}")
    return every


@pytest.mark.parametrize(("path", "command"), commands(get_command(cli.app)).items())
def test_every_command_and_each_of_its_parameters_has_a_help_text(path: str, command: Any) -> None:
    assert command.help and command.help[0].isupper(), path
    silent = [each.name for each in command.params if not getattr(each, "hidden", False) and not getattr(each, "help", None)]
    assert not silent, f"{path}: {silent}"
    assert command.help.split()[0] not in {"What", "Which", "How", "Whether", "Why", "Who", "Where"}, path


def test_the_version_is_that_of_the_package_and_of_its_commit() -> None:
    said = subprocess.run([sys.executable, "-m", "flows.cli", "--version"], cwd=ROOT, capture_output=True, text=True, check=True)
    assert said.stdout.startswith(f"hanlin {importlib.metadata.version('hanlin')}")
    facts = provenance.code_commit()
    assert ("commit" in facts) == ("(commit " in said.stdout)
    assert facts.get("commit", "")[:12] in said.stdout


@pytest.mark.parametrize(
    ("facts", "line"),
    [
        ({}, "hanlin 9.9"),
        ({"commit": "0123456789abcdef", "dirty": False}, "hanlin 9.9 (commit 0123456789ab)"),
        ({"commit": "0123456789abcdef", "dirty": True}, "hanlin 9.9 (commit 0123456789ab, with uncommitted changes)"),
    ],
)
def test_a_version_says_what_is_known_of_its_commit(monkeypatch: pytest.MonkeyPatch, facts: dict[str, Any], line: str) -> None:
    monkeypatch.setattr(importlib.metadata, "version", lambda package: "9.9")
    monkeypatch.setattr(provenance, "code_commit", lambda: facts)
    assert cli.version() == line


def test_the_version_needs_none_of_the_heavy_packages() -> None:
    heavy = "prefect", "torch", "transformers", "pydantic", "duckdb", "pyarrow"
    code = f"import sys; from flows import cli; cli.version(); print(*set({heavy!r}) & sys.modules.keys())"
    said = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert said.stdout.strip() == ""
