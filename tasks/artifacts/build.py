"""From a stage and its inputs to an artifact: reused if it is there, else built, once, by whoever holds the lease.

`build` is the whole rule and knows nothing of Prefect. `flows/` wraps it in a Prefect task.
"""

from __future__ import annotations

import errno
import hashlib
import importlib.metadata
import logging
import os
import platform
import resource
import shutil
import socket
import time
from collections.abc import Callable
from concurrent.futures import Executor
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Literal

from tasks.artifacts.digests import same_meaning
from tasks.artifacts.provenance import code_commit
from tasks.artifacts.stage import Digest, Identity, Job, Progress, Resources, Stage, canonical
from tasks.artifacts.store import Record, Store, discard, recipe_key

Drift = Literal["warn", "rebuild", "fail"]


@dataclass(frozen=True)
class Input:
    """What a stage reads under one role: the paths it is handed, and the content digests that stand for them in the key."""

    value: Path | list[Path] | dict[str, Path]
    digest: Digest | None  # None: says nothing that the other inputs do not say, so it is not part of the key
    keys: tuple[str, ...] = ()  # the artifacts it comes from


@dataclass(frozen=True)
class Built:
    record: Record
    reused: bool


class StageFailed(RuntimeError):
    """A stage could not finish. The message names the stage, what happened, what is kept, and what to do."""


def build(
    store: Store,
    stage: Stage,
    params: Identity,
    inputs: dict[str, Input],
    resources: Resources,
    *,
    name: str,
    refresh: bool = False,
    drift: Drift = "warn",
    progress: Callable[[Progress], None] = lambda progress: None,
    cluster: Callable[[int], Executor] | None = None,
    slot: Callable[[], AbstractContextManager[None]] = nullcontext,
    run: dict[str, str] | None = None,
) -> Built:
    """The artifact of `stage` for these parameters and inputs.

    `name` is what people call this use of the stage; `refresh` builds it even if it is there; `slot` is entered
    while a child computes on a device; `run` says who asked (for the record).
    Raises `StageFailed`, with the stage's own error as its cause.
    """
    log = logging.getLogger(f"hanlin.{name}")
    identity = stage.identity(params, digests(inputs))
    key = recipe_key(identity)
    if not refresh and (record := reusable(store, stage, params, key, drift, log)):
        return Built(record, reused=True)
    try:
        with store.lease(key, waiting=lambda who: log.info("waiting for %s, which is building this", who)) as held:
            if not refresh and (record := reusable(store, stage, params, key, drift, log)):  # whoever we waited for has built it
                return Built(record, reused=True)
            work = store.work(key)
            if refresh:
                discard(work)
            discard(work / "out")
            (work / "out").mkdir(parents=True)
            (work / "stage").write_text(name, "utf-8")
            (work / "reads").write_text("\n".join(key for given in inputs.values() for key in given.keys), "utf-8")
            tell, shards = _checked(progress, held.check), store.find_shard(identity)
            job = Job(work / "out", work / "scratch", resources, log.info, tell, shards, cluster=cluster, slot=slot)
            started = time.time()
            stats = stage(job, params, **{role: given.value for role, given in inputs.items()})
            made = _made(stage, params, resources, started, run or {}) | _pieces(job)
            record = store.publish(
                job.out,
                held,
                key=key,
                stage=name,
                title=stage.title,
                identity=identity,
                lineage={
                    f"{role}.{number}" if number else role: k
                    for role, given in inputs.items()
                    for number, k in enumerate(given.keys)
                },
                stats=stats,
                shards=job.shards,
                made=made,
                reproducibility=stage.reproducibility,
            )
            return Built(record, reused=False)
    except StageFailed:
        raise
    except (AssertionError, TypeError, AttributeError, LookupError):
        raise  # our own mistake: the traceback says more than a sentence
    except Exception as failure:
        raise StageFailed(explain(name, failure, store)) from failure


def digests(inputs: dict[str, Input]) -> dict[str, Digest]:
    """What stands for the inputs in the key."""
    return {role: given.digest for role, given in inputs.items() if given.digest is not None}


