"""What does not train in shards (FSDP2), and so is trained by processes that each have the whole model (DDP). Without torch: whoever starts
the processes asks first."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from models import presets

WHOLE = ("dpo", "reward", "reference")  # TRL's trainers and their extra forward passes know no shards


def unfit(job: dict[str, Any]) -> str:
    """Why a job (`models/methods.py`) does not train in shards, in a sentence; empty where it does."""
    params, stage = job["params"], job["stage"]
    if stage in WHOLE:
        return f"{stage} does not train in shards (pretrain and sft do)"
    if params["optimizer"] == "adafactor":
        return "fsdp shards muon and adamw, not adafactor"
    if (bits := (params.get("lora") or {"bits": 32})["bits"]) != 32:
        return f"fsdp shards full-precision bases only, not one in {bits} bits"
    if _text2text(job):
        return "a T5 does not train in shards: its encoder, its decoder and its head share one embedding"
    return ""


def _text2text(job: dict[str, Any]) -> bool:
    """Of a preset, or of the model that the job goes on from."""
    if preset := job["params"].get("preset"):
        return presets.architecture(preset) == "t5"
    config = Path(job.get("inputs", {}).get("model", "")) / "config.json"
    return config.is_file() and bool(json.loads(config.read_text("utf-8")).get("is_encoder_decoder"))
