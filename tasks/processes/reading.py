"""Reading of files into shards: read in order, worked on in processes, and finished as far as can be.

A shard is a batch of consecutive rows of one file, small enough that a kill loses seconds. Batches are found here, one file after the other; the
work on a batch runs in a process of its own where there is enough of it. A batch is a list of rows that were read here, or anything that can
be pickled and yields rows, as a stretch of a file that the worker opens by itself. Which rows make a batch depends on the file alone, so that
the shards are the same for any number of workers, and a shard's key is made of the file's bytes and the batch's number, so that a new file
costs only its own shards.
"""

from __future__ import annotations

import hashlib
import json
import multiprocessing
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Executor, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import replace
from pathlib import Path
from typing import Any

from tasks.artifacts.stage import Job, Progress, Stats, fresh
from tasks.data.rows import ENDS_INSIDE, BrokenFile, CutFile, Drop, Row, content
from tasks.files.tables import ends_inside_a_row
from tasks.processes.workers import end_with_parent, worker_died

Read = Callable[[Path], Iterator[Row | Drop]]
Work = Callable[
    [Iterable[Row | Drop], Path], Stats
]  # (rows of one shard, folder to write its files into) → statistics, "in" among them
Batches = Callable[
    [Path], Iterator[tuple[Iterable[Row | Drop], bool]]
]  # rows that can be pickled, and whether they are the file's last

LeftOut = list[dict[str, str]]  # files that a source goes on without: file (its path below the folder that all share), why

FILE_CUT = "file cut"
BATCH_CHARACTERS = 8_000_000  # about 5 s of work and 100 MB of memory
BATCH_ROWS = 20_000
SMALL = 2 << 20  # bytes of input in all: below, starting processes (0.3 s each) costs more than it saves


class BrokenFiles(ValueError):
    """The failure of a source of which files cannot be read, once all of them were tried. `broken` has the error of each."""

    def __init__(self, broken: Sequence[BrokenFile], total: int):
        many = f"{len(broken)} of {total} files cannot be read (the work on the rest is kept): " if total > 1 else ""
        super().__init__(many + "\n".join(map(str, broken)))
        self.broken = broken


def by_shard(
    job: Job,
    files: Sequence[Path],
    kind: str,
    read: Read,
    work: Work,
    identity: object,
    by_name: bool = False,
    left_out: LeftOut | None = None,
) -> list[Stats]:
    """`by_batch` for a reader that runs here, in batches of `BATCH_ROWS` or `BATCH_CHARACTERS`."""
    sizes = [BATCH_CHARACTERS, BATCH_ROWS]
    return by_batch(job, files, lambda path: row_batches(read(path), kind), work, [identity, sizes], by_name, left_out)


def by_batch(
    job: Job,
    files: Sequence[Path],
    batches: Batches,
    work: Work,
    identity: object,
    by_name: bool = False,
    left_out: LeftOut | None = None,
) -> list[Stats]:
    """Do `work` on every batch of the files' rows and publish the shards in file order; returns each shard's statistics.

    `identity` is all that defines a shard besides the file's bytes (and its name, if `named`), the sizes of batches included. A broken file
    does not stop the others: what can be done is done and kept for the next attempt, then `BrokenFiles` names every broken file; or, where a
    list `left_out` is given to note them in, the rest is published without any row of theirs.
    """
    if not files:
        raise ValueError("no input files: name at least one in the recipe's sources")
    keys: dict[Path, list[str]] = {}
    seen: dict[object, Path] = {}
    with _Workers(job, files) as workers:
        for number, path in enumerate(files):
            try:
                about: list[object] = [sha256(path), path.name if by_name else ""]
                twin = seen.setdefault(tuple(about), path)
                if twin is not path:
                    job.log(f"{path}: the same file as {twin}, read once")
                    continue
                keys[path] = _all_finished(job, identity, about)
                if keys[path]:
                    job.progress(Progress(number + 1, len(files), "file", {"rows": float(workers.rows)}))
                    continue
                for place, (rows, last) in enumerate(batches(path)):
                    key = job.shard_key(identity, about, place)
                    keys[path].append(key)
                    if job.finished(key) is None:
                        workers.submit(path, work, rows, job.shard_home(key), last)
                    job.progress(Progress(number, len(files), "file", {"rows": float(workers.rows)}))
            except BrokenFile as error:
                workers.broken[path] = error
        workers.finish()
        if left_out is not None and workers.broken.keys() >= keys.keys():  # a source without rows is one with an empty table
            nothing = job.shard_key(identity, "nothing")
            keys = {Path(): [nothing]}
            workers.submit(Path(), work, [], job.shard_home(nothing), True)
            workers.finish()
    broken = [workers.broken[path] for path in files if path in workers.broken]
    for failure in broken:
        job.log(str(failure) if left_out is None else f"left out (broken: skip): {failure.path}: {failure.what}")
    if broken and left_out is None:
        raise BrokenFiles(broken, len(files))
    if left_out is not None:
        shared = os.path.commonpath([path.parent for path in files])
        left_out += [{"file": os.path.relpath(error.path, shared), "why": error.what} for error in broken]
    job.progress(Progress(len(files), len(files), "file", {"rows": float(workers.rows)}))
    whole = [key for path, of_file in keys.items() if path not in workers.broken for key in of_file]
    job.collect(whole)
    return [stats for key in whole if (stats := job.finished(key)) is not None]


