"""A batch of answers under way, which others join and leave between two steps of the model."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from transformers import DynamicCache, EncoderDecoderCache, PreTrainedModel
from transformers.modeling_outputs import BaseModelOutput

from models.architectures.retnet.cache import RetNetCache
from models.serve import row_cache

CHUNK = 512  # tokens of a prompt that are read at once: so long do answers under way wait at most


class Reading:
    """A prompt that is being read, a chunk at a time, before its answer joins the batch."""

    def __init__(self, model: PreTrainedModel, ids: Sequence[int], start: int | None, every: bool = False):
        self.model = model
        self.ids = torch.tensor([list(ids)], device=model.device)
        self.start = start  # the token that a decoder with an encoder begins with
        self.every = every  # the inputs of the head are kept for all tokens, not just the last
        self.seen = 0
        self.hidden: list[Tensor] = []
        self.logits: Tensor | None = None  # (1, vocabulary), once all is read
        self.cache: Any = RetNetCache(model.config.num_hidden_layers) if _has_states(model) else None
        if self.cache is None:
            self.cache = DynamicCache(config=model.config)
            if start is not None:
                self.cache = EncoderDecoderCache(self.cache, DynamicCache(config=model.config))

    def advance(self, head: HeadInput) -> bool:
        """Read a chunk; True once all is read."""
        if self.start is not None:
            read = self.model.get_encoder()(input_ids=self.ids).last_hidden_state
            output = self.model(
                encoder_outputs=BaseModelOutput(read),
                decoder_input_ids=self.ids.new_full((1, 1), self.start),
                past_key_values=self.cache,
                use_cache=True,
            )
            self.seen = self.ids.shape[1]
        else:
            upto = min(self.seen + CHUNK, self.ids.shape[1])
            output = self.model(
                input_ids=self.ids[:, self.seen : upto],
                position_ids=torch.arange(self.seen, upto, device=self.ids.device)[None],
                past_key_values=self.cache,
                use_cache=True,
                logits_to_keep=0 if self.every else 1,
            )
            self.seen = upto
        if self.every:
            self.hidden.append(head.value[0])
        if self.seen == self.ids.shape[1]:
            self.logits = output.logits[:, -1]
        return self.logits is not None


class HeadInput:
    """The last input of a model's head, (rows, length, hidden size): the representation of each token."""

    def __init__(self, model: PreTrainedModel):
        self.value: Tensor
        model.get_output_embeddings().register_forward_pre_hook(self._note)

    def _note(self, module: Any, inputs: tuple[Tensor, ...]) -> None:
        self.value = inputs[0]


class Batch:
    """The rows of a model's running batch, each with the past of an answer."""

    def __init__(self, model: PreTrainedModel):
        self.model = model
        self.rows = row_cache.Rows()
        self.bool_masks = model.config._attn_implementation == "sdpa"

    def step(self, ids: Sequence[int]) -> Tensor:
        """Give each row its next token; returns the logits of those that may follow, (rows, vocabulary)."""
        self.rows.prepare()
        tokens = torch.tensor(ids, device=self.model.device)[:, None]
        logits: Tensor = self.model(**self._inputs(tokens), past_key_values=self.rows.cache, use_cache=True).logits[:, -1]
        self.rows.advance()
        return logits

    def _inputs(self, tokens: Tensor) -> dict[str, Any]:
        columns, device = self.rows.columns, tokens.device
        starts = torch.tensor(columns.starts, device=device)[:, None]
        if _has_states(self.model):
            return {"input_ids": tokens, "position_ids": columns.end - starts}
        seen = torch.arange(columns.start, columns.end + 1, device=device) >= starts
        if not self.model.config.is_encoder_decoder:
            return {"input_ids": tokens, "position_ids": columns.end - starts, "attention_mask": self._mask(seen)}
        width = max(self.rows.prompts)
        prompt = torch.arange(width, device=device) < torch.tensor(self.rows.prompts, device=device)[:, None]
        hidden = torch.empty(1, device=device).expand(len(tokens), width, self.model.config.d_model)  # keys and values are there
        return {
            "decoder_input_ids": tokens,
            "decoder_attention_mask": self._mask(seen),
            "encoder_outputs": BaseModelOutput(hidden),
            "attention_mask": self._mask(prompt),
        }

    def _mask(self, seen: Tensor) -> Tensor:
        """The mask of one query a row, (rows, 1, 1, columns), as the model's attention takes it."""
        mask = seen[:, None, None]
        if self.bool_masks:
            return mask
        return torch.zeros_like(mask, dtype=self.model.dtype).masked_fill_(~mask, torch.finfo(self.model.dtype).min)


def _has_states(model: PreTrainedModel) -> bool:
    return bool(model.config.model_type == "retnet")
