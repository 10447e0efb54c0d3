"""Answers to requests: the choices of one request, from the engine that takes them to the JSON or the events that a client reads."""

from __future__ import annotations

import asyncio
import json
import secrets
import time
from collections.abc import AsyncIterator, Sequence
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.types import Receive, Scope, Send

from models.engines.engine import ContextExceeded
from models.engines.settings import DecodingSettings
from models.engines.text_stream import TextStream
from models.serve import logprobs
from models.serve.choices import Choice, Piece, merged
from models.serve.errors import ApiError, refusal
from models.serve.metrics import Metrics
from models.serve.schemas import LONGEST, ChatRequest, CompletionRequest
from models.serve.served import Loaded

USUAL_LENGTH = 512  # tokens of an answer to a request that does not say
SEEDS = 1 << 63
STRIDE = 0x9E3779B97F4A7C15  # from the seed of one choice to that of the next
LEFT = 499  # status of an answer whose client left before it: nobody reads it


def settings_of(body: ChatRequest | CompletionRequest, loaded: Loaded, longest_prompt: int) -> DecodingSettings:
    """A request's decoding settings, with the model's defaults. `ContextExceeded` where a prompt leaves no room for an answer."""
    context = loaded.engine.context
    room = context - (
        0 if loaded.text2text and longest_prompt <= context else longest_prompt
    )  # its prompt has a context of its own
    if room < 1:
        raise ContextExceeded(
            f"the prompt has {longest_prompt:,} tokens, and the model's context {context:,} for prompt and answer; shorten it"
        )
    usual = loaded.defaults
    if (body.beams or 1) > 1 or body.contrastive_alpha:
        usual = {"temperature": 0.0}  # neither draws

    def given(name: str, otherwise: float) -> Any:
        value = getattr(body, name)
        return usual.get(name, otherwise) if value is None else value

    drawn = given("top_p", 1.0)
    return DecodingSettings(
        max_new_tokens=min(body.limit or USUAL_LENGTH, room, LONGEST),
        temperature=given("temperature", 1.0) if drawn else 0.0,
        top_p=drawn or 1.0,
        top_k=int(given("top_k", 0)),
        repetition_penalty=given("repetition_penalty", 1.0),
        presence_penalty=body.presence_penalty or 0.0,
        frequency_penalty=body.frequency_penalty or 0.0,
        logit_bias=body.biases,
        beams=body.beams or 1,
        length_penalty=1.0 if body.length_penalty is None else body.length_penalty,
        contrastive_alpha=body.contrastive_alpha or 0.0,
        stop=body.stops,
        alternatives=body.alternatives,
    )


class ChatShape:
    """The JSON of /v1/chat/completions."""

    prefix, kind, kind_of_piece = "chatcmpl", "chat.completion", "chat.completion.chunk"

    def first(self, text: str) -> dict[str, Any] | None:
        """The opening of a choice in a stream."""
        return {"delta": {"role": "assistant", "content": ""}}

    def piece(self, text: str) -> dict[str, Any]:
        return {"delta": {"content": text} if text else {}}

    def whole(self, text: str) -> dict[str, Any]:
        return {"message": {"role": "assistant", "content": text, "refusal": None}}

    def logprobs(self, piece: Piece, loaded: Loaded) -> dict[str, Any]:
        return logprobs.of_chat(piece.tokens, loaded.spellings)


class CompletionShape:
    """The JSON of /v1/completions."""

    prefix, kind, kind_of_piece = "cmpl", "text_completion", "text_completion"

    def first(self, text: str) -> dict[str, Any] | None:
        return {"text": text} if text else None

    def piece(self, text: str) -> dict[str, Any]:
        return {"text": text}

    whole = piece

    def logprobs(self, piece: Piece, loaded: Loaded) -> dict[str, Any]:
        return logprobs.of_completion(piece.tokens, loaded.spellings, piece.before)


