"""A graph as boxes and lines, for a wide page and for a narrow one. The page draws them, and owns text and colour."""

from __future__ import annotations

import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

Labels = Mapping[str, Sequence[str]]  # node → the lines of text in its box
LINE = 13.0  # height of a line of text


@dataclass(frozen=True)
class Box:
    """A node where the page draws it: left, top, width, height in user units."""

    name: str
    x: float
    y: float
    w: float
    h: float


@dataclass(frozen=True)
class Drawing:
    """Boxes and the paths (SVG `d`) between them."""

    width: float
    height: float
    boxes: tuple[Box, ...]
    paths: tuple[str, ...]


def size(node: str, labels: Labels | None) -> tuple[float, float]:
    """Width and height of a node's box: of its name with a small line below, or of the lines of its label."""
    lines = labels[node] if labels else [node]
    wide = max(72.0, *(6.5 * columns(line) + 14 for line in lines))
    return wide, LINE * len(lines) + 10 if labels else 38.0


def columns(text: str) -> float:
    """Columns that a text takes; a Chinese character takes nearly two."""
    return sum(1.8 if unicodedata.east_asian_width(character) in "WF" else 1.0 for character in text)


def across(parents: dict[str, list[str]], labels: Labels | None = None) -> Drawing:
    """The graph from left to right for a wide page: a column a rank (the longest way from a start), nodes of one rank stacked.

    `parents` maps every node to those it reads, in an order in which parents come first. An edge to the next column is a curve; one
    that skips columns is an arc, those that end in the last column above, the others below.
    """
    rank: dict[str, int] = {}
    for node, read in parents.items():
        rank[node] = 1 + max((rank[parent] for parent in read), default=-1)
    ranks = [[node for node in parents if rank[node] == number] for number in range(max(rank.values(), default=-1) + 1)]
    for column in ranks:  # what skips columns stands at the bottom, so that its arcs cross no box
        column.sort(key=lambda node: any(node in read and rank[reader] - rank[node] > 1 for reader, read in parents.items()))
    gap, sizes = 22.0, {node: size(node, labels) for node in parents}
    high = max((tall for _, tall in sizes.values()), default=0.0)
    skips = [(parent, node) for node, read in parents.items() for parent in read if rank[node] - rank[parent] > 1]
    above = [edge for edge in skips if rank[edge[1]] == len(ranks) - 1 and len(ranks[rank[edge[0]]]) == 1]
    longest = max((rank[node] - rank[parent] for parent, node in skips), default=0)
    room = 8.0 + 7.0 * longest
    heights = [sum(sizes[node][1] + 8 for node in column) - 8 for column in ranks]
    tallest = max(heights, default=0.0)
    middle = max(room + high / 2, tallest / 2) + 2
    boxes: dict[str, Box] = {}
    x = 1.0
    for column, height in zip(ranks, heights, strict=True):
        wide = max(sizes[node][0] for node in column)
        top = middle - height / 2
        for node in column:
            boxes[node] = Box(node, x, top, wide, sizes[node][1])
            top += sizes[node][1] + 8
        x += wide + gap
    paths, lowest = [], 0.0
    for node, read in parents.items():
        for parent in read:
            a, b = boxes[parent], boxes[node]
            if (parent, node) not in skips:
                wide, fall = b.x - a.x - a.w, (b.y + b.h / 2) - (a.y + a.h / 2)
                curve = f"c{wide / 2:.1f} 0 {wide / 2:.1f} {fall:.1f} {wide:.1f} {fall:.1f}"
                paths.append(f"M{a.x + a.w:.1f} {a.y + a.h / 2:.1f}{curve}")
                continue
            depth = 10.0 + 9.0 * (rank[node] - rank[parent])
            up = (parent, node) in above
            start = (a.x + a.w * 0.62, a.y if up else a.y + a.h)
            end = (b.x + b.w * 0.38, b.y if up else b.y + b.h)
            turn = min(start[1], end[1]) - depth if up else max(start[1], end[1]) + depth
            lowest = max(lowest, (3 * turn + start[1]) / 4)
            paths.append(
                f"M{start[0]:.1f} {start[1]:.1f}C{start[0]:.1f} {turn:.1f} {end[0]:.1f} {turn:.1f} {end[0]:.1f} {end[1]:.1f}"
            )
    height = max([lowest, *(box.y + box.h for box in boxes.values())]) + 4
    return Drawing(max(x - gap + 1, 1), height, tuple(boxes.values()), tuple(paths))


def down(parents: dict[str, list[str]], labels: Labels | None = None) -> Drawing:
    """The graph from top to bottom for a narrow page: a row a node, in order; what skips rows is an arc to the right or, into the
    last row, to the left."""
    gap, side, top = 12.0, 74.0, 2.0
    wide = max((size(node, labels)[0] for node in parents), default=0.0) if labels else 190.0
    order = {node: number for number, node in enumerate(parents)}
    boxes: dict[str, Box] = {}
    for node in parents:
        boxes[node] = Box(node, side, top, wide, size(node, labels)[1] if labels else 34.0)
        top += boxes[node].h + gap
    paths = []
    for node, read in parents.items():
        for parent in read:
            a, b, skipped = boxes[parent], boxes[node], order[node] - order[parent]
            if skipped == 1:
                paths.append(f"M{a.x + a.w / 2:.1f} {a.y + a.h:.1f}v{gap:.1f}")
                continue
            left = order[node] == len(order) - 1
            edge = a.x if left else a.x + a.w
            turn = edge + (-1 if left else 1) * min(side * 1.3, 14.0 + 7.0 * skipped)
            start, end = a.y + a.h * 0.7, b.y + b.h * 0.3
            paths.append(f"M{edge:.1f} {start:.1f}C{turn:.1f} {start:.1f} {turn:.1f} {end:.1f} {edge:.1f} {end:.1f}")
    return Drawing(side * 2 + wide, 2 + top - gap, tuple(boxes.values()), tuple(paths))
