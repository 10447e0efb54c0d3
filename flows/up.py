"""`hanlin up`: everything an operator needs on this machine, as one command in the foreground.

The server (UI and API, `flows/web.py`), the deployments of `prefect.yaml`, and the worker (`flows/worker.py`). Server and worker are child processes
that end with this one, and are started again should they end by themselves.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import IO

from flows import profile
from flows.deployments import apply, zone
from flows.server import GLANCE, healthy, running, starting
from tasks.artifacts.store import store_folder
from tasks.processes.runner import importable, supervised

RESTART_DELAYS = (1.0, 5.0, 30.0)  # seconds before a part that ended is started again; the last from then on
START = 600.0  # seconds for the server to answer
SLOW = 45.0  # seconds after which a message says that we still wait
CALM = 300.0  # seconds after which earlier ends are forgotten


@dataclass(frozen=True)
class Options:
    """The options of `hanlin up`."""

    host: str = "127.0.0.1"
    port: int = 4200
    database: str = ""  # empty: Prefect's own setting, else SQLite below PREFECT_HOME
    worker: bool = True
    show_logs: bool = False  # in the terminal, instead of files
    timezone: str = ""  # of the schedules; empty: this machine's for new ones

    @property
    def address(self) -> str:
        """The server's address, as this machine reaches it."""
        host = {"0.0.0.0": "127.0.0.1", "::": "[::1]"}.get(self.host, self.host)
        return f"http://{host}:{self.port}"


@dataclass
class Service:
    """A child process that is kept running: the server or the worker."""

    name: str
    start: Callable[[IO[bytes] | None], subprocess.Popen[str]]
    log: Path | None
    process: subprocess.Popen[str] | None = None
    ends: list[float] = field(default_factory=list)

    def keep(self) -> None:
        """Start it again if it has ended, after a delay that grows with each end."""
        if self.process is not None:
            code = self.process.poll()
            if code is None:
                return
            self.process.__exit__(None, None, None)
            self.process = None
            self.ends = [at for at in self.ends if time.monotonic() - at < CALM] + [time.monotonic()]
            wait = RESTART_DELAYS[min(len(self.ends), len(RESTART_DELAYS)) - 1]
            where = f"; its log: {self.log}" if self.log else ""
            say(f"the {self.name} ended (code {code}) and is started again in {wait:.0f} s{where}")
        if not self.ends or time.monotonic() - self.ends[-1] >= RESTART_DELAYS[min(len(self.ends), len(RESTART_DELAYS)) - 1]:
            self.run()

    def run(self) -> None:
        """Start it, with its output in its log."""
        if self.log is None:
            self.process = self.start(None)
        else:
            with self.log.open("ab") as log:
                self.process = self.start(log)

    def tell(self, word: str) -> None:
        """Write a word to its standard input, if it runs."""
        if self.process is not None and self.process.stdin is not None:
            with contextlib.suppress(OSError, ValueError):
                self.process.stdin.write(word + "\n")
                self.process.stdin.flush()

    @property
    def alive(self) -> bool:
        """True while the process runs."""
        return self.process is not None and self.process.poll() is None

    def end(self) -> None:
        """End it, and wait until it has ended."""
        if self.process is not None:
            self.process.__exit__(None, None, None)  # closes its input, which ends it, and waits


def up(options: Options) -> int:
    """Start server, deployments and worker, keep them running, and end them on a signal. Returns the exit code."""
    from prefect.settings import PREFECT_HOME

    home = PREFECT_HOME.value() / "hanlin"
    zone(options.timezone)  # a wrong one is refused before anything starts
    with contextlib.ExitStack() as stack:
        notes = stack.enter_context(only_one(home))
        if notes is None:
            return show_running(home, options)
        if problem := address_problem(options):
            print(f"hanlin: {problem}", file=sys.stderr)
            return 1
        warn_operator(options)
        return Up(options, home, notes).run()


