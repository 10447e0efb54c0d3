"""Filtering: every rule and what it must not touch, personal data, leaked questions, and sums that hold."""

from __future__ import annotations

import hashlib
import itertools
import json
import lzma
import random
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from tasks import filter as filters
from tasks.artifacts.stage import Job, Resources
from tasks.data.rows import Drop, Writer, files, read, row_id
from tasks.filters.thresholds import FilterRules
from tasks.processes import shards

Row = tuple[str, dict[str, Any]]

PROSE = "长江发源于青藏高原的唐古拉山脉，流经十一个省级行政区，最后在上海注入东海。"


def text(content: str, title: str = "", source: str = "wiki") -> Row:
    return "documents", {
        "id": row_id(title, content),
        "source": source,
        "title": title,
        "text": content,
        "lang": "zh",
        "meta": "{}",
    }


def talk(*turns: str, source: str = "belle") -> Row:
    messages = [{"role": "assistant" if place % 2 else "user", "content": turn} for place, turn in enumerate(turns)]
    return "conversations", {"id": row_id(*turns), "source": source, "messages": messages, "meta": "{}"}


def pair(prompt: str, chosen: str, rejected: str, source: str = "ranked") -> Row:
    row = talk(prompt, source=source)[1]
    return "preferences", {**row, "id": row_id(prompt, chosen, rejected), "chosen": chosen, "rejected": rejected}


def said(role: str, *turns: str) -> Row:
    kind, row = talk(*turns)
    row["messages"][-1]["role"] = role
    return kind, row


def exam(home: Path, *stems: str, source: str = "ceval") -> dict[str, Path]:
    with Writer(home / source / "questions" / "00000.parquet", "questions") as out:
        for stem in stems:
            choices = ["甲", "乙", "丙", "丁"]
            out.add({"id": row_id(stem), "source": source, "subject": "x", "question": stem, "choices": choices, "answer": 0})
    return {source: home / source}


def write(home: Path, rows: list[Row], parts: int = 1) -> Path:
    for kind in {kind for kind, _ in rows}:
        of_kind = [row for each, row in rows if each == kind]
        for number in range(parts):
            with Writer(home / kind / f"{number:05d}.parquet", kind) as out:
                for row in of_kind[number::parts]:
                    out.add(row)
    return home


def build(
    home: Path, rows: Path, questions: dict[str, Path] | None = None, log: list[str] | None = None, **params: Any
) -> tuple[Path, dict[str, Any]]:
    job = Job(home / "out", home / "scratch", Resources(workers=1), log=(log if log is not None else []).append)
    return job.out, filters.run(job, filters.Params(**params), rows=rows, questions=questions or {})


def verdict(row: Row, **rules: Any) -> str:
    """The reason for which a row goes, or "kept"."""
    return judged(row, **rules)[1]


def judged(row: Row, **rules: Any) -> tuple[dict[str, Any], str]:
    verdict = filters.judge_row(*row, FilterRules(**rules))
    return verdict.row, verdict.drop.reason if verdict.drop else "kept"


# -- rules --------------------------------------------------------------------------------------------------------------

