"""The stages that a recipe switches off, by the uses that its sources lack, each with the reason in words. The graph is built by the same list."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tasks.data.uses import MAKES
from tasks.formats.registry import reader

if TYPE_CHECKING:
    from flows.recipe import Flow, Recipe

PREFERENCES = ("prompts", "pairs")


def switched_off(recipe: Recipe, flow: Flow | None = None) -> dict[str, str]:
    """Stage → why a run of the flow goes without it. `questions` stands for the part of the evaluation that asks multiple-choice questions;
    `corpus` for the stages from deduplication to the split. A stage that no recipe of this flow has is not named."""
    flow = flow or recipe.flow
    uses = {use for source in recipe.sources.values() for use in source.use}
    extraction = any(reader(source.format).kind == "triples" for source in recipe.sources.values())
    off = {}
    if not uses & set(MAKES):
        off["corpus"] = "no source has a use for training"
    if flow == "corpus":
        return off
    outside = begins_outside(recipe, flow)
    if "sft" not in uses:
        off["sft"] = _without("sft")
    if not uses & set(PREFERENCES):
        off["dpo"] = _without(*PREFERENCES)
    elif "sft" in off and not outside:
        off["dpo"] = f"DPO begins with a model that answers, and {_without('sft')}"
    if recipe.reward and "dpo" in off:
        off["reward"] = off["dpo"]
    if "evaluate" not in uses:
        off["questions"] = _without("evaluate")
    if "corpus" in off and ("questions" in off or extraction):
        off["evaluate"] = "there are neither held-out texts nor questions to score a model on"
    return off


def switched_off_words(off: dict[str, str]) -> list[str]:
    """The same for people, a line each: `sft: no source has the use sft`."""
    return [f"{_TITLES[stage]}: {why}" for stage, why in off.items()]


_TITLES = {
    "corpus": "deduplication, filter and split",
    "sft": "fine-tuning (sft)",
    "dpo": "preference training (rejected, reference, dpo)",
    "reward": "reward model (reward)",
    "questions": "multiple-choice questions (a part of evaluate)",
    "evaluate": "evaluation (evaluate)",
}


def begins_outside(recipe: Recipe, flow: Flow) -> bool:
    """True where the run begins with a model that is there already."""
    return bool(flow == "finetune" and recipe.base and not recipe.base.pretrain)


def _without(*uses: str) -> str:
    return f"no source has the use {' or '.join(uses)}"
