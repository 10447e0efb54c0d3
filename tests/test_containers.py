"""Containers: JSON in three layouts, CSV in two encodings, Parquet, four compressions; each a piece at a time, each broken row on its own."""

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
from hypothesis import given, settings
from hypothesis import strategies as st

from tasks.data.rows import BrokenFile, Drop
from tasks.files import charset as charsets
from tasks.files import jsons, tables
from tasks.files.charset import charset, lines
from tasks.files.jsons import json_rows
from tasks.files.opening import decompressed, inside
from tasks.files.tables import container, csv_rows, parquet_rows, table_rows


def zstd(data: bytes) -> bytes:
    return bytes(pa.compress(data, codec="zstd", asbytes=True))


def good(rows: Any) -> list[Any]:
    return [row for row in rows if not isinstance(row, Drop)]


def drops(rows: Any) -> list[Drop]:
    return [row for row in rows if isinstance(row, Drop)]


# compression


@pytest.mark.parametrize("pack", [bytes, gzip.compress, bz2.compress, lzma.compress, zstd])
def test_compression_is_known_by_content(tmp_path: Path, pack: Any) -> None:
    data = b"".join(b"%d\n" % (n * 7919) for n in range(40_000))
    path = tmp_path / "a.txt"
    path.write_bytes(pack(data[:99_999]) + (pack(data[99_999:]) if pack is not bytes else data[99_999:]))
    with decompressed(path) as file:
        assert file.read() == data
    assert inside(path, 70_000) == data[:70_000]


