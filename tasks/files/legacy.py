"""Older encodings of East Asian text, told apart by what a text would say in each.

Bytes of Big5, Shift-JIS or EUC-KR are often valid GB18030 as well, which holds nearly every pair of bytes; but then they are rare characters,
or characters for private use. Each encoding has a level of usual characters, and each language some characters that no text goes without.
"""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

_FEW = 4  # bytes beyond ASCII that are too few to judge by
_ENOUGH = 12  # characters that are not all Hangul by chance: Chinese has half of its characters beyond those bytes
_SENSE = 0.8  # score of another encoding than GB18030 at least, and by how much it has to exceed that of GB18030
_BETTER = 0.2
_NONSENSE = 0.3  # score of text in none of them, where there are characters for private use


@dataclass(frozen=True)
class Encoding:
    """An older encoding: its usual characters, as ranges of first bytes in the codec `table`, and the commonest ones."""

    title: str
    table: str
    usual: tuple[tuple[int, int], ...]
    frequent: str


_KANA = "のにはをたがでとしれさあるいもなっかりまこらすくてけそどよみんンスルトイアラリクシタ"
_HANGUL = "이다는을가의에고하지로사기어은대한아리자를시도서인있그나정수"
ENCODINGS = {
    "gb18030": Encoding(
        "GB18030",
        "gb2312",
        ((0xA1, 0xA1), (0xA3, 0xA3), (0xB0, 0xD7)),
        "的一是不了在有人我他这個个們们中来來上大为為和国國地到以说說时時要就出会會可也你对對生能而子那得于於着下自之其者曰年月日",
    ),
    "cp950": Encoding(
        "Big5",
        "cp950",
        ((0xA1, 0xA3), (0xA4, 0xC6)),
        "的一是不了在有人我他這個們中來上大為和國地到以說時要就出會可也你對生能而子那得於著下自之其者曰年月日",
    ),
    "big5hkscs": Encoding("Big5-HKSCS", "cp950", ((0xA1, 0xA3), (0xA4, 0xC6)), "的一是不了在有人我佢這個們中嘅咗係唔喺同"),
    "cp932": Encoding("Shift-JIS", "cp932", ((0x81, 0x83), (0x88, 0x98)), _KANA),
    "euc_jp": Encoding("EUC-JP", "cp932", ((0x81, 0x83), (0x88, 0x98)), _KANA),
    "cp949": Encoding("EUC-KR", "euc_kr", ((0xA1, 0xA1), (0xA3, 0xA3), (0xB0, 0xC8)), _HANGUL),
}


def title(name: str) -> str:
    """The name of a codec as people know it."""
    return ENCODINGS[name].title if name in ENCODINGS else name.upper()


def likeliest(lines: Sequence[bytes]) -> str | None:
    """The codec of lines that are not UTF-8, GB18030 in doubt; None where the text would make no sense in any."""
    if sum(byte >= 0x80 for line in lines for byte in line) < _FEW:
        return "gb18030"
    scores = {name: _score(lines, name) for name in ENCODINGS}
    best = max(scores, key=lambda name: scores[name])
    if scores[best] >= _SENSE and scores[best] > scores["gb18030"] + _BETTER:
        return best
    private = any("\ue000" <= character <= "\uf8ff" for line in lines for character in _decoded(line, "gb18030") or "")
    return None if private and scores[best] < _NONSENSE else "gb18030"


def _score(lines: Iterable[bytes], name: str) -> float:
    """How much lines read like text in an encoding: the share of usual characters and that of the commonest, 0 to 2."""
    encoding, usual = ENCODINGS[name], _usual(name)
    total = hits = 0
    for line in lines:
        text = _decoded(line, name)
        if text is None:
            total += len(line) // 2
            continue
        wide = [character for character in text if character >= "\x80"]
        total += len(wide)
        hits += sum((character in usual) + (character in encoding.frequent) for character in wide)
        if name == "gb18030":
            hits += sum(character not in usual and len(character.encode(name)) == 4 for character in wide)  # of another script
    if name == "cp949" and total >= _ENOUGH and hits >= total:
        return 1.3 * hits / total
    return hits / max(1, total)


def _decoded(line: bytes, name: str) -> str | None:
    """A line as text, or None; the last character may be cut."""
    for cut in (line, line[:-1], line[:-2], line[:-3]):
        with contextlib.suppress(UnicodeDecodeError):
            return cut.decode(name)
    return None


@functools.cache
def _usual(name: str) -> frozenset[str]:
    return frozenset(_characters(ENCODINGS[name]))


def _characters(encoding: Encoding) -> Iterator[str]:
    for low, high in encoding.usual:
        for first in range(low, high + 1):
            for second in range(0x40, 0xFF):
                with contextlib.suppress(UnicodeDecodeError):
                    yield bytes((first, second)).decode(encoding.table)
