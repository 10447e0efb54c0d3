"""A warm child is one that a fork server starts: everything that holds of a cold one holds of it, and it has less to import."""

from __future__ import annotations

import fcntl
import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from tasks.artifacts.stage import Job, Resources
from tasks.processes import fork_server, runner, warm
from tests import forks
from tests.waiting import Process, alive, children, process, until

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="children are warm on Linux alone")
ROOT = Path(__file__).parent.parent


@pytest.fixture(autouse=True)
def true_servers(monkeypatch: pytest.MonkeyPatch) -> None:
    """Fork servers that begin as they do outside of the suite."""
    monkeypatch.setattr(warm, "Server", forks.TrueServer)


@pytest.fixture
def job(tmp_path: Path) -> Job:
    (tmp_path / "job.json").write_text("{}")
    return Job(tmp_path / "out", tmp_path / "scratch")


@pytest.fixture
def played(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The file of a module `played`, which children run; servers of its environment end with the test."""
    before = set(warm._servers)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    yield tmp_path / "played.py"
    for key in set(warm._servers) - before:
        warm._servers.pop(key).end()


def server() -> subprocess.Popen[bytes]:
    """The server that was used last."""
    return list(warm._servers.values())[-1].process


SEEN = """
import json, os, signal, sys, threading
print(json.dumps({"event": "result", "env": dict(os.environ), "folder": os.getcwd(), "arguments": sys.argv, "path": sys.path,
    "name": __name__, "session": os.getsid(0) == os.getpid(), "stdin": os.read(0, 1).decode(), "threads": len(os.listdir("/proc/self/task")),
    "open": [os.readlink(f"/proc/self/fd/{each}").split(":")[0] for each in range(200) if os.path.lexists(f"/proc/self/fd/{each}")],
    "signals": [str(signal.getsignal(each)) for each in (signal.SIGINT, signal.SIGTERM, signal.SIGCHLD, signal.SIGPIPE)],
    "encoding": [sys.stdout.encoding, sys.stdout.errors, sys.stdout.write_through], "flags": str(sys.flags)}))
"""


def test_a_warm_child_sees_what_a_cold_one_sees(played, job, monkeypatch):
    played.write_text(SEEN)
    seen = {}
    for kind in ("cold", "warm"):
        monkeypatch.setenv("HANLIN_CHILDREN", kind)
        seen[kind] = runner.run("played", job.out.parent / "job.json", job=job)
        assert seen[kind]["env"].pop("HANLIN_CHILDREN") == kind
    assert seen["warm"] == seen["cold"]


@pytest.mark.slow
def test_the_next_child_of_a_server_finds_torch_there(played, job):
    """In an environment that differs in what no import reads; where it differs otherwise, a server of its own is asked."""
    played.write_text("import json, sys; print(json.dumps({'event': 'result', 'torch': 'torch' in sys.modules}))")
    given = job.out.parent / "job.json"
    assert runner.run("played", given, job=job) == {"torch": False}
    first = server()
    given.write_text('{"method": "models.losses"}')
    with pytest.raises(runner.ChildFailed, match="is missing"):
        runner.run("models.train", given, job=job)
    job.resources = Resources(stop_seconds=7)
    job.scratch = job.scratch / "other"
    given.write_text("{}")
    assert runner.run("played", given, job=job) == {"torch": True} and server() is first
    job.resources = Resources(threads=3)
    assert runner.run("played", given, job=job) == {"torch": False} and server() is not first


@pytest.mark.slow
def test_a_server_has_no_thread_and_no_device_whatever_it_has_imported(tmp_path):
    """But for two that know of forks: NumPy's BLAS ends its own before one, and PyArrow's allocator starts its own again after one."""
    code = f"""
import os, json, sys
from pathlib import Path
from tasks.processes.fork_server import LATER, Request, prepare
given = Path({str(tmp_path)!r}, "job.json")
for name in LATER:
    given.write_text(json.dumps({{"method": name}}))
    prepare(Request("models.train", [str(given)], {{}}, "", 0.0))
prepare(Request("models.score", [], {{}}, "", 0.0))
prepare(Request("models.export.exporter", [], {{}}, "", 0.0))
import torch
assert {{"trl", "peft", "transformers.trainer", "models.score"}} < set(sys.modules)
if os.fork() == 0:
    print(len(os.listdir("/proc/self/task")), torch.cuda.is_initialized(), torch.cuda._is_in_bad_fork())
    print(float(torch.nn.Linear(300, 300)(torch.ones(300, 300)).sum()) != 0)
else:
    print(sorted(Path(each, "comm").read_text().strip() for each in Path("/proc/self/task").iterdir()), os.wait()[1])
"""
    env = os.environ | {"OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "2", "PYTHONUNBUFFERED": "1"}
    said = subprocess.run([sys.executable, "-c", code], env=env, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    assert said.splitlines() == ["1 False False", "True", "['jemalloc_bg_thd', 'python'] 0"]


def test_a_server_that_is_begun_beforehand_is_the_one_that_children_come_from(played, job, monkeypatch):
    played.write_text(
        'import json, os, sys; print(json.dumps({"event": "result", "there": "models.sampling" in sys.modules, "by": os.getppid()}))'
    )
    monkeypatch.setattr(runner, "TRAINING", ("models.sampling", "models.no_such_module"))
    runner.expect_training(job.resources)
    begun, number = server(), len(warm._servers)
    runner.expect_training(job.resources)
    assert runner.run("played", job.scratch.parent / "job.json", job=job)["there"]
    assert server() is begun and len(warm._servers) == number
    monkeypatch.setenv("HANLIN_CHILDREN", "cold")
    warm._servers.popitem()[1].end()
    runner.expect_training(job.resources)
    assert len(warm._servers) == number - 1


FLOW = """
import sys
from pathlib import Path
from tasks.artifacts.stage import Job
from tasks.processes import runner, warm
home = Path(sys.argv[1])
job = Job(home / "out", home / "scratch")
job.log = lambda text: print(text, warm._servers.popitem()[1].process.pid, flush=True)
runner.run("played", home / "job.json", job=job)
"""
STAYS = (
    "import os, subprocess, sys, time; print(os.getpid(), subprocess.Popen(['sleep', '600']).pid, flush=True); time.sleep(600)"
)


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_child_grandchild_and_server_end_with_the_flow(played, job, tmp_path, number):
    played.write_text(STAYS)
    flow = subprocess.Popen([sys.executable, "-c", FLOW, str(tmp_path)], cwd=ROOT, stdout=subprocess.PIPE, text=True)
    assert flow.stdout is not None
    there = [process(int(pid)) for pid in flow.stdout.readline().split()]
    assert len(there) == 3 and all(there)
    assert there[0] and Path(f"/proc/{there[0].pid}/comm").read_text() == "played\n"
    flow.send_signal(number)
    flow.wait()
    until(lambda: not any(alive(one) for one in there if one))


def started(job: Job) -> tuple[list[Process], list[BaseException], threading.Thread]:
    """A child that stays, run in a thread: it and its child; what the thread raises at its end; the thread."""
    pids: list[Process] = []
    raised: list[BaseException] = []

    def run() -> None:
        try:
            runner.run("played", job.out.parent / "job.json", job=job)
        except runner.ChildFailed as failed:
            raised.append(failed)

    job.log = lambda text: pids.extend(one for pid in text.split() if (one := process(int(pid))))
    thread = threading.Thread(target=run)
    thread.start()
    until(lambda: len(pids) == 2)
    return pids, raised, thread


def test_a_supervisor_that_is_killed_takes_its_child_along(played, job):
    played.write_text(STAYS)
    (child, other), raised, thread = started(job)
    os.kill(next(one.pid for one in children(server().pid) if child in children(one.pid)), signal.SIGKILL)
    until(lambda: not alive(child))
    os.kill(other.pid, signal.SIGKILL)  # as of a cold child: what it started outlives a supervisor that is killed
    thread.join()
    assert "ended with code -9 and no result" in str(raised[0])


def test_children_outlive_their_server_and_the_next_one_gets_another(played, job):
    played.write_text(STAYS)
    (child, _), raised, thread = started(job)
    gone = server()
    gone.kill()
    gone.wait()
    played.write_text('print(\'{"event": "result"}\')')
    assert runner.run("played", job.out.parent / "job.json", job=job) == {}
    assert server() is not gone and alive(child)
    os.kill(child.pid, signal.SIGKILL)
    thread.join()
    assert "out of memory is the usual reason" in str(raised[0])


def test_a_killed_child_leaves_its_device_free(played, job, tmp_path, monkeypatch):
    monkeypatch.setenv("HANLIN_DEVICES", "cpu")
    monkeypatch.setenv("HANLIN_LOCKS", str(tmp_path))
    played.write_text(STAYS)
    (child, _), _, thread = started(job)
    with (tmp_path / "cpu.lock").open() as lock:
        with pytest.raises(BlockingIOError):
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        os.kill(child.pid, signal.SIGKILL)
        thread.join()
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)


def test_a_child_that_ignores_sigterm_is_killed(played, job):
    played.write_text(
        "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('ready', flush=True); time.sleep(600)"
    )
    env = runner._environment(job)
    child = warm.start("played", [], env=env, grace=0.5, locks=[])
    assert child is not None
    with child:
        assert child.stdout.readline() == "ready\n"
    assert child.returncode == 128 + signal.SIGKILL


@pytest.mark.parametrize(
    ("code", "status", "said"),
    [
        ("raise SystemExit('the reason')", 1, "the reason\n"),
        ("raise SystemExit(75)", 75, ""),
        ("import atexit; atexit.register(print, 'at exit'); print('said', end=' ')", 0, "said at exit\n"),
        ("import threading; threading.Thread(target=print, args=['waited for']).start()", 0, "waited for\n"),
        ("import os, signal; os.kill(os.getpid(), signal.SIGSEGV)", 128 + signal.SIGSEGV, ""),
        ("import os; os.execlp('echo', 'echo', 'another program')", 0, "another program\n"),
    ],
)
def test_a_child_ends_as_the_interpreter_does(played, job, code, status, said):
    played.write_text(code)
    child = warm.start("played", [], env=runner._environment(job), grace=5, locks=[])
    assert child is not None
    with child:
        assert child.stdout.read() == said
    assert child.returncode == status


def test_an_idle_server_ends_and_is_not_missed(played, job, monkeypatch):
    played.write_text('print(\'{"event": "result"}\')')
    runner.run("played", job.out.parent / "job.json", job=job)
    first = server()
    os.kill(first.pid, signal.SIGTERM)  # stands in for ten minutes
    first.wait()
    runner.run("played", job.out.parent / "job.json", job=job)
    assert server() is not first


def test_a_server_that_has_waited_long_enough_ends():
    ours, theirs = warm.socket.socketpair()
    with ours, theirs, pytest.MonkeyPatch.context() as patch:
        patch.setattr(fork_server, "IDLE", 0.01)
        assert fork_server.serve(theirs) is None


def test_a_request_whose_caller_has_ended_is_not_forked(tmp_path):
    """The device that it holds would be taken for nothing."""
    ours, theirs = warm.socket.socketpair()
    (tmp_path / "asked").write_text(json.dumps(fork_server.Request("played", [], {}, "", 0.0).__dict__))
    with ours, theirs, (tmp_path / "asked").open() as asked, Path(os.devnull).open() as nothing:
        ended, held = os.pipe()
        os.close(held)
        warm.socket.send_fds(ours, [b"."], [asked.fileno(), ended, nothing.fileno(), nothing.fileno()])
        ours.shutdown(warm.socket.SHUT_WR)
        before = children(os.getpid())
        assert fork_server.serve(theirs) is None and children(os.getpid()) == before
        os.close(ended)


def test_the_fork_of_a_process_that_started_cuda_begins_again(played, tmp_path):
    """Nobody can use CUDA after a fork: the child becomes a cold one, in its place."""
    code = f"""
import os, sys, types
from tasks.processes import fork_server
sys.modules["torch"] = types.SimpleNamespace(cuda=types.SimpleNamespace(_is_in_bad_fork=lambda: True))
fork_server.become(fork_server.Request("played", ["one"], dict(os.environ), {str(tmp_path)!r}, 0.0))
"""
    played.write_text("import sys; print('torch' in sys.modules, sys.argv[1:])")
    said = subprocess.run(
        [sys.executable, "-c", code],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
        env=runner.importable(dict(os.environ)),
    ).stdout
    assert said == "False ['one']\n"
