"""Stage extract: dumps → documents, shard by shard, whatever happens to the process."""

from __future__ import annotations

import bz2
import gzip
import itertools
import json
import lzma
import os
import random
import re
import signal
import subprocess
import sys
from pathlib import Path

import pyarrow as pa
import pytest

from tasks import extract
from tasks.artifacts.stage import Job, Resources
from tasks.data.rows import SCHEMAS, files, read, row_id
from tasks.files import dump as sources
from tasks.processes import reading
from tasks.sources import wiki
from tests.waiting import alive, children, until

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
    for module, name, size in (
        (wiki, "BATCH", 9_000),
        (sources, "STRETCH", 4_000),
        (sources, "PLAIN_STRETCH", 20_000),
        (reading, "SMALL", 0),
    ):
        monkeypatch.setattr(module, name, size)


def multistream(path: Path, pages: bytes, size: int) -> Path:
    """The same XML in bz2 streams of `size` bytes each, wherever that cuts it."""
    path.write_bytes(b"".join(bz2.compress(pages[start : start + size]) for start in range(0, len(pages), size)))
    return path


@pytest.mark.usefixtures("small_shards")
def test_any_number_of_workers_writes_the_same_bytes(tmp_path: Path) -> None:
    single = dump(tmp_path / "a.xml.bz2", 300)
    paths = [single, dump(tmp_path / "b.xml.bz2", 40, seed=1)]
    paths.append(multistream(tmp_path / "c.xml.bz2", bz2.decompress(dump(tmp_path / "c", 200, seed=2).read_bytes()), 10_000))
    one, job = run(tmp_path / "1", paths, workers=1)
    assert one["shards"] == len(files(job.out, kind="documents")) > 10  # type: ignore[operator]
    for workers in (2, 10):
        more, other = run(tmp_path / str(workers), paths, workers=workers)
        assert one == more
        assert tree(job.out) == tree(other.out)
        assert json.dumps(job.shards) == json.dumps(other.shards)


@pytest.mark.usefixtures("small_shards")
def test_the_same_pages_give_the_same_rows_however_they_are_packed(tmp_path: Path) -> None:
    whole = bz2.decompress(dump(tmp_path / "a.xml.bz2", 200).read_bytes())
    paths = [tmp_path / "a.xml.bz2"]
    for size in (777, 10_000):  # streams shorter and longer than a page
        paths.append(multistream(tmp_path / f"{size}.bz2", whole, size))
    packed = {
        "xml": whole,
        "gz": gzip.compress(whole),
        "xz": lzma.compress(whole),
        "zst": pa.compress(whole, "zstd", asbytes=True),
    }
    for name, data in packed.items():
        (tmp_path / f"b.{name}").write_bytes(data)
        paths.append(tmp_path / f"b.{name}")
    found = []
    for number, path in enumerate(paths):
        stats, job = run(tmp_path / str(number), [path], workers=1 + number % 2)
        found.append((stats["funnel"], list(read(files(job.out, kind="documents"))), list(read(files(job.out, kind="dropped")))))
        assert stats["shards"] > 3, path  # type: ignore[operator]
    assert all(one == found[0] for one in found[1:])
    assert len(found[0][1]) == 140


