"""Alpaca and its translations: instruction, input, output in a JSON array or JSON Lines.

Translation machines left a placeholder where the input was empty (无输入), at times escaped for HTML (&lt;无输入&gt;).
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from tasks.data.rows import Drop, Row
from tasks.formats import turns
from tasks.formats.fields import as_text
from tasks.formats.records import read_rows
from tasks.formats.registry import Reader, Record
from tasks.text.escapes import unescaped

_NO_OUTPUT = re.compile(r"[<（(\[【]?\s*(?:无输出|没有输出|no\s*output)\s*[>）)\]】]?\s*[。.]?", re.IGNORECASE)


def read(path: Path) -> Iterator[Row | Drop]:
    """Dialogues of one turn. A placeholder in place of an answer is no answer."""
    yield from read_rows(path, READER)


def row(record: Record) -> Row | Drop:
    """A record as a dialogue."""
    if _NO_OUTPUT.fullmatch(unescaped(as_text(record.get("output"))).strip()):
        record = {**record, "output": ""}
    return turns.conversation(turns.without_placeholder(record))


READER = Reader(
    description="Alpaca and its translations: instruction/input/output",
    kind="conversations",
    expects="a file with instruction and output",
    rarity=40,
    row=row,
    read=read,
)
