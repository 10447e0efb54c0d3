"""Programs that tests start, as forks of one process that has imported what they need: `python -m tests.forks DESCRIPTOR`.

`python -m flows.cli` takes seconds to import Prefect, and a fork server of children takes more for torch, transformers and TRL: of a run of the
small recipe that is most of the time, and tests make many. So the process that the suite begins with starts this one (tests/conftest.py),
which listens on the socket DESCRIPTOR, imports all of it once it is asked for the first program, and ends when its standard input does. A
program gets the environment, the folder and the files that it would have had, and modules from the tree that its PYTHONPATH names.

What is tested of a process's beginning itself (its imports, the seed of its hashes, its death) starts it in the usual way.
"""

from __future__ import annotations

import contextlib
import gc
import importlib
import json
import logging
import os
import random
import runpy
import select
import signal
import socket
import subprocess
import sys
import tempfile
import traceback
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from models.lifetime import end_with_parent
from tasks.processes import fork_server, warm
from tests.waiting import PATIENCE

ROOT = Path(__file__).parent.parent
ADDRESS = "HANLIN_TEST_FORKS"  # variable with the socket
FORK_SERVER = "tasks.processes.fork_server"
INSTALLED = [
    entry for entry in sys.path[1:] if entry not in os.environ.get("PYTHONPATH", "").split(os.pathsep)
]  # behind `-m`'s folder
OURS = ("flows", "tasks", "models", "tests", "benchmarks")
CHILDREN = (
    *fork_server.LATER,
    *(each for later in fork_server.LATER.values() for each in later),
    "models.score",
    "models.generate",
)
FLOWS = (
    "flows.cli",
    "flows.recipe_flows",
    "flows.run_plan",
    "flows.pipeline",
    "flows.corpus",
    "flows.execution",
    "tasks.report",
)


# -- the process that forks ---------------------------------------------------------------------------------------------


def main(door: socket.socket) -> None:
    """Fork programs until standard input ends; in each fork, be the program."""
    programs: dict[int, tuple[int, socket.socket]] = {}
    with door:
        while True:
            ready = select.select([0, door, *programs], [], [])[0]
            for ended in set(ready) & programs.keys():
                pid, line = programs.pop(ended)
                code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
                with contextlib.suppress(OSError), line:
                    line.sendall(f"{code}\n".encode())
                os.close(ended)
            if 0 in ready:
                return
            if door in ready:
                line, _ = door.accept()
                _, descriptors, *_ = socket.recv_fds(line, 1, fork_server.MOST)
                if not descriptors:  # who asked is gone
                    line.close()
                    continue
                with os.fdopen(descriptors.pop(0), encoding="utf-8") as file:
                    asked = json.load(file)
                preload(asked["module"])
                pid = os.fork()
                if pid == 0:
                    for each in programs:
                        os.close(each)
                    for _, other in programs.values():
                        other.close()
                    door.close()
                    line.close()
                    become(asked, descriptors)
                for each in descriptors:
                    os.close(each)
                with contextlib.suppress(OSError):
                    line.sendall(f"{pid}\n".encode())
                programs[os.pidfd_open(pid)] = (pid, line)


def preload(module: str) -> None:
    """Import what a program needs, and what its children will."""
    os.environ["PYTORCH_NVML_BASED_CUDA_CHECK"] = "1"
    wanted = {FORK_SERVER: CHILDREN, "flows.cli": CHILDREN + FLOWS}.get(module, ())
    if not sys.modules.keys() >= set(wanted):
        for name in wanted:
            importlib.import_module(name)
        gc.collect()
        gc.freeze()


def become(asked: dict[str, Any], descriptors: list[int]) -> None:
    """Run a module as `python -m` does. The descriptors are its standard files, and others that get the numbers that they had."""
    try:
        end_with_parent()
        os.setsid()
        high = [os.dup2(each, 500 + place) for place, each in enumerate(descriptors)]
        for each in descriptors:
            os.close(each)
        for each, number in zip(high, (0, 1, 2, *asked["numbers"]), strict=True):
            os.dup2(each, number, inheritable=True)
            os.close(each)
        os.environ.clear()
        os.environ.update(asked["env"])
        os.chdir(asked["folder"])
        find_modules(asked["folder"])
        random.seed()
        if numpy := sys.modules.get("numpy"):
            numpy.random.seed()
        if asked["module"] == "flows.cli":
            read_settings()
        with contextlib.suppress(ModuleNotFoundError):  # a tree may have no tests
            importlib.import_module("tests.forks").adopt()
        module = asked["module"]
        sys.argv = [module, *asked["arguments"]]
        sys.modules.pop(module, None)
        runpy.run_module(module, run_name="__main__", alter_sys=True)
        fork_server.leave(None)
    except SystemExit as end:
        fork_server.leave(end.code)
    except BaseException:
        traceback.print_exc()
        fork_server.leave(1)


