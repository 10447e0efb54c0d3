"""Llama, in the classes of transformers that every tool loads: as Qwen3 where queries and keys are normalised, as Qwen2 where they have biases.

From 16m to 1.5b the shapes are those of Tiny LLM zh, whose vocabulary has 64,798 entries and whose two embeddings are separate.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from models.architectures import DECODER, PLAIN, Architecture, ArchitectureOptions

if TYPE_CHECKING:
    from transformers import PreTrainedConfig


@dataclass(frozen=True)
class Llama(Architecture):
    """RMSNorm, rotary positions, SwiGLU, no biases."""

    name = "llama"
    model_types: ClassVar[tuple[str, ...]] = ("llama", "qwen2", "qwen3")
    options: ClassVar[tuple[str, ...]] = ("kv_heads", "qk_norm", "qkv_bias")
    reward_head = True
    vllm = True

    hidden: int
    ffn: int
    layers: int
    heads: int

    def body(self, options: ArchitectureOptions = PLAIN) -> int:
        head = self.hidden // self.heads
        shared = (options.kv_heads or self.heads) * head  # width of the keys, and of the values
        attention = 2 * self.hidden * (self.hidden + shared)
        attention += 2 * head * options.qk_norm + (self.hidden + 2 * shared) * options.qkv_bias
        return self.layers * (attention + 3 * self.hidden * self.ffn + 2 * self.hidden) + self.hidden

    def parameters(self, vocab_size: int, options: ArchitectureOptions = PLAIN) -> int:
        """All parameters, with separate embeddings for input and output."""
        return self.body(options) + 2 * vocab_size * self.hidden

    def config(self, vocab_size: int, context: int, options: ArchitectureOptions = PLAIN) -> PreTrainedConfig:
        from transformers import LlamaConfig, Qwen2Config, Qwen3Config

        settings = self._settings(vocab_size, context) | {"num_key_value_heads": options.kv_heads or self.heads}
        if options.qkv_bias:
            return Qwen2Config(**settings)
        if options.qk_norm:
            return Qwen3Config(**settings, head_dim=self.hidden // self.heads)
        return LlamaConfig(**settings)

    def problems(self, options: ArchitectureOptions) -> list[str]:
        phrases = []
        if options.kv_heads and self.heads % options.kv_heads:
            phrases.append(f"kv_heads is {options.kv_heads}, which does not divide the preset's {self.heads} heads")
        if options.qk_norm and options.qkv_bias:
            phrases.append("qk_norm and qkv_bias are of two architectures, Qwen3 and Qwen2; give one of them")
        return phrases

    def _settings(self, vocab_size: int, context: int) -> dict[str, Any]:
        return DECODER | {
            "vocab_size": vocab_size,
            "hidden_size": self.hidden,
            "intermediate_size": self.ffn,
            "num_hidden_layers": self.layers,
            "num_attention_heads": self.heads,
            "num_key_value_heads": self.heads,
            "max_position_embeddings": context,
            "rms_norm_eps": 1e-6,
            "initializer_range": 0.02,
            "tie_word_embeddings": False,
        }


PRESETS = {
    # heads of 64 numbers: on a CPU, attention with 3 such heads takes half the time of 6 with 32
    "tiny": Llama(hidden=192, ffn=512, layers=4, heads=3, context=256),
    "16m": Llama(hidden=120, ffn=384, layers=6, heads=6, context=512),
    "42m": Llama(hidden=288, ffn=768, layers=6, heads=6, context=512),
    "92m": Llama(hidden=512, ffn=1408, layers=8, heads=8, context=1024),
    "210m": Llama(hidden=768, ffn=2048, layers=16, heads=12, context=1024),
    "440m": Llama(hidden=1024, ffn=2816, layers=24, heads=16, context=1024),
    "1.5b": Llama(hidden=2048, ffn=5504, layers=24, heads=16, context=1024),
}
