"""A batch of answers under way, which others join and leave between two steps of the model."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional
from transformers import DynamicCache, EncoderDecoderCache, PreTrainedModel
from transformers.modeling_outputs import BaseModelOutput

from models.architectures.retnet.cache import RetentionState, RetNetCache
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


class Prefix:
    """The beginning that several prompts share, read once: its ids, and its cache of one row."""

    def __init__(self, model: PreTrainedModel, ids: Sequence[int]):
        self.ids = list(ids)
        self._model, self._cache = model, new_cache(model)
        for start in range(0, len(self.ids), CHUNK):
            chunk = torch.tensor([self.ids[start : start + CHUNK]], device=model.device)
            model(input_ids=chunk, past_key_values=self._cache, use_cache=True, logits_to_keep=1)

    def repeated(self, rows: int) -> Any:
        """A cache of so many rows that have read it, to go on from."""
        cache = new_cache(self._model)
        for number, layer in enumerate(self._cache.layers):
            if isinstance(layer, RetentionState):
                assert layer.state is not None
                cache.layers[number].put(layer.state.expand(rows, -1, -1, -1), layer.seen)
            else:
                cache.update(layer.keys.expand(rows, -1, -1, -1), layer.values.expand(rows, -1, -1, -1), number)
        return cache


class Reading:
    """Prompts that are being read before their answers join the batch: several short ones, padded on the left, or a long one by chunks."""

    def __init__(
        self,
        model: PreTrainedModel,
        prompts: Sequence[Sequence[int]],
        adapters: Sequence[str] = (),
        every: bool = False,
        *,
        chunk: int = CHUNK,
        prefix: Prefix | None = None,
    ):
        """`prefix`: what stands before all prompts and was read before."""
        assert len(prompts) == 1 or max(map(len, prompts)) <= chunk
        self.model, self.adapters, self.chunk = model, list(adapters), chunk
        self.shared = len(prefix.ids) if prefix else 0
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
        if self.mask is not None and self.shared:
            self.mask = functional.pad(self.mask, (self.shared, 0), value=1)
        self.seen = 0
        self.hidden: list[Tensor] = []  # (length, hidden size) of each chunk
        self.logits: Tensor | None = None  # (prompts, vocabulary), once all is read
        self.cache = prefix.repeated(len(prompts)) if prefix else new_cache(model)

    def advance(self, head: HeadInput | None = None) -> bool:
        """Read a chunk; True once all is read."""
        output = self._read_by_encoder() if self.model.config.is_encoder_decoder else self._read_chunk()
        if self.every and head:
            self.hidden.append(head.value[0])
        if self.seen == self.ids.shape[1]:
            self.logits = output.logits[:, -1]
        return self.logits is not None

    def _read_chunk(self) -> Any:
        upto = min(self.seen + self.chunk, self.ids.shape[1])
        chunk = slice(self.seen, upto)
        self.seen = upto
        places = {"attention_mask": self.mask}
        if self.mask is None or not _has_states(self.model):  # a RetNet takes positions from the mask
            places["position_ids"] = self.places[:, chunk].clamp(min=0) + self.shared
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


class Steps:
    """A model, and the rows of its running batch, each with the past of an answer, which get their next tokens together."""

    def __init__(self, model: PreTrainedModel):
        self.model = model
        self.rows = Rows()
        self.bool_masks = model.config._attn_implementation == "sdpa"

    def next(self, ids: Sequence[int]) -> Tensor:
        """Give each row its next token; returns the logits of those that may follow, (rows, vocabulary)."""
        self.rows.prepare()
        inputs = self._inputs(torch.tensor(ids, device=self.model.device)[:, None])
        output = self.model(**inputs, past_key_values=self.rows.cache, use_cache=True)
        self.rows.advance()
        return output.logits[:, -1]

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


class Batch(Steps):
    """A running batch whose rows have adapters of their own, and tell the representations of their tokens."""

    def __init__(self, model: PreTrainedModel, adapters: AdapterRows):
        super().__init__(model)
        self.adapters = adapters
        self.head = HeadInput(model)

    def read(self, reading: Reading) -> bool:
        """Read the next chunk of prompts; True once all is read."""
        with self.adapters.of(reading.adapters):
            return reading.advance(self.head)

    def step(self, ids: Sequence[int], adapters: Sequence[str]) -> tuple[Tensor, Tensor]:
        """Give each row its next token; returns the logits of those that may follow, (rows, vocabulary), and the representations of these
        tokens, (rows, hidden size)."""
        with self.adapters.of(adapters):
            return self.next(ids), self.head.value[:, -1]


def _has_states(model: PreTrainedModel) -> bool:
    return bool(model.config.model_type == "retnet")


def new_cache(model: PreTrainedModel) -> Any:
    """An empty cache for prompts to be read into."""
    if _has_states(model):
        return RetNetCache(model.config.num_hidden_layers)
    if model.config.is_encoder_decoder:
        return EncoderDecoderCache(DynamicCache(config=model.config), DynamicCache(config=model.config))
    return DynamicCache(config=model.config)


def check_architecture(model: PreTrainedModel) -> None:
    """`ValueError` for a model whose cache has other layers than full attention or retention: rows cannot be made of them."""
    cache = new_cache(model)
    if isinstance(cache, DynamicCache) and any(cache.is_sliding):
        raise ValueError(
            f"{model.config.model_type} has attention in a sliding window, whose cache the engine cannot share between requests; serve it with "
            "another engine (--engine vllm)"
        )
