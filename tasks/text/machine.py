"""Text that machines read, outside of fences: rows of tables, keys with values, lists in brackets, code, queries, commands.

Its marks are syntax, not punctuation, and what is half rewritten can be read by nobody. A line is judged by its own shape and by those beside
it, and only where its marks would change (`kept`), so that the judgement costs nothing on most texts.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from itertools import groupby

from tasks.text.script import HAN

_CELL, _SHORT = 15, 8  # characters of a table's cell at most; of one that can be nothing else
_KEY_LENGTH = 20

# what people say: full-width marks, pronouns and particles, or a sentence's end
_ENDED = re.compile(rf"[，。！？；…]|[{HAN}][.!?]+$")
_SENTENCE = re.compile(rf"[，。！？；…我你您他她们了吗呢吧很都也这那的是]|[{HAN}][.!?]+$")
_STRING = re.compile(r"\"[^\"\n]*\"|'[^'\n]*'")
_COMMENT = re.compile(r"\s*(?:(?<!\S)#|//|/\*|(?<!\S)--\s).*$")
_REMARK = re.compile(r"\s*(?:#|//|/\*|\*|--\s)")

BRACKETED = re.compile(r"\[[^\[\]\n]{1,2000}\](?!\()|\{[^{}\n]{1,2000}\}")  # no link of Markdown
_ENTRY = re.compile(r"\s*[^\s:,]+\s*:(?:\s.*|)")
_LISTED = re.compile(r"\s*(?:[-*+•]|\d+[.)、])\s+")
_KEY = re.compile(rf"\s*(?:-\s+)*([^\s:：=,，。;；!?！？\"'](?:[^:：=,，。;；!?！？\n]{{0,{_KEY_LENGTH}}}[^\s:：=,，。;；!?！？])?)\s*([:=])(?:\s+(.*)|$|(?<==)(.*))")
_CODE = re.compile(
    r"""\s*(?:
    [A-Za-z_@$<}\])\x02][^\n]*[;{}\\]                                      # int 数量 = 3;   SELECT 姓名,年龄 FROM 学生;
    | (?:async\ +)?(?:def|class|if|elif|for|while|with|except|fn|func|function|match|case)\b[^\n]*\)[^\n()]*:   # def 函数(参数):
    | [A-Za-z_][\w.]*(?:\[[^\]\n]*\])?\s*(?:[-+*/%|&:]|//|\*\*)?=(?!=)\s*\S[^\n]*   # 数量 += 1
    | [A-Za-z_][\w.]*\([^\n]*\)(?:\.\w+\([^\n]*\))*                        # print(姓名,年龄)
    | (?:SELECT|select)\s[^\n]*\s(?:FROM|from)\s[^\n]*
    | (?:INSERT\ INTO|insert\ into|DELETE\ FROM|delete\ from|VALUES|values|(?:CREATE|ALTER|DROP)\ [A-Z]+|(?:create|alter|drop)\ table)\b[^\n]*
    | (?:UPDATE|update)\s[^\n]*\s(?:SET|set)\s[^\n]*
    | (?:FROM|WHERE|AND|OR|SET|HAVING|LIMIT|ON|(?:LEFT|RIGHT|INNER|OUTER)?\ ?JOIN|(?:GROUP|ORDER)\ BY)\s[^\n]*
    | \#\s*(?:include|define|pragma)\b[^\n]*
    | (?:import|from|return|elif|using|package|var|let|const)\s[^\n]*
    | [$>%]{1,3}\s[A-Za-z./][^\n]*                                         # $ echo 你好,世界
    | [a-z][\w./-]*\s(?:[^\n]*\s)?--?[A-Za-z][^\n]*                        # git commit -m 修复:标题
    | [a-z][\w./-]*\s+["'][^\n]*["'](?:\s*[|>&][^\n]*)?                    # echo "你好,世界"
    | "[^"\n]*"\s*(?::[^\n]*)?,
    | [{}\[\]();,]+
    )\s*""",
    re.VERBOSE,
)
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
    code = {number for number in numbers if _is_code(lines[number])} | _headers(lines, start, end)
    if 2 * len(code) > len(numbers) or len(code) > 1 and all(number in code or _is_aside(lines[number]) for number in numbers):
        return set(numbers)
    found = code | _enclosed(lines, start, end)
    for judged in (_rows(lines, rewritten, start, end, ","), _rows(lines, rewritten, start, end, ";"), _pairs(lines, rewritten, start, end)):
        found |= judged
    return found | {number for number in numbers if _is_single_row(lines[number], rewritten[number])}


def _bare(line: str) -> str:
    """A line of code without its strings and its remark."""
    return _COMMENT.sub("", _STRING.sub('""', line))


def _is_code(line: str) -> bool:
    if not line.lstrip()[:1].isascii():
        return False
    bare = _bare(line)
    return _CODE.fullmatch(bare) is not None and not _SENTENCE.search(bare)


def _is_aside(line: str) -> bool:
    """True for what stands between lines of code: remarks, and names in other scripts."""
    return _REMARK.match(line) is not None or not _SENTENCE.search(_bare(line))


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
    found: set[int] = set()
    opened: list[int] = []
    for number in range(start, end):
        if opened and _CLOSE.match(lines[number]):
            found.update(range(opened.pop(), number + 1))
        if _OPEN.search(lines[number]):
            opened.append(number)
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
    key = _KEY.fullmatch(old)
    row = old if key is None else key.group(3) or key.group(4) or ""
    return any(len(cells) > 2 and all(len(cell) <= _CELL for cell in cells) for cells in (_cells(row, ","), _cells(row, ";"))) and not (
        _SENTENCE.search(row)
    )


def _pairs(lines: Sequence[str], rewritten: Sequence[str], start: int, end: int) -> set[int]:
    """Keys with values, one a line, where prose would rewrite some of the marks and leave others; not a dialogue, whose values are sentences."""
    found: set[int] = set()
    for is_pair, run in groupby(range(start, end), lambda number: _KEY.fullmatch(lines[number]) is not None):
        numbers = list(run)
        if not is_pair or len(numbers) < 2:
            continue
        spoken = sum(_SENTENCE.search(lines[number]) is not None for number in numbers)
        old, new = ("\n".join(texts[number] for number in numbers) for texts in (lines, rewritten))
        left = any((pair := _KEY.fullmatch(rewritten[number])) is not None for number in numbers)
        if old != new and left and 3 * spoken <= len(numbers):
            found.update(numbers)
    return found
