"""Trials: the first rows of a file through the readers that may read it, and what became of them."""

from __future__ import annotations

import time
from collections import Counter
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path

from tasks.data.rows import BrokenFile, Drop
from tasks.files.charset import charset, guess, mostly
from tasks.files.opening import inside
from tasks.files.tables import container, table_rows
from tasks.formats import registry
from tasks.formats.sniff import Sniffed, sniff

FIRST = 1000  # rows that are read
SECONDS = 5.0  # after which no more are read
_WHOLE = 64 << 20  # bytes of a file whose rows are counted to the end


@dataclass(frozen=True)
class Trial:
    """A file, the format whose reader keeps most of its first rows, and what that reader kept and dropped of them."""

    sniffed: Sniffed
    format: str = ""
    kept: int = 0
    dropped: Counter[str] = field(default_factory=Counter)
    whole: bool = True  # whether these were all rows
    fault: str = ""  # why it cannot be read
    encoding: str = ""
    rows: str = ""  # how many there are, in words

    @property
    def formats(self) -> list[str]:
        """The formats that read it, the chosen one first."""
        return list(dict.fromkeys([*([self.format] if self.format else []), *self.sniffed.formats]))


def trial(path: Path) -> Trial:
    """Try a file. BrokenFile only where it cannot be opened."""
    sniffed = sniff(path)
    best = Trial(sniffed, fault=_unknown(sniffed))
    for name in sniffed.formats:
        tried = _read(path, sniffed, name)
        if not best.format or tried.kept > best.kept:
            best = tried
        if 2 * best.kept > best.dropped.total():
            break
    return Trial(
        sniffed, best.format, best.kept, best.dropped, best.whole, best.fault, _encoding(path, sniffed), _rows(path, best)
    )


def _unknown(sniffed: Sniffed) -> str:
    """The reason why a file of records is of no format, and what can be done."""
    if not sniffed.records or sniffed.formats:
        return ""
    if sniffed.headless:
        return "its first line seems to be a row; give it a header line with names such as question,answer"
    return "no reader knows these fields; where they are others' names for its own, a source can say so (columns)"


def _read(path: Path, sniffed: Sniffed, name: str) -> Trial:
    kept, dropped, whole, fault = 0, Counter[str](), False, ""
    until = time.monotonic() + SECONDS
    try:
        rows = registry.reader(name).read(path)
        for row in islice(rows, FIRST):
            if isinstance(row, Drop):
                dropped[row.reason] += 1
            else:
                kept += 1
            if time.monotonic() > until:
                break
        else:
            whole = next(rows, None) is None
    except BrokenFile as error:
        fault = str(error).removeprefix(f"{path}: ")
    return Trial(sniffed, name, kept, dropped, whole and not fault, fault)


def _encoding(path: Path, sniffed: Sniffed) -> str:
    """The encoding of a file of text; of a large one, that of its beginning."""
    kind = container(path)
    start = inside(path)
    if kind == "parquet" or b"\0" in start or not sniffed.formats:
        return ""
    if kind == "json":
        return mostly(start).title
    if path.stat().st_size <= _WHOLE:
        try:
            found = charset(path)
        except BrokenFile:
            return "unknown"
        return f"{found.title}, mixed" if found.mixed else found.title
    return guess(start[: start.rfind(b"\n") + 1]).title


def _rows(path: Path, tried: Trial) -> str:
    """The number of a file's rows, in words."""
    read = tried.kept + tried.dropped.total()
    if tried.whole or not tried.format:
        return f"{read:,}" if tried.format else ""
    kind = container(path)
    if kind == "parquet":
        import pyarrow.parquet as pq

        return f"{pq.ParquetFile(path).metadata.num_rows:,}"
    if kind and tried.sniffed.records and path.stat().st_size <= _WHOLE:
        try:
            return f"{sum(1 for _ in table_rows(path, kind)):,}"
        except BrokenFile:
            pass
    return f"over {read:,}"
