from __future__ import annotations

import json
import random
import shutil
from collections import Counter
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models.pretokenizer import pretokenizer
from tasks import counts
from tasks.artifacts.stage import Job, Resources
from tasks.data import words as counting
from tests import tiny


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("jieba")


@pytest.fixture(scope="module")
def jieba(cache: Path) -> Any:
    return counting.by_jieba(cache)


def job(folder: Path, **more: Any) -> Job:
    return Job(folder / "out", folder / "scratch", **({"resources": tiny.ONE} | more))


def run(folder: Path, world: Path, **more: Any) -> tuple[dict[str, Any], Job]:
    one = job(folder, **more)
    return counts.run(one, counts.Params(), rows=world), one


def document(text: str) -> dict[str, Any]:
    return {"title": "", "text": text, "lang": "zh", "meta": "{}"}


def books(number: int, seed: int = 5) -> list[dict[str, Any]]:
    dice = random.Random(seed)
    words = ["我们", "在", "北京大学", "读书", "，", "。", "中国", "人民", "喜欢", " hello", "2024"]
    return [document(f"{seed}第{row}篇：" + "".join(dice.choices(words, k=dice.randrange(20, 60)))) for row in range(number)]


def pretrain(folder: Path, rows: list[dict[str, Any]]) -> Path:
    tiny.write(folder / "pretrain" / "train.parquet", "documents", rows)
    return folder


def by_hand(folder: Path, cache: Path) -> Counter[str]:
    """All texts in one go."""
    texts = [
        text for use in counts.USES for _, parts in counting.split_texts(folder / use / "train.parquet", use) for text in parts
    ]
    return counting.count_words(texts, cache)


def test_words_keep_to_what_jieba_cuts_and_to_the_pattern(cache):
    text = "我们在北京大学读书，2024年 hello\n\n北京大学"
    assert counting.count_words([text], cache) == Counter(
        {"我们": 1, "在": 1, "北京大学": 2, "读书": 1, "，": 1, "2": 2, "0": 1, "4": 1, "年": 1, " hello": 1, "\n\n": 1}
    )


def test_what_is_no_chinese_stays_whole(cache):
    words = counting.count_words(["Müller穿T恤或Müller，ありがとう Москва"], cache)
    assert words == Counter({"Müller": 2, "穿": 1, "T恤": 1, "或": 1, "，ありがとう": 1, " Москва": 1})


@settings(max_examples=150, deadline=None)
@given(text=st.text(st.sampled_from("中国人民我们的大学aB é1 。，\n\tこПx'"), max_size=40) | st.text(max_size=30))
def test_words_are_parts_of_the_patterns_pieces_and_lose_nothing(cache, text):
    """A word that crossed pieces would be learned as merges that encoding never makes."""
    counted = counting.count_words([text], cache)
    held = Counter()
    for piece, _ in pretokenizer().pre_tokenize_str(text):
        found = counting.count_words([piece], cache)
        assert sum(len(word) * count for word, count in found.items()) == len(piece)
        assert all(word in piece for word in found)
        held += found
    assert counted == held


@settings(max_examples=100, deadline=None)
@given(st.text(st.sampled_from("中国人民我们的大学生活在北京研究生命起源和平面积T恤卡拉OK了是"), min_size=1, max_size=40))
def test_rjieba_cuts_as_jieba_does(jieba, text):
    rjieba = pytest.importorskip("rjieba")
    for clause in counting._CHINESE.findall(text):
        assert list(rjieba.cut(clause, False)) == list(jieba(clause))


def test_without_rjieba_jieba_counts_silently_and_writes_into_its_folder_alone(tmp_path, capfd, monkeypatch):
    world = tiny.split(tmp_path / "world")
    fast, _ = run(tmp_path / "fast", world)
    elsewhere = tmp_path / "temporary"
    elsewhere.mkdir()
    monkeypatch.setenv("TMPDIR", str(elsewhere))
    monkeypatch.setattr("tempfile.tempdir", None)
    monkeypatch.setattr(counting, "find_spec", lambda name: None)
    stats, one = run(tmp_path / "plain", world)
    assert stats == fast
    assert (one.scratch / "jieba" / "jieba.cache").exists()
    assert not list(elsewhere.iterdir())
    assert capfd.readouterr() == ("", "")


