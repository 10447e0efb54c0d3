"""Connections to DuckDB, opened here alone: a database that keeps to the memory it is given and spills the rest to disk."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from tasks.artifacts.stage import Job
from tasks.processes import workers

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

THREAD = (
    125_000_000  # DuckDB's own advice (its guide on memory): less than 125 MB a thread and a hash join fails instead of spilling
)
COUNTED = 0.6  # of the memory a piece of work may take, what DuckDB is told: its limit does not count all it allocates


@contextlib.contextmanager
def connect_for_stage(job: Job) -> Iterator[DuckDBPyConnection]:
    """An empty database for a stage that works in this process alone, with the memory that the stage may take."""
    with connect(job.scratch / "duckdb", workers.single_process(job).memory, job.resources.cores) as database:
        yield database


@contextlib.contextmanager
def connect(home: Path, memory: int, threads: int) -> Iterator[DuckDBPyConnection]:
    """An empty database that adds at most about `memory` bytes to this process and spills into `home`, which is gone when the block ends.

    Uses `threads` threads, fewer where the memory would not do for them. Spills up to nine tenths of the free disk, which is DuckDB's default.
    Row order is not kept between statements, which saves memory: say ORDER BY where order matters.
    """
    import duckdb

    shutil.rmtree(home, ignore_errors=True)  # what an attempt that was killed left behind
    home.mkdir(parents=True)
    limit = int(COUNTED * memory)
    database = duckdb.connect(
        config={
            "memory_limit": f"{limit // 1_000_000}MB",
            "threads": max(1, min(threads, limit // THREAD)),
            "temp_directory": str(home / "spill"),
            "preserve_insertion_order": False,
            "autoinstall_known_extensions": False,  # a data stage downloads nothing
        },
    )
    try:
        database.execute("SET enable_progress_bar = false")
        yield database
    finally:
        database.close()
        shutil.rmtree(home, ignore_errors=True)
