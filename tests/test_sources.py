"""Readers: true formats, dirty rows, broken files, and the counts of real files."""

from __future__ import annotations

import bz2
import csv
import gzip
import io
import json
import lzma
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from benchmarks import real_counts
from tasks.data.rows import SCHEMAS, BrokenFile, Drop
from tasks.formats import turns
from tasks.formats.registry import ours, reader
from tasks.formats.sniff import sniff
from tasks.sources import exam


def read(name: str, path: Path, **settings: Any) -> tuple[list[dict[str, Any]], list[Drop]]:
    rows = list(reader(name).read(path, **settings))
    good = [row for row in rows if not isinstance(row, Drop)]
    for row in good[:3]:
        assert set(row) == set(SCHEMAS[reader(name).kind].names) - {"id", "source"}
    return good, [row for row in rows if isinstance(row, Drop)]


def reasons(drops: list[Drop]) -> dict[str, int]:
    return {drop.reason: sum(other.reason == drop.reason for other in drops) for drop in drops}


def lines(path: Path, *rows: Any) -> Path:
    path.write_text("\n".join(row if isinstance(row, str) else json.dumps(row, ensure_ascii=False) for row in rows), "utf-8")
    return path


def said(*contents: str) -> list[dict[str, str]]:
    return [{"role": ("user", "assistant")[place % 2], "content": content} for place, content in enumerate(contents)]


def test_every_format_has_a_reader() -> None:
    assert len(ours()) == 12
    for name in ours():
        assert reader(name).kind in SCHEMAS and reader(name).description
    with pytest.raises(ValueError, match="no such format: 'docx'; known are alpaca, baike"):
        reader("docx")


# dialogues


@pytest.mark.parametrize(
    ("record", "reason"),
    [
        ({"instruction": "问", "input": "", "output": " "}, "no answer"),
        ({"instruction": "", "input": "", "output": "答"}, "no question"),
        ({"conversations": []}, "no question"),
        ({"conversations": [{"from": "human", "value": "一"}]}, "no answer"),
        ({"conversations": [{"from": "gpt", "value": "一"}, {"from": "gpt", "value": "二"}]}, "no question"),
        ({"conversations": [{"from": "human", "value": "一"}, {"from": "somebody", "value": "二"}]}, "unknown role"),
        ({"conversations": [{"from": "human", "value": "一"}, {"from": "observation", "value": "{}"}]}, "tool calls"),
        (
            {"messages": [{"role": "user", "content": "一"}, {"role": "assistant", "content": None, "tool_calls": [{}]}]},
            "tool calls",
        ),
        ({"conversations": [{"from": "human", "value": ""}, {"from": "gpt", "value": "二"}]}, "no question"),
        ({"conversations": [1, 2]}, "unknown schema"),
        ({"input": ["一"], "output": ["二", "三"]}, "roles do not alternate"),
        ({"foo": 1}, "unknown schema"),
    ],
)
def test_dialogues_that_are_none(tmp_path: Path, record: dict[str, Any], reason: str) -> None:
    good, drops = read("belle", lines(tmp_path / "a.json", {"instruction": "问", "output": "答"}, record))
    assert len(good) == 1
    assert [drop.reason for drop in drops] == [reason]


def test_alpaca_placeholders_and_escapes(tmp_path: Path) -> None:
    rows = [
        {"instruction": "甲", "input": "&lt;无输入&gt;", "output": "a &lt; b &amp;&amp; c"},
        {"instruction": "乙", "input": "无输入", "output": "写作 &lt;br&gt; 或 <br>"},
        {"instruction": "丙\\n", "input": "没有输入。", "output": "print('a\\nb')"},
        {"instruction": "丁", "input": "无", "output": "&lt;nooutput&gt;"},
        {"instruction": "戊", "input": "无锡", "output": "好"},
    ]
    (tmp_path / "a.json").write_text(json.dumps(rows), "utf-8")
    good, drops = read("alpaca", tmp_path / "a.json")
    assert [row["messages"] for row in good] == [
        said("甲", "a &lt; b &amp;&amp; c"),
        said("乙", "写作 &lt;br&gt; 或 <br>"),
        said("丙\\n", "print('a\\nb')"),
        said("戊\n无锡", "好"),
    ]
    assert reasons(drops) == {"no answer": 1}


