"""Resumable training: the mixin that Hanlin adds to the trainers of transformers and TRL, the same for every method.

It brings our order of samples, optimiser and schedule; a loss that does not depend on how a batch is cut into pieces; checkpoints that are whole or
absent; and a resume that is exact to the last digit, the history of losses included.
"""

from __future__ import annotations

import contextlib
import json
import math
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.optim.lr_scheduler import LambdaLR
from torch.utils.data import DataLoader
from transformers import Trainer, TrainerCallback
from transformers.modeling_layers import GradientCheckpointingLayer

from models import checkpoint, losses, optim, sharding
from models import training_state as state
from models.dataset import OrderSampler
from models.job import Emit, OptimizerName, ScheduleName, Stopping

PROGRESS_SECONDS = 0.5  # at least, between two reports
REWARDS = {
    "accuracies": "accuracy",
    "margins": "margin",
    "chosen": "chosen_reward",
    "rejected": "rejected_reward",
}  # TRL's name: ours


@dataclass(frozen=True)
class TrainingRun:
    """The settings of one training run: its data order, optimizer and schedule, its checkpoints, and the state that it goes on from."""

    identity: dict[str, Any]  # all that defines the run; a checkpoint of another is refused
    samples: np.ndarray  # (steps · batch,) rows in training order
    batch: int  # samples a step, over all processes
    micro: int  # samples a forward pass, of one process
    tokens: int  # that all steps read together, for the speed shown
    learning_rate: float
    optimizer: OptimizerName
    weight_decay: float
    schedule: ScheduleName
    warmup: float
    decay: float
    eval_steps: int
    checkpoint_steps: int
    keep_checkpoints: int
    compile: bool
    checkpoints: Path
    keep: tuple[int, ...] = ()  # steps whose checkpoints are needed when the run is over
    best: bool = False  # whether the weights of the lowest validation loss are needed, too
    start: state.SavedState | None = None
    emit: Emit = lambda event, **fields: None
    eval_order: np.ndarray = field(default_factory=lambda: np.arange(0))

    @property
    def steps(self) -> int:
        """Optimizer steps of the whole run."""
        return len(self.samples) // self.batch


