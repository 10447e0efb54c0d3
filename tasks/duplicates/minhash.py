"""MinHash over character n-grams, as numpy arithmetic on whole batches of texts.

Characters, not words: Chinese has no spaces, so a splitter at word marks makes whole clauses "words" and one changed character hides a
duplicate; and n-grams, not single characters, whose set is nearly the same for any two long texts.

A batch is `Texts`: the code points of all texts in one array. An n-gram of code points is hashed by a multilinear hash mod 2^64 and mixed by the
finaliser of splitmix64. A signature is filled by the rounds of Dahlgaard, Knudsen and Thorup, "Fast Similarity Sketching" (FOCS 2017): in
each round every n-gram is thrown at one random place with a random value, the least value of the earliest round stands, and rounds go on
until no place is empty. Two texts agree at a place with the probability of their Jaccard similarity (Broder 1997), as if each place had a
permutation of its own, but a long text costs one hash an n-gram instead of one a place. All constants come from fixed seeds: signatures are
the same everywhere.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING

from tasks.text.fold import PART as PART
from tasks.text.fold import folded as _folded
from tasks.text.fold import significant

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

BLOCK = 1 << 15  # n-grams hashed at a time: their buffers stay in a core's cache
_EMPTY = 2**64 - 1


@dataclass(frozen=True)
class Texts:
    """Some texts as one array: text i is `values[bounds[i]:bounds[i + 1]]`. The values are code points, or hashes of n-grams."""

    values: NDArray[np.generic]
    bounds: NDArray[np.int64]  # one more than there are texts

    @property
    def lengths(self) -> NDArray[np.int64]:
        return self.bounds[1:] - self.bounds[:-1]

    def __len__(self) -> int:
        return len(self.bounds) - 1

    def __getitem__(self, place: int) -> NDArray[np.generic]:
        return self.values[self.bounds[place] : self.bounds[place + 1]]

    def where(self, keep: NDArray[np.bool_]) -> Texts:
        """The same texts with only some of their values."""
        import numpy as np

        return Texts(self.values[keep], np.concatenate(([0], np.cumsum(keep)))[self.bounds])

    def take(self, places: NDArray[np.int64]) -> Texts:
        """Some of the texts, in the order of `places`, which may repeat."""
        import numpy as np

        lengths = self.lengths[places]
        bounds = np.concatenate(([0], np.cumsum(lengths)))
        return Texts(self.values[np.arange(bounds[-1]) + np.repeat(self.bounds[:-1][places] - bounds[:-1], lengths)], bounds)


def folded(texts: Sequence[str]) -> Texts:
    """Code points in which compatibility forms and case make no difference: those of `fold.folded`, as uint32.

    Python's normaliser takes 130 ns a character as soon as a text holds a full-width comma, so nearly every character goes through a table
    here, and only texts with one whose form depends on its neighbours, or is longer than itself, through Python.
    """
    import numpy as np

    table, alone = _folds()
    points = encoded(texts)
    simple = np.minimum(points.values, len(table) - 1)
    hard = np.diff(np.concatenate(([0], np.cumsum(~alone[simple])))[points.bounds]) > 0
    if not hard.any():
        return Texts(table[simple], points.bounds)
    points = encoded([_folded(text) if slow else text for text, slow in zip(texts, hard.tolist(), strict=True)])
    simple = np.minimum(points.values, len(table) - 1)
    return Texts(np.where(np.repeat(hard, points.lengths), points.values, table[simple]), points.bounds)


@cache
def _folds() -> tuple[NDArray[np.uint32], NDArray[np.bool_]]:
    """For each code point of the basic plane what it folds to, and whether it does so alone: to one character that joins no other."""
    import numpy as np

    forms = [_folded(chr(point)) for point in range(0x10000)]
    pairs = [
        parts
        for point in range(0x10000)
        if len(parts := unicodedata.decomposition(chr(point)).split()) == 2 and parts[0][0] != "<"
    ]
    joining = {chr(int(second, 16)) for _, second in pairs} | {chr(jamo) for jamo in range(0x1100, 0x1200)}
    alone = [len(form) == 1 and form not in joining and not unicodedata.combining(form) for form in forms]
    alone[-1] = False  # stands for all other planes
    return np.array([ord(form[0]) if form else 0 for form in forms], np.uint32), np.array(alone)


def encoded(texts: Sequence[str]) -> Texts:
    """Code points, as uint32."""
    import numpy as np

    bounds = np.concatenate(([0], np.cumsum([len(text) for text in texts], dtype=np.int64)))
    return Texts(np.frombuffer("".join(texts).encode("utf-32-le", "surrogatepass"), "<u4"), bounds)


def letters(folded: Texts) -> Texts:
    """Only what counts (letters, digits, ideographs, signs) and the marks between parts: `fold.dedup_key` of each part."""
    import numpy as np

    values, counts = significant(folded.values.astype(np.uint32, copy=False), folded.bounds)
    return Texts(values, folded.bounds).where(counts)


def written(folded: Texts) -> Texts:
    """White space as one space a run, since which and how much of it is layout. (A run that two texts share in the array stays in both.)"""
    import numpy as np

    blank = _among(folded.values, _blank())
    values = np.where(blank, np.uint32(ord(" ")), folded.values)
    again = blank & np.concatenate(([False], blank[:-1]))[: len(blank)]
    again[folded.bounds[:-1][folded.bounds[:-1] < len(blank)]] = False
    return Texts(values, folded.bounds).where(~again)


def _among(points: NDArray[np.generic], table: NDArray[np.bool_]) -> NDArray[np.bool_]:
    import numpy as np

    return table[np.minimum(points, len(table) - 1)]


@cache
def _blank() -> NDArray[np.bool_]:
    """True for code points that are white space. From U+3001 on none is."""
    import numpy as np

    return np.array([chr(point).isspace() and chr(point) != PART for point in range(0x3002)])


def ngrams(texts: Texts, ngram: int) -> Texts:
    """The uint64 hash of every window of `ngram` code points, in the order of the text, repeats included."""
    import numpy as np

    windows = max(0, len(texts.values) - ngram + 1)
    wide = texts.values.astype(np.uint64)
    total = np.zeros(len(wide), np.uint64)
    for place, multiplier in enumerate(_constants(0, ngram) | np.uint64(1)):
        total[:windows] += wide[place : place + windows] * multiplier
    whole = np.ones(len(wide), bool)
    for short in range(1, ngram):  # a window that starts here would reach into the next text
        ends = texts.bounds[1:] - short
        whole[ends[ends >= 0]] = False
    return Texts(_mix(total), texts.bounds).where(whole)


def signatures(hashed: Texts, places: int) -> NDArray[np.uint64]:
    """One row a text, one column a place, from the hashes of its n-grams. Every text must hold at least one."""
    import numpy as np

    assert (hashed.lengths > 0).all(), "a text shorter than one n-gram has no signature"
    filled = np.full(len(hashed) * places, _EMPTY, np.uint64)
    values, owner = hashed.values.astype(np.uint64, copy=False), np.repeat(np.arange(len(hashed)), hashed.lengths)
    texts = np.arange(len(hashed))  # with an empty place
    for turn in range(2 * places):
        for start in range(0, len(values), BLOCK):
            _throw(filled, values[start : start + BLOCK], owner[start : start + BLOCK], turn, places)
        if turn < 3 or turn % 4 == 3:  # a text that is full takes no harm from further rounds, and to look costs as much as one
            empty = (filled.reshape(-1, places)[texts] == _EMPTY).any(axis=1)
            if not empty.any():
                break
            texts = texts[empty]
            left = np.zeros(len(hashed), bool)
            left[texts] = True
            values, owner = values[left[owner]], owner[left[owner]]
    return filled.reshape(-1, places)


def _throw(filled: NDArray[np.uint64], values: NDArray[np.uint64], owner: NDArray[np.int64], turn: int, places: int) -> None:
    """One round: each n-gram goes to a place of its text, where the least value stays; later rounds have larger values."""
    import numpy as np

    hashed = _mix(values + _constants(1, 2 * places)[turn])
    place = (((hashed >> np.uint64(32)) * np.uint64(places)) >> np.uint64(32)).view(np.int64)
    if turn >= places:  # whatever is still empty, in turn
        place[:] = turn - places
    np.minimum.at(filled, owner * places + place, (hashed & np.uint64(0xFFFFFFFF)) | np.uint64(turn << 32))


def band_hashes(signatures: NDArray[np.uint64], bands: int) -> NDArray[np.uint32]:
    """Locality-sensitive hashing: the columns in `bands` equal groups, each hashed to 32 bits. Shape (rows, bands).

    With r columns a band, two texts of similarity s share at least one with probability 1 - (1 - s^r)^bands.
    """
    import numpy as np

    rows, places = signatures.shape
    width = places // bands
    assert width * bands == places, "bands divide the places"
    grouped = signatures.reshape(rows, bands, width)
    return (_mix((grouped * (_constants(3, width) | np.uint64(1))).sum(axis=2, dtype=np.uint64)) >> np.uint64(32)).astype(
        np.uint32
    )


def shingles(hashed: Texts) -> Texts:
    """Each text's set of n-grams: its hashes cut to 32 bits, sorted, each once."""
    import numpy as np

    owner = np.repeat(np.arange(len(hashed), dtype=np.uint64) << np.uint64(32), hashed.lengths)
    every = np.sort(owner | (hashed.values.astype(np.uint64, copy=False) >> np.uint64(32)))
    every = every[np.concatenate(([True], every[1:] != every[:-1]))[: len(every)]]
    bounds = np.searchsorted(every, np.arange(len(hashed) + 1, dtype=np.uint64) << np.uint64(32))
    return Texts((every & np.uint64(0xFFFFFFFF)).astype(np.uint32), bounds)


