"""Inputs for `benchmarks.fuzz`: small true files of every format, spoilt by a generator with a seed."""

from __future__ import annotations

import bz2
import csv
import functools
import gzip
import io
import json
import lzma
import random
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

# in this order, so that a number stands for the same input from one version to the next
FORMATS = ("wiki", "belle", "zhihu", "webtext", "medical", "cmedqa", "alpaca", "preference", "exam", "triples", "baike", "text")
SAID = [
    "高血压能吃党参吗？",
    "你好，世界。",
    "1+1=2",
    "「數學」是什麼",
    "print('a\\n')",
    "これは日本語です",
    "Ａ１　b",
    "<b>题</b>&lt;x&gt;",
    "联通",
]
SPO = [{"subject": "甲", "predicate": "作者", "object": {"@value": "乙", "onDate": "x"}}]
TURNS = [
    {"from": "human", "value": "一"},
    {"from": "gpt", "value": "二"},
    {"from": "human", "value": "三"},
    {"from": "gpt", "value": "四"},
]
RECORDS: dict[str, list[dict[str, Any]]] = {
    "belle": [
        {"instruction": "问", "input": "料", "output": "答"},
        {"id": "1", "conversations": TURNS},
        {"instruction": "Human:一\nAssistant:二\nHuman:三\nAssistant:", "input": "", "output": "四"},
        {"kind": "QA", "input": "问", "target": "答"},
        {"input": ["一", "三"], "output": ["二", "四"]},
        {"conversation": [{"human": "一", "assistant": "二"}], "category": "x"},
        {"chat": {"turn_1": {"Human": "<|Human|>: 一<eoh>\n", "MOSS": "<|MOSS|>: 二<eom>\n"}}, "num_turns": 1},
        {"plain_text": "x [Human]: 一<eoh> [MOSS]: 二<eoa>"},
        {"text": "<s>Human: 一\n</s><s>Assistant: 二\n</s>"},
        {"instruction": " <user>: 一 <bot>: 二 <user>: 三", "output": "四", "input": ""},
        {"instruction": "User: 一\nAssistant: 二", "input": "System: 知识\nUser: 三", "output": "四", "history": [["零", "一"]]},
        {"question": "问", "class": "x", "std_answer": ""},
    ],
    "alpaca": [{"instruction": "甲\\n", "input": "&lt;无输入&gt;", "output": "a &lt; b"}],
    "webtext": [
        {"qid": 1, "title": "题", "desc": "题说明<br>二", "topic": "t", "star": 7, "content": "答<br/>完", "answer_id": 1},
        {"qid": "q", "category": "教育", "title": "题", "desc": "题", "answer": "答\r\r完"},
    ],
    "baike": [
        {
            "title": "题",
            "summary": "概要[1]。",
            "sections": [{"title": "简介", "content": "内容[2-3]"}],
            "tags": ["甲"],
            "url": "u",
        }
    ],
    "triples": [{"text": "《甲》是乙写的", "spo_list": SPO}],
    "preference": [
        {"prompt": "问", "chosen": "好", "reject": "坏"},
        {"conversations": TURNS[:3], "chosen": {"from": "gpt", "value": "好"}, "rejected": {"from": "gpt", "value": "坏"}},
        {"instruction": "问", "input": "", "history": [], "output": ["好", "中", "坏"]},
        {"chosen": "\n\nHuman: 问\n\nAssistant: 好", "rejected": "\n\nHuman: 问\n\nAssistant: 坏"},
    ],
    "text": [{"id": "1", "url": "u", "title": "题", "text": "题\n\n正文。"}, {"title": "诗", "paragraphs": ["一", "二"]}],
    "medical": [{"department": "内科", "title": "头痛", "ask": '头痛,"怎么"\n办', "answer": "多休息"}],
    "cmedqa": [{"ans_id": "5", "question_id": "1", "content": "多休息"}],  # its questions: `BESIDE`
    "exam": [{"id": "0", "question": "问", "A": "甲", "B": "乙", "C": "丙", "D": "丁", "answer": "A"}],
    "zhihu": [
        {"INSTRUCTION": "问", "RESPONSE": "答", "SOURCE": "Zhihu", "METADATA": '{"question_id": 3.0, "upvotes": "赞同 1.2 万"}'}
    ],
}
BESIDE = {"cmedqa": ("question.csv", "question_id,content\n1,头痛怎么办\n")}  # a file that a format needs in its folder
WIKITEXT = (
    "{{NoteTA|G1=IT|1=zh-hans:信息;zh-hant:資訊}}'''数学'''（英語：{{lang|en|math}}）是-{zh-hans:研究;zh-hant:研討}-数量的学科"
    "<ref name=a>注</ref>。\n"
    "== 歷史 ==\n* [[古希臘|希腊]]\n{| class=x\n|-\n| 甲 || 乙\n|}\n<math>a^2</math>&nbsp;[[File:A.jpg|thumb|图]]\n[[Category:数学]]"
) * 3
PAGE = (
    "<page><title>{}</title><ns>{}</ns><id>{}</id>{}<revision><id>{}</id><timestamp>2020-01-01T00:00:00Z</timestamp>"
    '<text xml:space="preserve">{}</text></revision></page>\n'
)
NASTY = [
    "\x00", "\ufeff", "\u2028", "\\ud800", "\\udc00x", "\ud7ff", "�", "NaN", "-Infinity", "1e999", "9" * 5000,
    '"', "''", "\\", "\\n", "\\u12",
    "{", "}", "[", "]", ",", ":", "\r", "\n", "\t", "\x0b", "null", "{}", "[]", '""', "{{", "}}", "[[", "]]", "{|", "|}", "-{", "}-",
    "<ref>", "</ref>",
    "<!--", "-->", "<page>", "</page>", "<revision>", "</revision>", "<text>", "</mediawiki>", "&lt;", "&#x110000;", "&#0;", "&amp;amp;",
    "#重定向 [[x]]",
    "Human:", "Assistant:", "<user>:", "<bot>:", "<|MOSS|>:", "<eom>", "</s>", "̈" * 50, "😀", "𠮷", "```", "http://", "'''''", "==", "<nowiki>",
    "-{zh-hans:a;zh-hant:b}-", "{{{", "~~~~", "ＡＢＣ", "１２", "13812345678", "$$", "<math>", "|", "||", "!!", "\x1f", "\x85",
]  # fmt: skip
STRANGE: list[Any] = [
    None, True, False, 0, -1, 10**30, 1.5, float("nan"), float("inf"), "", " ", "\u200b", "\ud800", "a\x00b", [], {}, [None], [[]],
    {"a": None}, [1, "a"],
    ["一", "二"], {"value": "x"}, [{"from": "human"}], [{"role": None, "content": []}], [["a"]], [["a", 1]], "长" * 3000, "\n" * 500, "(" * 300,
    {"@value": None}, [{"subject": None}], "{" * 200, "NaN", "无", "\\n\\n",
]  # fmt: skip
PACKS: dict[str, Callable[[bytes], bytes]] = {
    ".gz": functools.partial(gzip.compress, compresslevel=1, mtime=0),
    ".bz2": functools.partial(bz2.compress, compresslevel=1),
    ".xz": functools.partial(lzma.compress, preset=0),
    ".zst": lambda data: bytes(pa.compress(data, codec="zstd", asbytes=True)),
}


