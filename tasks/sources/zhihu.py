"""Zhihu-KOL: questions and answers of Zhihu in Parquet, with up-votes in a JSON string."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tasks.data.rows import Drop, Row
from tasks.formats.fields import text_of, unknown
from tasks.formats.records import rows
from tasks.formats.registry import Reader, Record
from tasks.formats.turns import checked

_UPVOTES = re.compile(r"([0-9][0-9,]{0,11}(?:\.[0-9]{1,6})?)\s*(万|[Kk])?")
_ID = re.compile(r"[0-9]{1,18}")


def read(path: Path) -> Iterator[Row | Drop]:
    """Dialogues of one turn; meta: question, answer (numbers on zhihu.com), upvotes."""
    yield from rows(path, READER)


def row(record: Record) -> Row | Drop:
    if "INSTRUCTION" not in record or "RESPONSE" not in record:
        return unknown(record)
    turns = checked([
        {"role": "user", "content": text_of(record["INSTRUCTION"])},
        {"role": "assistant", "content": text_of(record["RESPONSE"])},
    ])  # fmt: skip
    if isinstance(turns, Drop):
        return turns
    return {"messages": turns, "meta": json.dumps(_meta(record.get("METADATA")), ensure_ascii=False)}


def _meta(text: Any) -> dict[str, int]:
    """The numbers of METADATA, such as {"question_id": 357137111.0, "upvotes": "赞同 1.2 万"}; what is not there is left out."""
    try:
        given = json.loads(text_of(text) or "{}")
    except (ValueError, RecursionError):
        return {}
    if not isinstance(given, dict):
        return {}
    found = {}
    for name, key in (("question", "question_id"), ("answer", "answer_id")):
        number = text_of(given.get(key)).removesuffix(".0")
        if _ID.fullmatch(number):
            found[name] = int(number)
    votes = _UPVOTES.search(text_of(given.get("upvotes")))
    if votes:
        unit = {"万": 10_000, "K": 1000, "k": 1000}.get(votes.group(2) or "", 1)
        found["upvotes"] = round(float(votes.group(1).replace(",", "")) * unit)
    return found


READER = Reader(
    description="Zhihu-KOL Parquet: INSTRUCTION, RESPONSE, METADATA",
    kind="conversations",
    expects="Parquet with INSTRUCTION and RESPONSE",
    rarity=95,
    row=row,
    read=read,
    containers=("parquet",),
)
