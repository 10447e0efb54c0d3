"""Checks of a recipe across its fields: files that must exist, uses that a flow needs a source for, settings that another field decides.

They read a recipe's data as its file has it, which may have other mistakes too, so that all mistakes are reported at once.
"""

from __future__ import annotations

import difflib
import re
from pathlib import Path
from typing import Any

from flows.base_model import base_problems
from flows.feasibility import feasibility_problems
from flows.paths import expanded, matching_files, unset_variable
from flows.triple_extraction import triple_extraction_problems
from models import presets
from models.architectures import Architecture
from models.engines.vllm_place import vllm_command
from tasks.data.mixture import problems as weight_problems
from tasks.data.uses import MAKES
from tasks.formats import registry


def recipe_problems(data: dict[str, Any], flow: str) -> list[str]:
    """All mistakes across fields, a line each, beginning with the field's full path."""
    root, problems = _raw(data.get("raw") or "")
    section = data.get("sources")
    sources = {k: v for k, v in section.items() if isinstance(v, dict)} if isinstance(section, dict) else {}
    for name, source in sources.items():
        problems += _source(str(name), source, root)
    problems += base_problems(data.get("base"), flow)
    problems += triple_extraction_problems(sources, data.get("extraction"))
    problems += _unserved_uses(sources, flow, data)
    problems += _vllm_problems(data)
    problems += feasibility_problems(data, flow, {use for source in sources.values() for use in _uses(source)})
    weights = _section(data, "pack").get("weights")
    if isinstance(weights, dict) and weights:
        pretrained = [name for name, source in sources.items() if "pretrain" in _uses(source)]
        problems += [f"pack.weights: {problem}" for problem in weight_problems({str(name): 1.0 for name in weights}, pretrained)]
    rules = _section(data, "filter").get("sources")
    for name in rules if isinstance(rules, dict) else ():
        if name not in sources:
            near = difflib.get_close_matches(str(name), map(str, sources), 1)
            hint = f"did you mean {near[0]!r}?" if near else f"sources: {', '.join(map(str, sources))}"
            problems.append(f"filter.sources.{name}: no source of this name; {hint}")
    if _section(data, "split").get("use"):
        problems.append("split.use: decided by sources.<name>.use; remove it here")
    return problems


def _raw(raw: Any) -> tuple[Path | None, list[str]]:
    """The folder of the raw files, where there is one, and the mistakes in it."""
    if not isinstance(raw, str) or not raw:
        return None, []
    if variable := unset_variable(raw):
        return None, [f"raw: the environment variable {variable} is not set; set it to the folder that holds the raw files"]
    root = expanded(raw)
    if not root.is_dir():
        return None, [f"raw: there is no folder {root.absolute()}; put the raw files there, or correct the path"]
    return root, []


def _source(name: str, source: dict[str, Any], root: Path | None) -> list[str]:
    problems = []
    if not re.fullmatch(r"[a-z0-9][a-z0-9-]{0,40}", name):
        problems.append(f"sources.{name}: a source's name is lower-case letters, digits and dashes (it names a stage and a file)")
    path = source.get("path")
    if problem := origin_problem(path, source.get("download")):
        problems.append(f"sources.{name}: {problem}")
    if isinstance(path, str) and Path(path).expanduser().is_absolute() and not any(matching_files(Path(), path)):
        problems.append(f"sources.{name}.path: no file {path}; correct the path or fetch the file")
    elif root is not None and isinstance(path, str) and path and not any(matching_files(root, path)):
        problems.append(f"sources.{name}.path: no file {root.absolute() / path}; correct the path or fetch the file")
    return problems + _column_problems(name, source.get("format"), source.get("columns"))