@dataclass
class Case:
    """One input: which reader, the file's name and bytes, and its rows if they can be counted without the reader."""

    format: str
    name: str
    data: bytes


def case(seed: int, number: int) -> Case:
    """The input of that number."""
    rng = random.Random(f"{seed}/{number}")
    name = rng.choice(FORMATS)
    suffix, data = made(rng, name)
    if rng.random() < 0.9 and not (suffix == ".parquet" and rng.random() < 0.6):  # most flips make no Parquet file at all
        for _ in range(rng.choice((1, 1, 2, 3, 4))):
            data = spoilt(rng, data)
    if suffix != ".parquet" and rng.random() < 0.15:
        pack = rng.choice(list(PACKS))
        data, suffix = PACKS[pack](data), suffix + pack
        if rng.random() < 0.4:
            data = rng.choice((_flipped, _cut))(rng, data)
    if rng.random() < 0.05:
        suffix = rng.choice((".json", ".csv", ".tsv", ".txt", "", ".parquet", ".xml.bz2", ".jsonl.gz"))
    if rng.random() < 0.07:
        name = rng.choice(FORMATS)
    return Case(name, f"题_{rng.randrange(100)}{suffix}", data)


def made(rng: random.Random, name: str) -> tuple[str, bytes]:
    """A true file of a format, with a strange value here and there: (suffix, bytes)."""
    if name == "wiki":
        return ".xml", _dump(rng)
    if name == "text" and rng.random() < 0.4:
        return ".txt", "\n\n".join(rng.choice(SAID) * rng.randrange(1, 9) for _ in range(rng.randrange(1, 30))).encode(
            _encoding(rng), "replace"
        )
    rows = [_record(rng, name) for _ in range(rng.randrange(1, 25))]
    if name == "zhihu":
        return ".parquet", _parquet(rng, rows)
    if name in ("medical", "exam", "cmedqa"):
        return ".csv", _csv(rng, rows, ",")
    kind = rng.random()
    if kind < 0.1:
        return ".parquet", _parquet(rng, rows)
    if kind < 0.15:
        return rng.choice(((".tsv", _csv(rng, rows, "\t")), (".csv", _csv(rng, rows, ","))))
    ascii_only = rng.random() < 0.3
    if kind < 0.55:
        return ".json", "".join(json.dumps(row, ensure_ascii=ascii_only) + "\n" for row in rows).encode("utf-8", "replace")
    if kind < 0.95:
        return ".json", json.dumps(rows, ensure_ascii=ascii_only, indent=rng.choice((None, 2))).encode("utf-8", "replace")
    return ".json", "\n".join(json.dumps(row, ensure_ascii=ascii_only, indent=4) for row in rows).encode("utf-8", "replace")


