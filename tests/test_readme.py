"""Tests of README and guides: every command is understood, every recipe and YAML example loads, every link leads somewhere."""

from __future__ import annotations

import importlib.util
import itertools
import re
import shlex
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer
import yaml

from docs import formats
from flows import recipe as recipes
from flows.cli import app
from models.engines import vllm_place
from tests.test_recipe import provide

ROOT = Path(__file__).parent.parent
PAGES = sorted([*ROOT.glob("*.md"), *(page for page in (ROOT / "docs").glob("*.md") if page.name != "log.md")])
# their recipes name what they add, and tests/test_develop.py runs them
FOLLOWED = [page for page in PAGES if page.name.startswith("develop")]
TWINS = [(page, twin) for page in PAGES if (twin := page.with_suffix(".zh.md")).exists()]
MAKEFILE = re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text("utf-8"), re.M)


def blocks(page: Path, language: str) -> list[str]:
    """The fenced examples of a page in one language, unindented."""
    found = re.findall(rf"^( *)```{language}\n(.*?)^ *```", page.read_text("utf-8"), re.S | re.M)
    return ["\n".join(line.removeprefix(indent) for line in body.splitlines()) for indent, body in found]


def commands(page: Path) -> list[str]:
    """Lines to type, without comments; a line that ends in a backslash goes on in the next."""
    text = "\n".join(blocks(page, "bash")).replace("\\\n", " ")
    lines = (re.split(r"(?:^|\s)#\s", line)[0].strip() for line in text.splitlines())
    return [re.sub(r"\s+", " ", line) for line in lines if line]


def every(find: Any, *more: Any) -> list[Any]:
    return [pytest.param(page, text, id=f"{page.stem}: {text[:60]}") for page in PAGES for text in find(page, *more)]


def parsed(arguments: list[str]) -> Any:
    """The context of the innermost command, its arguments and options read but nothing run."""
    command: Any = typer.main.get_command(app)
    context = command.make_context("hanlin", arguments)
    while hasattr(command, "resolve_command"):
        name, command, rest = command.resolve_command(context, [*context._protected_args, *context.args])
        context = command.make_context(name, rest, parent=context)
    return context


