"""Runs one of our modules in a supervised child process and turns its JSON lines into progress, log lines and a result.

The flow process stays small (no torch in it), a crash in a native library takes only the child, and the memory and the device are
free when the child ends. What the child prints, one JSON object a line:

    {"event": "progress", "done": 3, "total": 10, "unit": "step", "figures": {"loss": 2.1}}
    {"event": "log", "text": "…"}
    {"event": "error", "message": "what a person should read"}
    {"event": "result", …}                                         last; returned by `run`

Any other line is a log line.
"""

from __future__ import annotations

import collections
import json
import os
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

from tasks import device
from tasks.stage import Job, Progress, Resources

TAIL = 15  # lines of a failed child's output shown with its error


class ChildFailed(RuntimeError):
    """A child process ended without a result. The message is the child's own, or its last lines."""


def run(module: str, job_file: Path, *, job: Job, processes: int = 1) -> dict[str, Any]:
    """Run `python -m module job_file` (under torch's launcher for several processes) and return its result event.

    Raises `ChildFailed` where it ends without one. The child ends with this process, whatever ends this process, and has its
    device to itself (`tasks/device.py`).
    """
    command = [sys.executable, "-m", module, str(job_file)]
    if processes > 1:
        command = [sys.executable, *launcher(job.resources), "-m", module, str(job_file)]
    for machine in range(1, job.resources.machines if processes > 1 else 1):
        there = ["python", *launcher(job.resources, machine), "-m", module, str(job_file)]
        job.log(f"on machine {machine + 1} of {job.resources.machines}, start: {shlex.join(there)}")
    with (
        job.slot(),
        device.hold(job.resources, job.log) as held,
        supervised(command, env=_environment(job) | held.env, pass_fds=held.locks) as process,
    ):
        return _listen(process, module, job)


def launcher(resources: Resources, machine: int = 0) -> list[str]:
    """Arguments of Python that start a machine's share of the training processes. The first machine, 0, has the process that reports.

    Torch's own launcher, which `accelerate launch` hands over to as well, but for `--cpu`: there it starts one, whatever it is told.
    """
    each = ["-m", "torch.distributed.run", "--nproc_per_node", str(resources.processes // resources.machines)]
    if resources.machines == 1:
        return [*each, "--standalone"]
    host, _, port = resources.meet.rpartition(":")
    return [*each, "--nnodes", str(resources.machines), "--node_rank", str(machine), "--master_addr", host, "--master_port", port]


def supervised(command: list[str], *, env: dict[str, str], **popen: Any) -> subprocess.Popen[str]:
    """Start a command that ends when this process does. Standard output and error come as one stream of text."""
    return _Supervised(
        [sys.executable, "-m", "tasks.supervise", *command],
        stdin=subprocess.PIPE,
        stdout=popen.pop("stdout", subprocess.PIPE),
        stderr=subprocess.STDOUT,
        env=env,
        text=True,
        encoding="utf-8",
        errors="replace",
        start_new_session=True,  # Ctrl-C in the terminal is ours to handle
        **popen,
    )


class _Supervised(subprocess.Popen[str]):
    """Leaving the `with` block closes the pipe first, which ends the child if it still runs."""

    def __exit__(self, *exc: object) -> None:
        assert self.stdin is not None
        self.stdin.close()
        self.wait()
        if self.stdout is not None:
            self.stdout.close()


def importable(env: dict[str, str]) -> dict[str, str]:
    """An environment in which a child finds our modules, wherever it runs."""
    root = str(Path(__file__).resolve().parent.parent)
    return env | {"PYTHONPATH": os.pathsep.join([root, *filter(None, env.get("PYTHONPATH", "").split(os.pathsep))])}


def _environment(job: Job) -> dict[str, str]:
    cores = str(max(1, job.resources.cores // job.resources.processes))
    return importable(dict(os.environ)) | {
        "PYTHONUNBUFFERED": "1",
        "OMP_NUM_THREADS": cores,
        "GOMP_SPINCOUNT": "10000",
        "RAYON_NUM_THREADS": cores,
        "TOKENIZERS_PARALLELISM": "true",
        "HF_HUB_OFFLINE": "1",
        "HF_DATASETS_CACHE": str(job.scratch / "datasets"),
    }


def _listen(process: subprocess.Popen[str], module: str, job: Job) -> dict[str, Any]:
    result: dict[str, Any] | None = None
    error = ""
    tail: collections.deque[str] = collections.deque(maxlen=TAIL)
    assert process.stdout is not None
    for line in process.stdout:
        event = _event(line)
        kind = event.pop("event", None)
        if kind == "progress":
            job.progress(Progress(event["done"], event["total"], event["unit"], event.get("figures", {})))
        elif kind == "log":
            job.log(event["text"])
        elif kind == "error":
            error = event["message"]
        elif kind == "result":
            result = event
        elif line.strip():
            tail.append(line.rstrip())
            job.log(line.rstrip())
    code = process.wait()
    if code == 0 and result is not None:
        return result
    if error:
        raise ChildFailed(error)
    hint = " (killed; out of memory is the usual reason: lower resources.micro_batch)" if code == 128 + 9 else ""
    raise ChildFailed(f"{module} ended with code {code} and no result{hint}. Its last lines:\n" + "\n".join(tail))


def _event(line: str) -> dict[str, Any]:
    """The line as an event, or empty."""
    if not line.startswith('{"event"'):
        return {}
    try:
        return json.loads(line)
    except json.JSONDecodeError:
        return {}
