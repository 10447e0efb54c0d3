"""Spans of a text that stand in the training texts: the longest ones, with the rows that hold them (as OLMoTrace, arXiv 2504.07096).

A span is maximal: with the character before it or after it, it stands nowhere. Matching is exact, character by character, since that is
what the model read. A span counts from a number of letters on, since shorter phrases stand anywhere by chance.

OLMoTrace ranks spans by the probability of their words, since counting takes long in its trillions of tokens. Here each is counted: the
longest come first, and a reader sees how common one is.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import NamedTuple

from tasks.data.excerpts import EXCERPT
from tasks.text.privacy import find_personal_data
from tasks.trace.index import Index, Shard
from tasks.trace.texts import PARTS

LEAST = 10.0  # letters of a span, as `letters` counts them
LATIN = 0.4  # of a Chinese character: five letters, a word, are about two
LONGEST = 20_000  # characters that are traced
ROWS = 5  # rows told of a span
LOOKED_AT = 50  # occurrences of a span, in a shard, from which these are chosen
AROUND = 30  # characters before and after a span in an excerpt
WINDOW = 1200  # bytes before and after a span in which personal data is looked for


@dataclass(frozen=True)
class Row:
    """A training row that holds a span: the stage that trains on it, its source and id, what the text is in it, and an excerpt, masked."""

    stage: str
    source: str
    licence: str | None  # of the source, where that is known
    row: str
    part: str
    excerpt: str


@dataclass(frozen=True)
class Span:
    """text[start:end] in characters stands `count` times in the training texts, in these rows among others."""

    start: int
    end: int
    text: str
    count: int
    rows: tuple[Row, ...]


def trace(indexes: Sequence[Index], text: str, least: float = LEAST, rows: int = ROWS) -> list[Span]:
    """The maximal spans of `text` with at least so many letters, the longest first. Raises `ValueError` for a text beyond `LONGEST`."""
    check(text)
    shards = [(index, shard) for index in indexes for shard in index.shards]
    spans = [span for span in maximal([shard for _, shard in shards], text) if letters(text[slice(*span)]) >= least]
    encoded = {span: text[slice(*span)].encode("utf-8", "surrogatepass") for span in spans}
    found = {span: _candidates(shards, encoded[span]) for span in spans}
    covered: Counter[tuple[int, int]] = Counter()  # characters of the answer in a row: one that holds much of it explains more
    for (start, end), (_, candidates) in found.items():
        for key in {(one.shard, one.row) for one in candidates}:
            covered[key] += end - start
    return [
        Span(*span, text[slice(*span)], count, _rows(shards, candidates, covered, len(encoded[span]), rows))
        for span, (count, candidates) in sorted(found.items(), key=lambda each: (each[0][0] - each[0][1], each[0]))
    ]


def check(text: str) -> None:
    """Raise `ValueError` for a text beyond `LONGEST`."""
    if len(text) > LONGEST:
        raise ValueError(f"the text has {len(text):,} characters; at most {LONGEST:,} are traced, so give a part of it")


def merged(spans: Sequence[Span]) -> list[tuple[int, int]]:
    """The parts of the text that spans cover, in order: those that overlap as one."""
    parts: list[tuple[int, int]] = []
    for start, end in sorted((span.start, span.end) for span in spans):
        if parts and start < parts[-1][1]:
            parts[-1] = (parts[-1][0], max(parts[-1][1], end))
        else:
            parts.append((start, end))
    return parts


def letters(text: str) -> float:
    """The length of a text in letters: a Chinese character is one, a Latin letter or a digit less, space and punctuation nothing."""
    return sum((1.0 if character >= "\u2e80" else LATIN) for character in text if character.isalnum())


def maximal(shards: Sequence[Shard], text: str) -> Iterator[tuple[int, int]]:
    """(start, end) of the maximal spans in characters, in order: at each place the longest one that begins there, if it ends later than all
    before it."""
    encoded = [character.encode("utf-8", "surrogatepass") for character in text]
    starts = list(accumulate(map(len, encoded), initial=0))  # in bytes, of each character, and the end
    whole = b"".join(encoded)
    found = [shard.longest(whole, starts[:-1]) for shard in shards]
    last = 0
    for start, lengths in enumerate(zip(*found, strict=True)):
        reached = starts[start] + max(lengths)
        end = max(start, last)
        while end < len(text) and starts[end + 1] <= reached:
            end += 1
        if end > last and end > start:
            yield start, end
            last = end


class _Candidate(NamedTuple):
    """A text that holds a span: the number of its shard, row and text there, where the span begins in it, and what the text is."""

    shard: int
    row: int
    text: int
    at: int
    part: int


def _candidates(shards: Sequence[tuple[Index, Shard]], span: bytes) -> tuple[int, list[_Candidate]]:
    """The times that a span stands in the shards, and some of the texts that it stands in."""
    count, found = 0, []
    for number, (_, shard) in enumerate(shards):
        first, end = shard.find(span)
        count += end - first
        texts, places = shard.located(first, min(end, first + LOOKED_AT))
        rows, parts = shard.texts["row"][texts], shard.texts["part"][texts]
        columns = (each.tolist() for each in (rows, texts, places, parts))
        found += [_Candidate(number, *values) for values in zip(*columns, strict=True)]
    return count, found


def _rows(
    shards: Sequence[tuple[Index, Shard]], found: list[_Candidate], covered: Counter[tuple[int, int]], length: int, most: int
) -> tuple[Row, ...]:
    """The rows that hold most of the answer; what a model learned to avoid comes last."""
    avoided = PARTS.index("rejected")
    likely = sorted(found, key=lambda one: (one.part == avoided, -covered[one.shard, one.row], one))
    chosen: dict[tuple[int, int], _Candidate] = {}
    for one in likely:
        chosen.setdefault((one.shard, one.row), one)
    rows = []
    for one in list(chosen.values())[:most]:
        index, shard = shards[one.shard]
        place = shard.place(one.text, one.at)
        rows.append(
            Row(
                index.stage,
                place.source,
                index.licences.get(place.source),
                place.row,
                place.part,
                excerpt(place.text, place.at, length),
            )
        )
    return tuple(rows)


def excerpt(text: bytes, at: int, length: int) -> str:
    """The text around a span, of which `EXCERPT` characters at most: cut out of what is masked, so that no half number is left."""
    before = text[max(0, at - WINDOW) : at].decode("utf-8", "ignore")
    span = text[at : at + length].decode("utf-8", "ignore")
    whole = before + span + text[at + length : at + length + WINDOW].decode("utf-8", "ignore")
    first, end = max(0, len(before) - AROUND), len(before) + min(len(span), EXCERPT) + AROUND
    pieces, position = [], first
    for _, start, stop in find_personal_data(whole):
        if stop > position and start < end:
            pieces += [whole[position:start], "[…]"]
            position = stop
    cut = "".join([*pieces, whole[position:end]])
    return ("…" if first else "") + cut + ("…" if end < len(whole) else "")
