"""Token ids of a text's beginning and of texts in the middle of another, as a tokenizer would cut the whole of them.

Tokenizers from outside mark where a text begins: with a special token (Llama's <s>) or with SentencePiece's mark for the space before its
first word. A model must meet both at the beginning of a text, and neither in the middle of one.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

ANCHOR = "\n"  # joins with nothing that follows it


def bos_ids(tokenizer: PreTrainedTokenizerBase) -> list[int]:
    """Ids of the special tokens that the tokenizer puts before every text (Llama's <s>): its model has never read a text without them. Ours
    puts none there."""
    return prefix(tokenizer(ANCHOR)["input_ids"], tokenizer(ANCHOR, add_special_tokens=False)["input_ids"])


def document_start(tokenizer: PreTrainedTokenizerBase) -> list[int]:
    """Ids that stand before a document: those of `bos_ids`, else the end of the document before it, as in our pretraining."""
    return bos_ids(tokenizer) or [tokenizer.eos_token_id]


def prefix(ids: list[int], text: list[int]) -> list[int]:
    """The part of `ids` before the first place where `text` stands in them; empty where it stands nowhere."""
    return next((ids[:at] for at in range(len(ids) - len(text) + 1) if ids[at : at + len(text)] == text), [])


def continuation_ids(tokenizer: PreTrainedTokenizerBase, texts: Sequence[str], **options: Any) -> list[list[int]]:
    """Ids of texts that come after others: without the mark that SentencePiece puts before the first word of a text. `options` are the
    tokenizer's."""
    if not texts:
        return []
    anchor, first = (tokenizer(text, add_special_tokens=False)["input_ids"] for text in (ANCHOR, "a"))
    if tokenizer(f"{ANCHOR}a", add_special_tokens=False)["input_ids"] == anchor + first:
        return tokenizer(list(texts), add_special_tokens=False, **options)["input_ids"]
    rows = tokenizer([ANCHOR + text for text in texts], add_special_tokens=False, **options)["input_ids"]
    return [ids[len(anchor) :] for ids in rows]
