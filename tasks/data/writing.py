"""Shards of converted rows: kept and dropped rows written with their counts."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from tasks.artifacts.stage import Stats
from tasks.data.excerpts import excerpt, shown_cut
from tasks.data.rows import LONGEST, Drop, Row, Writer, content, row_id, texts
from tasks.formats.accounting import opened
from tasks.text import privacy
from tasks.text.ledger import Account, Ledger, summed_stats
from tasks.text.normalise import storable


def write_shard(
    source: str, kind: str, convert: Callable[[Row, Ledger], Row | Drop], rows: Iterable[Row | Drop], draft: Path
) -> Stats:
    """Convert rows and write them, with id and source, as `<kind>.parquet`, `dropped.parquet` and `ledger.parquet`; returns the counts."""
    total = kept = 0
    dropped: dict[str, int] = {}
    account = Account()
    with (
        Writer(draft / f"{kind}.parquet", kind) as good,
        Writer(draft / "dropped.parquet", "dropped") as bad,
        Writer(draft / "ledger.parquet", "ledger") as cuts,
    ):
        for row in rows:
            total += 1
            if not isinstance(row, Drop):
                ledger, read = opened(kind, row, account)
                row = convert(row, ledger)
            if isinstance(row, Drop):
                dropped[row.reason] = dropped.get(row.reason, 0) + 1
                bad.add(_dropped(source, row))
                continue
            kept += 1
            good.add({**row, "id": row_id(*content(kind, row)), "source": source})
            for cut in account.settle(ledger, read, sum(map(len, texts(kind, row)))):
                cuts.add(shown_cut(source, cut))
    return {"in": total, "kept": kept, "dropped": dropped, "characters": account.kept, "ledger": account.stats()}


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
    return {
        "funnel": {source: funnel},
        "characters": sum(shard["characters"] for shard in shards),
        "ledger": {source: summed_stats(shard["ledger"] for shard in shards)},
        "shards": len(shards),
    }
