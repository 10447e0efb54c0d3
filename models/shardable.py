"""The limits of training in shards (FSDP2): jobs beyond them are trained by processes that each have the whole model (DDP).

Without torch: whoever starts the processes asks first.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from models import presets

WHOLE = ("dpo", "reward", "reference")  # TRL's trainers and their extra forward passes know no shards


def unfit(job: dict[str, Any]) -> str:
    """The reason why a training job does not go in shards, as a sentence without its full stop; empty where it does."""
    params, stage = job["params"], job["stage"]
    if stage in WHOLE:
        return f"{stage} does not train in shards (pretrain and sft do)"
    if params["optimizer"] == "adafactor":
        return "fsdp shards muon and adamw, not adafactor"
    if (bits := (params.get("lora") or {"bits": 32})["bits"]) != 32:
        return f"fsdp shards full-precision bases only, not one in {bits} bits"
    if preset := params.get("preset"):
        return presets.find(preset).unsharded
    return _unsharded(Path(job.get("inputs", {}).get("model", "")) / "config.json")


def _unsharded(config: Path) -> str:
    """Why the model of a config.json does not train in shards; empty where it does, or where there is none yet."""
    described = json.loads(config.read_text("utf-8")) if config.is_file() else {}
    if architecture := presets.architecture_of(described.get("model_type", "")):
        return architecture.unsharded
    return (
        "an encoder-decoder does not train in shards: its parts share one embedding"
        if described.get("is_encoder_decoder")
        else ""
    )
