"""Settings of decoding for one request: how each next token is chosen, and when to end."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True)
class DecodingSettings:
    """The way an answer is decoded: greedy at temperature 0, else drawn; by beams where `beams` is more than 1, by contrastive search where
    `contrastive_alpha` is more than 0."""

    max_new_tokens: int
    temperature: float = 0.0
    top_p: float = 1.0  # share of the probability that the tokens to draw from hold together
    top_k: int = 0  # number of the likeliest tokens to draw from; 0: all
    repetition_penalty: float = (
        1.0  # divides the logits of tokens that stand in prompt or answer (https://arxiv.org/abs/1909.05858)
    )
    presence_penalty: float = 0.0  # taken once from the logit of each token of the answer, as OpenAI does
    frequency_penalty: float = 0.0  # taken for each time that it stands there
    logit_bias: Mapping[int, float] = field(default_factory=dict)  # token id → what is added to its logit
    beams: int = 1
    length_penalty: float = 1.0  # power of its length by which a beam's log-probability is divided
    contrastive_alpha: float = 0.0  # weight of the degeneration penalty (https://arxiv.org/abs/2202.06417, equation 5)
    stop: tuple[str, ...] = ()  # texts that end an answer, and are not part of it
    alternatives: int | None = None  # likeliest tokens told beside each token, with log-probabilities; None: no log-probabilities
