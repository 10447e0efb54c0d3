"""Text that machines read, outside of fences: rows of tables, keys with values, lists in brackets, code, queries, commands.

Its marks are syntax, not punctuation, and what is half rewritten can be read by nobody. A line is judged by its own shape and by those beside
it, and only where its marks would change (`kept`), so that the judgement costs nothing on most texts.
"""

from __future__ import annotations

import re
import string
from collections.abc import Sequence
from itertools import groupby

from tasks.text.script import HAN

_CELL, _SHORT = 15, 8  # characters of a table's cell at most; of one that can be nothing else

# what people say: full-width marks, pronouns and particles, or a sentence's end
_ENDED = re.compile(rf"[，。！？；…]|[{HAN}][.!?]+$")
_SENTENCE = re.compile(rf"[，。！？；…我你您他她们了吗呢吧很都也这那的是]|[{HAN}][.!?]+$")
_STRING = re.compile(r"\"[^\"\n]*\"|'[^'\n]*'")
_COMMENT = re.compile(r"(?:(?<!\S)#|//|/\*|(?<!\S)--\s).*$")
_REMARK = re.compile(r"\s*(?:#|//|/\*|\*|--\s)")

BRACKETED = re.compile(r"\[[^\[\]\n]{1,2000}\](?!\()|\{[^{}\n]{1,2000}\}")  # no link of Markdown
_ENTRY = re.compile(r"\s*[^\s:,]+\s*:(?:\s.*|)")
_LISTED = re.compile(r"\s*(?:[-*+•]|\d+[.)、])\s+")
_NO_KEY = r"\s:：=,，。;；!?！？"
_KEY = re.compile(  # key: value, key:, key=value; a key of at most 22 characters
    rf"\s*(?:-\s+)*[^{_NO_KEY}\"'](?:[^\n:：=,，。;；!?！？]{{0,20}}[^{_NO_KEY}])?\s*([:=])(?!//)(.*)"
)
_PAIR = re.compile(r"[^:]{1,8}:[^:]+")
_CODE = re.compile(
    r"""\s*(?:
    [A-Za-z_@$<}\])\x02][^\n]*[;{}\\]                                      # int 数量 = 3;   SELECT 姓名,年龄 FROM 学生;
    | (?:async\ +)?(?:def|class|if|elif|for|while|with|except|fn|func|function|match|case)\b[^\n]*\)[^\n()]*:   # def 函数(参数):
    | [A-Za-z_][\w.]*(?:\[[^\]\n]*\])?\s*(?:[-+*/%|&:]|//|\*\*)?=(?!=)\s*\S[^\n]*   # 数量 += 1
    | [A-Za-z_][\w.]*\([^\n]*\)(?:\s*=(?!=)\s*\S[^\n]*)?                          # print(姓名,年龄)   f(甲,乙) = 甲 + 乙
    | =\s?[A-Z][A-Z.]*\([^\n]*\)                                                # =SUM(甲,乙)
    | (?:SELECT|select)\s[^\n]*\s(?:FROM|from)\s[^\n]*
    | (?:INSERT\ INTO|insert\ into|DELETE\ FROM|delete\ from|VALUES|values)\b[^\n]*
    | (?:(?:CREATE|ALTER|DROP)\ [A-Z]+|(?:create|alter|drop)\ table)\b[^\n]*
    | (?:UPDATE|update)\s[^\n]*\s(?:SET|set)\s[^\n]*
    | (?:FROM|WHERE|AND|OR|SET|HAVING|LIMIT|ON|(?:LEFT|RIGHT|INNER|OUTER)?\ ?JOIN|(?:GROUP|ORDER)\ BY)\s[^\n]*
    | \#\s*(?:include|define|pragma)\b[^\n]*
    | (?:import|from|return|elif|using|package|var|let|const)\s[^\n]*
    | (?:[$%]|>>>)\s[A-Za-z./][^\n]*                                        # $ echo 你好,世界
    | [a-z][\w./-]*\s(?:[^\n]*\s)?--?[A-Za-z][^\n]*                        # git commit -m 修复:标题
    | [A-Za-z][\w./-]*\s+(?:[a-z][\w./-]*\s+)?["'][^\n]*["'](?:\s*[|>&][^\n]*)?   # echo "你好,世界"   RUN echo "你好,世界"
    | "[^"\n]*"\s*(?::[^\n]*)?,
    | [{}\[\]();,]+
    )\s*""",
    re.VERBOSE,
)
_BEGINS = frozenset(string.ascii_letters + '_@$<>}])\x02#%"{[(;,=')  # what a line of `_CODE` begins with
_OPEN, _CLOSE = re.compile(r"[{\[(]\s*$"), re.compile(r"\s*[}\])]")


