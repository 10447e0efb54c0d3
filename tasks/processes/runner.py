"""The runner of supervised child processes: runs one of our modules and turns its JSON lines into progress, log lines and a result.

The flow process stays small (no torch in it), a crash in a native library takes only the child, and the memory and the device are
free when the child ends. What the child prints, one JSON object a line:

    {"event": "progress", "done": 3, "total": 10, "unit": "step", "figures": {"loss": 2.1}}    the fields of `Progress`
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
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tasks.artifacts.digests import ROOT
from tasks.artifacts.stage import Job, Progress, Resources
from tasks.processes import device, launcher, warm
from tasks.processes.supervisor import GRACE

TRAINING = (
    "models.train",
    "models.methods.pretrain",
    "models.methods.sft",
    "models.methods.dpo",
)  # most of what its children import
TAIL = 15  # lines of a failed child's output shown with its error


class ChildFailed(RuntimeError):
    """A child process ended without a result. The message is the child's own, or its last lines."""


def run(module: str, job_file: Path, *, job: Job, processes: int = 1, whole: str = "") -> dict[str, Any]:
    """Run `python -m module job_file`, warm (`tasks/processes/warm.py`), or under `accelerate launch` for several processes; returns its result
    event.

    `whole` is the reason why each of several processes must hold the whole model, where there is one. Raises `ChildFailed` where the child
    ends without a result. The child ends with this process, whatever ends this process, and has its device to itself
    (`tasks/processes/device.py`).
    """
    resources, started = job.resources, [module, str(job_file)]
    launch = ["-m"]
    if processes > 1:
        resources = launcher.effective(resources, whole, job.log)
        launch = launcher.launch_command(resources)
        for machine in range(1, resources.machines):
            there = shlex.join(["python", *launcher.launch_command(resources, machine), *started])
            job.log(f"on machine {machine + 1} of {resources.machines}, start: {there}")
    with job.slot(), device.hold(resources, job.log) as devices:
        env, grace, locks = _environment(job) | devices.env, resources.stop_seconds, devices.locks
        child = warm.start(module, [str(job_file)], env=env, grace=grace, locks=locks) if processes == 1 else None
        with child or supervised([sys.executable, *launch, *started], env=env, grace=grace, pass_fds=locks) as process:
            return _listen(process, module, job)


def expect_training(resources: Resources) -> None:
    """Have what a training imports be imported while other stages are under way."""
    if resources.processes == 1:
        warm.begin(TRAINING, env=_environment(Job(Path(), Path(), resources)))


def supervised(
    command: list[str],
    *,
    env: dict[str, str],
    grace: float = GRACE,
    handed: Sequence[int] = (),
    pass_fds: Sequence[int] = (),
    **popen: Any,
) -> subprocess.Popen[str]:
    """Start a command that ends when this process does: it is asked to, and killed `grace` seconds later. Standard output and error come as
    one stream of text. The command inherits the descriptors `handed`, its supervisor alone those of `pass_fds`."""
    inherited = [word for descriptor in handed for word in ("--fd", str(descriptor))]
    return _Supervised(
        [sys.executable, "-m", "tasks.processes.supervisor", "--grace", str(grace), *inherited, *command],
        stdin=subprocess.PIPE,
        stdout=popen.pop("stdout", subprocess.PIPE),
        stderr=subprocess.STDOUT,
        env=env,
        text=True,
        encoding="utf-8",
        errors="replace",
        start_new_session=True,  # Ctrl-C in the terminal is ours to handle
        pass_fds=[*pass_fds, *handed],
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
    root = str(ROOT)
    return env | {"PYTHONPATH": os.pathsep.join([root, *filter(None, env.get("PYTHONPATH", "").split(os.pathsep))])}


def _environment(job: Job) -> dict[str, str]:
    here = -(-job.resources.processes // job.resources.machines)
    cores = str(max(1, job.resources.cores // here))
    return importable(dict(os.environ)) | {
        "PYTHONUNBUFFERED": "1",
        "OMP_NUM_THREADS": cores,
        "GOMP_SPINCOUNT": "10000",
        "RAYON_NUM_THREADS": cores,
        "TOKENIZERS_PARALLELISM": "true",
        "HF_HUB_OFFLINE": "1",
        "HF_HUB_DISABLE_TELEMETRY": "1",
        "TRANSFORMERS_VERBOSITY": "error",
        "TRANSFORMERS_NO_ADVISORY_WARNINGS": "1",
        "DATASETS_VERBOSITY": "error",
        "TQDM_DISABLE": "1",
        "HF_DATASETS_CACHE": str(job.scratch / "datasets"),
    }


def _listen(process: subprocess.Popen[str] | warm.Warm, module: str, job: Job) -> dict[str, Any]:
    result: dict[str, Any] | None = None
    error = ""
    tail: collections.deque[str] = collections.deque(maxlen=TAIL)
    assert process.stdout is not None
    for line in process.stdout:
        event = _event(line)
        kind = event.pop("event", None)
        if kind == "progress":
            job.progress(Progress(**event))
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
