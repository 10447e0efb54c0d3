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
Objections = Callable[[Facts, Facts], list[str]]  # to the contents of config.json and tokenizer.json
LLAMAS = ("llama", "qwen2", "qwen3")
K_QUANTS = ("q6_k", "q4_k_m")


@dataclass(frozen=True)
class Format:
    """A format of an export."""

    title: str
    precisions: tuple[str, ...]  # the first one is the default
    packages: tuple[str, ...] = ()
    packages_of: dict[str, tuple[str, ...]] = field(default_factory=dict)  # precision → packages
    objections: Objections = lambda config, tokenizer: []
    objections_of: dict[str, Objections] = field(default_factory=dict)  # precision → objections


def _plain_rope(config: Facts) -> bool:
    scaling = config.get("rope_scaling") or config.get("rope_parameters") or {}
    return (scaling.get("rope_type") or scaling.get("type") or "default") == "default"


def _llama_shape(config: Facts, program: str) -> list[str]:
    """Objections to options of transformers' Llamas that a program does not have."""
    lines = []
    if (activation := config.get("hidden_act", "silu")) not in ("silu", "swish"):
        lines.append(f"its layers use {activation} (hidden_act), and {program} takes silu for granted; export it --to hf")
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
        lines = _llama_shape(config, "llama.cpp") + _byte_level(tokenizer)
        if config.get("norm_topk_prob"):
            lines.append(
                "llama.cpp does not divide the weights of a token's experts by their sum (norm_topk_prob), which this model was trained with: it "
                "would load the file and answer something else; export it --to hf, or train one of the presets whose names end in -undivided"
            )
        if config.get("mlp_only_layers") or config.get("decoder_sparse_step", 1) != 1:
            lines.append("some of its layers have no experts, which Hanlin does not write for llama.cpp; export it --to hf")
        return lines
    if kind == "t5":
        return ["llama.cpp's server does not run a T5; export it --to ctranslate2, which does, in int8 too"]
    if kind == "retnet":
        return ["llama.cpp has no RetNet; export it --to hf, with its code"]
    if kind not in LLAMAS:
        return [
            f"Hanlin writes Llama, Qwen2, Qwen3 and Qwen2-MoE to GGUF, and this is a {kind or 'model of no type'}; export it --to hf, from which "
            "llama.cpp's convert_hf_to_gguf.py converts many others"
        ]
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


def _ctranslate2(config: Facts, tokenizer: Facts) -> list[str]:
    kind = config.get("model_type", "")
    if kind == "t5":
        return []
    if kind not in LLAMAS:
        return [
            f"Hanlin writes T5, Llama, Qwen2 and Qwen3 for CTranslate2, and this is a {kind or 'model of no type'}; export it --to hf"
        ]
    return _llama_shape(config, "CTranslate2")


def _llama2c(config: Facts, tokenizer: Facts) -> list[str]:
    kind, rope = config.get("model_type", ""), config.get("rope_parameters") or {}
    if kind != "llama":
        return [
            f"llama2.c knows Llama alone, and this model is {kind or 'another'} (qwen3: pretrain.qk_norm, qwen2: pretrain.qkv_bias); export it "
            + ("--to gguf" if kind in LLAMAS else "--to hf")
        ]
    lines = _llama_shape(config, "llama2.c") + _byte_level(tokenizer)
    head = config.get("head_dim") or config["hidden_size"] // config["num_attention_heads"]
    if rope.get("rope_theta", config.get("rope_theta", 10_000.0)) != 10_000.0:
        lines.append("its rotary positions have another base than 10,000, which is fixed in llama2.c; export it --to gguf")
    if head * config["num_attention_heads"] != config["hidden_size"]:
        lines.append("its heads are not the hidden size together, which llama2.c takes for granted; export it --to gguf")
    return lines


def _hf_rounded(config: Facts, tokenizer: Facts) -> list[str]:
    if config.get("model_type") in LLAMAS:
        return []
    return [
        "in 8 and 4 bits Hanlin writes Llama, Qwen2 and Qwen3 alone; export it --to hf --dtype bfloat16, or a T5 --to ctranslate2 in int8"
    ]


