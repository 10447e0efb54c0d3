"""Dialogues that say more than their layout: inputs that are words, placeholders, marks of what must not be learned, turns out of order."""

from __future__ import annotations

import json
from typing import Any

import pytest

from models import template
from tasks.data import rows
from tasks.data.rows import LEFT_OUT, UNLEARNED, Drop
from tasks.data.uses import as_document
from tasks.formats import placeholders
from tasks.formats.registry import reader
from tests.test_layouts import said

READERS = ("belle", "alpaca")


def read(record: dict[str, Any], name: str = "belle") -> Any:
    row = reader(name).row
    assert row is not None
    return row(record)


def talk(record: dict[str, Any], name: str = "belle") -> list[str]:
    """What is said in the dialogue that a record becomes; the reason where it becomes none."""
    row = read(record, name)
    return [f"DROP {row.reason}"] if isinstance(row, Drop) else [turn["content"] for turn in row["messages"]]


def messages(*turns: tuple[str, str] | tuple[str, str, dict[str, Any]]) -> dict[str, Any]:
    """A record of turns (s, u or a; content; more fields)."""
    roles = {"s": "system", "u": "user", "a": "assistant"}
    return {"messages": [{"role": roles[turn[0]], "content": turn[1], **(turn[2] if len(turn) > 2 else {})} for turn in turns]}


# inputs

KEPT: list[tuple[str, Any, str, str]] = [  # instruction, input, output, what is asked
    ("翻译成英文", "无", "none", "翻译成英文\n无"),
    ("解释这个词", "NULL", "空值", "解释这个词\nNULL"),
    ("把下面的词翻译成中文", "None", "没有", "把下面的词翻译成中文\nNone"),
    ("写出反义词", "空", "满", "写出反义词\n空"),
    ("给出下列值的类型：", "NaN", "浮点数", "给出下列值的类型：\nNaN"),
    ("翻译成英语：", "不适用", "not applicable", "翻译成英语：\n不适用"),
    ("这个缩写是什么意思？", "N/A", "不适用", "这个缩写是什么意思？\nN/A"),
    ("Translate to Chinese", "null", "空", "Translate to Chinese\nnull"),
    ("在数据库的查询里说明", "NULL", "在数据库里，NULL 表示没有值。", "在数据库的查询里说明\nNULL"),
    ("用这个字组词", "空", "天空", "用这个字组词\n空"),
    ("求下列各数之和", [3, 1, 2], "6", "求下列各数之和\n[3, 1, 2]"),
    ("介绍这个人", {"姓名": "小甲", "年龄": 7}, "小甲今年七岁。", '介绍这个人\n{"姓名": "小甲", "年龄": 7}'),
    ("排序", [3, 1], "1, 3", "排序\n[3, 1]"),
    ("解释这个符号", "-", "减号", "解释这个符号\n-"),
    ("这个列表有几项？", [], "0", "这个列表有几项？\n[]"),
    ("取反", True, "false", "取反\ntrue"),
    ("加一", 0, "1", "加一\n0"),
    ("", "无", "没有", "无"),
]
NOTHING: list[Any] = [[], {}, None, float("nan")]
GONE: list[tuple[str, Any]] = [
    *[("讲个笑话", text) for text in ("无", "空", "NULL", "None", "N/A", "NaN", "nan", "不适用", "无。", "（无）", "<无>")],
    *[("讲个笑话", nothing) for nothing in NOTHING],
    *[("翻译成英文：你好", text) for text in ("无输入", "<无输入>", "&lt;无输入&gt;", "“无输入”", "“&lt;无输入&gt;”", "没有输入。", "无需输入")],
    *[("写一首诗", text) for text in ("none given", "None provided.", "no input", "No Input Required", "<noinput>")],
    *[("写一首诗", text) for text in ("未提供输入", "「无输入」", "输入为空")],
    ("设计一个把邮件分成两类的模型。", "不适用"),
    ("解释成语“画蛇添足”的意思", "无"),
    *[("写一首关于春天的诗", text) for text in ("暂无", "\\N", "-", "——", "此任务无需输入。", "该指令不需要任何输入")],
]  # fmt: skip


@pytest.mark.parametrize("name", READERS)
@pytest.mark.parametrize(("instruction", "given", "output", "asked"), KEPT)
def test_an_input_that_is_the_matter_stays(name: str, instruction: str, given: Any, output: str, asked: str) -> None:
    assert talk({"instruction": instruction, "input": given, "output": output}, name) == [asked, output]


@pytest.mark.parametrize("name", READERS)
@pytest.mark.parametrize(("instruction", "given"), GONE)
def test_an_input_that_says_that_there_is_none_goes(name: str, instruction: str, given: Any) -> None:
    assert talk({"instruction": instruction, "input": given, "output": "好"}, name) == [instruction, "好"]


