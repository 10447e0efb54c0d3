"""Dialogues of records: turns of user and assistant, from the many layouts that data sets have (docs/layouts.md lists them)."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from typing import Any

from tasks.data.rows import Drop, Row
from tasks.formats import packed, unlearned
from tasks.formats.dialogues import Turn, in_order, valid_turns
from tasks.formats.fields import META, as_text, first_of, from_json, meta_of, unknown_schema
from tasks.formats.placeholders import material

__all__ = [
    "ANSWER",
    "FIELDS",
    "LISTS",
    "QUESTION",
    "Turn",
    "answer_text",
    "conversation",
    "not_only_text",
    "prompt_of",
    "turns_of_list",
    "valid_turns",
]

_ROLES = {
    **dict.fromkeys(("human", "user", "prompter", "question", "用户", "问", "人类"), "user"),
    **dict.fromkeys(
        ("gpt", "assistant", "bot", "chatgpt", "bing", "bard", "model", "moss", "ai", "助手", "答", "机器人"), "assistant"
    ),
    **dict.fromkeys(("system", "developer", "系统"), "system"),
}
_TOOLS = ("function_call", "observation", "tool", "tool_call", "tool_response", "function", "ipython")
_SPEAKER, _SAID = ("from", "role", "speaker"), ("value", "content", "text")
_PAIRS = (("human", "assistant"), ("user", "assistant"), ("input", "output"), ("instruction", "output"), ("question", "answer"),
          ("prompt", "response"), ("query", "response"))  # fmt: skip

SYSTEM = ("system", "system_prompt", "system_message")
QUESTION = ("instruction", "prompt", "question", "query", "problem", "message_1", "问题", "问")
ANSWER = (
    "output",
    "response",
    "completion",
    "generation",
    "solution",
    "answer",
    "target",
    "std_answer",
    "message_2",
    "答案",
    "回答",
    "答",
)
LISTS = ("conversations", "messages", "conversation", "context_messages", "dialogue", "dialog", "data")
_LISTS = frozenset(LISTS)
_MATERIAL = ("context", "article", "passage")  # that a question is about
_MEDIA = ("images", "image", "videos", "video", "audios", "audio")
_MEDIA_NAMES = frozenset(_MEDIA)
_MEDIA_PARTS = ("image", "image_url", "video", "video_url", "audio", "audio_url", "input_audio", "input_image", "file")
_THOUGHTS = ("reasoning", "thinking", "thought")
_LABEL = re.compile(r"\s*([^\W\d_]{1,9})[ \t]*[:：][ \t]*")

# rows of which an answer could be read, and not the one that is right, or not all that belongs to the question
_OTHERS = frozenset(("chosen", "rejected", "reject", "response_chosen", "response_rejected", "chosen_response", "rejected_response", "pos_resp",
           "neg_resp", "chosen_messages", "rejected_messages", "preferred_output", "non_preferred_output", "spo_list", "choices", "options",
           "critiques", "corrected", "revision", "segments", "completions", "answers"))  # fmt: skip
_KNOWN = {*SYSTEM, *QUESTION, *ANSWER, *LISTS, *_MATERIAL, *_MEDIA, *META, "input", "history", "chat", "plain_text", "tools"}


FIELDS = (
    *QUESTION,
    *ANSWER,
    *LISTS,
    *SYSTEM,
    *_MATERIAL,
    "input",
    "history",
    "text",
    *_SPEAKER,
    *_SAID,
    "human",
    "assistant",
    *META,
)


def not_only_text(record: dict[str, Any]) -> Drop | None:
    """The Drop of a record with pictures or sounds, which its texts are about."""
    name = None if _MEDIA_NAMES.isdisjoint(record) else next((name for name in _MEDIA if record.get(name)), None)
    return Drop("not only text", name) if name else None


def turns_of_list(items: list[Any]) -> list[Turn] | Drop:
    """Turns out of a list of {from, value}, {role, content} or {human, assistant} objects, of pairs of strings, or of strings in turn."""
    if items and all(isinstance(item, str) for item in items):
        return _in_turn(items)
    turns: list[Turn] = []
    for item in items:
        found = _turns_of(item)
        if isinstance(found, Drop):
            return found
        turns += found
    return turns


def _in_turn(texts: list[str]) -> list[Turn]:
    """Texts of user and assistant in turn, without their labels where each has that of its side (问：…, 答：…)."""
    sides = [("user", "assistant")[place % 2] for place in range(len(texts))]
    labels = [_LABEL.match(text) for text in texts]
    if all(label and _ROLES.get(label.group(1).lower()) == side for label, side in zip(labels, sides, strict=True)):
        texts = [text[label.end() :] for label, text in zip(labels, texts, strict=True) if label]
    return [_turn(side, text) for side, text in zip(sides, texts, strict=True)]


def _turns_of(item: Any) -> list[Turn] | Drop:
    """The turns of one item of a list: one, or a question and its answer."""
    if isinstance(item, list) and len(item) == 2 and all(isinstance(side, str) for side in item):
        return _pair(*item)
    if not isinstance(item, dict):
        return Drop("unknown schema", f"a turn is a JSON {type(item).__name__}")
    speaker = first_of(item, _SPEAKER)
    if speaker is None:
        names = next((names for names in _PAIRS if any(name in item for name in names) and set(item).issuperset(names[:1])), None)
        if names is None:
            return Drop("unknown schema", f"a turn has the fields {', '.join(map(str, item))}")
        return _exchange(item, *names)
    speaker = as_text(speaker).strip().lower()
    if speaker in _TOOLS or item.get("tool_calls") or item.get("function_call"):
        return Drop("tool calls", speaker)
    if speaker not in _ROLES:
        return Drop("unknown role", speaker)
    said = _said(first_of(item, _SAID))
    if isinstance(said, Drop):
        return said
    return [_turn(_ROLES[speaker], said, unlearned.is_learned(item))]


def _exchange(item: dict[str, Any], asked: str, answered: str) -> list[Turn] | Drop:
    """XTuner's {system, input, output} and its kin."""
    system, question, answer = (_said(item.get(name)) for name in ("system", asked, answered))
    for text in (system, question, answer):
        if isinstance(text, Drop):
            return text
    if asked == "instruction" and (more := material(item.get("input"), str(question), str(answer))):
        question = f"{question}\n{more}".strip()
    before = [_turn("system", str(system))] if system else []
    return [*before, _turn("user", str(question)), _turn("assistant", str(answer), unlearned.is_learned(item))]