LYRICS = "我们走在大路上\n" * 8 + "意气风发斗志昂扬"
JAPANESE = "東京は日本の首都であり、世界有数の大都市です。人口は約千四百万人で、毎年多くの観光客が訪れます。"


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        (text("长江是一条河。"), "document too short"),
        (text(PROSE * 6000), "too long"),
        (text("The Yangtze is the longest river in Asia and the third-longest in the world."), "not Chinese"),
        (text("Волга — река в Европейской части России, крупнейшая в Европе."), "not Chinese"),
        (text(JAPANESE), "not Chinese"),
        (text(LYRICS), "repeats itself"),
        (text("买它买它全场五折只要九块九包邮，" * 12), "repeats itself"),
        (text("★☆★☆===>>>欢迎光临本店的官方网站，全场五折起<<<===☆★☆★"), "mostly signs"),
        (text("<div class='x'><p>长江全长六千三百公里，流域面积一百八十万平方公里。</p><br/>&nbsp;</div>"), "residual HTML"),
        (text("长按识别二维码关注公众号，领取更多干货资料。" + PROSE[:14]), "boilerplate"),
        (talk("无", "多喝水，注意休息，必要时去医院检查。"), "prompt too short"),
        (talk("今天星期几？", "一"), "answer too short"),
        (talk("长江全长？", "6300公里", "黄河流入哪个海？", "渤"), "answer too short"),
        (talk("长江有多长？", ""), "broken dialogue"),
        (talk("长江有多长？", "六千三百公里", "黄河呢？"), "broken dialogue"),
        (said("assistant", "长江有多长？"), "broken dialogue"),
        (talk("长江有多长？", PROSE * 600), "too long"),
        (talk("How long is it?", "It is 6,300 kilometres long."), "not Chinese"),
        (talk("把“我爱长江”翻译成英文。", "I love the Yangtze."), "translation task"),
        (talk("请把长江的资料整理成表格。", "名称：长江，长度：六千三百公里"), "table"),
        (talk("比较长江和黄河。", "| 河流 | 长度 |\n|---|---|\n| 长江 | 6300 |\n| 黄河 | 5464 |"), "table"),
        (talk("你去过长江吗？", "作为一个AI语言模型，我没有去过任何地方。"), "speaks as another model"),
        (talk("你去过长江吗？", "作为一个AI，我没有身体。"), "speaks as another model"),
        (talk("唱一首歌。", LYRICS), "repeats itself"),
        (pair("长江有多长？", "六千三百公里", "六千三百公里 "), "broken dialogue"),
        (pair("长江有多长？", "六千三百公里", ""), "broken dialogue"),
        (pair("无", "六千三百公里", "不知道。"), "prompt too short"),
        (pair("把这句话翻译成英文：你好", "Hello", "Hi there"), "translation task"),
        (talk("请介绍长江的长度和流域面积。", "请介绍长江的长度和流域面积"), "answer repeats the question"),
        (text("浣犲ソ锛岄暱姹熸槸涓浗绗竴澶ф渤銆傝繖鏄竴涓緢闀跨殑鍙ュ瓙"), "wrong encoding"),
        (text("长江�是中国��第一大河�，全长�六千三百公里。"), "wrong encoding"),
        (text("长江6300黄河5464淮河1000海河1090珠江2320辽河1345"), "mostly digits"),
        (text("哈哈哈哈" + "买它吧哈哈哈哈" * 9), "repeats itself"),
        (text("长江发源于青藏高原的唐古拉山脉…\n流经十一个省级行政区，最后……\n在上海注入东海。"), "lines break off"),
    ],
)
def test_bad_rows_go_with_their_reason(row: Row, reason: str) -> None:
    assert verdict(row, translations="drop", tables="drop") == reason


@pytest.mark.parametrize(
    "row",
    [
        text("空山不见人，但闻人语响。\n返景入深林，复照青苔上。"),
        text("第一条 为了规范行为，根据宪法，制定本法。\n第二条 在中华人民共和国境内，适用本法。\n第三条 国家鼓励创新。"),
        text(
            "## 排序\n冒泡排序反复比较相邻的两个元素，顺序错误就交换：\n```\nfor i in range(n): swap(a, i)\n```\n平均复杂度是 O(n^2)。"
        ),
        text("《となりのトトロ》是宫崎骏导演的动画电影，日文片名意为“隔壁的龙猫”，1988年4月16日在日本上映。"),
        text("甲：您贵姓？\n乙：免贵姓王。\n——————\n丙：两位请坐，茶马上就来，点心也有。"),
        talk("长江全长？", "6300公里"),
        talk("谁写了《静夜思》？", "李白"),
        talk("请计算 1/3 + 1/6。", "1/3 + 1/6 = 2/6 + 1/6 = 3/6 = 1/2"),
        talk("用Python写一个函数求平方", "def square(x):\n    return x * x"),
        talk(
            "HTML中怎样换行？", "用 `<br>` 标签，它没有结束标签，例如 `第一行<br>第二行`。写在段落里即可生效，不需要另外的样式。"
        ),
        talk("你好", "你好！"),
        talk("今天哈哈哈哈哈", "哈哈哈哈哈哈哈"),
        text("Beyoncé（碧昂丝）出席了戛纳电影节，“Ça va?”她说，“très bien”。她的裙子由设计师Müller设计，全场瞩目。"),
        talk("Excel里怎么排序？", "选中要排序的表格区域，点“数据”，再点“排序”，按需要选择升序或者降序，最后点“确定”。"),
        talk("讲讲黄河", "黄河是中国第二长河。\n-----\n它发源于巴颜喀拉山。"),
        talk("考考你", "嗯", "谁写了《静夜思》？", "李白"),
        talk("你好", "您好！", "继续", "好的，您想聊些什么呢？"),
        talk("你怎么看人工智能助手？", "人工智能助手可以回答问题、安排日程，也能陪人聊天，但它说的话未必都对。"),
        talk("什么是公众号？", "公众号是一种在线服务，个人和机构可以用它发布文章，读者订阅后即可收到新的内容。"),
        pair("长江有多长？", "约6300公里。", "长长长长长长长长长长长长长长长长长长长长长长长长长长长长长长长长长长长长"),
    ],
)
def test_good_rows_stay_as_they_are(row: Row) -> None:
    assert judged(row, translations="drop", tables="drop") == (row[1], "kept")


