"""Tokenizers built from counted words: their vocabularies, in the order of ids, and the models that cut text into them.

All of them cut text into words with the pattern of `models/pretokenizer.py` alone, and none of them normalises: cleaning is the data stages'
work, and text must come back as it was. Ids are given to the special tokens, the 256 bytes, and then what was learned. A character that has no
token of its own falls into its bytes, so that every text has tokens.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections import Counter
from collections.abc import Iterable, Sequence
from itertools import islice, pairwise
from typing import TYPE_CHECKING, Any

from models.pretokenizer import pretokenizer

if TYPE_CHECKING:
    from tokenizers import Tokenizer

BYTES = tuple(f"<0x{byte:02X}>" for byte in range(256))  # SentencePiece's names of the tokens of single bytes
MARGIN = 1e-4  # nats by which a word is likelier than its likeliest cut: far above the rounding of sums, far below a count of one


def byte_level(vocab: dict[str, int], merges: list[tuple[str, str]], special_tokens: Sequence[str]) -> Tokenizer:
    """A byte-level BPE tokenizer of the merges that `models.bpe.train_bpe` learns."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers

    tokenizer = Tokenizer(models.BPE(vocab=vocab, merges=merges))
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pretokenizer(), pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)]
    )
    tokenizer.decoder = decoders.ByteLevel()
    return _with_special_tokens(tokenizer, special_tokens)


def of_words(entries: dict[str, int], special_tokens: Sequence[str]) -> Tokenizer:
    """A unigram tokenizer of whole words and characters, scored by their counts: text is cut into the likeliest words.

    By its counts alone, one word in 250 is less likely than two shorter ones in a row, and would never be produced. Such a word is made a
    trace likelier than its likeliest cut, shorter words first, so that every word alone is one token.
    """
    from tokenizers import Tokenizer, models

    total = sum(entries.values())
    scores = {word: math.log(max(1, count) / total) for word, count in entries.items()}
    longest = max(map(len, entries), default=1)
    for word in sorted(entries, key=len):
        if len(word) > 1:
            scores[word] = max(scores[word], _likeliest_cut(word, scores, longest) + MARGIN)
    # the scores of special tokens and bytes say nothing: the pattern cuts whatever spells one before the model sees it
    first = [(token, 0.0) for token in (*special_tokens, *BYTES)]
    # the unknown token is never produced, since every byte has a token; one must be named
    model = models.Unigram([*first, *scores.items()], unk_id=0, byte_fallback=True)
    return _with_special_tokens(_with_byte_fallback(Tokenizer(model)), special_tokens)


def _likeliest_cut(word: str, scores: dict[str, float], longest: int) -> float:
    """Log-probability of the likeliest way to write a word as two tokens or more; -inf where there is none."""
    best = [0.0] + [-math.inf] * len(word)
    for end in range(1, len(word) + 1):
        for start in range(max(0, end - longest), end):
            if end - start < len(word) and (part := word[start:end]) in scores:
                best[end] = max(best[end], best[start] + scores[part])
    return best[-1]


def of_splits(entries: dict[str, int], special_tokens: Sequence[str], room: int | None = None) -> Tokenizer:
    """A BPE tokenizer of whole words: every way to split a word into two entries is a merge (SCCLM's construction).

    Alone that leaves words which no merges lead to, 3 % of a vocabulary of 29,298 and among the most frequent. Where merging a word gets
    stuck, its first two parts become an entry: the rarest merges of all, so that no word that was reached before is lost by them. `room` is
    how many entries there may be in the end, those parts included (None: as many as there are): the last of `entries` make way for them.
    """
    from tokenizers import Tokenizer, models

    pieces, ranks = _joined(entries)
    if room is not None and len(entries) + len(pieces) > room:

        def first(most: int) -> dict[str, int]:
            return dict(islice(entries.items(), most))

        # a word that goes takes its parts along, so fewer than `room` stay, and how many takes a search; the size found has been tried
        size = bisect_right(range(len(entries)), room, key=lambda most: most + len(_joined(first(most))[0])) - 1
        entries = first(max(0, size))
        pieces, ranks = _joined(entries)
    vocab = {token: number for number, token in enumerate([*special_tokens, *BYTES, *entries, *pieces])}
    model = models.BPE(vocab=vocab, merges=list(ranks), byte_fallback=True)
    return _with_special_tokens(_with_byte_fallback(Tokenizer(model)), special_tokens)


def _joined(entries: dict[str, int]) -> tuple[list[str], dict[tuple[str, str], int]]:
    """The parts that words are joined of beside each other, in the order of need, and all merges with their ranks."""
    pieces: dict[str, None] = {}
    ranks: dict[tuple[str, str], int] = {}
    for word in entries:
        for place in range(1, len(word)):
            if word[:place] in entries and word[place:] in entries:
                ranks.setdefault((word[:place], word[place:]), len(ranks))
    for word in entries:
        while len(parts := merged(word, ranks)) > 1:
            ranks[parts[0], parts[1]] = len(ranks)
            if (joined := parts[0] + parts[1]) not in entries:
                pieces[joined] = None
    return list(pieces), ranks


