"""BELLE and what is laid out like it: one instruction or dialogue a row.

Told apart row by row: instruction/input/output (the input is part of the instruction, the output may be a whole generated dialogue),
input/target (Firefly), prompt/response, question/std_answer (BELLE's evaluation set), conversations of {from, value}, pairs of
{human, assistant}, parallel lists of inputs and outputs, MOSS's turns by number, and histories packed into one string
(`Human: …\\nAssistant: …`, `User: …`, `<user>: …`, `<s>Human: …</s>`).
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from tasks.data.rows import Drop, Row
from tasks.formats import turns
from tasks.formats.records import read_rows
from tasks.formats.registry import Reader, Record


def read(path: Path) -> Iterator[Row | Drop]:
    """Dialogues. A question of the evaluation set that has no reference answer is a row of one turn."""
    yield from read_rows(path, READER)


def row(record: Record) -> Row | Drop:
    """A record of any of these layouts as a dialogue."""
    return turns.conversation(record)


READER = Reader(
    description="instructions and dialogues, laid out as in BELLE, Firefly, ShareGPT, MOSS, guanaco, TigerBot, Chinese-Vicuna or Huatuo",
    kind="conversations",
    expects="a file with instruction and output, input and target, or conversations",
    rarity=50,
    row=row,
    read=read,
    columns=turns.FIELDS,
)