def test_each_rule_can_be_set() -> None:
    assert verdict(text("长江是一条河。"), min_document=5) == "kept"
    assert verdict(text(PROSE), max_document=20) == "too long"
    assert verdict(talk("无", "多喝水，注意休息。"), min_prompt=1) == "kept"
    assert verdict(talk("长江全长？", "6300公里"), min_answer=10) == "answer too short"
    assert verdict(talk("长江全长？", "6300公里"), max_dialogue=5) == "too long"
    assert verdict(talk("How long is it?", "It is long."), min_han_dialogue=0.0) == "kept"
    assert verdict(text(PROSE), min_han_document=0.99) == "not Chinese"
    assert verdict(text(LYRICS), max_repeated_lines=1.0, max_repeated_ngrams=1.0, max_commonest_ngram=1.0) == "kept"
    assert verdict(text(PROSE), max_punctuation=0.05) == "mostly signs"
    assert verdict(text(f"<p>{PROSE}</p>"), max_markup=0.5) == "kept"
    assert verdict(talk("把“我爱长江”翻译成英文。", "我爱长江：I love it.")) == "kept"
    assert verdict(talk("请把长江的资料整理成表格。", "名称：长江")) == "kept"
    assert (
        verdict(talk("用英语说“我爱长江”。", "我爱：I love it."), translations="drop", translation_words=["英语"])
        == "translation task"
    )
    assert verdict(talk("列个清单。", "长江、黄河"), tables="drop", table_words=["清单"]) == "table"
    assert verdict(talk("你去过长江吗？", "作为一个AI语言模型，我没有去过。"), refusals="keep") == "kept"


# -- what changes a row -------------------------------------------------------------------------------------------------

ADVERTISED = f"{PROSE}更多内容请关注微信公众号“澜洲见闻”，扫码加群。{PROSE[::-1]}"


def test_advertising_is_cut_out_by_the_sentence() -> None:
    for row, read_text in (
        (text(ADVERTISED), lambda row: row["text"]),
        (talk("讲讲长江。", ADVERTISED), lambda row: row["messages"][1]["content"]),
        (pair("讲讲长江。", ADVERTISED, "不会。"), lambda row: row["chosen"]),
    ):
        after, reason = judged(row)
        assert (read_text(after), reason) == (PROSE + PROSE[::-1], "kept")
        assert after["id"] == row[1]["id"]
        assert verdict(row, boilerplate="drop") == "boilerplate"
        assert judged(row, boilerplate="keep") == (row[1], "kept")
    assert judged(text(f"{PROSE}\n\n转载请注明出处。\n\n{PROSE[::-1]}"))[0]["text"] == f"{PROSE}\n\n{PROSE[::-1]}"
    assert verdict(talk("关注公众号有什么用？", "可以收到它的文章。")) == "kept", "a prompt may ask about it"


def test_personal_data_is_masked_dropped_or_kept() -> None:
    called = "详情请拨打13800001234。"
    rows = [
        text(PROSE + called, title="联系13800001234"),
        talk(called, PROSE),
        talk("怎么联系？", called),
        pair(called, called + called, called + PROSE),
    ]
    for row in rows:
        after, reason = judged(row)
        assert reason == "kept"
        assert "13800001234" not in str(after)
        assert after["id"] == row[1]["id"]
        assert judged(row, privacy="keep") == (row[1], "kept")
        count = str(row).count("13800001234")
        gone = filters.judge_row(*row, FilterRules(privacy="drop"))
        assert gone.drop == Drop("personal data", f"phone {count}")
        assert gone.personal == {"phone": count}


