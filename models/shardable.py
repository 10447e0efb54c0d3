"""The limits of training in shards (FSDP2): jobs beyond them are trained by processes that each have the whole model (DDP).

Without torch: whoever starts the processes asks first.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Protocol

from models import presets


class Optimized(Protocol):
    """Parameters of a training, as a stage or as a job has them; some also name a `preset`, or `lora` adapters and their `bits`."""

    @property
    def optimizer(self) -> str:
        """The optimizer's name."""


def unfit(stage: str, params: Optimized, model: Path | None, *, shards: bool) -> str:
    """The reason why a training does not go in shards, as a sentence without its full stop; empty where it does.

    `model` is the folder of the one that it goes on from; `shards` says whether the stage's trainer knows shards at all.
    """
    if not shards:  # TRL's trainers of pairs and their extra forward passes
        return f"{stage} does not train in shards (pretrain and sft do)"
    if params.optimizer == "adafactor":
        return "fsdp shards muon and adamw, not adafactor"
    lora = getattr(params, "lora", None)
    if lora and lora.bits != 32:
        return f"fsdp shards full-precision bases only, not one in {lora.bits} bits"
    if preset := getattr(params, "preset", None):
        return presets.find(preset).unsharded
    return _unsharded(model / "config.json") if model else ""


def _unsharded(config: Path) -> str:
    """The reason why the model of a config.json does not go in shards; empty where it does, or where there is none yet."""
    described = json.loads(config.read_text("utf-8")) if config.is_file() else {}
    if architecture := presets.architecture_of(described.get("model_type", "")):
        return architecture.unsharded
    return (
        "an encoder-decoder does not train in shards: its parts share one embedding"
        if described.get("is_encoder_decoder")
        else ""
    )
