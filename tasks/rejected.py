"""Preference pairs from the SFT model's own answers: `chosen` is the row's answer, `rejected` what the model says instead.

Each prompt is answered once at each temperature, and each answer either makes a pair or is dropped with a reason: DPO learns nothing from
a rejected answer that says the same as the chosen one, and the wrong thing (length, endings) from one that is broken in form. Pairs that
came ready-made join them.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, Literal, get_args

from pydantic import Field, field_validator

from tasks.artifacts.stage import Choice, Identity, Job, Stats, stage
from tasks.metrics.answers import answer_similarity, repetition

SPLITS = ("train", "valid")
Engine = Literal["transformers", "vllm"]


class Params(Identity):
    temperatures: tuple[Annotated[float, Field(ge=0, le=2)], ...] = Field(
        default=(0.7, 1.0),
        min_length=1,
        max_length=8,
        description="One answer a prompt at each; 0 is greedy; higher strays further",
    )
    top_p: float = Field(
        default=0.95, gt=0, le=1, description="Sample among the likeliest tokens that hold this share of the probability"
    )
    max_new_tokens: int = Field(default=128, ge=1, le=8192, description="Tokens after which an answer counts as truncated")
    batch: int = Field(
        default=64,
        ge=1,
        le=65_536,
        description="Prompts answered at a time; part of the result, since rounding differs from batch to batch",
    )
    engine: Engine = Field(
        default="transformers",
        description="What answers: transformers, for every model; or vllm, in an environment of its own (HANLIN_VLLM), for Llamas and their experts, "
        "with a batch of some thousand. Part of the result: another sampler gives other answers",
    )
    max_prompts: int = Field(default=0, ge=0, description="Prompts of each side to answer, the first ones; 0: all")
    near_equal: float = Field(
        default=0.95, gt=0, le=1, description="Likeness to the chosen answer (3-gram Jaccard) from which a pair is dropped"
    )
    max_repetition: float = Field(
        default=0.5, gt=0, le=1, description="Share of repeated 4-grams from which an answer is degenerate"
    )
    seed: int = Field(default=0, ge=0, lt=1 << 32, description="Seed of the sampling")

    @field_validator("temperatures")
    @classmethod
    def _distinct(cls, temperatures: tuple[float, ...]) -> tuple[float, ...]:
        if len(set(temperatures)) < len(temperatures):
            raise ValueError("the temperatures must differ: the same one twice gives the same seed and the same answers")
        return temperatures


def _engines() -> dict[str, str]:
    """Inference engine → its module, where that is not the child's own (`models/generate.py`). Composed here, since a module's name that
    stands as text would count as code of every engine."""
    return {name: "" if name == "transformers" else f"models.{name}_engine" for name in get_args(Engine)}


@stage(
    "rejected",
    version=5,
    title="Preference pairs from the model's own answers",
    params=Params,
    group="model",
    tools=("torch", "transformers"),
    reproducibility="seeded",
    choice=Choice("engine", _engines),
)
def run(job: Job, params: Params, *, model: Path, rows: Path) -> Stats:
    """Write `preferences/{train,valid}.parquet` and `dropped/00000.parquet`. A prompt's pairs stay on the prompt's side.

    The funnel counts answers (prompts times temperatures) and ready-made pairs. `ValueError` where no pair is left to train on.
    """
    from tasks.data.rows import Writer, read

    prompts = {split: list(_prompts(rows, split, params.max_prompts)) for split in SPLITS}
    answers, engine = _answers(job, params, model, [prompt for split in SPLITS for prompt in prompts[split]])
    answers_of_prompts = iter(answers)
    funnel: dict[str, dict[str, Any]] = {}
    lengths = {"generated": _LengthBias(), "ready": _LengthBias()}
    pairs = 0
    with Writer(job.out / "dropped" / "00000.parquet", "dropped") as dropped:
        for split in SPLITS:
            with Writer(job.out / "preferences" / f"{split}.parquet", "preferences") as pairs_file:
                for row, reason, detail in _judged_answers(prompts[split], answers_of_prompts, params):
                    _count(funnel, row["source"], reason)
                    if reason:
                        dropped.add(_dropped(row, reason, detail))
                    else:
                        pairs_file.add(row)
                        lengths["generated"].add(row)
                for row in read(_files_of(rows, "pairs", split)):
                    reason, detail = _objection(row["chosen"], row["rejected"], params)
                    _count(funnel, row["source"], reason)
                    if reason:
                        dropped.add(_dropped(row, reason, detail))
                    else:
                        pairs_file.add(row)
                        lengths["ready"].add(row)
                pairs += pairs_file.rows if split == "train" else 0
    if not pairs:
        raise ValueError(
            f"no pair is left for DPO (what became of the answers: {json.dumps(funnel, ensure_ascii=False)}). Give a source the use `prompts` or "
            "`pairs`, raise rejected.temperatures if the answers are equal to the chosen ones, or train SFT longer if they are truncated"
        )
    return {
        "funnel": funnel,
        "pairs": pairs,
        "engine": engine,
        "lengths": {name: group.summary() for name, group in lengths.items() if group.pairs},
    }


def _files_of(rows: Path, use: str, split: str) -> list[Path]:
    """The rows of a use, where the recipe has a source for it: prompts to answer, ready-made pairs, or both."""
    path = rows / use / f"{split}.parquet"
    return [path] if path.exists() else []


def _prompts(rows: Path, split: str, limit: int) -> Iterator[dict[str, Any]]:
    """Conversations that end with an assistant's turn, which is the chosen answer."""
    from itertools import islice

    from tasks.data.rows import read

    for row in islice(read(_files_of(rows, "prompts", split)), limit or None):
        *prompt, last = row["messages"]
        assert last["role"] == "assistant" and prompt, f"row {row['id']} of prompts/{split}.parquet does not end with an answer"
        yield {"id": row["id"], "source": row["source"], "messages": prompt, "chosen": last["content"]}