def _column_problems(name: str, format: object, columns: object) -> list[str]:
    """The mistakes in a source's `columns`."""
    if not isinstance(columns, dict) or not columns:
        return []
    try:
        reader = registry.reader(str(format))
    except ValueError:
        return []  # which the field `format` reports
    where = f"sources.{name}.columns"
    if reader.row is None:
        return [f"{where}: files of format {format} have no columns; remove it"]
    problems = []
    for ours, theirs in columns.items():
        if not isinstance(theirs, str) or not theirs.strip():
            problems.append(f"{where}.{ours}: needs the name that the files give this field")
        elif reader.columns and ours not in reader.columns:
            near = difflib.get_close_matches(str(ours), reader.columns, 1)
            hint = f"did you mean {near[0]!r}?" if near else f"its fields: {', '.join(reader.columns)}"
            problems.append(f"{where}.{ours}: format {format} has no such field; {hint}")
    named = [theirs for theirs in columns.values() if isinstance(theirs, str)]
    problems += [f"{where}: {theirs} is named twice" for theirs in sorted({one for one in named if named.count(one) > 1})]
    return problems


def _section(data: dict[str, Any], name: str) -> dict[str, Any]:
    section = data.get(name)
    return section if isinstance(section, dict) else {}


def _unserved_uses(sources: dict[str, dict[str, Any]], flow: str, data: dict[str, Any]) -> list[str]:
    """The uses that a flow needs and that no source has."""
    every_use = {use for source in sources.values() for use in _uses(source)}
    if not sources:
        return []
    if flow == "corpus":
        missing = [f"sources: none has a use for training; give one of {', '.join(MAKES)} to a source"]
        return [] if every_use & set(MAKES) else missing
    base = data.get("base")
    needs: dict[str, str] = {}
    if flow == "pipeline" or (isinstance(base, dict) and base.get("pretrain")):
        architecture = _architecture(data)
        needs["text2text" if architecture and architecture.text2text else "pretrain"] = "pretraining reads"
    problems = [
        f"sources: none has use: [{use}], which {why}; add it to a source" for use, why in needs.items() if use not in every_use
    ]
    if flow == "finetune" and isinstance(base, dict) and base.get("extend") and not every_use & set(MAKES):
        problems.append(
            f"base.extend: new tokens are learned from texts, and no source has one; give one of {', '.join(MAKES)} to a source"
        )
    if flow == "finetune" and isinstance(base, dict) and base.get("start") and "sft" not in every_use:
        problems.append(
            "base.start: only fine-tuning on rows with use: [sft] goes on from an earlier run; give a source that use, or leave it out"
        )
    if not every_use:
        problems.append("sources: none has a use, so there is nothing to train or to score a model on; add one to a source")
    if problems and flow == "pipeline":
        problems[-1] += " (a model that is there needs no pretraining: base.path=FOLDER; the data half alone: --flow corpus)"
    return problems


def _vllm_problems(data: dict[str, Any]) -> list[str]:
    """The reasons why vLLM cannot generate the rejected answers, given before the model is trained."""
    if _section(data, "rejected").get("engine") != "vllm":
        return []
    architecture = _architecture(data)
    if architecture and not architecture.vllm:
        names = " and ".join(other.name for other in presets.architectures() if other.vllm)
        preset = _section(data, "pretrain")["preset"]
        return [f"rejected.engine: vllm runs {names}, not {preset}; set it to transformers"]
    try:
        vllm_command()
    except ValueError as missing:
        return [f"rejected.engine: {missing}; or set it to transformers"]
    return []


def _uses(source: dict[str, Any]) -> list[str]:
    return [use for use in source["use"] if isinstance(use, str)] if isinstance(source.get("use"), list) else []


def _architecture(data: dict[str, Any]) -> Architecture | None:
    """The architecture of the recipe's preset; None where it names none, or one that is not there, which its field's check reports."""
    preset = _section(data, "pretrain").get("preset")
    try:
        return presets.find(preset) if isinstance(preset, str) else None
    except ValueError:
        return None


def origin_problem(path: object, download: object) -> str | None:
    """The mistake in the choice between a source's `path` and its `download`; None where there is none."""
    if path and download is not None:
        return "has both path: and download:; keep one"
    return None if path or download is not None else "needs path: (files that you have) or download: (files to fetch)"
