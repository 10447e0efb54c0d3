"""What the stages of a recipe ask of its model and of this machine that neither has: told before anything runs, not after days of pretraining.

Each section is read by itself, defaults filled in, so that a mistake in another one hides nothing.
"""

from __future__ import annotations

from importlib.util import find_spec
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from flows.triple_extraction import Extraction
from models import presets
from tasks.artifacts.stage import Resources
from tasks.dpo import Params as DPOParams
from tasks.pretrain import Params as PretrainParams
from tasks.processes.training import Tuning
from tasks.rejected import Params as RejectedParams
from tasks.reward import Params as RewardParams
from tasks.sft import Params as SFTParams

Section = TypeVar("Section", bound=BaseModel)


def problems(data: dict[str, Any], flow: str, used: set[str]) -> list[str]:
    """A line for each, beginning with the field's full path. `used`: what the recipe's sources are for."""
    if flow == "corpus":
        return []
    tuned, scores = _tuned(data, used)
    base = data.get("base")
    found = []
    if flow == "pipeline" or (isinstance(base, dict) and base.get("pretrain")):
        pretrain = _section(data, "pretrain", PretrainParams)
        answers = _section(data, "rejected", RejectedParams) if "dpo" in tuned and "prompts" in used else None
        longest = {"rejected.max_new_tokens": answers and answers.max_new_tokens}
        longest["extraction.scores.max_new_tokens"] = scores
        if pretrain:
            found += _of_model(pretrain, tuned, {path: tokens for path, tokens in longest.items() if tokens})
    found += _quantised(tuned)
    if isinstance(dpo := tuned.get("dpo"), DPOParams) and (resources := _section(data, "resources", Resources)):
        found += _whole_batch(dpo, resources)
    return found


def _section(data: dict[str, Any], name: str, kind: type[Section]) -> Section | None:
    """A section with its defaults; None where it is wrong by itself, which is told elsewhere."""
    try:
        return kind.model_validate(data.get(name, {}))
    except ValidationError:
        return None


def _tuned(data: dict[str, Any], used: set[str]) -> tuple[dict[str, Tuning], int | None]:
    """The stages that go on from a model, of those that the recipe's sources serve, by their path; and the tokens of an answer that is scored
    in the extraction."""
    found: dict[str, Tuning | None] = {}
    scores = None
    if "sft" in used:
        found["sft"] = _section(data, "sft", SFTParams)
        if used & {"prompts", "pairs"}:
            found["dpo"] = _section(data, "dpo", DPOParams)
            found["reward"] = _section(data, "reward", RewardParams) if data.get("reward") is not None else None
    if "extract" in used and (extraction := _section(data, "extraction", Extraction)):
        found["extraction.sft"], scores = extraction.sft, extraction.scores.max_new_tokens
    return {path: params for path, params in found.items() if params}, scores


def _of_model(pretrain: PretrainParams, tuned: dict[str, Tuning], longest: dict[str, int]) -> list[str]:
    """What the model that is pretrained first cannot do. `longest`: tokens of an answer, by the field that says so."""
    preset, architecture = pretrain.preset, presets.find(pretrain.preset)
    found = []
    if "reward" in tuned and not architecture.reward_head:
        those = " and ".join(other.name for other in presets.architectures() if other.reward_head)
        found.append(f"reward: {preset} has no head that scores a text, which {those} have; set reward: null")
    if architecture.text2text:
        return found + [
            f"{path}.packing: {preset} reads a prompt and writes an answer, so rows cannot be packed; leave it out"
            for path, params in tuned.items()
            if getattr(params, "packing", False)
        ]
    context = pretrain.context or architecture.context
    whence = "pretrain.context" if pretrain.context else f"that of {preset}; pretrain.context sets another"
    for path, params in tuned.items():
        if params.max_length and params.max_length > context:
            found.append(
                f"{path}.max_length: {params.max_length} tokens are more than the model's context of {context} ({whence}); lower one or "
                "raise the other"
            )
    found += [
        f"{path}: an answer of {tokens} tokens leaves no room for a prompt in the model's context of {context} ({whence}); set it below, "
        f"such as {path}={context // 2}"
        for path, tokens in longest.items()
        if tokens >= context
    ]
    return found


def _quantised(tuned: dict[str, Tuning]) -> list[str]:
    """Adapters on a base in 4 or 8 bits need a package that is not everywhere."""
    if find_spec("bitsandbytes"):
        return []
    return [
        f"{path}.lora.bits: {params.lora.bits} needs the package bitsandbytes, which is not installed here; pip install 'hanlin[quant]', "
        "or set it to 32"
        for path, params in tuned.items()
        if params.lora and params.lora.bits != 32
    ]


def _whole_batch(dpo: DPOParams, resources: Resources) -> list[str]:
    """The aot losses sort the margins of a forward pass, so cutting a batch would change the model, and resources may change no model."""
    if dpo.loss_type not in ("aot", "aot_unpaired"):
        return []
    found = []
    if 0 < resources.micro_batch < dpo.batch_size:
        found.append(
            f"resources.micro_batch: {resources.micro_batch} cuts DPO's batch of {dpo.batch_size}, which dpo.loss_type {dpo.loss_type} "
            "compares as a whole; set it to 0, lower dpo.batch_size, or take another loss"
        )
    if resources.processes > 1:
        found.append(
            f"resources.processes: {resources.processes} share DPO's batch, which dpo.loss_type {dpo.loss_type} compares as a whole; set "
            "it to 1, or take another loss"
        )
    return found
