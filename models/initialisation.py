"""What a run begins from: a new model, one that was trained before, or the state of an earlier run on other data.

A job whose inputs have the role `start` goes on from an earlier artifact of the same kind: from its weights and moments (`stable/` of
pretraining, `state/` of the stages after it), or from its adapters alone. Where the tokenizer has grown since, embeddings follow it, row by
row by the tokens' names. `ValueError` for whatever does not fit.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from transformers import AutoModelForCausalLM, AutoModelForSeq2SeqLM, AutoTokenizer

from models import adapters, embeddings, presets, template, training_state
from models.loading import context_of, device_of, load

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

FALLBACK = 512  # tokens of a prompt and of a response, for a model without a longest text (T5) where none is asked for
TRAINED = ("stage", "lora", "freeze")  # facts of tuning that two runs of one state share
BESIDE = "base.json"  # in an adapter's folder: which base it was trained beside
EDGE = 1 << 20  # bytes at both ends of a file that tell it from others

Emit = Callable[..., None]
Job = dict[str, Any]


# pretraining


def stable(job: Job, tokenizer: PreTrainedTokenizerBase, emit: Emit) -> training_state.Earlier | None:
    """The stable state that pretraining goes on from; None where it begins anew."""
    start, params = job["inputs"].get("start"), job["params"]
    if not start:
        return None
    home = Path(start) / "stable"
    if not (home / training_state.FACTS).is_file():
        raise ValueError(
            f"{start} has no stable/ to go on from; it is kept by pretraining with schedule wsd (or constant) and keep_stable: true"
        )
    found = training_state.read(home, moments=not params["fresh_moments"])
    if differs := training_state.differences(found.facts, params, presets.SHAPE):
        raise ValueError(
            f"{start} was trained as another model ({differs}); go on with its preset, or leave start out to train a new one"
        )
    _same_optimizer(found, params, start)
    found = _follow(found, Path(start) / "model", tokenizer, job["inputs"]["tokenizer"])
    emit("log", text=_told(found, start))
    return found


def new(
    job: Job, tokenizer: PreTrainedTokenizerBase, context: int, earlier: training_state.Earlier | None = None
) -> PreTrainedModel:
    """A preset's model for a vocabulary, new or with the weights of an earlier state."""
    params = job["params"]
    options = {name: params[name] for name in presets.OPTIONS}
    config = presets.build(params["preset"], len(tokenizer), context, **options)
    kind = AutoModelForSeq2SeqLM if config.is_encoder_decoder else AutoModelForCausalLM
    pad, end = tokenizer.pad_token_id, tokenizer.eos_token_id  # an outside tokenizer that was extended has them at other ids
    begins = {"decoder_start_token_id": pad} if config.is_encoder_decoder else {"bos_token_id": end}
    config.update({"pad_token_id": pad, "eos_token_id": end} | begins)
    model = kind.from_config(config)
    if earlier is not None:
        training_state.load_weights(model, earlier.home, earlier.rows)
    return model


# tuning


def tuned(
    job: Job, emit: Emit, kind: Any = None
) -> tuple[PreTrainedModel, PreTrainedTokenizerBase, int, training_state.Earlier | None]:
    """The model to go on from, with what of it is trained; its tokenizer; the longest row it takes; and the state of an earlier run, if it
    goes on from one. `kind` asks for another head than the one that writes: a class of transformers, such as
    AutoModelForSequenceClassification, which gets one label."""
    home, params = Path(job["inputs"]["model"]), job["params"]
    lora = params["lora"] or {"bits": 32}
    device = device_of(job["resources"]["device"])
    options = {} if lora["bits"] == 32 else adapters.quantised(lora["bits"], device)
    model, tokenizer = load(home, torch.device("cpu"), **options, **({"kind": kind, "num_labels": 1} if kind else {}))
    if params["template"]:
        template.use(tokenizer, params["template"])
    padded(tokenizer)
    if job["stage"] in ("dpo", "reference"):
        adapters.still(model)
    context, asked = context_of(model), params["max_length"]
    if asked and asked > context:
        raise ValueError(
            f"max_length is {asked}, and the model of {home} was trained with a context of {context}; lower max_length"
        )
    total = model.num_parameters()
    if params["lora"]:
        modules = adapters.add(model, params["lora"])
        emit("log", text=f"adapters of rank {lora['rank']} beside {', '.join(modules)}")
    if params["freeze"]:
        adapters.freeze(model, params["freeze"])
    trained = sum(p.numel() for p in model.parameters() if p.requires_grad)
    if trained < total:
        emit("log", text=f"{trained:,} of {total:,} parameters are trained ({trained / total:.2%})")
    earlier = _go_on(job, model, tokenizer, emit)
    return model, tokenizer, asked or (context if context < 1 << 30 else FALLBACK), earlier


def padded(tokenizer: PreTrainedTokenizerBase) -> None:
    """Give a tokenizer from outside that has no padding of its own something to fill batches with: what stands there is masked, and must only
    not be an end. Nothing of it is published."""
    ends = set(template.stops(tokenizer))
    if tokenizer.pad_token_id is None or tokenizer.pad_token_id in ends:
        tokenizer.pad_token = tokenizer.convert_ids_to_tokens(
            next(number for number in range(len(tokenizer)) if number not in ends)
        )


