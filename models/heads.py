"""The head that writes a model's text: the embeddings themselves, or weights of its own. The weights say which, not the configuration.

transformers 5 calls every T5 shared, whatever its weights are, and says so in what it saves; transformers 4 believes that and drops a head
of its own. Besides, both divide what a shared head reads by √d, but by different rules: 4 where the configuration says shared; 5 for T5 where
it was said so when it was read, for mT5 never and for UMT5 always. What is settled here is read alike by both.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import nn

if TYPE_CHECKING:
    from transformers import PreTrainedModel

T5 = ("t5", "mt5", "umt5")
SHARED_BY_DEFAULT = {"t5": True, "mt5": False, "umt5": True}  # transformers 4's


def is_own(model: PreTrainedModel) -> bool:
    """True where the head has other weights than the embeddings."""
    head = model.get_output_embeddings()
    return head is not None and head.weight is not model.get_input_embeddings().weight


def settle(model: PreTrainedModel, described: dict[str, Any]) -> bool:
    """Make a model that was just read, and its configuration, say of its head what its weights say; `described` is its config.json.
    Returns True where its weights changed: a factor went into the head, or one that was shared became its own. `ValueError` for a head that
    the two generations of transformers could not read alike."""
    if model.get_output_embeddings() is None:
        return False
    changes = False
    if model.config.model_type in T5:
        divides, own = _was_divided(described, is_own(model)), is_own(model)
        if model.config.model_type == "umt5" and (own or not divides):
            raise ValueError(
                "config.json: this UMT5 has a head of its own, which transformers 5 divides by √d and transformers 4 does not; take one that "
                "shares its embeddings, or a T5 or mT5"
            )
        if own or not divides or model.config.model_type == "mt5":
            changes = not own or divides
            _detach(model, model.config.d_model**-0.5 if divides else 1.0)
            model.config.scale_decoder_outputs = False
    if is_own(model):
        model.config.tie_word_embeddings = False
    return changes


def settled(described: dict[str, Any], model: PreTrainedModel) -> dict[str, Any]:
    """A config.json that says of the head what the settled model does; the same where it says so already."""
    if not is_own(model):
        return described
    told = {"tie_word_embeddings": False}
    if "scale_decoder_outputs" in described:
        told["scale_decoder_outputs"] = False
    return described | told


@torch.no_grad()
def renew(model: PreTrainedModel, described: dict[str, Any]) -> None:
    """Give a new T5 a new head of its own, where that is what `described`, the config.json of a settled model, says. It starts as small as
    a shared head that is divided by √d: one of the embeddings' size would begin with a loss of a hundred."""
    if model.config.model_type in T5 and described.get("tie_word_embeddings") is False:
        _detach(model, 1.0)
        nn.init.normal_(model.get_output_embeddings().weight, std=model.config.initializer_factor * model.config.d_model**-0.5)
        model.config.update({"tie_word_embeddings": False, "scale_decoder_outputs": False})


def _was_divided(described: dict[str, Any], own: bool) -> bool:
    """True where the weights of a T5 were trained with what the head reads divided by √d: where that is said, or where the head was shared,
    as the generation of transformers that wrote the file takes it."""
    if described["model_type"] == "t5" and "scale_decoder_outputs" in described:
        return bool(described["scale_decoder_outputs"])
    if own:
        return False
    generation = str(described.get("transformers_version", "4")).partition(".")[0]
    if described["model_type"] != "t5" and generation.isdigit() and int(generation) >= 5:
        return bool(described["model_type"] == "umt5")
    return bool(described.get("tie_word_embeddings", SHARED_BY_DEFAULT[described["model_type"]]))


@torch.no_grad()
def _detach(model: PreTrainedModel, factor: float) -> None:
    """Give the head weights of its own: those that it has, times a factor."""
    head = model.get_output_embeddings()
    head.weight = nn.Parameter((head.weight.float() * factor).to(head.weight.dtype), requires_grad=head.weight.requires_grad)
    tied = model.all_tied_weights_keys
    for name, part in model.named_modules():
        if part is head:
            tied.pop(f"{name}.weight", None)
