"""Embeddings (and the head) of a model for another vocabulary: each row goes where its token went, by the token's name, never by its id."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from tokenizers import Tokenizer
    from torch import nn
    from transformers import PreTrainedModel


def sources(old: Tokenizer, new: Tokenizer) -> list[list[int]]:
    """The ids of `old` whose rows each id of `new` starts from: its own row's by name, else those of its parts, as `old` cuts it.

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
        rows[number] = [ids[token]] if token in ids else [part.id for part in old.model.tokenize(token)]
    return rows


@torch.no_grad()
def resize(model: PreTrainedModel, old: Tokenizer, new: Tokenizer) -> int:
    """Give a model that read with `old` the vocabulary of `new`, in place: input rows and output rows. Returns how many rows are new.

    A token that both have keeps its row exactly; a new one starts as the mean of its parts' rows, or of all rows where it has none.
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
    new_tables = [mapped(table.detach()[: last + 1], rows) for table in old_tables]
    model.resize_token_embeddings(len(rows), mean_resizing=False)
    head = model.get_output_embeddings()
    model.get_input_embeddings().weight.copy_(new_tables[0])
    if head is not None:
        head.weight.copy_(new_tables[1])
        if len(new_tables) > 2:
            head.bias.copy_(new_tables[2])
    _follow(model, old, new)
    names = old.get_vocab()
    return sum(token not in names for token in new.get_vocab())


def tables(model: PreTrainedModel) -> list[nn.Module]:
    """The modules whose `weight` has a row a token: the embeddings, and the head where there is one."""
    return [table for table in (model.get_input_embeddings(), model.get_output_embeddings()) if table is not None]


def mapped(table: torch.Tensor, rows: list[list[int]]) -> torch.Tensor:
    """A table (old rows, width) or (old rows,) for the new rows, each of which is an old row, the mean of several, or the mean of all."""
    new = torch.empty(len(rows), *table.shape[1:], dtype=table.dtype, device=table.device)
    everything = table.float().mean(0)
    for number, parts in enumerate(rows):
        if len(parts) == 1:
            new[number] = table[parts[0]]
        else:
            new[number] = table[parts].float().mean(0) if parts else everything
    return new


def lacking(old: Tokenizer, new: Tokenizer) -> list[str]:
    """Tokens of `old` that `new` does not have: none where it extends it."""
    names = new.get_vocab()
    return [token for token in old.get_vocab() if token not in names]


def _follow(model: PreTrainedModel, old: Tokenizer, new: Tokenizer) -> None:
    """Give the configurations of a model the new ids of their special tokens."""
    for config in (model.config, model.generation_config):
        for name in ("pad_token_id", "bos_token_id", "eos_token_id", "decoder_start_token_id"):
            value = getattr(config, name, None)
            if value is not None:
                ids = [new.token_to_id(old.id_to_token(each) or "") for each in (value if isinstance(value, list) else [value])]
                setattr(config, name, ids if isinstance(value, list) else ids[0])
