"""Every layout in which the data sets of the four systems come: each a small file in its true format, and the row that has to come out."""

from __future__ import annotations

import contextlib
import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.data.rows import Drop
from tasks.formats import packed
from tasks.formats.registry import reader


def said(*contents: str) -> list[dict[str, str]]:
    return [{"role": ("user", "assistant")[place % 2], "content": content} for place, content in enumerate(contents)]


def moss(**turns: str) -> dict[str, str]:
    return {"Inner Thoughts": "<|Inner Thoughts|>: None<eot>\n", "Commands": "<|Commands|>: None<eoc>\n", **turns}


SYSTEM = [{"role": "system", "content": "你是医生"}]
MOSS = {
    "conversation_id": "10",
    "meta_instruction": "You are an AI assistant whose name is MOSS.\n- Web search: enabled. API: Search(query)\n",
    "num_turns": 2,
    "chat": {
        "turn_2": moss(Human="<|Human|>: 三<eoh>\n", MOSS="<|MOSS|>: 四<sup><|1|></sup><sup><|2|>, <|3|></sup>。<eom>\n"),
        "turn_1": moss(Human="<|Human|>: 一<eoh>\n", MOSS="<|MOSS|>: 二<eom>\n"),
    },
}
PLAIN_002 = "You are an AI assistant.\n[Human]: 一<eoh>\n[MOSS]: 二<eoa>\n[Human]: 三<eoh>\n[MOSS]: 四<eoa>"
PLAIN_003 = (
    "You are an AI assistant.\n<|Human|>: 一<eoh>\n<|Inner Thoughts|>: None<eot>\n<|Commands|>: None<eoc>\n<|Results|>: None<eor>\n"
    "<|MOSS|>: 二<eom>\n<|Human|>: 三<eoh>\n<|MOSS|>: 四<eom>\n"
)
GENERATED = "角色：小明，学生；小红，他的同桌。写一段他们的对话。"

