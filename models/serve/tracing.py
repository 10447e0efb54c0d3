"""The endpoint that says where an answer stands word for word in the rows that its model was trained on. What looks there is given to it."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from typing import Any

from fastapi import FastAPI
from pydantic import BaseModel, ConfigDict, Field

from models.serve.errors import STATUSES, ApiError, refusal
from models.serve.responses import ApiErrorBody

LONGEST = 20_000  # characters of a text
Trace = Callable[[str, str], dict[str, Any]]  # (a model's key, a text) → `Traced` as JSON


class NotTraceable(LookupError):
    """The refusal to trace answers of a model, with the reason and the way out."""


class TraceRequest(BaseModel):
    model_config = ConfigDict(extra="forbid")

    text: str = Field(max_length=LONGEST, description="An answer of the model")
    model: str | None = Field(
        default=None, max_length=500, description="Name of a served model; the first one where it is left out"
    )


class TracedRow(BaseModel):
    """A training row that holds a span."""

    source: str
    licence: str | None = Field(description="Of the source, as the recipe said it")
    stage: str = Field(description="pretrain, sft or dpo")
    row: str = Field(description="Id of the row")
    part: str = Field(description="What the text is in its row: text, system, user, assistant, chosen or rejected")
    excerpt: str = Field(description="The text around the span, without personal data")


class TracedSpan(BaseModel):
    """A span of the text that stands in training rows, and with the character before or after it stands nowhere."""

    start: int = Field(description="In characters (code points)")
    end: int
    text: str
    count: int = Field(description="Times that it stands in the training rows")
    rows: list[TracedRow]


class Traced(BaseModel):
    """The spans, the longest first."""

    spans: list[TracedSpan]


def add(api: FastAPI, trace: Trace | None) -> None:
    """Add the endpoint to the application. Texts are traced one at a time, beside what the server does."""
    one_at_a_time = threading.Lock()

    def traced(key: str, text: str) -> dict[str, Any]:
        if trace is None:
            raise NotTraceable("this server was started without a way to trace answers; `hanlin serve` has one")
        with one_at_a_time:
            return trace(key, text)

    statuses = {400: STATUSES[400], 404: "No such model (`model_not_found`), or no index of its training rows (`not_traceable`)"}
    refusals: dict[int | str, dict[str, Any]] = {
        status: {"model": ApiErrorBody, "description": text}
        for status, text in (STATUSES | statuses).items()
        if status not in (429, 503)
    }

    @api.post("/trace", responses={200: {"model": Traced}, **refusals})
    async def where_from(body: TraceRequest) -> dict[str, Any]:
        """Find where a text stands word for word in the rows that the model was trained on."""
        key = api.state.serving.served.find(body.model)[1].now.place.key
        try:
            return await asyncio.to_thread(traced, key, body.text)
        except NotTraceable as why:
            raise ApiError(404, str(why), "not_traceable") from None
        except Exception as failure:
            raise refusal(failure) from None
