"""The checks of a request's settings."""

from __future__ import annotations

from models.engines.settings import DecodingSettings


def check(settings: DecodingSettings, vocabulary: int) -> None:
    """`ValueError` for settings out of their ranges, or that do not go together, for a model with so many tokens."""
    one = settings
    ranges = [
        ("max_new_tokens", one.max_new_tokens, 1, None),
        ("temperature", one.temperature, 0, 2),
        ("top_k", one.top_k, 0, None),
        ("repetition_penalty", one.repetition_penalty, 0.01, 10),
        ("presence_penalty", one.presence_penalty, -2, 2),
        ("frequency_penalty", one.frequency_penalty, -2, 2),
        ("beams", one.beams, 1, min(32, vocabulary)),
        ("length_penalty", one.length_penalty, -10, 10),
        ("contrastive_alpha", one.contrastive_alpha, 0, 1),
        ("alternatives", 0 if one.alternatives is None else one.alternatives, 0, min(20, vocabulary)),
    ]
    for name, value, least, most in ranges:
        if not (value >= least and (most is None or value <= most)):  # a comparison with NaN is false
            raise ValueError(
                f"{name} is {value}; it must be {least} or more"
                if most is None
                else f"{name} is {value}; it must be between {least} and {most}"
            )
    if not 0 < one.top_p <= 1:
        raise ValueError(f"top_p is {one.top_p}; it must be above 0 and at most 1")
    for token, bias in one.logit_bias.items():
        if not 0 <= token < vocabulary:
            raise ValueError(f"logit_bias names the token {token}; this model has tokens 0 to {vocabulary - 1}")
        if not -100 <= bias <= 100:
            raise ValueError(f"logit_bias of token {token} is {bias}; it must be between -100 and 100")
    if one.beams > 1 and one.contrastive_alpha:
        raise ValueError(
            f"beams is {one.beams} and contrastive_alpha {one.contrastive_alpha}; an answer is found by one of the two"
        )
    if one.contrastive_alpha and one.top_k > min(64, vocabulary):
        raise ValueError(f"top_k is {one.top_k}; contrastive search weighs at most {min(64, vocabulary)} tokens")
