"""The sample corpus is what its counts say: read back in independent ways, each plant found as often as it was counted."""

from __future__ import annotations

import bz2
import csv
import io
import json
import random
import re
import subprocess
import sys
from collections import Counter
from collections.abc import Iterable, Iterator
from hashlib import sha1
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
from tasks.world import chat, dirt
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
        return [
            [r["instruction"] + r["input"], r.get("output", "")] for r in json.loads((home / "alpaca/alpaca_gpt4_data_zh.json").read_text("utf-8"))
        ]
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
    assert told[-1][0] == pytest.approx(raw_bytes(tmp_path), rel=0.02)
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
    assert entity == World(seed, 30, 0.9).further(one), "an entity depends on the seed and its number alone"
    assert entity.name not in {core.name for core in world.core}
    assert (entity.name == world.further(other).name) == (one == other)
    for value, attribute in list(zip(entity.values, entity.kind.attributes, strict=True))[: 3 if entity.kind.noun == "名人" else 4]:
        assert value in attribute.values


def test_rounds_never_repeat() -> None:
    world = World(7, 56, 0.5)
    prose = Prose(world, random.Random(0))
    for entity in world.core:
        for at, attribute in enumerate(entity.kind.attributes):
            value, found = entity.values[at], set()
            for turn in range(ROUNDS):
                pair = prose.question(entity, at, turn)
                asked = [words for words in attribute.asks if pair.ask.endswith(words.format(n=entity.name))]
                said = [words for words in attribute.says if pair.answer.endswith(words.format(n=entity.name, v=value))]
                found.add((max(asked, key=len), max(said, key=len)))
                assert pair.reject != pair.answer
            assert len(found) == ROUNDS


# -- what the files say -------------------------------------------------------------------------------------------------


def sentences(text: str) -> list[str]:
    return [sentence for sentence in re.split(r"[。？！\n]", text) if sentence]


def unlinked(text: str) -> str:
    return re.sub(r"\[\[(?:[^\]|]*\|)?([^\]]*)\]\]", r"\1", text)


def by_entity(facts: list[dict[str, Any]]) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for fact in facts:
        found.setdefault(fact["entity"], []).append(fact["value"])
    return found


def stated(texts: Iterable[str], facts: list[dict[str, Any]]) -> Counter[tuple[str, str]]:
    """How many sentences name an entity and a value of its."""
    values = by_entity(facts)
    found: Counter[tuple[str, str]] = Counter()
    for sentence in (sentence for text in texts for sentence in sentences(unlinked(text))):
        found.update((entity, value) for entity in values if entity in sentence for value in values[entity] if value in sentence)
    return found


def test_every_fact_is_told_often(tmp_path: Path) -> None:
    sample.write(tmp_path, Params())
    facts = json.loads((tmp_path / "facts.json").read_text("utf-8"))
    assert len(facts) == 224
    told = stated([*articles(tmp_path), *texts(tmp_path, "zhihu")], facts)
    assert min(told[fact["entity"], fact["value"]] for fact in facts) >= 25
    for source, sft in (("belle", True), ("alpaca", False)):
        asked = stated(texts(tmp_path, source), facts)
        assert min(asked[fact["entity"], fact["value"]] for fact in facts if fact["sft"] == sft) >= 5


def test_every_fact_is_told_in_the_smallest_corpus(tmp_path: Path) -> None:
    sample.write(tmp_path, Params(size="200KB"))
    facts = json.loads((tmp_path / "facts.json").read_text("utf-8"))
    told = stated(articles(tmp_path), facts)
    assert all(told[fact["entity"], fact["value"]] for fact in facts)


def test_files_agree(home: Path, facts: list[dict[str, Any]]) -> None:
    """A sentence with a core entity and a value of one of its attributes has the true value; only rejected answers lie."""
    values = {(kind.noun, a.label): set(a.values) for kind in KINDS for a in kind.attributes}
    checked = 0
    for source in TEXTS:
        rows = (
            articles(home) if source == "wiki" else ["\n".join(turns[:2] if source == "preference" else turns) for turns in dialogues(home, source)]
        )
        for sentence in (sentence for text in rows for sentence in sentences(unlinked(text))):
            here = [fact for fact in facts if fact["entity"] in sentence]
            if len({fact["entity"] for fact in here}) == 1 and "A. " not in sentence and "|" not in sentence:
                for fact in here:
                    found = {value for value in values[fact["kind"], fact["attribute"]] if value in sentence}
                    assert found <= {fact["value"]}, f"{source}: {sentence}"
                    checked += len(found)
    assert checked > 2000


