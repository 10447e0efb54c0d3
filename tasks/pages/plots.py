"""Charts as inline SVG: matplotlib draws them, the page that holds them colours them.

Every colour that matplotlib writes is a stand-in that becomes a CSS variable (`var(--c1)` …, `currentColor`) afterwards, so one drawing
serves a light and a dark page. Text stays text (the page's font, readable by screen readers and by search). Equal figures give equal
bytes: ids are salted with the chart's name, no date is written, and no setting of the user's matplotlib is read.
"""

from __future__ import annotations

import html
import io
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from matplotlib.axes import Axes

# stand-in → what the page says. The page defines --c1 … --c4: four hues (blue, vermilion, green, purple) that people with any of the
# common colour deficiencies tell apart, each with a light and a dark tone.
_STAND_INS = {
    "#010101": "currentColor",
    "#020202": "var(--muted)",
    "#030303": "var(--rule)",
    "#040404": "var(--faint)",
    "#050505": "var(--page)",
    "#0000a1": "var(--c1)",
    "#0000a2": "var(--c2)",
    "#0000a3": "var(--c3)",
    "#0000a4": "var(--c4)",
}
Mark = Literal["line", "points"]

_INK, _MUTED, _RULE, _FAINT, _PAGE, *_SERIES = _STAND_INS

_STYLE = {
    "svg.fonttype": "none",
    "text.parse_math": False,  # a dollar sign in a name is a dollar sign
    "font.size": 10.5,
    "text.color": _INK,
    "axes.edgecolor": _RULE,
    "axes.labelcolor": _MUTED,
    "axes.labelsize": 9.5,
    "axes.linewidth": 1.0,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.spines.left": False,
    "axes.axisbelow": True,
    "axes.grid": True,
    "axes.grid.axis": "y",
    "grid.color": _RULE,
    "grid.linewidth": 0.8,
    "xtick.color": _RULE,
    "ytick.color": _RULE,
    "xtick.labelcolor": _MUTED,
    "ytick.labelcolor": _MUTED,
    "xtick.labelsize": 9.5,
    "ytick.labelsize": 9.5,
    "ytick.major.size": 0,
    "lines.linewidth": 1.8,
    "lines.solid_capstyle": "round",
    "legend.frameon": False,
    "legend.fontsize": 9.5,
    "legend.handlelength": 1.2,
    "legend.borderaxespad": 0.0,
    "legend.borderpad": 0.0,
    "figure.facecolor": "none",
    "axes.facecolor": "none",
}

# what a drawing by itself says instead: the colours of a light page
_LIGHT = {
    "currentColor": "#1f1e1c",
    "var(--muted)": "#6d6a64",
    "var(--rule)": "#e4e0d8",
    "var(--faint)": "#d3d0c8",
    "var(--page)": "#ffffff",
    "var(--c1)": "#2c69ad",
    "var(--c2)": "#cc5a1f",
    "var(--c3)": "#0d8468",
    "var(--c4)": "#98478a",
}

WIDTH = 4.2  # of a chart, in inches
BUCKETS = 150  # points a line is drawn with: more than a 380-pixel chart can show, few enough to keep the page light


@dataclass(frozen=True)
class Chart:
    """A drawing and what is written over it."""

    title: str
    svg: str


@dataclass(frozen=True)
class Line:
    """One series over steps. `colour` is 1 to 4. `points` marks every value, for a series of few."""

    label: str
    x: Sequence[float]
    y: Sequence[float]
    colour: int = 1
    mark: Mark = "line"


