"""Scaling laws: the one dial that derives batch, learning rate and horizon from a model's size. Each formula says where it is from."""

from __future__ import annotations


def compute(body: int, tokens: float) -> float:
    """Floating-point operations of training: 6 a parameter and token (Kaplan et al., https://arxiv.org/abs/2001.08361, section 2.1)."""
    return 6.0 * body * tokens


def horizon(body: int, corpus_tokens: int) -> int:
    """Tokens to train on: 20 a parameter (Hoffmann et al., https://arxiv.org/abs/2203.15556), but no more than 4 passes over the
    corpus, up to which repeated text is worth nearly as much as new (Muennighoff et al., https://arxiv.org/abs/2305.16264)."""
    return min(20 * body, 4 * corpus_tokens)


def learning_rate(flops: float) -> float:
    """Best peak rate for a compute budget, 0.3118 · C^−0.125 (DeepSeek LLM, https://arxiv.org/abs/2401.02954, section 3.1), 2 digits."""
    return float(f"{0.3118 * flops**-0.125:.1e}")


def batch_sequences(flops: float, context: int) -> int:
    """Sequences a step: the best batch for a budget, 0.2920 · C^0.3271 tokens (DeepSeek LLM, section 3.1), as the power of two below,
    so that any usual number of devices and any micro-batch divides it; at least 4."""
    sequences = max(4.0, 0.2920 * flops**0.3271 / context)
    return 1 << (int(sequences).bit_length() - 1)