def test_halves(home: Path, facts: list[dict[str, Any]]) -> None:
    taught = {fact["entity"] for fact in facts if fact["sft"]}
    left = {fact["entity"] for fact in facts} - taught
    for source in ("belle", "belle_chat", "medical"):
        asked = [turns[0] for turns in dialogues(home, source) if turns and "A. " not in turns[0]]
        assert not [ask for ask in asked if any(name in ask for name in left)]
        assert len({name for name in taught for ask in asked if name in ask}) >= (5 if source == "medical" else 28)
    asked = [turns[0] for source in ("alpaca", "preference") for turns in dialogues(home, source) if "A. " not in turns[0]]
    again = sum(any(name in ask for name in taught) for ask in asked)
    assert 0 < again < 0.2 * sum(any(name in ask for name in left) for ask in asked)


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
    assert entity == World(seed, 30, 0.9).further(one), "an entity depends on the seed and its number alone"
    assert entity.name not in {core.name for core in world.core}
    assert (entity.name == world.further(other).name) == (one == other)
    for value, attribute in list(zip(entity.values, entity.kind.attributes, strict=True))[: 3 if entity.kind.noun == "名人" else 4]:
        assert value in attribute.values


def test_rounds_never_repeat() -> None:
    world = World(7, 56, 0.5)
    prose = Prose(world, random.Random(0))
    for entity in world.core:
        for at, attribute in enumerate(entity.kind.attributes):
            value, found = entity.values[at], set()
            for turn in range(ROUNDS):
                pair = prose.question(entity, at, turn)
                asked = [words for words in attribute.asks if pair.ask.endswith(words.format(n=entity.name))]
                said = [words for words in attribute.says if pair.answer.endswith(words.format(n=entity.name, v=value))]
                found.add((max(asked, key=len), max(said, key=len)))
                assert pair.reject != pair.answer
            assert len(found) == ROUNDS


# -- what the files say -------------------------------------------------------------------------------------------------


def sentences(text: str) -> list[str]:
    return [sentence for sentence in re.split(r"[。？！\n]", text) if sentence]


def unlinked(text: str) -> str:
    return re.sub(r"\[\[(?:[^\]|]*\|)?([^\]]*)\]\]", r"\1", text)


def by_entity(facts: list[dict[str, Any]]) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for fact in facts:
        found.setdefault(fact["entity"], []).append(fact["value"])
    return found


def stated(texts: Iterable[str], facts: list[dict[str, Any]]) -> Counter[tuple[str, str]]:
    """How many sentences name an entity and a value of its."""
    values = by_entity(facts)
    found: Counter[tuple[str, str]] = Counter()
    for sentence in (sentence for text in texts for sentence in sentences(unlinked(text))):
        found.update((entity, value) for entity in values if entity in sentence for value in values[entity] if value in sentence)
    return found


def test_every_fact_is_told_often(tmp_path: Path) -> None:
    sample.write(tmp_path, Params())
    facts = json.loads((tmp_path / "facts.json").read_text("utf-8"))
    assert len(facts) == 224
    told = stated([*articles(tmp_path), *texts(tmp_path, "zhihu")], facts)
    assert min(told[fact["entity"], fact["value"]] for fact in facts) >= 25
    for source, sft in (("belle", True), ("alpaca", False)):
        asked = stated(texts(tmp_path, source), facts)
        assert min(asked[fact["entity"], fact["value"]] for fact in facts if fact["sft"] == sft) >= 5


def test_every_fact_is_told_in_the_smallest_corpus(tmp_path: Path) -> None:
    sample.write(tmp_path, Params(size="200KB"))
    facts = json.loads((tmp_path / "facts.json").read_text("utf-8"))
    told = stated(articles(tmp_path), facts)
    assert all(told[fact["entity"], fact["value"]] for fact in facts)


