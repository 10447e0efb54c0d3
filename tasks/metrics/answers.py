"""Similarity of two answers and repetition in one: measures of strings that say whether a pair of answers is worth learning from."""

from __future__ import annotations

from tasks.text.fold import dedup_key

SHORT = 16  # characters below which an answer has too few 4-grams to call it repetitive


def normalised(text: str) -> str:
    """The form that two answers are compared in, as duplicates are: letters, digits and signs. Text without any stays as it is, stripped."""
    return dedup_key(text) or text.strip()


def answer_similarity(one: str, other: str) -> float:
    """Jaccard index of the character 3-grams of two normalised texts, 0 to 1; 1 for equal texts."""
    first, second = _grams(normalised(one), 3), _grams(normalised(other), 3)
    return len(first & second) / len(first | second)


def repetition(text: str) -> float:
    """Share of a text's character 4-grams that occurred in it before, 0 to 1. Fluent Chinese of 100 characters stays below 0.1; a model
    caught in a loop nears 1. Texts under `SHORT` characters count as 0."""
    return 0.0 if len(text) < SHORT else 1 - len(_grams(text, 4)) / (len(text) - 3)


def _grams(text: str, size: int) -> set[str]:
    return {text[start : start + size] for start in range(max(1, len(text) - size + 1))}