def test_no_excerpt_shows_personal_data(tmp_path: Path) -> None:
    rows = write(tmp_path / "rows", [text("请拨打13800001234。"), text(f"{PROSE}请拨打13800001234。", source="other")])
    out, stats = build(tmp_path, rows, privacy="drop")
    dropped = list(read(files(out, kind="dropped")))
    assert len(dropped) == 2
    assert all("13800001234" not in row["excerpt"] and "[电话]" in row["excerpt"] for row in dropped)
    assert stats["personal_data"] == {"wiki": {"phone": 1}, "other": {"phone": 1}}
    assert stats["samples"]["personal data"] == [
        {key: row[key] for key in ("id", "source", "detail", "excerpt")} for row in dropped
    ]


# -- decontamination ----------------------------------------------------------------------------------------------------

STEM = "下列关于长江的说法，哪一项是正确的？"


@pytest.mark.parametrize(
    ("row", "share"),
    [
        (talk(f"{STEM}\nA. 它流入黄海", "选B"), "100%"),
        (talk("下列关于长江的说法 , 哪一项是正确的?", "流入东海的那项"), "100%"),
        (talk("下列關於長江的說法，哪一項是正確的？", "流入東海的那項"), "100%"),
        (text(f"{PROSE}{STEM}{PROSE}"), "100%"),
        (text(f"哪一项是正确的？{PROSE}", title="下列关于长江的说法"), "100%"),
        (pair("考考你", "来吧，出题。", STEM), "100%"),
        (talk("下列关于长江的各种说法中，哪一项是正确的？", "流入东海的那项"), "88%"),
        (talk("关于长江的说法，哪一项是正确的？", "流入东海的那项"), "88%"),
        (talk("下列关于长江的说法，哪一项是错误的？", "流入渤海的那项"), "81%"),
        (text(f"哪一项才是正确的？{PROSE}", title="下列关于长江的说法"), ""),
        (talk("下列关于黄河的说法，哪一项是正确的？", "流入渤海的那项"), ""),
        (talk("关于长江的说法有很多，你觉得呢？", "哪一项是正确的，要看出处。"), ""),
        (text(f"下列关于长江的说法{PROSE}哪一项是正确的？"), ""),
        (talk("哪一项是正确的？下列关于黄河的", "流入渤海的那项"), ""),
    ],
)
def test_rows_with_an_evaluation_question_go(tmp_path: Path, row: Row, share: str) -> None:
    out, stats = build(tmp_path, write(tmp_path / "rows", [row]), exam(tmp_path, STEM, "长江？"))
    assert stats["questions"] == {"searched": 1, "too short": 1}
    dropped = list(read(files(out, kind="dropped")))
    assert [(each["reason"], each["detail"]) for each in dropped] == bool(share) * [
        ("leaked evaluation question", f"question {row_id(STEM)} of ceval, {share} of it")
    ]
    found = stats["contamination"]["ceval"]
    assert (found["questions"], found["found"], found["rows"]) == (2, bool(share), bool(share))
    assert [example["question"] for example in found["examples"]] == bool(share) * [STEM]


def test_short_questions_are_searched_for_on_request(tmp_path: Path) -> None:
    rows = write(tmp_path / "rows", [talk("请问长江有多长？", "6300公里")])
    assert build(tmp_path / "default", rows, exam(tmp_path, "长江有多长？"))[1]["funnel"]["belle"]["kept"] == 1
    _, stats = build(tmp_path / "short", rows, exam(tmp_path, "长江有多长？"), decontaminate_characters=5)
    assert stats["funnel"]["belle"]["dropped"] == {"leaked evaluation question": 1}


