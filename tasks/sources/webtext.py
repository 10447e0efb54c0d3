"""Questions with a title, perhaps a description, and one answer: webtext2019zh (content, star) and baike_qa2019 (answer, category)."""

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

_BREAK = re.compile(r"<br\s*/?>|</?p>", re.IGNORECASE)


def read(path: Path) -> Iterator[dict[str, Any] | Drop]:
    """Dialogues of one turn: title and description, then the answer; meta: star (up-votes), category."""
    rows = (row if isinstance(row, Drop) else _row(row) for row in json_rows(path))
    yield from turns.known(path, rows, "title, and content or answer")


def _row(record: dict[str, Any]) -> dict[str, Any] | Drop:
    answer = turns.first_of(record, ("content", "answer"))
    if "title" not in record or answer is None:
        return Drop("unknown schema", f"it has the fields {', '.join(map(str, record))}")
    asked = question(_lines(record["title"]), _lines(record.get("desc")))
    good = turns.checked([{"role": "user", "content": asked}, {"role": "assistant", "content": _lines(answer)}])
    if isinstance(good, Drop):
        return good
    more = {"star": record["star"]} if isinstance(record.get("star"), int) else {}
    return {"messages": good, "meta": turns.meta_of(record, **more)}


def _lines(value: Any) -> str:
    return _BREAK.sub("\n", turns.text_of(value)).strip()


def question(title: str, more: str) -> str:
    """A title and what the asker wrote below it, which often says nothing, or the title again."""
    title, more = title.strip(), more.strip()
    if not more or more in ("无", "如题", "如题。", "rt", "RT") or more in title:
        return title
    return more if title in more else f"{title}\n{more}"
