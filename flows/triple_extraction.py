"""The settings of triple extraction, a downstream task: its prompts, the fine-tuning of a model for it, and its scores.

In a recipe they are the section `extraction`.
"""

from __future__ import annotations

from typing import Any

from pydantic import Field, model_validator

from tasks.artifacts.stage import Identity
from tasks.extraction import Params as ScoreParams
from tasks.formats.registry import reader
from tasks.sft import Params as SFTParams
from tasks.triples import Params as RowsParams

TRIPLE_USES = ("extract", "evaluate")  # all that a source of triples can be used for


class TripleExtraction(Identity):
    """Fine-tuning for triple extraction, and its scores, for recipes with a source whose `use` is `extract`."""

    rows: RowsParams = Field(
        default_factory=RowsParams, title="Rows", description="The prompts and answers that are made of texts with triples"
    )
    sft: SFTParams = Field(
        default_factory=lambda: SFTParams(epochs=5),
        title="Fine-tuning",
        description="Fine-tuning on these rows, with the same fields as the section sft",
    )
    fresh: bool = Field(
        default=False,
        title="Compare with new weights",
        description="Also fine-tune a model of the same shape with random weights. The difference in scores shows what pretraining adds",
    )
    scores: ScoreParams = Field(
        default_factory=ScoreParams, title="Scores", description="The scoring of answers to texts that were held out of training"
    )

    @model_validator(mode="after")
    def _whole_fresh_model(self) -> TripleExtraction:
        if self.fresh and (self.sft.lora or self.sft.freeze):
            raise ValueError("fresh weights must all be trained: leave sft.lora and sft.freeze out, or set fresh to false")
        return self


def triple_extraction_problems(sources: dict[str, dict[str, Any]], section: Any) -> list[str]:
    """The mistakes in the uses of triples, a line each, beginning with the field's full path. `section` is the recipe's `extraction`."""
    problems = []
    every_use = {name: list(source["use"]) if isinstance(source.get("use"), list) else [] for name, source in sources.items()}
    for name, source in sources.items():
        uses = every_use[name]
        if _kind(source.get("format")) == "triples":
            if others := [use for use in uses if use not in TRIPLE_USES]:
                problems.append(
                    f"sources.{name}.use: triples are for extract (learned from, a part held out) or evaluate (scored on alone), "
                    f"not for {', '.join(map(str, others))}"
                )
            elif not any("extract" in each for each in every_use.values()):
                problems.append(
                    f"sources.{name}.use: no source has use: [extract], so nothing learns what this one is scored on; add one"
                )
            if set(uses) == set(TRIPLE_USES):
                problems.append(f"sources.{name}.use: what is scored on is not learned from; keep extract or evaluate")
        elif "extract" in uses:
            problems.append(
                f"sources.{name}.use: extract learns from triples, and the format is {source.get('format')}; take it out"
            )
    if isinstance(section, dict) and isinstance(section.get("rows"), dict) and section["rows"].get("scored"):
        problems.append("extraction.rows.scored: decided by sources.<name>.use (evaluate); remove it here")
    return problems


def _kind(name: object) -> str:
    """The kind of row of a format; empty where there is no such format, which its own field says."""
    try:
        return reader(name).kind if isinstance(name, str) else ""
    except ValueError:
        return ""
