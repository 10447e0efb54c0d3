"""Dialogues in order: turns as they were read → [system] (user assistant)+, with what had to be left out, and which answers are learned."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Any

from tasks.data.rows import LEFT_OUT, UNLEARNED, Drop, Row
from tasks.formats import placeholders, unlearned
from tasks.formats.placeholders import hints

Turn = dict[str, Any]  # role (system, user or assistant), content; learned, where it is False

_WORDS = re.compile(r"\w")
_UNSEEN = re.compile(r"[\s\x00-\x1f\x7f\xad\u200b-\u200f\u2028-\u202e\u2060-\u2064\ufeff\ud800-\udfff]*")


@dataclass
class Dialogue:
    """A dialogue in order: after an optional system turn and perhaps the assistant's greeting, questions with answers."""

    turns: list[Turn]
    unlearned: list[int] = field(default_factory=list)  # numbers of turns
    left_out: list[tuple[str, str]] = field(default_factory=list)

    def row(self, meta: str) -> Row:
        """The dialogue as a row of conversations, where `meta` has been made with `more`."""
        return {"messages": self.turns, "meta": meta} | ({LEFT_OUT: self.left_out} if self.left_out else {})

    @property
    def more(self) -> dict[str, Any]:
        """The entries of the row's `meta`."""
        return {UNLEARNED: self.unlearned} if self.unlearned else {}


def in_order(turns: list[Turn]) -> Dialogue | Drop:
    """A dialogue, or why it is none. Turns of one side that follow each other are one; an exchange with a blank side is left out, and so are
    questions after the last answer and what follows the last answer that is learned. Greetings are never learned: nobody asked."""
    if as_they_are := _plain(turns):
        return Dialogue(as_they_are)
    left: list[tuple[str, str]] = []
    turns = _joined(_stripped(turns), left)
    system = [turns.pop(0)] if turns and turns[0]["role"] == "system" else []
    if not turns:
        return Drop("no question")
    asked = next((turn["content"] for turn in turns if turn["role"] == "user" and turn["content"]), "")
    if all(turn["role"] == "user" for turn in turns):
        return Drop("no answer" if asked else "no question", "", asked)
    if turns[-1]["role"] == "user":
        left.append(("question without an answer", turns.pop()["content"]))
    greeting = [turns.pop(0) | {"learned": False}] if turns[0]["role"] == "assistant" else []
    spoken = _answered(turns, left)
    if not spoken:
        bare = next((n for n in range(0, len(turns), 2) if turns[n]["content"]), None)
        place = len(greeting) + (1 if bare is None else bare + 2)
        return Drop("no question" if bare is None else "no answer", f"turn {place}", asked)
    if not any(turn["learned"] for turn in spoken[1::2]):
        return Drop(unlearned.REASON, "no answer may be", asked)
    while not spoken[-1]["learned"]:
        left += [(unlearned.REASON, turn["content"]) for turn in spoken[-2:]]
        del spoken[-2:]
    whole = [*system, *(turn for turn in greeting if turn["content"]), *spoken]
    skipped = [number for number, turn in enumerate(whole) if turn["role"] == "assistant" and not turn["learned"]]
    return Dialogue(
        [{"role": turn["role"], "content": turn["content"]} for turn in whole],
        skipped,
        [(rule, text) for rule, text in left if text],
    )


def valid_turns(turns: list[Turn]) -> list[Turn] | Drop:
    """The turns of a dialogue, as `in_order` has them."""
    dialogue = in_order(turns)
    return dialogue if isinstance(dialogue, Drop) else dialogue.turns


def _plain(turns: list[Turn]) -> list[Turn]:
    """The turns without outer white space, where they are in order and say nothing that has to be looked at; else none."""
    start = 1 if turns and turns[0]["role"] == "system" else 0
    if (len(turns) - start) % 2:
        return []
    plain = []
    for number, turn in enumerate(turns):
        role, content = turn["role"], turn["content"].strip()
        expected = "system" if number < start else "assistant" if (number - start) % 2 else "user"
        short = len(content) < 60
        if role != expected or len(turn) > 2 or not content or (short and (hints(content) or not _WORDS.search(content))):
            return []
        if not short and role == "user" and hints(content[-80:]):
            return []
        plain.append({"role": role, "content": content})
    return plain


def _stripped(turns: list[Turn]) -> list[Turn]:
    """Turns without outer white space, all with `learned`; placeholders are blank. What is said in a talk may read like one: of several
    exchanges only those in brackets or quotes count."""
    single = sum(turn["role"] == "assistant" for turn in turns) < 2
    question, stripped = "", []
    for turn in turns:
        content = turn["content"].strip()
        if turn["role"] == "user":
            content = question = placeholders.without_last(content)
            empty = placeholders.is_placeholder(content) if single else placeholders.is_marked(content)
        else:
            empty = placeholders.no_answer(content, question) if single else placeholders.is_marked(content)
        empty = empty or (len(content) < 20 and _UNSEEN.fullmatch(content) is not None)
        stripped.append({"role": turn["role"], "content": "" if empty else content, "learned": turn.get("learned", True)})
    return stripped


def _joined(turns: list[Turn], left: list[tuple[str, str]]) -> list[Turn]:
    """Turns of which no two of one side follow each other. What the system says later on belongs to the question that follows."""
    joined: list[Turn] = []
    said = ""  # by the system, for the next question
    for turn in turns:
        if turn["role"] == "system" and any(other["role"] != "system" for other in joined):
            said = _lines(said, turn["content"])
            continue
        if said and turn["role"] == "user":
            turn, said = turn | {"content": _lines(said, turn["content"])}, ""
        last = joined[-1] if joined else None
        if last and last["role"] == turn["role"]:
            again = turn["content"] == last["content"]
            if again:
                left.append(("turn said twice", turn["content"]))
            content = last["content"] if again else _lines(last["content"], turn["content"])
            joined[-1] = turn | {"content": content, "learned": last["learned"] and turn["learned"]}
        elif turn["role"] != "system" or turn["content"]:
            joined.append(turn)
    if said:
        left.append(("system text without a question", said))
    return joined


def _answered(turns: list[Turn], left: list[tuple[str, str]]) -> list[Turn]:
    """The exchanges of which neither side is blank."""
    whole: list[Turn] = []
    for question, answer in zip(turns[::2], turns[1::2], strict=True):
        if question["content"] and answer["content"]:
            whole += [question, answer]
        else:
            left.append(("exchange with a blank turn", question["content"] or answer["content"]))
    return whole


def _lines(one: str, other: str) -> str:
    return f"{one}\n{other}" if one and other else one or other
