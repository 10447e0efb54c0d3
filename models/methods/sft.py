"""Supervised fine-tuning: a model goes on with conversations, whose answers alone count."""

from __future__ import annotations

from functools import partial
from typing import Any

from pydantic.dataclasses import dataclass
from transformers import TrainingArguments

from models import dataset, initialisation, losses
from models.job import STRICT, Emit, Stats, Stopping, TrainingJob, TuningParams
from models.methods import common
from models.trainer import ResumableTrainer


@dataclass(frozen=True, kw_only=True, config=STRICT)
class SFTParams(TuningParams):
    """A tuning's parameters, and whether conversations share rows."""

    packing: bool


Params = SFTParams


def sft(job: TrainingJob[SFTParams], emit: Emit, stopping: Stopping) -> Stats | None:
    """Train a model on the conversations of `rows`."""
    trainer, stats = prepare(job, emit)
    return common.train(job, trainer, stats, stopping)


def prepare(job: TrainingJob[SFTParams], emit: Emit) -> tuple[Any, Stats]:
    """The trainer, ready to go, and what is known beforehand."""
    tuned = initialisation.prepare_model(job, emit)
    splits, counts = _splits(job, tuned, emit)
    run, settings = common.tuning_run(job, tuned, splits, 5, emit)
    if not job.params.packing:
        emit(
            "log",
            text="a batch holds rows of like length: the loss of single steps follows what is in them, and the validation loss tells",
        )
    trainer = _trainer(tuned, splits, settings)
    trainer.run = run
    trainer.rebuild = lambda: initialisation.prepare_model(job, lambda *_, **__: None).model
    losses.fuse(trainer.model)  # after TRL, which changes the forward too
    return trainer, {"rows": vars(counts), **({"waste": splits.train.waste} if job.params.packing else {})}


def _splits(
    job: TrainingJob[SFTParams], tuned: initialisation.PreparedModel, emit: Emit
) -> tuple[common.Splits, dataset.RowCounts]:
    """The conversations of a job, tokenised and perhaps packed, and what became of those for training."""
    home, packing, longest = job.folder("rows") / "sft", job.params.packing, tuned.max_length
    read = dataset.exchanges if tuned.text2text else dataset.conversations
    train, counts = read(home / "train.parquet", tuned.tokenizer, longest)
    valid, _ = read(home / "valid.parquet", tuned.tokenizer, longest)
    emit("log", text=f"{home}: {counts.summary('conversations', longest)}")
    if not packing:
        return common.Splits(train, valid, f"{home / 'train.parquet'} has {len(train)} usable conversations"), counts
    if tuned.text2text:
        raise ValueError("packing is for decoders; this model reads its prompt by itself: leave sft.packing out")
    packed, packed_valid = (dataset.PackedDataset(rows, longest, tuned.tokenizer.pad_token_id) for rows in (train, valid))
    emit("log", text=f"{len(packed):,} rows of {longest} tokens, {packed.waste:.1%} of their places empty")
    return common.Splits(packed, packed_valid, f"{home / 'train.parquet'} has {len(packed)} usable conversations packed"), counts


def _trainer(tuned: initialisation.PreparedModel, splits: common.Splits, settings: dict[str, Any]) -> Any:
    """TRL's trainer, or transformers' own where TRL adds nothing: for a text-to-text model and for packed rows."""
    shared: dict[str, Any] = {
        "model": tuned.model,
        "train_dataset": splits.train,
        "eval_dataset": splits.validation,
        "processing_class": tuned.tokenizer,
    }
    if tuned.text2text:
        collate = partial(dataset.collate_pairs, pad_id=tuned.tokenizer.pad_token_id)
        return ResumableTrainer(args=TrainingArguments(**settings), data_collator=collate, **shared)
    if isinstance(splits.train, dataset.PackedDataset):
        return ResumableTrainer(args=TrainingArguments(**settings), data_collator=dataset.collate, **shared)
    from trl import SFTConfig

    from models.trl_trainers import DecoderSFTTrainer

    arguments = SFTConfig(**settings, max_length=None, dataset_kwargs={"skip_prepare_dataset": True})
    return DecoderSFTTrainer(args=arguments, **shared)
