"""Low-rank adapters beside the frozen matrices of a model (LoRA, QLoRA), and the freezing of its parameters by name.

Adapters are put into the model in place (https://arxiv.org/abs/2106.09685), so that everything else takes it for the model it was.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Sequence
from fnmatch import fnmatch
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from models import heads
from models.job import LoraParams

if TYPE_CHECKING:
    from transformers import PreTrainedModel

NAME = "default"  # transformers' and peft's name for the one adapter of a model


def quantisation(bits: int, device: torch.device) -> dict[str, Any]:
    """Arguments of `from_pretrained` for a base in 8 bits (LLM.int8, https://arxiv.org/abs/2208.07339) or in 4 (NF4 with its constants
    quantised again, QLoRA, https://arxiv.org/abs/2305.14314). `ValueError` where bitsandbytes is not installed."""
    try:
        import bitsandbytes  # noqa: F401
    except ImportError:
        raise ValueError(
            f"lora.bits is {bits}, which needs the package bitsandbytes; install it with pip install 'hanlin[quant]'"
        ) from None
    from transformers import BitsAndBytesConfig

    from models.loading import has_bf16

    logging.getLogger("bitsandbytes").setLevel(logging.ERROR)  # a warning a matrix product
    if bits == 8:
        config = BitsAndBytesConfig(load_in_8bit=True)
    else:
        config = BitsAndBytesConfig(
            load_in_4bit=True,
            bnb_4bit_quant_type="nf4",
            bnb_4bit_use_double_quant=True,
            bnb_4bit_compute_dtype=torch.bfloat16 if has_bf16(device) else torch.float32,
        )
    return {"quantization_config": config, "device_map": {"": device}}


def add(model: PreTrainedModel, lora: LoraParams) -> list[str]:
    """Put new adapters in, and freeze all else. Returns the modules that have one.

    `lora.modules` are names of linear layers, or `all` of the layers'; the head and the embeddings by name. `ValueError` for a module that is
    not there, and for one of two that share their weights.
    """
    from peft import LoraConfig

    names, outer = linear_names(model), table_names(model)
    targets = names if lora.modules == "all" else list(lora.modules)
    if missing := [name for name in targets if name not in names + outer]:
        raise ValueError(
            f"lora.modules: the model has no linear layer {', '.join(missing)}; it has {', '.join(names)}, and {' and '.join(outer)}"
        )
    if shared := [name for name in targets if name in outer and not heads.is_own(model)]:
        raise ValueError(
            f"lora.modules: {' and '.join(outer)} of this model share their weights, so an adapter of {shared[0]} could not be added to them; "
            f"leave {shared[0]} out"
        )
    model.add_adapter(
        LoraConfig(
            r=lora.rank,
            lora_alpha=lora.alpha,
            lora_dropout=lora.dropout,
            target_modules=targets,
            bias="none",
            task_type="SEQ_2_SEQ_LM" if model.config.is_encoder_decoder else "CAUSAL_LM",
        )
    )
    for name, p in model.named_parameters():
        p.requires_grad_("lora_" in name)
        if p.requires_grad:
            p.data = p.data.float()  # an adapter is small, and learns in full precision whatever its base is stored in
    return targets


def disable_dropout(model: nn.Module) -> None:
    """Switch off the dropout that a model has of its own: preference training compares it with what it was, which is no comparison while
    both are blurred. Adapters that come later keep theirs."""
    for part in model.modules():
        if isinstance(part, nn.Dropout):
            part.p = 0.0
        for name, value in vars(part).items():
            if "dropout" in name and isinstance(value, float):
                setattr(part, name, 0.0)


def attach(model: PreTrainedModel, folder: Path) -> None:
    """Put in the adapters of a folder (`adapter_config.json` and its weights, as peft saves them), to be trained further."""
    model.add_adapter(_config(folder))
    _put(model, folder)
    for name, p in model.named_parameters():
        p.requires_grad_("lora_" in name)


def load_values(model: PreTrainedModel, folder: Path) -> None:
    """Give the adapters that a model has the values of those in a folder. `ValueError` where they differ in more
    than their dropout, or are of another model."""
    saved, current = _config(folder), model.peft_config[NAME]
    was = {"rank": saved.r, "alpha": saved.lora_alpha, "modules": sorted(saved.target_modules)}
    now = {"rank": current.r, "alpha": current.lora_alpha, "modules": sorted(current.target_modules)}
    if differs := [f"{name} is {was[name]} there and {now[name]} in lora" for name in was if was[name] != now[name]]:
        raise ValueError(f"{folder} holds other adapters ({', '.join(differs)}); set lora as it was")
    try:
        unknown = _put(model, folder)
    except RuntimeError as error:  # of shapes
        unknown = [str(error).splitlines()[-1].strip()]
    if unknown:
        raise ValueError(
            f"{folder} holds the adapters of another model ({unknown[0]}); give the base that they were trained beside"
        )


def _config(folder: Path) -> Any:
    """An adapter's description. `ValueError` where the folder has none, or where it says more than a scaled product beside a matrix."""
    path = folder / "adapter_config.json"
    if not path.is_file():
        raise ValueError(f"{folder} holds no adapter (no adapter_config.json); name the `adapter` folder of an earlier run")
    from peft import LoraConfig

    config = LoraConfig.from_pretrained(str(folder))
    more = [
        name for name in ("use_rslora", "use_dora", "rank_pattern", "alpha_pattern", "modules_to_save") if getattr(config, name)
    ]
    more += ["bias"] if config.bias != "none" else []
    more += ["target_modules as a pattern"] if isinstance(config.target_modules, str) else []
    if more:
        raise ValueError(
            f"{path} has {', '.join(more)}, which adapters here do not; merge it into its base with peft, and begin with that"
        )
    return config


def _put(model: PreTrainedModel, folder: Path) -> list[str]:
    """Load a folder's adapters into those of a model. Returns what does not fit: the names that either lacks."""
    from peft import get_peft_model_state_dict, set_peft_model_state_dict
    from safetensors.torch import load_file

    path = folder / "adapter_model.safetensors"
    if not path.is_file():
        raise ValueError(f"{folder} has no {path.name} (a pickle is not read); write one with peft's save_pretrained")
    weights = {name.removeprefix("base_model.model."): p for name, p in load_file(path).items()}
    names = {name for name in get_peft_model_state_dict(model, adapter_name=NAME) if "lora_" in name}
    if differs := sorted(names ^ {name for name in weights if "lora_" in name}):
        return [f"{name} is only {'in the model' if name in names else 'there'}" for name in differs]
    return list(set_peft_model_state_dict(model, weights, NAME).unexpected_keys)


def linear_names(model: nn.Module) -> list[str]:
    """Names of the linear layers inside the layers (q_proj, …), without the head, in the order of the model."""
    head = model.get_output_embeddings() if hasattr(model, "get_output_embeddings") else None
    names = [name.rpartition(".")[2] for name, part in model.named_modules() if isinstance(part, nn.Linear) and part is not head]
    return list(dict.fromkeys(names))


def table_names(model: nn.Module) -> list[str]:
    """Names of the embeddings and of the head (embed_tokens, lm_head)."""
    tables = {id(table) for table in (model.get_input_embeddings(), model.get_output_embeddings()) if table is not None}
    return list(dict.fromkeys(name.rpartition(".")[2] for name, part in model.named_modules() if id(part) in tables))


def save(model: PreTrainedModel, folder: Path) -> None:
    """Write the adapters by themselves, as peft loads them: nothing of the base, not even embeddings that have an adapter, nor its place.

    The description is the same in every run: peft holds names in sets, and writes these in an order that changes from process to process.
    """
    from safetensors.torch import load_file, save_file

    model.save_pretrained(folder)
    (folder / "generation_config.json").unlink(missing_ok=True)
    config = model.peft_config[NAME]
    unordered = {name for name, value in vars(config).items() if isinstance(value, set | frozenset)}
    described = json.loads((folder / "adapter_config.json").read_text("utf-8")) | {"base_model_name_or_path": None}
    described = {name: sorted(value) if name in unordered else value for name, value in described.items()}
    (folder / "adapter_config.json").write_text(json.dumps(described, indent=2, sort_keys=True) + "\n", "utf-8")
    path = folder / "adapter_model.safetensors"
    weights = load_file(path)
    if any("lora_" not in name for name in weights):
        save_file({name: p for name, p in weights.items() if "lora_" in name}, path, metadata={"format": "pt"})


def freeze(model: nn.Module, patterns: Sequence[str]) -> int:
    """Freeze the parameters whose names a pattern with * matches. Returns how many numbers that are; `ValueError` for a pattern that
    matches none, or where nothing is left to train."""
    frozen = 0
    for pattern in patterns:
        matches = [p for name, p in model.named_parameters() if fnmatch(name, pattern)]
        if not matches:
            some = ", ".join(list(dict(model.named_parameters()))[:4])
            raise ValueError(f"freeze: no parameter is called {pattern!r}; the model's are {some}, …")
        for p in matches:
            frozen += p.numel() * p.requires_grad
            p.requires_grad_(False)
    if not any(p.requires_grad for p in model.parameters()):
        raise ValueError(f"freeze: {', '.join(patterns)} leave nothing to train; freeze less")
    return frozen


def merge(model: PreTrainedModel) -> None:
    """Add each adapter to its matrix and take it out: the model is then one of its own kind again. Its base must be in full precision."""
    from peft.tuners.lora import LoraLayer

    for name, part in list(model.named_modules()):
        if isinstance(part, LoraLayer):
            dtype = part.get_base_layer().weight.dtype
            part.double().merge()  # rounded once
            above, _, last = name.rpartition(".")
            setattr(model.get_submodule(above), last, part.get_base_layer().to(dtype))
    model._hf_peft_config_loaded = False
    model.peft_config = {}
