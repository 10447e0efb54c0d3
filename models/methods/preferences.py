"""The trainer of preference pairs that DPO trains with, and that computes its reference."""

from __future__ import annotations

from functools import partial
from typing import Any

from pydantic.dataclasses import dataclass
from transformers import TrainingArguments

from models import initialisation, preference
from models.job import STRICT, Emit, Stats, TrainingJob, TuningParams
from models.methods import common


@dataclass(frozen=True, kw_only=True, config=STRICT)
class PreferenceParams(TuningParams):
    """A tuning's parameters, and those of direct preference optimisation."""

    beta: float
    loss_type: str
    sft_weight: float
    label_smoothing: float


def prepare(job: TrainingJob[PreferenceParams], emit: Emit, *, trains: bool = True) -> tuple[Any, Stats]:
    """The trainer of a job's pairs, whose rows still lack the reference's figures, and what is known beforehand."""
    tuned = initialisation.prepare_model(job, emit, dropout=False)
    splits, counts = common.preference_splits(job, tuned, emit)
    run, settings = common.tuning_run(job, tuned, splits, 40, emit if trains else _unheard)
    shared: dict[str, Any] = {
        "model": tuned.model,
        "train_dataset": splits.train,
        "eval_dataset": splits.validation,
        "processing_class": tuned.tokenizer,
    }
    build = _text2text_trainer if tuned.text2text else _decoder_trainer
    trainer = build(job.params, settings, shared)
    trainer.run = run
    return trainer, {"rows": vars(counts)}


def _unheard(kind: str, **facts: Any) -> None:
    """Rates and steps, of which a job that trains nothing has none to tell."""


def _text2text_trainer(params: PreferenceParams, settings: dict[str, Any], shared: dict[str, Any]) -> Any:
    return preference.Seq2SeqDPOTrainer(
        args=TrainingArguments(**settings),
        data_collator=partial(preference.collate, pad_id=shared["processing_class"].pad_token_id),
        beta=params.beta,
        loss_type=params.loss_type,
        smoothing=params.label_smoothing,
        sft_weight=params.sft_weight,
        **shared,
    )


def _decoder_trainer(params: PreferenceParams, settings: dict[str, Any], shared: dict[str, Any]) -> Any:
    from trl import DPOConfig

    from models.trl_trainers import DecoderDPOTrainer

    weights = {params.loss_type: 1.0} | ({"sft": params.sft_weight} if params.sft_weight else {})
    arguments = DPOConfig(
        **settings,
        max_length=None,
        beta=params.beta,
        loss_type=list(weights),
        loss_weights=list(weights.values()),
        label_smoothing=params.label_smoothing,
        precompute_ref_log_probs=True,
        disable_dropout=False,  # of the adapters; the model's own is off already
    )
    return DecoderDPOTrainer(args=arguments, **shared)