def _turn(role: str, content: str, learned: bool = True) -> Turn:
    return {"role": role, "content": content} | ({} if learned else {"learned": False})


def _said(value: Any) -> str | Drop:
    """The text of a turn: a string, or a list of parts {type: text, text or value}. Thoughts before an answer are no part of it."""
    if isinstance(value, dict):
        value = [value]
    if not isinstance(value, list):
        return answer_text(value)
    texts = []
    for part in value:
        kind = str(part.get("type") or "text") if isinstance(part, dict) else "text"
        if kind in _MEDIA_PARTS:
            return Drop("not only text", kind)
        if kind.startswith("tool"):
            return Drop("tool calls", kind)
        if kind in _THOUGHTS:
            continue
        said = first_of(part, ("text", "value", "content")) if isinstance(part, dict) else part
        if not isinstance(said, str):
            return Drop("unknown schema", f"a part of a turn is a JSON {type(said).__name__}")
        texts.append(said)
    return "\n".join(texts)


def answer_text(value: Any) -> str:
    """An answer as text: objects, and true and false, as JSON."""
    return json.dumps(value, ensure_ascii=False) if isinstance(value, dict | bool) else as_text(value)


def _pair(question: Any, answer: Any) -> list[Turn]:
    return [_turn("user", as_text(question)), _turn("assistant", answer_text(answer))]


