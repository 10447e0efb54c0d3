"""Garbage collection of the artifact store: what is tagged, leased, or used by the last runs stays, with the records of all it came from."""

from __future__ import annotations

import contextlib
import time
from dataclasses import dataclass
from pathlib import Path

from tasks import lease
from tasks.store import Store, discard


@dataclass(frozen=True)
class Garbage:
    what: str
    path: Path
    bytes: int


def collect(store: Store, *, keep_runs: int, scratch_days: float, dry_run: bool) -> list[Garbage]:
    """What nobody needs any more, and how many bytes each piece holds; removed unless `dry_run`.

    An artifact's files go; its record stays (marked collected), so that lineage and last durations remain. The scratch of a run that
    ended early (it may hold weeks of checkpoints) goes only when nothing in it was touched for `scratch_days`.
    """
    tagged = {moves[-1]["key"] for moves in store.tags().values()}
    used = {key for note in store.runs()[:keep_runs] for key in note["artifacts"].values()}
    known = {record.key: record for record in store.records() if not record.collected}
    garbage = []
    for key, record in known.items():
        if key not in tagged | used and not _leased(store, key):
            garbage.append(Garbage(f"{record.stage} {key[:12]}", store.object(key), record.bytes))
    for home in sorted((store.root / "objects").glob("*")):
        if home.name not in known and not _leased(store, home.name):
            garbage.append(Garbage(f"half-published {home.name[:12]}", home, size(home)))
    for home in sorted((store.root / "work").glob("*")):
        if not _leased(store, home.name) and time.time() - last_touched(home) > scratch_days * 86400:
            stage = home / "stage"
            what = stage.read_text("utf-8") if stage.exists() else "unknown stage"
            garbage.append(
                Garbage(f"unfinished {what} {home.name[:12]} (shards or checkpoints of a run that ended early)", home, size(home))
            )
    for note in store.runs()[keep_runs:]:
        path = store.root / "runs" / f"{note['run']}.json"
        garbage.append(Garbage(f"note of run {note['run']}", path, path.stat().st_size))
    if not dry_run:
        for piece in garbage:
            _remove(store, piece, known)
    return garbage


def _remove(store: Store, piece: Garbage, known: dict) -> None:
    key = piece.path.name
    if piece.path.parent.name == "runs":
        piece.path.unlink(missing_ok=True)
        return
    with store.lease(key):  # nobody starts building it while it goes
        if piece.path.parent.name == "objects" and key in known:
            store.put(known[key].model_copy(update={"collected": True}))
        discard(piece.path)
    with contextlib.suppress(OSError):
        (store.root / "leases" / key).unlink()


def _leased(store: Store, key: str) -> bool:
    return lease.is_held(store.root / "leases" / key)


def last_touched(folder: Path) -> float:
    """The newest modification time below a folder, in seconds since the epoch."""
    return max(path.stat().st_mtime for path in [folder, *folder.rglob("*")])


def size(folder: Path) -> int:
    """Bytes of all files below a folder."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
