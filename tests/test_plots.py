"""Charts of the report page, and its drawing of the pipeline."""

from __future__ import annotations

import itertools
import math
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.pages import diagram, plots


def test_a_chart_takes_its_colours_from_the_page() -> None:
    svg = plots.curves(
        "<name> & co",
        [plots.Line("a $5 & <b>", [1, 2], [3, 4]), plots.Line("other", [1, 2], [1, 2], 2, "points")],
        y="y",
        level=2.0,
    )
    assert 'aria-label="&lt;name&gt; &amp; co"' in svg and "a $5 &amp; &lt;b&gt;" in svg
    assert "var(--c1)" in svg and "var(--c2)" in svg and "var(--muted)" in svg
    assert not re.search(r"#[0-9a-f]{6}\b(?!\))", re.sub(r'"#[^"]+"|url\(#[^)]+\)|id="[^"]+"', "", svg)), (
        "a colour that no page chose"
    )
    assert "<style" not in svg and "<metadata" not in svg and "xmlns" not in svg


def test_a_long_series_is_drawn_light_and_keeps_its_extremes() -> None:
    steps = list(range(20_000))
    values = [math.sin(step / 50) for step in steps]
    values[777] = 40.0
    assert len(plots.curves("long", [plots.Line("", steps, values)], y="")) < 30_000
    xs, low, mean, high = plots._buckets(steps, values)
    assert len(xs) <= plots.BUCKETS and max(high) == 40.0 and all(a <= b <= c for a, b, c in zip(low, mean, high, strict=True))


@given(
    st.integers(1, 12).flatmap(
        lambda n: st.tuples(*[st.sets(st.integers(0, max(0, node - 1)), max_size=min(3, node)) for node in range(n)])
    )
)
def test_no_two_boxes_of_a_drawing_meet(graph: tuple[set[int], ...]) -> None:
    parents = {f"node-{node}": [f"node-{parent}" for parent in sorted(read) if parent < node] for node, read in enumerate(graph)}
    labels = {name: [name, *["一行字"] * (number % 4)] for number, name in enumerate(parents)}
    for drawn in (
        *(draw(parents) for draw in (diagram.across, diagram.down)),
        *(draw(parents, labels) for draw in (diagram.across, diagram.down)),
    ):
        assert {box.name for box in drawn.boxes} == set(parents) and len(drawn.paths) == sum(map(len, parents.values()))
        for box in drawn.boxes:
            assert box.x >= 0 and box.x + box.w <= drawn.width and box.y >= 0 and box.y + box.h <= drawn.height
        for one, other in itertools.combinations(drawn.boxes, 2):
            apart = one.x + one.w < other.x or other.x + other.w < one.x or one.y + one.h < other.y or other.y + other.h < one.y
            assert apart, (one, other)


LABELS = re.compile(r"<text[^>]*>([^<]*)</text>")


@pytest.mark.parametrize(
    "y", [[2.5] * 3, [0.0] * 3, [1.0, 1.0 + 1e-9, 1.0], [75100.0, 75101.0, 75100.5], [1e13, 3e15, 2e18], [1e-13, 2e-11, 3e-12]]
)
def test_no_two_ticks_of_an_axis_read_the_same(y: list[float]) -> None:
    labels = LABELS.findall(plots.curves("odd", [plots.Line("", [1, 2, 3], y)], y="nats"))
    ticks = labels[labels.index("step") + 1 : -1]
    assert len(ticks) >= 2 and len(set(ticks)) == len(ticks) and all(len(tick) <= 12 for tick in ticks)


def test_a_single_step_is_on_an_axis_of_whole_steps_and_no_share_is_above_one() -> None:
    labels = LABELS.findall(plots.curves("one", [plots.Line("", [5], [1.0], 1, "points")], y="share of pairs"))
    assert labels[:3] == ["4", "5", "6"] and all(float(tick) <= 1 for tick in labels[4:-1])


def test_a_histogram_without_rows_has_no_negative_ones() -> None:
    assert not any(
        label.startswith("-") for label in LABELS.findall(plots.histogram("none", ["0", "1"], [0], [0], x="characters"))
    )


@pytest.mark.parametrize(
    ("value", "said"),
    [
        (0, "0"),
        (5, "5"),
        (0.00025, "2.5e-4"),
        (1024, "1024"),
        (12345, "12.3k"),
        (3_212_416, "3.21M"),
        (2e9, "2G"),
        (-0.5, "-0.5"),
        (3e-4, "3e-4"),
    ],
)
def test_short_numbers(value: float, said: str) -> None:
    assert plots.short_number(value) == said
