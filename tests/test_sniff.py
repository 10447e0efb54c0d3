"""Tests of the sniffer: the words for a file, by every reader to which it does not belong, and to a person who asks."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tasks.data.rows import BrokenFile, Drop
from tasks.formats.registry import ours, reader
from tasks.formats.sniff import sniff

XML = "<mediawiki xmlns='x'><page><title>题</title><ns>0</ns><revision><text>文</text></revision></page></mediawiki>"
SPO = [{"subject": "甲", "predicate": "作者", "object": "乙"}]
# format → (name, what its sniffed file is called, rows or bytes)
SAMPLES: dict[str, tuple[str, str, Any]] = {
    "belle": ("a.json", "JSON Lines with instruction, input, output", [{"instruction": "问", "input": "", "output": "答"}]),
    "zhihu": (
        "a.parquet", "Parquet with INSTRUCTION, RESPONSE, METADATA",
        pa.table({"INSTRUCTION": ["问"], "RESPONSE": ["答"], "METADATA": ["{}"]}),
    ),
    "webtext": (
        "a.json", "JSON Lines with qid, title, desc, star, content",
        [{"qid": 1, "title": "题", "desc": "", "star": 3, "content": "答"}],
    ),
    "baike": ("a.json", "JSON Lines with title, summary, sections", [{"title": "题", "summary": "概要", "sections": []}]),
    "medical": ("a.csv", "a table (CSV) with department, title, ask, answer", "department,title,ask,answer\n内科,题,问,答\n".encode("gbk")),
    "cmedqa": ("a.csv", "a table (CSV) with ans_id, question_id, content", "ans_id,question_id,content\n7,1,答\n".encode()),
    "preference": ("a.json", "JSON Lines with prompt, chosen, reject", [{"prompt": "问", "chosen": "好", "reject": "坏"}]),
    "exam": (
        "a.csv", "a table (CSV) with id, question, a, b, c, d, answer",
        "id,question,A,B,C,D,answer\n0,问,甲,乙,丙,丁,A\n".encode(),
    ),
    "triples": ("a.json", "JSON Lines with text, spo_list", [{"text": "甲是乙写的", "spo_list": SPO}]),
    "text": ("a.jsonl", "JSON Lines with id, title, text", [{"id": "1", "title": "题", "text": "一篇文章"}]),
    "wiki": ("a.xml", "a MediaWiki export", XML.encode()),
}  # fmt: skip
ALSO = {
    ("text", "triples"),
    ("text", "webtext"),
    ("text", "cmedqa"),
    ("alpaca", "belle"),
}  # who can read what is not its own as well


def written(folder: Path, name: str) -> Path:
    file, _, content = SAMPLES[name]
    path = folder / file
    if name == "cmedqa":
        (folder / "question.csv").write_text("question_id,content\n1,问\n", "utf-8")
    if isinstance(content, pa.Table):
        pq.write_table(content, path)
    elif isinstance(content, bytes):
        path.write_bytes(content)
    else:
        path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in content), "utf-8")
    return path


@pytest.mark.parametrize("name", SAMPLES)
def test_a_file_is_named_by_what_it_holds(tmp_path: Path, name: str) -> None:
    path = written(tmp_path, name)
    found = sniff(path)
    assert (found.what, found.formats[0]) == (SAMPLES[name][1], name)
    assert str(found) == f"{found.what}; give the source `format: {name}`"
    if name == "zhihu":
        return  # Parquet compresses by itself
    packed = tmp_path / f"{path.name}.gz"
    packed.write_bytes(gzip.compress(path.read_bytes()))
    assert sniff(packed).what == f"{found.what} in a gzip file" and sniff(packed).formats == found.formats


@pytest.mark.parametrize("given", SAMPLES)
@pytest.mark.parametrize("name", ours())
def test_every_reader_names_what_a_file_of_another_format_is(tmp_path: Path, name: str, given: str) -> None:
    path = written(tmp_path, given)
    if name == given or (name, given) in ALSO:
        assert [row for row in reader(name).read(path) if not isinstance(row, Drop)]
        return
    with pytest.raises(BrokenFile) as error:
        list(reader(name).read(path))
    assert f"was expected, but it is {SAMPLES[given][1]}; give the source `format: {given}`" in str(error.value)
    assert str(error.value).startswith(f"{path}: ")


def test_the_error_names_what_was_expected(tmp_path: Path) -> None:
    path = written(tmp_path, "belle")
    for name, expected in {
        "zhihu": "a file with INSTRUCTION and RESPONSE",
        "medical": r"a table \(CSV\) with ask and answer, or prompt and reply",
        "triples": "a file with text and spo_list",
    }.items():
        with pytest.raises(BrokenFile, match=f"{expected} was expected, but it is JSON Lines with instruction, input, output"):
            list(reader(name).read(path))


@pytest.mark.parametrize(
    ("content", "what"),
    [
        ("只是一段文字，没有别的。\n第二行, 有逗号\n".encode(), "plain text"),
        (b'[\n  {\n    "a": 1\n  }\n]', "a JSON array of objects with a"),
        (b'{\n  "talk": {}\n}', "JSON objects over several lines with talk"),
        (b'[["\xe9\x97\xae", "\xe7\xad\x94"]]', "none of its 1 rows is a JSON object (the first: not an object, a JSON list)"),
        (b"<!DOCTYPE html><html>404</html>", "an HTML page, as a failed download leaves it"),
        (b"PK\x03\x04\x14\x00\x06\x00[Content_Types].xml", "an Office file, which has to be saved as CSV in UTF-8 first"),
        (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1\x00", "an Office file, which has to be saved as CSV in UTF-8 first"),
        (b"a.json".ljust(257, b"\x00") + b"ustar", "a tar archive, which has to be unpacked first"),
        (b"{'a': 1}\n" * 30, "JSON of which no row can be read (broken JSON, line 1: "),
        (
            b'{"version": "1", "data": [{"instruction": "a", "output": "b"}, {"instruction": "c", "output": "d"}]}',
            "one JSON object that holds the rows in lists: data (2); write each list to a file of its own",
        ),
        (b"PK\x03\x04\x00\x00", "a zip archive, which has to be unpacked first"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n", "a Git LFS pointer: the data itself was not downloaded"),
        (b"PAR1 and no footer", "its Parquet footer cannot be read"),
        (b"", "an empty file"),
        (gzip.compress(b"", mtime=0), "a gzip file with nothing in it that can be read"),
        (gzip.compress(b"", mtime=0)[:5], "a gzip file with nothing in it that can be read"),
        (b" \n\n", "a file of nothing but white space"),
        (b"abc\x00def", "a binary file"),
        ("中文".encode("utf-16"), "UTF-16 text, which has to be converted to UTF-8"),
    ],
)
def test_files_of_no_format(tmp_path: Path, content: bytes, what: str) -> None:
    path = tmp_path / "a"
    path.write_bytes(content)
    assert sniff(path).what.startswith(what)
    for name in ours():
        if name == "text" and what == "plain text":
            continue
        with pytest.raises(BrokenFile, match=r"/a: .*; \w"):
            list(reader(name).read(path))


def test_an_array_without_rows_is_of_every_format(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text("[]", "utf-8")
    assert sniff(tmp_path / "a.json").what == "JSON without rows"


def test_a_wrong_file_is_not_read_to_its_end(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    path.write_text('{"title": "题", "summary": "文"}\n' * 5000, "utf-8")
    rows = reader("belle").read(path)
    with pytest.raises(BrokenFile, match="give the source `format: baike`"):
        for count, row in enumerate(rows, start=1):  # noqa: B007
            assert isinstance(row, Drop) and row.reason == "unknown schema"
    assert count == 1000


def test_a_file_that_turns_bad_later_counts_every_row(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    good = '{"instruction": "问", "output": "答"}\n'
    path.write_text(good * 30 + '{"title": "题"}\n' * 2000 + "broken\n" * 50 + good, "utf-8")
    rows = list(reader("belle").read(path))
    assert len(rows) == 2081
    assert sum(not isinstance(row, Drop) for row in rows) == 31


def test_rows_that_say_nothing_are_no_wrong_format(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    path.write_text('{"instruction": "问", "output": ""}\n' * 3, "utf-8")
    assert [row.reason for row in reader("belle").read(path) if isinstance(row, Drop)] == ["no answer"] * 3
