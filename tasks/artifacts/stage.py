"""The decorator `@stage`, which makes a plain function a builder of artifacts, with a version, typed parameters and an identity.

A stage is a module with `Params` (what defines the result) and a `run(job, params, **inputs)` that reads input folders, writes into
`job.out` and returns its statistics. It knows nothing of Prefect and nothing of where artifacts live, so a test calls it directly:

    stats = run(Job(out=tmp / "out", scratch=tmp / "scratch"), Params(), rows=folder)
"""

from __future__ import annotations

import contextlib
import hashlib
import importlib.metadata
import json
import os
import shutil
import socket
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from tasks.artifacts.digests import OURS, source_digest

Stats = dict[str, Any]
Digest = str | list[list[str]]  # of one input, or [name, digest] pairs of several, in an order that counts
Reproducibility = Literal["bitwise", "seeded", "external"]
Group = Literal["data", "model", "result"]
Section = Literal["", "rows", "training"]


class Identity(BaseModel):
    """Base of every `Params`: what defines a result, and so is part of its key."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Resources(BaseModel):
    """The resources that stages run with on this machine. None of it changes what they make, so none of it is part of a key."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    workers: int = Field(
        default=0, ge=0, le=1024, description="Processes for data stages; 0: one a core; 1: none beside the flow's own"
    )
    runner: Literal["processes", "ray"] = Field(
        default="processes",
        description="Who does the pieces of data stages: processes of this machine, or a Ray cluster that sees store and raw files at the "
        "same paths (needs hanlin[ray]); `workers` are then the pieces under way at a time",
    )
    ray_address: str = Field(
        default="",
        description="Of a Ray cluster, such as ray://head:10001; empty: one on this machine, for the length of a stage",
    )
    threads: int = Field(default=0, ge=0, le=1024, description="Threads for DuckDB and for torch; 0: one a core")
    memory_gb: float = Field(
        default=4.0,
        gt=0.1,
        le=4096,
        description="Memory of a data stage in GB, all of its processes together: it bounds their number, and DuckDB spills to disk",
    )
    device: Literal["auto", "cpu", "cuda", "mps"] = Field(default="auto", description="Where tensors live; auto: cuda, else cpu")
    processes: int = Field(default=1, ge=1, le=1024, description="Training processes, of all machines together; one a GPU")
    parallel: Literal["ddp", "fsdp"] = Field(
        default="ddp",
        description="Of several processes: ddp, each has the whole model; fsdp, each has a part of it in the stages that can be cut "
        "(pretrain and sft, not of T5, nor with adafactor or a base in 4 or 8 bits); the others go by ddp and say so",
    )
    machines: int = Field(
        default=1,
        ge=1,
        le=1024,
        description="Machines that share a training and see the store at the same path; the run's log says what to start on the others",
    )
    meet: str = Field(
        default="",
        pattern=r"^$|^[^\s:]+:\d{1,5}$",
        description="Of several machines: where the others reach this one, as host:port with a port that is free, such as node0:29500; "
        "empty: MASTER_ADDR and MASTER_PORT",
    )
    stop_seconds: float = Field(
        default=20.0, gt=0, le=3600, description="That a trainer gets to finish its step and save, before it is killed"
    )
    micro_batch: int = Field(default=0, ge=0, le=65536, description="Sequences in one forward pass; 0: the whole batch of a step")
    compile: bool = Field(
        default=False,
        description="Compile the model's layers (torch.compile): half a minute at the start, then up to a third faster",
    )
    gradient_checkpointing: bool = Field(
        default=False, description="Compute the layers again on the way back instead of keeping them: less memory, a third slower"
    )
    checkpoint_steps: int = Field(default=50, ge=1, description="Steps between training checkpoints")
    keep_checkpoints: int = Field(default=2, ge=1, le=100, description="Newest checkpoints kept while a stage trains")
    hours: dict[str, Annotated[float, Field(gt=0, le=8784)]] = Field(
        default={},
        title="Time limits",
        description="Longest that a stage may take, in hours, by its name, such as pretrain: 48; what it finished is kept, and the next "
        "run goes on from there",
    )
    download_connections: int = Field(default=4, ge=1, le=64, description="Files fetched at once; a Wikimedia dump: at most 2")
    download_retries: int = Field(default=8, ge=0, le=1000, description="Attempts in a row that bring nothing, before giving up")
    download_backoff: float = Field(default=1.0, ge=0, le=60, description="Seconds before the second attempt; doubles from there")
    download_silence: float = Field(default=30.0, gt=0, le=3600, description="Seconds without a byte: the transfer has stalled")

    @model_validator(mode="after")
    def _machines(self) -> Resources:
        if self.processes % self.machines:
            raise ValueError(f"processes {self.processes} do not divide among {self.machines} machines; make them a multiple")
        if self.machines > 1 and not self.meet and "MASTER_ADDR" not in os.environ:
            raise ValueError("machines needs meet: where the others reach this one, such as node0:29500 (or MASTER_ADDR)")
        return self

    @property
    def cores(self) -> int:
        """Threads to use: the setting, or every core this process may run on."""
        return self.threads or len(os.sched_getaffinity(0))

    @property
    def pool(self) -> int:
        """Worker processes to use: the setting, or one a core."""
        return self.workers or len(os.sched_getaffinity(0))


