"""The sample corpus is as dirty as it says: every plant is found as often as it was counted."""

from __future__ import annotations

import bz2
import json
import re
from collections import Counter
from hashlib import sha1
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from tasks import sample
from tasks.sample import Params
from tasks.text import boilerplate, privacy, quality
from tasks.world import dirt
from tests.sample_files import (
    QA,
    SIZE,
    TEXTS,
    articles,
    dialogues,
    exam,
    grams,
    key,
    lines,
    medical,
    pages,
    texts,
    written,
)


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("sample")
    sample.write_corpus(out, Params(size=SIZE))
    return out


@pytest.fixture(scope="module")
def plants(home: Path) -> dict[str, int]:
    return written(home, "plants")


def test_plants_are_documented(plants: dict[str, int]) -> None:
    sources = ("exam", *(source.name for source in sample.SOURCES))
    for name in plants.keys() - {"leaked_questions"}:
        assert any(name == f"{source}_{what}" for source in sources for what in dirt.MEANING), name


def test_rows(home: Path, plants: dict[str, int]) -> None:
    for source, file in (
        ("belle", "belle/train_2M_CN.json"),
        ("belle_chat", "belle/train_3.5M_CN.json"),
        ("triples", "triples/duie_train.json"),
    ):
        rows = lines(home / file)
        assert (len(rows), rows.count(None)) == (plants[f"{source}_rows"], plants[f"{source}_broken_lines"])
    for source in ("zhihu", "alpaca", "preference"):
        assert len(dialogues(home, source)) == plants[f"{source}_rows"]
    assert len(medical(home)) == plants["medical_rows"]
    assert len(exam(home)) == plants["exam_rows"]


def test_missing_and_empty(home: Path, plants: dict[str, int]) -> None:
    belle = [row for row in lines(home / "belle/train_2M_CN.json") if row]
    assert sum("output" not in row for row in belle) == plants["belle_missing_fields"]
    assert sum(row.get("output") == "" for row in belle) == plants["belle_empty_answers"]
    talks = [row for row in lines(home / "belle/train_3.5M_CN.json") if row]
    turns = [row["conversations"] for row in talks if "conversations" in row]
    assert len(talks) - len(turns) == plants["belle_chat_missing_fields"]
    assert sum(talk[-1]["from"] == "human" for talk in turns) == plants["belle_chat_unfinished"]
    assert sum(talk[-1]["value"] == "" for talk in turns) == plants["belle_chat_empty_answers"]
    for talk in turns:
        assert [turn["from"] for turn in talk] == [("human", "assistant")[place % 2] for place in range(len(talk))]
    zhihu = pq.read_table(next(home.glob("zhihu/*.parquet")))
    assert zhihu.column_names == ["INSTRUCTION", "RESPONSE", "SOURCE", "METADATA"]
    assert zhihu["RESPONSE"].null_count == plants["zhihu_empty_answers"]
    assert {"question_id", "answer_id", "url", "upvotes", "answer_creation_time"} == set(json.loads(zhihu["METADATA"][0].as_py()))
    alpaca = json.loads((home / "alpaca/alpaca_gpt4_data_zh.json").read_text("utf-8"))
    assert sum("output" not in row for row in alpaca) == plants["alpaca_missing_fields"]
    assert sum(row.get("output") == "" for row in alpaca) == plants["alpaca_empty_answers"]
    assert sum("无输入" in row["input"] or "没有输入" in row["input"] for row in alpaca) == plants["alpaca_placeholder_inputs"]
    pairs = json.loads((home / "preference/huozi_rlhf_data.json").read_text("utf-8"))
    assert sum("chosen" not in row for row in pairs) == plants["preference_missing_fields"]
    assert sum(row["reject"] == "" for row in pairs) == plants["preference_empty_rejects"]
    assert sum(row.get("chosen") == row["reject"] for row in pairs) == plants["preference_identical_answers"]


def test_medical_is_gb18030(home: Path, plants: dict[str, int]) -> None:
    raw = (home / "medical/内科.csv").read_bytes()
    with pytest.raises(UnicodeDecodeError):
        raw.decode("gbk")
    assert raw.startswith(b"department,title,ask,answer\n")
    rows = medical(home)
    good = [row for row in rows if len(row) == 4]
    assert len(rows) - len(good) == plants["medical_wrong_cells"]
    assert sum(row[3] == "" for row in good) == plants["medical_empty_answers"]
    # a repeated row counts once here, and a printed exam question has lines of its own
    asked = {key(row[2] + row[3]): row[2].strip() for row in good if "A. " not in row[2]}.values()
    assert (
        0
        < plants["medical_multiline"]
        <= sum("\n" in ask for ask in asked)
        <= plants["medical_multiline"] + plants["medical_near_duplicates"]
    )
    assert (
        0
        < plants["medical_four_bytes"]
        <= sum("😊" in ask for ask in asked)
        <= plants["medical_four_bytes"] + plants["medical_near_duplicates"]
    )


def test_triples(home: Path, plants: dict[str, int]) -> None:
    rows = [row for row in lines(home / "triples/duie_train.json") if row]
    assert sum(not row["spo_list"] for row in rows) == plants["triples_empty_lists"]
    missing = [row for row in rows if any(triple["object"]["@value"] not in row["text"] for triple in row["spo_list"])]
    assert len(missing) == plants["triples_missing_objects"]
    assert all(triple["subject"] in row["text"] for row in rows for triple in row["spo_list"])
    assert len(rows) - len({key(row["text"]) for row in rows}) == plants["triples_exact_duplicates"]


