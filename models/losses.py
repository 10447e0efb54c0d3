"""Cross-entropy straight from hidden states, a slice of positions at a time.

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
    @staticmethod
    def forward(ctx: Any, hidden: Tensor, weight: Tensor, labels: Tensor) -> Tensor:
        """Sum over positions of −log p(label); hidden (N, H), weight (V, H), labels (N)."""
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
        d_hidden, d_weight = ctx.saved_tensors
        return (
            None if d_hidden is None else d_hidden * grads[0].to(d_hidden.dtype),
            None if d_weight is None else d_weight.mul_(grads[0]),
            None,
        )


def linear_cross_entropy(hidden: Tensor, weight: Tensor, labels: Tensor) -> Tensor:
    """Sum of −log softmax(hidden · weightᵀ)[label] over the positions whose label is not −100, in float32.

    hidden (…, H), weight (V, H), labels (…). The products run in autocast's type where autocast is on.
    """
    counted = labels != IGNORE
    return _LinearCrossEntropy.apply(hidden[counted], weight, labels[counted])


def fuse(model: PreTrainedModel) -> None:
    """Make a decoder's forward return the summed loss of the next tokens, without ever holding its logits.

    Labels are the input ids with −100 where a token is no target. Call it before the model is wrapped for several devices.
    """

    def forward(
        self: PreTrainedModel,
        input_ids: Tensor,
        labels: Tensor,
        attention_mask: Tensor | None = None,
        position_ids: Tensor | None = None,
    ) -> Tensor:
        body = self.base_model(input_ids=input_ids, attention_mask=attention_mask, position_ids=position_ids, use_cache=False)
        return linear_cross_entropy(body.last_hidden_state[:, :-1], self.get_output_embeddings().weight, labels[:, 1:])

    model.forward = MethodType(forward, model)
