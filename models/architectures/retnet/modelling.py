"""RetNet as a model of transformers: `AutoModelForCausalLM`, `generate`, the trainers and peft take it as they take a Llama.

A layer is (Sun et al. 2023, arXiv 2307.08621, equations 8 and 9)

    y = x + W_o (swish(x̂ W_g) ⊙ GroupNorm(retention of all heads)),   x̂ = norm(x)
    z = y + FFN(norm(y))

with queries and keys rotated by their position (equation 5's Θ; pairs of channels, frequencies θ^(−2i/d)), keys scaled by 1/√d, and
the group normalisation over each head of each token. It has no weights of its own: W_o holds them. Where the paper has LayerNorm, x̂ is
RMSNorm, as in its authors' later code. Modules are named as in a Llama, so that patterns for LoRA or freezing fit both.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from transformers import Cache, GenerationMixin, PreTrainedModel
from transformers.activations import ACT2FN
from transformers.modeling_layers import GradientCheckpointingLayer
from transformers.modeling_outputs import BaseModelOutputWithPast, CausalLMOutputWithPast
from transformers.modeling_utils import slice_logits_to_keep
from transformers.utils import can_return_tuple
from transformers.utils.generic import merge_with_config_defaults
from transformers.utils.output_capturing import capture_outputs

from models.architectures.retnet import retention
from models.architectures.retnet.cache import RetentionState, RetNetCache
from models.architectures.retnet.configuration import RetNetConfig

Rotation = tuple[Tensor, Tensor]  # cosines and sines, (B|1, 1, T, d / 2)


def rotation(config: RetNetConfig, positions: Tensor) -> Rotation:
    """The rotation of queries and keys at `positions` (B|1, T)."""
    pairs = config.hidden_size // config.num_attention_heads // 2
    frequencies = config.theta ** -(torch.arange(pairs, device=positions.device, dtype=torch.float32) / pairs)
    angles = positions[:, None, :, None].float() * frequencies
    return angles.cos(), angles.sin()


def rotate(x: Tensor, by: Rotation) -> Tensor:
    """Turn each pair of channels (i, i + d/2) of x (B, H, T, d), in float32."""
    cos, sin = by
    a, b = x.chunk(2, dim=-1)
    return torch.cat([a * cos - b * sin, b * cos + a * sin], dim=-1).to(x.dtype)


class RetNetRetention(nn.Module):
    """Gated multi-scale retention (equation 8)."""

    def __init__(self, config: RetNetConfig):
        super().__init__()
        self.heads, self.eps = config.num_attention_heads, config.group_norm_eps
        hidden, value = config.hidden_size, config.value_size
        self.q_proj = nn.Linear(hidden, hidden, bias=False)
        self.k_proj = nn.Linear(hidden, hidden, bias=False)
        self.v_proj = nn.Linear(hidden, value, bias=False)
        self.g_proj = nn.Linear(hidden, value, bias=False)
        self.o_proj = nn.Linear(value, hidden, bias=False)

    def forward(
        self, x: Tensor, by: Rotation, timing: retention.Decay | retention.Step, cached: RetentionState | None = None
    ) -> Tensor:
        """x (B, T, hidden) → the same; the state goes on from `cached` and is left there."""
        q, k, v = (self._split(project(x)) for project in (self.q_proj, self.k_proj, self.v_proj))
        q, k = rotate(q, by), rotate(k, by) * q.shape[-1] ** -0.5
        state = None if cached is None or cached.state is None else cached.state.to(x.device)
        with torch.autocast(x.device.type, enabled=False):
            if isinstance(timing, retention.Step):
                out, state = retention.recurrent(q, k, v, timing, state)
            else:
                out, state = retention.chunkwise(q, k, v, timing, state, keep=cached is not None)
            out = functional.layer_norm(out, out.shape[-1:], eps=self.eps)  # GroupNorm, a group a head
        if cached is not None and state is not None:
            cached.put(state, x.shape[1])
        gate = functional.silu(self.g_proj(x))
        return self.o_proj(gate * out.transpose(1, 2).flatten(2).to(gate.dtype))

    def _split(self, x: Tensor) -> Tensor:
        return x.unflatten(2, (self.heads, -1)).transpose(1, 2)


class RetNetFeedForward(nn.Module):
    """The feed-forward of a layer, gated where the configuration says `glu`."""

    def __init__(self, config: RetNetConfig):
        super().__init__()
        hidden, inner = config.hidden_size, config.intermediate_size
        self.gate_proj = nn.Linear(hidden, inner, bias=False) if config.glu else None
        self.up_proj = nn.Linear(hidden, inner, bias=False)
        self.down_proj = nn.Linear(inner, hidden, bias=False)
        self.act = ACT2FN[config.hidden_act]

    def forward(self, x: Tensor) -> Tensor:
        up = self.up_proj(x)
        return self.down_proj(self.act(up) if self.gate_proj is None else self.act(self.gate_proj(x)) * up)


class RetNetLayer(GradientCheckpointingLayer):
    """Retention and feed-forward, each behind its norm and beside a residual."""

    def __init__(self, config: RetNetConfig, number: int):
        super().__init__()
        self.number = number
        self.retention_norm = nn.RMSNorm(config.hidden_size, eps=config.norm_eps)
        self.retention = RetNetRetention(config)
        self.mlp_norm = nn.RMSNorm(config.hidden_size, eps=config.norm_eps)
        self.mlp = RetNetFeedForward(config)

    def forward(
        self,
        x: Tensor,
        by: Rotation,
        timing: retention.Decay | retention.Step,
        past_key_values: Cache | None = None,
    ) -> Tensor:
        cached = None if past_key_values is None else past_key_values.layers[self.number]
        x = x + self.retention(self.retention_norm(x), by, timing, cached)
        return x + self.mlp(self.mlp_norm(x))


class RetNetPreTrainedModel(PreTrainedModel):
    """The base of RetNet's models: what transformers asks of each."""

    config_class = RetNetConfig
    config: RetNetConfig
    base_model_prefix = "model"
    supports_gradient_checkpointing = True
    _no_split_modules = ["RetNetLayer"]  # noqa: RUF012
    _skip_keys_device_placement = ["past_key_values"]  # noqa: RUF012
    _can_record_outputs = {"hidden_states": RetNetLayer}  # noqa: RUF012
    _is_stateful = True  # what was read cannot be unread: transformers then refuses to guess ahead


