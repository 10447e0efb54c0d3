"""A small parent for a child process that must not outlive us: `python -m tasks.processes.supervisor [--grace SECONDS] [--fd NUMBER] COMMAND …`.

Its standard input is a pipe whose other end the caller holds. When the caller ends, however it ends (a `kill -9` included), the
kernel closes the pipe; this process then ends the child and everything the child started: first SIGTERM, so that a trainer
can save, then SIGKILL. Should this process itself be killed, the kernel tells the child (Linux). Standard output is the child's, and so
are the open descriptors that `--fd` names, such as a socket to serve on.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import threading
from typing import Protocol

from models.lifetime import end_with_parent

GRACE = 10.0  # seconds between asking and killing


class Child(Protocol):
    """A child process, however it was started."""

    pid: int

    def wait(self) -> int:
        """Wait for its end; the exit code, or minus the signal that ended it."""


def main(command: list[str]) -> int:
    grace, handed = GRACE, []
    while command[0] in ("--grace", "--fd"):
        option, value, *command = command
        if option == "--grace":
            grace = float(value)
        else:
            handed.append(int(value))
    child = subprocess.Popen(
        command, stdin=subprocess.DEVNULL, start_new_session=True, preexec_fn=end_with_parent, pass_fds=handed
    )
    for descriptor in handed:
        os.close(descriptor)  # the child's alone: what is sent to a socket whose server has ended must be refused
    return supervise(child, grace)


def supervise(child: Child, grace: float) -> int:
    """End a child, the leader of its group, when standard input closes. Its exit code; 128 and the signal's number where one ended it."""

    def signal_group(number: int) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(child.pid, number)

    def end_child(*_: object) -> None:
        signal_group(signal.SIGTERM)
        killer = threading.Timer(grace, signal_group, [signal.SIGKILL])
        killer.daemon = True
        killer.start()

    def wait_for_caller() -> None:
        while os.read(0, 4096):  # empty when the pipe closes; sys.stdin would hold a lock when we exit
            pass
        end_child()

    signal.signal(signal.SIGTERM, end_child)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the caller, who decides
    threading.Thread(target=wait_for_caller, daemon=True).start()
    code = child.wait()
    signal_group(signal.SIGKILL)  # grandchildren that the child left behind
    return code if code >= 0 else 128 - code


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
