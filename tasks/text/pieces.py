"""A long text in pieces that can each be read: cut before a chapter, else between paragraphs, lines, sentences or clauses, and nothing is lost."""

from __future__ import annotations

import re
from collections.abc import Iterator

_NUMBER = "[0-9０-９〇零一二三四五六七八九十廿卅百千万两壹贰叁肆伍陆柒捌玖拾佰仟]{1,9}"
_HEADING = (
    rf"(?:正文[ \u3000]*)?[【〖「\[]?第[ \u3000]?{_NUMBER}[ \u3000]?[章回节卷部篇集折幕話话]|卷[ \u3000]?{_NUMBER}(?![0-9年月])"
    r"|(?:[Cc]hapter|CHAPTER|[Pp]art|PART|[Bb]ook|BOOK) [0-9IVXLC]+|#{1,3} |番外(?![，。])"
    r"|(?:楔子|序|序[章幕言]|前言|引[子言]|[终尾]章|最终章|大结局|尾声|后记)(?:\s*$|[ \u3000:：][^\n。，]{0,20}$)"
)
_NUMBERED = rf"[（(]?{_NUMBER}[）)]?[、.．]?[ \u3000]*[^\n。！？，；]{{0,15}}$"  # 一、风起; （3）
_CUTS = tuple(  # the best first; each matches up to where the next piece begins
    re.compile(cut, re.MULTILINE)
    for cut in (
        rf"^(?=[ \t\u3000]*(?:{_HEADING}))",
        rf"^(?=[ \t\u3000]*{_NUMBERED})",
        r"\n[ \t\r\u3000]*\n\s*",
        r"\n",
        r"[。！？!?…]+[”’」』）)】》\"']*|(?<=[a-z]{2})\.(?=\s)",
        r"[；，、,;]|\s",
    )
)


def pieces(text: str, longest: int) -> Iterator[str]:
    """The text in pieces of at most `longest` characters; joined they are the text. None is short beside the others, the last one neither."""
    start = 0
    while len(text) - start > longest:
        end = start + first_piece(text, longest, start)
        yield text[start:end]
        start = end
    yield text[start:]


def first_piece(text: str, longest: int, start: int = 0) -> int:
    """The length of the piece that a text of more than `longest` characters begins with, from a place on."""
    if longest < 1:
        raise ValueError(f"longest is {longest}; a piece has one character or more")
    most = min(longest, max(1, len(text) - start - longest // 4))  # leave something for the last piece
    least = most // 4
    for cut in _CUTS:
        end = 0
        for match in cut.finditer(text, start + least, start + most):
            if least < match.end() - start <= most:
                end = match.end() - start
        if end:
            return end
    return most
