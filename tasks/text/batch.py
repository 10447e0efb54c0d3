"""One look at many texts at a time, for what most of them have nothing of: what a look costs by itself is then paid once for all."""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Sequence
from itertools import accumulate

BETWEEN = "\n"  # the texts, as they are looked at together


def with_match(pattern: re.Pattern[str], texts: Sequence[str]) -> list[bool]:
    """For each text, True where the pattern matches in it. No match of the pattern may hold a line end or look beyond one."""
    joined = BETWEEN.join(texts)
    ends = list(accumulate(len(text) + 1 for text in texts))
    found = [False] * len(texts)
    match = pattern.search(joined)
    while match:
        place = bisect_right(ends, match.start())
        found[place] = True
        match = pattern.search(joined, ends[place])
    return found
