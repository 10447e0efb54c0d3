"""A tokenizer's files: read as its tokenizer.json has them, and written so that transformers 4 and 5 read the same.

transformers 5 builds some classes anew from the vocabulary and the merges of that file, with a cut and a normalisation of the class: that of
every qwen2 model is Qwen2Tokenizer, whatever its files say. A model then reads other ids than it was trained on.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tokenizers import Tokenizer
    from transformers import PreTrainedTokenizerBase

CONFIG = "tokenizer_config.json"
FILES = ("tokenizer.json", CONFIG, "chat_template.jinja")
PARTS = ("normalizer", "pre_tokenizer", "decoder")
OF_ONE_GENERATION = ("backend", "is_local", "local_files_only")  # notes that transformers 5 makes of how it read the files
OFFSETS = ("trim_offsets",)  # settings of parts that say where a token stood, and change no token
DECODES_BYTES = "ByteLevel"  # as a decoder it has settings and heeds none


def read(home: Path, note: Callable[[str], None] = lambda line: None) -> PreTrainedTokenizerBase:
    """The tokenizer of a folder. Where transformers would make another one of its tokenizer.json, that file counts, and what differs is
    noted."""
    from transformers import AutoTokenizer, PreTrainedTokenizerFast

    tokenizer = AutoTokenizer.from_pretrained(home)
    path = home / "tokenizer.json"
    if type(tokenizer) is PreTrainedTokenizerFast or not path.is_file():
        return tokenizer
    if differs := _differences(tokenizer.backend_tokenizer, path):
        note(
            f"transformers reads this tokenizer.json as {type(tokenizer).__name__}, which has {' and '.join(differs)} of its own; the file is "
            "read as it is. Other programs read it so with PreTrainedTokenizerFast.from_pretrained(folder)"
        )
        tokenizer = PreTrainedTokenizerFast.from_pretrained(home)
    return tokenizer


def save(tokenizer: PreTrainedTokenizerBase, home: Path) -> None:
    """Write a tokenizer's files."""
    tokenizer.save_pretrained(home)
    _write_config(json.loads((home / CONFIG).read_text("utf-8")), home)


def copy(source: Path, home: Path) -> None:
    """Copy those of a tokenizer's files that a folder lacks."""
    for name in FILES:
        if (home / name).exists() or not (source / name).exists():
            continue
        if name == CONFIG:
            _write_config(json.loads((source / name).read_text("utf-8")), home)
        else:
            shutil.copyfile(source / name, home / name)


def _write_config(config: dict[str, Any], home: Path) -> None:
    """Write a tokenizer_config.json in the terms that transformers 4 has too: it knows neither the class TokenizersBackend nor a list of
    `extra_special_tokens`."""
    config = {name: value for name, value in config.items() if name not in OF_ONE_GENERATION}
    if config.get("tokenizer_class") == "TokenizersBackend":
        config["tokenizer_class"] = "PreTrainedTokenizerFast"
    if isinstance(config.get("extra_special_tokens"), list):
        config["additional_special_tokens"] = config.pop("extra_special_tokens")
    (home / CONFIG).write_text(json.dumps(config, ensure_ascii=False, indent=2, sort_keys=True) + "\n", "utf-8")


def _differences(built: Tokenizer, path: Path) -> list[str]:
    """The parts in which a tokenizer differs from a tokenizer.json, in words."""
    from tokenizers import Tokenizer

    file = Tokenizer.from_file(str(path))
    words = {"normalizer": "a normalisation", "pre_tokenizer": "a cut into words", "decoder": "a way back to text"}
    differs = [words[part] for part in PARTS if _plain(getattr(built, part)) != _plain(getattr(file, part))]
    settings = (
        "dropout",
        "unk_token",
        "continuing_subword_prefix",
        "end_of_word_suffix",
        "fuse_unk",
        "byte_fallback",
        "ignore_merges",
    )
    models = [(type(one.model), [getattr(one.model, name, None) or None for name in settings]) for one in (built, file)]
    if models[0] != models[1] or built.get_vocab() != file.get_vocab():
        differs.append("a vocabulary")
    return differs


def _plain(part: Any) -> Any:
    """The settings of a part that change tokens or text, as JSON has them; None where there is no part."""
    described = json.loads(part.__getstate__()) if part is not None else None
    if isinstance(described, dict) and described.get("type") == DECODES_BYTES and "decoders" in type(part).__module__:
        return DECODES_BYTES
    return _without_offsets(described)


def _without_offsets(described: Any) -> Any:
    if isinstance(described, dict):
        return {name: _without_offsets(value) for name, value in described.items() if name not in OFFSETS}
    return [_without_offsets(value) for value in described] if isinstance(described, list) else described
