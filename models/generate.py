"""Generation of answers to many prompts, in batches: `python -m models.generate job.json`.

Prompts are sorted by length, and those of like length are a shard: a few batches, whose answers make room for one another as they end.
Each finished shard is one file, written whole or not at all: what a kill loses is the shard under way, and what is there is not made again.
Every answer has a seed of its own, so the answers are the same however often the work was interrupted.

The job file: `model` (a folder), `prompts` (JSON lines with `messages`), `out` (a folder for the shards), `temperatures` (0: the likeliest
token each time), `top_p`, `max_new_tokens`, `batch` (answers at a time), `seed`, `device`, `engine` (transformers or vllm).

A shard has a JSON line an answer: `{"prompt": line number from 0, "temperature": t, "text": …, "tokens": n, "end": "stop" | "length" |
"too_long"}`, where `stop` is an answer that ended by itself, `length` one that was cut off, and `too_long` a prompt that leaves no room in
the context.
"""

from __future__ import annotations

import hashlib
import importlib
import json
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch
import transformers

from models import template
from models.decoding import SHARD, Answer, Engine, answer, batches
from models.events import emit, main
from models.loading import context_of, device_of, has_bf16, load
from models.sampling import Sampling


class TransformersEngine:
    """The engine of transformers, for every architecture; in bfloat16 where that is fast."""

    def __init__(self, folder: Path, device: torch.device, slots: int):
        self.slots = slots
        model, self.tokenizer = load(folder, device)
        self.model = model.to(torch.bfloat16) if has_bf16(device) else model
        self.context = context_of(model)
        self.name = f"transformers {transformers.__version__}"

    def answer(
        self, prompts: Sequence[Sequence[int]], sampling: Sampling, seeds: Sequence[int], done: Callable[[int], Any] | None = None
    ) -> list[Answer]:
        return answer(self.model, self.tokenizer, prompts, sampling, seeds, slots=self.slots, done=done)


def engine_of(job: dict[str, Any]) -> Engine:
    """The engine that a job names: transformers', or `engine(job)` of the module `models/<name>_engine.py`, which no other module imports,
    so that its code counts for what it generates and for nothing else."""
    name = job.get("engine", "transformers")
    if name == "transformers":
        return TransformersEngine(Path(job["model"]), device_of(job["device"]), job["batch"])
    return importlib.import_module(f"models.{name}_engine").engine(job)


def generate(job: dict[str, Any]) -> dict[str, Any]:
    """The child's work: a file for each shard that has none yet; returns the number of answers, and the engine with its version."""
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

    def tell(done: int) -> None:
        pace = {"tokens_per_second": tokens / (time.monotonic() - started)}
        emit("progress", done=done, total=total, unit="answer", figures=pace)

    def tell_more(before: int, ended: int) -> None:
        tell(before + ended)

    for temperature, number, rows in _shards(job, prompts):
        path = out / f"{temperature}-{number:06d}.jsonl"
        if not path.exists():
            sampling = Sampling(job["max_new_tokens"], temperature, job["top_p"])
            seeds = [_seed(job["seed"], f"{temperature}/{row}") for row in rows]
            answers = engine.answer([prompts[row] for row in rows], sampling, seeds, partial(tell_more, done))
            _write(
                path,
                [{"prompt": row, "temperature": temperature, **vars(answer)} for row, answer in zip(rows, answers, strict=True)],
            )
            tokens += sum(answer.tokens for answer in answers)
        done += len(rows)
        tell(done)
    return {"answers": total, "engine": engine.name}


def _shards(job: dict[str, Any], prompts: Sequence[Sequence[int]]) -> Iterator[tuple[float, int, list[int]]]:
    """The shards as (temperature, number, prompts)."""
    for temperature in job["temperatures"]:
        for number, rows in enumerate(batches([len(ids) for ids in prompts], job["batch"] * SHARD)):
            yield temperature, number, rows


def _seed(seed: int, answer: str) -> int:
    return int.from_bytes(hashlib.sha256(f"{seed}/{answer}".encode()).digest()[:7], "big")


def _write(path: Path, rows: Sequence[dict[str, Any]]) -> None:
    draft = path.with_suffix(".draft")
    draft.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), "utf-8")
    draft.replace(path)


if __name__ == "__main__":
    main(generate)
