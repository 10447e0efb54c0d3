"""Triple extraction as a text-to-text task: how (subject, predicate, object) triples are asked for, written, read back and counted.

An answer is a list of triples in round brackets, `[(李白,职业,诗人),(李白,朝代,唐)]`, as ChatLM-mini-Chinese has it. Its separators may stand in a
name, so they are written full-width there; nothing else of a name changes.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

Triple = tuple[str, str, str]

PROMPT = "请抽取出给定句子中的所有三元组。给定句子：{}"
_WIDE = str.maketrans(",()[]", "，（）［］")
_NARROW = str.maketrans("，（）［］", ",()[]")
_ANSWER = re.compile(r"\[\s*(?:\([^()]*\)\s*(?:,\s*\([^()]*\)\s*)*)?\]")
_TRIPLE = re.compile(r"\(([^()]*)\)")


def prompt(text: str) -> str:
    return PROMPT.format(text)


def answer(triples: Iterable[Triple]) -> str:
    """The triples as a model has to write them, each once, in their order."""
    written = dict.fromkeys(tuple(part.strip().translate(_WIDE) for part in triple) for triple in triples)
    return "[" + ",".join(f"({','.join(triple)})" for triple in written) + "]"


def parse(text: str) -> list[Triple] | None:
    """What an answer says; None where it is no list of triples of three parts. Half of a list is malformed too: nobody knows what it lacks."""
    if not _ANSWER.fullmatch(text.strip()):
        return None
    triples = [tuple(part.strip() for part in found.split(",")) for found in _TRIPLE.findall(text)]
    if any(len(triple) != 3 or not all(triple) for triple in triples):
        return None
    return [triple for triple in dict.fromkeys(triples) if len(triple) == 3]


def normal(triple: Triple) -> Triple:
    """What two triples are compared by: one case and one width."""
    subject, predicate, obj = (part.strip().casefold().translate(_NARROW) for part in triple)
    return subject, predicate, obj


def stated(text: str, triples: Iterable[Triple]) -> list[Triple]:
    """The triples whose subject and object stand in the text: the others cannot be read out of it (ChatLM drops them too)."""
    seen = text.casefold().translate(_NARROW)
    return [triple for triple in triples if normal(triple)[0] in seen and normal(triple)[2] in seen]


@dataclass(frozen=True)
class Score:
    """Micro figures over all texts: each (text, triple) counts once. A malformed answer says nothing, so all its triples are missed."""

    right: int
    said: int
    true: int
    malformed: int
    texts: int

    @property
    def precision(self) -> float:
        return self.right / self.said if self.said else 0.0

    @property
    def recall(self) -> float:
        return self.right / self.true if self.true else 0.0

    @property
    def f1(self) -> float:
        """Harmonic mean of precision and recall: 2 · right / (said + true)."""
        return 2 * self.right / (self.said + self.true) if self.said + self.true else 0.0


def score(answers: Sequence[str], truth: Sequence[Iterable[Triple]]) -> Score:
    """Answers against what each should say, as sets."""
    right = said = true = malformed = 0
    for written, expected in zip(answers, truth, strict=True):
        found = parse(written)
        malformed += found is None
        got, wanted = {normal(triple) for triple in found or ()}, {normal(triple) for triple in expected}
        right, said, true = right + len(got & wanted), said + len(got), true + len(wanted)
    return Score(right, said, true, malformed, len(answers))
