"""T5, the encoder-decoder: it reads a prompt and writes a response."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from models.architectures import PLAIN, Architecture, ArchitectureOptions
from models.template import END_ID, PAD_ID

if TYPE_CHECKING:
    from transformers import PreTrainedConfig


@dataclass(frozen=True)
class T5(Architecture):
    """Encoder and decoder of `layers` each, relative positions, ReLU, one embedding for all three uses."""

    name = "t5"
    model_types = ("t5",)
    text2text = True
    unsharded = "a T5 does not train in shards: its encoder, its decoder and its head share one embedding"

    hidden: int
    ffn: int
    layers: int
    heads: int

    def body(self, options: ArchitectureOptions = PLAIN) -> int:
        attention, feed = 4 * self.hidden**2, 2 * self.hidden * self.ffn
        encoder = attention + feed + 2 * self.hidden
        decoder = 2 * attention + feed + 3 * self.hidden
        return self.layers * (encoder + decoder) + 2 * self.hidden + 2 * 32 * self.heads  # last norms, position buckets

    def parameters(self, vocab_size: int, options: ArchitectureOptions = PLAIN) -> int:
        return self.body() + vocab_size * self.hidden

    def config(self, vocab_size: int, context: int, options: ArchitectureOptions = PLAIN) -> PreTrainedConfig:
        """The first token of a response is predicted from the padding token, as T5 has it. `context` is no part of it: T5 has no longest text."""
        from transformers import T5Config

        return T5Config(
            vocab_size=vocab_size,
            d_model=self.hidden,
            d_ff=self.ffn,
            d_kv=self.hidden // self.heads,
            num_heads=self.heads,
            num_layers=self.layers,
            num_decoder_layers=self.layers,
            dropout_rate=0.0,  # T5 1.1's practice in pretraining; and no step of ours may depend on a random mask
            pad_token_id=PAD_ID,
            eos_token_id=END_ID,
            decoder_start_token_id=PAD_ID,
            # Embeddings start at 1 and the tied head divides by √d: a first loss of ln V + 1. Smaller ones start nearer ln V, and learn
            # slowly (0.05: not at all in 60 steps).
            initializer_factor=1.0,
            use_cache=False,
        )


PRESETS = {
    # ChatLM-mini-Chinese: 187.7 million parameters with its vocabulary of 29,298
    "t5-tiny": T5(hidden=192, ffn=512, layers=3, heads=3, context=256),
    "t5-0.2b": T5(hidden=768, ffn=3072, layers=10, heads=12, context=256),
}
