"""The configuration of a RetNet, as transformers keeps it in `config.json`."""

from __future__ import annotations

import math

from huggingface_hub.dataclasses import strict
from transformers import PreTrainedConfig
from transformers.activations import ACT2FN

FORMS = ("chunkwise", "parallel", "recurrent")


@strict
class RetNetConfig(PreTrainedConfig):
    """A decoder of retention layers (Sun et al. 2023, arXiv 2307.08621). The defaults are its 1.3B model with a vocabulary of 64,000.

    `value_size` and `intermediate_size` are twice the hidden size where they are left out (section 3.1, "parameter allocation"). `glu`:
    the feed-forward multiplies what it lets through by a gate, which makes it three matrices instead of two. `form` is how sequences are
    read, and `chunk_size` the tokens of a chunk in the chunkwise form; neither changes the result beyond rounding. Left out, a chunk is
    the power of two next to √(d e), for heads of d keys and e values: there the scores inside chunks, C a token, and the states between
    them, d e / C a token, take the same memory. `theta`: base of the rotations' frequencies. `max_position_embeddings` is the length
    the model was trained with; it reads longer texts too.
    """

    model_type = "retnet"
    keys_to_ignore_at_inference = ["past_key_values"]  # noqa: RUF012

    vocab_size: int = 64_000
    hidden_size: int = 2048
    num_hidden_layers: int = 24
    num_attention_heads: int = 8
    value_size: int | None = None
    intermediate_size: int | None = None
    hidden_act: str = "gelu"
    glu: bool = False
    form: str = "chunkwise"
    chunk_size: int | None = None
    theta: float = 10_000.0
    max_position_embeddings: int = 2048
    norm_eps: float = 1e-6
    # A document's first token reads (q · k) v alone, and q · k may be near 0. With 1e-5 the gradient then jumps to 46 in a run whose median
    # is 1.2 (retnet-tiny, 120 steps), and rounding shows; with 1e-3 to 6, at the same loss.
    group_norm_eps: float = 1e-3
    initializer_range: float = 0.02
    use_cache: bool = True
    pad_token_id: int | None = None
    bos_token_id: int | None = None
    eos_token_id: int | list[int] | None = None
    tie_word_embeddings: bool = False

    def __post_init__(self, **kwargs):  # type: ignore[no-untyped-def]
        self.value_size = self.value_size or 2 * self.hidden_size
        self.intermediate_size = self.intermediate_size or 2 * self.hidden_size
        if self.chunk_size is None:
            per_head = self.hidden_size * self.value_size / max(1, self.num_attention_heads) ** 2
            self.chunk_size = 2 ** round(math.log2(per_head) / 2)
        super().__post_init__(**kwargs)

    def validate_architecture(self) -> None:
        """`ValueError` where the sizes make no model; called by `@strict`."""
        heads = self.num_attention_heads
        if heads < 1:
            raise ValueError(f"num_attention_heads is {heads}; give at least one")
        if self.hidden_size % heads or self.hidden_size // heads % 2:
            raise ValueError(
                f"hidden_size is {self.hidden_size}, and {heads} heads need a multiple of {2 * heads}: pairs are rotated"
            )
        if self.value_size is not None and self.value_size % heads:
            raise ValueError(f"value_size is {self.value_size}, and {heads} heads need a multiple of {heads}")
        if self.form not in FORMS:
            raise ValueError(f"form is {self.form!r}; there are {', '.join(FORMS)}")
        if self.chunk_size is not None and self.chunk_size < 1:
            raise ValueError(f"chunk_size is {self.chunk_size}; a chunk holds at least one token")
        if self.hidden_act not in ACT2FN:
            raise ValueError(f"hidden_act is {self.hidden_act!r}, which transformers does not know; gelu and silu are usual")