DIALOGUES: list[tuple[str, dict[str, Any], list[dict[str, str]]]] = [
    # BELLE
    ("0.5M to 2M", {"instruction": "翻译", "input": "你好", "output": "Hello"}, said("翻译\n你好", "Hello")),
    ("school math", {"instruction": "题：1+1=？\n", "input": "", "output": "2"}, said("题：1+1=？", "2")),
    ("input and target", {"input": "问", "target": "答"}, said("问", "答")),
    (
        "3.5M conversations",
        {"id": "6", "conversations": [{"from": "human", "value": "一"}, {"from": "assistant", "value": "二"}]},
        said("一", "二"),
    ),
    (
        "multi-turn, packed, with a last Assistant:",
        {"instruction": "Human:一\nAssistant:二\nHuman:三\n三\nAssistant:", "input": "", "output": "四"},
        said("一", "二", "三\n三", "四"),
    ),
    (
        "multi-turn, packed, without",
        {"instruction": "Human:一\nAssistant：二\n\nHuman: 三", "output": "四"},
        said("一", "二", "三", "四"),
    ),
    ("packed, speaker in the answer", {"instruction": "Human: 一\nAssistant:", "output": "Assistant: 二"}, said("一", "二")),
    (
        "packed, the answer goes on",
        {"instruction": "Human: 一\nAssistant: 二\nHuman: 三", "output": "四\nHuman: 五\nAssistant: 六"},
        said("一", "二", "三", "四", "五", "六"),
    ),
    (
        "generated dialogue in output",
        {"instruction": GENERATED, "input": "", "output": "小明：早。\n小红：早！\n小明：走吧。"},
        said(GENERATED, "小明：早。\n小红：早！\n小明：走吧。"),
    ),
    (
        "generated dialogue of a person and a machine",
        {"instruction": "写一段人和助手的对话", "output": "Human: 你好\nAssistant: 你好！"},
        said("写一段人和助手的对话", "Human: 你好\nAssistant: 你好！"),
    ),
    ("seed task", {"id": "s", "instruction": "写诗", "instances": [{"input": "夏天", "output": "好"}]}, said("写诗\n夏天", "好")),
    ("evaluation set", {"question": "问", "class": "open qa", "std_answer": "答"}, said("问", "答")),
    ("evaluation set, no reference", {"question": "问", "class": "rewrite", "std_answer": ""}, said("问")),
    # Alpaca and what came of it
    ("placeholder for the input", {"instruction": "问", "input": "<无输入>", "output": "答"}, said("问", "答")),
    (
        "line ends written out",
        {"instruction": "Human: 是否为闰年？\\nAssistant: 哪年？\\nHuman: 1996", "input": "", "output": "是"},
        said("是否为闰年？", "哪年？", "1996", "是"),
    ),
    ("code with line ends", {"instruction": "写", "output": 'printf("好\\n");'}, said("写", 'printf("好\\n");')),
    ("a formula", {"instruction": "求\\nabla f", "output": "$\\nu$"}, said("求\\nabla f", "$\\nu$")),
    ("TigerBot", {"instruction": "问", "input": None, "output": "答"}, said("问", "答")),
    # guanaco
    ("guanaco, single", {"instruction": "问", "input": "User: 更多", "output": "答"}, said("问\nUser: 更多", "答")),
    (
        "guanaco, history in the instruction",
        {"instruction": "User: 一\nAssistant: 二", "input": "System: 知识\nUser: 三", "output": "四"},
        said("一", "二", "知识\n三", "四"),
    ),
    (
        "guanaco, a bare input",
        {"instruction": "User: 一\nAssistant: 二\n", "input": "三", "output": "四"},
        said("一", "二", "三", "四"),
    ),
    (
        "guanaco, all in the input",
        {"instruction": "", "input": "User: 一\nAssistant: 二\nUser: 三", "output": "四"},
        said("一", "二", "三", "四"),
    ),
    (
        "guanaco, a system text",
        {"instruction": "System: 你是医生\nUser: 一", "input": "", "output": "二"},
        SYSTEM + said("一", "二"),
    ),
    # Firefly
    ("Firefly 1.1M", {"kind": "NLI", "input": "问", "target": "答"}, said("问", "答")),
    (
        "Firefly, multi-turn",
        {
            "conversation_id": 1,
            "category": "B",
            "conversation": [{"human": "一", "assistant": "二"}, {"human": "三", "assistant": "四"}],
        },
        said("一", "二", "三", "四"),
    ),
    # ShareGPT
    (
        "ShareGPT",
        {"id": "a", "conversations": [{"from": "human", "value": "一"}, {"from": "gpt", "value": "二"}]},
        said("一", "二"),
    ),
    (
        "ShareGPT with a question left open",
        {
            "conversations": [
                {"from": "user", "value": "一"},
                {"from": "chatgpt", "value": "二"},
                {"from": "human", "value": "三"},
            ]
        },
        said("一", "二"),
    ),
    (
        "ShareGPT with a system text",
        {"system": "你是医生", "conversations": [{"from": "human", "value": "一"}, {"from": "gpt", "value": "二"}]},
        SYSTEM + said("一", "二"),
    ),
    (
        "messages",
        {
            "messages": [
                *SYSTEM,
                {"role": "user", "content": [{"type": "text", "text": "一"}]},
                {"role": "assistant", "content": "二"},
            ]
        },
        SYSTEM + said("一", "二"),
    ),
    ("parallel lists", {"input": ["一", "三"], "output": ["二", "四"]}, said("一", "二", "三", "四")),
    # others
    ("MOSS 002 and 003", MOSS, said("一", "二", "三", "四。")),
    ("MOSS 002, plain text", {"id": 1, "num_turns": 2, "plain_text": PLAIN_002}, said("一", "二", "三", "四")),
    ("MOSS 003, plain text", {"plain_text": PLAIN_003}, said("一", "二", "三", "四")),
    ("Llama2-Chinese", {"text": "<s>Human: 一\n</s><s>Assistant: 二\n</s>"}, said("一", "二")),
    (
        "Llama2-Chinese, multi-turn",
        {"text": "<s>Human: 一\n</s><s>Assistant: 二\n</s><s>Human: 三\n</s><s>Assistant: 四\n</s>"},
        said("一", "二", "三", "四"),
    ),
    ("Huatuo", {"instruction": " <user>: 一 <bot>: 二 <user>: 三", "output": "四", "input": ""}, said("一", "二", "三", "四")),
    ("history as pairs", {"instruction": "三", "history": [["一", "二"]], "output": "四"}, said("一", "二", "三", "四")),
    ("a number for an answer", {"instruction": "问", "input": None, "output": 42}, said("问", "42")),
    ("white space around turns", {"messages": said(" 一 ", "二\n")}, said("一", "二")),
    ("a speaker inside a question", {"instruction": "写，如\nHuman: 你好", "output": "好"}, said("写，如\nHuman: 你好", "好")),
    ("system, question and answer", {"system": "你是医生", "question": "问", "answer": "答"}, SYSTEM + said("问", "答")),
    ("prompt and response", {"prompt": "问", "response": "答"}, said("问", "答")),
]


