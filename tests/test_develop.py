"""The page for developers, followed word for word: its blocks are applied to a copy of the tree, and its commands are run there.

A block that begins with a file's name (`# tasks/x.py`), or has it behind its language, is that file. A `diff` block names its file in its
first line; its parts, between `@@`, are looked up in the file, where each must be found exactly once. Blocks of commands are run in order.
"""

from __future__ import annotations

import ast
import importlib
import importlib.util
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from tasks.artifacts.store import Store
from tests import forks
from tests.waiting import PATIENCE

ROOT = Path(__file__).parent.parent
PAGE, TWIN = ROOT / "docs" / "develop.md", ROOT / "docs" / "develop.zh.md"
PRODUCT = ("flows", "tasks", "models")
LEDGER = "tasks/artifacts/accepted.json"  # written by a command, not by hand
# programs of the page → the modules that they are here; nothing is installed into this environment, but into the folder `site` of the copy
PROGRAMS = {
    "hanlin": '-m flows.cli "$@"',
    "python": '"$@"',
    "pip": '-m pip "$@" --quiet --no-index --no-deps --no-build-isolation --disable-pip-version-check --target site',
}
PATHS = (
    "### A reader in the tree",
    "## Add a filter rule",
    "### An architecture in the tree",
    "### A data stage",
    "### A training stage",
)
FENCE = re.compile(r"^( *)```(\w+) ?(\S*)\n(.*?)^ *```$", re.S | re.M)


@dataclass(frozen=True)
class Block:
    """One fenced block of the page."""

    language: str
    text: str
    name: str = ""

    @property
    def path(self) -> str:
        """The file that the block is, or is a change of; empty where it names none."""
        first = re.match(r"(?:# |--- )(\S+)\n", self.text)
        return self.name or (first[1] if first else "")


