"""The contract of an architecture: what a module must provide so that its models can be trained, answered with and scored.

An architecture is a module, or a package with its own model classes, that defines

- a subclass of `Architecture`, a frozen dataclass whose fields are sizes (layers, heads, …). Its class attributes are the capabilities that
  the rest of Hanlin asks for: nothing else tells one architecture from another, neither a preset's name nor a class;
- `PRESETS`, a dict of preset names → instances of it.

One of Hanlin's own is a line in `models.presets.BUILT_IN`. One of another package needs no change here: the package names its module as an
entry point of the group `hanlin.presets`, such as

    [project.entry-points."hanlin.presets"]
    gpt2 = "my_package.gpt2"                 # or "my_package.gpt2:PRESETS"

The module is read by the process of a flow too, so it imports torch and transformers only inside of functions. Its model class is one of
transformers', or a `PreTrainedModel` of its own that takes `input_ids`, `attention_mask`, `position_ids` and, for generation, a cache; a
decoder keeps packed documents apart by their `position_ids`, which start at 0 in each.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from models.template import END_ID, PAD_ID

if TYPE_CHECKING:
    from transformers import PreTrainedConfig

# settings of every decoder's configuration. The end of one document opens the next; with a cache, transformers takes packed documents for one
# and lets them see each other
DECODER: dict[str, Any] = {"pad_token_id": PAD_ID, "bos_token_id": END_ID, "eos_token_id": END_ID, "use_cache": False}


@dataclass(frozen=True)
class ArchitectureOptions:
    """The options of a recipe beside the sizes of an architecture (fields of `pretrain` of the same names)."""

    kv_heads: int | None = None  # heads of keys and values, each shared by a group of query heads; None: as many
    qk_norm: bool = False  # RMSNorm of each head's queries and keys
    qkv_bias: bool = False  # queries, keys and values have biases
    balance: float | None = None  # weight of the loss that spreads tokens evenly over experts; None: the architecture's


PLAIN = ArchitectureOptions()


@dataclass(frozen=True)
class Architecture(ABC):
    """An architecture; an instance is one size of it, which a preset names."""

    name: ClassVar[str]  # as messages call it
    model_types: ClassVar[tuple[str, ...]]  # `model_type` in the config.json of its models
    options: ClassVar[tuple[str, ...]] = ()  # fields of `ArchitectureOptions` that it takes
    text2text: ClassVar[bool] = (
        False  # it reads a prompt and writes a response (AutoModelForSeq2SeqLM), instead of going on with a text
    )
    reward_head: ClassVar[bool] = False  # transformers has a head for it that scores a text (AutoModelForSequenceClassification)
    vllm: ClassVar[bool] = False  # vLLM runs it
    unsharded: ClassVar[str] = ""  # why it does not train in shards (FSDP2), as a sentence without its full stop; empty: it does

    context: int  # tokens of a sequence (text to text: of a prompt, and of a response) where a recipe says none

    @abstractmethod
    def config(self, vocab_size: int, context: int, options: ArchitectureOptions = PLAIN) -> PreTrainedConfig:
        """The configuration of a new model: special ids as `models.template` has them, and no cache."""

    @abstractmethod
    def body(self, options: ArchitectureOptions = PLAIN) -> int:
        """Parameters that work on one token, from which the floating-point operations of training follow (`models.scaling.compute`): all but
        the embeddings, which take no part in a layer's arithmetic, and idle experts."""

    @abstractmethod
    def parameters(self, vocab_size: int, options: ArchitectureOptions = PLAIN) -> int:
        """All parameters of a model."""

    def problems(self, options: ArchitectureOptions) -> list[str]:
        """The conflicts of these options with this size or each other, a phrase each."""
        return []

    @classmethod  # noqa: B027  most architectures have no classes of their own
    def register(cls) -> None:
        """Tell transformers' Auto classes of the architecture's own classes, if it has any (`exist_ok=True`: it may be told twice)."""
