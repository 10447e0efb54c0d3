"""A model from outside as the one that fine-tuning begins with: checked, and laid out as our own models are.

What is looked at here is a folder's JSON, so that a recipe with a folder that cannot serve is refused before anything is run. Whether the
weights are those of the configuration is seen where they are read (`models/importer.py`).
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterable
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from pydantic import Field

from tasks.artifacts.stage import Identity, Job, Stats, stage
from tasks.remote.upstream import DESCRIBES, PICKLED, SHARDS

NEEDS = {
    "config.json": "it is no model's folder; name the one with config.json, tokenizer.json and *.safetensors in it",
    "tokenizer.json": "a model is fine-tuned with its own tokenizer; where there is only a tokenizer.model, "
    "AutoTokenizer.from_pretrained(folder).save_pretrained(folder) writes one",
}


class Params(Identity):
    chat: bool = Field(default=False, description="The model knows turns, and is asked by the chat template that came with it")


@stage(
    "base",
    version=4,
    title="Model from outside",
    params=Params,
    group="model",
    section="training",
    tools=("transformers", "tokenizers"),
)
def run(job: Job, params: Params, *, files: list[Path], tokenizer: Path | None = None) -> Stats:
    """`files` as `chosen` finds them → `model/`, in their own precision. `tokenizer` is the artifact of one that extends the model's own:
    the model gets its vocabulary, and every old token keeps its row. `ValueError` for what is no language model that can be tuned."""
    from tasks.processes import runner

    home = job.scratch / "files"
    shutil.rmtree(home, ignore_errors=True)
    home.mkdir()
    for path in files:
        (home / path.name).symlink_to(path)
    if wrong := problems(home):
        raise ValueError("; ".join(wrong))
    job_file = job.scratch / "outside.json"
    settings = {
        "files": str(home),
        "out": str(job.out / "model"),
        "tokenizer": str(tokenizer) if tokenizer else None,
        "chat": params.chat,
    }
    job_file.write_text(json.dumps(settings), "utf-8")
    return runner.run("models.importer", job_file, job=job)


def chosen(folder: Path) -> list[Path]:
    """The files of a folder that a model is read from, by transformers' names for them."""
    there = {path.name: path for path in sorted(folder.iterdir()) if path.is_file()}
    weights = ["model.safetensors"] if "model.safetensors" in there else list(_shards(there))
    return [there[name] for name in (*DESCRIBES, *weights) if name in there]


def problems(folder: Path) -> list[str]:
    """The reasons against fine-tuning the model in a folder, a line each with what to do; empty where nothing in its JSON speaks against it."""
    if not folder.is_dir():
        return [f"there is no folder {folder}; correct the path, or name a model of the hub as base.hub"]
    names = {path.name for path in folder.iterdir() if path.is_file()}
    lines = [f"{folder} has no {name}: {why}" for name, why in NEEDS.items() if name not in names]
    if not any(name.endswith(".safetensors") for name in ({"model.safetensors"} & names or set(_shards(names)))):
        pickled = sorted(name for name in names if name.endswith(PICKLED))
        lines.append(
            f"{folder} has no model.safetensors"
            + (f", only {', '.join(pickled[:3])}, which Hanlin does not read: a pickle runs whatever is in it" if pickled else "")
            + "; write one with transformers' save_pretrained"
        )
    lines += [
        problem for name in ("config.json", "tokenizer_config.json") if name in names for problem in _described(folder / name)
    ]
    return lines


def _shards(names: Iterable[str]) -> Iterable[str]:
    return [name for name in names if any(fnmatchcase(name, pattern) for pattern in SHARDS)]


def _described(path: Path) -> list[str]:
    """The reasons against it in one JSON file of the model, a line each."""
    try:
        about: Any = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError) as failure:
        return [f"{path} is no JSON ({' '.join(str(failure).split())}); fetch it again"]
    if not isinstance(about, dict):
        return [f"{path} holds a JSON {type(about).__name__}, not an object; fetch it again"]
    lines = []
    if about.get("auto_map"):
        lines.append(
            f"{path} asks for code of its own (auto_map), which Hanlin never runs; take a model whose class transformers has, or, where it "
            "has this one's, take auto_map out of the file"
        )
    if path.name == "config.json" and not about.get("model_type"):
        lines.append(f"{path} names no model_type, so nobody knows which model this is; take the config.json that belongs to it")
    if about.get("quantization_config"):
        lines.append(
            f"{path} says that the weights are rounded already (quantization_config); take the model in full precision: sft.lora.bits "
            "rounds it for training"
        )
    return lines
