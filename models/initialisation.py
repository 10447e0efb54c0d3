"""Initialisation of a run: a new model, one that was trained before, or the state of an earlier run on other data.

A job whose inputs have the role `start` goes on from an earlier artifact of the same kind: from its weights and optimizer state (`stable/` of
pretraining, `state/` of the stages after it), or from its adapters alone. Where the tokenizer has grown since, embeddings follow it, row by
row by the tokens' names. `ValueError` for whatever does not fit.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from transformers import AutoModelForCausalLM, AutoModelForSeq2SeqLM

from models import adapters, embeddings, presets, template, tokenizer_files, training_state
from models.job import Emit, PretrainingParams, TrainingJob, TrainingParams, TuningParams
from models.loading import context_of, device_of, load

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

FALLBACK = 512  # tokens of a prompt and of a response, for a model without a longest text (T5) where none is asked for
TRAINED = ("stage", "lora", "freeze")  # facts of tuning that two runs of one state share
BESIDE = "base.json"  # in an adapter's folder: the fingerprint of the base that it was trained beside
EDGE = 1 << 20  # bytes at both ends of a file that tell it from others


# pretraining


def stable_state(
    job: TrainingJob[PretrainingParams], tokenizer: PreTrainedTokenizerBase, emit: Emit
) -> training_state.SavedState | None:
    """The stable state that pretraining goes on from; None where it begins anew."""
    start = job.inputs.get("start")
    if not start:
        return None
    home = start / "stable"
    if not (home / training_state.FACTS).is_file():
        raise ValueError(
            f"{start} has no stable/ to go on from; it is kept by pretraining with schedule wsd (or constant) and keep_stable: true"
        )
    state = training_state.read(home, moments=not job.params.fresh_moments)
    if differs := training_state.differences(state.facts, state_facts(job), presets.SHAPE):
        raise ValueError(
            f"{start} was trained as another model ({differs}); go on with its preset, or leave start out to train a new one"
        )
    _check_optimizer(state, job.params, start)
    state = _follow(state, start / "model", tokenizer, job.folder("tokenizer"))
    emit("log", text=_progress(state, start))
    return state


def architecture_options(params: PretrainingParams) -> dict[str, Any]:
    """The options of an architecture beside its size, by the presets' names."""
    return {name: getattr(params, name) for name in presets.OPTIONS}


def new_model(
    job: TrainingJob[PretrainingParams],
    tokenizer: PreTrainedTokenizerBase,
    context: int,
    start: training_state.SavedState | None = None,
) -> PreTrainedModel:
    """A preset's model for a vocabulary, new or with the weights of an earlier state."""
    config = presets.build(job.params.preset, len(tokenizer), context, **architecture_options(job.params))
    kind = AutoModelForSeq2SeqLM if config.is_encoder_decoder else AutoModelForCausalLM
    pad, end = tokenizer.pad_token_id, tokenizer.eos_token_id  # an outside tokenizer that was extended has them at other ids
    begins = {"decoder_start_token_id": pad} if config.is_encoder_decoder else {"bos_token_id": end}
    config.update({"pad_token_id": pad, "eos_token_id": end} | begins)
    model = kind.from_config(config)
    if start is not None:
        training_state.load_weights(model, start.home, start.rows)
    return model


# tuning


@dataclass(frozen=True)
class PreparedModel:
    """A model to go on from, what of it is trained being marked; its tokenizer; the longest row it takes, in tokens; and the state of an
    earlier run, if it goes on from one."""

    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase
    max_length: int
    start: training_state.SavedState | None

    @property
    def text2text(self) -> bool:
        """True of a model that reads a prompt and writes a response, instead of going on with a text."""
        return bool(self.model.config.is_encoder_decoder)


