"""Cards: README.md with the hub's YAML header, and in words, in English and in Chinese, all that is known of a model or of rows."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import yaml

from tasks.artifacts.store import Record, Store
from tasks.publication import weaknesses
from tasks.publication.facts import Facts, Score, Training, facts
from tasks.publication.licences import ON_HUB, OTHER
from tasks.publication.lineage import drop_rows
from tasks.publication.weaknesses import METRICS, OBJECTS, no_better_than_chance, percent, short

PAGE = "README.md"
ROWS = (
    "documents",
    "conversations",
    "preferences",
    "questions",
    "triples",
    "pretrain",
    "text2text",
    "sft",
    "prompts",
    "pairs",
    "extract",
)
SIZES = ((1e3, "n<1K"), (1e4, "1K<n<10K"), (1e5, "10K<n<100K"), (1e6, "100K<n<1M"), (1e7, "1M<n<10M"), (1e8, "10M<n<100M"))
SPLITS = {"train": "train", "valid": "validation", "test": "test"}


def card(store: Store, record: Record, name: str = "") -> str:
    """The card of an artifact as Markdown. `name` is that of the repository it goes to; empty: recipe and stage.

    Raises `ValueError` for an artifact that is neither a model nor rows.
    """
    found = facts(store, record)
    kind = kind_of(record)
    title = name or "-".join(filter(None, (found.recipe, record.stage)))
    header = _model_header(found, title) if kind == "model" else _dataset_header(found, title)
    text = _rendered(f"{kind}.md.j2", found, title, header)
    if problems := header_problems(text):
        raise AssertionError(f"the card's header is not what the hub takes: {'; '.join(problems)}")
    return text


def kind_of(record: Record) -> str:
    """`model` or `dataset`. Raises `ValueError` for other artifacts."""
    names = [file["path"] for file in record.files]
    if record.identity["stage"] == "export" or any(Path(name).name in ("config.json", "adapter_config.json") for name in names):
        return "model"
    if any(name.split("/")[0] in ROWS and name.endswith(".parquet") for name in names):
        return "dataset"
    raise ValueError(
        f"{record.stage} {record.key[:12]} is neither a model nor rows; name one of pretrain, sft, dpo, export, or of split, filter, dedup, ingest"
    )


# -- the header -------------------------------------------------------------------------------------------------------


def _licence(found: Facts) -> dict[str, Any]:
    verdict = found.verdict
    if verdict.hub != OTHER:
        return {"license": verdict.hub}
    if verdict.licence == OTHER:
        return {"license": OTHER, "license_name": "see-sources", "license_link": f"{PAGE}#licence"}
    return {"license": OTHER, "license_name": verdict.licence.lower(), "license_link": verdict.link or f"{PAGE}#licence"}


def _model_header(found: Facts, title: str) -> str:
    from huggingface_hub import EvalResult, ModelCardData

    results = [
        EvalResult(
            task_type="text-generation",
            dataset_type=re.sub(r"[^a-z0-9]+", "-", score.of.lower()),
            dataset_name=score.of,
            metric_type=score.metric.replace(" ", "_"),
            metric_name=f"{score.metric} (n = {score.n:,})",
            metric_value=round(score.value, 4),
        )
        for score in found.scores
    ]
    datasets = [source.origin.name for source in found.learned if source.origin.kind == "hub"]
    bases = [source.origin.name for source in found.lineage.bases if source.origin.name]
    kinds = [training.step.kind for training in found.trainings]
    lora = any(training.step.record.identity["params"].get("lora") for training in found.trainings)
    tags = ["hanlin", "chinese", found.config.get("model_type", ""), *dict.fromkeys(kinds), "lora" if lora else ""]
    tags += ["conversational"] if found.chat else []
    tags += ["custom_code"] if found.config.get("auto_map") else []
    if found.export:
        tags += [str(found.export.record.identity["params"].get(name, "")) for name in ("to", "precision")]
    data = ModelCardData(
        language=found.languages,
        library_name=found.library or None,
        pipeline_tag="text-generation",
        base_model=bases or None,
        datasets=sorted(set(datasets)) or None,
        tags=[tag for tag in tags if tag],
        model_name=title,
        eval_results=results or None,
        **_licence(found),
    )
    if not results:
        del data.model_name  # nothing but the index of results has a place for it
    return str(data.to_yaml())


def _dataset_header(found: Facts, title: str) -> str:
    from huggingface_hub import DatasetCardData

    rows = sum(source.kept for source in found.learned)
    hub = [source.origin.name for source in found.learned if source.origin.kind == "hub"]
    configs = [{"config_name": name, "data_files": files} for name, files in data_files(found.record).items()]
    data = DatasetCardData(
        language=found.languages,
        pretty_name=title,
        size_categories=[next((name for bound, name in SIZES if rows < bound), "n>1T")],
        source_datasets=sorted(set(hub)) or None,
        task_categories=["text-generation"],
        tags=["hanlin", "chinese"],
        configs=configs,
        **_licence(found),
    )
    return str(data.to_yaml())


def data_files(record: Record) -> dict[str, list[dict[str, str]]]:
    """The hub's `data_files` of each configuration: a folder of rows each. Dropped rows and cuts are none."""
    found: dict[str, list[dict[str, str]]] = {}
    for file in record.files:
        folder, _, name = file["path"].partition("/")
        if folder not in ROWS or not name.endswith(".parquet") or "/" in name:
            continue
        split = SPLITS.get(name.removesuffix(".parquet"), "")
        entry = {"split": split, "path": file["path"]} if split else {"split": "train", "path": f"{folder}/*.parquet"}
        if entry not in found.setdefault(folder, []):
            found[folder].append(entry)
    return found


