"""Alpaca and its translations: instruction, input, output in a JSON array or JSON Lines.

Translation machines left a placeholder where the input was empty (无输入), at times escaped for HTML (&lt;无输入&gt;).
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from tasks.data.rows import Drop, Row
from tasks.formats import turns
from tasks.formats.records import read_rows
from tasks.formats.registry import Reader, Record


def read(path: Path) -> Iterator[Row | Drop]:
    """Dialogues of one turn."""
    yield from read_rows(path, READER)


def row(record: Record) -> Row | Drop:
    """A record as a dialogue."""
    return turns.conversation(record)


READER = Reader(
    description="Alpaca and its translations: instruction/input/output",
    kind="conversations",
    expects="a file with instruction and output",
    rarity=40,
    row=row,
    read=read,
    columns=turns.FIELDS,
)
