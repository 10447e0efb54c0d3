"""The paired bootstrap and the sign test: the gain of a new model over an old one on the same rows, its interval, and its p.

The interval is the paired bootstrap's (rows drawn with replacement, both models' values together; Efron 1979). The test turns the sign
of each row's difference at random, as if either model could have given either value (Fisher 1935); on right and wrong answers it is
McNemar's. The interval is good where rows are many, the test where they are few: a regression must show in both.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

CHUNK = 1 << 22  # draws held in memory at a time


@dataclass(frozen=True)
class PairedDifference:
    """`change` is the gain of the new model over the old, per unit of weight, positive where it is better; `low` and `high` bound it.

    `p` is the chance of a loss as large as this, or larger, if the models differ by no more than the tolerance.
    """

    n: int
    old: float
    new: float
    change: float
    low: float
    high: float
    p: float


def paired_bootstrap(
    old: Sequence[float],
    new: Sequence[float],
    weights: Sequence[float] | None = None,
    *,
    less_is_better: bool,
    tolerance: float,
    level: float,
    resamples: int,
    seed: int,
) -> PairedDifference:
    """Compare two models' values of the same rows.

    The measure is sum(values) / sum(weights): a mean where there are no weights, bits per byte where values are bits and weights bytes.
    `level` is that of the two-sided interval, `tolerance` the loss that is let pass, in the measure's unit. Equal seeds, equal result.
    """
    import numpy as np

    before, after = np.asarray(old, dtype=float), np.asarray(new, dtype=float)
    weight = np.ones_like(before) if weights is None else np.asarray(weights, dtype=float)
    n, rng = len(before), np.random.default_rng(seed)
    assert n and before.shape == after.shape == weight.shape, "both models have a value of every row"
    gain = before - after if less_is_better else after - before
    resampled_gains = np.empty(resamples)
    loss = -gain - tolerance * weight
    signed_losses = np.empty(resamples)
    step = max(1, CHUNK // n)
    for start in range(0, resamples, step):
        some = slice(start, min(start + step, resamples))
        size = some.stop - some.start
        rows = rng.integers(n, size=(size, n))
        resampled_gains[some] = gain[rows].sum(1) / weight[rows].sum(1)
        signed_losses[some] = rng.choice((-1.0, 1.0), size=(size, n)) @ loss
    tail = (1 - level) / 2
    low, high = np.quantile(resampled_gains, (tail, 1 - tail))
    slack = 1e-9 * np.abs(loss).sum()  # equal sums, added in another order
    p = (1 + (signed_losses >= loss.sum() - slack).sum()) / (1 + resamples)
    total = weight.sum()
    figures = (before.sum() / total, after.sum() / total, gain.sum() / total, low, high, p)
    return PairedDifference(n, *(round(float(value), 6) for value in figures))


def formatted(value: float | None) -> str:
    """A value with three decimals."""
    return "no number" if value is None else f"{value:.3f}"


def gain_as_share(measure: dict[str, Any], name: str) -> float:
    """A measure's gain, or a bound of it, as a share: of production's value where the unit is percent."""
    return measure[name] / measure["old"] if measure["unit"] == "percent" else measure[name]