def header_problems(text: str) -> list[str]:
    """The mistakes in a card's header by the hub's rules, as far as they can be told without asking the hub."""
    match = re.match(r"---\n(.*?)\n---\n", text, re.S)
    if not match:
        return ["there is no header between two lines of ---"]
    try:
        header = yaml.safe_load(match[1])
    except yaml.YAMLError as failure:
        return [f"it is not YAML: {failure}"]
    problems = []
    if header.get("license") not in ON_HUB | {OTHER, "unknown"}:
        problems.append(f"license: {header.get('license')} is no identifier of the hub")
    if header.get("license") == OTHER and not (header.get("license_name") and header.get("license_link")):
        problems.append("license: other needs license_name and license_link")
    if name := header.get("license_name"):
        problems += (
            []
            if re.fullmatch(r"[a-z0-9.+-]+", name)
            else [f"license_name: {name} has other characters than a-z, 0-9, dots and dashes"]
        )
    problems += [f"language: {code}" for code in header.get("language", []) if not re.fullmatch(r"[a-z]{2,3}", code)]
    for field in ("base_model", "datasets", "source_datasets"):
        names = header.get(field) or []
        problems += [
            f"{field}: {name}"
            for name in ([names] if isinstance(names, str) else names)
            if not re.fullmatch(r"[\w.-]+(/[\w.-]+)?", name)
        ]
    for model in header.get("model-index") or []:
        for result in model.get("results", []):
            for needed in (
                result.get("task", {}).get("type"),
                result.get("dataset", {}).get("type"),
                result.get("dataset", {}).get("name"),
            ):
                problems += [] if needed else ["model-index: a result without task or dataset"]
            for metric in result.get("metrics", []):
                problems += (
                    [] if isinstance(metric.get("value"), int | float) else [f"model-index: {metric.get('type')} has no value"]
                )
    return problems


# -- the words --------------------------------------------------------------------------------------------------------


def _rendered(template: str, found: Facts, title: str, header: str) -> str:
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent, "utf-8"),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        autoescape=False,  # Markdown; `cell` takes out what would end a cell
    )
    environment.filters |= {"n": lambda value: f"{value:,}", "pct": percent, "short": short, "cell": _cell}
    of = weaknesses.of_model if template.startswith("model") else weaknesses.of_rows
    page = environment.get_template(template).render(
        title=title,
        header=header,
        facts=found,
        said=of(found),
        filters=list(drop_rows(found.lineage)),
        figures=[_figure(score) for score in found.scores],
        trainings=[_training(training) for training in found.trainings],
        recipe=_recipe_text(found),
        versions=_versions(found),
        commits=sorted({step.commit for step in found.lineage.steps if step.commit}),
        metrics=METRICS,
        objects=OBJECTS,
        uses=_uses(found),
        configs=list(data_files(found.record)),
        compared=_compared(found),
    )
    return re.sub(r"\n{3,}", "\n\n", page).strip() + "\n"


