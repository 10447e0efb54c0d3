"""Errors of the API in OpenAI's shape, which its clients turn into their exceptions by status: `{"error": {message, type, param, code}}`."""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping, Sequence
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException

from models.engines.engine import ContextExceeded, QueueFull

RETRY = "1"  # seconds after which a refused request may be sent again
LONG = 500  # characters of a message
TYPES = {401: "authentication_error", 403: "permission_error", 429: "rate_limit_error"}
SAID = {  # for the framework's own refusals
    400: "the body is no JSON that can be read: its bytes are no UTF-8, or it is nested too deeply",
    404: "there is no {path} here; GET /openapi.json lists what there is",
    405: "{path} does not take {method}",
}
CODES = {400: "invalid_json", 404: "not_found", 405: "method_not_allowed", 408: "request_timeout", 413: "request_too_large"}
WAYS = ("content", "prompt", "stop")  # fields that may be written in several ways
NAMED = re.compile(r"(\w+)(?:: | is | needs | names | has )")  # a message that begins with the field that it is about
STATUSES = {  # documented for every path that makes an answer
    400: "The request is malformed, or longer than the model's context (`context_length_exceeded`)",
    401: "The token is missing or wrong",
    403: "The request comes from the page of another site",
    404: "No such model (`model_not_found`)",
    408: "The request did not come whole in time",
    413: "The request is too large",
    429: "Too many requests wait; Retry-After says when to try again",
    500: "The server failed; its log says why",
    503: "The server is shutting down",
}

log = logging.getLogger("hanlin.serve")


class ApiError(Exception):
    """A refusal of a request, with its HTTP status."""

    def __init__(self, status: int, message: str, code: str | None = None, param: str | None = None):
        super().__init__(message)
        self.status, self.message, self.code, self.param = status, message, code, param

    @property
    def headers(self) -> dict[str, str]:
        if self.status == 401:
            return {"WWW-Authenticate": "Bearer"}
        return {"Retry-After": RETRY} if self.status in (429, 503) else {}

    def body(self) -> dict[str, Any]:
        """The error as JSON."""
        kind = TYPES.get(self.status, "invalid_request_error" if self.status < 500 else "server_error")
        return {
            "error": {
                "message": _short(self.message),
                "type": kind,
                "param": self.param and _short(self.param),
                "code": self.code,
            }
        }

    def response(self) -> JSONResponse:
        """The error as an answer."""
        return JSONResponse(self.body(), self.status, self.headers)


def _short(text: str) -> str:
    return text if len(text) <= LONG else f"{text[:LONG]}…"


def refusal(failure: Exception) -> ApiError:
    """The error that a failure below the API is to a client; one that is not a client's fault goes to the log."""
    if isinstance(failure, ApiError):
        return failure
    if isinstance(failure, QueueFull):
        return ApiError(429, str(failure) or "too many requests wait; try again in a moment", "queue_full")
    if isinstance(failure, ContextExceeded):
        return ApiError(400, str(failure), "context_length_exceeded")
    if isinstance(failure, ValueError):
        named = NAMED.match(str(failure))
        return ApiError(400, str(failure), "invalid_value", named and named[1])
    log.error("a request failed", exc_info=failure)
    return ApiError(500, "the server failed at this request; its log says why", "internal_error")


def handle(api: FastAPI) -> None:
    """Give every error of an application this shape: those of a path, a method, a body, and those that nobody thought of."""

    async def of_framework(request: Request, failure: Any) -> JSONResponse:
        said = str(failure.detail)
        if form := SAID.get(failure.status_code):
            said = form.format(path=request.url.path[:LONG], method=request.method)
        answer = ApiError(failure.status_code, said, CODES.get(failure.status_code)).response()
        answer.headers.update(failure.headers or {})
        return answer

    async def of_body(request: Request, failure: Any) -> JSONResponse:
        return malformed(failure.errors()).response()

    async def of_ours(request: Request, failure: Any) -> JSONResponse:
        return refusal(failure).response()

    api.add_exception_handler(HTTPException, of_framework)
    api.add_exception_handler(RequestValidationError, of_body)
    api.add_exception_handler(ApiError, of_ours)
    api.add_exception_handler(Exception, of_ours)


def malformed(problems: Sequence[Mapping[str, Any]]) -> ApiError:
    """The refusal of a body, from the problems that pydantic has with it: the first one, and of a field that may be written in several ways the
    one that came furthest."""
    problem = max((one for one in problems if one["loc"][:2] == problems[0]["loc"][:2]), key=lambda one: len(one["loc"]))
    place = _place(problem["loc"])
    param = ".".join(place) or None
    if problem["type"] == "json_invalid":
        return ApiError(400, f"the body is no JSON: {problem['ctx']['error']} at character {place[-1]}", "invalid_json")
    if problem["type"] == "extra_forbidden":
        return ApiError(400, f"unrecognised argument: {param}", "unknown_parameter", param)
    if not place and problem["type"] in ("missing", "model_attributes_type", "model_type"):
        return ApiError(400, "the body must be a JSON object, sent with Content-Type: application/json", "invalid_json")
    said = problem["msg"].removeprefix("Value error, ")
    if not place and (named := NAMED.match(said)):
        return ApiError(400, said, "invalid_value", named[1])
    return ApiError(400, f"{param}: {said}" if place else f"the body: {said}", "invalid_value", param)


def _place(where: Sequence[str | int]) -> list[str]:
    """The names and numbers on the way to a problem, without what pydantic calls the ways to write a field."""
    parts = [part for before, part in zip(("", *where), where, strict=False) if before not in WAYS]
    return [str(part) or '""' for part in parts if part not in ("body", "[key]")]
