"""Evaluation questions are found whatever was done to them, and nothing else is."""

from __future__ import annotations

import random
from typing import Any

import opencc
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tasks.filters import decontamination
from tasks.filters.decontamination import QuestionIndex, QuestionMatch, fold

QUESTION = "在我国古代，科举考试中由皇帝亲自主持的最高一级考试称为什么？"
CHOICES = ["乡试", "会试", "殿试", "院试"]
HAN = st.characters(min_codepoint=0x4E00, max_codepoint=0x9FA5)
PROSE = "科举是隋唐以来选拔官吏的制度，考试分几级进行，由地方到中央，历时一千三百年。"


def asked(*questions: str, choices: list[str] | None = None) -> list[dict[str, Any]]:
    return [
        {"id": str(place), "source": "exam", "question": question, "choices": choices or CHOICES}
        for place, question in enumerate(questions)
    ]


def share(row: str, *questions: str, **settings: Any) -> float:
    """The share of a question that is found in a row, 0 if it is not contaminated."""
    found = QuestionIndex(asked(*(questions or (QUESTION,))), **settings).find([[row]])[0]
    return found.share if found else 0.0


@pytest.mark.parametrize(
    "row",
    [
        QUESTION,
        PROSE * 9 + QUESTION + PROSE * 9,
        QUESTION.replace("，", " , ").replace("？", "?\n"),
        "在我國古代，科舉考試中由皇帝親自主持的最高一級考試稱爲什麽？",
        QUESTION.replace("科举考试", "【科举考试】").replace("皇帝", "*皇帝*"),
        "在 我 国 古 代 科 举 考 试 中 由 皇 帝 亲 自 主 持 的 最 高 一 级 考 试 称 为 什 么",
    ],
)
def test_the_same_question_in_other_dress(row: str) -> None:
    assert share(row) == 1.0


@pytest.mark.parametrize(
    ("row", "found"),
    [
        ("在我国古代，科举考试里由皇帝亲自主持的最高一级考试称为什么？", True),  # one character
        ("请问在我国古代，科举考试中由皇帝本人亲自主持的最高一级考试一般称为什么？", True),  # inserted words
        ("我国古代科举考试中由皇帝亲自主持的最高一级考试称为什么", True),  # missing words
        ("科举考试中由皇帝亲自主持的一级叫什么？在我国古代，这种考试称为殿试。", False),  # the same topic
        ("由皇帝亲自主持的最高一级考试，" + PROSE + "在我国古代，科举考试中" + "称为什么？", False),  # other order, far apart
        ("称为什么？", False),
        (PROSE, False),
    ],
)
def test_edits_do_not_hide_it_and_a_topic_is_no_question(row: str, found: bool) -> None:
    assert (share(row) > 0) == found


def test_a_phrase_of_exams_marks_no_question() -> None:
    many = [f"下列有关这种{thing}的叙述中不正确的一项是" for thing in "金木水火土风雷电云雨山石田土花草树虫鱼鸟兽米面盐油"]
    assert share("下列有关这种说法的叙述中不正确的一项是什么？", *many) == 0.0
    different = [*asked("下列说法正确的是"), *asked("下列说法正确的是", choices=list("甲乙丙丁"))]
    assert QuestionIndex(different).find([["下列说法正确的是"]]) == [None]


def test_short_questions_are_found_with_their_choices() -> None:
    stem, row = "殿试由谁主持", "题：殿试由谁主持？\nA. 乡试\nB. 会试\nC. 殿试\nD. 院试"
    assert share(row, stem) == 1.0
    assert share("殿试由谁主持？乡试、会试、殿试、院试", stem) == 1.0
    assert share("我想知道殿试由谁主持，请回答。", stem) == 0.0
    found = QuestionIndex(asked(stem)).find([["殿试由谁主持？", "皇帝"], ["殿试由谁主持呢", "皇帝"]])
    assert found == [QuestionMatch((0,), 1.0, 0), None], "a whole turn is the question"


def test_questions_with_one_stem_are_told_by_their_choices() -> None:
    questions = [
        *asked("下列词语中没有错别字的一项是"),
        *asked("下列词语中没有错别字的一项是", choices=["甲乙", "丙丁", "戊己", "庚辛"]),
    ]
    questions[1]["id"] = "second"
    row = "下列词语中没有错别字的一项是（ ）\nA、甲乙\nB、丙丁\nC、戊己\nD、庚辛"
    found = QuestionIndex(questions).find([[row], ["下列词语中没有错别字的一项是哪个？"]])
    assert found[1] is None
    assert found[0] is not None
    assert found[0].questions == (1,)


def test_a_question_of_two_sets_is_found_in_both() -> None:
    found = QuestionIndex(asked(QUESTION, QUESTION)).find([[f"甲{QUESTION}"]])[0]
    assert found == QuestionMatch((0, 1), 1.0, 1)


def test_figures_alone_mark_no_question() -> None:
    assert share("110100110100011010001011010", "若x的补码=0.1101001101，则x的原码=") == 0.0


