"""Triple extraction as a text-to-text task: the prompt, the notation of (subject, predicate, object) triples, its parser, and the scores.

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


def extraction_prompt(text: str) -> str:
    """The request for all triples of a text."""
    return PROMPT.format(text)


def written_triples(triples: Iterable[Triple]) -> str:
    """The triples as a model has to write them, each once, in their order."""
    distinct = dict.fromkeys(tuple(part.strip().translate(_WIDE) for part in triple) for triple in triples)
    return "[" + ",".join(f"({','.join(triple)})" for triple in distinct) + "]"


def parse_triples(text: str) -> list[Triple] | None:
    """The triples of an answer; None where it is no list of triples of three parts. Half of a list is malformed too: nobody knows what it lacks."""
    if not _ANSWER.fullmatch(text.strip()):
        return None
    triples = [tuple(part.strip() for part in match.split(",")) for match in _TRIPLE.findall(text)]
    if any(len(triple) != 3 or not all(triple) for triple in triples):
        return None
    return [triple for triple in dict.fromkeys(triples) if len(triple) == 3]


def normal_form(triple: Triple) -> Triple:
    """The form in which two triples are compared: one case and one width, of letters and digits as of marks."""
    subject, predicate, obj = (_folded(part).strip() for part in triple)
    return subject, predicate, obj


def _folded(text: str) -> str:
    return unicodedata.normalize("NFKC", text).casefold()


def stated(text: str, triples: Iterable[Triple]) -> list[Triple]:
    """The triples whose subject and object stand in the text: the others cannot be read out of it (ChatLM drops them too)."""
    seen = _folded(text)
    return [triple for triple in triples if normal_form(triple)[0] in seen and normal_form(triple)[2] in seen]


@dataclass(frozen=True)
class TripleScore:
    """Micro figures over all texts: each (text, triple) counts once. A malformed answer says nothing, so all its triples are missed."""

    right: int
    said: int
    true: int
    malformed: int
    texts: int

    @property
    def precision(self) -> float:
        """Share of the triples said that are right, 0 to 1."""
        return self.right / self.said if self.said else 0.0

    @property
    def recall(self) -> float:
        """Share of the true triples that were said, 0 to 1."""
        return self.right / self.true if self.true else 0.0

    @property
    def f1(self) -> float:
        """Harmonic mean of precision and recall: 2 · right / (said + true)."""
        return 2 * self.right / (self.said + self.true) if self.said + self.true else 0.0


def score_all(answers: Sequence[str], truth: Sequence[Iterable[Triple]]) -> TripleScore:
    """The score of all answers together, each against the triples that are true of its text, as sets."""
    return total(score_each(answers, truth))


def score_each(answers: Sequence[str], truth: Sequence[Iterable[Triple]]) -> list[TripleScore]:
    """The score of each answer by itself, in order."""
    return [_counted(parse_triples(answer), expected) for answer, expected in zip(answers, truth, strict=True)]


def by_relation(answers: Sequence[str], truth: Sequence[Iterable[Triple]]) -> dict[str, TripleScore]:
    """Predicate → score of its triples, for each that the truth has, the most frequent first. Its texts are those that should name it."""
    by_predicate: dict[str, list[TripleScore]] = {}
    spelled: dict[str, str] = {}
    parsed = [parse_triples(answer) for answer in answers]
    for expected in truth:
        for _, predicate, _ in expected:
            spelled.setdefault(normal_form(("", predicate, ""))[1], predicate)
    for triples, expected in zip(parsed, map(list, truth), strict=True):
        relations = {normal_form(triple)[1] for triple in expected}
        for predicate in relations | {normal_form(triple)[1] for triple in triples or ()} & spelled.keys():
            one = [[t for t in side if normal_form(t)[1] == predicate] for side in (triples or (), expected)]
            counted = _counted(None if triples is None else one[0], one[1])
            by_predicate.setdefault(predicate, []).append(counted if predicate in relations else replace(counted, texts=0))
    sums = {spelled[predicate]: total(scores) for predicate, scores in by_predicate.items()}
    return dict(sorted(sums.items(), key=lambda item: (-item[1].true, item[0])))


def _counted(triples: Sequence[Triple] | None, expected: Iterable[Triple]) -> TripleScore:
    answers, truth = {normal_form(triple) for triple in triples or ()}, {normal_form(triple) for triple in expected}
    return TripleScore(len(answers & truth), len(answers), len(truth), int(triples is None), 1)


def total(scores: Iterable[TripleScore]) -> TripleScore:
    """Micro: the counts are added up, and the figures are those of the sums."""
    columns = ("right", "said", "true", "malformed", "texts")
    listed = list(scores)
    return TripleScore(*(sum(getattr(one, name) for one in listed) for name in columns))
