"""Children speak JSON lines, fail with a person's words, and never outlive the process that started them."""

from __future__ import annotations

import io
import os
import shlex
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from tasks.artifacts.stage import Job, Resources
from tasks.processes import runner
from tests.waiting import PATIENCE, alive, port, process, until

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
    until(lambda: pids.exists() and pids.read_text(), during=flow)
    child = process(int(pids.read_text()))
    assert child is not None
    flow.send_signal(number)
    flow.wait()
    until(lambda: not alive(child))


def test_a_child_that_ignores_sigterm_is_killed(tmp_path):
    inner = "import signal, sys, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('ready', flush=True); time.sleep(600)"
    with runner.supervised([sys.executable, "-c", inner], env=dict(os.environ), grace=0.5) as child:
        assert child.stdout.readline() == "ready\n"
    assert child.returncode == 128 + signal.SIGKILL


SERVER = """
import socket, sys
with socket.socket(fileno=int(sys.argv[1])) as door:
    door.listen()
    while True:
        door.accept()[0].sendall(b"here")
"""


def test_a_child_serves_on_the_socket_it_was_handed_and_the_socket_ends_with_it():
    """Nobody else can take its port in between."""
    with socket.socket() as door:
        door.bind(("127.0.0.1", 0))
        address, number = door.getsockname(), door.fileno()
        child = runner.supervised([sys.executable, "-c", SERVER, str(number)], env=dict(os.environ), handed=[number])
    with child:
        until(lambda: answer(address) == b"here", during=child)
    assert answer(address) is None


def answer(address: tuple[str, int]) -> bytes | None:
    try:
        with socket.create_connection(address, timeout=60) as line:
            return line.recv(10)
    except ConnectionError:
        return None


def test_a_process_that_ends_as_it_is_looked_at_has_ended(monkeypatch):
    """Between being opened and being read its file has nothing more to say, which is another error than that of a file that is not there."""
    child = subprocess.Popen(["sleep", "600"])
    assert (seen := process(child.pid)) is not None and alive(seen)
    true_open = io.open

    def opened(path, *rest, **named):
        file = true_open(path, *rest, **named)
        if str(path) == f"/proc/{child.pid}/stat":
            child.kill()
            child.wait()
        return file

    monkeypatch.setattr(io, "open", opened)
    assert not alive(seen)


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
    others = []

    def log(text: str) -> None:
        if "start: " in text:
            command = shlex.split(text.partition("start: ")[2])
            others.append(subprocess.Popen([sys.executable, *command[1:]], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL))

    job.log = log
    (tmp_path / "job.json").write_text("{}")
    with port() as free:
        job.resources = Resources(processes=2, machines=2, meet=f"127.0.0.1:{free}")
        result = runner.run(name, tmp_path / "job.json", job=job, processes=2)
    assert result == {"sum": 3.0, "processes": 2, "machine": "0"}
    assert [other.wait(PATIENCE) for other in others] == [0]


@pytest.mark.parametrize(("given", "problem"), [({"processes": 3}, "do not divide"), ({"processes": 4}, "needs meet")])
def test_machines_that_cannot_meet_are_refused(given, problem):
    with pytest.raises(ValueError, match=problem):
        Resources(machines=2, **given)
