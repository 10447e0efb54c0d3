"""What a fine-tuning begins with, as a recipe says it: a model from outside, or one that the recipe pretrains first."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pydantic import Field, model_validator

from flows.paths import expanded, unset_variable
from tasks.artifacts.stage import Identity
from tasks.base import problems as folder_problems
from tasks.remote.asked import MAIN, NAME, Model, Revision

ORIGINS = ("path", "hub", "pretrain")


class Base(Identity):
    """The model that the flow finetune begins with: one of `path`, `hub` and `pretrain`."""

    path: str = Field(
        default="",
        description="Folder of a model in transformers' layout (config.json, *.safetensors, tokenizer.json); $NAME is a variable",
    )
    hub: str = Field(
        default="",
        pattern=f"^$|{NAME}",
        description="Instead: the name of a model of the hub, such as Qwen/Qwen3-0.6B-Base; kept in the store",
    )
    revision: Revision = Field(default=MAIN, description="hub: branch, tag or commit (40 hexadecimal digits: never looked up)")
    pretrain: bool = Field(
        default=False, description="Instead: a model of the recipe's own, made first, as tokenizer, pack and pretrain say"
    )
    extend: int | None = Field(
        default=None,
        ge=300,
        le=1_000_000,
        description="Grow the model's own tokenizer to so many tokens, by words of the recipe's texts; empty: it stays as it is",
    )
    start: str = Field(
        default="",
        description="Go on from what an earlier fine-tuning of this model learned, on other rows: its tag, its key, `sft` (the newest), or a folder "
        "with adapter/ or state/, or of an adapter as peft saves it; state/ (kept with sft.keep_state) has the optimiser's moments too",
    )
    chat: bool = Field(
        default=False,
        description="The model knows turns already, so it is asked, and tuned, by the chat template that it came with",
    )

    @model_validator(mode="after")
    def _one_origin(self) -> Base:
        if problem := _origin(self.model_dump()):
            raise ValueError(problem)
        return self

    def asked(self) -> Model | None:
        """What is fetched from the hub, if the model is there."""
        return Model(model=self.hub, revision=self.revision) if self.hub else None

    def folder(self) -> Path:
        """`path`, environment variables filled in."""
        return expanded(self.path).absolute()

    def start_folder(self) -> Path | None:
        """`start`, where it names a folder and not an artifact of the store."""
        folder = expanded(self.start).absolute()
        return folder if self.start and begins(folder) else None


def _origin(base: dict[str, Any]) -> str | None:
    """What is wrong with where the model comes from."""
    given = [name for name in ORIGINS if base.get(name)]
    if not given:
        return "needs one of path: (a folder that you have), hub: (a model to fetch), pretrain: true (make one first)"
    if len(given) > 1:
        return f"has {' and '.join(f'{name}:' for name in given)}; keep one"
    if given == ["pretrain"] and base.get("extend"):
        return "has extend:, which is for a model from outside; tokenizer.vocab_size is the size of a new one's"
    return None


def problems(base: Any, flow: str) -> list[str]:
    """What no single field can know of a recipe's `base`: whether the flow reads it, and whether its folder holds a model."""
    if flow != "finetune":
        return (
            [f"base: the flow {flow} reads none; run the flow finetune, or leave it out"] if base and flow == "pipeline" else []
        )
    if base is None:
        return ["base: the flow finetune needs a model to begin with; add base.path, base.hub or base.pretrain: true"]
    if not isinstance(base, dict):
        return []  # told by its type
    if problem := _origin(base):
        return [f"base: {problem}"]
    found = []
    start = base.get("start")
    if isinstance(start, str) and "/" in start and not begins(folder := expanded(start).absolute()):
        found.append(
            f"base.start: {folder} has neither adapter/ nor state/ nor an adapter_config.json; name a folder that an earlier "
            "fine-tuning wrote, or an adapter as peft saves it"
        )
    path = base.get("path")
    if not isinstance(path, str) or not path:
        return found
    if variable := unset_variable(path):
        return [*found, f"base.path: the environment variable {variable} is not set; set it to the folder that holds the model"]
    return found + [f"base.path: {problem}" for problem in folder_problems(expanded(path).absolute())]


def begins(folder: Path) -> bool:
    """Whether a folder has what a fine-tuning can go on from."""
    return any((folder / name).exists() for name in ("adapter", "state", "adapter_config.json"))
