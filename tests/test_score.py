from __future__ import annotations

import contextlib
import json
import math
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from models import loading, score, template
from tests import tiny

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("score")
    made = tiny.make_tokenizer(folder / "tokenizer", tiny.split(folder / "world"))
    tiny.llama(folder / "knows", made, steps=60)
    tiny.llama(folder / "random", made)
    return folder


@pytest.fixture
def scorer(home):
    """In float32, so that a sum that is wrong cannot hide in rounding."""
    made = score.Scorer(*loading.load(home / "knows", CPU))
    made.fast = contextlib.nullcontext()
    return made


def naive(scorer: score.Scorer, ids: list[int], start: int) -> float:
    """One sequence, one token at a time, by the model as it is."""
    scorer.restore()
    total = 0.0
    for place in range(start, len(ids)):
        with torch.no_grad():
            logits = scorer.model(torch.tensor([ids[:place]])).logits[0, -1]
        total += torch.log_softmax(logits, -1)[ids[place]].item()
    scorer.head.forward = scorer._exact
    return total


def test_sums_are_those_of_single_sequences(scorer):
    texts = ["石桥镇在柳河旁边。", "水", "白鹭城在哪条江河旁边？在青江旁边，那里的人靠青江的水种田。"]
    rows = [([1, *ids], start) for ids, start in zip(scorer.encode(texts), (1, 1, 9), strict=True)]
    scorer.budget = 40  # so that there are several batches
    assert scorer.sums(rows, "text") == pytest.approx([naive(scorer, *row) for row in rows], abs=1e-4)


def test_choices_are_scored_as_if_each_had_its_own_question(scorer):
    encoded = scorer.encode(["柳河", "水", "青江的水种田", "沙湖旁边，那里的人", "石", "云台县在玉溪旁边"])
    rows = [
        ([1, *encoded[0]], encoded[1:4]),
        ([1, *encoded[3], *encoded[0]], encoded[:2]),
        ([1], [encoded[5], encoded[1], encoded[4]]),
    ]
    expected = [[naive(scorer, question + choice, len(question)) for choice in choices] for question, choices in rows]
    for budget in (2000, 1):
        scorer.budget = budget
        for found, wanted in zip(scorer.choose(rows), expected, strict=True):
            assert found == pytest.approx(wanted, abs=1e-4)


def test_a_question_without_room_loses_its_beginning(scorer):
    question, choice = [1, *scorer.encode(["水" * 120 + "石桥镇"])[0]], scorer.encode(["在柳河旁边"])[0]
    (found,) = scorer.choose([(question, [choice])])
    assert found == pytest.approx([naive(scorer, question[-(96 - len(choice)) :] + choice, 96 - len(choice))], abs=1e-4)


def test_bfloat16_is_near_float32(home, scorer):
    if not loading.has_bf16(CPU):
        pytest.skip("this CPU has no bfloat16, so nothing is computed in it")
    rows = [
        ([1, *ids], 1) for ids in scorer.encode([tiny.ANSWER.format(place, water, water) for place, water in tiny.PLACES.items()])
    ]
    fast = score.Scorer(*loading.load(home / "knows", CPU))
    exact, rounded = (sum(one.sums(rows, "text")) for one in (scorer, fast))
    assert exact != rounded
    assert rounded == pytest.approx(exact, rel=0.02)


@given(st.integers(1, 300), st.integers(2, 50))
def test_windows_score_every_token_once_with_enough_before_it(length, context):
    ids = list(range(100, 100 + length))
    whole = [1, *ids]
    scored = []
    for number, (window, start) in enumerate(score.windows(ids, [1], context)):
        assert len(window) <= context and start >= 1
        assert number == 0 or start >= context - context // 2
        scored += window[start:]
        at = whole.index(window[0])
        assert window == whole[at : at + len(window)]
    assert scored == ids


def test_bits_are_those_of_the_whole_text(scorer):
    (found,) = score.score_documents(scorer, [{"text": "石桥镇在柳河旁边。"}])
    ids = [1, *scorer.encode(["石桥镇在柳河旁边。"])[0]]
    assert found == {"bits": pytest.approx(-naive(scorer, ids, 1) / math.log(2), abs=1e-3), "tokens": len(ids) - 1, "bytes": 27}


