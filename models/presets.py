"""Model sizes by name, and the one dial that derives batch, learning rate and horizon from a size.

All are Llamas: RMSNorm, rotary positions, SwiGLU, no biases, so that every tool that loads a Llama loads these. From 16m to 1.5b the
shapes are those of Tiny LLM zh, whose vocabulary has 64,798 entries and whose two embeddings are separate.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from models.template import END_ID, PAD_ID

if TYPE_CHECKING:
    from transformers import LlamaConfig


@dataclass(frozen=True)
class Preset:
    hidden: int
    ffn: int
    layers: int
    heads: int
    context: int  # tokens a sequence where none is asked for

    @property
    def body(self) -> int:
        """Parameters without the two embeddings, which take no part in a layer's arithmetic."""
        layer = 4 * self.hidden**2 + 3 * self.hidden * self.ffn + 2 * self.hidden
        return self.layers * layer + self.hidden

    def parameters(self, vocab_size: int) -> int:
        """All parameters, with separate embeddings for input and output."""
        return self.body + 2 * vocab_size * self.hidden


PRESETS = {
    # heads of 64 numbers: on a CPU, attention with 3 such heads takes half the time of 6 with 32
    "tiny": Preset(192, 512, 4, 3, 256),
    "16m": Preset(120, 384, 6, 6, 512),
    "42m": Preset(288, 768, 6, 6, 512),
    "92m": Preset(512, 1408, 8, 8, 1024),
    "210m": Preset(768, 2048, 16, 12, 1024),
    "440m": Preset(1024, 2816, 24, 16, 1024),
    "1.5b": Preset(2048, 5504, 24, 16, 1024),
}


def build(preset: str, vocab_size: int, context: int | None = None, **overrides: Any) -> LlamaConfig:
    """The configuration of a model to train: special ids explicit, no cache. `ValueError` for an unknown name."""
    from transformers import LlamaConfig

    if preset not in PRESETS:
        raise ValueError(f"no model preset {preset!r}; there are {', '.join(PRESETS)}")
    size = PRESETS[preset]
    settings: dict[str, Any] = {
        "vocab_size": vocab_size,
        "hidden_size": size.hidden,
        "intermediate_size": size.ffn,
        "num_hidden_layers": size.layers,
        "num_attention_heads": size.heads,
        "num_key_value_heads": size.heads,
        "max_position_embeddings": context or size.context,
        "rms_norm_eps": 1e-6,
        "initializer_range": 0.02,
        "tie_word_embeddings": False,
        "pad_token_id": PAD_ID,
        "bos_token_id": END_ID,  # the end of one document opens the next
        "eos_token_id": END_ID,
        # With a cache, transformers takes packed documents for one and lets them see each other.
        "use_cache": False,
    }
    return LlamaConfig(**settings | overrides)


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
