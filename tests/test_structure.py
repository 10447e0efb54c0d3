"""The shape of the tree: who may import whom, what a stage's code is, how long files and functions are, how docstrings begin."""

from __future__ import annotations

import ast
import importlib
import pkgutil
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import tasks
from tasks.artifacts.digests import ROOT, Sources, sources
from tasks.artifacts.stage import Stage
from tests.drift import ALIKE, BUILDS
from tests.test_versions import stages

MODULES = sorted(path for top in ("flows", "tasks", "models") for path in (ROOT / top).rglob("*.py"))
LONG: set[str] = set()  # functions of more than 60 lines, each with a reason
RIDDLE = re.compile(r"(What|Which|How|Whether|Why|Who|Where|When)\b")


def test_imports_keep_to_the_contracts_in_pyproject():
    linter = Path(sys.executable).with_name("lint-imports")
    done = subprocess.run([linter, "--no-cache"], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize("name", [info.name for info in pkgutil.iter_modules(tasks.__path__) if not info.ispkg])
def test_a_module_directly_in_tasks_is_one_stage(name):
    module = importlib.import_module(f"tasks.{name}")
    [one] = [value for value in vars(module).values() if isinstance(value, Stage)]
    assert one.run.__module__ == f"tasks.{name}" and one.name == name


def named(tree: ast.AST, path: Path) -> list[tuple[str, ast.AST]]:
    """Every module, class and function with its dotted name; a name of ours begins with an underscore where it is private."""
    home = ".".join(path.relative_to(ROOT).with_suffix("").parts)
    found: list[tuple[str, ast.AST]] = [(home, tree)]

    def visit(node: ast.AST, around: str) -> None:
        for child in ast.iter_child_nodes(node):
            if isinstance(child, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
                found.append((f"{around}.{child.name}", child))
                visit(child, f"{around}.{child.name}")
            else:
                visit(child, around)

    visit(tree, home)
    return found


def test_no_file_is_longer_than_400_lines_and_no_function_than_60():
    files = {str(path.relative_to(ROOT)): len(path.read_text("utf-8").splitlines()) for path in MODULES}
    assert {name: lines for name, lines in files.items() if lines > 400} == {}
    functions = {
        name: node.end_lineno - node.lineno + 1
        for path in MODULES
        for name, node in named(ast.parse(path.read_text("utf-8")), path)
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    }
    assert {name for name, lines in functions.items() if lines > 60} == LONG


def test_a_docstring_begins_with_what_the_thing_is():
    riddles, mute = [], []
    for path in MODULES:
        for name, node in named(ast.parse(path.read_text("utf-8")), path):
            text = ast.get_docstring(node)
            if isinstance(node, ast.Module) and not text:
                mute.append(name)
            if text and RIDDLE.match(text):
                riddles.append(f"{name}: {text.splitlines()[0]}")
    assert mute == [] and riddles == []


# source digests


@pytest.fixture(scope="module")
def copy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("code")
    for top in ("tasks", "models"):
        shutil.copytree(ROOT / top, root / top, ignore=shutil.ignore_patterns("__pycache__"))
    return root


def test_a_touched_module_drifts_the_stages_that_it_is_part_of_and_no_other(copy):
    """Each module below `tasks/` and `models/`, and each template, one after the other, against the table in `tests/drift.py`: it is told by a
    digest of its own, and that is part of a stage's where the stage reaches it."""
    read: Sources = {}
    reached = {
        name: set(sources(stage.modules(value), copy, read))
        for stage in stages().values()
        for name, value in stage.variants().items()
    }
    drifted: dict[str, set[str]] = {}
    for path in sorted([*copy.rglob("*.py"), *copy.rglob("*.j2")]):
        module = ".".join(path.relative_to(copy).with_suffix("").parts).removesuffix(".__init__")
        name = module if path.suffix == ".py" else path.name
        if name in read:
            text = path.read_text("utf-8")
            path.write_text(text + ("\ntouched = 1\n" if path.suffix == ".py" else "\n<!-- touched -->\n"), "utf-8")
            others = {each: source for each, source in read.items() if each != name}
            assert sources([name], copy, others).get(name) != (read[name][0] or None), (
                f"{path} is touched, and has the same digest"
            )
            path.write_text(text, "utf-8")
        drifted[str(path.relative_to(copy))] = {stage for stage, names in reached.items() if name in names}
    expected = {path: builds(path) for path in drifted}
    assert {path: sorted(names) for path, names in drifted.items() if names != expected[path]} == {}


def builds(path: str) -> set[str]:
    """The stages of the table for a file: those of the longest entry that is the path, or a folder around it."""
    entries = [entry for entry in BUILDS if path == entry or path.startswith(f"{entry}/")]
    assert entries, f"{path} is new: add a line to BUILDS in tests/drift.py with the stages that it is code of"
    names = max(entries, key=len)
    every = {name for stage in stages().values() for name in stage.variants()}
    wanted: set[str] = set()
    for word in BUILDS[names].split():
        wanted |= builds_all(every, ALIKE.get(word, word))
    return wanted


def builds_all(every: set[str], words: str) -> set[str]:
    """`ingest` stands for all its variants."""
    return {name for word in words.split() for name in every if name == word or name.startswith(f"{word}[")}
