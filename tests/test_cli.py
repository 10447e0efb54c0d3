"""The command line's own words: the version, and a help text for every command, argument and option."""

from __future__ import annotations

import importlib.metadata
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from typer.main import get_command
from typer.testing import CliRunner

from flows import cli
from tasks.artifacts import provenance
from tasks.artifacts.lease import lease
from tasks.artifacts.store import Store

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


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["artifacts", "tag", "sft", ""], "'' cannot be a tag"),
        (["artifacts", "tag", "sft", "../out"], "'../out' cannot be a tag"),
        (["artifacts", "tag", "sft", "a\nb"], "cannot be a tag; name it in letters"),
        (["retrain", "tiny", "--tag", "/prod"], "'/prod' cannot be a tag"),
        (["chat", str(ROOT), "  "], "the message is empty"),
        (["serve", "sft", "--device", "gpu"], "--device gpu: there is no such device"),
        (["serve", "sft", "--device", "cuda:x"], "--device cuda:x: there is no such device"),
        (["plan", "tiny", "--drift", "rebiuld"], "did you mean rebuild?"),
        (["plan", "tiny", "--until", "splti"], "did you mean split?"),
    ],
)
def test_what_cannot_be_meant_is_refused_before_anything_runs(
    arguments: list[str], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HANLIN_STORE", str(tmp_path))
    refused = CliRunner().invoke(cli.app, arguments)
    assert isinstance(refused.exception, ValueError) and message in str(refused.exception), refused.output


def test_a_plan_ends_where_the_run_would(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HANLIN_STORE", str(tmp_path))
    planned = json.loads(CliRunner().invoke(cli.app, ["plan", "tiny", "--until", "dedup", "--json"]).stdout)["stages"]
    assert [step["name"] for step in planned][-1] == "dedup" and len(planned) > 2


@pytest.mark.parametrize("typed", [["--pretrain.tokens=5"], ["--pretrain.tokens", "5"]])
def test_a_field_that_is_typed_as_an_option_is_told_its_form(
    typed: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["hanlin", "run", "tiny", *typed])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    assert ended.value.code == 2
    assert capsys.readouterr().err.endswith("a field of the recipe is set without dashes: pretrain.tokens=5\n")


def test_what_follows_two_dashes_is_no_option() -> None:
    cli._refuse_fields_as_options(["sniff", "--", "--my.txt"])
    with pytest.raises(ValueError, match=r"without dashes: sft.epochs=VALUE$"):
        cli._refuse_fields_as_options(["run", "tiny", "--sft.epochs", "--until", "sft"])


def test_the_name_of_a_stage_that_has_a_result_is_no_tag(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HANLIN_STORE", str(tmp_path))
    facts: dict[str, Any] = {"title": "SFT", "identity": {}, "lineage": {}, "stats": {}, "reproducibility": "seeded"}
    store = Store(tmp_path)
    out = store.work("a" * 64)
    out.mkdir(parents=True)
    (out / "log.jsonl").write_text("{}")
    with lease(store.root / "leases" / ("a" * 64)) as held:
        store.publish(out, held, key="a" * 64, stage="sft", made={"finished": 1, "seconds": 1}, **facts)
    refused = CliRunner().invoke(cli.app, ["artifacts", "tag", "aaaa", "sft"])
    assert "sft is a stage's name, which stands for its newest result" in str(refused.exception)
    assert CliRunner().invoke(cli.app, ["artifacts", "tag", "sft", "我的 模型/一"]).exit_code == 0
    assert list(store.tags()) == ["我的 模型/一"]
