"""The confidence interval of a share, and the test of whether chance alone explains a difference."""

from __future__ import annotations

import math

Z = 1.959964  # standard normal quantile of a two-sided 95 % interval


def wilson(right: int, n: int) -> tuple[float, float]:
    """95 % interval of a share (Wilson 1927): right also for few rows and for shares near 0 and 1. (0, 1) without rows."""
    if not n:
        return 0.0, 1.0
    share, spread = right / n, Z * Z / n
    middle, half = share + spread / 2, Z * math.sqrt(share * (1 - share) / n + spread / (4 * n))
    return max(0.0, (middle - half) / (1 + spread)), min(1.0, (middle + half) / (1 + spread))


def mcnemar(won: int, lost: int) -> float:
    """Two-sided exact p (McNemar 1947): chance of a split at least as uneven, if each question that one model alone got right is a coin toss."""
    n = won + lost
    tail = ways = 1  # the binomial coefficients of 0, 1, … up to the smaller side, each from the one before
    for k in range(min(won, lost)):
        ways = ways * (n - k) // (k + 1)
        tail += ways
    return min(1.0, 2 * tail / 2**n)
