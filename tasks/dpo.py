"""Direct preference optimisation (https://arxiv.org/abs/2305.18290): the model learns to prefer the better of two answers."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import Field

from tasks.stage import Job, Stats, stage
from tasks.training import TOOLS, Tuning, train


class Params(Tuning):
    beta: float = Field(default=0.1, gt=0, le=10, description="How closely the model keeps to where it began; higher is closer")
    loss_type: Literal["sigmoid", "ipo", "hinge", "robust", "apo_zero", "sigmoid_norm"] = Field(
        default="sigmoid", description="Loss of a pair, in TRL's names; sigmoid is DPO's own"
    )
    sft_weight: float = Field(
        default=0.2,
        ge=0,
        le=10,
        description="Weight of a second loss, the chosen answer's mean log-loss, which keeps its likelihood up",
    )
    label_smoothing: float = Field(
        default=0.0, ge=0, lt=0.5, description="Share of pairs taken to be the wrong way round (sigmoid and robust only)"
    )
    epochs: float = Field(default=1.0, gt=0, le=100, description="Passes over the pairs")


@stage("dpo", version=1, title="DPO", params=Params, tools=TOOLS, reproducibility="seeded")
def run(job: Job, params: Params, *, model: Path, pairs: Path) -> Stats:
    """Read `pairs/preferences/{train,valid}.parquet`; write `model/` (transformers' layout, with its tokenizer) and `log.jsonl`."""
    return train("dpo", job, params, model=model / "model", pairs=pairs)
