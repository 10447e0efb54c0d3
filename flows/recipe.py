"""The recipe: the typed parameters of a run. YAML on disk, a form in the Prefect UI, `key=value` on the command line.

All mistakes in a recipe are reported at once, each with the full path of its field.
"""

from __future__ import annotations

import difflib
import types
import typing
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator
from pydantic.fields import FieldInfo

from flows import validation
from flows.amounts import with_numbers
from flows.base_model import Base
from flows.paths import expanded
from flows.recipe_yaml import FieldTwiceError, field_value, in_words, parsed
from flows.source import Source
from flows.triple_extraction import TripleExtraction
from tasks.artifacts.stage import Resources
from tasks.data.contract import Contract
from tasks.dedup import Params as DedupParams
from tasks.dpo import Params as DPOParams
from tasks.evaluate import Params as EvaluateParams
from tasks.filter import Params as FilterParams
from tasks.gate import Params as GateParams
from tasks.pack import Params as PackParams
from tasks.pretrain import Params as PretrainParams
from tasks.rejected import Params as RejectedParams
from tasks.remote.request import REQUESTS
from tasks.report import Params as ReportParams
from tasks.reward import Params as RewardParams
from tasks.sample import Params as SampleParams
from tasks.sft import Params as SFTParams
from tasks.split import Params as SplitParams
from tasks.tokenizer import Params as TokenizerParams

RECIPES = Path(__file__).parent / "recipes"

Flow = Literal["pipeline", "corpus", "finetune"]


