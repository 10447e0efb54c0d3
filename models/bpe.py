"""Byte-pair encoding learned from word counts.

Trainers that take text hold every distinct pre-token in memory, and Chinese has no spaces, so a pre-token is a whole clause: measured,
some 85 bytes of memory for each byte of text. Words with counts are bounded by the vocabulary of the language instead, can be counted in
pieces, and the same counts train a tokenizer of any size in seconds.

The merges are those of `tokenizers`' `BpeTrainer` on the same words (a test holds them to it): the most frequent pair first, ties by the
smaller ids, where an id is given to the special tokens, the 256 bytes and then each new token in turn.
"""

from __future__ import annotations

import heapq
from collections import defaultdict
from collections.abc import Iterable, Sequence
from itertools import pairwise

Pair = tuple[int, int]


def byte_alphabet() -> list[str]:
    """The printable character that stands for each byte value 0-255 in a byte-level tokenizer (GPT-2's table).

    Bytes that print as themselves in Latin-1 keep their character; the other 68 take the code points from 256 on, in order.
    """
    printable = {*range(ord("!"), ord("~") + 1), *range(ord("¡"), ord("¬") + 1), *range(ord("®"), ord("ÿ") + 1)}
    spare = iter(range(256, 512))
    return [chr(byte) if byte in printable else chr(next(spare)) for byte in range(256)]


def train_bpe(
    counts: Iterable[tuple[str, int]], *, vocab_size: int, min_frequency: int = 2, special_tokens: Sequence[str] = ()
) -> tuple[dict[str, int], list[tuple[str, str]]]:
    """A vocabulary and its merges, learned from `(word, count)` pairs of distinct words.

    Returns token → id in the order of ids (special tokens, bytes, merged tokens) and the merges in the order they were learned. Stops
    at `vocab_size` tokens, or where no pair occurs `min_frequency` times. The order of the words does not matter.
    """
    alphabet = byte_alphabet()
    tokens = [*special_tokens, *sorted(alphabet)]
    ids = {token: number for number, token in enumerate(tokens)}
    if vocab_size < len(tokens):
        raise ValueError(f"vocab_size {vocab_size} is below the {len(tokens)} special tokens and bytes that every tokenizer has")
    byte_ids = [ids[character] for character in alphabet]
    words: list[list[int]] = []
    weights: list[int] = []
    for word, count in counts:
        words.append([byte_ids[byte] for byte in word.encode("utf-8")])
        weights.append(count)
    merges = learn_merges(words, weights, tokens, vocab_size=vocab_size, min_frequency=min_frequency)
    return {token: number for number, token in enumerate(tokens)}, merges


def learn_merges(
    words: list[list[int]], weights: list[int], tokens: list[str], *, vocab_size: int, min_frequency: int
) -> list[tuple[str, str]]:
    """Go on merging in words that are already cut into ids of `tokens`, until there are `vocab_size` of them.

    Returns the new merges. The new tokens are appended to `tokens`, and `words` are merged in place.
    """
    ids = {token: number for number, token in enumerate(tokens)}
    totals, places = _count_pairs(words, weights)
    queue = [(-total, pair) for pair, total in totals.items() if total >= min_frequency]
    heapq.heapify(queue)
    merges: list[tuple[str, str]] = []
    while len(tokens) < vocab_size and queue:
        negative, pair = heapq.heappop(queue)
        total = totals.get(pair, 0)
        if total != -negative:  # the pair lost occurrences since it was queued; what gained some was queued anew
            if min_frequency <= total < -negative:
                heapq.heappush(queue, (-total, pair))
            continue
        left, right = tokens[pair[0]], tokens[pair[1]]
        merges.append((left, right))
        token = left + right
        merged = ids.setdefault(token, len(tokens))  # two pairs may spell one token: a+bc and ab+c
        if merged == len(tokens):
            tokens.append(token)
        grown: set[Pair] = set()
        for place in places.pop(pair):
            for changed, difference in _merge(words, place, pair, merged).items():
                totals[changed] += difference * weights[place]
                if difference > 0:
                    places[changed].add(place)
                    grown.add(changed)
        assert totals[pair] == 0, "merging a pair everywhere leaves none of it"
        del totals[pair]
        for changed in grown:
            if totals.get(changed, 0) >= min_frequency:
                heapq.heappush(queue, (-totals[changed], changed))
    return merges


def _count_pairs(words: list[list[int]], weights: list[int]) -> tuple[defaultdict[Pair, int], defaultdict[Pair, set[int]]]:
    """The number of occurrences of each pair of neighbours, and the words that hold it. Every position counts: `aaa` holds (a, a) twice."""
    totals: defaultdict[Pair, int] = defaultdict(int)
    places: defaultdict[Pair, set[int]] = defaultdict(set)
    for place, (word, weight) in enumerate(zip(words, weights, strict=True)):
        for pair in pairwise(word):
            totals[pair] += weight
            places[pair].add(place)
    return totals, places


def _merge(words: list[list[int]], place: int, pair: Pair, merged: int) -> dict[Pair, int]:
    """Merge a pair in one word from left to right, and return by how much the word's count of each pair changed.

    The word is recounted as a whole: words are short, and patching neighbours goes wrong where the pair overlaps itself (`aaaa`).
    """
    word = words[place]
    first, second = pair
    new: list[int] = []
    position, last = 0, len(word) - 1
    while position <= last:
        if position < last and word[position] == first and word[position + 1] == second:
            new.append(merged)
            position += 2
        else:
            new.append(word[position])
            position += 1
    words[place] = new
    change: dict[Pair, int] = {}
    for neighbours in pairwise(word):
        change[neighbours] = change.get(neighbours, 0) - 1
    for neighbours in pairwise(new):
        change[neighbours] = change.get(neighbours, 0) + 1
    return change
