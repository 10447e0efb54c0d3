"""The training job: a typed view of the job file that a training process is started with.

The file is JSON: `stage`, `method` (the module that trains it), `shards` (whether that trainer can hold a model in shards), `params` and
`resources` (settings that define the result, and settings that do not), `inputs` (folders by role), `out` and `scratch` (folders). `read`
checks all but `params`, without importing torch; `method_of` imports the method, which says of which class its parameters are; `typed`
checks these. A field that is missing, unknown or of another type is a `ValueError`.

The parameters are those of the stages' `Params` in `tasks/`, which give each its default, its bounds and its description.
"""

from __future__ import annotations

import importlib
import importlib.util
from collections.abc import Callable
from pathlib import Path
from typing import Any, Generic, Literal, Protocol, TypeVar, cast

from pydantic import ConfigDict, TypeAdapter, ValidationError
from pydantic.dataclasses import dataclass

OptimizerName = Literal["muon", "adamw", "adafactor"]
ScheduleName = Literal["wsd", "cosine", "onecycle", "constant"]

METHODS = "models.methods"  # the package of our methods; one of another package is named by its module
STRICT = ConfigDict(extra="forbid", strict=True)

Stats = dict[str, Any]
Emit = Callable[..., None]  # (event, **fields): tell the parent process
Stopping = Callable[[], bool]  # whether the run has been asked to stop


@dataclass(frozen=True, kw_only=True, config=STRICT)
class TrainingParams:
    """Parameters of every training method (`tasks/processes/training.py` describes each). They are part of a run's identity."""

    learning_rate: float | None
    optimizer: OptimizerName
    weight_decay: float
    clip: float
    schedule: ScheduleName
    warmup: float | None
    decay: float
    precision: Literal["auto", "float32", "bfloat16"]
    seed: int
    log_steps: int
    eval_steps: int
    weights: Literal["last", "best"]
    fresh_moments: bool
    eval_tokens: int

    def as_json(self) -> dict[str, Any]:
        """The parameters as the job file has them: names in its order, JSON's own types."""
        return TypeAdapter(type(self)).dump_python(self, mode="json")


@dataclass(frozen=True, kw_only=True, config=STRICT)
class PretrainingParams(TrainingParams):
    """Parameters of a new model's training (`tasks/pretrain.py`)."""

    preset: str
    kv_heads: int | None
    qk_norm: bool
    qkv_bias: bool
    balance: float | None
    context: int | None
    packing: Literal["windows", "best_fit"]
    tokens: int | None
    epochs: float | None
    batch_tokens: int | None
    keep_stable: bool


@dataclass(frozen=True, kw_only=True, config=STRICT)
class LoraParams:
    """Low-rank adapters: their rank, scale and dropout, the modules that get one, and the bits of the frozen base."""

    rank: int
    alpha: float
    dropout: float
    modules: Literal["all"] | tuple[str, ...]
    bits: Literal[32, 8, 4]


@dataclass(frozen=True, kw_only=True, config=STRICT)
class TuningParams(TrainingParams):
    """Parameters of the methods that go on from a model."""

    template: str | None
    lora: LoraParams | None
    freeze: tuple[str, ...]
    epochs: float
    batch_size: int
    max_length: int | None
    keep_state: bool

    @property
    def bits(self) -> int:
        """Bits of the base model's numbers: 32 where it is trained itself."""
        return self.lora.bits if self.lora else 32


@dataclass(frozen=True, kw_only=True, config=STRICT)
class TrainingResources:
    """Settings of a training process that do not change what it makes, but for the last digits."""

    device: Literal["auto", "cpu", "cuda", "mps"]
    processes: int
    micro_batch: int
    gradient_checkpointing: bool
    compile: bool
    checkpoint_steps: int
    keep_checkpoints: int


P = TypeVar("P", covariant=True)


@dataclass(frozen=True, kw_only=True, config=STRICT)
class TrainingJob(Generic[P]):
    """A job with parameters of class `P`; `dict[str, Any]` as long as the method has not typed them."""

    stage: str
    method: str
    shards: bool
    params: P
    resources: TrainingResources
    inputs: dict[str, Path]
    out: Path
    scratch: Path

    def folder(self, role: str) -> Path:
        """The folder of an input. `ValueError` where the job has none of that role."""
        if role not in self.inputs:
            raise ValueError(f"stage {self.stage} has no input {role}; it has {', '.join(self.inputs) or 'none'}")
        return self.inputs[role]


class Method(Protocol):
    """A training method's module: the class of its parameters, and (by the module's own name) the function that trains."""

    Params: type[TrainingParams]


Train = Callable[[TrainingJob[Any], Emit, Stopping], Stats | None]  # the statistics; None where the run was stopped


def read(path: Path) -> TrainingJob[dict[str, Any]]:
    """The job of a file, its parameters not yet typed. `ValueError` where it is none."""
    return _checked(TrainingJob[dict[str, Any]], path.read_bytes(), str(path))


def method_of(job: TrainingJob[Any]) -> tuple[Method, Train]:
    """The module of a job's method, imported, and its function. `ValueError` where the name is not that of a method.

    Of this package only the modules of `models.methods` are methods; any other name is a module of an installed package.
    """
    package, _, name = job.method.rpartition(".")
    ours = job.method.split(".")[0] in ("models", "tasks", "flows")
    if not package or (ours and package != METHODS):
        raise ValueError(
            f"method {job.method} of stage {job.stage} is no training method; name a module of {METHODS} or of another package"
        )
    try:
        known = importlib.util.find_spec(job.method) is not None
    except ModuleNotFoundError:  # of a package around it
        known = False
    if not known:
        raise ValueError(
            f"method {job.method} of stage {job.stage} is not installed here; install its package, or correct the name"
        )
    module = importlib.import_module(job.method)
    if not hasattr(module, "Params") or not callable(getattr(module, name, None)):
        raise ValueError(f"method {job.method} of stage {job.stage} lacks Params or a function {name}; every method defines both")
    return cast("Method", module), getattr(module, name)


def typed(job: TrainingJob[dict[str, Any]], method: Method) -> TrainingJob[Any]:
    """A job with its parameters as its method types them. `ValueError` where they are not the method's."""
    params = _checked(
        method.Params, TypeAdapter(dict[str, Any]).dump_json(job.params), f"params of stage {job.stage} ({job.method})"
    )
    return TrainingJob(**vars(job) | {"params": params})


def _checked(kind: Any, text: bytes, where: str) -> Any:
    """JSON as a value of a class. Of what is wrong, everything is told at once."""
    try:
        return TypeAdapter(kind).validate_json(text)
    except ValidationError as mistakes:
        phrases = {"missing": "is missing", "unexpected_keyword_argument": "is unknown"}
        problems = [
            f"{'.'.join(map(str, error['loc'])) or 'the whole'} {phrases.get(error['type'], 'is wrong: ' + error['msg'])}"
            for error in mistakes.errors()
        ]
        raise ValueError(
            f"{where}: {'; '.join(problems)}. Write the job with the version of this package that reads it (tasks/processes/training.py)"
        ) from None
