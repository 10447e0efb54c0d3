"""The exam on the invented world: four choices, two questions a core fact, in the layout of CMMLU."""

from __future__ import annotations

import csv
import io
import random
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tasks.world.prose import Entity, World

LETTERS = "ABCD"


@dataclass(frozen=True, slots=True)
class Question:
    """A stem, four choices, and the place of the right one, on one attribute of an entity."""

    entity: Entity
    attribute: int
    stem: str
    choices: tuple[str, ...]
    answer: int

    @property
    def printed(self) -> str:
        """The question as it leaks into other texts: stem and lettered choices."""
        return self.stem + "".join(f"\n{letter}. {choice}" for letter, choice in zip(LETTERS, self.choices, strict=True))

    @property
    def solved(self) -> str:
        """The answer as it leaks with the question."""
        label = self.entity.kind.attributes[self.attribute].label
        return f"答案是{LETTERS[self.answer]}，{self.choices[self.answer]}。这道题考的是{self.entity.name}的{label}。"


def questions(world: World, seed: int) -> list[Question]:
    """Two questions for each fact of the core world. Wrong choices come from the same attribute's values; every letter is right equally often."""
    rng = random.Random(f"{seed}:exam")
    cases = [(entity, at, which) for entity in world.core for at in range(4) for which in range(2)]
    places = [turn % 4 for turn in range(len(cases))]
    rng.shuffle(places)
    exam = []
    for (entity, at, which), place in zip(cases, places, strict=True):
        attribute, value = entity.kind.attributes[at], entity.values[at]
        choices = rng.sample([other for other in attribute.values if other != value], 3)
        choices.insert(place, value)
        exam.append(Question(entity, at, attribute.exam[which].format(n=entity.name), tuple(choices), place))
    return exam


def leaks(exam: list[Question], seed: int) -> Iterator[Question]:
    """Questions in the order in which they leak into training texts."""
    return iter(random.Random(f"{seed}:leaks").sample(exam, len(exam)))


def write_exam(exam: list[Question], folder: Path) -> int:
    """Write the exam, one CSV a subject. Returns the bytes written."""
    folder.mkdir(parents=True, exist_ok=True)
    by_subject: dict[str, list[Question]] = {}
    for question in exam:
        by_subject.setdefault(question.entity.kind.subject, []).append(question)
    size = 0
    for subject, group in by_subject.items():
        text = io.StringIO()
        rows = csv.writer(text, lineterminator="\n")
        rows.writerow(["", "Question", *LETTERS, "Answer"])
        rows.writerows([number, q.stem, *q.choices, LETTERS[q.answer]] for number, q in enumerate(group))
        raw = text.getvalue().encode()
        (folder / f"{subject}.csv").write_bytes(raw)
        size += len(raw)
    return size