@pytest.mark.parametrize("size", [13, 50, 333])
def test_every_page_belongs_to_one_stretch_wherever_the_file_is_cut(tmp_path: Path, size: int) -> None:
    """Tags that a border runs through, several pages or none in a stretch."""
    pages = "".join(PAGE.format(title=f"題{number}", ns=0, id=number, text="文" * (number % 7)) for number in range(9))
    whole = f"<mediawiki>\n{pages}</mediawiki>".encode()
    (tmp_path / "a.xml").write_bytes(whole)
    expected = list(sources.pages(tmp_path / "a.xml"))
    assert len(expected) == 9
    borders = [*range(0, len(whole) - 64, size), None]
    assert [
        page for start, end in itertools.pairwise(borders) for page in sources.pages(tmp_path / "a.xml", start or 0, end)
    ] == expected
    streams = [bz2.compress(whole[start : start + size]) for start in range(0, len(whole), size)]
    (tmp_path / "a.bz2").write_bytes(b"".join(streams))
    borders = [*itertools.accumulate(map(len, streams[: -64 // size]), initial=0), None]
    found = [page for start, end in itertools.pairwise(borders) for page in sources.pages(tmp_path / "a.bz2", start or 0, end)]
    assert found == expected


LONG = """
import re, sys
from pathlib import Path
from tasks import extract
from tasks.artifacts.stage import Job

home, dump = map(Path, sys.argv[1:])
stats = extract.run(Job(out=home / "out", scratch=home / "scratch"), extract.Params(source="wiki"), files=[dump])
peak = re.search(r"VmHWM:\\s+(\\d+)", Path("/proc/self/status").read_text())[1]  # ru_maxrss would hold pytest's own, from before exec
print(stats["funnel"]["wiki"]["dropped"], int(peak) // 1024)
"""


def test_a_page_of_200_megabytes_is_dropped_in_bounded_memory(tmp_path: Path) -> None:
    before, after = (PAGE.format(title=title, ns=0, id=1, text=WORDS * 3) for title in ("前", "后"))
    start, end = PAGE.format(title="長", ns=0, id=2, text="|").split("|")
    with (tmp_path / "a.xml").open("w", encoding="utf-8") as file:
        file.write(f"<mediawiki>{before}{start}")
        for _ in range(200):
            file.write("a" * 1_000_000)
        file.write(f"{end}{after}</mediawiki>")
    root = Path(extract.__file__).parents[1]
    command = [sys.executable, "-c", LONG, str(tmp_path), str(tmp_path / "a.xml")]
    said = subprocess.run(command, env={**os.environ, "PYTHONPATH": str(root)}, capture_output=True, text=True, check=True).stdout
    dropped, megabytes = said.rsplit(" ", 1)
    assert dropped == "{'page too long': 1}" and int(megabytes) < 350
    rows = list(read(files(tmp_path / "out", kind="documents")))
    assert [row["title"] for row in rows] == ["前", "后"]
    detail = next(iter(read(files(tmp_path / "out", kind="dropped"))))["detail"]
    assert detail.startswith("200,000,") and detail.endswith("bytes")


def test_a_history_keeps_a_good_revision_beside_one_that_is_too_long(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sources, "LONGEST", 20_000)
    monkeypatch.setattr(sources, "CHUNK", 3_000)
    revision = "<revision><id>{0}</id><timestamp>202{0}-01-01T00:00:00Z</timestamp><text>{1}</text></revision>"
    for newest, expected in ((3, []), (1, ["新"])):
        history = revision.format(2, "新") + revision.format(newest, "旧" * 30_000)
        pages = f"<page><title>題</title><ns>0</ns><id>1</id>{history}</page>"
        (tmp_path / "a.xml").write_text(f"<mediawiki>{pages}</mediawiki>", "utf-8")
        rows = list(wiki.read(tmp_path / "a.xml"))
        assert [row["text"] for row in rows if isinstance(row, dict)] == expected
        assert len(rows) == 1


@pytest.mark.usefixtures("small_shards")
def test_a_damaged_stream_costs_its_own_stretch(tmp_path: Path) -> None:
    path = dump(tmp_path / "whole", 200)
    whole = bz2.decompress(path.read_bytes())
    data = bytearray(multistream(tmp_path / "a.xml.bz2", whole, 10_000).read_bytes())
    middle = data.index(b"BZh9", len(data) // 2) + 200
    data[middle] ^= 0xFF
    (tmp_path / "a.xml.bz2").write_bytes(data)
    for workers in (1, 2):
        with pytest.raises(ValueError, match=r"a\.xml\.bz2: its compressed data is damaged .* of the part that starts at byte"):
            run(tmp_path / str(workers), [tmp_path / "a.xml.bz2"], workers=workers)
    stats, _ = run(tmp_path / "1", [tmp_path / "a.xml.bz2"], tolerate_truncation=True)
    funnel = stats["funnel"]["wiki"]  # type: ignore[index]
    assert funnel["dropped"]["file cut"] == 1 and 100 < funnel["kept"] < 140


@pytest.mark.usefixtures("small_shards")
def test_a_new_dump_costs_only_its_own_shards(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    old, new = dump(tmp_path / "a.xml.bz2", 200), dump(tmp_path / "b.xml.bz2", 30, seed=1)
    run(tmp_path, [old])
    opened: list[Path] = []
    true_batches = wiki.article_batches
    monkeypatch.setattr(wiki, "article_batches", lambda path, **settings: opened.append(path) or true_batches(path, **settings))
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
    told, _, listed = str(error.value).partition(": ")
    assert told == "3 of 5 files cannot be read (the work on the rest is kept)"
    broken = listed.split("\n")
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


@pytest.mark.parametrize("head", ["", "\ufeff", '<?xml version="1.0" encoding="UTF-8"?>\n', "<!-- 页 -->\n"])
def test_pages_without_the_element_around_them_are_read(tmp_path: Path, head: str) -> None:
    pages = "".join(PAGE.format(title=f"題{number}", ns=0, id=number, text=WORDS * 9) for number in range(30))
    data = (head + pages).encode()
    packers = {"a.xml": bytes, "a.xml.bz2": bz2.compress, "a.xml.gz": gzip.compress, "a.xml.xz": lzma.compress}
    for name, pack in packers.items():
        (tmp_path / name).write_bytes(pack(data))
        assert [row["title"] for row in wiki.read(tmp_path / name)] == [f"題{number}" for number in range(30)]
    (tmp_path / "cut.xml").write_bytes(data[:-40])
    with pytest.raises(ValueError, match=r"it ends in mid-page, .* after 29 whole pages"):
        list(wiki.read(tmp_path / "cut.xml"))
    rest = wiki.Stretch(tmp_path / "a.xml", len(data) // 2, None, False)  # its last stretch, as a worker reads it
    assert [row["title"] for row in rest][-1] == "題29"
    (tmp_path / "whole.xml").write_bytes(f"<mediawiki>{pages}".encode())
    with pytest.raises(ValueError, match="it ends without </mediawiki>"):
        list(wiki.read(tmp_path / "whole.xml"))


def test_no_files_is_a_mistake(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no input files"):
        run(tmp_path, [])


KILLED = """
import sys, time
from pathlib import Path
from tasks import extract; from tasks.processes import reading
from tasks.files import dump
from tasks.sources import wiki
from tasks.artifacts.stage import Job, Resources

if __name__ == "__main__":
    wiki.BATCH, dump.STRETCH, reading.SMALL = 9_000, 4_000, 0
    home, path = map(Path, sys.argv[1:])

    def stay(now):  # once a shard is finished, no more are handed out
        while list(home.glob("scratch/shards/*/stats.json")):
            time.sleep(0.05)

    job = Job(out=home / "out", scratch=home / "scratch", resources=Resources(workers=2), progress=stay)
    extract.run(job, extract.Params(source="wiki"), files=[path])
"""


@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="needs Linux's /proc")
def test_a_kill_loses_little_and_leaves_nobody_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = dump(tmp_path / "a.xml.bz2", 1500)
    (tmp_path / "killed.py").write_text(KILLED, "utf-8")
    root = Path(extract.__file__).parents[1]
    process = subprocess.Popen(
        [sys.executable, str(tmp_path / "killed.py"), str(tmp_path), str(path)], env={**os.environ, "PYTHONPATH": str(root)}
    )
    shards = tmp_path / "scratch/shards"
    until(lambda: list(shards.glob("*/stats.json")), during=process)
    workers = children(process.pid)
    assert len(workers) >= 2
    process.send_signal(signal.SIGKILL)
    process.wait()
    until(lambda: not any(map(alive, workers)))

    done = {home.parent.name: home.stat().st_mtime_ns for home in shards.glob("*/stats.json")}
    monkeypatch.setattr(wiki, "BATCH", 9_000)
    monkeypatch.setattr(sources, "STRETCH", 4_000)
    _, resumed = run(tmp_path, [path])
    assert {name: (shards / name / "stats.json").stat().st_mtime_ns for name in done} == done
    assert len(list(shards.glob("*/stats.json"))) > len(done)
    _, straight = run(tmp_path / "straight", [path])
    assert tree(resumed.out) == tree(straight.out)


@pytest.mark.parametrize(
    ("name", "kept", "dropped"),
    [
        ("zhwiki-2018-pages1-24.xml.bz2", 14, {"not an article": 10}),
        ("komica-zh-hant-full-history-pages1-50.xml.bz2", 46, {"redirect": 4}),
        (
            "jawiki-20230501-truncated-100k-lines.xml.xz",
            183,
            {"disambiguation page": 6, "file cut": 1, "not an article": 34, "redirect": 15},
        ),
    ],
)
def test_real_dumps(tmp_path: Path, real_data: Path, name: str, kept: int, dropped: dict[str, int]) -> None:
    path = real_data / "wiki" / name
    if "truncated" in name:
        with pytest.raises(ValueError, match=r"it ends in mid-page, .* after 238 whole pages"):
            run(tmp_path / "strict", [path])
    stats, job = run(tmp_path, [path], tolerate_truncation="truncated" in name)
    assert stats["funnel"] == {"wiki": {"in": kept + sum(dropped.values()), "kept": kept, "dropped": dropped}}
    rows = list(read(files(job.out, kind="documents")))
    for row in rows:
        prose = re.sub(r"```.*?```|`[^`\n]*`|\$[^$\n]*\$", "", row["text"], flags=re.DOTALL)
        assert not [mark for mark in ("{{", "}}", "[[", "]]", "-{", "}-", "{|", "|}", "<ref") if mark in prose], row["title"]
    if "zhwiki" in name:
        assert [row["title"] for row in rows][:4] == ["数学", "哲学", "文学", "历史"]
        assert {row["lang"] for row in rows} == {"zh"}


def test_pages_of_one_revision_are_read_as_all_others_are(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    draw, path = random.Random(0), tmp_path / "dump.xml"
    page = "<page>\n <title>甲</title>\n <revision>\n  <id>1</id><timestamp>2020</timestamp> <text>乙</text>\n </revision>\n </page>\n"
    tags = ["<page>", "</page>", "<revision>", "</revision>", "<text>丙</text>", "\n  ", "age>"]
    found, plain = [], 0
    for _ in range(120):
        soup = "".join(page if draw.random() < 0.4 else draw.choice(tags) for _ in range(draw.randrange(12)))
        path.write_text(f"<mediawiki>{page}{soup}</mediawiki>", "utf-8")
        found.append((path.read_bytes(), list(sources.pages(path, tolerate_truncation=True))))
    monkeypatch.setattr(sources._Scan, "plain_page", lambda self: None)
    for data, pages in found:
        path.write_bytes(data)
        assert pages == list(sources.pages(path, tolerate_truncation=True))
        plain += len(pages)
    assert plain > 300
