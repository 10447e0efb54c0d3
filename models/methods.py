"""The training stages: from a job to a trainer that is ready to go.

A job has `stage`, `params`, `resources`, `inputs` (folders by role), `out` and `scratch`, as the job file of `models/train.py` says.
Each function raises `ValueError` where a parameter does not fit the data or the machine.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from transformers import AutoModelForSequenceClassification, AutoTokenizer, Trainer, TrainingArguments

from models import dataset, embeddings, initialisation, losses, optim, preference, presets, scaling, sharding, training_state
from models.loading import device_of, has_bf16
from models.reward import Rewarder, stack
from models.trainer import Exact, Run

if TYPE_CHECKING:
    import datasets
    from transformers import PreTrainedModel

WARMUP = 0.02  # share of the steps, of an optimiser that begins without moments
Emit = Callable[..., None]
Job = dict[str, Any]


class Plain(Exact, Trainer):
    """transformers' own trainer, which every architecture and layout of rows goes through where TRL adds nothing."""


def pretrain(job: Job, emit: Emit, stopping: Callable[[], bool]) -> tuple[Plain, dict[str, Any]]:
    """A new model. What `params` leaves empty follows from the preset; the formulas are logged."""
    params, packed, home = job["params"], Path(job["inputs"]["packed"]), Path(job["inputs"]["tokenizer"])
    size = presets.find(params["preset"])
    context = params["context"] or size.context
    text2text = size.text2text
    if not (home / "tokenizer.json").is_file():
        raise ValueError(f"{home} has no tokenizer.json; run the tokenizer stage first, or name the folder that holds it")
    tokenizer = AutoTokenizer.from_pretrained(home)
    read: Any = dataset.Pairs if text2text else dataset.Windows
    if params["packing"] == "best_fit":
        read = partial(dataset.BestFit, pad_id=tokenizer.pad_token_id)
    train, valid = read(packed, "train", context), read(packed, "valid", context)
    if len(tokenizer) != train.vocab_size:
        raise ValueError(
            f"{packed} was packed with {train.vocab_size} tokens, and the tokenizer has {len(tokenizer)}; pack again with this one"
        )
    earlier = initialisation.stable(job, tokenizer, emit)
    sizes = train.lengths if isinstance(train, dataset.Pairs) else None
    corpus = len(train.tokens) if sizes is None else int(sizes.sum())
    row = float(context) if sizes is None else max(1.0, corpus / max(1, len(sizes)))  # tokens of one, on average
    options = presets.chosen(params["preset"], **{name: params[name] for name in presets.OPTIONS})
    body = size.body(options)
    wanted = params["tokens"] or (round(params["epochs"] * corpus) if params["epochs"] else scaling.horizon(body, corpus))
    flops = scaling.compute(body, wanted)
    batch = max(1, int(params["batch_tokens"] / row)) if params["batch_tokens"] else scaling.batch_sequences(flops, int(row))
    if text2text:
        batch = _divisible(batch)
    rate, whence = _rate(params, earlier, scaling.learning_rate(flops), "0.3118·C^-0.125")
    filled = row if params["packing"] == "windows" else corpus / max(1, len(train))
    steps = max(1, round(wanted / (batch * filled)))
    why = "as asked" if params["tokens"] or params["epochs"] else f"min(20·N, 4 · {corpus:,} in the corpus)"
    rows = f"{batch} · {context} tokens" if sizes is None else f"{batch} pairs of {row:.0f} tokens"
    emit(
        "log",
        text=f"{params['preset']}: N = {body:,} parameters and {size.parameters(train.vocab_size, options) - body:,} in embeddings; "
        f"D = {wanted:,} tokens ({why}); C = 6·N·D = {flops:.2g}; "
        f"batch {rows}{'' if params['batch_tokens'] else ' (0.2920·C^0.3271)'}, {steps} steps; "
        f"learning rate {rate:g}{whence}",
    )
    stats = {}
    if isinstance(train, dataset.BestFit):
        stats = {name: getattr(train, name) for name in ("waste", "cut", "cut_by_windows")}
        emit(
            "log",
            text=f"best fit: {len(train):,} rows of {context} tokens, {train.waste:.2%} of their places empty; "
            f"{train.cut:.1%} of the documents are cut, where windows would cut {train.cut_by_windows:.1%}",
        )
    what = "pairs" if text2text else f"{'rows' if stats else 'windows'} of {context} tokens"
    _enough(len(train), batch, f"{packed} has {len(train)} training {what}", "batch_tokens or context")
    settings = _settings(job, steps, batch)
    trainer = Plain(
        model=initialisation.new(job, tokenizer, context, earlier),
        args=TrainingArguments(**settings),
        train_dataset=train,
        eval_dataset=valid,
        data_collator=partial(dataset.pairs, pad_id=tokenizer.pad_token_id) if text2text else dataset.stack,
        processing_class=tokenizer,
    )
    losses.fuse(trainer.model)
    samples = dataset.order(len(train), steps * batch, params["seed"], batch=batch, lengths=sizes)
    checked = valid.lengths if isinstance(valid, dataset.Pairs) else np.full(len(valid), context)
    trainer.run = _run(
        job,
        settings,
        identity={"rows": len(train), "tokens": corpus, "context": context, "vocab_size": train.vocab_size},
        samples=samples,
        batch=batch,
        tokens=round(steps * batch * filled) if sizes is None else int(sizes[samples].sum()),
        learning_rate=rate,
        eval_order=dataset.checked(checked, params["eval_tokens"]),
        earlier=earlier,
        emit=emit,
        stopping=stopping,
    )
    trainer.rebuild = lambda: initialisation.new(job, tokenizer, context)
    return trainer, {"passes": steps * batch / len(train), **stats}


