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
    asked = hashlib.new("sha1" if name == "git" else name, usedforsecurity=False)
    if name == "git":
        asked.update(b"blob %d\0" % path.stat().st_size)
    sha256 = hashlib.sha256()
    with path.open("rb") as file:
        for chunk in iter(functools.partial(file.read, 1 << 20), b""):
            asked.update(chunk)
            sha256.update(chunk)
    return f"{name}:{asked.hexdigest()}", sha256.hexdigest()


def size(part: Path) -> int:
    return part.stat().st_size if part.exists() else 0


def note(part: Path) -> dict[str, Any]:
    """Which state of which URL the partial file belongs to; empty where that is not known."""
    try:
        return json.loads(part.with_name(f"{part.name}.json").read_text("utf-8"))
    except (OSError, ValueError):
        return {}


def remember(part: Path, facts: dict[str, Any]) -> None:
    path = part.with_name(f"{part.name}.json")
    draft = path.with_name(f"{path.name}.draft")
    draft.write_text(json.dumps(facts), "utf-8")
    os.replace(draft, path)


def forget(part: Path) -> None:
    """The bytes first: a note without bytes is harmless, bytes with another state's note are not."""
    part.unlink(missing_ok=True)
    part.with_name(f"{part.name}.json").unlink(missing_ok=True)