def _cell(text: Any) -> str:
    """A text as it may stand in a cell of a table."""
    return " ".join(str(text).split()).replace("|", "\\|").replace("<", "&lt;")


def _figure(score: Score) -> dict[str, Any]:
    def shown(value: float | None) -> str:
        if value is None:
            return "–"
        return f"{value:.3f}" if score.metric == "bits per byte" else percent(value)

    interval = f"{shown(score.low)} – {shown(score.high)}" if score.low is not None else "–"
    return {
        "metric": score.metric,
        "of": score.of,
        "value": shown(score.value),
        "interval": interval,
        "n": f"{score.n:,}",
        "chance": shown(score.chance),
        "no_better": no_better_than_chance(score),
    }


def _training(training: Training) -> dict[str, str]:
    stats = training.stats
    return {
        "stage": training.step.name,
        "tokens": f"{stats.get('tokens', 0):,}",
        "steps": f"{stats.get('steps', 0):,}",
        "loss": f"{stats['loss']:.3f}" if "loss" in stats else "–",
        "rate": f"{stats['learning_rate']:g}" if "learning_rate" in stats else "–",
        "seed": str(training.step.record.identity["params"].get("seed", "–")),
        "precision": str(stats.get("precision", "–")),
        "hardware": training.hardware,
        "hours": f"{training.hours:.2f} h",
        "flops": f"{training.flops:.2g}",
        "made": training.step.day,
    }


def _compared(found: Facts) -> list[tuple[str, str]]:
    """The figures of an export beside its model, by the program that reads it."""
    figures = found.export.record.stats.get("comparison", {}) if found.export else {}
    lines = []
    for name, said in (("ids", "token ids of texts"), ("template", "conversations as text"), ("greedy", "greedy answers")):
        if equal := figures.get(name):
            lines.append((said, f"{equal['equal']:,} of {equal['of']:,} equal"))
    if distance := figures.get("log_probabilities"):
        kl = f", mean KL divergence {distance['mean_kl']:.2g}" if distance.get("mean_kl") is not None else ""
        lines.append(
            (
                "log-probabilities",
                f"largest difference {distance['largest_difference']:.2g} nats{kl}, at {distance['positions']:,} places",
            )
        )
    return lines


def _recipe_text(found: Facts) -> str:
    """The settings of every step that has some, as YAML: what a person needs to do it again."""
    steps: dict[str, Any] = {}
    for step in found.lineage.steps:
        params = {
            name: value
            for name, value in step.record.identity.get("params", {}).items()
            if value not in (None, "", [], {}, False)
        }
        if params:
            steps.setdefault(step.name, params)
    plain = json.loads(json.dumps(steps))
    return yaml.safe_dump(plain, allow_unicode=True, sort_keys=False, default_flow_style=None, width=120)


def _versions(found: Facts) -> str:
    made = found.record.made
    names = {"python": made.get("python", "unknown"), **made.get("versions", {})}
    return ", ".join(f"{name} {version}" for name, version in names.items())


def _uses(found: Facts) -> list[dict[str, str]]:
    """Rows of each use and source, as the split counted them."""
    stats = next((step.record.stats for step in reversed(found.lineage.steps) if step.kind == "split"), {})
    lines = []
    for use, sides in stats.get("uses", {}).items():
        for source in dict.fromkeys(source for side in sides.values() for source in side):
            amounts = {side: rows.get(source, {"rows": 0, "characters": 0}) for side, rows in sides.items()}
            lines.append(
                {
                    "use": use,
                    "source": source,
                    "train": f"{amounts['train']['rows']:,}",
                    "valid": f"{amounts['valid']['rows']:,}",
                    "characters": f"{sum(amount['characters'] for amount in amounts.values()):,}",
                }
            )
    return lines
