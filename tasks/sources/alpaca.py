"""Alpaca and its translations: instruction, input, output in a JSON array or JSON Lines.

Translation machines left two kinds of dirt: a placeholder where the input was empty (无输入), and text escaped for HTML (&lt;, &quot;).
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tasks.rows import Drop, Kind
from tasks.sources import turns
from tasks.sources.opening import json_rows

KIND: Kind = "conversations"
NAMED = False

_NOTHING = re.compile(
    r"[<（(\[【]?\s*(?:无输入|没有输入|无需输入|无需输入内容|不需要输入|没有提供输入|不适用|无|空|no\s*input|none|n/?a|nan|null)\s*[>）)\]】]?\s*[。.]?",
    re.IGNORECASE,
)
_NO_OUTPUT = re.compile(r"[<（(\[【]?\s*(?:无输出|没有输出|no\s*output)\s*[>）)\]】]?\s*[。.]?", re.IGNORECASE)
_RAW = re.compile(r"[<>\"]|&(?!(?:lt|gt|quot|amp|#39);)")
_ENTITY = {"&lt;": "<", "&gt;": ">", "&quot;": '"', "&#39;": "'", "&amp;": "&"}
_LINE_END = re.compile(r"(?<!\\n)(?:\\n)+\s*\Z")
_ENTITIES = re.compile("|".join(_ENTITY))


def read(path: Path) -> Iterator[dict[str, Any] | Drop]:
    """Dialogues of one turn. A placeholder in place of an answer is no answer."""
    rows = (row if isinstance(row, Drop) else _row(row) for row in json_rows(path))
    yield from turns.known(path, rows, "instruction and output")


def _row(record: dict[str, Any]) -> dict[str, Any] | Drop:
    record = {name: unescape(value) if isinstance(value, str) else value for name, value in record.items()}
    if _NOTHING.fullmatch(turns.text_of(record.get("input")).strip()):
        record["input"] = ""
    if _NO_OUTPUT.fullmatch(turns.text_of(record.get("output")).strip()):
        record["output"] = ""
    return turns.conversation(record)


def unescape(text: str) -> str:
    """Undo HTML escaping, but only where all of the text was escaped: one raw < or " means that an &lt; in it is meant as written.

    Line ends written out as a backslash and an n go where they end the text, and nowhere else, since code has them too.
    """
    text = _LINE_END.sub("", text)
    return text if "&" not in text or _RAW.search(text) else _ENTITIES.sub(lambda entity: _ENTITY[entity.group()], text)
