"""The ledger of a text: how many characters each rule cut, added or changed between what was read and what is kept.

Whatever changes a text tells its ledger, so that the sums hold for every row: read + added = kept + cut. A rule that writes other characters
in the place of some (a script into another, a full-width comma for a narrow one) is also counted by how many it changed, which is no part of
the sums. A ledger is one row's; those of the rows that are kept are settled in an `Account`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable
from dataclasses import dataclass, field
from operator import ne
from typing import Any, NamedTuple

EXCERPTS = 20  # of a rule that are kept to be read
DETAILS = 50  # of a rule that are kept by name, the most frequent
_FIRST = 8  # hits of a rule that are all shown; then every hit whose number is a power of two
_WINDOW, _AROUND = 240, 40  # characters of a cut that are shown, and of what stands on each side of it
_AGREE = 6  # characters that two texts have alike, from which they go on alike
_FAST = 400  # characters from which numpy compares texts faster than Python does

_COUNTS = ("rows", "times", "cut", "added", "changed")  # of a rule

Entry = tuple[str, str, int, int, int]  # rule, detail, characters cut, added and changed by one hit
Around = tuple[str, int, int]  # a text, and from where to where in it something was cut


class Excerpt(NamedTuple):
    """A cut to read: what a rule took, what it left in its place, and what stands on both sides."""

    rule: str
    detail: str
    before: str
    cut: str
    instead: str
    after: str


class Ledger:
    """The entries of one row: what each hit of a rule cut, added and changed, in characters, and a few excerpts."""

    __slots__ = ("entries", "excerpts", "shown")

    def __init__(self, shown: Collection[str] = ()):
        self.entries: list[Entry] = []
        self.excerpts: list[Excerpt] = []
        self.shown = shown  # rules of which no excerpt is wanted

    def note(self, rule: str, before: str, after: str = "", detail: str = "", around: Around | None = None) -> None:
        """A pass: `before`, a text or a piece of one, became `after`. What is shorter was cut, what is longer was added."""
        if before == after:
            return
        less = len(before) - len(after)
        self.entries.append((rule, detail, less, 0, 0) if less > 0 else (rule, detail, 0, -less, 0))
        if rule not in self.shown:
            self._show(rule, detail, before, after, around)

    def change(self, rule: str, before: str, after: str, detail: str = "", changed: int | None = None) -> None:
        """A pass that writes other characters in the place of some (`changed`, counted here by default): `before` became `after`."""
        if before == after:
            return
        less = len(before) - len(after)
        count = differing(before, after) if changed is None else changed
        self.entries.append((rule, detail, max(0, less), max(0, -less), count))
        if rule not in self.shown:
            self._show(rule, detail, before, after, None)

    def take(self, other: Ledger) -> None:
        """Take in the entries of another ledger of the same row."""
        self.entries += other.entries
        self.excerpts += other.excerpts

    def _show(self, rule: str, detail: str, before: str, after: str, around: Around | None) -> None:
        if any(excerpt.rule == rule for excerpt in self.excerpts):  # one of a row
            return
        text, start, end = around or (before, 0, len(before))
        if around is None:  # a whole pass: where it first did something
            start, end, instead = first_difference(before, after)
            after = after[start:instead]
        left, right = text[max(0, start - _AROUND) : start], text[end : end + _AROUND]
        self.excerpts.append(Excerpt(rule, detail, left, text[start:end][:_WINDOW], after[:_WINDOW], right))


class _Unkept(Ledger):
    """A ledger that nobody reads: it notes nothing."""

    def note(self, rule: str, before: str, after: str = "", detail: str = "", around: Around | None = None) -> None:
        pass

    def change(self, rule: str, before: str, after: str, detail: str = "", changed: int | None = None) -> None:
        pass

    def take(self, other: Ledger) -> None:
        pass


NO_LEDGER: Ledger = _Unkept()


class AccountedRow(dict[str, Any]):
    """A row with the account of the record that it was made of: the characters of that, and the ledger of those that are not in the row."""

    read: int
    ledger: Ledger


def differing(before: str, after: str) -> int:
    """The number of characters of one text that are others in the second; of lines of different lengths, those between their common ends."""
    if len(before) != len(after):
        lines, others = before.split("\n"), after.split("\n")
        if len(lines) == len(others) > 1:
            return sum(differing(line, other) for line, other in zip(lines, others, strict=True) if line != other)
        start = _common_start(before, after)
        shorter = min(len(before), len(after))
        end = _common_start(before[start:][::-1], after[start:][::-1])
        return max(1, shorter - start - end)
    if len(before) < _FAST:
        return sum(map(ne, before, after))
    import numpy as np

    one, other = (np.frombuffer(text.encode("utf-32-le", "surrogatepass"), np.uint32) for text in (before, after))
    return int(np.count_nonzero(one != other))


def first_difference(before: str, after: str) -> tuple[int, int, int]:
    """The first place where two texts differ: its start, its end in the first and in the second."""
    start = _common_start(before, after)
    less = len(before) - len(after)
    if less > 0 and before[start + less :] == after[start:]:
        return start, start + less, start
    if less < 0 and after[start - less :] == before[start:]:
        return start, start, start - less
    if not less:
        same = (place for place in range(start, len(before)) if before[place] == after[place])
        end = next(same, len(before))
        return start, end, end
    one, other = before[start : start + _WINDOW], after[start : start + _WINDOW]
    for skipped in range(len(other)):  # the first piece of the second text that the first one has too
        if (found := one.find(other[skipped : skipped + _AGREE])) >= 0:
            return start, start + found, start + skipped
    return start, start + len(one), start + len(other)


def _common_start(one: str, other: str) -> int:
    """The number of characters that two texts begin with alike."""
    low, high = 0, min(len(one), len(other))
    while low < high:
        middle = (low + high + 1) // 2
        if one[low:middle] == other[low:middle]:
            low = middle
        else:
            high = middle - 1
    return low


@dataclass
class Account:
    """The ledgers of many kept rows, settled: what was read, what is kept, and each rule's share in the difference."""

    read: int = 0
    kept: int = 0
    rules: dict[str, list[int]] = field(
        default_factory=dict
    )  # rule → [rows, times, cut, added, changed, the last row that it hit]
    details: dict[str, dict[str, list[int]]] = field(default_factory=dict)  # rule → detail → [times, cut]
    shown: set[str] = field(default_factory=set)  # rules of which the next row needs no excerpt
    _excerpts: Counter[str] = field(default_factory=Counter)  # of each rule, so far
    _rows: int = 0  # settled

    def ledger(self) -> Ledger:
        """A new row's ledger."""
        return Ledger(self.shown)

    def settle(self, ledger: Ledger, read: int, kept: int) -> list[Excerpt]:
        """Take in a kept row's ledger, and give those of its excerpts that are to be shown."""
        self.read += read
        self.kept += kept
        self._rows = row = self._rows + 1
        rules = self.rules
        for rule, detail, cut, added, changed in ledger.entries:
            totals = rules.get(rule)
            if totals is None:
                totals = rules[rule] = [0, 0, 0, 0, 0, 0]
            if totals[5] != row:
                totals[5] = row
                totals[0] = hit = totals[0] + 1
                if hit >= _FIRST and not (hit & (hit - 1) and hit & (hit + 1)):  # beside a power of two
                    self._wanted(rule, hit + 1)
            totals[1] += 1
            if cut:
                totals[2] += cut
            if added:
                totals[3] += added
            if changed:
                totals[4] += changed
            if detail:
                self._detailed(rule, detail, cut)
        if not ledger.excerpts:
            return []
        fresh = [excerpt for excerpt in ledger.excerpts if self._excerpts[excerpt.rule] < EXCERPTS]
        self._excerpts.update(excerpt.rule for excerpt in fresh)
        return fresh

    def _detailed(self, rule: str, detail: str, cut: int) -> None:
        """Count a hit of a rule by its name."""
        entries = self.details.get(rule)
        if entries is None:
            entries = self.details[rule] = {}
        entry = entries.get(detail)
        if entry is None:
            entry = entries[detail] = [0, 0]
        entry[0] += 1
        entry[1] += cut

    def _wanted(self, rule: str, coming: int) -> None:
        """Note if an excerpt is wanted of the next row that a rule hits: from here on, ever more seldom."""
        if coming & (coming - 1) == 0 and self._excerpts[rule] < EXCERPTS:
            self.shown.discard(rule)
        else:
            self.shown.add(rule)

    def stats(self) -> dict[str, Any]:
        """`{read, kept, rules: {rule: {rows, times, cut, added, changed}}, details: {rule: {detail: [times, cut]}}}`, the largest first."""
        rules = sorted(self.rules.items(), key=lambda each: (-each[1][2], -each[1][3], -each[1][4], each[0]))
        return {
            "read": self.read,
            "kept": self.kept,
            "rules": {rule: dict(zip(_COUNTS, totals, strict=False)) for rule, totals in rules},
            "details": {rule: _most(details) for rule, details in sorted(self.details.items())},
        }


