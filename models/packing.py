"""Packing of texts into windows by best fit decreasing: few places stay empty, and no text is cut that would fit whole."""

from __future__ import annotations

from bisect import bisect_left, insort
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Plan:
    """A plan of windows: the rows that each holds, in flat arrays, since there may be millions."""

    rows: np.ndarray  # (n,), window by window
    starts: np.ndarray  # (windows + 1,): where each window's rows begin, and last where they end

    def __len__(self) -> int:
        return len(self.starts) - 1

    def __getitem__(self, number: int) -> np.ndarray:
        if not 0 <= number < len(self):
            raise IndexError(number)
        return self.rows[self.starts[number] : self.starts[number + 1]]


def best_fit(lengths: np.ndarray, room: int) -> Plan:
    """The plan of rows with these lengths (n,), of 1 to `room` tokens each: windows in the order in which they were opened.

    From the longest to the shortest, each goes into the window with the least room that still takes it (Ding et al.,
    https://arxiv.org/abs/2404.10830, section 3). Rows of one length are placed together: a window that takes one is then the one with the
    least room, and takes as many as fit, so the work is a few array operations a length, and a sort. Equal input gives equal windows.
    """
    assert len(lengths) == 0 or 0 < lengths.min() <= lengths.max() <= room, "a row is empty, or longer than a window"
    placed = np.empty(len(lengths), np.int64)  # window of each row, the longest row first
    with_room: dict[int, np.ndarray] = {}  # places left → windows that have as many
    left: list[int] = []  # the keys of `with_room`, sorted
    done = windows = 0
    sizes, counts = np.unique(lengths, return_counts=True)
    for size, waiting in zip(sizes[::-1].tolist(), counts[::-1].tolist(), strict=True):
        while waiting:
            at = bisect_left(left, size)
            if at < len(left):
                places = left.pop(at)
                having = with_room.pop(places)
            else:
                places = room
                having = np.arange(windows, windows + -(-waiting // (room // size)))
                windows += len(having)
            each = places // size
            used, others = np.split(having, [-(-waiting // each)])
            takes = np.full(len(used), each)
            takes[-1] = min(each, waiting - each * (len(used) - 1))
            number = int(takes.sum())
            placed[done : done + number] = np.repeat(used, takes)
            done, waiting = done + number, waiting - number
            rests = ((places, others), (places - each * size, used[:-1]), (places - int(takes[-1]) * size, used[-1:]))
            for rest, those in rests:
                if rest and len(those):
                    if rest in with_room:
                        those = np.concatenate([with_room[rest], those])
                    else:
                        insort(left, rest)
                    with_room[rest] = those
    longest_first = np.argsort(-lengths, kind="stable")
    starts = np.concatenate([[0], np.cumsum(np.bincount(placed, minlength=windows))])
    return Plan(longest_first[np.argsort(placed, kind="stable")], starts)


def waste(lengths: np.ndarray, windows: int, room: int) -> float:
    """The share of the windows' places that stay empty."""
    return 1 - float(lengths.sum()) / (windows * room) if windows else 0.0
