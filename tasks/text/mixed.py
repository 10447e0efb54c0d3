"""Texts in two scripts: which characters of one are traditional, and which are there to be talked about.

A run of ideographs that has characters which only traditional text has is traditional, one with characters which only simplified text has is
not, and one with neither is what its line is, or else its text. Quoted characters stay where a sentence is about them: “发”的繁体字是“發”.
"""

from __future__ import annotations

import functools
import re
from bisect import bisect_left
from collections.abc import Iterator
from typing import TYPE_CHECKING

from tasks.text import t2s

if TYPE_CHECKING:
    import numpy as np

_MUCH = 4  # times as many characters of one script as of the other, from which a line is of that script throughout
_BOTH = 3  # characters that no simplified text has, from which a text is written by people of both scripts, and its variants are no choice
_MODERN = 0.01  # share of 的, from which a text is of today: in editions of old books variants are a choice
_SURE = 0.1  # what a character weighs more that is in no simplified text than a variant, which may be a slip

_OPEN, _CLOSE = "".join(map(re.escape, t2s.PAIRS)), "".join(map(re.escape, t2s.PAIRS.values()))
_LONGEST = 40  # characters of a quotation
_WITHIN = f"[^{_OPEN}{_CLOSE}\\n]{{1,{_LONGEST}}}"
_QUOTED = re.compile(f"[{_OPEN}]({_WITHIN})[{_CLOSE}]")
_SINGLE = re.compile(r"(?!$)(?:(?<![\u3400-\u9fff])[\u3400-\u9fff](?![\u3400-\u9fff])|[^\u3400-\u9fff])*")
_KANA = re.compile("[ぁ-ゖァ-ヺ]")
_CHINESE = re.compile("[的了是這这們们我他她也就為为對对於被吗嗎呢吧把讓让從从]")
_ADDRESS = re.compile(r"://[^\s，。；、）」』”]+")
_EMPTY = re.compile("「」|『』")
# words that say that a sentence is about characters: in simplified script (all of it then stays), in either script, and those that name what
# stands in another script beside them
_ABOUT_SIMPLIFIED = re.compile(
    "[繁简异正]体(?:中文|汉字|字|写|[是为作：:，。？“「]|$)|繁简|简繁|简化(?:字|为|成|作|前)|日本汉字|[新旧]字[体形]"
)
_ABOUT = re.compile(f"[繁簡简異异正][體体]|繁簡|簡繁|簡化|简化|{_ABOUT_SIMPLIFIED.pattern}")
_ELSEWHERE = re.compile(
    "[写寫]作|[写写]成|写为|写法|[又亦本古旧或]作|同“|通“|日语|日文|日本|台湾|香港|港台|澳门|汉字|原文|字形|笔画|偏旁|部首|题字|匾额|题词|刻着|印章"
)
# a request to write in another script, and what a sentence says that is about a character as it is written or read
_REQUEST = re.compile("[轉转翻譯译改變变換换寫写][^，。！？：「“\n]{0,8}[繁簡简正][體体化]")
_EQUATED = re.compile("[」”』](?:的|在|之)?[^「“，。]{0,4}[繁簡简正異异][體体化](?:字|中文|[寫写]法|形式)?[是為为作寫写即有：]")
_READ = ("讀作", "讀音", "讀成", "筆畫", "筆劃", "筆順", "偏旁")
_HINTED = re.compile("|".join(t2s.HINTED))
_SPELT = re.compile("[写寫][作成为做]([\u3040-\u30ff\u3400-\u9fff]{1,12})")


@functools.cache
def _traditional_quoted() -> re.Pattern[str]:
    """A quotation with something traditional in it and nothing simplified."""
    old, new = (t2s.characters(kind) for kind in (t2s.TRADITIONAL | t2s.VARIANT, t2s.SIMPLIFIED))
    return re.compile(f"[{_OPEN}]([^{_OPEN}{_CLOSE}\n{new}{old}]{{0,39}}[{old}][^{_OPEN}{_CLOSE}\n{new}]{{0,39}})[{_CLOSE}]")


def of_traditional(text: str, simple: str, hinted: bool) -> str:
    """The conversion of a text that is traditional throughout, with what it mentions as it was: addresses, empty quotes and, if one of the
    words for scripts may be in it, characters."""
    spans = list(_verbatim(text))
    if hinted:
        spans += _about_blocks(text, simple)
        spans.sort()
    if not spans:
        return simple
    pieces, position = [], 0
    for start, end in spans:
        if start >= position:
            pieces += [simple[position:start], text[start:end]]
            position = end
    return "".join([*pieces, simple[position:]])


def of_mixed(text: str, simple: str) -> str:
    """The text with those characters of `simple`, its conversion, that are traditional and not mentioned."""
    import numpy as np

    known = _Known(text)
    before, after = (np.frombuffer(each.encode("utf-32-le", "surrogatepass"), np.uint32) for each in (text, simple))
    places = np.flatnonzero(before != after)
    chosen = _chosen(known, places)
    for start, end in _mentioned(known, simple, places):
        first, last = np.searchsorted(places, (start, end))
        chosen[first:last] = False
    mixed = before.copy()
    mixed[places[chosen]] = after[places[chosen]]
    return mixed.tobytes().decode("utf-32-le", "surrogatepass")


