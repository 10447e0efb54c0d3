"""Texts in two scripts: which characters of one are traditional, and which are there to be talked about.

A run of ideographs that has characters which only traditional text has is traditional, one with characters which only simplified text has is
not, and one with neither is what its line is, or else its text. Quoted characters stay where a sentence is about them: “发”的繁体字是“發”.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import TYPE_CHECKING

from tasks.text import t2s

if TYPE_CHECKING:
    import numpy as np

_MUCH = 4  # times as many characters of one script as of the other, from which a line is of that script throughout
_SURE = 0.1  # what a character weighs more that is in no simplified text than a variant, which may be a slip

_QUOTED = re.compile(
    r"“[^“”\n]{1,40}”|‘[^‘’\n]{1,40}’|「[^「」\n]{1,40}」|『[^『』\n]{1,40}』|《[^《》\n]{1,40}》|（[^（）\n]{1,40}）"
    r"|\([^()\n]{1,40}\)|\[[^\[\]\n]{1,40}\]|\"[^\"\n]{1,40}\"|【[^【】\n]{1,40}】|`[^`\n]{1,40}`"
)
_SINGLE = re.compile(r"(?!$)(?:(?<![\u3400-\u9fff])[\u3400-\u9fff](?![\u3400-\u9fff])|[^\u3400-\u9fff])*")
_KANA = re.compile("[ぁ-ゖァ-ヺ]")
_CHINESE = re.compile("[的了是這这們们我他她也就為为對对於被吗嗎呢吧把讓让從从]")
_ADDRESS = re.compile(r"://[^\s，。；、）」』”]+")
_EMPTY = re.compile("「」|『』")
_ALONE = re.compile("(?<![\u3400-\u9fff])[\u3400-\u9fff](?![\u3400-\u9fff])")
# words that say that a sentence is about characters: in simplified script (all of it then stays), in either script, and those that name what
# stands in another script beside them
_ABOUT_SIMPLIFIED = re.compile(
    "[繁简异正]体(?:中文|汉字|字|写|[是为作：:，。？“「]|$)|繁简|简繁|简化(?:字|为|成|作|前)|日本汉字|[新旧]字[体形]|形声|会意|通假"
)
_HINTS = (
    *"繁简簡異异旧",
    "正体",
    "正體",
    "日本汉字",
    "新字",
    "形声",
    "会意",
    "通假",
)  # one is in what is about characters
_ABOUT = re.compile(f"[繁簡简異异正][體体]|繁簡|簡繁|簡化|简化|{_ABOUT_SIMPLIFIED.pattern}")
_ELSEWHERE = re.compile(
    "[写寫]作|[写写]成|写为|写法|[又亦本古旧或]作|同“|通“|日语|日文|日本|台湾|香港|港台|澳门|汉字|原文|字形|笔画|偏旁|部首|题字|匾额|题词|刻着|印章"
)
_SPELT = re.compile("[写寫][作成为做]([\u3040-\u30ff\u3400-\u9fff]{1,12})")


def may_mention(text: str) -> bool:
    """True where a text that is traditional throughout may have something that stays all the same."""
    return any(hint in text for hint in (*_HINTS, "://", "「」", "『』")) or _KANA.search(text) is not None


def simplified(text: str, simple: str, is_mixed: bool) -> str:
    """The text with those characters of `simple`, its conversion, that are traditional (all, unless it is mixed) and not mentioned."""
    import numpy as np

    before, after = (np.frombuffer(each.encode("utf-32-le", "surrogatepass"), np.uint32) for each in (text, simple))
    places = np.flatnonzero(before != after)
    kinds = t2s.kinds(text)
    chosen = _chosen(before, kinds, places) if is_mixed else np.ones(len(places), bool)
    for start, end in _mentioned(text, simple, before, kinds):
        first, last = np.searchsorted(places, (start, end))
        chosen[first:last] = False
    mixed = before.copy()
    mixed[places[chosen]] = after[places[chosen]]
    return mixed.tobytes().decode("utf-32-le", "surrogatepass")


def _chosen(units: np.ndarray, kinds: np.ndarray, places: np.ndarray) -> np.ndarray:
    """For each of these places, whether the character there is to be converted."""
    import numpy as np

    han = kinds & t2s.HAN > 0
    starts = np.concatenate(([0], np.flatnonzero(han[1:] != han[:-1]) + 1))
    sure, variant, new = (
        np.add.reduceat(kinds & kind > 0, starts, dtype=np.int32) for kind in (t2s.TRADITIONAL, t2s.VARIANT, t2s.SIMPLIFIED)
    )
    old = (1 + _SURE) * sure + variant
    newlines, stops = np.flatnonzero(units == ord("\n")), np.flatnonzero(kinds & t2s.STOP)
    line, sentence = (np.searchsorted(ends, starts) for ends in (newlines, stops))
    of_line = _first(_verdict(line, old, new), _verdict(np.zeros_like(line), old, new))
    of_sentence = _first(_verdict(sentence, old, new), of_line, np.ones_like(of_line))
    of_run = np.where(sure + variant + new == 0, of_sentence, np.where((sure > new) | (new == 0), 1, -1))
    every = (of_run > 0) | (_verdict(line, old, _MUCH * new) > 0)
    run = np.searchsorted(starts, places, "right") - 1
    is_sure, is_variant = (kinds[places] & kind > 0 for kind in (t2s.TRADITIONAL, t2s.VARIANT))
    # a run that is no ideographs may be of several lines: the one that begins where it does is the right one but for its quotes
    line_of = dict(zip(line.tolist(), of_line.tolist(), strict=True))
    of_quote = [line_of.get(number, 0) for number in np.searchsorted(newlines, places[~han[places]]).tolist()]
    chosen = every[run] | is_sure | (is_variant & (of_sentence[run] > 0))
    chosen[~han[places]] = np.array(of_quote) > 0
    return chosen


def _verdict(part: np.ndarray, old: np.ndarray, new: np.ndarray) -> np.ndarray:
    """For each run, what its part of the text is: 1 for traditional, -1 for simplified, 0 where nothing tells."""
    import numpy as np

    olds, news = (np.bincount(part, kind) for kind in (old, new))
    return np.where(olds + news == 0, 0, np.where(olds > news, 1, -1))[part]


def _first(*verdicts: np.ndarray) -> np.ndarray:
    """For each run, the first verdict that says something."""
    import numpy as np

    said = verdicts[-1]
    for verdict in verdicts[-2::-1]:
        said = np.where(verdict == 0, said, verdict)
    return said


def _mentioned(text: str, simple: str, units: np.ndarray, kinds: np.ndarray) -> Iterator[tuple[int, int]]:
    """(start, end) of what is in a text to be talked about, and stays: addresses and empty quotes, and parts of sentences."""
    import numpy as np

    for sign, pattern in (("://", _ADDRESS), ("「」", _EMPTY), ("『』", _EMPTY)):
        if sign in text:
            yield from (match.span() for match in pattern.finditer(text))
    bounds = np.concatenate(([0], np.flatnonzero(kinds & t2s.STOP) + 1, [len(units)]))
    bounds = bounds[: -1 if bounds[-1] == bounds[-2] else None]
    olds, news, kanas = (
        np.add.reduceat(found, bounds[:-1], dtype=np.int32)
        for found in (
            kinds & (t2s.TRADITIONAL | t2s.VARIANT) > 0,
            kinds & t2s.SIMPLIFIED > 0,
            (units >= ord("ぁ")) & (units <= ord("ヺ")),
        )
    )
    wanted = (olds > 0) & ((news > 0) | (4 * kanas > np.diff(bounds)))
    if any(hint in text for hint in _HINTS):
        for match in _ABOUT.finditer(text):
            number = int(np.searchsorted(bounds, match.start(), "right")) - 1
            wanted[number] = olds[number] > 0
            if _ABOUT_SIMPLIFIED.match(match.group()) and text[match.end() : bounds[number + 1]].rstrip().endswith(("：", ":")):
                yield from _announced(bounds, olds, news, number + 1)
    for number in np.flatnonzero(wanted).tolist():
        start, end = int(bounds[number]), int(bounds[number + 1])
        yield from _of_sentence(text, simple, start, end)


def _announced(bounds: np.ndarray, olds: np.ndarray, news: np.ndarray, number: int) -> Iterator[tuple[int, int]]:
    """(start, end) of the sentences from a number on that have nothing simplified, up to an empty line: what “the following is 繁体” is about."""
    while number < len(olds) and not news[number] and bounds[number + 1] - bounds[number] > 1:
        yield int(bounds[number]), int(bounds[number + 1])
        number += 1


def _of_sentence(text: str, simple: str, start: int, end: int) -> Iterator[tuple[int, int]]:
    """(start, end) of what one sentence mentions: all of it, or what is quoted there."""
    sentence = text[start:end]
    kana = len(_KANA.findall(sentence))
    if _ABOUT_SIMPLIFIED.search(sentence) or (4 * kana > end - start and 8 * len(_CHINESE.findall(sentence)) < kana):
        yield start, end
        return
    for match in _ALONE.finditer(sentence):  # 泪—淚
        place = start + match.start()
        if simple[place] != text[place] and simple[place] in sentence:
            yield place, place + 1
    quoted = [(start + match.start() + 1, start + match.end() - 1) for match in _QUOTED.finditer(sentence)]
    quoted += [(start + match.start(1), start + match.end(1)) for match in _SPELT.finditer(sentence)]
    if not quoted:
        return
    elsewhere, about = _ELSEWHERE.search(sentence) is not None, _ABOUT.search(sentence) is not None
    counts = [_counts(text[first:last]) for first, last in quoted]
    around_old, around_new = (every - sum(pieces) for every, *pieces in zip(_counts(sentence), *counts, strict=True))
    is_simplified = 0 < around_new >= around_old
    for (first, last), (old, new) in zip(quoted, counts, strict=True):
        if not old or new:
            continue
        piece, other = text[first:last], simple[first:last]
        if _SINGLE.fullmatch(piece):
            if is_simplified or about:
                yield first, last
        elif is_simplified and (elsewhere or about or _KANA.search(piece) or other in text[start:first] + text[last:end]):
            yield first, last


def _counts(text: str) -> tuple[int, int]:
    """How many characters of a text tell that it is traditional, and simplified."""
    kinds = t2s.kinds(text)
    return int((kinds & (t2s.TRADITIONAL | t2s.VARIANT) > 0).sum()), int((kinds & t2s.SIMPLIFIED > 0).sum())
