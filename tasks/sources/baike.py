"""Baidu Baike articles: title, summary and sections in JSON Lines."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tasks.data.rows import Drop, Kind
from tasks.formats.sniff import read as rows_of
from tasks.formats.turns import text_of, unknown
from tasks.sources import TABLES

KIND: Kind = "documents"
NAMED = False
CONTAINERS = TABLES

_NOTE = re.compile(r"\[\d+(?:[-,，]\d+)*\]")  # [1], [2-3]: marks of notes that are not in the data


def read(path: Path) -> Iterator[dict[str, Any] | Drop]:
    """Documents: the summary, then each section under its heading, without note marks; meta: tags."""
    yield from rows_of(path, "baike", "a file with title, and summary or sections")


def row(record: dict[str, Any]) -> dict[str, Any] | Drop:
    sections = record.get("sections")
    if "title" not in record or ("summary" not in record and not isinstance(sections, list)):
        return unknown(record)
    title, parts = text_of(record["title"]).strip(), [text_of(record.get("summary")).strip()]
    for section in sections if isinstance(sections, list) else []:
        if isinstance(section, dict) and text_of(section.get("content")).strip():
            parts.append(f"{text_of(section.get('title')).strip()}\n\n{text_of(section['content']).strip()}".strip())
    text = _NOTE.sub("", "\n\n".join(part for part in parts if part))
    if not text.strip():
        return Drop("no text", "", title)
    tags = record.get("tags")
    meta = {"tags": [tag for tag in tags if isinstance(tag, str)]} if isinstance(tags, list) else {}
    return {"title": title, "text": text, "lang": "", "meta": json.dumps(meta, ensure_ascii=False)}
