"""What a file is, by its first rows, and which format reads it: what every reader says of a file that is not its own."""

from __future__ import annotations

import codecs
import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from tasks.data.rows import BrokenFile, Drop
from tasks.files.charset import Charset
from tasks.files.opening import cut_is_broken, decompressed, head_of, inside, what_is
from tasks.files.tables import container, csv_rows, suffix, table_rows
from tasks.sources import RowReader, reader

# the formats that make a row of a record, those with the rarest fields first
BY_ROW = ("zhihu", "triples", "preference", "exam", "medical", "cmedqa", "baike", "webtext", "belle", "alpaca", "text")
_ROWS = 20  # looked at
_ENOUGH = 1000  # rows of which none is kept: then the file is looked at before it is read to its end
_NAMES = 12  # fields that a message names


@dataclass(frozen=True)
class Found:
    """`what` in words, such as "JSON Lines with instruction, input, output"; `formats` that read it, the most fitting first."""

    what: str
    formats: tuple[str, ...] = ()

    def __str__(self) -> str:
        return f"{self.what}; give the source `format: {self.formats[0]}`" if self.formats else self.what


def sniff(path: Path) -> Found:
    """Look at a file's beginning. BrokenFile only where it cannot be opened."""
    head, start = head_of(path), inside(path)
    packed = f" in {what_is(head)}" if start and not head.startswith(start[: len(head)]) else ""
    kind = container(path)
    if kind:
        found = _rows(path, kind, start)
        if found:
            return Found(found.what + packed, found.formats)
    what = what_is(start or head)
    if not start and what.endswith(("gzip file", "bzip2 file", "xz file", "Zstandard file")):
        what += " with nothing in it that can be read"
    if what == "an XML file" and b"<mediawiki" in start:
        what = "a MediaWiki export"
    formats = {"a MediaWiki export": ("wiki",), "a text file": ("text",)}.get(what, ())
    return Found(("plain text" if what == "a text file" else what) + packed, formats)


def _rows(path: Path, kind: str, start: bytes) -> Found | None:
    """Of a file that seems to hold rows; None for text with commas in it."""
    rows: list[dict[str, Any]] = []
    try:
        for row in itertools.islice(_read(path, kind, start), _ROWS):
            if isinstance(row, dict):
                rows.append(row)
    except BrokenFile as error:
        if not rows:
            return None if kind in ("csv", "tsv") else Found(str(error).removeprefix(f"{path}: "))
    if not rows:
        return None
    if kind in ("csv", "tsv") and suffix(path) not in (".csv", ".tsv") and not _header(rows):
        return None
    names = list(dict.fromkeys(str(name) for row in rows for name in row))
    with_ = f"{', '.join(names[:_NAMES]) or 'no fields'}{' …' if len(names) > _NAMES else ''}"
    what = {"parquet": "Parquet", "csv": "a table (CSV)", "tsv": "a table (TSV)", "json": _layout(start)}[kind]
    return Found(f"{what} with {with_}", tuple(_fitting(kind, rows)))


def _read(path: Path, kind: str, start: bytes) -> Iterator[dict[str, Any] | Drop]:
    if kind in ("parquet", "json"):
        return table_rows(path, kind)
    try:
        codecs.getincrementaldecoder("utf-8")().decode(start)
    except UnicodeDecodeError:
        guess = Charset("gb18030")
    else:
        guess = Charset("utf-8")
    return csv_rows(path, "\t" if kind == "tsv" else ",", guess)


def _layout(start: bytes) -> str:
    text = start.lstrip(b"\xef\xbb\xbf \t\r\n")
    if text.startswith(b"["):
        return "a JSON array of objects"
    return (
        "JSON Lines"
        if text.split(b"\n", 1)[0].rstrip().endswith(b"}") or b"\n" not in text
        else "JSON objects over several lines"
    )


def _header(rows: list[dict[str, Any]]) -> bool:
    """Whether the names look like a table's header and not like a sentence."""
    names = list(rows[0])
    return len(names) > 1 and len(rows) > 1 and all(len(name) <= 30 and not name.endswith(("。", ".")) for name in names)


def _fitting(kind: str, rows: list[dict[str, Any]]) -> Iterator[str]:
    """The formats that keep at least one of the rows, or at least know their layout."""
    known = []
    for name in BY_ROW:
        of = cast(RowReader, reader(name))
        if kind not in of.CONTAINERS:
            continue
        results = [of.row(row) for row in rows]
        if any(not isinstance(result, Drop) for result in results):
            yield name
        elif any(result.reason != "unknown schema" for result in results if isinstance(result, Drop)):
            known.append(name)
    yield from known


def misfit(path: Path, expected: str, name: str) -> BrokenFile:
    """The error of the reader of the format `name` for a file that is not what it expects."""
    found = sniff(path)
    others = [other for other in found.formats if other != name]
    then = f"give the source `format: {others[0]}`" if others else "give the source another format, or replace the file"
    return BrokenFile(path, f"{expected} was expected, but it is {found.what}", then)


def read(path: Path, name: str, expected: str) -> Iterator[dict[str, Any] | Drop]:
    """The rows of a file of records, by the reader of the format `name`. BrokenFile, which says what was found, where the file is in no container
    that the format comes in, or as soon as it is plain that it is of another format: not one row is kept, and their layout is unknown or that
    of another reader. `expected` names the container and the fields."""
    of = cast(RowReader, reader(name))
    kind = container(path)
    if not kind:
        with cut_is_broken(path), decompressed(path) as file:
            file.read(1)  # where nothing can be read, this says why
    if kind not in of.CONTAINERS:
        raise misfit(path, expected, name)
    kept = total = unknown = 0
    for record in table_rows(path, kind):
        row = record if isinstance(record, Drop) else of.row(record)
        total += 1
        kept += not isinstance(row, Drop)
        unknown += isinstance(row, Drop) and row.reason == "unknown schema"
        yield row
        if total == _ENOUGH and not kept:
            _check(path, unknown, expected, name)
    if total and not kept:
        _check(path, unknown, expected, name)
    if not total and kind in ("csv", "tsv"):
        raise BrokenFile(path, f"{expected} was expected, but it has one line and no rows")


def _check(path: Path, unknown: int, expected: str, name: str) -> None:
    formats = sniff(path).formats
    if unknown or (formats and name not in formats):
        raise misfit(path, expected, name)
