"""Intervals and tests against published and exact figures."""

from __future__ import annotations

import math
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.metrics.intervals import mcnemar, wilson


@pytest.mark.parametrize(
    ("right", "n", "low", "high"),
    # from Newcombe 1998 (Statistics in Medicine 17:857), table I, method 3
    [(81, 263, 0.2553, 0.3662), (15, 148, 0.0624, 0.1605), (0, 20, 0.0, 0.1611), (1, 29, 0.0061, 0.1718)],
)
def test_wilson_intervals_are_the_published_ones(right, n, low, high):
    assert wilson(right, n) == pytest.approx((low, high), abs=5e-5)


def test_an_interval_of_nothing_says_nothing():
    assert wilson(0, 0) == (0.0, 1.0)


@given(st.integers(0, 60), st.integers(0, 60))
def test_mcnemar_is_the_exact_binomial_test(won, lost):
    n = won + lost
    tail = sum(Fraction(math.comb(n, k), 2**n) for k in range(min(won, lost) + 1))
    assert mcnemar(won, lost) == pytest.approx(float(min(Fraction(1), 2 * tail)))


def test_mcnemar_of_many_questions_is_finite():
    assert mcnemar(0, 0) == 1.0
    assert 0 < mcnemar(2900, 3100) < 0.02