def test_a_text_longer_than_the_context_is_scored_to_its_end(scorer):
    text = "".join(tiny.ANSWER.format(place, water, water) for place, water in tiny.PLACES.items())
    (found,) = score.score_documents(scorer, [{"text": text}])
    ids = scorer.encode([text])[0]
    assert found["tokens"] == len(ids) > 96 < len(score.windows(ids, [1], 96)) * 96
    expected = sum(naive(scorer, *window) for window in score.windows(ids, [1], 96))
    assert found["bits"] == pytest.approx(-expected / math.log(2), rel=1e-4)


def test_a_model_that_knows_picks_the_right_choices(home, scorer, tmp_path):
    from tasks.data.rows import read

    questions = list(read([tiny.questions(tmp_path) / "questions" / "00000.parquet"]))
    right = [question["answer"] for question in questions]
    assert [row["picked"] for row in score.score_questions(scorer, questions, "chat")] == right
    random = score.Scorer(*loading.load(home / "random", CPU))
    assert [row["picked"] for row in score.score_questions(random, questions, "base")] != right


def test_a_choice_is_judged_by_its_log_probability_per_character(scorer):
    question = {"question": "石桥镇在哪条江河旁边？", "choices": ["石", "石桥镇在柳河旁边，那里的人靠柳河的水种田。", ""]}
    (found,) = score.score_questions(scorer, [question], "chat")
    short, long, _ = found["log_probabilities"]
    assert short > long and long / 21 > short, "the example must tell a sum from a mean"
    assert found["picked"] == 1


def test_pairs_count_the_answer_and_its_end_of_turn(scorer):
    turns = tiny.turns("石桥镇")
    pair = {"messages": turns[:1], "chosen": turns[1]["content"], "rejected": "不知道"}
    (found,) = score.score_pairs(scorer, [pair])
    prompt = template.prompt(scorer.tokenizer, turns[:1])
    for side in ("chosen", "rejected"):
        ids = [*prompt, *scorer.encode([pair[side]])[0], template.STOP_ID]
        assert found[side] == {"sum": pytest.approx(naive(scorer, ids, len(prompt)), abs=1e-4), "tokens": len(ids) - len(prompt)}
    assert found["chosen"]["sum"] > -1 and found["rejected"]["sum"] < -5


def test_a_pair_longer_than_the_context_keeps_its_end(scorer):
    pair = {"messages": [{"role": "user", "content": "水" * 60}], "chosen": "河" * 60, "rejected": "石" * 200}
    (found,) = score.score_pairs(scorer, [pair])
    assert found["chosen"]["tokens"] == len(scorer.encode(["河" * 60])[0]) + 1
    assert found["rejected"]["tokens"] == 95  # all but the first, which nothing comes before
    assert all(math.isfinite(side["sum"]) for side in found.values())


def test_scores_that_are_there_are_not_made_again(home, tmp_path, capsys):
    empty, texts = tmp_path / "empty.jsonl", tmp_path / "texts.jsonl"
    empty.write_text("")
    texts.write_text(json.dumps({"text": "水"}) + "\n")
    given = {"documents": str(texts), "questions": str(empty), "pairs": str(empty), "prompts": str(empty), "facts": str(empty)}
    asked = [
        {"name": name, "folder": str(home / name), "style": "base", "home": str(tmp_path / name)} for name in ("knows", "random")
    ]
    job = {"models": asked, "max_new_tokens": 8, "batch": 4, "device": "cpu"} | given
    score.score_models(job | {"models": asked[:1]})
    kept = (tmp_path / "knows" / "stats.json").stat().st_mtime_ns
    capsys.readouterr()
    assert score.score_models(job) == {"models": 2}
    assert "scoring random" in (shown := capsys.readouterr().out) and "scoring knows" not in shown
    assert (tmp_path / "knows" / "stats.json").stat().st_mtime_ns == kept
    assert json.loads((tmp_path / "random" / "stats.json").read_text())["context"] == 96