def test_files_agree(home: Path, facts: list[dict[str, Any]]) -> None:
    """A sentence with a core entity and a value of one of its attributes has the true value; only rejected answers lie."""
    values = {(kind.noun, a.label): set(a.values) for kind in KINDS for a in kind.attributes}
    checked = 0
    for source in TEXTS:
        rows = (
            articles(home) if source == "wiki" else ["\n".join(turns[:2] if source == "preference" else turns) for turns in dialogues(home, source)]
        )
        for sentence in (sentence for text in rows for sentence in sentences(unlinked(text))):
            here = [fact for fact in facts if fact["entity"] in sentence]
            if len({fact["entity"] for fact in here}) == 1 and "A. " not in sentence and "|" not in sentence:
                for fact in here:
                    found = {value for value in values[fact["kind"], fact["attribute"]] if value in sentence}
                    assert found <= {fact["value"]}, f"{source}: {sentence}"
                    checked += len(found)
    assert checked > 2000


def test_halves(home: Path, facts: list[dict[str, Any]]) -> None:
    taught = {fact["entity"] for fact in facts if fact["sft"]}
    left = {fact["entity"] for fact in facts} - taught
    for source in ("belle", "belle_chat", "medical"):
        asked = [turns[0] for turns in dialogues(home, source) if turns and "A. " not in turns[0]]
        assert not [ask for ask in asked if any(name in ask for name in left)]
        assert len({name for name in taught for ask in asked if name in ask}) >= (5 if source == "medical" else 28)
    for source in ("alpaca", "preference"):
        asked = [turns[0] for turns in dialogues(home, source) if "A. " not in turns[0]]
        again = sum(any(name in ask for name in taught) for ask in asked)
        assert 0 < again < 0.2 * sum(any(name in ask for name in left) for ask in asked)


def test_exam(home: Path, facts: list[dict[str, Any]]) -> None:
    questions = exam(home)
    assert len(questions) == 448 and len({question[0] for question in questions}) == 448
    assert Counter(question[5] for question in questions) == dict.fromkeys("ABCD", 112)
    kinds = {kind.noun: kind for kind in KINDS}
    asked: Counter[tuple[str, str]] = Counter()
    for stem, *choices, letter in questions:
        fact = next(fact for fact in facts if fact["entity"] in stem and fact["value"] == choices["ABCD".index(letter)])
        attribute = next(a for a in kinds[fact["kind"]].attributes if a.label == fact["attribute"])
        assert len(set(choices)) == 4 and set(choices) <= set(attribute.values)
        asked[fact["entity"], fact["attribute"]] += 1
    assert set(asked.values()) == {2} and len(asked) == 224


def test_small_talk_and_second_turns(home: Path) -> None:
    assert len({ask for ask, _ in chat.SMALL_TALK} & {turns[0] for turns in dialogues(home, "belle")}) >= 10
    chats = [turns for turns in dialogues(home, "belle_chat") if len(turns) >= 4]
    assert len(chats) > 0.8 * len(dialogues(home, "belle_chat"))
    assert sum(turns[2].startswith(("那", "还想问")) for turns in chats) > 0.7 * len(chats), "second turns refer to the first"


# -- what is planted ----------------------------------------------------------------------------------------------------


def test_plants_are_documented(plants: dict[str, int]) -> None:
    sources = ("exam", *(source.name for source in sample.SOURCES))
    for name in plants.keys() - {"leaked_questions"}:
        assert any(name == f"{source}_{what}" for source in sources for what in dirt.MEANING), name


def test_rows(home: Path, plants: dict[str, int]) -> None:
    for source, file in (("belle", "belle/train_2M_CN.json"), ("belle_chat", "belle/train_3.5M_CN.json"), ("triples", "triples/duie_train.json")):
        rows = lines(home / file)
        assert (len(rows), rows.count(None)) == (plants[f"{source}_rows"], plants[f"{source}_broken_lines"])
    for source in ("zhihu", "alpaca", "preference"):
        assert len(dialogues(home, source)) == plants[f"{source}_rows"]
    assert len(medical(home)) == plants["medical_rows"]
    assert len(exam(home)) == plants["exam_rows"]


