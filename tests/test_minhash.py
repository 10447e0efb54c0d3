"""MinHash: sets of character n-grams, their similarity, and signatures that agree as often as the texts are alike."""

from __future__ import annotations

import hashlib
import math
import random
import re

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tasks.duplicates import minhash
from tasks.text.fold import dedup_key
from tests.test_dedup import changed, sentence, similarity

TEXT = st.text(alphabet="天地玄黄a1", max_size=40)


def hashed(texts: list[str], ngram: int = 5) -> minhash.Texts:
    return minhash.ngrams(minhash.encoded(texts), ngram)


def decoded(texts: minhash.Texts) -> list[str]:
    return ["".join(map(chr, texts[place])) for place in range(len(texts))]


@settings(deadline=None)
@given(st.lists(TEXT, min_size=1, max_size=8), st.integers(2, 6), st.randoms(use_true_random=False))
def test_jaccard_is_that_of_the_sets_of_ngrams(texts: list[str], ngram: int, dice: random.Random) -> None:
    one, other = (np.array([dice.randrange(len(texts)) for _ in range(10)]) for _ in range(2))
    expected = [similarity(texts[a], texts[b], ngram) for a, b in zip(one, other, strict=True)]
    assert minhash.jaccard(minhash.shingles(hashed(texts, ngram)), one, other) == pytest.approx(expected)


@settings(deadline=None)
@given(st.lists(st.lists(st.text(st.characters(exclude_characters="\x1f"), max_size=12), min_size=1, max_size=3), max_size=6))
def test_letters_are_what_exact_duplicates_are_judged_by(rows: list[list[str]]) -> None:
    texts = [minhash.PART.join(parts) for parts in rows]
    folded = minhash.folded(texts)
    assert decoded(minhash.letters(folded)) == [minhash.PART.join(map(dedup_key, parts)) for parts in rows]
    blank = re.compile(r"[^\S\x1f]+")
    assert decoded(minhash.written(folded)) == [blank.sub(" ", text) for text in decoded(folded)]


@pytest.mark.parametrize("length", [24, 60, 600, 5000])
def test_signatures_agree_as_often_as_the_texts_are_similar(length: int) -> None:
    """Over many pairs, with the spread of that many independent permutations: the rounds of a short text cost no accuracy."""
    dice, places = random.Random(5), 128
    texts = [sentence(dice, length) for _ in range(200)]
    texts += [changed(text, 0.03, dice) for text in texts]
    signatures = minhash.signatures(hashed(texts), places)
    agree = (signatures[:200] == signatures[200:]).mean(axis=1)
    similar = np.array([similarity(*pair) for pair in zip(texts[:200], texts[200:], strict=True)])
    assert abs(float(np.mean(agree - similar))) < 4 * math.sqrt(0.25 / places / 200)
    assert float(np.mean((agree - similar) ** 2)) < 1.3 * float(np.mean(similar * (1 - similar))) / places


def test_bands_are_shared_as_often_as_the_curve_says() -> None:
    """20 bands of 6: short texts too, whose few n-grams fill many places."""
    dice = random.Random(11)
    pairs: list[tuple[str, str]] = []
    while len(pairs) < 1500:
        text = sentence(dice, dice.randint(20, 100))
        other = changed(text, 0.045, dice)
        if 0.6 <= similarity(text, other) < 0.9:
            pairs.append((text, other))
    bands = [minhash.band_hashes(minhash.signatures(hashed(list(each)), 120), 20) for each in zip(*pairs, strict=True)]
    found = (bands[0] == bands[1]).any(axis=1)
    expected = np.array([1 - (1 - similarity(*pair) ** 6) ** 20 for pair in pairs])
    assert abs(float(np.mean(found - expected))) < 4 * math.sqrt(float(np.mean(expected * (1 - expected))) / len(pairs))


def test_a_signature_does_not_depend_on_the_texts_beside_it() -> None:
    dice = random.Random(6)
    texts = [sentence(dice, length) for length in (5, 40_000, 6, 3000, 40_000, 17)]
    together = minhash.signatures(hashed(texts), 32)
    apart = np.concatenate([minhash.signatures(hashed([text]), 32) for text in texts])
    assert (together == apart).all()


def test_signatures_are_the_same_on_every_machine() -> None:
    signatures = minhash.signatures(hashed(["天地玄黄宇宙洪荒", "𠮷野家のa1"]), 16)
    bands = minhash.band_hashes(signatures, 4)
    assert hashlib.sha256(signatures.tobytes() + bands.tobytes()).hexdigest()[:16] == "8812edfb408f7eef"
