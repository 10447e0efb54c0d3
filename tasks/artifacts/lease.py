"""Leases: one builder at a time for one artifact, on one host or on many that share the store.

On one host `flock` decides: the kernel drops it when its holder dies, however it dies. Across hosts `flock` may mean nothing (it
depends on the file system), so the holder also writes who it is and when it was last alive. A lease whose holder sits on another
host and has been silent for `TAKEOVER` seconds is taken over; a holder that finds another name in its lease has lost it and must
not publish. Clocks of hosts differ, so whoever takes over has also seen with its own that the holder gave no sign of life.
"""

from __future__ import annotations

import contextlib
import fcntl
import functools
import json
import os
import socket
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

HEARTBEAT = 10.0  # seconds between signs of life
TAKEOVER = 60.0  # seconds of silence after which another host's lease is void
BEATS = 2.5  # heartbeats that a lease which looks old by the holder's clock is watched for


class LeaseLost(RuntimeError):
    """Another builder took this lease over; what this one made must not be published."""


class Lease:
    """A held lease; `check()` raises `LeaseLost` once it is not ours any more."""

    def __init__(self, path: Path, descriptor: int):
        self.path = path
        self.token = uuid.uuid4().hex
        self._descriptor = descriptor
        self._stop = threading.Event()
        self._lost = False
        self._beat()
        self._thread = threading.Thread(target=self._keep_alive, name=f"lease {path.name[:12]}", daemon=True)
        self._thread.start()

    def check(self) -> None:
        facts = holder(self.path)
        if self._lost or facts is None or facts.get("token") != self.token:
            raise LeaseLost(f"the lease {self.path} was taken over by {holder_name(facts)}; this build stops without publishing")

    def release(self) -> None:
        self._stop.set()
        self._thread.join()
        with contextlib.suppress(LeaseLost, OSError):
            self.check()
            os.ftruncate(self._descriptor, 0)
        os.close(self._descriptor)

    def _beat(self) -> None:
        me = {"token": self.token, "host": host(), "pid": os.getpid(), "alive": time.time()}
        os.pwrite(self._descriptor, json.dumps(me).ljust(256).encode(), 0)  # one write, one size: a reader sees all or nothing

    def _keep_alive(self) -> None:
        while not self._stop.wait(HEARTBEAT):
            try:
                self.check()
                self._beat()
            except (LeaseLost, OSError):
                self._lost = True
                return


def holder(path: Path) -> dict | None:
    """The facts of the holder that wrote the lease last: token, host, pid, alive (seconds since the epoch). None where nobody holds it."""
    try:
        return json.loads(path.read_text("utf-8"))
    except (OSError, ValueError):
        return None


def is_held(path: Path) -> bool:
    """True while a live builder holds this lease."""
    try:
        descriptor = os.open(path, os.O_RDWR)
    except OSError:
        return False
    try:
        fcntl.flock(
            descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB
        )  # shared: two that look at the same time are no holders to each other
    except OSError:
        return True
    finally:
        os.close(descriptor)
    return _alive_elsewhere(holder(path))


def holder_name(facts: dict | None) -> str:
    """The holder in words, for a message."""
    return f"process {facts['pid']} on {facts['host'].split('/')[0]}" if facts else "another process"


@functools.cache
def host() -> str:
    """This machine, told from others of the same name by when it started."""
    try:
        return f"{socket.gethostname()}/{Path('/proc/sys/kernel/random/boot_id').read_text('ascii')[:8]}"
    except OSError:  # not Linux
        return socket.gethostname()


def _elsewhere(facts: dict | None) -> bool:
    return facts is not None and facts["host"] != host()


def _alive_elsewhere(facts: dict | None) -> bool:
    return facts is not None and _elsewhere(facts) and time.time() - facts["alive"] < TAKEOVER


class _Watch:
    """A watch on a holder on another host, which tells when it is silent by its clock and by ours."""

    def __init__(self) -> None:
        self.seen: dict | None = None
        self.since = 0.0

    def silent(self, facts: dict | None) -> bool:
        if not _elsewhere(facts):
            return True
        if facts != self.seen:
            self.seen, self.since = facts, time.monotonic()
        watched = time.monotonic() - self.since
        return watched >= (TAKEOVER if _alive_elsewhere(facts) else BEATS * HEARTBEAT)


@contextlib.contextmanager
def lease(path: Path, *, waiting: Callable[[str], None] = lambda who: None, poll: float = 0.5) -> Iterator[Lease]:
    """Hold the lease at `path`, waiting for its present holder, whose name `waiting` is told once."""
    path.parent.mkdir(parents=True, exist_ok=True)
    announced, watch = False, _Watch()
    while True:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if watch.silent(holder(path)) and _still_there(path, descriptor):
                break
        except OSError as refused:
            if not isinstance(refused, BlockingIOError):
                os.close(descriptor)
                raise
        os.close(descriptor)
        if not announced:
            waiting(holder_name(holder(path)))
            announced = True
        time.sleep(poll)
    mine = Lease(path, descriptor)
    try:
        yield mine
    finally:
        mine.release()


def _still_there(path: Path, descriptor: int) -> bool:
    """Garbage collection may have removed the file between our open and our lock."""
    with contextlib.suppress(OSError):
        return os.stat(path).st_ino == os.fstat(descriptor).st_ino
    return False
