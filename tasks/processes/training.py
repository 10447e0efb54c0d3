"""The parameters that the training stages share, and the child process that trains."""

from __future__ import annotations

import json
from dataclasses import fields
from pathlib import Path
from typing import Any, Literal, Self

from pydantic import Field, model_validator

from models.job import TrainingResources
from models.shardable import unfit
from tasks.artifacts.stage import Identity, Job, Stats
from tasks.processes import runner

TOOLS = ("torch", "transformers", "trl")


class Training(Identity):
    """Parameters of every training stage. All of them define the result."""

    learning_rate: float | None = Field(
        default=None, gt=0, le=1, description="Peak rate of both optimisers; empty: from the model's size"
    )
    optimizer: Literal["muon", "adamw", "adafactor"] = Field(
        default="muon",
        description="muon: Muon for the layers' matrices, AdamW for the rest; adamw; adafactor: as T5 was trained, least memory",
    )
    weight_decay: float = Field(
        default=0.1, ge=0, le=1, description="Decay of the layers' matrices a step, times the learning rate"
    )
    clip: float = Field(default=1.0, gt=0, le=1000, description="Largest gradient norm; a larger gradient is scaled down to it")
    schedule: Literal["wsd", "cosine", "onecycle", "constant"] = Field(
        default="wsd",
        description="wsd: up, flat, down to zero; cosine: up, then half a cosine to a tenth; onecycle: half a cosine up and one down; "
        "constant: up, then flat",
    )
    warmup: float | None = Field(
        default=None,
        ge=0,
        le=0.5,
        description="Share of the steps in which the rate rises from zero; empty: 0.02, and none where a run goes on with an earlier optimizer state",
    )
    decay: float = Field(default=0.4, ge=0, le=1, description="Share of the steps in which a wsd rate falls to zero")
    precision: Literal["auto", "float32", "bfloat16"] = Field(
        default="auto",
        description="Arithmetic in the layers (weights stay float32); auto: bfloat16 where the machine is fast at it",
    )
    seed: int = Field(default=1, ge=0, lt=1 << 32, description="Seed of the first weights and of the order of the data")
    log_steps: int = Field(default=10, ge=1, le=100_000, description="Steps that one logged loss is the mean of")
    eval_steps: int = Field(
        default=100, ge=1, le=1_000_000, description="Steps between two validations; the last step always has one"
    )
    weights: Literal["last", "best"] = Field(
        default="last", description="Which weights are published: of the last step, or of the lowest validation loss"
    )
    fresh_moments: bool = Field(
        default=False,
        description="Take only the weights of an earlier run that this one goes on from, not its optimizer state, and warm up again",
    )
    eval_tokens: int = Field(
        default=32_768,
        ge=1,
        le=1 << 30,
        description="Tokens that a validation reads, drawn from the whole validation split, the same in every run",
    )


class Lora(Identity):
    """Low-rank adapters (https://arxiv.org/abs/2106.09685) beside the frozen matrices of a model."""

    rank: int = Field(default=8, ge=1, le=1024, description="Columns of an adapter's first matrix, rows of its second")
    alpha: float = Field(default=16.0, gt=0, le=4096, description="An adapter's product is scaled by alpha / rank")
    dropout: float = Field(default=0.05, ge=0, lt=1, description="Share of an adapter's input set to zero in training")
    modules: Literal["all"] | tuple[str, ...] = Field(
        default="all",
        description="Names of the modules that get one, such as [q_proj, v_proj]; all: every linear layer inside the layers, to which embed_tokens "
        "and lm_head may be added by name; a layer's routed experts are one tensor and get none",
    )
    bits: Literal[32, 8, 4] = Field(
        default=32, description="Bits of the frozen base: 8 (LLM.int8) or 4 (NF4, QLoRA) save memory; needs bitsandbytes"
    )


class Tuning(Training):
    """Parameters of the stages that go on from a model."""

    template: Literal["chatml", "alpaca", "roles", "vicuna", "plain"] | None = Field(
        default=None,
        description="Chat template (models/template.py); empty: the one that the model's tokenizer names, else chatml",
    )
    lora: Lora | None = Field(default=None, description="Train adapters instead of the model; empty: the model itself")
    freeze: tuple[str, ...] = Field(
        default=(), description="Parameters that stay as they are, by name, with * (T5's encoder: encoder.*, shared.*)"
    )
    epochs: float = Field(default=2.0, gt=0, le=100, description="Passes over the rows")
    batch_size: int = Field(default=32, ge=1, le=65536, description="Rows a step, over all processes")
    max_length: int | None = Field(
        default=None, ge=8, le=1 << 20, description="Longest row in tokens; empty: the model's context"
    )

    keep_state: bool = Field(
        default=False,
        description="Publish the trained weights with the optimizer state as state/ too, so that a later run can go on from them: "
        "2 (muon) to 3 (adamw) times what is trained",
    )

    @model_validator(mode="after")
    def _one_way(self) -> Self:
        if self.lora and self.freeze:
            raise ValueError("lora freezes all but its adapters, so freeze has nothing to say; give one of the two")
        return self


class DPO(Tuning):
    """Parameters of direct preference optimisation (https://arxiv.org/abs/2305.18290)."""

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


def train(stage: str, method: str, job: Job, params: Training, *, shards: bool = False, **inputs: Path | None) -> Stats:
    """Run a training method (a module's name, `models/methods/`) in a child process, on the inputs that there are. `shards` says whether its
    trainer can hold a model in shards. Raises `ChildFailed`, with a line for the user, where it fails."""
    job_file = job.scratch / "job.json"
    described = description(stage, method, job, params, shards=shards, **inputs)
    job_file.write_text(json.dumps(described, indent=1), "utf-8")
    whole = unfit(stage, params, inputs.get("model"), shards=shards)
    return runner.run("models.train", job_file, job=job, processes=job.resources.processes, whole=whole)


def description(
    stage: str, method: str, job: Job, params: Training, *, shards: bool = False, **inputs: Path | None
) -> dict[str, Any]:
    """The content of a job file (`models/job.py`)."""
    return {
        "stage": stage,
        "method": method,
        "shards": shards,
        "params": params.model_dump(mode="json"),
        "resources": job.resources.model_dump(mode="json", include={field.name for field in fields(TrainingResources)}),
        "inputs": {role: str(folder) for role, folder in inputs.items() if folder is not None},
        "out": str(job.out),
        "scratch": str(job.scratch),
    }
