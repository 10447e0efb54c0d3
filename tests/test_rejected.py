from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks import rejected
from tasks.artifacts.stage import Job
from tasks.data.rows import files, read
from tasks.metrics.answers import answer_similarity, repetition
from tests import tiny

READY = {
    "train": [
        {
            "messages": [{"role": "user", "content": "你好"}],
            "chosen": "你好！有什么可以帮你？",
            "rejected": "走开。",
            "meta": "{}",
        }
    ],
    "valid": [
        {"messages": [{"role": "user", "content": "谢谢"}], "chosen": "不客气！", "rejected": "不客气。", "meta": "{}"},
        {"messages": [{"role": "user", "content": "再见"}], "chosen": "再见！", "rejected": "嗯", "meta": "{}"},
    ],
}


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("rejected")
    world = tiny.split(folder / "world", pairs=READY)
    made = tiny.make_tokenizer(folder / "tokenizer", world)
    tiny.llama(folder / "knows", made, steps=60)
    tiny.llama(folder / "wavers", made, steps=22)
    return folder


def job(folder: Path) -> Job:
    return Job(folder / "out", folder / "scratch", tiny.ONE)


def pairs(folder: Path, side: str) -> list[dict]:
    return list(read([folder / "out" / "preferences" / f"{side}.parquet"]))


@pytest.fixture(scope="module")
def made(home) -> tuple[Path, dict]:
    """Answers of a model that is not sure of itself, through the real child process."""
    params = rejected.Params(temperatures=(0.0, 0.9, 1.3), max_new_tokens=40, batch=4)
    return home / "made", rejected.run(job(home / "made"), params, model=home / "wavers", rows=home / "world")


def test_every_answer_and_every_ready_pair_is_accounted_for(made):
    folder, stats = made
    (row,) = stats["funnel"].values()
    assert row["in"] == len(tiny.PLACES) * 3 + 3 == row["kept"] + sum(row["dropped"].values())
    assert row["kept"] == len(pairs(folder, "train")) + len(pairs(folder, "valid")) > 3
    dropped = list(read(files(folder / "out", kind="dropped")))
    assert {reason: sum(one["reason"] == reason for one in dropped) for reason in row["dropped"]} == row["dropped"]
    assert len(dropped) == sum(row["dropped"].values()) and all(one["detail"] and one["source"] == "world" for one in dropped)
    assert stats["pairs"] == len(pairs(folder, "train"))


def test_pairs_hold_the_rows_answer_and_the_models_on_the_prompts_side(made):
    folder, _ = made
    answers = {turns[0]["content"]: turns[1]["content"] for turns in map(tiny.turns, tiny.PLACES)}
    for side, places in (("train", list(tiny.PLACES)[:-2]), ("valid", list(tiny.PLACES)[-2:])):
        generated = [row for row in pairs(folder, side) if json.loads(row["meta"])]
        assert {row["messages"][0]["content"] for row in generated} <= {tiny.QUESTION.format(place) for place in places}
        assert all([turn["role"] for turn in row["messages"]] == ["user"] for row in generated)
        assert all(row["chosen"] == answers[row["messages"][0]["content"]] != row["rejected"].strip() for row in generated)
        assert all(json.loads(row["meta"])["temperature"] in (0.0, 0.9, 1.3) for row in generated)
    assert len({row["id"] for row in pairs(folder, "train")}) == len(pairs(folder, "train"))


def test_ready_pairs_join_on_their_side_if_they_differ(made):
    folder, stats = made
    ready = {side: [row["chosen"] for row in pairs(folder, side) if row["meta"] == "{}"] for side in ("train", "valid")}
    assert ready == {"train": ["你好！有什么可以帮你？"], "valid": ["再见！"]}
    assert stats["lengths"]["ready"] == {"pairs": 2, "chosen_characters": 7.0, "rejected_characters": 2.0, "chosen_longer": 1.0}
    dropped = list(read(files(folder / "out", kind="dropped")))
    assert [row["detail"] for row in dropped if row["excerpt"] == "不客气。"] == ["likeness 1.00 to the chosen answer"]


def test_the_bias_of_lengths_is_reported(made):
    folder, stats = made
    generated = [row for side in ("train", "valid") for row in pairs(folder, side) if json.loads(row["meta"])]
    found = stats["lengths"]["generated"]
    assert found["pairs"] == len(generated)
    assert found["chosen_characters"] == round(sum(len(row["chosen"]) for row in generated) / len(generated), 2)
    assert found["rejected_characters"] == round(sum(len(row["rejected"]) for row in generated) / len(generated), 2)
    assert found["chosen_longer"] == round(
        sum(len(row["chosen"]) > len(row["rejected"]) for row in generated) / len(generated), 4
    )


def test_made_again_it_is_the_same(home, made, tmp_path):
    params = rejected.Params(temperatures=(0.0, 0.9, 1.3), max_new_tokens=40, batch=4)
    again = job(tmp_path)
    assert rejected.run(again, params, model=home / "wavers", rows=home / "world") == made[1]
    for path in (made[0] / "out").rglob("*.parquet"):
        assert path.read_bytes() == (again.out / path.relative_to(made[0] / "out")).read_bytes(), path.name


