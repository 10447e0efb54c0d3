"""Rows of a file of records: its container is opened, each record becomes a row or a Drop, and a file of another format is refused early."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from tasks.data.rows import BrokenFile, Drop, Row
from tasks.files.opening import cut_is_broken, decompressed
from tasks.files.tables import container, table_rows
from tasks.formats.accounting import RecordAccounts
from tasks.formats.registry import Reader
from tasks.formats.sniff import others, sniff, wrong_format

_ENOUGH = 1000  # rows of which none is kept: then the file is looked at before it is read to its end


def read_rows(path: Path, reader: Reader) -> Iterator[Row | Drop]:
    """The rows that `reader.row` makes of a file's records. BrokenFile, which says what the file is, where it is in none of the reader's
    containers, or as soon as it is plain that it is of another format: not one row is kept, and their layout is unknown or that of another
    reader."""
    assert reader.row, f"the reader of {reader.description} has no row"
    kind = container(path)
    if not kind:
        with cut_is_broken(path), decompressed(path) as file:
            file.read(1)  # where nothing can be read, this says why
    if kind not in reader.containers:
        raise wrong_format(path, reader)
    good = total = unknown = 0
    accounts = RecordAccounts(reader.kind)
    for record in table_rows(path, kind):
        row = record if isinstance(record, Drop) else reader.row(record)
        if not isinstance(record, Drop) and not isinstance(row, Drop) and not reader.joined:  # of a joined row this is a part
            row = accounts.add(record, row)
        total += 1
        good += not isinstance(row, Drop)
        unknown += isinstance(row, Drop) and row.reason == "unknown schema"
        yield row
        if total == _ENOUGH and not good:
            _check(path, unknown, reader)
    if total and not good:
        _check(path, unknown, reader)
    if not total and kind in ("csv", "tsv"):
        raise BrokenFile(path, f"{reader.expects} was expected, but it has one line and no rows")


def _check(path: Path, unknown: int, reader: Reader) -> None:
    """Refuse a file of which no row was kept, where it is of another format."""
    sniffed = sniff(path)
    if unknown or (sniffed.formats and len(others(sniffed, reader)) == len(sniffed.formats)):
        raise wrong_format(path, reader)