def _go_on(job: Job, model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, emit: Emit) -> training_state.Earlier | None:
    """Give a model what an earlier run of its stage learned. Returns the state of that run, where it kept one."""
    start, params = job["inputs"].get("start"), job["params"]
    if not start:
        return None
    home = Path(start) / "state"
    if not (home / training_state.FACTS).is_file():
        folder = next((at for at in (Path(start) / "adapter", Path(start)) if (at / "adapter_config.json").is_file()), None)
        if folder is None:
            raise ValueError(
                f"{start} has neither state/ (kept with keep_state: true) nor adapter/ to go on from; name it as the model to go on "
                "from its weights alone"
            )
        if not params["lora"]:
            raise ValueError(f"{start} has adapters and no state/, so going on from it trains adapters: set lora as it was")
        beside = folder / BESIDE
        if beside.is_file() and json.loads(beside.read_text("utf-8"))["base"] != _fingerprint(Path(job["inputs"]["model"])):
            raise ValueError(
                f"the adapters of {start} were trained beside another base than {job['inputs']['model']}; give the one that they began with"
            )
        adapters.fill(model, folder, params["lora"])
        emit("log", text=f"going on from the adapters of {start}")
        return None
    found = training_state.read(home, moments=not params["fresh_moments"])
    if differs := training_state.differences(found.facts, facts(job), TRAINED):
        raise ValueError(f"{start} trained something else ({differs}); set these as they were, or leave start out")
    if found.facts["base"] != facts(job)["base"]:
        raise ValueError(
            f"{start} was trained beside another base than {job['inputs']['model']}; give the one that it began with"
        )
    found = _follow(found, Path(start) / "model", tokenizer, job["inputs"]["model"])
    if problem := training_state.misfit(model, home, found.rows):
        raise ValueError(
            f"{start} is the state of another model than {job['inputs']['model']} ({problem}); give the one that it began with"
        )
    training_state.load_weights(model, home, found.rows)
    emit("log", text=_told(found, start))
    _same_optimizer(found, params, start)
    return found


# both


def facts(job: Job) -> dict[str, Any]:
    """What a state says of the run that it is of, beside how far it had come."""
    params = job["params"]
    common = {"stage": job["stage"], "optimizer": params["optimizer"]}
    if job["stage"] == "pretrain":
        return common | {name: params[name] for name in presets.SHAPE}
    lora = params["lora"] and {name: value for name, value in params["lora"].items() if name in ("rank", "alpha", "modules")}
    frozen = lora or params["freeze"]
    return common | {
        "lora": lora,
        "freeze": params["freeze"],
        "base": _fingerprint(Path(job["inputs"]["model"])) if frozen else None,
    }


def describe(job: Job, folder: Path) -> None:
    """Write into an adapter's folder which base it was trained beside."""
    (folder / BESIDE).write_text(json.dumps({"base": _fingerprint(Path(job["inputs"]["model"]))}) + "\n", "utf-8")


def identity(job: Job) -> dict[str, Any]:
    """What tells a run from another that starts elsewhere."""
    start = job["inputs"].get("start")
    if not start:
        return {}
    adapter = ("adapter_config.json", "adapter_model.safetensors")
    names = ("stable/state.json", "state/state.json", *(f"adapter/{name}" for name in adapter), *adapter)
    found = {name: Path(start) / name for name in names if (Path(start) / name).is_file()}
    return {"start": {name: training_state.digest(path) for name, path in found.items()}}


def _same_optimizer(found: training_state.Earlier, params: dict[str, Any], start: str) -> None:
    if found.moments and found.facts["optimizer"] != params["optimizer"]:
        raise ValueError(
            f"{start} has moments of {found.facts['optimizer']}, and optimizer is {params['optimizer']}; keep that optimizer, or set "
            "fresh_moments: true to take the weights alone"
        )


def _follow(found: training_state.Earlier, home: Path, tokenizer: PreTrainedTokenizerBase, where: str) -> training_state.Earlier:
    """A state whose embeddings follow its tokenizer, that of the model in `home`, to the one of now, which extends it."""
    old, now = AutoTokenizer.from_pretrained(home).backend_tokenizer, tokenizer.backend_tokenizer
    if old.get_vocab() == now.get_vocab():
        return found
    if missing := embeddings.lacking(old, now):
        raise ValueError(
            f"{where} does not have the tokenizer that {home.parent} was trained with, nor an extension of it: it lacks {len(missing):,} "
            f"of {old.get_vocab_size():,} tokens ({', '.join(map(repr, missing[:3]))} …); give that run's tokenizer"
        )
    return replace(found, rows=embeddings.sources(old, now))


def _told(found: training_state.Earlier, start: str) -> str:
    new = "" if found.rows is None else "; its vocabulary has grown"
    return f"going on from step {found.facts['step']:,} of {start}, after {found.facts['tokens']:,} tokens{new}"


def _fingerprint(home: Path) -> str:
    """Of a model's weights: their files' names, sizes, first and last bytes. Cheap where a digest of all of them would take minutes."""
    found = hashlib.sha256()
    for path in sorted(home.glob("*.safetensors")):
        size = path.stat().st_size
        with path.open("rb") as file:
            found.update(f"{path.name} {size} ".encode() + file.read(EDGE))
            file.seek(max(0, size - EDGE))
            found.update(file.read())
    return found.hexdigest()