@pytest.mark.parametrize(
    "text", ["<无输入>", "无输入", "“无输入”", "&lt;无输入&gt;", "无输出", "<no output>", "没有输入。", "none given"]
)
def test_a_placeholder_is_no_answer_in_any_reader(text: str) -> None:
    assert talk({"instruction": "画一张图", "output": text}) == ["DROP no answer"]
    assert talk({"instruction": "画一张图", "output": text}, "alpaca") == ["DROP no answer"]
    assert talk({"title": "画一张图", "desc": text, "answer": "好"}, "webtext") == ["画一张图", "好"]
    assert talk({"title": "画一张图", "ask": text, "answer": "好"}, "medical") == ["画一张图", "好"]
    assert talk({"INSTRUCTION": "画一张图", "RESPONSE": text}, "zhihu") == ["DROP no answer"]
    pair = {"prompt": "画一张图", "chosen": "好", "rejected": text}
    assert talk(pair, "preference") == ["DROP no rejected"]
    assert talk(pair | {"chosen": text, "rejected": "好"}, "preference") == ["DROP no chosen"]


@pytest.mark.parametrize("line", ["无输入", "<无输入>", "“无输入”", "输入：无", "Input: None", "没有输入。"])
def test_a_placeholder_below_a_prompt_goes(line: str) -> None:
    for name, answers in (("preference", {"chosen": "好", "rejected": "坏"}), ("belle", {"output": "好"})):
        row = read({"prompt": f"讲个笑话\n{line}", **answers}, name)
        assert row["messages"][0]["content"] == "讲个笑话"
    assert (
        read({"prompt": line, "chosen": "好", "rejected": "坏"}, "preference") == Drop("no question", "turn 1")
        or "：" in line
        or ":" in line
    )


@pytest.mark.parametrize(
    ("question", "answer"),
    [
        ("这段程序打印什么？", "没有输出。"),
        ("你有几个苹果？", "无"),
        ("在表里没有的值怎么写？", "N/A"),
        ("默认值是什么", "None"),
        ("删掉“无输入”三个字后还有什么？", "没有。"),
        ("怎样设置输入框", "没有输入框。"),
    ],
)
def test_an_answer_of_such_a_word_stays(question: str, answer: str) -> None:
    assert talk({"instruction": question, "output": answer}) == [question, answer]
    assert talk(messages(("u", question), ("a", answer), ("u", "没有输入。"), ("a", "好"))) == [
        question,
        answer,
        "没有输入。",
        "好",
    ]


def test_an_instruction_that_names_its_matter_asks_for_no_more() -> None:
    for instruction in ("讲个笑话", "写出苹果的英文", "什么是机器学习", "列出三种水果", "介绍一下北京", "How are you?"):
        assert not placeholders.asks_for_more(instruction), instruction
    for instruction in (
        "翻译",
        "请翻译成日语。",
        "怎么读？",
        "写出它的拼音",
        "改写",
        "Define",
        "以下是什么",
        "请看下面：",
        "造句",
    ):
        assert placeholders.asks_for_more(instruction), instruction


# what must not be learned

NO = [{"weight": 0}, {"weight": 0.0}, {"loss": False}, {"loss_weight": 0}, {"loss_weight": 0.0}, {"train": False}, {"train": "false"},
      {"compute_loss": False}, {"masked": True},
      {"train_detail": [{"begin_offset": 0, "end_offset": 0, "train": False}]}]  # fmt: skip
YES: list[dict[str, Any]] = [
    {"weight": 1},
    {"weight": 0.5},
    {"loss": True},
    {"loss": None},
    {"train": "true"},
    {"loss_weight": 1.0},
    {"masked": False},
]


@pytest.mark.parametrize("mark", NO)
def test_a_turn_that_must_not_be_learned_stays_and_is_marked(mark: dict[str, Any]) -> None:
    row = read(messages(("s", "规则"), ("u", "一"), ("a", "二", mark), ("u", "三", {"train": False}), ("a", "四")))
    assert [turn["content"] for turn in row["messages"]] == ["规则", "一", "二", "三", "四"]
    assert json.loads(row["meta"]) == {UNLEARNED: [2]} and all(set(turn) == {"role", "content"} for turn in row["messages"])
    last = read(messages(("u", "一"), ("a", "二"), ("u", "三"), ("a", "四", mark)))
    assert last["messages"] == said("一", "二") and last[LEFT_OUT] == [("not to be learned", "三"), ("not to be learned", "四")]
    assert talk(messages(("u", "一"), ("a", "二", mark))) == ["DROP not to be learned"]
    shared = {
        "conversations": [
            {"from": "human", "value": "一"},
            {"from": "gpt", "value": "二", **mark},
            *({"from": x, "value": y} for x, y in (("human", "三"), ("gpt", "四"))),
        ]
    }
    assert json.loads(read(shared)["meta"]) == {UNLEARNED: [1]}


