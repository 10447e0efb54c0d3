"""Access to the server, decided before a request reaches any code that reads it: who may ask, from where, how much at once, and how slowly.

With a token, everything but the page's files and `/health` wants it. Without one the server listens on this machine alone, where the danger is
the page of another site in the user's own browser: it may send requests here, and by a name of its own that it lets point to 127.0.0.1 (DNS
rebinding) read the answers. Such requests name that site in Host or in Origin, and are refused.
"""

from __future__ import annotations

import asyncio
import hmac
from collections.abc import Collection
from urllib.parse import urlsplit

from fastapi import HTTPException
from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from models.serve.errors import ApiError

LARGEST = 1 << 20  # bytes of a request
TOO_LARGE = f"a request has at most {LARGEST:,} bytes"
SLOWEST = 60.0  # seconds in which a request must have come whole
TOO_SLOW = f"the request did not come whole in {SLOWEST:.0f} s"
LOCAL = ("localhost", "127.0.0.1", "::1")
HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-store",
}


class Guard:
    """The application behind the checks. `open_paths` need no token."""

    def __init__(self, app: ASGIApp, token: str, open_paths: Collection[str]):
        self.app, self.token, self.open_paths = app, token.encode(), frozenset(open_paths)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return await self.app(scope, receive, send)
        headers = Headers(scope=scope)

        async def sending(message: Message) -> None:
            if message["type"] == "http.response.start":
                sent = MutableHeaders(scope=message)
                for name, value in HEADERS.items():
                    sent.setdefault(name, value)
            await send(message)

        if refused := self._refused(scope["path"], headers):
            return await refused.response()(scope, receive, sending)
        await self.app(scope, _bounded(receive), sending)

    def _refused(self, path: str, headers: Headers) -> ApiError | None:
        if self.token:
            if path not in self.open_paths and not self._knows_token(headers.get("authorization", "")):
                return ApiError(401, "the token is missing or wrong; send it as `Authorization: Bearer …`", "invalid_api_key")
        elif not _from_here(headers):
            return ApiError(
                403,
                "this server has no token, so it answers to this machine alone, and to no page of another site",
                "foreign_origin",
            )
        length = headers.get("content-length", "0")
        if length.isdecimal() and int(length[:20]) > LARGEST:
            return ApiError(413, TOO_LARGE, "request_too_large")
        return None

    def _knows_token(self, header: str) -> bool:
        kind, _, given = header.partition(" ")
        return kind.lower() == "bearer" and hmac.compare_digest(given.strip().encode("utf-8", "surrogateescape"), self.token)


def _from_here(headers: Headers) -> bool:
    """True where Host names this machine, and Origin, if there is one, the same address."""
    host = headers.get("host", "")
    try:
        local = urlsplit(f"//{host}").hostname in LOCAL
        origin = headers.get("origin")
        return local and (origin is None or urlsplit(origin).netloc.lower() == host.lower())
    except ValueError:  # of an address in brackets that is none
        return False


def _bounded(receive: Receive) -> Receive:
    """The body of a request, refused once it is too large, since one that comes in chunks does not say so before, and where its rest does not
    come."""
    got, coming = 0, True
    until = asyncio.get_running_loop().time() + SLOWEST

    async def receiving() -> Message:
        nonlocal got, coming
        try:
            async with asyncio.timeout_at(until if coming else None):
                message = await receive()
        except TimeoutError:
            raise HTTPException(408, TOO_SLOW, {"Connection": "close"}) from None
        if message["type"] == "http.request":
            got, coming = got + len(message.get("body", b"")), bool(message.get("more_body"))
            if got > LARGEST:
                raise HTTPException(413, TOO_LARGE)
        return message

    return receiving
