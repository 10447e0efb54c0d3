"""Questions with a title, perhaps a description, and one answer: webtext2019zh (content, star) and baike_qa2019 (answer, category)."""

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

_BREAK = re.compile(r"<br\s*/?>|</?p>", re.IGNORECASE)
_OVERLAP = 6  # characters
_ASKED = (
    "qid",
    "desc",
    "star",
    "answer_id",
)  # what a row with `content` needs to be a question: articles have a title and content too


def read(path: Path) -> Iterator[dict[str, Any] | Drop]:
    """Dialogues of one turn: title and description, then the answer; meta: star (up-votes), category."""
    yield from rows_of(path, "webtext", "a file with title and answer, or qid, title, star and content")


def row(record: dict[str, Any]) -> dict[str, Any] | Drop:
    answer = turns.first_of(record, ("answer", "content") if any(name in record for name in _ASKED) else ("answer",))
    if "title" not in record or "ask" in record or (answer is None and not {"answer", "content"} & set(record)):
        return turns.unknown(record)
    asked = question(_lines(record["title"]), _lines(record.get("desc")))
    good = turns.checked([{"role": "user", "content": asked}, {"role": "assistant", "content": _lines(answer)}])
    if isinstance(good, Drop):
        return good
    star = turns.text_of(record.get("star")).strip()
    more = {"star": int(star)} if re.fullmatch(r"[0-9]{1,9}", star) else {}
    return {"messages": good, "meta": turns.meta_of(record, more)}


def _lines(value: Any) -> str:
    return _BREAK.sub("\n", turns.text_of(value)).strip()


def question(title: str, more: str) -> str:
    """A title and what the asker wrote below it, which often says nothing, or the title again, or goes on where the title was cut."""
    title, more = title.strip(), more.strip()
    if not more or more in ("无", "如题", "如题。", "rt", "RT") or more in title:
        return title
    if title in more:
        return more
    start = (
        next((place for place in range(len(title) - _OVERLAP) if more.startswith(title[place:])), len(title))
        if len(title) < 300
        else None
    )
    return f"{title[:start].rstrip()}\n{more}"
