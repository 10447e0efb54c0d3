"""Decontamination: evaluation questions that stand in training rows, by character n-grams.

Every row is looked through once for the n-grams of all questions, so the work is linear in the text and does not grow with the number of
questions. A row is contaminated when it holds enough of one question's characters, in the question's order. Punctuation, spaces, case, width
and traditional characters make no difference, and changed, missing or inserted words leave enough n-grams on either side of them.
"""

from __future__ import annotations

import functools
import itertools
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tasks.text.fold import folded, significant

if TYPE_CHECKING:
    import numpy as np

    Array = np.ndarray[Any, Any]

GRAMS = (5, 8, 13)  # lengths of n-grams
EDITS = 16  # a question of L characters is searched for by n-grams of about L / EDITS, so that as many edits leave some
COMMON = 20  # an n-gram of more questions than this is a phrase of exams (下列说法正确的是), not a mark of one question
LETTERS = "ABCDEFGHIJKLMNOP"  # of choices, as exams print them
PHRASE = 6  # characters of a question that a whole turn is compared with
OWN = 8  # characters outside of such phrases that a question is told by, if that many are asked for at all
CHUNK = (
    300_000  # characters looked through at a time, at about 100 bytes of memory each and 3 kB where all of it is phrases of exams
)
OVERLAP = 10_000  # characters that the pieces of a longer text share

_BREAK = 1  # stands between rows and between questions, so that no n-gram runs from one into the next; no character folds to it
_BASE, _SPREAD = 0x9E3779B97F4A7C15, 0xD6E8FEB86659FD93  # odd numbers with bits all over, of the polynomial that hashes n-grams
_BITS = 22  # bits of a hash by which most n-grams of a row are told to be in no question
_POINTS = 0x32400  # code points that may be letters here: up to the last extension of the Han characters


@dataclass(frozen=True)
class QuestionMatch:
    """`share` of the characters of a question stands in a row, from the place `start` of its joined texts on."""

    questions: tuple[int, ...]  # places in `QuestionIndex.questions`; several where sets have a question in common
    share: float
    start: int


@dataclass(frozen=True)
class _NgramIndex:
    """The n-grams of one length: their hashes, sorted, and the places in the folded questions where each stands."""

    n: int
    hashes: Array
    first: Array  # of each hash, and one more: where its places begin
    places: Array
    known: Array  # bool, by the upper bits of a hash


