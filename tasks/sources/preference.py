"""Preference data: a prompt with a better and a worse answer, under the many names that sets give them, or with a ranking of answers."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tasks.data.rows import Drop, Row
from tasks.formats import packed, turns
from tasks.formats.fields import as_text, first_of, meta_of, unknown_schema
from tasks.formats.records import read_rows
from tasks.formats.registry import Reader, Record

_CHOSEN = ("chosen", "response_chosen", "pos_resp", "accepted")
_REJECTED = ("rejected", "reject", "response_rejected", "neg_resp")
_PROMPT = ("conversations", "messages", "conversation", "instruction", "prompt", "question", "query", "input")


def read(path: Path) -> Iterator[Row | Drop]:
    """Pairs. Of ranked answers (`output`, best first) the first is taken, and the last that differs from it."""
    yield from read_rows(path, READER)


def row(record: Record) -> Row | Drop:
    """A prompt with a better and a worse answer."""
    chosen, rejected = first_of(record, _CHOSEN), first_of(record, _REJECTED)
    if chosen is None and rejected is None and not any(name in record for name in (*_CHOSEN, *_REJECTED)):
        ranked = record.get("output")
        if not isinstance(ranked, list) or isinstance(record.get("input"), list):
            return unknown_schema(record)
        answers = [answer for answer in map(_answer, ranked) if answer]
        if len(answers) < 2:
            return Drop("no rejected", f"{len(answers)} ranked answers")
        chosen = answers[0]
        rejected = next((answer for answer in reversed(answers) if answer != chosen), chosen)
    prompt = _prompt(record, chosen)
    if isinstance(prompt, Drop):
        return prompt
    better, worse = _answer(chosen), _answer(rejected)
    good = turns.valid_turns([*prompt, {"role": "assistant", "content": better}])
    if isinstance(good, Drop):
        return Drop("no chosen", good.detail, good.excerpt) if good.reason == "no answer" and not better else good
    if not worse:
        return Drop("no rejected", "", good[-2]["content"])
    if better == worse:
        return Drop("chosen equals rejected", "", good[-2]["content"])
    return {"messages": good[:-1], "chosen": better, "rejected": worse, "meta": meta_of(record)}


def _prompt(record: dict[str, Any], chosen: Any) -> list[turns.Turn] | Drop:
    """The prompt that the record has, or, where the better answer is written with all of the dialogue before it, that."""
    field = first_of(record, _PROMPT)
    if isinstance(chosen, list) and len(chosen) > 1 and not isinstance(field, list):
        return turns.turns_of_list(chosen[:-1])
    if field is None and isinstance(chosen, str) and packed.is_packed(chosen):
        return packed.unpack(chosen)[:-1]
    return turns.prompt_of({name: value for name, value in record.items() if name != "output"})


def _answer(value: Any) -> str:
    """An answer as a string, as {from, value} or {role, content}, or at the end of a dialogue."""
    if isinstance(value, list):
        value = value[-1] if value else None
    if isinstance(value, dict):
        value = first_of(value, ("value", "content", "text"))
    text = as_text(value).strip()
    return packed.unpack(text)[-1]["content"] if packed.is_packed(text) else text


READER = Reader(
    description="better and worse answers: prompt/chosen/rejected and their kin, or ranked answers",
    kind="preferences",
    expects="a file with a prompt, chosen and rejected, or with output as a list of ranked answers",
    rarity=85,
    row=row,
    read=read,
)