def _record(rng: random.Random, name: str) -> dict[str, Any]:
    record = json.loads(json.dumps(rng.choice(RECORDS[name])))
    for key, value in record.items():
        if isinstance(value, str) and rng.random() < 0.3:
            record[key] = value + rng.choice(SAID)
    if rng.random() < 0.25:
        spot: Any = record
        while True:  # somewhere inside
            key = rng.choice(list(spot)) if isinstance(spot, dict) else rng.randrange(len(spot))
            if not (isinstance(spot[key], dict | list) and spot[key]) or rng.random() < 0.4:
                break
            spot = spot[key]
        spot[key] = rng.choice(STRANGE)
    if rng.random() < 0.05:
        record.pop(rng.choice(list(record)))
    if rng.random() < 0.03:
        record[rng.choice(("history", "system", "input", "text", "messages", "答案", "chat"))] = rng.choice(STRANGE)
    return dict(record)


def _csv(rng: random.Random, rows: list[dict[str, Any]], delimiter: str) -> bytes:
    text = io.StringIO(newline="")
    writer = csv.writer(
        text,
        delimiter=delimiter,
        quoting=rng.choice((csv.QUOTE_ALL, csv.QUOTE_MINIMAL)),
        lineterminator=rng.choice(("\n", "\r\n")),
    )
    writer.writerow(list(rows[0]))
    writer.writerows([list(row.values()) for row in rows])
    return text.getvalue().encode(_encoding(rng), "replace")


def _encoding(rng: random.Random) -> str:
    return rng.choice(("utf-8", "utf-8", "utf-8-sig", "gb18030", "gbk", "big5", "utf-16")) if rng.random() < 0.5 else "utf-8"


def _parquet(rng: random.Random, rows: list[dict[str, Any]]) -> bytes:
    """Columns of one type each; now and then of another than anybody expects."""
    columns: dict[str, Any] = {}
    for key in rows[0]:
        values = [row.get(key) for row in rows]
        try:
            columns[key] = pa.array(values)
            pq.write_table(pa.table({key: columns[key]}), io.BytesIO())
        except (pa.ArrowException, ValueError, TypeError, OverflowError):
            columns[key] = pa.array([str(value).encode("utf-8", "surrogatepass") for value in values])
            if rng.random() < 0.5:
                columns[key] = columns[key].view(pa.utf8())
        if rng.random() < 0.1:
            size = len(rows)
            columns[key] = rng.choice([
                pa.nulls(size), pa.array([2**60] * size, pa.timestamp("us")), pa.array([b"\xff\xfe"] * size).view(pa.utf8()),
                pa.array([b"\xe9\x97\xae"] * size), pa.array([[("k", "v")]] * size, pa.map_(pa.string(), pa.string())),
                pa.array([1.5] * size), pa.array([["a", None]] * size), pa.array(["x"] * size).dictionary_encode(), pa.array([True] * size),
            ])  # fmt: skip
    out = io.BytesIO()
    pq.write_table(
        pa.table(columns), out, compression=rng.choice(("snappy", "gzip", "zstd", "none")), row_group_size=rng.choice((3, 100))
    )
    return out.getvalue()