def sft(job: Job, emit: Emit, stopping: Callable[[], bool]) -> tuple[Any, dict[str, Any]]:
    """A model that goes on with conversations."""
    home, params = Path(job["inputs"]["rows"]) / "sft", job["params"]
    model, tokenizer, longest, earlier = initialisation.tuned(job, emit)
    text2text = model.config.is_encoder_decoder
    read = dataset.exchanges if text2text else dataset.conversations
    train, taken = read(home / "train.parquet", tokenizer, longest)
    valid, _ = read(home / "valid.parquet", tokenizer, longest)
    emit("log", text=f"{home}: {taken.told('conversations', longest)}")
    if params["packing"] and text2text:
        raise ValueError("packing is for decoders; this model reads its prompt by itself: leave sft.packing out")
    pack = (lambda rows: dataset.Packed(rows, longest, tokenizer.pad_token_id)) if params["packing"] else (lambda rows: rows)
    train, valid = pack(train), pack(valid)
    found = f"{home / 'train.parquet'} has {len(train)} usable conversations"
    if params["packing"]:
        found += " packed"
        emit("log", text=f"{len(train):,} rows of {longest} tokens, {train.waste:.1%} of their places empty")
    run, settings = _tuning(job, model, train, valid, found, 5, earlier, emit, stopping)
    shared = {
        "model": model,
        "train_dataset": train,
        "eval_dataset": valid if len(valid) else None,
        "processing_class": tokenizer,
    }
    if text2text:
        collate = partial(dataset.pairs, pad_id=tokenizer.pad_token_id)
        trainer: Any = Plain(args=TrainingArguments(**settings), data_collator=collate, **shared)
    elif params["packing"]:
        trainer = Plain(args=TrainingArguments(**settings), data_collator=dataset.stack, **shared)
    else:
        from trl import SFTConfig

        from models.trl_trainers import Tuner

        arguments = SFTConfig(**settings, max_length=None, dataset_kwargs={"skip_prepare_dataset": True})
        trainer = Tuner(args=arguments, **shared)
    trainer.run = run
    trainer.rebuild = lambda: initialisation.tuned(job, lambda *_, **__: None)[0]
    losses.fuse(trainer.model)  # after TRL, which changes the forward too
    return trainer, {"rows": vars(taken), **({"waste": train.waste} if params["packing"] else {})}


def dpo(job: Job, emit: Emit, stopping: Callable[[], bool]) -> tuple[Any, dict[str, Any]]:
    """A model that goes on with pairs of answers, and is its own reference."""
    reference = Path(job["inputs"]["reference"])
    trainer, stats = _preferrer(job, emit, stopping)
    trainer.began = None if job["params"]["lora"] else Path(job["inputs"]["model"])
    trainer.train_dataset = preference.referred(trainer.train_dataset, reference / "train.npy")
    if trainer.eval_dataset is not None:
        trainer.eval_dataset = preference.referred(trainer.eval_dataset, reference / "valid.npy")
    return trainer, stats


def reference(job: Job, emit: Emit) -> dict[str, Any]:
    """What a model gives the answers of all pairs before it learns from them: `train.npy` and `valid.npy`, (pairs, 2): chosen, rejected."""
    trainer, stats = _preferrer(job, emit, lambda: False)
    for split, rows in (("train", trainer.train_dataset), ("valid", trainer.eval_dataset)):
        found = np.zeros((0, 2), np.float32) if rows is None else trainer.refer(rows)
        if trainer.is_world_process_zero():
            np.save(Path(job["out"]) / f"{split}.npy", found)
    return stats | {"pairs": {"train": len(trainer.train_dataset), "valid": len(trainer.eval_dataset or [])}}