class RetNetModel(RetNetPreTrainedModel):
    """The layers, without the head."""

    def __init__(self, config: RetNetConfig):
        super().__init__(config)
        self.embed_tokens = nn.Embedding(config.vocab_size, config.hidden_size, config.pad_token_id)
        self.layers = nn.ModuleList([RetNetLayer(config, number) for number in range(config.num_hidden_layers)])
        self.norm = nn.RMSNorm(config.hidden_size, eps=config.norm_eps)
        self.gradient_checkpointing = False
        self.post_init()

    @merge_with_config_defaults
    @capture_outputs
    def forward(
        self,
        input_ids: Tensor | None = None,
        attention_mask: Tensor | None = None,
        position_ids: Tensor | None = None,
        past_key_values: Cache | None = None,
        inputs_embeds: Tensor | None = None,
        use_cache: bool | None = None,
        **kwargs: Any,
    ) -> BaseModelOutputWithPast:
        """input_ids (B, T); attention_mask (B, tokens in the cache + T), 0 where a token is padding, on whichever side; position_ids
        (B|1, T).

        A document ends where positions start again: a token whose position is not above that of the token before it (or not above 0,
        behind padding and in the first column) sees nothing of what came before, with or without a mask or a cache. `ValueError` for
        masks of another shape.
        """
        if (input_ids is None) == (inputs_embeds is None):
            raise ValueError("give one of input_ids and inputs_embeds")
        x = self.embed_tokens(input_ids) if inputs_embeds is None else inputs_embeds
        if use_cache and past_key_values is None:
            past_key_values = RetNetCache(self.config.num_hidden_layers)
        if past_key_values is not None and not isinstance(past_key_values, RetNetCache):
            raise ValueError(
                f"past_key_values is a {type(past_key_values).__name__}; a RetNet keeps states: give a RetNetCache, or none"
            )
        length, seen = x.shape[1], 0 if past_key_values is None else past_key_values.get_seq_length()
        real = _real(attention_mask, seen, length)
        first = None if position_ids is None else _first(position_ids, real)
        if position_ids is None and attention_mask is not None:
            position_ids = (attention_mask.long().cumsum(1) - 1).clamp(min=0)[:, -length:]
        elif position_ids is None:
            position_ids = torch.arange(seen, seen + length, device=x.device)[None]
        by, timing = rotation(self.config, position_ids), self._timing(length, real, first, x.device)
        for layer in self.layers:
            x = layer(x, by, timing, past_key_values=past_key_values)
        return BaseModelOutputWithPast(last_hidden_state=self.norm(x), past_key_values=past_key_values)

    def _timing(
        self, length: int, real: Tensor | None, first: Tensor | None, device: torch.device
    ) -> retention.Decay | retention.Step:
        gamma = retention.log_decay(self.config.num_attention_heads, device)
        if self.config.form == "recurrent" or length == 1:
            return retention.steps(gamma, length, real, first)
        chunk = self.config.chunk_size if self.config.form == "chunkwise" else None
        return retention.decays(gamma, length, chunk or length, real, first)


