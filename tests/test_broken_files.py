"""Files that end too early or cannot be read: their whole rows where a cut is tolerated, the rest without them where they may be left out."""

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

from tasks import extract, ingest
from tasks.artifacts.stage import Job
from tasks.data.rows import CutFile, Drop, files, read
from tasks.files.jsons import json_rows
from tasks.files.tables import csv_rows, parquet_rows, table_rows
from tasks.processes import reading
from tasks.processes.reading import BrokenFiles, tolerant
from tests.test_containers import zstd

ROWS = [{"instruction": f"第{n}问，“{n * 7}”", "output": f"第{n}答：\n{n * 31}，{{[{n}]}}"} for n in range(9)]


def parts(found: list[Any]) -> tuple[list[Any], list[Drop]]:
    """Rows, and rows that are none."""
    return [row for row in found if not isinstance(row, Drop)], [row for row in found if isinstance(row, Drop)]


def table(rows: list[dict[str, str]], delimiter: str = ",") -> str:
    text = io.StringIO(newline="")
    writer = csv.writer(text, delimiter=delimiter, lineterminator="\n")
    writer.writerows([rows[0].keys(), *(row.values() for row in rows)])
    return text.getvalue()


@pytest.mark.parametrize("indent", [None, 1])
@pytest.mark.parametrize("chunk", [5, 1 << 20])
def test_a_json_array_cut_anywhere_has_its_whole_rows(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, chunk: int, indent: int | None
) -> None:
    monkeypatch.setattr("tasks.files.jsons.CHUNK", chunk)
    path, data, ends = tmp_path / "a.json", json.dumps(ROWS, ensure_ascii=False, indent=indent).encode(), []
    for row in ROWS:
        text = json.dumps(row, ensure_ascii=False, indent=indent).replace("\n", "\n " if indent else "\n").encode()
        ends.append(data.index(text, ends[-1] if ends else 0) + len(text))
    for size in range(2, len(data)):
        path.write_bytes(data[:size])
        good, bad = parts(list(tolerant(json_rows, path)))
        assert good == ROWS[: sum(end <= size for end in ends)], size
        assert [drop.reason for drop in bad] == ["file cut"] and "its JSON array is cut" in bad[0].detail
        with pytest.raises(CutFile, match="download it again, or set tolerate_truncation to keep the whole rows"):
            list(json_rows(path))


