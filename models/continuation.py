"""Texts in pieces, as a tokenizer cuts the whole of them: models from outside begin a text in ways of their own."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

ANCHOR = "\n"  # joins with nothing that follows it


def opening(tokenizer: PreTrainedTokenizerBase) -> list[int]:
    """What the tokenizer puts before every text (Llama's <s>), so that its model has never read one without. Ours put nothing there."""
    return before(tokenizer(ANCHOR)["input_ids"], tokenizer(ANCHOR, add_special_tokens=False)["input_ids"])


def lead(tokenizer: PreTrainedTokenizerBase) -> list[int]:
    """What a text is read after: what the tokenizer puts there, else the end of the text before it, as in our pretraining."""
    return opening(tokenizer) or [tokenizer.eos_token_id]


def before(whole: list[int], bare: list[int]) -> list[int]:
    """What stands before a text in a whole that has it somewhere."""
    return next((whole[:at] for at in range(len(whole) - len(bare) + 1) if whole[at : at + len(bare)] == bare), [])


def following(tokenizer: PreTrainedTokenizerBase, texts: Sequence[str], **options: Any) -> list[list[int]]:
    """Ids of texts that come after others. SentencePiece begins a text with a mark for the space before its first word, which does not
    belong into the middle of one."""
    if not texts:
        return []
    anchor, first = (tokenizer(text, add_special_tokens=False)["input_ids"] for text in (ANCHOR, "a"))
    if tokenizer(f"{ANCHOR}a", add_special_tokens=False)["input_ids"] == anchor + first:
        return tokenizer(list(texts), add_special_tokens=False, **options)["input_ids"]
    found = tokenizer([ANCHOR + text for text in texts], add_special_tokens=False, **options)["input_ids"]
    return [ids[len(anchor) :] for ids in found]
