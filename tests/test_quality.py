"""Measures of a text."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.text import quality


def test_counts_leave_white_space_out() -> None:
    assert quality.characters(" 你 好\n\tab\u3000") == 4
    assert quality.punctuation_share("你好，。 ") == 0.5
    assert quality.punctuation_share("__") == 1.0
    assert quality.punctuation_share("") == 0.0
    assert quality.han_share("你a") == 0.5


def test_repeated_lines() -> None:
    assert quality.repeated_lines("甲甲\n乙乙\n丙丙") == 0.0
    assert quality.repeated_lines("甲甲\n 甲甲\n乙乙\n甲甲") == 0.5
    assert quality.repeated_lines("\n\n\n") == 0.0


def test_repeated_ngrams() -> None:
    once = "天地玄黄宇宙洪荒日月盈昃辰宿列张"
    assert quality.repeated_ngrams(once) == 0.0
    assert quality.repeated_ngrams(once + once) == 0.5
    assert quality.repeated_ngrams("哈" * 1000) == pytest.approx(0.999)
    assert quality.repeated_ngrams(once + "\n" + once[:12] + "寒来暑往") == pytest.approx(12 / 32)
    assert quality.repeated_ngrams("短") == 0.0


@given(st.text())
def test_shares_are_shares(text: str) -> None:
    for measure in (quality.punctuation_share, quality.repeated_lines, quality.repeated_ngrams, quality.han_share):
        assert 0.0 <= measure(text) <= 1.0


@pytest.mark.parametrize(
    "text",
    [
        "扫码领取资料",
        "关注我们的微信公众号",
        "公众号：某某",
        "加我微信详聊",
        "长按识别下方二维码",
        "编辑于 2019-01-01",
        "著作权归作者所有",
        "未经授权禁止转载",
        "点击上方蓝字",
    ],
)
def test_boilerplate(text: str) -> None:
    assert quality.has_boilerplate(f"前文。{text}。后文")


@pytest.mark.parametrize(
    "text", ["微信公众号是一种自媒体平台。", "二维码由黑白方块组成。", "他编辑了一本书。", "我关注环境问题。", ""]
)
def test_topics_are_not_boilerplate(text: str) -> None:
    assert not quality.has_boilerplate(text)


def test_tasks_that_are_translations() -> None:
    for prompt in ("请翻译以下句子", "英译中：Hello", "把它译成英文", "Translate this"):
        assert quality.is_translation_task(prompt)
    assert not quality.is_translation_task("请介绍一下编译原理")


def test_tables() -> None:
    for text in ("| 甲 | 乙 |\n| --- | --- |\n| 1 | 2 |", "姓名  年龄\n-----------", "a | b | c\nd | e | f", "请制作一个表格"):
        assert quality.is_table(text)
    for text in ("a || b", "第一，第二——第三", "- 甲\n- 乙", "x = |a|"):
        assert not quality.is_table(text)
    assert not quality.is_table("\n" * 200_000 + " " * 200_000)
