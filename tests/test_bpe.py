from __future__ import annotations

import json
import random
from collections import Counter
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer, pre_tokenizers, trainers
from tokenizers import models as tokenizer_models

from models import bpe

SPECIAL = ["<a>", "<b>"]


def by_definition(counts: dict[str, int], vocab_size: int, min_frequency: int) -> list[tuple[str, str]]:
    """BPE as it is defined: after every merge, count all pairs of all words anew."""
    alphabet = bpe.byte_alphabet()
    tokens = [*SPECIAL, *sorted(alphabet)]
    words = [([alphabet[byte] for byte in word.encode()], count) for word, count in counts.items()]
    merges = []
    while len(tokens) < vocab_size:
        pairs: Counter[tuple[str, str]] = Counter()
        for word, count in words:
            for pair in pairwise(word):
                pairs[pair] += count
        best = min(pairs, key=lambda pair: (-pairs[pair], tokens.index(pair[0]), tokens.index(pair[1])), default=None)
        if best is None or pairs[best] < min_frequency:
            break
        merges.append(best)
        if "".join(best) not in tokens:
            tokens.append("".join(best))
        merged = []
        for word, count in words:
            new: list[str] = []
            while word:
                step = 2 if tuple(word[:2]) == best else 1
                new.append("".join(word[:step]))
                word = word[step:]
            merged.append((new, count))
        words = merged
    return merges


@settings(max_examples=150, deadline=None)
@given(
    st.dictionaries(st.text("ab中", min_size=1, max_size=9), st.integers(1, 20), min_size=1, max_size=12),
    st.integers(258, 290),
    st.integers(1, 4),
)
def test_incremental_training_is_training_by_definition(counts, vocab_size, min_frequency):
    vocab, merges = bpe.train_bpe(counts.items(), vocab_size=vocab_size, min_frequency=min_frequency, special_tokens=SPECIAL)
    assert merges == by_definition(counts, vocab_size, min_frequency)
    assert list(vocab.values()) == list(range(len(vocab)))


def test_merges_are_those_of_the_tokenizers_library():
    """On words of ordinary shape: a Zipf-like corpus of Chinese and Latin words, of a size where ties and stale counts occur by the thousand."""
    dice = random.Random(3)
    syllables = [chr(0x4E00 + dice.randrange(400)) for _ in range(150)] + ["ing", "er", "a", "tion", "ss", "aa"]
    words = sorted({"".join(dice.choices(syllables, k=dice.randint(1, 4))) for _ in range(2500)})
    counts = {word: 1 + 3000 // (rank + 3) for rank, word in enumerate(words)}

    theirs = Tokenizer(tokenizer_models.BPE())
    theirs.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    trainer = trainers.BpeTrainer(
        vocab_size=1500, min_frequency=3, special_tokens=SPECIAL, initial_alphabet=bpe.byte_alphabet(), show_progress=False
    )
    theirs.train_from_iterator((word for word, count in counts.items() for _ in range(count)), trainer)

    vocab, merges = bpe.train_bpe(counts.items(), vocab_size=1500, min_frequency=3, special_tokens=SPECIAL)
    assert len(merges) > 1000
    ours = Tokenizer(tokenizer_models.BPE(vocab=vocab, merges=merges))
    assert ours.get_vocab() == theirs.get_vocab()
    assert json.loads(ours.to_str())["model"]["merges"] == json.loads(theirs.to_str())["model"]["merges"]


@settings(max_examples=100, deadline=None)
@given(
    st.dictionaries(st.text("ab中", min_size=1, max_size=9), st.integers(1, 20), min_size=1, max_size=12), st.integers(256, 280)
)
def test_merges_are_those_of_the_tokenizers_library_where_pairs_overlap(counts, vocab_size):
    theirs = Tokenizer(tokenizer_models.BPE())
    theirs.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size, min_frequency=2, initial_alphabet=bpe.byte_alphabet(), show_progress=False
    )
    theirs.train_from_iterator((word for word, count in counts.items() for _ in range(count)), trainer)
    _, merges = bpe.train_bpe(counts.items(), vocab_size=vocab_size, min_frequency=2)
    assert [list(merge) for merge in merges] == json.loads(theirs.to_str())["model"]["merges"]


def test_a_pair_that_overlaps_itself_is_counted_right():
    vocab, merges = bpe.train_bpe([("aaaaa", 10), ("ab", 31)], vocab_size=259, special_tokens=[])
    # (a, a) stands at four places of aaaaa; once merged, aa aa a has (aa, aa) and (aa, a) once each
    assert merges == [("a", "a"), ("a", "b"), ("aa", "a")]
    assert vocab["aaa"] == 258


def test_the_order_of_words_changes_nothing():
    counts = [("中国人", 4), ("中国", 4), ("国人", 4), ("人中", 4)]
    trained = [bpe.train_bpe(given, vocab_size=280) for given in (counts, counts[::-1])]
    assert trained[0] == trained[1]
    assert list(trained[0][0]) == list(trained[1][0])


def test_training_stops_where_no_pair_is_frequent_enough():
    _, merges = bpe.train_bpe([("ab", 5), ("cd", 1)], vocab_size=500, min_frequency=2)
    assert merges == [("a", "b")]


def test_a_vocabulary_without_room_for_the_bytes_is_refused():
    with pytest.raises(ValueError, match="258 special tokens and bytes"):
        bpe.train_bpe([("ab", 5)], vocab_size=257, special_tokens=SPECIAL)


def test_the_alphabet_is_that_of_byte_level_tokenizers():
    assert sorted(bpe.byte_alphabet()) == sorted(pre_tokenizers.ByteLevel.alphabet())
    for byte in (b"\n", b" ", b"~"):
        assert (
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False).pre_tokenize_str(byte.decode())[0][0]
            == bpe.byte_alphabet()[byte[0]]
        )
