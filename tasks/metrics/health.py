"""The health check of what a model writes: its answers after a stage against those before it, on the same held-out prompts.

Preference training can raise every figure that it optimises and ruin what the model writes: answers that never end, that repeat
themselves, that become long or empty. So each of these is compared prompt by prompt, and held to a bound.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

from pydantic import Field

from tasks.artifacts.stage import Identity
from tasks.metrics.answers import repetition
from tasks.metrics.intervals import Z

Answers = Sequence[dict[str, Any]]  # {text, end}, one a prompt


class Bounds(Identity):
    """The bounds on how much worse a model's answers may become. Shares are of prompts, in points of 0 to 1."""

    stop: float = Field(default=0.05, ge=0, le=1, description="Points that the share of answers that end may fall")
    repetition: float = Field(default=0.05, ge=0, le=1, description="Points that the share of repeated 4-grams may rise")
    empty: float = Field(default=0.02, ge=0, le=1, description="Points that the share of answers without text may rise")
    longer: float = Field(default=1.5, ge=1, le=100, description="Times the mean length that answers may grow to")
    shorter: float = Field(default=0.5, gt=0, le=1, description="Times the mean length that answers may shrink to")


def check_health(before: Answers, after: Answers, bounds: Bounds) -> dict[str, Any] | None:
    """`{n, verdict, problems, figures}`, or None without answers.

    Each of `figures` is `{figure, before, after, change, low, high, bound, state}`, with the 95 % interval of the change (mean and
    standard error of the differences prompt by prompt). Its `state` is ok; doubtful, where the bound is passed and the interval still
    holds no change; or broken. `verdict` is healthy, doubtful (some figure is, none is broken) or broken; `problems` say which, in words.
    """
    if not after:
        return None
    length = _mean(before, _characters)
    allowed = (
        ("answers that end", _ends, -bounds.stop, None),
        ("repetition", _repeats, None, bounds.repetition),
        ("empty answers", _empty, None, bounds.empty),
        ("characters an answer", _characters, -length * (1 - bounds.shorter), length * (bounds.longer - 1)),
    )
    figures = [_figure(name, of, least, most, before, after) for name, of, least, most in allowed]
    states = {figure["state"] for figure in figures}
    return {
        "n": len(after),
        "verdict": next((state for state in ("broken", "doubtful") if state in states), "healthy"),
        "problems": [_in_words(figure) for figure in figures if figure["state"] != "ok"],
        "figures": figures,
    }


def _figure(
    name: str, of: Callable[[dict[str, Any]], float], least: float | None, most: float | None, before: Answers, after: Answers
) -> dict[str, Any]:
    changes = [of(now) - of(then) for then, now in zip(before, after, strict=True)]
    n, change = len(changes), sum(changes) / len(changes)
    spread = Z * math.sqrt(sum((one - change) ** 2 for one in changes) / (n - 1) / n) if n > 1 else math.inf
    bound = most if least is None or (most is not None and change > 0) else least
    assert bound is not None, f"{name} has no bound"
    beyond = change > bound if bound is most else change < bound
    state = "ok" if not beyond else "broken" if spread < abs(change) else "doubtful"
    numbers = {"before": _mean(before, of), "after": _mean(after, of), "change": change, "bound": bound}
    interval = {"low": change - spread, "high": change + spread} if n > 1 else {"low": None, "high": None}
    rounded = {what: None if value is None else round(value, 6) for what, value in (numbers | interval).items()}
    return {"figure": name, "state": state, **rounded}


def _in_words(figure: dict[str, Any]) -> str:
    name, before, after = (figure[what] for what in ("figure", "before", "after"))
    share = name != "characters an answer"
    values = [f"{100 * value:.1f} %" if share else f"{value:.0f}" for value in (before, after)]
    bound = f"{100 * figure['bound']:+.0f} points" if share else f"{figure['bound']:+.0f}"
    unsure = ", too few prompts to be sure" if figure["state"] == "doubtful" else ""
    return f"{name}: {values[0]} → {values[1]}, beyond the {bound} allowed{unsure}"


def _mean(answers: Answers, of: Callable[[dict[str, Any]], float]) -> float:
    return sum(map(of, answers)) / len(answers)


def _ends(answer: dict[str, Any]) -> float:
    return float(answer["end"] == "stop")


def _repeats(answer: dict[str, Any]) -> float:
    return repetition(answer["text"])


def _empty(answer: dict[str, Any]) -> float:
    return float(not answer["text"].strip())


def _characters(answer: dict[str, Any]) -> float:
    return float(len(answer["text"]))
