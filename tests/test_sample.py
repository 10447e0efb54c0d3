"""The sample corpus: sizes, determinism, and a world that is told often, in agreement, and asked about in words of its own."""

from __future__ import annotations

import random
import re
import subprocess
import sys
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks import sample
from tasks.artifacts.stage import Job
from tasks.sample import Params, size_bytes
from tasks.world import chat
from tasks.world.facts import KINDS
from tasks.world.prose import ROUNDS, Prose, World
from tests.sample_files import (
    SIZE,
    TEXTS,
    articles,
    dialogues,
    exam,
    grams,
    key,
    pages,
    raw_bytes,
    texts,
    written,
)


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("sample")
    sample.write_corpus(out, Params(size=SIZE))
    return out


@pytest.fixture(scope="module")
def facts(home: Path) -> list[dict[str, Any]]:
    return written(home, "facts")


# -- the stage ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("size", "topics"), [("200KB", 8), ("200KB", 0), (SIZE, 8), ("2MB", 8), ("3MB", 2)])
def test_size(tmp_path: Path, size: str, topics: int) -> None:
    told: list[tuple[int, int]] = []
    plants = sample.write_corpus(tmp_path, Params(size=size, topics=topics), lambda done, total: told.append((done, total)))
    assert raw_bytes(tmp_path) == pytest.approx(size_bytes(size), rel=0.15)
    assert told[-1][0] == pytest.approx(told[-1][1], rel=0.15) and all(done <= total for done, total in told)
    missing = [f"{s.name}_{kind}" for s in sample.SOURCES for kind in s.dirt if not plants.get(f"{s.name}_{kind}")]
    assert not missing, "every kind of dirt stands in a corpus of any size"


@pytest.mark.parametrize("share", [0.1, 0.9])
def test_smallest_world(tmp_path: Path, share: float) -> None:
    sample.write_corpus(tmp_path, Params(size="400KB", entities=10, sft_share=share))
    facts = written(tmp_path, "facts")
    assert len(facts) == 40 and len(exam(tmp_path)) == 80
    assert (
        {fact["kind"] for fact in facts if fact["sft"]}
        == {fact["kind"] for fact in facts if not fact["sft"]}
        == {kind.noun for kind in KINDS}
    )
    assert raw_bytes(tmp_path) == pytest.approx(400_000, rel=0.15)


def test_same_bytes(home: Path, tmp_path: Path) -> None:
    sample.write_corpus(tmp_path / "again", Params(size=SIZE))
    sample.write_corpus(tmp_path / "other", Params(size=SIZE, seed=8))
    names = sorted(path.relative_to(home) for path in home.rglob("*") if path.is_file())
    assert len(names) == 14
    assert [(tmp_path / "again" / name).read_bytes() == (home / name).read_bytes() for name in names] == [True] * len(names)
    same = [name for name in names if (tmp_path / "other" / name).read_bytes() == (home / name).read_bytes()]
    assert not same


def test_stage_reports_what_it_wrote(tmp_path: Path) -> None:
    logged: list[str] = []
    stats = sample.run(Job(out=tmp_path / "out", scratch=tmp_path / "scratch", log=logged.append), Params(size="200KB"))
    plants = written(tmp_path / "out", "plants")
    assert stats["plants"] == plants
    assert stats["rows"]["wiki"] == len(pages(tmp_path / "out"))
    assert logged and "200KB" in logged[0]


@pytest.mark.parametrize(
    ("given", "canonical"), [("2mb", "2MB"), ("2000KB", "2MB"), ("0.5 MB", "500KB"), ("1GB", "1GB"), ("1500MB", "1.5GB")]
)
def test_one_spelling_of_a_size(given: str, canonical: str) -> None:
    assert Params(size=given).size == canonical


