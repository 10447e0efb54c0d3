"""Loading of a saved model for reading: its files, its device and its context."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from transformers import (
    CONFIG_MAPPING,
    AutoConfig,
    AutoModelForCausalLM,
    AutoModelForSeq2SeqLM,
    GenerationConfig,
    PreTrainedConfig,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)
from transformers.utils import logging

from models import heads, presets, tokenizer_files


def device_of(name: str) -> torch.device:
    """The device of a name; `auto` is a GPU where there is one. `ValueError` for a GPU that is not there."""
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    if (name == "cuda" and not torch.cuda.is_available()) or (name == "mps" and not torch.backends.mps.is_available()):
        raise ValueError(f"resources.device is {name}, and torch sees no such device here; set it to auto or cpu")
    return torch.device(name)


def has_bf16(device: torch.device) -> bool:
    """True where bfloat16 is fast on a device. A CPU without the instructions for it emulates them, slower than float32."""
    if device.type == "cpu":
        return torch.cpu._is_avx512_bf16_supported()
    return device.type == "cuda"


def load(folder: Path, device: torch.device, kind: Any = None, **options: Any) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    """A model in float32, for reading only, and its tokenizer. `options` are `from_pretrained`'s, `kind` is a class of models, else one that
    writes text. `ValueError` where the folder holds none, or none of that kind."""
    home = home_of(folder)
    logging.disable_progress_bar()
    config = config_of(home)
    kind = kind or (AutoModelForSeq2SeqLM if config.is_encoder_decoder else AutoModelForCausalLM)
    if type(config) not in kind._model_mapping:
        raise ValueError(
            f"{home} is a {config.model_type}, of which there is no {kind.__name__}; name a model of another architecture"
        )
    model = kind.from_pretrained(home, **{"dtype": torch.float32} | options)
    heads.settle(model, described(home))
    if hasattr(model.config, "output_router_logits"):
        model.config.output_router_logits = False  # some trainers leave it on, and with a cache they have no meaning
    if model.can_generate():
        model.generation_config = GenerationConfig()  # how to decode is ours to say: a model from outside may punish repetitions
    return (model if "quantization_config" in options else model.to(device)).eval(), tokenizer_files.read(home)


def config_of(home: Path) -> PreTrainedConfig:
    """The configuration of the model in a folder; from then on transformers knows the classes of its architecture too. `ValueError` where
    nobody knows the architecture."""
    kind = described(home).get("model_type", "")
    if architecture := presets.architecture_of(kind):
        architecture.register()
    elif kind not in CONFIG_MAPPING and (broken := presets.registry().broken):
        raise ValueError(
            f"{home} has the model_type {kind!r}, which neither transformers nor Hanlin knows, but perhaps a package that fails: {'; '.join(broken)}"
        )
    return AutoConfig.from_pretrained(home)


def described(home: Path) -> dict[str, Any]:
    """What the config.json of the model in a folder says, as it is written."""
    return dict(json.loads((home / "config.json").read_text("utf-8")))


def home_of(folder: Path) -> Path:
    """The folder of the model's files: an artifact of a training stage has them in a folder of their own. `ValueError` where there are none."""
    home = folder / "model" if (folder / "model" / "config.json").exists() else folder
    if not (home / "config.json").exists():
        raise ValueError(
            f"{folder} holds no model (no config.json); name the artifact of a training stage, or a folder with a model's files"
        )
    return home


def context_of(model: PreTrainedModel | PreTrainedConfig) -> int:
    """The context of a model, in tokens read and written together. Endless for one without positions."""
    config = getattr(model, "config", model)
    return getattr(config, "max_position_embeddings", None) or 1 << 30
