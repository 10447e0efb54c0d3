"""Leases between hosts that share a store: processes under other host names, on a file system whose locks end at the host.

On one kernel `flock` would always decide, so these processes go without it: what is left is the heartbeat.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tasks.artifacts import lease
from tasks.artifacts.store import Store
from tests.toys import make_count
from tests.waiting import PATIENCE, until

ROOT = Path(__file__).parent.parent
HOST = """
import fcntl, json, logging, sys, time
fcntl.flock = lambda descriptor, how: None
from tasks.artifacts import lease
lease.HEARTBEAT, lease.TAKEOVER, lease.BEATS = 0.2, {silence}, {silence} / 0.2
clock = time.time
time.time = lambda: clock() + {skew}
from tests.toys import *
print("up", lease.host(), flush=True)
try:
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stdout)
    go = Path({root!r}).with_name("go")
    built = make_count(Store(Path({root!r})), upto=20, progress=stay_at({stay}, go.exists))
    print(json.dumps({{"reused": built.reused, "digest": built.record.digest}}))
except StageFailed as failure:
    print(json.dumps({{"failed": str(failure)}}))
"""

can_rename = pytest.mark.skipif(
    subprocess.run(["unshare", "--uts", "hostname", "other"], capture_output=True).returncode != 0,
    reason="this needs the right to give a process a host name of its own (unshare --uts, as root)",
)


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[..., subprocess.Popen[str]]]:
    """Starts a build of twenty shards on a host of that name. `stay`: how many it finishes before it waits for the file `go`; `silence`: seconds
    of it that another host's lease is held for."""
    started = []

    def on(name: str, *, stay: int = 0, skew: float = 0.0, silence: float = PATIENCE) -> subprocess.Popen[str]:
        code = "from tasks.artifacts.build import StageFailed\n" + HOST.format(
            root=str(tmp_path / "store"), stay=stay, skew=skew, silence=silence
        )
        command = ["unshare", "--uts", "sh", "-c", 'hostname "$1"; exec "$2" -c "$3"', "sh", name, sys.executable, code]
        process = subprocess.Popen(
            command, cwd=ROOT, env=os.environ | {"PYTHONPATH": str(ROOT)}, stdout=subprocess.PIPE, text=True
        )
        started.append(process)
        assert process.stdout and process.stdout.readline().startswith(f"up {name}/")
        return process

    yield on
    for process in started:
        process.kill()
        process.communicate()


def said(process: subprocess.Popen[str]) -> dict:
    out, _ = process.communicate(timeout=PATIENCE)
    return json.loads(out.splitlines()[-1])


def working(store: Store, process: subprocess.Popen[str]) -> None:
    """Wait until a host has finished the three shards that it stays at."""
    until(lambda: len(list(store.root.glob("work/*/scratch/shards/*/stats.json"))) == 3, during=process)


@can_rename
@pytest.mark.parametrize("skew", [0.0, 3600.0])
def test_one_host_builds_the_other_waits_and_reuses(
    start: Callable[..., subprocess.Popen[str]], tmp_path: Path, skew: float
) -> None:
    """Also where the second host's clock is an hour ahead, so that every heartbeat looks old to it."""
    first = start("alpha", stay=3)
    working(Store(tmp_path / "store"), first)
    second = start("beta", skew=skew)
    assert second.stdout and second.stdout.readline().startswith("waiting for process")
    (tmp_path / "go").touch()
    one, two = said(first), said(second)
    assert (one["reused"], two["reused"]) == (False, True) and one["digest"] == two["digest"]
    [record] = Store(tmp_path / "store").records()
    assert record.made["host"] == "alpha"


@can_rename
def test_a_host_that_falls_silent_is_taken_over_and_does_not_publish_when_it_wakes(
    start: Callable[..., subprocess.Popen[str]], tmp_path: Path
) -> None:
    store = Store(tmp_path / "store")
    first = start("alpha", stay=3)
    working(store, first)
    first.send_signal(signal.SIGSTOP)  # as a host that lost its network, or sleeps
    second = start("beta", silence=3.0)
    taken = said(second)
    assert taken["reused"] is False
    (tmp_path / "go").touch()
    first.send_signal(signal.SIGCONT)
    lost = said(first)
    assert "was taken over by" in lost["failed"] or "another process" in lost["failed"]
    [record] = store.records()
    assert record.made["host"] == "beta" and not list(store.problems(record, deep=True))
    assert record.made["shards"]["built"] == 17, "what the first had finished was not done again"


@can_rename
def test_what_another_host_builds_is_not_garbage(start: Callable[..., subprocess.Popen[str]], tmp_path: Path) -> None:
    from tasks.artifacts.garbage import collect

    store = Store(tmp_path / "store")
    first = start("alpha", stay=3)
    working(store, first)
    assert lease.is_held(next((store.root / "leases").iterdir()))
    assert collect(store, keep_runs=0, scratch_days=0, dry_run=False) == []
    (tmp_path / "go").touch()
    assert said(first)["reused"] is False and make_count(store, upto=20).reused
