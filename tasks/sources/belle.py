"""BELLE and what is laid out like it: one instruction or dialogue a row.

Told apart row by row: instruction/input/output (the input is part of the instruction, the output may be a whole generated dialogue),
input/target (Firefly), prompt/response, question/std_answer (BELLE's evaluation set), conversations of {from, value}, pairs of
{human, assistant}, parallel lists of inputs and outputs, MOSS's turns by number, and histories packed into one string
(`Human: …\\nAssistant: …`, `User: …`, `<user>: …`, `<s>Human: …</s>`).
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tasks.data.rows import Drop, Kind
from tasks.formats import turns
from tasks.formats.sniff import read as rows_of
from tasks.sources import TABLES

KIND: Kind = "conversations"
NAMED = False
CONTAINERS = TABLES


def read(path: Path) -> Iterator[dict[str, Any] | Drop]:
    """Dialogues. A question of the evaluation set that has no reference answer is a row of one turn."""
    yield from rows_of(path, "belle", "a file with instruction and output, input and target, or conversations")


def row(record: dict[str, Any]) -> dict[str, Any] | Drop:
    return turns.conversation(turns.without_placeholder(record))