def reusable(store: Store, stage: Stage, params: Identity, key: str, drift: Drift, log: logging.Logger) -> Record | None:
    """The whole artifact under this key, or None; warns, refuses or rebuilds where the stage's code has changed since."""
    record = store.find(key, damaged=lambda what: log.warning("%s; it will be built again", what))
    if record is None:
        return None
    what = f"{record.stage} {key[:12]} was made by other code of the same stage version {stage.version}"
    if same := drifted(stage, params, record):
        if same.why and store.first(f"{stage.name}-{same.digest[:12]}"):
            log.warning(
                "%s that means the same (%s); artifacts made by it are reused, and this is not said again", what, same.why
            )
        if same.why:
            return record
        if drift == "fail":
            raise StageFailed(f"{what}; bump the stage's version if its meaning changed, or run with drift=warn to reuse it")
        if drift == "rebuild":
            log.warning("%s; it will be built again (drift=rebuild)", what)
            return None
        log.warning("%s; reused (drift=warn)", what)
    return record


@dataclass(frozen=True)
class Drifted:
    """Code that made an artifact and is not today's: its digest, and why it means the same, empty where nobody has said so."""

    digest: str
    why: str


def drifted(stage: Stage, params: Identity, record: Record) -> Drifted | None:
    """What an artifact of the stage was made by, where that is other code than today's."""
    digest = record.made.get("source", "")
    return None if digest == stage.source_digest(params) else Drifted(digest, same_meaning(stage.name, stage.version, digest))


def _checked(progress: Callable[[Progress], None], check: Callable[[], None]) -> Callable[[Progress], None]:
    """Reporting never stops a stage; a lost lease does, since the work can no longer be published."""
    reported = logging.getLogger("hanlin")

    def tell(now: Progress) -> None:
        check()
        try:
            progress(now)
        except Exception as failure:  # the reporter's trouble is not the stage's
            reported.debug("progress was not reported: %s", failure)

    return tell


def explain(name: str, failure: Exception, store: Store) -> str:
    """One sentence or two for a person: what happened, what is kept, what to do. DuckDB and child processes say `No space left` in words."""
    number = failure.errno if isinstance(failure, OSError) else None
    if number in (errno.ENOSPC, errno.EDQUOT) or "No space left on device" in str(failure):
        free = shutil.disk_usage(store.root).free if store.root.exists() else 0
        return (
            f"{name}: the disk is full ({free / 1e6:,.0f} MB left at {store.root}); nothing unfinished was published, and finished shards and "
            "checkpoints are kept. Free space (`hanlin artifacts gc --dry-run` shows what can go) or point HANLIN_STORE elsewhere, and run again"
        )
    if number in (errno.EROFS, errno.EACCES, errno.EPERM):
        where = getattr(failure, "filename", None) or store.root
        return f"{name}: {where} cannot be written ({failure}); make the store {store.root} writable, or point HANLIN_STORE at a folder that is"
    return f"{name}: {failure}"


def _made(stage: Stage, params: Identity, resources: Resources, started: float, run: dict[str, str]) -> dict[str, Any]:
    finished = time.time()
    return {
        "started": started,
        "finished": finished,
        "seconds": round(finished - started, 3),
        "peak_memory_mb": round(
            max(_peak(resource.RUSAGE_SELF), _peak(resource.RUSAGE_CHILDREN)) / 1024
        ),  # of the process so far
        "source": stage.source_digest(params),
        "resources": resources.model_dump(mode="json"),
        "host": socket.gethostname(),
        "machine": f"{platform.system()} {platform.machine()}, {os.cpu_count()} cores",
        "python": platform.python_version(),
        "versions": _versions(),
        **code_commit(),
        **run,
    }


def _pieces(job: Job) -> dict[str, Any]:
    """How many shards were built and how many were an earlier artifact's, where the stage works by shard."""
    counts = {"built": len(job.built), "reused": len(job.reused)}
    return {"shards": counts} if any(counts.values()) else {}


def _peak(who: int) -> int:
    return resource.getrusage(who).ru_maxrss


@cache
def _versions() -> dict[str, str]:
    packages = (
        "prefect",
        "torch",
        "transformers",
        "tokenizers",
        "trl",
        "duckdb",
        "pyarrow",
        "numpy",
        "jieba",
        "mwparserfromhell",
        "opencc",
    )
    return {package: importlib.metadata.version(package) for package in packages}


def files_input(paths: dict[str, tuple[Path, str]], keys: tuple[str, ...] = ()) -> Input:
    """Raw files as one input: `paths` maps a name that does not depend on this machine to (path, sha256)."""
    names = sorted(paths)
    return Input([paths[name][0] for name in names], [[name, paths[name][1]] for name in names], keys)


def text_digest(value: object) -> str:
    return hashlib.sha256(canonical(value).encode()).hexdigest()