class ResumableMixin:
    """A mixin for trainers, named before their own class, that makes a resume exact. Set `run` before `fit`."""

    run: TrainingRun
    stopped = False  # by a signal, with a checkpoint saved
    resumed = 0  # step this process began at
    seconds = 0.0
    expert_use: Tensor | None = None  # of the last validation, (layers, experts)
    loss_is_scaled_for_ga = True
    rebuild: Callable[[], torch.nn.Module]  # the model as it was before training, for publishing what was trained in shards

    def fit(self: Any, stopping: Stopping) -> None:
        """Train to the end, or until `stopping` (asked after each step) says so, from the newest whole checkpoint if there is one."""
        from transformers.trainer_callback import PrinterCallback

        self.remove_callback(PrinterCallback)
        self.add_callback(_StepCallback(self, stopping))
        if self.is_world_process_zero():
            checkpoint.clean(self.run.checkpoints)
        self.accelerator.wait_for_everyone()
        start = checkpoint.newest(self.run.checkpoints, self._note)
        if start is not None:
            saved = json.loads((start / "run.json").read_text("utf-8"))
            if saved["identity"] != self.run.identity:
                raise ValueError(
                    f"{start} belongs to a run with other parameters or inputs; give this run a folder of its own, or empty that one"
                )
            self.resumed = checkpoint.step_of(start)
            differs = [
                f"{name} {saved['machine'][name]} → {now}"
                for name, now in self._machine().items()
                if saved["machine"][name] != now
            ]
            rounding = f"; last digits may differ from now on ({', '.join(differs)})" if differs else ""
            self._note(f"going on from step {self.resumed} of {self.run.steps}{rounding}")
        if self.run.compile:
            compile_layers(self.model)
        if sharding.is_requested():
            sharding.autocast(self)
        began = time.monotonic()
        self.train(resume_from_checkpoint=None if start is None else str(start))
        self.seconds = time.monotonic() - began

    def _machine(self: Any) -> dict[str, Any]:
        """The settings and versions on which the rounding of sums depends."""
        return {
            "device": self.args.device.type,
            "processes": self.accelerator.num_processes,
            "shards": sharding.is_requested(),
            "micro_batch": self.run.micro,
            "threads": torch.get_num_threads(),
            "bfloat16": self.args.bf16,
            "compile": self.run.compile,
            "torch": torch.__version__,
        }

    def _note(self: Any, line: str) -> None:
        if self.is_world_process_zero():
            self.run.emit("log", text=line)

    # what the trainers ask for

    def create_accelerator_and_postprocess(self: Any) -> None:
        """transformers' accelerator, made to shard where that is requested."""
        super().create_accelerator_and_postprocess()  # type: ignore[misc]
        if sharding.is_requested():
            sharding.enable(self)

    def _get_train_sampler(self, train_dataset: Any = None) -> OrderSampler:
        return OrderSampler(self.run.samples)

    def create_optimizer(self: Any, model: Any = None) -> torch.optim.Optimizer:
        """The optimizer of the run."""
        if self.optimizer is None:
            self.optimizer = optim.make(
                self.model,
                self.run.optimizer,
                lr=self.run.learning_rate,
                weight_decay=self.run.weight_decay,
                precision=torch.bfloat16 if self.args.bf16 else torch.float32,
            )
        return self.optimizer

    def create_scheduler(self: Any, num_training_steps: int, optimizer: Any = None) -> LambdaLR:
        """The learning rate schedule of the run."""
        if self.lr_scheduler is None:
            factor = optim.schedule(self.run.schedule, self.run.steps, self.run.warmup, self.run.decay)
            self.lr_scheduler = LambdaLR(self.optimizer, factor)
            self._created_lr_scheduler = True
        return self.lr_scheduler

    def compute_loss(self: Any, model: Any, inputs: Any, return_outputs: bool = False, num_items_in_batch: Any = None) -> Tensor:
        """The sum over this micro-batch's targets, over the targets of the whole step on all processes, whose gradients are averaged later."""
        assert not return_outputs
        return model(**inputs) * (self.accelerator.num_processes / num_items_in_batch)

    # validation

    def evaluate(self: Any, *args: Any, **kwargs: Any) -> dict[str, float]:
        """Validation losses: means over all targets of the validation rows, whatever the batches. Every process reads all of them: they are few."""
        self.model.eval()
        loader = DataLoader(
            self.eval_dataset, batch_size=self.run.micro, sampler=OrderSampler(self.run.eval_order), collate_fn=self.data_collator
        )
        with torch.no_grad():
            metrics = self._measure([self._prepare_inputs(batch) for batch in loader])
        if self.accelerator.num_processes > 1:  # all must agree on which step was the best, to the last digit
            values = torch.tensor(list(metrics.values()), device=self.accelerator.device)
            metrics = dict(zip(metrics, self.accelerator.reduce(values, "mean").tolist(), strict=True))
        self.log(metrics)
        self.control = self.callback_handler.on_evaluate(self.args, self.state, self.control, metrics)
        return metrics

    def _measure(self: Any, batches: list[dict[str, Tensor]]) -> dict[str, float]:
        total = 0.0
        used = []
        for batch in batches:
            total += self.model(**batch).item()
            if hasattr(self.model, "expert_use"):
                used.append((self.model.expert_use, self.model.balance))
        counted = sum(int((losses.targets(self.model, batch["labels"]) >= 0).sum()) for batch in batches)
        metrics = {"eval_loss": total / counted}
        if used:
            shares, even = zip(*used, strict=True)
            self.expert_use = torch.stack(shares).mean(0)
            metrics["eval_balance"] = torch.stack(even).mean().item()
            # 1 where all experts of a layer get as many tokens; the worst layer counts
            metrics["eval_busiest_expert"] = self.expert_use.max().item() * self.expert_use.size(1)
        return metrics

    # leaving off and going on

    def best_step(self: Any) -> int | None:
        """The step with the lowest validation loss so far, the first of equals; None before the first validation."""
        checked = [row for row in self.state.log_history if "eval_loss" in row]
        return min(checked, key=lambda row: row["eval_loss"])["step"] if checked else None

    def _save_checkpoint(self: Any, model: Any, trial: Any) -> None:
        """Write a checkpoint of this step: weights, optimizer state, schedule, random numbers, and what the trainers forget."""
        from transformers.trainer_pt_utils import nested_gather

        waiting = nested_gather(self._tr_loss, self.args.parallel_mode).mean().item()
        self.check_finite(waiting)
        left = {
            "identity": self.run.identity,
            "machine": self._machine(),
            # losses summed up since the last logged step, so that a checkpoint may fall between two
            "waiting": waiting,
            "logged": self._globalstep_last_logged,
            "metrics": dict(getattr(self, "_metrics", {}).get("train", {})),
        }
        step, first = self.state.global_step, self.is_world_process_zero()
        best = [] if self.best_step() is None else [self.best_step()]
        keep = [earlier for earlier in self.run.keep if earlier < step]
        needs = [*keep, *(best if self.run.best else [])]
        with contextlib.ExitStack() as stack:
            draft = checkpoint.draft(self.run.checkpoints, step)
            if first:
                others = {"keep": self.run.keep_checkpoints, "beside": [*keep, *best], "needs": needs}
                stack.enter_context(checkpoint.writing(self.run.checkpoints, step, **others))
            self.accelerator.wait_for_everyone()
            self._save_rng_state(str(draft))
            state.save(self.model, self.optimizer, draft, write=first)
            if first:
                (draft / "schedule.json").write_text(json.dumps(self.lr_scheduler.state_dict()), "utf-8")
                self.state.save_to_json(str(draft / "trainer_state.json"))
                (draft / "run.json").write_text(json.dumps(left), "utf-8")
            self.accelerator.wait_for_everyone()
        self.accelerator.wait_for_everyone()

    def _load_from_checkpoint(self: Any, resume_from_checkpoint: str, model: Any = None) -> None:
        state.load_weights(self.model, Path(resume_from_checkpoint))

    def _load_optimizer_and_scheduler(self: Any, checkpoint: str) -> None:
        state.load_moments(self.model, self.optimizer, Path(checkpoint))
        self.lr_scheduler.load_state_dict(json.loads((Path(checkpoint) / "schedule.json").read_text("utf-8")))
        for group, rate in zip(self.optimizer.param_groups, self.lr_scheduler.get_last_lr(), strict=True):
            group["lr"] = rate

    def restore(self: Any) -> None:
        """Load the optimizer state of an earlier run before this one's first step; on a resume, what the trainers forget between two logged
        steps."""
        start = self.run.start
        if not self.resumed and start is not None and start.moments:
            state.load_moments(self.model, self.optimizer, start.home, start.rows)
        if self.resumed:
            left = json.loads((checkpoint.place(self.run.checkpoints, self.resumed) / "run.json").read_text("utf-8"))
            self._tr_loss.fill_(left["waiting"])
            self._globalstep_last_logged = left["logged"]
            if left["metrics"]:
                self._metrics["train"].update(left["metrics"])

    def check_finite(self: Any, loss: float) -> None:
        """`ValueError` for a loss that is no number: nothing good comes after it."""
        if not math.isfinite(loss):
            raise ValueError(
                f"the loss became {loss} by step {self.state.global_step} (learning rate {self._get_learning_rate():.3g}); "
                f"lower learning_rate, or lengthen warmup. Checkpoints up to the last logged step are good."
            )

    def history(self: Any) -> list[dict[str, float]]:
        """Logged steps and validations, in order, without anything that differs between two runs of the same."""
        renamed = {f"rewards/{theirs}": ours for theirs, ours in REWARDS.items()}
        names = (
            "step",
            "loss",
            "eval_loss",
            "learning_rate",
            "grad_norm",
            *REWARDS.values(),
            *(f"eval_{name}" for name in REWARDS.values()),
            "eval_kl",
            "eval_balance",
            "eval_busiest_expert",
        )
        rows = [{renamed.get(name, name): value for name, value in row.items()} for row in self.state.log_history]
        return [{name: row[name] for name in names if name in row} for row in rows if "loss" in row or "eval_loss" in row]