@dataclass
class Progress:
    """The progress of a stage: `done` of `total` (0: unknown) `unit`s, and figures worth a look (loss, tokens/s, ETA in seconds …). After a
    resume, the first one also brings the `past`: figure → (done, its value) of earlier attempts."""

    done: float
    total: float
    unit: str
    figures: dict[str, float] = field(default_factory=dict)
    past: dict[str, list[tuple[float, float]]] = field(default_factory=dict)

    @property
    def share(self) -> float:
        """The part that is done, at most 1: what was estimated may turn out to be more. 0 where nobody knows."""
        return min(1.0, self.done / self.total) if self.total else 0.0


@dataclass
class Job:
    """The surroundings of a running stage: folders to write into and to leave off in, its resources, and whom to tell of progress."""

    out: Path  # the artifact's files; empty at the start of every attempt
    scratch: Path  # survives a kill: finished shards, checkpoints
    resources: Resources = field(default_factory=Resources)
    log: Callable[[str], None] = lambda text: None
    progress: Callable[[Progress], None] = lambda progress: None
    find_shard: Callable[[str], Callable[[Path], None] | None] = lambda key: None  # copies a shard out of an earlier artifact
    shards: dict[str, dict[str, Any]] = field(default_factory=dict)  # filled by `collect`, kept in the record
    reused: set[str] = field(default_factory=set)  # keys of shards that an earlier artifact had
    built: set[str] = field(default_factory=set)  # keys of shards that were nowhere
    cluster: Callable[[int], Executor] | None = (
        None  # workers beyond this machine, given how many this machine would have; None: none
    )
    slot: Callable[[], contextlib.AbstractContextManager[None]] = contextlib.nullcontext  # its turn on a device, where runs queue

    def __post_init__(self) -> None:
        self.out.mkdir(parents=True, exist_ok=True)
        self.scratch.mkdir(parents=True, exist_ok=True)

    def shard_key(self, *identity: object) -> str:
        """The key of one piece of work: a hash of all that defines it (canonical JSON)."""
        return hashlib.sha256(canonical(list(identity)).encode()).hexdigest()[:32]

    def finished(self, key: str) -> Stats | None:
        """A finished shard's statistics, from this build's scratch or from an earlier artifact of this stage; None if it is still to do."""
        home = self.scratch / "shards" / key
        if not (home / "stats.json").exists():
            lend = self.find_shard(key)
            if lend is None:
                self.built.add(key)
                return None
            with fresh(home) as draft:
                lend(draft)
            self.reused.add(key)
        return json.loads((home / "stats.json").read_text("utf-8"))

    def shard_home(self, key: str) -> Path:
        """The folder of a shard's files once they are whole; write them through `fresh(...)`."""
        return self.scratch / "shards" / key

    def collect(self, keys: Sequence[str]) -> None:
        """Publish finished shards in this order: `<shard>/<kind>.parquet` becomes `out/<kind>/<number>.parquet`."""
        for number, key in enumerate(keys):
            home, names = self.shard_home(key), []
            for path in sorted(home.glob("*.parquet")):
                target = self.out / path.stem / f"{number:05d}.parquet"
                target.parent.mkdir(exist_ok=True)
                link_or_copy(path, target)
                names.append(str(target.relative_to(self.out)))
            self.shards[key] = {"files": names, "stats": json.loads((home / "stats.json").read_text("utf-8"))}