def blocks(page: Path, heading: str = "") -> list[Block]:
    """The blocks of a page, or of one of its sections with what is below it, without the indentation of the list around them."""
    text = page.read_text("utf-8")
    if heading:
        level = heading.partition(" ")[0]
        text = re.split(rf"^#{{1,{len(level)}}} ", text.split(f"\n{heading}\n")[1], maxsplit=1, flags=re.M)[0]
    return [
        Block(language, "".join(f"{line.removeprefix(indent)}\n" for line in body.splitlines()), name)
        for indent, language, name, body in FENCE.findall(text)
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
    said: list[str] = field(default_factory=list)  # what the commands printed

    def __post_init__(self) -> None:
        for top in (*PRODUCT, "tests"):
            shutil.copytree(ROOT / top, self.root / top, ignore=shutil.ignore_patterns("__pycache__"))
        shutil.copy(ROOT / "pyproject.toml", self.root)
        self.before = self.files()
        programs = self.root / "bin"
        programs.mkdir()
        for name, call in PROGRAMS.items():
            (programs / name).write_text(f'#!/bin/sh\nexec "{sys.executable}" {call}\n')
            (programs / name).chmod(0o755)
        self.env |= {"PATH": f"{programs}:{os.environ['PATH']}", "PYTHONPATH": f"{self.root}:{self.root / 'site'}"}

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
        return sorted(name for name in self.before.keys() | today.keys() if self.before.get(name) != today.get(name))

    def holds(self, package: str, name: str) -> bool:
        """Whether the copy has a module that this tree lacks."""
        return (self.root / Path(*package.split("."), f"{name}.py")).is_file()

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
        """Run a command of the page in the copy."""
        machine = " resources.threads=1 --json" if line.startswith("hanlin run") else ""
        words = shlex.split(line + machine)
        words = ["python", "-m", "flows.cli", *words[1:]] if words[0] == "hanlin" else words
        if words[:2] == ["python", "-m"]:
            done = forks.run(*words[2:], env=self.env, folder=self.root)
        else:
            done = subprocess.run(words, cwd=self.root, env=self.env, capture_output=True, text=True, timeout=6 * PATIENCE)
        assert done.returncode == 0, f"{line}\n{done.stdout}\n{done.stderr}"
        self.said.append(done.stdout)
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
    return Tree(tmp_path / "tree", dict(env))


@pytest.mark.parametrize("heading", PATHS)
def test_the_code_of_a_path_fits_the_tree(tmp_path: Path, heading: str) -> None:
    """Said at once, before anything is run: every change finds its place, and what the new files import is there."""
    tree = Tree(tmp_path / "tree", {})
    for block in blocks(PAGE, heading):
        if block.language != "bash":
            tree.apply(block)
    for name in tree.touched():
        code = ast.parse((tree.root / name).read_text("utf-8"))
        modules: dict[str, Any] = {}
        for node in ast.walk(code):
            if isinstance(node, ast.ImportFrom) and node.module and node.module.split(".")[0] in PRODUCT:
                if importlib.util.find_spec(node.module) is None:  # a module that the page adds
                    assert tree.holds(*node.module.rsplit(".", 1)), f"{name} imports {node.module}"
                    continue
                home = importlib.import_module(node.module)
                lacking = [
                    alias.name for alias in node.names if not (hasattr(home, alias.name) or tree.holds(node.module, alias.name))
                ]
                assert not lacking, f"{name}: {node.module} has no {', '.join(lacking)}"
                modules |= {alias.asname or alias.name: getattr(home, alias.name, None) for alias in node.names}
        for node in ast.walk(code):
            if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
                module = modules.get(node.value.id)
                assert not isinstance(module, ModuleType) or hasattr(module, node.attr), f"{name}: no {node.value.id}.{node.attr}"


@pytest.mark.slow
def test_a_reader_takes_one_file_or_a_package_of_its_own(tree: Tree) -> None:
    outcome = tree.follow("### A reader in the tree")
    assert tree.touched() == ["tasks/sources/couplets.py"]
    counts = tree.record(outcome, "ingest-couplets").stats["funnel"]["couplets"]
    assert counts == {"in": 4, "kept": 3, "dropped": {"lines of two lengths": 1}}
    assert tree.figures(outcome)["adds_up"]
    assert tree.said[0].split()[-1] == "couplets", "the sniffer knows the format"
    again = tree.follow("### A reader in a package of your own")
    assert tree.touched() == [] and not again["artifacts"]["ingest-couplets"]["reused"]
    assert again["artifacts"]["ingest-couplets"]["digest"] == outcome["artifacts"]["ingest-couplets"]["digest"]


@pytest.mark.slow
def test_a_filter_rule_takes_two_files(tree: Tree) -> None:
    outcome = tree.follow("## Add a filter rule")
    assert tree.touched() == ["tasks/filters/checks.py", "tasks/filters/thresholds.py"]
    assert tree.record(outcome, "filter").stats["funnel"]["belle"]["dropped"]["shouts"] >= 1
    assert tree.figures(outcome)["adds_up"]


@pytest.mark.slow
def test_an_architecture_takes_its_module_and_a_line_or_a_package_of_its_own(tree: Tree) -> None:
    outcome = tree.follow("### An architecture in the tree")
    assert tree.touched() == ["models/architectures/olmo2.py", "models/presets.py"]
    config = json.loads(
        (
            Path(tree.env["HANLIN_STORE"]) / "objects" / outcome["artifacts"]["pretrain"]["key"] / "model" / "config.json"
        ).read_text()
    )
    assert config["model_type"] == "olmo2"
    again = tree.follow("### An architecture in a package of your own")
    assert tree.touched() == [] and not again["artifacts"]["pretrain"]["reused"]
    assert again["artifacts"]["pretrain"]["digest"] == outcome["artifacts"]["pretrain"]["digest"]


@pytest.mark.slow
def test_a_data_stage_takes_three_files(tree: Tree) -> None:
    outcome = tree.follow("### A data stage")
    assert tree.touched() == ["flows/graph.py", "flows/recipe.py", "tasks/downsample.py"]
    counts = tree.record(outcome, "downsample").stats["funnel"]["belle"]
    assert 0 < counts["kept"] < counts["in"]
    assert tree.record(outcome, "split").stats["funnel"]["belle"]["in"] == counts["kept"]
    assert tree.figures(outcome)["adds_up"]


@pytest.mark.slow
def test_a_training_stage_takes_four_files(tree: Tree) -> None:
    outcome = tree.follow("### A training stage")
    assert tree.touched() == ["flows/graph.py", "flows/recipe.py", "models/methods/simpo.py", "tasks/simpo.py"]
    stats = tree.record(outcome, "simpo").stats
    assert stats["steps"] > 1 and 0 < stats["eval_loss"] < 5 and "eval_accuracy" in stats


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
        assert len(named) == len(set(named)) and set(named) == there, page.name
