"""Stage extract: dumps → documents, shard by shard, whatever happens to the process."""

from __future__ import annotations

import bz2
import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tasks import extract, reading
from tasks.rows import SCHEMAS, files, read, row_id
from tasks.stage import Job, Resources

PAGE = "<page><title>{title}</title><ns>{ns}</ns><id>{id}</id><revision><id>1</id><text>{text}</text></revision></page>\n"
WORDS = "數學是研究數量、結構以及空間等概念的一門學科，著名的[[乾隆]]皇帝看著{{lang-en|book}}。"


def dump(path: Path, articles: int, seed: int = 0, end: str = "</mediawiki>") -> Path:
    """A bz2 dump: of every ten pages one is a discussion, one a redirect, one a stub."""
    random.seed(seed)
    pages = []
    for number in range(articles):
        text = "".join(random.choice("數學是研究數量、結構，空間") for _ in range(200)) + WORDS
        text = {1: "#REDIRECT [[x]]", 2: "短"}.get(number % 10, text)
        pages.append(PAGE.format(title=f"題{seed}-{number}", ns=int(number % 10 == 3), id=number, text=text.replace("<", "&lt;")))
    path.write_bytes(bz2.compress(f"<mediawiki>\n{''.join(pages)}{end}".encode()))
    return path


