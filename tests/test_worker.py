"""Runs that lost their process are taken up again, and no others: on a real server, with real states."""

from __future__ import annotations

import contextlib
import datetime
import os
import subprocess
import sys
import uuid
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import anyio
import pytest

from flows import profile
from flows.profile import POOL
from tasks.processes import supervisor

pytestmark = pytest.mark.usefixtures("prefect_api")
ROOT = Path(__file__).parent.parent
NOBODY = "4194305"  # above the largest process number that Linux gives out


@contextlib.contextmanager
def process_of(run: Any) -> Iterator[str]:
    """The number of a process under the supervisor, as a worker starts it for a run."""
    from flows.worker import RUN

    command = [sys.executable, "-m", supervisor.__name__, "sleep", "600"]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, env=os.environ | {RUN: str(run)})
    try:
        yield str(process.pid)
    finally:
        process.kill()
        process.communicate()


def after(judge: Callable[[Any, Any], Awaitable[Any]]) -> Any:
    """What `judge(client, worker)` says, with a pool of runs on the server."""
    from prefect.client.orchestration import get_client
    from prefect.client.schemas.actions import WorkPoolCreate
    from prefect.exceptions import ObjectAlreadyExists

    from flows.worker import Worker

    async def go() -> Any:
        async with get_client() as client:
            with contextlib.suppress(ObjectAlreadyExists):
                await client.create_work_pool(WorkPoolCreate(name=POOL, type="process", base_job_template={}))
            for name in ("me", "other"):
                await client.send_worker_heartbeat(POOL, name)
            return await judge(client, Worker(name="me", work_pool_name=POOL))

    return anyio.run(go)


async def a_run(client: Any, owner: str | None, pid: str, *states: Any) -> Any:
    from prefect import flow

    from flows.worker import OWNER

    run = await client.create_flow_run(flow(name="lost", validate_parameters=False)(_nothing), work_pool_name=POOL)
    if owner:
        await client.update_flow_run_labels(run.id, {OWNER: owner})
    await client.update_flow_run(run.id, infrastructure_pid=pid)
    for state in states:
        await client.set_flow_run_state(run.id, state, force=True)
    return run.id


def _nothing() -> None: ...


@pytest.mark.parametrize(
    ("owner", "states", "becomes"),
    [
        ("me", ["Running"], "AwaitingRetry"),
        ("me", ["Paused"], "AwaitingRetry"),
        ("me", ["Suspended"], "Suspended"),
        ("me", ["Cancelling"], "Cancelled"),
        ("me", ["Crashed"], "AwaitingRetry"),
        ("me", ["Crashed"] * 4, "Crashed"),  # left to people
        ("other", ["Running"], "Running"),  # its worker is there and sees to it
        ("other", ["Crashed"], "Crashed"),
        ("gone", ["Running"], "Running"),  # the rule about lost runs marks it first
        ("gone", ["Crashed"], "AwaitingRetry"),
        ("gone", ["Cancelling"], "Cancelled"),
    ],
)
def test_what_becomes_of_a_run_without_a_process(owner, states, becomes):
    from prefect import states as kinds

    from flows.worker import restart_lost_runs

    async def judge(client: Any, worker: Any) -> str:
        named = {"Paused": kinds.Paused, "Suspended": kinds.Suspended}
        made = [named.get(name, getattr(kinds, name))() for name in states]
        run = await a_run(client, owner, NOBODY, *made)
        await restart_lost_runs(client, worker)
        return (await client.read_flow_run(run)).state.name

    assert after(judge) == becomes


@pytest.mark.parametrize(("whose", "becomes"), [("its own", "Running"), ("another run's", "AwaitingRetry")])
def test_a_run_with_a_process_is_left_alone(whose, becomes):
    """And one whose process number another run's process has by now is not."""
    from prefect.states import Running

    from flows.worker import restart_lost_runs

    async def judge(client: Any, worker: Any) -> str:
        run = await a_run(client, "me", NOBODY, Running())
        with process_of(run if whose == "its own" else uuid.uuid4()) as pid:
            await client.update_flow_run(run, infrastructure_pid=pid)
            await restart_lost_runs(client, worker)
        return (await client.read_flow_run(run)).state.name

    assert after(judge) == becomes


def test_a_run_that_ends_while_lost_ones_are_looked_for_has_ended():
    """The list of runs says that it runs; by the time that it is read, the run is over and its process is gone."""
    from prefect.states import Completed, Running

    from flows.worker import restart_lost_runs

    class Late:
        def __init__(self, client: Any):
            self.client = client

        def __getattr__(self, name: str) -> Any:
            return getattr(self.client, name)

        async def read_flow_runs(self, **given: Any) -> Any:
            found = await self.client.read_flow_runs(**given)
            await self.client.set_flow_run_state(self.run, Completed(), force=True)
            return found

    async def judge(client: Any, worker: Any) -> str:
        late = Late(client)
        late.run = await a_run(client, "me", NOBODY, Running())
        await restart_lost_runs(late, worker)
        return (await client.read_flow_run(late.run)).state.name

    assert after(judge) == "Completed"


def test_a_lost_run_is_found_behind_as_many_others_as_there_may_be(monkeypatch):
    """The server tells of a page of runs at a time; old crashes may fill any number of pages."""
    from prefect.states import Running

    from flows import worker as workers

    monkeypatch.setattr(workers, "PAGE", 1)

    async def judge(client: Any, worker: Any) -> list[str]:
        lost = [await a_run(client, "me", NOBODY, Running()) for _ in range(3)]
        await workers.restart_lost_runs(client, worker)
        return [(await client.read_flow_run(run)).state.name for run in lost]

    assert after(judge) == ["AwaitingRetry"] * 3


@pytest.mark.slow
def test_a_worker_that_is_told_to_stop_before_it_works_ends_in_order(prefect_api, tmp_path):
    """Told by the end of its input, as when `hanlin up` is killed: here, before it has started."""
    env = os.environ | profile.client(prefect_api) | {"PREFECT_HOME": str(tmp_path)}
    command = [sys.executable, "-m", "flows.cli", "worker", "--told-by-stdin"]
    worker = subprocess.run(command, stdin=subprocess.DEVNULL, cwd=ROOT, env=env, capture_output=True, text=True, check=False)
    assert worker.returncode == 0, worker.stdout + worker.stderr


def test_a_run_processes_that_was_taken_for_lost_goes_on(monkeypatch):
    """The server was away: signs of life were missed, but the process is there."""
    from prefect.states import Crashed

    from flows import worker as workers

    monkeypatch.setattr(workers, "ENDING", datetime.timedelta(0))

    async def judge(client: Any, worker: Any) -> str:
        run = await a_run(client, "me", NOBODY, Crashed())
        worker.processes[run] = 1
        await workers.restart_lost_runs(client, worker)
        return (await client.read_flow_run(run)).state.name

    assert after(judge) == "Running"


def test_devices_become_limits_that_a_stage_finds(monkeypatch):
    from flows.stage_task import _limited
    from flows.worker import limit_devices
    from tasks.processes import device

    monkeypatch.setenv("HANLIN_DEVICES", "cuda:0,cuda:1")

    async def judge(client: Any, worker: Any) -> int:
        await limit_devices(client)
        return (await client.read_global_concurrency_limit_by_name(device.limit_name("cuda"))).limit

    assert after(judge) == 2
    assert _limited(device.limit_name("cuda")) and not _limited("device:elsewhere:cuda")
