"""Limits of training in shards (FSDP2): jobs that processes train which each have the whole model (DDP). Without torch: whoever starts the
processes asks first."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Protocol

from models import presets


class Optimized(Protocol):
    """Parameters of a training, as a stage or as a job has them; some also name a `preset`, or `lora` adapters and their `bits`."""

    @property
    def optimizer(self) -> str: ...


def unfit(stage: str, params: Optimized, model: Path | None, *, shards: bool) -> str:
    """Why a training does not go in shards, in a sentence; empty where it does.

    `model` is the folder of the one that it goes on from; `shards` says whether the stage's trainer knows shards at all.
    """
    if not shards:  # TRL's trainers of pairs and their extra forward passes
        return f"{stage} does not train in shards (pretrain and sft do)"
    if params.optimizer == "adafactor":
        return "fsdp shards muon and adamw, not adafactor"
    lora = getattr(params, "lora", None)
    if lora and lora.bits != 32:
        return f"fsdp shards full-precision bases only, not one in {lora.bits} bits"
    if _text2text(getattr(params, "preset", None), model):
        return "a T5 does not train in shards: its encoder, its decoder and its head share one embedding"
    return ""


def _text2text(preset: str | None, model: Path | None) -> bool:
    """Whether a preset's model, or that of a folder, is an encoder-decoder."""
    if preset:
        return presets.architecture(preset) == "t5"
    config = model / "config.json" if model else None
    return config is not None and config.is_file() and bool(json.loads(config.read_text("utf-8")).get("is_encoder_decoder"))