def _answers(job: Job, params: Params, model: Path, prompts: list[dict[str, Any]]) -> tuple[list[list[dict[str, Any]]], str]:
    """For each prompt its answers, in the order of the temperatures; and by which version of which engine."""
    from tasks.processes import runner

    if not prompts:
        return [], "none"
    prompt_file, shards, job_file = job.scratch / "prompts.jsonl", job.scratch / "answers", job.scratch / "generate.json"
    with prompt_file.open("w", encoding="utf-8") as target:
        for prompt in prompts:
            target.write(json.dumps({"messages": prompt["messages"]}, ensure_ascii=False) + "\n")
    settings = params.model_dump(mode="json", include={"temperatures", "top_p", "max_new_tokens", "batch", "engine", "seed"})
    places = {"model": str(model), "prompts": str(prompt_file), "out": str(shards), "device": job.resources.device}
    job_file.write_text(json.dumps(settings | places), "utf-8")
    engine = runner.run("models.generate", job_file, job=job)["engine"]
    answers: list[dict[float, dict[str, Any]]] = [{} for _ in prompts]
    for path in shards.glob("*.jsonl"):
        with path.open(encoding="utf-8") as lines:  # `splitlines` would also cut at line breaks inside an answer (U+2028)
            for answer in map(json.loads, lines):
                answers[answer["prompt"]][answer["temperature"]] = answer
    return [[texts[temperature] for temperature in params.temperatures] for texts in answers], engine


def _judged_answers(
    prompts: list[dict[str, Any]], answers: Iterator[list[dict[str, Any]]], params: Params
) -> Iterator[tuple[dict[str, Any], str, str]]:
    """Every answer as a row of preferences, with the reason and the detail if it is to be dropped."""
    from tasks.data.rows import content, row_id

    for prompt in prompts:
        before: set[str] = set()
        for answer in next(answers):
            text = answer["text"].strip()
            meta = {"rejected_by": "model", "temperature": answer["temperature"], "prompt": prompt["id"]}
            row = {name: prompt[name] for name in ("source", "messages", "chosen")} | {"rejected": text}
            row |= {"id": row_id(*content("preferences", row)), "meta": json.dumps(meta)}
            if answer["end"] == "too_long":
                reason, detail = "prompt_too_long", "no room in the context for an answer"
            elif answer["end"] == "length":
                reason, detail = "truncated", f"no end within {answer['tokens']} tokens"
            else:
                reason, detail = _objection(prompt["chosen"], text, params)
            if not reason and text in before:
                reason, detail = "repeated", "another temperature gave the same answer"
            before.add(text)
            yield row, reason, f"temperature {answer['temperature']}: {detail}"


def _objection(chosen: str, rejected: str, params: Params) -> tuple[str, str]:
    """The reason against learning from a pair, as (reason, detail); both empty for a good one."""
    if not rejected.strip():
        return "empty", "no text"
    if (alike := answer_similarity(chosen, rejected)) >= params.near_equal:
        return "near_equal", f"likeness {alike:.2f} to the chosen answer"
    if (repeated := repetition(rejected)) >= params.max_repetition:
        return "degenerate", f"{repeated:.2f} of its 4-grams repeat"
    return "", ""


def _count(funnel: dict[str, dict[str, Any]], source: str, reason: str) -> None:
    row = funnel.setdefault(source, {"in": 0, "kept": 0, "dropped": {}})
    row["in"] += 1
    if reason:
        row["dropped"][reason] = row["dropped"].get(reason, 0) + 1
    else:
        row["kept"] += 1


def _dropped(row: dict[str, Any], reason: str, detail: str) -> dict[str, Any]:
    from tasks.data.excerpts import excerpt

    return {"id": row["id"], "source": row["source"], "reason": reason, "detail": detail, "excerpt": excerpt(row["rejected"])}


class _LengthBias:
    """Length bias: where chosen answers are longer, DPO may learn to write long ones."""

    def __init__(self) -> None:
        self.pairs = self.chosen = self.rejected = self.longer = 0

    def add(self, row: dict[str, Any]) -> None:
        self.pairs += 1
        self.chosen += len(row["chosen"])
        self.rejected += len(row["rejected"])
        self.longer += len(row["chosen"]) > len(row["rejected"])

    def summary(self) -> Stats:
        """Mean characters of either side, and the share of pairs whose chosen answer is the longer one."""
        return {
            "pairs": self.pairs,
            "chosen_characters": round(self.chosen / self.pairs, 2),
            "rejected_characters": round(self.rejected / self.pairs, 2),
            "chosen_longer": round(self.longer / self.pairs, 4),
        }
