"""Requests of the API: OpenAI's fields, those of ours beside them, and their bounds. A value of another type is refused, as OpenAI does: "no" is
no boolean, and "5" no number.

Fields of OpenAI's that would change nothing here are taken and ignored. Those that ask for what there is not (tools, images, a format) are
refused, as is a field that nobody knows: it is most likely misspelled.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, StringConstraints, field_validator, model_validator

CHOICES = 64  # most answers to one request, over all of its prompts
LONGEST = 1 << 15  # most tokens of an answer, where the context sets no end
FEW = 20  # most likely tokens that are told beside each token

STRICT = ConfigDict(strict=True)


def _characters(text: str) -> str:
    """A text as it is. `ValueError` for half of a surrogate pair, which JSON can spell and which is no character."""
    if not text.isascii() and any("\ud800" <= character <= "\udfff" for character in text):
        raise ValueError("half of a surrogate pair (\\ud800 to \\udfff) is no character")
    return text


Text = Annotated[str, AfterValidator(_characters)]
Token = Annotated[int, Field(ge=0, lt=1 << 31)]
Biased = Annotated[
    str, StringConstraints(pattern="^(0|[1-9][0-9]{0,9})$")
]  # a token's id: the names of fields are strings in JSON
Penalty = Annotated[float, Field(ge=-2, le=2)]
Ignored = Field(default=None, description="Taken and ignored")
EMPTY: dict[str, Any] = {"enum": [None, [], {}, "", False, 0]}
Refused = Field(default=None, description="Not offered here: refused unless empty", json_schema_extra=EMPTY)


class StreamOptions(BaseModel):
    model_config = STRICT | {"extra": "ignore"}

    include_usage: bool = Field(default=False, description="A last chunk without choices, with the numbers of tokens")


class Decoding(BaseModel):
    """The fields that both kinds of completion have."""

    model_config = STRICT | {"extra": "forbid", "allow_inf_nan": False}

    model: str | None = Field(
        default=None, max_length=500, description="Name of a served model; the first one where it is left out"
    )
    max_tokens: Annotated[int, Field(ge=1, le=1 << 31)] | None = Field(
        default=None, description="Most tokens of an answer, cut to what the context leaves; 512 where it is left out"
    )
    n: Annotated[int, Field(ge=1, le=CHOICES)] | None = Field(default=None, description="Answers to each prompt")
    stop: Text | Annotated[list[Text], Field(max_length=16)] | None = Field(
        default=None, description="Texts that end an answer, and are not part of it"
    )
    seed: Annotated[int, Field(ge=-(1 << 63), lt=1 << 63)] | None = Field(
        default=None,
        description="The same seed and request give the same answers; the n answers have seeds of their own, made from it",
    )
    stream: bool | None = Field(default=None, description="Send the answer in pieces, as server-sent events")
    stream_options: StreamOptions | None = None
    temperature: Annotated[float, Field(ge=0, le=2)] | None = Field(
        default=None, description="0: the likeliest token each time. The model's own default where it is left out"
    )
    top_p: Annotated[float, Field(ge=0, le=1)] | None = Field(
        default=None, description="Share of the probability that the tokens to draw from hold"
    )
    presence_penalty: Penalty | None = None
    frequency_penalty: Penalty | None = None
    logit_bias: Annotated[dict[Biased, Annotated[float, Field(ge=-100, le=100)]], Field(max_length=1024)] | None = Field(
        default=None, description="Token id → what is added to its logit"
    )
    top_k: Annotated[int, Field(ge=0, le=1 << 20)] | None = Field(
        default=None,
        description="Draw from this many of the likeliest tokens; 0: from all. With contrastive_alpha: tokens to weigh",
    )
    repetition_penalty: Annotated[float, Field(gt=0, le=10)] | None = Field(
        default=None, description="Divides the logits of tokens that stand in prompt or answer"
    )
    beams: Annotated[int, Field(ge=1, le=16)] | None = Field(
        default=None, description="Answers that are followed at once (beam search), of which the likeliest is given"
    )
    length_penalty: Annotated[float, Field(ge=-10, le=10)] | None = Field(
        default=None, description="Power of its length by which a beam's log-probability is divided"
    )
    contrastive_alpha: Annotated[float, Field(ge=0, le=1)] | None = Field(
        default=None, description="Weight of the degeneration penalty of contrastive search; 0: none"
    )
    user: Any = Ignored
    metadata: Any = Ignored
    store: Any = Ignored
    service_tier: Any = Ignored
    safety_identifier: Any = Ignored
    prompt_cache_key: Any = Ignored
    prompt_cache_retention: Any = Ignored
    prediction: Any = Ignored
    reasoning_effort: Any = Ignored
    verbosity: Any = Ignored

    @field_validator("stop")
    @classmethod
    def _stops(cls, stop: str | list[str] | None) -> list[str]:
        stops = [text for text in ([stop] if isinstance(stop, str) else stop or []) if text]
        if any(len(text) > 500 for text in stops):
            raise ValueError("a stop text has at most 500 characters")
        return stops

    @model_validator(mode="after")
    def _agree(self) -> Decoding:
        if self.stream_options and not self.stream:
            raise ValueError("stream_options is for requests with stream: true")
        if ((self.beams or 1) > 1 or self.contrastive_alpha) and self.temperature:
            raise ValueError("beams and contrastive_alpha need temperature 0, since they draw nothing")
        if (self.beams or 1) > 1 and self.contrastive_alpha:
            raise ValueError("beams and contrastive_alpha are two ways to decode; give one of them")
        return self

    @property
    def biases(self) -> dict[int, float]:
        return {int(token): bias for token, bias in (self.logit_bias or {}).items()}

    @property
    def stops(self) -> tuple[str, ...]:
        return tuple(self.stop or ())


class TextPart(BaseModel):
    model_config = STRICT

    type: Literal["text"]
    text: Text


class Message(BaseModel):
    """A turn of a conversation. What OpenAI's clients write beside role and content is ignored where it is empty, and refused where not."""

    model_config = STRICT | {"extra": "ignore"}

    role: Literal["system", "developer", "user", "assistant"]
    content: Text | Annotated[list[TextPart], Field(min_length=1, max_length=1000)]
    name: Any = Ignored
    tool_calls: Any = Refused
    function_call: Any = Refused
    audio: Any = Refused

    @model_validator(mode="after")
    def _only_text(self) -> Message:
        if refused := [name for name in ("tool_calls", "function_call", "audio") if getattr(self, name)]:
            raise ValueError(f"{refused[0]}: this server gives and takes text only")
        return self

    @property
    def text(self) -> str:
        return self.content if isinstance(self.content, str) else "".join(part.text for part in self.content)

    def turn(self) -> dict[str, str]:
        """The message as templates take it; `developer` is OpenAI's newer word for `system`."""
        return {"role": "system" if self.role == "developer" else self.role, "content": self.text}