def is_list(bracketed: str, rewritten: str) -> bool:
    """True for [甲, 乙, 丙] and {甲: 1, 乙: 2} (`rewritten`: as prose would have it); not for a remark in brackets."""
    inside = bracketed[1:-1]
    if bracketed == rewritten or _ENDED.search(inside):
        return False
    cells = _cells(inside, ",")
    if bracketed[0] == "{" and all(_ENTRY.fullmatch(cell) for cell in cells):
        return True
    longest = _CELL if _half(bracketed, rewritten) else _SHORT
    return len(cells) > 1 and all(len(cell) <= longest for cell in cells)


def kept(lines: Sequence[str], rewritten: Sequence[str]) -> set[int]:
    """The numbers of the lines that are for machines, of those that were rewritten as prose: there the line as it was is right."""
    changed = [number for number, (old, new) in enumerate(zip(lines, rewritten, strict=True)) if old != new]
    found: set[int] = set()
    end = 0
    for number in changed:
        if number < end:
            continue
        start = end = number  # the block of lines around it
        while start and lines[start - 1].strip():
            start -= 1
        while end < len(lines) and lines[end].strip():
            end += 1
        found |= _of_block(lines, rewritten, start, end)
    return found.intersection(changed)


def _of_block(lines: Sequence[str], rewritten: Sequence[str], start: int, end: int) -> set[int]:
    if end - start == 1:
        return {start} if _is_code(lines[start]) or _is_single_row(lines[start], rewritten[start]) else set()
    numbers = range(start, end)
    found = _code(lines, start, end) | _enclosed(lines, start, end)
    block = "\n".join(lines[start:end])
    for mark in ",;":
        if mark in block:
            found |= _rows(lines, rewritten, start, end, mark)
    if ":" in block or "=" in block:
        found |= _pairs(lines, rewritten, start, end)
    return found | {number for number in numbers if _is_single_row(lines[number], rewritten[number])}


def _code(lines: Sequence[str], start: int, end: int) -> set[int]:
    """Lines of code, with what stands between them and is no sentence, and those beside them that begin as code does."""
    sure = {number for number in range(start, end) if _is_code(lines[number])} | _headers(lines, start, end)
    if not sure:
        return sure
    first, last = min(sure), max(sure) + 1
    if 2 * len(sure) < last - first:
        return sure
    while first > start and _may_be_code(lines[first - 1]):
        first -= 1
    while last < end and _may_be_code(lines[last]):
        last += 1
    return sure | {
        number for number in range(first, last) if _REMARK.match(lines[number]) or not _SENTENCE.search(_bare(lines[number]))
    }


def _bare(line: str) -> str:
    """A line of code without its strings and its remark."""
    return _COMMENT.sub("", _STRING.sub('""', line)).rstrip()


def _is_code(line: str) -> bool:
    if line.lstrip()[:1] not in _BEGINS:
        return False
    bare = _bare(line)
    return _CODE.fullmatch(bare) is not None and not _SENTENCE.search(bare)


def _may_be_code(line: str) -> bool:
    return _REMARK.match(line) is not None or (
        line.lstrip()[:1].isascii() and not _LISTED.match(line) and not _SENTENCE.search(_bare(line))
    )


def _indent(line: str) -> int:
    return len(line) - len(line.lstrip())


