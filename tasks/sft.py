"""Supervised fine-tuning: the pretrained model learns to answer, from conversations."""

from __future__ import annotations

from pathlib import Path

from pydantic import Field

from tasks.artifacts.stage import Job, Stats, stage
from tasks.processes.training import TOOLS, Tuning, train

METHOD = "models.methods.sft"


class Params(Tuning):
    """The loss counts the assistant's turns alone, with the token that ends them."""

    packing: bool = Field(
        default=False,
        description="Fill each row with as many conversations as fit (best fit, without leaks between them); batch_size then counts full rows",
    )


@stage(
    "sft",
    version=4,
    title="Supervised fine-tuning",
    params=Params,
    group="model",
    section="training",
    tools=TOOLS,
    reproducibility="seeded",
)
def run(job: Job, params: Params, *, model: Path, rows: Path, start: Path | None = None) -> Stats:
    """Read `rows/sft/{train,valid}.parquet`; write `model/` (transformers' layout, with its tokenizer) and `log.jsonl`; with `lora` also
    `adapter/`, and with `keep_state` `state/` (`models/training_state.py`).

    `start` is an earlier artifact of this stage on the same `model`, which this run goes on from: from its `state/`, else its `adapter/`.
    """
    return train("sft", METHOD, job, params, model=model / "model", rows=rows, start=start, shards=True)
