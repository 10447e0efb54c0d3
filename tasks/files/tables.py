"""Tables: CSV and TSV by header name, Parquet by column, and rows of whichever container a file turns out to be."""

from __future__ import annotations

import codecs
import csv
import os
import sys
from collections import deque
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tasks.data.rows import ENDS_INSIDE, BrokenFile, CutFile, Drop
from tasks.files.charset import Charset, charset, lines, not_decoded, too_long, undecoded
from tasks.files.jsons import json_rows
from tasks.files.opening import LONGEST, head_of, inside, what_is

_PACKED = (".gz", ".bz2", ".xz", ".zst")
_OPEN = 100_000  # lines of a quoted cell, after which its quote is taken for a stray one
_BATCH = 16 << 20  # bytes of Parquet rows in memory at a time


def container(path: Path) -> str:
    """parquet, json, csv or tsv by the first bytes, then by the name, then by the first line; else "" for a file of no rows."""
    head = head_of(path)
    if head.startswith(b"PAR1"):
        return "parquet"
    start = inside(path)
    if what_is(start) == "a JSON file":
        return "json"
    if what_is(start) != "a text file":
        return ""
    if suffix(path) in (".csv", ".tsv"):
        return suffix(path)[1:]
    line = start.split(b"\n", 1)[0]
    return "tsv" if b"\t" in line else "csv" if b"," in line else ""


def ends_inside_a_row(path: Path) -> bool:
    """True of a CSV or TSV file, not compressed, whose last line has no end."""
    if container(path) not in ("csv", "tsv") or what_is(head_of(path)) != "a text file":
        return False
    with path.open("rb") as file:
        file.seek(-1, os.SEEK_END)
        return file.read(1) not in b"\r\n"


def suffix(path: Path) -> str:
    """The end of the name in lower case, without that of a compression: .csv of a.csv.gz."""
    names = [name.lower() for name in path.suffixes if name.lower() not in _PACKED]
    return names[-1] if names else ""


def table_rows(path: Path, kind: str = "") -> Iterator[dict[str, Any] | Drop]:
    """Rows of a Parquet, JSON, CSV or TSV file, told apart by `container` where `kind` does not say it."""
    kind = kind or container(path)
    if kind == "parquet":
        yield from parquet_rows(path)
    elif kind in ("csv", "tsv"):
        yield from csv_rows(path, "\t" if kind == "tsv" else ",")
    else:
        yield from json_rows(path)


def csv_rows(path: Path, delimiter: str = ",", encoding: Charset | None = None) -> Iterator[dict[str, str] | Drop]:
    """Rows by header name, the names lower-case and trimmed; UTF-8 or an older encoding, found out; quoted cells may hold line breaks.

    A broken row is its first line alone: after a stray quote the lines below it are read again.
    """
    csv.field_size_limit(sys.maxsize)  # the default, 131,072 characters, is shorter than some answers
    start = inside(path)
    if start and what_is(start) != "a text file":
        raise BrokenFile(path, f"a table (CSV) was expected, but it is {what_is(start)}", "give the source another format")
    text = _Lines(path, encoding or charset(path))
    delimiter = _delimiter(start, delimiter)
    header: list[str] = []
    while True:
        text.begin()
        try:
            row = next(csv.reader(text, delimiter=delimiter, strict=True))
        except StopIteration:
            break
        except (csv.Error, _TooLong) as error:
            if not header:
                raise BrokenFile(
                    path, f"a table with a header line was expected, but line {text.number} is broken ({error})"
                ) from None
            if text.is_torn(header, delimiter):
                yield Drop("broken CSV", f"line {text.number}: {error}; {ENDS_INSIDE} this row", text.row[0][:1000])
                break
            line, reason = text.back(), "row too long" if isinstance(error, _TooLong) else "broken CSV"
            yield Drop(reason, f"line {text.number}: {error}", line[:1000])
            continue
        if not row:  # a blank line
            continue
        where = f"line {text.number}"
        if not header:
            header = _header(path, row)
            continue
        while len(row) > len(header) and not row[-1]:  # a comma at the end of the line
            row.pop()
        if any(map(undecoded, row)):
            end = f"; {ENDS_INSIDE} this line" if text.is_last else ""
            yield not_decoded(f"{where} is not in {text.charset.title}{end}", delimiter.join(row))
        elif len(row) == len(header):
            yield dict(zip(header, row, strict=True))
        else:
            end = f"; {ENDS_INSIDE} this line" if len(row) < len(header) and text.is_last else ""
            yield Drop("wrong number of columns", f"{where}: {len(row)}, not {len(header)}{end}", delimiter.join(row)[:1000])
    if not header:
        raise BrokenFile(path, f"a table with a header line was expected, but it is {what_is(start)}")


