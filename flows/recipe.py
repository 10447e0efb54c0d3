"""Recipe: the typed parameters of a run. YAML on disk, a form in the Prefect UI, `key=value` on the command line.

All that is wrong with a recipe is reported at once, each problem with the full path of its field.
"""

from __future__ import annotations

import difflib
import os
import re
import types
import typing
from collections.abc import Iterable
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Discriminator, Field, Tag, ValidationError, field_validator, model_validator

from flows.base import Base
from flows.base import problems as base_problems
from flows.extraction import Extraction
from flows.extraction import problems as extraction_problems
from tasks.contract import Contract
from tasks.dedup import Params as DedupParams
from tasks.dpo import Params as DPOParams
from tasks.evaluate import Params as EvaluateParams
from tasks.filter import Params as FilterParams
from tasks.gate import Params as GateParams
from tasks.mix import problems as weight_problems
from tasks.pack import Params as PackParams
from tasks.pretrain import Params as PretrainParams
from tasks.rejected import Params as RejectedParams
from tasks.remote.asked import KINDS, Dump, Hub, Urls, kind
from tasks.report import Params as ReportParams
from tasks.reward import Params as RewardParams
from tasks.sample import Params as SampleParams
from tasks.sft import Params as SFTParams
from tasks.split import MAKES, Use
from tasks.split import Params as SplitParams
from tasks.stage import Resources
from tasks.tokenizer import Params as TokenizerParams

RECIPES = Path(__file__).parent / "recipes"

Format = Literal[
    "wiki", "belle", "zhihu", "webtext", "baike", "medical", "alpaca", "preference", "exam", "triples", "text", "cmedqa"
]
Flow = Literal["pipeline", "corpus", "finetune"]


class Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


Download = Annotated[
    Annotated[Dump, Tag("dump")] | Annotated[Hub, Tag("hub")] | Annotated[Urls, Tag("urls")],
    Discriminator(
        kind,
        custom_error_type="download",
        custom_error_message="needs one of dump: (a Wikimedia dump), hub: (a dataset of the hub), urls: (plain files)",
    ),
]


class Source(Section):
    """Files of one format, and what their rows are for."""

    format: Format = Field(description="Which reader: the files' true format, not their suffix")
    path: str = Field(default="", description="Files below `raw`, with * and ** as wildcards, or an absolute path")
    download: Download | None = Field(
        default=None, description="In place of `path`: a Wikimedia dump, a dataset of the hub, or URLs; kept in the store"
    )
    use: list[Use] = Field(
        description="pretrain, text2text (pretraining of T5; an article answers its title), sft, prompts (of DPO; the answer becomes "
        "`chosen`), pairs (ready for DPO), extract (triples to learn to extract), evaluate (never learned from)"
    )
    rank: int = Field(
        default=0,
        ge=0,
        le=1000,
        description="Place among the sources where their order cannot be written (a form): the lowest first, equal ones as written",
    )
    simplify: bool = Field(default=True, description="Convert Traditional to Simplified Chinese")
    tables: Literal["drop", "text"] = Field(
        default="drop", description="wiki: tables are left out, or told a line a row, each cell with its header"
    )
    infoboxes: Literal["drop", "facts"] = Field(
        default="drop", description="wiki: infoboxes are left out, or told a line a fact, as 名称：值"
    )
    same_title: float = Field(
        default=0.9,
        ge=0,
        le=1,
        description="webtext, baike_qa and medical: likeness of a title and the question below it from which only the longer is asked",
    )
    tolerate_truncation: bool = Field(
        default=False, description="Keep the whole pages of a dump that was cut off, instead of failing"
    )

    @model_validator(mode="after")
    def _one_origin(self) -> Source:
        if problem := _origin(self.path, self.download):
            raise ValueError(problem)
        return self


def _origin(path: object, download: object) -> str | None:
    """What is wrong with where a source's files come from."""
    if path and download is not None:
        return "has both path: and download:; keep one"
    return None if path or download is not None else "needs path: (files that you have) or download: (files to fetch)"


