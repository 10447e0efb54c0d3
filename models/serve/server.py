"""The web server under the API: its socket, and its end in two steps, a signal to drain and a second one to leave at once."""

from __future__ import annotations

import asyncio
import errno
import logging
import os
import socket
import time
from types import FrameType

import h11
import uvicorn
from fastapi import FastAPI
from uvicorn.protocols.http.h11_impl import H11Protocol

from models.serve.access import SLOWEST

PAUSE = 1  # seconds that requests get to end when the time for draining is over

log = logging.getLogger("hanlin.serve")


def listen(host: str, port: int) -> socket.socket:
    """A socket that listens at an address; port 0 is any free one. `ValueError` where that cannot be."""
    try:
        family, kind, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        door = socket.socket(family, kind)
    except OSError:
        raise ValueError(
            f"--host {host}: no address of this machine; 127.0.0.1 is this machine alone, 0.0.0.0 all that reach it"
        ) from None
    try:
        door.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        door.bind(address)
        door.listen(2048)
    except OSError as failure:
        door.close()
        if failure.errno == errno.EADDRINUSE:
            raise ValueError(f"{address_of(host, port)} is taken by another program; choose another --port, or end it") from None
        raise ValueError(
            f"{address_of(host, port)} cannot be listened at: {failure.strerror}; choose another --host or --port"
        ) from None
    return door


def address_of(host: str, port: int) -> str:
    """The address as this machine reaches it."""
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)
    return f"http://{f'[{host}]' if ':' in host else host}:{port}"


class Connection(H11Protocol):
    """A client's connection, closed where the head of a request does not come whole in time: each one open takes a file of this process."""

    _late: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._await_head()

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        self._await_head()

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        if self._late:
            self._late.cancel()

    def _await_head(self) -> None:
        """Begin to wait for a head, or end it if one has come. Between two requests uvicorn has a limit of its own."""
        if self.conn.their_state is not h11.IDLE:
            if self._late:
                self._late.cancel()
            self._late = None
        elif not self._late:
            self._late = self.loop.call_later(SLOWEST, self.transport.close)


class Server(uvicorn.Server):
    """The server of an application. On SIGINT or SIGTERM it answers what it has taken, for at most `patience` seconds, and refuses new
    requests with 503; a second signal ends the process. In a thread that is not the main one it hears no signals, and `drain` is called."""

    def __init__(self, app: FastAPI, patience: float):
        super().__init__(
            uvicorn.Config(
                app,
                http=Connection,
                log_config=None,
                access_log=False,
                server_header=False,
                ws="none",
                lifespan="on",
                timeout_graceful_shutdown=PAUSE,
            )
        )
        self.serving, self.patience = app.state.serving, patience
        self.until = 0.0

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Drain at the first signal, end at the second."""
        if self.serving.draining:
            log.warning("ended at once; requests were cut off")
            os._exit(130)
        self.drain()

    def drain(self) -> None:
        """Take no new requests, and end when those under way have."""
        self.until = time.monotonic() + self.patience
        self.serving.draining = True
        log.warning(
            "no new requests are taken; %d under way get %.0f s to end (a second signal ends at once)",
            len(self.server_state.tasks),
            self.patience,
        )

    async def on_tick(self, counter: int) -> bool:
        """True where the server has to end; asked ten times a second."""
        if self.serving.draining and not self.should_exit:
            late = time.monotonic() - self.until
            connections = [one for one in self.server_state.connections if isinstance(one, Connection)]
            if late > 0:
                log.warning("%d requests did not end in time, and were cut off", len(self.server_state.tasks))
            for connection in connections:
                if late > 0 or (
                    late > PAUSE - self.patience and connection.conn.their_state is h11.SEND_BODY
                ):  # half of one is no request
                    connection.transport.abort()
            self.should_exit = late > 0 or not self.server_state.tasks
        return await super().on_tick(counter)