@pytest.mark.parametrize("pack", [gzip.compress, bz2.compress, lzma.compress, zstd])
def test_compressed_files_that_were_cut_or_damaged(tmp_path: Path, pack: Any) -> None:
    rows = b"".join(json.dumps({"instruction": f"q{n}", "output": f"{n * 7919}"}).encode() + b"\n" for n in range(3000))
    whole, path = pack(rows), tmp_path / "a.jsonl"
    middle = len(whole) // 2
    for data in (whole[: len(whole) * 2 // 3], whole[:-3], whole[:middle] + bytes(40) + whole[middle + 40 :]):
        path.write_bytes(data)
        with pytest.raises(BrokenFile, match=r"a\.jsonl: its compressed data ends too early or is damaged .*; download it again"):
            list(json_rows(path))


# JSON


def test_broken_json_lines_are_dropped_and_counted(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    rows = [
        b'\xef\xbb\xbf{"a": 1}', b'{"a": ""2}', b"", b"\xff\xfe", b"[1]", b'{"a": "\t"}', b'\xef\xbb\xbf{"a": 4}',
        b'{"a": ' + b"9" * 5000 + b"}", b"[" * 5000, b'{"a": 3',
    ]  # fmt: skip
    path.write_bytes(b"\n".join(rows))
    found = list(json_rows(path))
    assert good(found) == [{"a": 1}, {"a": "\t"}, {"a": 4}]
    assert [drop.reason for drop in drops(found)] == [
        "broken JSON", "broken encoding", "not an object", "broken JSON", "broken JSON", "broken JSON",
    ]  # fmt: skip
    assert drops(found)[0].detail.startswith("line 2:") and drops(found)[-1].detail.endswith("the file ends inside this line")


@pytest.mark.parametrize("chunk", [1, 2, 7, 1 << 20])
@pytest.mark.parametrize("indent", [None, 1])
def test_json_arrays_are_read_in_chunks_of_any_size(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, chunk: int, indent: int | None
) -> None:
    monkeypatch.setattr(jsons, "CHUNK", chunk)
    rows = [{"a": "一]}, {[", "b": [1, {"c": None}]}, {"d": '\\"' * 9}, {}, {"e": "长" * 3000}]
    path = tmp_path / "a.json"
    path.write_text(json.dumps(rows, ensure_ascii=False, indent=indent), "utf-8")
    assert list(json_rows(path)) == rows
    path.write_text("\n".join(json.dumps(row, ensure_ascii=False, indent=1) for row in rows), "utf-8")
    assert list(json_rows(path)) == rows  # objects over several lines
    path.write_text(" [ ]\n", "utf-8")
    assert list(json_rows(path)) == []


def test_one_object_over_several_lines_is_one_row(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    path.write_text('\ufeff{\n    "conversation_id": "10",\n    "chat": {\n        "turn_1": {}\n    }\n}\n', "utf-8")
    assert list(json_rows(path)) == [{"conversation_id": "10", "chat": {"turn_1": {}}}]


def test_a_broken_element_of_an_array_costs_only_itself(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    path.write_text('[{"a": 1}, {"a": ""2"}, {"a": 3}, {"a": nope}, {"a": 5}, {"a" 6}]', "utf-8")
    found = list(json_rows(path))
    assert good(found) == [{"a": 1}, {"a": 3}, {"a": 5}]
    assert [drop.detail.split(":")[0] for drop in drops(found)] == ["row 2", "row 4", "row 6"]


@pytest.mark.parametrize("chunk", [5, 1 << 20])
@pytest.mark.parametrize("harm", ['"b"', '"b" "c"', '"b"]', 'b"c', '{"value": ', "]", "NULL", "[" * 3000])
def test_turns_inside_a_broken_row_are_no_rows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, chunk: int, harm: str) -> None:
    monkeypatch.setattr(jsons, "CHUNK", chunk)
    rows = [json.dumps({"id": n, "turns": [{"from": "human", "value": "a"}, {"from": "gpt", "value": "c"}]}) for n in range(5)]
    rows[2] = rows[2].replace('"a"', harm if harm != '"b"' else '"b', 1)
    path = tmp_path / "a.json"
    path.write_text(f"[{', '.join(rows)}]", "utf-8")
    found = list(json_rows(path))
    assert [row["id"] for row in good(found)] == [0, 1, 3, 4]
    assert [drop.reason for drop in drops(found)] == ["broken JSON"]


def test_arrays_one_after_the_other(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    path.write_text('[{"a": 1}]\n[{"a": 2}]\n', "utf-8")
    assert list(json_rows(path)) == [{"a": 1}, {"a": 2}]
    path.write_text('[{"a": 1}] and more', "utf-8")
    assert [getattr(row, "reason", row) for row in json_rows(path)] == [{"a": 1}, "broken JSON"]


def test_json_that_was_cut(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    for text, what in {
        '[{"a": 1}, {"a": 2, "b': "cut inside row 2",
        '[{"a": 1}, {"a": 2},': "cut after 2 rows",
        '[{"a": 1}, {"a": nope, "b": 2': "cut inside row 2",
    }.items():
        path.write_text(text, "utf-8")
        with pytest.raises(BrokenFile, match=f"its JSON array is {what}; download it again"):
            list(json_rows(path))


def test_rows_too_long_are_dropped_not_held(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jsons, "LONGEST", 1000)
    monkeypatch.setattr(jsons, "CHUNK", 100)
    long = json.dumps({"a": "x" * 5000})
    path = tmp_path / "a.json"
    path.write_text('{"a": 1}\n' + long + '\n{"a": 2}\n', "utf-8")
    assert [getattr(row, "reason", row) for row in json_rows(path)] == [{"a": 1}, "row too long", {"a": 2}]
    path.write_text('[{"a": 1}, ' + long + ', {"a": 2}]', "utf-8")
    assert [getattr(row, "reason", row) for row in json_rows(path)] == [{"a": 1}, "row too long", {"a": 2}]
    path.write_text('{\n"data": [\n' + '{"a": 1},\n' * 500 + "]}", "utf-8")
    with pytest.raises(
        BrokenFile, match=r"none of its 1 rows is a JSON object \(the first: row too long.*write one object a line"
    ):
        list(json_rows(path))


def test_files_without_one_json_object(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    path.write_text('[["问", "答"], ["问", "答"]]', "utf-8")
    with pytest.raises(BrokenFile, match=r"none of its 2 rows is a JSON object \(the first: not an object, a JSON list\)"):
        list(json_rows(path))


# encodings


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "gbk", "gb18030"])
@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_encodings_and_line_ends(tmp_path: Path, encoding: str, end: str) -> None:
    text = end.join(["联通,答", "高血压能吃党参吗？,可以", "头痛,多休息"]) + ("" if encoding == "gbk" else f"{end}㐀𠮷,€")
    (tmp_path / "a.csv").write_bytes(text.encode(encoding))
    found = charset(tmp_path / "a.csv")
    assert found.name == ("utf-8" if "utf" in encoding else "gb18030") and not found.mixed
    assert "".join(map(found.decode, lines(tmp_path / "a.csv"))) == text


def test_a_damaged_byte_costs_one_row(tmp_path: Path) -> None:
    rows = [f"高血压能吃党参吗{n},可以少量吃一点，但要慢慢来" for n in range(40)]
    for encoding in ("utf-8", "gb18030"):
        data = "\n".join(["问,答", *rows]).encode(encoding).split(b"\n")
        data[7] = data[7][:4] + b"\xff" + data[7][4:]
        (tmp_path / "a.csv").write_bytes(b"\n".join(data))
        found = list(csv_rows(tmp_path / "a.csv"))
        assert [row["问"] for row in good(found)] == [row.split(",")[0] for row in rows if row != rows[6]]
        assert [(drop.reason, drop.detail) for drop in drops(found)] == [
            ("broken encoding", f"line 8 is not in {encoding.upper()}")
        ]


def test_files_of_both_encodings_that_were_joined(tmp_path: Path) -> None:
    rows = [f"高血压能吃党参吗{n},可以少量吃一点" for n in range(40)]
    data = [row.encode("gbk" if n % 2 else "utf-8") for n, row in enumerate(["问,答", *rows])]
    (tmp_path / "a.csv").write_bytes(b"\n".join(data))
    assert [row["问"] for row in csv_rows(tmp_path / "a.csv") if isinstance(row, dict)] == [row.split(",")[0] for row in rows]


def test_files_in_no_encoding(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_bytes(b"title,ask,answer\n" + b"\xff\xff\xff\x81\n")
    with pytest.raises(
        BrokenFile, match="a text file in no encoding we know: line 2 is in neither UTF-8 nor GB18030; convert it"
    ):
        list(csv_rows(path))
    path.write_bytes("title,ask,answer\n你,好,啊\n".encode("utf-16"))
    with pytest.raises(BrokenFile, match="UTF-16 text, which has to be converted to UTF-8"):
        list(csv_rows(path))


# CSV


def test_a_broken_row_of_a_table_is_its_first_line(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    rows = [
        "title,ask,answer",
        "a,b,c",
        'd,"e"x,f',
        "",
        "g,h,i",
        'j,"k,l',
        "m,n,o",
        'p,"q\nr",s',
        "t,u",
        "v,w,x,",
        'y,"z,1',
        "2,3,4",
    ]
    path.write_text("\n".join(rows) + "\n", "utf-8")
    found = list(csv_rows(path))
    assert ["".join(row.values()) for row in good(found)] == ["abc", "ghi", "mno", "pq\nrs", "vwx", "234"]
    assert [(drop.reason, drop.detail.split(":")[0]) for drop in drops(found)] == [
        ("broken CSV", "line 3"), ("broken CSV", "line 6"), ("wrong number of columns", "line 10"), ("broken CSV", "line 12"),
    ]  # fmt: skip


@pytest.mark.parametrize("limit", [("LONGEST", 500), ("_OPEN", 50)])
def test_a_stray_quote_costs_one_row_of_many(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, limit: tuple[str, int]) -> None:
    monkeypatch.setattr(tables, *limit)
    path = tmp_path / "a.csv"
    path.write_text('ask,answer\na,"b\n' + "c,d\n" * 2000, "utf-8")
    found = list(csv_rows(path))
    assert (len(good(found)), [drop.reason for drop in drops(found)]) == (2000, ["row too long"])


@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_a_line_too_long_is_dropped_not_held(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, end: str) -> None:
    for module in (charsets, tables):
        monkeypatch.setattr(module, "LONGEST", 1000)
    (tmp_path / "a.csv").write_text(f"ask,answer{end}a,b{end}{'x' * 5000},c{end}d,e{end}", "utf-8", newline="")
    assert [getattr(row, "reason", row) for row in csv_rows(tmp_path / "a.csv")] == [
        {"ask": "a", "answer": "b"}, "row too long", {"ask": "d", "answer": "e"},
    ]  # fmt: skip


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.lists(st.text(st.sampled_from('ab中文",\n\r\t 。'), max_size=9), min_size=3, max_size=3), min_size=1, max_size=9)
)
def test_what_the_csv_module_writes_is_read_back(tmp_path_factory: pytest.TempPathFactory, rows: list[list[str]]) -> None:
    path = tmp_path_factory.mktemp("csv") / "a.csv"
    for delimiter, encoding in ((",", "utf-8"), ("\t", "gb18030")):
        text = io.StringIO(newline="")
        csv.writer(text, delimiter=delimiter, quoting=csv.QUOTE_ALL).writerows([["x", "y", "z"], *rows])
        path.write_bytes(text.getvalue().encode(encoding))
        assert [list(row.values()) for row in csv_rows(path, delimiter) if isinstance(row, dict)] == rows


# Parquet


def test_parquet_rows_that_cannot_be_read_are_dropped(tmp_path: Path) -> None:
    column = pa.array([b"\xe9\x97\xae", b"\xff\xfe", b"ok"]).view(pa.utf8())
    pq.write_table(pa.table({"a": column}), tmp_path / "a.parquet")
    found = list(parquet_rows(tmp_path / "a.parquet"))
    assert [getattr(row, "reason", row) for row in found] == [{"a": "问"}, "broken row", {"a": "ok"}]


def test_parquet_that_was_cut_or_damaged(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    pq.write_table(pa.table({"a": [str(n) * 50 for n in range(999)]}), path)
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) * 2 // 3])
    with pytest.raises(BrokenFile, match="its Parquet footer cannot be read"):
        list(parquet_rows(path))
    path.write_bytes(whole[:60] + bytes(200) + whole[260:])
    with pytest.raises(BrokenFile, match=r"after 0 rows its data is damaged"):
        list(parquet_rows(path))


def test_containers_are_told_apart_by_content_then_by_name(tmp_path: Path) -> None:
    pq.write_table(pa.table({"a": ["b"]}), tmp_path / "x.txt")
    for name, data, expected in [
        ("a.csv", b'{"a": 1}', "json"),
        ("b.json.zst", zstd(b'[{"a": 1}]'), "json"),
        ("c.tsv.gz", gzip.compress(b"a,b\n"), "tsv"),
        ("d.txt", b"a\tb\n1\t2\n", "tsv"),
        ("e", "问,答\n".encode(), "csv"),
        ("f.json", b"<html>", ""),
        ("g.xml", b"<mediawiki>", ""),
        ("h.txt", b"prose", ""),
    ]:
        (tmp_path / name).write_bytes(data)
        assert container(tmp_path / name) == expected, name
    assert container(tmp_path / "x.txt") == "parquet"
    assert list(table_rows(tmp_path / "x.txt")) == [{"a": "b"}]
