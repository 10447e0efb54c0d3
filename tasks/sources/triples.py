"""Relation extraction as in DuIE: a text with its (subject, predicate, object) triples."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tasks.data.rows import Drop, Row
from tasks.formats.fields import as_text, first_of, unknown_schema
from tasks.formats.records import read_rows
from tasks.formats.registry import Reader, Record


def read(path: Path) -> Iterator[Row | Drop]:
    """Texts with at least one triple. Of an object with several slots (DuIE 2.0: @value, inWork, onDate …) the value is taken."""
    yield from read_rows(path, READER)


def row(record: Record) -> Row | Drop:
    """A text with its triples, each of which is complete."""
    text, items = record.get("text"), first_of(record, ("spo_list", "triples"))
    if text is None or not isinstance(items, list):
        return unknown_schema(record)
    triples = [_triple(item) for item in items]
    if not as_text(text).strip():
        return Drop("no text")
    if not triples:
        return Drop("no triples", "", as_text(text))
    if not all(triple and all(triple.values()) for triple in triples):
        return Drop("incomplete triple", str(items)[:200], as_text(text))
    return {"text": as_text(text).strip(), "triples": triples}


def _triple(item: Any) -> dict[str, str]:
    if not isinstance(item, dict):
        return {}
    value = item.get("object")
    value = value.get("@value") if isinstance(value, dict) else value
    return {
        "subject": as_text(item.get("subject")).strip(),
        "predicate": as_text(item.get("predicate")).strip(),
        "object": as_text(value).strip(),
    }


READER = Reader(
    description="DuIE: text, spo_list",
    kind="triples",
    expects="a file with text and spo_list",
    rarity=90,
    row=row,
    read=read,
    columns=("text", "spo_list", "triples", "subject", "predicate", "object", "@value"),
)
