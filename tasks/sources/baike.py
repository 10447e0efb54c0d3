"""Baidu Baike articles: title, summary and sections in JSON Lines."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path

from tasks.data.rows import Drop, Row
from tasks.formats.fields import text_of, unknown
from tasks.formats.records import rows
from tasks.formats.registry import Reader, Record

_NOTE = re.compile(r"\[\d+(?:[-,，]\d+)*\]")  # [1], [2-3]: marks of notes that are not in the data


def read(path: Path) -> Iterator[Row | Drop]:
    """Documents: the summary, then each section under its heading, without note marks; meta: tags."""
    yield from rows(path, READER)


def row(record: Record) -> Row | Drop:
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


READER = Reader(
    description="Baidu Baike articles: title, summary, sections",
    kind="documents",
    expects="a file with title, and summary or sections",
    rarity=65,
    row=row,
    read=read,
)
