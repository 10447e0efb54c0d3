"""Questions and answers in CSV: Chinese medical dialogue (department, title, ask, answer; in GB18030 as published), and the financial
questions that come in the same way (title, prompt, reply, is_best)."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from tasks.data.rows import Drop, Row
from tasks.formats.fields import meta_of, text_of, unknown
from tasks.formats.records import rows
from tasks.formats.registry import Reader, Record
from tasks.formats.titles import question
from tasks.formats.turns import checked

_NAMES = (("ask", "answer"), ("prompt", "reply"))


def read(path: Path) -> Iterator[Row | Drop]:
    """Dialogues of one turn: title and question (once, where one holds the other), then the answer; meta: department, is_best."""
    yield from rows(path, READER)


def row(record: Record) -> Row | Drop:
    found = next(((ask, answer) for ask, answer in _NAMES if ask in record and answer in record), None)
    if found is None:
        return unknown(record)
    asked = question(text_of(record.get("title")), text_of(record[found[0]]))
    turns = checked([{"role": "user", "content": asked}, {"role": "assistant", "content": text_of(record[found[1]])}])
    if isinstance(turns, Drop):
        return turns
    best = text_of(record.get("is_best")).strip()
    return {"messages": turns, "meta": meta_of(record, {"is_best": best == "1"} if best in ("0", "1") else {})}


READER = Reader(
    description="Chinese medical dialogue, CSV in GB18030 or UTF-8: department, title, ask, answer; or title, prompt, reply, is_best",
    kind="conversations",
    expects="a table (CSV) with ask and answer, or prompt and reply",
    rarity=75,
    row=row,
    read=read,
    containers=("csv", "tsv"),
    titled=True,
)
