"""Tests of the last lines of `hanlin run`, whatever the run made."""

from __future__ import annotations

import io
import json
import sys
from pathlib import Path
from typing import Any

import pytest

from flows import terminal
from flows.console import command
from tasks.artifacts.store import Store


@pytest.fixture
def shown(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setenv("HANLIN_STORE", str(tmp_path / "store"))
    store = Store(tmp_path / "store")
    rows = [
        {"figure": "right answers", "model": "sft", "value": 0.5, "low": 0.4, "high": 0.6, "n": 1200},
        {"figure": "triple F1", "model": "extractor", "value": 0.25, "low": None, "high": None, "n": 30},
        {"figure": "parameters", "model": "sft", "value": 2900000, "low": None, "high": None, "n": None},
    ]
    files = {
        "report": {"figures.json": {"rows": rows}},
        "evaluate": {
            "scores.json": {"models": {"base": {"facts": None}, "sft": {"facts": None}}},
            "answers.json": [
                {
                    "prompt": "你好",
                    "reference": "好",
                    "answers": {"base": "不", "sft": "您好。"},
                    "right": {"base": None, "sft": None},
                }
            ],
            "facts.json": [],
        },
        "facts": {
            "scores.json": {"models": {"sft": {"facts": {"all": {"n": 2, "accuracy": 0.5, "low": 0.09, "high": 0.91}}}}},
            "answers.json": [],
            "facts.json": [
                {"prompt": "甲在哪？", "reference": "东", "answers": {"sft": "在东。"}, "right": {"sft": True}},
                {"prompt": "乙在哪？", "reference": "西", "answers": {"sft": "在东。"}, "right": {"sft": False}},
            ],
        },
    }

    def show(*nodes: str) -> str:
        for node in nodes:
            home = store.object(node)
            home.mkdir(parents=True, exist_ok=True)
            for name, content in files.get(node, {}).items():
                (home / name).write_text(json.dumps(content), "utf-8")
        stream = io.StringIO()
        terminal._show_result(stream, {"artifacts": {node: {"key": node} for node in nodes}})
        return stream.getvalue()

    return show


def test_a_fine_tuning_without_preferences_ends_with_the_answers_of_what_was_tuned(shown: Any) -> None:
    said = shown("split", "sft", "evaluate", "report")
    assert "0.500  (0.400 to 0.600, n = 1,200)" in said and "0.250  (n = 30)" in said and "2,900,000\n" in said
    assert "问 你好\n  答 您好。" in said and " chat sft\n" in said and "rows  " not in said


def test_the_chat_says_how_often_it_is_right_and_marks_what_it_shows(shown: Any, tmp_path: Path) -> None:
    shown("facts", "report")
    said = terminal._short_chat(tmp_path / "store" / "objects" / "facts")
    assert "Of 2 facts that its texts tell, it answers 50% right in free words (9% to 91%)" in said
    assert "答 在东。  ✓" in said and "答 在东。  ✗ right: 西" in said


def test_the_last_lines_name_the_command_as_it_can_be_typed(shown: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By its name where the shell finds this one, else by its path, from here where it is below; and without either by its module."""
    home = tmp_path / "some project"
    script = home / ".venv" / "bin" / "hanlin"
    script.parent.mkdir(parents=True)
    script.write_text("#!/bin/sh\n")
    script.chmod(0o755)
    monkeypatch.setattr("sys.argv", [str(script), "run", "sample"])
    monkeypatch.setenv("PATH", "/usr/bin")
    monkeypatch.chdir(home)
    said = shown("split", "sft", "evaluate", "report")
    assert "chat     .venv/bin/hanlin chat sft\n" in said and "more     .venv/bin/hanlin --help\n" in said
    assert "to type hanlin alone in this terminal: export PATH=" in said
    monkeypatch.chdir(tmp_path / "store")
    assert f"chat     '{script}' chat sft\n" in shown("split", "sft", "evaluate", "report")
    monkeypatch.setenv("PATH", f"/usr/bin:{script.parent}")
    said = shown("split", "sft", "evaluate", "report")
    assert "chat     hanlin chat sft\n" in said and "export PATH" not in said
    monkeypatch.setattr("sys.argv", ["/elsewhere/pytest", "-n0"])
    assert command() == f"{sys.executable} -m flows.cli"


def test_triples_alone_end_with_their_extractor_and_a_corpus_with_its_rows(shown: Any) -> None:
    assert " chat extractor\n" in shown("triples", "extractor", "extraction", "report")
    said = shown("split", "report")
    assert "rows     " in said and " chat " not in said
