"""Pretraining: a new model of a preset, or one that goes on from an earlier plateau, trained on packed documents or pairs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from transformers import TrainingArguments

from models import dataset, initialisation, losses, presets, scaling, tokenizer_files, training_state
from models.job import Emit, PretrainingParams, Stats, Stopping, TrainingJob
from models.methods import common
from models.trainer import ResumableTrainer

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

Params = PretrainingParams


def pretrain(job: TrainingJob[PretrainingParams], emit: Emit, stopping: Stopping) -> Stats | None:
    """Train a new model on `packed`, with `tokenizer`."""
    trainer, stats = prepare(job, emit)
    return common.train(job, trainer, stats, stopping)


def prepare(job: TrainingJob[PretrainingParams], emit: Emit) -> tuple[ResumableTrainer, Stats]:
    """The trainer, ready to go, and what is known beforehand. What `params` leaves empty follows from the preset; the formulas are logged."""
    params = job.params
    corpus = _corpus(job)
    start = initialisation.stable_state(job, corpus.tokenizer, emit)
    budget = _budget(params, corpus, start, emit)
    if isinstance(corpus.train, dataset.BestFitDataset):
        _log_waste(corpus.train, corpus.context, emit)
    common.check_rows(len(corpus.train), budget.batch, f"{job.folder('packed')} has {len(corpus.train)} training {corpus.unit}",
                      "batch_tokens or context")  # fmt: skip
    settings = common.arguments(job, budget.steps, budget.batch)
    trainer = ResumableTrainer(
        model=initialisation.new_model(job, corpus.tokenizer, corpus.context, start),
        args=TrainingArguments(**settings),
        train_dataset=corpus.train,
        eval_dataset=corpus.valid,
        data_collator=corpus.collate,
        processing_class=corpus.tokenizer,
    )
    losses.fuse(trainer.model)
    samples = dataset.sample_order(
        len(corpus.train), budget.steps * budget.batch, params.seed, batch=budget.batch, lengths=corpus.lengths
    )
    trainer.run = common.run_of(
        job,
        settings,
        start,
        {
            "rows": len(corpus.train),
            "tokens": corpus.tokens,
            "context": corpus.context,
            "vocab_size": corpus.train.vocab_size,
        },
        samples=samples,
        batch=budget.batch,
        tokens=round(len(samples) * corpus.filled) if corpus.lengths is None else int(corpus.lengths[samples].sum()),
        learning_rate=budget.rate,
        eval_order=dataset.validation_rows(corpus.valid_lengths, params.eval_tokens),
        emit=emit,
    )
    trainer.rebuild = lambda: initialisation.new_model(job, corpus.tokenizer, corpus.context)
    return trainer, {"passes": len(samples) / len(corpus.train), **_waste(corpus.train)}


# the data


@dataclass(frozen=True)
class PackedCorpus:
    """Packed rows of both splits, their tokenizer, and how many tokens they hold."""

    train: dataset.WindowDataset | dataset.BestFitDataset | dataset.PairDataset
    valid: dataset.WindowDataset | dataset.BestFitDataset | dataset.PairDataset
    tokenizer: PreTrainedTokenizerBase
    context: int

    @property
    def lengths(self) -> np.ndarray | None:
        """Tokens of each training row, (rows,); None where all are as long as the context."""
        return self.train.lengths if isinstance(self.train, dataset.PairDataset) else None

    @property
    def valid_lengths(self) -> np.ndarray:
        """Tokens of each validation row, (rows,)."""
        return self.valid.lengths if isinstance(self.valid, dataset.PairDataset) else np.full(len(self.valid), self.context)

    @property
    def tokens(self) -> int:
        """Tokens of the training rows."""
        return len(self.train.tokens) if self.lengths is None else int(self.lengths.sum())

    @property
    def row(self) -> float:
        """Places of a training row: the context, or the mean length of a pair."""
        return float(self.context) if self.lengths is None else max(1.0, self.tokens / max(1, len(self.lengths)))

    @property
    def filled(self) -> float:
        """Tokens of a training row, on average."""
        return self.tokens / max(1, len(self.train)) if isinstance(self.train, dataset.BestFitDataset) else self.row

    @property
    def unit(self) -> str:
        """The name of rows, for a message."""
        if isinstance(self.train, dataset.PairDataset):
            return "pairs"
        return f"{'rows' if isinstance(self.train, dataset.BestFitDataset) else 'windows'} of {self.context} tokens"

    @property
    def collate(self) -> Callable[[list[Any]], dict[str, Any]]:
        """Makes rows a batch."""
        if isinstance(self.train, dataset.PairDataset):
            return partial(dataset.collate_pairs, pad_id=self.tokenizer.pad_token_id)
        return dataset.collate


def _corpus(job: TrainingJob[PretrainingParams]) -> PackedCorpus:
    """The packed corpus of a job. `ValueError` where it is of another tokenizer."""
    params, packed, home = job.params, job.folder("packed"), job.folder("tokenizer")
    if not (home / "tokenizer.json").is_file():
        raise ValueError(f"{home} has no tokenizer.json; run the tokenizer stage first, or name the folder that holds it")
    tokenizer = tokenizer_files.read(home)
    context = params.context or presets.find(params.preset).context
    train, valid = (_rows(params, packed, split, context, tokenizer.pad_token_id) for split in ("train", "valid"))
    if len(tokenizer) != train.vocab_size:
        raise ValueError(
            f"{packed} was packed with {train.vocab_size} tokens, and the tokenizer has {len(tokenizer)}; pack again with this one"
        )
    return PackedCorpus(train, valid, tokenizer, context)


def _rows(
    params: PretrainingParams, packed: Path, split: str, context: int, pad_id: int
) -> dataset.WindowDataset | dataset.BestFitDataset | dataset.PairDataset:
    if params.packing == "best_fit":
        return dataset.BestFitDataset(packed, split, context, pad_id)
    if presets.find(params.preset).text2text:
        return dataset.PairDataset(packed, split, context)
    return dataset.WindowDataset(packed, split, context)


def _waste(rows: dataset.WindowDataset | dataset.BestFitDataset | dataset.PairDataset) -> Stats:
    """Shares of empty places and of cut documents, of rows that are packed by best fit."""
    names = ("waste", "cut", "cut_by_windows") if isinstance(rows, dataset.BestFitDataset) else ()
    return {name: getattr(rows, name) for name in names}


def _log_waste(rows: dataset.BestFitDataset, context: int, emit: Emit) -> None:
    emit(
        "log",
        text=f"best fit: {len(rows):,} rows of {context} tokens, {rows.waste:.2%} of their places empty; "
        f"{rows.cut:.1%} of the documents are cut, where windows would cut {rows.cut_by_windows:.1%}",
    )


# how long, in which batches, at which rate


@dataclass(frozen=True)
class TrainingBudget:
    """Steps of a run, rows of a batch, and the peak learning rate."""

    steps: int
    batch: int
    rate: float


def _budget(
    params: PretrainingParams, corpus: PackedCorpus, start: training_state.SavedState | None, emit: Emit
) -> TrainingBudget:
    """The budget that `params` sets; what it leaves empty follows from the preset's size (`models/scaling.py`). The formulas are logged."""
    preset = presets.find(params.preset)
    options = presets.chosen(params.preset, **initialisation.architecture_options(params))
    body, held = preset.body(options), corpus.tokens
    tokens = params.tokens or (round(params.epochs * held) if params.epochs else scaling.horizon(body, held))
    flops = scaling.compute(body, tokens)
    set_by_hand = params.batch_tokens and max(1, int(params.batch_tokens / corpus.row))
    batch = set_by_hand or scaling.batch_sequences(flops, int(corpus.row))
    if corpus.lengths is not None:
        batch = _divisible(batch)
    rate, whence = common.peak_rate(params, start, scaling.learning_rate(flops), "0.3118·C^-0.125")
    steps = max(1, round(tokens / (batch * corpus.filled)))
    why = "as asked" if params.tokens or params.epochs else f"min(20·N, 4 · {held:,} in the corpus)"
    rows = f"{batch} · {corpus.context} tokens" if corpus.lengths is None else f"{batch} pairs of {corpus.row:.0f} tokens"
    emit(
        "log",
        text=f"{params.preset}: N = {body:,} parameters and "
        f"{preset.parameters(corpus.train.vocab_size, options) - body:,} in embeddings; "
        f"D = {tokens:,} tokens ({why}); C = 6·N·D = {flops:.2g}; "
        f"batch {rows}{'' if params.batch_tokens else ' (0.2920·C^0.3271)'}, {steps} steps; "
        f"learning rate {rate:g}{whence}",
    )
    return TrainingBudget(steps, batch, rate)


def _divisible(batch: int) -> int:
    """The batch or the next below that usual numbers of devices and micro-batches divide: what a mean length gives may well be prime."""
    return batch // 8 * 8 or 1 << (batch.bit_length() - 1)