def test_zhihu(tmp_path: Path) -> None:
    table = pa.table({
        "INSTRUCTION": ["问", "问", None],
        "RESPONSE": ["答", "答二", "答"],
        "METADATA": ['{"question_id": 3.0, "answer_id": 4, "upvotes": "赞同 1.2 万"}', "{broken", None],
    })  # fmt: skip
    pq.write_table(table, tmp_path / "a.parquet")
    good, drops = read("zhihu", tmp_path / "a.parquet")
    assert json.loads(good[0]["meta"]) == {"question": 3, "answer": 4, "upvotes": 12000}
    assert good[1] == {"messages": said("问", "答二"), "meta": "{}"}
    assert reasons(drops) == {"no question": 1}
    pq.write_table(table.drop(["RESPONSE"]), tmp_path / "b.parquet")
    found = (
        "a file with INSTRUCTION and RESPONSE was expected, but it is Parquet with INSTRUCTION, METADATA; give the source another"
    )
    with pytest.raises(BrokenFile, match=rf"b\.parquet: {found}"):
        read("zhihu", tmp_path / "b.parquet")


def test_medical_csv_in_gb18030(tmp_path: Path) -> None:
    long = "长" * 200_000  # beyond the csv module's default limit
    rows = [
        ["心血管科", "高血压能吃党参吗？", "我有高血压，\n能吃“党参”吗？", '可以,但"少"吃\n慢慢来'],
        ["内科", "头痛", "无", "多休息"],
        ["内科", "头痛", "头痛怎么办", long],
        ["内科", "", "", "答"],
    ]
    text = io.StringIO()
    csv.writer(text).writerows([["department", "title", "ask", "answer"], *rows])
    (tmp_path / "样例.csv").write_bytes((text.getvalue() + "三,列,呀\r\n").encode("gb18030"))
    good, drops = read("medical", tmp_path / "样例.csv")
    assert good[0]["messages"] == said("高血压能吃党参吗？\n我有高血压，\n能吃“党参”吗？", '可以,但"少"吃\n慢慢来')
    assert json.loads(good[0]["meta"]) == {"department": "心血管科"}
    assert good[1]["messages"] == said("头痛", "多休息")
    assert good[2]["messages"] == said("头痛怎么办", long)
    assert reasons(drops) == {"no question": 1, "wrong number of columns": 1}


def test_questions_with_titles(tmp_path: Path) -> None:
    path = lines(
        tmp_path / "a.json",
        {"qid": 1, "title": "题", "desc": "说明<br>二", "star": 7, "content": "答<br/>完"},
        {"qid": "q", "category": "教育", "title": "题 ", "desc": "题", "answer": "答"},
        {"title": "题", "desc": "", "answer": ""},
    )
    good, drops = read("webtext", path)
    assert [row["messages"] for row in good] == [said("题\n说明\n二", "答\n完"), said("题", "答")]
    assert [json.loads(row["meta"]) for row in good] == [{"star": 7}, {"category": "教育"}]
    assert reasons(drops) == {"no answer": 1}


# preferences


def test_preferences_that_are_none(tmp_path: Path) -> None:
    path = lines(
        tmp_path / "a.jsonl",
        {"prompt": "问", "chosen": "好", "rejected": "坏"},
        {"prompt": "问", "chosen": "好", "rejected": "好 "},
        {"prompt": "问", "chosen": "", "rejected": "坏"},
        {"prompt": "问", "chosen": "好", "rejected": ""},
        {"prompt": " ", "chosen": "好", "rejected": "坏"},
        {"instruction": "问", "output": ["好"]},
        ["问", "好", "坏"],
    )
    _, drops = read("preference", path)
    assert [drop.reason for drop in drops] == [
        "chosen equals rejected", "no chosen", "no rejected", "no question", "no rejected", "not an object",
    ]  # fmt: skip


# exams, triples, documents


