"""Answers to many prompts by a decoder, in batches: `python -m models.generate job.json`.

Prompts are sorted by length, so that a batch holds little padding. Each finished batch is one file, written whole or not at all: what a
kill loses is the batch under way, and what is there is not made again. Every batch has a seed of its own, so the answers are the same
however often the work was interrupted.

The job file: `model` (a folder), `prompts` (JSON lines with `messages`), `out` (a folder for the batches), `temperatures` (0: the likeliest
token each time), `top_p`, `max_new_tokens`, `batch` (prompts), `seed`, `device`, `engine` (transformers or vllm).

A batch file has a JSON line an answer: `{"prompt": line number from 0, "temperature": t, "text": …, "tokens": n, "end": "stop" | "length" |
"too_long"}`, where `stop` is an answer that ended by itself, `length` one that was cut off, and `too_long` a prompt that leaves no room in
the context.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import transformers
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    AutoModelForSeq2SeqLM,
    AutoTokenizer,
    GenerationConfig,
    LogitsProcessorList,
    PreTrainedConfig,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)
from transformers.modeling_outputs import BaseModelOutput
from transformers.utils import logging

from models import retnet, template  # noqa: F401  retnet: its classes must be known when a model is loaded
from models.sampling import Sampling

COMPACT = 2  # tokens after which answers that have ended leave the batch: going on costs less than a step of a few rows
SHARED = 1e9  # arithmetic of one step (operations) from which several threads are worth it


@dataclass(frozen=True)
class Answer:
    text: str
    tokens: int  # with the stop token
    end: str  # stop, length or too_long

    @classmethod
    def of(cls, tokenizer: PreTrainedTokenizerBase, tokens: list[int], stops: Sequence[int]) -> Answer:
        """What was written up to the first stop token."""
        length = next((place for place, token in enumerate(tokens) if token in stops), None)
        said = tokens if length is None else tokens[:length]
        text = tokenizer.decode(said, skip_special_tokens=True)
        return cls(text, len(said) + (length is not None), "length" if length is None else "stop")


def emit(event: str, **fields: Any) -> None:
    """Tell the parent process, one JSON object a line."""
    print(json.dumps({"event": event, **fields}, ensure_ascii=False), flush=True)


def main(work: Callable[[dict[str, Any]], dict[str, Any]]) -> None:
    """Run a child's work on its job file. A `ValueError` is a user's to read; anything else keeps its traceback."""
    try:
        emit("result", **work(json.loads(Path(sys.argv[1]).read_text("utf-8"))))
    except ValueError as mistake:
        emit("error", message=str(mistake))
        sys.exit(1)


def device_of(name: str) -> torch.device:
    """`auto` is a GPU where there is one. `ValueError` for a GPU that is not there."""
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    if (name == "cuda" and not torch.cuda.is_available()) or (name == "mps" and not torch.backends.mps.is_available()):
        raise ValueError(f"resources.device is {name}, and torch sees no such device here; set it to auto or cpu")
    return torch.device(name)


def has_bf16(device: torch.device) -> bool:
    """Whether bfloat16 is fast there. A CPU without the instructions for it emulates them, slower than float32."""
    if device.type == "cpu":
        return torch.cpu._is_avx512_bf16_supported()
    return device.type == "cuda"


def load(folder: Path, device: torch.device, kind: Any = None, **options: Any) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    """A model in float32, for reading only, and its tokenizer. `options` are `from_pretrained`'s, `kind` is a class of models, else one that
    writes text. `ValueError` where the folder holds none, or none of that kind."""
    home = home_of(folder)
    logging.disable_progress_bar()
    config = AutoConfig.from_pretrained(home)
    kind = kind or (AutoModelForSeq2SeqLM if config.is_encoder_decoder else AutoModelForCausalLM)
    if type(config) not in kind._model_mapping:
        raise ValueError(
            f"{home} is a {config.model_type}, of which there is no {kind.__name__}; name a model of another architecture"
        )
    model = kind.from_pretrained(home, **{"dtype": torch.float32} | options)
    if hasattr(model.config, "output_router_logits"):
        model.config.output_router_logits = False  # some trainers leave it on, and with a cache they have no meaning
    if model.can_generate():
        model.generation_config = GenerationConfig()  # how to decode is ours to say: a model from outside may punish repetitions
    return (model if "quantization_config" in options else model.to(device)).eval(), AutoTokenizer.from_pretrained(home)


def home_of(folder: Path) -> Path:
    """Where the model's files are: an artifact of a training stage has them in a folder of their own. `ValueError` where there are none."""
    home = folder / "model" if (folder / "model" / "config.json").exists() else folder
    if not (home / "config.json").exists():
        raise ValueError(
            f"{folder} holds no model (no config.json); name the artifact of a training stage, or a folder with a model's files"
        )
    return home