def reward(job: Job, emit: Emit, stopping: Callable[[], bool]) -> tuple[Any, dict[str, Any]]:
    """A model that goes on with pairs of answers, and learns to tell which is the better one."""
    home = Path(job["inputs"]["pairs"]) / "preferences"
    model, tokenizer, longest, earlier = initialisation.tuned(job, emit, AutoModelForSequenceClassification)
    train, taken = dataset.preferences(home / "train.parquet", tokenizer, longest)
    valid, _ = dataset.preferences(home / "valid.parquet", tokenizer, longest)
    emit("log", text=f"{home}: {taken.told('pairs', longest)}")
    found = f"{home / 'train.parquet'} has {len(train)} usable pairs"
    run, settings = _tuning(job, model, train, valid, found, 5, earlier, emit, stopping)
    trainer = Rewarder(
        model=model,
        args=TrainingArguments(**settings),
        train_dataset=train,
        eval_dataset=valid if len(valid) else None,
        data_collator=partial(stack, pad_id=tokenizer.pad_token_id),
        processing_class=tokenizer,
    )
    trainer.run = run
    return trainer, {"rows": vars(taken)}


def _preferrer(job: Job, emit: Emit, stopping: Callable[[], bool]) -> tuple[Any, dict[str, Any]]:
    params, home = job["params"], Path(job["inputs"]["pairs"]) / "preferences"
    model, tokenizer, longest, earlier = initialisation.tuned(job, emit)
    train, taken = dataset.preferences(home / "train.parquet", tokenizer, longest)
    valid, _ = dataset.preferences(home / "valid.parquet", tokenizer, longest)
    emit("log", text=f"{home}: {taken.told('pairs', longest)}")
    found = f"{home / 'train.parquet'} has {len(train)} usable pairs"
    run, settings = _tuning(job, model, train, valid, found, 40, earlier, emit, stopping)
    shared = {
        "model": model,
        "train_dataset": train,
        "eval_dataset": valid if len(valid) else None,
        "processing_class": tokenizer,
    }
    if model.config.is_encoder_decoder:
        trainer: Any = preference.Text2Text(
            args=TrainingArguments(**settings),
            data_collator=partial(preference.stack, pad_id=tokenizer.pad_token_id),
            beta=params["beta"],
            loss_type=params["loss_type"],
            smoothing=params["label_smoothing"],
            sft_weight=params["sft_weight"],
            **shared,
        )
    else:
        from trl import DPOConfig

        from models.trl_trainers import Preferrer

        weights = {params["loss_type"]: 1.0} | ({"sft": params["sft_weight"]} if params["sft_weight"] else {})
        arguments = DPOConfig(
            **settings,
            max_length=None,
            beta=params["beta"],
            loss_type=list(weights),
            loss_weights=list(weights.values()),
            label_smoothing=params["label_smoothing"],
            precompute_ref_log_probs=True,
            disable_dropout=False,  # of the adapters; the model's own is off already
        )
        trainer = Preferrer(args=arguments, **shared)
    trainer.run = run
    return trainer, {"rows": vars(taken)}


def _tuning(
    job: Job,
    model: PreTrainedModel,
    train: datasets.Dataset | dataset.Packed,
    valid: datasets.Dataset | dataset.Packed,
    found: str,
    gentler: int,
    earlier: training_state.Earlier | None,
    emit: Emit,
    stopping: Callable[[], bool],
) -> tuple[Run, dict[str, Any]]:
    """The run of a stage that goes on from a model. Its learning rate is a fraction of what the model's own pretraining would take."""
    params, batch = job["params"], job["params"]["batch_size"]
    _enough(len(train), batch, found, "batch_size")
    steps = max(1, round(params["epochs"] * len(train) / batch))
    rows = {id(table.weight) for table in embeddings.tables(model)}
    tables = sum(p.numel() for p in model.parameters() if id(p) in rows)
    body = model.num_parameters() - tables  # which knows that a number in 4 bits is one number
    derived = float(f"{scaling.learning_rate(scaling.compute(body, 20 * body)) / gentler:.1e}")
    rate, whence = _rate(params, earlier, derived, f"0.3118·C^-0.125 / {gentler}, C = 120·N², N = {body:,}")
    emit("log", text=f"batch {batch}, {steps} steps; learning rate {rate:g}{whence}")
    alike = isinstance(train, dataset.Packed)  # all rows of one length
    sizes, checked = (np.full(len(rows), rows.room) if alike else dataset.lengths(rows) for rows in (train, valid))
    samples = dataset.order(len(train), steps * batch, params["seed"], batch=batch, lengths=None if alike else sizes)
    settings = _settings(job, steps, batch)
    run = _run(
        job,
        settings,
        identity={"rows": len(train), "tokens": int(sizes.sum())},
        samples=samples,
        batch=batch,
        tokens=int(sizes[samples].sum()),
        learning_rate=rate,
        eval_order=dataset.checked(checked, params["eval_tokens"]),
        earlier=earlier,
        emit=emit,
        stopping=stopping,
    )
    return run, settings


