"""Mixture of experts: a Llama with experts in place of the feed-forward, routed ones and a shared one, as Qwen2-MoE in transformers."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, ClassVar

from models.architectures import PLAIN, ArchitectureOptions
from models.architectures.llama import Llama

if TYPE_CHECKING:
    from transformers import PreTrainedConfig


@dataclass(frozen=True)
class MoE(Llama):
    """A Llama whose feed-forward is `experts` small ones, of which a router gives each token `active`, and one that all tokens share."""

    name = "moe"
    model_types = ("qwen2_moe",)
    options: ClassVar[tuple[str, ...]] = ("balance",)

    experts: int
    active: int
    expert_ffn: int  # the shared expert's width is `ffn`
    divided: bool = True  # the weights of a token's experts are divided by their sum; llama.cpp runs those alone that are not

    def body(self, options: ArchitectureOptions = PLAIN) -> int:
        """Parameters that work on one token: of the experts only the active ones."""
        return self._body(self.active)

    def parameters(self, vocab_size: int, options: ArchitectureOptions = PLAIN) -> int:
        return self._body(self.experts) + 2 * vocab_size * self.hidden

    def config(self, vocab_size: int, context: int, options: ArchitectureOptions = PLAIN) -> PreTrainedConfig:
        from transformers import Qwen2MoeConfig

        return Qwen2MoeConfig(
            **self._settings(vocab_size, context),
            qkv_bias=False,
            num_experts=self.experts,
            num_experts_per_tok=self.active,
            moe_intermediate_size=self.expert_ffn,
            shared_expert_intermediate_size=self.ffn,
            norm_topk_prob=self.divided,
            router_aux_loss_coef=0.01 if options.balance is None else options.balance,
            output_router_logits=False,
        )

    def _body(self, experts: int) -> int:
        router = self.hidden * (self.experts + 1)  # and the shared expert's gate
        layer = 4 * self.hidden**2 + 3 * self.hidden * (self.ffn + experts * self.expert_ffn) + router + 2 * self.hidden
        return self.layers * layer + self.hidden


PRESETS = {
    # a token passes the shared expert and two of eight: the arithmetic of the dense model of the name before the dash
    "tiny-moe": MoE(hidden=192, ffn=192, layers=4, heads=3, context=256, experts=8, active=2, expert_ffn=160),
    "92m-moe": MoE(hidden=512, ffn=512, layers=8, heads=8, context=1024, experts=8, active=2, expert_ffn=448),
}
PRESETS |= {f"{name}-undivided": replace(preset, divided=False) for name, preset in PRESETS.items()}
