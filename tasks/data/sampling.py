"""Seeded samples of rows."""

from __future__ import annotations

import hashlib
import heapq
from collections.abc import Iterable
from typing import Any


def pick(rows: Iterable[dict[str, Any]], limit: int, seed: int) -> list[dict[str, Any]]:
    """A seeded sample of at most `limit` rows (0: all), in an order that depends on seed and ids alone."""

    def rank(row: dict[str, Any]) -> str:
        return hashlib.sha256(f"{seed}/{row['id']}".encode()).hexdigest()

    return heapq.nsmallest(limit, rows, key=rank) if limit else sorted(rows, key=rank)
