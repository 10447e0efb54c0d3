"""Sampling of the next token: the likeliest, or one drawn from the nucleus, the likeliest that together hold a share of the probability.

transformers sorts the vocabulary for each row and each token, which for a small model takes as long as the model itself. Nearly every draw
from the whole vocabulary lies among the likeliest anyway, and whether it does takes one sum to find out.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from transformers import LogitsProcessor, LogitsProcessorList


@dataclass(frozen=True)
class Sampling:
    """The settings of decoding."""

    max_new_tokens: int
    temperature: float = 0.0  # 0: greedy
    top_p: float = 1.0

    def processors(self) -> LogitsProcessorList:
        """The logits processors under which transformers' greedy decoding draws a token; none for greedy decoding."""
        return LogitsProcessorList([Nucleus(self.temperature, self.top_p)] if self.temperature > 0 else [])


class Nucleus(LogitsProcessor):
    """Top-p sampling (Holtzman et al., https://arxiv.org/abs/1904.09751, section 3.1): a token is in the nucleus if those likelier than it
    hold less than `top_p`."""

    def __init__(self, temperature: float, top_p: float):
        self.temperature, self.top_p = temperature, top_p

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        """Scores (rows, vocabulary) of which only the drawn token's is not -inf."""
        shares = (scores.float() / self.temperature).softmax(1)
        tokens = draw(shares)
        likelier = (shares * (shares > shares.gather(1, tokens))).sum(1)
        outside = (likelier >= self.top_p).nonzero()[:, 0]  # of 0.95, one row in twenty: only these are sorted
        if len(outside):
            shares, order = shares[outside].sort(1, descending=True)
            place = draw(shares * (shares.cumsum(1) - shares < self.top_p))
            tokens[outside] = order.gather(1, place)
        return torch.full_like(scores, -torch.inf).scatter_(1, tokens, 0.0)


def draw(shares: Tensor) -> Tensor:
    """A drawn column for each row, (rows, 1), each as often as its share in `shares` (rows, columns), which need not sum to 1."""
    upto = shares.cumsum(1)
    point = torch.rand_like(upto[:, :1]) * upto[:, -1:]
    return torch.searchsorted(upto, point, right=True).clamp_(max=shares.size(1) - 1)
