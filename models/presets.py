"""Model sizes by name, and the one dial that derives batch, learning rate and horizon from a size.

Four architectures, each in the classes of transformers that every tool loads: Llama (as Qwen3 where queries and keys are normalised, as
Qwen2 where they have biases), the same with experts in place of the feed-forward (Qwen2-MoE: routed experts and a shared one), T5, and
RetNet, which is ours. From 16m to 1.5b the shapes are those of Tiny LLM zh, whose vocabulary has 64,798 entries and whose two embeddings
are separate.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from models.template import END_ID, PAD_ID

if TYPE_CHECKING:
    from transformers import PreTrainedConfig

SPECIAL = {"pad_token_id": PAD_ID, "bos_token_id": END_ID, "eos_token_id": END_ID}  # the end of one document opens the next
OPTIONS = ("kv_heads", "qk_norm", "qkv_bias", "balance")  # what a recipe may ask of an architecture beside its size
SHAPE = ("preset", "kv_heads", "qk_norm", "qkv_bias")  # of it, and the size: which weights fit


@dataclass(frozen=True)
class Llama:
    """RMSNorm, rotary positions, SwiGLU, no biases."""

    hidden: int
    ffn: int
    layers: int
    heads: int
    context: int  # tokens a sequence where none is asked for

    def body(self, *, kv_heads: int | None = None, qk_norm: bool = False, qkv_bias: bool = False) -> int:
        """Parameters that work on every token: all but the embeddings, which take no part in a layer's arithmetic. Options as `config` has
        them."""
        head = self.hidden // self.heads
        shared = (kv_heads or self.heads) * head  # width of the keys, and of the values
        attention = 2 * self.hidden * (self.hidden + shared) + 2 * head * qk_norm + (self.hidden + 2 * shared) * qkv_bias
        return self.layers * (attention + 3 * self.hidden * self.ffn + 2 * self.hidden) + self.hidden

    def parameters(self, vocab_size: int, **options: Any) -> int:
        """All parameters, with separate embeddings for input and output."""
        return self.body(**options) + 2 * vocab_size * self.hidden

    def config(
        self, vocab_size: int, context: int, *, kv_heads: int | None = None, qk_norm: bool = False, qkv_bias: bool = False
    ) -> PreTrainedConfig:
        """`kv_heads`: heads of keys and values, shared by groups of query heads; `qk_norm`: RMSNorm of each head's queries and keys;
        `qkv_bias`: queries, keys and values have biases."""
        from transformers import LlamaConfig, Qwen2Config, Qwen3Config

        settings = self._settings(vocab_size, context) | {"num_key_value_heads": kv_heads or self.heads}
        if qkv_bias:
            return Qwen2Config(**settings)
        if qk_norm:
            return Qwen3Config(**settings, head_dim=self.hidden // self.heads)
        return LlamaConfig(**settings)

    def _settings(self, vocab_size: int, context: int) -> dict[str, Any]:
        return SPECIAL | {
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
            # With a cache, transformers takes packed documents for one and lets them see each other.
            "use_cache": False,
        }


@dataclass(frozen=True)
class MoE(Llama):
    """A Llama whose feed-forward is `experts` small ones, of which a router gives each token `active`, and one that all tokens share."""

    experts: int
    active: int
    expert_ffn: int  # the shared expert's width is `ffn`

    def body(self, *, balance: float = 0.01) -> int:  # type: ignore[override]
        """Parameters that work on one token: of the experts only the active ones. `balance` has none."""
        return self._body(self.active)

    def _body(self, experts: int) -> int:
        router = self.hidden * (self.experts + 1)  # and the shared expert's gate
        layer = 4 * self.hidden**2 + 3 * self.hidden * (self.ffn + experts * self.expert_ffn) + router + 2 * self.hidden
        return self.layers * layer + self.hidden

    def parameters(self, vocab_size: int, **options: Any) -> int:
        return self._body(self.experts) + 2 * vocab_size * self.hidden

    def config(self, vocab_size: int, context: int, *, balance: float = 0.01) -> PreTrainedConfig:  # type: ignore[override]
        """`balance`: weight of the loss that spreads tokens evenly over the experts."""
        from transformers import Qwen2MoeConfig

        return Qwen2MoeConfig(
            **self._settings(vocab_size, context),
            qkv_bias=False,
            num_experts=self.experts,
            num_experts_per_tok=self.active,
            moe_intermediate_size=self.expert_ffn,
            shared_expert_intermediate_size=self.ffn,
            norm_topk_prob=True,
            router_aux_loss_coef=balance,
            output_router_logits=False,
        )


@dataclass(frozen=True)
class T5:
    """Encoder and decoder of `layers` each, relative positions, ReLU, one embedding for all three uses."""

    hidden: int
    ffn: int
    layers: int
    heads: int
    context: int  # tokens of a prompt, and of a response, where none is asked for

    def body(self) -> int:
        attention, feed = 4 * self.hidden**2, 2 * self.hidden * self.ffn
        encoder = attention + feed + 2 * self.hidden
        decoder = 2 * attention + feed + 3 * self.hidden
        return self.layers * (encoder + decoder) + 2 * self.hidden + 2 * 32 * self.heads  # last norms, position buckets

    def parameters(self, vocab_size: int) -> int:
        return self.body() + vocab_size * self.hidden

    def config(self, vocab_size: int, context: int) -> PreTrainedConfig:
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
            dropout_rate=0.0,  # T5 1.1's practice in pretraining; and no step of ours may hang on a random mask
            pad_token_id=PAD_ID,
            eos_token_id=END_ID,
            decoder_start_token_id=PAD_ID,
            # Embeddings start at 1 and the tied head divides by √d: a first loss of ln V + 1. Smaller ones start nearer ln V, and learn
            # slowly (0.05: not at all in 60 steps).
            initializer_factor=1.0,
            use_cache=False,
        )


@dataclass(frozen=True)
class RetNet:
    """Retention, values and their gate twice as wide as the rest, GELU in a feed-forward of two matrices, no biases."""

    hidden: int
    ffn: int
    layers: int
    heads: int
    context: int  # tokens a sequence where none is asked for

    def body(self) -> int:
        """Parameters that work on every token: queries and keys, then values, gate and output, then the feed-forward and two norms."""
        layer = 2 * self.hidden**2 + 3 * self.hidden * 2 * self.hidden + 2 * self.hidden * self.ffn + 2 * self.hidden
        return self.layers * layer + self.hidden

    def parameters(self, vocab_size: int) -> int:
        """All parameters, with separate embeddings for input and output."""
        return self.body() + 2 * vocab_size * self.hidden

    def config(self, vocab_size: int, context: int) -> PreTrainedConfig:
        from models.retnet import RetNetConfig

        return RetNetConfig(
            **SPECIAL,
            vocab_size=vocab_size,
            hidden_size=self.hidden,
            intermediate_size=self.ffn,
            num_hidden_layers=self.layers,
            num_attention_heads=self.heads,
            max_position_embeddings=context,
            use_cache=False,
        )


Preset = Llama | T5 | RetNet
PRESETS: dict[str, Preset] = {
    # heads of 64 numbers: on a CPU, attention with 3 such heads takes half the time of 6 with 32
    "tiny": Llama(192, 512, 4, 3, 256),
    "16m": Llama(120, 384, 6, 6, 512),
    "42m": Llama(288, 768, 6, 6, 512),
    "92m": Llama(512, 1408, 8, 8, 1024),
    "210m": Llama(768, 2048, 16, 12, 1024),
    "440m": Llama(1024, 2816, 24, 16, 1024),
    "1.5b": Llama(2048, 5504, 24, 16, 1024),
    # a token passes the shared expert and two of eight: the arithmetic of the dense model of the name before the dash
    "tiny-moe": MoE(192, 192, 4, 3, 256, experts=8, active=2, expert_ffn=160),
    "92m-moe": MoE(512, 512, 8, 8, 1024, experts=8, active=2, expert_ffn=448),
    # ChatLM-mini-Chinese: 187.7 million parameters with its vocabulary of 29,298
    "t5-tiny": T5(192, 512, 3, 3, 256),
    "t5-0.2b": T5(768, 3072, 10, 12, 256),
    # retnet-1.3B-toy's shapes, whose vocabulary has 64,000 entries: with it and separate embeddings 400, 1,470 and 2,845 million
    "retnet-tiny": RetNet(192, 384, 4, 3, 256),
    "retnet-300m": RetNet(1280, 2560, 12, 8, 1024),
    "retnet-1.3b": RetNet(2048, 4096, 24, 8, 1024),
    "retnet-2.7b": RetNet(2560, 5120, 32, 10, 1024),
}


def architecture(preset: str) -> str:
    """llama, moe, t5 or retnet."""
    return type(_known(preset)).__name__.lower()


def build(preset: str, vocab_size: int, context: int | None = None, **options: Any) -> PreTrainedConfig:
    """The configuration of a model to train: special ids explicit, no cache. `ValueError` for an unknown name, and for an option that the
    architecture does not have."""
    size = _known(preset)
    return size.config(vocab_size, context or size.context, **chosen(preset, **options))


def chosen(preset: str, **options: Any) -> dict[str, Any]:
    """The options that are set. `ValueError` for one that the architecture does not have, and for those that do not go together."""
    options = {name: value for name, value in options.items() if value is not None and value is not False}
    known = _known(preset).config.__kwdefaults__ or {}
    if unknown := [name for name in options if name not in known]:
        raise ValueError(
            f"preset {preset!r} ({architecture(preset)}) has no {' or '.join(unknown)}; "
            + (f"it has {', '.join(known)}" if known else "leave it out")
        )
    heads, shared = _known(preset).heads, options.get("kv_heads")
    wrong = []
    if shared and heads % shared:
        wrong.append(f"kv_heads is {shared}, which does not divide the preset's {heads} heads")
    if options.keys() >= {"qk_norm", "qkv_bias"}:
        wrong.append("qk_norm and qkv_bias are of two architectures, Qwen3 and Qwen2; give one of them")
    if wrong:
        raise ValueError("; ".join(wrong))
    return options


def _known(preset: str) -> Preset:
    if preset not in PRESETS:
        raise ValueError(f"no model preset {preset!r}; there are {', '.join(PRESETS)}")
    return PRESETS[preset]


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
