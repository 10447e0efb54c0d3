"""Zhihu-KOL: questions and answers of Zhihu, with up-votes in a JSON string. OASST has the same two fields without them."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tasks.data.rows import Drop, Row
from tasks.formats.fields import as_text, unknown_schema
from tasks.formats.records import read_rows
from tasks.formats.registry import Reader, Record
from tasks.formats.turns import valid_turns

_UPVOTES = re.compile(r"([0-9][0-9,]{0,11}(?:\.[0-9]{1,6})?)\s*(万|[Kk])?")
_ID = re.compile(r"[0-9]{1,18}")


def read(path: Path) -> Iterator[Row | Drop]:
    """Dialogues of one turn; meta: question, answer (numbers on zhihu.com), upvotes."""
    yield from read_rows(path, READER)


def row(record: Record) -> Row | Drop:
    """A question and its answer as a dialogue of one turn."""
    if "INSTRUCTION" not in record or "RESPONSE" not in record:
        return unknown_schema(record)
    turns = valid_turns([
        {"role": "user", "content": as_text(record["INSTRUCTION"])},
        {"role": "assistant", "content": as_text(record["RESPONSE"])},
    ])  # fmt: skip
    if isinstance(turns, Drop):
        return turns
    return {"messages": turns, "meta": json.dumps(_meta(record.get("METADATA")), ensure_ascii=False)}


def _meta(text: Any) -> dict[str, int]:
    """The numbers of METADATA, such as {"question_id": 357137111.0, "upvotes": "赞同 1.2 万"}; what is not there is left out."""
    try:
        fields = json.loads(as_text(text) or "{}")
    except (ValueError, RecursionError):
        return {}
    if not isinstance(fields, dict):
        return {}
    numbers = {}
    for name, key in (("question", "question_id"), ("answer", "answer_id")):
        number = as_text(fields.get(key)).removesuffix(".0")
        if _ID.fullmatch(number):
            numbers[name] = int(number)
    votes = _UPVOTES.search(as_text(fields.get("upvotes")))
    if votes:
        unit = {"万": 10_000, "K": 1000, "k": 1000}.get(votes.group(2) or "", 1)
        numbers["upvotes"] = round(float(votes.group(1).replace(",", "")) * unit)
    return numbers


READER = Reader(
    description="Zhihu-KOL: INSTRUCTION, RESPONSE, METADATA",
    kind="conversations",
    expects="a file with INSTRUCTION and RESPONSE",
    rarity=95,
    row=row,
    read=read,
    columns=("INSTRUCTION", "RESPONSE", "METADATA"),
)
