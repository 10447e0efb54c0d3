"""Paths as people write them in recipes: with environment variables, `~` and wildcards."""

from __future__ import annotations

import os
import re
from pathlib import Path


def expanded(path: str) -> Path:
    """A path with its environment variables and `~` filled in."""
    return Path(os.path.expandvars(path)).expanduser()


def unset_variable(path: str) -> str | None:
    """The first environment variable that a path names and that is not set; None where all are."""
    return next((name for name in re.findall(r"\$\{?(\w+)\}?", path) if name not in os.environ), None)


def matching_files(root: Path, pattern: str) -> list[Path]:
    """The files below `root` that match a pattern with * and ** as wildcards, sorted. An absolute pattern stands for itself."""
    path = Path(pattern).expanduser()
    if path.is_absolute():
        return sorted(p for p in Path(path.anchor).glob(str(path.relative_to(path.anchor))) if p.is_file())
    return sorted(p for p in root.glob(pattern) if p.is_file())
