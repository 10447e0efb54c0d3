"""Layouts of the field: a record as LLaMA-Factory, ms-swift, XTuner, Firefly, axolotl, unsloth, TRL and OpenRLHF document it, and what becomes
of it; and records that no reader takes, which say what fields they have."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tasks.data.rows import BrokenFile, Drop
from tasks.formats.registry import reader
from tests.test_layouts import SYSTEM, said


def row_of(name: str, record: dict[str, Any]) -> Any:
    row = reader(name).row
    assert row is not None
    return row(record)


def turn(role: str, content: Any, **more: Any) -> dict[str, Any]:
    return {"role": role, "content": content, **more}


TWO = said("一", "二")
DIALOGUES: list[tuple[str, dict[str, Any], list[dict[str, str]]]] = [
    ("prompt, completion", {"prompt": "一", "completion": "二"}, TWO),
    ("prompt, completion as turns", {"prompt": [turn("user", "一")], "completion": [turn("assistant", "二")]}, TWO),
    ("prompt with a system turn", {"prompt": [*SYSTEM, turn("user", "一")], "completion": [turn("assistant", "二")]}, SYSTEM + TWO),
    ("a verdict for it", {"prompt": "一", "completion": "二", "label": True}, TWO),
    ("parts with text", {"messages": [turn("user", [{"type": "text", "text": "一"}]), turn("assistant", [{"type": "text", "text": "二"}])]}, TWO),
    (
        "parts with value, and weights",
        {
            "messages": [
                turn("user", [{"type": "text", "value": "一"}], loss_weight=0.0),
                turn("assistant", [{"type": "text", "value": "二"}], loss_weight=1.0),
            ]
        },
        TWO,
    ),
    (
        "a thought before the answer",
        {"messages": [turn("user", "一"), turn("assistant", [{"type": "reasoning", "value": "想"}, {"type": "text", "value": "二"}])]},
        TWO,
    ),
    ("system_prompt, question, response", {"system_prompt": "你是医生", "question": "一", "response": "二"}, SYSTEM + TWO),
    ("XTuner", {"conversation": [{"system": "你是医生", "input": "一", "output": "二"}]}, SYSTEM + TWO),
    ("XTuner, two rounds", {"conversation": [{"input": "一", "output": "二"}, {"input": "三", "output": "四"}]}, said("一", "二", "三", "四")),
    ("ms-swift's ShareGPT", {"system": "你是医生", "conversation": [{"human": "一", "assistant": "二"}]}, SYSTEM + TWO),
    (
        "query, response, history",
        {"query": "三", "response": "四", "history": [["一", "二"]], "system": "你是医生"},
        SYSTEM + said("一", "二", "三", "四"),
    ),
    ("a history in a table", {"query": "三", "response": "四", "history": '[["一", "二"]]'}, said("一", "二", "三", "四")),
    ("a developer", {"messages": [turn("developer", "你是医生"), turn("user", "一"), turn("assistant", "二", thinking="想")]}, SYSTEM + TWO),
    ("conversations of role and value", {"conversations": [{"role": "user", "value": "一"}, {"role": "assistant", "value": "二"}]}, TWO),
    ("instruction, context, response", {"instruction": "一", "context": "文", "response": "二", "category": "qa"}, said("一\n文", "二")),
    ("context, question, answer", {"context": "文", "question": "一", "answer": "二"}, said("文\n一", "二")),
    ("article, question, answer", {"article": "文", "question": "一", "answer": "二"}, said("文\n一", "二")),
    ("jeopardy", {"question": "一", "category": "史", "answer": "二"}, TWO),
    ("metharme", {"prompt": "一", "generation": "二"}, TWO),
    ("camel", {"message_1": "一", "message_2": "二"}, TWO),
    ("gpteacher", {"instruction": "一", "input": "料", "response": "二"}, said("一\n料", "二")),
    ("problem, solution, answer", {"problem": "一", "solution": "二", "answer": "7"}, TWO),
    ("OpenRLHF, turns in input", {"input": [turn("user", "一")], "output": "二"}, TWO),
    ("OpenRLHF, all in input", {"input": [turn("user", "一"), turn("assistant", "二")]}, TWO),
    ("OpenRLHF, context_messages", {"context_messages": [turn("user", "一"), turn("assistant", "二")]}, TWO),
    ("UltraChat", {"id": "0", "data": ["一", "二", "三", "四"]}, said("一", "二", "三", "四")),
    ("UltraChat, in turns", {"prompt": "一", "prompt_id": "a", "messages": TWO}, TWO),
    ("a whole dialogue and its answer again", {"messages": TWO, "answer": "7"}, TWO),
    ("turns up to the question, and the answer", {"messages": [turn("user", "一")], "response": "二"}, TWO),
    ("lists for pairs", {"conversations": [["一", "二"], ["三", "四"]]}, said("一", "二", "三", "四")),
    ("Question and Answer", {"Question": "一", "Answer": "二"}, TWO),
    ("问题, 答案", {"问题": "一", "答案": "二"}, TWO),
    ("an answer that is an object", {"instruction": "抽取", "output": {"人": "小甲"}}, said("抽取", '{"人": "小甲"}')),
    ("an answer that is true", {"instruction": "对吗", "output": True}, said("对吗", "true")),
    ("a list for a list", {"instruction": "排序", "input": [2, 1], "output": [1, 2]}, said("排序\n[2, 1]", "[1, 2]")),
    ("GPT of others", {"conversations": [{"from": "human", "value": "一"}, {"from": "bing", "value": "二"}]}, TWO),
    ("turns of a table", {"id": "0", "messages": json.dumps(TWO, ensure_ascii=False)}, TWO),
    ("turns of a table, ShareGPT", {"conversations": json.dumps([{"from": "human", "value": "一"}, {"from": "gpt", "value": "二"}])}, TWO),
    ("Huatuo, with labels", {"data": ["问：一", "答：二", "问：三", "答: 四"]}, said("一", "二", "三", "四")),
    ("a label that only one side has", {"data": ["问：一", "二"]}, said("问：一", "二")),
    ("openassistant-guanaco", {"text": "### Human: 一### Assistant: 二### Human: 三### Assistant: 四"}, said("一", "二", "三", "四")),
    ("a context of turns", {"context": [{"role": "human", "text": "一"}], "response": "二"}, TWO),
    (
        "a thought in a part of its own",
        {"messages": [turn("user", "一"), turn("assistant", [{"type": "thinking", "thinking": "想"}, {"type": "text", "text": "二"}])]},
        TWO,
    ),
    ("fields that are there and empty", {"messages": TWO, "chosen": None, "images": [], "tools": None, "label": None}, TWO),
]  # fmt: skip


@pytest.mark.parametrize("name", ["belle", "alpaca"])
@pytest.mark.parametrize(("record", "messages"), [one[1:] for one in DIALOGUES], ids=[one[0] for one in DIALOGUES])
def test_dialogues_of_the_field(name: str, record: dict[str, Any], messages: list[dict[str, str]]) -> None:
    row = row_of(name, record)
    assert not isinstance(row, Drop), row
    assert row["messages"] == messages


PAIR = {"chosen": [turn("user", "问"), turn("assistant", "好")], "rejected": [turn("user", "问"), turn("assistant", "坏")]}
ENDS = {"chosen": [turn("assistant", "好")], "rejected": [turn("assistant", "坏")]}
PAIRS: list[tuple[str, dict[str, Any], list[dict[str, str]]]] = [
    ("UltraFeedback", {"prompt": "问", **PAIR, "messages": PAIR["chosen"], "score_chosen": 8.0}, said("问")),
    ("implicit prompt", PAIR, said("问")),
    ("implicit prompt and a system text", {"system": "你是医生", **PAIR}, SYSTEM + said("问")),
    ("explicit prompt", {"prompt": [*SYSTEM, turn("user", "问")], **ENDS}, SYSTEM + said("问")),
    ("prompt as a string, answers as turns", {"prompt": "问", **ENDS}, said("问")),
    (
        "messages, and answers as turns",
        {"messages": [turn("user", "问")], "chosen": turn("assistant", "好"), "rejected": turn("assistant", "坏")},
        said("问"),
    ),
    ("ms-swift", {"messages": PAIR["chosen"], "rejected_response": "坏"}, said("问")),
    ("ms-swift, worse turns", {"messages": PAIR["chosen"], "rejected_messages": PAIR["rejected"]}, said("问")),
    ("ms-swift, query and response", {"query": "问", "response": "好", "rejected_response": "坏"}, said("问")),
    (
        "LLaMA-Factory v1",
        {
            side: [turn("user", [{"type": "text", "value": "问"}]), turn("assistant", [{"type": "text", "value": text}], loss_weight=1.0)]
            for side, text in (("chosen_messages", "好"), ("rejected_messages", "坏"))
        },
        said("问"),
    ),
    ("argilla", {"system": "你是医生", "instruction": "问", "chosen_response": "好", "rejected_response": "坏"}, SYSTEM + said("问")),
    ("orca", {"system": "你是医生", "question": "问", "chosen": "好", "rejected": "坏"}, SYSTEM + said("问")),
    ("icr", {"input": "问", "chosen": "好", "rejected": "坏"}, said("问")),
    ("nectar", {"prompt": "\n\nHuman: 问\n\nAssistant: ", "answers": [{"answer": "坏", "rank": 2.0}, {"answer": "好", "rank": 1.0}]}, said("问")),
    ("stack exchange", {"question": "问", "response_j": "好", "response_k": "坏"}, said("问")),
    ("SafeRLHF", {"prompt": "问", "response_0": "坏", "response_1": "好", "better_response_id": 1}, said("问")),
    (
        "hh_rlhf_cn",
        {
            "context": [{"role": "human", "text": "问"}],
            "chosen": {"role": "assistant", "text": "好"},
            "rejected": {"role": "assistant", "text": "坏"},
        },
        said("问"),
    ),
    ("turns of a table", {side: json.dumps(turns, ensure_ascii=False) for side, turns in PAIR.items()}, said("问")),
    ("ms-swift, several worse answers", {"messages": PAIR["chosen"], "rejected_response": ["差", "坏"]}, said("问")),
    (
        "OpenAI",
        {
            "input": {"messages": [turn("user", "问")]},
            "preferred_output": [turn("assistant", "好")],
            "non_preferred_output": [turn("assistant", "坏")],
        },
        said("问"),
    ),
]  # fmt: skip


@pytest.mark.parametrize(("record", "messages"), [one[1:] for one in PAIRS], ids=[one[0] for one in PAIRS])
def test_pairs_of_the_field(record: dict[str, Any], messages: list[dict[str, str]]) -> None:
    row = row_of("preference", record)
    assert not isinstance(row, Drop), row
    assert (row["messages"], row["chosen"], row["rejected"]) == (messages, "好", "坏")
    found = row_of("belle", record)
    assert isinstance(found, Drop) and found.reason == "unknown schema", "a pair is no dialogue"


def test_a_pair_answers_one_prompt() -> None:
    row = row_of("preference", {**PAIR, "rejected": [turn("user", "另问"), turn("assistant", "坏")]})
    assert isinstance(row, Drop) and row.reason == "two prompts"


def test_an_answer_that_calls_a_tool_says_so() -> None:
    call = turn("assistant", "", tool_calls=[{"function": {"name": "查"}}])
    for pair in ({"chosen": [call], "rejected": "坏"}, {"chosen": "好", "rejected": [call]}):
        row = row_of("preference", {"prompt": "问", **pair})
        assert isinstance(row, Drop) and row.reason == "tool calls"


REFUSED: list[dict[str, Any]] = [
    {"question": "问", "reply": "答"},
    {"article": "文", "summary": "短"},
    {"dialogs": [{"speaker": "A", "text": "问"}]},
    {"segments": [{"label": True, "text": "文"}]},
    {"input_ids": [1, 2], "labels": [1, 2]},
    {"prompt": "问", "completions": ["一步"], "labels": [True]},
    {"question": "问", "choices": ["甲", "乙"], "solution": "甲"},
    {"instruction": "问", "output": "错", "reflection": "想", "corrected": "对"},
    {"instruction": "问", "answer": "错", "critiques": "不好", "revision": "对"},
    {"question": "问", "answers": {"text": ["答"]}, "context": "文"},
    {"question": "问", "best_reply": {"text": "答"}},
    {"instruction": "列出水果", "output": ["苹果", "梨"]},
    {"article": "文", "unanswerable_question": "问"},
]


@pytest.mark.parametrize("record", REFUSED)
def test_what_is_not_read_is_refused_with_its_fields(tmp_path: Path, record: dict[str, Any]) -> None:
    for name in ("belle", "alpaca"):
        row = row_of(name, record)
        assert isinstance(row, Drop) and (row.reason, row.detail) == ("unknown schema", f"it has the fields {', '.join(record)}")
        (tmp_path / "a.jsonl").write_text(json.dumps(record, ensure_ascii=False) + "\n", "utf-8")
        with pytest.raises(BrokenFile, match=f"but it is JSON Lines with {', '.join(record)}"):
            list(reader(name).read(tmp_path / "a.jsonl"))


@pytest.mark.parametrize(
    "record",
    [
        {"messages": [turn("user", "<image>是什么"), turn("assistant", "猫")], "images": ["a.jpg"]},
        {
            "messages": [
                turn("user", [{"type": "image_url", "value": "a.jpg"}, {"type": "text", "value": "是什么"}]),
                turn("assistant", "猫"),
            ]
        },
        {"instruction": "听", "output": "歌", "audios": ["a.wav"]},
    ],
)
def test_what_is_about_a_picture_or_a_sound_is_dropped(record: dict[str, Any]) -> None:
    row = row_of("belle", record)
    assert isinstance(row, Drop) and row.reason == "not only text"


@pytest.mark.parametrize(
    "record",
    [
        {"prompt": "问"},
        {"messages": [turn("user", "问")]},
        {"instruction": "问", "output": "", "note": "注"},
        {"instruction": "问", "output": []},
        {"query": "问", "id": "7"},
    ],
)
def test_a_question_alone_has_no_answer(record: dict[str, Any]) -> None:
    row = row_of("belle", record)
    assert isinstance(row, Drop) and row.reason == "no answer"


@pytest.mark.parametrize("end", ["\n", ""])
def test_rows_that_are_lists_of_turns(tmp_path: Path, end: str) -> None:
    """As XTuner has them, one a line or all in an array."""
    talks = [
        [turn("user", "一\n"), turn("assistant", "二")],
        [turn("user", "三"), turn("assistant", "四"), turn("user", "五"), turn("assistant", "六")],
    ]
    lines = [json.dumps(one, ensure_ascii=False) for one in talks]
    for text in (
        "\n".join(lines) + end,
        json.dumps(talks, ensure_ascii=False, indent=1) + end,
        json.dumps(talks) + end,
        lines[1] + end,
    ):
        (tmp_path / "a.jsonl").write_text(text, "utf-8")
        rows = [row["messages"] for row in reader("belle").read(tmp_path / "a.jsonl") if not isinstance(row, Drop)]
        assert rows == (
            [said("三", "四", "五", "六")] if text == lines[1] + end else [said("一", "二"), said("三", "四", "五", "六")]
        )


def test_rows_below_a_name_are_no_dialogue() -> None:
    row = row_of(
        "belle", {"version": "1", "data": [{"instruction": "一", "output": "二"}, {"instruction": "三", "output": "四"}]}
    )
    assert isinstance(row, Drop) and row.reason == "unknown schema"


def test_an_array_of_objects_is_no_dialogue(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text(json.dumps([{"instruction": "问", "output": "答", "role": "x"}]), "utf-8")
    assert [row["messages"] for row in reader("belle").read(tmp_path / "a.json") if not isinstance(row, Drop)] == [
        said("问", "答")
    ]


@pytest.mark.parametrize("suffix", ["jsonl", "csv"])
def test_oasst_in_other_containers(tmp_path: Path, suffix: str) -> None:
    text = {"jsonl": '{"INSTRUCTION": "问", "RESPONSE": "答"}\n', "csv": "INSTRUCTION,RESPONSE\n问,答\n"}[suffix]
    (tmp_path / f"a.{suffix}").write_text(text, "utf-8")
    name = "zhihu" if suffix == "jsonl" else "belle"  # names in a table are in lower case
    assert [row["messages"] for row in reader(name).read(tmp_path / f"a.{suffix}") if not isinstance(row, Drop)] == [
        said("问", "答")
    ]