@pytest.mark.parametrize("mark", YES)
def test_a_turn_that_may_be_learned_is_not_marked(mark: dict[str, Any]) -> None:
    assert read(messages(("u", "一"), ("a", "二", mark))) == {"messages": said("一", "二"), "meta": "{}"}


@pytest.mark.parametrize(
    ("mask", "unlearned"),
    [
        ([0, 1, 0, 1], []),
        ([0, 0, 0, 1], [1]),
        ([0, 1], [1]),
        ([1, 1], []),
        ([True, False, True, True], [1]),
        ([0, 0], None),
        ([0, 0, 1], "unknown schema"),
    ],
)
def test_a_mask_has_a_value_for_each_turn_or_each_answer(mask: list[Any], unlearned: Any) -> None:
    row = read(messages(("u", "一"), ("a", "二"), ("u", "三"), ("a", "四")) | {"loss_mask": mask})
    if isinstance(unlearned, list):
        assert json.loads(row["meta"]).get(UNLEARNED, []) == unlearned
    else:
        assert row.reason == (unlearned or "not to be learned")


def test_a_round_of_xtuner_may_be_without_loss() -> None:
    rounds = [
        {"input": "一", "output": "二", "output_with_loss": False},
        {"input": "三", "output": "四", "output_with_loss": True},
    ]
    assert json.loads(read({"conversation": rounds})["meta"]) == {UNLEARNED: [1]}
    assert talk({"conversation": rounds[:1]}) == ["DROP not to be learned"]


def test_a_mask_does_not_count_a_system_text_of_its_own() -> None:
    row = read(messages(("u", "一"), ("a", "二"), ("u", "三"), ("a", "四")) | {"system": "规则", "loss_mask": [0, 0, 0, 1]})
    assert json.loads(row["meta"]) == {UNLEARNED: [2]}


@pytest.mark.parametrize(
    "mark",
    [
        {"label": False},
        {"label": "False"},
        {"kto_tag": False},
        {"kto_tag": 0},
        {"train": False},
        {"loss_mask": 0},
        {"weight": 0},
        {"loss": False},
    ],
)
def test_a_row_that_must_not_be_learned_is_dropped_with_that_reason(mark: dict[str, Any]) -> None:
    for record in (
        {"instruction": "问", "output": "答"},
        {"prompt": "问", "completion": "答"},
        messages(("u", "问"), ("a", "答")),
    ):
        row = read({**record, **mark})
        assert isinstance(row, Drop) and (row.reason, row.detail.split(":")[0]) == ("not to be learned", next(iter(mark)))
    assert talk({"prompt": "问", "chosen": "好", "rejected": "坏", "train": False}, "preference") == ["DROP not to be learned"]


@pytest.mark.parametrize(
    "mark", [{"label": True}, {"label": 3}, {"label": 0}, {"label": "0"}, {"kto_tag": True}, {"weight": 2.0}, {"label": None}]
)
def test_other_marks_of_a_row_drop_nothing(mark: dict[str, Any]) -> None:
    assert talk({"instruction": "问", "output": "答", **mark}) == ["问", "答"]


def test_a_label_of_zero_is_a_verdict_beside_a_completion_only() -> None:
    assert talk({"prompt": "问", "completion": "答", "label": 0}) == ["DROP not to be learned"]
    assert talk({"prompt": "问", "response": "答", "label": 0}) == ["问", "答"]


def test_a_document_is_made_without_what_must_not_be_learned() -> None:
    row = read(messages(("u", "一"), ("a", "二", {"weight": 0}), ("u", "三"), ("a", "四"))) | {"id": "", "source": ""}
    assert as_document(row)["text"] == "三\n四"
    assert as_document(row | {"meta": "{}"})["text"] == "一\n二\n\n三\n四"


def test_the_mark_has_one_name() -> None:
    assert template.UNLEARNED == rows.UNLEARNED


# turns out of order


