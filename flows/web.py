"""The Prefect server with two things added.

The reports of the store, read-only, on the same address: a browser opens no file:// link from an http page, and an operator may sit
elsewhere. The same origin means one port to forward, one password, and links that hold whatever the machine is called.

And patience with SQLite. Of two transactions that read and then write, one is refused at once, however long a lock may be waited for.
Prefect answers it with 503 and leaves the rest to its client, which asks again; the UI does not, and shows an error.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import hmac
import os
import random
import re

from fastapi import FastAPI, Request
from fastapi.responses import FileResponse, PlainTextResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from tasks.store import Store, store_folder

REPORTS = "/hanlin/reports"
REFUSED = b'{"exception_message":"Service Unavailable"}'  # Prefect's answer after a transaction that was rolled back
TRIES = 12  # of a request, about 15 s in all


def app() -> FastAPI:
    """For `uvicorn --factory flows.web:app`."""
    from prefect.server.api.server import create_app

    server = create_app(final=True)
    add_reports(server)
    server.add_middleware(Again)
    return server


class Again:
    """Makes a request again whose transaction was refused: nothing of it was written."""

    def __init__(self, app: ASGIApp):
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        asked = [await receive()]
        while asked[-1].get("more_body"):
            asked.append(await receive())
        for attempt in range(1, TRIES + 1):
            answer = _Answer(send, asked, receive)
            try:
                await self.app(dict(scope), answer.receive, answer.send)
            except Exception:  # Prefect's app answers first, then raises what it answered to
                if not answer.held:
                    raise
            if answer.sent:
                return
            if attempt < TRIES:
                await asyncio.sleep(random.uniform(0, 0.05 * 2 ** min(attempt, 6)))
        await answer.let_go()


class _Answer:
    """What the server says to one attempt: passed on as it comes, but for a refusal, which is held."""

    def __init__(self, send: Send, asked: list[Message], rest: Receive):
        self.sent = False
        self._send, self._rest = send, rest
        self._asked, self._said = iter(asked), list[Message]()

    @property
    def held(self) -> bool:
        return bool(self._said) and not self.sent

    async def receive(self) -> Message:
        return next(self._asked, None) or await self._rest()

    async def send(self, message: Message) -> None:
        if self.sent:
            await self._send(message)
            return
        self._said.append(message)
        begun, *body = self._said
        if begun.get("status") != 503 or (body and body[0].get("body") != REFUSED):
            await self.let_go()

    async def let_go(self) -> None:
        self.sent = True
        for message in self._said:
            await self._send(message)


def add_reports(server: FastAPI) -> None:
    server.router.add_api_route(f"{REPORTS}/{{key}}", _report, include_in_schema=False, methods=["GET", "HEAD"])
    server.router.routes.insert(0, server.router.routes.pop())  # before the UI, which takes every path


def _report(key: str, request: Request) -> Response:
    if refused := _refused(request):
        return refused
    page = Store(store_folder()).object(key) / "report.html"
    if not re.fullmatch(r"[0-9a-f]{64}", key) or not page.is_file():
        return PlainTextResponse(f"no report {key[:64]!r} in the store of this server ({store_folder()})", 404)
    # a report is one file without scripts; should text of the data get markup past it, it still reaches nothing
    policy = "default-src 'none'; style-src 'unsafe-inline'; img-src data:; font-src data:; sandbox allow-same-origin"
    return FileResponse(page, media_type="text/html", headers={"Content-Security-Policy": policy})


def _refused(request: Request) -> Response | None:
    """The answer to somebody without the password, where there is one. A browser asks for it."""
    wanted = os.environ.get("PREFECT_SERVER_API_AUTH_STRING")
    if not wanted:
        return None
    scheme, _, given = request.headers.get("Authorization", "").partition(" ")
    said = b""
    with contextlib.suppress(ValueError):
        said = base64.b64decode(given, validate=True)
    if scheme == "Basic" and hmac.compare_digest(said, wanted.encode()):
        return None
    return PlainTextResponse("password needed", 401, {"WWW-Authenticate": 'Basic realm="Hanlin"'})