def test_missing_and_empty(home: Path, plants: dict[str, int]) -> None:
    belle = [row for row in lines(home / "belle/train_2M_CN.json") if row]
    assert sum("output" not in row for row in belle) == plants["belle_missing_fields"]
    assert sum(row.get("output") == "" for row in belle) == plants["belle_empty_answers"]
    talks = [row for row in lines(home / "belle/train_3.5M_CN.json") if row]
    turns = [row["conversations"] for row in talks if "conversations" in row]
    assert len(talks) - len(turns) == plants["belle_chat_missing_fields"]
    assert sum(talk[-1]["from"] == "human" for talk in turns) == plants["belle_chat_unfinished"]
    assert sum(talk[-1]["value"] == "" for talk in turns) == plants["belle_chat_empty_answers"]
    for talk in turns:
        assert [turn["from"] for turn in talk] == [("human", "assistant")[place % 2] for place in range(len(talk))]
    zhihu = pq.read_table(next(home.glob("zhihu/*.parquet")))
    assert zhihu.column_names == ["INSTRUCTION", "RESPONSE", "SOURCE", "METADATA"]
    assert zhihu["RESPONSE"].null_count == plants["zhihu_empty_answers"]
    assert {"question_id", "answer_id", "url", "upvotes", "answer_creation_time"} == set(json.loads(zhihu["METADATA"][0].as_py()))
    alpaca = json.loads((home / "alpaca/alpaca_gpt4_data_zh.json").read_text("utf-8"))
    assert sum("output" not in row for row in alpaca) == plants["alpaca_missing_fields"]
    assert sum(row.get("output") == "" for row in alpaca) == plants["alpaca_empty_answers"]
    assert sum("无输入" in row["input"] or "没有输入" in row["input"] for row in alpaca) == plants["alpaca_placeholder_inputs"]
    pairs = json.loads((home / "preference/huozi_rlhf_data.json").read_text("utf-8"))
    assert sum("chosen" not in row for row in pairs) == plants["preference_missing_fields"]
    assert sum(row["reject"] == "" for row in pairs) == plants["preference_empty_rejects"]
    assert sum(row.get("chosen") == row["reject"] for row in pairs) == plants["preference_identical_answers"]


def test_medical_is_gb18030(home: Path, plants: dict[str, int]) -> None:
    raw = (home / "medical/内科.csv").read_bytes()
    with pytest.raises(UnicodeDecodeError):
        raw.decode("gbk")
    assert raw.startswith(b"department,title,ask,answer\n")
    rows = medical(home)
    good = [row for row in rows if len(row) == 4]
    assert len(rows) - len(good) == plants["medical_wrong_cells"]
    assert sum(row[3] == "" for row in good) == plants["medical_empty_answers"]
    # a repeated row counts once here, and a printed exam question has lines of its own
    asked = {key(row[2] + row[3]): row[2].strip() for row in good if "A. " not in row[2]}.values()
    assert 0 < plants["medical_multiline"] <= sum("\n" in ask for ask in asked) <= plants["medical_multiline"] + plants["medical_near_duplicates"]
    assert 0 < plants["medical_four_bytes"] <= sum("😊" in ask for ask in asked) <= plants["medical_four_bytes"] + plants["medical_near_duplicates"]


def test_triples(home: Path, plants: dict[str, int]) -> None:
    rows = [row for row in lines(home / "triples/duie_train.json") if row]
    assert sum(not row["spo_list"] for row in rows) == plants["triples_empty_lists"]
    missing = [row for row in rows if any(triple["object"]["@value"] not in row["text"] for triple in row["spo_list"])]
    assert len(missing) == plants["triples_missing_objects"]
    assert all(triple["subject"] in row["text"] for row in rows for triple in row["spo_list"])
    assert len(rows) - len({key(row["text"]) for row in rows}) == plants["triples_exact_duplicates"]


def test_wiki_pages(home: Path, plants: dict[str, int]) -> None:
    found = pages(home)
    assert len(found) == plants["wiki_rows"]
    assert sum(page["redirect"] is not None for page in found) == plants["wiki_redirects"]
    assert all((page["redirect"] is not None) == (page["text"] or "").lower().startswith(("#redirect", "#重定向")) for page in found)
    assert sum(page["ns"] != "0" for page in found) == plants["wiki_other_namespaces"]
    assert sum(page["deleted"] is not None for page in found) == plants["wiki_deleted_texts"]
    bodies = articles(home)
    assert len(bodies) == plants["wiki_articles"]
    assert sum("{{disambig}}" in text for text in bodies) == plants["wiki_disambiguations"]
    assert sum("<div" in text for text in bodies) == plants["wiki_html"]
    assert sum("{{expand|" in text or "[[未完成" in text for text in bodies) == plants["wiki_unclosed_markup"]
    assert sum(not re.search("[\u4e00-\u9fff]", text) for text in bodies) == plants["wiki_foreign"]
    assert sum("{{stub}}" in text for text in bodies) == plants["wiki_too_short"]
    for page in found:
        if page["text"]:
            assert int(page["bytes"] or 0) == len(page["text"].encode())
            assert int(page["sha1"] or "", 36) == int(sha1(page["text"].encode()).hexdigest(), 16)
    for mark in ("{{Infobox", "{|", "<ref", "-{zh-hans:", "[[File:", "[[Category:", "<!--", "{{NoteTA", "'''", "\n== ", "\n=== ", "\n* [["):
        assert any(mark in text for text in bodies), mark