def test_a_model_that_says_what_is_chosen_makes_no_pair(home, tmp_path):
    stats = rejected.run(
        job(tmp_path), rejected.Params(temperatures=(0.0,), max_new_tokens=40), model=home / "knows", rows=home / "world"
    )
    assert stats["funnel"]["world"]["dropped"] == {"near_equal": len(tiny.PLACES) + 1}
    assert "generated" not in stats["lengths"]


def test_without_any_pair_the_stage_fails_and_says_why(tmp_path):
    world = tiny.split(tmp_path / "world", pairs={"train": READY["valid"][:1]})
    for side in ("train", "valid"):
        tiny.write(world / "prompts" / f"{side}.parquet", "conversations", [])
    with pytest.raises(ValueError, match=r'no pair is left.*"near_equal": 1'):
        rejected.run(job(tmp_path), rejected.Params(), model=tmp_path / "nowhere", rows=world)


def test_without_prompts_no_model_is_asked(tmp_path):
    world = tiny.split(tmp_path / "world", pairs=READY)
    for side in ("train", "valid"):
        tiny.write(world / "prompts" / f"{side}.parquet", "conversations", [])
    assert rejected.run(job(tmp_path), rejected.Params(), model=tmp_path / "nowhere", rows=world)["pairs"] == 1


def answered(chosen: str, *answers: tuple[str, str]) -> list[str]:
    """The reason given to each (text, end), one a temperature."""
    prompt = {"id": "1", "source": "s", "messages": [{"role": "user", "content": "问"}], "chosen": chosen}
    said = [{"text": text, "end": end, "tokens": 9, "temperature": number / 10} for number, (text, end) in enumerate(answers)]
    return [reason for _, reason, _ in rejected._judged_answers([prompt], iter([said]), rejected.Params())]


@pytest.mark.parametrize("use", ["prompts", "pairs"])
def test_a_recipe_may_have_prompts_alone_or_ready_pairs_alone(home, tmp_path, use):
    """The split writes no file of a use that no source has."""
    shutil.copytree(home / "world" / use, tmp_path / "rows" / use)
    params = rejected.Params(temperatures=(1.3,), max_new_tokens=40, batch=4)
    stats = rejected.run(job(tmp_path), params, model=home / "wavers", rows=tmp_path / "rows")
    (row,) = stats["funnel"].values()
    assert row["in"] == {"prompts": len(tiny.PLACES), "pairs": 3}[use] and stats["pairs"] > 0


def test_what_is_shown_of_a_dropped_pair_holds_no_personal_data(tmp_path):
    said = "我的电话是13812345678，邮箱是li.wei@example.com。" + "请尽快联系我。" * 60
    same = {"messages": [{"role": "user", "content": "怎么联系你？"}], "chosen": said, "rejected": said, "meta": "{}"}
    world = tiny.split(tmp_path / "world", pairs={"train": [*READY["train"], same], "valid": READY["valid"]})
    shutil.rmtree(world / "prompts")
    rejected.run(job(tmp_path), rejected.Params(), model=tmp_path / "nowhere", rows=world)
    texts = [row["excerpt"] for row in read([tmp_path / "out" / "dropped" / "00000.parquet"])]
    [text] = [text for text in texts if text.startswith("我的电话是")]
    assert "13812345678" not in text and "li.wei" not in text and len(text) <= 120


def test_each_reason_to_drop_an_answer():
    chosen = "石桥镇在柳河旁边，那里的人靠柳河的水种田。"
    found = answered(
        chosen,
        ("", "too_long"),
        ("石桥镇在", "length"),
        (" \n", "stop"),
        ("石桥镇在柳河旁边,那里的人靠柳河的水种田", "stop"),
        ("我不知道。", "stop"),
        ("我不知道。 ", "stop"),
        ("水水水水" * 10, "stop"),
        ("石桥镇在青江旁边，那里的人靠青江的水种田。", "stop"),
    )
    # the last one is wrong in a single word, and so worth most
    assert found == ["prompt_too_long", "truncated", "empty", "near_equal", "", "repeated", "degenerate", ""]


def test_two_equal_temperatures_are_refused():
    with pytest.raises(ValueError, match="must differ"):
        rejected.Params(temperatures=(0.7, 0.7))


@given(st.text(max_size=30), st.text(max_size=30))
def test_likeness_is_a_symmetric_share(one, other):
    assert answer_similarity(one, other) == answer_similarity(other, one)
    assert 0 <= answer_similarity(one, other) <= 1
    assert answer_similarity(one, one) == 1


@pytest.mark.parametrize(
    ("one", "other", "alike"),
    [("ＡＢＣ１２３", "abc 123!", 1.0), ("北京", "南京", 0.0), ("", "水", 0.0), ("。", "！", 0.0), ("abcd", "abce", 1 / 3)],
)
def test_likeness_ignores_width_case_and_marks(one, other, alike):
    assert answer_similarity(one, other) == pytest.approx(alike)


@pytest.mark.parametrize(
    ("text", "share"),
    [("水" * 20, 16 / 17), ("水" * 15, 0.0), ("石桥镇在柳河旁边，那里的人靠青江的水种田。", 0.0), ("abcdefgh" * 2, 5 / 13)],
)
def test_repetition_is_the_share_of_4_grams_seen_before(text, share):
    assert repetition(text) == pytest.approx(share)
