"""The Prefect server with two things added: the reports of the store, and patience with the locks of SQLite.

The reports are read-only and on the same address: a browser opens no file:// link from an http page, and an operator may sit
elsewhere. The same origin means one port to forward, one password, and links that hold whatever the machine is called.

As for the locks: a transaction that reads and then writes is refused at once ("database is locked") where another one wrote in
between, however long a lock may be waited for: a form's Submit shows "Service Unavailable", and automations miss events.
"""

from __future__ import annotations

import base64
import contextlib
import hmac
import os
import re

from fastapi import FastAPI, Request
from fastapi.responses import FileResponse, PlainTextResponse, Response

from tasks.artifacts.store import Store, store_folder

REPORTS = "/hanlin/reports"


def app() -> FastAPI:
    """The server as an application, for `uvicorn --factory flows.web:app`."""
    from prefect.server.api.server import create_app

    import flows.notifications  # noqa: F401  # the server sends mail by a block of ours

    wait_for_locks()
    server = create_app(final=True)
    add_reports(server)
    return server


def patient() -> FastAPI:
    """Prefect's own server with the patience alone, as an application, for `uvicorn --factory flows.web:patient`."""
    from prefect.server.api.server import create_app

    wait_for_locks()
    return create_app()


def wait_for_locks() -> None:
    """Make all of Prefect's transactions on SQLite that may write take the lock as they begin, and so wait for it."""
    from prefect.server.database.configurations import AioSqliteConfiguration as Config

    begin = Config.begin_transaction
    Config.begin_transaction = lambda self, session, with_for_update=False: begin(self, session, True)


def add_reports(server: FastAPI) -> None:
    """Serve the reports of the store below `REPORTS`."""
    server.router.add_api_route(f"{REPORTS}/{{key}}", _report, include_in_schema=False, methods=["GET", "HEAD"])
    server.router.routes.insert(0, server.router.routes.pop())  # before the UI, which takes every path


def _report(key: str, request: Request) -> Response:
    if refusal := _refusal(request):
        return refusal
    page = Store(store_folder()).object(key) / "report.html"
    if not re.fullmatch(r"[0-9a-f]{64}", key) or not page.is_file():
        return PlainTextResponse(f"no report {key[:64]!r} in the store of this server ({store_folder()})", 404)
    # a report is one file without scripts; should text of the data get markup past it, it still reaches nothing
    policy = "default-src 'none'; style-src 'unsafe-inline'; img-src data:; font-src data:; sandbox allow-same-origin"
    return FileResponse(page, media_type="text/html", headers={"Content-Security-Policy": policy})


def _refusal(request: Request) -> Response | None:
    """The answer to a request without the password; None where it is right, or none is set. A browser then asks for it."""
    credentials = os.environ.get("PREFECT_SERVER_API_AUTH_STRING")
    if not credentials:
        return None
    scheme, _, encoded = request.headers.get("Authorization", "").partition(" ")
    decoded = b""
    with contextlib.suppress(ValueError):
        decoded = base64.b64decode(encoded, validate=True)
    if scheme == "Basic" and hmac.compare_digest(decoded, credentials.encode()):
        return None
    return PlainTextResponse("password needed", 401, {"WWW-Authenticate": 'Basic realm="Hanlin"'})
