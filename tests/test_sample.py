"""The sample corpus is what its counts say: read back in independent ways, each plant found as often as it was counted."""

from __future__ import annotations

import bz2
import csv
import io
import json
import re
import subprocess
import sys
from collections import Counter
from collections.abc import Iterable, Iterator
from functools import cache
from hashlib import sha1
from itertools import islice
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks import sample
from tasks.sample import Params, size_bytes
from tasks.stage import Job
from tasks.text import privacy, quality
from tasks.world import dirt
from tasks.world.facts import KINDS
from tasks.world.prose import ROUNDS, Prose, World

SIZE = "700KB"


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("sample")
    sample.run(Job(out=out, scratch=out.with_name("scratch")), Params(size=SIZE))
    return out


@pytest.fixture(scope="module")
def plants(home: Path) -> dict[str, int]:
    return json.loads((home / "plants.json").read_text("utf-8"))


@pytest.fixture(scope="module")
def facts(home: Path) -> list[dict[str, Any]]:
    return json.loads((home / "facts.json").read_text("utf-8"))


# -- reading back -------------------------------------------------------------------------------------------------------

MEDIAWIKI = "{http://www.mediawiki.org/xml/export-0.11/}"


def pages(home: Path) -> list[dict[str, str | None]]:
    raw = bz2.decompress(next(home.glob("wiki/*.xml.bz2")).read_bytes())
    found: list[dict[str, str | None]] = []
    for page in ElementTree.fromstring(raw).iter(f"{MEDIAWIKI}page"):
        redirect, text = page.find(f"{MEDIAWIKI}redirect"), page.find(f"{MEDIAWIKI}revision/{MEDIAWIKI}text")
        assert text is not None
        found.append(
            {
                "title": page.findtext(f"{MEDIAWIKI}title"),
                "ns": page.findtext(f"{MEDIAWIKI}ns"),
                "redirect": None if redirect is None else redirect.get("title"),
                "text": text.text,
                "deleted": text.get("deleted"),
                "sha1": page.findtext(f"{MEDIAWIKI}revision/{MEDIAWIKI}sha1"),
                "bytes": text.get("bytes"),
            }
        )
    return found


def lines(path: Path) -> list[dict[str, Any] | None]:
    """JSON Lines; None where a line is broken."""
    found: list[dict[str, Any] | None] = []
    for line in path.read_text("utf-8").splitlines():
        try:
            found.append(json.loads(line))
        except ValueError:
            found.append(None)
    return found


def dialogues(home: Path, source: str) -> list[list[str]]:
    """Turns of the question-answer sources; a missing field is an empty turn, and broken rows are left out."""
    if source == "belle":
        return [[r["instruction"] + r["input"], r.get("output", "")] for r in lines(home / "belle/train_2M_CN.json") if r]
    if source == "belle_chat":
        return [[turn["value"] for turn in r.get("conversations", [])] for r in lines(home / "belle/train_3.5M_CN.json") if r]
    if source == "zhihu":
        rows = pq.read_table(next(home.glob("zhihu/*.parquet"))).to_pylist()
        return [[r["INSTRUCTION"], r["RESPONSE"] or ""] for r in rows]
    if source == "medical":
        return [row[2:] for row in medical(home) if len(row) == 4]
    if source == "alpaca":
        return [[r["instruction"] + r["input"], r.get("output", "")] for r in json.loads((home / "alpaca/alpaca_gpt4_data_zh.json").read_text("utf-8"))]
    rows = json.loads((home / "preference/huozi_rlhf_data.json").read_text("utf-8"))
    return [[r["prompt"], r.get("chosen", ""), r["reject"]] for r in rows]


def medical(home: Path) -> list[list[str]]:
    text = (home / "medical/内科.csv").read_bytes().decode("gb18030")
    return list(csv.reader(io.StringIO(text)))[1:]


def exam(home: Path) -> list[list[str]]:
    found = []
    for path in sorted(home.glob("exam/*.csv")):
        header, *rows = csv.reader(io.StringIO(path.read_text("utf-8")))
        assert header == ["", "Question", "A", "B", "C", "D", "Answer"]
        assert [row[0] for row in rows] == [str(number) for number in range(len(rows))]
        found += [row[1:] for row in rows]
    return found