def merged(word: str, ranks: dict[tuple[str, str], int]) -> list[str]:
    """A word's parts after all merges, the lowest rank first and from left to right: BPE as encoding does it."""
    parts = list(word)
    while len(parts) > 1:
        rank, place = min((ranks.get(pair, math.inf), place) for place, pair in enumerate(pairwise(parts)))
        if rank == math.inf:
            break
        parts[place : place + 2] = [parts[place] + parts[place + 1]]
    return parts


def of_characters(entries: Iterable[str], special_tokens: Sequence[str]) -> Tokenizer:
    """A tokenizer with a token for every character."""
    from tokenizers import Tokenizer, models

    vocab = {token: number for number, token in enumerate([*special_tokens, *BYTES, *entries])}
    model = models.BPE(vocab=vocab, merges=[], byte_fallback=True)
    return _with_special_tokens(_with_byte_fallback(Tokenizer(model)), special_tokens)


def characters(counts: Iterable[tuple[str, int]]) -> Counter[str]:
    """The number of occurrences of each character in words with counts."""
    totals: Counter[str] = Counter()
    for word, count in counts:
        for character in word:
            totals[character] += count
    return totals


def frequent(counts: Iterable[tuple[str, int]], alone: Counter[str], threshold: int, most: int) -> dict[str, int]:
    """Words and characters that occur `threshold` times, the most frequent first and at most `most`, with the count for their score.

    `alone` has the occurrences of each character. A character is kept for all its occurrences, so it outranks the words that it is in; what
    scores it are those that no kept word covers.
    """
    frequencies = {character: count for character, count in alone.items() if count >= threshold}
    spelled: Counter[str] = Counter(frequencies)
    for word, count in counts:
        if len(word) > 1 and count >= threshold:
            frequencies[word] = count
    order = sorted(frequencies, key=lambda entry: (-frequencies[entry], len(entry), entry))[:most]
    entries = {entry: frequencies[entry] for entry in order}
    for word, count in entries.items():
        if len(word) > 1:
            for character in word:
                spelled[character] -= count
    return {entry: count if len(entry) > 1 else spelled[entry] for entry, count in entries.items()}


def _with_byte_fallback(tokenizer: Tokenizer) -> Tokenizer:
    from tokenizers import decoders

    tokenizer.pre_tokenizer = pretokenizer()
    tokenizer.decoder = decoders.Sequence([decoders.ByteFallback(), decoders.Fuse()])
    return tokenizer


def _with_special_tokens(tokenizer: Tokenizer, special_tokens: Sequence[str]) -> Tokenizer:
    from tokenizers import AddedToken

    tokenizer.add_special_tokens([AddedToken(token, special=True, normalized=False) for token in special_tokens])
    return tokenizer


def readable(raw: bytes) -> str:
    """The text of bytes, with those that make no whole character as `<0xE4>`."""
    text = ""
    while raw:
        try:
            return text + raw.decode("utf-8")
        except UnicodeDecodeError as broken:
            text += raw[: broken.start].decode("utf-8") + "".join(BYTES[byte] for byte in raw[broken.start : broken.end])
            raw = raw[broken.end :]
    return text


def spellings(tokenizer: Tokenizer) -> dict[int, bytes]:
    """The bytes of every token, in the order of ids. A special token spells its name."""
    import json

    from models.bpe import byte_alphabet

    alphabet = {character: byte for byte, character in enumerate(byte_alphabet())}
    described = json.loads(tokenizer.to_str())
    added = {token["id"] for token in described["added_tokens"]}
    in_bytes, fallback = is_byte_level(described), described["model"].get("byte_fallback")
    names = {token: number for number, token in enumerate(BYTES)}
    spelled = {}
    for token, number in sorted(tokenizer.get_vocab().items(), key=lambda item: item[1]):
        if in_bytes and number not in added:
            spelled[number] = bytes(alphabet[character] for character in token)
        elif fallback and token in names:
            spelled[number] = bytes([names[token]])
        else:
            spelled[number] = token.replace("▁", " ").encode("utf-8") if uses_marks(described) else token.encode("utf-8")
    return spelled


def is_byte_level(described: dict[str, Any]) -> bool:
    """True of a `tokenizer.json` that spells its tokens in GPT-2's alphabet of bytes."""
    decoder = described.get("decoder") or {}
    return any(step["type"] == "ByteLevel" for step in [decoder, *decoder.get("decoders", ())] if step)


def uses_marks(described: dict[str, Any]) -> bool:
    """True of a `tokenizer.json` that writes a space as SentencePiece's mark ▁."""
    return "▁" in str([described.get("normalizer"), described.get("pre_tokenizer")])
