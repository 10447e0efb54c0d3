"""Multiple-choice exams, one CSV a subject: CMMLU (Question, A, B, C, D, Answer) and C-Eval (question, A, B, C, D, answer, explanation)."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from tasks.data.rows import Drop, Row
from tasks.formats.fields import unknown_schema
from tasks.formats.records import read_rows
from tasks.formats.registry import Reader, Record

_LETTERS = "abcdefgh"
_SPLITS = ("_val", "_dev", "_test", "_train")


def read(path: Path) -> Iterator[Row | Drop]:
    """Questions; the subject is the file's name without `_val`, `_dev` or `_test`, the answer an index into the choices."""
    subject = path.name.split(".")[0]
    for split in _SPLITS:
        subject = subject.removesuffix(split)
    for one in read_rows(path, READER):
        yield one if isinstance(one, Drop) else {**one, "subject": subject}


def row(record: Record) -> Row | Drop:
    """A question with its choices; its subject is filled in by `read`."""
    if not {"question", "a", "b", "answer"} <= set(record):
        return unknown_schema(record)
    question = record["question"].strip()
    choices = [record[letter].strip() for letter in _LETTERS if letter in record]
    while choices and not choices[-1]:  # three choices in a table of four columns
        choices.pop()
    answer = record["answer"].strip().lower()
    if not question:
        return Drop("no question")
    if len(choices) < 2 or not all(choices):
        return Drop("empty choice", "", question)
    if not answer:
        return Drop("no answer", "", question)
    if len(answer) != 1 or answer not in _LETTERS[: len(choices)]:
        return Drop("answer is no choice", record["answer"].strip(), question)
    return {"subject": "", "question": question, "choices": choices, "answer": _LETTERS.index(answer)}


READER = Reader(
    description="multiple choice, one CSV a subject, as in CMMLU and C-Eval: question, A, B, C, D, answer",
    kind="questions",
    expects="a table (CSV) with question, A, B and answer",
    rarity=80,
    row=row,
    read=read,
    containers=("csv", "tsv"),
    named=True,  # the subject is the file's name
)
