"""Tests of the accounts of characters: of records, across the stages of a run, under the contract, and on the pages that people read."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from lxml import html

from flows import breaches
from tasks.data import characters, contract
from tasks.data.contract import Contract
from tasks.data.excerpts import masked_pieces
from tasks.data.rows import Writer, texts
from tasks.data.writing import summed, write_shard
from tasks.formats.accounting import RecordAccounts, account
from tasks.pages import ui_tables
from tasks.text.ledger import Account, Ledger, difference
from tests.invented import Run
from tests.test_contract import record


def accounted(record: dict[str, Any], *turns: str) -> tuple[int, dict[str, int]]:
    """(characters read, rule → cut - added) of a record that became a dialogue of these turns."""
    row = {"messages": [{"role": ("user", "assistant")[place % 2], "content": turn} for place, turn in enumerate(turns)]}
    ledger = Ledger()
    read = account(record, "conversations", row, ledger)
    totals = Account()
    totals.settle(ledger, read, sum(map(len, turns)))
    assert difference(totals.stats()) == 0
    return read, {rule: counts["cut"] - counts["added"] for rule, counts in totals.stats()["rules"].items()}


def test_fields_that_are_in_no_text_are_named():
    fields = {"id": 17, "instruction": "问", "output": "答案 ", "meta": {"kind": "闲聊"}}
    assert accounted(fields, "问", "答案") == (8, {"field id": 2, "white space": 1, "field meta.kind": 2})


def test_joined_strings_are_found_in_the_text():
    assert accounted({"instruction": "翻译这句话", "input": "早上好", "output": "x"}, "翻译这句话\n早上好", "x")[1] == {
        "added by the reader": -1
    }


def test_a_packed_dialogue_loses_its_marks_alone():
    packed = {"text": "<s>Human: 你好吗\n</s><s>Assistant: 很好呀\n</s>"}
    assert accounted(packed, "你好吗", "很好呀")[1] == {"field text": len(packed["text"]) - 6}


def test_marks_within_a_text_are_told_as_a_rewriting():
    assert accounted({"ask": "第一行<br>第二行", "answer": "长江[1]很长。"}, "第一行\n第二行", "长江很长。")[1] == {
        "rewritten ask": 3,
        "rewritten answer": 3,
    }


def test_a_turn_that_is_left_out_is_told():
    dialogue = {
        "conversations": [
            {"from": "human", "value": "甲问题"},
            {"from": "gpt", "value": "乙回答"},
            {"from": "human", "value": "丙问题？"},
        ]
    }
    assert accounted(dialogue, "甲问题", "乙回答")[1] == {"field conversations.from": 13, "field conversations.value": 4}


@given(
    st.recursive(
        st.text("甲乙 \n", max_size=6) | st.integers() | st.none(),
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from("abc1"), inner, max_size=3),
        max_leaves=8,
    ).map(lambda value: value if isinstance(value, dict) else {"it": value}),
    st.lists(st.text("甲乙 \n<>", max_size=9), min_size=1, max_size=4),
)
def test_any_record_and_any_row_add_up(record, turns):
    accounted(record, *turns)


def shard(home: Path, *records: dict[str, str]) -> dict[str, Any]:
    """The statistics of a stage whose rule cuts 广告 from answers."""
    accounts = RecordAccounts("conversations")

    def convert(row: dict[str, Any], ledger: Ledger) -> dict[str, Any]:
        clean = [turn | {"content": turn["content"].replace("广告", "")} for turn in row["messages"]]
        for before, after in zip(row["messages"], clean, strict=True):
            ledger.note("advertising", before["content"], after["content"])
        return row | {"messages": clean}

    rows = [
        accounts.add(
            record, {"messages": [{"role": role, "content": record[role]} for role in ("user", "assistant")], "meta": "{}"}
        )
        for record in records
    ]
    stats = summed("chat", [write_shard("chat", "conversations", convert, rows, home / "draft")])
    (home / "ledger").mkdir(parents=True)
    (home / "draft" / "ledger.parquet").rename(home / "ledger" / "00000.parquet")
    return stats


def test_a_stage_counts_the_characters_of_its_kept_rows(tmp_path):
    stats = shard(tmp_path, {"user": "你好", "assistant": "先看广告再说"}, {"user": "多少", "assistant": "三个"})
    (source,) = characters.accounts({"ingest-chat": {"stats": stats}}, {"ingest-chat": tmp_path})
    (stage,) = source.stages
    assert (stage.read, stage.kept, stage.cut, stage.added, stage.missing) == (12, 10, 2, 0, 0)
    (rule,) = stage.rules
    assert (rule.name, rule.rows, rule.cut, rule.share) == ("advertising", 1, 2, pytest.approx(2 / 12))
    assert [(cut["before"], cut["cut"], cut["after"]) for cut in rule.excerpts] == [("先看", "广告", "再说")]


def test_a_number_that_is_cut_in_its_middle_is_masked_all_the_same():
    assert masked_pieces(["电话是138", "0013", "8000，请打"]) == ["电话是[电话]", "", "，请打"]
    assert masked_pieces(["没有", "", "什么"]) == ["没有", "", "什么"]


def test_characters_that_no_rule_tells_of_break_the_contract(tmp_path):
    stats = shard(tmp_path, {"user": "你好", "assistant": "先看广告再说"})
    stats["ledger"]["chat"]["kept"] -= 1
    [problem] = characters.accounts({"ingest-chat": {"stats": stats}}, {}, 0)[0].problems
    assert problem == "chat, ingest-chat: read 8, added 0, kept 5, cut 2: 1 characters that no rule tells of"
    assert problem in contract.judge("ingest-chat", stats, tmp_path, Contract(), None).broken


def test_a_rule_that_suddenly_cuts_more_is_a_breach(tmp_path):
    some, much = ({"user": "你好", "assistant": "这是很长很长的回答" + "广告" * count} for count in (0, 3))
    last = record(shard(tmp_path / "last", *[some] * 100), "ingest-chat")
    stats = shard(tmp_path / "now", *[some] * 90, *[much] * 20)
    verdict = contract.judge("ingest-chat", stats, tmp_path / "now", Contract(), last)
    [breach] = [change for change in verdict.changes if change.breach]
    assert breach.line == "chat: cut by advertising 0.0 % → 9.0 % (+9.0 points); it may grow by 2 points (contract.cut_points)"
    lax = contract.judge("ingest-chat", stats, tmp_path / "now", Contract(cut_points=10), last)
    assert not [change for change in lax.changes if change.breach]
    samples = breaches.samples_to_read(verdict, record(stats, "ingest-chat"), tmp_path / "now")
    assert samples["chat", "cut by advertising"][0].startswith("这是很长很长的回答⟦广告")


def test_the_page_and_the_table_tell_of_characters(tmp_path):
    run = Run(tmp_path / "run")
    stats = shard(tmp_path / "chat", {"user": "你好", "assistant": "先看广告再说", "id": "7"})
    run.nodes["filter"]["stats"]["ledger"] = stats["ledger"]
    (run.artifacts["filter"] / "ledger").mkdir()
    with Writer(run.artifacts["filter"] / "ledger" / "00000.parquet", "ledger") as cuts:
        cuts.add(
            {
                "source": "chat",
                "rule": "advertising",
                "detail": "",
                "before": "先看",
                "cut": "<b>",
                "instead": "",
                "after": "再说",
            }
        )
    page, figures = run.render(tmp_path / "out")
    assert figures["characters"]["chat"]["filter"]["rules"]["advertising"] == {"cut": 2, "added": 0, "changed": 0}
    section = html.fromstring(page).get_element_by_id("characters")
    [cut] = section.xpath(".//del")
    assert cut.text == "<b>" and "field id" in section.text_content()
    table = ui_tables.stage_tables("split", run.nodes, run.artifacts)["data-characters"][1]
    assert [(row["rule"], row["cut"], row["to read"]) for row in table] == [("advertising", "2", "先看⟦<b>⟧再说")]


def test_texts_are_what_people_read_of_a_row():
    assert texts("triples", {"text": "甲生于乙", "triples": [{"subject": "甲", "predicate": "生地", "object": "乙"}]}) == [
        "甲生于乙",
        "甲",
        "生地",
        "乙",
    ]
    assert texts("questions", {"question": "问", "choices": ["一", "二"], "answer": 0}) == ["问", "一", "二"]
