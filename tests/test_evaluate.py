from __future__ import annotations

import json
import math
from pathlib import Path

import pytest

from tasks import evaluate
from tasks.artifacts.stage import Job
from tasks.data import sampling
from tasks.data.rows import read
from tasks.metrics.intervals import mcnemar
from tests import tiny

PAIR = {
    "messages": tiny.turns("石桥镇")[:1],
    "chosen": tiny.turns("石桥镇")[1]["content"],
    "rejected": "不知道石桥镇在哪里。",
    "meta": "{}",
}


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("evaluate")
    world = tiny.split(folder / "world")
    made = tiny.make_tokenizer(folder / "tokenizer", world)
    for name, steps in (("pretrain", 0), ("sft", 20), ("dpo", 60)):
        tiny.llama(folder / name, made, steps=steps)
    tiny.questions(folder / "exam")
    unanswered = {"subject": "geography", "question": "哪里？", "choices": ["青山", "白水"], "answer": None}  # it is not scored
    tiny.write(folder / "exam" / "questions" / "00001.parquet", "questions", [unanswered])
    pairs = [PAIR, {**PAIR, "chosen": PAIR["rejected"], "rejected": PAIR["chosen"]}]
    tiny.write(folder / "pairs" / "preferences" / "valid.parquet", "preferences", pairs)
    return folder


def models(home: Path) -> dict[str, Path]:
    return {name: home / name for name in ("pretrain", "sft", "dpo")}


def evaluated(home: Path, folder: Path, **params) -> dict:
    return evaluate.run(
        Job(folder / "out", folder / "scratch", tiny.ONE),
        evaluate.Params(**({"max_new_tokens": 40} | params)),
        models=models(home),
        rows=home / "world",
        pairs=home / "pairs",
        questions={"exam": home / "exam"},
    )


@pytest.fixture(scope="module")
def made(home) -> tuple[Path, dict]:
    stats = evaluated(home, home / "made")
    return home / "made", json.loads((home / "made" / "out" / "scores.json").read_text()) | {"stats": stats}


def test_models_that_learned_more_score_better(made):
    _, scores = made
    found = scores["models"]
    assert list(found) == ["pretrain", "sft", "dpo"]
    assert [model["style"] for model in found.values()] == ["base", "chat", "chat"]
    assert found["dpo"]["questions"]["all"]["correct"] == 8 > found["pretrain"]["questions"]["all"]["correct"]
    assert found["dpo"]["bits_per_byte"]["all"]["value"] < found["pretrain"]["bits_per_byte"]["all"]["value"]
    assert found["dpo"]["generation"]["stop_rate"] == 1.0 > found["pretrain"]["generation"]["stop_rate"]
    assert found["pretrain"]["preference"] is None
    assert (
        found["dpo"]["preference"]["n"] == 2 and found["dpo"]["preference"]["accuracy"] == 0.5
    )  # one pair, and the same turned round
    assert found["dpo"]["preference"]["margin"] == pytest.approx(0, abs=1e-4)
    assert found["dpo"]["parameters"] == found["sft"]["parameters"] > 1000
    assert scores["stats"] == {"models": found, "comparisons": scores["comparisons"], "health": scores["health"]}


def test_parts_add_up_to_the_whole(made):
    _, scores = made
    for model in scores["models"].values():
        questions = model["questions"]
        assert questions["sources"]["world"] == questions["all"] == questions["subjects"]["world"]["geography"]
        assert (questions["all"]["n"], questions["all"]["chance"]) == (8, 0.25)
        assert questions["all"]["low"] <= questions["all"]["accuracy"] <= questions["all"]["high"]
        assert model["bits_per_byte"]["sources"]["world"] == model["bits_per_byte"]["all"]


def test_guessing_is_computed(made):
    _, scores = made
    counted = scores["models"]["pretrain"]["bits_per_byte"]["all"]
    assert scores["reference"] == {
        "accuracy": 0.25,
        "bits_per_byte": round(counted["tokens"] * math.log2(320) / counted["bytes"], 6),
        "preference": 0.5,
    }
    # a model that knows nothing is near it
    assert counted["value"] == pytest.approx(scores["reference"]["bits_per_byte"], rel=0.05)


