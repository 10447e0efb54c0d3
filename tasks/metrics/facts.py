"""Free answers about known facts: right is one that holds the right value, letter by letter, and no other value of that kind of fact.

The facts are those of the sample corpus (`facts.json`: entity, kind, attribute, value, ask), which all of its texts tell alike.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from tasks.data.sampling import pick
from tasks.metrics.intervals import wilson

Row = dict[str, Any]


class Facts:
    """The facts of files, and the values that each kind of fact can have."""

    def __init__(self, files: Iterable[Path]):
        self.facts: list[Row] = [fact | {"id": fact["ask"]} for path in files for fact in json.loads(path.read_text("utf-8"))]
        self.values: dict[str, set[str]] = {}
        for fact in self.facts:
            self.values.setdefault(kind_of(fact), set()).add(fact["value"])

    def prompts(self, most: int, seed: int) -> list[Row]:
        """A seeded sample of the facts as prompts, `{source, kind, messages, reference, choices}`; 0: all. `choices`: values of the kind."""
        return [
            {
                "source": "facts",
                "kind": kind_of(fact),
                "messages": [{"role": "user", "content": fact["ask"]}],
                "reference": fact["value"],
                "choices": len(self.values[kind_of(fact)]),
            }
            for fact in pick(self.facts, most, seed)
        ]

    def is_right(self, prompt: Row, text: str) -> bool | None:
        """True of an answer that tells a fact that the reference of its prompt tells; None where the reference tells none of those asked."""
        asked = "\n".join(turn["content"] for turn in prompt["messages"])
        told = [fact for fact in self.facts if fact["entity"] in asked and fact["value"] in prompt["reference"]]
        right = {fact["value"] for fact in told}
        wrong = {value for fact in told for value in self.values[kind_of(fact)]} - right
        return any(value in text for value in right) and not any(value in text for value in wrong) if told else None

    def side_by_side(self, prompts: Sequence[Row], answers: dict[str, list[Row]]) -> list[Row]:
        """Prompts with the answer of each model, each of which is right, wrong or (None) beyond what is known."""
        rows = []
        for number, prompt in enumerate(prompts):
            texts = {model: said[number]["text"] for model, said in answers.items()}
            right = {model: self.is_right(prompt, text) for model, text in texts.items()}
            rows.append({**prompt, "prompt": prompt["messages"][-1]["content"], "answers": texts, "right": right})
        return rows


def kind_of(fact: Row) -> str:
    """`小镇 · 特产`: what a fact is about, and which of its attributes it tells."""
    return f"{fact['kind']} · {fact['attribute']}"


def tally(rows: Sequence[Row], model: str) -> dict[str, Any] | None:
    """The share of right answers of one model, over all facts and by kind, with 95 % intervals and what guessing among the values gives."""

    def share(group: Sequence[Row]) -> dict[str, Any]:
        n, right = len(group), sum(row["right"][model] for row in group)
        low, high = wilson(right, n)
        chance = sum(1 / row["choices"] for row in group) / n
        figures = {"accuracy": right / n, "low": low, "high": high, "chance": chance}
        return {"n": n, "correct": right} | {name: round(value, 6) for name, value in figures.items()}

    if not rows:
        return None
    kinds = {kind: [row for row in rows if row["kind"] == kind] for kind in sorted({row["kind"] for row in rows})}
    return {"all": share(rows), "kinds": {kind: share(group) for kind, group in kinds.items()}}