class ResumableTrainer(ResumableMixin, Trainer):
    """transformers' own trainer, which every architecture and layout of rows goes through where TRL adds nothing."""


def compile_layers(model: torch.nn.Module) -> None:
    """Compile each layer of a model on its own: they are alike, so the compiler works once, in seconds, where a whole model takes it minutes."""
    for stack in model.modules():
        if isinstance(stack, torch.nn.ModuleList):
            for layer in stack:
                if isinstance(layer, GradientCheckpointingLayer):
                    layer.compile()


class _StepCallback(TrainerCallback):
    """A callback that decides after each step what is due (a log line, a validation, a checkpoint, a stop), and reports progress."""

    def __init__(self, trainer: Any, stopping: Stopping):
        self.trainer, self.run, self.stopping = trainer, trainer.run, stopping
        self.reported = self.reported_step = 0.0  # time and step of the last report
        self.pace = 0.0  # seconds a step, smoothed
        self.figures: dict[str, float] = {}  # that were reported last

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Restore what a checkpoint or an earlier run left, and tell of the losses up to there."""
        self.trainer.restore()
        self.reported, self.reported_step = time.monotonic(), state.global_step
        if self.trainer.resumed and state.is_world_process_zero:
            past = {
                name: [(row["step"], row[name]) for row in state.log_history if name in row] for name in ("loss", "eval_loss")
            }
            self._emit(state, {}, past=past)

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Decide what is due after a step, and report."""
        run, step = self.run, state.global_step
        last = step >= run.steps
        stop = self._stop_asked()
        control.should_log = control.should_log or last
        control.should_evaluate = bool(len(run.eval_order)) and (last or step % run.eval_steps == 0)
        control.should_save = last or stop or step % run.checkpoint_steps == 0 or step in run.keep
        if stop:
            self.trainer.stopped = control.should_training_stop = True
        if state.is_world_process_zero:
            self._report(state, last or stop or control.should_evaluate)

    def _stop_asked(self) -> bool:
        """True where the run is to stop after this step: on every process alike, though a signal reaches them at different times."""
        stop = self.stopping()
        accelerator = self.trainer.accelerator
        if accelerator.num_processes > 1:
            stop = bool(accelerator.reduce(torch.tensor(float(stop), device=accelerator.device)))
        return stop

    def on_evaluate(self, args: Any, state: Any, control: Any, metrics: Any = None, **kwargs: Any) -> None:
        """Save a checkpoint of the best step so far, and tell of the validation."""
        control.should_save = control.should_save or self.trainer.best_step() == state.global_step
        if state.is_world_process_zero:
            self._emit(state, {**self.figures, "eval_loss": metrics["eval_loss"]})

    def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **kwargs: Any) -> None:
        """End a run whose logged loss is no number."""
        self.trainer.check_finite(logs.get("loss", 0.0))

    def _report(self, state: Any, now: bool) -> None:
        """Emit progress: loss, rate, speed and the seconds left; at most twice a second, unless it must be `now`."""
        run, step = self.run, state.global_step
        passed, steps = time.monotonic() - self.reported, step - self.reported_step
        if not now and passed < PROGRESS_SECONDS:
            return
        self.reported, self.reported_step = time.monotonic(), step
        self.pace = 0.5 * (self.pace or passed / steps) + 0.5 * passed / steps
        self.figures = {
            "loss": self.trainer._tr_loss.item() / (step - self.trainer._globalstep_last_logged),
            "lr": self.trainer._get_learning_rate(),
            "tokens_per_second": run.tokens / run.steps / self.pace,
            "eta": (run.steps - step) * self.pace,
        }
        self._emit(state, self.figures)

    def _emit(self, state: Any, figures: dict[str, float], **more: Any) -> None:
        self.run.emit("progress", done=state.global_step, total=self.run.steps, unit="step", figures=figures, **more)
