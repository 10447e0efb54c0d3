"""The Prefect server of a run in a terminal: the one that is configured, one that already runs here (`hanlin up`, or Prefect's own command),
or one of our own for the length of the run.

Our own server uses Prefect's usual database, so `prefect server start` shows the run afterwards. It runs under the supervisor, so
it ends with this process however this process ends (Prefect's own temporary server would be orphaned by a `kill -9`).
"""

from __future__ import annotations

import base64
import contextlib
import fcntl
import json
import logging
import os
import socket
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from flows import profile
from tasks.processes.runner import importable, supervised

DEFAULT = "http://127.0.0.1:4200/api"  # where `prefect server start` listens
PATIENCE = 600.0  # seconds for a new server to answer; a first start migrates its database, and the machine may be busy
ANSWER = 10.0  # seconds for one that runs; where nobody listens, the refusal comes at once
log = logging.getLogger("hanlin.server")

DELIVERY = 60.0  # seconds that logs and events get to arrive, once the run is over
GLANCE = 1.0  # seconds for one that is asked again and again
_own: list[str] = []  # API address of our own server, while there is one


@contextlib.contextmanager
def api(meanwhile: Callable[[], object] = lambda: None) -> Iterator[str]:
    """Make Prefect talk to a server while in the `with` block; yields its API address. `meanwhile` is done while a server of our own starts."""
    from prefect.settings import (
        PREFECT_API_AUTH_STRING,
        PREFECT_API_URL,
        PREFECT_FLOWS_HEARTBEAT_FREQUENCY,
        temporary_settings,
    )

    if url := known_server():
        # signs of life as often as the rule about lost runs expects them (`prefect.yaml`)
        beat = {PREFECT_FLOWS_HEARTBEAT_FREQUENCY: profile.HEARTBEAT, PREFECT_API_AUTH_STRING: profile.auth()}
        with temporary_settings({PREFECT_API_URL: url, **beat}):
            yield url
    else:
        # nobody watches a server that ends with the run, and stopping the heartbeat costs a second
        with own_server(meanwhile) as url, temporary_settings({PREFECT_API_URL: url, PREFECT_FLOWS_HEARTBEAT_FREQUENCY: None}):
            _own.append(url)
            try:
                yield url
            finally:
                _own.remove(url)
                _deliver()


def known_server() -> str | None:
    """The API address of the server that is configured or that runs on this machine."""
    from prefect.settings import PREFECT_API_URL, PREFECT_HOME

    ours = running(PREFECT_HOME.value() / "hanlin")
    addresses = [f"{ours['address']}/api"] if ours else []
    return PREFECT_API_URL.value() or next((url for url in [*addresses, DEFAULT] if healthy(url)), None)


def running(home: Path) -> dict[str, Any] | None:
    """The facts that the `hanlin up` of a PREFECT_HOME wrote about itself (`pid`, `address`, `store`, `worker`, `since`); None without one."""
    try:
        return json.loads((home / "up.json").read_text("utf-8"))
    except (OSError, ValueError):
        return None


def watched() -> bool:
    """True where the server that Prefect talks to has a UI in which an operator could answer: our own has none, and ends with the run."""
    from prefect.settings import PREFECT_API_URL

    return PREFECT_API_URL.value() is not None and PREFECT_API_URL.value() not in _own


def announce(resource: str, payload: dict[str, str], event: str = "hanlin.data.arrived") -> None:
    """Emit an event on the server that runs. Raises `ValueError` where none does, since nothing would react to it."""
    from prefect.events import emit_event

    if (url := known_server()) is None or not healthy(url):
        raise ValueError(
            f"no Prefect server answers{f' at {url}' if url else ''}; start one with `hanlin up`, or set PREFECT_API_URL"
        )
    with api():
        emit_event(event, resource={"prefect.resource.id": resource}, payload=payload)
        _deliver()


def _deliver() -> None:
    """Send the logs and events that wait in the background while there is a server to take them; at exit it would be too late."""
    from prefect.events.worker import EventsWorker
    from prefect.logging.handlers import APILogWorker

    for worker in (APILogWorker, EventsWorker):
        worker.drain_all(timeout=DELIVERY)


def healthy(url: str, timeout: float = ANSWER) -> bool:
    """True where a Prefect server answers at this API address."""
    try:
        with urllib.request.urlopen(f"{url}/health", timeout=timeout) as answer:
            return answer.status == 200 and answer.read().strip() == b"true"
    except (OSError, urllib.error.URLError):
        return False


def report_link(key: str, page: Path) -> str:
    """The link to a report for a browser: on the server that we talk to, if it serves this store (`hanlin up` does), else to the file."""
    from prefect.settings import PREFECT_API_AUTH_STRING, PREFECT_API_URL

    path = f"/hanlin/reports/{key}"
    request = urllib.request.Request(f"{(PREFECT_API_URL.value() or '').removesuffix('/api')}{path}", method="HEAD")
    if credentials := PREFECT_API_AUTH_STRING.value():
        request.add_header("Authorization", f"Basic {base64.b64encode(credentials.encode()).decode()}")
    with contextlib.suppress(OSError, ValueError), urllib.request.urlopen(request, timeout=ANSWER):
        return path
    return page.as_uri()


@contextlib.contextmanager
def own_server(meanwhile: Callable[[], object] = lambda: None) -> Iterator[str]:
    """A Prefect server on a free port of this machine, without UI and schedulers. Raises `RuntimeError` where none comes up. `meanwhile` is
    done while it starts."""
    app = ["--factory", "flows.web:patient", "--lifespan", "on"]
    quiet = {
        "PREFECT_UI_ENABLED": "0",
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
        "DO_NOT_TRACK": "1",
        "PREFECT__SERVER_EPHEMERAL": "1",
        "PREFECT__SERVER_FINAL": "1",
        "PREFECT_LOGGING_SERVER_LEVEL": "CRITICAL",
    }
    with contextlib.ExitStack() as stack:
        said = stack.enter_context(tempfile.TemporaryFile("w+", encoding="utf-8", errors="replace"))
        with starting(), socket.socket() as door:
            door.bind(
                ("127.0.0.1", 0)
            )  # the server gets the socket itself: a port that is only known to be free may be taken by then
            url = f"http://127.0.0.1:{door.getsockname()[1]}/api"
            command = [sys.executable, "-m", "uvicorn", *app, "--fd", str(door.fileno()), "--log-level", "error"]
            env = importable(os.environ | quiet)
            server = stack.enter_context(supervised(command, env=env, stdout=said, handed=[door.fileno()]))
            door.close()
            meanwhile()
            until = time.monotonic() + PATIENCE
            while not healthy(url, GLANCE):
                if server.poll() is not None or time.monotonic() > until:
                    said.seek(0)
                    raise RuntimeError(
                        f"no Prefect server came up at {url}; start one yourself (`prefect server start`), or set PREFECT_API_URL to one "
                        f"that runs. What it said last:\n{''.join(said.readlines()[-15:])}"
                    )
                time.sleep(0.1)
        yield url


@contextlib.contextmanager
def starting() -> Iterator[None]:
    """Held while a server starts on this PREFECT_HOME: of two that make its database at the same time, one would fail."""
    from prefect.settings import PREFECT_HOME

    home = PREFECT_HOME.value() / "hanlin"
    home.mkdir(parents=True, exist_ok=True)
    with (home / "starting.lock").open("a") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            log.info("waiting for another Prefect server on this machine, which is making the database in %s", home.parent)
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield
