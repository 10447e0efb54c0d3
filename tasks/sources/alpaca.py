"""Alpaca and its translations: instruction, input, output in a JSON array or JSON Lines.

Translation machines left two kinds of dirt: a placeholder where the input was empty (无输入), and text escaped for HTML (&lt;, &quot;).
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from tasks.data.rows import Drop, Row
from tasks.formats import turns
from tasks.formats.records import read_rows
from tasks.formats.registry import Reader, Record

_RAW = re.compile(r"[<>\"]|&(?!(?:lt|gt|quot|amp|#39);)")
_ENTITY = {"&lt;": "<", "&gt;": ">", "&quot;": '"', "&#39;": "'", "&amp;": "&"}
_ENTITIES = re.compile("|".join(_ENTITY))


def read(path: Path) -> Iterator[Row | Drop]:
    """Dialogues of one turn."""
    yield from read_rows(path, READER)


def row(record: Record) -> Row | Drop:
    """A record as a dialogue; where all of its text is escaped for HTML, that is undone."""
    return turns.conversation(
        {name: unescape_whole(value) if isinstance(value, str) else value for name, value in record.items()}
    )


def unescape_whole(text: str) -> str:
    """Undo HTML escaping, but only where all of the text was escaped: one raw < or " means that an &lt; in it is meant as written."""
    return text if "&" not in text or _RAW.search(text) else _ENTITIES.sub(lambda entity: _ENTITY[entity.group()], text)


READER = Reader(
    description="Alpaca and its translations: instruction/input/output",
    kind="conversations",
    expects="a file with instruction and output",
    rarity=40,
    row=row,
    read=read,
    columns=turns.FIELDS,
)