def _real(mask: Tensor | None, seen: int, length: int) -> Tensor | None:
    """True for those of the last `length` tokens that are no padding, (B, length); None where no mask says so."""
    if mask is None:
        return None
    if mask.ndim != 2 or mask.shape[1] != seen + length:
        raise ValueError(
            f"attention_mask has shape {tuple(mask.shape)}; give (batch, {seen + length}), one for each of the {seen} tokens read before "
            f"and the {length} given now"
        )
    return mask[:, -length:].bool()


def _first(positions: Tensor, real: Tensor | None) -> Tensor:
    """True for the tokens that begin a document, (B|1, T)."""
    if real is not None:
        positions = positions * real
    begins = positions <= functional.pad(positions[:, :-1], (1, 0))
    return begins if real is None else begins & real


class RetNetForCausalLM(RetNetPreTrainedModel, GenerationMixin):
    """Next-token prediction."""

    _tied_weights_keys = {"lm_head.weight": "model.embed_tokens.weight"}  # noqa: RUF012

    def __init__(self, config: RetNetConfig):
        super().__init__(config)
        self.model = RetNetModel(config)
        self.lm_head = nn.Linear(config.hidden_size, config.vocab_size, bias=False)
        self.post_init()

    @classmethod
    def _supports_default_dynamic_cache(cls) -> bool:
        return False  # `generate` lets the model make its own

    @can_return_tuple
    def forward(
        self,
        input_ids: Tensor | None = None,
        attention_mask: Tensor | None = None,
        position_ids: Tensor | None = None,
        past_key_values: Cache | None = None,
        inputs_embeds: Tensor | None = None,
        labels: Tensor | None = None,
        use_cache: bool | None = None,
        logits_to_keep: int | Tensor = 0,
        **kwargs: Any,
    ) -> CausalLMOutputWithPast:
        """As `RetNetModel`; labels (B, T) are the input ids, −100 where no loss counts."""
        body = self.model(
            input_ids=input_ids,
            attention_mask=attention_mask,
            position_ids=position_ids,
            past_key_values=past_key_values,
            inputs_embeds=inputs_embeds,
            use_cache=use_cache,
            **kwargs,
        )
        logits = self.lm_head(slice_logits_to_keep(body.last_hidden_state, logits_to_keep))
        loss = None
        if labels is not None:
            loss = self.loss_function(logits=logits, labels=labels, vocab_size=self.config.vocab_size, **kwargs)
        return CausalLMOutputWithPast(
            loss=loss, logits=logits, past_key_values=body.past_key_values, hidden_states=body.hidden_states
        )
