"""The comparison of an export with its model: both are asked the same, the export through the program that it is for.

Token ids of 200 awkward texts, chat templates, greedy answers to 20 questions, and log-probabilities along some of them. Figures:

    reader              the program and its version
    ids, template       {equal, of}
    greedy              {equal, of, tokens}; equal token for token, up to the end of the answer or `tokens`
    log_probabilities   {positions, largest_difference, mean_kl}; natural logarithms, KL(model ‖ export) in nats over the whole vocabulary, null
                        where the program tells the probability of single tokens alone

A part that a format has not is null.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch

from models import template
from models.export import awkward
from models.export.source import Source
from models.sampling import Sampling, greedy_config

ANSWER = 32  # tokens of an answer at most
QUESTIONED = 6  # questions along whose answers probabilities are compared
PLACES = 4  # tokens of each of these

Message = dict[str, str]


class Reader:
    """A program that has read an export. A part that it cannot be asked for returns None."""

    name = ""

    def ids(self, text: str) -> list[int] | None:
        """Token ids of a text in which special tokens count as such, and nothing before or after it."""
        return None

    def render(self, messages: Sequence[Message]) -> str | None:
        """A conversation as text, up to where the answer begins."""
        return None

    def greedy(self, prompts: Sequence[Sequence[int]], tokens: int) -> list[list[int]] | None:
        """The likeliest answers, of at least so many tokens where they do not end before; the token that ends one, and what follows it, may be
        there."""
        return None

    def log_probabilities(self, prompt: Sequence[int], answer: Sequence[int]) -> np.ndarray | None:
        """Of every token at each place of an answer, (places, vocabulary); or of the answer's own tokens alone, (places,)."""
        return None

    def close(self) -> None:
        """End the program."""


class Transformers(Reader):
    """A model of transformers with its tokenizer."""

    def __init__(self, model: Any, tokenizer: Any, context: int):
        import transformers

        self.name = f"transformers {transformers.__version__}"
        self.model, self.tokenizer, self.context = model, tokenizer, context

    def ids(self, text: str) -> list[int]:
        return self.tokenizer(text, add_special_tokens=False)["input_ids"]

    def render(self, messages: Sequence[Message]) -> str:
        return self.tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)

    def greedy(self, prompts: Sequence[Sequence[int]], tokens: int) -> list[list[int]]:
        config = greedy_config(self.tokenizer, Sampling(tokens, 0.0, 1.0))
        width = max(map(len, prompts))
        ids = torch.tensor([[config.pad_token_id] * (width - len(prompt)) + list(prompt) for prompt in prompts])
        mask = torch.tensor([[0] * (width - len(prompt)) + [1] * len(prompt) for prompt in prompts])
        with torch.inference_mode():
            made = self.model.generate(ids, attention_mask=mask, generation_config=config).tolist()
        return [row[1 if self.model.config.is_encoder_decoder else width :] for row in made]

    def log_probabilities(self, prompt: Sequence[int], answer: Sequence[int]) -> np.ndarray:
        with torch.inference_mode():
            if self.model.config.is_encoder_decoder:
                start = [self.model.config.decoder_start_token_id, *answer[:-1]]
                logits = self.model(input_ids=torch.tensor([list(prompt)]), decoder_input_ids=torch.tensor([start])).logits[0]
            else:
                logits = self.model(input_ids=torch.tensor([[*prompt, *answer[:-1]]])).logits[0, len(prompt) - 1 :]
        return logits.double().log_softmax(-1).numpy()


def compare(source: Source, reader: Reader, progress: Callable[[str], None]) -> dict[str, Any]:
    """The figures (see above) of an export that `reader` has read."""
    tokenizer = source.tokenizer
    model = Transformers(source.model, tokenizer, source.context)
    figures: dict[str, Any] = {"reader": reader.name}
    progress("token ids")
    ids = [(model.ids(text), reader.ids(text)) for text in awkward.texts()]
    figures["ids"] = None if ids[0][1] is None else _counted(ids)
    progress("template")
    own = template.name_of(tokenizer) == template.OWN
    rendered = model.render if own else lambda turns: template.render(tokenizer, turns, reply=True)
    texts = [(rendered(turns), reader.render(turns)) for turns in awkward.conversations()]
    figures["template"] = None if texts[0][1] is None else _counted(texts)
    progress("answers")
    stops = template.stops(tokenizer)
    prompts, rooms = zip(*_prompts(source), strict=True)
    answers = [_ended(ids, stops)[:room] for ids, room in zip(model.greedy(prompts, ANSWER), rooms, strict=True)]
    made = reader.greedy(prompts, ANSWER)
    read = made and [_ended(ids, stops)[:room] for ids, room in zip(made, rooms, strict=True)]
    figures["greedy"] = read and {**_counted(list(zip(answers, read, strict=True))), "tokens": ANSWER}
    progress("log-probabilities")
    figures["log_probabilities"] = _distances(model, reader, prompts[:QUESTIONED], answers)
    return figures


def _prompts(source: Source) -> list[tuple[list[int], int]]:
    """The questions as prompts, each with the tokens that its answer may have. Where the context is too short for all of them, each has its
    last tokens alone: any will do for a comparison. `ValueError` for a context that holds next to nothing."""
    asked = [[{"role": "user", "content": question}] for question in awkward.QUESTIONS]
    prompts = [ids for ids, _ in template.encode(source.tokenizer, asked, reply=True)]
    rooms = [(ids, min(ANSWER, source.context - len(ids))) for ids in prompts]
    fitting = [(ids, room) for ids, room in rooms if room >= PLACES]
    if not fitting and source.context <= PLACES:
        raise ValueError(
            f"the model's context of {source.context} tokens has no room for a question and an answer, so an export could not be compared with "
            "it; correct max_position_embeddings in its config.json, if that is wrong"
        )
    return fitting or [(ids[-(source.context - PLACES) :], PLACES) for ids in prompts]


def _ended(ids: Sequence[int], stops: Sequence[int]) -> list[int]:
    """Ids before the first that ends an answer."""
    return list(ids[: next((place for place, token in enumerate(ids) if token in stops), len(ids))])


def _counted(pairs: Sequence[tuple[Any, Any]]) -> dict[str, int]:
    return {"equal": sum(mine == read for mine, read in pairs), "of": len(pairs)}


def _distances(
    model: Reader, reader: Reader, prompts: Sequence[Sequence[int]], answers: Sequence[list[int]]
) -> dict[str, Any] | None:
    largest, divergences, positions = 0.0, [], 0
    for prompt, answer in zip(prompts, answers, strict=False):
        path = [*answer, *prompt][:PLACES]  # an answer that ends at once is made longer: any tokens will do
        wanted, found = model.log_probabilities(prompt, path), reader.log_probabilities(prompt, path)
        if wanted is None or found is None:
            return None
        if found.ndim == 1:
            wanted = wanted[np.arange(len(path)), path]
        else:
            wanted = wanted[:, : found.shape[1]]
            divergences += (np.exp(wanted) * (wanted - found)).sum(1).tolist()
        largest = max(largest, float(np.abs(wanted - found).max()))
        positions += len(path)
    mean = max(0.0, float(np.mean(divergences))) if divergences else None  # float32 may fall below 0, a divergence does not
    return {"positions": positions, "largest_difference": largest, "mean_kl": mean}
