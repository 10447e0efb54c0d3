"""Measures of a text."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.text import quality


def test_counts_leave_white_space_out() -> None:
    assert quality.character_count(" 你 好\n\tab\u3000") == 4
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


@given(
    st.lists(st.sampled_from(["长江发源于青藏高原", "流入东海", "啊", "。\n", "abc"]), max_size=150).map("".join),
    st.sampled_from([0.1, 0.5, 0.9]),
)
def test_a_quick_look_changes_no_verdict(text: str, least: float) -> None:
    exact, quick = quality.repeated_ngrams(text), quality.repeated_ngrams(text, least=least)
    assert quick in (exact, 0.0)
    assert quick == exact or exact < least
    share, gram = quality.commonest_ngram(text)
    quick, _ = quality.commonest_ngram(text, least=least)
    assert quick == share or share < least
    assert gram == "" or "".join(text.split()).count(gram) * 4 == pytest.approx(share * quality.character_count(text))


def test_commonest_ngram() -> None:
    assert quality.commonest_ngram("买它买它买它买它") == (1.0, "买它买它")
    assert quality.commonest_ngram("天地玄黄宇宙洪荒")[0] == 0.5
    assert quality.commonest_ngram("短") == (0.0, "")
    assert quality.commonest_ngram("**第一单元****第二单元****第三单元**")[1] != "****"


def test_repeated_paragraphs() -> None:
    assert quality.repeated_lines("甲甲\n乙乙\n\n丙丙丙丙丙\n\n甲甲\n乙乙", "\n\n") == pytest.approx(1 / 3)


def test_likeness() -> None:
    assert quality.bigram_similarity("长江有多长？", "长江有多长") == 1.0
    assert quality.bigram_similarity("长江", "江长") == 0.0
    assert 0.5 < quality.bigram_similarity("张先生的病情可能是急性胃黏膜出血吗", "病情可能是急性胃黏膜出血") < 0.95
    assert quality.bigram_similarity("", "") == 1.0
    assert quality.bigram_similarity("甲", "乙") == 0.0


@pytest.mark.parametrize(
    ("question", "answer"),
    [
        ("加标点：今天天气很好我们一家人去公园划船玩得很开心", "今天天气很好，我们一家人去公园划船，玩得很开心。"),
        ("给下面的文字加上标点符号。\n学而时习之不亦说乎有朋自远方来不亦乐乎", "学而时习之，不亦说乎？有朋自远方来，不亦乐乎？"),
        ("改错别字：他门在操场上踢足球，完得非常高兴，一直到天黑才回家", "他们在操场上踢足球，玩得非常高兴，一直到天黑才回家"),
        (
            "他通过努力，使成绩得到了很大的提高，老师和同学都为他感到高兴。修改病句",
            "他通过努力，成绩有了很大的提高，老师和同学都为他感到高兴。",
        ),
        ("请重复：小船儿轻轻，飘荡在水中，迎面吹来了凉爽的风", "小船儿轻轻，飘荡在水中，迎面吹来了凉爽的风"),
        (
            "Correct the sentence: He go to school every day by bus with his sister",
            "He goes to school every day by bus with his sister",
        ),
    ],
)
def test_a_text_that_was_worked_on_is_no_repetition(question: str, answer: str) -> None:
    assert quality.repeats(question, answer, 0.5) == 0.0


def test_an_answer_that_says_the_question_again() -> None:
    text = "今天天气很好我们一家人去公园划船玩得很开心"
    assert quality.repeats("请介绍长江的长度和流域面积。", "请介绍长江的长度和流域面积", 0.5) > 0.95
    assert quality.repeats(f"加标点：{text}", text, 0.5) > 0.5, "nothing was done"
    assert quality.repeats(text, f"{text[:6]}，{text[6:]}。", 0.5, "下面每句话都请加标点。") == 0.0


def test_alike_is_blind_to_order() -> None:
    assert quality.character_similarity("感冒怎么办", "怎么办感冒") == 1.0
    assert quality.character_similarity("", "") == 1.0
    assert quality.character_similarity("感冒怎么办", "孩子发烧三天了") == 0.0


def test_lines_that_break_off_and_lists() -> None:
    assert quality.ellipsis_lines("甲…\n\n乙...\n丙。\n丁") == 0.5
    assert quality.ellipsis_lines("") == 0.0
    assert quality.list_lines("- 甲\n1. 乙\n（3）丙\n① 丁\n正文") == 0.8
    assert quality.list_lines("2019年\n-1度") == 0.5
    assert quality.list_lines("") == 0.0


def test_wrong_encodings_show() -> None:
    text = "长江发源于青藏高原的唐古拉山脉，全长六千三百公里。"
    for wrong in (
        text.encode().decode("gb18030", "replace"),
        text.encode().decode("latin-1"),
        text.encode("gb18030").decode("latin-1"),
        text.encode("gb18030").decode("utf-8", "replace"),
        "锟斤拷" * 5,
    ):
        assert quality.mojibake(wrong) > 0.1, wrong
    for right in (text, "Beyoncé、Ça va、naïve、Müller、×÷±°·····", "涓涓细流，浣熊，周璇", "", "€100，©2019，½"):
        assert quality.mojibake(right) == 0.0, right


RIVER = "长江发源于青藏高原的唐古拉山脉，全长六千三百公里。"


@pytest.mark.parametrize(
    "right",
    [
        "陆家浜路在黄浦区，沙家浜在常熟。",
        "木匠用锛子把木头刨平。",
        "锛、刨、凿、锯都是木匠的工具，锛凿斧锯样样要会。",
        "肇嘉浜路与陆家浜路相接，浜是江南的小河。",
        "“锟斤拷”为什么会出现在网页里？",
        "锟斤拷是一种常见的乱码。",
        "烫烫烫是未初始化的内存。",
        "这碗面好烫烫烫！",
        "症状慢慢纾解，病情也好了。",
        "voilà… ça va, señor!",
    ],
)
def test_rare_characters_are_no_wrong_encoding(right: str) -> None:
    assert quality.mojibake(right) == 0.0


@pytest.mark.parametrize("codec", ["gbk", "gb18030"])
@pytest.mark.parametrize("text", [RIVER, "你好", "（三）班", "他说：“今天下雨。”", "2021年5月1日，小明去了学校。"])
def test_utf8_read_as_gbk_is_found(text: str, codec: str) -> None:
    """In whole and in part, and whatever the reader did about bytes that are no character."""
    for errors in ("replace", "ignore"):
        wrong = text.encode().decode(codec, errors)
        assert quality.mojibake(wrong) > 0.2, wrong
        assert quality.mojibake(f"前面的话没有坏。{wrong}后面的话也没有坏。") > 0.05


@pytest.mark.parametrize("codec", ["latin-1", "cp1252", "utf-8"])
def test_gbk_read_as_something_else_is_found(codec: str) -> None:
    assert quality.mojibake(RIVER.encode("gbk").decode(codec, "replace")) > 0.3
    assert quality.mojibake(f"没有坏的话。{RIVER.encode('gbk').decode(codec, 'replace')}") > 0.3
    assert quality.mojibake(RIVER.encode().decode("cp1252", "ignore")) > 0.3


@given(st.text())
def test_shares_are_shares(text: str) -> None:
    for measure in (
        quality.mojibake,
        quality.punctuation_share,
        quality.repeated_lines,
        quality.repeated_ngrams,
        quality.han_share,
    ):
        assert 0.0 <= measure(text) <= 1.0


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
