r"""Escapes that somebody wrote once too often: a line end as a backslash and an n (\n), a character as an entity of HTML (&lt;).

Both are left alone where they may be what the text is about: only what the whole of the text bears out is undone.
"""

from __future__ import annotations

import html
import re

from tasks.text.ledger import NO_LEDGER, Ledger
from tasks.text.script import HAN

_LINE_END = re.compile(r"(?<!\\)(?:\\r)?\\n(?:[ \t]*(?:\\r)?\\n)*(?![a-z、，。；：）)”’」』》】])")  # a run; not \nabla, nor “\n”
_ONE_END = re.compile(r"(?:\\r)?\\n")
_CLAUSE = re.compile(rf"(?:[。！？；：，…”’）》】」』]|[{HAN}\w)][.!?;:,]|[{HAN}]:)[ \t]*$")
_DRIVE = re.compile(r"(?:^|\W)[A-Za-z]:$")
_ITEM = re.compile(r"[ \t]*(?:\d+[.、)）]|[-*•·]\s|#+\s|[一二三四五六七八九十]+、|[（(][\d一二三四五六七八九十]+[)）])")
_CODE = re.compile(r"\\(?!n|r\\n)|`")
_STRING = re.compile(r"\"[^\"]*\"|(?<![A-Za-z])'[^']*'")
_ABOUT_ENDS = re.compile(r"转义|换行|回车|字符|linefeed|newline|escape", re.IGNORECASE)
_PIECE = 4  # characters of a line at least, where no mark ends it

_CHARACTERS = {"&lt;": "<", "&gt;": ">", "&quot;": '"', "&#39;": "'", "&amp;": "&"}
_ENTITY = re.compile("|".join(_CHARACTERS))
_RAW = re.compile(rf"[<>\"]|&(?!(?:{'|'.join(entity[1:] for entity in _CHARACTERS)}))")
_ABOUT_ENTITIES = re.compile(r"转义|实体|写[成作为]|替换|entit|escap", re.IGNORECASE)
# of characters that are no syntax: spaces, marks, letters with accents, and by number what is beyond Latin-1; and one that a text is about
_PRINTED = re.compile(
    "&(?:nbsp|e[nm]sp|thinsp|[lr](?:[sd]|a)quo|[mn]dash|hellip|middot|bull|times|divide|plusmn|deg|copy|reg|trade|yen|euro|pound|sect|"
    "[A-Za-z](?:acute|grave|circ|uml|tilde|cedil|ring)|#(?:8[0-9]{3}|[1-5][0-9]{4}|xA[0-9]|x20[0-9A-F]{2}|x[3-9][0-9A-Fa-f]{3}));"
)
_MENTIONED = re.compile(
    rf"{_PRINTED.pattern}\s*(?:是|表示|代表|符号|实体|即可)|(?:^|[“\"'「『‘`、，：:（(用把将写])\s*{_PRINTED.pattern}\s*"
    r"(?:$|[”\"'」』’`、，。：:）)？?]|和|与|的|怎|读)"
)
_TAG = r"&lt;[/!]?[A-Za-z][^&]*&gt;|^\s*&lt;[^&\s][^&]+&gt;\s*$"
_WORN = tuple(  # how entities stand in a text that was escaped, the inner before the outer
    re.compile(pattern, re.ASCII)
    for pattern in (
        r"(?<=[A-Za-z])&#39;(?=[A-Za-z])",  # don't
        r"(?<=[\w)\]]) ?&amp;(?!#?\w+;)(?:&amp;)? ?(?=[\w(!-])",  # Q&A, a && b, ?a=1&b=2
        r"[-=]&gt;|&lt;[-=](?=[ \w])",  # ->
        r"(?<==)&quot;[^&]*&quot;|&quot;\w&quot;",  # class="a"
        _TAG,
        r"&quot;[^&\s](?:[^&]*[^&\s])&quot;|(?<!\w)&#39;[^&\s](?:[^&]*[^&\s])&#39;",  # "…"
        _TAG,  # with a quotation in it
        r"(?<=[\w)\]]) ?(?:&lt;|&gt;){1,3}=? ?(?=[\w(\[-])|(?<=\S) ?&[lg]t;=? ?(?=\d)",  # a < b
    )
)


def unescaped(text: str, ledger: Ledger = NO_LEDGER) -> str:
    """The text with line ends and characters in the place of their escapes, where these are not what it is about."""
    return line_ends(entities(text, ledger), ledger)


def line_ends(text: str, ledger: Ledger = NO_LEDGER) -> str:
    r"""The text with line ends for \n: where it has none, and several \n at the ends of clauses; not in code, and as many as there were."""
    if "\\n" not in text or "\n" in text.strip() or _CODE.search(text):
        return text
    shown = _STRING.sub(lambda match: "\0" * len(match.group()), text) if '"' in text or "'" in text else text
    found = [match for match in _LINE_END.finditer(shown) if not _DRIVE.search(_before(text, match))]
    sure = [match for match in found if _CLAUSE.search(_before(text, match)) or _ITEM.match(text, match.end())]
    if _ABOUT_ENDS.search(text):
        found = sure
    elif len(sure) < 2 and _are_lines(text, found):
        sure = found
    if len(sure) < 2:
        return text
    pieces, position = [], 0
    for match in found:
        pieces += [text[position : match.start()], "\n" * len(_ONE_END.findall(match.group()))]
        position = match.end()
    clean = "".join([*pieces, text[position:]])
    ledger.note("unescaping", text, clean, "line end")
    return clean


def _before(text: str, match: re.Match[str]) -> str:
    """The last characters before a match."""
    return text[max(0, match.start() - 8) : match.start()]


def _are_lines(text: str, found: list[re.Match[str]]) -> bool:
    """True where all that stands between the ends is long enough for a line of its own, as in verse."""
    starts, ends = [0, *(match.end() for match in found)], [*(match.start() for match in found), len(text)]
    pieces = [text[start:end].strip() for start, end in zip(starts, ends, strict=True)]
    return len([piece for piece in pieces if piece]) > 2 and all(len(piece) >= _PIECE for piece in pieces if piece)


def entities(text: str, ledger: Ledger = NO_LEDGER) -> str:
    """The text with characters for HTML's entities: where it was escaped as a whole, and each of them stands as it would in such a text."""
    if "&" not in text:
        return text
    if _PRINTED.search(text) and not _MENTIONED.search(text) and not _ABOUT_ENTITIES.search(text):
        clean = _PRINTED.sub(lambda match: html.unescape(match.group()), text)
        ledger.note("unescaping", text, clean, "entity")
        text = clean
    if not _ENTITY.search(text) or _RAW.search(text) or _ABOUT_ENTITIES.search(text):
        return text
    rest = text
    for worn in _WORN:
        rest = worn.sub("xx", rest)
    if _ENTITY.search(rest):
        return text
    clean = _ENTITY.sub(lambda match: _CHARACTERS[match.group()], text)
    ledger.note("unescaping", text, clean, "entity")
    return clean
