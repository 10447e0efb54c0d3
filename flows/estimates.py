"""The expected duration of stages, before anything is spent: from the store's records, else from the operations that a training takes."""

from __future__ import annotations

import functools
import os
import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass

from pydantic import ValidationError

from flows.devices import OTHER, PEAKS, USED
from flows.graph import Node
from models import presets
from models.architectures import ArchitectureOptions
from models.scaling import compute, horizon
from tasks.artifacts.stage import Resources
from tasks.artifacts.store import Record
from tasks.pretrain import Params as PretrainParams

CORE = 1.2e10  # floating-point operations a second that training gets of a CPU's core: measured, 2 cores, 2 M parameters


@dataclass(frozen=True)
class Estimate:
    """Seconds that a stage is expected to take, those of accelerators (all together), and what the figure comes from."""

    seconds: float
    accelerator_seconds: float
    origin: str  # record, FLOPs


def estimate(node: Node, earlier: Sequence[Record], trainings: Sequence[Record], resources: Resources) -> Estimate | None:
    """The estimate for a node; None where nothing is known of it. `earlier` are its records, the most fitting last; `trainings` are the
    store's pretrainings, whose speed on this machine is known, oldest first."""
    if earlier:
        record = earlier[-1]
        seconds = float(record.made.get("seconds") or 0.0)
        if isinstance(node.params, PretrainParams) and (before := _params(record)):
            scale = operations(node.params, record) / operations(before)
            seconds *= scale if scale > 0 else 1.0
        share = 0 if record.stats.get("device", "cpu") == "cpu" else int(record.stats.get("processes", 1))
        return Estimate(seconds, seconds * share, "record")
    if not isinstance(node.params, PretrainParams):
        return None
    speed, accelerators = _speed(trainings, resources)
    seconds = operations(node.params) / speed
    return Estimate(seconds, seconds * accelerators, "FLOPs")


def operations(params: PretrainParams, earlier: Record | None = None) -> float:
    """Floating-point operations of a pretraining. Where it does not say its tokens, they follow from the corpus of an `earlier` one; without, they
    are 20 a parameter."""
    options = ArchitectureOptions(params.kv_heads, params.qk_norm, params.qkv_bias)
    body = presets.find(params.preset).body(options)
    return compute(body, params.tokens or _tokens(params, body, earlier) or 20 * body)


def _tokens(params: PretrainParams, body: int, earlier: Record | None) -> int:
    """The tokens that a pretraining takes of the corpus that an earlier one has read; 0 where nothing is known of it."""
    taken, passes = (float(earlier.stats.get(name) or 0) for name in ("tokens", "passes")) if earlier else (0.0, 0.0)
    if not passes:
        return int(taken)
    corpus = round(taken / passes)
    return round(params.epochs * corpus) if params.epochs else horizon(body, corpus)


def _params(record: Record) -> PretrainParams | None:
    """A pretraining's parameters, with the tokens that it took; None where they mean nothing here, as a preset of a package that is gone."""
    fields = {name: value for name, value in record.identity["params"].items() if name in PretrainParams.model_fields}
    try:
        return PretrainParams.model_validate(fields | {"tokens": int(record.stats.get("tokens", 0)) or None, "epochs": None})
    except ValidationError:
        return None


def _speed(trainings: Sequence[Record], resources: Resources) -> tuple[float, int]:
    """Operations a second, and the number of accelerators: of the last pretraining on such a device, else by the device's name."""
    names = () if resources.device == "cpu" else accelerators()
    for record in reversed(trainings):
        seconds = float(record.stats.get("seconds") or record.made.get("seconds") or 0)
        if (record.stats.get("device", "cpu") == "cpu") == (not names) and seconds and (params := _params(record)):
            return operations(params) / seconds, resources.processes if names else 0
    if not names:
        return CORE * (resources.threads or os.cpu_count() or 1), 0
    peak = next((peak for name, peak in PEAKS.items() if name in names[0]), OTHER)
    return USED * peak * resources.processes, resources.processes


@functools.cache
def accelerators() -> tuple[str, ...]:
    """The names of this machine's GPUs, by its driver's own program, which answers long before torch is imported."""
    if not shutil.which("nvidia-smi"):
        return ()
    command = ["nvidia-smi", "--query-gpu=name", "--format=csv,noheader"]
    try:
        return tuple(subprocess.run(command, capture_output=True, text=True, timeout=2, check=True).stdout.split("\n")[:-1])
    except (OSError, subprocess.SubprocessError):
        return ()
