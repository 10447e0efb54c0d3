"""Multiple-choice exams, one CSV a subject: CMMLU (Question, A, B, C, D, Answer) and C-Eval (question, A, B, C, D, answer, explanation)."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tasks.rows import BrokenFile, Drop, Kind
from tasks.sources.opening import csv_rows

KIND: Kind = "questions"
NAMED = True  # the subject is the file's name

_LETTERS = "abcdefgh"
_SPLITS = ("_val", "_dev", "_test", "_train")


def read(path: Path) -> Iterator[dict[str, Any] | Drop]:
    """Questions; the subject is the file's name without `_val`, `_dev` or `_test`, the answer an index into the choices."""
    subject = path.name.split(".")[0]
    for split in _SPLITS:
        subject = subject.removesuffix(split)
    for row in csv_rows(path):
        if isinstance(row, Drop):
            yield row
            continue
        missing = [name for name in ("question", "a", "b", "answer") if name not in row]
        if missing:
            raise BrokenFile(
                path,
                f"it lacks the columns {', '.join(missing)}; it has {', '.join(row)[:200]}",
                "give the source another format",
            )
        yield _question(subject, row)


def _question(subject: str, row: dict[str, str]) -> dict[str, Any] | Drop:
    question = row["question"].strip()
    choices = [row[letter].strip() for letter in _LETTERS if letter in row]
    while choices and not choices[-1]:  # three choices in a table of four columns
        choices.pop()
    answer = row["answer"].strip().lower()
    if not question:
        return Drop("no question")
    if len(choices) < 2 or not all(choices):
        return Drop("empty choice", "", question)
    if not answer:
        return Drop("no answer", "", question)
    if len(answer) != 1 or answer not in _LETTERS[: len(choices)]:
        return Drop("answer is no choice", row["answer"].strip(), question)
    return {"subject": subject, "question": question, "choices": choices, "answer": _LETTERS.index(answer)}
