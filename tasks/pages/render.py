"""Rendering of the pages that stages write: one file each, without a script. All text from data is escaped."""

from __future__ import annotations

from pathlib import Path
from typing import Any


def render(name: str, **values: Any) -> str:
    """The page of a template beside this file. A value that it shows and does not get is an error."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent, "utf-8"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"n": lambda value: f"{value:,}", "pct": percent, "size": size, "visible": visible}
    return environment.get_template(name).render(values)


def percent(share: float) -> str:
    """0.6123 → 61.2 %, with a space that does not break; a share that is not 0 or 1 never looks as if it were."""
    if 0 < share < 0.0005:
        return "<\u00a00.1\u00a0%"
    if 0.9995 <= share < 1:
        return ">\u00a099.9\u00a0%"
    return f"{100 * share:.1f}\u00a0%"


def visible(token: str) -> str:
    """A token with its white space shown: a middle dot for a space, arrows for a line break and a tab."""
    return token.replace(" ", "·").replace("\n", "↵").replace("\t", "⇥").replace("\r", "␍")


def size(count: int) -> str:
    """Bytes with a unit of 1,000: 1234567 → 1.23 MB."""
    for least, unit in ((1e9, "GB"), (1e6, "MB"), (1e3, "kB")):
        if count >= least:
            return f"{count / least:.3g} {unit}"
    return f"{count} B"
