"""Multiple-choice exams, one file a subject: CMMLU (Question, A, B, C, D, Answer) and C-Eval (question, A, B, C, D, answer, explanation), as CSV
or in any other container. A question without an answer, as in C-Eval's test files, serves decontamination and is not scored."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator, Sequence
from pathlib import Path

from tasks.data.rows import Drop, Row
from tasks.formats.fields import as_text, unknown_schema
from tasks.formats.records import read_rows
from tasks.formats.registry import TABLES, Reader, Record

_LETTERS = "abcdefgh"
_SPLITS = ("_val", "_dev", "_test", "_train")
_KEY = re.compile(rf"[(\[【〔]?\s*([{_LETTERS}])\s*[)\]】〕]?\s*[.、。:)]?")  # A, A., (A), 【A】
_SAID = re.compile(r"(?:正确)?答案\s*[是为]?\s*:?\s*|选项?\s*|(?:answer|option)\s*:?\s*(?=\W?\w\b)")  # 答案：B, 选B


def read(path: Path) -> Iterator[Row | Drop]:
    """Questions; the subject is the row's own or the file's name without `_val`, `_dev` or `_test`, the answer an index into the choices."""
    subject = path.name.split(".")[0]
    for split in _SPLITS:
        subject = subject.removesuffix(split)
    for one in read_rows(path, READER):
        yield one if isinstance(one, Drop) else {**one, "subject": one["subject"] or subject}


def row(record: Record) -> Row | Drop:
    """A question with its choices, and its answer, which may be None."""
    fields = {_name(str(name)): as_text(value).strip() for name, value in record.items()}
    if not {"question", "a", "b"} <= set(fields):
        return unknown_schema(record)
    question = fields["question"]
    choices = [fields[letter] for letter in _LETTERS if letter in fields]
    while choices and not choices[-1]:  # three choices in a table of four columns
        choices.pop()
    if not question:
        return Drop("no question")
    if len(choices) < 2 or not all(choices):
        return Drop("empty choice", "", question)
    said = fields.get("answer", "")
    answer = _index(said, choices) if said else None
    if said and answer is None:
        return Drop("answer is no choice", said, question)
    return {"subject": fields.get("subject", ""), "question": question, "choices": choices, "answer": answer}


def _name(name: str) -> str:
    """A column's name in lower case; a choice's is its letter, however it is dressed: Ａ, A., （A）."""
    plain = _plain(name)
    key = _KEY.fullmatch(plain)
    return key.group(1) if key else plain


def _plain(text: str) -> str:
    return unicodedata.normalize("NFKC", text).strip().lower()


def _index(said: str, choices: Sequence[str]) -> int | None:
    """The choice that an answer names, by its letter, by both letter and text, or by its text alone; None where that is none or several."""
    if said in choices and choices.count(said) == 1 and not _KEY.fullmatch(_plain(said)):
        return choices.index(said)
    text = _plain(said)
    introduced = _SAID.match(text)
    text = text[introduced.end() :] if introduced else text
    key = _KEY.match(text)
    if key is None or (number := _LETTERS.index(key.group(1))) >= len(choices):
        return None
    rest = text[key.end() :].strip()
    return number if not rest or rest == _plain(choices[number]) else None


READER = Reader(
    description="multiple choice, one file a subject, as in CMMLU and C-Eval: question, A, B, C, D, answer",
    kind="questions",
    expects="a table (CSV) or JSON Lines with question, A, B and answer",
    rarity=80,
    row=row,
    read=read,
    containers=TABLES,
    named=True,  # the subject is the file's name
)
