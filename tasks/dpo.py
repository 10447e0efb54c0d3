"""Direct preference optimisation (https://arxiv.org/abs/2305.18290): the model learns to prefer the better of two answers."""

from __future__ import annotations

from pathlib import Path

from tasks.artifacts.stage import Job, Stats, stage
from tasks.processes.training import DPO, TOOLS, train

METHOD = "models.methods.dpo"
Params = DPO  # the stage `reference` runs the same trainer


@stage("dpo", version=5, title="DPO", params=Params, group="model", section="training", tools=TOOLS, reproducibility="seeded")
def run(job: Job, params: Params, *, model: Path, pairs: Path, reference: Path, start: Path | None = None) -> Stats:
    """Read `pairs/preferences/{train,valid}.parquet`, and `reference/{train,valid}.npy` of the same pairs and model; write `model/`
    (transformers' layout, with its tokenizer) and `log.jsonl`. `start` is as in SFT; the reference stays `model`."""
    return train("dpo", METHOD, job, params, model=model / "model", pairs=pairs, reference=reference, start=start)