class Up:
    """Server and worker of one `hanlin up`."""

    def __init__(self, options: Options, home: Path, notes: IO[str]):
        self.options, self.home, self.notes = options, home, notes
        self.env = profile.client(f"{options.address}/api") | {"HANLIN_STORE": str(store_folder())}
        self.server = Service("server", self._start_server, self._log("server"))
        self.worker = Service("worker", self._start_worker, self._log("worker"))
        self.stops = 0  # signals to stop so far

    def run(self) -> int:
        """Start all, keep all running until a signal, then drain and end all. Returns the exit code."""
        try:
            with starting():
                for number in (signal.SIGINT, signal.SIGTERM):
                    signal.signal(number, self._stop)
                say(f"starting the Prefect server at {self.options.address}")
                self.server.run()
                if not self._wait_for_server():
                    return 0 if self.stops else 1
            try:
                deployments = apply(self.env, self.options.timezone)
            except RuntimeError as failure:
                print(f"hanlin: {failure}", file=sys.stderr)
                return 1
            self._note()
            self._show(deployments)
            while not self.stops:
                self.server.keep()
                if self.options.worker:
                    self.worker.keep()
                time.sleep(0.5)
            self._drain()
            return 0
        finally:
            self.worker.end()
            self.server.end()
            say("stopped")

    def _drain(self) -> None:
        if not self.worker.alive:
            return
        say("no new runs are taken; those under way end first. Ctrl-C again stops them at once: they go on at the next start")
        words = 0
        while self.worker.alive:
            if words < min(self.stops, 2):
                words += 1
                self.worker.tell("drain" if words == 1 else "stop")
            self.server.keep()  # runs need it to the end
            time.sleep(0.2)

    def _stop(self, number: int, frame: FrameType | None) -> None:
        self.stops += 1

    def _wait_for_server(self) -> bool:
        """True once the server answers; False, with the reason printed, where it does not come up."""
        began = time.monotonic()
        warned = False
        while not self.server.alive or not healthy(f"{self.options.address}/api", GLANCE):
            if self.stops:
                return False
            waited = time.monotonic() - began
            if waited > SLOW and not warned:
                warned = True
                say(
                    f"the server does not answer yet; a first start makes its database, and a busy machine is slow (log: {self.server.log})"
                )
            if not self.server.alive or waited > START:
                trouble = "ended" if not self.server.alive else f"does not answer after {START:.0f} s"
                print(f"hanlin: the Prefect server {trouble}{_last_lines(self.server.log)}", file=sys.stderr)
                return False
            time.sleep(0.1)
        return True

    def _start_server(self, log: IO[bytes] | None) -> subprocess.Popen[str]:
        host, port = self.options.host, str(self.options.port)
        command = [sys.executable, "-m", "uvicorn", "--factory", "flows.web:app", "--host", host, "--port", port]
        env = profile.server(host, self.options.port, self.options.database) | {"HANLIN_STORE": str(store_folder())}
        return supervised([*command, "--log-level", "warning"], env=importable(env), stdout=log)

    def _start_worker(self, log: IO[bytes] | None) -> subprocess.Popen[str]:
        # under no supervisor: it follows us by itself, since it must not be hurried
        return subprocess.Popen(
            [sys.executable, "-m", "flows.cli", "worker", "--told-by-stdin"],
            stdin=subprocess.PIPE,
            stdout=log,
            stderr=subprocess.STDOUT if log else None,
            env=importable(self.env),
            text=True,
            start_new_session=True,  # Ctrl-C in the terminal is ours to pass on
        )

    def _log(self, name: str) -> Path | None:
        return None if self.options.show_logs else self.home / f"{name}.log"

    def _note(self) -> None:
        facts = {"pid": os.getpid(), "address": self.options.address, "store": str(store_folder()), "worker": self.options.worker}
        self.notes.seek(0)
        self.notes.truncate()
        json.dump(facts | {"since": time.time()}, self.notes)
        self.notes.flush()

    def _show(self, deployments: list[str]) -> None:
        lines = [
            ("Prefect UI", self.options.address),
            ("password", "set" if profile.auth() else "none"),
            ("deployments", ", ".join(deployments)),
            ("schedules", f"new ones in the time zone {zone(self.options.timezone)}; the UI shows and changes them"),
            ("worker", f"{socket.gethostname()}, work pool {profile.POOL}" if self.options.worker else "none here"),
            ("store", str(store_folder())),
            ("logs", str(self.home) if not self.options.show_logs else "here"),
        ]
        print("\n".join(f"{name:<12} {text}" for name, text in lines))
        say("Ctrl-C stops: no new runs, and those under way end first")


@contextlib.contextmanager
def only_one(home: Path) -> Iterator[IO[str] | None]:
    """The lock and the notes of the one `hanlin up` of this PREFECT_HOME; yields None where another one holds them."""
    home.mkdir(parents=True, exist_ok=True)
    with (home / "up.json").open("a+") as notes:
        try:
            fcntl.flock(notes, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield None
            return
        notes.truncate(0)  # of one that was killed: its process number may be anybody's by now
        try:
            yield notes
        finally:
            notes.truncate(0)


def show_running(home: Path, options: Options) -> int:
    """Print the facts of the `hanlin up` that runs already, for a second call. Returns the exit code."""
    facts = running(home)
    if facts is None:
        print("hanlin: another `hanlin up` is just starting; try again in a moment", file=sys.stderr)
        return 1
    answers = "answers" if healthy(f"{facts['address']}/api") else "does not answer"
    since = time.strftime("%Y-%m-%d %H:%M", time.localtime(facts["since"]))
    print(f"Hanlin is up already, since {since}: {facts['address']} ({answers}), process {facts['pid']}, store {facts['store']}")
    print(f"Stop it with Ctrl-C where it runs, or kill {facts['pid']}")
    if options.address != facts["address"]:
        print(f"A second one, at {options.address}, needs a PREFECT_HOME of its own")
    return 0


def address_problem(options: Options) -> str | None:
    """The reason why the server cannot listen at its address; None where it can."""
    try:
        family, kind, _, _, address = socket.getaddrinfo(options.host, options.port, type=socket.SOCK_STREAM)[0]
        with socket.socket(family, kind) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(address)
    except socket.gaierror:
        return f"--host {options.host}: no address of this machine; 127.0.0.1 is this machine alone, 0.0.0.0 all that reach it"
    except OSError as failure:
        whose = "a Prefect server that is not this one" if healthy(f"{options.address}/api", GLANCE) else "another program"
        why = f"{whose} listens there" if "in use" in str(failure) else str(failure)
        return f"{options.address} cannot be used: {why}; choose another --port, or end it"
    return None


def warn_operator(options: Options) -> None:
    """Print warnings about a setting that is ignored, and about a server without a password that others can reach."""
    if (url := os.environ.get("PREFECT_API_URL")) and not url.startswith(options.address):
        say(f"PREFECT_API_URL={url} is ignored: this is a server of its own (a worker for another server: `hanlin worker`)")
    if not profile.is_local(options.host) and not profile.auth():
        say(
            f"WARNING: {options.host} is reached from other machines, and there is no password: whoever reaches port {options.port} can run code "
            "here. Set HANLIN_PASSWORD, and put TLS in front"
        )


def _last_lines(log: Path | None, number: int = 15) -> str:
    if log is None or not log.exists():
        return ""
    return f". The end of {log}:\n" + "\n".join(log.read_text("utf-8", errors="replace").splitlines()[-number:])


def say(text: str) -> None:
    """Print a line of our own."""
    print(f"hanlin: {text}", flush=True)
