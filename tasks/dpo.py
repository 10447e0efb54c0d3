"""Direct preference optimisation (https://arxiv.org/abs/2305.18290): the model learns to prefer the better of two answers."""

from __future__ import annotations

from pathlib import Path
from typing import Literal, Self

from pydantic import Field, model_validator

from tasks.stage import Job, Stats, stage
from tasks.training import TOOLS, Tuning, train


class Params(Tuning):
    beta: float = Field(default=0.1, gt=0, le=10, description="How closely the model keeps to where it began; higher is closer")
    loss_type: Literal[
        "sigmoid",
        "ipo",
        "hinge",
        "robust",
        "exo_pair",
        "nca_pair",
        "bco_pair",
        "sppo_hard",
        "aot",
        "aot_unpaired",
        "apo_zero",
        "apo_down",
        "discopop",
        "sigmoid_norm",
    ] = Field(
        default="sigmoid",
        description="Loss of a pair, in TRL's names; sigmoid is DPO's own; aot and aot_unpaired compare all pairs of a forward pass, so they "
        "want the whole batch in one (resources.micro_batch 0, processes 1)",
    )
    sft_weight: float = Field(
        default=0.2,
        ge=0,
        le=10,
        description="Weight of a second loss, the chosen answer's mean log-loss, which keeps its likelihood up",
    )
    label_smoothing: float = Field(
        default=0.0,
        ge=0,
        lt=0.5,
        description="Share of pairs taken to be the wrong way round; robust, exo_pair and the aots know it",
    )
    epochs: float = Field(default=1.0, gt=0, le=100, description="Passes over the pairs")
    eval_steps: int = Field(
        default=20, ge=1, le=1_000_000, description="Steps between two validations; the last step always has one"
    )

    @model_validator(mode="after")
    def _known_smoothing(self) -> Self:
        knows = ("robust", "exo_pair", "aot", "aot_unpaired")
        if self.label_smoothing and self.loss_type not in knows:
            raise ValueError(
                f"label_smoothing does nothing to loss_type {self.loss_type}; set it to 0, or take one of {', '.join(knows)}"
            )
        if self.loss_type == "exo_pair" and not self.label_smoothing:
            raise ValueError("loss_type exo_pair needs a label_smoothing above 0, such as 0.01")
        return self


@stage("dpo", version=4, title="DPO", params=Params, tools=TOOLS, reproducibility="seeded")
def run(job: Job, params: Params, *, model: Path, pairs: Path, reference: Path, start: Path | None = None) -> Stats:
    """Read `pairs/preferences/{train,valid}.parquet`, and `reference/{train,valid}.npy` of the same pairs and model; write `model/`
    (transformers' layout, with its tokenizer) and `log.jsonl`. `start` is as in SFT; the reference stays `model`."""
    return train("dpo", job, params, model=model / "model", pairs=pairs, reference=reference, start=start)
