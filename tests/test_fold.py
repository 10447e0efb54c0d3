"""The fold: what two texts may differ in and still be the same."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tasks.text.fold import _MAY_HOLD_SIGNS, _NOT_WORD, dedup_key, folded, significant


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("-5小于3", "-5小于-3"),
        ("1.5小于20", "15小于20"),
        ("2+2", "2×2"),
        ("x+1", "x-1"),
        ("\\d+", "\\d*"),
        ("C", "C++"),
        ("12-3÷4", "12×3+4"),
        ("C", "C#"),
        ("50%", "50"),
        ("3,5", "35"),
        ("3：5", "35"),
        ("x²", "x2"),
        ("1/2", "12"),
        ("a!=b", "a=b"),
        ("i++", "i--"),
        ("(2+3)×4", "2+3×4"),
        ("x>y", "x<y"),
        ("x≥y", "x>y"),
        ("10~20", "1020"),
        ("温度-5度", "温度5度"),
        ("2*3", "23"),
        ("f'(x)", "f(x)"),
        ("2**3", "23"),
        ("!x", "x"),
        ("a[0]", "a0"),
        ("n!/2", "n/2"),
        (".5", "5"),
        ("5‰", "5%"),
        ("a&&b", "a||b"),
        ("x_1^2", "x_12"),
        ("A→B", "A←B"),
        ("1:2", "12"),
        ("2021-05", "202105"),
        ("3 - 2", "3 + 2"),
        ("6 / 3", "6 3"),
        ("x = -y", "x = y"),
        (".*", ".+"),
        ("|x|", "x"),
        ("a<b", "a>b"),
        ("答案是√2", "答案是2"),
        ("user@a.b", "usera.b"),
        ("5 5", "55"),
        ("甲=乙", "甲≠乙"),
        ("长+宽", "长-宽"),
        ("0.1", "01"),
        ("C", "C+"),
        ("2^3", "23"),
        ("7-3", "7 3"),
        ("10⁻³", "10³"),
        ("Cl⁻", "Cl"),
        ("sin45°", "sin45"),
        ("€100", "￥100"),
        ("£5", "$5"),
        ("区间(0,1)", "区间[0,1]"),
        ("(0,1]", "[0,1)"),
        ("{1,2}", "(1,2)"),
        ("[]", "{}"),
        ("colou?r", "colour"),
        ("^ab", "ab"),
        ("&x", "x"),
        ("@a", "#a"),
        ("<b>", "</b>"),
        ("x̄", "x"),
        ("B♭", "B"),
        ("♂", "♀"),
        ("😂", "😭"),
        ("★★★☆☆", "★★★★☆"),
        ("“，”", "“。”"),
        ("「？」", "「！」"),
    ],
)
def test_signs_count(one: str, other: str) -> None:
    assert dedup_key(one) != dedup_key(other)
    assert dedup_key(f"请算一算 {one}，谢谢。") != dedup_key(f"请算一算 {other}，谢谢。")


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("你好，世界！", "你好 世界"),
        ("Ｈello，世界！ 1②", "hello世界\n12"),
        ("**重点**内容", "重点内容"),
        ("- 甲\n- 乙", "甲\n乙"),
        ("* 甲", "甲"),
        ("1 + 1 = 2", "1+1=2"),
        ("（注意）", "注意"),
        ("1，000元", "1000元"),
        ("１．５", "1.5"),
        ("10－5", "10-5"),
        ("10—20", "10-20"),
        ("> 引文", "引文"),
        ("# 标题", "标题"),
        ("标题\n=====", "标题"),
        ("甲、乙", "甲乙"),
        ("Hello, world!", "hello world"),
        ("第3章", "第 3 章"),
        ("和/或", "和或"),
        ("他说：“好。”", "他说好"),
        ("3、5", "3,5"),
        ("1,234,567", "1234567"),
        ("*皇帝*亲自", "皇帝亲自"),
        ("由*皇帝*亲自", "由皇帝亲自"),
        ("-----", ""),
        ("__", ""),
        ("1. 甲", "1、甲"),
        ("what?", "what"),
        ("x−1", "x-1"),
        ("5！", "5"),
        ("well-known", "well known"),
        ("例如(见上)", "例如见上"),
        ("甲——乙", "甲乙"),
        ("+ 甲", "甲"),
        ("2021年5月1日", "2021年 5月 1日"),
        ("是吗?!", "是吗"),
        ("(1)甲", "1）甲"),
        ("❤️", "❤"),
        ("￥5", "¥5"),
        ("“甲”，", "「甲」"),
        ("“ ”", "“”"),
        ("是吗？好", "是吗好"),
        ("$x$", "x"),
    ],
)
def test_punctuation_width_case_and_space_do_not(one: str, other: str) -> None:
    assert dedup_key(one) == dedup_key(other)
    assert dedup_key(f"前文。\n{one}\n后文") == dedup_key(f"前文\n{other}\n后文。")


def test_the_key() -> None:
    assert dedup_key("Ｈello，世界！ 1②") == dedup_key("hello世界\n12") == "hello世界12"
    assert dedup_key("，。！ _") == ""
    assert dedup_key("甲乙") != dedup_key("乙甲")
    assert dedup_key("C++ 和 ｃ＋＋") == "c++和c++"


PIECES = st.lists(
    st.sampled_from(
        [
            *"甲乙ab12 \n，。,.:;!?-+*/=<>()[]^_%#&|~'\"\\",
            "**",
            "--",
            "==",
            "1,000",
            "²",
            "×",
            "（",
            "！",
            *"“”？{}@°€😂★\u0304⁻",
            "“，”",
        ]
    ),
    max_size=12,
)


@settings(max_examples=300, deadline=None)
@given(st.lists(PIECES.map("".join), min_size=1, max_size=5))
def test_a_text_has_its_key_whatever_stands_beside_it(texts: list[str]) -> None:
    points = [np.frombuffer(folded(text).encode("utf-32-le"), "<u4") for text in texts]
    bounds = np.concatenate(([0], np.cumsum([len(each) for each in points])))
    values, counts = significant(np.concatenate(points).astype(np.uint32), bounds)
    for text, start, end in zip(texts, bounds, bounds[1:], strict=False):
        assert "".join(map(chr, values[start:end][counts[start:end]])) == dedup_key(text)


@settings(max_examples=300, deadline=None)
@given(PIECES.map("".join) | st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\x1f"), max_size=30))
def test_a_text_that_can_hold_no_sign_is_spared_the_arithmetic(text: str) -> None:
    points = np.frombuffer(folded(text).encode("utf-32-le"), "<u4")
    values, counts = significant(points, np.array([0, len(points)]))
    key = "".join(map(chr, values[counts]))
    assert dedup_key(text) == key
    if not _MAY_HOLD_SIGNS.search(folded(text)):
        assert key == _NOT_WORD.sub("", folded(text))
