"""A Prefect API for a run started in a terminal: the one that is configured, one that already runs here, or one of our own for its length.

Our own server uses Prefect's usual database, so `prefect server start` shows the run afterwards. It runs under the supervisor, so
it ends with this process however this process ends (Prefect's own temporary server would be orphaned by a `kill -9`).
"""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator

from tasks.child import supervised

DEFAULT = "http://127.0.0.1:4200/api"  # where `prefect server start` listens
PATIENCE = 90.0  # seconds for a new server to answer; a first start migrates its database
_own: list[str] = []  # API address of our own server, while there is one


@contextlib.contextmanager
def api() -> Iterator[str]:
    """Make Prefect talk to a server while in the `with` block; gives its API address."""
    from prefect.settings import PREFECT_API_URL, PREFECT_FLOWS_HEARTBEAT_FREQUENCY, temporary_settings

    if url := PREFECT_API_URL.value():
        yield url
    elif healthy(DEFAULT):
        with temporary_settings({PREFECT_API_URL: DEFAULT}):
            yield DEFAULT
    else:
        # nobody watches a server that ends with the run, and stopping the heartbeat costs a second
        with own_server() as url, temporary_settings({PREFECT_API_URL: url, PREFECT_FLOWS_HEARTBEAT_FREQUENCY: None}):
            _own.append(url)
            try:
                yield url
            finally:
                _own.remove(url)
                _deliver()


def watched() -> bool:
    """Whether the server that Prefect talks to has a UI in which somebody could answer: ours has none, and ends with the run."""
    from prefect.settings import PREFECT_API_URL

    return PREFECT_API_URL.value() is not None and PREFECT_API_URL.value() not in _own


def _deliver() -> None:
    """Send the logs and events that wait in the background while there is a server to take them; at exit it would be too late."""
    from prefect.events.worker import EventsWorker
    from prefect.logging.handlers import APILogWorker

    for worker in (APILogWorker, EventsWorker):
        worker.drain_all(timeout=10)


def healthy(url: str, timeout: float = 1.0) -> bool:
    """Whether a Prefect server answers there."""
    try:
        with urllib.request.urlopen(f"{url}/health", timeout=timeout) as answer:
            return answer.status == 200 and answer.read().strip() == b"true"
    except (OSError, urllib.error.URLError):
        return False


@contextlib.contextmanager
def own_server() -> Iterator[str]:
    """A Prefect server on a free port of this machine, without UI and schedulers. Raises `RuntimeError` where none comes up."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    url = f"http://127.0.0.1:{port}/api"
    app = ["--factory", "prefect.server.api.server:create_app", "--lifespan", "on"]
    command = [sys.executable, "-m", "uvicorn", *app, "--host", "127.0.0.1", "--port", str(port), "--log-level", "error"]
    quiet = {
        "PREFECT_UI_ENABLED": "0",
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
        "DO_NOT_TRACK": "1",
        "PREFECT__SERVER_EPHEMERAL": "1",
        "PREFECT__SERVER_FINAL": "1",
        "PREFECT_LOGGING_SERVER_LEVEL": "CRITICAL",
    }
    with supervised(command, env=os.environ | quiet, stdout=subprocess.DEVNULL) as server:
        until = time.monotonic() + PATIENCE
        while not healthy(url):
            if server.poll() is not None or time.monotonic() > until:
                raise RuntimeError(
                    f"no Prefect server came up at {url}; start one yourself (`prefect server start`) to see why, "
                    "or set PREFECT_API_URL to one that runs"
                )
            time.sleep(0.1)
        yield url
