"""A fork server: a process that imports what children need, once, and forks each child: `python -m tasks.processes.fork_server DESCRIPTOR
[MODULE…]`; the modules are imported before anybody asks for a child.

Importing torch, transformers and TRL takes a child seconds of processor time; a fork of a process that has them takes hundredths. The
server itself never computes: it touches no device and starts no thread, since neither survives a fork.

The descriptor is a socket whose other end the caller holds (tasks/processes/warm.py). A request is one byte with these descriptors: a file
of JSON (`Request`), the pipe that ends the child when it closes, the child's output, where its exit code is told, and the locks that its
supervisor holds. The answer is one byte, once it is forked. The server ends with its caller, and `IDLE` seconds after the last request.
"""

from __future__ import annotations

import atexit
import contextlib
import gc
import importlib
import json
import os
import runpy
import select
import socket
import sys
import threading
import traceback
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

from models.lifetime import end_with_parent
from tasks.processes import supervisor

IDLE = 600.0  # seconds without a request after which its memory is worth more than a warm start
MOST = 64  # descriptors of a request

# module → what it imports once it is under way
LATER = {
    "models.train": ("transformers.trainer",),
    "models.methods.sft": ("models.trl_trainers",),
    "models.methods.dpo": ("models.trl_trainers",),
    "models.methods.reference": ("models.trl_trainers",),
}


@dataclass(frozen=True)
class Request:
    """A child: its module and arguments, its environment and folder, and the seconds between asking it to end and killing it."""

    module: str
    arguments: list[str]
    env: dict[str, str]
    folder: str
    grace: float


class Forked:
    """A forked child, as its supervisor sees it."""

    def __init__(self, pid: int):
        self.pid = pid

    def wait(self) -> int:
        """Wait for its end; the exit code, or minus the signal that ended it."""
        return os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])


def main(line: socket.socket, modules: Sequence[str] = ()) -> None:
    """Serve, with these modules imported beforehand; and in each fork, be the child."""
    # whether there is a GPU is asked of its management library: asking CUDA would start it, and no fork could use it any more
    os.environ["PYTORCH_NVML_BASED_CUDA_CHECK"] = "1"
    import_all(modules)
    request = serve(line)
    if request:
        become(request)


def serve(line: socket.socket) -> Request | None:
    """Answer requests until the caller ends. Returns in each forked child with its own request, and in the server at its end with None."""
    line.settimeout(IDLE)
    while True:
        try:
            said, descriptors, *_ = socket.recv_fds(line, 1, MOST)
        except TimeoutError:
            return None
        if not said:
            return None
        with contextlib.suppress(ChildProcessError):
            while os.waitpid(-1, os.WNOHANG)[0]:  # supervisors of earlier children
                pass
        asked, *given = descriptors
        with os.fdopen(asked, encoding="utf-8") as file:
            request = Request(**json.load(file))
        prepare(request)
        gc.freeze()  # a child that collects garbage leaves the memory that it shares with this process alone
        pipe = given[0]
        wanted = not select.select([pipe], [], [], 0)[0]  # it has not closed in the meantime
        if wanted and os.fork() == 0:
            line.close()
            supervised(request.grace, given)
            return request
        for descriptor in given:
            os.close(descriptor)
        line.sendall(said)


def prepare(request: Request) -> None:
    """Import what the child will. What fails here fails again in the child, which says so."""
    names = [request.module]
    with contextlib.suppress(Exception):
        names.append(json.loads(Path(request.arguments[0]).read_text("utf-8"))["method"])
    import_all(names)


def import_all(names: Sequence[str]) -> None:
    """Import modules of ours, and what they import later."""
    for name in names:
        if name.startswith("models."):
            for each in (name, *LATER.get(name, ())):
                with contextlib.suppress(Exception):
                    importlib.import_module(each)


def supervised(grace: float, given: Sequence[int]) -> None:
    """In a fork of the server: fork the child, which returns from here, and supervise it to its end."""
    pipe, output, told, *locks = given
    os.setsid()  # Ctrl-C in the terminal is the caller's to handle
    for descriptor, number in ((pipe, 0), (output, 1), (output, 2)):
        os.dup2(descriptor, number)
    for descriptor in (pipe, output):
        os.close(descriptor)
    own = os.getpid()
    child = os.fork()
    if child:
        code = supervisor.supervise(Forked(child), grace)
        os.write(told, str(code).encode())
        os._exit(code)
    end_with_parent()
    if os.getppid() != own:
        os._exit(1)  # its supervisor was killed before it could be told of it
    os.setsid()
    for descriptor in (told, *locks):
        os.close(descriptor)
    with Path(os.devnull).open("rb") as nothing:
        os.dup2(nothing.fileno(), 0)


def become(request: Request) -> NoReturn:
    """Run a child's module as `python -m` does; from the beginning, where a fork of this process is of no use."""
    os.environ.clear()
    os.environ.update(request.env)
    os.chdir(request.folder)
    with contextlib.suppress(OSError):
        Path("/proc/self/comm").write_text(
            request.module[:15], "utf-8"
        )  # its name in top and ps; the command line stays the server's
    if _unfit():
        os.execv(sys.executable, [sys.executable, "-m", request.module, *request.arguments])
    if numpy := sys.modules.get("numpy"):
        numpy.random.seed()  # each child another one, as a process that begins has
    if (datasets := sys.modules.get("datasets")) and (home := request.env.get("HF_DATASETS_CACHE")):
        datasets.config.HF_DATASETS_CACHE = Path(home)
    sys.argv = [request.module, *request.arguments]
    sys.modules.pop(request.module, None)
    try:
        runpy.run_module(request.module, run_name="__main__", alter_sys=True)
        leave(None)
    except SystemExit as end:
        leave(end.code)
    except BaseException:
        traceback.print_exc()
        leave(1)


def leave(code: str | int | None) -> NoReturn:
    """End as the interpreter does, up to taking its modules apart, object by object, which is half a second of copying shared memory."""
    if isinstance(code, str):
        print(code, file=sys.stderr)
    threading._shutdown()  # type: ignore[attr-defined]  # waits for the threads that are no daemons
    atexit._run_exitfuncs()
    with contextlib.suppress(Exception):
        sys.stdout.flush()
        sys.stderr.flush()
    os._exit(code if isinstance(code, int) else bool(code))


def _unfit() -> bool:
    """True in the fork of a process that had started CUDA, whatever made it."""
    torch = sys.modules.get("torch")
    return torch is not None and torch.cuda._is_in_bad_fork()


if __name__ == "__main__":
    main(socket.socket(fileno=int(sys.argv[1])), sys.argv[2:])
