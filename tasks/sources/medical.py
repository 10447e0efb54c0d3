"""Questions and answers in CSV: Chinese medical dialogue (department, title, ask, answer; in GB18030 as published), and the financial
questions that come in the same way (title, prompt, reply, is_best)."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tasks.data.rows import Drop, Kind
from tasks.formats.sniff import read as rows_of
from tasks.formats.turns import checked, meta_of, text_of, unknown
from tasks.sources.webtext import question

KIND: Kind = "conversations"
NAMED = False
CONTAINERS = ("csv", "tsv")

_NAMES = (("ask", "answer"), ("prompt", "reply"))


def read(path: Path) -> Iterator[dict[str, Any] | Drop]:
    """Dialogues of one turn: title and question (once, where one holds the other), then the answer; meta: department, is_best."""
    yield from rows_of(path, "medical", "a table (CSV) with ask and answer, or prompt and reply")


def row(record: dict[str, Any]) -> dict[str, Any] | Drop:
    found = next(((ask, answer) for ask, answer in _NAMES if ask in record and answer in record), None)
    if found is None:
        return unknown(record)
    asked = question(text_of(record.get("title")), text_of(record[found[0]]))
    turns = checked([{"role": "user", "content": asked}, {"role": "assistant", "content": text_of(record[found[1]])}])
    if isinstance(turns, Drop):
        return turns
    best = text_of(record.get("is_best")).strip()
    return {"messages": turns, "meta": meta_of(record, {"is_best": best == "1"} if best in ("0", "1") else {})}
