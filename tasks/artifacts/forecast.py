"""The forecast of the day on which the disk of a store is full, from the sizes and the dates of its artifacts."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from tasks.artifacts.store import Record

WINDOW = 30.0  # days looked back
DAY = 86400.0


@dataclass(frozen=True)
class Forecast:
    """The growth of a store: `made` and `removed` are bytes of the last `over` days, `growth` the bytes a day that stay.

    `days` is None where nothing grows.
    """

    free: int
    held: int
    made: int
    removed: int
    over: float
    growth: float
    days: float | None

    @property
    def line(self) -> str:
        if self.days is None:
            return f"the store does not grow; {self.free / 1e9:,.1f} GB are free"
        return f"at {self.growth / 1e9:,.2f} GB a day the {self.free / 1e9:,.1f} GB that are free last {self.days:,.0f} days"

    def rows(self) -> list[dict[str, Any]]:
        """The forecast as a table for people."""
        span = f"in the last {self.over:.1f} days"
        sizes = [
            ("free", self.free),
            ("held by artifacts", self.held),
            (f"made {span}", self.made),
            (f"removed of it {span}", self.removed),
        ]
        rows = [{"what": what, "GB": f"{size / 1e9:,.3f}"} for what, size in sizes]
        rows.append({"what": "growth a day", "GB": f"{self.growth / 1e9:,.3f}"})
        return [*rows, {"what": "days until it is full", "GB": "–" if self.days is None else f"{self.days:,.0f}"}]


def forecast(records: Sequence[Record], free: int, now: float | None = None) -> Forecast:
    """The growth of the last `WINDOW` days (since the first artifact, if the store is younger; at least one), continued.

    What was made and has been collected since weighs nothing.
    """
    now = time.time() if now is None else now
    dated = [(record, float(record.made["finished"])) for record in records]
    first = min((at for _, at in dated), default=now)
    over = min(WINDOW, max(1.0, (now - first) / DAY))
    recent = [record for record, at in dated if at > now - over * DAY - 1]
    built, removed = sum(record.bytes for record in recent), sum(record.bytes for record in recent if record.collected)
    growth = (built - removed) / over
    stored = sum(record.bytes for record, _ in dated if not record.collected)
    return Forecast(free, stored, built, removed, over, growth, free / growth if growth > 0 else None)
