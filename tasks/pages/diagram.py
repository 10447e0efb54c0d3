"""The pipeline's graph as boxes and lines, for a wide page and for a narrow one. The page draws them, and owns text and colour."""

from __future__ import annotations

from dataclasses import dataclass


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


def across(parents: dict[str, list[str]]) -> Drawing:
    """The graph from left to right for a wide page: a column a rank (the longest way from a start), nodes of one rank stacked.

    `parents` maps every node to those it reads, in an order in which parents come first. An edge to the next column is a curve; one
    that skips columns is an arc, those that end in the last column above, the others below.
    """
    rank: dict[str, int] = {}
    for node, read in parents.items():
        rank[node] = 1 + max((rank[parent] for parent in read), default=-1)
    columns = [[node for node in parents if rank[node] == number] for number in range(max(rank.values(), default=-1) + 1)]
    for column in columns:  # what skips columns stands at the bottom, so that its arcs cross no box
        column.sort(key=lambda node: any(node in read and rank[reader] - rank[node] > 1 for reader, read in parents.items()))
    high, gap = 38.0, 22.0
    skips = [(parent, node) for node, read in parents.items() for parent in read if rank[node] - rank[parent] > 1]
    above = [edge for edge in skips if rank[edge[1]] == len(columns) - 1 and len(columns[rank[edge[0]]]) == 1]
    longest = max((rank[node] - rank[parent] for parent, node in skips), default=0)
    room = 8.0 + 7.0 * longest
    tallest = max((len(column) for column in columns), default=0) * (high + 8) - 8
    middle = max(room + high / 2, tallest / 2) + 2
    boxes: dict[str, Box] = {}
    x = 1.0
    for column in columns:
        wide = max(72.0, *(6.5 * len(node) + 14 for node in column))
        top = middle - (len(column) * (high + 8) - 8) / 2
        for number, node in enumerate(column):
            boxes[node] = Box(node, x, top + number * (high + 8), wide, high)
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


def down(parents: dict[str, list[str]]) -> Drawing:
    """The graph from top to bottom for a narrow page: a row a node, in order; what skips rows is an arc to the right or, into the
    last row, to the left."""
    high, gap, side, wide = 34.0, 12.0, 74.0, 190.0
    order = {node: number for number, node in enumerate(parents)}
    boxes = {node: Box(node, side, 2 + number * (high + gap), wide, high) for node, number in order.items()}
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
    return Drawing(side * 2 + wide, 4 + len(order) * (high + gap) - gap, tuple(boxes.values()), tuple(paths))