def prepare_model(job: TrainingJob[TuningParams], emit: Emit, head: Any = None, *, dropout: bool = True) -> PreparedModel:
    """The model that a job goes on from. `head` asks for another one than the head that writes: a class of transformers, such as
    AutoModelForSequenceClassification, which gets one label. Without `dropout` the model loses its own."""
    home, params = job.folder("model"), job.params
    loading = {} if params.bits == 32 else adapters.quantisation(params.bits, device_of(job.resources.device))
    loading |= {"kind": head, "num_labels": 1} if head else {}
    model, tokenizer = load(home, torch.device("cpu"), **loading)
    if params.template:
        template.use(tokenizer, params.template)
    ensure_padding(tokenizer)
    if not dropout:
        adapters.disable_dropout(model)
    context = context_of(model)
    if params.max_length and params.max_length > context:
        raise ValueError(
            f"max_length is {params.max_length}, and the model of {home} was trained with a context of {context}; lower max_length"
        )
    _choose_trained(model, params, emit)
    start = _go_on(job, model, tokenizer, emit)
    return PreparedModel(model, tokenizer, params.max_length or (context if context < 1 << 30 else FALLBACK), start)


def _choose_trained(model: PreTrainedModel, params: TuningParams, emit: Emit) -> None:
    """Add adapters to a model, or freeze parts of it, as asked for."""
    total = model.num_parameters()
    if params.lora:
        modules = adapters.add(model, params.lora)
        emit("log", text=f"adapters of rank {params.lora.rank} beside {', '.join(modules)}")
    if params.freeze:
        adapters.freeze(model, params.freeze)
    trained = sum(p.numel() for p in model.parameters() if p.requires_grad)
    if trained < total:
        emit("log", text=f"{trained:,} of {total:,} parameters are trained ({trained / total:.2%})")


def ensure_padding(tokenizer: PreTrainedTokenizerBase) -> None:
    """Give a tokenizer from outside that has no padding of its own something to fill batches with: what stands there is masked, and must only
    not be an end. Nothing of it is published."""
    ends = set(template.stops(tokenizer))
    if tokenizer.pad_token_id is None or tokenizer.pad_token_id in ends:
        tokenizer.pad_token = tokenizer.convert_ids_to_tokens(
            next(number for number in range(len(tokenizer)) if number not in ends)
        )


def _go_on(
    job: TrainingJob[TuningParams], model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, emit: Emit
) -> training_state.SavedState | None:
    """Give a model what an earlier run of its stage learned. Returns the state of that run, where it kept one."""
    start, base = job.inputs.get("start"), job.folder("model")
    if not start:
        return None
    home = start / "state"
    if not (home / training_state.FACTS).is_file():
        _load_adapters(job, model, start)
        emit("log", text=f"going on from the adapters of {start}")
        return None
    state, facts = training_state.read(home, moments=not job.params.fresh_moments), state_facts(job)
    if differs := training_state.differences(state.facts, facts, TRAINED):
        raise ValueError(f"{start} trained something else ({differs}); set these as they were, or leave start out")
    if state.facts["base"] != facts["base"]:
        raise ValueError(f"{start} was trained beside another base than {base}; give the one that it began with")
    state = _follow(state, start / "model", tokenizer, base)
    if problem := training_state.misfit(model, home, state.rows):
        raise ValueError(f"{start} is the state of another model than {base} ({problem}); give the one that it began with")
    training_state.load_weights(model, home, state.rows)
    emit("log", text=_progress(state, start))
    _check_optimizer(state, job.params, start)
    return state


def _load_adapters(job: TrainingJob[TuningParams], model: PreTrainedModel, start: Path) -> None:
    """Give a model the adapters of an earlier run that kept no state. `ValueError` where there are none, or of another base."""
    folder = next((at for at in (start / "adapter", start) if (at / "adapter_config.json").is_file()), None)
    if folder is None:
        raise ValueError(
            f"{start} has neither state/ (kept with keep_state: true) nor adapter/ to go on from; name it as the model to go on "
            "from its weights alone"
        )
    if not job.params.lora:
        raise ValueError(f"{start} has adapters and no state/, so going on from it trains adapters: set lora as it was")
    description, base = folder / BESIDE, job.folder("model")
    if description.is_file() and json.loads(description.read_text("utf-8"))["base"] != _fingerprint(base):
        raise ValueError(
            f"the adapters of {start} were trained beside another base than {base}; give the one that they began with"
        )
    adapters.load_values(model, folder)