def articles(home: Path) -> list[str]:
    return [page["text"] for page in pages(home) if page["ns"] == "0" and page["text"] and not page["redirect"]]


def texts(home: Path, source: str) -> list[str]:
    return articles(home) if source == "wiki" else ["\n".join(turns) for turns in dialogues(home, source)]


QA = ("belle", "belle_chat", "zhihu", "medical", "alpaca", "preference")
TEXTS = ("wiki", *QA)


def key(text: str) -> str:
    """A text without what an exact duplicate may differ in."""
    return "".join(character for character in text if character.isalnum())


def raw_bytes(home: Path) -> int:
    total = 0
    for path in home.glob("*/*"):
        if path.suffix == ".bz2":
            total += len(bz2.decompress(path.read_bytes()))
        elif path.suffix == ".parquet":
            total += sum(len((cell or "").encode()) for column in pq.read_table(path).columns for cell in column.to_pylist())
        else:
            total += path.stat().st_size
    return total


# -- the stage ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("size", "topics"), [("200KB", 8), ("200KB", 0), (SIZE, 8), ("2MB", 8), ("3MB", 2)])
def test_size(tmp_path: Path, size: str, topics: int) -> None:
    told: list[tuple[int, int]] = []
    plants = sample.write(tmp_path, Params(size=size, topics=topics), lambda done, total: told.append((done, total)))
    assert raw_bytes(tmp_path) == pytest.approx(size_bytes(size), rel=0.15)
    assert told[-1][0] == pytest.approx(raw_bytes(tmp_path), rel=0.01)
    missing = [f"{s.name}_{kind}" for s in sample.SOURCES for kind in s.dirt if not plants.get(f"{s.name}_{kind}")]
    assert not missing, "every kind of dirt stands in a corpus of any size"


def test_same_bytes(home: Path, tmp_path: Path) -> None:
    sample.write(tmp_path / "again", Params(size=SIZE))
    sample.write(tmp_path / "other", Params(size=SIZE, seed=8))
    names = sorted(path.relative_to(home) for path in home.rglob("*") if path.is_file())
    assert len(names) == 14
    assert [(tmp_path / "again" / name).read_bytes() == (home / name).read_bytes() for name in names] == [True] * len(names)
    same = [name for name in names if (tmp_path / "other" / name).read_bytes() == (home / name).read_bytes()]
    assert not same


def test_stage_reports_what_it_wrote(tmp_path: Path) -> None:
    logged: list[str] = []
    stats = sample.run(Job(out=tmp_path / "out", scratch=tmp_path / "scratch", log=logged.append), Params(size="200KB"))
    plants = json.loads((tmp_path / "out/plants.json").read_text("utf-8"))
    assert stats["plants"] == plants
    assert stats["rows"]["wiki"] == len(pages(tmp_path / "out"))
    assert logged and "200KB" in logged[0]


@pytest.mark.parametrize(("given", "canonical"), [("2mb", "2MB"), ("2000KB", "2MB"), ("0.5 MB", "500KB"), ("1GB", "1GB"), ("1500MB", "1.5GB")])
def test_one_spelling_of_a_size(given: str, canonical: str) -> None:
    assert Params(size=given).size == canonical


@pytest.mark.parametrize("given", ["", "2", "2MiB", "-1MB", "two MB", "199KB", "101GB", "1e3MB"])
def test_bad_sizes(given: str) -> None:
    with pytest.raises(ValueError, match="size"):
        Params(size=given)


def test_command_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    sample.main([str(tmp_path / "out"), "--size", "200KB", "--seed", "3"])
    printed = capsys.readouterr()
    plants = json.loads((tmp_path / "out/plants.json").read_text("utf-8"))
    assert {line.split()[0]: int(line.split()[1].replace(",", "")) for line in printed.out.splitlines()} == plants
    assert "of 0.2 MB" in printed.err
    with pytest.raises(SystemExit):
        sample.main([str(tmp_path / "no"), "--size", "5KB"])
    assert "--size: size must be from 200KB to 100GB, not 5KB" in capsys.readouterr().err


