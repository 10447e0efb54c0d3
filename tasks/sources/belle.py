"""BELLE and what is laid out like it: one instruction or dialogue a row.

Told apart row by row: instruction/input/output (the input is part of the instruction), input/target, prompt/response, conversations of
{from, value}, pairs of {human, assistant}, parallel lists of inputs and outputs, and histories packed into one string (`Human: …\\nAssistant: …`).
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tasks.rows import Drop, Kind
from tasks.sources import turns
from tasks.sources.opening import table_rows

KIND: Kind = "conversations"
NAMED = False


def read(path: Path) -> Iterator[dict[str, Any] | Drop]:
    """Dialogues from JSON Lines, a JSON array, Parquet or CSV."""
    rows = (row if isinstance(row, Drop) else turns.conversation(row) for row in table_rows(path))
    yield from turns.known(path, rows, "instruction and output, input and target, or conversations")
