"""Triple extraction as a text-to-text task: how (subject, predicate, object) triples are asked for, written, read back and counted.

An answer is a list of triples in round brackets, `[(李白,职业,诗人),(李白,朝代,唐)]`, as ChatLM-mini-Chinese has it. Its separators may stand in a
name, so they are written full-width there; nothing else of a name changes.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

Triple = tuple[str, str, str]

PROMPT = "请抽取出给定句子中的所有三元组。给定句子：{}"
_WIDE = str.maketrans(",()[]", "，（）［］")
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
    """What two triples are compared by: one case and one width, of letters and digits as of marks."""
    subject, predicate, obj = (_folded(part).strip() for part in triple)
    return subject, predicate, obj


def _folded(text: str) -> str:
    return unicodedata.normalize("NFKC", text).casefold()


def stated(text: str, triples: Iterable[Triple]) -> list[Triple]:
    """The triples whose subject and object stand in the text: the others cannot be read out of it (ChatLM drops them too)."""
    seen = _folded(text)
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
    return total(count(answers, truth))


def count(answers: Sequence[str], truth: Sequence[Iterable[Triple]]) -> list[Score]:
    """Each answer by itself."""
    return [_counted(parse(written), expected) for written, expected in zip(answers, truth, strict=True)]


def by_relation(answers: Sequence[str], truth: Sequence[Iterable[Triple]]) -> dict[str, Score]:
    """The same for the triples of each predicate that the truth has, the most frequent first. Its texts are those that should name it."""
    found: dict[str, list[Score]] = {}
    spelled: dict[str, str] = {}
    said = [parse(written) for written in answers]
    for expected in truth:
        for _, predicate, _ in expected:
            spelled.setdefault(normal(("", predicate, ""))[1], predicate)
    for got, expected in zip(said, map(list, truth), strict=True):
        wanted = {normal(triple)[1] for triple in expected}
        for predicate in wanted | {normal(triple)[1] for triple in got or ()} & spelled.keys():
            one = [[t for t in side if normal(t)[1] == predicate] for side in (got or (), expected)]
            counted = _counted(None if got is None else one[0], one[1])
            found.setdefault(predicate, []).append(counted if predicate in wanted else replace(counted, texts=0))
    sums = {spelled[predicate]: total(scores) for predicate, scores in found.items()}
    return dict(sorted(sums.items(), key=lambda item: (-item[1].true, item[0])))


def _counted(found: Sequence[Triple] | None, expected: Iterable[Triple]) -> Score:
    got, wanted = {normal(triple) for triple in found or ()}, {normal(triple) for triple in expected}
    return Score(len(got & wanted), len(got), len(wanted), int(found is None), 1)


def total(scores: Iterable[Score]) -> Score:
    """Micro: the counts are added up, and the figures are those of the sums."""
    columns = ("right", "said", "true", "malformed", "texts")
    listed = list(scores)
    return Score(*(sum(getattr(one, name) for one in listed) for name in columns))
