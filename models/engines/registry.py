"""The registry of serving engines, by the name that `--engine` takes."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from models.engines.engine import ServingEngine
    from models.engines.memory import Memory

ENGINES = {  # name → module:class, which is made as `start` does
    "own": "models.engines.own:OwnEngine",
    "llama.cpp": "models.engines.llama_cpp:LlamaCppEngine",
    "vllm": "models.engines.vllm_server:VLLMServerEngine",
}


@dataclass(frozen=True)
class Place:
    """The files of a model; a new `key` means other files."""

    key: str
    folder: Path


def check(name: str) -> None:
    """`ValueError` for an engine that there is not."""
    if name not in ENGINES:
        raise ValueError(f"no engine {name!r}; engines: {', '.join(ENGINES)}")


def start(
    name: str,
    folder: Path,
    *,
    device: str = "auto",
    slots: int = 32,
    queue: int = 256,
    adapters: Mapping[str, Path] | None = None,
    memory: Memory | None = None,
) -> ServingEngine:
    """An engine with the model of a folder, and adapters beside it by name. `slots` are answers at once, `queue` those that may wait, `memory` is
    for the answers under way (vLLM plans its own). `ValueError` where the engine cannot run that model."""
    check(name)
    module, _, kind = ENGINES[name].partition(":")
    more = {} if memory is None or name == "vllm" else {"memory": memory}
    engine: ServingEngine = getattr(importlib.import_module(module), kind)(
        folder, device, slots=slots, queue=queue, adapters=dict(adapters or {}), **more
    )
    return engine