def jaccard(sets: Texts, one: NDArray[np.int64], other: NDArray[np.int64]) -> NDArray[np.float64]:
    """Size of the intersection over size of the union of sets `one[i]` and `other[i]`; 0 for two empty ones."""
    import numpy as np

    both = [sets.take(places) for places in (one, other)]
    pair = np.arange(len(one), dtype=np.uint64) << np.uint64(32)
    every = np.concatenate([np.repeat(pair, each.lengths) | each.values for each in both])
    every.sort(kind="stable")  # merges the two sorted runs
    twice = every[1:][every[1:] == every[:-1]] >> np.uint64(32)
    common = np.bincount(twice.view(np.int64), minlength=len(one))
    return common / np.maximum(1, both[0].lengths + both[1].lengths - common)


@cache
def _constants(seed: int, count: int) -> NDArray[np.uint64]:
    """`count` fixed 64-bit numbers: the splitmix64 sequence, so no random generator's version matters."""
    import numpy as np

    step = np.uint64(0x9E3779B97F4A7C15)
    start = _mix(np.array([seed], np.uint64) * step)[0]
    return _mix(start + step * np.arange(1, count + 1, dtype=np.uint64))


def _mix(values: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """The finaliser of splitmix64 (Steele, Lea and Flood 2014): every input bit reaches every output bit."""
    import numpy as np

    values = (values ^ (values >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    values = (values ^ (values >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return values ^ (values >> np.uint64(31))
