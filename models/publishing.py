"""The published result of a training run: the model, its tokenizer, optimizer states that later runs go on from, and the log.

Nothing in it tells one run of the same from another.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from transformers import GenerationConfig

from models import adapters, checkpoint, continuation, initialisation, sharding, template, tokenizer_files, training_state
from models.job import TrainingJob, TrainingParams, TuningParams
from models.loading import load

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase


def publish(job: TrainingJob[TrainingParams], trainer: Any, step: int) -> None:
    """Write `model/` with the weights of a step, `stable/` and `state/` where they are asked for, and `log.jsonl` into `job.out`."""
    tuning = job.params if isinstance(job.params, TuningParams) else None
    home = job.out / "model"
    model = _trained_model(trainer, step)
    if tuning and tuning.lora:
        model = _merged(job, tuning, model, home.with_name("adapter"))
    source = job.inputs.get("tokenizer") or job.folder("model")
    tokenizer = tokenizer_files.read(source)  # the trainer's may have padding that its model never had
    if tuning and tuning.template:
        template.use(tokenizer, tuning.template)
    _configure(model, tokenizer, trainer.processing_class, chats=tuning is not None)
    model.save_pretrained(home)
    for path in home.iterdir():
        path.chmod(0o644)  # safetensors writes for the owner alone
    if tuning and tuning.template:
        tokenizer_files.save(tokenizer, home)
    tokenizer_files.copy(source, home)
    _publish_states(job, trainer, step)
    (home.parent / "log.jsonl").write_text("".join(json.dumps(row) + "\n" for row in trainer.history()), "utf-8")


def _trained_model(trainer: Any, step: int) -> PreTrainedModel:
    """A trainer's model, whole and with the weights of a step."""
    model, run = trainer.model, trainer.run
    if sharding.is_requested():
        model = trainer.rebuild()
    if sharding.is_requested() or step != run.steps:
        training_state.load_weights(model, checkpoint.place(run.checkpoints, step))
    return model


def _merged(job: TrainingJob[TrainingParams], tuning: TuningParams, model: PreTrainedModel, folder: Path) -> PreTrainedModel:
    """Write the adapters by themselves, as peft loads them; return the whole model with them added, on a base in full precision."""
    adapters.save(model, folder)
    initialisation.record_base(job, folder)
    if tuning.bits != 32:  # what was rounded for training is not what they are added to
        model, _ = load(job.folder("model"), torch.device("cpu"))
        adapters.attach(model, folder)
    adapters.merge(model)
    return model


def _configure(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, trained_with: PreTrainedTokenizerBase, *, chats: bool
) -> None:
    """Set a model's configuration for use: its cache, its special tokens, and the tokens that end its answers; `chats` if these are turns."""
    model.config.use_cache = True  # training is over
    if hasattr(model.config, "output_router_logits"):
        model.config.output_router_logits = False  # TRL's trainers switch it on
    writes = model.can_generate()
    pad = tokenizer.pad_token_id if writes else trained_with.pad_token_id  # a classifier finds its last token by it
    ids = {"pad_token_id": pad, "eos_token_id": tokenizer.eos_token_id}
    begin = tokenizer.bos_token_id if continuation.bos_ids(tokenizer) else tokenizer.eos_token_id
    model.config.update(ids if model.config.is_encoder_decoder else ids | {"bos_token_id": begin})
    if writes:
        model.generation_config = GenerationConfig.from_model_config(model.config)
        model.generation_config.eos_token_id = template.stops(tokenizer) if chats else tokenizer.eos_token_id


def _publish_states(job: TrainingJob[TrainingParams], trainer: Any, step: int) -> None:
    """Write the states that later runs go on from: of the last step before a decay, and of the published step."""
    run, params = trainer.run, job.params
    names = dict.fromkeys(run.keep, "stable")
    if isinstance(params, TuningParams) and params.keep_state:
        names[step] = "state"
    for at, name in names.items():
        before = run.start.facts if run.start else {"step": 0, "tokens": 0}
        reached = {"step": before["step"] + at, "tokens": before["tokens"] + round(run.tokens * at / run.steps)}
        facts = initialisation.state_facts(job) | reached | {"learning_rate": run.learning_rate}
        training_state.publish(checkpoint.place(run.checkpoints, at), job.out / name, facts)
