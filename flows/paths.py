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
    """The files below `root` that match a pattern with * and ** as wildcards, sorted. An absolute pattern stands for itself.

    As in a shell, wildcards match nothing hidden, such as the `._name` that macOS writes beside a file: a pattern has to name the dot itself.
    """
    path = Path(pattern).expanduser()
    root, path = (Path(path.anchor), path.relative_to(path.anchor)) if path.is_absolute() else (root, path)
    found = sorted(p for p in root.glob(str(path)) if p.is_file())
    return found if _is_hidden(path) else [p for p in found if not _is_hidden(p.relative_to(root))]


def _is_hidden(path: Path) -> bool:
    return any(part.startswith(".") and part != ".." for part in path.parts)
