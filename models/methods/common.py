"""Building blocks of the training methods: trainer arguments, the run's settings, the rows of a tuning, and the training itself."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from models import dataset, embeddings, initialisation, optim, publishing, scaling, sharding, training_state
from models.job import Emit, PretrainingParams, Stats, Stopping, TrainingJob, TrainingParams, TuningParams
from models.loading import device_of, has_bf16
from models.trainer import TrainingRun

if TYPE_CHECKING:
    import datasets

WARMUP = 0.02  # share of the steps, of an optimizer that begins without state


def train(job: TrainingJob[TrainingParams], trainer: Any, stats: Stats, stopping: Stopping) -> Stats | None:
    """Train to the end, publish the model, and return the statistics; None if the run was stopped."""
    trainer.fit(stopping)
    if trainer.stopped:
        return None
    best = trainer.best_step()
    step = best if job.params.weights == "best" else trainer.run.steps
    if trainer.is_world_process_zero():
        publishing.publish(job, trainer, step)
    return {**stats, **_results(job, trainer, step, best), **_conditions(trainer)}


def _results(job: TrainingJob[TrainingParams], trainer: Any, step: int, best: int | None) -> Stats:
    """The statistics of a run's learning, with the losses of the step whose weights are published."""
    history, run = trainer.history(), trainer.run
    validations = {row["step"]: row for row in history if "eval_loss" in row}
    return {
        "parameters": sum(p.numel() for p in trainer.model.parameters()),
        "steps": run.steps,
        "batch": run.batch,
        "tokens": run.tokens,
        "learning_rate": run.learning_rate,
        "loss": [row["loss"] for row in history if "loss" in row][-1],
        "weights": job.params.weights,
        "weights_step": step,
        **{name: value for name, value in validations.get(step, {}).items() if name != "step"},
        "eval_rows": len(run.eval_order),
        "best_eval_loss": validations.get(best, {}).get("eval_loss"),
        "best_step": best,
        **({} if trainer.expert_use is None else {"expert_use": trainer.expert_use.tolist()}),
    }


def _conditions(trainer: Any) -> Stats:
    """The statistics of a run's machine: device, processes, precision and speed."""
    steps = trainer.run.steps - trainer.resumed
    return {
        "precision": "bfloat16" if trainer.args.bf16 else "float32",
        "device": trainer.args.device.type,
        "processes": trainer.accelerator.num_processes,
        "shards": sharding.is_sharded(trainer.model),
        "threads": torch.get_num_threads(),
        "micro_batch": trainer.run.micro,
        "resumed_from": trainer.resumed,
        "seconds_per_step": trainer.seconds / steps if steps else None,
    }


# runs and trainers


def arguments(job: TrainingJob[TrainingParams], steps: int, batch: int) -> dict[str, Any]:
    """Arguments of every trainer. The micro-batch is the largest that `resources` allows and that divides a process's share."""
    params, resources = job.params, job.resources
    device = device_of(resources.device)
    processes = int(os.environ.get("WORLD_SIZE", "1"))
    if sharding.is_requested():
        sharding.check(job)
    if processes != resources.processes:
        raise ValueError(
            f"resources.processes is {resources.processes}, and {processes} was started; tasks/processes/launcher.py says how to start it"
        )
    if batch % processes:
        raise ValueError(
            f"a batch of {batch} sequences does not divide among {processes} processes; change resources.processes or the batch"
        )
    share = batch // processes
    micro = next(size for size in range(min(share, resources.micro_batch or share), 0, -1) if share % size == 0)
    return {
        "output_dir": str(job.scratch / "trainer"),
        "max_steps": steps,
        "per_device_train_batch_size": micro,
        "gradient_accumulation_steps": share // micro,
        "max_grad_norm": params.clip,
        "bf16": params.precision == "bfloat16" or (params.precision == "auto" and has_bf16(device)),
        "seed": params.seed,
        "use_cpu": device.type == "cpu",
        "ddp_backend": "gloo" if device.type == "cpu" and processes > 1 else None,
        "dataloader_pin_memory": device.type == "cuda",
        "logging_steps": params.log_steps,
        "logging_nan_inf_filter": False,  # a loss that is not a number must be seen
        "save_strategy": "no",  # we decide when to save and to validate
        "eval_strategy": "no",
        "gradient_checkpointing": resources.gradient_checkpointing,
        "gradient_checkpointing_kwargs": {"use_reentrant": False},
        "remove_unused_columns": False,
        "disable_tqdm": True,
        "report_to": [],
    }


