"""Checkpoints that are whole or absent: `<folder>/step-00000050`.

One is written beside its place, flushed to the disk, and renamed; a kill at any moment leaves either nothing that `newest` would pick or
all of it. `whole.json` lists every file with its digest, so that a checkpoint that a failing disk damaged later is passed over as well.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import nn

MANIFEST = "whole.json"
WEIGHTS = "weights.safetensors"


def place(folder: Path, step: int) -> Path:
    """Where the checkpoint of a step lives. Names sort by step."""
    return folder / f"step-{step:08d}"


def draft(folder: Path, step: int) -> Path:
    """Where it is written."""
    return folder / f"draft-{step:08d}"


def step_of(checkpoint: Path) -> int:
    return int(checkpoint.name.removeprefix("step-"))


@contextlib.contextmanager
def writing(folder: Path, step: int, *, keep: int) -> Iterator[Path]:
    """A draft folder to fill; on leaving it becomes the step's checkpoint, and only the newest `keep` stay."""
    home = draft(folder, step)
    shutil.rmtree(home, ignore_errors=True)
    home.mkdir(parents=True)
    yield home
    (home / MANIFEST).write_text(json.dumps(_digests(home), indent=1), "utf-8")
    for path in [*home.iterdir(), home]:
        _flush(path)
    _remove(place(folder, step))  # one that was found damaged
    home.rename(place(folder, step))
    _flush(folder)
    for old in sorted(folder.glob("step-*"))[:-keep]:
        _remove(old)


def save_weights(model: nn.Module, home: Path) -> None:
    """The trained parameters under their own names: transformers' names of experts on disk are others, which its trainer does not read
    back. What is frozen comes from where the run began."""
    from safetensors.torch import save_file

    save_file({name: p.detach().contiguous() for name, p in model.named_parameters() if p.requires_grad}, home / WEIGHTS)


def load_weights(model: nn.Module, home: Path) -> None:
    """Give a model the trained parameters of a checkpoint, all of them and no others."""
    import torch
    from safetensors.torch import load_file

    kept = load_file(home / WEIGHTS)
    trained = {name: p for name, p in model.named_parameters() if p.requires_grad}
    assert kept.keys() == trained.keys(), f"{home / WEIGHTS} holds other parameters: {sorted(kept.keys() ^ trained.keys())[:3]}"
    with torch.no_grad():
        for name, p in trained.items():
            p.copy_(kept[name])


def newest(folder: Path, note: Callable[[str], None] = lambda line: None) -> Path | None:
    """The newest whole checkpoint, or None. Each damaged one is noted and passed over."""
    for checkpoint in sorted(folder.glob("step-*"), reverse=True):
        try:
            manifest = json.loads((checkpoint / MANIFEST).read_text("utf-8"))
            damaged = sorted({name for name, _ in _digests(checkpoint).items() ^ manifest.items()})
        except (OSError, ValueError):
            damaged = [MANIFEST]
        if not damaged:
            return checkpoint
        note(f"checkpoint {checkpoint.name} is damaged ({', '.join(damaged)}); trying the one before it")
    return None


def clean(folder: Path) -> None:
    """Remove what a kill left half written or half removed."""
    for pattern in ("draft-*", "gone-*"):
        for path in folder.glob(pattern):
            shutil.rmtree(path, ignore_errors=True)


def _digests(checkpoint: Path) -> dict[str, str]:
    files = sorted(path for path in checkpoint.iterdir() if path.name != MANIFEST)
    found = {}
    for path in files:
        with path.open("rb") as file:
            found[path.name] = hashlib.file_digest(file, "sha256").hexdigest()
    return found


def _flush(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _remove(checkpoint: Path) -> None:
    """Away under its name first, at once: removing file by file could be cut short and leave a part that looks like a checkpoint."""
    if checkpoint.exists():
        gone = checkpoint.with_name(f"gone-{checkpoint.name}")
        shutil.rmtree(gone, ignore_errors=True)
        checkpoint.rename(gone)
        shutil.rmtree(gone, ignore_errors=True)
