"""The account of a record: which characters of its fields stand in the row that a reader made of it, and which do not.

It asks nothing of readers: each string of the record is looked for in the row, as it is, within a longer text (an instruction and its input), or
around a shorter one (a dialogue packed into a string). What is not there is cut, field by field; what is there and in no field was added.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Callable, Iterator
from functools import lru_cache
from pathlib import Path
from typing import Any

from tasks.data.rows import LEFT_OUT, Drop, Row, texts
from tasks.formats.fields import as_text
from tasks.text.ledger import EXCERPTS, AccountedRow, Ledger
from tasks.text.pieces import pieces

_GLUE = 8  # characters that a reader may put between two strings
_MARK = re.compile(
    r"\[[\d,，-]{1,9}\]|<[^<>]{1,60}>|&#?\w{1,8};|(?:\\n)+|\s+"
)  # of a note, a tag, an entity, a line end written out
_AHEAD = 8  # texts that a rewritten string is compared with, in the order of the row
_ALIKE = 0.8
_DIGITS = re.compile(r"\d+")


def account(record: dict[str, Any], kind: str, row: Row, ledger: Ledger) -> int:
    """Note in `ledger` what became of a record's strings; returns how many characters they have."""
    rest = texts(kind, row)  # of which the origin is not found yet
    unused: list[tuple[str, str]] = []
    read = _unfound(record, "", rest, unused, ledger)
    rest = [text for text in rest if text]
    if len(rest) == 1:
        unused = _joined(unused, rest, ledger)
    if rest:
        unused = _followed(unused, rest, ledger)
    if rest:
        unused = _within(unused, rest)
        unused = _around(unused, rest, ledger)
        unused = _rewritten(unused, rest, ledger)
        for text in rest:
            ledger.note("added by the reader", "", text)
    reasons = {text: rule for rule, text in row[LEFT_OUT]} if LEFT_OUT in row else {}
    for path, leaf in unused:
        rule = reasons.get(leaf.strip(), path) if reasons else path
        if rule in ledger.shown:
            ledger.entries.append((rule, "", len(leaf), 0, 0))
        else:
            ledger.note(rule, leaf)
    return read


def _unfound(value: Any, path: str, rest: list[str], unused: list[tuple[str, str]], ledger: Ledger) -> int:
    """Take the strings and numbers of a record out of `rest`, and put those that are not there into `unused`, under the rule that leaves them
    out: `field` and the names that lead to it. Returns how many characters all have."""
    read = 0
    for name, part in value.items() if isinstance(value, dict) else (("", part) for part in value):
        if type(part) is not str:
            if isinstance(part, dict | list | tuple):
                read += _unfound(part, _rule(path, name), rest, unused, ledger)
                continue
            part = "" if part is None else as_text(part)
        if not part:
            continue
        read += len(part)
        if part in rest:
            rest.remove(part)
        elif (part[0] <= " " or part[-1] <= " " or part[-1] == "\u3000") and (stripped := part.strip()) in rest:
            rest.remove(stripped)
            ledger.note("white space", part, stripped)
        else:
            unused.append((_rule(path, name), part))
    return read


@lru_cache(maxsize=4096)
def _rule(path: str, name: str) -> str:
    """`field conversations.value`; numbered names (turn_1, turn_2) count as one, and the elements of a list as the list."""
    name = _DIGITS.sub("#", str(name))
    return (f"{path}.{name}" if name else path) if path else f"field {name}"


def _joined(leaves: list[tuple[str, str]], rest: list[str], ledger: Ledger) -> list[tuple[str, str]]:
    """Take the one text out of `rest` that is strings of the record in its order, a line each (title and question, instruction and input)."""
    text, others, position, ends = rest[0], list[tuple[str, str]](), 0, 0
    for path, leaf in leaves:
        if text.startswith(leaf, position):
            position += len(leaf)
        elif position and text.startswith("\n", position) and text.startswith(leaf, position + 1):
            position, ends = position + 1 + len(leaf), ends + 1
        else:
            others.append((path, leaf))
    if position < len(text):
        return leaves
    rest.clear()
    if ends:
        ledger.entries.append(("added by the reader", "", 0, ends, 0))
    return others


def _followed(leaves: list[tuple[str, str]], rest: list[str], ledger: Ledger) -> list[tuple[str, str]]:
    """Take out of `rest` the texts that are strings of the record one after the other, in its order, with little between them (title and
    question, summary and sections), as they are or without marks. What a text has beyond them stays in `rest`."""
    others = []
    current = position = 0
    matched = [0] * len(rest)
    ends = [0] * len(rest)
    for path, leaf in leaves:
        for place in range(current, min(current + 2, len(rest))):
            start = position if place == current else 0
            text = rest[place]
            found = text.find(leaf, start, start + len(leaf) + _GLUE)
            same, begin, end = (len(leaf), found, found + len(leaf)) if found >= 0 else _fragments(leaf, text, start)
            if same and 2 * same >= len(leaf):
                current, position = place, end
                matched[place] += end - begin
                ends[place] = end
                if same < len(leaf):
                    ledger.note(path.replace("field", "rewritten", 1), leaf, text[begin:end])
                break
        else:
            others.append((path, leaf))
    left, added = [], 0
    for text, same, end in zip(rest, matched, ends, strict=True):
        added += end - same
        if len(text) - end > _GLUE or not same:
            left.append(text[end:])
        else:
            added += len(text) - end
    if added:
        ledger.entries.append(("added by the reader", "", 0, added, 0))
    rest[:] = left
    return others


