"""The HTTP API: OpenAI's paths for models and completions, with fields of ours, beside the page for people, health and metrics."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from pathlib import Path
from typing import Any

from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse, PlainTextResponse, Response
from prometheus_client import CONTENT_TYPE_LATEST

from models.serve import errors, prompts, tracing
from models.serve.access import Guard
from models.serve.answers import Answers, EventStream
from models.serve.errors import STATUSES, ApiError, refusal
from models.serve.metrics import Counting, Metrics
from models.serve.responses import ApiErrorBody, ChatCompletion, Completion, Model, Models
from models.serve.schemas import ChatRequest, CompletionRequest
from models.serve.served import Served

PAGE = Path(__file__).with_name("page")
KINDS = {".html": "text/html", ".js": "text/javascript", ".css": "text/css", ".svg": "image/svg+xml"}
POLICY = {
    "Content-Security-Policy": "default-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'",
    "Cross-Origin-Opener-Policy": "same-origin",
}
ABOUT = """Completions by the models of this server, as OpenAI's API has them, with more ways to decode: `top_k`, `repetition_penalty`, `beams`
and `length_penalty`, `contrastive_alpha`. `GET /v1/models` tells each model's context, and how it decodes where a request does not say."""


class State:
    """The state of a server: its models, its figures, and whether it still takes requests."""

    def __init__(self, served: Served):
        self.served, self.metrics = served, Metrics(served)
        self.draining = False
        self.under_way = 0

    def begin(self, request: Request, body: ChatRequest | CompletionRequest) -> Answers:
        """The place of a request's answers. `ApiError` for an unknown model, and while the server shuts down."""
        if self.draining:
            raise ApiError(503, "the server is shutting down, and takes no new requests", "draining")
        name, model, adapter = self.served.find(body.model)
        return Answers(name, model.now, adapter, body, self.metrics, request.state.began)


def app(served: Served, token: str = "", trace: tracing.Trace | None = None) -> FastAPI:
    """The application over loaded models; with a `token`, clients send it as a bearer's. `trace` finds answers in training rows. `app.state.serving`
    is its `State`."""

    @contextlib.asynccontextmanager
    async def lifespan(api: FastAPI) -> AsyncIterator[None]:
        async with served.following():
            yield

    api = FastAPI(title="Hanlin", description=ABOUT, lifespan=lifespan, docs_url=None, redoc_url=None, redirect_slashes=False)
    api.state.serving = State(served)
    errors.handle(api)
    _add_completions(api)
    _add_models(api)
    _add_state(api)
    tracing.add(api, trace)
    pages = _add_page(api)
    _describe(api, token, {*pages, "/health"})
    api.add_middleware(Guard, token=token, open_paths={*pages, "/health"})
    api.add_middleware(Counting, metrics=api.state.serving.metrics)
    return api


def _add_completions(api: FastAPI) -> None:
    refusals: dict[int | str, dict[str, Any]] = {
        status: {"model": ApiErrorBody, "description": text} for status, text in STATUSES.items()
    }
    events = {"text/event-stream": {"schema": {"type": "string"}}}

    @api.post("/v1/chat/completions", responses={200: {"model": ChatCompletion, "content": events}, **refusals})
    async def chat(request: Request, body: ChatRequest) -> Response:
        """Go on with a conversation."""
        answers = api.state.serving.begin(request, body)
        return await _answered(request, answers, prompts.of_chat(answers.loaded, body), [""])

    @api.post("/v1/completions", responses={200: {"model": Completion, "content": events}, **refusals})
    async def complete(request: Request, body: CompletionRequest) -> Response:
        """Go on with texts, each taken as the beginning of a document."""
        answers = api.state.serving.begin(request, body)
        tokenizer = answers.loaded.engine.tokenizer
        return await _answered(request, answers, prompts.of_completion(answers.loaded, body), prompts.echoes(tokenizer, body))


async def _answered(
    request: Request, answers: Answers, ids: Coroutine[Any, Any, list[list[int]]], echoes: Sequence[str]
) -> Response:
    """The response to a request, whose place is freed when it has been sent, or can not be."""
    streams = False
    try:
        answers.submit(await ids, echoes)
        if answers.body.stream:
            streams = True
            return EventStream(answers)
        return await answers.whole(request)
    except Exception as failure:
        raise refusal(failure) from None
    finally:
        if not streams:
            answers.close()


def _add_models(api: FastAPI) -> None:
    served: Served = api.state.serving.served

    @api.get("/v1/models", response_model=Models)
    async def models() -> dict[str, Any]:
        """The models of this server, adapters among them."""
        return {"object": "list", "data": [served.entry(name) for name in served.names]}

    @api.get(
        "/v1/models/{name:path}", response_model=Model, responses={404: {"model": ApiErrorBody, "description": STATUSES[404]}}
    )
    async def model(name: str) -> dict[str, Any]:
        """One model, by its name or the beginning of its key."""
        return served.entry(served.find(name)[0])


def _add_state(api: FastAPI) -> None:
    state: State = api.state.serving

    @api.get("/health", responses={503: {"description": STATUSES[503]}})
    async def health() -> JSONResponse:
        """The state of the server: `ok`, or `draining` once it takes no more requests."""
        return JSONResponse({"status": "draining" if state.draining else "ok"}, 503 if state.draining else 200)

    @api.get("/metrics", response_class=PlainTextResponse)
    async def metrics() -> Response:
        """Figures for Prometheus."""
        return Response(state.metrics.text(), media_type=CONTENT_TYPE_LATEST)


def _add_page(api: FastAPI) -> set[str]:
    """The page's files, read once. Returns their paths."""
    paths = set()
    for file in sorted(PAGE.iterdir()):
        path = "/" if file.name == "index.html" else f"/{file.name}"
        api.add_api_route(path, _file(file.read_bytes(), f"{KINDS[file.suffix]}; charset=utf-8"), include_in_schema=False)
        paths.add(path)
    return paths


def _file(content: bytes, kind: str) -> Callable[[], Coroutine[Any, Any, Response]]:
    async def file() -> Response:
        return Response(content, media_type=kind, headers=POLICY)

    return file


def _describe(api: FastAPI, token: str, open_paths: set[str]) -> None:
    """Make /openapi.json say what holds for every path: the token, the shape of errors, the methods."""
    whole = api.openapi

    def described() -> dict[str, Any]:
        if (schema := api.openapi_schema) is None:
            schema = whole()
            for path, methods in schema["paths"].items():
                for method in methods.values():
                    method["responses"].pop("422", None)  # FastAPI's own, which nobody gets
                    if token and path not in open_paths:
                        method["security"] = [{"token": []}]
                        refused = {"schema": {"$ref": "#/components/schemas/ApiErrorBody"}}
                        method["responses"].setdefault(
                            "401", {"description": STATUSES[401], "content": {"application/json": refused}}
                        )
            for name in ("HTTPValidationError", "ValidationError"):
                schema["components"]["schemas"].pop(name, None)
            if token:
                schema["components"]["securitySchemes"] = {"token": {"type": "http", "scheme": "bearer"}}
        return schema

    api.openapi = described  # type: ignore[method-assign]
