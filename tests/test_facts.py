"""Free answers about known facts: what counts as right, and the shares by kind of fact."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tasks.metrics.facts import Facts, tally

ROWS = [
    {"entity": "甲镇", "kind": "小镇", "attribute": "特产", "value": "竹编", "ask": "甲镇的特产是什么？"},
    {"entity": "乙镇", "kind": "小镇", "attribute": "特产", "value": "青瓷", "ask": "乙镇的特产是什么？"},
    {"entity": "丙山", "kind": "名山", "attribute": "高度", "value": "二百丈", "ask": "丙山有多高？"},
]


@pytest.fixture
def facts(tmp_path: Path) -> Facts:
    (tmp_path / "facts.json").write_text(json.dumps(ROWS), "utf-8")
    return Facts([tmp_path / "facts.json"])


@pytest.mark.parametrize(
    ("asked", "reference", "answer", "right"),
    [
        ("甲镇的特产是什么？", "竹编", "竹编。甲镇以竹编闻名。", True),
        ("甲镇的特产是什么？", "竹编", "青瓷。", False),
        ("甲镇的特产是什么？", "竹编", "竹编，也许是青瓷。", False),  # one that names them all knows nothing
        ("甲镇的特产是什么？", "竹编", "", False),
        ("甲镇的特产是什么？", "竹编", "丙山高二百丈。", False),
        ("去甲镇买什么？", "甲镇的老街上到处是卖竹编的店铺。", "可以买竹编。", True),
        ("你好！", "你好，有什么可以帮你？", "你好。", None),
        ("丁镇的特产是什么？", "竹编", "竹编", None),
    ],
)
def test_right_is_the_right_value_and_no_other_of_its_kind(
    facts: Facts, asked: str, reference: str, answer: str, right: bool | None
) -> None:
    prompt = {"messages": [{"role": "user", "content": asked}], "reference": reference}
    assert facts.is_right(prompt, answer) is right


def test_shares_are_by_kind_of_fact_with_what_guessing_gives(facts: Facts) -> None:
    prompts = facts.prompts(0, 0)
    said = {"甲镇的特产是什么？": "竹编", "乙镇的特产是什么？": "竹编", "丙山有多高？": "二百丈"}
    rows = facts.side_by_side(prompts, {"sft": [{"text": said[row["messages"][0]["content"]]} for row in prompts]})
    shares = tally(rows, "sft")
    assert shares is not None
    assert (shares["all"]["n"], shares["all"]["correct"]) == (3, 2)
    assert {kind: (one["n"], one["correct"], one["chance"]) for kind, one in shares["kinds"].items()} == {
        "名山 · 高度": (1, 1, 1.0),
        "小镇 · 特产": (2, 1, 0.5),
    }
    assert shares["all"]["low"] < 2 / 3 < shares["all"]["high"]
    assert Facts([]).prompts(0, 0) == [] and tally([], "sft") is None