def _verbatim(text: str) -> Iterator[tuple[int, int]]:
    """(start, end) of what is never converted."""
    for sign, pattern in (("://", _ADDRESS), ("「」", _EMPTY), ("『』", _EMPTY)):
        if sign in text:
            yield from (match.span() for match in pattern.finditer(text))


def _places(text: str, word: str) -> list[int]:
    """The places of a word in a text."""
    return [match.start() for match in re.finditer(word, text)]


def _about_blocks(text: str, simple: str) -> Iterator[tuple[int, int]]:
    """(start, end) of what stays in sentences with a word for a script in them, looked for between the blank lines around each such word."""
    end = 0
    for hint in _HINTED.finditer(text):
        if hint.start() >= end:
            start, end = text.rfind("\n\n", end, hint.start()), text.find("\n\n", hint.end())
            start, end = start + 2 if start >= 0 else 0, end if end >= 0 else len(text)
            known = _Known(text[start:end])
            yield from ((start + first, start + last) for first, last in _about(known, _Sentences(known, simple[start:end])))


def _about(known: _Known, sentences: _Sentences) -> Iterator[tuple[int, int]]:
    """(start, end) of what stays in sentences with a word for a script in them."""
    import numpy as np

    for place in np.flatnonzero(known.kinds & t2s.HINT != 0).tolist():
        if known.text[place : place + 2] in t2s.HINTED:
            yield from sentences.about(place)


class _Known:
    """The places in a text of characters that tell its script, and of the ends of its runs, sentences and lines."""

    def __init__(self, text: str):

        self.text = text
        self.kinds = kinds = t2s.kinds(text)
        self.han = kinds & t2s.HAN > 0
        self.sure, self.old, self.new, self.stops, self.lines = (
            (kinds & kind != 0).nonzero()[0]
            for kind in (t2s.TRADITIONAL, t2s.TRADITIONAL | t2s.VARIANT, t2s.SIMPLIFIED, t2s.STOP, t2s.LINE)
        )

    def runs(self) -> np.ndarray:
        """The places where runs of ideographs end and begin."""
        import numpy as np

        return np.flatnonzero(self.han[1:] != self.han[:-1])

    def counts(self, ends: np.ndarray, places: np.ndarray) -> tuple[np.ndarray, ...]:
        """The numbers of characters that are traditional for sure, that are old and that are new, between the ends around each place."""
        import numpy as np

        part = np.searchsorted(ends, places)
        bounds = np.concatenate(([-1], ends, [len(self.text)]))
        first, last = bounds[part], bounds[part + 1]
        return tuple(
            np.searchsorted(found, last, "right") - np.searchsorted(found, first, "right")
            for found in (self.sure, self.old, self.new)
        )


def _chosen(known: _Known, places: np.ndarray) -> np.ndarray:
    """For each of these places, whether the character there is to be converted."""
    import numpy as np

    at = known.kinds[places]
    chosen = at & t2s.TRADITIONAL > 0
    if (len(known.sure) >= _BOTH and 2 * len(known.sure) >= len(known.old)) or known.text.count("的") >= _MODERN * len(
        known.text
    ):
        chosen |= at & (t2s.VARIANT | t2s.NAMED) == t2s.VARIANT
    open_ = np.flatnonzero(~chosen)
    places, at = places[open_], at[open_]
    lines = known.counts(known.lines, places)
    whole = np.sign(len(known.old) + _SURE * len(known.sure) - len(known.new))
    of_line = _verdict(*lines)
    of_line = np.where(of_line == 0, whole, of_line)
    of_sentence = _verdict(*known.counts(known.stops, places))
    of_sentence = np.where(of_sentence == 0, of_line, of_sentence)
    sure, old, new = known.counts(known.runs(), places)
    of_run = np.where(old + new == 0, of_sentence, np.where((sure > new) | (new == 0), 1, -1))
    yes = (of_run > 0) | (lines[1] > _MUCH * lines[2]) | ((at & t2s.VARIANT > 0) & (of_sentence > 0))
    yes &= (at & t2s.NAMED == 0) | (lines[1] > lines[2] + 1)  # such a character does not speak for itself
    chosen[open_] = np.where(at & t2s.HAN > 0, yes, of_line > 0)
    return chosen


def _verdict(sure: np.ndarray, old: np.ndarray, new: np.ndarray) -> np.ndarray:
    """The script of parts of the text by the numbers of such characters: 1 for traditional, -1 for simplified, 0 where nothing tells."""
    import numpy as np

    return np.where(old + new == 0, 0, np.where(old + _SURE * sure > new, 1, -1))


