"""Every command stands in a group, in the order of use, and a shell completes recipes, stages and models."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from typer.main import get_command
from typer.testing import CliRunner

from flows import cli
from flows.command_groups import ORDER, artifact_names, model_names, recipe_names

ROOT = Path(__file__).parent.parent


def test_every_command_is_in_a_group_and_none_is_of_another() -> None:
    command = get_command(cli.app)
    assert list(command.list_commands(None)) == ORDER == list(dict.fromkeys(ORDER))
    shown = CliRunner().invoke(cli.app, ["--help"]).output
    places = [shown.index(f" {group} ") for group in ("Begin", "Train", "Watch", "Use a model", "Publish", "Keep", "Server")]
    assert places == sorted(places) and "Others" not in shown


def completed(words: str, tmp_path: Path) -> list[str]:
    """What bash is told for a line that ends with these words."""
    env = os.environ | {
        "_HANLIN_COMPLETE": "complete_bash", "COMP_WORDS": words, "COMP_CWORD": str(len(words.split(" ")) - 1), "PYTHONPATH": str(ROOT),
        "HANLIN_STORE": str(tmp_path),
    }  # fmt: skip
    code = "import sys; sys.argv = ['hanlin']; from flows import cli; cli.app(prog_name='hanlin')"
    return subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True, cwd=ROOT).stdout.split()


def test_a_shell_completes_commands_recipes_and_stages(tmp_path: Path) -> None:
    assert completed("hanlin ca", tmp_path) == ["cancel", "card"]
    assert "tiny" in completed("hanlin run ti", tmp_path)
    assert completed("hanlin run tiny --until ingest-b", tmp_path) == ["ingest-belle"]


def test_names_are_those_of_store_and_folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HANLIN_STORE", str(tmp_path / "store"))
    (tmp_path / "mine.yaml").touch()
    (tmp_path / "notes.txt").touch()
    (tmp_path / "models").mkdir()
    assert recipe_names("m") == ["mine.yaml", "models/"] and "sample" in recipe_names("sam")
    assert model_names("m") == ["models/"] and "sft" in model_names("s") and artifact_names("") == []
