"""Garbage collection of the artifact store: what is tagged, in use, or used by the last runs stays, with the records of all it came from."""

from __future__ import annotations

import contextlib
import os
import stat
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tasks.artifacts import lease
from tasks.artifacts.store import Record, Store, discard
from tasks.artifacts.tags import standing

KEPT_WITH = ("model", "tokenizer")  # roles of a tagged model's lineage that stay with it: re-training goes on from them


@dataclass(frozen=True)
class Garbage:
    """A piece of the store that nobody needs: its description, place and size."""

    what: str
    path: Path
    bytes: int


def collect(store: Store, *, keep_runs: int, scratch_days: float, dry_run: bool, keep_earlier: int = 1) -> list[Garbage]:
    """Remove what nobody needs any more, or with `dry_run` only list it, with the bytes that each piece holds.

    An artifact's files go; its record stays (marked collected), so that lineage and last durations remain. The scratch of a run that
    ended early (it may hold weeks of checkpoints) goes only when nothing in it was touched for `scratch_days`. What a tag pointed at
    up to `keep_earlier` promotions ago stays, for a roll back. Returns what went; what was taken into use meanwhile did not.
    """
    known = {record.key: record for record in store.records() if not record.collected}
    keep = _tagged(store, known, keep_earlier) | in_use(store)
    keep |= {key for note in store.runs()[:keep_runs] for key in note["artifacts"].values()}
    garbage = []
    for key, record in known.items():
        if key not in keep and not _leased(store, key):
            garbage.append(Garbage(f"{record.stage} {key[:12]}", store.object(key), record.bytes))
    for home in sorted((store.root / "objects").glob("*")):
        if home.name not in known and not _leased(store, home.name):
            garbage.append(Garbage(f"half-published {home.name[:12]}", home, folder_bytes(home)))
    for home in sorted((store.root / "work").glob("*")):
        if not _leased(store, home.name) and time.time() - last_touched(home) > scratch_days * 86400:
            what = "unknown stage"
            with contextlib.suppress(OSError):
                what = (home / "stage").read_text("utf-8")
            garbage.append(
                Garbage(
                    f"unfinished {what} {home.name[:12]} (shards or checkpoints of a run that ended early)",
                    home,
                    folder_bytes(home),
                )
            )
    for note in store.runs()[keep_runs:]:
        path = store.root / "runs" / f"{note['run']}.json"
        if not _leased(store, f"run-{note['run']}"):
            garbage.append(Garbage(f"note of run {note['run']}", path, folder_bytes(path)))
    return garbage if dry_run else [piece for piece in garbage if _remove(store, piece, known)]


def in_use(store: Store) -> set[str]:
    """Keys of what a live run holds (all that it used, and what it is about to use) and of what a live build reads."""
    keys: set[str] = set()
    for note in store.runs():
        if _leased(store, f"run-{note['run']}"):
            keys |= {*note["artifacts"].values(), *note.get("holds", ())}
    for reads in (store.root / "work").glob("*/reads"):
        if _leased(store, reads.parent.name):
            with contextlib.suppress(OSError):  # it was published at this moment
                keys |= set(reads.read_text("utf-8").split())
    return keys


def _tagged(store: Store, known: dict[str, Record], earlier: int) -> set[str]:
    """Keys of the artifacts that tags point at and pointed at before, each with the models and the tokenizer that it was trained from."""
    waiting = [key for moves in store.tags().values() for key in standing(moves)[-1 - earlier :]]
    keys: set[str] = set()
    while waiting:
        key = waiting.pop()
        if key not in keys and key in known:
            keys.add(key)
            waiting += [known[key].lineage[role] for role in KEPT_WITH if role in known[key].lineage]
    return keys


def _remove(store: Store, piece: Garbage, known: dict[str, Record]) -> bool:
    key = piece.path.name
    if piece.path.parent.name == "runs":
        piece.path.unlink(missing_ok=True)
        (store.root / "leases" / f"run-{piece.path.stem}").unlink(missing_ok=True)
        return True
    with store.lease(key):  # nobody starts building it while it goes
        if piece.path.parent.name == "objects" and key in known:
            # a run says what it will use before it looks for it: so either its word is read here, or it finds no artifact
            store.put(known[key].model_copy(update={"collected": True}))
            if key in in_use(store):
                store.put(known[key])
                return False
        discard(piece.path)
    with contextlib.suppress(OSError):
        (store.root / "leases" / key).unlink()
    return True


def _leased(store: Store, key: str) -> bool:
    return lease.is_held(store.root / "leases" / key)


def last_touched(folder: Path) -> float:
    """The newest modification time below a folder, in seconds since the epoch; now, where it has gone meanwhile: somebody is at work on it."""
    return max((entry.st_mtime for entry in _entries(folder)), default=time.time())


def folder_bytes(folder: Path) -> int:
    """Bytes of all files below a folder."""
    return sum(entry.st_size for entry in _entries(folder) if stat.S_ISREG(entry.st_mode))


def _entries(folder: Path) -> Iterator[os.stat_result]:
    """A folder and all below it. What another process removes or renames meanwhile is left out."""
    with contextlib.suppress(FileNotFoundError):
        yield folder.stat()
    for home, folders, files in os.walk(folder):  # passes over folders that have gone
        for name in (*folders, *files):
            with contextlib.suppress(FileNotFoundError):
                yield Path(home, name).stat()
