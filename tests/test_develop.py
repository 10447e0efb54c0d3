"""The page for developers, followed word for word: its blocks are applied to a copy of the tree, and its commands are run there.

A block that begins with a file's name (`# tasks/x.py`) is that file. A `diff` block names its file in its first line; its parts, between
`@@`, are looked up in the file, where each must be found exactly once. Blocks of commands are run in order.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from tasks.artifacts.store import Store

ROOT = Path(__file__).parent.parent
PAGE, TWIN = ROOT / "docs" / "develop.md", ROOT / "docs" / "develop.zh.md"
PRODUCT = ("flows", "tasks", "models")
LEDGER = "tasks/artifacts/accepted.json"  # written by a command, not by hand
FENCE = re.compile(r"^( *)```(\w+)\n(.*?)^ *```$", re.S | re.M)


@dataclass(frozen=True)
class Block:
    """One fenced block of the page."""

    language: str
    text: str

    @property
    def path(self) -> str:
        """The file that the block is, or is a change of; empty where it names none."""
        found = re.match(r"(?:# |--- )(\S+)\n", self.text)
        return found[1] if found else ""


def blocks(page: Path, heading: str = "") -> list[Block]:
    """The blocks of a page, or of one of its sections with what is below it, without the indentation of the list around them."""
    text = page.read_text("utf-8")
    if heading:
        level = heading.partition(" ")[0]
        text = re.split(rf"^#{{1,{len(level)}}} ", text.split(f"\n{heading}\n")[1], maxsplit=1, flags=re.M)[0]
    return [
        Block(language, "".join(f"{line.removeprefix(indent)}\n" for line in body.splitlines()))
        for indent, language, body in FENCE.findall(text)
    ]


def edited(text: str, diff: str) -> str:
    """A text with the parts of a diff applied: what each part takes away or leaves must stand in it exactly once."""
    for part in re.split(r"^@@.*\n", diff, flags=re.M)[1:]:
        lines = [line or " " for line in part.splitlines()]
        before = "".join(f"{line[1:]}\n" for line in lines if line[0] != "+")
        after = "".join(f"{line[1:]}\n" for line in lines if line[0] != "-")
        assert text.count(before) == 1, f"stands {text.count(before)} times in the file, not once:\n{before}"
        text = text.replace(before, after)
    return text


@dataclass
class Tree:
    """A copy of the tree in which a developer follows the page."""

    root: Path
    env: dict[str, str]
    before: dict[str, bytes] = field(default_factory=dict)
    packages: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        for top in (*PRODUCT, "tests"):
            shutil.copytree(ROOT / top, self.root / top, ignore=shutil.ignore_patterns("__pycache__"))
        shutil.copy(ROOT / "pyproject.toml", self.root)
        self.before = self.files()

    def files(self) -> dict[str, bytes]:
        return {
            str(path.relative_to(self.root)): path.read_bytes()
            for top in PRODUCT
            for path in (self.root / top).rglob("*")
            if path.is_file() and "__pycache__" not in path.parts and str(path.relative_to(self.root)) != LEDGER
        }

    def touched(self) -> list[str]:
        """The product files that are new or changed since the copy was made."""
        today = self.files()
        assert self.before.keys() <= today.keys()
        return sorted(name for name, content in today.items() if self.before.get(name) != content)

    def apply(self, block: Block) -> None:
        path = self.root / block.path
        assert block.path and path.resolve().is_relative_to(self.root.resolve())
        if block.language == "diff":
            path.write_text(edited(path.read_text("utf-8"), block.text), "utf-8")
        else:
            assert not path.exists(), f"{block.path} is there already"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(block.text, "utf-8")

    def shell(self, line: str) -> str:
        """Run a command of the page: `hanlin` and `python` are those of this environment, on the code of the copy."""
        bin_folder = self.root / "bin"
        if not bin_folder.exists():
            bin_folder.mkdir()
            (bin_folder / "hanlin").write_text(f'#!/bin/sh\nexec "{sys.executable}" -m flows.cli "$@"\n')
            (bin_folder / "python").write_text(f'#!/bin/sh\nexec "{sys.executable}" "$@"\n')
            for program in bin_folder.iterdir():
                program.chmod(0o755)
        env = self.env | {"PATH": f"{bin_folder}:{os.environ['PATH']}", "PYTHONPATH": ":".join([str(self.root), *self.packages])}
        if line.startswith("hanlin run"):
            line += " --json"
        done = subprocess.run(["bash", "-c", line], cwd=self.root, env=env, capture_output=True, text=True, timeout=600)
        assert done.returncode == 0, f"{line}\n{done.stdout}\n{done.stderr}"
        return done.stdout

    def follow(self, heading: str) -> dict[str, Any]:
        """Do what a section says, and return what its last run came to."""
        outcome: dict[str, Any] = {}
        for block in blocks(PAGE, heading):
            if block.language != "bash":
                self.apply(block)
                continue
            for line in block.text.splitlines():
                output = self.shell(line)
                if line.startswith("hanlin run"):
                    outcome = json.loads(output.splitlines()[-1])
        return outcome

    def record(self, outcome: dict[str, Any], node: str) -> Any:
        record = Store(Path(self.env["HANLIN_STORE"])).record(outcome["artifacts"][node]["key"])
        assert record
        return record

    def figures(self, outcome: dict[str, Any]) -> dict[str, Any]:
        return json.loads((Path(outcome["report"]).parent / "figures.json").read_text("utf-8"))


@pytest.fixture(scope="module")
def env(tmp_path_factory: pytest.TempPathFactory, prefect_api: str) -> dict[str, str]:
    """One store for all paths, so that what they share is built once."""
    home = tmp_path_factory.mktemp("developer")
    return os.environ | {
        "HANLIN_STORE": str(home / "store"),
        "PREFECT_API_URL": prefect_api,
        "PREFECT_HOME": str(home / "prefect"),
    }


@pytest.fixture
def tree(tmp_path: Path, env: dict[str, str]) -> Tree:
    return Tree(tmp_path / "tree", env)


@pytest.mark.slow
def test_a_filter_rule_takes_two_files(tree: Tree) -> None:
    outcome = tree.follow("## Add a filter rule")
    assert tree.touched() == ["tasks/filters/checks.py", "tasks/filters/thresholds.py"]
    assert tree.record(outcome, "filter").stats["funnel"]["belle"]["dropped"]["shouts"] >= 1
    assert tree.figures(outcome)["adds_up"]


@pytest.mark.slow
def test_a_data_stage_takes_three_files(tree: Tree) -> None:
    outcome = tree.follow("### A data stage")
    assert tree.touched() == ["flows/graph.py", "flows/recipe.py", "tasks/downsample.py"]
    counts = tree.record(outcome, "downsample").stats["funnel"]["belle"]
    assert 0 < counts["kept"] < counts["in"]
    assert tree.record(outcome, "split").stats["funnel"]["belle"]["in"] == counts["kept"]
    assert tree.figures(outcome)["adds_up"]


def test_the_twin_shows_the_same_code() -> None:
    assert blocks(PAGE) == blocks(TWIN)


def test_the_map_has_every_module_once() -> None:
    """A module is a row of the table of its floor: `room/module`, or `module` alone."""
    for page in (PAGE, TWIN):
        named: list[str] = []
        for floor, table in re.findall(r"^### `(\w+)/`\n(.*?)(?=^##)", page.read_text("utf-8"), re.S | re.M):
            named += [f"{floor}/{name}.py" for name in re.findall(r"^\| `([\w/]+)`", table, re.M)]
        there = {
            str(path.relative_to(ROOT)) for top in PRODUCT for path in (ROOT / top).rglob("*.py") if path.name != "__init__.py"
        }
        packages = {name for name in there if "/retnet/" in name}
        assert len(named) == len(set(named)) and set(named) == there - packages, page.name
