"""Direct preference optimisation (https://arxiv.org/abs/2305.18290): a model goes on with pairs of answers, and is its own reference."""

from __future__ import annotations

from typing import Any

from models import preference
from models.job import Emit, Stats, Stopping, TrainingJob
from models.methods import common, preferences

Params = preferences.PreferenceParams


def dpo(job: TrainingJob[preferences.PreferenceParams], emit: Emit, stopping: Stopping) -> Stats | None:
    """Train a model on `pairs`, with the log-probabilities in `reference`."""
    trainer, stats = prepare(job, emit)
    return common.train(job, trainer, stats, stopping)


def prepare(job: TrainingJob[preferences.PreferenceParams], emit: Emit) -> tuple[Any, Stats]:
    """The trainer, ready to go, and what is known beforehand."""
    reference = job.folder("reference")
    trainer, stats = preferences.prepare(job, emit)
    trainer.base_folder = None if job.params.lora else job.folder("model")
    trainer.train_dataset = preference.with_reference(trainer.train_dataset, reference / "train.npy")
    if trainer.eval_dataset is not None:
        trainer.eval_dataset = preference.with_reference(trainer.eval_dataset, reference / "valid.npy")
    return trainer, stats
