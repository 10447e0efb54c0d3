"""The partial file of a transfer, and beside it a note of which state of which URL its bytes belong to."""

from __future__ import annotations

import functools
import hashlib
import json
import os
from pathlib import Path
from typing import Any


def sums(path: Path, checksum: str) -> tuple[str, str]:
    """(the file's checksum by the algorithm of `checksum`, its sha256), in one pass."""
    name = checksum.partition(":")[0] or "sha256"
    digest = hashlib.new("sha1" if name == "git" else name, usedforsecurity=False)
    if name == "git":
        digest.update(b"blob %d\0" % path.stat().st_size)
    sha256 = hashlib.sha256()
    with path.open("rb") as file:
        for chunk in iter(functools.partial(file.read, 1 << 20), b""):
            digest.update(chunk)
            sha256.update(chunk)
    return f"{name}:{digest.hexdigest()}", sha256.hexdigest()


def partial_size(part: Path) -> int:
    """Bytes that are there, 0 where there is no file yet."""
    return part.stat().st_size if part.exists() else 0


def read_note(part: Path) -> dict[str, Any]:
    """The note beside a partial file: URL and state that its bytes belong to; empty where that is not known."""
    try:
        return json.loads(part.with_name(f"{part.name}.json").read_text("utf-8"))
    except (OSError, ValueError):
        return {}


def write_note(part: Path, facts: dict[str, Any]) -> None:
    """Replace the note beside a partial file, whole or not at all."""
    path = part.with_name(f"{part.name}.json")
    draft = path.with_name(f"{path.name}.draft")
    draft.write_text(json.dumps(facts), "utf-8")
    os.replace(draft, path)


def forget(part: Path) -> None:
    """Remove a partial file and its note, the bytes first: a note without bytes is harmless, bytes with another state's note are not."""
    part.unlink(missing_ok=True)
    part.with_name(f"{part.name}.json").unlink(missing_ok=True)
