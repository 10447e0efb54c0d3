"""Alpaca and its translations: instruction, input, output in a JSON array or JSON Lines.

Translation machines left two kinds of dirt: a placeholder where the input was empty (无输入), and text escaped for HTML (&lt;, &quot;).
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tasks.data.rows import Drop, Kind
from tasks.formats import turns
from tasks.formats.sniff import read as rows_of
from tasks.sources import TABLES

KIND: Kind = "conversations"
NAMED = False
CONTAINERS = TABLES

_NO_OUTPUT = re.compile(r"[<（(\[【]?\s*(?:无输出|没有输出|no\s*output)\s*[>）)\]】]?\s*[。.]?", re.IGNORECASE)
_RAW = re.compile(r"[<>\"]|&(?!(?:lt|gt|quot|amp|#39);)")
_ENTITY = {"&lt;": "<", "&gt;": ">", "&quot;": '"', "&#39;": "'", "&amp;": "&"}
_ENTITIES = re.compile("|".join(_ENTITY))


def read(path: Path) -> Iterator[dict[str, Any] | Drop]:
    """Dialogues of one turn. A placeholder in place of an answer is no answer."""
    yield from rows_of(path, "alpaca", "a file with instruction and output")


def row(record: dict[str, Any]) -> dict[str, Any] | Drop:
    record = {name: unescape(value) if isinstance(value, str) else value for name, value in record.items()}
    if _NO_OUTPUT.fullmatch(turns.text_of(record.get("output")).strip()):
        record["output"] = ""
    return turns.conversation(turns.without_placeholder(record))


def unescape(text: str) -> str:
    """Undo HTML escaping, but only where all of the text was escaped: one raw < or " means that an &lt; in it is meant as written."""
    return text if "&" not in text or _RAW.search(text) else _ENTITIES.sub(lambda entity: _ENTITY[entity.group()], text)