# both


def state_facts(job: TrainingJob[TrainingParams]) -> dict[str, Any]:
    """The facts in a state's `state.json` that describe its run, beside the step that it had reached."""
    params = job.params
    common = {"stage": job.stage, "optimizer": params.optimizer}
    if isinstance(params, PretrainingParams):
        return common | {name: getattr(params, name) for name in presets.SHAPE}
    assert isinstance(params, TuningParams), f"{job.method} has parameters of neither pretraining nor tuning"
    settings = params.as_json()
    lora = settings["lora"] and {name: settings["lora"][name] for name in ("rank", "alpha", "modules")}
    frozen = lora or settings["freeze"]
    return common | {
        "lora": lora,
        "freeze": settings["freeze"],
        "base": _fingerprint(job.folder("model")) if frozen else None,
    }


def record_base(job: TrainingJob[TrainingParams], folder: Path) -> None:
    """Write into an adapter's folder the fingerprint of the base that it was trained beside."""
    (folder / BESIDE).write_text(json.dumps({"base": _fingerprint(job.folder("model"))}) + "\n", "utf-8")


def start_identity(job: TrainingJob[TrainingParams]) -> dict[str, Any]:
    """The part of a run's identity that says where it starts: digests of the files that it goes on from; empty for a run that begins anew."""
    start = job.inputs.get("start")
    if not start:
        return {}
    adapter = ("adapter_config.json", "adapter_model.safetensors")
    names = ("stable/state.json", "state/state.json", *(f"adapter/{name}" for name in adapter), *adapter)
    return {"start": {name: training_state.digest(start / name) for name in names if (start / name).is_file()}}


def _check_optimizer(state: training_state.SavedState, params: TrainingParams, start: Path) -> None:
    """`ValueError` where the state of another optimizer would go on."""
    if state.moments and state.facts["optimizer"] != params.optimizer:
        raise ValueError(
            f"{start} has moments of {state.facts['optimizer']}, and optimizer is {params.optimizer}; keep that optimizer, or set "
            "fresh_moments: true to take the weights alone"
        )


def _follow(
    state: training_state.SavedState, home: Path, tokenizer: PreTrainedTokenizerBase, source: Path
) -> training_state.SavedState:
    """A state whose embeddings follow its tokenizer, that of the model in `home`, to the one of now, from `source`, which extends it."""
    old, now = tokenizer_files.read(home).backend_tokenizer, tokenizer.backend_tokenizer
    if old.get_vocab() == now.get_vocab():
        return state
    if missing := embeddings.lacking(old, now):
        raise ValueError(
            f"{source} does not have the tokenizer that {home.parent} was trained with, nor an extension of it: it lacks {len(missing):,} "
            f"of {old.get_vocab_size():,} tokens ({', '.join(map(repr, missing[:3]))} …); give that run's tokenizer"
        )
    return replace(state, rows=embeddings.sources(old, now))


def _progress(state: training_state.SavedState, start: Path) -> str:
    """The point that a run goes on from, for the log."""
    grown = "" if state.rows is None else "; its vocabulary has grown"
    return f"going on from step {state.facts['step']:,} of {start}, after {state.facts['tokens']:,} tokens{grown}"


def _fingerprint(home: Path) -> str:
    """A digest of a model's weights: of their files' names, sizes, first and last bytes. One of all bytes would take minutes."""
    digest = hashlib.sha256()
    for path in sorted(home.glob("*.safetensors")):
        size = path.stat().st_size
        with path.open("rb") as file:
            digest.update(f"{path.name} {size} ".encode() + file.read(EDGE))
            file.seek(max(0, size - EDGE))
            digest.update(file.read())
    return digest.hexdigest()