def _rate(params: dict[str, Any], earlier: training_state.Earlier | None, derived: float, formula: str) -> tuple[float, str]:
    """The peak learning rate, and where it comes from where nobody asked for it: moments go on at the rate that they were gathered at."""
    if params["learning_rate"]:
        return params["learning_rate"], ""
    if earlier and earlier.moments:
        return earlier.facts["learning_rate"], " (as before)"
    return derived, f" ({formula})"


def _run(
    job: Job, settings: dict[str, Any], *, identity: dict[str, Any], earlier: training_state.Earlier | None, **fields: Any
) -> Run:
    """`earlier` is the state that the run goes on from, if any; with its moments, the rate needs no warm-up."""
    params, resources, steps = job["params"], job["resources"], settings["max_steps"]
    stable = optim.stable_step(params["schedule"], steps, params["decay"]) if params.get("keep_stable") else None
    if params["weights"] == "best" and not len(fields["eval_order"]):
        raise ValueError("weights: best are those of the lowest validation loss, and there is nothing to validate on; take last")
    return Run(
        identity={"stage": job["stage"], "params": params, **identity, **initialisation.identity(job)},
        micro=settings["per_device_train_batch_size"],
        checkpoint_steps=resources["checkpoint_steps"],
        keep_checkpoints=resources["keep_checkpoints"],
        compile=resources["compile"],
        checkpoints=Path(job["scratch"]) / "checkpoints",
        warmup=(0.0 if earlier and earlier.moments else WARMUP) if params["warmup"] is None else params["warmup"],
        keep=() if stable is None else (stable,),
        best=params["weights"] == "best",
        start=earlier,
        **{name: params[name] for name in ("optimizer", "weight_decay", "schedule", "decay", "eval_steps")},
        **fields,
    )


def _settings(job: Job, steps: int, batch: int) -> dict[str, Any]:
    """Arguments of every trainer. The micro-batch is the largest that `resources` allows and that divides a process's share."""
    params, resources = job["params"], job["resources"]
    device = device_of(resources["device"])
    processes = int(os.environ.get("WORLD_SIZE", "1"))
    if sharding.asked():
        sharding.check(job)
    if processes != resources["processes"]:
        raise ValueError(
            f"resources.processes is {resources['processes']}, and {processes} was started; tasks/processes/launcher.py says how to start it"
        )
    if batch % processes:
        raise ValueError(
            f"a batch of {batch} sequences does not divide among {processes} processes; change resources.processes or the batch"
        )
    share = batch // processes
    micro = next(size for size in range(min(share, resources["micro_batch"] or share), 0, -1) if share % size == 0)
    return {
        "output_dir": str(Path(job["scratch"]) / "trainer"),
        "max_steps": steps,
        "per_device_train_batch_size": micro,
        "gradient_accumulation_steps": share // micro,
        "max_grad_norm": params["clip"],
        "bf16": params["precision"] == "bfloat16" or (params["precision"] == "auto" and has_bf16(device)),
        "seed": params["seed"],
        "use_cpu": device.type == "cpu",
        "ddp_backend": "gloo" if device.type == "cpu" and processes > 1 else None,
        "dataloader_pin_memory": device.type == "cuda",
        "logging_steps": params["log_steps"],
        "logging_nan_inf_filter": False,  # a loss that is not a number must be seen
        "save_strategy": "no",  # we decide when to save and to validate
        "eval_strategy": "no",
        "gradient_checkpointing": resources["gradient_checkpointing"],
        "gradient_checkpointing_kwargs": {"use_reentrant": False},
        "remove_unused_columns": False,
        "disable_tqdm": True,
        "report_to": [],
    }


def _divisible(batch: int) -> int:
    """The batch or the next below that usual numbers of devices and micro-batches divide: what a mean length gives may well be prime."""
    return batch // 8 * 8 or 1 << (batch.bit_length() - 1)


def _enough(rows: int, batch: int, found: str, what: str) -> None:
    if rows < batch:
        raise ValueError(f"{found}, fewer than one batch of {batch}; lower {what}, or give more data")