def prompt_of(record: dict[str, Any]) -> list[Turn] | Drop:
    """System text, history and question, up to and with the last user turn (or with more turns, where the record lists a whole dialogue).

    `input` belongs to the instruction and is joined to it by a line break; where the instruction is a history that ends with an answer, it is
    the next question. MOSS's `meta_instruction` is left out: it tells of tools whose calls are left out too.
    """
    turns = _asked(record)
    if isinstance(turns, Drop):
        return turns
    before = _history(from_json(record.get("history")))
    if isinstance(before, Drop):
        return before
    system = as_text(first_of(record, SYSTEM)).strip()
    return [*([_turn("system", system)] if system else []), *before, *turns]


def _asked(record: dict[str, Any]) -> list[Turn] | Drop:
    lists = [] if _LISTS.isdisjoint(record) else [record[name] for name in LISTS if isinstance(record.get(name), list)]
    items = next(filter(None, lists), None)
    name = next((name for name in QUESTION if record.get(name) is not None), "")
    prompt, more = record.get(name), record.get("input")
    chat = record.get("chat")
    if items is not None:
        return unknown_schema(record) if items is record.get("data") and _are_records(items) else turns_of_list(items)
    if not name and isinstance(given := first_of(record, _MATERIAL), list) and given and _are_turns(given):
        return turns_of_list(given)
    if isinstance(prompt, list):
        return turns_of_list(prompt)
    if isinstance(more, dict) and isinstance(more.get("messages"), list):
        return turns_of_list(more["messages"])
    if isinstance(more, list) and more and not prompt and not isinstance(record.get("output"), list) and _are_turns(more):
        return turns_of_list(more)
    if isinstance(more, list) and isinstance(record.get("output"), list) and not as_text(prompt).strip():
        return _parallel(more, record["output"])
    if isinstance(chat, dict | list):
        return _moss(chat)
    if isinstance(record.get("plain_text"), str):
        return packed.unpack_moss(record["plain_text"])
    if prompt is not None or more is not None:
        return _question(record, name, as_text(prompt))
    if isinstance(record.get("text"), str) and packed.is_packed(record["text"]):
        return packed.unpack(record["text"])
    return [] if lists else unknown_schema(record)


def _are_turns(items: Any) -> bool:
    return isinstance(items, list) and all(isinstance(item, dict) and first_of(item, _SPEAKER) is not None for item in items)


def _are_records(items: Any) -> bool:
    """True for the rows of a file below a name (`data: [{instruction, output}, …]`), which are no dialogue."""
    return any(isinstance(item, dict) and first_of(item, _SPEAKER) is None for item in items)


def with_lists(record: dict[str, Any], names: Iterable[str] = LISTS) -> dict[str, Any]:
    """A record whose lists of turns are lists."""
    found = {name: value for name in names if isinstance(record.get(name), str) and _are_turns(value := from_json(record[name]))}
    return record | found if found else record


def _parallel(inputs: list[Any], outputs: list[Any]) -> list[Turn] | Drop:
    if len(inputs) - len(outputs) not in (0, 1):
        return Drop("roles do not alternate", f"{len(inputs)} inputs, {len(outputs)} outputs")
    open_ones = [_turn("user", as_text(question)) for question in inputs[len(outputs) :]]
    return [*(turn for pair in zip(inputs, outputs, strict=False) for turn in _pair(*pair)), *open_ones]


def _question(record: dict[str, Any], name: str, prompt: str) -> list[Turn] | Drop:
    """The turns of an instruction with its input, and with the text that it is about."""
    more = material(record.get("input"), prompt, as_text(first_of(record, ANSWER)))
    given = first_of(record, _MATERIAL)
    if isinstance(given, list) and all(isinstance(part, str) for part in given):
        given = "\n".join(given)
    if isinstance(given, dict | list):
        return unknown_schema(record)
    about = material(as_text(given), prompt)
    if about.strip() and name == "question":
        prompt, about = f"{about.strip()}\n{prompt}", ""
    return packed.prompt_turns(prompt, "\n".join(part for part in (more, about) if part.strip()))


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


