"""The evaluation gate: a candidate against the model in production, on the same rows.

It is refused only where a measure falls by more than noise, or where its own answers are unhealthy. What the rows are too few to tell is for an
operator to decide, and so is a first model for which the recipe states no floor.

`verdict.json`:

    promote     whether the candidate may take over
    refused     why it may not, a line each
    asks        what an operator has to decide, a line each
    measures    [{name, title, unit, n, old, new, change, low, high, p, tolerance, visible, verdict: better | worse | same | unsure}];
                `change`, `low` and `high` are the candidate's gain: positive is better, whatever the measure; `visible` is the smallest loss
                that these rows could have shown
    health      [{name, title, value, limit, ok}] of the candidate alone
    level       of each interval
    rows        {what: how many rows both were scored on}

`report.html` shows the same to people, with answers of both side by side.

Without a model in production the candidate's health and the recipe's floor decide.

There are several measures, and each more of them is one more chance of a false alarm. So the confidence is that of the whole verdict
(Bonferroni): with m measures each is tested at 1 - (1 - confidence) / m.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from pydantic import Field

from tasks.artifacts.stage import Identity, Job, Stats, stage
from tasks.metrics.bootstrap import PairedDifference, formatted, gain_as_share, paired_bootstrap
from tasks.pages.render import render

NO_FLOOR = "no model is in production to compare with, and the recipe states no floor for a first one (gate.first_accuracy, gate.first_bits)"


class Params(Identity):
    confidence: float = Field(
        default=0.95, gt=0.5, lt=1, description="That no measure is called worse by chance, over all measures together"
    )
    bits_percent: float = Field(
        default=1.0, ge=0, le=100, description="Rise of a source's bits per byte that is let pass, in percent of production's"
    )
    share_points: float = Field(
        default=1.0,
        ge=0,
        le=100,
        description="Fall of a share (right answers, preferred pairs, stopped and unrepeated text) that is let pass, in percentage points",
    )
    ask_points: float = Field(
        default=5.0,
        ge=0,
        le=100,
        description="Fall of a share from which an operator is asked even if chance could explain it, in percentage points",
    )
    ask_percent: float = Field(
        default=5.0, ge=0, le=100, description="The same for a rise of a source's bits per byte, in percent of production's"
    )
    first_accuracy: float | None = Field(
        default=None,
        ge=0,
        le=1,
        description="Floor of a first model, which has none to be compared with: least share of questions whose right choice is the likeliest",
    )
    first_bits: float | None = Field(
        default=None,
        gt=0,
        le=100,
        description="Floor of a first model: most bits per byte of held-out text. Without a floor an operator is asked",
    )
    min_stop_rate: float = Field(
        default=0.5,
        ge=0,
        le=1,
        description="Health: least share of answers that end by themselves within evaluate.max_new_tokens",
    )
    max_empty: float = Field(default=0.1, ge=0, le=1, description="Health: largest share of answers without text")
    max_repetition: float = Field(default=0.3, ge=0, le=1, description="Health: largest mean share of repeated 4-grams")
    resamples: int = Field(default=10_000, ge=1000, le=1_000_000, description="Resamples of the bootstrap and of the sign test")
    seed: int = Field(default=0, ge=0, lt=1 << 32, description="Seed of the bootstrap and of the sign test")
    answers: int = Field(default=8, ge=0, le=200, description="Prompts whose answers the page shows side by side")


@dataclass(frozen=True)
class Measure:
    """One value a row of either model. `unit`: percent (of production's value) or points (percentage points of a share)."""

    name: str
    title: str
    unit: str
    old: Sequence[float]
    new: Sequence[float]
    weights: Sequence[float] | None = None
    less_is_better: bool = False


@stage(
    "gate",
    version=2,
    title="Candidate against production",
    params=Params,
    group="result",
    tools=("numpy", "jinja2", "matplotlib"),
)
def run(job: Job, params: Params, *, candidate: Path, prod: Path | None = None) -> Stats:
    """Write `verdict.json` and `report.html`. Both inputs are artifacts of `evaluate` over the same rows; the last model of each counts."""
    cases = _cases(candidate)
    new = cases["models"][list(cases["models"])[-1]]
    old = None
    if prod:
        production = _cases(prod)
        old = production["models"][list(production["models"])[-1]]
        assert production["rows"] == cases["rows"], "production is scored on the candidate's rows"
    measures = judge(params, list(_measures(cases["rows"], old, new)) if old else [])
    health = _health(params, cases["rows"], new) + ([] if old else _floor(params, cases["rows"], new))
    refused = [_lost(measure) for measure in measures if measure["verdict"] == "worse"]
    refused += [
        f"{measure['title']}: {formatted(measure['value'])}, {measure['limit']}" for measure in health if not measure["ok"]
    ]
    asks = [_doubt(measure) for measure in measures if measure["verdict"] == "unsure"]
    if not old and params.first_accuracy is None and params.first_bits is None:
        asks.append(NO_FLOOR)
    verdict = {
        "promote": not refused,
        "refused": refused,
        "asks": asks,
        "measures": measures,
        "health": health,
        "level": round(_level(params, len(measures)), 6),
        "rows": {what: len(rows) for what, rows in cases["rows"].items()},
    }
    (job.out / "verdict.json").write_text(json.dumps(verdict, ensure_ascii=False, indent=1) + "\n", "utf-8")
    (job.out / "report.html").write_text(_page(params, verdict, candidate, prod), "utf-8")
    return verdict


def judge(params: Params, measures: Sequence[Measure]) -> list[dict[str, Any]]:
    """Each measure with what became of it. Worse: the whole interval lies beyond the tolerance, and the sign test says so too."""
    level = _level(params, len(measures))
    judged = []
    for number, one in enumerate(measures):
        if not all(map(math.isfinite, one.new)):
            continue  # nothing to compare: the candidate's health says so
        base = sum(one.old) / (sum(one.weights) if one.weights else len(one.old))
        tolerance = params.bits_percent / 100 * base if one.unit == "percent" else params.share_points / 100
        how = {"level": level, "resamples": params.resamples, "seed": params.seed + number}
        paired = paired_bootstrap(one.old, one.new, one.weights, less_is_better=one.less_is_better, tolerance=tolerance, **how)  # type: ignore[arg-type]
        worse = paired.high < -tolerance and paired.p <= 1 - level
        ask = params.ask_percent / 100 * base if one.unit == "percent" else params.ask_points / 100
        verdict = "worse" if worse else "better" if paired.low > 0 else "unsure" if paired.change < -ask else "same"
        judged.append(
            {"name": one.name, "title": one.title, "unit": one.unit}
            | asdict(paired)
            | {"tolerance": round(tolerance, 6), "visible": round(_visible(one, paired, tolerance, level), 6), "verdict": verdict}
        )
    return judged


def _visible(one: Measure, paired: PairedDifference, tolerance: float, level: float) -> float:
    """About the smallest loss that would have been called worse: it takes half an interval beyond the tolerance, and of shares as many rows lost,
    none of them won, as the sign test needs."""
    rows = math.ceil(-math.log2(1 - level)) if one.unit == "points" else 0
    return max(tolerance + (paired.high - paired.low) / 2, min(rows, paired.n) / paired.n)


def _level(params: Params, measures: int) -> float:
    return 1 - (1 - params.confidence) / max(1, measures)


def _cases(folder: Path) -> dict[str, Any]:
    return json.loads((folder / "cases.json").read_text("utf-8"))


def _measures(rows: dict[str, list[dict[str, Any]]], old: dict[str, Any], new: dict[str, Any]) -> Iterator[Measure]:
    """All that both models have a value of."""

    def of(what: str, field: str, keep: list[int]) -> tuple[list[float], list[float]]:
        return tuple([float(model[what][row][field]) for row in keep] for model in (old, new))  # type: ignore[return-value]

    def numbers(what: str, group: str) -> dict[str, list[int]]:
        names = sorted({row[group] for row in rows[what]})
        return {name: [at for at, row in enumerate(rows[what]) if row[group] == name] for name in names}

    for source, keep in numbers("documents", "source").items():
        weights = [float(rows["documents"][at]["bytes"]) for at in keep]
        yield Measure(
            f"bits-{source}", f"bits per byte, {source}", "percent", *of("documents", "bits", keep), weights, less_is_better=True
        )
    for source, keep in numbers("questions", "source").items():
        yield Measure(f"accuracy-{source}", f"right choices, {source}", "points", *of("questions", "correct", keep))
    if old["pairs"] and new["pairs"]:
        titles = {"ready": "preferred pairs, ready-made", "generated": "preferred pairs, generated"}
        for origin, keep in numbers("pairs", "origin").items():
            yield Measure(f"preference-{origin}", titles[origin], "points", *of("pairs", "preferred", keep))
    if told := list(range(len(rows.get("facts", ())))):
        yield Measure("facts", "facts told right", "points", *of("facts", "right", told))
    if everything := list(range(len(rows["prompts"]))):
        yield Measure("stop", "finished answers", "points", *of("answers", "stopped", everything))
        repetitions = of("answers", "repetition", everything)
        yield Measure("repetition", "repeated 4-grams", "points", *repetitions, less_is_better=True)


def _floor(params: Params, rows: dict[str, list[dict[str, Any]]], new: dict[str, Any]) -> list[dict[str, Any]]:
    """The checks of a first model against the recipe's floor."""
    checks = []
    if (least := params.first_accuracy) is not None:
        share = sum(float(row["correct"]) for row in new["questions"]) / max(1, len(new["questions"]))
        checks.append(
            _check("first_accuracy", "right choices", share, share >= least, f"at least {least:g} wanted of a first model")
        )
    if (most := params.first_bits) is not None:
        size = max(1, sum(row["bytes"] for row in rows["documents"]))
        bits = sum(row["bits"] for row in new["documents"]) / size
        checks.append(_check("first_bits", "bits per byte", bits, bits <= most, f"at most {most:g} wanted of a first model"))
    return checks


def _check(name: str, title: str, value: float, ok: bool, limit: str) -> dict[str, Any]:
    return {
        "name": name,
        "title": title,
        "value": round(value, 6) if math.isfinite(value) else None,
        "limit": limit,
        "ok": bool(ok),
    }


def _health(params: Params, rows: dict[str, list[dict[str, Any]]], new: dict[str, Any]) -> list[dict[str, Any]]:
    """The checks of the candidate alone: it must pass them, whatever the model before it could do."""
    checks = []

    def check(name: str, title: str, value: float, ok: bool, limit: str) -> None:
        checks.append(_check(name, title, value, ok, limit))

    if size := sum(row["bytes"] for row in rows["documents"]):
        bits = sum(row["bits"] for row in new["documents"]) / size
        guess = sum(row["guess"] for row in new["documents"]) / size
        # a loss that is no number compares as false
        check("guessing", "bits per byte", bits, bits < guess, f"less than the {guess:.3f} of guessing tokens wanted")
    if answers := new["answers"]:
        shares = {name: sum(float(row[name]) for row in answers) / len(answers) for name in ("stopped", "empty", "repetition")}
        least, empty, repeated = params.min_stop_rate, params.max_empty, params.max_repetition
        check("stop", "finished answers", shares["stopped"], shares["stopped"] >= least, f"at least {least:g} wanted")
        check("empty", "answers without text", shares["empty"], shares["empty"] <= empty, f"at most {empty:g} wanted")
        repetition = shares["repetition"]
        check("repetition", "repeated 4-grams", repetition, repetition <= repeated, f"at most {repeated:g} wanted")
    return checks


def _doubt(measure: dict[str, Any]) -> str:
    """`preferred pairs, generated: 0.720 → 0.560, 16.0 points less; 25 rows show no loss below 31.2 points`"""
    unit = "%" if measure["unit"] == "percent" else "points"
    change, visible = (100 * gain_as_share(measure, name) for name in ("change", "visible"))
    return (
        f"{measure['title']}: {measure['old']:.3f} → {measure['new']:.3f}, worse by {-change:.1f} {unit}, which may be chance: {measure['n']:,} rows "
        f"show no loss below {visible:.1f} {unit}"
    )


def _lost(measure: dict[str, Any]) -> str:
    """`bits per byte, zhwiki: 2.310 → 2.945, worse by 27.5 % (25.1 to 30.2)`"""
    worse, least, most = (-100 * gain_as_share(measure, name) for name in ("change", "high", "low"))
    unit = "%" if measure["unit"] == "percent" else "points"
    return f"{measure['title']}: {measure['old']:.3f} → {measure['new']:.3f}, worse by {worse:.1f} {unit} ({least:.1f} to {most:.1f})"


def _page(params: Params, verdict: dict[str, Any], candidate: Path, prod: Path | None) -> str:
    from tasks.pages import plots

    drawn = [
        plots.Interval(
            m["title"],
            100 * gain_as_share(m, "change"),
            100 * gain_as_share(m, "low"),
            100 * gain_as_share(m, "high"),
            m["verdict"],
        )
        for m in verdict["measures"]
    ]
    new = json.loads((candidate / "answers.json").read_text("utf-8"))
    old = json.loads((prod / "answers.json").read_text("utf-8")) if prod else []
    answers = [
        {
            "prompt": row["prompt"],
            "new": list(row["answers"].values())[-1],
            "old": list(old[at]["answers"].values())[-1] if old else None,
        }
        for at, row in enumerate(new[: params.answers])
    ]
    chart = plots.intervals("gain of the candidate over production", drawn) if drawn else ""
    return render(
        "gate.html.j2", verdict=verdict, params=params, chart=chart, answers=answers, part=gain_as_share, shown=formatted
    )
