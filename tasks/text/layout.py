"""The lines of a page whose markup is resolved: headings, lists, what removed elements left behind."""

from __future__ import annotations

import functools
import re

from tasks.text.ledger import NO_LEDGER, Ledger
from tasks.text.script import HAN
from tasks.text.sections import LINKED, is_appendix, of_sources
from tasks.text.tags import HOLE

_RULE = re.compile(r"-{4,}+")
_RESIDUE = re.compile(r"[\s\W_]*|(?:- )?(?:https?:)?//\S+")  # a line of marks only, or one address

# What is left of （英語：{{lang|…}}，1984年） when the template leaves nothing: a hole, and the marks that went with it
_APART = " \t\u3000，,、；;"
_EMPTY = re.compile(  # a bracket with nothing in it but holes, or 英语： alone
    rf"[（(](?:[{_APART}：:·/.。—–-]*+|[^（()）\n，,；;{HOLE}]{{1,6}}[：:][ \t]*+){HOLE}[{_APART}：:·/.。—–{HOLE}-]*+[）)]"
)
_LEADING = re.compile(
    rf"(?<=[（(])(?:[^（()）\n，,；;：:{HOLE}]{{1,6}}[：:][ \t]*+(?={HOLE}++[ \t]*+[，,；;]))?[{_APART}]*+{HOLE}[{_APART}{HOLE}]*+(?=[^）)])"
)
_TRAILING = re.compile(rf"(?<![{_APART}{HOLE}])(?=[{_APART}]*+{HOLE})[{_APART}{HOLE}]++(?=[）)])")
_DOUBLE = re.compile(rf"[，、][ \t]*+{HOLE}[ \t{HOLE}]*+(?=[，。；、])")
_GAP_AFTER = re.compile(r" (?<=[，。；：！？、] ) *+(?=\S)")  # where a note stood
_GAP_BEFORE = re.compile(r" (?<!  ) *+(?=[，。；！？、）])")


_HEADING = re.compile(r"\n[^\S\n]*+(=[^\n]*=)[^\S\n]*+(?=\n)")
_DONE = "\x10"  # before a line that is what it will be
_NO_PARAGRAPH = re.compile(rf"\n(?:(?![^\s|!*#:;=_-]?[^\W_]|{_DONE}|\n|\Z)|(?=http))([^\n]*)")
_ITEMS = tuple(  # lists as most are: the marks, then a letter
    (f"\n{marks}", re.compile(rf"\n{re.escape(marks)} *+(?=[^\W_])(?!http)"), f"\n{_DONE}{item}")
    for marks, item in (("*", "- "), ("**", "  - "), ("***", "    - "), ("#", "- "), (":", ""), (";", ""))
)
_PREFORMATTED = re.compile(r"\n [^\n]*+(?:\n [^\n]*+)*+")
_INDENTED_HEADING = re.compile(r"={2,}[^=].*=")
_BEGINS_PROGRAM = re.compile(
    r"(?![(\[\"'~.-]+[^\x00-\x7f]{2})[!-/:-@\[-`{-~]"
)  # an ASCII mark, but for a bracket or quote before Chinese
_MARK_OF_PROGRAM, _LATIN = re.compile(r"[{};=<>\\|$]|[A-Za-z_]\("), re.compile(r"[A-Za-z)(\[\]]")
_LETTER, _IDEOGRAPH = re.compile(r"[^\W_]"), re.compile(f"[{HAN}\u3041-\u30fe]")


def lay_out(text: str, broken: bool = False, ledger: Ledger = NO_LEDGER) -> str:
    """Lines → paragraphs: `== 标题 ==` becomes a line of its own, `* 项` becomes `- 项`, and a line that begins with a space stays as it is.

    Sections that hold nothing go, and of those that list sources what is no prose. Most lines are paragraphs, which are not looked at one by
    one. `broken`: some template or table of the page has no end, so that lines of theirs may be among these.
    """
    before = text
    if HOLE in text:
        text = _brackets(text)
        ledger.note("gap", before, text)
        before = text
    if "\t" in text:
        text = text.replace("\t", " ")
    if " " in text:
        text = _GAP_BEFORE.sub("", _GAP_AFTER.sub("", text))
        ledger.note("white space", before, text)
        before = text
    text = f"\n{text}\n"
    if "\n " in text:
        text = _PREFORMATTED.sub(lambda match: _preformatted(match.group(), broken), text)
    for start, pattern, instead in _ITEMS:
        if start in text:
            text = pattern.sub(instead, text)
    ledger.note("list markup", before, text)
    text = _sections(text, broken, ledger)
    before, text = text, text.replace(_DONE, "").replace(LINKED, "")
    ledger.note("list markup", before, text)
    before, text = text, text.strip("\n")
    ledger.note("white space", before, text)
    return text


def _sections(text: str, broken: bool, ledger: Ledger) -> str:
    """The text of all sections, each under its heading; without those that are empty, and without the sources in an appendix."""
    body, *others = _HEADING.split(text)
    gone: list[str] = []  # lines of marks
    sections = [(0, "", _lines(body, broken, gone))]  # (level, heading, what stands under it)
    skip, appendix = 0, ""  # inside an appendix: the level of its heading, and what that is
    size, longer = len(body), len(sections[0][2]) - len(body)
    for heading, body in zip(others[::2], others[1::2], strict=True):
        level, title = _heading(heading)
        if level and (not skip or level <= skip):
            skip, appendix = (level, title) if is_appendix(title) else (0, "")
        if skip:
            sections.append((level, title, _without_sources(body, appendix, broken, ledger)))
        else:
            shown = _lines(body, broken, gone)
            sections.append((level, title, shown))
            longer += len(shown) - len(body)
        size += len(body)
    pieces, empty = _not_empty(sections)
    whole = "".join(pieces)
    if ledger is not NO_LEDGER:
        for line in gone:
            ledger.note("line of marks", line, "")
        for title in empty:
            ledger.note("empty section", title, "", title)
        _enter(ledger, "list markup", longer + sum(map(len, gone)))
        marks = (len(whole) - sum(len(section[2]) for section in sections)) - (len(text) - size) + sum(map(len, empty))
        _enter(ledger, "heading markup", marks)
    return whole