def _delimiter(start: bytes, usual: str) -> str:
    """The mark between cells: the usual one, or another where the first line has that and not the usual one (as spreadsheets write)."""
    line = start.removeprefix(codecs.BOM_UTF8).split(b"\n", 1)[0]
    others = [mark for mark in ("\t", ";", ",") if mark.encode() in line]
    return others[0] if others and usual.encode() not in line else usual


def _header(path: Path, row: list[str]) -> list[str]:
    if not any(row) or any(map(undecoded, row)):
        raise BrokenFile(path, f"a table with a header line was expected, but its first line is {row!r:.200}")
    return [name.strip().lower() for name in row]


class _TooLong(Exception):
    """A row goes on for more than `LONGEST` characters: one line, or a stray quote that is never closed."""


class _Lines:
    """The lines of a text file, which can be given back from the second line of the current row on."""

    def __init__(self, path: Path, encoding: Charset):
        self.raw, self.charset = lines(path), encoding
        self.again: deque[str] = deque()
        self.row: list[str] = []  # the lines of the row at hand
        self.size = 0
        self.number = 0  # of the first line of the row at hand
        self.ended = False

    def begin(self) -> None:
        """Start a new row: its lines can be given back from here on."""
        self.number += len(self.row) or (not self.number)
        self.row, self.size = [], 0

    def __iter__(self) -> _Lines:
        return self

    def __next__(self) -> str:
        if self.again:
            line = self.again.popleft()
        else:
            raw = next(self.raw, b"")
            if not raw:
                self.ended = True
                raise StopIteration
            line = self.charset.decode(raw)
            if too_long(raw):
                self.row.append(line[:1000])
                raise _TooLong(f"more than {LONGEST >> 20} MB")
        self.row.append(line)
        self.size += len(line)
        if self.size > LONGEST or len(self.row) > _OPEN:
            raise _TooLong("a quoted cell is never closed")
        return line

    @property
    def is_last(self) -> bool:
        """True where the row at hand ends with the file, which has no line break there."""
        return not self.row[-1].endswith(("\n", "\r"))

    def is_torn(self, header: list[str], delimiter: str) -> bool:
        """True where the file ends inside a quoted cell of the row at hand: nothing after its first line is a row by itself, as it would be
        after a stray quote."""
        return self.ended and not any(_fits(line, header, delimiter) for line in self.row[1:])

    def back(self) -> str:
        """Give all lines but the first back, and return that."""
        self.again.extendleft(reversed(self.row[1:]))
        del self.row[1:]
        return self.row[0]


def _fits(line: str, header: list[str], delimiter: str) -> bool:
    """True of a line that is a whole row."""
    try:
        return len(next(csv.reader([line], delimiter=delimiter, strict=True))) == len(header)
    except (csv.Error, StopIteration):
        return False


def parquet_rows(path: Path) -> Iterator[dict[str, Any] | Drop]:
    """Rows as dicts, some 16 MB in memory at a time."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    head = head_of(path)
    if not head.startswith(b"PAR1"):
        raise BrokenFile(path, f"Parquet was expected, but it is {what_is(head)}")
    unreadable = (pa.ArrowException, ValueError, OverflowError)  # no UTF-8, a time beyond the calendar
    bad = (*unreadable, OSError, MemoryError)
    try:
        file = pq.ParquetFile(path, pre_buffer=False)
        about = file.metadata
        size = sum(about.row_group(group).total_byte_size for group in range(about.num_row_groups))
        step = max(1, min(1000, _BATCH * about.num_rows // max(1, size)))
    except bad as error:
        raise BrokenFile(
            path,
            f"its Parquet footer cannot be read ({_said(error)}), as when a download was cut; the columns and the places of all rows stand "
            "there alone, so not one row can be had",
            "download it again, or set broken: skip to go on without it",
        ) from None
    with file:
        number = 0
        batches = file.iter_batches(batch_size=step)
        while True:
            try:
                batch = next(batches, None)
            except bad as error:
                raise CutFile(
                    path, f"after {number:,} rows its data is damaged ({_said(error)}); it has {about.num_rows:,}"
                ) from None
            if batch is None:
                break
            try:
                yield from batch.to_pylist()
            except unreadable:
                yield from (_one(batch, place, f"row {number + place + 1:,}", unreadable) for place in range(batch.num_rows))
            number += batch.num_rows
        if number != about.num_rows:
            raise BrokenFile(path, f"its footer tells of {about.num_rows:,} rows, but there are {number:,}", "download it again")


def _one(batch: Any, place: int, where: str, unreadable: tuple[type[BaseException], ...]) -> dict[str, Any] | Drop:
    try:
        return dict(batch.slice(place, 1).to_pylist()[0])
    except unreadable as error:
        return Drop("broken row", f"{where}: {_said(error)}")


def _said(error: BaseException) -> str:
    return " ".join(str(error).split())[:200] or type(error).__name__