def _mentioned(known: _Known, simple: str, places: np.ndarray) -> Iterator[tuple[int, int]]:
    """(start, end) of what is in a text to be talked about, and stays: addresses and empty quotes, and parts of sentences."""
    import numpy as np

    text = known.text
    yield from _verbatim(text)
    sentences = _Sentences(known, simple)
    yield from _about(known, sentences)
    opening = np.flatnonzero(known.kinds & t2s.OPENING != 0)
    old = np.append(known.old, len(text) + _LONGEST)
    for place in opening[old[np.searchsorted(old, opening)] <= opening + _LONGEST].tolist():
        match = _traditional_quoted().match(text, place)
        if match and t2s.PAIRS[text[place]] == text[match.end() - 1]:
            yield from sentences.quoted(*match.span(1))
    for word in ("写", "寫"):
        for start in _places(text, word) if word in text else ():
            if match := _SPELT.match(text, start):
                yield from sentences.quoted(*match.span(1))
    han = np.concatenate(([False], known.han, [False]))
    for place in places[han[places + 1] & ~han[places] & ~han[places + 2]].tolist():
        yield from sentences.doubled(place)
    if (known.kinds & t2s.KANA).any():
        yield from sentences.japanese()


class _Sentences:
    """The sentences of a text, and what each of them mentions."""

    def __init__(self, known: _Known, simple: str):
        self.text, self.simple = known.text, simple
        self.old, self.new, self.stops = known.old.tolist(), known.new.tolist(), known.stops.tolist()

    def around(self, place: int) -> tuple[int, int]:
        """The start and end of the sentence around a place."""
        number = bisect_left(self.stops, place)
        end = self.stops[number] + 1 if number < len(self.stops) else len(self.text)
        return self.stops[number - 1] + 1 if number else 0, end

    def counts(self, start: int, end: int) -> tuple[int, int]:
        """The numbers of characters of a part that tell that it is traditional, and simplified."""
        return (
            bisect_left(self.old, end) - bisect_left(self.old, start),
            bisect_left(self.new, end) - bisect_left(self.new, start),
        )

    def about(self, place: int) -> Iterator[tuple[int, int]]:
        """The parts that stay of a sentence that has a word in it that sentences about characters have, or of those that it announces."""
        start, end = self.around(place)
        sentence = self.text[start:end]
        if _ABOUT_SIMPLIFIED.search(sentence):
            yield start, end
            while end < len(self.text) and sentence.rstrip().endswith(("：", ":")):
                start, end = self.around(end)
                if self.counts(start, end)[1] or self.text[start - 1 : start + 1] == "\n\n":
                    break
                yield start, end
        elif request := _REQUEST.search(sentence):
            yield from (match.span(1) for match in _QUOTED.finditer(self.text, start, end))
            colon = next((at for at in range(start + request.end(), end) if self.text[at] in "：:"), -1)
            if colon >= 0:
                blank = self.text.find("\n\n", colon)
                whole = not self.text[colon + 1 : end].strip()  # then what follows is what is to be written
                yield colon + 1, (blank if blank >= 0 else len(self.text)) if whole else end
        elif _EQUATED.search(sentence):
            yield from (match.span(1) for match in _QUOTED.finditer(self.text, start, end))
        elif _ABOUT.search(sentence) or any(map(sentence.__contains__, _READ)):
            for match in _QUOTED.finditer(self.text, start, end):
                if _SINGLE.fullmatch(match.group(1)):
                    yield match.span(1)

    def quoted(self, first: int, last: int) -> Iterator[tuple[int, int]]:
        """A quotation that is traditional, if its sentence is not, and says something of the kind or quotes one character."""
        start, end = self.around(first)
        old, new = self.counts(start, end)
        if not new or self.counts(first, last)[1]:
            return
        sentence, piece, other = self.text[start:end], self.text[first:last], self.simple[first:last]
        spans = {(first - start, last - start), *(match.span(1) for match in _QUOTED.finditer(sentence))}
        for left, right in spans:
            inside = self.counts(start + left, start + right)
            old, new = old - inside[0], new - inside[1]
        if 0 < new >= old and (
            _SINGLE.fullmatch(piece)
            or other in self.text[start:first] + self.text[last:end]
            or _KANA.search(piece)
            or _ELSEWHERE.search(sentence)
        ):
            yield first, last

    def doubled(self, place: int) -> Iterator[tuple[int, int]]:
        """A character by itself whose sentence has what it would become, too: 泪—淚."""
        start, end = self.around(place)
        if self.simple[place] in self.text[start:end]:
            yield place, place + 1

    def japanese(self) -> Iterator[tuple[int, int]]:
        """Sentences of Japanese."""
        end = 0
        while (match := _KANA.search(self.text, end)) is not None:
            start, end = self.around(match.start())
            sentence = self.text[start:end]
            kana = len(_KANA.findall(sentence))
            if 4 * kana > end - start and 8 * len(_CHINESE.findall(sentence)) < kana:
                yield start, end
