"""The loss of pretraining and fine-tuning: cross-entropy straight from hidden states, a slice of positions at a time.

A small model with a Chinese vocabulary spends its time and memory behind the last layer: 131,072 positions times 64,798 words of float32
logits are 34 GB, and the softmax touches them again and again. Nothing after the loss needs the logits, so they are made, used and
dropped slice by slice while they are still in the cache, and the gradient is worked out on the way (the idea of Liger-Kernel's fused
linear cross-entropy, https://arxiv.org/abs/2410.10989, in plain torch).
"""

from __future__ import annotations

from types import MethodType
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

if TYPE_CHECKING:
    from transformers import PreTrainedModel

IGNORE = -100  # a label that the loss does not count
SLICE_NUMBERS = {"cpu": 1 << 20, "cuda": 1 << 28}  # logits at a time: 4 MB that stay in a core's cache, 1 GB that fills a device


class _LinearCrossEntropy(torch.autograd.Function):
    """The fused product and cross-entropy, whose gradient is computed with it."""

    @staticmethod
    def forward(ctx: Any, hidden: Tensor, weight: Tensor, labels: Tensor) -> Tensor:
        """The sum over positions of −log p(label); hidden (N, H), weight (V, H), labels (N)."""
        device = hidden.device.type
        dtype = torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else weight.dtype
        need_hidden, need_weight, _ = ctx.needs_input_grad
        total = torch.zeros((), dtype=torch.float32, device=hidden.device)
        with torch.autocast(device, enabled=False):
            hidden_low, weight_low = hidden.to(dtype), weight.to(dtype)
            d_hidden = torch.empty_like(hidden) if need_hidden else None
            d_weight = torch.zeros_like(weight, dtype=torch.float32) if need_weight else None
            rows = max(1, SLICE_NUMBERS.get(device, 1 << 24) // len(weight))
            for start in range(0, len(labels), rows):
                span = slice(start, start + rows)
                h, target = hidden_low[span], labels[span, None]
                logits = (h @ weight_low.T).float()
                top = logits.amax(dim=1, keepdim=True)
                right = logits.gather(1, target)
                p = logits.sub_(top).exp_()
                mass = p.sum(dim=1, keepdim=True)
                total += (mass.log() + top - right).sum()
                if need_hidden or need_weight:  # d loss / d logits = softmax − one-hot
                    p.div_(mass).scatter_add_(1, target, p.new_full((1, 1), -1.0).expand_as(target))
                    low = p.to(dtype)
                    if d_hidden is not None:
                        d_hidden[span] = low @ weight_low
                    if d_weight is not None:
                        d_weight += low.T @ h
        ctx.save_for_backward(d_hidden, d_weight)
        return total

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, Tensor | None, None]:
        """The gradients of `forward`, scaled."""
        d_hidden, d_weight = ctx.saved_tensors
        return (
            None if d_hidden is None else d_hidden * grads[0].to(d_hidden.dtype),
            None if d_weight is None else d_weight.mul_(grads[0]),
            None,
        )


def linear_cross_entropy(hidden: Tensor, weight: Tensor, labels: Tensor) -> Tensor:
    """The sum of −log softmax(hidden · weightᵀ)[label] over the positions whose label is not −100, in float32.

    hidden (…, H), weight (V, H), labels (…). The products run in autocast's type where autocast is on.
    """
    counted = labels != IGNORE
    return _LinearCrossEntropy.apply(hidden[counted], weight, labels[counted])


def fuse(model: PreTrainedModel) -> None:
    """Make a model's forward return the summed loss of its targets, without ever holding its logits.

    Labels have −100 where a token is no target. A decoder's are the input ids, and position t is the target of t − 1; an encoder-decoder's
    are the response. Experts add their balance loss once for each target. Call it before the model is wrapped for several devices.
    """
    shape = _seq2seq if model.config.is_encoder_decoder else _experts if hasattr(model.config, "num_experts") else _decoder
    model.forward = MethodType(shape, model)


def targets(model: PreTrainedModel, labels: Tensor) -> Tensor:
    """The labels that the loss of a model looks at."""
    return labels if model.config.is_encoder_decoder else labels[:, 1:]


