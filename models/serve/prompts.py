"""Prompts of requests as token ids. No text of a request can spell a special token: only ids can name one."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import TypeVar

from jinja2 import TemplateError
from transformers import PreTrainedTokenizerBase

from models import template
from models.continuation import continuation_ids, document_start
from models.engines.engine import ContextExceeded
from models.serve.errors import ApiError
from models.serve.schemas import ChatRequest, CompletionRequest
from models.serve.served import Loaded

LONG = 20_000  # characters from which cutting a text into tokens takes long enough to keep other requests waiting

T = TypeVar("T")


async def of_chat(loaded: Loaded, body: ChatRequest) -> list[list[int]]:
    """The one prompt of a conversation, up to where the assistant's answer begins, or up to what there is of one that is to be continued.
    `ApiError` where the model's template has no place for a turn, and for an answer that cannot be continued."""
    tokenizer, turns = loaded.engine.tokenizer, [message.turn() for message in body.messages]
    _check_length(
        loaded, [turn["content"] for turn in turns if turn["role"] != "assistant"]
    )  # of an answer, templates may leave out thoughts
    begun = _begun(loaded, turns) if body.continue_final_message else ""

    def cut() -> list[list[int]]:
        try:
            ids = template.prompt(tokenizer, turns)
            return [ids + continuation_ids(tokenizer, [template.plain(begun, template.specials(tokenizer))])[0] if begun else ids]
        except (ValueError, TemplateError) as refused:  # a model from outside refuses turns by its own template
            raise ApiError(400, f"messages: {refused}", "invalid_value", "messages") from None

    return await _aside(cut, sum(len(turn["content"]) + 20 for turn in turns) + len(begun))


def _begun(loaded: Loaded, turns: list[dict[str, str]]) -> str:
    """The text of an answer that is to be continued, taken off the turns. `ApiError` where there is none, or the model cannot go on with it."""
    if turns[-1]["role"] != "assistant" or len(turns) < 2:
        raise ApiError(
            400, "continue_final_message: the last message is not the assistant's", "invalid_value", "continue_final_message"
        )
    if loaded.text2text:
        said = "continue_final_message: a text-to-text model begins every answer anew; raise max_tokens instead"
        raise ApiError(400, said, "invalid_value", "continue_final_message")
    return turns.pop()["content"]


async def of_completion(loaded: Loaded, body: CompletionRequest) -> list[list[int]]:
    """Each prompt's ids: a text is a document that begins, as in pretraining (a text-to-text model reads it as it is); ids are taken as they
    are. `ApiError` for an id beyond the vocabulary, and for a prompt without a token."""
    prompts, tokenizer, vocabulary = body.prompts, loaded.engine.tokenizer, len(loaded.spellings)
    for prompt in prompts:
        _check_length(loaded, [prompt] if isinstance(prompt, str) else [])
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


def _check_length(loaded: Loaded, texts: Sequence[str]) -> None:
    """`ContextExceeded` for long texts that exceed the context however they are cut: to cut a megabyte takes up to ten seconds."""
    if (
        sum(map(len, texts)) < LONG or loaded.engine.tokenizer.backend_tokenizer.normalizer is not None
    ):  # one may make a text shorter
        return
    least = (
        sum(len(text.strip().encode("utf-8")) for text in texts) // loaded.longest
    )  # white space around turns is not in all templates
    if least > loaded.engine.context:
        raise ContextExceeded(
            f"the prompt has more than {least:,} tokens, and the model's context {loaded.engine.context:,} for prompt and answer; shorten it"
        )


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