def test_traditional(home: Path, plants: dict[str, int]) -> None:
    import opencc

    simplify = opencc.OpenCC("t2s").convert
    for source in ("wiki", "zhihu"):
        bodies = [re.sub(r"-\{.*?\}-|NoteTA.*", "", text) for text in texts(home, source)]
        assert sum(simplify(text) != text for text in bodies) == plants[f"{source}_traditional"]


def test_dump_is_multistream(home: Path) -> None:
    rest, streams = next(home.glob("wiki/*.xml.bz2")).read_bytes(), []
    while rest:
        stream = bz2.BZ2Decompressor()
        streams.append(stream.decompress(rest).decode())
        rest = stream.unused_data
    assert streams[0].startswith("<mediawiki") and streams[0].endswith("</siteinfo>\n") and streams[-1] == "</mediawiki>\n"
    assert len(streams) >= 4
    assert all(stream.startswith("  <page>") and stream.count("</page>") == 100 for stream in streams[1:-2])


@pytest.mark.parametrize("source", TEXTS)
def test_leaked_questions(home: Path, plants: dict[str, int], source: str) -> None:
    stems = [question[0] for question in exam(home)]
    found = [stem for text in texts(home, source) for stem in stems if stem in text]
    assert len(found) == plants[f"{source}_leaked_questions"] == len(set(found))
    assert plants["leaked_questions"] == sum(plants[f"{name}_leaked_questions"] for name in TEXTS)


@pytest.mark.parametrize("source", TEXTS)
def test_personal_data(home: Path, plants: dict[str, int], source: str) -> None:
    found = Counter(frozenset(one.kind for one in privacy.find(text)) for text in texts(home, source))
    del found[frozenset()]
    kinds = {"phone": "phone_numbers", "id_number": "id_numbers", "email": "emails"}
    assert found == {frozenset([kind]): plants[f"{source}_{name}"] for kind, name in kinds.items()}


@pytest.mark.parametrize("source", QA)
def test_rows_that_rules_object_to(home: Path, plants: dict[str, int], source: str) -> None:
    rows = [turns for turns in dialogues(home, source) if turns]
    counted = {
        "html": sum("<p>" in turns[1] for turns in rows),
        "ads": sum(quality.has_boilerplate("\n".join(turns)) for turns in rows),
        "translations": sum(quality.is_translation_task(turns[0]) for turns in rows),
        "tables": sum(any(quality.is_table(turn) for turn in turns) for turns in rows),
        "refusals": sum("AI语言模型" in turns[1] for turns in rows),
        "too_short": sum(0 < len(turns[1].strip()) < 7 for turns in rows),
    }
    assert counted == {name: plants.get(f"{source}_{name}", 0) for name in counted}


@pytest.mark.parametrize("source", TEXTS)
def test_duplicates(home: Path, plants: dict[str, int], source: str) -> None:
    """Exact ones by letters and digits; near ones by 5-grams, with nothing between 0.7 and 0.88, where a threshold would decide."""
    seen: list[set[str]] = []
    keys: set[str] = set()
    exact = near = 0
    for text in filter(None, map(key, texts(home, source))):
        if text in keys:
            exact += 1
            continue
        keys.add(text)
        mine = set(grams(text, 5))
        closest = max((len(mine & other) / len(mine | other) for other in seen if mine), default=0.0)
        assert closest < 0.7 or closest > 0.88, text
        near += closest > 0.88
        seen.append(mine)
    assert (exact, near) == (plants[f"{source}_exact_duplicates"], plants[f"{source}_near_duplicates"])


def test_no_duplicates_between_sources(home: Path) -> None:
    keys = Counter(text for source in QA for text in {key(text) for text in texts(home, source)})
    assert [text for text, count in keys.items() if count > 1 and text] == []