def test_contamination_is_counted_by_set_and_may_stay(tmp_path: Path) -> None:
    rows = write(
        tmp_path / "rows", [text(f"{PROSE}{STEM}联系13800001234"), talk(STEM, "乙", source="chat"), text(PROSE)], parts=2
    )
    questions = exam(tmp_path, STEM, "黄河发源于哪一座山脉的北麓？") | exam(tmp_path, STEM, source="cmmlu")
    _, stats = build(tmp_path / "a", rows, questions, sources={"chat": {"decontaminate": "keep"}}, min_answer=1)
    assert {name: (found["questions"], found["found"], found["rows"]) for name, found in stats["contamination"].items()} == {
        "ceval": (2, 1, 2),
        "cmmlu": (1, 1, 2),
    }
    assert (stats["funnel"]["wiki"]["kept"], stats["funnel"]["chat"]["kept"]) == (1, 1)
    examples = stats["contamination"]["ceval"]["examples"]
    assert {(example["source"], example["share"]) for example in examples} == {("wiki", 1.0), ("chat", 1.0)}
    assert all(example["excerpt"].startswith("下列关于长江") and "13800001234" not in str(example) for example in examples)
    _, strict = build(tmp_path / "b", rows, questions, decontaminate_share=1.0, min_answer=1)
    assert strict["contamination"]["ceval"]["rows"] == 2


# -- sources with thresholds of their own -------------------------------------------------------------------------------


def test_a_source_changes_what_it_names_and_inherits_the_rest(tmp_path: Path) -> None:
    poem, short = text("白日依山尽，黄河入海流。", source="poems"), text("白日依山尽，黄河入海流。", source="wiki")
    params: dict[str, Any] = {
        "min_document": 40,
        "boilerplate": "drop",
        "sources": {"poems": {"min_document": 5}, "typo": {"privacy": "keep"}},
    }
    assert filters.Params(**params).sources["poems"] == FilterRules(min_document=5, boilerplate="drop")
    log: list[str] = []
    _, stats = build(tmp_path, write(tmp_path / "rows", [poem, short]), log=log, **params)
    assert stats["funnel"]["poems"]["kept"] == 1
    assert stats["funnel"]["wiki"]["dropped"] == {"document too short": 1}
    assert log == ["filter.sources.typo is ignored: no row has this source"]


def test_the_identity_says_all_that_is_applied() -> None:
    params = filters.Params(min_document=40, sources={"poems": {"min_document": 5}})
    again = filters.Params.model_validate(params.model_dump(mode="json"))
    assert again == params
    assert params.model_dump(mode="json")["sources"]["poems"]["min_document"] == 5
    with pytest.raises(ValidationError, match=r"sources\.poems\.min_documents"):
        filters.Params(sources={"poems": {"min_documents": 5}})


CHATLM = """
filter:
  min_prompt: 3
  min_answer: 3
  max_prompt: 512
  max_answer: 512
  too_long: cut
  sources:
    webtext: {min_votes: 5, min_answer: 15, max_echo: 0.9}
    baike: {min_prompt: 3, min_answer: 15}
    zhihu: {min_prompt: 4, min_answer: 10}
    belle: {min_answer: 5, translations: drop, translation_words: [翻译, translate], tables: drop, blocked: ["-----"]}
    belle-sft: {translations: drop, tables: drop, max_prompt: 320, max_answer: 320, too_long: drop}
    alpaca: {max_prompt: 520, max_answer: 520, too_long: drop}
    lines: {min_document: 6, languages: [zh, en], privacy_kinds: {ip: keep}}
"""


def test_other_systems_thresholds_are_recipe_values() -> None:
    import yaml

    sources = filters.Params(**yaml.safe_load(CHATLM)["filter"]).sources
    starred = {"star": 3, "question": 1}
    rows = {
        "webtext": (talk("长江有多长？", PROSE), {"meta": json.dumps(starred)}, "too few votes"),
        "baike": (talk("长江有多长？", "六千三百公里。"), {}, "answer too short"),
        "zhihu": (talk("长江？", PROSE), {}, "prompt too short"),
        "belle": (talk("介绍长江。", "长江\n-----\n全长六千三百公里。"), {}, "blocked words"),
        "belle-sft": (talk("介绍长江。", PROSE * 12), {}, "answer too long"),
        "alpaca": (talk(PROSE * 20, PROSE), {}, "prompt too long"),
        "lines": (text("The Yangtze is the longest river in Asia and the third-longest."), {}, "kept"),
    }
    for source, ((kind, row), more, reason) in rows.items():
        found = filters.judge_row(kind, row | more, sources[source]).drop
        assert (found.reason if found else "kept") == reason, source
    assert filters.judge_row(*talk("长江有多长？", PROSE), sources["webtext"]).drop is None, "votes that nobody counted"