def _enter(ledger: Ledger, rule: str, longer: int) -> None:
    """An entry of a rule after which a text was so many characters longer, or shorter."""
    if longer:
        ledger.entries.append((rule, "", max(0, -longer), max(0, longer), 0))


def _preformatted(block: str, broken: bool) -> str:
    """Lines that begin with a space: a program and its like as it is written, of prose the space alone goes."""
    lines = block.split("\n")[1:]
    program = any(map(_like_program, lines))  # all of them together
    shown = []
    for line in lines:
        text = line.strip()
        if not text or (broken and text[0] in "|!}") or _INDENTED_HEADING.fullmatch(text):
            shown.append(text)
            continue
        chinese = _IDEOGRAPH.match(text) and not line.startswith("  ")
        prose = _LETTER.search(text) and not _has_marks(text) and (not program or chinese)
        shown.append(text if prose else _DONE + line.rstrip())
    return "\n" + "\n".join(shown)


def _has_marks(text: str) -> bool:
    """True for a line that begins with a mark as a program's may, or has marks of a program beside Latin letters."""
    return _BEGINS_PROGRAM.match(text) is not None or (
        _MARK_OF_PROGRAM.search(text) is not None and _LATIN.search(text) is not None
    )


def _like_program(line: str) -> bool:
    """True for a line with marks of a program, or one in Latin letters that is indented."""
    text = line.strip()
    indented = line.startswith("  ") and text[:1].isascii() and text[:1].isalpha()
    return (indented or _has_marks(text)) and 2 * len(_IDEOGRAPH.findall(text)) <= len(text)


@functools.lru_cache(maxsize=4096)
def _heading(line: str) -> tuple[int, str]:
    """(level, title) of `== 标题 ==`; level 0 if it has no title."""
    level = min(len(line) - len(line.lstrip("=")), len(line) - len(line.rstrip("=")), 6)
    title = line[level:-level].strip()
    return (level, title) if title else (0, "")


def _lines(body: str, broken: bool, gone: list[str]) -> str:
    """All lines under a heading: paragraphs, which begin with a letter, a digit or a quote, as they are. Lines that go are collected."""

    def show(match: re.Match[str]) -> str:
        line = match.group(1).strip()
        item = _item(line, broken)
        if line and not item:
            gone.append(line)
        return f"\n{item}"

    return _NO_PARAGRAPH.sub(show, body)


def _without_sources(body: str, heading: str, broken: bool, ledger: Ledger) -> str:
    """The lines under the heading of an appendix that are no sources."""
    lines = body.split("\n")
    shown = [line[1:].rstrip() if line.startswith(_DONE) else line.strip() for line in lines]
    items = []
    for line, text in zip(lines, shown, strict=True):
        marked = not line.startswith(_DONE) and LINKED not in line and _NO_PARAGRAPH.match(f"\n{text}")
        items.append(_item(text, broken) if marked else text)
    sources = of_sources([item.lstrip(" -") for item in items], heading)
    kept = "\n".join(["", *(item for item, source in zip(items, sources, strict=True) if item and not source)])
    ledger.note("section", body, kept, heading)
    return kept


def _item(line: str, broken: bool) -> str:
    """One line that is no heading: a list item, a paragraph, or the rest of a broken table or template, which goes."""
    if not line or (broken and line[0] in "|!" and line[:2] != "!!") or line in ("}", "{"):
        return ""
    if line.startswith("----"):
        line = _RULE.sub("", line, count=1).strip()
    rest = line.lstrip("*#:;")
    if len(rest) < len(line):
        depth, last = len(line) - len(rest), line[-len(rest) - 1]
        line = rest.strip()
        if line and last in "*#":
            line = f"{'  ' * (depth - 1)}- {line}"
        if rest[:1].isalpha() and not rest.startswith("http"):
            return line
    return "" if _RESIDUE.fullmatch(line) and "\x02" not in line else line


def _brackets(text: str) -> str:
    """Close the gaps that removed templates left, in the lines that have a hole; the marks of holes go."""
    pieces, position = [], 0
    while (hole := text.find(HOLE, position)) >= 0:
        start, end = max(position, text.rfind("\n", position, hole)), text.find("\n", hole)
        end = end if end >= 0 else len(text)
        pieces += [text[position:start], _closed(text[start:end])]
        position = end
    return "".join([*pieces, text[position:]])


def _closed(line: str) -> str:
    """A line without its gaps, looked at twice, since one gap may lie in another."""
    for _ in range(2):
        before = line
        line = _LEADING.sub("", _EMPTY.sub(HOLE, line))
        line = _DOUBLE.sub("", _TRAILING.sub("", line))
        if line == before:
            break
    return line.replace(HOLE, "")


def _not_empty(sections: list[tuple[int, str, str]]) -> tuple[list[str], list[str]]:
    """(headings and what stands under them, without those that have nothing under them; the headings of these)."""
    pieces: list[str] = []
    empty: list[str] = []
    following = 1  # level of the next heading that stays; 7: text follows
    for level, heading, body in reversed(sections):
        pieces.append(body)
        if body and not body.isspace():
            following = 7
        if level and following > level:
            pieces.append(f"\n\n{heading}\n")
            following = level
        elif heading:
            empty.append(heading)
    return pieces[::-1], empty
