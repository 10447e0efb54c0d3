"""Baidu Baike articles: title, summary and sections in JSON Lines."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tasks.rows import Drop, Kind
from tasks.sources.opening import json_rows
from tasks.sources.turns import known, text_of

KIND: Kind = "documents"
NAMED = False

_NOTE = re.compile(r"\[\d+(?:[-,，]\d+)*\]")  # [1], [2-3]: marks of notes that are not in the data


def read(path: Path) -> Iterator[dict[str, Any] | Drop]:
    """Documents: the summary, then each section under its heading, without note marks; meta: tags."""
    rows = (row if isinstance(row, Drop) else _row(row) for row in json_rows(path))
    yield from known(path, rows, "title, and summary or sections")


def _row(record: dict[str, Any]) -> dict[str, Any] | Drop:
    sections = record.get("sections")
    if "title" not in record or ("summary" not in record and not isinstance(sections, list)):
        return Drop("unknown schema", f"it has the fields {', '.join(map(str, record))}")
    title, parts = text_of(record["title"]).strip(), [text_of(record.get("summary")).strip()]
    for section in sections if isinstance(sections, list) else []:
        if isinstance(section, dict) and text_of(section.get("content")).strip():
            parts.append(f"{text_of(section.get('title')).strip()}\n\n{text_of(section['content']).strip()}".strip())
    text = _NOTE.sub("", "\n\n".join(part for part in parts if part))
    if not text:
        return Drop("no text", "", title)
    tags = record.get("tags")
    meta = {"tags": [tag for tag in tags if isinstance(tag, str)]} if isinstance(tags, list) else {}
    return {"title": title, "text": text, "lang": "", "meta": json.dumps(meta, ensure_ascii=False)}