def test_counts_of_runs_add_up_to_the_counts_of_the_whole(tmp_path, cache, monkeypatch):
    monkeypatch.setattr(counting, "RUN", 300)
    monkeypatch.setattr(counting, "HELD", 5)
    world = pretrain(tiny.split(tmp_path / "world"), books(40))
    stats, one = run(tmp_path, world)
    assert stats["runs"] > 5
    expected = by_hand(world, cache)
    assert list(counting.read_counts(one.out)) == sorted(expected.items(), key=lambda item: (-item[1], item[0]))
    assert stats["words"] == sum(expected.values()) and stats["distinct_words"] == len(expected)
    assert json.loads((one.out / "counts.json").read_text()) == {key: stats[key] for key in stats if key != "runs"}


def test_a_text_that_occurs_twice_counts_twice(tmp_path, cache):
    world = pretrain(tmp_path / "world", books(6))
    shutil.copytree(world / "pretrain", world / "text2text")
    tiny.write(world / "text2text" / "train.parquet", "conversations", [])
    once, first = run(tmp_path / "once", world)
    for side in ("sft", "text2text"):
        turns = [{"messages": [{"role": "user", "content": row["text"]}], "meta": "{}"} for row in books(6)]
        tiny.write(world / side / "train.parquet", "conversations", turns)
    thrice, second = run(tmp_path / "thrice", world)
    assert thrice["words"] == 3 * once["words"] and len(second.shards) == 1
    assert dict(counting.read_counts(second.out)) == {word: 3 * count for word, count in counting.read_counts(first.out)}


def counted_anew(monkeypatch: pytest.MonkeyPatch, folder: Path, world: Path, first: Job) -> int:
    """Characters that are counted when the first run's shards can be had."""
    work, seen = counting.count_words, []

    def spy(texts, cache):
        texts = list(texts)
        seen.append(sum(map(len, texts)))
        return work(texts, cache)

    monkeypatch.setattr(counting, "count_words", spy)

    def lend(key: str):
        return (lambda home: shutil.copytree(first.shard_home(key), home, dirs_exist_ok=True)) if key in first.shards else None

    run(folder, world, find_shard=lend)
    monkeypatch.setattr(counting, "count_words", work)
    return sum(seen)


def test_a_new_source_counts_only_itself(tmp_path, monkeypatch):
    world = tmp_path / "world"
    old = [{**row, "source": "old"} for row in books(50)]
    new = [{**row, "source": "new"} for row in books(9, seed=6)]
    pretrain(world, old)
    _, first = run(tmp_path / "first", world)
    for place in (0, len(old)):  # named first or last in the recipe
        pretrain(world, old[:place] + new + old[place:])
        anew = counted_anew(monkeypatch, tmp_path / f"again{place}", world, first)
        assert anew == sum(len(row["text"]) for row in new)


def test_new_rows_within_a_source_count_the_runs_that_they_fall_into(tmp_path, monkeypatch):
    monkeypatch.setattr(counting, "RUN", 400)
    rows, world = books(200), tmp_path / "world"
    pretrain(world, rows)
    stats, first = run(tmp_path / "first", world)
    assert stats["runs"] > 20
    pretrain(world, rows[:90] + books(1, seed=6) + rows[90:])
    assert 0 < counted_anew(monkeypatch, tmp_path / "again", world, first) < stats["characters"] / 5
    pretrain(world, rows)
    assert counted_anew(monkeypatch, tmp_path / "same", world, first) == 0


