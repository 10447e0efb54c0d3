"""The sniffer: a file's container and fields by its first rows, and the formats that read it; readers name them in the error for a wrong file."""

from __future__ import annotations

import itertools
import re
import warnings
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from tasks.data.rows import BrokenFile, Drop
from tasks.files.charset import guess
from tasks.files.opening import head_of, inside, what_is
from tasks.files.tables import container, csv_rows, suffix, table_rows
from tasks.formats import registry
from tasks.formats.registry import Reader, Record

_RECORDS = 20  # looked at
_NAMES = 12  # fields that a message names
_KINDS = {"parquet": "Parquet", "csv": "a table (CSV)", "tsv": "a table (TSV)", "json": "JSON"}


@dataclass(frozen=True)
class Sniffed:
    """A file as it seems to be: `what` in words, such as "JSON Lines with instruction, input, output"; `formats` that read it, the most fitting
    first; `records`, whether it holds any."""

    what: str
    formats: tuple[str, ...] = ()
    records: bool = False
    headless: bool = False  # a table whose names look like cells of a row

    def __str__(self) -> str:
        return f"{self.what}; give the source `format: {self.formats[0]}`" if self.formats else self.what


_PAGES = re.compile(
    rb"(?:\xef\xbb\xbf)?\s*(?:<\?xml[^<>]*>\s*)?<page>\s*<title>"
)  # an export without the element around its pages


def sniff(path: Path) -> Sniffed:
    """Look at a file's beginning. BrokenFile only where it cannot be opened."""
    head, start = head_of(path), inside(path)
    packed = f" in {what_is(head)}" if start and not head.startswith(start[: len(head)]) else ""
    kind = container(path)
    if kind:
        sniffed = _records(path, kind, start)
        if sniffed:
            return replace(sniffed, what=sniffed.what + packed)
    what = what_is(start or head)
    if not start and what.endswith(("gzip file", "bzip2 file", "xz file", "Zstandard file")):
        what += " with nothing in it that can be read"
    if (what == "an XML file" and b"<mediawiki" in start) or _PAGES.match(start):
        what = "a MediaWiki export"
    formats = tuple(name for name, reader in _by_rarity() if what in reader.containers)
    return Sniffed(("plain text" if what == "a text file" else what) + packed, formats)


def _by_rarity() -> list[tuple[str, Reader]]:
    """The readers that can be used, those with the rarest fields first."""
    usable = []
    for name in registry.formats():
        try:
            usable.append((name, registry.reader(name)))
        except registry.BadReader as error:
            warnings.warn(str(error), stacklevel=2)
    return sorted(usable, key=lambda item: (-item[1].rarity, item[0]))


def _records(path: Path, kind: str, start: bytes) -> Sniffed | None:
    """A file that seems to hold records; None for text with commas in it."""
    records: list[Record] = []
    refused: list[Drop] = []
    try:
        for record in itertools.islice(_read(path, kind, start), _RECORDS):
            if isinstance(record, dict):
                records.append(record)
            else:
                refused.append(record)
    except BrokenFile as error:
        if not records:
            return None if kind in ("csv", "tsv") else Sniffed(str(error).removeprefix(f"{path}: "))
    if not records:
        if kind in ("csv", "tsv"):
            return None
        return Sniffed(
            f"{_KINDS[kind]} of which no row can be read ({refused[0].reason}, {refused[0].detail})"
            if refused
            else f"{_KINDS[kind]} without rows"
        )
    if kind in ("csv", "tsv") and suffix(path) not in (".csv", ".tsv") and not _header(records):
        return None
    names = list(dict.fromkeys(str(name) for record in records for name in record))
    formats = tuple(_fitting(kind, records))
    if kind == "json" and not formats and len(records) == 1 and not refused and (alone := _alone(start, records[0])):
        return Sniffed(alone)
    with_ = f"{', '.join(names[:_NAMES]) or 'no fields'}{' …' if len(names) > _NAMES else ''}"
    what = _layout(start) if kind == "json" else _KINDS[kind]
    return Sniffed(f"{what} with {with_}", formats, records=True, headless=kind in ("csv", "tsv") and any(map(_is_cell, names)))


def _is_cell(name: str) -> bool:
    return len(name) > 30 or name.endswith(("。", "？", "！", ".", "?", "!"))


def _read(path: Path, kind: str, start: bytes) -> Iterator[Record | Drop]:
    if kind in ("parquet", "json"):
        return table_rows(path, kind)
    return csv_rows(path, "\t" if kind == "tsv" else ",", guess(start))


def _alone(start: bytes, record: Record) -> str:
    """A file of one object, which may hold the rows below a name."""
    rows = {
        str(name): len(value)
        for name, value in record.items()
        if isinstance(value, list)
        and len(value) > 1
        and all(isinstance(one, dict) for one in value)
        and next(_fitting("json", value[:_RECORDS]), None)
    }
    if not rows:
        return ""
    held = ", ".join(f"{name} ({count:,})" for name, count in rows.items())
    return f"one JSON object that holds the rows in lists: {held}; write each list to a file of its own"


def _layout(start: bytes) -> str:
    text = start.lstrip(b"\xef\xbb\xbf \t\r\n")
    if text.startswith(b"["):
        return "a JSON array of objects"
    return (
        "JSON Lines"
        if text.split(b"\n", 1)[0].rstrip().endswith(b"}") or b"\n" not in text
        else "JSON objects over several lines"
    )


def _header(records: list[Record]) -> bool:
    """True where the names look like a table's header and not like a sentence."""
    names = list(records[0])
    return len(names) > 1 and len(records) > 1 and all(len(name) <= 30 and not name.endswith(("。", ".")) for name in names)


def _fitting(kind: str, records: list[Record]) -> Iterator[str]:
    """The formats that keep at least one of the records, then those that know their layout at least."""
    familiar = []
    for name, reader in _by_rarity():
        if kind not in reader.containers or reader.row is None:
            continue
        rows = [reader.row(record) for record in records]
        if any(not isinstance(row, Drop) for row in rows):
            yield name
        elif any(row.reason != "unknown schema" for row in rows if isinstance(row, Drop)):
            familiar.append(name)
    yield from familiar


def others(sniffed: Sniffed, reader: Reader) -> list[str]:
    """The formats that read a sniffed file, without that of `reader`."""
    return [name for name in sniffed.formats if registry.reader(name) is not reader]


def wrong_format(path: Path, reader: Reader, expected: str = "") -> BrokenFile:
    """The error of a reader for a file that is not what it expects (`expected`: other words than those of the reader)."""
    sniffed = sniff(path)
    rivals = others(sniffed, reader)
    then = f"give the source `format: {rivals[0]}`" if rivals else "give the source another format, or replace the file"
    return BrokenFile(path, f"{expected or reader.expects} was expected, but it is {sniffed.what}", then)