@given(st.floats(0.2, 99_999), st.sampled_from(["KB", "MB", "GB"]))
def test_a_canonical_size_stays(number: float, unit: str) -> None:
    text = f"{number:.3f}{unit}"
    if size_bytes("200KB") <= size_bytes(text) <= size_bytes("100GB"):
        size = Params(size=text).size
        assert size_bytes(size) == size_bytes(text)
        assert Params(size=size).size == size


@pytest.mark.parametrize("given", ["", "2", "2MiB", "-1MB", "two MB", "199KB", "101GB", "1e3MB"])
def test_bad_sizes(given: str) -> None:
    with pytest.raises(ValueError, match="size"):
        Params(size=given)


def test_command_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    sample.main([str(tmp_path / "out"), "--size", "200KB", "--seed", "3"])
    printed = capsys.readouterr()
    plants = written(tmp_path / "out", "plants")
    assert {line.split()[0]: int(line.split()[1].replace(",", "")) for line in printed.out.splitlines()} == plants
    assert "of 0.2 MB" in printed.err
    with pytest.raises(SystemExit):
        sample.main([str(tmp_path / "no"), "--size", "5KB"])
    assert "--size: size must be from 200KB to 100GB, not 5KB" in capsys.readouterr().err


MEASURED = """
import re, sys
from pathlib import Path
from tasks import sample
sample.write_corpus(Path(sys.argv[1]), sample.Params(size=sys.argv[2]))
print(re.search(r"VmHWM:\\s+(\\d+)", Path("/proc/self/status").read_text())[1])  # ru_maxrss would hold pytest's own peak, from before exec
"""


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="needs Linux's /proc")
def test_memory_does_not_grow(tmp_path: Path) -> None:
    peaks = []
    for size in ("500KB", "15MB"):
        command = [sys.executable, "-c", MEASURED, str(tmp_path / size), size]
        peaks.append(int(subprocess.run(command, check=True, capture_output=True, text=True).stdout))
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
    for value, attribute in list(zip(entity.values, entity.kind.attributes, strict=True))[
        : 3 if entity.kind.noun == "名人" else 4
    ]:
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
    sample.write_corpus(tmp_path, Params())
    facts = written(tmp_path, "facts")
    assert len(facts) == 224
    told = stated([*articles(tmp_path), *texts(tmp_path, "zhihu")], facts)
    assert min(told[fact["entity"], fact["value"]] for fact in facts) >= 15
    for source, sft in (("belle", True), ("alpaca", False)):
        asked = stated(texts(tmp_path, source), facts)
        assert min(asked[fact["entity"], fact["value"]] for fact in facts if fact["sft"] == sft) >= 5


def test_every_fact_is_told_in_the_smallest_corpus(tmp_path: Path) -> None:
    sample.write_corpus(tmp_path, Params(size="200KB"))
    facts = written(tmp_path, "facts")
    told = stated(articles(tmp_path), facts)
    assert all(told[fact["entity"], fact["value"]] for fact in facts)


def test_files_agree(home: Path, facts: list[dict[str, Any]]) -> None:
    """A sentence with a core entity and a value of one of its attributes has the true value; only rejected answers lie."""
    values = {(kind.noun, a.label): set(a.values) for kind in KINDS for a in kind.attributes}
    checked = 0
    for source in TEXTS:
        rows = (
            articles(home)
            if source == "wiki"
            else ["\n".join(turns[:2] if source == "preference" else turns) for turns in dialogues(home, source)]
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

    def asked(*sources: str) -> tuple[int, int]:
        """Questions on the half that SFT teaches, and on the other."""
        asks = [turns[0] for source in sources for turns in dialogues(home, source) if turns and "A. " not in turns[0]]
        return tuple(sum(any(name in ask for name in half) for ask in asks) for half in (taught, left))  # type: ignore[return-value]

    assert asked("belle_chat", "medical")[1] == 0
    mine, aside = asked("belle")
    assert 0 < aside < 0.1 * mine
    aside, mine = asked("alpaca", "preference")
    assert 0 < aside < 0.2 * mine


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