def test_a_title_like_its_question_is_asked_once(tmp_path: Path) -> None:
    import csv

    from tasks import ingest

    file, rows = tmp_path / "a.csv", [("头痛发热怎么办", "发热头痛，怎么办啊"), ("头痛", "三天前开始发热，怎么办")]
    with file.open("w", newline="", encoding="gb18030") as out:
        csv.writer(out).writerows(
            [("department", "title", "ask", "answer"), *(("内科", *row, "多喝水，注意休息。") for row in rows)]
        )
    asked = {}
    for same in (0.75, 1.0):
        job = Job(tmp_path / str(same) / "out", tmp_path / str(same) / "scratch", Resources(workers=1))
        ingest.run(job, ingest.Params(source="medical", format="medical", same_title=same), files=[file])
        asked[same] = [row["messages"][0]["content"] for row in read(files(job.out, kind="conversations"))]
    assert asked[0.75] == [rows[0][1], "\n".join(rows[1])]
    assert asked[1.0] == ["\n".join(row) for row in rows]


def test_long_texts_are_cut_on_request() -> None:
    rules: dict[str, Any] = {"too_long": "cut", "max_answer": 50, "max_prompt": 50, "max_document": 50}
    for kind, row in (text(PROSE * 3), talk(PROSE * 3, PROSE * 3), pair("长江？", PROSE * 3, PROSE * 4 + "不")):
        after, reason = judged((kind, row), **rules, max_repeated_ngrams=1.0, max_echo=1.0)
        if kind == "preferences":
            assert reason == "broken dialogue", "cut, the answers are the same"
            continue
        assert reason == "kept"
        texts = [after["text"]] if kind == "documents" else [turn["content"] for turn in after["messages"]]
        assert texts == [PROSE] * len(texts)


def test_languages_and_scripts() -> None:
    english, japanese = text("The Yangtze is the longest river in Asia."), text(JAPANESE)
    assert verdict(english, languages=["zh", "en"]) == verdict(japanese, languages=["ja"]) == "kept"
    assert verdict(japanese, languages=["zh", "en"]) == verdict(text(PROSE), languages=["en"]) == "other language"
    assert verdict(text("使用Python的list来做这件事情比较好，简单好用"), max_latin=0.3) == "mostly Latin letters"
    assert verdict(text(JAPANESE), max_kana=5) == "kept"
    assert (
        verdict(text("- 长江的长度\n- 黄河的长度\n- 珠江的长度\n- 淮河的长度"), max_list_lines=0.9, max_repeated_ngrams=1.0)
        == "mostly lists"
    )


def test_exchanges_and_blocked_words() -> None:
    row = talk("长江有多长？", "六千三百公里。", "黄河呢？", "五千四百公里。")
    assert verdict(row, min_exchanges=3) == "too few exchanges"
    assert verdict(row, max_exchanges=1) == "too many exchanges"
    assert verdict(row, blocked_prompts=["黄河"]) == verdict(row, blocked=["公里"]) == "blocked words"
    assert verdict(row, blocked_prompts=["公里"]) == "kept"


def test_personal_data_by_kind() -> None:
    row = text(f"{PROSE}请拨打13800001234，或写信到a@b.com，服务器在61.135.169.121。")
    after, reason = judged(row, privacy="keep", privacy_kinds={"phone": "mask"})
    assert reason == "kept"
    assert after["text"] == row[1]["text"].replace("13800001234", "[电话]")
    gone = filters.judge_row(*row, FilterRules(privacy_kinds={"email": "drop"}))
    assert gone.drop == Drop("personal data", "email 1")
    assert gone.personal == {"phone": 1, "email": 1, "ip": 1}