def test_exams(tmp_path: Path) -> None:
    (tmp_path / "law_val.csv").write_bytes(
        '\ufeffid,question,A,B,C,D,answer,explanation\r\n0,问,甲,乙,丙,丁,B,"多\r\n行"\r\n1,问,甲,乙,,,A,\r\n'.encode()
    )
    (tmp_path / "agronomy.csv").write_text(
        ",Question,A,B,C,D,Answer\n0,问,甲,乙,丙,丁,D\n1,问,甲,乙,丙,丁,E\n2,问,甲,,丙,丁,A\n3,问,甲,乙,丙,丁,\n4,,甲,乙,丙,丁,A\n",
        "utf-8",
    )
    good, _ = read("exam", tmp_path / "law_val.csv")
    assert good[0] == {"subject": "law", "question": "问", "choices": ["甲", "乙", "丙", "丁"], "answer": 1}
    assert good[1]["choices"] == ["甲", "乙"]
    good, drops = read("exam", tmp_path / "agronomy.csv")
    assert [(row["subject"], row["answer"]) for row in good] == [("agronomy", 3), ("agronomy", None)]
    assert reasons(drops) == {"answer is no choice": 1, "empty choice": 1, "no question": 1}


@pytest.mark.parametrize(
    ("said", "index"),
    [
        *[(key, 1) for key in ("B", "b", "Ｂ", "B.", "B、", "（B）", "(B)", "【Ｂ】", " B ")],
        *[(key, 1) for key in ("答案：B", "正确答案是B。", "选B", "选项B", "B. 会试", "会试")],
        *[(key, 1) for key in ("故选：B", "因此选 B。", "【答案】B", "正确答案是（B）", "The answer is B", "answer: b")],
        *[(key, None) for key in ("E", "AB", "A,B", "B. 殿试", "对", "2", "未知")],
    ],
)  # fmt: skip
def test_keys_of_an_exam(said: str, index: int | None) -> None:
    row = exam.row({"question": "问", "A": "乡试", "B": "会试", "C": "殿试", "answer": said})
    assert (row.reason if isinstance(row, Drop) else row["answer"]) == ("answer is no choice" if index is None else index)


@pytest.mark.parametrize(
    ("record", "answer"),
    [
        ({"choices": ["甲", "乙", "丙"], "answer": 2, "subject": "law"}, 2),
        ({"choices": {"text": ["甲", "乙", "丙"], "label": ["A", "B", "C"]}, "answerKey": "B"}, 1),
        ({"choices": {"text": ["甲", "乙", "丙"], "label": ["1", "2", "3"]}, "answerKey": "3"}, 2),
        ({"options": ["(A)甲", "(B)乙", "(C)丙"], "label": "C", "answer": None}, 2),
        ({"options": {"C": "丙", "A": "甲", "B": "乙"}, "answer": "B"}, 1),
        ({"options": "A. 甲\nB. 乙\nC. 丙", "answer": "C"}, 2),
        ({"choices": '["甲", "乙", "丙"]', "answer": "乙"}, 1),
        ({"选项A": "甲", "选项B": "乙", "选项C": "丙", "答案": "A"}, 0),
        ({"option_a": "甲", "option_b": "乙", "option_c": "丙", "answer": "c"}, 2),
        ({"choices": ["甲", "乙", "丙"]}, None),
        ({"choices": ["甲", "乙", "丙"], "answer": 3}, "answer is no choice"),
        ({"choices": ["甲", "乙", "丙"], "answer": "0"}, "answer is no choice"),
        ({"choices": []}, "unknown schema"),
    ],
)
def test_layouts_of_exams(record: dict[str, Any], answer: Any) -> None:
    for name in ("question", "题目"):
        row = exam.row({name: "问", **record})
        if isinstance(row, Drop):
            assert row.reason == answer
        else:
            assert (row["question"], row["choices"], row["answer"]) == ("问", ["甲", "乙", "丙"], answer)
    if "choices" in record or "options" in record or "选项A" in record:
        talk = turns.conversation({"问题": "问", **record})
        assert isinstance(talk, Drop) and talk.reason == "unknown schema", "an exam is no dialogue"


