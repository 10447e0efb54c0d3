"""The report page's section on the run itself, made ready for its template: when, where and how long, cost, versions, the recipe."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

YEAR = 365.25 * 24


def run_section(facts: dict[str, Any]) -> dict[str, Any] | None:
    """The circumstances of a run as the page shows them, from `facts` (see flows/run_facts.py); None where there are none."""
    stages = [stage for stage in facts.get("stages", ()) if stage["finished"] is not None]
    if not stages:
        return None
    machines = list(dict.fromkeys(stage["machine"] for stage in stages))
    trainings = facts["trainings"]
    flops = sum(training["flops"] for training in trainings)
    spent = sum(training["accelerator_hours"] for training in trainings)
    devices = list(dict.fromkeys(training["device"] for training in trainings))
    return {
        "finished": moment(max(stage["finished"] for stage in stages)),
        "took": duration(sum(stage["seconds"] for stage in stages)),
        "machines": machines,
        "devices": devices,
        "longest": [(stage["node"], duration(stage["seconds"]), moment(stage["finished"])) for stage in stages],
        "trainings": [
            training
            | {
                "took": duration(training["seconds"]),
                "speed": f"{training['tokens_a_second']:,.0f}" if training["tokens_a_second"] else "–",
                "operations": scientific(training["flops"]),
            }
            for training in trainings
        ],
        "flops": scientific(flops),
        "accelerator_hours": hours(spent) if spent else None,
        "cards": [(name, hours(needed)) for name, needed in facts["cards"].items()],
        "share": facts["share"],
        "versions": facts["versions"],
        "recipe": facts["recipe"],
    }


def moment(seconds: float) -> str:
    """Seconds since 1970 → 2026-11-30 21:14 UTC."""
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%d %H:%M} UTC"


def duration(seconds: float) -> str:
    """`under 0.1 s`, `0.4 s`, `32 s`, `4 min 5 s`, `2 h 30 min`, `3 d 4 h`."""
    if seconds < 0.1:
        return "under 0.1 s"
    if seconds < 10:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    for unit, parts, name, part in ((86400, 3600, "d", "h"), (3600, 60, "h", "min"), (60, 1, "min", "s")):
        if whole >= unit:
            rest = whole % unit // parts
            return f"{whole // unit} {name}" + (f" {rest} {part}" if rest else "")
    return f"{whole} s"


def hours(value: float) -> str:
    """Hours with two digits that mean something: 0.0012 h is said in seconds, 3 h in hours, years of them in years."""
    if value > YEAR:
        return f"{value:,.0f} h ({value / YEAR:.1f} years)"
    return f"{value:.2g} h" if 1 <= value < 10 else f"{value:,.0f} h" if value >= 10 else duration(3600 * value)


def scientific(value: float) -> str:
    """5.3e+15 → 5.3 × 10¹⁵."""
    if not value:
        return "0"
    mantissa, _, exponent = f"{value:.1e}".partition("e")
    return f"{mantissa} × 10{str(int(exponent)).translate(str.maketrans('-0123456789', '⁻⁰¹²³⁴⁵⁶⁷⁸⁹'))}"
