"""Decoding in batches with transformers: prompts of token ids in, answers out, the same whatever else is in the batch."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from transformers import GenerationConfig, LogitsProcessorList, PreTrainedModel, PreTrainedTokenizerBase
from transformers.modeling_outputs import BaseModelOutput

from models import template
from models.continuous_batching import ContinuousBatch, is_supported
from models.loading import context_of
from models.sampling import Sampling, greedy_config
from models.threads import threads

SHARD = 4  # batches in a shard of answers: the more, the less of its time goes into its last answers, few at a time
COMPACT = 2  # tokens after which answers that have ended leave the batch: going on costs less than a step of a few rows


@dataclass(frozen=True)
class Answer:
    """An answer as text, without its stop token."""

    text: str
    tokens: int  # with the stop token
    end: str  # stop, length or too_long

    @classmethod
    def of(cls, tokenizer: PreTrainedTokenizerBase, tokens: list[int], stops: Sequence[int]) -> Answer:
        """The answer in written tokens: those before the first stop token."""
        length = next((place for place, token in enumerate(tokens) if token in stops), None)
        written = tokens if length is None else tokens[:length]
        text = tokenizer.decode(written, skip_special_tokens=True)
        return cls(text, len(written) + (length is not None), "length" if length is None else "stop")


class Engine(Protocol):
    """An inference engine: a loaded model that answers batches of prompts."""

    tokenizer: PreTrainedTokenizerBase
    context: int  # tokens of a prompt and its answer together
    name: str  # with its version

    def answer(
        self, prompts: Sequence[Sequence[int]], sampling: Sampling, seeds: Sequence[int], done: Callable[[int], Any] | None = None
    ) -> list[Answer]:
        """An answer to each prompt (token ids), in their order; the same again for the same prompts and seeds. `done` is told the number of
        finished answers now and then."""
        ...


def answer(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    prompts: Sequence[Sequence[int]],
    sampling: Sampling,
    seeds: Sequence[int] = (),
    *,
    slots: int = 64,
    done: Callable[[int], Any] | None = None,
) -> list[Answer]:
    """Answer prompts (token ids), `slots` at a time. An answer ends at the end of a turn or of a document. `seeds`: one a prompt, for answers
    that are drawn; 0 to n − 1 where none are given.

    A model whose cache has no rows of its own is answered in batches that wait for their longest answer.
    """
    room = context_of(model) - sampling.max_new_tokens
    fitting = [number for number, ids in enumerate(prompts) if len(ids) <= room]
    answers = [Answer("", 0, "too_long")] * len(prompts)
    if not fitting:
        return answers
    stops = template.stops(tokenizer)
    seeds = seeds or range(len(prompts))
    with torch.inference_mode(), threads(model, min(slots, len(fitting))):
        if is_supported(model):
            batch = ContinuousBatch(model, [prompts[number] for number in fitting], slots)
            written = batch.write(sampling, stops, [seeds[number] for number in fitting], done)
        else:
            written = []
            for start in range(0, len(fitting), slots):
                some = fitting[start : start + slots]
                torch.manual_seed(seeds[some[0]])
                written += _padded(model, tokenizer, [prompts[number] for number in some], sampling)
    for number, tokens in zip(fitting, written, strict=True):
        answers[number] = Answer.of(tokenizer, tokens, stops)
    return answers


def _padded(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, prompts: Sequence[Sequence[int]], sampling: Sampling
) -> list[list[int]]:
    """The tokens after each prompt of a batch that is padded on the left, so that every answer starts in the same column."""
    config = greedy_config(tokenizer, sampling)
    width = max(map(len, prompts))
    ids = torch.full((len(prompts), width), config.pad_token_id, device=model.device)
    mask = torch.zeros_like(ids)
    for row, prompt in enumerate(prompts):
        ids[row, width - len(prompt) :] = torch.tensor(prompt)
        mask[row, width - len(prompt) :] = 1
    return _written(model, ids, mask, config, sampling.processors())


def _written(
    model: PreTrainedModel, ids: torch.Tensor, mask: torch.Tensor, config: GenerationConfig, processors: LogitsProcessorList
) -> list[list[int]]:
    """The tokens after each prompt, to its stop token (and padding) or to the limit; ids and mask (rows, width).

    Every few tokens the answers that have ended leave the batch, with their part of the cache: otherwise all wait for the longest.
    """
    inputs: dict[str, Any] = {"attention_mask": mask}
    name = "input_ids"
    if model.config.is_encoder_decoder:
        name, inputs["encoder_outputs"] = "decoder_input_ids", model.get_encoder()(input_ids=ids, attention_mask=mask)
        ids = ids.new_full((len(ids), 1), config.decoder_start_token_id)
    config.return_dict_in_generate = True  # for its cache
    stops = ids.new_tensor(config.eos_token_id)
    written: list[list[int]] = [[] for _ in ids]
    rows, left = torch.arange(len(ids), device=ids.device), config.max_new_tokens
    while left and len(rows):
        config.max_new_tokens = min(COMPACT, left) if len(rows) > 1 else left
        output = model.generate(**{name: ids}, **inputs, generation_config=config, logits_processor=processors)
        new = output.sequences[:, ids.size(1) :]
        for row, tokens in zip(rows.tolist(), new.tolist(), strict=True):
            written[row] += tokens
        left -= new.size(1)
        going = (~torch.isin(new, stops).any(1)).nonzero()[:, 0]
        rows, ids = rows[going], output.sequences[going]
        inputs["past_key_values"] = output.past_key_values
        output.past_key_values.batch_select_indices(going)
        inputs["attention_mask"] = inputs["attention_mask"][going]
        if "encoder_outputs" in inputs:
            inputs["encoder_outputs"] = BaseModelOutput(inputs["encoder_outputs"].last_hidden_state[going])
            # without a mask as long as the tokens, transformers takes all of them for new ones and reads them once more
            inputs["decoder_attention_mask"] = torch.ones_like(ids)
        else:
            inputs["attention_mask"] = torch.cat([inputs["attention_mask"], torch.ones_like(new[going])], 1)
    return written


def batches(lengths: Sequence[int], size: int) -> list[list[int]]:
    """Row numbers in batches of rows of about the same length, the longest first: what does not fit in memory fails at once."""
    order = sorted(range(len(lengths)), key=lambda row: (-lengths[row], row))
    return [order[start : start + size] for start in range(0, len(order), size)]
