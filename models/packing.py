"""Which texts share a window: best fit decreasing, so that few places stay empty and no text is cut that would fit whole."""

from __future__ import annotations

from bisect import bisect_left, insort

import numpy as np


def best_fit(lengths: np.ndarray, room: int) -> list[np.ndarray]:
    """Rows (n,) of at most `room` tokens each → the rows of each window, in the order in which windows were opened.

    From the longest to the shortest, each goes into the window with the least room that still takes it (Ding et al.,
    https://arxiv.org/abs/2404.10830, section 3): n · log(room) work. Equal input gives equal windows.
    """
    assert len(lengths) == 0 or lengths.max() <= room, "a row is longer than a window"
    windows: list[list[int]] = []
    with_room: dict[int, list[int]] = {}  # places left → windows that have as many
    left: list[int] = []  # the keys of `with_room`, sorted
    for row in np.argsort(-lengths, kind="stable").tolist():
        length = int(lengths[row])
        at = bisect_left(left, length)
        if at == len(left):
            window, places = len(windows), room
            windows.append([])
        else:
            places = left[at]
            window = with_room[places].pop()
            if not with_room[places]:
                del with_room[places], left[at]
        windows[window].append(row)
        rest = places - length
        if rest:
            if rest not in with_room:
                with_room[rest] = []
                insort(left, rest)
            with_room[rest].append(window)
    return [np.array(window) for window in windows]


def waste(lengths: np.ndarray, windows: int, room: int) -> float:
    """Share of the windows' places that stay empty."""
    return 1 - float(lengths.sum()) / (windows * room) if windows else 0.0
