"""Warm children: forks of a server that has imported what they need (`tasks/processes/fork_server.py`).

A child is cold, a process of its own from the beginning, where a fork is not safe (macOS), where several processes train, and where
`HANLIN_CHILDREN=cold` says so. Either way it ends with its caller, exits with the same codes and writes the same bytes.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path

from tasks.processes.fork_server import Request

PATIENCE = 600.0  # seconds that a server gets for its imports
SERVERS = 3  # at a time, of one process: a run has one, tests with environments of their own have more
# Names of variables, or their beginnings, that no library reads as it is imported. A child in which another one differs has another server
READ_LATER = ("HANLIN_", "PREFECT_", "PYTEST_", "CUDA_VISIBLE_DEVICES", "CUDA_DEVICE_ORDER", "HF_DATASETS_CACHE")

Key = tuple[str, tuple[tuple[str, str], ...]]  # what the imports of a process depend on: its folder, and its environment

_servers: dict[Key, Server] = {}  # the last one used is the last
_lock = threading.Lock()


class Warm:
    """A warm child under its supervisor, as far as `subprocess.Popen` is used of a cold one. Leaving the `with` block ends it."""

    def __init__(self, lifetime: int, output: int, told: int):
        self.stdout = os.fdopen(output, encoding="utf-8", errors="replace")
        self._lifetime, self._told = lifetime, told
        self.returncode: int | None = None

    def wait(self) -> int:
        """Wait for its end; the exit code, or minus SIGKILL where the supervisor was killed."""
        if self.returncode is None:
            code = os.read(self._told, 16)
            os.close(self._told)
            self.returncode = int(code) if code else -signal.SIGKILL
        return self.returncode

    def __enter__(self) -> Warm:
        return self

    def __exit__(self, *exc: object) -> None:
        os.close(self._lifetime)
        self.wait()
        self.stdout.close()


class Server:
    """A fork server, seen by its caller. It ends when its line closes, which the kernel does for a caller that is killed."""

    def __init__(self, env: Mapping[str, str], modules: Sequence[str] = ()):
        self.line, theirs = socket.socketpair()
        self.line.settimeout(PATIENCE)
        with theirs:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "tasks.processes.fork_server", str(theirs.fileno()), *modules],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                env=dict(env),
                start_new_session=True,
                pass_fds=[theirs.fileno()],
            )

    def fork(self, request: Request, locks: Sequence[int]) -> Warm | None:
        """A child whose supervisor holds `locks`; None where the server is gone."""
        pipes: list[int] = []
        for _ in range(3):
            pipes += os.pipe()
        ended, lifetime, output, written, told, tells = pipes
        theirs, ours = (ended, written, tells), (lifetime, output, told)
        forked = False
        try:
            with tempfile.TemporaryFile("w+", encoding="utf-8") as asked:
                json.dump(asdict(request), asked)
                asked.seek(0)
                with contextlib.suppress(OSError):  # it is gone, or takes longer than anything it should do
                    socket.send_fds(self.line, [b"."], [asked.fileno(), *theirs, *locks])
                    forked = bool(self.line.recv(1))
        finally:
            for descriptor in theirs if forked else pipes:
                os.close(descriptor)
        return Warm(*ours) if forked else None

    def end(self) -> None:
        """End it; its children stay, each under its supervisor."""
        self.line.close()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.process.wait(timeout=5)


def _possible(env: Mapping[str, str]) -> bool:
    """True where children may be forks."""
    return sys.platform == "linux" and env.get("HANLIN_CHILDREN") != "cold"


def _key(folder: str, env: Mapping[str, str]) -> Key:
    return folder, tuple(sorted(item for item in env.items() if not item[0].startswith(READ_LATER)))


def begin(modules: Sequence[str], *, env: Mapping[str, str]) -> None:
    """Start the server of children that are expected, so that it has imported their modules when they come: they take it seconds."""
    if _possible(env):
        with _lock:
            key = _key(str(Path.cwd()), env)
            if key not in _servers:
                _servers[key] = Server(env, modules)


def start(module: str, arguments: Sequence[str], *, env: Mapping[str, str], grace: float, locks: Sequence[int]) -> Warm | None:
    """Start `python -m module arguments` as a fork; None where it has to be cold."""
    if not _possible(env):
        return None
    request = Request(module, list(arguments), dict(env), str(Path.cwd()), grace)
    key = _key(request.folder, env)
    with _lock:
        for server in (_servers.pop(key, None) or Server(env), None):
            server = server or Server(env)  # the one that was there has ended, as it does after some time without work
            if child := server.fork(request, locks):
                _servers[key] = server
                while len(_servers) > SERVERS:
                    _servers.pop(next(iter(_servers))).end()
                return child
            server.end()
    return None