def _dump(rng: random.Random) -> bytes:
    pages = []
    for number in range(rng.randrange(1, 12)):
        text = WIKITEXT
        for _ in range(rng.choice((0, 0, 1, 3, 8))):
            place = rng.randrange(len(text))
            text = text[:place] + rng.choice(NASTY) * rng.choice((1, 1, 1, 2, 200)) + text[place:]
        text = text.replace("&", "&amp;").replace("<", "&lt;")
        more = '<redirect title="甲" />' if rng.random() < 0.1 else ""
        pages.append(PAGE.format(f"题{number}", rng.choice((0, 0, 0, 1, 10)), number, more, number, text))
        if rng.random() < 0.15:  # several revisions
            pages[-1] = pages[-1].replace(
                "</page>", "<revision><id>9</id><timestamp>2021</timestamp><text>新</text></revision></page>"
            )
    whole = f'<mediawiki xml:lang="zh">\n{"".join(pages)}</mediawiki>\n'
    return whole.encode("utf-8", "replace")


# ways to spoil bytes


def _flipped(rng: random.Random, data: bytes) -> bytes:
    spoiled = bytearray(data)
    for _ in range(rng.choice((1, 1, 3, 30))):
        if spoiled:
            spoiled[rng.randrange(len(spoiled))] ^= 1 << rng.randrange(8)
    return bytes(spoiled)


def _cut(rng: random.Random, data: bytes) -> bytes:
    return data[: rng.randrange(len(data) + 1)]


def _without(rng: random.Random, data: bytes) -> bytes:
    start = rng.randrange(len(data) + 1)
    return data[:start] + data[start + rng.choice((1, 2, 7, 100, 3000)) :]


def _twice(rng: random.Random, data: bytes) -> bytes:
    start = rng.randrange(len(data) + 1)
    piece = data[start : start + rng.choice((1, 5, 80, 2000))]
    return data[:start] + piece * rng.choice((2, 3, 50)) + data[start:]


def _spliced(rng: random.Random, data: bytes) -> bytes:
    other = made(rng, rng.choice(FORMATS))[1]
    start, end = sorted(rng.randrange(len(other) + 1) for _ in range(2))
    place = rng.randrange(len(data) + 1)
    return data[:place] + other[start:end] + data[place:]


def _inserted(rng: random.Random, data: bytes) -> bytes:
    for _ in range(rng.choice((1, 1, 2, 10))):
        place = rng.randrange(len(data) + 1)
        data = data[:place] + rng.choice(NASTY).encode("utf-8", "surrogatepass") * rng.choice((1, 1, 1, 2, 5)) + data[place:]
    return data


def _nested(rng: random.Random, data: bytes) -> bytes:
    place, depth = rng.randrange(len(data) + 1), rng.choice((50, 2000, 10_000))
    opening, closing = rng.choice(
        (
            ("[", "]"),
            ('{"a":', "}"),
            ("{{", "}}"),
            ("[[", "]]"),
            ("-{", "}-"),
            ("{|\n|", "\n|}"),
            ("<ref>", "</ref>"),
            ('"', '"'),
            ("(", ")"),
        )
    )
    return data[:place] + (opening * depth + rng.choice(("", closing * depth))).encode() + data[place:]


def _recoded(rng: random.Random, data: bytes) -> bytes:
    """A part in another encoding."""
    start, end = sorted(rng.randrange(len(data) + 1) for _ in range(2))
    part = data[start:end].decode("utf-8", "replace").encode(rng.choice(("gb18030", "utf-16-le", "big5", "utf-8")), "replace")
    return data[:start] + part + data[end:]


def _shuffled(rng: random.Random, data: bytes) -> bytes:
    lines = data.splitlines(keepends=rng.random() < 0.7)
    rng.shuffle(lines)
    return b"".join(lines)


def _zeroed(rng: random.Random, data: bytes) -> bytes:
    start = rng.randrange(len(data) + 1)
    size = rng.choice((1, 10, 600))
    return data[:start] + bytes(size) + data[start + size :]


def _bomb(rng: random.Random, data: bytes) -> bytes:
    """Little that becomes much: up to 25 MB of one thing, compressed."""
    place = rng.randrange(len(data) + 1)
    piece = rng.choice((b"\x00", b" ", b"[", b'{"a":', b"\n", b'"', b"x", b"<page>", "长".encode(), b",", b"{} "))
    pack = rng.choice(list(PACKS))
    size = 2 if pack == ".bz2" else rng.choice((5, 25))  # bzip2 packs one thing slowly
    return PACKS[pack](data[:place] + piece * (size * 1_000_000 // len(piece)) + data[place:])


WAYS = (_flipped, _cut, _without, _twice, _spliced, _inserted, _inserted, _nested, _recoded, _shuffled, _zeroed)


def spoilt(rng: random.Random, data: bytes) -> bytes:
    if rng.random() < 1 / 400:
        return _bomb(rng, data)
    return rng.choice(WAYS)(rng, data)