def head_weight(model: PreTrainedModel) -> Tensor:
    """The last layer's matrix, (V, H), with what an adapter of it adds (whose input is then not dropped out)."""
    head = model.get_output_embeddings()
    names = getattr(head, "active_adapters", None)
    return head.weight + sum(head.get_delta_weight(name) for name in names) if names else head.weight


def _decoder(
    self: PreTrainedModel,
    input_ids: Tensor,
    labels: Tensor,
    attention_mask: Tensor | None = None,
    position_ids: Tensor | None = None,
) -> Tensor:
    body = self.base_model(input_ids=input_ids, attention_mask=attention_mask, position_ids=position_ids, use_cache=False)
    return linear_cross_entropy(body.last_hidden_state[:, :-1], head_weight(self), labels[:, 1:])


def _experts(
    self: PreTrainedModel,
    input_ids: Tensor,
    labels: Tensor,
    attention_mask: Tensor | None = None,
    position_ids: Tensor | None = None,
) -> Tensor:
    body = self.base_model(
        input_ids=input_ids,
        attention_mask=attention_mask,
        position_ids=position_ids,
        use_cache=False,
        output_router_logits=True,
    )
    loss = linear_cross_entropy(body.last_hidden_state[:, :-1], head_weight(self), labels[:, 1:])
    even = balance(body.router_logits, self.config.num_experts_per_tok, len(labels), attention_mask)
    counted = (labels[:, 1:] != IGNORE).sum(1)
    if not self.training:
        self.balance = (even * counted).sum() / counted.sum().clamp(min=1)
        self.expert_use = expert_use(body.router_logits, self.config.num_experts_per_tok, attention_mask)
        return loss
    return loss + self.config.router_aux_loss_coef * (even * counted).sum()


def _seq2seq(self: PreTrainedModel, input_ids: Tensor, labels: Tensor, attention_mask: Tensor | None = None) -> Tensor:
    read = self.encoder(input_ids=input_ids, attention_mask=attention_mask).last_hidden_state
    hidden = self.decoder(
        input_ids=self.prepare_decoder_input_ids_from_labels(labels),
        encoder_hidden_states=read,
        encoder_attention_mask=attention_mask,
        use_cache=False,
    ).last_hidden_state
    if self.config.scale_decoder_outputs:  # T5 ties its head to the embeddings, and makes up for their size
        hidden = hidden * self.config.d_model**-0.5
    return linear_cross_entropy(hidden, head_weight(self), labels)


def expert_use(router_logits: tuple[Tensor, ...], active: int, attention_mask: Tensor | None = None) -> Tensor:
    """The share of the tokens that each expert got, (layers, experts); a layer's sum to 1. The logits of each layer are (tokens, experts)."""
    real = slice(None) if attention_mask is None else attention_mask.reshape(-1).bool()
    counts = [
        torch.bincount(logits[real].topk(active, -1).indices.reshape(-1), minlength=logits.size(-1)).float()
        for logits in router_logits
    ]
    return torch.stack([count / count.sum().clamp(min=1) for count in counts])


def balance(router_logits: tuple[Tensor, ...], active: int, rows: int, attention_mask: Tensor | None = None) -> Tensor:
    """The imbalance of the experts' shares in each row, (rows,): E · Σ f·p of each layer, with f an expert's share of the row's tokens and p
    its mean probability there, as a mean over the layers; 1 where even, E where one expert gets all (Switch Transformer,
    https://arxiv.org/abs/2101.03961, equation 4; row by row as DeepSeek-V3, https://arxiv.org/abs/2412.19437, equation 17).

    A row at a time: over all rows of a forward pass it would depend on how a batch is cut into them. A layer at a time: pooled over the layers, as
    transformers does, one layer's favourites hide another's. The logits of each layer are (tokens, experts).
    """
    each = torch.stack(router_logits).float().unflatten(1, (rows, -1))  # (layers, rows, tokens, experts)
    real = torch.ones_like(each[..., 0]) if attention_mask is None else attention_mask.to(each).expand(each.shape[:-1])
    tokens = real.sum(-1, keepdim=True).clamp(min=1)
    means = (each.softmax(-1) * real[..., None]).sum(-2) / tokens
    with torch.no_grad():
        chosen = torch.zeros_like(each).scatter_(-1, each.topk(active, -1).indices, 1.0)
        shares = (chosen * real[..., None]).sum(-2) / (active * tokens)
    return (shares * means).sum(-1).mean(0) * each.size(-1)
