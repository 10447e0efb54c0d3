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

_SENTENCE = re.compile(r"[^。！？；\n]+[。！？；]?\n*")
_QUOTED = re.compile(
    r"“[^“”\n]{1,40}”|‘[^‘’\n]{1,40}’|「[^「」\n]{1,40}」|『[^『』\n]{1,40}』|《[^《》\n]{1,40}》|（[^（）\n]{1,40}）"
    r"|\([^()\n]{1,40}\)|\[[^\[\]\n]{1,40}\]|\"[^\"\n]{1,40}\"|【[^【】\n]{1,40}】|`[^`\n]{1,40}`"
)
_SINGLE = re.compile(r"(?!$)(?:(?<![\u3400-\u9fff])[\u3400-\u9fff](?![\u3400-\u9fff])|[^\u3400-\u9fff])*")
_KANA = re.compile("[ぁ-ゖァ-ヺ]")
# words that say that a sentence is about characters: in simplified script (all of it then stays), in either script, and those that name what
# stands in another script beside them
_ABOUT_SIMPLIFIED = re.compile(
    "[繁简异正]体(?:中文|汉字|字|版|写|[是为作：:，。？“「]|$)|繁简|简繁|简化(?:字|为|成|作|前)|日本汉字|日文汉字|[新旧]字[体形]"
)
ABOUT = re.compile("[繁簡简異异正][體体]|繁簡|簡繁|簡化|简化")
_ELSEWHERE = re.compile(
    "[写寫]作|[写写]成|写为|写法|[又亦本古旧或]作|同“|通“|日语|日文|日本|台湾|香港|港台|澳门|汉字|原文|字形|笔画|偏旁|部首|题字|匾额|题词|刻着|印章"
)
_SPELT = re.compile("[写寫][作成为做]([\u3040-\u30ff\u3400-\u9fff]{1,12})")


def simplified(text: str, simple: str, kinds: np.ndarray) -> str:
    """The text with those characters taken from `simple`, its conversion, that are traditional and not mentioned. Both are of one length."""
    import numpy as np

    chosen = _chosen(text, kinds)
    for start, end in mentioned(text, simple, kinds):
        chosen[start:end] = False
    before, after = (np.frombuffer(each.encode("utf-32-le", "surrogatepass"), np.uint32) for each in (text, simple))
    return np.where(chosen, after, before).tobytes().decode("utf-32-le", "surrogatepass")


def _chosen(text: str, kinds: np.ndarray) -> np.ndarray:
    """For each character, whether it is to be converted."""
    import numpy as np

    old, new, han = ((kinds & kind > 0).astype(np.int32) for kind in (t2s.TRADITIONAL, t2s.SIMPLIFIED, t2s.HAN))
    units = np.frombuffer(text.encode("utf-32-le", "surrogatepass"), np.uint32)
    line = np.cumsum(units == ord("\n"))
    line_old, line_new = np.bincount(line, old), np.bincount(line, new)
    lines = np.where(line_old == line_new, old.sum() > new.sum(), line_old > line_new)
    wholly = (line_old >= _MUCH * line_new) & (line_old > 0)
    starts = np.concatenate(([0], np.flatnonzero(np.diff(han)) + 1))
    run_old, run_new = np.add.reduceat(old, starts), np.add.reduceat(new, starts)
    runs = np.where(run_old + run_new > 0, run_old > run_new, lines[line[starts]]) | wholly[line[starts]]
    every = np.repeat(runs, np.diff(np.append(starts, len(units))))
    return np.where(han > 0, every | (old > 0), lines[line])


def mentioned(text: str, simple: str, kinds: np.ndarray) -> Iterator[tuple[int, int]]:
    """(start, end) of what is in a text to be talked about, and stays."""
    import numpy as np

    old, new = (np.concatenate(([0], np.cumsum(kinds & kind > 0))).tolist() for kind in (t2s.TRADITIONAL, t2s.SIMPLIFIED))
    announced = False  # the line before says that traditional characters follow
    for match in _SENTENCE.finditer(text):
        start, end = match.span()
        inside_old, inside_new = old[end] - old[start], new[end] - new[start]
        if not inside_old:
            if inside_new or match.group().endswith("\n\n"):
                announced = _ABOUT_SIMPLIFIED.search(match.group()) is not None and match.group().rstrip().endswith(("：", ":"))
            continue
        if announced and not inside_new:
            yield start, end
            continue
        announced = False
        yield from _of_sentence(text, simple, start, end, old, new)


def _of_sentence(text: str, simple: str, start: int, end: int, old: list[int], new: list[int]) -> Iterator[tuple[int, int]]:
    """(start, end) of what one sentence mentions: all of it, or what is quoted there."""
    sentence = text[start:end]
    if _ABOUT_SIMPLIFIED.search(sentence):
        yield start, end
        return
    quoted = [(start + match.start() + 1, start + match.end() - 1) for match in _QUOTED.finditer(sentence)]
    elsewhere = _ELSEWHERE.search(sentence) is not None
    quoted += [(start + match.start(1), start + match.end(1)) for match in _SPELT.finditer(sentence)]
    outside = sum(old[last] - old[first] for first, last in quoted), sum(new[last] - new[first] for first, last in quoted)
    around_old, around_new = old[end] - old[start] - outside[0], new[end] - new[start] - outside[1]
    about = ABOUT.search(sentence) is not None
    is_simplified = 0 < around_new >= around_old
    for first, last in quoted:
        if old[last] == old[first] or new[last] > new[first]:
            continue
        piece, other = text[first:last], simple[first:last]
        if _SINGLE.fullmatch(piece):
            if is_simplified or about:
                yield first, last
        elif is_simplified and (elsewhere or about or _KANA.search(piece) or other in text[start:first] + text[last:end]):
            yield first, last
