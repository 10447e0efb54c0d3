"""The source of an export: a model's folder, of which the configuration, the tokenizer and single tensors are read when they are asked for."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from safetensors import SafetensorError, safe_open
from transformers import AutoModelForCausalLM, AutoModelForSeq2SeqLM

from models import template, tokenizer_files
from models.loading import config_of, context_of, described, home_of, load
from models.pretokenizer import NAME

if TYPE_CHECKING:
    import numpy as np
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

WIDTHS = {"F64": 8, "F32": 4, "BF16": 2, "F16": 2}  # bytes of a number, by safetensors' name of its type
LONGEST = 4096  # tokens of context that a reader is given at most, for the comparison


class Whole:
    """A reader of models, in front of one of transformers' own, that refuses one with weights missing: transformers fills these with random
    numbers."""

    @classmethod
    def from_pretrained(cls, home: Path, **options: Any) -> PreTrainedModel:
        reader: Any = super()
        model, report = reader.from_pretrained(home, output_loading_info=True, ignore_mismatched_sizes=True, **options)
        if missing := sorted({*report["missing_keys"], *(name for name, *_ in report["mismatched_keys"])}):
            raise ValueError(
                f"{home}: {len(missing)} of the weights that config.json describes are not in the files, or of another shape "
                f"({', '.join(missing[:3])}{' …' * (len(missing) > 3)}), so these do not belong together; copy or fetch the folder again"
            )
        return model


class WholeCausalLM(Whole, AutoModelForCausalLM):
    """A reader of whole decoders."""


class WholeSeq2SeqLM(Whole, AutoModelForSeq2SeqLM):
    """A reader of whole encoder-decoders."""


class Source:
    """A model to export. `home` is the folder of its files."""

    pretokenizer = NAME

    def __init__(self, folder: Path):
        self.home = home_of(folder)
        self.described = described(self.home)  # config.json as it is written
        self.config: dict[str, Any] = config_of(self.home).to_dict()

    @cached_property
    def tokenizer(self) -> PreTrainedTokenizerBase:
        """The tokenizer, with its template as it is written today: a model may have been saved with an earlier form of the same template."""
        tokenizer = tokenizer_files.read(self.home)
        if (name := template.name_of(tokenizer)) != template.OWN:
            template.use(tokenizer, name)
        return tokenizer

    @property
    def chat_template(self) -> str:
        return str(self.tokenizer.chat_template)

    @cached_property
    def model(self) -> PreTrainedModel:
        """The model in float32 on the CPU. `ValueError` where a weight that its configuration describes is not there."""
        _ = self._files  # which are looked at first
        model, _ = load(self.home, torch.device("cpu"), WholeSeq2SeqLM if self.text2text else WholeCausalLM)
        return model

    @property
    def text2text(self) -> bool:
        return bool(self.config.get("is_encoder_decoder"))

    @property
    def context(self) -> int:
        """Tokens of a prompt and its answer together; of a long context, as many as a comparison needs."""
        return min(context_of(config_of(self.home)), LONGEST)

    @property
    def tied(self) -> bool:
        """True where the embeddings serve as the head."""
        return bool(self.config.get("tie_word_embeddings")) or "lm_head.weight" not in self.shapes

    @cached_property
    def merges(self) -> list[tuple[str, str]]:
        """The merges of a byte-pair tokenizer, in their order."""
        merges = json.loads((self.home / "tokenizer.json").read_text("utf-8"))["model"]["merges"]
        return [tuple(pair.split(" ") if isinstance(pair, str) else pair) for pair in merges]

    @cached_property
    def _files(self) -> dict[str, Path]:
        """Tensor → the file that holds it."""
        files: dict[str, Path] = {}
        for path in sorted(self.home.glob("*.safetensors")):
            try:
                with safe_open(path, "pt") as tensors:
                    files |= dict.fromkeys(tensors.keys(), path)
            except SafetensorError as failure:
                raise ValueError(f"{path} is damaged ({failure}); copy or fetch it again") from failure
        return files

    @cached_property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Tensor → shape, in the order of their names."""
        shapes = {}
        for name, path in sorted(self._files.items()):
            with safe_open(path, "pt") as tensors:
                shapes[name] = tuple(tensors.get_slice(name).get_shape())
        return shapes

    def tensor(self, name: str) -> np.ndarray:
        """A tensor in float32."""
        return self.stored(name, torch.float32).numpy()

    def stored(self, name: str, dtype: torch.dtype | None = None) -> torch.Tensor:
        """A tensor as it is stored, or in another type of numbers."""
        with safe_open(self._files[name], "pt") as tensors:
            return tensors.get_tensor(name).to(dtype)

    def sizes(self, dtype: torch.dtype | None = None) -> Iterator[tuple[str, int]]:
        """Each tensor and its bytes, as it is stored or in another type of numbers."""
        for name, path in sorted(self._files.items()):
            with safe_open(path, "pt") as tensors:
                part = tensors.get_slice(name)
                width = dtype.itemsize if dtype else WIDTHS[part.get_dtype()]
                yield name, math.prod(part.get_shape()) * width
