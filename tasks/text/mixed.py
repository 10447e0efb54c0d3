"""Texts in two scripts: which characters of one are traditional, and which are there to be talked about.

A run of ideographs that has characters which only traditional text has is traditional, one with characters which only simplified text has is
not, and one with neither is what its line is, or else its text. Quoted characters stay where a sentence is about them: “发”的繁体字是“發”.
"""

from __future__ import annotations

import re
from bisect import bisect_left
from collections.abc import Iterator
from typing import TYPE_CHECKING, NamedTuple

from tasks.text import t2s

if TYPE_CHECKING:
    import numpy as np

_MUCH = 4  # times as many characters of one script as of the other, from which a line is of that script throughout
_MOST = 20  # times, from which the whole text is
_SURE = 0.1  # what a character weighs more that is in no simplified text than a variant, which may be a slip

_PAIRS = dict(zip('“‘「『《（([【"`', '”’」』》）)]】"`', strict=True))
_QUOTED = re.compile(r"([“‘「『《（(\[【\"`])([^“”‘’「」『』《》（）()\[\]【】\"`\n]{1,40})([”’」』》）)\]】\"`])")
_SINGLE = re.compile(r"(?!$)(?:(?<![\u3400-\u9fff])[\u3400-\u9fff](?![\u3400-\u9fff])|[^\u3400-\u9fff])*")
_KANA = re.compile("[ぁ-ゖァ-ヺ]")
_HIRAGANA = re.compile("[ぁ-ねは-ゖ]")  # but for の, which Chinese text borrows
_FEW = 4
_CHINESE = re.compile("[的了是這这們们我他她也就為为對对於被吗嗎呢吧把讓让從从]")
_ADDRESS = re.compile(r"://[^\s，。；、）」』”]+")
_EMPTY = re.compile("「」|『』")
# words that say that a sentence is about characters: in simplified script (all of it then stays), in either script, and those that name what
# stands in another script beside them
_ABOUT_SIMPLIFIED = re.compile(
    "[繁简异正]体(?:中文|汉字|字|写|[是为作：:，。？“「]|$)|繁简|简繁|简化(?:字|为|成|作|前)|日本汉字|[新旧]字[体形]|形声|会意|通假"
)
_HINTS = ("繁", "簡", *"简体 简化 异体 異體 正体 正體 新字 旧字 形声 会意 通假".split())  # one is in what is about characters
_HINT = re.compile("|".join((*_HINTS, "://", "「」", "『』")))
_ABOUT = re.compile(f"[繁簡简異异正][體体]|繁簡|簡繁|簡化|简化|{_ABOUT_SIMPLIFIED.pattern}")
_ELSEWHERE = re.compile(
    "[写寫]作|[写写]成|写为|写法|[又亦本古旧或]作|同“|通“|日语|日文|日本|台湾|香港|港台|澳门|汉字|原文|字形|笔画|偏旁|部首|题字|匾额|题词|刻着|印章"
)
_SPELT = re.compile("[写寫][作成为做]([\u3040-\u30ff\u3400-\u9fff]{1,12})")


def may_mention(text: str) -> bool:
    """True where a text that is traditional throughout may have something that stays all the same."""
    return _HINT.search(text) is not None or len(_HIRAGANA.findall(text)) > _FEW


def simplified(text: str, simple: str, is_mixed: bool) -> str:
    """The text with those characters of `simple`, its conversion, that are traditional (all, unless it is mixed) and not mentioned."""
    import numpy as np

    kinds = t2s.kinds(text)
    marks = _Marks(*(np.flatnonzero(kinds & kind) for kind in (t2s.TRADITIONAL, t2s.TRADITIONAL | t2s.VARIANT, t2s.SIMPLIFIED)))
    if is_mixed and len(marks.old) > _MOST * len(marks.new):
        if not may_mention(text):
            return simple
        is_mixed = False
    before, after = (np.frombuffer(each.encode("utf-32-le", "surrogatepass"), np.uint32) for each in (text, simple))
    places = np.flatnonzero(before != after)
    chosen = _chosen(before, kinds, marks, places) if is_mixed else np.ones(len(places), bool)
    for start, end in _mentioned(text, simple, before, kinds, marks, places):
        first, last = np.searchsorted(places, (start, end))
        chosen[first:last] = False
    mixed = before.copy()
    mixed[places[chosen]] = after[places[chosen]]
    return mixed.tobytes().decode("utf-32-le", "surrogatepass")


class _Marks(NamedTuple):
    """The places of characters that tell the script: in traditional text alone, with variants of those in both, in simplified text alone."""

    sure: np.ndarray
    old: np.ndarray
    new: np.ndarray


def _chosen(units: np.ndarray, kinds: np.ndarray, marks: _Marks, places: np.ndarray) -> np.ndarray:
    """For each of these places, whether the character there is to be converted."""
    import numpy as np

    han = kinds & t2s.HAN > 0
    run = np.cumsum(np.concatenate(([False], han[1:] != han[:-1])), dtype=np.int32)
    line = np.cumsum(units == ord("\n"), dtype=np.int32)
    sentence = np.cumsum(kinds & t2s.STOP > 0, dtype=np.int32)
    of_line = _verdict(line, marks, places)
    of_line = np.where(of_line == 0, _verdict(np.zeros_like(line), marks, places), of_line)
    of_sentence = _verdict(sentence, marks, places)
    of_sentence = np.where(of_sentence == 0, np.where(of_line == 0, 1, of_line), of_sentence)
    of_run = _verdict(run, marks, places, sure=True)
    chosen = np.where(of_run == 0, of_sentence, of_run) > 0
    chosen |= _verdict(line, marks, places, _MUCH) > 0
    at = kinds[places]
    chosen |= (at & t2s.TRADITIONAL > 0) | ((at & t2s.VARIANT > 0) & (of_sentence > 0))
    return np.where(han[places], chosen, of_line > 0)