class Recipe(Section):
    """Everything that defines a run, stage by stage, and the resources to run it with."""

    name: str = Field(pattern=r"^[a-z0-9][a-z0-9.-]{0,63}$", title="Name", description="Lower-case letters, digits, dots, dashes")
    raw: str = Field(
        default="",
        title="Raw files",
        description="Folder of the raw files; $NAME is an environment variable; empty: the sample corpus",
    )
    sample: SampleParams = Field(
        default_factory=SampleParams, title="Sample corpus", description="The invented world, written where `raw` is empty"
    )
    sources: dict[str, Source] = Field(
        min_length=1, title="Sources", description="Name → files, format and use; earlier sources win among duplicates"
    )
    dedup: DedupParams = Field(default_factory=DedupParams, title="Deduplication", description="Exact and near duplicates")
    filter: FilterParams = Field(
        default_factory=FilterParams, title="Filter", description="Rules that drop rows, each with a reason"
    )
    split: SplitParams = Field(default_factory=SplitParams, title="Split", description="Training and validation rows")
    contract: Contract = Field(
        default_factory=Contract,
        title="Contract",
        description="How data stages may differ from the last run; never part of what is made",
    )
    tokenizer: TokenizerParams = Field(
        default_factory=TokenizerParams, title="Tokenizer", description="What text is cut into, learned from word counts"
    )
    pack: PackParams = Field(
        default_factory=PackParams, title="Mix", description="Sources by weight, in tokens; without weights everything once"
    )
    pretrain: PretrainParams = Field(default_factory=PretrainParams, title="Pretraining", description="A new model on plain text")
    base: Base | None = Field(
        default=None,
        title="Base",
        description="The model that the flow finetune begins with; empty: the recipe is for the pipeline",
    )
    sft: SFTParams = Field(default_factory=SFTParams, title="Supervised fine-tuning", description="The model learns to answer")
    rejected: RejectedParams = Field(
        default_factory=RejectedParams, title="Rejected answers", description="The SFT model's own answers, as DPO's worse side"
    )
    reward: RewardParams | None = Field(
        default=None, title="Reward model", description="A model that tells the better of two answers; empty: none is trained"
    )
    dpo: DPOParams = Field(default_factory=DPOParams, title="DPO", description="The model learns to prefer the better answer")
    extraction: Extraction = Field(
        default_factory=Extraction,
        title="Triple extraction",
        description="A task to fine-tune the model for, where a source has the use `extract`",
    )
    evaluate: EvaluateParams = Field(
        default_factory=EvaluateParams, title="Evaluation", description="Scores of every model of the run"
    )
    gate: GateParams = Field(
        default_factory=GateParams,
        title="Gate",
        description="When a re-trained model may take the place of the one in production",
    )
    report: ReportParams = Field(default_factory=ReportParams, title="Report", description="The page that a run ends with")
    resources: Resources = Field(
        default_factory=Resources, title="Resources", description="How to run; never part of what is made"
    )

    @property
    def flow(self) -> Flow:
        """The flow that the recipe is for."""
        return "finetune" if self.base else "pipeline"

    @field_validator("sources")
    @classmethod
    def _in_order(cls, sources: dict[str, Source]) -> dict[str, Source]:
        return dict(sorted(sources.items(), key=lambda item: item[1].rank))

    def raw_folder(self) -> Path:
        """The folder that source paths are relative to, environment variables filled in."""
        return Path(os.path.expandvars(self.raw)).expanduser()

    def sampled(self, source: Source) -> bool:
        """Whether a source reads the sample corpus."""
        return not self.raw and not source.download and not Path(source.path).expanduser().is_absolute()


