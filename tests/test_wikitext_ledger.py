"""The ledger of wikitext: characters add up, and each cut has its rule."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tasks.data.rows import Drop
from tasks.sources import wiki
from tasks.text import script
from tasks.text.functions import PageFacts
from tasks.text.ledger import Ledger
from tasks.text.wikitext import WikitextOptions, plain_text
from tests.test_wikitext import SOUP, TABLE

DEFAULT, ALL = WikitextOptions(), WikitextOptions("text", "facts")
FACTS = PageFacts("题", "2018-01-02T03:04:05Z")
MORE = [
    "\n", " ", "http://a.b ", "\n== 来源 ==\n", "\n* ", "<code>", "</code>", "<pre>", "</pre>", "{{#if:", "{{lang|en|x}}", "{{未知|词语}}",
    "（{{a}}，", "\n {", "\n | y", "\x07", "\x1a", "\x19", "\x02", "[http://x 甲]", "-{zh-cn:甲;zh-tw:乙}-", "<youtube>", "</youtube>",
    "<comments />", "{{convert|5|ft|6|in}}", "__TOC__", "\t", "<ref>x</ref>", "[[File:a|b]]", "[[Category:c]]", "[[a|b]]", "<!-- c -->", "繁體",
]  # fmt: skip


def unexplained(wikitext: str, options: WikitextOptions = DEFAULT, convert: bool = True) -> int:
    ledger = Ledger()
    text = plain_text(wikitext, script.simplify if convert else None, options, FACTS, ledger)
    assert text == plain_text(wikitext, script.simplify if convert else None, options, FACTS)
    cut, added = (sum(entry[place] for entry in ledger.entries) for place in (2, 3))
    return len(wikitext) + added - len(text) - cut


@settings(max_examples=400, deadline=None)
@given(st.lists(st.sampled_from([*SOUP, *MORE]), max_size=25).map("".join), st.booleans())
def test_whatever_is_written_adds_up(wikitext: str, all_of: bool) -> None:
    assert unexplained(wikitext, ALL if all_of else DEFAULT, not all_of) == 0


def test_tables_and_infoboxes_add_up() -> None:
    box = "{{Infobox 人\n|姓名=[[甲]]{{cn}}\n|出生={{bd|1900年|1月}}\n|码=<code>x</code>\n}}"
    for options in (DEFAULT, ALL):
        assert unexplained(box + TABLE + "<math>x</math>", options) == 0


def test_real_pages_add_up(real_data) -> None:
    for path in sorted((real_data / "wiki").glob("*.xml*")):
        for row in wiki.read(path, tolerate_truncation=True):
            assert isinstance(row, Drop) or unexplained(row["text"]) == 0, row["title"]


@pytest.mark.parametrize(
    ("wikitext", "rule", "detail", "cut"),
    [
        ("甲<!-- 乙 -->", "comment", "", 10),
        ("甲<ref>乙</ref>", "reference", "", 12),
        ("甲{{sfn|乙}}", "reference", "sfn", 9),
        ("[[File:a.png|乙]]甲", "file", "", 16),
        ("甲[[分类:乙]]", "category", "", 8),
        ("{{Infobox x|y=z}}\n甲", "template without output", "infobox x", 17),
        ("甲{{某模板|12|34}}乙", "template in running text", "某模板", 13),
        ("甲{{某模板|乙丙}}丁", "template in running text", "某模板", 8),
        ("甲{{lang|fr|ou}}", "template markup", "lang", 12),
        ("{|\n| 乙\n|}\n甲", "table", "", 9),
        ("甲<gallery>\na\n</gallery>", "element", "gallery", 22),
        ("甲\n== 参见 ==\n* [[乙]]", "section", "参见", None),
        ("甲\n== 空 ==\n", "empty section", "空", 1),
        ("'''甲'''", "emphasis", "", 6),
        ("[[乙|甲]]", "link markup", "", 6),
        ("&lt;甲", "unescaping", "", 3),
        ("甲}}", "stray markup", "", 2),
        ("__TOC__甲", "behaviour switch", "", 7),
        ("甲<b>乙</b>", "tag", "", 7),
    ],
)
def test_each_cut_has_its_rule(wikitext: str, rule: str, detail: str, cut: int | None) -> None:
    ledger = Ledger()
    plain_text(wikitext, ledger=ledger)
    found = [entry for entry in ledger.entries if entry[:2] == (rule, detail)]
    assert found and (cut is None or sum(entry[2] for entry in found) == cut), ledger.entries


def test_an_excerpt_shows_the_element_and_what_stands_around_it() -> None:
    ledger = Ledger()
    plain_text("他说了{{某模板|一|二}}这句话。", ledger=ledger)
    [shown] = [excerpt for excerpt in ledger.excerpts if excerpt.rule == "template in running text"]
    assert (shown.before, shown.cut, shown.after) == ("他说了", "{{某模板|一|二}}", "这句话。")
