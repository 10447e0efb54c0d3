"""The build of an artifact from a stage and its inputs: reused if it is there, else built, once, by whoever holds the lease.

`build` is the whole rule and knows nothing of Prefect. `flows/` wraps it in a Prefect task.
"""

from __future__ import annotations

import errno
import hashlib
import importlib.metadata
import logging
import os
import platform
import re
import resource
import shutil
import socket
import time
from collections.abc import Callable
from concurrent.futures import Executor
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from functools import cache, cached_property
from pathlib import Path
from typing import Any, Literal

from tasks.artifacts.digests import same_meaning
from tasks.artifacts.lease import Lease
from tasks.artifacts.provenance import code_commit
from tasks.artifacts.stage import Digest, Identity, Job, Progress, Resources, Stage, canonical
from tasks.artifacts.store import Record, Store, discard, recipe_key

Drift = Literal["warn", "rebuild", "fail"]


@dataclass(frozen=True)
class Input:
    """One role of a stage's inputs: the paths it is handed, and the content digests that stand for them in the key."""

    value: Path | list[Path] | dict[str, Path]
    digest: Digest | None  # None: says nothing that the other inputs do not say, so it is not part of the key
    keys: tuple[str, ...] = ()  # the artifacts it comes from


@dataclass(frozen=True)
class BuildRequest:
    """One use of a stage: the name people call it by, and all that defines the artifact."""

    name: str
    stage: Stage
    params: Identity
    inputs: dict[str, Input]

    @cached_property
    def identity(self) -> dict[str, Any]:
        return self.stage.identity(self.params, digests(self.inputs))

    @cached_property
    def key(self) -> str:
        return recipe_key(self.identity)

    @property
    def lineage(self) -> dict[str, str]:
        """The keys of the artifacts that the inputs come from, by role; further ones of a role are numbered."""
        return {
            f"{role}.{number}" if number else role: key
            for role, source in self.inputs.items()
            for number, key in enumerate(source.keys)
        }


@dataclass(frozen=True)
class BuildOptions:
    """The circumstances of a build, of which nothing is in the key.

    `refresh` builds an artifact even if it is there; `drift` says what to do with one that other code made; `slot` is entered while a child
    computes on a device; `run` says who asked, for the record.
    """

    resources: Resources = field(default_factory=Resources)
    refresh: bool = False
    drift: Drift = "warn"
    progress: Callable[[Progress], None] = lambda progress: None
    cluster: Callable[[int], Executor] | None = None
    slot: Callable[[], AbstractContextManager[None]] = nullcontext
    run: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Built:
    """The record of an artifact, and whether it was there before."""

    record: Record
    reused: bool


FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
SAID_FULL = re.compile(
    r"No space left on device|File too large|\d+ requested and \d+ written"
)  # the last one by numpy, without a number


class StageFailed(RuntimeError):
    """A stage could not finish. The message names the stage, what happened, what is kept, and what to do."""


def build(store: Store, request: BuildRequest, options: BuildOptions | None = None) -> Built:
    """The artifact of a request: the one in the store, or a new one. Raises `StageFailed`, with the stage's own error as its cause."""
    options, key = options or BuildOptions(), request.key
    log = logging.getLogger(f"hanlin.{request.name}")

    def reused() -> Built | None:
        record = None if options.refresh else reusable(store, request, options.drift, log)
        return Built(record, reused=True) if record else None

    if built := reused():
        return built
    try:
        with store.lease(key, waiting=lambda who: log.info("waiting for %s, which is building this", who)) as lease:
            return reused() or _build_new(store, request, options, lease, log)  # whoever we waited for may have built it
    except StageFailed:
        raise
    except (AssertionError, TypeError, AttributeError, LookupError):
        raise  # our own mistake: the traceback says more than a sentence
    except Exception as failure:
        raise StageFailed(explain(request.name, failure, store)) from failure


