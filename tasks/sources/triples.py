"""Relation extraction as in DuIE: a text with its (subject, predicate, object) triples."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tasks.data.rows import Drop, Row
from tasks.formats.fields import first_of, text_of, unknown
from tasks.formats.records import rows
from tasks.formats.registry import Reader, Record


def read(path: Path) -> Iterator[Row | Drop]:
    """Texts with at least one triple. Of an object with several slots (DuIE 2.0: @value, inWork, onDate …) the value is taken."""
    yield from rows(path, READER)


def row(record: Record) -> Row | Drop:
    text, given = record.get("text"), first_of(record, ("spo_list", "triples"))
    if text is None or not isinstance(given, list):
        return unknown(record)
    triples = [_triple(one) for one in given]
    if not text_of(text).strip():
        return Drop("no text")
    if not triples:
        return Drop("no triples", "", text_of(text))
    if not all(triple and all(triple.values()) for triple in triples):
        return Drop("incomplete triple", str(given)[:200], text_of(text))
    return {"text": text_of(text).strip(), "triples": triples}


def _triple(given: Any) -> dict[str, str]:
    if not isinstance(given, dict):
        return {}
    value = given.get("object")
    value = value.get("@value") if isinstance(value, dict) else value
    return {
        "subject": text_of(given.get("subject")).strip(),
        "predicate": text_of(given.get("predicate")).strip(),
        "object": text_of(value).strip(),
    }


READER = Reader(
    description="DuIE: text, spo_list",
    kind="triples",
    expects="a file with text and spo_list",
    rarity=90,
    row=row,
    read=read,
)
