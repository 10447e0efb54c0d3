from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.text import relations

NAME = st.text(st.sampled_from("李白唐诗,，()（）[]AaBb 1・"), min_size=1, max_size=8).filter(str.strip)
TRIPLES = st.lists(st.tuples(NAME, NAME, NAME), max_size=5)


@given(TRIPLES)
def test_what_is_written_is_read_back(triples: list[relations.Triple]) -> None:
    found = relations.parse_triples(relations.written_triples(triples))
    assert found is not None
    assert {relations.normal_form(triple) for triple in found} == {relations.normal_form(triple) for triple in triples}


@given(st.text(st.sampled_from("[](),，a李 "), max_size=40))
def test_any_answer_is_triples_or_malformed(text: str) -> None:
    found = relations.parse_triples(text)
    assert found is None or all(len(triple) == 3 and all(triple) for triple in found)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "李白是诗人",
        "(李白,职业,诗人)",
        "[(李白,职业,诗人),(李白,朝",
        "[(李白,职业)]",
        "[(李白,,诗人)]",
        "[(a,b,c,d)]",
        "[(a,b,c)] 好",
    ],
)
def test_what_is_no_list_of_triples_is_malformed(text: str) -> None:
    assert relations.parse_triples(text) is None


def test_an_answer_may_be_empty_and_spaced() -> None:
    assert relations.parse_triples("[]") == []
    assert relations.parse_triples(" [ (李白, 职业,诗人) , (李白,职业,诗人)] ") == [("李白", "职业", "诗人")]


def test_scores_are_micro_and_over_sets() -> None:
    truth = [[("李白", "职业", "诗人"), ("李白", "朝代", "唐")], [("A", "b", "C")], [("甲", "乙", "丙")]]
    answers = ["[(李白,职业,诗人),(李白,职业,诗人),(李白,职业,画家)]", "[(a,b,c)]", "我不知道"]
    found = relations.score_all(answers, truth)
    assert found == relations.TripleScore(right=2, said=3, true=4, malformed=1, texts=3)
    assert (found.precision, found.recall, found.f1) == (2 / 3, 0.5, pytest.approx(4 / 7))
    empty = relations.score_all([], [])
    assert (empty.precision, empty.recall, empty.f1) == (0.0, 0.0, 0.0)


def test_only_what_the_text_states_can_be_asked_for() -> None:
    triples = [("李白", "职业", "诗人"), ("李白", "朝代", "唐"), ("IBM", "总部", "纽约")]
    assert relations.stated("李白是诗人；ibm的总部在纽约", triples) == [triples[0], triples[2]]


def test_letters_and_digits_have_one_width_and_one_case() -> None:
    found = relations.score_all(["[(ＡＢＣ,职业,诗人)]"], [[("abc", "职业", "诗人")]])
    assert (found.right, found.f1) == (1, 1.0)
    phone = ("iPhone 12", "品牌", "Apple")
    assert relations.stated("ＩＰＨＯＮＥ １２是apple的", [phone]) == [phone]
    assert relations.stated("iPhone 12是ＡＰＰＬＥ的", [("iPhone １２", "品牌", "Apple")]) == [("iPhone １２", "品牌", "Apple")]
    assert relations.stated("iPhone 13是ＡＰＰＬＥ的", [phone]) == []


def test_every_real_triple_is_read_back(real_data: Path) -> None:
    lines = (real_data / "triples" / "duie2_train_first4000.json").read_text("utf-8").splitlines()
    truth = []
    for row in map(json.loads, lines):
        truth.append([(spo["subject"], spo["predicate"], spo["object"]["@value"]) for spo in row["spo_list"]])
    found = relations.score_all([relations.written_triples(triples) for triples in truth], truth)
    assert (found.malformed, found.f1) == (0, 1.0) and found.true > 7000
