"""What every worker process of a data stage does: leave interrupts to its parent, and end with it."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading


def end_with_parent() -> None:
    """A worker leaves interrupts to its parent and ends with it, however the parent ended: nobody is left to clean up after a kill -9."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    parent = multiprocessing.parent_process()
    assert parent is not None

    def watch() -> None:
        parent.join()
        os._exit(1)

    threading.Thread(target=watch, daemon=True, name="end-with-parent").start()


def died() -> RuntimeError:
    """What to tell a person when a worker is gone."""
    return RuntimeError(
        "a worker process died, most likely killed by the system for lack of memory; finished shards are kept: "
        "run again, with fewer resources.workers"
    )
