r"""Dialogues inside one string, each turn behind its speaker (`Human: …\nAssistant: …`, `<s>Human: …</s>`, `<user>: … <bot>: …`,
`### Human: …### Assistant: …`, MOSS's `<|Human|>: …<eoh>`), and the marks that such strings leave in a text."""

from __future__ import annotations

import re

from tasks.text.escapes import line_ends

Turn = dict[str, str]  # role (system, user or assistant), content

_ROLES = {"human": "user", "user": "user", "assistant": "assistant", "bot": "assistant", "moss": "assistant", "system": "system"}
_SPEAKERS = (
    re.compile(r"(?:^|</?s>)[ \t]*(Human|User|Assistant|System)[ \t]*[:：]", re.MULTILINE),
    re.compile(r"(?:^|\s)<(user|bot)>[ \t]*[:：]"),
    re.compile(r"###[ \t]*(Human|User|Assistant|System)[ \t]*[:：]"),
)
_BEGINNINGS = ("Human", "User", "Assistant", "System", "<", "###")
_BEHIND_SENTINEL = re.compile(r"</?s>\s*(Human|User|Assistant|System)[ \t]*[:：]")  # where these part turns, a line does not
_SENTINEL = re.compile(r"</?s>")
_MOSS = re.compile(r"(?:\[|<\|)(Human|MOSS|Inner Thoughts|Commands|Results|Tool Responses)(?:\]|\|>)[ \t]*[:：]?")
_MOSS_MARKS = re.compile(r"<sup>(?:<\|\d+\|>[,，\s]*)+</sup>|<\|[^|<>\n]{1,20}\|>[ \t]*[:：]?|<eo[a-z]{1,2}>")
_NUMBER = re.compile(r"\d{1,9}")
_SCENE = re.compile(r"对话|对白|聊天|台词|剧本|访谈|采访|dialog|conversation|script|interview|chat", re.IGNORECASE)


def is_packed(text: str) -> bool:
    """True for a text that begins with a speaker who asks or sets the scene."""
    return _speaker(text) is not None


def _speaker(text: str) -> re.Pattern[str] | None:
    """The pattern of this text's speakers, None where it does not begin with one who asks or sets the scene."""
    if not text.lstrip().startswith(_BEGINNINGS):
        return None
    for speaker in (_BEHIND_SENTINEL, *_SPEAKERS) if "<s>" in text else _SPEAKERS:
        first = speaker.search(text)
        if first and not text[: first.start()].strip() and _ROLES[first.group(1).lower()] != "assistant":
            return speaker
    return None


def unpack(text: str) -> list[Turn]:
    """The turns of a packed history, or the text as one user turn where it is not one. An empty last turn (`Assistant:`) is left out, and what
    the system says later on belongs to the question that follows."""
    speaker = _speaker(text)
    return _turns(text, speaker) if speaker else [{"role": "user", "content": text}]


def _turns(text: str, speaker: re.Pattern[str]) -> list[Turn]:
    marks = list(speaker.finditer(text))
    ends = [*(mark.start() for mark in marks), len(text)][1:]
    turns: list[Turn] = []
    for mark, end in zip(marks, ends, strict=True):
        role, content = _ROLES[mark.group(1).lower()], _SENTINEL.sub("", text[mark.end() : end]).strip()
        if role == "user" and len(turns) > 1 and turns[-1]["role"] == "system":
            content = "\n".join(part for part in (turns.pop()["content"], content) if part)
        turns.append({"role": role, "content": content})
    return turns if turns[-1]["content"] else turns[:-1]


def prompt_turns(instruction: str, more: str) -> list[Turn]:
    """The turns of an instruction, which may be a packed history, and its input, which may be packed as well."""
    if not more.strip() or not instruction.strip():
        alone = instruction if instruction.strip() else more
        return unpack(line_ends(alone) if is_packed(line_ends(alone)) else alone.strip())
    instruction, more = line_ends(instruction).strip(), line_ends(more).strip()
    if not is_packed(instruction):
        return [{"role": "user", "content": f"{instruction}\n{more}"}]
    turns = unpack(instruction)
    last = unpack(more)
    if not turns:
        return last
    if turns[-1]["role"] == "user" and not is_packed(more):
        return [*turns[:-1], {"role": "user", "content": f"{turns[-1]['content']}\n{more}"}]
    if last[0]["role"] == "system" and len(last) > 1:  # knowledge for the question
        last = [{"role": "user", "content": f"{last[0]['content']}\n{last[1]['content']}"}, *last[2:]]
    return [*turns, *last]


def answer_turns(answer: str, history: bool, asked: str = "") -> list[Turn]:
    """The turn of an answer, or the turns, where it goes on with the packed history before it. A dialogue that is quoted or was asked for
    (`asked`: the last question) is one answer."""
    if not history:
        return [{"role": "assistant", "content": answer}]
    whole, answer = answer, line_ends(answer)
    speaker = _SPEAKERS[0].search(answer)
    if not speaker:
        return [{"role": "assistant", "content": whole}]
    before = answer[: speaker.start()].strip()
    begins = _ROLES[speaker.group(1).lower()] == "assistant"
    several = _SPEAKERS[0].search(answer, speaker.end())
    if (begins if before else not begins) or before.endswith((":", "：")) or ((before or several) and _SCENE.search(asked)):
        return [{"role": "assistant", "content": whole}]
    return _turns(f"Assistant: {answer}" if before else answer, _SPEAKERS[0])


def unpack_moss(text: str) -> list[Turn]:
    """The turns of MOSS's `plain_text`: what stands before the first of them, and thoughts, commands and results, are left out."""
    marks = list(_MOSS.finditer(text))
    ends = [*(mark.start() for mark in marks), len(text)][1:]
    return [
        {"role": _ROLES[mark.group(1).lower()], "content": without_marks(text[mark.end() : end])}
        for mark, end in zip(marks, ends, strict=True)
        if mark.group(1).lower() in _ROLES
    ]


def without_marks(text: str) -> str:
    """A turn of MOSS without `<|MOSS|>:`, `<eom>` and the marks of search results."""
    return _MOSS_MARKS.sub("", text).strip()


def natural(name: str) -> tuple[int, str]:
    """turn_2 before turn_10."""
    number = _NUMBER.search(str(name))
    return (int(number.group()) if number else 0, str(name))
