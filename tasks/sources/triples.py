"""Relation extraction as in DuIE: a text with its (subject, predicate, object) triples."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tasks.data.rows import Drop, Kind
from tasks.formats.sniff import read as rows_of
from tasks.formats.turns import first_of, text_of, unknown
from tasks.sources import TABLES

KIND: Kind = "triples"
NAMED = False
CONTAINERS = TABLES


def read(path: Path) -> Iterator[dict[str, Any] | Drop]:
    """Texts with at least one triple. Of an object with several slots (DuIE 2.0: @value, inWork, onDate …) the value is taken."""
    yield from rows_of(path, "triples", "a file with text and spo_list")


def row(record: dict[str, Any]) -> dict[str, Any] | Drop:
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