def test_wiki_pages(home: Path, plants: dict[str, int]) -> None:
    found = pages(home)
    assert len(found) == plants["wiki_rows"]
    assert sum(page["redirect"] is not None for page in found) == plants["wiki_redirects"]
    assert all(
        (page["redirect"] is not None) == (page["text"] or "").lower().startswith(("#redirect", "#重定向")) for page in found
    )
    assert sum(page["ns"] != "0" for page in found) == plants["wiki_other_namespaces"]
    assert sum(page["deleted"] is not None for page in found) == plants["wiki_deleted_texts"]
    bodies = articles(home)
    assert len(bodies) == plants["wiki_articles"]
    assert sum("{{disambig}}" in text for text in bodies) == plants["wiki_disambiguations"]
    assert sum("<div" in text for text in bodies) == plants["wiki_html"]
    assert sum("{{expand|" in text or "[[未完成" in text for text in bodies) == plants["wiki_unclosed_markup"]
    assert sum(not re.search("[\u4e00-\u9fff]", text) for text in bodies) == plants["wiki_foreign"]
    assert sum("{{stub}}" in text for text in bodies) == plants["wiki_too_short"]
    for page in found:
        if page["text"]:
            assert int(page["bytes"] or 0) == len(page["text"].encode())
            assert int(page["sha1"] or "", 36) == int(sha1(page["text"].encode()).hexdigest(), 16)
    for mark in (
        "{{Infobox",
        "{|",
        "<ref",
        "-{zh-hans:",
        "[[File:",
        "[[Category:",
        "<!--",
        "{{NoteTA",
        "'''",
        "\n== ",
        "\n=== ",
        "\n* [[",
    ):
        assert any(mark in text for text in bodies), mark


def test_traditional(home: Path, plants: dict[str, int]) -> None:
    import opencc

    simplify = opencc.OpenCC("t2s").convert
    for source in ("wiki", "zhihu"):
        bodies = [re.sub(r"-\{.*?\}-|NoteTA.*", "", text) for text in texts(home, source)]
        assert sum(simplify(text) != text for text in bodies) == plants[f"{source}_traditional"]


def test_dump_is_multistream(home: Path) -> None:
    rest, streams = next(home.glob("wiki/*.xml.bz2")).read_bytes(), []
    while rest:
        stream = bz2.BZ2Decompressor()
        streams.append(stream.decompress(rest).decode())
        rest = stream.unused_data
    assert streams[0].startswith("<mediawiki") and streams[0].endswith("</siteinfo>\n") and streams[-1] == "</mediawiki>\n"
    assert len(streams) >= 4
    assert all(stream.startswith("  <page>") and stream.count("</page>") == 100 for stream in streams[1:-2])


@pytest.mark.parametrize("source", TEXTS)
def test_leaked_questions(home: Path, plants: dict[str, int], source: str) -> None:
    stems = [question[0] for question in exam(home)]
    found = [stem for text in texts(home, source) for stem in stems if stem in text]
    assert len(found) == plants[f"{source}_leaked_questions"] == len(set(found))
    assert plants["leaked_questions"] == sum(plants[f"{name}_leaked_questions"] for name in TEXTS)


@pytest.mark.parametrize("source", TEXTS)
def test_personal_data(home: Path, plants: dict[str, int], source: str) -> None:
    found = Counter(frozenset(one.kind for one in privacy.find_personal_data(text)) for text in texts(home, source))
    del found[frozenset()]
    kinds = {"phone": "phone_numbers", "id_number": "id_numbers", "email": "emails"}
    assert found == {frozenset([kind]): plants[f"{source}_{name}"] for kind, name in kinds.items()}


@pytest.mark.parametrize("source", QA)
def test_rows_that_rules_object_to(home: Path, plants: dict[str, int], source: str) -> None:
    rows = [turns for turns in dialogues(home, source) if turns]
    counted = {
        "html": sum("<p>" in turns[1] for turns in rows),
        "ads": sum(boilerplate.has_boilerplate("\n".join(turns)) for turns in rows),
        "translations": sum(quality.is_translation_task(turns[0]) for turns in rows),
        "tables": sum(any(quality.is_table(turn) for turn in turns) for turns in rows),
        "refusals": sum("AI语言模型" in turns[1] for turns in rows),
        "too_short": sum(0 < len(turns[1].strip()) < 7 for turns in rows),
    }
    assert counted == {name: plants.get(f"{source}_{name}", 0) for name in counted}


@pytest.mark.parametrize("source", TEXTS)
def test_duplicates(home: Path, plants: dict[str, int], source: str) -> None:
    """Exact ones by letters and digits; near ones by 5-grams, with nothing between 0.7 and 0.88, where a threshold would decide."""
    seen: list[set[str]] = []
    keys: set[str] = set()
    exact = near = 0
    for text in filter(None, map(key, texts(home, source))):
        if text in keys:
            exact += 1
            continue
        keys.add(text)
        mine = set(grams(text, 5))
        closest = max((len(mine & other) / len(mine | other) for other in seen if mine), default=0.0)
        assert closest < 0.7 or closest > 0.88, text
        near += closest > 0.88
        seen.append(mine)
    assert (exact, near) == (plants[f"{source}_exact_duplicates"], plants[f"{source}_near_duplicates"])


def test_no_duplicates_between_sources(home: Path) -> None:
    keys = Counter(text for source in QA for text in {key(text) for text in texts(home, source)})
    assert [text for text, count in keys.items() if count > 1 and text] == []
