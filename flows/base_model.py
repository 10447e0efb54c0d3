"""The settings of a fine-tuning's base model: one from outside, or one that the recipe pretrains first."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pydantic import Field, model_validator

from flows.paths import expanded, unset_variable
from tasks.artifacts.stage import Identity
from tasks.base import problems as folder_problems
from tasks.publication.licences import UNKNOWN, LicenceText
from tasks.remote.request import MAIN, NAME, Model, Revision

ORIGINS = ("path", "hub", "pretrain")


class Base(Identity):
    """The base model of the flow finetune: exactly one of `path`, `hub` and `pretrain`."""

    path: str = Field(
        default="",
        title="Folder",
        description="Folder of a model in the layout of transformers (config.json, *.safetensors, tokenizer.json); $NAME stands for an "
        "environment variable",
    )
    hub: str = Field(
        default="",
        pattern=f"^$|{NAME}",
        title="Model of the hub",
        description="In place of a folder: the name of a model of the Hugging Face hub, such as Qwen/Qwen3-0.6B-Base. It is kept in the store",
    )
    revision: Revision = Field(
        default=MAIN,
        title="Revision",
        description="Branch, tag or commit of the model of the hub. A commit of 40 hexadecimal digits is taken as it is; others are looked up at "
        "each run",
    )
    pretrain: bool = Field(
        default=False,
        title="Pretrain first",
        description="In place of a folder or the hub: pretrain a new model first, by the sections tokenizer, pack and pretrain of this recipe",
    )
    extend: int | None = Field(
        default=None,
        ge=300,
        le=1_000_000,
        title="Extend the tokenizer to",
        description="Number of tokens to which the model's own tokenizer is extended, with words of the recipe's texts; empty: it stays as it is",
    )
    start: str = Field(
        default="",
        title="Continue from",
        description="Continue an earlier fine-tuning of this model, on other rows: its tag, its key, `sft` (the newest in the store), or a folder "
        "with adapter/ or state/, or an adapter as peft saves it; state/ (kept with sft.keep_state) has the optimizer's state too",
    )
    chat: bool = Field(
        default=False,
        title="Chat model",
        description="The model is a chat model already: it is tuned, and asked, with the chat template that comes with it",
    )

    licence: LicenceText = Field(
        default=UNKNOWN,
        max_length=300,
        title="Licence",
        description="Licence of the model from outside, for the card of what is made of it, such as Apache-2.0. Changes no result",
    )

    @model_validator(mode="after")
    def _one_origin_problem(self) -> Base:
        if problem := _origin_problem(self.model_dump()):
            raise ValueError(problem)
        return self

    def hub_request(self) -> Model | None:
        """The download of the model from the hub; None where it is not from there."""
        return Model(model=self.hub, revision=self.revision) if self.hub else None

    def folder(self) -> Path:
        """`path` as an absolute path, with environment variables filled in."""
        return expanded(self.path).absolute()

    def start_folder(self) -> Path | None:
        """The folder that `start` names; None where it names an artifact of the store, or nothing."""
        folder = expanded(self.start).absolute()
        return folder if self.start and holds_tuning(folder) else None


def _origin_problem(base: dict[str, Any]) -> str | None:
    """The mistake in the choice of `path`, `hub` and `pretrain`; None where there is none."""
    origins = [name for name in ORIGINS if base.get(name)]
    if not origins:
        return "needs one of path: (a folder that you have), hub: (a model to fetch), pretrain: true (make one first)"
    if len(origins) > 1:
        return f"has {' and '.join(f'{name}:' for name in origins)}; keep one"
    if origins == ["pretrain"] and base.get("extend"):
        return "has extend:, which is for a model from outside; tokenizer.vocab_size is the size of a new one's"
    return None


def base_problems(base: Any, flow: str) -> list[str]:
    """The mistakes in a recipe's `base` beyond single fields, a line each: a flow that does not read it, a folder that holds no model."""
    if flow != "finetune":
        return (
            [f"base: the flow {flow} reads none; run the flow finetune, or leave it out"] if base and flow == "pipeline" else []
        )
    if base is None:
        return ["base: the flow finetune needs a model to begin with; add base.path, base.hub or base.pretrain: true"]
    if not isinstance(base, dict):
        return []  # told by its type
    if problem := _origin_problem(base):
        return [f"base: {problem}"]
    problems = []
    start = base.get("start")
    if isinstance(start, str) and "/" in start and not holds_tuning(folder := expanded(start).absolute()):
        problems.append(
            f"base.start: {folder} has neither adapter/ nor state/ nor an adapter_config.json; name a folder that an earlier "
            "fine-tuning wrote, or an adapter as peft saves it"
        )
    path = base.get("path")
    if not isinstance(path, str) or not path:
        return problems
    if variable := unset_variable(path):
        return [
            *problems,
            f"base.path: the environment variable {variable} is not set; set it to the folder that holds the model",
        ]
    return problems + [f"base.path: {problem}" for problem in folder_problems(expanded(path).absolute())]


def holds_tuning(folder: Path) -> bool:
    """True for a folder with an adapter or a training state, from which a fine-tuning can go on."""
    return any((folder / name).exists() for name in ("adapter", "state", "adapter_config.json"))
