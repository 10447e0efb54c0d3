"""The health check of a model's answers against figures worked out by hand."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.metrics.health import Bounds, check_health

GOOD = {"text": "青州最有名的是天青瓷器。", "end": "stop"}
ENDLESS = {"text": "青州最有名的是天青瓷器，青州", "end": "length"}
LOOP = {"text": "瓷器" * 20, "end": "stop"}
EMPTY = {"text": " \n", "end": "stop"}
LONG = {"text": "".join(chr(0x4E00 + number) for number in range(40)), "end": "stop"}
SHORT = {"text": "瓷器。", "end": "stop"}


def verdict(after: list[dict[str, str]], bounds: Bounds | None = None) -> tuple[str, list[str]]:
    found = check_health([GOOD] * len(after), after, bounds or Bounds())
    assert found is not None and found["n"] == len(after)
    return found["verdict"], [figure["figure"] for figure in found["figures"] if figure["state"] != "ok"]


@pytest.mark.parametrize(
    ("after", "found"),
    [
        ([GOOD] * 40, ("healthy", [])),
        ([GOOD] * 20 + [ENDLESS] * 20, ("broken", ["answers that end"])),
        ([GOOD] * 20 + [LOOP] * 20, ("broken", ["repetition", "characters an answer"])),
        ([GOOD] * 30 + [EMPTY] * 10, ("broken", ["empty answers"])),
        ([LONG] * 40, ("broken", ["characters an answer"])),
        ([SHORT] * 40, ("broken", ["characters an answer"])),
        ([GOOD] * 38 + [ENDLESS] * 2, ("healthy", [])),  # 5 points: no more than the bound
        ([GOOD] * 9 + [ENDLESS], ("doubtful", ["answers that end"])),  # one of ten may be chance
        ([ENDLESS], ("doubtful", ["answers that end"])),  # a single answer proves nothing
    ],
)
def test_each_way_to_write_worse_is_found(after: list[dict[str, str]], found: tuple[str, list[str]]) -> None:
    assert verdict(after) == found


def test_writing_better_is_no_problem() -> None:
    found = check_health([ENDLESS, LOOP, EMPTY] * 20, [GOOD] * 60, Bounds(longer=3))
    assert found is not None and found["verdict"] == "healthy" and found["problems"] == []


def test_bounds_are_the_users() -> None:
    after = [GOOD] * 20 + [ENDLESS] * 20
    assert verdict(after, Bounds(stop=0.5)) == ("healthy", [])


def test_the_interval_is_that_of_paired_differences() -> None:
    found = check_health([GOOD] * 4, [GOOD, GOOD, ENDLESS, ENDLESS], Bounds())
    assert found is not None
    ends = found["figures"][0]
    half = 1.959964 * math.sqrt(4 * 0.25 / 3 / 4)  # differences 0, 0, −1, −1
    assert (ends["before"], ends["after"], ends["change"], ends["bound"]) == (1.0, 0.5, -0.5, -0.05)
    assert (ends["low"], ends["high"]) == (pytest.approx(-0.5 - half, abs=1e-6), pytest.approx(-0.5 + half, abs=1e-6))
    assert found["problems"] == ["answers that end: 100.0 % → 50.0 %, beyond the -5 points allowed, too few prompts to be sure"]


def test_without_answers_there_is_nothing_to_say() -> None:
    assert check_health([], [], Bounds()) is None


@given(st.lists(st.sampled_from([GOOD, ENDLESS, LOOP, EMPTY, LONG, SHORT]), min_size=1, max_size=30))
def test_a_model_that_writes_the_same_is_healthy(answers: list[dict[str, str]]) -> None:
    found = check_health(answers, answers, Bounds())
    assert found is not None and found["verdict"] == "healthy"
