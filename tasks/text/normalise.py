"""Clean text without harming it: one spelling of white space, width and punctuation, the same after a second pass.

What must survive: every letter and digit, decimals, URLs, quotes, paragraph breaks, indentation, formulas, string literals, and code, which is
left as it is between fences (``` or ~~~) and between back quotes. Every rule is linear in the length of the text, and looks for what it is
about before it runs, since most texts have little of it.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator, Sequence

from tasks.text import machine
from tasks.text.ledger import NO_LEDGER, Ledger
from tasks.text.script import HAN

_SPACE = "\u00a0\u1680\u2000-\u200a\u202f\u205f"
# what no reader sees: control characters, soft hyphen, zero-width and direction marks, lone surrogates, private use, non-characters
_UNSEEN = (
    "\x00-\x08\x0e-\x1b\x1f\x7f-\x84\x86-\x9f\u00ad\u034f\u061c\u180e\u200b\u200c\u200e\u200f\u202a-\u202e\u2060-\u206f"
    "\ud800-\udfff\ue000-\uf8ff\ufdd0-\ufdef\ufeff\ufff9-\ufffb\ufffe\uffff\U000f0000-\U0010ffff"
)
_ENDS = "\r\x0b\x0c\x1c\x1d\x1e\x85\u2028\u2029"
_ODD = re.compile(f"[{_ENDS}{_SPACE}{_UNSEEN}]")
_IS_SPACE = re.compile(f"[{_SPACE}]")
_RARE = re.compile("[\u200d\U000e0000-\U000e007f]")
_EMOJI = "\u2190-\u2bff\u3030\ufe0f\U0001f000-\U0001faff"
_JOINER = re.compile(
    f"(?<![{_EMOJI}])\u200d|\u200d(?![{_EMOJI}])"
)  # a zero-width joiner belongs inside an emoji and nowhere else
_TAGS = re.compile("(\U0001f3f4[\U000e0020-\U000e007f]+)|[\U000e0000-\U000e007f]")  # as do tags, inside a flag

_WIDE = {wide: wide - 0xFEE0 for block in ((0xFF10, 0xFF1A), (0xFF21, 0xFF3B), (0xFF41, 0xFF5B)) for wide in range(*block)}
_WIDE |= {0xFF61: 0x3002, 0xFF64: 0x3001, 0xFF62: 0x300C, 0xFF63: 0x300D}  # and ｡､｢｣, which are narrow where they should be wide
_IS_WIDE = re.compile("[\uff10-\uff19\uff21-\uff3a\uff41-\uff5a｡､｢｣]")
_CODE = re.compile(r"``[^\n]*?``|`[^`\n]+`")
_URL = re.compile(r"(?:https?|ftp)://[^\s<>\"'，。；！？、（）《》【】“”\x02\x03]+")
_FORMULA = re.compile(rf"\$\$[^$]{{1,2000}}\$\$|\$(?=[^$\n]*\\|[^{HAN}$\n]*\$)[^$\n]+\$|\\\([^\n]*?\\\)|\\\[[^\]]{{1,2000}}?\\\]")
_LITERAL = re.compile(  # print("你,好"), s = '你,好', {"键": "值,值"}; not 他说,"你,好"
    rf"""(?<=[=(\[{{,+])(?<![{HAN}][=(\[{{,+])[ \t\u3000]*+(?:"[^"\n]*"|'[^'\n]*')|(?<=":)[ \t\u3000]*+"[^"\n]*\""""
)
_QUOTED = tuple(
    (mark, re.compile(rf"{mark}(?:(?<=[=(\[{{,+:]{mark})|(?<=[=(\[{{,+:] {mark}))")) for mark in "\"'"
)  # where one may begin
_INDENT = re.compile("\n[ \t]*\u3000[\u3000 \t]*")  # the two ideographic spaces that open a Chinese paragraph
_RUN = re.compile(r"  (?<=\S  ) *+")
_BLANKS = re.compile(r"\n\n\n\n*+")  # written so that the engine can skip to it
_POINT = re.compile(r"．(?<=[0-9]．)(?=[0-9])")
_TIME = re.compile("：(?<=[0-9]：)(?=[0-5][0-9](?![0-9]))")
_PERCENT = re.compile(r"％(?<=[0-9]％)")
_LEFT, _RIGHT = f"{HAN}”’》」』）】", f"{HAN}“‘《「『（【"
_MARK = ",;:!?"
_NARROW = f"{_MARK}(.．％"
_MARKS = re.compile(f"[{_MARK}](?<=[{_LEFT}].)[{_MARK}]*+(?: ?(?=[{_RIGHT}])|$)", re.MULTILINE)
_SPACED = re.compile(f" (?<=[{_LEFT}] )([{_MARK}]++) ?(?=[{_RIGHT}])")
_STOP = re.compile(rf"\.$(?<=[{_LEFT}]\.)", re.MULTILINE)
_CHINESE = str.maketrans(",;:!?", "，；：！？") | {ord(" "): None}
_OPENED = re.compile(rf"\((?<=[{HAN}]\()")
_ROUND = re.compile(r"[()]")
_IS_HAN = re.compile(f"[{HAN}]")
_LOUD = "！？!?。，、；：~～"
_SHOUT = re.compile(f"([{_LOUD}])\\1{{3,}}+")  # ！！！！！！ says no more than ！！！
_SHOUTS = [mark * 4 for mark in _LOUD]
_DOTS = re.compile("…{3,}+")
_KEPT = re.compile("\x02([0-9]+)\x03")


def normalise(text: str, ledger: Ledger = NO_LEDGER) -> str:
    r"""One spelling for one text. `normalise(normalise(text)) == normalise(text)`.

    Line ends become \n, at most one line stays blank, and lines lose trailing spaces; NBSP and its kind become a space, runs of spaces in a
    line become one (indentation stays); zero-width, control and private characters go; Unicode is composed (NFC); full-width letters and
    digits become ASCII; ASCII , ; : ! ? ( ) between Chinese characters become Chinese marks, and a full stop after one at the end of a line
    becomes 。; a mark repeated more than three times is repeated three times, and an ellipsis is ……
    """
    text = _characters(text, ledger)
    if "```" in text or "~~~" in text:
        joined = "\n".join([part if code else _prose(part, ledger) for code, part in _fences(text)])
    else:
        joined = _prose(text, ledger)
    clean = joined.strip()
    _tell(ledger, "white space", joined, clean)
    return clean


def _characters(text: str, ledger: Ledger) -> str:
    """Characters as everybody writes them: usual spaces and line ends, none that nobody sees, composed."""
    if "\u00a0" in text:
        _tell(ledger, "white space", text, text := text.replace("\u00a0", " "), changed=text.count("\u00a0"))
    if "\u034f" in text or not text.replace("\n", "").replace("\u3000", "").isprintable():  # U+034F alone is odd and printable
        _tell(ledger, "white space", text, text := text.replace("\r\n", "\n"))
        usual = _ODD.sub(_usual, text)
        _tell(ledger, "white space" if len(usual) == len(text) else "control characters", text, usual)
        text = usual
        if _RARE.search(text):
            plain = _JOINER.sub("", _TAGS.sub(lambda match: match.group(1) or "", text))
            _tell(ledger, "control characters", text, plain)
            text = plain
    composed = unicodedata.normalize("NFC", text)
    _tell(ledger, "composition", text, composed)
    return composed


def _usual(match: re.Match[str]) -> str:
    """A line end as \\n, a space as a space, nothing for junk."""
    odd = match.group()
    return "\n" if odd in _ENDS else " " if _IS_SPACE.match(odd) else ""


def _fences(text: str) -> Iterator[tuple[bool, str]]:
    """Split into (is fenced code, lines) in order. A fence that is never closed runs to the end, as in Markdown."""
    lines: list[str] = []
    fence = ""
    for line in text.split("\n"):
        mark = line.lstrip()[:3]
        if not fence and mark in ("```", "~~~") and "```" not in line.lstrip().lstrip("`"):
            if lines:
                yield False, "\n".join(lines)
            lines, fence = [line], mark
        elif fence and mark == fence and not line.strip().strip(fence[0]):
            yield True, "\n".join([*lines, line])
            lines, fence = [], ""
        else:
            lines.append(line)
    if lines:
        yield bool(fence), "\n".join(lines)


def _prose(text: str, ledger: Ledger) -> str:
    verbatim: list[str] = []

    def keep(match: re.Match[str]) -> str:
        return _put_aside(match, verbatim)

    if "`" in text:
        text = _CODE.sub(keep, text)
    narrow = _IS_WIDE.sub(lambda match: chr(_WIDE[ord(match.group())]), text)
    if narrow != text:
        narrow = unicodedata.normalize("NFC", narrow)
        _tell(ledger, "width", text, narrow, verbatim)
        text = narrow
    if "$" in text or "\\(" in text or "\\[" in text:
        text = _FORMULA.sub(keep, text)
    if "://" in text:
        text = _URL.sub(keep, text)
    if ('"' in text or "'" in text) and any(mark in text and quoted.search(text) for mark, quoted in _QUOTED):
        text = _LITERAL.sub(keep, text)
    spaced = _spaces(text)
    if not spaced.strip("\n"):
        spaced = ""
    _tell(ledger, "white space", text, spaced, verbatim)
    text = _marks(spaced, ledger, verbatim)
    trimmed = text[text.startswith("\n\n") : -1 if text.endswith("\n\n") else None]  # the line end to a fence is one more
    _tell(ledger, "white space", text, trimmed, verbatim)
    return _whole(trimmed, verbatim)


def _put_aside(match: re.Match[str], verbatim: list[str]) -> str:
    """The mark of a place in the text, of which what stands there is kept as it is."""
    verbatim.append(match.group())
    return f"\x02{len(verbatim) - 1}\x03"


def _whole(text: str, verbatim: Sequence[str]) -> str:
    """The text with what was put aside in its places."""
    while verbatim and "\x02" in text:  # what is kept may hold what was kept before
        text = _KEPT.sub(lambda match: verbatim[int(match.group(1))], text)
    return text


def _tell(ledger: Ledger, rule: str, before: str, after: str, verbatim: Sequence[str] = (), changed: int | None = None) -> None:
    """Tell a ledger of a pass. What is put aside is shown in its place; it is in both texts, and so counts for nothing."""
    if ledger is NO_LEDGER or before == after:
        return
    if rule == "punctuation":
        changed = sum(before.count(mark) - after.count(mark) for mark in _NARROW)
    elif len(before) != len(after):
        changed = 0
    if verbatim and rule not in ledger.shown:
        before, after = _whole(before, verbatim), _whole(after, verbatim)
    ledger.change(rule, before, after, changed=changed)


def _spaces(text: str) -> str:
    if "\u3000" in text:
        text = _INDENT.sub("\n", f"\n{text}")[1:].replace("\u3000", " ")
    if " \n" in text or "\t\n" in text or text[-1:] in (" ", "\t"):
        text = "\n".join([line.rstrip(" \t") for line in text.split("\n")])
    if "  " in text:
        text = _RUN.sub(" ", text)
    return _BLANKS.sub("\n\n", text) if "\n\n\n" in text else text


def _marks(text: str, ledger: Ledger, verbatim: list[str]) -> str:
    """The marks of prose in full width; those of lines and lists that machines read stay."""
    if "," in text and ("[" in text or "{" in text):
        text = machine.BRACKETED.sub(lambda match: _kept_list(match, verbatim), text)
    chinese = _chinese_marks(text)
    once = _SHOUT.sub(r"\1\1\1", chinese) if any(map(chinese.__contains__, _SHOUTS)) else chinese
    once = _DOTS.sub("……", once) if "………" in once else once
    if once == text:
        return text
    lines, rewritten, shorter = (version.split("\n") for version in (text, chinese, once))
    for number in machine.kept(lines, shorter):
        rewritten[number] = shorter[number] = lines[number]
    _tell(ledger, "punctuation", text, chinese := "\n".join(rewritten), verbatim)
    _tell(ledger, "repeated marks", chinese, once := "\n".join(shorter), verbatim)
    return once


def _kept_list(match: re.Match[str], verbatim: list[str]) -> str:
    return _put_aside(match, verbatim) if machine.is_list(match.group(), _chinese_marks(match.group())) else match.group()


def _chinese_marks(text: str) -> str:
    if "．" in text:
        text = _POINT.sub(".", text)
    if "：" in text:
        text = _TIME.sub(":", text)
    if "％" in text:
        text = _PERCENT.sub("%", text)
    if "(" in text:
        text = _round_brackets(text)
    if " " in text:
        text = _SPACED.sub(lambda match: match.group(1).translate(_CHINESE), text)
    if any(map(text.__contains__, _MARK)):
        text = _MARKS.sub(lambda match: match.group().translate(_CHINESE), text)
    return _STOP.sub("。", text) if ".\n" in text or text.endswith(".") else text


def _round_brackets(text: str) -> str:
    """北京(首都) → 北京（首都）: a pair on one line, after an ideograph, with an ideograph at either end inside."""
    pieces, position = [], 0
    for match in _OPENED.finditer(text):
        if match.start() >= position:
            start, end = text.rfind("\n", 0, match.start()) + 1, text.find("\n", match.end())
            end = end if end >= 0 else len(text)
            pieces += [text[position:start], _round_pairs(text[start:end])]
            position = end
    return "".join([*pieces, text[position:]])


def _round_pairs(line: str) -> str:
    marks: list[tuple[int, str]] = []
    opened: list[int] = []
    for match in _ROUND.finditer(line):
        at = match.start()
        if match.group() == "(":
            opened.append(at)
        elif opened:
            start = opened.pop()
            if start and _IS_HAN.match(line, start - 1) and (_IS_HAN.match(line, start + 1) or _IS_HAN.match(line, at - 1)):
                marks += [(start, "（"), (at, "）")]
    if not marks:
        return line
    characters = list(line)
    for at, mark in marks:
        characters[at] = mark
    return "".join(characters)


_SURROGATE = re.compile("[\ud800-\udfff]")


def storable(text: str, ledger: Ledger = NO_LEDGER) -> str:
    """The text without lone surrogates, which JSON can say and UTF-8 cannot."""
    clean = _SURROGATE.sub("", text)
    ledger.note("control characters", text, clean)
    return clean
