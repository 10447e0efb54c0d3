"""RetNet (Sun et al. 2023, arXiv 2307.08621), in model classes of our own (`modelling`)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from models.architectures import DECODER, PLAIN, Architecture, ArchitectureOptions

if TYPE_CHECKING:
    from transformers import PreTrainedConfig


@dataclass(frozen=True)
class RetNet(Architecture):
    """Retention, values and their gate twice as wide as the rest, GELU in a feed-forward of two matrices, no biases."""

    name = "retnet"
    model_types = ("retnet",)

    hidden: int
    ffn: int
    layers: int
    heads: int

    def body(self, options: ArchitectureOptions = PLAIN) -> int:
        """Parameters that work on every token: queries and keys, then values, gate and output, then the feed-forward and two norms."""
        layer = 2 * self.hidden**2 + 3 * self.hidden * 2 * self.hidden + 2 * self.hidden * self.ffn + 2 * self.hidden
        return self.layers * layer + self.hidden

    def parameters(self, vocab_size: int, options: ArchitectureOptions = PLAIN) -> int:
        """All parameters, with separate embeddings for input and output."""
        return self.body() + 2 * vocab_size * self.hidden

    def config(self, vocab_size: int, context: int, options: ArchitectureOptions = PLAIN) -> PreTrainedConfig:
        from models.architectures.retnet.configuration import RetNetConfig

        return RetNetConfig(
            **DECODER,
            vocab_size=vocab_size,
            hidden_size=self.hidden,
            intermediate_size=self.ffn,
            num_hidden_layers=self.layers,
            num_attention_heads=self.heads,
            max_position_embeddings=context,
        )

    @classmethod
    def register(cls) -> None:
        from transformers import AutoConfig, AutoModel, AutoModelForCausalLM

        from models.architectures.retnet.configuration import RetNetConfig
        from models.architectures.retnet.modelling import RetNetForCausalLM, RetNetModel

        AutoConfig.register(RetNetConfig.model_type, RetNetConfig, exist_ok=True)
        AutoModel.register(RetNetConfig, RetNetModel, exist_ok=True)
        AutoModelForCausalLM.register(RetNetConfig, RetNetForCausalLM, exist_ok=True)


PRESETS = {
    # retnet-1.3B-toy's shapes, whose vocabulary has 64,000 entries: with it and separate embeddings 400, 1,470 and 2,845 million
    "retnet-tiny": RetNet(hidden=192, ffn=384, layers=4, heads=3, context=256),
    "retnet-300m": RetNet(hidden=1280, ffn=2560, layers=12, heads=8, context=1024),
    "retnet-1.3b": RetNet(hidden=2048, ffn=4096, layers=24, heads=8, context=1024),
    "retnet-2.7b": RetNet(hidden=2560, ffn=5120, layers=32, heads=10, context=1024),
}
