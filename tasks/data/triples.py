"""Held-out texts with the triples that a model should find in them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tasks.data.rows import read
from tasks.text import relations


def asked(path: Path) -> Iterator[tuple[dict[str, Any], list[relations.Triple]]]:
    """The rows of `scored/rows.parquet`, each with the triples that its answer should say."""
    for row in read([path]):
        truth = relations.parse_triples(row["messages"][-1]["content"])
        assert truth is not None, f"row {row['id']} has an answer that is no list of triples"
        yield row, truth