def _beyond(config: Facts, tokenizer: Facts) -> list[str]:
    """The objection to a tokenizer that has tokens of which the model has no embeddings."""
    vocabulary = tokenizer.get("model", {}).get("vocab", {})
    ids = [len(vocabulary) - 1, *(vocabulary.values() if isinstance(vocabulary, dict) else ())]
    last = max([*ids, *(token["id"] for token in tokenizer.get("added_tokens", ()))])
    rows = config.get("vocab_size")
    if not isinstance(rows, int) or last < rows:
        return []
    return [
        f"its tokenizer has ids up to {last:,}, and the model has embeddings of {rows:,} tokens (vocab_size); the files do not belong together: "
        "copy or fetch the tokenizer.json that came with these weights"
    ]


STORED = ("same", "float32", "bfloat16", "float16")
FORMATS = {
    "hf": Format(
        "a folder for transformers, with RetNet's code where that is needed",
        (*STORED, "8bit", "4bit"),
        packages_of={"8bit": ("bitsandbytes",), "4bit": ("bitsandbytes",)},
        objections_of={"8bit": _hf_rounded, "4bit": _hf_rounded},
    ),
    "safetensors": Format("the same folder with its weights in small shards", STORED),
    "gguf": Format(
        "a file for llama.cpp, Ollama and LM Studio",
        ("f32", "f16", "bf16", "q8_0", "q5_0", "q4_0", *K_QUANTS),
        packages=("gguf", "xllamacpp"),
        objections=_gguf,
    ),
    "ctranslate2": Format(
        "a folder for CTranslate2: T5 and Llama on a processor",
        ("float32", "int8"),
        packages=("ctranslate2",),
        objections=_ctranslate2,
    ),
    "pth": Format("one file of torch.save, which `hanlin export FILE.pth` reads back", STORED),
    "llama2c": Format("files for llama2.c, which decodes and reads no prompt", ("float32",), objections=_llama2c),
}
BESIDE = (
    "config.json",
    "generation_config.json",
    "tokenizer.json",
    "tokenizer_config.json",
    "chat_template.jinja",
)  # of a .pth file


def module(to: str) -> str:
    """The module that writes a format. Composed here, since a module's name that stands as text would count as code of every format."""
    return f"models.export.{to}"


def problems(home: Path, to: str, precision: str) -> list[str]:
    """The reasons for which the model of a folder (its own, or an artifact's) cannot be exported so, each with a way out; empty where nothing
    speaks against it."""
    home = home / "model" if (home / "model" / "config.json").exists() else home
    if lines := unwritable(to, precision):
        return lines
    config, tokenizer = _json(home / "config.json"), _json(home / "tokenizer.json")
    objections = FORMATS[to].objections_of.get(precision, FORMATS[to].objections)
    return _writes_nothing(config) or _beyond(config, tokenizer) or objections(config, tokenizer)


def _writes_nothing(config: Facts) -> list[str]:
    """The objection to a model that gives texts a number, as a reward model does, and writes none."""
    name = (config.get("architectures") or [""])[0]
    if not name.endswith(("ForSequenceClassification", "ForTokenClassification", "ForQuestionAnswering")):
        return []
    return [
        f"it is a {name}, which judges texts and writes none (a reward model is one), and exports are of models that write; export the model "
        "that it was trained from, or load its own folder with transformers, as it is"
    ]


def unwritable(to: str, precision: str) -> list[str]:
    """The reasons for which no model can be exported so on this machine: an unknown format or precision, missing packages."""
    chosen = FORMATS.get(to)
    if chosen is None:
        return [f"there is no format {to!r}; take one of {', '.join(FORMATS)}"]
    if precision and precision not in chosen.precisions:
        return [f"{to} has no precision {precision!r}; take one of {', '.join(chosen.precisions)}"]
    needed = [*chosen.packages, *chosen.packages_of.get(precision, ())]
    if missing := [package for package in needed if find_spec(package) is None]:
        extra = "quant" if "bitsandbytes" in missing else "export"
        return [f"--to {to} needs the package{'s' * (len(missing) > 1)} {' and '.join(missing)}: pip install 'hanlin[{extra}]'"]
    return []


def _json(path: Path) -> Facts:
    return json.loads(path.read_text("utf-8")) if path.is_file() else {}