@pytest.mark.parametrize(("record", "messages"), [one[1:] for one in DIALOGUES], ids=[one[0] for one in DIALOGUES])
def test_dialogues(tmp_path: Path, record: dict[str, Any], messages: list[dict[str, str]]) -> None:
    """In each of the containers that a set may come in, with the same outcome."""
    (tmp_path / "a.json").write_text(json.dumps(record, ensure_ascii=False) + "\n", "utf-8")
    (tmp_path / "b.json").write_text(json.dumps([record], ensure_ascii=False, indent=1), "utf-8")
    (tmp_path / "c.json").write_text(json.dumps(record, indent=4), "utf-8")
    with contextlib.suppress(pa.ArrowInvalid):  # Arrow has no column of strings and lists
        pq.write_table(pa.Table.from_pylist([record]), tmp_path / "d.parquet")
    for path in sorted(tmp_path.iterdir()):
        assert [row if isinstance(row, Drop) else row["messages"] for row in reader("belle").read(path)] == [messages], path.name


PAIR = {"chosen": "好", "rejected": "坏"}
PREFERENCES: list[tuple[str, dict[str, Any], list[dict[str, str]]]] = [
    ("rlhf-reward-single-round", {"prompt": "问", **PAIR}, said("问")),
    ("huozi", {"prompt": "问", "chosen": "好", "reject": "坏"}, said("问")),
    ("CValues", {"prompt": "问", "pos_resp": "好", "neg_resp": "坏", "pos_type": "拒绝"}, said("问")),
    (
        "MedicalGPT",
        {"system": "你是医生", "history": [["一", "二"]], "question": "问", "response_chosen": "好", "response_rejected": "坏"},
        SYSTEM + said("一", "二", "问"),
    ),
    (
        "{from, value}",
        {"conversations": [{"from": "human", "value": "问"}], "chosen": {"from": "gpt", "value": "好"}, "rejected": {"from": "gpt", "value": "坏"}},
        said("问"),
    ),
    ("ranked answers", {"instruction": "问", "input": "", "history": [], "output": ["好", "中", "坏"]}, said("问")),
    ("ranked answers of which the last is the first again", {"instruction": "问", "output": ["好", "坏", "好", " "]}, said("问")),
    ("input joined", {"instruction": "问", "input": "料", **PAIR}, said("问\n料")),
    (
        "message lists",
        {"prompt": said("问"), "chosen": [{"role": "assistant", "content": "好"}], "rejected": [{"role": "assistant", "content": "坏"}]},
        said("问"),
    ),
    ("whole dialogues", {"chosen": said("一", "二", "问", "好"), "rejected": said("一", "二", "问", "坏")}, said("一", "二", "问")),
    ("whole dialogues beside the prompt", {"prompt": "问", "chosen": said("问", "好"), "rejected": said("问", "坏")}, said("问")),
    (
        "dialogues in a string",
        {"chosen": "\n\nHuman: 问\n\nAssistant: 好", "rejected": "\n\nHuman: 问\n\nAssistant: 坏"},
        said("问"),
    ),
]  # fmt: skip


@pytest.mark.parametrize(("record", "messages"), [one[1:] for one in PREFERENCES], ids=[one[0] for one in PREFERENCES])
def test_preferences(tmp_path: Path, record: dict[str, Any], messages: list[dict[str, str]]) -> None:
    (tmp_path / "a.json").write_text(json.dumps([record], ensure_ascii=False), "utf-8")
    pq.write_table(pa.Table.from_pylist([record]), tmp_path / "b.parquet")
    for path in sorted(tmp_path.iterdir()):
        rows = list(reader("preference").read(path))
        assert [(row["messages"], row["chosen"], row["rejected"]) for row in rows if not isinstance(row, Drop)] == [
            (messages, "好", "坏")
        ]