def _most(details: dict[str, list[int]], most: int = 20 * DETAILS) -> dict[str, list[int]]:
    """The details with the most hits."""
    return dict(sorted(details.items(), key=lambda each: (-each[1][0], each[0]))[:most])


def summed_stats(parts: Iterable[dict[str, Any]]) -> dict[str, Any]:
    """The statistics of several accounts as those of one, with the `DETAILS` most frequent details of each rule."""
    total = Account()
    for part in parts:
        total.read += part["read"]
        total.kept += part["kept"]
        for rule, counts in part["rules"].items():
            totals = total.rules.setdefault(rule, [0, 0, 0, 0, 0])
            total.rules[rule] = [one + counts[name] for one, name in zip(totals, _COUNTS, strict=True)]
        for rule, details in part["details"].items():
            ours = total.details.setdefault(rule, {})
            for detail, (times, cut) in details.items():
                entry = ours.setdefault(detail, [0, 0])
                entry[0] += times
                entry[1] += cut
    stats = total.stats()
    return stats | {"details": {rule: _most(details, DETAILS) for rule, details in stats["details"].items()}}


def difference(stats: dict[str, Any]) -> int:
    """Characters that an account does not explain: 0 where its sums hold."""
    cut, added = (sum(counts[name] for counts in stats["rules"].values()) for name in ("cut", "added"))
    return int(stats["read"] + added - stats["kept"] - cut)