def test_questions_are_listed_by_model_and_agree_with_the_scores(home, made):
    folder, scores = made
    rows = list(read([folder / "out" / "questions.parquet"]))
    answers = {row["id"]: row["answer"] for row in read([home / "exam" / "questions" / "00000.parquet"])}
    assert len(rows) == 3 * 8
    for name, model in scores["models"].items():
        mine = [row for row in rows if row["model"] == name]
        assert sum(row["correct"] for row in mine) == model["questions"]["all"]["correct"]
        assert {row["id"]: row["answer"] for row in mine} == answers
        assert all(row["correct"] == (row["picked"] == row["answer"]) and len(row["log_probabilities"]) == 4 for row in mine)


def test_each_model_is_compared_with_the_one_before(made):
    folder, scores = made
    rows = {(row["model"], row["id"]): row["correct"] for row in read([folder / "out" / "questions.parquet"])}
    ids = {key for _, key in rows}
    for found, (before, after) in zip(scores["comparisons"], (("pretrain", "sft"), ("sft", "dpo")), strict=True):
        assert (found["before"], found["after"]) == (before, after)
        won = sum(rows[after, key] > rows[before, key] for key in ids)
        lost = sum(rows[after, key] < rows[before, key] for key in ids)
        assert found["questions"] == {
            "n": 8,
            "won": won,
            "lost": lost,
            "p": round(mcnemar(won, lost), 6),
            "accuracy_change": (won - lost) / 8,
        }
        values = [scores["models"][name]["bits_per_byte"]["all"]["value"] for name in (before, after)]
        assert found["bits_per_byte_change"] == pytest.approx(values[1] - values[0], abs=2e-6)
    assert scores["comparisons"][0]["preference"] is None
    assert scores["comparisons"][1]["preference"]["grew"] == 0.5
    # of a pair and its mirror image one is right and one is wrong, before and after
    assert scores["comparisons"][1]["preference"]["won"] == scores["comparisons"][1]["preference"]["lost"]


def test_chat_models_are_checked_for_health_against_the_one_before(made):
    """By the answers that were written anyway: figure by figure the same as the models' own."""
    _, scores = made
    (found,) = scores["health"]
    assert (found["before"], found["after"], found["n"]) == ("sft", "dpo", 2)
    own = {
        "answers that end": "stop_rate",
        "repetition": "repetition",
        "empty answers": "empty",
        "characters an answer": "mean_characters",
    }
    for figure in found["figures"]:
        for side in ("before", "after"):
            assert figure[side] == scores["models"][found[side]]["generation"][own[figure["figure"]]]


def test_answers_stand_side_by_side(made):
    folder, _ = made
    answers = json.loads((folder / "out" / "answers.json").read_text())
    assert len(answers) == 2
    for row in answers:
        assert list(row["answers"]) == ["pretrain", "sft", "dpo"]
        assert row["answers"]["dpo"] == row["reference"] and row["prompt"] == row["messages"][-1]["content"]
        assert row["answers"]["pretrain"] != row["reference"]


def test_made_again_it_is_the_same(home, made, tmp_path):
    evaluated(home, tmp_path)
    for path in (made[0] / "out").iterdir():
        assert path.read_bytes() == (tmp_path / "out" / path.name).read_bytes(), path.name


def test_without_questions_pairs_and_prompts_the_rest_is_scored(home, tmp_path):
    world = tiny.split(tmp_path / "world")
    for kind in ("sft", "prompts"):
        tiny.write(world / kind / "valid.parquet", "conversations", [])
    job = Job(tmp_path / "out", tmp_path / "scratch", tiny.ONE)
    (model,) = evaluate.run(job, evaluate.Params(), models={"sft": home / "sft"}, rows=world)["models"].values()
    assert model["bits_per_byte"]["all"]["documents"] == 2
    assert (model["questions"], model["preference"], model["generation"]) == (None, None, None)


def test_without_a_model_there_is_nothing_to_score(home, tmp_path):
    with pytest.raises(ValueError, match="no model to score"):
        evaluate.run(Job(tmp_path / "out", tmp_path / "scratch"), evaluate.Params(), models={}, rows=home / "world")


def test_a_sample_depends_on_seed_and_ids_alone():
    rows = [{"id": str(number)} for number in range(50)]
    first = sampling.pick(rows, 10, seed=1)
    assert first == sampling.pick(rows[::-1], 10, seed=1) != sampling.pick(rows, 10, seed=2)
    assert first == sampling.pick(rows, 0, seed=1)[:10]  # a larger sample holds the smaller one
    assert len(sampling.pick(rows, 0, seed=1)) == 50