def _headers(lines: Sequence[str], start: int, end: int) -> set[int]:
    """Lines that end in a colon, before one that stands further in: `class 学生:`."""
    return {
        number
        for number in range(start, end - 1)
        if (line := lines[number]).lstrip()[:1].isascii()
        and line.lstrip()[:1].isalpha()
        and _bare(line).endswith(":")
        and _indent(lines[number + 1]) > _indent(line)
        and not _LISTED.match(lines[number + 1])
    }


def _enclosed(lines: Sequence[str], start: int, end: int) -> set[int]:
    """Lines from one that ends with an opening bracket to the one that begins with its closing one."""
    pairs: list[tuple[int, int]] = []
    opened: list[int] = []
    for number in range(start, end):
        if opened and _CLOSE.match(lines[number]):
            pairs.append((opened.pop(), number + 1))
        if _OPEN.search(lines[number]):
            opened.append(number)
    found: set[int] = set()
    last = start
    for first, behind in sorted(pairs):
        found.update(range(max(first, last), behind))
        last = max(last, behind)
    return found


def _cells(line: str, mark: str) -> list[str]:
    return _STRING.sub('""', line).split(mark)


def _half(old: str, new: str) -> bool:
    """True where prose would rewrite some of a line's marks and leave others."""
    return any(0 < new.count(mark) < old.count(mark) for mark in ",;:")


def _rows(lines: Sequence[str], rewritten: Sequence[str], start: int, end: int, mark: str) -> set[int]:
    """Lines one below another with as many cells each."""
    found: set[int] = set()
    for count, run in groupby(range(start, end), lambda number: _width(lines[number], mark)):
        numbers = list(run)
        if count < 2 or len(numbers) < 2:
            continue
        cells = [cell for number in numbers for cell in _cells(lines[number], mark)]
        old, new = ("\n".join(texts[number] for number in numbers) for texts in (lines, rewritten))
        half = 0 < new.count(mark) < old.count(mark)
        sizes = {len(cell) for cell in cells}
        if (half and max(sizes) <= _CELL) or (count > 2 and len(sizes) > 1 and max(sizes) <= _SHORT):
            found.update(numbers)
    return found


def _width(line: str, mark: str) -> int:
    """The number of a line's cells; 0 for a sentence."""
    return 0 if mark not in line or _SENTENCE.search(line) else len(_cells(line, mark))


def _is_single_row(old: str, new: str) -> bool:
    """True for a row that stands alone, or behind a key, and would be rewritten by half."""
    if old == new or not _half(old, new):
        return False
    if _SENTENCE.search(old):
        return False
    key = _KEY.fullmatch(old)
    rows = [_cells(old, mark) for mark in ",;"]
    rows += [_cells(key.group(2), mark) for mark in ",;"] if key else []
    return any(_is_row(cells) for cells in rows)


def _is_row(cells: Sequence[str]) -> bool:
    enough = len(cells) > 2 or (len(cells) == 2 and all(_PAIR.fullmatch(cell) for cell in cells))
    return enough and max(map(len, cells)) <= _CELL


def _pairs(lines: Sequence[str], rewritten: Sequence[str], start: int, end: int) -> set[int]:
    """Keys with values, one a line, where prose would rewrite some of the marks and leave others; not a dialogue, whose values are sentences."""
    found: set[int] = set()
    for mark, run in groupby(range(start, end), lambda number: _mark_of_pair(lines, number, end)):
        numbers = list(run)
        if not mark or len(numbers) < 2:
            continue
        spoken = sum(_SENTENCE.search(lines[number]) is not None for number in numbers)
        old, new = ("\n".join(texts[number] for number in numbers) for texts in (lines, rewritten))
        left = any(_KEY.fullmatch(rewritten[number]) for number in numbers)
        if old != new and left and 3 * spoken <= len(numbers):
            found.update(numbers)
    return found


def _mark_of_pair(lines: Sequence[str], number: int, end: int) -> str:
    """The mark between a line's key and its value, or before the lines that stand further in; else ""."""
    line = lines[number]
    pair = _KEY.fullmatch(line) if ":" in line or "=" in line else None
    if pair is None:
        return ""
    nested = number + 1 < end and _indent(lines[number + 1]) > _indent(line)
    return pair.group(1) if pair.group(2).strip() or nested else ""