def words(command: str) -> tuple[dict[str, str], list[str]]:
    """Variables set before a command, and its words up to a pipe, a redirection or the next command."""
    given: dict[str, str] = {}
    split = shlex.split(command, comments=True)
    while split and re.match(r"[A-Z_]+=", split[0]):
        name, _, value = split.pop(0).partition("=")
        given[name] = value
    end = next((place for place, word in enumerate(split) if word in {"|", "&&", ";", "&", ">", ">>"}), len(split))
    return given, split[:end]


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder of raw files in which every path of every recipe that ships is found."""
    folder = tmp_path_factory.mktemp("raw")
    with pytest.MonkeyPatch.context() as environment:
        for name in recipes.names():
            provide(name, folder, environment)
        yield folder


@pytest.mark.parametrize(("page", "command"), every(commands))
def test_every_command_is_understood(page, command, files):
    _, typed = words(command)
    program, *arguments = typed or ["export"]
    program = program.removeprefix(".venv/bin/")
    if program == "hanlin":
        context = parsed(arguments)
        named = context.params.get("recipe", "")
        if named and not named.endswith((".yaml", ".yml")) and page not in FOLLOWED:
            recipes.load(named, context.params.get("overrides") or [], *filter(None, [context.params.get("flow")]))
    elif program == "make":
        assert set(arguments) <= set(MAKEFILE)
    elif program.startswith("python"):
        name = (
            arguments[1] if arguments[1].startswith("benchmarks.") else arguments[1].partition(".")[0]
        )  # others take seconds to import
        assert arguments[0] == "-m" and importlib.util.find_spec(name)
    elif program == "docker":
        named = [word for option, word in itertools.pairwise(arguments) if option in {"-f", "--file", "--env-file"}]
        assert all((ROOT / path).exists() or path.endswith(".env") for path in named), f"no {named}"
    else:
        known = "cp mv cd export git pip pre-commit prefect accelerate ray curl xdg-open nvidia-smi kill llm tensorboard".split()
        assert program in known, f"{page.name} runs {program}: is it there?"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_commands_named_in_a_sentence_exist(page):
    """`hanlin serve` in prose promises as much as in an example."""
    there = typer.main.get_command(app).commands  # type: ignore[attr-defined]
    named = set(re.findall(r"`hanlin ([a-z]+)", page.read_text("utf-8")))
    assert named <= set(there), f"no command {', '.join(sorted(named - set(there)))}"


@pytest.mark.parametrize(("page", "text"), [case for case in every(blocks, "yaml") if case.values[0] not in FOLLOWED])
def test_every_yaml_example_is_part_of_a_recipe(page, text, monkeypatch):
    """Put on top of the sample recipe, it is a recipe, where vLLM is there. An ellipsis stands for a checksum."""
    monkeypatch.setenv(vllm_place.VARIABLE, sys.executable)
    example = yaml.safe_load(text.replace("…", "a" * 64))
    sample = recipes._read(recipes.recipe_file("sample"), "sample")
    data = recipes._over(sample, example) | {"sources": sample["sources"] | example.get("sources", {})}
    for named in example.get("pack", {}).get("weights", {}):  # the reader's own sources
        data["sources"] |= {name: {"format": "wiki", "path": "zhwiki*", "use": ["pretrain"]} for name in named.split("+")}
    problems = [problem for problem in recipes.check(data) if "is not installed here" not in problem]
    assert not problems, f"{page.name}: {problems}"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page):
    text = page.read_text("utf-8")
    for target in re.findall(r"\]\(([^)#\s]+)[^)]*\)", text):
        assert target.startswith("https://") or (page.parent / target).exists(), f"{page.name} links to {target}"
    for target in re.findall(r"\]\(([^)#\s]*)#([^)]+)\)", text):
        where = page if not target[0] else page.parent / target[0]
        anchors = {re.sub(r"[^\w\- ]", "", line).strip().lower().replace(" ", "-") for line in _headings(where)}
        assert target[1] in anchors, f"{page.name} links to {target[0]}#{target[1]}; its headings: {sorted(anchors)}"


def _headings(page: Path) -> list[str]:
    return [line.lstrip("#") for line in page.read_text("utf-8").splitlines() if re.match(r"#+ ", line)]


@pytest.mark.parametrize(("page", "twin"), TWINS, ids=lambda page: page.name)
def test_twins_show_the_same_commands_and_examples(page, twin):
    assert commands(page) == commands(twin)
    assert [yaml.safe_load(text) for text in blocks(page, "yaml")] == [yaml.safe_load(text) for text in blocks(twin, "yaml")]
    pictures = r"!\[[^\]]*\]\(([^)]+)\)"
    assert re.findall(pictures, page.read_text("utf-8")) == re.findall(pictures, twin.read_text("utf-8"))


def test_every_claim_names_a_benchmark():
    in_table = {}
    for page in ("claims.md", "claims.zh.md"):
        table = (ROOT / "docs" / page).read_text("utf-8").split("`python -m benchmarks.…`")[1].split("\n\n")[0]
        in_table[page] = re.findall(r"`(\w+)`", " ".join(row.rsplit("|", 2)[1] for row in table.splitlines()[2:]))
    named = in_table["claims.md"]
    assert in_table["claims.zh.md"] == named
    missing = [name for name in named if not (ROOT / "benchmarks" / f"{name}.py").exists()]
    assert named and not missing, f"no benchmark {missing}"
    helpers = {"__init__", "bench", "inputs", "texts", "watch", "peer_dedup", "peer_trace", "lives", "real_rows"}
    helpers |= {"serve_calls", "serve_fuzz", "serve_load", "serve_models", "serve_mutations"}
    there = {path.stem for path in (ROOT / "benchmarks").glob("*.py")} - helpers
    assert there <= set(named), f"benchmarks that no claim names: {sorted(there - set(named))}"


def test_the_pages_about_formats_are_what_the_readers_say():
    stale = [path.name for path, text in formats.pages().items() if path.read_text("utf-8") != text]
    assert not stale, f"{', '.join(stale)}: run `python -m docs.formats`"


def test_the_tree_names_every_room():
    named, floor = [], ""
    for line in (ROOT / "docs" / "develop.md").read_text("utf-8").partition("## The tree")[2].partition("\n## ")[0].splitlines():
        if folder := re.match(r"( *)([a-z]+)/ ", line):
            floor = floor if folder[1] else folder[2]
            named.append(f"{floor}/{folder[2]}" if folder[1] else folder[2])
    assert [name for name in named if not (ROOT / name).is_dir()] == []
    rooms = {
        str(path.parent.relative_to(ROOT))
        for floor in ("flows", "tasks", "models")
        for path in ROOT.glob(f"{floor}/*/__init__.py")
    }
    assert rooms <= set(named), f"rooms that the tree does not name: {sorted(rooms - set(named))}"
