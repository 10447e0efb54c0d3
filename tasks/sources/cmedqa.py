"""cMedQA2: questions to doctors in one table (question_id, content), their answers in another (ans_id, question_id, content).

A question has one answer or several. Several become one, as a numbered list, which is how Chinese-Vicuna trained on them with the best result.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from tasks.data.rows import BrokenFile, Drop, Row
from tasks.formats.fields import as_text, first_of, meta_of, unknown_schema
from tasks.formats.records import read_rows
from tasks.formats.registry import Reader, Record
from tasks.formats.turns import valid_turns

_QUESTION = ("question_id", "q_id", "que_id")
_ANSWER = ("ans_id", "answer_id")
_TEXT = ("content", "text")


def read(path: Path, beside: Sequence[Path] = ()) -> Iterator[Row | Drop]:
    """Dialogues of one turn out of a table of answers, and nothing out of one of questions. The questions are in the files `beside` it, else in
    its folder; they and the answers are held in memory (100 MB of the whole set)."""
    halves = read_rows(path, READER)
    first = next((half for half in halves if not isinstance(half, Drop)), None)
    if first is None or "answers" not in first:
        return
    questions: dict[str, str] = {}
    for other in beside or sorted(path.parent.iterdir()):
        if other != path and other.is_file():
            questions |= _questions(other)
    if not questions:
        raise BrokenFile(
            path,
            "it has answers, and no table of their questions is beside it",
            "put question.csv into its folder and the source",
        )
    answers: dict[str, list[str]] = {}
    for half in read_rows(path, READER):
        if isinstance(half, Drop):
            yield half
        elif half["answers"] not in questions:
            yield Drop("no question", f"question {half['answers']} is in no table", half["text"])
        else:
            answers.setdefault(half["answers"], []).append(half["text"].strip())
    for number, texts in answers.items():
        distinct = [text for text in dict.fromkeys(texts) if text]
        answer = distinct[0] if len(distinct) == 1 else "\n".join(f"{place}. {text}" for place, text in enumerate(distinct, 1))
        turns = valid_turns([{"role": "user", "content": questions[number]}, {"role": "assistant", "content": answer}])
        yield turns if isinstance(turns, Drop) else {"messages": turns, "meta": meta_of({}, {"answers": len(distinct)})}


def _questions(path: Path) -> dict[str, str]:
    """The questions of a table by their number; empty for a table of answers."""
    questions = {}
    for half in read_rows(path, READER):
        if not isinstance(half, Drop):
            if "answers" in half:
                return {}
            questions[half["question"]] = half["text"]
    return questions


def row(record: Record) -> Row | Drop:
    """Half of a row: a question with its number, or an answer with the number of what it answers."""
    number, text = first_of(record, _QUESTION), first_of(record, _TEXT)
    answers = first_of(record, _ANSWER) is not None
    if number is None and not answers and set(record) <= {"id", *_TEXT}:
        number = record.get("id")
    if number is None or text is None:
        return unknown_schema(record)
    if not as_text(text).strip():
        return Drop("no answer" if answers else "no question")
    return {"answers" if answers else "question": as_text(number).strip(), "text": as_text(text)}


READER = Reader(
    description="cMedQA2, two CSV tables: question_id, content; ans_id, question_id, content",
    kind="conversations",
    expects="a table (CSV) with question_id and content, or ans_id, question_id and content",
    rarity=70,
    row=row,
    read=read,
    containers=("csv", "tsv"),
    joined=True,  # a question and its answers
    columns=(*_QUESTION, *_ANSWER, *_TEXT, "id"),
)
