"""Checkpoints that are whole or absent: `<folder>/step-00000050`.

One is written beside its place, flushed to the disk, and renamed; a kill at any moment leaves either nothing that `newest` would pick or
all of it. `whole.json` lists every file with its digest, so that a checkpoint that a failing disk damaged later is passed over as well. It
also names the earlier checkpoints that are worth keeping beside it, and those of them that the run's end cannot do without.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

MANIFEST = "whole.json"


def place(folder: Path, step: int) -> Path:
    """The path of a step's checkpoint. Names sort by step."""
    return folder / f"step-{step:08d}"


def draft(folder: Path, step: int) -> Path:
    """The path at which a step's checkpoint is written."""
    return folder / f"draft-{step:08d}"


def step_of(checkpoint: Path) -> int:
    """The step of a checkpoint's path."""
    return int(checkpoint.name.removeprefix("step-"))


@contextlib.contextmanager
def writing(folder: Path, step: int, *, keep: int, beside: Iterable[int] = (), needs: Iterable[int] = ()) -> Iterator[Path]:
    """A draft folder to fill; on leaving it becomes the step's checkpoint, and only the newest `keep` stay.

    `beside` are steps whose checkpoints stay besides, for as long as this one does; `needs` are those of them without which it is of no use.
    """
    home = draft(folder, step)
    shutil.rmtree(home, ignore_errors=True)
    home.mkdir(parents=True)
    yield home
    manifest = {"files": _digests(home), "beside": sorted({*beside} - {step}), "needs": sorted({*needs} - {step})}
    (home / MANIFEST).write_text(json.dumps(manifest, indent=1), "utf-8")
    for path in [*home.iterdir(), home]:
        _flush(path)
    _remove(place(folder, step))  # one that was found damaged
    home.rename(place(folder, step))
    _flush(folder)
    others = {place(folder, other) for other in beside}
    newest = [place(folder, step), *sorted(set(folder.glob("step-*")) - others)[-keep:]]
    others |= {place(folder, other) for recent in newest for other in _manifest(recent).get("beside", ())}
    for old in set(folder.glob("step-*")) - others - set(newest):
        _remove(old)


def newest(folder: Path, note: Callable[[str], None] = lambda line: None) -> Path | None:
    """The newest whole checkpoint with all that it needs, or None. Each one passed over is noted."""
    for checkpoint in sorted(folder.glob("step-*"), reverse=True):
        harm = damage(checkpoint)
        for needed in () if harm else _manifest(checkpoint)["needs"]:
            if cause := damage(place(folder, needed)):
                harm = f"{place(folder, needed).name}, which it needs, is damaged: {cause}"
        if not harm:
            return checkpoint
        note(f"checkpoint {checkpoint.name} is damaged ({harm}); trying the one before it")
    return None


def damage(checkpoint: Path) -> str:
    """The files of a checkpoint that are not what they were, or missing; empty where it is whole."""
    try:
        return ", ".join(sorted({name for name, _ in _digests(checkpoint).items() ^ _manifest(checkpoint)["files"].items()}))
    except (OSError, KeyError):
        return MANIFEST


def clean(folder: Path) -> None:
    """Remove what a kill left half written or half removed."""
    for pattern in ("draft-*", "gone-*"):
        for path in folder.glob(pattern):
            shutil.rmtree(path, ignore_errors=True)


def _manifest(checkpoint: Path) -> dict[str, Any]:
    """The manifest of a checkpoint; empty where it is damaged."""
    try:
        return json.loads((checkpoint / MANIFEST).read_text("utf-8"))
    except (OSError, ValueError):
        return {}


def _digests(checkpoint: Path) -> dict[str, str]:
    files = sorted(path for path in checkpoint.iterdir() if path.name != MANIFEST)
    digests = {}
    for path in files:
        with path.open("rb") as file:
            digests[path.name] = hashlib.file_digest(file, "sha256").hexdigest()
    return digests


def _flush(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _remove(checkpoint: Path) -> None:
    """Remove a checkpoint, renamed first, at once: removing file by file could be cut short and leave a part that looks like a checkpoint."""
    if checkpoint.exists():
        gone = checkpoint.with_name(f"gone-{checkpoint.name}")
        shutil.rmtree(gone, ignore_errors=True)
        checkpoint.rename(gone)
        shutil.rmtree(gone, ignore_errors=True)