def test_more_of_exams() -> None:
    said = exam.row({"passage": "文", "question": "问", "options": ["A. 甲", "B. 乙"], "label": "A"})
    assert said == {"subject": "", "question": "文\n问", "choices": ["甲", "乙"], "answer": 0}
    numbers = {"question": "问", "choices": ["1", "2", "3"], "answer": 2}
    assert exam.row(numbers) == {"subject": "", "question": "问", "choices": ["1", "2", "3"], "answer": 2}
    assert exam.row(numbers | {"choices": [1, 2, 3]}) == {
        "subject": "",
        "question": "问",
        "choices": ["1", "2", "3"],
        "answer": 1,
    }


def test_exams_without_answers_and_in_json_lines(tmp_path: Path) -> None:
    (tmp_path / "law_test.csv").write_text("id,question,A,B,C,D\n0,问,甲,乙,丙,丁\n", "utf-8")
    good, _ = read("exam", tmp_path / "law_test.csv")
    assert good == [{"subject": "law", "question": "问", "choices": ["甲", "乙", "丙", "丁"], "answer": None}]
    record = {"question": "问", "Ａ": "甲", "B.": "乙", "（C）": 3, "d": "丁", "answer": "（C）"}
    for name, text in (
        ("art_val.jsonl", json.dumps(record, ensure_ascii=False) + "\n"),
        ("art_val.json", json.dumps([record], ensure_ascii=False)),
    ):
        (tmp_path / name).write_text(text, "utf-8")
        good, drops = read("exam", tmp_path / name)
        assert good == [{"subject": "art", "question": "问", "choices": ["甲", "乙", "3", "丁"], "answer": 2}] and not drops
        assert sniff(tmp_path / name).formats[0] == "exam"


def test_triples(tmp_path: Path) -> None:
    path = lines(
        tmp_path / "a.json",
        {
            "text": "《甲》是乙写的",
            "spo_list": [{"subject": "甲", "predicate": "作者", "object": {"@value": "乙", "onDate": "x"}}],
        },
        {"text": "甲在乙", "spo_list": [{"subject": "甲", "predicate": "位于", "object": "乙"}]},
        {"text": "无", "spo_list": []},
        {"text": "缺", "spo_list": [{"subject": "甲", "predicate": "", "object": "乙"}]},
    )
    good, drops = read("triples", path)
    assert [row["triples"] for row in good] == [
        [{"subject": "甲", "predicate": "作者", "object": "乙"}],
        [{"subject": "甲", "predicate": "位于", "object": "乙"}],
    ]
    assert reasons(drops) == {"no triples": 1, "incomplete triple": 1}


def test_documents(tmp_path: Path) -> None:
    (tmp_path / "红楼梦.txt").write_bytes("第一回\n甄士隐".encode("gbk"))
    assert read("text", tmp_path / "红楼梦.txt")[0] == [{"title": "红楼梦", "text": "第一回\n甄士隐", "lang": "", "meta": "{}"}]
    (tmp_path / "a.txt.gz").write_bytes(gzip.compress("文".encode()))
    assert read("text", tmp_path / "a.txt.gz")[0][0]["text"] == "文"
    (tmp_path / "a.jsonl.gz").write_bytes(
        gzip.compress('{"text": "一", "path": "p"}\n{"content": "二", "title": "题"}\n{"text": " "}\n'.encode())
    )
    good, drops = read("text", tmp_path / "a.jsonl.gz")
    assert [(row["title"], row["text"], row["meta"]) for row in good] == [("", "一", '{"path": "p"}'), ("题", "二", "{}")]
    assert reasons(drops) == {"no text": 1}
    (tmp_path / "b.txt").write_bytes(b"PK\x03\x04\x00\x00")
    with pytest.raises(BrokenFile, match="text was expected, but it is a zip archive"):
        read("text", tmp_path / "b.txt")


def test_baike(tmp_path: Path) -> None:
    path = lines(
        tmp_path / "a.json",
        {
            "title": "题",
            "summary": "概要[1]。",
            "sections": [{"title": "简介", "content": "内容[2-3]"}, {"title": "空", "content": ""}],
            "tags": ["甲"],
            "url": "x",
        },
        {"title": "题", "summary": None, "sections": []},
    )
    good, drops = read("baike", path)
    assert good == [{"title": "题", "text": "概要。\n\n简介\n\n内容", "lang": "", "meta": '{"tags": ["甲"]}'}]
    assert reasons(drops) == {"no text": 1}