class ChatRequest(Decoding):
    """A conversation to go on with."""

    messages: Annotated[list[Message], Field(min_length=1)]
    max_completion_tokens: Annotated[int, Field(ge=1, le=1 << 31)] | None = Field(
        default=None, description="Newer name of max_tokens"
    )
    continue_final_message: bool | None = Field(
        default=None, description="Go on with the last message, which is the assistant's, instead of answering it, as vLLM has it"
    )
    logprobs: bool | None = Field(default=None, description="Tell each token's log-probability")
    top_logprobs: Annotated[int, Field(ge=0, le=FEW)] | None = Field(
        default=None, description="Likeliest tokens to tell beside each token; needs logprobs"
    )
    tools: Any = Refused
    functions: Any = Refused
    tool_choice: Any = Ignored
    parallel_tool_calls: Any = Ignored
    response_format: Any = Field(default=None, json_schema_extra={"enum": [None, {"type": "text"}]})
    modalities: Any = Field(default=None, json_schema_extra={"enum": [None, ["text"]]})
    audio: Any = Refused
    web_search_options: Any = Refused

    @model_validator(mode="after")
    def _offered(self) -> ChatRequest:
        if refused := [name for name in ("tools", "functions", "audio", "web_search_options") if getattr(self, name)]:
            raise ValueError(f"{refused[0]}: this server gives and takes text only")
        if self.response_format is not None and self.response_format != {"type": "text"}:
            raise ValueError("response_format: this server answers with plain text only")
        if self.modalities is not None and self.modalities != ["text"]:
            raise ValueError("modalities: this server answers with text only")
        if self.top_logprobs is not None and not self.logprobs:
            raise ValueError("top_logprobs needs logprobs: true")
        return self

    @property
    def alternatives(self) -> int | None:
        return (self.top_logprobs or 0) if self.logprobs else None

    @property
    def limit(self) -> int | None:
        return self.max_completion_tokens or self.max_tokens


class CompletionRequest(Decoding):
    """Texts to go on with, given as text or as token ids."""

    prompt: (
        Text
        | Annotated[list[Text], Field(min_length=1, max_length=CHOICES)]
        | Annotated[list[Token], Field(min_length=1)]
        | Annotated[list[Annotated[list[Token], Field(min_length=1)]], Field(min_length=1, max_length=CHOICES)]
    )
    logprobs: Annotated[int, Field(ge=0, le=FEW)] | None = Field(
        default=None, description="Tell each token's log-probability, and so many of the likeliest beside it"
    )
    echo: bool | None = Field(default=None, description="Begin each answer with its prompt; without logprobs only")
    best_of: Annotated[int, Field(ge=1, le=CHOICES)] | None = Field(default=None, description="As n, or left out")
    suffix: Any = Refused

    @model_validator(mode="after")
    def _offered(self) -> CompletionRequest:
        if self.best_of not in (None, self.n or 1):
            raise ValueError("best_of: this server gives all answers that it makes; leave it out, and set n")
        if self.suffix:
            raise ValueError("suffix: this server writes on, and fills no gaps")
        if self.echo and self.logprobs is not None:
            raise ValueError("echo: the log-probabilities of a prompt are not offered; leave out echo or logprobs")
        if len(self.prompts) * (self.n or 1) > CHOICES:
            raise ValueError(f"n: prompts times n is at most {CHOICES}")
        return self

    @property
    def prompts(self) -> list[str] | list[list[int]]:
        """The prompts, whichever of the four ways they were given in."""
        if isinstance(self.prompt, str):
            return [self.prompt]
        return [self.prompt] if isinstance(self.prompt[0], int) else self.prompt

    @property
    def alternatives(self) -> int | None:
        return self.logprobs

    @property
    def limit(self) -> int | None:
        return self.max_tokens
