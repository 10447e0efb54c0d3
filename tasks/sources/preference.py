"""Preference data: a prompt with a better and a worse answer, under the many names that sets give them, or with a ranking of answers."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tasks.data.rows import Drop, Row
from tasks.formats import packed, turns, unlearned
from tasks.formats.dialogues import in_order
from tasks.formats.fields import as_text, first_of, meta_of, unknown_schema
from tasks.formats.placeholders import is_placeholder
from tasks.formats.records import read_rows
from tasks.formats.registry import Reader, Record

_CHOSEN = (
    "chosen",
    "response_chosen",
    "chosen_response",
    "pos_resp",
    "accepted",
    "chosen_messages",
    "preferred_output",
    "response_j",
)
_REJECTED = ("rejected", "reject", "response_rejected", "rejected_response", "neg_resp", "rejected_messages", "non_preferred_output",
             "response_k")  # fmt: skip
_BETTER = ("better_response_id", "safer_response_id")  # which of response_0 and response_1 it is
_ANSWERS = ("output", "answers", "responses")  # ranked, best first
_PROMPT = (*turns.LISTS, *turns.QUESTION, "input", "context")
_WITH_LISTS = (*turns.LISTS, *_CHOSEN, *_REJECTED)


def read(path: Path) -> Iterator[Row | Drop]:
    """Pairs. Of ranked answers (`output`, best first) the first is taken, and the last that differs from it."""
    yield from read_rows(path, READER)


def row(record: Record) -> Row | Drop:
    """A prompt with a better and a worse answer."""
    pair = _pair(turns.with_lists(record, _WITH_LISTS))
    if isinstance(pair, Drop):
        return pair
    chosen, rejected, record = pair
    if objection := unlearned.objection(record) or turns.not_only_text(record):
        return objection
    prompt = _prompt(record, chosen, rejected)
    if isinstance(prompt, Drop):
        return prompt
    if calls := next((told for side in (chosen, rejected) if isinstance(told := _end(side), Drop)), None):
        return calls
    alone = first_of(record, _PROMPT) is None
    better, worse = _answer(chosen, alone), _answer(rejected, alone)
    good = in_order([*prompt, {"role": "assistant", "content": better or "?"}])
    if isinstance(good, Drop):
        return good
    messages = good.turns[:-1]
    if not better:
        return Drop("no chosen", "", messages[-1]["content"])
    if not worse:
        return Drop("no rejected", "", messages[-1]["content"])
    if better == worse:
        return Drop("chosen equals rejected", "", messages[-1]["content"])
    return good.row(meta_of(record)) | {"messages": messages, "chosen": better, "rejected": worse}


def _pair(record: Record) -> tuple[Any, Any, Record] | Drop:
    """The better answer, the worse one, and the record without them."""
    rest = {name: value for name, value in record.items() if name not in (*_CHOSEN, *_REJECTED)}
    chosen, rejected = first_of(record, _CHOSEN), first_of(record, _REJECTED)
    if len(rest) < len(record):
        if chosen is None and rejected is not None:  # ms-swift: the better answer is the row's own
            chosen = first_of(record, turns.ANSWER)
            listed = next((record[name] for name in turns.LISTS if isinstance(record.get(name), list)), None)
            if chosen is None and listed:
                return listed, _like(listed, rejected), {name: value for name, value in rest.items() if name not in turns.LISTS}
        return chosen, rejected, {name: value for name, value in rest.items() if name not in turns.ANSWER}
    better = first_of(record, _BETTER)
    if better is not None and {"response_0", "response_1"} <= set(record):
        order = ("response_1", "response_0") if as_text(better).strip() == "1" else ("response_0", "response_1")
        return record[order[0]], record[order[1]], rest
    name = next((name for name in _ANSWERS if isinstance(record.get(name), list)), "")
    if not name or isinstance(record.get("input"), list) or "labels" in record:
        return unknown_schema(record)
    answers = [answer for answer in map(_ranked, _by_rank(record[name])) if answer]
    if len(answers) < 2:
        return Drop("no rejected", f"{len(answers)} ranked answers")
    worst = next((answer for answer in reversed(answers) if answer != answers[0]), answers[0])
    return answers[0], worst, {other: value for other, value in rest.items() if other != name}


def _like(listed: list[Any], rejected: Any) -> Any:
    """A worse answer that is only the end of a dialogue, as the whole of it."""
    whole = isinstance(rejected, list) and len(rejected) == len(listed) and all(isinstance(turn, dict) for turn in rejected)
    return rejected if whole else [*listed[:-1], _last(rejected)]


def _last(value: Any) -> Any:
    value = value[-1] if isinstance(value, list) and value else value
    return value if isinstance(value, dict) else {"role": "assistant", "content": as_text(value)}


def _by_rank(answers: list[Any]) -> list[Any]:
    """Answers {answer, rank} in the order of their ranks; others as they are."""
    if not all(isinstance(answer, dict) and isinstance(answer.get("rank"), int | float) for answer in answers):
        return answers
    return sorted(answers, key=lambda answer: answer["rank"])


def _ranked(value: Any) -> str:
    return _answer(value.get("answer") if isinstance(value, dict) and "answer" in value else value, False)


def _prompt(record: Record, chosen: Any, rejected: Any) -> list[turns.Turn] | Drop:
    """The prompt that the record has, or, where the answers are written with all of the dialogue before them, that."""
    rest = {name: value for name, value in record.items() if name not in _ANSWERS}
    if isinstance(chosen, list) and len(chosen) > 1:
        before = turns.turns_of_list(chosen[:-1])
        if isinstance(before, Drop):
            return before
        other = turns.turns_of_list(rejected[:-1]) if isinstance(rejected, list) else before
        if isinstance(other, Drop) or _said(other) != _said(before):
            return Drop("two prompts", "chosen and rejected answer other dialogues", before[0]["content"])
        if before[0]["role"] == "assistant":  # they go on with the prompt
            asked = turns.prompt_of(rest)
            return asked if isinstance(asked, Drop) else [*asked, *before]
        system = as_text(first_of(record, turns.SYSTEM)).strip()
        return [*([{"role": "system", "content": system}] if system else []), *before]
    if first_of(record, _PROMPT) is None and isinstance(chosen, str) and packed.is_packed(chosen):
        return packed.unpack(chosen)[:-1]
    asked = turns.prompt_of(rest)
    if not isinstance(asked, Drop):
        while len(asked) > 1 and asked[-1]["role"] == "assistant" and asked[-1]["content"].strip() == _answer(chosen, False):
            asked.pop()  # a list of the whole dialogue, the better answer included
    return asked


def _said(dialogue: list[turns.Turn]) -> list[str]:
    return [turn["content"].strip() for turn in dialogue]


def _answer(value: Any, alone: bool) -> str:
    """An answer as a string, as {from, value} or {role, content}, or at the end of a dialogue; a string holds a dialogue where nothing else has
    the prompt (`alone`)."""
    text = _end(value)
    if isinstance(text, Drop):
        return ""
    if alone and packed.is_packed(text):
        text = packed.unpack(text)[-1]["content"]
    return "" if is_placeholder(text) else text


def _end(value: Any) -> str | Drop:
    """The last words of an answer; a Drop where they are no text."""
    value = value[-1] if isinstance(value, list) and value else value
    if not isinstance(value, dict):
        return as_text(value).strip()
    read = turns.turns_of_list([value])
    if isinstance(read, Drop):
        return read
    return read[0]["content"].strip() if len(read) == 1 else ""


READER = Reader(
    description="better and worse answers: prompt/chosen/rejected and their kin, or ranked answers",
    kind="preferences",
    expects="a file with a prompt, chosen and rejected, or with output as a list of ranked answers",
    rarity=85,
    row=row,
    read=read,
    columns=(*turns.FIELDS, *_CHOSEN, *_REJECTED),
)