# broken files: what, where, what to do

XML = '<mediawiki xml:lang="zh">{}</mediawiki>'
PAGE = (
    "<page><title>{title}</title><ns>{ns}</ns><id>7</id>{more}<revision><id>{rev}</id><timestamp>{time}</timestamp>"
    "<text xml:space='preserve'>{text}</text></revision></page>"
)


def page(
    title: str = "题", ns: int = 0, text: str = "文", more: str = "", rev: int = 1, time: str = "2020-01-01T00:00:00Z"
) -> str:
    return PAGE.format(title=title, ns=ns, text=text, more=more, rev=rev, time=time)


def cut(data: bytes) -> bytes:
    return data[: len(data) * 2 // 3]


@pytest.mark.parametrize("name", [name for name in ours() if name != "wiki"])
@pytest.mark.parametrize("path", ["missing.json", "empty.json", "page.html"])
def test_files_that_are_not_there(tmp_path: Path, name: str, path: str) -> None:
    (tmp_path / "empty.json").write_bytes(b"")
    (tmp_path / "page.html").write_bytes(b"<!DOCTYPE html><html><body>404</body></html>")
    with pytest.raises(BrokenFile) as error:
        read(name, tmp_path / path)
    expected = {"missing.json": "there is no such file; check the path", "empty.json": "an empty file", "page.html": "HTML page"}[
        path
    ]
    assert path in str(error.value) and expected in str(error.value)


def test_files_that_were_cut(tmp_path: Path) -> None:
    rows = b"".join(json.dumps({"instruction": f"q{n}", "output": f"{n * 7919}"}).encode() + b"\n" for n in range(3000))
    for name, data in {
        "a.jsonl.gz": gzip.compress(rows),
        "a.jsonl.bz2": bz2.compress(rows),
        "a.jsonl.xz": lzma.compress(rows),
    }.items():
        (tmp_path / name).write_bytes(cut(data))
        with pytest.raises(BrokenFile, match=f"{name}: its compressed data ends too early or is damaged"):
            read("belle", tmp_path / name)
    (tmp_path / "a.json").write_text('[{"instruction": "一", "output": "二"}, {"instruction": "三", "out', "utf-8")
    with pytest.raises(BrokenFile, match="its JSON array is cut inside row 2; download it again"):
        read("belle", tmp_path / "a.json")
    pq.write_table(pa.table({"INSTRUCTION": ["问"] * 999, "RESPONSE": [str(n) for n in range(999)]}), tmp_path / "a.parquet")
    (tmp_path / "a.parquet").write_bytes(cut((tmp_path / "a.parquet").read_bytes()))
    with pytest.raises(BrokenFile, match="its Parquet footer cannot be read"):
        read("zhihu", tmp_path / "a.parquet")


# wiki dumps


@pytest.mark.parametrize(
    "pack", [bytes, bz2.compress, gzip.compress, lzma.compress, lambda data: bz2.compress(data[:99]) + bz2.compress(data[99:])]
)
def test_wiki_dump(tmp_path: Path, pack: Any) -> None:
    pages = [
        page("甲&amp;乙", text="a &lt;ref&gt;&amp;nbsp;&quot;&#20013;"),
        page("讨论:丙", ns=1),
        page("丁", more='<redirect title="甲" />'),
        page("戊", text="#重定向 [[甲]]"),
        page("己", text=" "),
        "<page><ns>0</ns><id>1</id><revision><text>x</text></revision></page>",
        "<page><title>庚</title><id>1</id><revision><text>x</text></revision></page>",
        page("辛").replace("<text", "<model>Scribunto</model><text"),
        '<page><title>壬</title><ns>0</ns><id>1</id><revision><id>1</id><text deleted="deleted" /></revision></page>',
    ]
    path = tmp_path / "dump.xml.bz2"
    path.write_bytes(pack(XML.format("".join(pages)).encode()))
    good, drops = read("wiki", path)
    assert [(row["title"], row["text"]) for row in good] == [("甲&乙", 'a <ref>&nbsp;"中')]
    assert json.loads(good[0]["meta"]) == {"page": "7", "revision": "1", "timestamp": "2020-01-01T00:00:00Z"}
    assert [(drop.reason, drop.detail) for drop in drops] == [
        ("not an article", "namespace 1"), ("redirect", "甲"), ("redirect", "甲"), ("no text", ""), ("incomplete page", "it has no <title>"),
        ("incomplete page", "it has no <ns>"), ("not wikitext", "Scribunto"), ("no text", "deleted"),
    ]  # fmt: skip


@pytest.mark.parametrize("chunk", [30, 1 << 20])
def test_only_the_newest_revision_of_a_page_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, chunk: int) -> None:
    monkeypatch.setattr("tasks.files.dump.CHUNK", chunk)
    old, new = page(text="旧", rev=1, time="2019-01-01T00:00:00Z"), page(text="新", rev=3, time="2021-01-01T00:00:00Z")
    middle = page(text="中", rev=2, time="2020-01-01T00:00:00Z")
    merged = (
        old.replace("</page>", "")
        + "".join(one[one.index("<revision>") :].replace("</page>", "") for one in (new, middle))
        + "</page>"
    )
    (tmp_path / "a.xml").write_text(XML.format(merged + page("次")), "utf-8")
    good, _ = read("wiki", tmp_path / "a.xml")
    assert [row["text"] for row in good] == ["新", "文"]


