"""A randomly initialised model in the shape of a pretrained one: fine-tuned alike, it shows what pretraining is worth."""

from __future__ import annotations

import json
from pathlib import Path

from pydantic import Field

from tasks.artifacts.stage import Identity, Job, Stats, stage


class Params(Identity):
    seed: int = Field(default=1, ge=0, lt=1 << 32, description="Seed of the new weights")


@stage(
    "fresh",
    version=2,
    title="New weights in the model's shape",
    params=Params,
    group="model",
    tools=("torch", "transformers"),
    reproducibility="seeded",
)
def run(job: Job, params: Params, *, model: Path) -> Stats:
    """`model/`: the architecture and the tokenizer of `model/model`, with weights as a new model's are drawn."""
    from tasks.processes import runner

    job_file = job.scratch / "fresh.json"
    job_file.write_text(json.dumps({"model": str(model / "model"), "out": str(job.out / "model"), "seed": params.seed}), "utf-8")
    return runner.run("models.random_weights", job_file, job=job)
