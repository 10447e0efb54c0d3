"""Independent pieces of a data stage: each is done once, survives a kill, and may be done by another process.

A piece is a key (all that defines its result) and the arguments of a plain function `work(draft, *arguments) -> Stats` that writes files
into `draft`. Results are returned in the order of the pieces, whatever order they were done in.
"""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor, ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, TypeVarTuple

from tasks.artifacts.stage import Job, Progress, Stats, canonical, fresh
from tasks.processes.workers import crew, end_with_parent, release, worker_died

BIG = 6 << 20  # bytes of input from which worker processes are worth their second of starting up


Ts = TypeVarTuple("Ts")


@dataclass(frozen=True)
class Piece(Generic[*Ts]):
    """One call of a work function: the key of its result, and its arguments, whose types are those of the function.

    `size` is the piece's share of the work in `unit`s, `bytes` the size of what it reads.
    """

    key: str
    arguments: tuple[*Ts]
    size: int
    bytes: int


def do(job: Job, work: Callable[[Path, *Ts], Stats], pieces: Sequence[Piece[*Ts]], unit: str) -> list[Stats]:
    """Do the pieces that are not finished. Returns every piece's statistics, in order."""
    with Pool(job) as pool:
        return pool.do(work, pieces, unit)


class Pool:
    """The workers of a stage that has several kinds of pieces: processes, or those of a cluster. They start with the first pieces that read
    `BIG` input."""

    def __init__(self, job: Job):
        self.job = job
        self.executor: Executor | None = None

    def __enter__(self) -> Pool:
        return self

    def __exit__(self, *exc: object) -> None:
        if self.executor:
            self.executor.shutdown(cancel_futures=True)

    def do(self, work: Callable[[Path, *Ts], Stats], pieces: Sequence[Piece[*Ts]], unit: str) -> list[Stats]:
        """Do the pieces that are not finished, on as many processes as `workers.crew` allows. Returns every piece's statistics, in order.

        `work` must be a module's function and its arguments picklable. Its first error is raised, once the pieces under way have ended.
        """
        job = self.job
        finished = {piece.key: job.finished(piece.key) for piece in pieces}
        todo = [piece for piece in {piece.key: piece for piece in pieces}.values() if finished[piece.key] is None]
        total = sum(piece.size for piece in pieces)
        done = total - sum(piece.size for piece in todo)
        job.progress(Progress(done, total, unit))
        self._start(todo)
        for piece in self._by_workers(work, todo) if self.executor else _in_turn(job, work, todo):
            done += piece.size
            job.progress(Progress(done, total, unit))
        results = [job.finished(piece.key) for piece in pieces]
        assert all(result is not None for result in results), "a piece that was done is finished"
        return [result for result in results if result is not None]

    def _start(self, todo: Sequence[Piece[*tuple[Any, ...]]]) -> None:
        if self.executor or self.job.resources.workers == 1 or sum(piece.bytes for piece in todo) < BIG:
            return
        if self.job.cluster:
            self.executor = self.job.cluster(self.job.resources.pool)
            return
        # spawned, not forked: the flow process has threads, and a forked copy of a locked lock stays locked. Even where memory
        # allows but one: what a worker leaves in memory goes with it, and this process stays small for the stages to come
        context = multiprocessing.get_context("spawn")
        self.executor = ProcessPoolExecutor(crew(self.job).processes, mp_context=context, initializer=end_with_parent)

    def _by_workers(self, work: Callable[[Path, *Ts], Stats], todo: Sequence[Piece[*Ts]]) -> Iterator[Piece[*Ts]]:
        assert self.executor, "they have started"
        largest_first = sorted(todo, key=lambda piece: -piece.bytes)
        waiting = {}
        try:
            for piece in largest_first:
                waiting[self.executor.submit(_do_one, self.job.shard_home(piece.key), work, piece.arguments)] = piece
            for future in as_completed(waiting):
                future.result()
                yield waiting[future]
        except BrokenProcessPool as error:
            raise worker_died() from error
        finally:
            for future in waiting:
                future.cancel()


def _in_turn(job: Job, work: Callable[[Path, *Ts], Stats], todo: Sequence[Piece[*Ts]]) -> Iterator[Piece[*Ts]]:
    for piece in todo:
        _do_one(job.shard_home(piece.key), work, piece.arguments)
        yield piece


def _do_one(home: Path, work: Callable[[Path, *Ts], Stats], arguments: tuple[*Ts]) -> None:
    with fresh(home) as draft:
        stats = work(draft, *arguments)
        (draft / "stats.json").write_text(canonical(stats), "utf-8")
    release()