def test_wiki_dump_that_was_cut(tmp_path: Path) -> None:
    whole = XML.format("".join(page(f"题{n}", text=f"{n * 7919}" * 50) for n in range(300))).encode()
    path = tmp_path / "a.xml"
    streams = [bz2.compress(whole[start : start + 9000]) for start in range(0, len(whole), 9000)]
    for data in (cut(whole), cut(b"".join(streams)), whole[: whole.rindex(b"</mediawiki>")], cut(gzip.compress(whole))):
        path.write_bytes(data)
        with pytest.raises(
            BrokenFile,
            match=r"a\.xml: it.* at byte [\d,]+ of the XML, after \d+ whole pages; download it again, or set tolerate_truncation",
        ):
            read("wiki", path)
        good, drops = read("wiki", path, tolerate_truncation=True)
        assert [row["title"] for row in good] == [f"题{n}" for n in range(len(good))]
        assert len(good) > 150
        assert [drop.reason for drop in drops] == ["file cut"]


# real files


@pytest.mark.parametrize(
    ("name", "path", "rows", "dropped"),
    [
        ("wiki", "wiki/zhwiki-2018-pages1-24.xml.bz2", 14, {"not an article": 10}),
        ("wiki", "wiki/komica-zh-hant-full-history-pages1-50.xml.bz2", 46, {"redirect": 4}),
        ("wiki", "wiki/zhwiki-broken-1.xml", 0, {"not an article": 2, "incomplete page": 1}),
        ("wiki", "wiki/ltgwiki-smallwiki.xml.bz2", 903, {"not an article": 954, "redirect": 147}),
        ("belle", "sft/belle/train_2M_CN_sample.json", 1000, {}),
        ("belle", "sft/belle/train_3.5M_CN_sample.json", 1000, {}),
        ("belle", "sft/belle/eval_set.json", 1345, {"broken JSON": 5}),
        ("belle", "sft/belle/zh_seed_tasks.json", 175, {}),
        ("belle", "sft/firefly_dummy_data.jsonl", 33, {}),
        ("belle", "sft/chinese-vicuna_chat_sample.jsonl", 3, {}),
        ("belle", "sft/chinese-vicuna_instruct_sample.jsonl", 10, {}),
        ("belle", "sft/chinese-vicuna_merge_sample.json", 10, {}),
        ("belle", "sft/chatlm_my_train_dataset_3k.parquet", 3000, {}),
        ("belle", "medical/huatuo_llama_data_first6000.json", 6000, {}),
        ("belle", "sft/moss-002-conversations/search_plugin_conversation_16.json", 1, {}),
        ("webtext", "qa/rekeyed_zhihu_kol_as_webtext2019zh_300.json", 300, {}),
        ("text", "pretrain/chinese-poetry/ci.song.0.json", 1000, {}),
        ("text", "pretrain/oi-wiki_docs_md.jsonl.gz", 461, {"no text": 4}),
        ("belle", "sft/firefly-train-1.1M_sample.jsonl", 1000, {}),
        ("belle", "sft/sharegpt_zh_1K_first700.json", 700, {}),
        ("belle", "sft/llama2-chinese_dev_sft.csv", 200, {}),
        ("belle", "sft/glaive_toolcall_zh_demo.json", 141, {"tool calls": 159}),
        ("belle", "medical/huatuo_liver_cancer.json", 1000, {}),
        ("zhihu", "qa/zhihu_kol_train-00000-of-00005_sample.parquet", 1000, {}),
        ("webtext", "qa/webtext2019zh_sample.json", 4, {}),
        ("webtext", "qa/baike_qa_train_sample_first800.json", 800, {}),
        ("baike", "qa/563w_baidubaike_sample.json", 990, {"no text": 10}),
        ("medical", "medical/样例_内科5000-6000.csv", 7644, {}),
        ("alpaca", "sft/alpaca_chinese_zh-data-part-00.json", 10005, {"no answer": 16}),
        ("alpaca", "sft/alpaca_zh_demo.json", 1000, {}),
        ("preference", "preference/dpo_zh_demo.json", 300, {}),
        ("preference", "preference/medicalgpt_dpo_zh.jsonl", 429, {}),
        ("preference", "preference/medicalgpt_reward_test.json", 100, {}),
        ("preference", "preference/oaast_rm_zh.json", 772, {"chosen equals rejected": 3}),
        ("preference", "preference/rekeyed_huozi_schema_150.json", 150, {}),
        ("preference", "preference/rekeyed_rlhf-reward-single-round_schema_200.parquet", 200, {}),
        ("text", "pretrain/cn_laws_md.jsonl.gz", 1527, {}),
        ("text", "pretrain/wikipedia-cn-20230720-filtered_sample.json", 250, {}),
    ],
)
def test_real_files(real_data: Path, name: str, path: str, rows: int, dropped: dict[str, int]) -> None:
    good, drops = read(name, real_data / path)
    assert (len(good), reasons(drops)) == (rows, dropped)