class BadRecipe(ValueError):
    """A recipe that cannot run. `problems` has a line for each thing that is wrong."""

    def __init__(self, name: str, problems: list[str]):
        lines = "\n".join(f"  - {problem}" for problem in problems)
        count = "1 problem" if len(problems) == 1 else f"{len(problems)} problems"
        super().__init__(f"recipe {name}: {count}; nothing was run\n{lines}")
        self.problems = problems


def load(name: str, overrides: Iterable[str] = (), flow: Flow | None = None) -> Recipe:
    """A recipe by name (one that ships) or by the path of a YAML file, with `key.path=value` overrides. Raises `BadRecipe`.

    `flow` says what it is to run (None: what it is for), which decides what its sources must serve. A recipe that `extends` another says only
    what is different.
    """
    data = fields(name)
    problems = [problem for override in overrides if (problem := _override(data, override))]
    problems += check(data, flow)
    if problems:
        raise BadRecipe(name, problems)
    return Recipe.model_validate(data)


def fields(name: str) -> dict[str, Any]:
    """A recipe's fields as its file has them, unchecked, with those of the recipe it extends."""
    return _read(find(name), name)


def _read(path: Path, name: str, above: tuple[Path, ...] = ()) -> dict[str, Any]:
    """A recipe's data, on top of that of the recipe it extends."""
    try:
        data = yaml.safe_load(path.read_text("utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as failure:
        raise BadRecipe(name, [f"{path} is not YAML: {' '.join(str(failure).split())}"]) from None
    if not isinstance(data, dict):
        raise BadRecipe(name, [f"{path} holds {type(data).__name__}, not a mapping of fields"])
    base = data.pop("extends", None)
    if base is None:
        return data
    below = find(str(base))
    if below in (*above, path):
        raise BadRecipe(name, [f"extends: {path.name} and {below.name} extend each other"])
    return _over(_read(below, name, (*above, path)), data)


def _over(base: dict[str, Any], data: dict[str, Any]) -> dict[str, Any]:
    """Section by section: what `data` gives replaces what `base` has, and null takes it away."""
    merged = dict(base)
    for key, value in data.items():
        if value is None:
            merged.pop(key, None)
        elif isinstance(value, dict) and isinstance(merged.get(key), dict):
            merged[key] = _over(merged[key], value)
        else:
            merged[key] = value
    return merged


def find(name: str) -> Path:
    """The YAML file of a recipe. Raises `BadRecipe` with the nearest name."""
    path = Path(name) if name.endswith((".yaml", ".yml")) else RECIPES / f"{name}.yaml"
    if not path.is_file():
        known = names()
        near = difflib.get_close_matches(name, known, 1)
        hint = f"did you mean {near[0]}?" if near else f"recipes that ship: {', '.join(known)}; or give the path of a .yaml file"
        raise BadRecipe(name, [f"no recipe {path}; {hint}"])
    return path


def names() -> list[str]:
    return sorted(path.stem for path in RECIPES.glob("*.yaml"))


def check(data: dict[str, Any], flow: Flow | None = None) -> list[str]:
    """Everything wrong with a recipe's data, a line each, beginning with the field's full path."""
    try:
        Recipe.model_validate(data)
        problems = []
    except ValidationError as failure:
        problems = [_problem(error, data) for error in failure.errors()]
    meant: Flow = flow or ("finetune" if data.get("base") is not None else "pipeline")
    return list(dict.fromkeys(problems + _cross_checks(data, meant)))


def _override(data: dict[str, Any], override: str) -> str | None:
    """Put one `key.path=value` into the data; the value is read as YAML. A line that says what is wrong, or None."""
    path, equals, text = override.partition("=")
    if not equals or not path:
        return f"{override!r} is not an override; write field.path=value, such as pretrain.steps=200"
    try:
        value = yaml.safe_load(text) if text else ""
    except yaml.YAMLError:
        value = text
    *parents, last = path.split(".")
    here: Any = data
    for parent in parents:
        here = here.setdefault(parent, {}) if isinstance(here, dict) else None
    if not isinstance(here, dict):
        return f"{path}: {'.'.join(parents)} is a value, not a section, so it has no field {last!r}"
    here[last] = value
    return None


def _problem(error: Any, data: dict[str, Any]) -> str:
    location = [str(part) for part in error["loc"]]
    shown_at = location[:3] + location[4:] if location[2:3] == ["download"] else location  # pydantic names the kind as well
    path = ".".join(shown_at)
    if error["type"] == "extra_forbidden":
        known = _fields_at(location[:-1])
        near = difflib.get_close_matches(location[-1], known, 1, cutoff=0.5)
        hint = f"did you mean {near[0]!r}?" if near else f"fields here: {', '.join(known)}"
        return f"{path}: unknown field; {hint}"
    if error["type"] == "missing":
        return f"{path}: required, but not there"
    got = error.get("input")
    shown = f" (got {got!r})" if isinstance(got, str | int | float | bool | None) else ""
    message = error["msg"].removeprefix("Value error, ")
    return f"{path}: {message[0].lower() + message[1:]}{shown}"


def _fields_at(location: list[str]) -> list[str]:
    """The names of the fields of the section at a path of the recipe."""
    model: Any = Recipe
    for place, part in enumerate(location):
        if location[2:3] == ["download"] and place == 3:
            model = KINDS.get(part, model)
        elif isinstance(model, type) and issubclass(model, BaseModel) and part in model.model_fields:
            model = _section(model.model_fields[part].annotation)
    return list(model.model_fields) if isinstance(model, type) and issubclass(model, BaseModel) else []


def _section(annotation: Any) -> Any:
    """The model inside `Model`, `Model | None`, `dict[str, Model]` or `list[Model]`."""
    if isinstance(annotation, type) and not typing.get_args(annotation):
        return annotation
    if typing.get_origin(annotation) in (dict, list, typing.Union, types.UnionType):
        models = [_section(argument) for argument in typing.get_args(annotation)]
        return next((m for m in models if isinstance(m, type) and issubclass(m, BaseModel)), None)
    return None


def _cross_checks(data: dict[str, Any], flow: Flow) -> list[str]:
    """What no single field can know: files that must exist, settings that another field decides."""
    problems = []
    raw = data.get("raw") or ""
    root: Path | None = None
    if isinstance(raw, str) and raw:
        unset = [name for name in re.findall(r"\$\{?(\w+)\}?", raw) if name not in os.environ]
        root = Path(os.path.expandvars(raw)).expanduser()
        if unset:
            problems.append(f"raw: the environment variable {unset[0]} is not set; set it to the folder that holds the raw files")
            root = None
        elif not root.is_dir():
            problems.append(f"raw: there is no folder {root.absolute()}; put the raw files there, or correct the path")
            root = None
    section = data.get("sources")
    sources = {k: v for k, v in section.items() if isinstance(v, dict)} if isinstance(section, dict) else {}
    for name, source in sources.items():
        if not re.fullmatch(r"[a-z0-9][a-z0-9-]{0,40}", str(name)):
            problems.append(
                f"sources.{name}: a source's name is lower-case letters, digits and dashes (it names a stage and a file)"
            )
        path = source.get("path")
        if problem := _origin(path, source.get("download")):
            problems.append(f"sources.{name}: {problem}")
        if isinstance(path, str) and Path(path).expanduser().is_absolute() and not any(matches(Path(), path)):
            problems.append(f"sources.{name}.path: no file {path}; correct the path or fetch the file")
        elif root is not None and isinstance(path, str) and path and not any(matches(root, path)):
            problems.append(f"sources.{name}.path: no file {root.absolute() / path}; correct the path or fetch the file")
    problems += base_problems(data.get("base"), flow)
    problems += extraction_problems(sources, data.get("extraction"))
    problems += _unserved(sources, flow, data)
    problems += _engine(data)
    weights = data["pack"].get("weights") if isinstance(data.get("pack"), dict) else None
    if isinstance(weights, dict) and weights:
        pretrained = [name for name, source in sources.items() if "pretrain" in _uses(source)]
        problems += [f"pack.weights: {problem}" for problem in weight_problems({str(name): 1.0 for name in weights}, pretrained)]
    rules = data["filter"].get("sources") if isinstance(data.get("filter"), dict) else None
    for name in rules if isinstance(rules, dict) else ():
        if name not in sources:
            near = difflib.get_close_matches(str(name), map(str, sources), 1)
            hint = f"did you mean {near[0]!r}?" if near else f"sources: {', '.join(map(str, sources))}"
            problems.append(f"filter.sources.{name}: no source of this name; {hint}")
    if isinstance(data.get("split"), dict) and data["split"].get("use"):
        problems.append("split.use: decided by sources.<name>.use; remove it here")
    return problems


def _uses(source: dict[str, Any]) -> list[str]:
    return [use for use in source["use"] if isinstance(use, str)] if isinstance(source.get("use"), list) else []


def _text2text(data: dict[str, Any]) -> bool:
    return _preset(data).startswith("t5-")


def _preset(data: dict[str, Any]) -> str:
    preset = data["pretrain"].get("preset") if isinstance(data.get("pretrain"), dict) else None
    return preset if isinstance(preset, str) else ""


def _engine(data: dict[str, Any]) -> list[str]:
    """What stands against vLLM, found before the model is trained that it is to run."""
    if not isinstance(data.get("rejected"), dict) or data["rejected"].get("engine") != "vllm":
        return []
    preset = _preset(data)
    if preset.startswith(("t5-", "retnet-")):
        return [f"rejected.engine: vllm runs Llamas and their experts, not {preset}; set it to transformers"]
    missing = (
        "rejected.engine: the package vllm is not installed here; pip install vllm (Linux with a GPU), or set it to transformers"
    )
    return [] if find_spec("vllm") else [missing]


def _unserved(sources: dict[str, dict[str, Any]], flow: Flow, data: dict[str, Any]) -> list[str]:
    """What a flow reads that no source is for."""
    used = {use for source in sources.values() for use in _uses(source)}
    if not sources:
        return []
    if flow == "corpus":
        return [] if used & set(MAKES) else [f"sources: none has a use for training; give one of {', '.join(MAKES)} to a source"]
    base = data.get("base")
    needs: dict[str, str] = {}
    if flow == "pipeline" or (isinstance(base, dict) and base.get("pretrain")):
        needs["text2text" if _text2text(data) else "pretrain"] = "pretraining reads"
    if flow == "pipeline" or "extract" not in used:
        needs["sft"] = "fine-tuning reads"
    if flow == "pipeline":
        needs["evaluate"] = "the evaluation asks"
    problems = [
        f"sources: none has use: [{use}], which {why}; add it to a source" for use, why in needs.items() if use not in used
    ]
    if flow == "finetune" and isinstance(base, dict) and base.get("extend") and not used & set(MAKES):
        problems.append(
            f"base.extend: new tokens are learned from texts, and no source has one; give one of {', '.join(MAKES)} to a source"
        )
    if flow == "finetune" and isinstance(base, dict) and base.get("start") and "sft" not in used:
        problems.append(
            "base.start: only fine-tuning on rows with use: [sft] goes on from an earlier run; give a source that use, or leave it out"
        )
    if flow == "pipeline" and not used & {"prompts", "pairs"}:
        problems.append("sources: none has use: [prompts] or use: [pairs], one of which DPO reads; add it to a source")
    if problems:
        problems[-1] += " (the data half alone needs none of this: --flow corpus)"
    return problems


def matches(root: Path, pattern: str) -> list[Path]:
    """The files that a source's path names, sorted."""
    path = Path(pattern).expanduser()
    if path.is_absolute():
        return sorted(p for p in Path(path.anchor).glob(str(path.relative_to(path.anchor))) if p.is_file())
    return sorted(p for p in root.glob(pattern) if p.is_file())
