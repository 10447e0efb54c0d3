"""Zhihu-KOL: questions and answers of Zhihu in Parquet, with up-votes in a JSON string."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tasks.rows import Drop, Kind
from tasks.sources.opening import parquet_rows
from tasks.sources.turns import checked, text_of

KIND: Kind = "conversations"
NAMED = False

_UPVOTES = re.compile(r"(\d[\d,]*(?:\.\d+)?)\s*(万|[Kk])?")


def read(path: Path) -> Iterator[dict[str, Any] | Drop]:
    """Dialogues of one turn; meta: question, answer (numbers on zhihu.com), upvotes."""
    for row in parquet_rows(path, ("INSTRUCTION", "RESPONSE")):
        turns = checked([
            {"role": "user", "content": text_of(row["INSTRUCTION"])},
            {"role": "assistant", "content": text_of(row["RESPONSE"])},
        ])  # fmt: skip
        yield (
            turns
            if isinstance(turns, Drop)
            else {"messages": turns, "meta": json.dumps(_meta(row.get("METADATA")), ensure_ascii=False)}
        )


def _meta(text: Any) -> dict[str, int]:
    """The numbers of METADATA, such as {"question_id": 357137111.0, "upvotes": "赞同 1.2 万"}; what is not there is left out."""
    try:
        given = json.loads(text_of(text) or "{}")
    except json.JSONDecodeError:
        return {}
    found = {}
    for name, key in (("question", "question_id"), ("answer", "answer_id")):
        if isinstance(given, dict) and isinstance(given.get(key), int | float):
            found[name] = int(given[key])
    votes = _UPVOTES.search(text_of(given.get("upvotes"))) if isinstance(given, dict) else None
    if votes:
        unit = {"万": 10_000, "K": 1000, "k": 1000}.get(votes.group(2) or "", 1)
        found["upvotes"] = round(float(votes.group(1).replace(",", "")) * unit)
    return found
