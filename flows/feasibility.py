"""Checks that a recipe's model and this machine can do what its stages need, before anything runs and not after days of pretraining.

Each section is read by itself, with defaults filled in, so that a mistake in one section hides nothing in another.
"""

from __future__ import annotations

from importlib.util import find_spec
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from flows.triple_extraction import TripleExtraction
from models import presets
from tasks.artifacts.stage import Resources
from tasks.dpo import Params as DPOParams
from tasks.pretrain import Params as PretrainParams
from tasks.processes.training import Tuning
from tasks.rejected import Params as RejectedParams
from tasks.reward import Params as RewardParams
from tasks.sft import Params as SFTParams

Section = TypeVar("Section", bound=BaseModel)


def feasibility_problems(data: dict[str, Any], flow: str, uses: set[str]) -> list[str]:
    """All that cannot work, a line each, beginning with the field's full path. `uses`: the uses of the recipe's sources, all together."""
    if flow == "corpus":
        return []
    tuned, scored_tokens = _tuned(data, uses)
    base = data.get("base")
    problems = []
    if flow == "pipeline" or (isinstance(base, dict) and base.get("pretrain")):
        pretrain = _section(data, "pretrain", PretrainParams)
        answers = _section(data, "rejected", RejectedParams) if "dpo" in tuned and "prompts" in uses else None
        longest = {"rejected.max_new_tokens": answers and answers.max_new_tokens}
        longest["extraction.scores.max_new_tokens"] = scored_tokens
        if pretrain:
            problems += _of_model(pretrain, tuned, {path: tokens for path, tokens in longest.items() if tokens})
    problems += _quantised(tuned)
    if isinstance(dpo := tuned.get("dpo"), DPOParams) and (resources := _section(data, "resources", Resources)):
        problems += _whole_batch(dpo, resources)
    return problems


def _section(data: dict[str, Any], name: str, kind: type[Section]) -> Section | None:
    """A section with its defaults; None where it is wrong by itself, which other checks report."""
    try:
        return kind.model_validate(data.get(name, {}))
    except ValidationError:
        return None


def _tuned(data: dict[str, Any], uses: set[str]) -> tuple[dict[str, Tuning], int | None]:
    """The settings of every stage that tunes a model and has rows, by their path; and the tokens of an answer in triple extraction, where it
    is scored."""
    stages: dict[str, Tuning | None] = {}
    scored_tokens = None
    if "sft" in uses:
        stages["sft"] = _section(data, "sft", SFTParams)
        if uses & {"prompts", "pairs"}:
            stages["dpo"] = _section(data, "dpo", DPOParams)
            stages["reward"] = _section(data, "reward", RewardParams) if data.get("reward") is not None else None
    if "extract" in uses and (section := _section(data, "extraction", TripleExtraction)):
        stages["extraction.sft"], scored_tokens = section.sft, section.scores.max_new_tokens
    return {path: params for path, params in stages.items() if params}, scored_tokens


def _of_model(pretrain: PretrainParams, tuned: dict[str, Tuning], longest: dict[str, int]) -> list[str]:
    """The limits of the model that is pretrained first. `longest`: the most tokens of an answer, by the field that sets them."""
    preset, architecture = pretrain.preset, presets.find(pretrain.preset)
    problems = []
    if "reward" in tuned and not architecture.reward_head:
        names = " and ".join(other.name for other in presets.architectures() if other.reward_head)
        problems.append(f"reward: {preset} has no head that scores a text, which {names} have; set reward: null")
    if architecture.text2text:
        return problems + [
            f"{path}.packing: {preset} reads a prompt and writes an answer, so rows cannot be packed; leave it out"
            for path, params in tuned.items()
            if getattr(params, "packing", False)
        ]
    context = pretrain.context or architecture.context
    origin = "pretrain.context" if pretrain.context else f"that of {preset}; pretrain.context sets another"
    for path, params in tuned.items():
        if params.max_length and params.max_length > context:
            problems.append(
                f"{path}.max_length: {params.max_length} tokens are more than the model's context of {context} ({origin}); lower one or "
                "raise the other"
            )
    problems += [
        f"{path}: an answer of {tokens} tokens leaves no room for a prompt in the model's context of {context} ({origin}); set it below, "
        f"such as {path}={context // 2}"
        for path, tokens in longest.items()
        if tokens >= context
    ]
    return problems


def _quantised(tuned: dict[str, Tuning]) -> list[str]:
    """Adapters on a base in 4 or 8 bits where the package for it is not installed."""
    if find_spec("bitsandbytes"):
        return []
    return [
        f"{path}.lora.bits: {params.lora.bits} needs the package bitsandbytes, which is not installed here; pip install 'hanlin[quant]', "
        "or set it to 32"
        for path, params in tuned.items()
        if params.lora and params.lora.bits != 32
    ]


def _whole_batch(dpo: DPOParams, resources: Resources) -> list[str]:
    """Resources that cut a batch of the aot losses, which sort the margins of a whole forward pass: the cut would change the model."""
    if dpo.loss_type not in ("aot", "aot_unpaired"):
        return []
    problems = []
    if 0 < resources.micro_batch < dpo.batch_size:
        problems.append(
            f"resources.micro_batch: {resources.micro_batch} cuts DPO's batch of {dpo.batch_size}, which dpo.loss_type {dpo.loss_type} "
            "compares as a whole; set it to 0, lower dpo.batch_size, or take another loss"
        )
    if resources.processes > 1:
        problems.append(
            f"resources.processes: {resources.processes} share DPO's batch, which dpo.loss_type {dpo.loss_type} compares as a whole; set "
            "it to 1, or take another loss"
        )
    return problems