def read_settings() -> None:
    """Have Prefect read its settings from the environment again, as it does when it is imported."""
    import prefect.context
    from prefect.logging.configuration import setup_logging

    prefect.context.refresh_global_settings_context()
    logging.getLogger("hanlin").handlers.clear()  # those that the settings before asked for
    setup_logging(incremental=False)


def find_modules(folder: str) -> None:
    """Set the path of a program, and forget the modules of this tree where it works with another one."""
    given = os.environ.get("PYTHONPATH", "").split(os.pathsep)
    sys.path[:] = [folder, *filter(None, given), *INSTALLED]
    tree = next((entry for entry in sys.path if Path(entry, "flows").is_dir()), ROOT)
    if Path(tree).resolve() != ROOT:
        for name in [name for name in sys.modules if name.split(".")[0] in OURS]:
            del sys.modules[name]
    sys.path_importer_cache.clear()
    importlib.invalidate_caches()
    if presets := sys.modules.get("models.presets"):
        presets.registry.cache_clear()  # another path may have other packages


# -- those who ask it ---------------------------------------------------------------------------------------------------


class Program:
    """A program that was forked, as far as `subprocess.Popen` is used of one."""

    def __init__(
        self,
        module: str,
        arguments: Sequence[str],
        env: Mapping[str, str],
        folder: Path | None = None,
        output: tuple[int, int] | None = None,
        pass_fds: Sequence[int] = (),
    ):
        self.returncode: int | None = None
        self.line = socket.socket(socket.AF_UNIX)
        self.line.connect(os.environ[ADDRESS])
        request = {"module": module, "arguments": list(arguments), "env": dict(env), "folder": str(folder or Path.cwd())}
        with tempfile.TemporaryFile("w+", encoding="utf-8") as asked, Path(os.devnull).open("r+b") as nothing:
            json.dump(request | {"numbers": list(pass_fds)}, asked)
            asked.seek(0)
            standard = (nothing.fileno(), *(output or (nothing.fileno(), nothing.fileno())))
            socket.send_fds(self.line, [b"."], [asked.fileno(), *standard, *pass_fds])
            self.said = self.line.makefile("r")
            self.pid = int(self.said.readline())

    def poll(self) -> int | None:
        if self.returncode is None and select.select([self.line], [], [], 0)[0]:
            self.wait()
        return self.returncode

    def wait(self, timeout: float | None = None) -> int:
        if self.returncode is None:
            if not select.select([self.line], [], [], timeout)[0]:
                raise subprocess.TimeoutExpired("a forked program", timeout or 0)
            self.returncode = int(self.said.readline() or -signal.SIGKILL)
            self.said.close()
            self.line.close()
        return self.returncode


def run(module: str, *arguments: str, env: Mapping[str, str], folder: Path = ROOT) -> subprocess.CompletedProcess[str]:
    """What `python -m module` came to, and what it said."""
    if ADDRESS not in os.environ:
        return subprocess.run(
            [sys.executable, "-m", module, *arguments],
            cwd=folder,
            env=env,
            capture_output=True,
            text=True,
            stdin=subprocess.DEVNULL,
        )
    with tempfile.TemporaryFile("w+", encoding="utf-8") as out, tempfile.TemporaryFile("w+", encoding="utf-8") as err:
        code = Program(module, arguments, env, folder, (out.fileno(), err.fileno())).wait(6 * PATIENCE)
        for file in (out, err):
            file.seek(0)
        return subprocess.CompletedProcess([module, *arguments], code, out.read(), err.read())


TrueServer = warm.Server  # which imports what its children need


class ForkServer(warm.Server):
    """A fork server that is a fork itself, and so has nothing to import."""

    def __init__(self, env: Mapping[str, str], modules: Sequence[str] = ()):
        self.line, theirs = socket.socketpair()
        self.line.settimeout(warm.PATIENCE)
        with theirs:
            number = theirs.fileno()
            self.process: Any = Program(FORK_SERVER, [str(number)], env, pass_fds=[number])


@contextlib.contextmanager
def forking() -> Iterator[None]:
    """The process that forks programs, while in the `with` block, for this process and those that it starts."""
    with tempfile.TemporaryDirectory(prefix="hanlin-tests-") as home, socket.socket(socket.AF_UNIX) as door:
        os.environ[ADDRESS] = f"{home}/forks"
        door.bind(os.environ[ADDRESS])
        door.listen(64)
        command = [sys.executable, "-m", "tests.forks", str(door.fileno())]
        with subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, pass_fds=[door.fileno()]) as process:
            door.close()  # so that nobody waits at the door of a process that is gone
            yield
            process.communicate()


def adopt() -> None:
    """Have this process start its fork servers as forks."""
    if ADDRESS in os.environ:
        warm.Server = ForkServer  # type: ignore[misc]


if __name__ == "__main__":
    main(socket.socket(fileno=int(sys.argv[1])))
