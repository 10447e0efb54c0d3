"""The worker processes of a data stage: how many, with how much memory, and what each does first."""

from __future__ import annotations

import contextlib
import ctypes
import math
import multiprocessing
import os
import signal
import sys
import threading
from dataclasses import dataclass
from pathlib import Path

from tasks.artifacts.stage import Job

HELD = 110_000_000  # bytes that a worker adds before it works: the interpreter, its share of numpy, pyarrow and DuckDB, tables of characters
LEAST = 150_000_000  # bytes that any piece of work may count on


@dataclass(frozen=True)
class Crew:
    """The worker processes of a stage: `processes` at work at a time, each free to take `memory` bytes beside what it holds anyway."""

    processes: int
    memory: int


def crew(job: Job) -> Crew:
    """As many worker processes as `resources` asks for and its memory allows, but at least one: `memory_gb` is for all of the stage's
    processes, this one included. `workers: 1` is no process but this one."""
    if job.resources.workers == 1:
        return single_process(job)
    left = _limit(job) - resident()
    processes = max(1, min(job.resources.pool, left // (HELD + LEAST)))
    return Crew(processes, max(LEAST, left // processes - HELD))


def single_process(job: Job) -> Crew:
    """The crew of a stage that works in this process alone."""
    return Crew(1, max(LEAST, _limit(job) - resident()))


def enough(job: Job) -> None:
    """Raises `ValueError` where `memory_gb` does not leave what the smallest piece of work needs."""
    own, needed = resident(), LEAST if job.resources.workers == 1 else HELD + LEAST
    if _limit(job) - own < needed:
        raise ValueError(
            f"resources.memory_gb={job.resources.memory_gb} is too little: this process holds {own / 1e9:.2f} GB before any work, and a "
            f"piece of work needs {needed / 1e9:.2f} more; set at least {math.ceil((own + needed) / 1e8 + 0.5) / 10:.1f}"
        )


def _limit(job: Job) -> int:
    return int(job.resources.memory_gb * 1e9)


def resident() -> int:
    """Bytes of memory that this process holds, pages shared with others by its share of them."""
    try:
        with Path("/proc/self/smaps_rollup").open(encoding="ascii") as lines:
            return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("Pss:"))
    except OSError:  # not Linux
        import resource

        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def release() -> None:
    """Give the memory that allocators keep for later back to the system: between pieces of work it would add up."""
    if pyarrow := sys.modules.get("pyarrow"):
        pyarrow.default_memory_pool().release_unused()
    with contextlib.suppress(OSError, AttributeError):  # glibc has it
        ctypes.CDLL(None).malloc_trim(0)


def end_with_parent() -> None:
    """A worker leaves interrupts to its parent and ends with it, however the parent ended: nobody is left to clean up after a kill -9."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    parent = multiprocessing.parent_process()
    assert parent is not None

    def watch() -> None:
        parent.join()
        os._exit(1)

    threading.Thread(target=watch, daemon=True, name="end-with-parent").start()


def worker_died() -> RuntimeError:
    """The error that tells a person that a worker is gone."""
    return RuntimeError(
        "a worker process died, most likely killed by the system for lack of memory; finished shards are kept: "
        "run again, with fewer resources.workers"
    )
