"""Looks at many texts at a time find what looks at each of them find."""

from __future__ import annotations

import random
import re

import pytest

from tasks.text import batch, privacy, script


def drawn(characters: str, seed: int, texts: int = 3000, longest: int = 14) -> list[str]:
    draw = random.Random(seed)
    return ["".join(draw.choices(characters, k=draw.randint(0, longest))) for _ in range(texts)]


@pytest.mark.parametrize("pattern", ["微信|扫码", "[0-9]{2}", "^甲", "a$", "(?<![a-z])ab"])
def test_each_text_is_found_by_itself(pattern):
    found = re.compile(pattern, re.MULTILINE)
    texts = drawn("微信扫码甲ab1 ", 1, longest=6)
    assert batch.with_match(found, texts) == [found.search(text) is not None for text in texts]
    assert batch.with_match(found, []) == []


def test_no_text_with_personal_data_is_passed_over():
    texts = drawn("@＠0123456789０９１.．- －京A粤ＸxＱ微信扣QqhateixinXｘwWvV中 ，", 2)
    assert privacy.may_hold_any(texts) == [bool(privacy._hinted(text.translate(privacy._WIDE))) for text in texts]


def test_shares_of_many_texts_are_those_of_each():
    texts = ["", " \n", *drawn("中ぁ한a1д，𠀀😀 \n", 3, 500)]
    assert script.shares_of_all(texts) == [script.script_shares(text) for text in texts]
    assert script.shares_of_all(texts[:200:7]) == [script.script_shares(text) for text in texts[:200:7]]
    assert script.shares_of_all([]) == []