def test_json_lines_cut_anywhere_have_their_whole_rows(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    lines = [json.dumps(row, ensure_ascii=False).encode() + b"\n" for row in ROWS]
    data = b"".join(lines)
    for size in range(len(lines[0]), len(data)):
        path.write_bytes(data[:size])
        whole = data[:size].count(b"\n") + (data[size : size + 1] == b"\n")
        good, bad = parts(list(tolerant(json_rows, path)))
        assert good == ROWS[:whole], size
        assert [drop.reason for drop in bad] == ["file cut"] * (data[size - 1 : size] != b"\n" and data[size : size + 1] != b"\n")


@pytest.mark.parametrize("delimiter", [",", "\t"])
def test_a_table_cut_anywhere_has_its_whole_rows(tmp_path: Path, delimiter: str) -> None:
    path, data = tmp_path / "a.csv", table(ROWS, delimiter).encode()
    ends = [len(table(ROWS[:n], delimiter).encode()) for n in range(1, len(ROWS) + 1)]
    for size in range(data.index(b"\n") + 1, len(data)):
        path.write_bytes(data[:size])
        good, bad = parts(list(tolerant(lambda path: csv_rows(path, delimiter), path)))
        assert good == ROWS[: sum(end <= size for end in ends)], size
        assert [drop.reason for drop in bad] == ["file cut"] * (size not in (data.index(b"\n") + 1, *ends)), size


def test_a_stray_quote_in_a_table_is_no_cut(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text('x,y\na,b\nc,"d\ne,f\n', "utf-8")
    good, bad = parts(list(tolerant(csv_rows, path)))
    assert good == [{"x": "a", "y": "b"}, {"x": "e", "y": "f"}] and [drop.reason for drop in bad] == ["broken CSV"]


@pytest.mark.parametrize("pack", [gzip.compress, bz2.compress, lzma.compress, zstd])
@pytest.mark.parametrize("name", ["a.json", "a.jsonl", "a.csv"])
def test_what_can_be_unpacked_of_a_cut_file_is_read_to_its_last_whole_row(tmp_path: Path, name: str, pack: Any) -> None:
    rows = [
        {"instruction": f"第{n}问", "output": "".join(chr(0x4E00 + (n * 7919 * k) % 9000) for k in range(60))}
        for n in range(9000)
    ]
    text = {
        "a.json": lambda: json.dumps(rows, ensure_ascii=False),
        "a.jsonl": lambda: "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows),
        "a.csv": lambda: table(rows),
    }[name]().encode()
    path, whole = tmp_path / name, pack(text)
    path.write_bytes(whole[: len(whole) * 3 // 4])
    good, bad = parts(list(tolerant(table_rows, path)))
    assert good == rows[: len(good)] and len(good) > 9000 * 0.4
    assert [drop.reason for drop in bad] == ["file cut"] and "compressed data ends too early" in bad[0].detail
    with pytest.raises(CutFile, match="compressed data ends too early or is damaged"):
        list(table_rows(path))


def test_of_a_small_gzip_file_every_row_before_the_cut_is_had(tmp_path: Path) -> None:
    lines = [json.dumps(row, ensure_ascii=False) + "\n" for row in ROWS]
    for name, text in (("a.jsonl", "".join(lines)), ("a.json", json.dumps(ROWS, ensure_ascii=False)), ("a.csv", table(ROWS))):
        (tmp_path / name).write_bytes(gzip.compress(text.encode())[:-4])  # all data, and half of its check
        good, bad = parts(list(tolerant(table_rows, tmp_path / name)))
        assert good == ROWS and [drop.reason for drop in bad] == ["file cut"]
    (tmp_path / "b.csv").write_bytes(gzip.compress(table(ROWS).encode("gb18030"))[:-4])
    assert parts(list(tolerant(table_rows, tmp_path / "b.csv")))[0] == ROWS


def test_parquet_has_the_rows_before_the_damage_and_none_without_its_footer(tmp_path: Path) -> None:
    path, rows = tmp_path / "a.parquet", [{"a": f"{n}号" * 50} for n in range(5000)]
    pq.write_table(pa.Table.from_pylist(rows), path, row_group_size=1000, compression="none", use_dictionary=False)
    whole = path.read_bytes()
    place = pq.ParquetFile(path).metadata.row_group(3).column(0).data_page_offset
    path.write_bytes(whole[:place] + b"\xff" * 2000 + whole[place + 2000 :])
    good, bad = parts(list(tolerant(parquet_rows, path)))
    assert good == rows[:3000] and [drop.reason for drop in bad] == ["file cut"]
    assert "after 3,000 rows its data is damaged" in bad[0].detail and "it has 5,000" in bad[0].detail
    path.write_bytes(whole[:-9])
    with pytest.raises(
        ValueError, match=r"footer cannot be read .* not one row can be had; download it again, or set broken: skip"
    ):
        list(tolerant(parquet_rows, path))


# sources


def written(home: Path) -> list[Path]:
    """Three files of one source: the second is cut, the third is none at all."""
    home.mkdir()
    paths = [home / name for name in ("a.json", "b.json", "c.json")]
    paths[0].write_text(json.dumps(ROWS[:4], ensure_ascii=False), "utf-8")
    paths[1].write_text(json.dumps(ROWS[4:], ensure_ascii=False)[:-20], "utf-8")
    paths[2].write_text("<html>404</html>", "utf-8")
    return paths


def ingested(home: Path, paths: list[Path], **params: Any) -> tuple[dict[str, Any], Job, list[str]]:
    said: list[str] = []
    job = Job(out=home / "out", scratch=home / "scratch", log=said.append)
    return ingest.run(job, ingest.Params(source="chat", format="belle", **params), files=paths), job, said


def questions(job: Job) -> list[str]:
    return [row["messages"][0]["content"] for row in read(files(job.out, kind="conversations"))]


def test_every_broken_file_of_a_source_is_named(tmp_path: Path) -> None:
    paths = written(tmp_path / "raw")
    with pytest.raises(BrokenFiles) as failure:
        ingested(tmp_path, paths)
    assert [error.path for error in failure.value.broken] == paths[1:]
    assert str(failure.value).startswith("2 of 3 files cannot be read (the work on the rest is kept): ")


@pytest.mark.parametrize("batch", [2, 20_000])
def test_a_source_goes_on_without_its_broken_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, batch: int) -> None:
    """Without any of their rows, though some shards of theirs were made before it showed."""
    monkeypatch.setattr(reading, "BATCH_ROWS", batch)
    paths = written(tmp_path / "raw")
    stats, job, said = ingested(tmp_path, paths, broken="skip")
    assert stats["funnel"] == {"chat": {"in": 4, "kept": 4, "dropped": {}}} and len(questions(job)) == 4
    assert [file["file"] for file in stats["left_out"]] == ["b.json", "c.json"]
    assert "JSON array is cut" in stats["left_out"][0]["why"] and "HTML page" in stats["left_out"][1]["why"]
    assert [line.split(": it")[0] for line in said] == [f"left out (broken: skip): {path}" for path in paths[1:]][:1] + [
        line.split(": it")[0] for line in said[1:]
    ]
    stats, job, _ = ingested(tmp_path / "both", paths, broken="skip", tolerate_truncation=True)
    assert stats["funnel"] == {"chat": {"in": 9, "kept": 8, "dropped": {"file cut": 1}}} and len(questions(job)) == 8
    assert [file["file"] for file in stats["left_out"]] == ["c.json"]
    again, other, _ = ingested(tmp_path / "again", paths[:1], broken="skip")
    assert "left_out" not in again and len(questions(other)) == 4


def test_a_source_of_nothing_but_broken_files_has_no_rows(tmp_path: Path) -> None:
    stats, job, _ = ingested(tmp_path, written(tmp_path / "raw")[1:], broken="skip")
    assert stats["funnel"] == {"chat": {"in": 0, "kept": 0, "dropped": {}}} and len(stats["left_out"]) == 2
    assert questions(job) == [] and len(files(job.out, kind="conversations")) == 1


def test_a_cut_wiki_is_left_out_or_read_to_its_cut(tmp_path: Path) -> None:
    page = "<page><title>{0}</title><ns>0</ns><id>{0}</id><revision><id>1</id><text>{1}</text></revision></page>\n"
    for name, size in (("a", 9), ("b", 5)):
        pages = "".join(page.format(n, f"{name}{n}号河流过许多村庄，" * 20) for n in range(size))
        (tmp_path / f"{name}.xml").write_text(f"<mediawiki>\n{pages}" + ("</mediawiki>" if name == "a" else "<page><ti"), "utf-8")
    paths = [tmp_path / "a.xml", tmp_path / "b.xml"]
    for name, tolerates, kept in (("skipped", False, 9), ("tolerated", True, 14)):
        job = Job(out=tmp_path / name / "out", scratch=tmp_path / name / "scratch")
        params = extract.Params(source="wiki", broken="skip", tolerate_truncation=tolerates)
        stats = extract.run(job, params, files=paths)
        assert stats["funnel"]["wiki"]["kept"] == kept
        assert [file["file"] for file in stats.get("left_out", ())] == ([] if tolerates else ["b.xml"])
