"""Spoilt inputs: some hundred of those that `benchmarks.fuzz` makes ten thousand of, and that its checks would notice what they are for."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from benchmarks import fuzz
from benchmarks.inputs import FORMATS, Case, case
from tasks.data.rows import Drop
from tasks.formats import records, registry
from tasks.sources import belle

SEED = 20


@pytest.mark.parametrize("batch", range(8))
def test_no_crash_no_hang_every_row_counted(batch: int) -> None:
    counts: Counter[str] = Counter()
    formats = set()
    for number in range(batch * 50, batch * 50 + 50):
        one = case(SEED, number)
        formats.add(one.format)
        outcome, wrong = fuzz.attempt(one)
        assert not wrong, f"python -m benchmarks.fuzz --seed {SEED} --only {number}: {wrong}"
        counts.update(outcome)
    assert counts["cases"] == 50 and len(formats) > len(FORMATS) / 2
    assert counts["kept"] > 100 and 5 < counts["broken"] < 35 and counts["counted"] > 5


def test_every_format_of_ours_is_spoilt() -> None:
    assert sorted(FORMATS) == registry.ours()


def test_a_case_is_made_of_its_number_alone() -> None:
    assert [case(1, number) for number in range(20)] == [case(1, number) for number in range(20)]
    assert case(1, 3) != case(2, 3) != case(2, 4)


LINES = Case("belle", "a.json", b'{"instruction": "a", "output": "b"}\n' * 3)


def _lost(path: Path) -> Iterator[Any]:
    yield from list(records.read_rows(path, belle.READER))[1:]


def _crashed(path: Path) -> Iterator[Any]:
    yield Drop("x")
    raise ValueError("a crash")


def _hung(path: Path) -> Iterator[Any]:
    while True:
        list(range(100))
    yield


@pytest.mark.parametrize(
    ("read", "what"), [(_lost, "3 rows are in the file, 2 were read"), (_crashed, "ValueError"), (_hung, "Hang")]
)
def test_what_the_checks_are_for_they_notice(monkeypatch: pytest.MonkeyPatch, read: Any, what: str) -> None:
    assert fuzz.attempt(LINES)[1] == ""
    monkeypatch.setattr(fuzz, "ALARM", 1)
    monkeypatch.setattr(belle, "READER", replace(belle.READER, read=read))
    assert what in fuzz.attempt(LINES)[1]