def tree(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def run(home: Path, paths: list[Path], workers: int = 1, **settings: object) -> tuple[dict[str, object], Job]:
    job = Job(out=home / "out", scratch=home / "scratch", resources=Resources(workers=workers))
    return extract.run(job, extract.Params(source="wiki", **settings), files=paths), job


def test_articles_become_documents(tmp_path: Path) -> None:
    stats, job = run(tmp_path, [dump(tmp_path / "a.xml.bz2", 20), dump(tmp_path / "b.xml.bz2", 10, seed=1)])
    assert stats["funnel"] == {"wiki": {"in": 30, "kept": 21, "dropped": {"not an article": 3, "redirect": 3, "too short": 3}}}
    rows = list(read(files(job.out, kind="documents")))
    assert [row["title"] for row in rows[:3]] == ["题0-0", "题0-4", "题0-5"]
    assert [row["title"] for row in rows[-2:]] == ["题1-8", "题1-9"]
    assert rows[0]["text"].endswith("著名的乾隆皇帝看着英语：book。")
    for row in rows:
        assert set(row) == set(SCHEMAS["documents"].names)
        assert (row["source"], row["lang"], row["id"]) == ("wiki", "zh", row_id(row["title"], row["text"]))
    dropped = list(read(files(job.out, kind="dropped")))
    assert [(row["reason"], row["detail"]) for row in dropped[:3]] == [
        ("redirect", "x"),
        ("too short", "1 characters"),
        ("not an article", "namespace 1"),
    ]
    assert stats["characters"] == sum(len(row["title"]) + len(row["text"]) for row in rows)


def test_settings(tmp_path: Path) -> None:
    path = dump(tmp_path / "a.xml.bz2", 10)
    _, job = run(tmp_path / "1", [path], simplify=False)
    assert next(iter(read(files(job.out, kind="documents"))))["text"].endswith("著名的乾隆皇帝看著英语：book。")
    stats, _ = run(tmp_path / "2", [path], min_characters=1)
    assert stats["funnel"]["wiki"]["dropped"] == {"not an article": 1, "redirect": 1}  # type: ignore[index]


def test_disambiguation_pages_go(tmp_path: Path) -> None:
    texts = [WORDS * 9 + "{{disambig}}", "{{消歧义}}" + WORDS * 9, WORDS * 9 + "{{otheruses|消歧义}}{{disambiguation needed}}"]
    pages = "".join(PAGE.format(title=f"題{number}", ns=0, id=number, text=text) for number, text in enumerate(texts))
    (tmp_path / "a.xml").write_text(f"<mediawiki>{pages}</mediawiki>", "utf-8")
    stats, _ = run(tmp_path, [tmp_path / "a.xml"])
    assert stats["funnel"] == {"wiki": {"in": 3, "kept": 1, "dropped": {"disambiguation page": 2}}}


@pytest.fixture
def small_shards(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reading, "BATCH_CHARACTERS", 8_000)
    monkeypatch.setattr(reading, "SMALL", 0)


@pytest.mark.usefixtures("small_shards")
def test_any_number_of_workers_writes_the_same_bytes(tmp_path: Path) -> None:
    paths = [dump(tmp_path / "a.xml.bz2", 300), dump(tmp_path / "b.xml.bz2", 40, seed=1)]
    one, job = run(tmp_path / "1", paths, workers=1)
    two, other = run(tmp_path / "2", paths, workers=2)
    assert one == two and one["shards"] == len(files(job.out, kind="documents")) > 4
    assert tree(job.out) == tree(other.out)
    assert json.dumps(job.shards) == json.dumps(other.shards)


@pytest.mark.usefixtures("small_shards")
def test_a_new_dump_costs_only_its_own_shards(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    old, new = dump(tmp_path / "a.xml.bz2", 200), dump(tmp_path / "b.xml.bz2", 30, seed=1)
    run(tmp_path, [old])
    opened: list[Path] = []
    true_read = extract.wiki.read
    monkeypatch.setattr(extract.wiki, "read", lambda path, **settings: opened.append(path) or true_read(path, **settings))
    job = Job(out=tmp_path / "out2", scratch=tmp_path / "scratch")
    extract.run(job, extract.Params(source="wiki"), files=[old, new])
    assert opened == [new]
    _, straight = run(tmp_path / "straight", [old, new])
    assert tree(job.out) == tree(straight.out)


def test_the_same_file_twice_is_read_once(tmp_path: Path) -> None:
    first = dump(tmp_path / "a.xml.bz2", 10)
    (tmp_path / "b.xml.bz2").write_bytes(first.read_bytes())
    said: list[str] = []
    job = Job(out=tmp_path / "out", scratch=tmp_path / "scratch", log=said.append)
    stats = extract.run(job, extract.Params(source="wiki"), files=[first, tmp_path / "b.xml.bz2"])
    assert stats["funnel"]["wiki"]["in"] == 10
    assert said == [f"{tmp_path / 'b.xml.bz2'}: the same file as {first}, read once"]


@pytest.mark.usefixtures("small_shards")
def test_broken_files_do_not_stop_the_others(tmp_path: Path) -> None:
    good, late = dump(tmp_path / "good.xml.bz2", 30), dump(tmp_path / "late.xml.bz2", 30, seed=1)
    cut = dump(tmp_path / "cut.xml.bz2", 100, seed=2, end="")
    (tmp_path / "empty.xml").touch()
    paths = [good, cut, tmp_path / "empty.xml", tmp_path / "missing.xml", late]
    with pytest.raises(ValueError) as error:
        run(tmp_path, paths)
    first, *broken = str(error.value).split("\n")
    assert first == "3 of 5 files cannot be read (the work on the rest is kept):"
    assert [line.split(": ")[0] for line in broken] == [str(path) for path in paths[1:4]]
    assert "after 100 whole pages" in broken[0] and "an empty file" in broken[1] and "there is no such file" in broken[2]

    kept = {path.name: path.stat().st_ino for path in (tmp_path / "scratch/shards").iterdir()}
    stats, _ = run(tmp_path, [good, late])
    assert stats["funnel"]["wiki"]["kept"] == 42  # type: ignore[index]
    assert {path.name: path.stat().st_ino for path in (tmp_path / "scratch/shards").iterdir()} == kept  # nothing was done again

    stats, _ = run(tmp_path / "tolerant", [cut], tolerate_truncation=True)
    assert stats["funnel"] == {
        "wiki": {"in": 101, "kept": 70, "dropped": {"file cut": 1, "not an article": 10, "redirect": 10, "too short": 10}}
    }


def test_no_files_is_a_mistake(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no input files"):
        run(tmp_path, [])


KILLED = """
import sys
from pathlib import Path
from tasks import extract, reading
from tasks.stage import Job, Resources

if __name__ == "__main__":
    reading.BATCH_CHARACTERS, reading.SMALL = 8_000, 0
    home, dump = map(Path, sys.argv[1:])
    job = Job(out=home / "out", scratch=home / "scratch", resources=Resources(workers=2))
    extract.run(job, extract.Params(source="wiki"), files=[dump])
"""


def children(pid: int) -> list[int]:
    return [int(child) for task in Path(f"/proc/{pid}/task").iterdir() for child in (task / "children").read_text().split()]


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except FileNotFoundError:
        return False


@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="needs Linux's /proc")
def test_a_kill_loses_little_and_leaves_nobody_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = dump(tmp_path / "a.xml.bz2", 1500)
    (tmp_path / "killed.py").write_text(KILLED, "utf-8")
    root = Path(extract.__file__).parents[1]
    process = subprocess.Popen(
        [sys.executable, str(tmp_path / "killed.py"), str(tmp_path), str(path)], env={**os.environ, "PYTHONPATH": str(root)}
    )
    shards = tmp_path / "scratch/shards"
    while not list(shards.glob("*/stats.json")):
        assert process.poll() is None, "it ended before it could be killed"
        time.sleep(0.01)
    workers = children(process.pid)
    assert len(workers) >= 2
    process.send_signal(signal.SIGKILL)
    process.wait()
    for _ in range(1000):
        if not any(map(alive, workers)):
            break
        time.sleep(0.02)
    assert not any(map(alive, workers))

    done = {home.parent.name: home.stat().st_mtime_ns for home in shards.glob("*/stats.json")}
    monkeypatch.setattr(reading, "BATCH_CHARACTERS", 8_000)
    _, resumed = run(tmp_path, [path])
    assert {name: (shards / name / "stats.json").stat().st_mtime_ns for name in done} == done
    assert len(list(shards.glob("*/stats.json"))) > len(done)
    _, straight = run(tmp_path / "straight", [path])
    assert tree(resumed.out) == tree(straight.out)


def test_real_dumps(tmp_path: Path, real_data: Path) -> None:
    stats, job = run(tmp_path, [real_data / "wiki/zhwiki-2018-pages1-24.xml.bz2"])
    assert stats["funnel"] == {"wiki": {"in": 24, "kept": 14, "dropped": {"not an article": 10}}}
    rows = list(read(files(job.out, kind="documents")))
    assert [row["title"] for row in rows][:4] == ["数学", "哲学", "文学", "历史"]
    assert {row["lang"] for row in rows} == {"zh"}