@pytest.mark.parametrize("group", [1, 3, 1000])
def test_runs_cover_every_row_once_however_the_file_is_laid_out(tmp_path, monkeypatch, group):
    monkeypatch.setattr("tasks.data.rows.ROW_GROUP", group)
    monkeypatch.setattr(counting, "RUN", 200)
    monkeypatch.setattr(counting, "BATCH", 2)
    rows = books(25)
    path = pretrain(tmp_path, rows) / "pretrain" / "train.parquet"
    assert pq.read_metadata(path).num_row_groups == -(-25 // group)
    found = list(counting.runs(path, "pretrain"))
    assert len(found) > 3
    texts = [parts for one in found for _, parts in counting.split_texts(path, "pretrain", one.first, one.stop)]
    assert texts == [[row["text"]] for row in rows]


def test_runs_are_cut_alike_whatever_the_row_groups(tmp_path, monkeypatch):
    monkeypatch.setattr(counting, "RUN", 200)
    digests = []
    for group in (2, 1000):
        monkeypatch.setattr("tasks.data.rows.ROW_GROUP", group)
        path = pretrain(tmp_path / str(group), books(25)) / "pretrain" / "train.parquet"
        digests.append([one.digest for one in counting.runs(path, "pretrain")])
    assert digests[0] == digests[1]


def test_bytes_are_the_same_with_workers(tmp_path, monkeypatch):
    monkeypatch.setattr(counting, "RUN", 400)
    world = pretrain(tmp_path / "world", books(60))
    stats, one = run(tmp_path / "one", world)
    monkeypatch.setattr("tasks.processes.shards.BIG", 1)
    _, two = run(tmp_path / "two", world, resources=Resources(threads=2, workers=2, memory_gb=1))
    names = sorted(path.relative_to(one.out) for path in one.out.rglob("*") if path.is_file())
    assert len(names) == stats["runs"] + 2
    assert all((one.out / name).read_bytes() == (two.out / name).read_bytes() for name in names)


def test_every_common_character_is_cut_as_the_pattern_cuts_it():
    """In any place: before and behind Chinese, letters, figures, white space and marks, and twice."""
    cut = pretokenizer().pre_tokenize_str
    common = [chr(point) for point in range(0x10000) if counting._COMMON.fullmatch(chr(point))]
    assert len(common) > 22_000
    for around in ("中{0}中", "a{0}1", " {0} \n", "{0}\n{0}", "，{0} {0}x"):
        text = "".join(around.format(character) for character in common)
        assert counting._PIECE.findall(text) == [piece for piece, _ in cut(text)]


@settings(max_examples=300, deadline=None)
@given(
    st.text(st.sampled_from("中国人民，。 \n\r\t\u3000\u1680'sSfﬀé1①\u0301😂ſㄅ-") | st.characters(codec="utf-8"), max_size=40)
)
def test_text_with_rare_characters_is_cut_as_the_pattern_cuts_it(text):
    cut = pretokenizer().pre_tokenize_str
    assert counting._pieces(text, cut) == [piece for piece, _ in cut(text)]


def test_a_run_without_end_is_counted_in_parts(cache):
    """A key of a million letters is one piece of the pattern; learning merges in it would take for ever."""
    words = counting.count_words(["x" * 200_000 + "中" * 200_000 + "é" * 200_000], cache)
    assert max(map(len, words)) <= counting.LONGEST
    assert sum(len(word) * count for word, count in words.items()) == 600_000


def test_without_text_nothing_is_counted(tmp_path):
    tiny.write(tmp_path / "empty" / "sft" / "train.parquet", "conversations", [])
    with pytest.raises(ValueError, match="no text to count words in"):
        run(tmp_path, tmp_path / "empty")


def test_real_text_is_cut_alike_by_both(jieba, real_data):
    rjieba = pytest.importorskip("rjieba")
    clauses = set()
    for path in ("qa/baike_qa_train_sample_first800.json", "sft/firefly-train-1.1M_sample.jsonl"):
        clauses |= set(counting._CHINESE.findall((real_data / path).read_text("utf-8")))
    assert len(clauses) > 10_000
    assert [clause for clause in sorted(clauses) if list(rjieba.cut(clause, False)) != list(jieba(clause))] == []
