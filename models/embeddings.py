"""A model's rows for another vocabulary: each row goes where its token went, by the token's name, never by its number."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from tokenizers import Tokenizer
    from torch import nn
    from transformers import PreTrainedModel


def sources(old: Tokenizer, new: Tokenizer) -> list[list[int]]:
    """For each id of `new`, the ids of `old` whose rows it starts from: its own row's by name, else its pieces', in the old cut.

    `ValueError` where the two spell tokens in different alphabets, so that equal names would not be equal tokens.
    """
    import json

    from models.vocabulary import is_byte_level

    alphabets = [is_byte_level(json.loads(tokenizer.to_str())) for tokenizer in (old, new)]
    if alphabets[0] != alphabets[1]:
        raise ValueError(
            "one tokenizer spells its tokens in bytes and the other in characters, so their rows cannot be matched by name"
        )
    ids = old.get_vocab()
    rows: list[list[int]] = [[] for _ in range(max(new.get_vocab().values()) + 1)]
    for token, number in new.get_vocab().items():
        rows[number] = [ids[token]] if token in ids else [piece.id for piece in old.model.tokenize(token)]
    return rows


@torch.no_grad()
def resize(model: PreTrainedModel, old: Tokenizer, new: Tokenizer) -> int:
    """Give a model that read with `old` the vocabulary of `new`, in place: input rows and output rows. Returns how many rows are new.

    A token that both have keeps its row exactly; a new one starts as the mean of its pieces' rows, or of all rows where it has no pieces.
    Rows that no token of `old` names (padding to a round number) go. The ids of pad, begin and end in the configs follow their tokens.
    """
    rows = sources(old, new)
    before = model.get_input_embeddings().num_embeddings
    last = max(old.get_vocab().values())
    if last >= before:
        raise ValueError(
            f"the model has {before} rows and its tokenizer ids up to {last}; give the tokenizer that it was trained with"
        )
    old_tables = [table.weight for table in tables(model)]
    head = model.get_output_embeddings()
    if head is not None and getattr(head, "bias", None) is not None:
        old_tables.append(head.bias)
    made = [mapped(table.detach()[: last + 1], rows) for table in old_tables]
    model.resize_token_embeddings(len(rows), mean_resizing=False)
    head = model.get_output_embeddings()
    model.get_input_embeddings().weight.copy_(made[0])
    if head is not None:
        head.weight.copy_(made[1])
        if len(made) > 2:
            head.bias.copy_(made[2])
    _follow(model, old, new)
    names = old.get_vocab()
    return sum(token not in names for token in new.get_vocab())


def tables(model: PreTrainedModel) -> list[nn.Module]:
    """The modules whose `weight` has a row a token: the embeddings, and the head where there is one."""
    return [found for found in (model.get_input_embeddings(), model.get_output_embeddings()) if found is not None]


def mapped(table: torch.Tensor, rows: list[list[int]]) -> torch.Tensor:
    """(old rows, width) or (old rows,) → the same for the new rows: an old row, the mean of several, or the mean of all."""
    found = torch.empty(len(rows), *table.shape[1:], dtype=table.dtype, device=table.device)
    everything = table.float().mean(0)
    for number, pieces in enumerate(rows):
        if len(pieces) == 1:
            found[number] = table[pieces[0]]
        else:
            found[number] = table[pieces].float().mean(0) if pieces else everything
    return found


def lacking(old: Tokenizer, new: Tokenizer) -> list[str]:
    """Tokens of `old` that `new` does not have: none where it extends it."""
    names = new.get_vocab()
    return [token for token in old.get_vocab() if token not in names]


def _follow(model: PreTrainedModel, old: Tokenizer, new: Tokenizer) -> None:
    for config in (model.config, model.generation_config):
        for name in ("pad_token_id", "bos_token_id", "eos_token_id", "decoder_start_token_id"):
            value = getattr(config, name, None)
            if value is not None:
                moved = [new.token_to_id(old.id_to_token(each) or "") for each in (value if isinstance(value, list) else [value])]
                setattr(config, name, moved if isinstance(value, list) else moved[0])
