"""Multiple-choice exams: CMMLU (Question, A, B, C, D, Answer), C-Eval (question, A, B, C, D, answer, explanation), 题目, 选项A, …, 答案, and
those that have the choices in one field, as MMLU (choices, answer: 2), ARC (choices {text, label}, answerKey) and AGIEval (passage, options,
label). A question without an answer, as in C-Eval's test files, serves decontamination and is not scored."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from tasks.data.rows import Drop, Row
from tasks.formats.fields import as_text, first_of, from_json, unknown_schema
from tasks.formats.records import read_rows
from tasks.formats.registry import TABLES, Reader, Record

_LETTERS = "abcdefgh"
_SPLITS = ("_val", "_dev", "_test", "_train")
_KEY = re.compile(rf"[(\[【〔]?\s*([{_LETTERS}])\s*[)\]】〕]?\s*[.、。:)]?")  # A, A., (A), 【A】
_PREFIX = re.compile("(?:选项|option|choice)[ _]?")
_NAMES = {
    **dict.fromkeys(("题目", "问题", "题干"), "question"),
    **dict.fromkeys(("答案", "正确答案", "标准答案", "answerkey"), "answer"),
    **dict.fromkeys(("options", "选项"), "choices"),
    "科目": "subject",
}
_SAID = re.compile(  # 答案：B, 故选B, 【答案】B
    r"(?:[【\[]?(?:正确|参考)?答案[】\]]?\s*[应是为选]*\s*:?\s*|[故应因此所以]{0,4}选项?\s*[是为]?\s*:?\s*"
    r"|(?:the )?(?:correct )?(?:answer|option)(?: is)?\s*:?\s*(?=\W?\w\b))"
)


def read(path: Path) -> Iterator[Row | Drop]:
    """Questions; the subject is the row's own or the file's name without `_val`, `_dev` or `_test`, the answer an index into the choices."""
    subject = path.name.split(".")[0]
    for split in _SPLITS:
        subject = subject.removesuffix(split)
    for one in read_rows(path, READER):
        yield one if isinstance(one, Drop) else {**one, "subject": one["subject"] or subject}


def row(record: Record) -> Row | Drop:
    """A question with its choices, and its answer, which may be None."""
    if isinstance(stem := record.get("question"), dict):  # ARC: {stem, choices}
        record = {**record, "question": stem.get("stem"), "choices": stem.get("choices")}
    given = {_name(str(name)): value for name, value in record.items()}
    fields = {name: as_text(value).strip() for name, value in given.items()}
    labels: dict[str, int] = {}
    if {"question", "a", "b"} <= set(fields):
        choices = [fields[letter] for letter in _LETTERS if letter in fields]
        while choices and not choices[-1]:  # three choices in a table of four columns
            choices.pop()
    elif "question" in fields and given.get("choices"):
        choices = _listed(given["choices"], labels)
    else:
        return unknown_schema(record)
    question = "\n".join(filter(None, (as_text(first_of(given, ("passage", "context"))).strip(), fields["question"])))
    if not fields["question"]:
        return Drop("no question")
    if len(choices) < 2 or not all(choices):
        return Drop("empty choice", "", question)
    said = fields.get("answer") or (fields.get("label", "") if "choices" in given else "")
    answer: int | None
    if said in labels:
        answer = labels[said]
    elif "choices" in given and _is_place(first_of(given, ("answer", "label")), given["choices"]):
        answer = int(said) if int(said) < len(choices) else None
    else:
        answer = _index(said, choices) if said else None
    if said and answer is None:
        return Drop("answer is no choice", said, question)
    return {"subject": fields.get("subject", ""), "question": question, "choices": choices, "answer": answer}


def _name(name: str) -> str:
    """A column's name in lower case; a choice's is its letter, however it is dressed: Ａ, A., （A）."""
    plain = _plain(name)
    key = _KEY.fullmatch(_PREFIX.sub("", plain, count=1))
    return key.group(1) if key else _NAMES.get(plain, plain)


def _is_place(answer: Any, choices: Any) -> bool:
    """True for an answer that counts its choices from 0, as MMLU has it; of choices that are numbers themselves it is one."""
    return isinstance(answer, int) and answer >= 0 and isinstance(choices, list) and all(isinstance(one, str) for one in choices)


def _listed(value: Any, labels: dict[str, int]) -> list[str]:
    """The choices of one field: a list, letters with their texts, or texts beside labels, of which the places go into `labels`."""
    if isinstance(value, str):
        value = from_json(value) if value.lstrip()[:1] == "[" else value.strip().split("\n")
    if isinstance(value, dict) and isinstance(value.get("text"), list):
        value = [{"label": label, "text": text} for label, text in zip(value.get("label") or [], value["text"], strict=False)]
    elif isinstance(value, dict):
        value = [{"label": label, "text": text} for label, text in sorted(value.items(), key=lambda item: _name(str(item[0])))]
    if not isinstance(value, list):
        return []
    if all(isinstance(item, dict) for item in value):
        labels |= {as_text(item.get("label")): place for place, item in enumerate(value)}
        return [as_text(first_of(item, ("text", "value", "content"))).strip() for item in value]
    choices = [as_text(item).strip() for item in value]
    marks = [_MARK.match(choice) for choice in choices]
    if all(mark and mark.group(1).upper() == letter for mark, letter in zip(marks, _LETTERS.upper(), strict=False)):
        return [choice[mark.end() :].strip() for choice, mark in zip(choices, marks, strict=True) if mark]
    return choices


_MARK = re.compile(r"\s*[(（]?([A-Ha-h])(?:[)）]|\s*[.、．:：])\s*")  # of a choice in a list: (A) …, A. …


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
    description="multiple choice, as in CMMLU and C-Eval: question, A, B, C, D, answer; or as in MMLU and ARC: question, choices, answer",
    kind="questions",
    expects="a table (CSV) or JSON Lines with question, A, B and answer, or question, choices and answer",
    rarity=80,
    row=row,
    read=read,
    containers=TABLES,
    named=True,  # the subject is the file's name
)
