"""A folder that transformers loads: configuration, weights in shards of safetensors, tokenizer, template, and how to draw answers.

RetNet is no model of transformers': its code comes along, named in config.json (`auto_map`), and is run by those who pass
`trust_remote_code=True` and by nobody else. Tensors are written one shard at a time, so memory holds a shard and no model.
"""

from __future__ import annotations

import importlib.util
import json
import logging
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file

from models import template, tokenizer_files
from models.export.comparison import Transformers
from models.export.source import Source

SAMPLING = {"do_sample": True, "temperature": 0.7, "top_p": 0.9}  # as `hanlin chat` draws
CODE = "models.architectures.retnet"
AUTO_MAP = {
    "AutoConfig": "configuration.RetNetConfig",
    "AutoModel": "modelling.RetNetModel",
    "AutoModelForCausalLM": "modelling.RetNetForCausalLM",
}
SHARD = 4_000_000_000  # bytes of a file at most, unless one tensor is larger
ROUNDED = {"8bit": 8, "4bit": 4}


def write(source: Source, out: Path, precision: str, note: Callable[[str], None], shard: int = SHARD) -> dict[str, Any]:
    """Write the folder; returns a line that uses it."""
    if precision in ROUNDED:
        _write_rounded(source, out, ROUNDED[precision])
    else:
        config = dict(source.described)
        if precision != "same":
            config = {name: value for name, value in config.items() if name != "torch_dtype"} | {"dtype": precision}
        code = source.config["model_type"] == "retnet"
        if code:
            config["auto_map"] = AUTO_MAP
            _write_code(out)
            note(
                "transformers has no RetNet: its code is in the folder, and is run only for those who pass trust_remote_code=True"
            )
        _write_json(out / "config.json", config)
        write_weights(source, out, precision, shard)
    write_generation(source, out)
    write_tokenizer(source, out)
    differs: list[str] = []
    tokenizer_files.read(out, differs.append)
    for line in differs:
        note(line)
    code = source.config["model_type"] == "retnet"  # AutoTokenizer would ask for it, too
    tokenizer = "PreTrainedTokenizerFast" if differs or code else "AutoTokenizer"
    trust = ", trust_remote_code=True" if code else ""
    kind = "Seq2SeqLM" if source.text2text else "CausalLM"
    return {"use": f"AutoModelFor{kind}.from_pretrained(FOLDER{trust}), with {tokenizer}.from_pretrained(FOLDER)"}


def reader(source: Source, out: Path, facts: dict[str, Any]) -> Transformers:
    """transformers with the folder. It computes in float32, but for models in 8 and 4 bits."""
    from transformers import AutoModelForCausalLM, AutoModelForSeq2SeqLM, GenerationConfig
    from transformers.dynamic_module_utils import get_class_from_dynamic_module
    from transformers.utils.logging import disable_progress_bar

    described = json.loads((out / "config.json").read_text("utf-8"))
    kind = AutoModelForSeq2SeqLM if source.text2text else AutoModelForCausalLM
    if described.get(
        "auto_map"
    ):  # written here a moment ago; the class of that name which is registered is not what others will run
        kind = get_class_from_dynamic_module(described["auto_map"]["AutoModelForCausalLM"], str(out))
    options: dict[str, Any] = {"dtype": torch.float32}
    if described.get("quantization_config"):
        options = {"device_map": {"": "cpu"}}
        logging.getLogger("bitsandbytes").setLevel(logging.ERROR)
    disable_progress_bar()
    model = kind.from_pretrained(out, **options).eval()
    assert model.generation_config.eos_token_id == template.stops(source.tokenizer)
    model.generation_config = GenerationConfig()  # what is compared is the likeliest answer
    return Transformers(model, tokenizer_files.read(out), source.context)


def write_weights(source: Source, out: Path, precision: str, shard: int) -> None:
    """Write the tensors under their names, in files of `shard` bytes at most, with an index where there are several."""
    dtype = None if precision == "same" else getattr(torch, precision)
    shards: list[list[str]] = [[]]
    size = total = 0
    for name, bytes_ in source.sizes(dtype):
        if shards[-1] and size + bytes_ > shard:
            shards.append([])
            size = 0
        shards[-1].append(name)
        size, total = size + bytes_, total + bytes_
    files: dict[str, str] = {}
    for number, names in enumerate(shards):
        file = f"model-{number + 1:05d}-of-{len(shards):05d}.safetensors" if len(shards) > 1 else "model.safetensors"
        tensors = {name: source.stored(name, dtype) for name in names}
        save_file(tensors, out / file, metadata={"format": "pt"})
        files |= dict.fromkeys(names, file)
    if len(shards) > 1:
        _write_json(out / "model.safetensors.index.json", {"metadata": {"total_size": total}, "weight_map": files})


def write_generation(source: Source, out: Path) -> None:
    """Write generation_config.json: the tokens that end an answer, and how to draw one."""
    path = source.home / "generation_config.json"
    said = json.loads(path.read_text("utf-8")) if path.exists() else {}
    tokenizer = source.tokenizer
    ids = {"eos_token_id": template.stops(tokenizer), "pad_token_id": tokenizer.pad_token_id}
    if source.text2text:
        ids["decoder_start_token_id"] = source.config["decoder_start_token_id"]
    kept = {name: value for name, value in said.items() if not name.startswith("output_") and name != "_from_model_config"}
    _write_json(out / "generation_config.json", SAMPLING | kept | {name: one for name, one in ids.items() if one is not None})


def write_tokenizer(source: Source, out: Path) -> None:
    """Write the tokenizer's files, with the template in today's form."""
    tokenizer_files.copy(source.home, out)
    if source.tokenizer.chat_template and template.name_of(source.tokenizer) != template.OWN:
        (out / "chat_template.jinja").write_text(source.chat_template, "utf-8")


def _write_rounded(source: Source, out: Path, bits: int) -> None:
    from transformers import BitsAndBytesConfig
    from transformers.utils.logging import disable_progress_bar

    from models.loading import load

    logging.getLogger("bitsandbytes").setLevel(logging.ERROR)
    config = BitsAndBytesConfig(load_in_8bit=True)
    if bits == 4:
        config = BitsAndBytesConfig(
            load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_use_double_quant=True, bnb_4bit_compute_dtype=torch.bfloat16
        )
    model, _ = load(source.home, torch.device("cpu"), quantization_config=config, device_map={"": "cpu"})
    disable_progress_bar()
    model.save_pretrained(out)


def _write_code(out: Path) -> None:
    """The modules of RetNet, with imports of each other as transformers follows them."""
    home = Path(importlib.util.find_spec(CODE).origin).parent  # type: ignore[union-attr, arg-type]
    for path in sorted(home.glob("*.py")):
        if path.name != "__init__.py":
            text = path.read_text("utf-8").replace(f"from {CODE}.", "from .")
            # transformers copies a file that `from .file import name` names, and not one of `from . import file`
            text = re.sub(
                rf"^from {CODE} import (\w+)$", r"from . import \1\nfrom .\1 import torch as _", text, flags=re.MULTILINE
            )
            (out / path.name).write_text(text, "utf-8")


def _write_json(path: Path, value: object) -> None:
    path.write_text(json.dumps(value, ensure_ascii=False, indent=2, sort_keys=True) + "\n", "utf-8")
