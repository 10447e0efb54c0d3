"""A folder of CTranslate2 (https://opennmt.net/CTranslate2), which runs a T5 or a Llama on a processor, in int8 too.

It takes tokens, not ids, and knows no templates: the tokenizer's files lie beside the model.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from models import heads, template
from models.export import hf
from models.export.comparison import Message, Reader
from models.export.source import Source


def write(source: Source, out: Path, precision: str, note: Callable[[str], None]) -> dict[str, Any]:
    """Write the folder; returns a line that uses it."""
    import ctranslate2
    from transformers.utils.logging import disable_progress_bar

    logging.getLogger("transformers").setLevel(logging.ERROR)
    disable_progress_bar()

    class Converter(ctranslate2.converters.TransformersConverter):
        """The package's converter, of a model whose head divides as we read it: transformers 5 calls every head of a T5 shared."""

        def load_model(self, *arguments: Any, **options: Any) -> Any:
            model = super().load_model(*arguments, **options)
            heads.settle(model, source.described)
            return model

    converter = Converter(str(source.home))
    converter.convert(str(out), quantization=None if precision == "float32" else precision, force=True)
    path = out / "config.json"
    config = json.loads(path.read_text("utf-8"))
    # a token that the tokenizer has not is written as null, and does not load; a tokenizer of bytes never uses the one for what is unknown
    config |= {name: source.tokenizer.eos_token for name, token in config.items() if name.endswith("_token") and token is None}
    path.write_text(json.dumps(config, ensure_ascii=False, indent=2) + "\n", "utf-8")
    hf.write_tokenizer(source, out)
    kind = "Translator" if source.text2text else "Generator"
    return {"use": f"ctranslate2.{kind}(FOLDER), with the tokens of PreTrainedTokenizerFast.from_pretrained(FOLDER)"}


def reader(source: Source, out: Path, facts: dict[str, Any]) -> CTranslate2:
    """CTranslate2 with the folder."""
    return CTranslate2(out, source)


class CTranslate2(Reader):
    """A model in CTranslate2, on one thread."""

    def __init__(self, folder: Path, source: Source):
        import ctranslate2
        from transformers import PreTrainedTokenizerFast

        self.name = f"CTranslate2 {ctranslate2.__version__}"
        self._tokenizer = PreTrainedTokenizerFast.from_pretrained(folder)
        [vocabulary] = folder.glob("*vocabulary.json")
        self._tokens: list[str] = json.loads(vocabulary.read_text("utf-8"))
        self._ids = {token: number for number, token in enumerate(self._tokens)}
        self._stops = self._tokenizer.convert_ids_to_tokens(template.stops(source.tokenizer))
        self._text2text = source.text2text
        kind = ctranslate2.Translator if self._text2text else ctranslate2.Generator
        self._model = kind(str(folder), device="cpu", intra_threads=1, inter_threads=1)

    def ids(self, text: str) -> list[int]:
        """The places of the tokens in CTranslate2's own vocabulary."""
        tokens = self._tokenizer.convert_ids_to_tokens(self._tokenizer(text, add_special_tokens=False)["input_ids"])
        return [self._ids[token] for token in tokens]

    def render(self, messages: Sequence[Message]) -> str:
        return self._tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)

    def greedy(self, prompts: Sequence[Sequence[int]], tokens: int) -> list[list[int]]:
        rows = [[self._tokens[number] for number in ids] for ids in prompts]
        if self._text2text:
            found = self._model.translate_batch(rows, beam_size=1, max_decoding_length=tokens, end_token=self._stops)
            return [[self._ids[token] for token in one.hypotheses[0]] for one in found]
        found = self._model.generate_batch(
            rows, sampling_topk=1, max_length=tokens, end_token=self._stops, include_prompt_in_result=False
        )
        return [one.sequences_ids[0] for one in found]

    def log_probabilities(self, prompt: Sequence[int], answer: Sequence[int]) -> np.ndarray:
        rows = [[self._tokens[number] for number in ids] for ids in (prompt, answer)]
        if self._text2text:
            [scored] = self._model.score_batch([rows[0]], [rows[1]])
            return np.array(scored.log_probs[: len(answer)])
        [said] = np.array(self._model.forward_batch([rows[0] + rows[1][:-1]], return_log_probs=True))
        return said[len(prompt) - 1 :].astype(np.float64)