def context_of(model: PreTrainedModel | PreTrainedConfig) -> int:
    """Tokens that the model can read and write at once. Endless for one without positions."""
    config = getattr(model, "config", model)
    return getattr(config, "max_position_embeddings", None) or 1 << 30


def decoding(tokenizer: PreTrainedTokenizerBase, sampling: Sampling) -> GenerationConfig:
    """Of the likeliest token each time: what draws another is `sampling.processors()`."""
    stops = template.stops(tokenizer)
    return GenerationConfig(
        max_new_tokens=sampling.max_new_tokens,
        do_sample=False,
        use_cache=True,  # a model fresh from training says no
        eos_token_id=stops,
        pad_token_id=stops[0] if tokenizer.pad_token_id is None else tokenizer.pad_token_id,
        decoder_start_token_id=tokenizer.pad_token_id,  # read by encoder-decoders only
    )


def answer(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    prompts: Sequence[Sequence[int]],
    sampling: Sampling,
    seed: int = 0,
) -> list[Answer]:
    """Answer a batch of prompts (token ids). An answer ends at the end of a turn or of a document.

    The prompts are padded on the left, so that every answer starts in the same column.
    """
    room = context_of(model) - sampling.max_new_tokens
    fitting = [number for number, ids in enumerate(prompts) if len(ids) <= room]
    answers = [Answer("", 0, "too_long")] * len(prompts)
    if not fitting:
        return answers
    config = decoding(tokenizer, sampling)
    width = max(len(prompts[number]) for number in fitting)
    ids = torch.full((len(fitting), width), config.pad_token_id, device=model.device)
    mask = torch.zeros_like(ids)
    for row, number in enumerate(fitting):
        ids[row, width - len(prompts[number]) :] = torch.tensor(prompts[number])
        mask[row, width - len(prompts[number]) :] = 1
    torch.manual_seed(seed)
    with torch.inference_mode(), threads(model, len(fitting)):
        made = _written(model, ids, mask, config, sampling.processors())
    for number, tokens in zip(fitting, made, strict=True):
        answers[number] = Answer.of(tokenizer, tokens, config.eos_token_id)
    return answers


def _written(
    model: PreTrainedModel, ids: torch.Tensor, mask: torch.Tensor, config: GenerationConfig, processors: LogitsProcessorList
) -> list[list[int]]:
    """The tokens after each prompt, to its stop token (and padding) or to the limit; ids and mask (rows, width).

    Every few tokens the answers that have ended leave the batch, with their part of the cache: otherwise all wait for the longest.
    """
    inputs: dict[str, Any] = {"attention_mask": mask}
    name = "input_ids"
    if model.config.is_encoder_decoder:
        name, inputs["encoder_outputs"] = "decoder_input_ids", model.get_encoder()(input_ids=ids, attention_mask=mask)
        ids = ids.new_full((len(ids), 1), config.decoder_start_token_id)
    config.return_dict_in_generate = True  # for its cache
    stops = ids.new_tensor(config.eos_token_id)
    written: list[list[int]] = [[] for _ in ids]
    rows, left = torch.arange(len(ids), device=ids.device), config.max_new_tokens
    while left and len(rows):
        config.max_new_tokens = min(COMPACT, left) if len(rows) > 1 else left
        made = model.generate(**{name: ids}, **inputs, generation_config=config, logits_processor=processors)
        new = made.sequences[:, ids.size(1) :]
        for row, tokens in zip(rows.tolist(), new.tolist(), strict=True):
            written[row] += tokens
        left -= new.size(1)
        going = (~torch.isin(new, stops).any(1)).nonzero()[:, 0]
        rows, ids = rows[going], made.sequences[going]
        inputs["past_key_values"] = made.past_key_values
        made.past_key_values.batch_select_indices(going)
        inputs["attention_mask"] = inputs["attention_mask"][going]
        if "encoder_outputs" in inputs:
            inputs["encoder_outputs"] = BaseModelOutput(inputs["encoder_outputs"].last_hidden_state[going])
            # without a mask as long as the tokens, transformers takes all of them for new ones and reads them once more
            inputs["decoder_attention_mask"] = torch.ones_like(ids)
        else:
            inputs["attention_mask"] = torch.cat([inputs["attention_mask"], torch.ones_like(new[going])], 1)
    return written