class Answers:
    """The answers to one request under way. They hold their engine until `close`, which must be called in any case."""

    def __init__(
        self, name: str, loaded: Loaded, adapter: str, body: ChatRequest | CompletionRequest, metrics: Metrics, began: float
    ):
        self.name, self.loaded, self.adapter, self.body, self.metrics, self.began = (
            name,
            loaded.take(),
            adapter,
            body,
            metrics,
            began,
        )
        self.shape = ChatShape() if isinstance(body, ChatRequest) else CompletionShape()
        self.choices: list[Choice] = []
        self.echoes: Sequence[str] = ()
        self.read = 0
        self.first: float | None = None
        self.done = False
        self.id = f"{self.shape.prefix}-{secrets.token_hex(12)}"
        self.created = int(time.time())

    def submit(self, prompts: Sequence[list[int]], echoes: Sequence[str]) -> None:
        """Queue every choice, or none. Raises what the engine does, and `ContextExceeded`."""
        settings = settings_of(self.body, self.loaded, max(map(len, prompts)))
        number, engine = self.body.n or 1, self.loaded.engine
        if number * len(prompts) > (most := engine.slots + engine.queue):
            raise ApiError(
                400, f"n: this server has places for {most} answers, and the request asks for more", "invalid_value", "n"
            )
        seed = secrets.randbelow(SEEDS) if self.body.seed is None else self.body.seed
        for ids in prompts:
            for _ in range(number):
                place = (seed + len(self.choices) * STRIDE) % SEEDS
                generation = engine.submit(ids, settings, place, self.adapter)
                stream = TextStream(engine.tokenizer, self.body.stops)
                self.choices.append(Choice(generation, stream, self.loaded.spellings, self._first_token))
        self.echoes = [echo for echo in echoes for _ in range(number)]
        self.read = sum(map(len, prompts))

    def close(self) -> None:
        """Free the places of what still runs, and the engine."""
        for choice in self.choices:
            if not choice.generation.end:
                choice.generation.cancel()
        written = sum(choice.tokens for choice in self.choices)
        self.metrics.prompt_tokens.labels(self.name).inc(self.read)
        self.metrics.tokens.labels(self.name).inc(written)
        if self.choices and not self.done:
            self.metrics.left.labels(self.name).inc()
        elif self.first is not None and written > len(self.choices):
            seconds = max(time.monotonic() - self.first, 1e-6)
            self.metrics.speed.labels(self.name).observe((written / len(self.choices) - 1) / seconds)
        self.loaded.release()

    async def whole(self, request: Request) -> Response:
        """The answer as one JSON. A client that leaves ends it."""
        work, gone = asyncio.create_task(self._every()), asyncio.create_task(_left(request))
        try:
            await asyncio.wait({work, gone}, return_when=asyncio.FIRST_COMPLETED)
            if not work.done():
                return Response(status_code=LEFT)
            answer = {"choices": work.result(), "usage": self.usage()}
        finally:
            work.cancel()
            gone.cancel()
        self.done = True
        return JSONResponse(self._around(self.shape.kind) | answer)

    async def _every(self) -> list[dict[str, Any]]:
        return await asyncio.gather(*(self._whole(number) for number in range(len(self.choices))))

    async def _whole(self, number: int) -> dict[str, Any]:
        piece = await self.choices[number].whole()
        told = None if self.body.alternatives is None else self.shape.logprobs(piece, self.loaded)
        return self._choice(number, self.shape.whole(self.echoes[number] + piece.text), told, piece.end)

    async def events(self) -> AsyncIterator[bytes]:
        """The answer as server-sent events; what fails on the way is one, too."""
        try:
            async for choices in self._parts():
                yield self._event(choices, **({"usage": None} if self._counts else {}))
            if self._counts:
                yield self._event([], usage=self.usage())
            self.done = True
            yield b"data: [DONE]\n\n"
        except Exception as failure:
            yield _event(refusal(failure).body())

    async def _parts(self) -> AsyncIterator[list[dict[str, Any]]]:
        """The `choices` of each chunk."""
        for number, echo in enumerate(self.echoes):
            if (opening := self.shape.first(echo)) is not None:
                yield [self._choice(number, opening)]
        async for number, piece in merged(self.choices):
            told = None
            if self.body.alternatives is not None and piece.tokens:
                told = self.shape.logprobs(piece, self.loaded)
            if piece.text or told:
                yield [self._choice(number, self.shape.piece(piece.text), told)]
            if piece.end:
                yield [self._choice(number, self.shape.piece(""), None, piece.end)]

    @property
    def _counts(self) -> bool:
        """True where a stream ends with the numbers of tokens; its chunks before then say that they are still to come, as OpenAI's do."""
        return bool(self.body.stream_options and self.body.stream_options.include_usage)

    def _first_token(self) -> None:
        if self.first is None:
            self.first = time.monotonic()
            self.metrics.first.labels(self.name).observe(self.first - self.began)

    def usage(self) -> dict[str, int]:
        written = sum(choice.tokens for choice in self.choices)
        return {"prompt_tokens": self.read, "completion_tokens": written, "total_tokens": self.read + written}

    def _choice(self, number: int, content: dict[str, Any], told: Any = None, end: str = "") -> dict[str, Any]:
        return {"index": number, **content, "logprobs": told, "finish_reason": end or None}

    def _around(self, kind: str) -> dict[str, Any]:
        fingerprint = f"fp_{self.loaded.place.key[:12]}"
        return {"id": self.id, "object": kind, "created": self.created, "model": self.name, "system_fingerprint": fingerprint}

    def _event(self, choices: list[dict[str, Any]], **more: Any) -> bytes:
        return _event(self._around(self.shape.kind_of_piece) | {"choices": choices} | more)


class EventStream(StreamingResponse):
    """The events of answers, which end when they have been read, and when nobody reads them any more."""

    media_type = "text/event-stream"

    def __init__(self, answers: Answers):
        super().__init__(answers.events(), headers={"X-Accel-Buffering": "no"})
        self.answers = answers

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await super().__call__(scope, receive, send)
        finally:
            self.answers.close()


def _event(data: dict[str, Any]) -> bytes:
    return b"data: " + json.dumps(data, ensure_ascii=False, separators=(",", ":")).encode("utf-8") + b"\n\n"


async def _left(request: Request) -> None:
    """Ends when the client does."""
    while (await request.receive())["type"] != "http.disconnect":
        pass
