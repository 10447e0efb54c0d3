"""The lifetime of a process that must not outlive the one that started it."""

from __future__ import annotations

import contextlib
import ctypes
import signal


def end_with_parent() -> None:
    """In a child, before it becomes its command: ask for SIGTERM when the thread that started it ends, a `kill -9` included (Linux)."""
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).prctl(1, signal.SIGTERM)  # PR_SET_PDEATHSIG
