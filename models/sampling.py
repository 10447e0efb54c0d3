"""Sampling of the next token: the likeliest, or one drawn from the nucleus, the likeliest that together hold a share of the probability.

transformers sorts the vocabulary for each row and each token, which for a small model takes as long as the model itself. Nearly every draw
from the whole vocabulary lies among the likeliest anyway, and whether it does takes one sum to find out.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from transformers import GenerationConfig, LogitsProcessor, LogitsProcessorList, PreTrainedTokenizerBase

from models import template


@dataclass(frozen=True)
class Sampling:
    """The settings of decoding."""

    max_new_tokens: int
    temperature: float = 0.0  # 0: greedy
    top_p: float = 1.0

    def processors(self) -> LogitsProcessorList:
        """The logits processors under which transformers' greedy decoding draws a token; none for greedy decoding."""
        return LogitsProcessorList([Nucleus(self.temperature, self.top_p)] if self.temperature > 0 else [])


def greedy_config(tokenizer: PreTrainedTokenizerBase, sampling: Sampling) -> GenerationConfig:
    """The settings of greedy decoding; `sampling.processors()` draw another token than the likeliest where they are asked to."""
    stops = template.stops(tokenizer)
    return GenerationConfig(
        max_new_tokens=sampling.max_new_tokens,
        do_sample=False,
        use_cache=True,  # a model fresh from training says no
        eos_token_id=stops,
        pad_token_id=stops[0] if tokenizer.pad_token_id is None else tokenizer.pad_token_id,
        decoder_start_token_id=tokenizer.pad_token_id,  # read by encoder-decoders only
    )


class Nucleus(LogitsProcessor):
    """Top-p sampling (Holtzman et al., https://arxiv.org/abs/1904.09751, section 3.1): a token is in the nucleus if those likelier than it
    hold less than `top_p`."""

    def __init__(self, temperature: float, top_p: float):
        self.temperature, self.top_p = temperature, top_p

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        """Scores (rows, vocabulary) of which only the drawn token's is not -inf."""
        points = torch.rand(len(scores), 2, device=scores.device)
        tokens = nucleus(scores, self.temperature, self.top_p, points)
        return torch.full_like(scores, -torch.inf).scatter_(1, tokens, 0.0)


def nucleus(scores: Tensor, temperature: float, top_p: float, points: Tensor) -> Tensor:
    """A drawn token for each row of scores (rows, vocabulary), (rows, 1), by two numbers in [0, 1) of each row (rows, 2).

    Tokens are gone through in the order of their ids, so that rounding, which differs from batch to batch, moves what is drawn as little as
    can be.
    """
    shares = (scores.float() / temperature).softmax(1)
    tokens = draw(shares, points[:, :1])
    likelier = (shares * (shares > shares.gather(1, tokens))).sum(1)
    outside = (likelier >= top_p).nonzero()[:, 0]  # of 0.95, one row in twenty: only these are sorted
    if len(outside):
        some = shares[outside]
        ordered = some.sort(1, descending=True).values
        kept = (ordered.cumsum(1) - ordered < top_p).sum(1, keepdim=True).clamp(min=1)
        tokens[outside] = draw(some * (some >= ordered.gather(1, kept - 1)), points[outside, 1:])
    return tokens


def draw(shares: Tensor, points: Tensor) -> Tensor:
    """The column of each row, (rows, 1), at a point in [0, 1) (rows, 1) of the sum of its `shares` (rows, columns), which need not be 1."""
    upto = shares.cumsum(1)
    return torch.searchsorted(upto, points * upto[:, -1:], right=True).clamp_(max=shares.size(1) - 1)
