"""MinHash over character n-grams, as numpy arithmetic on whole batches of texts.

Characters, not words: Chinese has no spaces, so a splitter at word marks makes whole clauses "words" and one changed character hides a
duplicate; and n-grams, not single characters, whose set is nearly the same for any two long texts.

An n-gram of code points is hashed by a multilinear hash mod 2^64 and mixed by the finaliser of splitmix64. A permutation is a
multiply-shift hash of that, the upper 32 bits of `a * x + b` (Dietzfelbinger 1996); the least value over a text's n-grams agrees between two texts
with the probability of their Jaccard similarity (Broder 1997). All constants come from fixed seeds: signatures are the same everywhere.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

BLOCK = 1 << 15  # n-grams hashed at a time: their buffers stay in a core's cache


def shingles(text: str, ngram: int) -> NDArray[np.uint64]:
    """The set of hashed n-grams of a text, sorted; empty for a text shorter than one n-gram."""
    import numpy as np

    return np.unique(_ngrams(_code_points(text), ngram))


def jaccard(one: NDArray[np.uint64], other: NDArray[np.uint64]) -> float:
    """Size of the intersection over size of the union of two sorted sets; 0 for two empty ones."""
    import numpy as np

    if not len(one) or not len(other):
        return 0.0
    if len(one) > len(other):
        one, other = other, one
    places = np.searchsorted(other, one)
    places[places == len(other)] = 0
    common = int(np.count_nonzero(other[places] == one))
    return common / (len(one) + len(other) - common)


def signatures(texts: Sequence[str], ngram: int, permutations: int) -> NDArray[np.uint32]:
    """One row a text, one column a permutation. Every text must hold at least one n-gram."""
    import numpy as np

    multipliers = _constants(1, permutations) | np.uint64(1)
    offsets = _constants(2, permutations)
    result = np.empty((len(texts), permutations), np.uint32)
    first = 0
    while first < len(texts):
        hashed: list[NDArray[np.uint64]] = []
        size, last = 0, first
        while last < len(texts) and (not hashed or size < BLOCK):
            hashed.append(_ngrams(_code_points(texts[last]), ngram))
            assert len(hashed[-1]), "a text shorter than one n-gram has no signature"
            size += len(hashed[-1])
            last += 1
        values = np.concatenate(hashed)
        starts = np.cumsum([0, *(len(part) for part in hashed[:-1])])
        buffer = np.empty_like(values)
        for column in range(permutations):
            np.multiply(values, multipliers[column], out=buffer)
            np.add(buffer, offsets[column], out=buffer)
            # the least 64-bit value has the least upper half, so the shift can wait until few values are left
            result[first:last, column] = np.minimum.reduceat(buffer, starts) >> np.uint64(32)
        first = last
    return result


def band_hashes(signatures: NDArray[np.uint32], bands: int) -> NDArray[np.uint64]:
    """Locality-sensitive hashing: the columns in `bands` equal groups, each hashed to 64 bits. Shape (rows, bands).

    With r columns a band, two texts of similarity s share at least one with probability 1 - (1 - s^r)^bands.
    """
    import numpy as np

    rows, permutations = signatures.shape
    width = permutations // bands
    assert width * bands == permutations, "bands divide the permutations"
    grouped = signatures.reshape(rows, bands, width).astype(np.uint64)
    return _mix((grouped * (_constants(3, width) | np.uint64(1))).sum(axis=2, dtype=np.uint64))


def _code_points(text: str) -> NDArray[np.uint32]:
    import numpy as np

    return np.frombuffer(text.encode("utf-32-le", "surrogatepass"), "<u4")


def _ngrams(code_points: NDArray[np.uint32], ngram: int) -> NDArray[np.uint64]:
    """A hash for every window of `ngram` code points, in the order of the text, repeats included."""
    import numpy as np

    windows = max(0, len(code_points) - ngram + 1)
    wide = code_points.astype(np.uint64)
    total = np.zeros(windows, np.uint64)
    for place, multiplier in enumerate(_constants(0, ngram) | np.uint64(1)):
        total += wide[place : place + windows] * multiplier
    return _mix(total)


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
