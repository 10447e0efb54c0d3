"""Reference log-probabilities: those that the model before DPO gives both answers of each pair.

They are computed once for these pairs, however often DPO is tried on them.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

from pydantic import Field

from tasks.artifacts.stage import Identity, Job, Stats, stage
from tasks.processes.training import DPO, TOOLS, Lora, Tuning, train

METHOD = "models.methods.reference"


class Params(Identity):
    """The part of DPO's parameters that the reference depends on. Its arithmetic is DPO's, so that the first loss is ln 2."""

    max_length: int | None = Field(default=None, ge=8, le=1 << 20, description="As dpo has it")
    template: str | None = Field(default=None, description="As dpo has it")
    precision: Literal["auto", "float32", "bfloat16"] = Field(default="auto", description="As dpo has it")
    bits: Literal[32, 8, 4] = Field(default=32, description="Bits of the base, as in dpo.lora")
    batch_size: int = Field(default=32, ge=1, le=65536, description="Pairs in a forward pass, at most resources.micro_batch")

    @classmethod
    def of(cls, dpo: Tuning) -> Params:
        """The reference's parameters of a DPO."""
        return cls(
            max_length=dpo.max_length,
            template=dpo.template,
            precision=dpo.precision,
            bits=dpo.lora.bits if dpo.lora else 32,
            batch_size=dpo.batch_size,
        )


@stage(
    "reference",
    version=1,
    title="Log-probabilities of the reference model",
    params=Params,
    group="model",
    tools=TOOLS,
    reproducibility="seeded",
)
def run(job: Job, params: Params, *, model: Path, pairs: Path) -> Stats:
    """Read `pairs/preferences/{train,valid}.parquet`; write `{train,valid}.npy`, (pairs, 2): chosen and rejected, in nats."""
    same: dict[str, Any] = params.model_dump(include={"max_length", "template", "precision", "batch_size"})
    bits = {"lora": Lora(bits=params.bits)} if params.bits != 32 else {}
    return train("reference", METHOD, job, DPO(**same, **bits), model=model / "model", pairs=pairs)