def conversation(record: dict[str, Any]) -> Row | Drop:
    """A record of any known layout → a row of `conversations` without id and source.

    A question of an evaluation set (`std_answer`) may have no reference answer: then the row is that one turn.
    """
    record = _lower(record)
    if not _LISTS.isdisjoint(record):
        record = with_lists(record)
    if not _OTHERS.isdisjoint(record) and any(record.get(name) is not None for name in _OTHERS):
        return unknown_schema(record)
    if "answer" in record and {"a", "b"} <= {str(name).lower() for name in record}:
        return unknown_schema(record)
    if "答案" in record and any(str(name).startswith("选项") for name in record):
        return unknown_schema(record)
    if objection := unlearned.objection(record) or not_only_text(record):
        return objection
    instances = record.get("instances")
    if isinstance(instances, list) and len(instances) == 1 and isinstance(instances[0], dict):  # BELLE's seed tasks
        record = {**record, **instances[0]}
    turns = prompt_of(record)
    if not isinstance(turns, Drop):
        turns = _with_answer(record, turns)
    if isinstance(turns, Drop):
        return turns
    if "std_answer" in record and not as_text(record["std_answer"]).strip() and turns and turns[0]["content"].strip():
        return {"messages": [{"role": "user", "content": turns[0]["content"].strip()}], "meta": meta_of(record)}
    if misfit := unlearned.mask(record, turns):
        return misfit
    dialogue = in_order(turns)
    return dialogue if isinstance(dialogue, Drop) else dialogue.row(meta_of(record, dialogue.more))


def _with_answer(record: dict[str, Any], turns: list[Turn]) -> list[Turn] | Drop:
    """The turns with the answer that stands in a field of its own. A list of turns that ends with an answer has it already."""
    answer, question = first_of(record, ANSWER), first_of(record, QUESTION)
    asks = not turns or turns[-1]["role"] == "user"
    if answer is None:
        return unknown_schema(record) if asks and _has_others(record) else turns
    more = record.get("input")
    if asks and isinstance(answer, str):
        return [*turns, *_told(answer, question, more, turns)]
    listed = (
        (not _LISTS.isdisjoint(record) and any(isinstance(record.get(name), list) for name in LISTS))
        or isinstance(question, list)
        or isinstance(record.get("chat"), dict | list)
    )
    parallel = isinstance(more, list) and isinstance(answer, list) and not as_text(question).strip() and not _are_turns(more)
    if parallel or (listed and not asks):
        return turns
    if asks and (answer == [] or answer == {}):
        return [*turns, _turn("assistant", "")]
    if isinstance(answer, list) and answer and _are_turns(answer):
        told = turns_of_list(answer)
        return told if isinstance(told, Drop) else [*turns, *told]
    if isinstance(answer, list) and not isinstance(more, list):
        return unknown_schema(record)  # a ranking of answers
    if isinstance(answer, list):  # a list for a list
        return [*turns, _turn("assistant", json.dumps(answer, ensure_ascii=False))]
    if isinstance(answer, dict) and _are_turns([answer]):
        answer = first_of(answer, _SAID)
    return [*turns, *_told(answer_text(answer), question, more, turns)]


def _told(answer: str, question: Any, more: Any, turns: list[Turn]) -> list[Turn]:
    """The turn of an answer, or the turns, where it goes on with a history in a string."""
    history = packed.is_packed(as_text(question).strip() or as_text(more).strip())
    return packed.answer_turns(answer, history, turns[-1]["content"] if turns else "")


def _has_others(record: dict[str, Any]) -> bool:
    """True for a record with fields that we do not know, one of which may be the answer."""
    return not any(name in record for name in ANSWER) and any(
        bool(value.strip()) if isinstance(value, str) else isinstance(value, list | dict) and bool(value)
        for name, value in record.items()
        if name not in _KNOWN
    )


def _lower(record: dict[str, Any]) -> dict[str, Any]:
    """A record with Question and Answer as question and answer."""
    if not any(isinstance(name, str) and name.istitle() for name in record):
        return record
    names = {name: name.lower() for name in record if isinstance(name, str) and name.istitle() and name.lower() not in record}
    return {names.get(name, name): value for name, value in record.items()}
