"""The settings of Prefect that Hanlin relies on: those of the server, of the worker and of their runs, in one place.

`docs/log.md` has the reason of each. A setting that is in the environment already is left as it is, but for addresses and passwords.
"""

from __future__ import annotations

import contextlib
import ipaddress
import os
import re

POOL = "hanlin"  # the work pool of `prefect.yaml`
TAG = "hanlin"  # of every run: the automations watch it
HEARTBEAT = 30  # seconds between a run's signs of life; the automation in `prefect.yaml` waits four of them
USER = "hanlin"  # name that goes with HANLIN_PASSWORD

QUIET = {"DO_NOT_TRACK": "1", "PREFECT_SERVER_ANALYTICS_ENABLED": "false", "PREFECT_SERVER_UI_SHOW_PROMOTIONAL_CONTENT": "false"}


def auth() -> str | None:
    """`user:password` for the server and all who talk to it: HANLIN_PASSWORD, or Prefect's own settings; None where there is none."""
    if password := os.environ.get("HANLIN_PASSWORD"):
        return f"{USER}:{password}"
    return os.environ.get("PREFECT_SERVER_API_AUTH_STRING") or os.environ.get("PREFECT_API_AUTH_STRING") or None


def server(host: str, port: int, database: str) -> dict[str, str]:
    """The environment of the server."""
    settings = {
        **QUIET,
        "PREFECT_SERVER_CONCURRENCY_LEASE_STORAGE": "prefect.server.concurrency.lease_storage.filesystem",  # outlives a restart
        "PREFECT_SERVER_LOGGING_LEVEL": "WARNING",
        "PREFECT_UI_URL": f"http://{host}:{port}",  # of links in notifications
    } | os.environ
    settings |= {
        "PREFECT_SERVER_API_HOST": host,
        "PREFECT_SERVER_API_PORT": str(port),
        "PREFECT_SERVER_UI_API_URL": "/api",  # where the browser found the page, whatever it calls this machine
    }
    if database:
        settings["PREFECT_SERVER_DATABASE_CONNECTION_URL"] = database_url(database)
    if credentials := auth():
        settings["PREFECT_SERVER_API_AUTH_STRING"] = credentials
    return settings


def client(url: str) -> dict[str, str]:
    """The environment of clients of the server at an API address: workers, their runs, deployments."""
    settings = {
        **QUIET,
        "PREFECT_FLOWS_HEARTBEAT_FREQUENCY": str(HEARTBEAT),
        "PREFECT_LOGGING_EXTRA_LOGGERS": "hanlin",
        "PREFECT_LOGGING_TO_API_WHEN_MISSING_FLOW": "ignore",  # the worker's own lines are of no run
        "PREFECT_WORKER_QUERY_SECONDS": "5",
    } | os.environ
    settings |= {"PREFECT_API_URL": url, "PREFECT_SERVER_ALLOW_EPHEMERAL_MODE": "false"}
    if credentials := auth():
        settings["PREFECT_API_AUTH_STRING"] = credentials
    return settings


def database_url(url: str) -> str:
    """A database's address as Prefect wants it, with the driver that comes with Prefect. Raises `ValueError` for another kind."""
    kind, separator, rest = url.partition("://")
    if separator and re.fullmatch(r"postgres(ql)?(\+asyncpg)?", kind):
        return f"postgresql+asyncpg://{rest}"
    if separator and kind in ("sqlite", "sqlite+aiosqlite"):
        return f"sqlite+aiosqlite://{rest}"
    raise ValueError(
        f"--database {url.split('@')[-1]}: not a database that Prefect knows; give postgresql://user:password@host/name, or sqlite:////path"
    )


def is_local(host: str) -> bool:
    """True for an address that is reached from this machine alone. A name is none but for localhost: what it means is for others to say."""
    with contextlib.suppress(ValueError):
        return ipaddress.ip_address(host).is_loopback
    return host == "localhost"
