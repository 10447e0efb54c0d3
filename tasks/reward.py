"""The reward model, a judge of which of two answers is the better one (for reading only; DPO needs none)."""

from __future__ import annotations

from pathlib import Path
from typing import Self

from pydantic import Field, model_validator

from tasks.artifacts.stage import Job, Stats, stage
from tasks.processes.training import TOOLS, Tuning, train

METHOD = "models.methods.reward"


class Params(Tuning):
    """Parameters of a tuning, with fewer passes; a reward model's head is new, so adapters alone would not do."""

    epochs: float = Field(default=1.0, gt=0, le=100, description="Passes over the pairs")

    @model_validator(mode="after")
    def _whole(self) -> Self:
        if self.lora:
            raise ValueError(
                "lora trains adapters alone, and what a reward model judges with is new; leave it out, or freeze layers"
            )
        return self


@stage(
    "reward",
    version=4,
    title="Reward model",
    params=Params,
    group="model",
    section="training",
    tools=TOOLS,
    reproducibility="seeded",
)
def run(job: Job, params: Params, *, model: Path, pairs: Path) -> Stats:
    """Read `pairs/preferences/{train,valid}.parquet`; write `model/`, a sequence classifier of one label, and `log.jsonl`."""
    return train("reward", METHOD, job, params, model=model / "model", pairs=pairs)