def tolerant(read: Read, path: Path) -> Iterator[Row | Drop]:
    """The rows of a file, of one that is cut the whole rows before the cut: a Drop with the reason "file cut" stands for the rest.

    A table's last row is no whole one where its line has no end: nobody can tell how much of its last cell is there.
    """
    last: Row | Drop | None = None
    try:
        for row in read(path):
            if last is not None:
                yield last
            last = replace(row, reason=FILE_CUT) if isinstance(row, Drop) and ENDS_INSIDE in row.detail else row
    except CutFile as cut:
        if last is not None:
            yield last
        last = Drop(FILE_CUT, cut.what)
    if isinstance(last, dict) and ends_inside_a_row(path):
        last = Drop(FILE_CUT, "the last line has no end, so its last cell may lack some", str(last))
    if last is not None:
        yield last


def _all_finished(job: Job, identity: object, about: list[object]) -> list[str]:
    """The keys of a file's shards if all of them are finished, which the last one knows: the file need not be opened then."""
    keys: list[str] = []
    while True:
        keys.append(job.shard_key(identity, about, len(keys)))
        stats = job.finished(keys[-1])
        if stats is None:
            return []
        if stats["last"]:
            return keys


def row_batches(rows: Iterable[Row | Drop], kind: str) -> Iterator[tuple[list[Row | Drop], bool]]:
    """Rows in batches of bounded size, each with whether it is the last one. A file without rows has one empty batch."""
    batch: list[Row | Drop] = []
    size = 0
    for row in rows:
        if size >= BATCH_CHARACTERS or len(batch) >= BATCH_ROWS:
            yield batch, False
            batch, size = [], 0
        batch.append(row)
        size += 0 if isinstance(row, Drop) else sum(map(len, content(kind, row)))
    yield batch, True


def sha256(path: Path) -> str:
    """A file's hash; BrokenFile if it cannot be read."""
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except FileNotFoundError:
        raise BrokenFile(path, "there is no such file", "check the path in the recipe's sources") from None
    except OSError as error:
        raise BrokenFile(path, f"it cannot be read ({error.strerror})", "check the path and its permissions") from None


def _shard(work: Work, rows: Iterable[Row | Drop], home: Path, last: bool) -> int:
    """Make a shard; returns how many rows went in."""
    with fresh(home) as draft:
        stats = work(rows, draft) | {"last": last}
        (draft / "stats.json").write_text(json.dumps(stats, ensure_ascii=False, sort_keys=True), "utf-8")
    return int(stats["in"])


class _Workers:
    """Processes that start when there is work for them, or none where the work is small. `rows` counts what went through."""

    def __init__(self, job: Job, files: Sequence[Path]):
        total = sum(path.stat().st_size for path in files if path.is_file())
        self.count = job.resources.pool if total >= SMALL else 1
        self.executor: Executor | None = None
        self.cluster = job.cluster
        self.pending: dict[Future[int], Path] = {}
        self.broken: dict[Path, BrokenFile] = {}
        self.first: tuple[Any, ...] | None = None  # the first batch, until there is a second one: alone it is not worth a process
        self.rows = 0

    def __enter__(self) -> _Workers:
        return self

    def __exit__(self, *exc: object) -> None:
        if self.executor:
            self.executor.shutdown(wait=True, cancel_futures=True)

    def submit(self, path: Path, work: Work, rows: Iterable[Row | Drop], home: Path, last: bool) -> None:
        """Work on a batch of a file's rows, in a process if there is another one beside it. What is broken in it is noted in `broken`."""
        task = path, work, rows, home, last
        if self.count == 1:
            self._here(*task)
        elif self.executor is None and self.first is None:
            self.first = task
        else:
            for waiting in (self.first, task):
                if waiting:
                    self._away(*waiting)
            self.first = None

    def finish(self) -> None:
        if self.first:
            self._here(*self.first)
        while self.pending:
            self._settle()

    def _here(self, path: Path, *task: Any) -> None:
        try:
            self.rows += _shard(*task)
        except BrokenFile as error:
            self.broken.setdefault(path, error)

    def _away(self, path: Path, *task: Any) -> None:
        if self.executor is None and self.cluster:
            self.executor = self.cluster(self.count)
        if self.executor is None:  # spawned, not forked: this process has threads
            context = multiprocessing.get_context("spawn")
            self.executor = ProcessPoolExecutor(self.count, mp_context=context, initializer=end_with_parent)
        try:
            self.pending[self.executor.submit(_shard, *task)] = path
        except BrokenProcessPool as error:
            raise worker_died() from error
        while len(self.pending) > self.count + 1:  # what is read ahead is held in memory
            self._settle()

    def _settle(self) -> None:
        for future in wait(self.pending, return_when=FIRST_COMPLETED).done:
            path = self.pending.pop(future)
            try:
                self.rows += future.result()
            except BrokenFile as error:
                self.broken.setdefault(path, error)
            except BrokenProcessPool as error:
                raise worker_died() from error