@contextlib.contextmanager
def threads(model: PreTrainedModel, rows: int) -> Iterator[None]:
    """One thread where a step is too small to share: its threads would wait for one another longer than they compute, and, where another
    program wants a core, ten times longer (measured on two cores: 4 M parameters, 32 rows, 1,250 tokens/s on one thread, 190 on two)."""
    before = torch.get_num_threads()
    if model.device.type == "cpu" and 2 * rows * model.num_parameters() < SHARED:
        torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def batches(lengths: Sequence[int], size: int) -> list[list[int]]:
    """Row numbers in batches of rows of about the same length, the longest first: what does not fit in memory fails at once."""
    order = sorted(range(len(lengths)), key=lambda row: (-lengths[row], row))
    return [order[start : start + size] for start in range(0, len(order), size)]


class Engine:
    """A model in transformers, in bfloat16 where that is fast."""

    def __init__(self, folder: Path, device: torch.device):
        model, self.tokenizer = load(folder, device)
        self.model = model.to(torch.bfloat16) if has_bf16(device) else model
        self.context = context_of(model)
        self.name = f"transformers {transformers.__version__}"

    def answer(self, prompts: Sequence[Sequence[int]], sampling: Sampling, seed: int) -> list[Answer]:
        return answer(self.model, self.tokenizer, prompts, sampling, seed)


def engine_of(job: dict[str, Any]) -> Any:
    if job.get("engine", "transformers") == "transformers":
        return Engine(Path(job["model"]), device_of(job["device"]))
    from models import vllm_engine

    if job["device"] != "auto":
        emit(
            "log", text=f"resources.device is {job['device']}, which vLLM does not ask for: it takes the device it was built for"
        )
    return vllm_engine.Engine(Path(job["model"]), job["seed"])


def work(job: dict[str, Any]) -> dict[str, Any]:
    engine = engine_of(job)
    if job["max_new_tokens"] >= engine.context:
        raise ValueError(
            f"max_new_tokens is {job['max_new_tokens']}, and the model's whole context {engine.context} tokens; lower it"
        )
    out = Path(job["out"])
    out.mkdir(parents=True, exist_ok=True)
    with Path(job["prompts"]).open(encoding="utf-8") as lines:
        conversations = [json.loads(line)["messages"] for line in lines]
    prompts = [ids for ids, _ in template.encode(engine.tokenizer, conversations, reply=True)]
    total = len(prompts) * len(job["temperatures"])
    done = tokens = 0
    started = time.monotonic()
    for temperature, number, rows in _shards(job, prompts):
        path = out / f"{temperature}-{number:06d}.jsonl"
        if not path.exists():
            sampling = Sampling(job["max_new_tokens"], temperature, job["top_p"])
            made = engine.answer([prompts[row] for row in rows], sampling, _seed(job["seed"], path.name))
            _write(
                path, [{"prompt": row, "temperature": temperature, **vars(said)} for row, said in zip(rows, made, strict=True)]
            )
            tokens += sum(said.tokens for said in made)
        done += len(rows)
        emit(
            "progress",
            done=done,
            total=total,
            unit="answer",
            figures={"tokens_per_second": tokens / (time.monotonic() - started)},
        )
    return {"answers": total, "engine": engine.name}


def _shards(job: dict[str, Any], prompts: Sequence[Sequence[int]]) -> Iterator[tuple[float, int, list[int]]]:
    for temperature in job["temperatures"]:
        for number, rows in enumerate(batches([len(ids) for ids in prompts], job["batch"])):
            yield temperature, number, rows


def _seed(seed: int, shard: str) -> int:
    return int.from_bytes(hashlib.sha256(f"{seed}/{shard}".encode()).digest()[:7], "big")


def _write(path: Path, rows: Sequence[dict[str, Any]]) -> None:
    draft = path.with_suffix(".draft")
    draft.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), "utf-8")
    draft.replace(path)


if __name__ == "__main__":
    main(work)
