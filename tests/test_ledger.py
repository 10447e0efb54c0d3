"""Tests of the ledger: sums, excerpts, and accounts of many rows."""

from __future__ import annotations

import itertools
import json

from hypothesis import given
from hypothesis import strategies as st

from tasks.text.ledger import EXCERPTS, NO_LEDGER, Account, Ledger, difference, differing, first_difference, summed_stats


def settled(*passes: tuple[str, str, str]) -> dict:
    account = Account()
    ledger = account.ledger()
    for rule, before, after in passes:
        ledger.note(rule, before, after)
    account.settle(ledger, len(passes[0][1]), len(passes[-1][2]))
    return account.stats()


def test_what_is_cut_and_added_adds_up():
    stats = settled(("comment", "甲<!-- 乙 -->丙", "甲丙"), ("list mark", "甲丙", "- 甲丙"), ("nothing", "- 甲丙", "- 甲丙"))
    assert stats["rules"] == {
        "comment": {"rows": 1, "times": 1, "cut": 10, "added": 0, "changed": 0},
        "list mark": {"rows": 1, "times": 1, "cut": 0, "added": 2, "changed": 0},
    }
    assert (stats["read"], stats["kept"], difference(stats)) == (12, 4, 0)


def test_what_no_rule_tells_of_is_seen():
    account = Account()
    account.settle(account.ledger(), read=10, kept=7)
    assert difference(account.stats()) == 3


@given(st.lists(st.text("甲乙 \n", max_size=8), min_size=2, max_size=6))
def test_any_chain_of_passes_adds_up(texts):
    assert difference(settled(*(("rule", before, after) for before, after in itertools.pairwise(texts)))) == 0


@given(st.text("甲乙", max_size=9), st.text("甲乙", max_size=9))
def test_the_first_difference_is_where_the_texts_part(before, after):
    if before != after:
        start, end, other = first_difference(before, after)
        assert before[:start] == after[:start] and before[start:end] != after[start:other]
        assert differing(before, after) >= 1


def test_a_long_text_is_compared_like_a_short_one():
    before = "漢字" * 500
    assert differing(before, before.replace("漢", "汉")) == 500
    assert differing("漢字", "汉字") == 1


def test_an_excerpt_shows_what_stands_around_a_cut():
    ledger = Ledger()
    ledger.note("advertising", "先看正文。关注我们！再看结尾。", "先看正文。再看结尾。")
    ledger.note("template", "{{cn}}", "", "cn", around=("据说{{cn}}如此", 2, 8))
    assert [excerpt[1:] for excerpt in ledger.excerpts] == [
        ("", "先看正文。", "关注我们！", "", "再看结尾。"),
        ("cn", "据说", "{{cn}}", "", "如此"),
    ]


def test_changes_are_counted_by_character():
    ledger = Ledger()
    ledger.change("conversion", "漢語說明", "汉语说明")
    assert ledger.entries == [("conversion", "", 0, 0, 3)]


def test_few_excerpts_of_a_rule_are_kept_from_anywhere_in_the_rows():
    account, shown = Account(), []
    for number in range(3000):
        ledger = account.ledger()
        ledger.note("mark", f"第{number}行*", f"第{number}行")
        shown += account.settle(ledger, len(f"第{number}行*"), len(f"第{number}行"))
    assert 12 <= len(shown) <= EXCERPTS and shown[-1].before == "第2047行"
    assert account.stats()["rules"]["mark"]["rows"] == 3000


def test_accounts_of_shards_are_summed_as_they_were_written():
    account = Account()
    ledger = account.ledger()
    ledger.note("template", "{{甲}}", "", "甲")
    ledger.change("conversion", "漢", "汉")
    account.settle(ledger, 6, 1)
    written = json.loads(json.dumps(account.stats(), sort_keys=True))
    total = summed_stats([written, written])
    assert total["rules"]["template"] == {"rows": 2, "times": 2, "cut": 10, "added": 0, "changed": 0}
    assert total["details"] == {"template": {"甲": [2, 10]}} and difference(total) == 0


def test_a_ledger_that_nobody_reads_notes_nothing():
    NO_LEDGER.note("rule", "甲乙", "甲")
    NO_LEDGER.change("rule", "甲", "乙")
    assert not NO_LEDGER.entries and not NO_LEDGER.excerpts
