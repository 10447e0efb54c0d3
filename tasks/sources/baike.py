"""Baidu Baike articles: title, summary and sections in JSON Lines."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path

from tasks.data.rows import Drop, Row
from tasks.formats.fields import as_text, unknown_schema
from tasks.formats.records import read_rows
from tasks.formats.registry import Reader, Record

_NOTE = re.compile(r"\[\d+(?:[-,，]\d+)*\]")  # [1], [2-3]: marks of notes that are not in the data


def read(path: Path) -> Iterator[Row | Drop]:
    """Documents: the summary, then each section under its heading, without note marks; meta: tags."""
    yield from read_rows(path, READER)


def row(record: Record) -> Row | Drop:
    """An article as a document: the summary, then each section under its heading."""
    sections = record.get("sections")
    if "title" not in record or ("summary" not in record and not isinstance(sections, list)):
        return unknown_schema(record)
    title, parts = as_text(record["title"]).strip(), [as_text(record.get("summary")).strip()]
    for section in sections if isinstance(sections, list) else []:
        if isinstance(section, dict) and as_text(section.get("content")).strip():
            parts.append(f"{as_text(section.get('title')).strip()}\n\n{as_text(section['content']).strip()}".strip())
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
    columns=("title", "summary", "sections", "content", "tags"),
)
