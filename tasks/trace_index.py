"""The index of the texts that one training read, in which any phrase of an answer is found with the rows that have it."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Literal

from pydantic import Field

from tasks.artifacts.stage import Identity, Job, Stats, canonical, link_or_copy, stage
from tasks.processes import shards, workers
from tasks.trace import index, texts


class Params(Identity):
    stage: Literal["pretrain", "sft", "dpo"] = Field(description="The training that reads these rows")
    left_out: dict[str, int] = Field(
        default_factory=dict,
        description="Documents that the weights of the mixture left out, by source, or group of sources (`a+b`)",
    )
    seed: int = Field(default=0, ge=0, lt=2**63, description="Seed by which the mixture drew these")


@stage("trace_index", version=1, title="Index of training texts", params=Params, group="model")
def run(job: Job, params: Params, *, rows: list[Path]) -> Stats:
    """Read files of training rows, write a folder a shard and `index.json`. Sorting takes about 8 bytes of memory a byte of a shard; a shard is
    done once, and the next attempt goes on with those that are left."""
    index.suffix_array()
    last = {path: texts.last_draws(path, params.left_out, params.seed) for path in rows}
    pieces = [
        shards.Piece(job.shard_key(path.name, groups), (path, groups, last[path], params.seed), size, size)
        for path in rows
        for groups, size in index.row_groups(path)
    ]
    found = shards.do(_within_memory(job), index.build, pieces, "bytes of text")
    for number, piece in enumerate(pieces):
        home = job.out / f"{number:05d}"
        home.mkdir()
        for path in sorted(job.shard_home(piece.key).iterdir()):
            if path.suffix in (".bin", ".npy"):
                link_or_copy(path, home / path.name)
    totals = {name: sum(each[name] for each in found) for name in ("bytes", "characters", "rows", "texts")}
    (job.out / index.DESCRIPTION).write_text(canonical({"stage": params.stage, **totals, "shards": found}) + "\n", "utf-8")
    return {**totals, "shards": len(found)}


def _within_memory(job: Job) -> Job:
    """The job with as many workers as can sort a shard at a time in its memory."""
    fit = int((job.resources.memory_gb * 1e9 - workers.resident()) / (index.MEMORY + workers.HELD))
    return dataclasses.replace(job, resources=job.resources.model_copy(update={"workers": max(1, min(job.resources.pool, fit))}))
