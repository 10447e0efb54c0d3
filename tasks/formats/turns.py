"""Dialogues of records: turns of user and assistant, from the many layouts that data sets have."""

from __future__ import annotations

import re
from typing import Any

from tasks.data.rows import Drop
from tasks.formats import packed
from tasks.formats.fields import as_text, first_of, meta_of, unknown_schema
from tasks.text.escapes import unescaped

Turn = dict[str, str]  # role (system, user or assistant), content

_ROLES = {
    **dict.fromkeys(("human", "user", "prompter", "question", "用户", "问"), "user"),
    **dict.fromkeys(("gpt", "assistant", "bot", "chatgpt", "model", "moss", "ai", "助手", "答"), "assistant"),
    "system": "system",
}
_TOOLS = ("function_call", "observation", "tool", "tool_call", "tool_response", "function", "ipython")
_QUESTION = ("instruction", "prompt", "question", "query")
_ANSWER = ("output", "response", "answer", "target", "std_answer")
_LISTS = ("conversations", "messages", "conversation")

# rows that belong to another reader, although they have a question and perhaps an answer
_PAIRED = ("chosen", "rejected", "reject", "response_chosen", "response_rejected", "pos_resp", "neg_resp", "spo_list")
_NOTHING = re.compile(
    r"[<（(\[【]?\s*(?:无输入|没有输入|无需输入|无需输入内容|不需要输入|没有提供输入|不适用|无|空|no\s*input|none|n/?a|nan|null)\s*[>）)\]】]?\s*[。.]?",
    re.IGNORECASE,
)


def without_placeholder(record: dict[str, Any]) -> dict[str, Any]:
    """A record of which the input says something, and not that there is none (无输入)."""
    text = record.get("input")
    return {**record, "input": ""} if isinstance(text, str) and _NOTHING.fullmatch(unescaped(text).strip()) else record


def turns_of_list(items: list[Any]) -> list[Turn] | Drop:
    """Turns out of a list of {from, value}, {role, content} or {human, assistant} objects."""
    turns: list[Turn] = []
    for item in items:
        if not isinstance(item, dict):
            return Drop("unknown schema", f"a turn is a JSON {type(item).__name__}")
        if "human" in item and "assistant" in item:
            turns += _pair(item["human"], item["assistant"])
            continue
        speaker = as_text(first_of(item, ("from", "role", "speaker"))).strip().lower()
        if speaker in _TOOLS or item.get("tool_calls"):
            return Drop("tool calls", speaker)
        if speaker not in _ROLES:
            return Drop("unknown role", speaker)
        turns.append({"role": _ROLES[speaker], "content": _said(first_of(item, ("value", "content", "text")))})
    return turns


def _said(value: Any) -> str:
    """The text of a turn: a string, or a list of parts {type: text, text}."""
    if isinstance(value, list) and all(isinstance(part, dict) and "text" in part for part in value):
        return "\n".join(as_text(part["text"]) for part in value)
    return as_text(value)


def _pair(question: Any, answer: Any) -> list[Turn]:
    return [{"role": "user", "content": as_text(question)}, {"role": "assistant", "content": as_text(answer)}]


def prompt_of(record: dict[str, Any]) -> list[Turn] | Drop:
    """System text, history and question, up to and with the last user turn (or with more turns, where the record lists a whole dialogue).

    `input` belongs to the instruction and is joined to it by a line break; where the instruction is a history that ends with an answer, it is
    the next question. MOSS's `meta_instruction` is left out: it tells of tools whose calls are left out too.
    """
    turns = _asked(record)
    if isinstance(turns, Drop):
        return turns
    before = _history(record.get("history"))
    if isinstance(before, Drop):
        return before
    system = as_text(record.get("system")).strip()
    return [*([{"role": "system", "content": system}] if system else []), *before, *turns]


def _asked(record: dict[str, Any]) -> list[Turn] | Drop:
    items = first_of(record, _LISTS)
    prompt, more = first_of(record, _QUESTION), record.get("input")
    chat = record.get("chat")
    if isinstance(items, list):
        return turns_of_list(items)
    if isinstance(prompt, list):
        return turns_of_list(prompt)
    if isinstance(more, list) and isinstance(record.get("output"), list):
        if len(more) != len(record["output"]):
            return Drop("roles do not alternate", f"{len(more)} inputs, {len(record['output'])} outputs")
        return [turn for pair in zip(more, record["output"], strict=True) for turn in _pair(*pair)]
    if isinstance(chat, dict | list):
        return _moss(chat)
    if isinstance(record.get("plain_text"), str):
        return packed.unpack_moss(record["plain_text"])
    if prompt is not None or more is not None:
        return packed.prompt_turns(as_text(prompt), as_text(more))
    if isinstance(record.get("text"), str) and packed.is_packed(record["text"]):
        return packed.unpack(record["text"])
    return unknown_schema(record)


def _moss(chat: dict[str, Any] | list[Any]) -> list[Turn] | Drop:
    """MOSS's {turn_1: {Human, MOSS}, turn_2: …}, in the order of the numbers; thoughts, commands and results are left out."""
    items = chat if isinstance(chat, list) else [chat[name] for name in sorted(chat, key=packed.natural)]
    turns: list[Turn] = []
    for item in items:
        if not isinstance(item, dict) or "Human" not in item or "MOSS" not in item:
            return Drop("unknown schema", "a turn of its chat lacks Human or MOSS")
        turns += _pair(packed.without_marks(as_text(item["Human"])), packed.without_marks(as_text(item["MOSS"])))
    return turns


def _history(history: Any) -> list[Turn] | Drop:
    if not history:
        return []
    if isinstance(history, list) and all(isinstance(item, dict) for item in history):
        return turns_of_list(history)
    if not isinstance(history, list) or not all(isinstance(pair, list) and len(pair) == 2 for pair in history):
        return Drop("unknown schema", "history is no list of pairs")
    return [turn for pair in history for turn in _pair(*pair)]


def valid_turns(turns: list[Turn]) -> list[Turn] | Drop:
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
    """A record of any known layout → a row of `conversations` without id and source.

    A question of an evaluation set (`std_answer`) may have no reference answer: then the row is that one turn.
    """
    if any(name in record for name in _PAIRED) or {"a", "b", "answer"} <= {str(name).lower() for name in record}:
        return unknown_schema(record)
    instances = record.get("instances")
    if isinstance(instances, list) and len(instances) == 1 and isinstance(instances[0], dict):  # BELLE's seed tasks
        record = {**record, **instances[0]}
    turns = prompt_of(record)
    if isinstance(turns, Drop):
        return turns
    answer = first_of(record, _ANSWER)
    if isinstance(answer, list) and not isinstance(record.get("input"), list):
        return unknown_schema(record)  # a ranking of answers
    if answer is not None and not isinstance(answer, list):
        goes_on = len(turns) > 1 or packed.is_packed(as_text(first_of(record, _QUESTION)))
        turns = [*turns, *packed.answer_turns(as_text(answer), goes_on)]
    if "std_answer" in record and not as_text(record["std_answer"]).strip() and turns and turns[0]["content"].strip():
        good: list[Turn] | Drop = [{"role": "user", "content": turns[0]["content"].strip()}]
    else:
        good = valid_turns(turns)
    return good if isinstance(good, Drop) else {"messages": good, "meta": meta_of(record)}
