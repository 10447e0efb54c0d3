"""The one place that opens DuckDB: a database on disk that keeps to the memory it is given and spills the rest beside itself."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Iterator
from typing import TYPE_CHECKING

from tasks.stage import Job

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

THREAD_GB = (
    0.125  # DuckDB's own advice (its guide on memory): less than 125 MB a thread and a hash join fails instead of spilling
)


@contextlib.contextmanager
def opened(job: Job) -> Iterator[DuckDBPyConnection]:
    """An empty database in the job's scratch, gone when the block ends.

    Holds at most `resources.memory_gb` of memory. Uses `resources.cores` threads, fewer where the memory would not do for them.
    Row order is not kept between statements, which saves memory: say ORDER BY where order matters.
    """
    import duckdb

    home = job.scratch / "duckdb"
    shutil.rmtree(home, ignore_errors=True)  # what an attempt that was killed left behind
    home.mkdir(parents=True)
    memory = job.resources.memory_gb
    database = duckdb.connect(
        str(home / "work.duckdb"),
        config={
            "memory_limit": f"{memory}GB",
            "threads": max(1, min(job.resources.cores, int(memory / THREAD_GB))),
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