def test_zhihu_rlhf_in_tsv(tmp_path: Path) -> None:
    (tmp_path / "a.tsv").write_text('prompt\tchosen\trejected\n问\t"好\n的"\t坏\n', "utf-8")
    (row,) = reader("preference").read(tmp_path / "a.tsv")
    assert isinstance(row, dict) and (row["messages"], row["chosen"], row["rejected"]) == (said("问"), "好\n的", "坏")


@pytest.mark.parametrize("encoding", ["gb18030", "gbk", "utf-8", "utf-8-sig"])
def test_medical_and_financial_questions(tmp_path: Path, encoding: str) -> None:
    for table, meta in {
        'department,title,ask,answer\n内科,头痛,"头痛\n怎么办",多休息\n': {"department": "内科"},
        '"title","prompt","reply","is_best"\n"头痛","头痛\n怎么办","多休息","1"\n': {"is_best": True},
    }.items():
        (tmp_path / "a.csv").write_bytes(table.encode(encoding))
        (row,) = reader("medical").read(tmp_path / "a.csv")
        assert isinstance(row, dict) and row["messages"] == said("头痛\n怎么办", "多休息")
        assert json.loads(row["meta"]) == meta


def test_titles_that_were_cut(tmp_path: Path) -> None:
    row = {
        "qid": "q1",
        "category": "健康",
        "title": "降压药的选择不知道两种药各有什么特点，适合哪种人服",
        "desc": "不知道两种药各有什么特点，适合哪种人服用？",
        "answer": "看病情\r\r再定",
    }
    (tmp_path / "a.json").write_text(json.dumps(row, ensure_ascii=False), "utf-8")
    (found,) = reader("webtext").read(tmp_path / "a.json")
    assert isinstance(found, dict)
    assert found["messages"][0]["content"] == "降压药的选择\n不知道两种药各有什么特点，适合哪种人服用？"


@pytest.mark.parametrize(
    ("name", "record", "title", "text"),
    [
        (
            "wiki_00",
            {"id": "1", "url": "u", "title": "经济学", "text": "经济学\n\n经济学是一门科学。"},
            "经济学",
            "\n经济学是一门科学。",
        ),
        ("a.jsonl", {"title": "题", "content": "正文"}, "题", "正文"),  # WuDao
        ("a.json", {"completion": "正文", "source": "wikipedia"}, "", "正文"),
        (
            "a.json",
            {"rhythmic": "导引", "author": "和岘", "paragraphs": ["气和玉烛", "睿化着鸿明"]},
            "导引",
            "气和玉烛\n睿化着鸿明",
        ),
    ],
)
def test_articles(tmp_path: Path, name: str, record: dict[str, Any], title: str, text: str) -> None:
    """wiki2019zh's files have no suffix: rows are known by what is in them."""
    (tmp_path / name).write_text(json.dumps(record, ensure_ascii=False) + "\n", "utf-8")
    (row,) = reader("text").read(tmp_path / name)
    assert isinstance(row, dict) and (row["title"], row["text"]) == (title, text)


def test_a_long_text_file_is_cut_between_paragraphs(tmp_path: Path) -> None:
    paragraphs = [f"第{n}段" + "字" * (n % 60) for n in range(60)]
    (tmp_path / "书.txt").write_bytes("\r\n\r\n".join(paragraphs).encode("gbk"))
    rows = [row for row in reader("text").read(tmp_path / "书.txt", longest=100) if isinstance(row, dict)]
    assert "".join(row["text"] for row in rows) == "\n\n".join(paragraphs)
    assert all(row["text"].endswith("\n\n") for row in rows[:-1]) and max(len(row["text"]) for row in rows) < 200
    assert [json.loads(row["meta"])["part"] for row in rows] == list(range(1, len(rows) + 1))


# packed histories


@given(st.lists(st.text(st.sampled_from("一二ab:： \n"), min_size=1).map(str.strip).filter(bool), min_size=1, max_size=6))
def test_what_is_packed_comes_out_again(contents: list[str]) -> None:
    for speakers in (("Human: ", "Assistant: "), ("User:", "Assistant："), ("<s>Human: ", "</s><s>Assistant: ")):
        text = "\n".join(speakers[place % 2] + content for place, content in enumerate(contents))
        assert packed.unpack(text) == said(*contents)