def test_a_recipe_names_its_mistakes() -> None:
    from flows.recipe import check

    data: dict[str, Any] = {
        "name": "x",
        "sources": {"belle": {"format": "belle", "path": "a", "use": ["sft"]}},
        "filter": {
            "sources": {"bele": {"min_answer": 5}, "belle": {"min_anser": 5, "languages": ["cn"]}},
            "min_answer": 9,
            "max_answer": 3,
        },
    }
    problems = [problem for problem in check(data) if problem.startswith("filter")]
    assert any("filter.sources.bele: no source of this name; did you mean 'belle'?" in problem for problem in problems)
    assert any("min_anser: unknown field; did you mean 'min_answer'?" in problem for problem in problems)
    assert any(problem.startswith("filter.sources.belle.languages") for problem in problems)
    with pytest.raises(ValidationError, match="min_answer is 9 and max_answer is 3"):
        FilterRules(min_answer=9, max_answer=3)


# -- sums, order, bytes -------------------------------------------------------------------------------------------------

PIECES = st.lists(
    st.sampled_from(["长江流入东海。", "关注公众号！", "13800001234", "a", "<br>", "\n", "翻译", "嗯", STEM]), max_size=8
).map("".join)
ROWS = st.lists(
    st.one_of(
        st.builds(text, PIECES, PIECES, st.sampled_from(["wiki", "web"])),
        st.builds(
            lambda turns, source: talk(*turns, source=source),
            st.lists(PIECES, min_size=1, max_size=4),
            st.sampled_from(["belle", "web"]),
        ),
        st.builds(pair, PIECES, PIECES, PIECES),
    ),
    max_size=25,
)


@settings(max_examples=30, deadline=None)
@given(ROWS, st.sampled_from(["mask", "drop", "keep"]), st.sampled_from([1, 3]))
def test_every_row_is_kept_or_dropped_once(rows: list[Row], privacy: str, parts: int) -> None:
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder)
        out, stats = build(home, write(home / "rows", rows, parts), exam(home, STEM), privacy=privacy)
        kept = {kind: list(read(files(out, kind=kind))) for kind in filters.KINDS}
        dropped = list(read(files(out, kind="dropped")))
    sources = {row["source"] for _, row in rows}
    assert set(stats["funnel"]) == set(stats["lengths"]) == set(stats["personal_data"]) == sources
    for source in sources:
        counts, lengths = stats["funnel"][source], stats["lengths"][source]
        assert counts["in"] == sum(row["source"] == source for _, row in rows) == sum(lengths["before"])
        assert counts["kept"] == sum(row["source"] == source for each in kept.values() for row in each) == sum(lengths["after"])
        assert sum(counts["dropped"].values()) == sum(row["source"] == source for row in dropped) == counts["in"] - counts["kept"]
        assert len(lengths["bounds"]) == len(lengths["before"]) + 1 == len(lengths["after"]) + 1
        scripts = stats["scripts"][source]
        assert (sum(scripts["before"]), sum(scripts["after"])) == (counts["in"], counts["kept"])
    for kind, each in kept.items():
        before = [row["id"] for number in range(parts) for row in [row for which, row in rows if which == kind][number::parts]]
        assert [row["id"] for row in each] == _in_order(before, [row["id"] for row in each]), "the order of the input"
    assert all(len(samples) <= 5 for samples in stats["samples"].values())
    assert {reason: len(samples) for reason, samples in stats["samples"].items()} == {
        reason: min(5, sum(row["reason"] == reason for row in dropped)) for reason in {row["reason"] for row in dropped}
    }


def _in_order(all_ids: list[str], ids: list[str]) -> list[str]:
    """The longest beginning of `ids` that is a subsequence of `all_ids`."""
    found, rest = [], iter(all_ids)
    for id in ids:
        if id not in rest:
            break
        found.append(id)
    return found


def test_lengths_are_counted_by_powers_of_two(tmp_path: Path) -> None:
    rows = write(tmp_path / "rows", [text("长" * 4), text("江" * 15), text("长江 " * 8), text(PROSE)])
    _, stats = build(tmp_path, rows, max_repeated_ngrams=1.0)
    assert stats["lengths"]["wiki"] == {
        "bounds": [0, 1, 2, 4, 8, 16, 32, 64],
        "before": [0, 0, 0, 1, 1, 1, 1],
        "after": [0, 0, 0, 0, 1, 1, 1],
    }