@given(st.lists(HAN, min_size=13, max_size=80, unique=True).map("".join), st.text(max_size=50), st.text(max_size=50), st.data())
@settings(max_examples=60, deadline=None)
def test_a_question_is_found_wherever_it_stands(stem: str, before: str, after: str, data: st.DataObject) -> None:
    found = QuestionIndex(asked(stem)).find([[before + stem, after], ["无关"]])
    assert found[0] is not None
    assert found[0].share == 1.0
    assert found[1] is None
    if len(stem) >= 26:
        place = data.draw(st.integers(0, len(stem) - 1))
        assert QuestionIndex(asked(stem)).find([[before + stem[:place] + "啊" + stem[place + 1 :] + after]])[0] is not None


@given(st.text(max_size=40), st.sampled_from([str.upper, str.lower]))
def test_what_is_compared_is_blind_to_case_width_and_marks(text: str, case: Any) -> None:
    one = fold("".join(character for character in text if character.isascii()))
    wide = "".join(chr(ord(c) + 0xFEE0) if "!" <= c <= "~" else c for c in text if c.isascii())
    assert fold(case(wide)).tolist() == one.tolist()
    assert len(fold(text)) <= len(text)


def test_the_batch_makes_no_difference(monkeypatch: pytest.MonkeyPatch) -> None:
    dice = random.Random(3)
    rows = [[PROSE * dice.randint(0, 40) + dice.choice(["", QUESTION]) + PROSE * dice.randint(0, 40)] for _ in range(60)]
    engine = QuestionIndex(asked(QUESTION))
    together = engine.find(rows)
    assert sum(found is not None for found in together) == sum(QUESTION in row[0] for row in rows) > 10
    assert together == [engine.find([row])[0] for row in rows]
    monkeypatch.setattr(decontamination, "CHUNK", 1000)
    monkeypatch.setattr(decontamination, "OVERLAP", 200)
    assert engine.find(rows) == together
    for row, found in zip(rows, together, strict=True):
        assert found is None or row[0][found.start :].startswith(QUESTION[:5])


def test_recall_on_edited_questions() -> None:
    """One edit in 30 characters: changed, missing or inserted, at random."""
    dice, letters = random.Random(11), [chr(code) for code in range(0x4E00, 0x9FA5)]
    stems = ["".join(dice.choices(letters, k=dice.randint(20, 90))) for _ in range(400)]

    def edited(text: str) -> str:
        made = [
            dice.choice([dice.choice(letters), "", character + dice.choice(letters)]) if dice.random() < 1 / 30 else character
            for character in text
        ]
        return "".join(made)

    found = QuestionIndex(asked(*stems)).find([[PROSE + edited(stem) + PROSE] for stem in stems])
    assert sum(leak is not None and place in leak.questions for place, leak in enumerate(found)) >= 0.95 * len(stems)


@pytest.mark.parametrize("hostile", ["在我国古代科举考试中", QUESTION[:9], QUESTION, "a", "　", "\ud800"])
def test_hostile_rows_take_linear_time(hostile: str) -> None:
    engine = QuestionIndex(asked(QUESTION, *(f"{hostile[:20]}之{number}" for number in range(30))))
    found = engine.find([[hostile * (300_000 // len(hostile)) + QUESTION]])[0]
    assert found is not None
    assert found.share == 1.0


@pytest.mark.parametrize(
    ("question", "other"),
    [
        ("计算12-3÷4等于多少", "计算12×3+4等于多少"),
        ("若a=-5小于3", "若a=-5小于-3"),
        ("正则\\\\d+匹配", "正则\\\\d*匹配"),
        ("C语言和C++", "C语言和C"),
    ],
)
def test_signs_tell_questions_apart(question: str, other: str) -> None:
    """As whole turns, and among other words."""
    found = QuestionIndex(asked(question)).find([[question], [other], [question.replace("+", "＋").replace("-", "－")]])
    assert [match is not None for match in found] == [True, False, True]
    assert fold(question).tolist() != fold(other).tolist()


def test_a_formula_is_found_in_other_spacing_and_width() -> None:
    stem = "已知函数f(x)=2x^2-3x+1，求它在区间上的最小值"
    assert share("已知函数 f(x) = 2x^2 - 3x + 1 ，求它在区间上的最小值。", stem) == 1.0
    assert share("已知函数ｆ（ｘ）＝２ｘ^２－３ｘ＋１，求它在区间上的最小值", stem) == 1.0


def test_nothing_to_search_for() -> None:
    engine = QuestionIndex([])
    assert engine.find([["甲"], []]) == [None, None]
    assert engine.counts == {"searched": 0, "too short": 0}
    assert QuestionIndex(asked(QUESTION)).find([]) == []
    assert QuestionIndex(asked(QUESTION)).find([[], [""]]) == [None, None]


def test_traditional_rows_of_real_questions_are_found(real_data: Any) -> None:
    import csv

    with (real_data / "eval/ceval/val/law_val.csv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    questions = [
        {"id": row["id"], "source": "ceval", "question": row["question"], "choices": [row[x] for x in "ABCD"]} for row in rows
    ]
    convert = opencc.OpenCC("s2t").convert
    texts = [convert(f"{row['question']}\nA. {row['A']}\nB. {row['B']}\nC. {row['C']}\nD. {row['D']}") for row in rows]
    assert all(QuestionIndex(questions).find([[text] for text in texts]))
