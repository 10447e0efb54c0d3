"""Shards of converted rows: kept and dropped rows written with their counts."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from tasks.artifacts.stage import Stats
from tasks.data.excerpts import excerpt
from tasks.data.rows import LONGEST, Drop, Row, Writer, content, row_id
from tasks.text import privacy
from tasks.text.normalise import storable


def write_shard(source: str, kind: str, convert: Callable[[Row], Row | Drop], rows: Iterable[Row | Drop], draft: Path) -> Stats:
    """Convert rows and write them, with id and source, as `<kind>.parquet` and `dropped.parquet`; returns the counts."""
    total = kept = characters = 0
    dropped: dict[str, int] = {}
    with Writer(draft / f"{kind}.parquet", kind) as good, Writer(draft / "dropped.parquet", "dropped") as bad:
        for row in rows:
            total += 1
            result = row if isinstance(row, Drop) else convert(row)
            if isinstance(result, Drop):
                dropped[result.reason] = dropped.get(result.reason, 0) + 1
                bad.add(_dropped(source, result))
            else:
                parts = content(kind, result)
                kept, characters = kept + 1, characters + sum(map(len, parts))
                good.add({**result, "id": row_id(*parts), "source": source})
    return {"in": total, "kept": kept, "dropped": dropped, "characters": characters}


def _dropped(source: str, drop: Drop) -> dict[str, Any]:
    detail = privacy.mask(storable(drop.detail)[:LONGEST])[0]
    text = excerpt(storable(drop.excerpt), LONGEST)
    return {"id": row_id(drop.reason, detail, text), "source": source, "reason": drop.reason, "detail": detail, "excerpt": text}


def summed(source: str, shards: list[Stats]) -> Stats:
    """The statistics of shards as those of the stage."""
    dropped: dict[str, int] = {}
    for shard in shards:
        for reason, count in shard["dropped"].items():
            dropped[reason] = dropped.get(reason, 0) + count
    funnel = {
        "in": sum(shard["in"] for shard in shards),
        "kept": sum(shard["kept"] for shard in shards),
        "dropped": dict(sorted(dropped.items())),
    }
    return {"funnel": {source: funnel}, "characters": sum(shard["characters"] for shard in shards), "shards": len(shards)}
