"""Scripts, languages, traditional → simplified."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.text import script


@pytest.mark.parametrize(
    ("traditional", "simplified"),
    [
        ("餅乾與乾燥的麵條", "饼干与干燥的面条"),
        ("乾隆皇帝扭轉乾坤", "乾隆皇帝扭转乾坤"),
        ("李乾順居乾清宮，終日乾乾", "李乾顺居乾清宫，终日乾乾"),
        ("乾清宫", "乾清宫"),
        ("著名作家的著作顯著", "著名作家的著作显著"),
        ("他看著書，隨著音樂睡著了", "他看着书，随着音乐睡着了"),
        ("意味著沉著、執著於著手", "意味着沉着、执着于着手"),
        ("她穿著衣服，有著夢想", "她穿着衣服，有着梦想"),
        ("看著作者發表著作", "看著作者发表著作"),
        ("名著重新出版，重在著重", "名著重新出版，重在着重"),
        ("期待著「舊歲」", "期待着“旧岁”"),
        ("登高瞭望，瞭解情況，一目瞭然", "登高瞭望，了解情况，一目了然"),
        ("祇有神祇", "只有神祇"),
        ("藉口與慰藉，藉著", "借口与慰藉，借着"),
        ("宮商角徵羽，象徵與徵求", "宫商角徵羽，象征与征求"),
        ("皇后在后面，以後再說", "皇后在后面，以后再说"),
        ("畢昇與洪昇", "毕昇与洪昇"),
        ("『史記』", "‘史记’"),
    ],
)
def test_simplify(traditional: str, simplified: str) -> None:
    assert script.simplify(traditional) == simplified
    assert script.simplify(simplified) == simplified


def test_simplified_text_and_other_scripts_stay() -> None:
    for text in ("这本巨著著于明代，作者著述颇丰，著有三卷。", "他的论著目录", "Hello, world 123", "", "カタカナ"):
        assert script.simplify(text) == text


def test_shares_sum_to_one() -> None:
    found = script.shares("中国 ab1。か한д𠀀")
    assert found == {"han": 0.3, "kana": 0.1, "hangul": 0.1, "latin": 0.2, "cyrillic": 0.1, "digit": 0.1, "other": 0.1}
    assert script.han_share("中国 ab") == 0.5
    assert script.han_share(" \n") == 0.0
    assert script.counts("𠀀😀　") == {
        "space": 1,
        "han": 1,
        "kana": 0,
        "hangul": 0,
        "latin": 0,
        "cyrillic": 0,
        "digit": 0,
        "other": 1,
    }


@given(st.text())
def test_every_character_is_counted_once(text: str) -> None:
    assert sum(script.counts(text).values()) == len(text)


@pytest.mark.parametrize(
    ("text", "language"),
    [
        ("数学是研究数量的学科", "zh"),
        ("使用 Python 的 list 来做这件事情", "zh"),
        ("数学は数量を研究する学問です", "ja"),
        (
            "日本動畫《ONE PIECE》（ワンピース）是尾田榮一郎創作的少年漫畫作品，講述了草帽海賊團的冒險故事，銷量超過五億冊。",
            "zh",
        ),
        ("Mathematics is the study of 数", "en"),
        ("수학은 학문이다", "ko"),
        ("Математика", "ru"),
        ("123 …", "other"),
        ("", "other"),
    ],
)
def test_language(text: str, language: str) -> None:
    assert script.language(text) == language


def test_traditional_share() -> None:
    assert script.traditional_share("这是简体中文，乾隆") == 0.0
    assert script.traditional_share("這是繁體中文") == pytest.approx(2 / 6)
    assert script.traditional_share("no ideographs") == 0.0
