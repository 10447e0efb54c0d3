"""Prompts of requests as token ids. No text of a request can spell a special token: only ids can name one."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import TypeVar

from jinja2 import TemplateError
from transformers import PreTrainedTokenizerBase

from models import template
from models.continuation import document_start
from models.serve.errors import ApiError
from models.serve.schemas import ChatRequest, CompletionRequest
from models.serve.served import Loaded

LONG = 20_000  # characters from which cutting a text into tokens takes long enough to keep other requests waiting

T = TypeVar("T")


async def of_chat(tokenizer: PreTrainedTokenizerBase, body: ChatRequest) -> list[list[int]]:
    """The one prompt of a conversation. `ApiError` where the model's template has no place for a turn."""
    turns = [message.turn() for message in body.messages]

    def cut() -> list[list[int]]:
        try:
            return [template.prompt(tokenizer, turns)]
        except (ValueError, TemplateError) as refused:  # a model from outside refuses turns by its own template
            raise ApiError(400, f"messages: {refused}", "invalid_value", "messages") from None

    return await _aside(cut, sum(len(turn["content"]) + 20 for turn in turns))


async def of_completion(loaded: Loaded, body: CompletionRequest) -> list[list[int]]:
    """Each prompt's ids: a text is a document that begins, as in pretraining (a text-to-text model reads it as it is); ids are taken as they
    are. `ApiError` for an id beyond the vocabulary, and for a prompt without a token."""
    prompts, tokenizer, vocabulary = body.prompts, loaded.engine.tokenizer, len(loaded.spellings)
    if unknown := next((id for ids in prompts if not isinstance(ids, str) for id in ids if id >= vocabulary), None):
        raise ApiError(
            400, f"prompt: no token {unknown}; the model has {vocabulary:,}, numbered from 0", "invalid_value", "prompt"
        )

    def cut() -> list[list[int]]:
        begin, special = [] if loaded.text2text else document_start(tokenizer), template.specials(tokenizer)
        return [ids if not isinstance(ids, str) else begin + _ids(tokenizer, template.plain(ids, special)) for ids in prompts]

    rows = await _aside(cut, sum(len(prompt) for prompt in prompts))
    if not all(rows):
        raise ApiError(400, "prompt: an empty text, which this model has nothing to answer to", "invalid_value", "prompt")
    return rows


def _ids(tokenizer: PreTrainedTokenizerBase, text: str) -> list[int]:
    return list(tokenizer(text, add_special_tokens=False)["input_ids"])


def echoes(tokenizer: PreTrainedTokenizerBase, body: CompletionRequest) -> Sequence[str]:
    """The texts that answers begin with where `echo` is set, one for each prompt."""
    if not body.echo:
        return [""] * len(body.prompts)
    return [prompt if isinstance(prompt, str) else tokenizer.decode(prompt, skip_special_tokens=True) for prompt in body.prompts]


async def _aside(work: Callable[[], T], characters: int) -> T:
    """The result of some work, done in another thread where it is much."""
    return await asyncio.to_thread(work) if characters > LONG else work()