class Section(BaseModel):
    """A part of a recipe: frozen, and closed to unknown fields."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Recipe(Section):
    """Everything that defines a run, stage by stage, and the resources to run it with."""

    name: str = Field(
        pattern=r"^[a-z0-9][a-z0-9.-]{0,63}$",
        title="Name",
        description="Name of the recipe and of its runs: lower-case letters, digits, dots and dashes",
    )
    raw: str = Field(
        default="",
        title="Raw files",
        description="Folder of the raw files. $NAME stands for an environment variable; empty: the sample corpus is generated and used",
    )
    sample: SampleParams = Field(
        default_factory=SampleParams,
        title="Sample corpus",
        description="An invented world, written in the formats of the real sources; used where no folder of raw files is set",
    )
    sources: dict[str, Source] = Field(
        min_length=1,
        title="Sources",
        description="The sources of rows by name, each with its files, their format and its uses. Of duplicate rows, the first source's is kept",
    )
    dedup: DedupParams = Field(
        default_factory=DedupParams,
        title="Deduplication",
        description="Removal of rows that are the same as, or nearly the same as, an earlier row",
    )
    filter: FilterParams = Field(
        default_factory=FilterParams,
        title="Filter",
        description="The rules by which unsuitable rows are dropped, each under a reason that is counted",
    )
    split: SplitParams = Field(
        default_factory=SplitParams, title="Split", description="Division of the rows into training and validation rows"
    )
    contract: Contract = Field(
        default_factory=Contract,
        title="Contract",
        description="Limits on how much the result of a data stage may differ from the last run's, and what happens beyond them. Changes no result",
    )
    tokenizer: TokenizerParams = Field(
        default_factory=TokenizerParams,
        title="Tokenizer",
        description="The vocabulary into which text is cut, learned from the words of the corpus",
    )
    pack: PackParams = Field(
        default_factory=PackParams,
        title="Mix",
        description="Share of each source in the tokens of pretraining; without weights, every row is used once",
    )
    pretrain: PretrainParams = Field(
        default_factory=PretrainParams, title="Pretraining", description="Training of a new model on plain text"
    )
    base: Base | None = Field(
        default=None,
        title="Base model",
        description="The model that the flow finetune begins with; empty: the recipe is for the flow pipeline",
    )
    sft: SFTParams = Field(
        default_factory=SFTParams,
        title="Supervised fine-tuning",
        description="Training on questions with answers, from which the model learns to answer",
    )
    rejected: RejectedParams = Field(
        default_factory=RejectedParams,
        title="Rejected answers",
        description="Answers of the fine-tuned model itself, which become the worse answers in DPO",
    )
    reward: RewardParams | None = Field(
        default=None,
        title="Reward model",
        description="A model that scores answers, trained on pairs of a better and a worse one; empty: none is trained",
    )
    dpo: DPOParams = Field(
        default_factory=DPOParams,
        title="DPO",
        description="Direct preference optimization: training on pairs of answers, from which the model learns to prefer the better one",
    )
    extraction: TripleExtraction = Field(
        default_factory=TripleExtraction,
        title="Triple extraction",
        description="Fine-tuning and scoring of a model that extracts (subject, predicate, object) triples from texts, where a source has the use "
        "`extract`",
    )
    evaluate: EvaluateParams = Field(
        default_factory=EvaluateParams, title="Evaluation", description="The scores that are measured of every model of the run"
    )
    gate: GateParams = Field(
        default_factory=GateParams,
        title="Evaluation gate",
        description="Conditions under which a re-trained model replaces the model in production",
    )
    report: ReportParams = Field(
        default_factory=ReportParams, title="Report", description="The page about its results with which a run ends"
    )
    resources: Resources = Field(
        default_factory=Resources,
        title="Resources",
        description="Processes, memory and devices to run with. They change no result",
    )

    @property
    def flow(self) -> Flow:
        """The flow that runs the recipe if none is asked for: finetune where it has a base, else pipeline."""
        return "finetune" if self.base else "pipeline"

    @model_validator(mode="before")
    @classmethod
    def _numbers(cls, data: Any) -> Any:
        return with_numbers(data, cls)

    @field_validator("sources")
    @classmethod
    def _in_order(cls, sources: dict[str, Source]) -> dict[str, Source]:
        return dict(sorted(sources.items(), key=lambda item: item[1].rank))

    def raw_folder(self) -> Path:
        """The folder that source paths are relative to, environment variables filled in."""
        return expanded(self.raw)

    def sampled(self, source: Source) -> bool:
        """True for a source that reads the sample corpus."""
        return not self.raw and not source.download and not Path(source.path).expanduser().is_absolute()


class BadRecipe(ValueError):
    """The error of a recipe that cannot run. `problems` has a line for each mistake."""

    def __init__(self, name: str, problems: list[str]):
        lines = "\n".join(f"  - {problem}" for problem in problems)
        count = "1 problem" if len(problems) == 1 else f"{len(problems)} problems"
        super().__init__(f"recipe {name}: {count}; nothing was run\n{lines}")
        self.problems = problems


def load(name: str, overrides: Iterable[str] = (), flow: Flow | None = None) -> Recipe:
    """A recipe by name (one that ships) or by the path of a YAML file, with `key.path=value` overrides. Raises `BadRecipe`.

    `flow` is the flow that it will run (None: its own), which decides which uses its sources must have. A recipe that `extends` another has
    only the fields that differ.
    """
    data = fields(name)
    problems = [problem for override in overrides if (problem := _override(data, override))]
    problems += check(data, flow)
    if problems:
        raise BadRecipe(name, problems)
    return Recipe.model_validate(data)


def fields(name: str) -> dict[str, Any]:
    """A recipe's fields as its file has them, unchecked, with those of the recipe it extends."""
    return _read(recipe_file(name), name)


def _read(path: Path, name: str, above: tuple[Path, ...] = ()) -> dict[str, Any]:
    """A recipe's data, on top of that of the recipe it extends."""
    try:
        data = parsed(path)
    except ValueError as mistake:
        raise BadRecipe(name, [f"{path}{mistake}"]) from None
    base = data.pop("extends", None)
    if base is None:
        return data
    if not isinstance(base, str):
        raise BadRecipe(name, [f"extends: needs the name of one recipe, or the path of its .yaml file (got {base!r})"])
    below = recipe_file(base)
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