def run_of(
    job: TrainingJob[TrainingParams],
    settings: dict[str, Any],
    start: training_state.SavedState | None,
    identity: dict[str, Any],
    **fields: Any,
) -> TrainingRun:
    """The run of a job, whose trainer has these arguments. `start` is the state that it goes on from, if any: with its optimizer state,
    the rate needs no warm-up. `identity` and `fields` are what the method knows of its data."""
    params, resources = job.params, job.resources
    stable = None
    if isinstance(params, PretrainingParams) and params.keep_stable:
        stable = optim.stable_step(params.schedule, settings["max_steps"], params.decay)
    if params.weights == "best" and not len(fields["eval_order"]):
        raise ValueError("weights: best are those of the lowest validation loss, and there is nothing to validate on; take last")
    warmup = 0.0 if start and start.moments else WARMUP
    return TrainingRun(
        identity={"stage": job.stage, "params": params.as_json(), **identity, **initialisation.start_identity(job)},
        micro=settings["per_device_train_batch_size"],
        checkpoint_steps=resources.checkpoint_steps,
        keep_checkpoints=resources.keep_checkpoints,
        compile=resources.compile,
        checkpoints=job.scratch / "checkpoints",
        optimizer=params.optimizer,
        weight_decay=params.weight_decay,
        schedule=params.schedule,
        warmup=warmup if params.warmup is None else params.warmup,
        decay=params.decay,
        eval_steps=params.eval_steps,
        keep=() if stable is None else (stable,),
        best=params.weights == "best",
        start=start,
        **fields,
    )


def peak_rate(params: TrainingParams, start: training_state.SavedState | None, derived: float, origin: str) -> tuple[float, str]:
    """The peak learning rate, and where it comes from where nobody asked for it: an optimizer state goes on at the rate that it was gathered
    at."""
    if params.learning_rate:
        return params.learning_rate, ""
    if start and start.moments:
        return start.facts["learning_rate"], " (as before)"
    return derived, f" ({origin})"


def check_rows(rows: int, batch: int, description: str, settings: str) -> None:
    """`ValueError` where the training data, as described, do not fill a batch; `settings` are those to lower."""
    if rows < batch:
        raise ValueError(f"{description}, fewer than one batch of {batch}; lower {settings}, or give more data")


# tuning: what goes on from a model


@dataclass(frozen=True)
class Splits:
    """The rows of a tuning: for training and for validation (perhaps none), and the former described, for an error."""

    train: datasets.Dataset | dataset.PackedDataset
    valid: datasets.Dataset | dataset.PackedDataset
    description: str

    @property
    def validation(self) -> datasets.Dataset | dataset.PackedDataset | None:
        """The validation rows as a trainer takes them: None where there are none."""
        return self.valid if len(self.valid) else None


def preference_splits(
    job: TrainingJob[TuningParams], tuned: initialisation.PreparedModel, emit: Emit
) -> tuple[Splits, dataset.RowCounts]:
    """The preference pairs of a job, tokenised, and what became of those for training."""
    home = job.folder("pairs") / "preferences"
    train, counts = dataset.preferences(home / "train.parquet", tuned.tokenizer, tuned.max_length)
    valid, _ = dataset.preferences(home / "valid.parquet", tuned.tokenizer, tuned.max_length)
    emit("log", text=f"{home}: {counts.summary('pairs', tuned.max_length)}")
    return Splits(train, valid, f"{home / 'train.parquet'} has {len(train)} usable pairs"), counts


def tuning_run(
    job: TrainingJob[TuningParams], tuned: initialisation.PreparedModel, splits: Splits, divisor: int, emit: Emit
) -> tuple[TrainingRun, dict[str, Any]]:
    """The run of a method that goes on from a model, and its trainer's arguments. The learning rate is that of the model's own pretraining
    by a `divisor`, where none is asked for."""
    params, batch, model = job.params, job.params.batch_size, tuned.model
    check_rows(len(splits.train), batch, splits.description, "batch_size")
    steps = max(1, round(params.epochs * len(splits.train) / batch))
    table_ids = {id(table.weight) for table in embeddings.tables(model)}
    in_tables = sum(p.numel() for p in model.parameters() if id(p) in table_ids)
    body = model.num_parameters() - in_tables  # which knows that a number in 4 bits is one number
    derived = float(f"{scaling.learning_rate(scaling.compute(body, 20 * body)) / divisor:.1e}")
    rate, whence = peak_rate(
        params, tuned.start, derived, f"1/{divisor} of what suits the pretraining of a model of {body:,} parameters"
    )
    emit("log", text=f"batch {batch}, {steps} steps; learning rate {rate:g}{whence}")
    lengths, valid_lengths = _lengths(splits.train), _lengths(splits.valid)
    by_length = None if isinstance(splits.train, dataset.PackedDataset) else lengths  # packed rows are all of one length
    samples = dataset.sample_order(len(splits.train), steps * batch, params.seed, batch=batch, lengths=by_length)
    settings = arguments(job, steps, batch)
    run = run_of(
        job,
        settings,
        tuned.start,
        {"rows": len(splits.train), "tokens": int(lengths.sum())},
        samples=samples,
        batch=batch,
        tokens=int(lengths[samples].sum()),
        learning_rate=rate,
        eval_order=dataset.validation_rows(valid_lengths, params.eval_tokens),
        emit=emit,
    )
    return run, settings


def _lengths(rows: datasets.Dataset | dataset.PackedDataset) -> np.ndarray:
    """Tokens of each row, (rows,)."""
    return np.full(len(rows), rows.room) if isinstance(rows, dataset.PackedDataset) else dataset.lengths(rows)
