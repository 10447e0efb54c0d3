"""A batch of answers under way, which others join and leave between two steps of the model."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from transformers import DynamicCache, EncoderDecoderCache, PreTrainedModel
from transformers.modeling_outputs import BaseModelOutput

from models.architectures.retnet.cache import RetNetCache
from models.engines.adapter_rows import AdapterRows
from models.engines.row_cache import Rows

CHUNK = 512  # tokens of prompts that are read at once: so long do answers under way wait at most


class HeadInput:
    """The last input of a model's head, (rows, length, hidden size): the representation of each token."""

    def __init__(self, model: PreTrainedModel):
        self.value: Tensor
        model.get_output_embeddings().register_forward_pre_hook(self._note)

    def _note(self, module: Any, inputs: tuple[Tensor, ...]) -> None:
        self.value = inputs[0]


class Reading:
    """Prompts that are being read before their answers join the batch: several short ones, padded on the left, or a long one by chunks."""

    def __init__(self, model: PreTrainedModel, prompts: Sequence[Sequence[int]], adapters: Sequence[str], every: bool = False):
        assert len(prompts) == 1 or max(map(len, prompts)) <= CHUNK
        self.model, self.adapters = model, list(adapters)
        self.lengths = [len(ids) for ids in prompts]
        self.every = every  # the representations of all tokens are kept, for a single prompt
        width = max(self.lengths)
        self.ids = torch.zeros(len(prompts), width, dtype=torch.long)
        for row, ids in enumerate(prompts):
            self.ids[row, width - len(ids) :] = torch.tensor(ids)
        self.ids = self.ids.to(model.device)
        starts = width - torch.tensor(self.lengths, device=model.device)[:, None]
        self.places = torch.arange(width, device=model.device)[None] - starts
        self.mask = (self.places >= 0).long() if min(self.lengths) < width else None
        self.seen = 0
        self.hidden: list[Tensor] = []  # (length, hidden size) of each chunk
        self.logits: Tensor | None = None  # (prompts, vocabulary), once all is read
        self.cache = _new_cache(model)

    def advance(self, head: HeadInput) -> bool:
        """Read a chunk; True once all is read."""
        output = self._read_by_encoder() if self.model.config.is_encoder_decoder else self._read_chunk()
        if self.every:
            self.hidden.append(head.value[0])
        if self.seen == self.ids.shape[1]:
            self.logits = output.logits[:, -1]
        return self.logits is not None

    def _read_chunk(self) -> Any:
        upto = min(self.seen + CHUNK, self.ids.shape[1])
        chunk = slice(self.seen, upto)
        self.seen = upto
        places = {"attention_mask": self.mask}
        if self.mask is None or not _has_states(self.model):  # a RetNet takes positions from the mask
            places["position_ids"] = self.places[:, chunk].clamp(min=0)
        return self.model(
            input_ids=self.ids[:, chunk],
            **places,
            past_key_values=self.cache,
            use_cache=True,
            logits_to_keep=0 if self.every else 1,
        )

    def _read_by_encoder(self) -> Any:
        read = self.model.get_encoder()(input_ids=self.ids, attention_mask=self.mask).last_hidden_state
        self.seen = self.ids.shape[1]
        return self.model(
            encoder_outputs=BaseModelOutput(read),
            attention_mask=self.mask,
            decoder_input_ids=self.ids.new_full((len(self.ids), 1), self.model.config.decoder_start_token_id),
            past_key_values=self.cache,
            use_cache=True,
        )


class Batch:
    """A model, and the rows of its running batch, each with the past of an answer."""

    def __init__(self, model: PreTrainedModel, adapters: AdapterRows):
        self.model, self.adapters = model, adapters
        self.head = HeadInput(model)
        self.rows = Rows()
        self.bool_masks = model.config._attn_implementation == "sdpa"

    def read(self, reading: Reading) -> bool:
        """Read the next chunk of prompts; True once all is read."""
        with self.adapters.of(reading.adapters):
            return reading.advance(self.head)

    def step(self, ids: Sequence[int], adapters: Sequence[str]) -> tuple[Tensor, Tensor]:
        """Give each row its next token; returns the logits of those that may follow, (rows, vocabulary), and the representations of these
        tokens, (rows, hidden size)."""
        self.rows.prepare()
        tokens = torch.tensor(ids, device=self.model.device)[:, None]
        with self.adapters.of(adapters):
            output = self.model(**self._inputs(tokens), past_key_values=self.rows.cache, use_cache=True)
        self.rows.advance()
        return output.logits[:, -1], self.head.value[:, -1]

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


def _new_cache(model: PreTrainedModel) -> Any:
    if _has_states(model):
        return RetNetCache(model.config.num_hidden_layers)
    if model.config.is_encoder_decoder:
        return EncoderDecoderCache(DynamicCache(config=model.config), DynamicCache(config=model.config))
    return DynamicCache(config=model.config)


def check_architecture(model: PreTrainedModel) -> None:
    """`ValueError` for a model whose cache has other layers than full attention or retention: rows cannot be made of them."""
    cache = _new_cache(model)
    if isinstance(cache, DynamicCache) and any(cache.is_sliding):
        raise ValueError(
            f"{model.config.model_type} has attention in a sliding window, whose cache the engine cannot share between requests; serve it with "
            "another engine (--engine vllm)"
        )
