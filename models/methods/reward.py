"""Reward modelling: a model goes on with pairs of answers, and learns to tell which is the better one."""

from __future__ import annotations

from functools import partial

from transformers import AutoModelForSequenceClassification, TrainingArguments

from models import initialisation
from models.job import Emit, Stats, Stopping, TrainingJob, TuningParams
from models.methods import common
from models.reward import RewardTrainer, collate

Params = TuningParams


def reward(job: TrainingJob[TuningParams], emit: Emit, stopping: Stopping) -> Stats | None:
    """Train a sequence classifier of one label on `pairs`."""
    trainer, stats = prepare(job, emit)
    return common.train(job, trainer, stats, stopping)


def prepare(job: TrainingJob[TuningParams], emit: Emit) -> tuple[RewardTrainer, Stats]:
    """The trainer, ready to go, and what is known beforehand."""
    tuned = initialisation.prepare_model(job, emit, AutoModelForSequenceClassification)
    splits, counts = common.preference_splits(job, tuned, emit)
    run, settings = common.tuning_run(job, tuned, splits, 5, emit)
    trainer = RewardTrainer(
        model=tuned.model,
        args=TrainingArguments(**settings),
        train_dataset=splits.train,
        eval_dataset=splits.validation,
        data_collator=partial(collate, pad_id=tuned.tokenizer.pad_token_id),
        processing_class=tuned.tokenizer,
    )
    trainer.run = run
    return trainer, {"rows": vars(counts)}
