"""Readers are found: a file beside the others, and modules of other packages by entry point; what cannot be used is named with its package."""

from __future__ import annotations

import inspect
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from textwrap import dedent

import pytest
from typer.testing import CliRunner

import tasks.sources
from flows import recipe as recipes
from flows.cli import app
from flows.graph import graph
from tasks import ingest
from tasks.artifacts import digests
from tasks.artifacts.stage import Job
from tasks.data.rows import files, read
from tasks.formats import registry
from tasks.formats.sniff import sniff

ROOT = Path(__file__).parents[1]
POSTS = [{"weibo_text": f"今天在第{n}座桥上看到了彩虹，拍了{n * 7}张照片。", "user": f"用户{n}"} for n in range(40)]
RECIPE = """
name: weibo
raw: {raw}
sources:
  posts: {{format: weibo, path: "*.jsonl", use: [pretrain]}}
dedup: {{threshold: 1.0}}
"""


def example() -> str:
    """The reader that the contract shows, as a file."""
    text = inspect.getdoc(tasks.sources) or ""
    return dedent(text[text.index('    """Weibo') : text.index("`READER` is")])


def posts(folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "posts.jsonl"
    path.write_text("".join(json.dumps(post, ensure_ascii=False) + "\n" for post in [*POSTS, {"weibo_text": " "}]), "utf-8")
    return path


def install(site: Path, package: str, points: dict[str, str], sources: dict[str, str]) -> None:
    """Write a package into a folder as pip leaves it: modules, and a dist-info with entry points."""
    for name, text in sources.items():
        path = site / package / f"{name}.py"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, "utf-8")
    info = site / f"{package}-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {package}\nVersion: 1.0\n")
    lines = "".join(f"{name} = {module}\n" for name, module in points.items())
    (info / "entry_points.txt").write_text(f"[hanlin.readers]\n{lines}")


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder on the search path; what was imported from it is forgotten afterwards."""
    folder = tmp_path / "site"
    folder.mkdir()
    monkeypatch.syspath_prepend(folder)
    before = set(sys.modules)
    yield folder
    for name in set(sys.modules) - before:
        if str(getattr(sys.modules[name], "__file__", "")).startswith(str(folder)):
            del sys.modules[name]


@pytest.fixture
def weibo(site: Path) -> Path:
    install(site, "weibo_reader", {"weibo": "weibo_reader.posts"}, {"__init__": "", "posts": example()})
    return site


def test_a_reader_of_another_package_reads(weibo: Path, tmp_path: Path) -> None:
    path = posts(tmp_path / "raw")
    job = Job(out=tmp_path / "out", scratch=tmp_path / "scratch")
    stats = ingest.run(job, ingest.Params(source="posts", format="weibo"), files=[path])
    assert stats["funnel"]["posts"] == {"in": 41, "kept": 40, "dropped": {"no text": 1}}
    rows = list(read(files(job.out, kind="documents")))
    assert rows[1]["text"] == POSTS[1]["weibo_text"] and json.loads(rows[1]["meta"]) == {"user": "用户1"}


def test_a_reader_of_another_package_is_listed_and_sniffed(weibo: Path, tmp_path: Path) -> None:
    path = posts(tmp_path / "raw")
    assert "weibo_reader" not in sys.modules and "weibo" in registry.formats()
    assert "weibo_reader.posts" not in sys.modules, "names alone import nothing"
    assert sniff(path).formats == ("weibo",)
    listed = CliRunner().invoke(app, ["sniff"]).output
    assert any(line.split()[0] == "weibo" and line.split()[-1] == "weibo_reader" for line in listed.splitlines() if line.strip())
    assert "Weibo posts: weibo_text, user" in listed and "DuIE: text, spo_list" in listed
    assert "weibo" in CliRunner().invoke(app, ["sniff", str(path)]).output
    with pytest.raises(ValueError, match="it is JSON Lines with weibo_text, user; give the source `format: weibo`"):
        list(registry.reader("belle").read(path))


def test_a_recipe_takes_the_format_of_another_package(weibo: Path, tmp_path: Path) -> None:
    raw = posts(tmp_path / "raw").parent
    recipe = tmp_path / "weibo.yaml"
    recipe.write_text(RECIPE.format(raw=raw), "utf-8")
    loaded = recipes.load(str(recipe), flow="corpus")
    assert "ingest-posts" in [node.name for node in graph(loaded, flow="corpus")]
    schema = recipes.Recipe.model_json_schema()["$defs"]["Source"]["properties"]["format"]
    assert schema["enum"] == registry.formats() and "weibo" in schema["enum"]


def test_the_source_digest_follows_the_reader_of_another_package(weibo: Path) -> None:
    (weibo / "weibo_reader" / "clean.py").write_text("MARK = 1\n")
    posts_file = weibo / "weibo_reader" / "posts.py"
    posts_file.write_text(posts_file.read_text("utf-8") + "\nfrom weibo_reader import clean\n", "utf-8")
    reached = digests.sources(ingest.run.modules("weibo"))
    assert {"weibo_reader.posts", "weibo_reader.clean", "tasks.ingest", "tasks.formats.records"} <= reached.keys()
    assert not {name for name in reached if name.startswith("tasks.sources.")}
    before = {name: digests.source_digest(ingest.run.modules(name)) for name in ("weibo", "belle")}
    (weibo / "weibo_reader" / "clean.py").write_text("MARK = 2\n")
    after = {name: digests.source_digest(ingest.run.modules(name)) for name in ("weibo", "belle")}
    assert after["weibo"] != before["weibo"] and after["belle"] == before["belle"]


def test_each_reader_of_ours_is_in_the_digest_of_its_own_format_alone() -> None:
    for variant, name in ingest.run.variants().items():
        reached = digests.sources(ingest.run.modules(name))
        assert [module for module in reached if module.startswith("tasks.sources.")] == [f"tasks.sources.{name}"], variant


LACKS = example().replace("    rarity=70,\n", "")
BAD = {
    "has no READER": ({"weibo": "weibo_reader.posts"}, "READ = 1"),
    "missing 1 required keyword-only argument: 'rarity'": ({"weibo": "weibo_reader.posts"}, LACKS),
    "rarity 700 is not from 0 to 100": ({"weibo": "weibo_reader.posts"}, example().replace("70", "700")),
    "kind 'posts' is no kind of row": ({"weibo": "weibo_reader.posts"}, example().replace('"documents"', '"posts"')),
    "cannot be imported: ModuleNotFoundError: No module named 'no_such_module'": (
        {"weibo": "weibo_reader.posts"},
        "import no_such_module",
    ),
    "cannot be imported: ModuleNotFoundError: No module named 'weibo_reader.other'": ({"weibo": "weibo_reader.other"}, ""),
}


@pytest.mark.parametrize(("message", "made"), BAD.items(), ids=list(BAD))
def test_a_reader_that_cannot_be_used_is_named_with_its_package(
    site: Path, tmp_path: Path, message: str, made: tuple[dict[str, str], str]
) -> None:
    points, source = made
    install(site, "weibo_reader", points, {"__init__": "", "posts": source})
    with pytest.raises(registry.BadReader) as error:
        registry.reader("weibo")
    assert message in str(error.value)
    assert f"the reader of format 'weibo' (module {points['weibo']} of package weibo_reader)" in str(error.value)
    with pytest.raises(recipes.BadRecipe, match=r"sources.belle.format: the reader of format 'weibo' .*of package weibo_reader"):
        recipes.load("sample", ["sources.belle.format=weibo"])
    with pytest.warns(UserWarning, match="of package weibo_reader"):  # the others are still told apart
        assert sniff(ROOT / "README.md").formats == ("text",)
    assert "package weibo_reader" in CliRunner().invoke(app, ["sniff"]).output


def test_a_name_that_is_taken_is_nobodys(site: Path) -> None:
    install(site, "weibo_reader", {"weibo": "weibo_reader.posts", "belle": "weibo_reader.posts"}, {"posts": example()})
    install(site, "other_reader", {"weibo": "other_reader"}, {"__init__": example()})
    with pytest.raises(
        registry.BadReader, match="format 'belle' is of hanlin and also offered by weibo_reader; rename it there, or"
    ):
        registry.reader("belle")
    with pytest.raises(
        registry.BadReader, match=r"format 'weibo' is of (weibo|other)_reader and also offered by (weibo|other)_reader"
    ):
        registry.reader("weibo")
    assert registry.reader("alpaca").kind == "conversations"