def _verdict(part: np.ndarray, marks: _Marks, places: np.ndarray, much: int = 1, sure: bool = False) -> np.ndarray:
    """For each place, what its part of the text is: 1 for traditional, -1 for simplified, 0 where nothing tells.

    It has to have `much` times as many traditional characters; with `sure`, no simplified one, or more of what is in no simplified text.
    """
    import numpy as np

    parts = int(part[-1]) + 1
    sures, olds, news = (np.bincount(part[found], minlength=parts) for found in marks)
    if sure:
        traditional = (sures > news) | (news == 0)
    else:
        traditional = olds + _SURE * sures > much * news
    return np.where(olds + news == 0, 0, np.where(traditional, 1, -1))[part[places]]


def _mentioned(
    text: str, simple: str, units: np.ndarray, kinds: np.ndarray, marks: _Marks, places: np.ndarray
) -> Iterator[tuple[int, int]]:
    """(start, end) of what is in a text to be talked about, and stays: addresses and empty quotes, and parts of sentences."""
    import numpy as np

    for sign, pattern in (("://", _ADDRESS), ("「」", _EMPTY), ("『』", _EMPTY)):
        if sign in text:
            yield from (match.span() for match in pattern.finditer(text))
    starts = np.concatenate(([0], np.flatnonzero(kinds[:-1] & t2s.STOP) + 1))
    kana = np.flatnonzero((units >= ord("ぁ")) & (units <= ord("ヺ")))
    olds, news, kanas = (
        np.bincount(np.searchsorted(starts, found, "right") - 1, minlength=len(starts)) for found in (marks.old, marks.new, kana)
    )
    lengths = np.diff(starts, append=len(units))
    for number in np.flatnonzero((olds > 0) & (4 * kanas > lengths)).tolist():
        start, end = _span(starts, number, len(text))
        if 8 * len(_CHINESE.findall(text[start:end])) < kanas[number]:  # Japanese
            yield start, end
    wanted = (olds > 0) & (2 * news >= olds)
    for number in _hinted(text, starts):
        start, end = _span(starts, number, len(text))
        sentence = text[start:end]
        about = _ABOUT_SIMPLIFIED.search(sentence)
        if about and sentence.rstrip().endswith(("：", ":")):
            while (number := number + 1) < len(olds) and not news[number] and text[starts[number]] != "\n":
                yield _span(starts, number, len(text))
        elif about:
            yield start, end
        elif olds[number] and _ABOUT.search(sentence):
            wanted[number] = True
    if not wanted.any():
        return
    yield from _doubled(text, simple, kinds, starts, places)
    old, new = marks.old.tolist(), marks.new.tolist()
    for number in np.flatnonzero(wanted).tolist():
        yield from _of_sentence(text, simple, *_span(starts, number, len(text)), old, new)


def _doubled(text: str, simple: str, kinds: np.ndarray, starts: np.ndarray, places: np.ndarray) -> Iterator[tuple[int, int]]:
    """(start, end) of single characters whose sentence has what they would become: 泪—淚."""
    import numpy as np

    han = np.concatenate(([False], kinds & t2s.HAN > 0, [False]))
    single = places[han[places + 1] & ~han[places] & ~han[places + 2]]
    for place, number in zip(single.tolist(), (np.searchsorted(starts, single, "right") - 1).tolist(), strict=True):
        start, end = _span(starts, number, len(text))
        if simple[place] in text[start:end]:
            yield place, place + 1


def _span(starts: np.ndarray, number: int, length: int) -> tuple[int, int]:
    """The start and end of a sentence."""
    return int(starts[number]), int(starts[number + 1]) if number + 1 < len(starts) else length


def _hinted(text: str, starts: np.ndarray) -> list[int]:
    """The numbers of the sentences that may be about characters."""
    import numpy as np

    places = [match.start() for hint in _HINTS if hint in text for match in re.finditer(hint, text)]
    return sorted({int(number) - 1 for number in np.searchsorted(starts, places, "right")}) if places else []


def _of_sentence(text: str, simple: str, start: int, end: int, old: list[int], new: list[int]) -> Iterator[tuple[int, int]]:
    """(start, end) of what one sentence quotes because it is about characters."""
    sentence = text[start:end]
    quoted = [
        (start + match.start(2), start + match.end(2))
        for match in _QUOTED.finditer(sentence)
        if _PAIRS[match.group(1)] == match.group(3)
    ]
    if "写" in sentence or "寫" in sentence:
        quoted += [(start + match.start(1), start + match.end(1)) for match in _SPELT.finditer(sentence)]
    if not quoted:
        return

    def counts(first: int, last: int) -> tuple[int, int]:
        return tuple(bisect_left(found, last) - bisect_left(found, first) for found in (old, new))  # type: ignore[return-value]

    pieces = [counts(first, last) for first, last in quoted]
    if not any(has_old and not has_new for has_old, has_new in pieces):
        return
    around_old, around_new = (every - sum(parts) for every, *parts in zip(counts(start, end), *pieces, strict=True))
    is_simplified = 0 < around_new >= around_old
    about = _ABOUT.search(sentence) is not None
    for (first, last), (has_old, has_new) in zip(quoted, pieces, strict=True):
        if not has_old or has_new:
            continue
        piece, other = text[first:last], simple[first:last]
        if _SINGLE.fullmatch(piece):
            if is_simplified or about:
                yield first, last
        elif is_simplified and (
            about or other in text[start:first] + text[last:end] or _KANA.search(piece) or _ELSEWHERE.search(sentence)
        ):
            yield first, last