def recipe_file(name: str) -> Path:
    """The YAML file of a recipe. Raises `BadRecipe` with the nearest name."""
    own = name.endswith((".yaml", ".yml"))
    path = Path(name) if own else RECIPES / f"{name}.yaml"
    if path.is_file():
        return path
    if name and Path(name).is_file():
        raise BadRecipe(name, [f"{name} is a file, but a recipe's name ends in .yaml; rename it, or give the path of another"])
    every_name = names()
    beside = [str(file) for file in sorted(path.parent.glob("*.y*ml"))] if own else []
    near = difflib.get_close_matches(name.lower(), beside + every_name, 1)
    hint = f"did you mean {near[0]}?" if near else f"recipes that ship: {', '.join(every_name)}; or give the path of a .yaml file"
    raise BadRecipe(name or "''", [f"no recipe {path if own else repr(name)}; {hint}"])


def names() -> list[str]:
    """The names of the recipes that ship with Hanlin, sorted."""
    return sorted(path.stem for path in RECIPES.glob("*.yaml"))


def check(data: dict[str, Any], flow: Flow | None = None) -> list[str]:
    """All mistakes in a recipe's data, a line each, beginning with the field's full path. `flow` as for `load`."""
    data = with_numbers(data, Recipe)
    try:
        Recipe.model_validate(data)
        problems = []
    except ValidationError as failure:
        problems = [_problem(error, data) for error in failure.errors()]
    intended: Flow = flow or ("finetune" if data.get("base") is not None else "pipeline")
    return list(dict.fromkeys(problems + validation.recipe_problems(data, intended)))


def _override(data: dict[str, Any], override: str) -> str | None:
    """Put one `key.path=value` into the data; the value is read as YAML. Returns the mistake as a line, or None."""
    path, equals, text = override.partition("=")
    if not equals or not all(path.split(".")):
        return f"{override!r} is not an override; write field.path=value, such as pretrain.tokens=100k"
    try:
        given = field_value(text)
    except FieldTwiceError as mistake:
        return f"{path}{mistake}"
    *parents, last = path.split(".")
    here: Any = data
    for parent in parents:
        here = here.setdefault(parent, {}) if isinstance(here, dict) else None
    if not isinstance(here, dict):
        return f"{path}: {'.'.join(parents)} is a value, not a section, so it has no field {last!r}"
    here[last] = given
    return None


def _problem(error: Any, data: dict[str, Any]) -> str:
    """An error of pydantic as a line for people: the field's full path, the mistake, and a hint."""
    location = [str(part) for part in error["loc"]]
    named_location = location[:3] + location[4:] if location[2:3] == ["download"] else location  # pydantic names the kind as well
    path = ".".join(named_location)
    if error["type"] == "extra_forbidden":
        fields_here = _fields_at(location[:-1])
        near = difflib.get_close_matches(location[-1], fields_here, 1, cutoff=0.6)
        hint = f"did you mean {near[0]!r}?" if near else f"fields here: {', '.join(fields_here)}"
        return f"{path}: unknown field; {hint}"
    value = error.get("input")
    suffix = f" (got {value!r})" if isinstance(value, str | int | float | bool | None) and error["type"] != "missing" else ""
    if error["type"] == "string_pattern_mismatch" and (field := _fields_at(location[:-1]).get(location[-1])):
        return f"{path}: not in the right form: {field.description}{suffix}"
    return f"{path}: {in_words(error)}{suffix}"


def _fields_at(location: list[str]) -> dict[str, FieldInfo]:
    """The fields of the section at a path of the recipe."""
    model: Any = Recipe
    for place, part in enumerate(location):
        if location[2:3] == ["download"] and place == 3:
            model = REQUESTS.get(part, model)
        elif isinstance(model, type) and issubclass(model, BaseModel) and part in model.model_fields:
            model = section_of(model.model_fields[part].annotation)
    return model.model_fields if isinstance(model, type) and issubclass(model, BaseModel) else {}


def section_of(annotation: Any) -> Any:
    """The model inside `Model`, `Model | None`, `dict[str, Model]` or `list[Model]`."""
    if isinstance(annotation, type) and not typing.get_args(annotation):
        return annotation
    if typing.get_origin(annotation) in (dict, list, typing.Union, types.UnionType):
        models = [section_of(argument) for argument in typing.get_args(annotation)]
        return next((m for m in models if isinstance(m, type) and issubclass(m, BaseModel)), None)
    return None
