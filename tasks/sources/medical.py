"""Questions and answers in CSV: Chinese medical dialogue (department, title, ask, answer; in GB18030 as published), and the financial
questions that come in the same way (title, prompt, reply, is_best)."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from tasks.data.rows import Drop, Row
from tasks.formats.fields import META, as_text, meta_of, unknown_schema
from tasks.formats.records import read_rows
from tasks.formats.registry import Reader, Record
from tasks.formats.titles import titled_question
from tasks.formats.turns import valid_turns

_NAMES = (("ask", "answer"), ("prompt", "reply"))


def read(path: Path) -> Iterator[Row | Drop]:
    """Dialogues of one turn: title and question (once, where one holds the other), then the answer; meta: department, is_best."""
    yield from read_rows(path, READER)


def row(record: Record) -> Row | Drop:
    """A question and its answer as a dialogue of one turn."""
    names = next(((ask, answer) for ask, answer in _NAMES if ask in record and answer in record), None)
    if names is None:
        return unknown_schema(record)
    prompt = titled_question(as_text(record.get("title")), as_text(record[names[0]]))
    turns = valid_turns([{"role": "user", "content": prompt}, {"role": "assistant", "content": as_text(record[names[1]])}])
    if isinstance(turns, Drop):
        return turns
    best = as_text(record.get("is_best")).strip()
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
    columns=("title", *_NAMES[0], *_NAMES[1], "is_best", *META),
)