def test_memory_does_not_grow(tmp_path: Path) -> None:
    code = "import sys, resource; from tasks import sample; sample.write(__import__('pathlib').Path(sys.argv[1]), sample.Params(size=sys.argv[2])); "
    code += "print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)"
    peaks = [
        int(subprocess.run([sys.executable, "-c", code, str(tmp_path / size), size], check=True, capture_output=True, text=True).stdout)
        for size in ("500KB", "15MB")
    ]
    assert peaks[1] < 300_000, "KiB"
    assert peaks[1] - peaks[0] < 30_000, "KiB; 15 MB held in memory would be twice that as Python strings"


def test_import_is_light() -> None:
    code = "import sys; import tasks.sample; print(sorted({'pyarrow', 'opencc', 'torch', 'duckdb'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout.strip() == "[]"


# -- the world ----------------------------------------------------------------------------------------------------------


def wordings() -> Iterator[tuple[str, str, str]]:
    """(what it is, the text, the value) for every wording with a name of its kind."""
    for kind in KINDS:
        for place, attribute in enumerate(kind.attributes):
            for turn, value in enumerate(attribute.values):
                name = kind.names[(turn + place) % len(kind.names)]
                for what in ("says", "tails", "asks", "exam"):
                    for words in getattr(attribute, what):
                        yield what, words.format(n=name, v=value), value


def test_words_survive_traditional() -> None:
    import opencc

    there, back = opencc.OpenCC("s2t"), opencc.OpenCC("t2s")
    scenes = [word for kind in KINDS for _, *fillings in kind.scenes for words in fillings for word in words]
    wrong = [text for text in [*(text for _, text, _ in wordings()), *scenes] if back.convert(there.convert(text)) != text]
    assert not wrong


def test_statements_state_and_questions_do_not() -> None:
    for what, text, value in wordings():
        assert (value in text) == (what in ("says", "tails")), text
    for kind in KINDS:
        for attribute in kind.attributes:
            words = [*attribute.says, *attribute.tails, *attribute.asks, *attribute.exam]
            assert len(set(words)) == len(words)
            assert len(set(attribute.values)) == len(attribute.values) >= 6
            assert len({len(value) for value in attribute.values}) == 1


def test_exam_wordings_are_used_nowhere_else() -> None:
    told = {gram for what, text, _ in wordings() if what != "exam" for gram in grams(key(text), 11)}
    for what, text, _ in wordings():
        if what == "exam":
            assert len(key(text)) >= 13, "shorter questions are not searched for by decontamination"
            assert not told & set(grams(key(text), 11)), text


def grams(text: str, length: int) -> Iterator[str]:
    return (text[start : start + length] for start in range(len(text) - length + 1))


def test_world_is_balanced() -> None:
    world = World(7, 56, 0.5)
    assert len(world.core) == 56 and len(world.taught) == 28
    for kind in KINDS:
        group = [entity for entity in world.core if entity.kind is kind]
        assert [entity.name for entity in group] == list(kind.names)
        assert sum(entity.name in world.taught for entity in group) == len(group) / 2
        for at, attribute in enumerate(kind.attributes):
            counts = Counter(entity.values[at] for entity in group)
            assert max(counts.values()) - min(counts.get(value, 0) for value in attribute.values) <= 1


@given(st.integers(0, 2**63 - 1), st.integers(0, 10**9), st.integers(0, 10**9))
def test_further_entities(seed: int, one: int, other: int) -> None:
    world = World(seed, 56, 0.5)
    entity = world.further(one)
    assert entity == World(seed, 30, 0.9).further(one) or seed != seed, "an entity depends on the seed and its number alone"
    assert entity.name not in {core.name for core in world.core}
    assert (entity.name == world.further(other).name) == (one == other)
    for value, attribute in list(zip(entity.values, entity.kind.attributes, strict=True))[: 3 if entity.kind.noun == "名人" else 4]:
        assert value in attribute.values


def test_rounds_never_repeat() -> None:
    import random

    world = World(7, 56, 0.5)
    prose = Prose(world, random.Random(0))
    for entity in world.core[:5]:
        for at in range(4):
            pairs = {(key(pair.ask)[-8:], pair.answer.rpartition(entity.values[at] + "。" + entity.name)[2]) for pair in map(lambda turn: prose.question(entity, at, turn), range(ROUNDS))}
            assert len(pairs) >= 50
    lies = [prose.question(entity, at, turn) for entity in world.core for at in range(4) for turn in range(5)]
    assert all(pair.reject != pair.answer for pair in lies)
