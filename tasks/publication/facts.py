"""The facts that a card tells, from the records of a lineage and the files of an evaluation. No text of a row, and no place on a machine."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any

from tasks.artifacts.store import Record, Store
from tasks.metrics.intervals import wilson
from tasks.publication import licences
from tasks.publication.lineage import Lineage, SourceLineage, Step, lineage

TRAINING = ("pretrain", "sft", "reward", "dpo", "simpo")  # stages whose statistics are those of a training
PIECES = 2  # characters of the pieces by which a free answer is compared with its reference


@dataclass(frozen=True)
class Score:
    """One figure of the evaluation: on what, its 95 % interval, of how many cases, and what guessing gives."""

    metric: str
    of: str
    value: float
    n: int
    low: float | None = None
    high: float | None = None
    chance: float | None = None


@dataclass(frozen=True)
class Training:
    """One training on the way to the model."""

    step: Step

    @property
    def stats(self) -> dict[str, Any]:
        return self.step.record.stats

    @property
    def flops(self) -> float:
        """6·N·D: N all parameters, D the tokens that all steps read (Kaplan et al., https://arxiv.org/abs/2001.08361, section 2.1)."""
        return 6.0 * self.stats.get("parameters", 0) * self.stats.get("tokens", 0)

    @property
    def hardware(self) -> str:
        made, stats = self.step.record.made, self.stats
        many = f"{stats.get('processes', 1)} × " if stats.get("processes", 1) > 1 else ""
        return f"{many}{stats.get('device', 'unknown')} ({made.get('machine', 'unknown')})"

    @property
    def hours(self) -> float:
        return float(self.stats.get("seconds", self.step.record.made.get("seconds", 0))) / 3600

    @property
    def params(self) -> dict[str, Any]:
        """The settings that are not empty."""
        return {
            name: value for name, value in self.step.record.identity["params"].items() if value not in (None, "", [], {}, False)
        }


@dataclass(frozen=True)
class Facts:
    """All that the templates of cards show."""

    lineage: Lineage
    verdict: licences.Verdict
    languages: list[str]
    recipe: str
    trainings: list[Training] = field(default_factory=list)
    scores: list[Score] = field(default_factory=list)
    generation: dict[str, Any] = field(default_factory=dict)
    overlap: tuple[float, int] | None = None  # of free answers with their references, and of how many
    evaluated_as: str = ""
    config: dict[str, Any] = field(default_factory=dict)

    @property
    def record(self) -> Record:
        return self.lineage.target.record

    @property
    def learned(self) -> list[SourceLineage]:
        return [source for source in self.lineage.sources if source.learned]

    @property
    def searched(self) -> list[SourceLineage]:
        """The sources that nothing was learned from."""
        return [source for source in self.lineage.sources if not source.learned and source.format not in ("model", "tokenizer")]

    @property
    def invented(self) -> bool:
        """True where all rows are of the sample corpus, in which nothing is true."""
        return bool(self.rows_learned) and all(source.origin.kind == "sample" for source in self.rows_learned)

    @property
    def rows_learned(self) -> list[SourceLineage]:
        """The sources of rows that it learned from."""
        return [source for source in self.learned if source.format not in ("model", "tokenizer")]

    @property
    def flops(self) -> float:
        return sum(training.flops for training in self.trainings)

    @property
    def export(self) -> Step | None:
        """The export that the artifact is; None of a model as it was trained."""
        return self.lineage.target if self.lineage.target.kind == "export" else None

    @property
    def library(self) -> str:
        """The hub's name of the program that reads the files; empty where it has none."""
        to = self.export.record.identity["params"].get("to", "") if self.export else "hf"
        return {"hf": "transformers", "safetensors": "transformers", "gguf": "gguf", "ctranslate2": "ctranslate2"}.get(to, "")

    @property
    def filter_stats(self) -> dict[str, Any]:
        found = self.lineage.of_kind("filter")
        return found[-1].record.stats if found else {}

    @property
    def filter_params(self) -> dict[str, Any]:
        found = self.lineage.of_kind("filter")
        return found[-1].record.identity["params"] if found else {}

    @property
    def architecture(self) -> str:
        return str((self.config.get("architectures") or ["unknown"])[0])

    @property
    def text2text(self) -> bool:
        return bool(self.config.get("is_encoder_decoder"))

    @property
    def context(self) -> int | None:
        """Tokens that it reads at most; None for an architecture without an end, such as RetNet or T5."""
        return self.config.get("max_position_embeddings") if not self.text2text else None

    @property
    def parameters(self) -> int:
        return next((training.stats["parameters"] for training in reversed(self.trainings) if "parameters" in training.stats), 0)

    @property
    def chat(self) -> bool:
        """True where it was tuned on conversations."""
        return any(training.step.kind != "pretrain" for training in self.trainings) or any(
            step.record.identity["params"].get("chat") for step in self.lineage.of_kind("base")
        )


def facts(store: Store, record: Record) -> Facts:
    """The facts of an artifact."""
    found = lineage(store, record)
    licence_of = {source.name: source.licence for source in found.sources if source.learned}
    languages = next((step.record.identity["params"].get("languages") for step in reversed(found.of_kind("filter"))), None) or [
        "zh"
    ]
    scores, name = _scores(store, found)
    return Facts(
        found,
        licences.combined(licence_of),
        sorted(languages, key=lambda language: (language != "zh", language)),
        _recipe(store, record),
        [Training(step) for step in found.steps if step.kind in TRAINING],
        _figures(scores, name),
        scores.get("models", {}).get(name, {}).get("generation") or {},
        _overlap(store, found, name),
        name,
        next(filter(None, (_json(store, one, "config.json") for one in _models(found))), {}),
    )


def _models(found: Lineage) -> list[Record]:
    """The artifact, and of an export the model that it was made from."""
    above = {step.record.key: step.record for step in found.steps}
    target = found.target
    return [target.record, *(above[key] for key in target.reads.values() if target.kind == "export" and key in above)]


def _recipe(store: Store, record: Record) -> str:
    """The name of the recipe whose run made or used the artifact; empty where no run is noted and none made it."""
    noted = next((run["recipe"] for run in store.runs() if record.key in run["artifacts"].values()), "")
    return noted or str(record.made.get("flow_run_name", ""))


def _json(store: Store, record: Record, name: str) -> dict[str, Any]:
    """A JSON file of a model's artifact, wherever in it that stands; empty where there is none."""
    for file in sorted(record.files, key=lambda file: file["path"].count("/")):
        path = store.object(record.key) / file["path"]
        if path.name == name and path.is_file():
            return dict(json.loads(path.read_text("utf-8")))
    return {}


# -- scores -----------------------------------------------------------------------------------------------------------


def _evaluation(store: Store, found: Lineage) -> tuple[Record, str] | None:
    """The newest evaluation of the model, or of the model that it is an export of, and its name there."""
    digests = {record.digest for record in _models(found)}
    for record in reversed(store.records()):
        if record.identity["stage"] != "evaluate":
            continue
        for name, digest in record.identity["inputs"].get("models", ()):
            if digest in digests and (store.object(record.key) / "scores.json").is_file():
                return record, name
    return None


def _scores(store: Store, found: Lineage) -> tuple[dict[str, Any], str]:
    evaluation = _evaluation(store, found)
    if not evaluation:
        return {}, ""
    record, name = evaluation
    return json.loads((store.object(record.key) / "scores.json").read_text("utf-8")), name


def _figures(scores: dict[str, Any], name: str) -> list[Score]:
    """The figures of one model."""
    if not name:
        return []
    model, guessing = scores["models"][name], scores.get("reference", {})
    figures = []
    if told := model.get("facts"):
        every = told["all"]
        figures.append(
            Score(
                "right free answers",
                "facts of the sample",
                every["accuracy"],
                every["n"],
                every["low"],
                every["high"],
                every["chance"],
            )
        )
    for source, tally in (model.get("questions") or {}).get("sources", {}).items():
        figures.append(Score("accuracy", source, tally["accuracy"], tally["n"], tally["low"], tally["high"], tally["chance"]))
    if pairs := model.get("preference"):
        low, high = wilson(round(pairs["accuracy"] * pairs["n"]), pairs["n"])
        figures.append(
            Score("preference accuracy", "held-out pairs", pairs["accuracy"], pairs["n"], low, high, guessing.get("preference"))
        )
    if said := model.get("generation"):
        low, high = wilson(round(said["stop_rate"] * said["n"]), said["n"])
        figures.append(Score("answers that end", "held-out prompts", said["stop_rate"], said["n"], low, high))
    if bits := model.get("bits_per_byte"):
        every = bits["all"]
        figures.append(
            Score("bits per byte", "held-out text", every["value"], every["documents"], chance=guessing.get("bits_per_byte"))
        )
    return figures


def _overlap(store: Store, found: Lineage, name: str) -> tuple[float, int] | None:
    """The mean share of a reference's pairs of neighbouring characters that stand in the free answer, and the number of answers kept."""
    evaluation = _evaluation(store, found)
    path = store.object(evaluation[0].key) / "answers.json" if evaluation else None
    if not path or not path.is_file():
        return None
    shares = []
    for row in json.loads(path.read_text("utf-8")):
        pieces = {row["reference"][place : place + PIECES] for place in range(len(row["reference"]) - PIECES + 1)}
        if pieces and name in row["answers"]:
            shares.append(sum(piece in row["answers"][name] for piece in pieces) / len(pieces))
    return (sum(shares) / len(shares), len(shares)) if shares else None