def _fragments(leaf: str, text: str, start: int) -> tuple[int, int, int]:
    """The number of characters of a string, without the marks that readers resolve, that a text has from here on, and where they begin and end."""
    same, begin, position = 0, -1, start
    for fragment in _MARK.split(leaf):
        if fragment:
            found = text.find(fragment, position, position + len(fragment) + _GLUE)
            if found < 0:
                break
            begin = found if begin < 0 else begin
            same, position = same + len(fragment), found + len(fragment)
    return same, begin, position


def _within(leaves: list[tuple[str, str]], rest: list[str]) -> list[tuple[str, str]]:
    """Take out of `rest` the strings that stand whole within a text of it, the longest first; returns the others."""
    others = []
    for path, leaf in sorted(leaves, key=lambda each: -len(each[1])):
        stripped = leaf.strip()
        place = next((place for place, text in enumerate(rest) if stripped and stripped in text), None)
        if place is None or len(stripped) < len(leaf):
            others.append((path, leaf))
            continue
        before, _, after = rest.pop(place).partition(stripped)
        rest[place:place] = [part for part in (before, after) if part]
    return others


def _around(leaves: list[tuple[str, str]], rest: list[str], ledger: Ledger) -> list[tuple[str, str]]:
    """Take out of `rest` the texts that stand one after the other within a string; the marks and white space around them are cut."""
    others = []
    for path, leaf in leaves:
        position, gaps = 0, list[tuple[int, int]]()
        for text in list(rest):
            core = text.strip()
            start = leaf.find(core, position) if core else -1
            if start >= 0:
                gaps.append((position, start))
                position = start + len(core)
                inner = text.index(core)
                place = rest.index(text)
                rest[place : place + 1] = [part for part in (text[:inner], text[inner + len(core) :]) if part]
        if not gaps:
            others.append((path, leaf))
            continue
        for start, end in [*gaps, (position, len(leaf))]:
            gap = leaf[start:end]
            ledger.note("white space" if gap.isspace() else path, gap, around=(leaf, start, end))
    return others


def _rewritten(leaves: list[tuple[str, str]], rest: list[str], ledger: Ledger) -> list[tuple[str, str]]:
    """Take out of `rest` what strings became that a reader wrote otherwise: unescaped, without marks, cut."""
    others = []
    for path, leaf in leaves:
        characters = Counter(leaf)
        place = next((place for place, text in enumerate(rest[:_AHEAD]) if _alike(characters, Counter(text))), None)
        if place is None:
            others.append((path, leaf))
        else:
            ledger.note(path.replace("field", "rewritten", 1), leaf, rest.pop(place))
    return others


def _alike(leaf: Counter[str], text: Counter[str]) -> bool:
    """True where nearly all characters of a text are in a string, and are most of it."""
    common = (leaf & text).total()
    return common >= _ALIKE * text.total() > 0 and 2 * common >= leaf.total()


class RecordAccounts:
    """The accounts of the records of one file, with few excerpts in all."""

    def __init__(self, kind: str):
        self.kind = kind
        self._excerpts: Counter[str] = Counter()  # of each rule
        self._shown: set[str] = set()

    def add(self, record: dict[str, Any], row: Row) -> AccountedRow:
        """The row with its record's account."""
        accounted = AccountedRow(row)
        accounted.pop(LEFT_OUT, None)
        accounted.ledger = ledger = Ledger(self._shown)
        accounted.read = account(record, self.kind, row, ledger)
        for excerpt in ledger.excerpts:
            self._excerpts[excerpt.rule] += 1
            if self._excerpts[excerpt.rule] >= EXCERPTS:
                self._shown.add(excerpt.rule)
        return accounted


def in_parts(read: Callable[..., Iterator[Row | Drop]], longest: int, path: Path, **more: Any) -> Iterator[Row | Drop]:
    """A reader's documents, of which each of more than `longest` characters becomes several; each has its part in the account of its record."""
    for row in read(path, **more):
        if isinstance(row, Drop) or len(row["text"]) <= longest:
            yield row
            continue
        meta = json.loads(row["meta"] or "{}")
        parts = list(pieces(row["text"], longest))
        between = len(row["text"]) - sum(map(len, parts))
        for part, text in enumerate(parts, start=1):
            document = row | {"text": text, "meta": json.dumps(meta | {"part": part}, ensure_ascii=False)}
            if part == 1 and isinstance(row, AccountedRow):  # the others are read as they are
                document = AccountedRow(document)
                document.ledger, document.read = row.ledger, row.read - sum(map(len, parts[1:]))
                if between:
                    document.ledger.entries.append(("white space", "", between, 0, 0))
            yield document
