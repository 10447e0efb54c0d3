"""Decontamination: evaluation questions that stand in training rows."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from tasks.rows import Drop
from tasks.text import normalise


class Leaks:
    """Finds evaluation questions inside rows, blind to punctuation, case, width and spaces.

    A question is found by its first n characters, which are looked up for every place of a row, so the work does not grow with the number
    of questions. Questions shorter than n are too common as phrases to be looked for.
    """

    def __init__(self, questions: Iterable[dict[str, Any]], n: int):
        self._n = n
        self._starts: dict[str, list[tuple[str, str]]] = {}
        self.counts = {"searched": 0, "too short": 0}
        for row in questions:
            key = normalise.dedup_key(row["question"])
            self.counts["too short" if len(key) < n else "searched"] += 1
            if len(key) >= n:
                self._starts.setdefault(key[:n], []).append((key, f"question {row['id']} of {row['source']}"))

    def find(self, strings: list[str]) -> Drop | None:
        if not self._starts:
            return None
        text, n, starts = normalise.dedup_key("\n".join(strings)), self._n, self._starts
        for place in [place for place in range(len(text) - n + 1) if text[place : place + n] in starts]:
            for key, name in starts[text[place : place + n]]:
                if text.startswith(key, place):
                    return Drop("leaked evaluation question", name)
        return None
