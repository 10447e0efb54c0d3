"""Waiting for what other processes and threads do, and looking at processes. A limit here ends what hangs; it measures nobody's speed."""

from __future__ import annotations

import contextlib
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

T = TypeVar("T")
PATIENCE = 600.0  # seconds, for whatever a machine that has much else to do gets done


def until(
    condition: Callable[[], T],
    seconds: float = PATIENCE,
    *,
    during: subprocess.Popen[Any] | None = None,
    seen: Callable[[], object] | None = None,
    every: float = 0.02,
) -> T:
    """The first result of `condition()` that counts as true.

    Fails after so many `seconds`, or once the process is over `during` which it should come true, and says what there is then: `seen()`, else
    the last result.
    """
    end = time.monotonic() + seconds
    while True:
        over, late = during is not None and during.poll() is not None, time.monotonic() > end
        result = condition()  # after the looks: what a process did last counts
        if result:
            return result
        why = f"the process ended with code {during.returncode}" if during and over else f"waited {seconds:g} s in vain"
        assert not (over or late), f"{why}; seen last: {seen() if seen else result!r}"
        time.sleep(every)


class Process(NamedTuple):
    """A process by its number and by when it started (clock ticks since the machine did), since numbers are given out again."""

    pid: int
    started: int


def process(pid: int) -> Process | None:
    """The process that has this number now; None where it has ended, whether or not its parent has taken note (a zombie)."""
    try:
        state, *fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    except (FileNotFoundError, ProcessLookupError):  # gone before it was opened, or between that and being read
        return None
    return None if state in "ZX" else Process(pid, int(fields[18]))


def alive(one: Process) -> bool:
    return process(one.pid) == one


def children(pid: int) -> list[Process]:
    """The processes that a process has started and that live."""
    found: list[Process | None] = []
    with contextlib.suppress(FileNotFoundError, ProcessLookupError):  # it, or one of its threads, has ended
        for thread in Path(f"/proc/{pid}/task").iterdir():
            found += [process(int(child)) for child in (thread / "children").read_text().split()]
    return [child for child in found if child is not None]


@contextlib.contextmanager
def port() -> Iterator[int]:
    """A port of 127.0.0.1 that is given to nobody else while it is held, for a server that must be told its port beforehand.

    It is bound and not listened on, and may be shared, so that a server which sets SO_REUSEADDR, as nearly all do, can listen on it.
    """
    with socket.socket() as held:
        held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        held.bind(("127.0.0.1", 0))
        yield held.getsockname()[1]