@pytest.fixture(scope="module")
def mixed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    dice = random.Random(9)
    pieces = [
        "长江流入东海。",
        "山高水长，风景如画。",
        "关注公众号。",
        "电话13800001234。",
        "<br>",
        "请翻译",
        STEM,
        "这里的人喜欢喝茶聊天。",
    ]
    rows: list[Row] = [text("".join(dice.choices(pieces, k=dice.randint(1, 12))), str(number)) for number in range(400)]
    rows += [
        talk(dice.choice(pieces), "".join(dice.choices(pieces, k=dice.randint(1, 6))), source=dice.choice("ab"))
        for _ in range(400)
    ]
    return write(tmp_path_factory.mktemp("mixed"), rows, parts=3)


def digests(folder: Path) -> dict[str, str]:
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in sorted(folder.rglob("*.parquet"))
    }


def test_the_same_bytes_with_any_number_of_workers(mixed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    questions = exam(tmp_path, STEM)
    out, stats = build(tmp_path / "one", mixed, questions)
    assert {"leaked evaluation question", "boilerplate", "residual HTML", "answer repeats the question"} <= set(stats["samples"])
    monkeypatch.setattr(shards, "BIG", 0)
    job = Job(tmp_path / "two" / "out", tmp_path / "two" / "scratch", Resources(workers=2))
    same = filters.run(job, filters.Params(), rows=mixed, questions=questions)
    assert same == stats
    assert digests(job.out) == digests(out)
    assert len(digests(out)) == 18


def test_only_new_files_are_filtered_again(mixed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = Job(tmp_path / "first" / "out", tmp_path / "first" / "scratch", Resources(workers=1))
    stats = filters.run(first, filters.Params(), rows=mixed, questions={})
    assert all(len(samples) <= 5 for shard in first.shards.values() for samples in shard["stats"]["samples"].values())
    filtered: list[Path] = []
    work = filters.filter_file
    monkeypatch.setattr(filters, "filter_file", lambda draft, path, *rest: filtered.append(path) or work(draft, path, *rest))

    def lend(key: str) -> Callable[[Path], None]:
        return lambda folder: shutil.copytree(first.shard_home(key), folder, dirs_exist_ok=True) and None

    second = Job(
        tmp_path / "second" / "out",
        tmp_path / "second" / "scratch",
        Resources(workers=1),
        find_shard=lambda key: lend(key) if key in first.shards else None,
    )
    assert filters.run(second, filters.Params(), rows=mixed, questions={}) == stats
    assert filtered == []
    assert digests(second.out) == digests(first.out)
    third = Job(
        tmp_path / "third" / "out",
        tmp_path / "third" / "scratch",
        Resources(workers=1),
        find_shard=lambda key: lend(key) if key in first.shards else None,
    )
    filters.run(third, filters.Params(), rows=mixed, questions=exam(tmp_path, STEM))
    assert len(filtered) == 6, "other questions, so every file"


# -- real texts ---------------------------------------------------------------------------------------------------------


def test_real_answers_mostly_stay(real_data: Path) -> None:
    """1000 Zhihu answers of good quality: rules made for English drop most of them."""
    import pyarrow.parquet as pq

    table = pq.read_table(real_data / "qa" / "zhihu_kol_train-00000-of-00005_sample.parquet")
    reasons = [verdict(talk(row["INSTRUCTION"], row["RESPONSE"])) for row in table.to_pylist()]
    assert reasons.count("kept") / len(reasons) > 0.98


def test_real_prose_mostly_stays_and_other_languages_go(real_data: Path) -> None:
    wiki = json.loads((real_data / "pretrain" / "wikipedia-cn-20230720-filtered_sample.json").read_text("utf-8"))
    reasons = [verdict(text(row["completion"])) for row in wiki]
    assert reasons.count("kept") / len(reasons) > 0.98


def test_real_japanese_goes(real_data: Path) -> None:
    """Single sentences of the Japanese Wikipedia, which hold a third of Han characters; one in fifty is mostly names and Han."""
    with lzma.open(real_data / "wiki" / "jawiki-20230501-truncated-100k-lines.xml.xz", "rt", encoding="utf-8") as dump:
        lines = [line.strip() for line in itertools.islice(dump, 20_000)]
    sentences = [line for line in lines if len(line) > 40 and line.endswith(("である。", "した。", "する。", "れる。", "いる。"))]
    assert len(sentences) > 500
    assert sum(verdict(text(sentence)) == "kept" for sentence in sentences) / len(sentences) < 0.03