def _build_new(store: Store, request: BuildRequest, options: BuildOptions, lease: Lease, log: logging.Logger) -> Built:
    """Run the stage and publish what it writes, under a lease that must hold until then."""
    work = store.work(request.key)
    if options.refresh:
        discard(work)
    discard(work / "out")
    (work / "out").mkdir(parents=True)
    (work / "stage").write_text(request.name, "utf-8")
    (work / "reads").write_text("\n".join(key for source in request.inputs.values() for key in source.keys), "utf-8")
    job = Job(
        out=work / "out",
        scratch=work / "scratch",
        resources=options.resources,
        log=log.info,
        progress=_checked(options.progress, lease.check),
        find_shard=store.find_shard(request.identity),
        cluster=options.cluster,
        slot=options.slot,
    )
    started = time.time()
    stats = request.stage(job, request.params, **{role: source.value for role, source in request.inputs.items()})
    record = store.publish(
        job.out,
        lease,
        key=request.key,
        stage=request.name,
        title=request.stage.title,
        identity=request.identity,
        lineage=request.lineage,
        stats=stats,
        shards=job.shards,
        made=_provenance(request, options, started) | _shard_counts(job),
        reproducibility=request.stage.reproducibility,
    )
    return Built(record, reused=False)


def digests(inputs: dict[str, Input]) -> dict[str, Digest]:
    """The content digests that stand for the inputs in the key, by role."""
    return {role: source.digest for role, source in inputs.items() if source.digest is not None}


def reusable(store: Store, request: BuildRequest, drift: Drift, log: logging.Logger) -> Record | None:
    """The record of the whole artifact that is asked for, or None; warns, refuses or rebuilds where the stage's code has changed since."""
    stage = request.stage
    record = store.find(request.key, damaged=lambda what: log.warning("%s; it will be built again", what))
    if record is None:
        return None
    what = f"{record.stage} {request.key[:12]}: the code of this stage has changed since it was made, but not its version number ({stage.version})"
    if same := drifted(stage, request.params, record):
        if same.why and store.first(f"{stage.name}-{same.digest[:12]}"):
            log.warning(
                "%s: the code of this stage has changed since it was made, but makes the same: %s. It is reused, and this is not said again",
                request.key[:12],
                same.why,
            )
        if same.why:
            return record
        if drift == "fail":
            raise StageFailed(f"{what}; raise the version if the stage makes other results now, or reuse it with drift=warn")
        if drift == "rebuild":
            log.warning("%s; it will be built again (drift=rebuild)", what)
            return None
        log.warning("%s; it is reused (drift=rebuild makes it again)", what)
    return record


@dataclass(frozen=True)
class Drifted:
    """Code that made an artifact and is not today's: its digest, and why it means the same, empty where nobody has said so."""

    digest: str
    why: str


def drifted(stage: Stage, params: Identity, record: Record) -> Drifted | None:
    """The code that made an artifact of the stage, where that is not today's; else None."""
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
    if number in FULL or SAID_FULL.search(str(failure)):
        free = shutil.disk_usage(store.root).free if store.root.exists() else 0
        return (
            f"{name}: the disk is full, or its quota used up ({free / 1e6:,.0f} MB left at {store.root}); nothing unfinished was published, and "
            "finished shards and checkpoints are kept. Free space (`hanlin artifacts gc --dry-run` shows what can go) or point HANLIN_STORE "
            "elsewhere, and run again"
        )
    if number in (errno.EROFS, errno.EACCES, errno.EPERM):
        where = getattr(failure, "filename", None) or store.root
        return f"{name}: {where} cannot be written ({failure}); make the store {store.root} writable, or point HANLIN_STORE at a folder that is"
    return f"{name}: {failure}"


def _provenance(request: BuildRequest, options: BuildOptions, started: float) -> dict[str, Any]:
    """The provenance of an artifact, for its record: time, code, machine, versions, and the run that asked."""
    finished = time.time()
    return {
        "started": started,
        "finished": finished,
        "seconds": round(finished - started, 3),
        "peak_memory_mb": round(
            max(_peak(resource.RUSAGE_SELF), _peak(resource.RUSAGE_CHILDREN)) / 1024
        ),  # of the process so far
        "source": request.stage.source_digest(request.params),
        "resources": options.resources.model_dump(mode="json"),
        "host": socket.gethostname(),
        "machine": f"{platform.system()} {platform.machine()}, {os.cpu_count()} cores",
        "python": platform.python_version(),
        "versions": _versions(),
        **code_commit(),
        **options.run,
    }


def _shard_counts(job: Job) -> dict[str, Any]:
    """The number of shards that were built, and of those that were an earlier artifact's, where the stage works by shard."""
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