@contextlib.contextmanager
def fresh(home: Path) -> Iterator[Path]:
    """A folder that appears at `home` whole or not at all: written beside it, then renamed."""
    draft = home.with_name(f"{home.name}.{socket.gethostname()}.{os.getpid()}.draft")
    shutil.rmtree(draft, ignore_errors=True)
    draft.mkdir(parents=True)
    try:
        yield draft
        if home.exists():
            shutil.rmtree(home)
        os.replace(draft, home)
    finally:
        shutil.rmtree(draft, ignore_errors=True)


def link_or_copy(source: str | Path, target: str | Path) -> None:
    """A second name for the same bytes where the file system can, else a copy."""
    try:
        os.link(source, target)
    except OSError:
        shutil.copyfile(source, target)


def canonical(value: object) -> str:
    """JSON with one spelling for one value. Only what JSON can say: `TypeError` for anything else, never `str()` of it."""
    return json.dumps(value, sort_keys=True, ensure_ascii=False, separators=(",", ":"), allow_nan=False)


@dataclass(frozen=True)
class Choice:
    """A parameter that chooses a module, such as a format its reader: the code of a stage depends on it."""

    field: str  # of the stage's parameters
    modules: Callable[[], Mapping[str, str]]  # its values → module; empty: none beside the stage's own


@dataclass(frozen=True)
class Stage:
    """A stage's identity and the function that does its work."""

    name: str
    version: int  # bumped by hand when the stage's meaning changes
    title: str
    run: Callable[..., Stats]
    Params: type[Identity]
    tools: tuple[str, ...] = ()  # packages whose version is part of the meaning
    reproducibility: Reproducibility = "bitwise"
    choice: Choice | None = None
    # for the report, and no part of an identity:
    group: Group = "data"  # what it makes, which colours its box in the diagram
    section: Section = (
        ""  # rows: a column of the table of rows, from its funnel; training: facts and curves, from its statistics and log
    )
    step: str = ""  # of a stage with rows: its column, where it shares that of another stage

    def __call__(self, job: Job, params: Identity, **inputs: Any) -> Stats:
        return self.run(job, params, **inputs)

    def identity(self, params: Identity, inputs: dict[str, Digest]) -> dict[str, Any]:
        """All that defines an artifact of this stage."""
        assert isinstance(params, self.Params), f"{self.name} takes {self.Params}, not {type(params)}"
        return {
            "stage": self.name,
            "version": self.version,
            "params": params.model_dump(mode="json"),
            "inputs": inputs,
            "tools": {tool: _version(tool) for tool in self.tools},
        }

    def source_digest(self, params: Identity) -> str:
        """A hash of the code that builds with these parameters: the stage's own, and all of ours that it reaches (`digests`)."""
        chosen = getattr(params, self.choice.field) if self.choice else ""
        return source_digest(self.modules(chosen))

    def variants(self) -> dict[str, str]:
        """Name → value of the choice, for each piece of our own code that may build an artifact of this stage: `ingest[belle]` → belle."""
        if not self.choice:
            return {self.name: ""}
        ours = [value for value, module in self.choice.modules().items() if not module or module.split(".")[0] in OURS]
        return {f"{self.name}[{value}]": value for value in ours} or {self.name: ""}

    def modules(self, chosen: str = "") -> list[str]:
        """The modules that the code begins in: the stage's own, and the one that the choice names, if it names any."""
        own = self.run.__module__
        return [own, *filter(None, [self.choice.modules().get(chosen, "")])] if self.choice else [own]


@cache
def _version(package: str) -> str:
    """The version of an installed package, whose description takes hundredths of a second to read."""
    return importlib.metadata.version(package)


def stage(
    name: str,
    *,
    version: int,
    title: str,
    params: type[Identity],
    tools: tuple[str, ...] = (),
    reproducibility: Reproducibility = "bitwise",
    choice: Choice | None = None,
    group: Group = "data",
    section: Section = "",
    step: str = "",
) -> Callable[[Callable[..., Stats]], Stage]:
    """Make a `run` function a stage.

    `title` is for people; `tools` are packages whose version is part of the result's meaning; `choice` is the parameter, if there is one,
    that chooses a module which nothing imports; `group`, `section` and `step` say where the report shows it (see `Stage`).
    """

    def wrap(run: Callable[..., Stats]) -> Stage:
        return Stage(name, version, title, run, params, tools, reproducibility, choice, group, section, step)

    return wrap
