"""Rows of a file of records: its container is opened, each record becomes a row or a Drop, and a file of another format is refused early."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextvars import ContextVar, copy_context
from pathlib import Path
from types import MappingProxyType
from typing import Any

from tasks.data.rows import BrokenFile, Drop, Row
from tasks.files.opening import cut_is_broken, decompressed
from tasks.files.tables import container, table_rows
from tasks.formats.accounting import RecordAccounts
from tasks.formats.registry import Reader, Record
from tasks.formats.sniff import others, sniff, wrong_format

# a reader's name of a field → the file's
_COLUMNS: ContextVar[Mapping[str, str]] = ContextVar("columns", default=MappingProxyType({}))
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
    columns = _COLUMNS.get()
    good = total = unknown = 0
    accounts = RecordAccounts(reader.kind)
    for record in table_rows(path, kind):
        row = record if isinstance(record, Drop) else reader.row(renamed(record, columns) if columns else record)
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


def with_columns(read: Callable[..., Iterator[Row | Drop]], columns: Mapping[str, str]) -> Callable[..., Iterator[Row | Drop]]:
    """A reader's `read` for files that call its fields by other names: `columns` has the reader's name → the file's."""
    if not columns:
        return read

    def reading(path: Path, **more: Any) -> Iterator[Row | Drop]:
        context = copy_context()  # each step in it, so that nobody who reads between two steps sees the names
        context.run(_COLUMNS.set, columns)
        rows = context.run(iter, read(path, **more))
        while (row := context.run(next, rows, None)) is not None:
            yield row

    return reading


def renamed(record: Record, columns: Mapping[str, str]) -> Record:
    """A record by the reader's names, its turns included; where the file has a field of such a name itself, the other one is meant."""
    names = {theirs.strip(): ours for ours, theirs in columns.items()}
    lower = {theirs.lower(): ours for theirs, ours in names.items()}  # as tables have them
    found = {name: names.get(name) or lower.get(str(name).lower()) or name for name in record}
    taken = {ours for name, ours in found.items() if ours != name}
    return {
        found[name]: _renamed_inside(value, columns) for name, value in record.items() if found[name] != name or name not in taken
    }


def _renamed_inside(value: Any, columns: Mapping[str, str]) -> Any:
    if isinstance(value, dict):
        return renamed(value, columns)
    return [_renamed_inside(item, columns) for item in value] if isinstance(value, list) else value


def _check(path: Path, unknown: int, reader: Reader) -> None:
    """Refuse a file of which no row was kept, where it is of another format."""
    sniffed = sniff(path)
    if unknown or (sniffed.formats and len(others(sniffed, reader)) == len(sniffed.formats)):
        raise wrong_format(path, reader)
