"""Responses of the API, as /openapi.json describes them."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel

Finish = Literal["stop", "length"]


class ApiErrorFields(BaseModel):
    message: str
    type: str
    param: str | None
    code: str | None


class ApiErrorBody(BaseModel):
    """An error, in OpenAI's shape."""

    error: ApiErrorFields


class Usage(BaseModel):
    """Numbers of tokens, of all choices together."""

    prompt_tokens: int
    completion_tokens: int
    total_tokens: int


class TokenAlternative(BaseModel):
    """A token as text and as bytes, and the natural logarithm of its probability."""

    token: str
    logprob: float
    bytes: list[int]


class TokenLogprob(TokenAlternative):
    top_logprobs: list[TokenAlternative]


class ChatLogprobs(BaseModel):
    content: list[TokenLogprob]
    refusal: None


class ChatMessage(BaseModel):
    role: Literal["assistant"]
    content: str
    refusal: None


class ChatChoice(BaseModel):
    index: int
    message: ChatMessage
    logprobs: ChatLogprobs | None
    finish_reason: Finish


class Answered(BaseModel):
    """The fields that both kinds of completion have. `system_fingerprint` names the model's files: a seed means the same answer while they
    are the same."""

    id: str
    created: int
    model: str
    system_fingerprint: str
    usage: Usage


class ChatCompletion(Answered):
    object: Literal["chat.completion"]
    choices: list[ChatChoice]


class CompletionLogprobs(BaseModel):
    tokens: list[str]
    token_logprobs: list[float]
    top_logprobs: list[dict[str, float]]
    text_offset: list[int]


class CompletionChoice(BaseModel):
    index: int
    text: str
    logprobs: CompletionLogprobs | None
    finish_reason: Finish


class Completion(Answered):
    object: Literal["text_completion"]
    choices: list[CompletionChoice]


class Model(BaseModel):
    """A served model: OpenAI's fields, then ours."""

    id: str
    object: Literal["model"]
    created: int
    owned_by: str
    root: str  # the model itself, where this is one of its adapters
    key: str  # of its artifact or its files
    engine: str
    context: int  # tokens of prompt and answer together
    defaults: dict[str, float]  # decoding where a request does not say


class Models(BaseModel):
    object: Literal["list"]
    data: list[Model]


class Health(BaseModel):
    status: Literal["ok", "draining"]
