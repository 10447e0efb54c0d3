"""The commit of the code that runs: of its checkout, or of the one it was installed from."""

from __future__ import annotations

import os
import subprocess
from functools import cache
from typing import Any

from tasks.artifacts.digests import ROOT


@cache
def code_commit() -> dict[str, Any]:
    """`commit` and `dirty` (uncommitted changes) of the checkout, else of HANLIN_COMMIT, which an image sets; nothing where neither is known."""
    if not (ROOT / ".git").exists():  # an environment inside some other project's checkout is not that project
        return {"commit": commit, "dirty": False} if (commit := os.environ.get("HANLIN_COMMIT")) else {}
    try:
        commit = subprocess.run(["git", "rev-parse", "HEAD"], cwd=ROOT, capture_output=True, text=True, check=True).stdout.strip()
        dirty = subprocess.run(["git", "status", "--porcelain"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    except (OSError, subprocess.CalledProcessError):
        return {}
    return {"commit": commit, "dirty": bool(dirty.strip())}
