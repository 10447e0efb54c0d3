"""The choice of the next token of many answers at once: the likeliest, or one that is drawn, each by settings of its own."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Mapping, Sequence, Set

import torch
from torch import Tensor

from models.engines.engine import Token
from models.engines.settings import DecodingSettings

COLDEST = 1e-4  # temperature: below it the likeliest token is drawn for certain anyway, and float32 overflows


class Draw:
    """The choice of one answer's tokens: its settings, its random numbers, and what was written so far."""

    def __init__(self, settings: DecodingSettings, seed: int, prompt: Sequence[int] = ()):
        self.settings = settings
        self.random = random.Random(seed)
        self.written: Counter[int] = Counter()
        self.read = frozenset(prompt)
        self.changes = bool(settings.logit_bias) or settings.repetition_penalty != 1.0
        self.changes |= bool(settings.presence_penalty or settings.frequency_penalty)

    def point(self) -> float:
        """A number in [0, 1) that float32 holds exactly, and that times any number is less than that."""
        return self.random.getrandbits(24) / (1 << 24)


def penalised(scores: Tensor, settings: DecodingSettings, read: Set[int], written: Mapping[int, int]) -> Tensor:
    """The scores (vocabulary) with the penalties and the biases of the settings; `read` are the tokens of the prompt, `written` those of the
    answer with their numbers."""
    scores = scores.clone()
    if settings.repetition_penalty != 1.0 and (seen := list(read | written.keys())):
        among = scores[seen]
        scores[seen] = torch.where(among < 0, among * settings.repetition_penalty, among / settings.repetition_penalty)
    if written and (settings.presence_penalty or settings.frequency_penalty):
        counts = scores.new_tensor(list(written.values()))
        scores[list(written)] -= settings.presence_penalty + settings.frequency_penalty * counts
    if settings.logit_bias:
        scores[list(settings.logit_bias)] += scores.new_tensor(list(settings.logit_bias.values()))
    return scores


def choose(logits: Tensor, draws: Sequence[Draw]) -> list[Token]:
    """The next token of each answer by its logits (answers, vocabulary)."""
    logits = logits.float()
    scores = logits
    if any(draw.changes for draw in draws):
        scores = logits.clone()
        for row, draw in enumerate(draws):
            if draw.changes:
                scores[row] = penalised(scores[row], draw.settings, draw.read, draw.written)
    chosen = scores.argmax(1)
    if drawn := [row for row, draw in enumerate(draws) if draw.settings.temperature > 0]:
        chosen[drawn] = nucleus(scores[drawn], [draws[row] for row in drawn])
    tokens = []
    for row, (token, draw) in enumerate(zip(chosen.tolist(), draws, strict=True)):
        if draw.changes:
            draw.written[token] += 1
        tokens.append(told(token, logits[row], draw.settings.alternatives))
    return tokens


def told(token: int, logits: Tensor, alternatives: int | None) -> Token:
    """A token with its log-probability and the likeliest tokens, as far as asked for; logits (vocabulary)."""
    if alternatives is None:
        return Token(token)
    logs = logits.log_softmax(0)
    best = logs.topk(alternatives)
    return Token(token, logs[token].item(), tuple(zip(best.indices.tolist(), best.values.tolist(), strict=True)))


def nucleus(scores: Tensor, draws: Sequence[Draw]) -> Tensor:
    """A token drawn for each row of scores (rows, vocabulary) by the temperature, top-k and top-p of its settings.

    A row is drawn from all tokens first; only if that token is outside of the nucleus (models/sampling.py) is the vocabulary sorted. Both
    draws go through the tokens in the order of their ids, so that rounding, which differs from batch to batch, moves what is drawn as little
    as can be: the order of two tokens that are about equally likely does not matter.
    """
    settings = [draw.settings for draw in draws]
    scores = scores / scores.new_tensor([[max(one.temperature, COLDEST)] for one in settings])
    if any(one.top_k for one in settings):
        scores = _likeliest(scores, [one.top_k for one in settings])
    shares = scores.softmax(1)
    points = torch.tensor([[draw.point(), draw.point()] for draw in draws], device=scores.device)
    chosen = _drawn(shares, points[:, :1])
    limits = scores.new_tensor([[one.top_p] for one in settings])
    likelier = (shares * (shares > shares.gather(1, chosen))).sum(1, keepdim=True)
    outside = (likelier >= limits)[:, 0].nonzero()[:, 0]
    if len(outside):
        some = shares[outside]
        ordered = some.sort(1, descending=True).values
        kept = (ordered.cumsum(1) - ordered < limits[outside]).sum(1, keepdim=True).clamp(min=1)  # a top_p may be 0 in float32
        least = ordered.gather(1, kept - 1)
        chosen[outside] = _drawn(some * (some >= least), points[outside, 1:])
    return chosen[:, 0]


def _likeliest(scores: Tensor, counts: list[int]) -> Tensor:
    """Scores of which those below the count-th highest of their row are -inf; a count of 0 keeps all."""
    size = scores.shape[1]
    counts = [min(count or size, size) for count in counts]
    limited = [count for count in counts if count < size]
    if not limited:
        return scores
    best = scores.topk(max(limited), 1).values
    places = torch.tensor([[min(count, best.shape[1]) - 1] for count in counts], device=scores.device)
    least = best.gather(1, places)
    least[[count == size for count in counts]] = -torch.inf
    return scores.masked_fill(scores < least, -torch.inf)


def _drawn(shares: Tensor, points: Tensor) -> Tensor:
    """The column of each row, (rows, 1), at a point in [0, 1) of the sum of its shares (rows, columns)."""
    upto = shares.cumsum(1)
    return torch.searchsorted(upto, points * upto[:, -1:], right=True).clamp_(max=shares.shape[1] - 1)
