"""Children speak JSON lines, fail with a person's words, and never outlive the process that started them."""

from __future__ import annotations

import os
import shlex
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tasks.artifacts.stage import Job, Resources
from tasks.processes import runner

ROOT = Path(__file__).parent.parent


@pytest.fixture
def job(tmp_path: Path) -> Job:
    return Job(tmp_path / "out", tmp_path / "scratch")


def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: str) -> str:
    (tmp_path / "played.py").write_text(code)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    return "played"


def test_progress_logs_and_the_result_arrive(tmp_path, monkeypatch, job):
    said, steps = [], []
    job.log, job.progress = said.append, lambda now: steps.append((now.done, now.total, now.figures["loss"]))
    name = module(
        tmp_path,
        monkeypatch,
        """
import json, sys
print(json.dumps({"event": "progress", "done": 1, "total": 2, "unit": "step", "figures": {"loss": 2.5}}))
print("a library's chatter")
print(json.dumps({"event": "log", "text": "你好"}))
print(json.dumps({"event": "result", "given": open(sys.argv[1]).read()}))
""",
    )
    given = tmp_path / "job.json"
    given.write_text("the job")
    assert runner.run(name, given, job=job) == {"given": "the job"}
    assert said == ["a library's chatter", "你好"] and steps == [(1, 2, 2.5)]


@pytest.mark.parametrize(
    ("code", "message"),
    [
        (
            'print(\'{"event": "error", "message": "the loss is not a number"}\'); raise SystemExit(1)',
            "^the loss is not a number$",
        ),
        ("raise ValueError('deep inside')", "code 1 and no result.*deep inside"),
        ("import os; os.kill(os.getpid(), 9)", "out of memory is the usual reason"),
        ("pass", "code 0 and no result"),
    ],
)
def test_a_failed_child_says_why(tmp_path, monkeypatch, job, code, message):
    with pytest.raises(runner.ChildFailed, match=f"(?s){message}"):
        runner.run(module(tmp_path, monkeypatch, code), tmp_path, job=job)


GRANDPARENT = """
import subprocess, sys
from tasks.processes.runner import supervised
import os
inner = "import os, subprocess, sys, time; open(sys.argv[1], 'a').write(f'{os.getpid()} '); time.sleep(600)"
with supervised([sys.executable, "-c", inner, sys.argv[1]], env=dict(os.environ)) as process:
    process.wait()
"""


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_a_child_does_not_outlive_whoever_started_it(tmp_path, number):
    pids = tmp_path / "pids"
    flow = subprocess.Popen([sys.executable, "-c", GRANDPARENT, str(pids)], cwd=ROOT)
    while not pids.exists() or not pids.read_text():
        time.sleep(0.05)
    pid = int(pids.read_text())
    flow.send_signal(number)
    flow.wait()
    deadline = time.monotonic() + 30
    while _alive(pid) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not _alive(pid)


def test_a_child_that_ignores_sigterm_is_killed(tmp_path):
    inner = "import signal, sys, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('ready', flush=True); time.sleep(600)"
    with runner.supervised([sys.executable, "-c", inner], env=dict(os.environ)) as process:
        assert process.stdout.readline() == "ready\n"
    assert process.returncode == 128 + signal.SIGKILL


def _alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except FileNotFoundError:
        return False


@pytest.mark.slow
def test_two_machines_train_together(tmp_path, monkeypatch, job):
    """The second starts what the first one's log says; the first hears of the result."""
    name = module(
        tmp_path,
        monkeypatch,
        """
import json, os, torch, torch.distributed as processes
processes.init_process_group("gloo")
number = torch.tensor(float(processes.get_rank() + 1))
processes.all_reduce(number)
if processes.get_rank() == 0:
    print(json.dumps({"event": "result", "sum": number.item(), "processes": processes.get_world_size(), "machine": os.environ["GROUP_RANK"]}))
processes.destroy_process_group()
""",
    )
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    job.resources = Resources(processes=2, machines=2, meet=f"127.0.0.1:{port}")
    others = []

    def log(text: str) -> None:
        if "start: " in text:
            command = shlex.split(text.partition("start: ")[2])
            others.append(subprocess.Popen([sys.executable, *command[1:]], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL))

    job.log = log
    (tmp_path / "job.json").write_text("{}")
    result = runner.run(name, tmp_path / "job.json", job=job, processes=2)
    assert result == {"sum": 3.0, "processes": 2, "machine": "0"}
    assert [other.wait(60) for other in others] == [0]


@pytest.mark.parametrize(("given", "problem"), [({"processes": 3}, "do not divide"), ({"processes": 4}, "needs meet")])
def test_machines_that_cannot_meet_are_refused(given, problem):
    with pytest.raises(ValueError, match=problem):
        Resources(machines=2, **given)
