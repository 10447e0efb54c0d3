"""The formats of exports: the precisions that each has, the packages that it needs, and the models that it can hold.

What is looked at here is JSON and the names of installed packages, without torch, so that a refusal costs no more than reading it.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from models.pretokenizer import PATTERN

Facts = dict[str, Any]
LLAMAS = ("llama", "qwen2", "qwen3")
K_QUANTS = ("q6_k", "q4_k_m")


@dataclass(frozen=True)
class Format:
    """A format of an export."""

    title: str
    precisions: tuple[str, ...]  # the first one is the default
    extra: str = "export"
    packages: tuple[str, ...] = ()
    packages_of: dict[str, tuple[str, ...]] = field(default_factory=dict)  # precision → packages
    objections: Callable[[Facts, Facts], list[str]] = lambda config, tokenizer: []  # against config.json and tokenizer.json


def _plain_rope(config: Facts) -> bool:
    scaling = config.get("rope_scaling") or config.get("rope_parameters") or {}
    return (scaling.get("rope_type") or scaling.get("type") or "default") == "default"


def _llama_shape(config: Facts, program: str) -> list[str]:
    """Objections to options of transformers' Llamas that a program does not have."""
    lines = []
    if not _plain_rope(config):
        lines.append(
            f"its rotary positions are scaled (rope_scaling), which Hanlin does not write for {program}; export it --to hf"
        )
    if config.get("attention_bias") or config.get("mlp_bias"):
        lines.append(f"its layers have biases (attention_bias, mlp_bias), which {program} does not know; export it --to hf")
    if config.get("use_sliding_window"):
        lines.append(f"its attention is a sliding window, which Hanlin does not write for {program}; export it --to hf")
    return lines


def _gguf(config: Facts, tokenizer: Facts) -> list[str]:
    kind = config.get("model_type", "")
    if kind == "qwen2_moe":
        return [
            "llama.cpp does not divide the weights of a token's experts by their sum (norm_topk_prob), which this model was trained with: it would "
            "load the file and answer something else; export it --to hf"
        ]
    if kind == "t5":
        return ["llama.cpp's server does not run a T5; export it --to ctranslate2, which does, in int8 too"]
    if kind not in LLAMAS:
        return [f"llama.cpp has no {kind or 'such'} model; export it --to hf (with its code where transformers has none)"]
    return _llama_shape(config, "llama.cpp") + _byte_level(tokenizer)


def _byte_level(tokenizer: Facts) -> list[str]:
    """Objections to a tokenizer that llama.cpp would not look up as it does: its `gpt2` tokens with the words of `qwen2`."""
    if not tokenizer or tokenizer.get("model", {}).get("type") != "BPE":
        return ["its tokenizer is no byte-pair encoding (tokenizer.json), which Hanlin writes to GGUF alone; export it --to hf"]
    normaliser = tokenizer.get("normalizer")
    cuts = tokenizer.get("pre_tokenizer") or {}
    parts = cuts.get("pretokenizers", [cuts])
    patterns = [part["pattern"].get("Regex") for part in parts if part.get("type") == "Split"]
    bytewise = [part for part in parts if part.get("type") == "ByteLevel"]
    if patterns != [PATTERN] or not bytewise or any(part.get("use_regex") or part.get("add_prefix_space") for part in bytewise):
        return [
            "its tokenizer cuts words by another pattern than Hanlin's and Qwen's, and llama.cpp would give other token ids; export it --to hf, or "
            "convert that with llama.cpp's convert_hf_to_gguf.py, which knows many"
        ]
    if normaliser:
        return [f"its tokenizer normalises texts ({normaliser.get('type')}), which llama.cpp does not; export it --to hf"]
    return []


FORMATS = {
    "gguf": Format(
        "GGUF, for llama.cpp, Ollama and LM Studio",
        ("f32", "f16", "bf16", "q8_0", "q5_0", "q4_0", *K_QUANTS),
        packages=("gguf", "xllamacpp"),
        objections=_gguf,
    ),
}


def module(to: str) -> str:
    """The module that writes a format. Composed here, since a module's name that stands as text would count as code of every format."""
    return f"models.export.{to}"


def problems(home: Path, to: str, precision: str) -> list[str]:
    """The reasons for which a model cannot be exported so, each with a way out; empty where nothing speaks against it."""
    chosen = FORMATS.get(to)
    if chosen is None:
        return [f"there is no format {to!r}; take one of {', '.join(FORMATS)}"]
    if precision and precision not in chosen.precisions:
        return [f"{to} has no precision {precision!r}; take one of {', '.join(chosen.precisions)}"]
    needed = [*chosen.packages, *chosen.packages_of.get(precision, ())]
    if missing := [package for package in needed if find_spec(package) is None]:
        return [
            f"--to {to} needs the package{'s' * (len(missing) > 1)} {' and '.join(missing)}: pip install 'hanlin[{chosen.extra}]'"
        ]
    return list(chosen.objections(_json(home / "config.json"), _json(home / "tokenizer.json")))


def _json(path: Path) -> Facts:
    return json.loads(path.read_text("utf-8")) if path.is_file() else {}
