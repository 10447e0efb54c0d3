"""Titles become prompts, articles become answers."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.text.prompts import TEMPLATES, article_prompt, cut_at_sentence

SEEDS = range(400)  # enough to draw every template


def every(title: str) -> set[str]:
    """All prompts of a title."""
    return {article_prompt(title, seed) for seed in SEEDS}


def test_a_prompt_depends_on_seed_and_title_alone() -> None:
    assert article_prompt("李白", 23333) == article_prompt("李白", 23333)
    assert len(every("李白")) == len(TEMPLATES) == len(set(TEMPLATES)) == 20
    drawn = Counter(article_prompt(f"第{number}号", 7).replace(f"第{number}号", "{}") for number in range(4000))
    assert set(drawn) == set(TEMPLATES)
    assert max(drawn.values()) < 2 * min(drawn.values()), "all about as often"


@pytest.mark.parametrize(
    ("title", "named"),
    [
        ("李白", "李白"),
        ("上海市", "上海市"),
        ("1984年", "1984年"),
        ("列夫·托尔斯泰", "列夫·托尔斯泰"),
        ("Python", "Python"),
        ("C++", "C++"),
        ("T恤衫", "T恤衫"),
        ("人民大会堂", "人民大会堂"),
        ("想你", "“想你”"),
        ("李白 (唐代)", "李白（唐代）"),
        ("苹果（公司）", "苹果（公司）"),
        ("Mercury (planet)", "Mercury（planet）"),
        ("你好 (歌曲)", "“你好”（歌曲）"),
        ("水", "“水”"),
        ("42", "“42”"),
        ("你好，李焕英", "“你好，李焕英”"),
        ("谁是老大？", "“谁是老大？”"),
        ("关于我转生变成史莱姆这档事", "“关于我转生变成史莱姆这档事”"),
        ("好吗", "“好吗”"),
        ("我们仍未知道那天所看见的花的名字", "“我们仍未知道那天所看见的花的名字”"),
        ("《红楼梦》", "《红楼梦》"),
        ("论“持久战”", "论“持久战”"),
        ("(甲)", "“(甲)”"),
        (" 黄  河 \n", "“黄 河”"),
    ],
)
def test_titles_stand_in_a_sentence(title: str, named: str) -> None:
    assert every(title) == {template.format(named) for template in TEMPLATES}


def test_no_template_asks_what_or_who() -> None:
    assert not [template for template in TEMPLATES if "什么是" in template or "是什么" in template or "是谁" in template]


def test_a_blank_title_is_refused() -> None:
    with pytest.raises(ValueError, match="without a title"):
        article_prompt(" \n", 1)


@given(st.text(min_size=1), st.integers(0, 2**63 - 1))
def test_any_title_makes_one_line_with_an_end(title: str, seed: int) -> None:
    if title.split():
        made = article_prompt(title, seed)
        assert "\n" not in made
        assert made[-1] in "。？"


ARTICLE = "长江\n\n长江是亚洲第一长河。它全长3.6万里，“流入东海。”\n\n历史\n\n古称江，后来叫长江……"


@pytest.mark.parametrize(
    ("longest", "text"),
    [
        (100, ARTICLE),
        (len(ARTICLE) - 1, ARTICLE[: ARTICLE.index("\n\n历史")]),
        (34, ARTICLE[: ARTICLE.index("\n\n历史")]),
        (20, "长江\n\n长江是亚洲第一长河。"),
        (14, "长江\n\n长江是亚洲第一长河。"),
        (13, "长江"),
        (1, "长"),
    ],
)
def test_an_article_is_cut_at_a_sentence_end(longest: int, text: str) -> None:
    assert cut_at_sentence(ARTICLE, longest) == text


def test_cuts_that_are_no_sentence_ends() -> None:
    assert cut_at_sentence("圆周率是3.14159，约等于3.14，这是常识。", 12) == "圆周率是3.14159"
    assert cut_at_sentence("没有标点的一长串字", 4) == "没有标点"
    assert cut_at_sentence("It is long. It has no end. Really", 30) == "It is long. It has no end."
    assert cut_at_sentence("他说：“走吧！”然后离开了。", 9) == "他说：“走吧！”"
    with pytest.raises(ValueError, match="longest"):
        cut_at_sentence("甲", 0)


@given(st.text(alphabet="长江。，\n “”3.a", max_size=60), st.integers(1, 70))
def test_a_cut_is_a_beginning_of_the_text(text: str, longest: int) -> None:
    made = cut_at_sentence(text, longest)
    assert text.strip().startswith(made)
    assert len(made) <= longest
    assert bool(made) == bool(text.strip())
    assert cut_at_sentence(made, longest) == made