def curves(name: str, lines: Sequence[Line], *, y: str, x: str = "step", height: float = 2.4, level: float | None = None) -> str:
    """Lines over steps, on plain axes. A series longer than `BUCKETS` is drawn as bucket means over a band from least to most.

    `level` draws a dotted line to compare with (chance, zero). Returns one `<svg>` element.
    """
    with _chart(name, height) as (axes, result):
        for line in lines:
            colour = _SERIES[line.colour - 1]
            if line.mark == "points":
                axes.plot(
                    line.x, line.y, color=colour, marker="o", markersize=4, linewidth=1.2, linestyle=(0, (4, 2)), label=line.label
                )
                continue
            steps, low, mean, high = _buckets(line.x, line.y)
            if len(line.y) > len(mean):
                axes.fill_between(steps, low, high, color=colour, alpha=0.22, linewidth=0)
            axes.plot(steps, mean, color=colour, label=line.label)
        if level is not None:
            axes.axhline(level, color=_MUTED, linewidth=1.0, linestyle=(0, (1, 2)))
        axes.set_xlabel(x)
        axes.margins(x=0.02)
        if y.startswith("share"):
            axes.set_ylim(max(0.0, axes.get_ylim()[0]), min(1.0, axes.get_ylim()[1]))
            for drawn in axes.lines:
                drawn.set_clip_on(False)  # a mark at 1 is whole
        if len(lines) > 1:
            axes.legend(loc="lower left", bbox_to_anchor=(0.0, 1.05), ncols=len(lines), columnspacing=1.4)
        axes.text(1.0, 1.05, y, transform=axes.transAxes, ha="right", va="bottom", color=_MUTED, fontsize=9.5)
        _thin_ticks(axes, height)
    return result[0]