def test_real_counts(real_data: Path) -> None:
    """What benchmarks.real_counts prints: dumps, exams, triples, the medical table and its duplicates."""
    for what, found, expected in real_counts.figures(real_data):
        assert found == expected, what
    good, _ = read("triples", real_data / "triples/duie2_train_first4000.json")
    assert all(part["subject"] in row["text"] and part["object"] in row["text"] for row in good for part in row["triples"])


def test_a_real_dump_that_was_cut(real_data: Path) -> None:
    path = real_data / "wiki/jawiki-20230501-truncated-100k-lines.xml.xz"
    with pytest.raises(BrokenFile, match="after 238 whole pages"):
        read("wiki", path)
    good, drops = read("wiki", path, tolerate_truncation=True)
    assert (len(good), reasons(drops)) == (189, {"not an article": 34, "redirect": 15, "file cut": 1})


def test_cmedqa_joins_questions_with_their_answers(tmp_path: Path) -> None:
    """Several answers to one question become a numbered list; what answers nothing is dropped."""
    (tmp_path / "question.csv").write_text(
        'question_id,content\n1,头痛怎么办？\n2,"感冒了,\n吃什么药？"\n3,没人回答的？\n', "utf-8"
    )
    (tmp_path / "answer.csv").write_text(
        "ans_id,question_id,content\n10,1,多休息。\n11,2,喝水。\n12,1,看医生。\n13,9,不知道。\n14,2,\n", "utf-8"
    )
    rows = list(reader("cmedqa").read(tmp_path / "answer.csv"))
    good = [[turn["content"] for turn in row["messages"]] for row in rows if not isinstance(row, Drop)]
    assert good == [["头痛怎么办？", "1. 多休息。\n2. 看医生。"], ["感冒了,\n吃什么药？", "喝水。"]]
    assert sorted(row.reason for row in rows if isinstance(row, Drop)) == ["no answer", "no question"]
    assert list(reader("cmedqa").read(tmp_path / "question.csv")) == []
    (tmp_path / "question.csv").unlink()
    with pytest.raises(BrokenFile, match=r"no table of their questions is beside it; put question\.csv"):
        list(reader("cmedqa").read(tmp_path / "answer.csv"))