@pytest.mark.parametrize(
    ("record", "contents"),
    [
        (messages(("u", "一"), ("u", "二"), ("a", "三")), ["一\n二", "三"]),
        (messages(("u", "一"), ("a", "二"), ("a", "三"), ("u", "四"), ("a", "五")), ["一", "二\n三", "四", "五"]),
        (messages(("a", "你好，我能帮什么？"), ("u", "一"), ("a", "二")), ["你好，我能帮什么？", "一", "二"]),
        (messages(("s", "规则"), ("a", "你好"), ("u", "一"), ("a", "二")), ["规则", "你好", "一", "二"]),
        (messages(("u", "一"), ("a", ""), ("u", "三"), ("a", "四")), ["三", "四"]),
        (messages(("u", "一"), ("a", "二"), ("u", " "), ("a", "四")), ["一", "二"]),
        (messages(("u", "一"), ("a", "二"), ("u", "\u200b"), ("a", "四"), ("u", "五"), ("a", "六")), ["一", "二", "五", "六"]),
        (messages(("u", "一"), ("a", "二"), ("u", "三"), ("a", "")), ["一", "二"]),
        (messages(("u", "一"), ("a", ""), ("a", "二")), ["一", "二"]),
        (messages(("a", ""), ("u", "一"), ("a", "二")), ["一", "二"]),
        (messages(("s", "甲"), ("s", "乙"), ("u", "一"), ("a", "二")), ["甲\n乙", "一", "二"]),
        (messages(("s", "甲"), ("u", "一"), ("a", "二")) | {"system": "甲"}, ["甲", "一", "二"]),
        (messages(("u", "一"), ("a", "二"), ("s", "注意"), ("u", "三"), ("a", "四")), ["一", "二", "注意\n三", "四"]),
        (messages(("u", "一"), ("a", "二"), ("u", "三"), ("u", "四")), ["一", "二"]),
        ({"instruction": "三", "history": [["一", ""]], "output": "四"}, ["三", "四"]),
        ({"input": ["一", "三"], "output": ["二"]}, ["一", "二"]),
        (messages(("u", ""), ("a", "二")), ["DROP no question"]),
        (messages(("u", "一"), ("a", "")), ["DROP no answer"]),
        (messages(("a", "一")), ["DROP no question"]),
        (messages(("a", "一"), ("u", "二")), ["DROP no question"]),
    ],
)
def test_dialogues_are_put_in_order(record: dict[str, Any], contents: list[str]) -> None:
    assert talk(record) == contents


def test_what_is_left_out_is_told() -> None:
    row = read(messages(("u", "一"), ("a", ""), ("u", "三"), ("a", "四"), ("u", "五")))
    assert row[LEFT_OUT] == [("question without an answer", "五"), ("exchange with a blank turn", "一")]
    assert LEFT_OUT not in read(messages(("u", "一"), ("a", "二")))


def test_a_greeting_is_not_learned() -> None:
    row = read(messages(("s", "规则"), ("a", "你好"), ("u", "一"), ("a", "二")))
    assert [turn["role"] for turn in row["messages"]] == ["system", "assistant", "user", "assistant"]
    assert json.loads(row["meta"]) == {UNLEARNED: [1]}


# answers that quote a dialogue

SCENE = "Human: 你好\nAssistant: 你好！\nHuman: 再见"


@pytest.mark.parametrize(
    "record",
    [
        {"instruction": "写一段对话", "output": SCENE},
        {"instruction": "写一段对话", "output": SCENE, "history": [["早", "早！"]]},
        {"instruction": "写一段对话", "output": SCENE, "system": "你是编剧"},
        {"instruction": "写一段", "input": "一问一答", "output": SCENE, "history": [["早", "早！"]], "system": "你是编剧"},
        {"instruction": "Human: 写一段人机对话\nAssistant:", "output": SCENE},
        {"instruction": "Human: 早\nAssistant: 早！\nHuman: 写一段对话", "output": f"好的，如下：\n{SCENE}"},
        {"instruction": "Human: 早\nAssistant: 早！\nHuman: 写一段对话", "output": f"好的。\n{SCENE}"},
        {"query": "写一段对话", "response": SCENE, "history": [["早", "早！"], ["晚", "晚！"]]},
        messages(("u", "早"), ("a", "早！"), ("u", "写一段对话"), ("a", SCENE)),
    ],
)
def test_an_answer_that_quotes_a_dialogue_is_one_answer(record: dict[str, Any]) -> None:
    assert talk(record)[-1].endswith(SCENE)


def test_a_better_answer_that_quotes_a_dialogue_is_one_answer() -> None:
    row = read({"prompt": "写一段对话", "chosen": SCENE, "rejected": "Human: 嗨\nAssistant: 嗨"}, "preference")
    assert (row["chosen"], row["rejected"]) == (SCENE, "Human: 嗨\nAssistant: 嗨")
    ranked = read({"instruction": "写一段对话", "output": [SCENE, "不会"], "history": [["早", "早！"]]}, "preference")
    assert (ranked["chosen"], ranked["rejected"]) == (SCENE, "不会")


def test_turns_between_sentinels_may_quote_a_dialogue() -> None:
    assert talk({"text": f"<s>Human: 写一段对话\n</s><s>Assistant: {SCENE}\n</s>"}) == ["写一段对话", SCENE]