def histogram(
    name: str, labels: Sequence[str], before: Sequence[float], after: Sequence[float], *, x: str, y: str = "rows"
) -> str:
    """Counts per bucket, before (pale) and after (strong). `labels` name the bounds of the buckets: one more than there are buckets."""
    assert len(labels) == len(before) + 1 == len(after) + 1, "a histogram has one bound more than it has buckets"
    with _chart(name, 2.2) as (axes, result):
        left = range(len(before))
        axes.bar(left, before, width=0.92, align="edge", color=_FAINT, label="before")
        axes.bar(left, after, width=0.92, align="edge", color=_SERIES[0], label="after")
        every = max(1, -(-len(labels) // 9))
        axes.set_xticks(range(0, len(labels), every), [labels[at] for at in range(0, len(labels), every)])
        axes.set_xlim(-0.1, len(before) + 0.1)
        axes.set_ylim(0, None if any(before) or any(after) else 1)
        axes.set_xlabel(x)
        axes.legend(loc="lower left", bbox_to_anchor=(0.0, 1.05), ncols=2, columnspacing=1.4)
        axes.text(1.0, 1.05, y, transform=axes.transAxes, ha="right", va="bottom", color=_MUTED, fontsize=9.5)
        _thin_ticks(axes, 2.2, x=False)
    return result[0]


def expert_shares(name: str, rows: Sequence[Sequence[float]]) -> str:
    """The use of experts, a layer a row, an expert a column: its share of the layer's tokens in percent, the darker the larger.

    The columns of a row sum to 1.
    """
    even = 1 / len(rows[0])
    height = 0.85 + 0.22 * len(rows)
    with _chart(name, height) as (axes, result):
        for layer, row in enumerate(rows):
            for expert, share in enumerate(row):
                # an even share is a third as dark as three times as much
                axes.bar(
                    expert, 0.92, 0.94, layer - 0.46, color=_SERIES[0], alpha=min(1.0, 0.05 + share / even / 3.3), linewidth=0
                )
                if len(row) <= 16:
                    dark = share > 1.6 * even
                    axes.text(
                        expert, layer, f"{100 * share:.0f}", ha="center", va="center", fontsize=8.5, color=_PAGE if dark else _INK
                    )
        axes.set_xlim(-0.6, len(rows[0]) - 0.4)
        axes.set_ylim(len(rows) - 0.4, -0.6)
        axes.grid(False)
        axes.set_xticks(range(0, len(rows[0]), max(1, len(rows[0]) // 8)))
        axes.set_yticks(range(0, len(rows), max(1, len(rows) // 8)))
        axes.set_xlabel("expert")
        axes.text(0.0, 1.0, "layer", transform=axes.transAxes, ha="right", va="bottom", color=_MUTED, fontsize=9.5)
        axes.text(
            1.0,
            1.0,
            f"% of tokens; {100 * even:.3g} is even",
            transform=axes.transAxes,
            ha="right",
            va="bottom",
            color=_MUTED,
            fontsize=9.5,
        )
    return result[0]


def standalone(svg: str) -> str:
    """A drawing as a picture of its own, on white, for where no page colours it."""
    for name, colour in _LIGHT.items():
        svg = svg.replace(name, colour)
    box = re.search(r'viewBox="0 0 ([\d.]+) ([\d.]+)"', svg)
    assert box, "drawings start at the origin"
    size = f'width="{2 * float(box[1]):.0f}" height="{2 * float(box[2]):.0f}" font-family="sans-serif"'
    svg = svg.replace("<svg ", f'<svg xmlns="http://www.w3.org/2000/svg" {size} ', 1)
    return re.sub(r"^<svg[^>]*>", lambda head: head[0] + '<rect width="100%" height="100%" fill="#ffffff"/>', svg)


@dataclass(frozen=True)
class Interval:
    """A gain with its bounds, in percent or percentage points; `verdict` is better, worse or same."""

    label: str
    value: float
    low: float
    high: float
    verdict: str


def intervals(name: str, rows: Sequence[Interval]) -> str:
    """Gains with their intervals, a line each, beside a line at zero. Beyond one the scale is logarithmic, so that all fit."""
    from matplotlib.ticker import FixedLocator, FuncFormatter

    colours = {"worse": _SERIES[1], "better": _SERIES[2], "same": _MUTED, "unsure": _SERIES[1]}
    height = 0.78 + 0.34 * len(rows)
    with _chart(name, height, left=1.95) as (axes, result):
        for at, row in enumerate(rows):
            colour = colours[row.verdict]
            axes.plot((row.low, row.high), (at, at), color=colour, linewidth=2.4)
            axes.plot((row.value,), (at,), color=colour, marker="o", markersize=5)
        axes.axvline(0, color=_MUTED, linewidth=1.0, linestyle=(0, (1, 2)))
        axes.set_xscale("symlog", linthresh=1, linscale=0.6)
        far = max([1.5, *(abs(bound) for row in rows for bound in (row.low, row.high))]) * 1.15
        axes.set_xlim(-far, far)
        axes.xaxis.set_major_locator(FixedLocator([t for t in (-100, -10, -1, 0, 1, 10, 100) if abs(t) <= far]))
        axes.xaxis.set_minor_locator(FixedLocator([]))
        axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:+g}" if value else "0"))
        axes.grid(visible=False)
        axes.grid(axis="x", visible=True)
        axes.set_yticks(range(len(rows)), [row.label for row in rows])
        axes.set_ylim(len(rows) - 0.5, -0.5)
        axes.text(0.0, 1.0, "← worse", transform=axes.transAxes, ha="left", va="bottom", color=_MUTED, fontsize=9.5)
        axes.text(1.0, 1.0, "better →", transform=axes.transAxes, ha="right", va="bottom", color=_MUTED, fontsize=9.5)
        axes.set_xlabel("gain, in % (bits) or points (shares)")
    return result[0]


def _buckets(x: Sequence[float], y: Sequence[float]) -> tuple[list[float], list[float], list[float], list[float]]:
    """Last step, least, mean and most of each of at most `BUCKETS` runs of neighbouring values."""
    size = -(-len(y) // BUCKETS)
    runs = [(x[at : at + size], y[at : at + size]) for at in range(0, len(y), size)] if size else []
    steps = [float(run[-1]) for run, _ in runs]
    return steps, [min(run) for _, run in runs], [sum(run) / len(run) for _, run in runs], [max(run) for _, run in runs]


def _thin_ticks(axes: Axes, height: float, x: bool = True) -> None:
    """Few, round ticks with thousands as k: a chart is 380 pixels wide and shrinks with the page. No two of an axis read the same."""
    from matplotlib.ticker import Formatter, MaxNLocator

    class Short(Formatter):
        def __call__(self, value: float, place: int | None = None) -> str:
            return short_number(value)

        def format_ticks(self, values: Sequence[float]) -> list[str]:
            return tick_labels(values)

    axes.yaxis.set_major_locator(MaxNLocator(max(2, round(2 * height)), steps=[1, 2, 5, 10]))
    axes.yaxis.set_major_formatter(Short())
    if x:
        low, high = axes.get_xlim()
        if high - low < 2:  # a single step
            axes.set_xlim(round((low + high) / 2) - 1, round((low + high) / 2) + 1)
        axes.xaxis.set_major_locator(MaxNLocator(5, steps=[1, 2, 5, 10], integer=True))
        axes.xaxis.set_major_formatter(Short())


def tick_labels(values: Sequence[float]) -> list[str]:
    """Short numbers, with as many more digits as it takes to tell neighbours apart: 75,100 and 75,101 are not both 75.1k."""
    labels = [short_number(value) for value in values]
    digits = 5
    while len(set(labels)) < len(set(values)) and digits <= 17:
        labels = [f"{value:.{digits}g}" for value in values]
        digits += 1
    return labels


def short_number(value: float) -> str:
    """At most four significant digits, large numbers with k, M, G or T: 0.00025 → 2.5e-4, 12345 → 12.3k, 5 → 5, 1e18 → 1e18."""
    if abs(value) >= 1e15:
        return f"{value:.3g}".replace("e+", "e")
    for least, size, unit in ((1e12, 1e12, "T"), (1e9, 1e9, "G"), (1e6, 1e6, "M"), (1e4, 1e3, "k")):
        if abs(value) >= least:
            return f"{value / size:.3g}{unit}"
    if value and abs(value) < 1e-2:
        mantissa, _, exponent = f"{value:.2e}".partition("e")
        return f"{float(mantissa):g}e{int(exponent)}"
    return f"{value:.4g}"


@contextmanager
def _chart(name: str, height: float, left: float = 0.5) -> Iterator[tuple[Any, list[str]]]:
    """Axes to draw on; when the block ends, the list holds the `<svg>` text. Height and the room left of the axes in inches; all charts
    are equally wide."""
    import matplotlib
    from matplotlib.backends.backend_svg import FigureCanvasSVG
    from matplotlib.figure import Figure

    defaults = {key: value for key, value in matplotlib.rcParamsDefault.items() if "backend" not in key}
    result: list[str] = []
    with matplotlib.rc_context({**defaults, **_STYLE, "svg.hashsalt": name}):
        figure = Figure(figsize=(WIDTH, height))
        FigureCanvasSVG(figure)
        # fixed margins: charts in a row line up, and matplotlib need not draw each twice to find out how much its labels take
        yield figure.add_axes((left / WIDTH, 0.46 / height, 1 - (left + 0.12) / WIDTH, 1 - 0.78 / height)), result
        text = io.StringIO()
        figure.savefig(text, format="svg", metadata={"Date": None, "Creator": None, "Format": None, "Type": None})
    result.append(_inline(text.getvalue(), name))


def _inline(svg: str, name: str) -> str:
    """A drawing as a browser needs it inside a page: no prologue, no global style rule, no fixed size, no id that nothing refers to."""
    svg = svg[svg.index("<svg") :].strip()
    svg = re.sub(
        r"<style.*?</style>|<metadata.*?</metadata>|<!--.*?-->", "", svg, flags=re.S
    )  # its `*` rule would style the page
    svg = svg.replace("xlink:href", "href")
    references = set(re.findall(r"(?:href=\"#|url\(#)([^\")]+)", svg))
    svg = re.sub(r' id="([^"]+)"', lambda match: match[0] if match[1] in references else "", svg)
    svg = re.sub(
        r"font-family:[^;\"]*;?|font: ([\d.]+px)[^;\"]*", lambda match: f"font-size: {match[1]}" if match[1] else "", svg
    )
    for stand_in, spelling in _STAND_INS.items():
        svg = svg.replace(stand_in, spelling)
    box = re.search(r'viewBox="([^"]+)"', svg)
    assert box, "matplotlib writes a viewBox"
    svg = re.sub(r"\s*\n\s*", "\n", svg)
    return re.sub(r"^<svg[^>]*>", f'<svg class="chart" role="img" aria-label="{html.escape(name)}" viewBox="{box[1]}">', svg)
