"""Questions with a title, perhaps a description, and one answer: webtext2019zh (content, star) and baike_qa2019 (answer, category)."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tasks.data.rows import Drop, Row
from tasks.formats import turns
from tasks.formats.fields import META, as_text, first_of, meta_of, unknown_schema
from tasks.formats.records import read_rows
from tasks.formats.registry import Reader, Record
from tasks.formats.titles import titled_question

_BREAK = re.compile(r"<br\s*/?>|</?p>", re.IGNORECASE)
_ASKED = (
    "qid",
    "desc",
    "star",
    "answer_id",
)  # what a row with `content` needs to be a question: articles have a title and content too


def read(path: Path) -> Iterator[Row | Drop]:
    """Dialogues of one turn: title and description, then the answer; meta: star (up-votes), category."""
    yield from read_rows(path, READER)


def row(record: Record) -> Row | Drop:
    """A question and its answer as a dialogue of one turn."""
    answer = first_of(record, ("answer", "content") if any(name in record for name in _ASKED) else ("answer",))
    if "title" not in record or "ask" in record or (answer is None and not {"answer", "content"} & set(record)):
        return unknown_schema(record)
    prompt = titled_question(_lines(record["title"]), _lines(record.get("desc")))
    good = turns.valid_turns([{"role": "user", "content": prompt}, {"role": "assistant", "content": _lines(answer)}])
    if isinstance(good, Drop):
        return good
    star = as_text(record.get("star")).strip()
    more = {"star": int(star)} if re.fullmatch(r"[0-9]{1,9}", star) else {}
    return {"messages": good, "meta": meta_of(record, more)}


def _lines(value: Any) -> str:
    return _BREAK.sub("\n", as_text(value)).strip()


READER = Reader(
    description="webtext2019zh and baike_qa questions with answers: title/desc/content or title/desc/answer",
    kind="conversations",
    expects="a file with title and answer, or qid, title, star and content",
    rarity=60,
    row=row,
    read=read,
    titled=True,
    columns=("title", "desc", "content", "answer", *_ASKED, *META),
)
