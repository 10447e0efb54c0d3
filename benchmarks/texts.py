"""Invented Chinese for benchmarks of deduplication: clauses of jieba's words, each word as often as it is used, in texts of any length."""

from __future__ import annotations

import random
from functools import cache
from itertools import accumulate
from pathlib import Path

CLAUSES = 200_000  # two articles share few
LENGTHS = {"answers": (20, 100), "articles": (2_000, 20_000)}  # characters


@cache
def clauses() -> list[str]:
    """Clauses of three to eight words, each with the punctuation that ends it."""
    import jieba

    dice = random.Random(1)
    lines = [line.split(" ") for line in Path(jieba.__file__).with_name("dict.txt").read_text("utf-8").splitlines()]
    words = iter(
        dice.choices([line[0] for line in lines], cum_weights=list(accumulate(int(line[1]) for line in lines)), k=8 * CLAUSES)
    )
    return ["".join(next(words) for _ in range(dice.randint(3, 8))) + dice.choice("，，，，。。！？；\n") for _ in range(CLAUSES)]


def text(dice: random.Random, characters: int) -> str:
    """That many characters of clauses drawn at random."""
    drawn = "".join(dice.choices(clauses(), k=characters // 9 + 1))
    while len(drawn) < characters:
        drawn += dice.choice(clauses())
    return drawn[:characters]


def edited(original: str, dice: random.Random, places: list[int]) -> str:
    """The text with an edit at each of these places: another character instead (seven of ten), none, or one more."""
    characters = list(original)
    for place in sorted(set(places), reverse=True):
        chance, other = dice.random(), dice.choice(dice.choice(clauses()))
        characters[place : place + 1] = [other] if chance < 0.7 else [] if chance < 0.85 else [characters[place], other]
    return "".join(characters)


def spread(length: int, share: float, dice: random.Random) -> list[int]:
    """Places of that share of the characters, anywhere."""
    return dice.sample(range(length), max(1, round(share * length)))


def in_runs(length: int, share: float, dice: random.Random) -> list[int]:
    """As many places, in runs of up to 8: a phrase is edited, not a letter."""
    places: list[int] = []
    while len(places) < max(1, round(share * length)):
        start = dice.randrange(length)
        places += range(start, min(length, start + dice.randint(1, 8)))
    return places[: max(1, round(share * length))]
