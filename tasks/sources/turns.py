"""One dialogue out of the many ways in which people write one down."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from tasks.rows import BrokenFile, Drop

Turn = dict[str, str]  # role (system, user or assistant), content

_ROLES = {
    **dict.fromkeys(("human", "user", "prompter", "question", "用户", "问"), "user"),
    **dict.fromkeys(("gpt", "assistant", "bot", "chatgpt", "model", "moss", "助手", "答"), "assistant"),
    "system": "system",
}
_QUESTION = ("instruction", "prompt", "question", "query")
_ANSWER = ("output", "response", "answer", "target", "std_answer")
_LISTS = ("conversations", "messages", "conversation")
_META = ("id", "category", "kind", "class", "dataset", "lang", "name", "department")

# a whole history in one string, each turn behind its speaker: `Human: … \nAssistant: …`, `<s>Human: …</s>`, `<user>: … <bot>: …`
_SPEAKERS = (
    re.compile(r"(?:^|</?s>)[ \t]*(Human|Assistant)[ \t]*[:：]", re.MULTILINE),
    re.compile(r"(?:^|\s)<(user|bot)>[ \t]*[:：]"),
)
_SENTINEL = re.compile(r"</?s>")


def text_of(value: Any) -> str:
    """A cell as text: null is empty, numbers are written out, anything nested is no text and counts as empty."""
    if isinstance(value, str):
        return value
    return str(value) if isinstance(value, int | float) and not isinstance(value, bool) else ""


def first_of(record: dict[str, Any], names: Iterable[str]) -> Any:
    """The first of these fields that is there, else None."""
    return next((record[name] for name in names if record.get(name) is not None), None)


def unpack(text: str) -> list[Turn]:
    """The turns of a packed history, or the text as one user turn where it is not one. An empty last turn (`Assistant:`) is left out."""
    for speaker in _SPEAKERS:
        marks = list(speaker.finditer(text))
        if not marks or text[: marks[0].start()].strip() or marks[0].group(1).lower() not in ("human", "user"):
            continue
        ends = [mark.start() for mark in marks[1:]] + [len(text)]
        turns = [
            {"role": _ROLES[mark.group(1).lower()], "content": _SENTINEL.sub("", text[mark.end() : end]).strip()}
            for mark, end in zip(marks, ends, strict=True)
        ]
        return turns if turns[-1]["content"] else turns[:-1]
    return [{"role": "user", "content": text}]


def listed(items: list[Any]) -> list[Turn] | Drop:
    """Turns out of a list of {from, value}, {role, content} or {human, assistant} objects."""
    turns: list[Turn] = []
    for item in items:
        if not isinstance(item, dict):
            return Drop("unknown schema", f"a turn is a JSON {type(item).__name__}")
        if "human" in item and "assistant" in item:
            turns += [
                {"role": role, "content": text_of(item[name])} for name, role in (("human", "user"), ("assistant", "assistant"))
            ]
            continue
        speaker = text_of(first_of(item, ("from", "role"))).strip().lower()
        if speaker not in _ROLES:
            return Drop("unknown role", speaker)
        turns.append({"role": _ROLES[speaker], "content": text_of(first_of(item, ("value", "content")))})
    return turns


def prompt_of(record: dict[str, Any]) -> list[Turn] | Drop:
    """System text, history and question, up to and with the last user turn (or with more turns, where the record lists a whole dialogue).

    `input` belongs to the instruction and is joined to it by a line break.
    """
    items = first_of(record, _LISTS)
    prompt = first_of(record, _QUESTION)
    turns: list[Turn] | Drop
    if isinstance(items, list):
        turns = listed(items)
    elif isinstance(prompt, list):
        turns = listed(prompt)
    elif isinstance(record.get("input"), list) and isinstance(record.get("output"), list):
        if len(record["input"]) != len(record["output"]):
            return Drop("roles do not alternate", f"{len(record['input'])} inputs, {len(record['output'])} outputs")
        turns = [
            {"role": role, "content": text_of(text)}
            for pair in zip(record["input"], record["output"], strict=True)
            for role, text in zip(("user", "assistant"), pair, strict=True)
        ]
    elif prompt is not None or record.get("input") is not None:
        parts = (text_of(prompt).strip(), text_of(record.get("input")).strip())
        turns = unpack("\n".join(part for part in parts if part))
    elif isinstance(record.get("text"), str):
        turns = unpack(record["text"])
    else:
        return Drop("unknown schema", f"it has the fields {', '.join(map(str, record))}")
    if isinstance(turns, Drop):
        return turns
    history = record.get("history") or []
    if not isinstance(history, list) or not all(isinstance(pair, list) and len(pair) == 2 for pair in history):
        return Drop("unknown schema", "history is no list of pairs")
    before = [
        {"role": role, "content": text_of(text)}
        for pair in history
        for role, text in zip(("user", "assistant"), pair, strict=True)
    ]
    system = text_of(record.get("system") or record.get("meta_instruction")).strip()
    return [*([{"role": "system", "content": system}] if system else []), *before, *turns]


def checked(turns: list[Turn]) -> list[Turn] | Drop:
    """Turns without outer white space, in the order [system] (user assistant)+, all with words in them; or why they are no dialogue.

    User turns after the last answer teach nothing and are left out.
    """
    turns = [{"role": turn["role"], "content": turn["content"].strip()} for turn in turns]
    while turns and turns[-1]["role"] == "user" and any(turn["role"] == "assistant" for turn in turns):
        turns.pop()
    if turns and turns[0]["role"] == "system" and not turns[0]["content"]:
        turns = turns[1:]
    spoken = turns[1:] if turns and turns[0]["role"] == "system" else turns
    if not spoken:
        return Drop("no question")
    for place, turn in enumerate(spoken):
        if turn["role"] != ("user", "assistant")[place % 2]:
            return Drop("roles do not alternate", f"turn {place + 1} is of the {turn['role']}", spoken[0]["content"])
        if not turn["content"]:
            return Drop("no answer" if place % 2 else "no question", f"turn {place + 1}", spoken[0]["content"])
    if len(spoken) == 1:
        return Drop("no answer", "", spoken[0]["content"])
    return turns


def conversation(record: dict[str, Any]) -> dict[str, Any] | Drop:
    """A record of any known layout → a row of `conversations` without id and source."""
    turns = prompt_of(record)
    if isinstance(turns, Drop):
        return turns
    answer = first_of(record, _ANSWER)
    if answer is not None and not isinstance(answer, list):
        turns = [*turns, {"role": "assistant", "content": text_of(answer)}]
    good = checked(turns)
    return good if isinstance(good, Drop) else {"messages": good, "meta": meta_of(record)}


def meta_of(record: dict[str, Any], **more: Any) -> str:
    """What else is worth keeping of a record, as JSON."""
    kept = {name: record[name] for name in _META if isinstance(record.get(name), str | int | float) and record[name] != ""}
    return json.dumps({**kept, **more}, ensure_ascii=False)


def known(path: Path, rows: Iterable[dict[str, Any] | Drop], needs: str) -> Iterator[dict[str, Any] | Drop]:
    """The same rows; BrokenFile at the end if not one of them had a layout that the reader knows."""
    good, unknown = 0, ""
    for row in rows:
        if not isinstance(row, Drop):
            good += 1
        elif row.reason == "unknown schema":
            unknown = unknown or row.detail
        yield row
    if unknown and not good:
        raise BrokenFile(
            path, f"no row has the fields that this format needs ({needs}): {unknown}", "give the source another format"
        )