class QuestionIndex:
    """An index of evaluation questions by their n-grams, which finds them inside rows.

    `characters`: a shorter question, or one whose words other questions share, is searched for together with its choices, since by itself it
    is a phrase; without them it counts where it is a whole turn. `share`: the part of a question's characters that a contaminated row holds.
    `n`: the longest n-gram.
    """

    def __init__(self, questions: Iterable[dict[str, Any]], characters: int = 13, share: float = 0.8, n: int = 13):
        import numpy as np

        self.questions: list[tuple[str, str, str]] = []  # (id, set, question)
        self.counts = {"searched": 0, "too short": 0}
        self._share = share
        self._indexes: list[_NgramIndex] = []
        self._short_questions: dict[bytes, tuple[int, ...]] = {}  # short questions, to compare whole turns with
        self._longest_turn = 3 * characters  # characters of the longest turn that may be one, with its punctuation
        forms: list[Array] = []  # three of each question: the stem, the stem with lettered choices, the stem with choices
        variants: dict[bytes, set[frozenset[bytes]]] = defaultdict(set)  # stem → the choices that it comes with
        rows = list(questions)
        if not rows:
            return
        parts = iter(folds([text for row in rows for text in (row["question"], *(row.get("choices") or []))]))
        letters = folds(LETTERS)
        for row in rows:
            self.questions.append((row["id"], row["source"], row["question"]))
            stem, choices = next(parts), [next(parts) for _ in row.get("choices") or []]
            lettered = [part for pair in zip(letters, choices, strict=False) for part in pair]
            forms += [stem, np.concatenate([stem, *lettered]), np.concatenate([stem, *choices])]
            variants[stem.tobytes()].add(frozenset(choice.tobytes() for choice in choices))
        self._length = np.array([len(form) for form in forms])
        self._start = np.cumsum(self._length + 1) - self._length - 1
        self._form_at = np.repeat(np.arange(len(forms), dtype=np.uint32), self._length + 1)  # of each place
        sizes = np.array(sorted({*(size for size in GRAMS if size < n), n}))
        self._ngram_of_form = sizes[np.maximum(0, np.searchsorted(sizes, self._length // EDITS, "right") - 1)]
        codes = np.concatenate([part for form in forms for part in (form, np.array([_BREAK], np.uint32))])
        ngrams = self._distinctive_ngrams(codes, sizes)
        self._own_count = np.bincount(self._form_at, self._is_own, len(forms))
        self._least = np.ceil(share * self._own_count / self._ngram_of_form)  # n-grams that the share takes at the least

        searchable = (self._length >= characters) & (self._own_count >= min(OWN, characters))
        representative: dict[bytes, int] = {}  # text → the first form that has it, which stands for the others
        questions_of_form: dict[int, list[int]] = defaultdict(list)  # form → questions
        for place in range(len(self.questions)):
            stem_form, *whole = range(3 * place, 3 * place + 3)
            text = forms[stem_form].tobytes()
            unambiguous = len(variants[text]) == 1
            if unambiguous and PHRASE <= len(forms[stem_form]) < characters:
                self._short_questions[text] = (*self._short_questions.get(text, ()), place)
            searched = [stem_form] * bool(unambiguous and searchable[stem_form]) + [form for form in whole if searchable[form]]
            self.counts["searched" if searched else "too short"] += 1
            for first in {representative.setdefault(forms[form].tobytes(), form) for form in searched}:
                questions_of_form[first].append(place)
        self._questions_of_form = {form: tuple(places) for form, places in questions_of_form.items()}
        is_searched = np.isin(np.arange(len(forms)), list(questions_of_form))
        for size, hashes, places in ngrams:
            selected = is_searched[self._form_at[places]]
            self._indexes.append(_ngram_index(size, hashes[selected], places[selected]))

    def _distinctive_ngrams(self, codes: Array, sizes: Array) -> list[tuple[int, Array, Array]]:
        """(n, hashes, places) of the n-grams that few questions have and that are not mere figures. The characters they cover are a question's
        own."""
        import numpy as np

        end, edges, ngrams = (self._start + self._length)[self._form_at], np.zeros(len(codes) + 1, np.int32), []
        words = np.cumsum(np.append(0, _are_letters(codes)))  # characters other than figures and signs before each place
        for n, hashes in _ngram_hashes(codes, sizes):
            inside = np.flatnonzero(np.arange(len(hashes)) + n <= end[: len(hashes)])
            form = self._form_at[inside]
            whole_hashes, whole_forms = hashes[inside][form % 3 == 1], form[form % 3 == 1]
            order = np.lexsort((whole_forms, whole_hashes))
            whole_hashes, whole_forms = whole_hashes[order], whole_forms[order]
            first_of_form = np.append(True, (whole_hashes[1:] != whole_hashes[:-1]) | (whole_forms[1:] != whole_forms[:-1]))[
                : len(order)
            ]
            each, count = np.unique(whole_hashes[first_of_form], return_counts=True)
            places = inside[(self._ngram_of_form[form] == n) & (words[inside + n] > words[inside])]
            places = places[~np.isin(hashes[places], each[count > COMMON])]
            np.add.at(edges, places, 1)
            np.add.at(edges, places + n, -1)
            ngrams.append((n, hashes[places], places))
        self._is_own = np.cumsum(edges)[:-1] > 0
        return ngrams

    def find(self, rows: Sequence[Sequence[str]]) -> list[QuestionMatch | None]:
        """The best match of each row, given as its texts: the question of which it holds the largest share; None where no share is enough to
        call the row contaminated."""
        matches = self._whole_turns(rows)
        for pieces in _chunks(["\n".join(texts) for texts in rows]) if self._indexes else ():
            for row, match in self._search(pieces):
                best = matches[row]
                if best is None or (-match.share, match.questions) < (-best.share, best.questions):
                    matches[row] = match
        return matches

    def _whole_turns(self, rows: Sequence[Sequence[str]]) -> list[QuestionMatch | None]:
        """A short question that is a whole turn of a row, or its title."""
        matches: list[QuestionMatch | None] = [None] * len(rows)
        if not self._short_questions:
            return matches
        short: list[tuple[int, int, str]] = []  # row, place, text
        for row, texts in enumerate(rows):
            place = 0
            for text in texts:
                if len(text) <= self._longest_turn:
                    short.append((row, place, text))
                place += len(text) + 1
        for (row, place, _), folded_text in zip(short, folds([text for _, _, text in short]), strict=True):
            if matches[row] is None and (questions := self._short_questions.get(folded_text.tobytes())):
                matches[row] = QuestionMatch(questions, 1.0, place)
        return matches

    def _search(self, pieces: list[tuple[int, int, str]]) -> Iterator[tuple[int, QuestionMatch]]:
        """Matches in pieces of texts, (text, place of the piece in it, piece), with the text that each is in."""
        import numpy as np

        joined = "\n".join(piece for _, _, piece in pieces)
        begins = np.cumsum([0, *(len(piece) + 1 for _, _, piece in pieces)])
        codes = _compared(joined, begins.clip(max=len(joined)))
        codes[begins[1:-1] - 1] = _BREAK
        letters = np.flatnonzero(codes)
        rows, forms, shifts, places, starts = [], [], [], [], []
        for grams, (_, hashes) in zip(
            self._indexes, _ngram_hashes(codes[letters], (each.n for each in self._indexes)), strict=True
        ):
            row_places, question_places = _shared_ngrams(grams, hashes)
            starts.append(letters[row_places])
            rows.append(np.searchsorted(begins, letters[row_places], "right") - 1)
            forms.append(self._form_at[question_places])
            shifts.append(row_places - question_places)
            places.append(question_places)
        hits = [np.concatenate(each) for each in (rows, forms, shifts, places, starts)]
        order = np.lexsort((hits[2], hits[1], hits[0]))
        row, form, shift, place, start = (each[order] for each in hits)
        edges = np.flatnonzero(np.diff(row, prepend=-1) | np.diff(form.astype(np.int64), prepend=-1))
        ends = np.append(edges[1:], len(row))
        enough = ends - edges >= self._least[form[edges]]
        for first, last in zip(edges[enough], ends[enough], strict=True):
            share, begin = self._best_coverage(int(form[first]), place[first:last], shift[first:last])
            if share >= self._share:
                text, offset, _ = pieces[int(row[first])]
                at = int(start[first + begin : last].min()) - int(begins[row[first]])
                yield text, QuestionMatch(self._questions_of_form[int(form[first])], share, offset + at)

    def _best_coverage(self, form: int, places: Array, shifts: Array) -> tuple[float, int]:
        """The largest share of a question's own characters that n-grams at these places cover, among n-grams that stand about as in the question
        (their shifts against it, by which they are sorted, differ by a third of its length at most), and the first of those n-grams."""
        import numpy as np

        n, length, owned = int(self._ngram_of_form[form]), int(self._length[form]), float(self._own_count[form])
        own = self._is_own[self._start[form] :][:length]
        places = places - self._start[form]
        covered = np.zeros(length, np.int32)
        for within in range(n):
            covered[places + within] = 1
        best = int(np.count_nonzero(covered[own]))
        slack = max(4, length // 3)
        if best < self._share * owned or shifts[-1] - shifts[0] <= slack:
            return best / owned, 0
        covered[:] = best = at = first = 0
        for place, shift in zip(places.tolist(), shifts.tolist(), strict=True):
            while shifts[first] < shift - slack:
                left_behind = int(places[first])
                covered[left_behind : left_behind + n] -= 1
                first += 1
            covered[place : place + n] += 1
            count = int(np.count_nonzero(covered[own]))
            if count > best:
                best, at = count, first
        return best / owned, at


def fold(text: str) -> Array:
    """The letters, digits, ideographs and signs of a text as numbers, equal for what differs in case, width or traditional characters."""
    return folds([text])[0]


def folds(texts: Sequence[str]) -> list[Array]:
    """The fold of each text."""
    import numpy as np

    bounds = np.cumsum([0, *map(len, texts)])
    codes = _compared("".join(texts), bounds)
    counts = np.cumsum(np.append(0, codes > 0))[bounds]
    kept = codes[codes > 0]
    return [kept[start:end] for start, end in itertools.pairwise(counts.tolist())]


def _compared(text: str, bounds: Array) -> Array:
    """The code that each character is compared by, 0 for those that do not count, of texts that stand one after the other."""
    import numpy as np

    codes, counts = significant(_fold_table()[_code_points(text)], bounds)
    return np.where(counts, codes, np.uint32(0))


def _code_points(text: str) -> Array:
    """Code points; those of no letter that matters here are `_POINTS`."""
    import numpy as np

    return np.minimum(np.frombuffer(text.encode("utf-32-le", "surrogatepass"), np.uint32), _POINTS)


def _are_letters(codes: Array) -> Array:
    """True for codes of letters and ideographs, but not of figures or signs, nor for breaks."""
    import numpy as np

    letters = np.array([chr(code).isalpha() for code in range(_POINTS)])
    return letters[np.minimum(codes, _POINTS - 1)]


@functools.cache
def _fold_table() -> Array:
    """Code point → its code in one case and width, a letter's in simplified characters. Of a character that stands for several (㎏), the first."""
    import numpy as np
    import opencc

    points = [*range(0xD800), *range(0xE000, 0x10000), *range(0x20000, _POINTS)]
    letters = [point for point in points if chr(point).isalnum()]
    simple = opencc.OpenCC("t2s").convert("\n".join(map(chr, letters))).replace("著", "着").split("\n")
    written = dict(zip(points, map(chr, points), strict=True)) | dict(zip(letters, simple, strict=True))
    table = np.full(_POINTS + 1, ord("\n"), np.uint32)
    for point, character in written.items():
        table[point] = ord(folded(character)[:1] or "\n")
    return table


def _ngram_hashes(codes: Array, sizes: Iterable[int]) -> Iterator[tuple[int, Array]]:
    """For each n, ascending: the hashes of the n-grams that begin at every place of `codes`, n - 1 fewer than these; 64 bits each."""
    import numpy as np

    spread = codes.astype(np.uint64) * np.uint64(_SPREAD)
    hashes, length = spread, 1
    for n in sizes:
        while length < n:
            hashes = hashes[:-1] * np.uint64(_BASE) + spread[length:]
            length += 1
        yield n, hashes


def _ngram_index(n: int, hashes: Array, places: Array) -> _NgramIndex:
    import numpy as np

    order = np.argsort(hashes, kind="stable")
    unique, first = np.unique(hashes[order], return_index=True)
    known = np.zeros(1 << _BITS, bool)
    known[unique >> np.uint64(64 - _BITS)] = True
    return _NgramIndex(n, unique, np.append(first, len(hashes)), places[order], known)


def _shared_ngrams(grams: _NgramIndex, hashes: Array) -> tuple[Array, Array]:
    """(place in the rows, place in the questions) of every n-gram that both have."""
    import numpy as np

    at = np.flatnonzero(grams.known[hashes >> np.uint64(64 - _BITS)])
    which = np.searchsorted(grams.hashes, hashes[at])
    which[which == len(grams.hashes)] = 0
    same = grams.hashes[which] == hashes[at] if len(grams.hashes) else np.zeros(len(at), bool)
    at, which = at[same], which[same]
    count = grams.first[which + 1] - grams.first[which]
    nth = np.arange(count.sum()) - np.repeat(np.cumsum(count) - count, count)
    return np.repeat(at, count), grams.places[np.repeat(grams.first[which], count) + nth]


def _chunks(texts: Sequence[str]) -> Iterator[list[tuple[int, int, str]]]:
    """(text, place of the piece in it, piece), together about `CHUNK` characters at a time. Pieces of one text overlap."""
    chunk: list[tuple[int, int, str]] = []
    size = 0
    for number, text in enumerate(texts):
        for place in range(0, max(1, len(text) - OVERLAP), CHUNK - OVERLAP):
            piece = text[place : place + CHUNK]
            if chunk and size + len(piece) > CHUNK:
                yield chunk
                chunk, size = [], 0
            chunk.append((number, place, piece))
            size += len(piece)
    if chunk:
        yield chunk
