"""Triple extraction as a downstream task, as a recipe says it: how texts become prompts, how the model is tuned for it, how it is scored."""

from __future__ import annotations

from typing import Any

from pydantic import Field, model_validator

from tasks.artifacts.stage import Identity
from tasks.extraction import Params as ScoreParams
from tasks.formats.registry import reader
from tasks.sft import Params as SFTParams
from tasks.triples import Params as RowsParams

TAKES = ("extract", "evaluate")  # what a source of triples can be used for


class Extraction(Identity):
    """The task, for recipes with a source whose `use` is `extract`."""

    rows: RowsParams = Field(
        default_factory=RowsParams, title="Rows", description="How texts with triples become prompts and answers"
    )
    sft: SFTParams = Field(
        default_factory=lambda: SFTParams(epochs=5), title="Fine-tuning", description="As the section sft, on these rows"
    )
    fresh: bool = Field(
        default=False,
        description="Tune new weights of the same shape as well: the difference is what pretraining is worth for the task",
    )
    scores: ScoreParams = Field(
        default_factory=ScoreParams, title="Scores", description="How the answers to held-out texts are scored"
    )

    @model_validator(mode="after")
    def _whole_fresh_model(self) -> Extraction:
        if self.fresh and (self.sft.lora or self.sft.freeze):
            raise ValueError("fresh weights must all be trained: leave sft.lora and sft.freeze out, or set fresh to false")
        return self


def problems(sources: dict[str, dict[str, Any]], section: Any) -> list[str]:
    """What no single field can know: whether triples are used for what they are good for, and `extract` for triples."""
    found = []
    given = {name: list(source["use"]) if isinstance(source.get("use"), list) else [] for name, source in sources.items()}
    for name, source in sources.items():
        uses = given[name]
        if _kind(source.get("format")) == "triples":
            wrong = [use for use in uses if use not in TAKES]
            if wrong:
                found.append(
                    f"sources.{name}.use: triples are for extract (learned from, a part held out) or evaluate (scored on alone), "
                    f"not for {', '.join(map(str, wrong))}"
                )
            elif not any("extract" in each for each in given.values()):
                found.append(
                    f"sources.{name}.use: no source has use: [extract], so nothing learns what this one is scored on; add one"
                )
            if set(uses) == set(TAKES):
                found.append(f"sources.{name}.use: what is scored on is not learned from; keep extract or evaluate")
        elif "extract" in uses:
            found.append(
                f"sources.{name}.use: extract learns from triples, and the format is {source.get('format')}; take it out"
            )
    if isinstance(section, dict) and isinstance(section.get("rows"), dict) and section["rows"].get("scored"):
        found.append("extraction.rows.scored: decided by sources.<name>.use (evaluate); remove it here")
    return found


def _kind(name: object) -> str:
    """The kind of row of a format; empty where there is no such format, which its own field says."""
    try:
        return reader(name).kind if isinstance(name, str) else ""
    except ValueError:
        return ""
