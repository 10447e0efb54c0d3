"""The worker of this machine: Prefect's process worker, which ends its runs in order and restarts those that were lost.

- The first SIGINT or SIGTERM drains it: it takes no new runs, and ends when those under way have. A second one stops it at once: its runs
  end with a checkpoint, and go on when a worker is there again.
- A run is a process under `tasks/processes/supervisor.py`, so it ends with the worker, however the worker ends.
- Runs that lost their process (a killed worker, a dead machine, a crash of the process) are started again, a few times, and go
  on from the last shard or checkpoint.
"""

from __future__ import annotations

import collections
import contextlib
import datetime
import logging
import os
import shlex
import signal
import socket
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import UUID

import anyio
import httpx
from prefect import Flow, flow
from prefect.client.orchestration import PrefectClient, get_client
from prefect.client.schemas.filters import (
    FlowRunFilter,
    FlowRunFilterId,
    FlowRunFilterState,
    FlowRunFilterStateType,
    WorkPoolFilter,
    WorkPoolFilterName,
)
from prefect.client.schemas.objects import FlowRun, StateType, WorkerStatus
from prefect.states import AwaitingRetry, Cancelled, Crashed, Running
from prefect.types._datetime import now
from prefect.workers import process as process_worker
from prefect.workers.process import ProcessJobConfiguration, ProcessWorker, ProcessWorkerResult

from flows.profile import POOL
from tasks.processes import device

LOOK = 15.0  # seconds between checks for lost runs
PAGE = 200  # flow runs a request; the server gives no more at once
GRACE = 25  # seconds that a run gets to end its training child and to say how it ended
RESTARTS = 3  # most restarts of a run that crashed
RECENT = datetime.timedelta(days=1)  # crashes before that are history
STALE = datetime.timedelta(minutes=2)  # after which a run that no worker started was forgotten by one
ENDING = datetime.timedelta(seconds=GRACE + 15)  # that a crashed run's process may still be there
OWNER = "prefect.worker.name"  # label of a run that names its worker
RUN = "PREFECT__FLOW_RUN_ID"  # in the environment of a run's process

log = logging.getLogger("hanlin.worker")


class RunProcess(ProcessJobConfiguration):
    """The process of a run: under the supervisor, in the folder where the worker was started."""

    def prepare_for_flow_run(self, *arguments: Any, **options: Any) -> None:
        supervise = [sys.executable, "-m", "tasks.processes.supervisor", "--grace", str(GRACE)]
        engine = [sys.executable, "-m", "prefect.engine"]
        self.command = self.command or shlex.join([*supervise, *engine])  # type: ignore[has-type]
        self.working_dir = self.working_dir or Path.cwd()  # type: ignore[has-type]
        super().prepare_for_flow_run(*arguments, **options)


class Worker(ProcessWorker):
    """A worker that can be drained, and that waits for a server that is away."""

    type = "hanlin"  # what it is registered as, so that Prefect's own stays what it is
    job_configuration = RunProcess

    def __init__(self, **options: Any):
        super().__init__(**options)
        self.processes: dict[UUID, int] = {}  # run → its process
        self.draining = self.hurried = False

    async def get_and_submit_flow_runs(self) -> list[FlowRun]:
        """Start scheduled runs, none while draining."""
        with self._wait_for_server("ask it for runs"):
            return [] if self.draining else await super().get_and_submit_flow_runs()
        return []

    async def sync_with_backend(self) -> None:
        """Send the worker's sign of life."""
        with self._wait_for_server("send it a sign of life"):
            await super().sync_with_backend()

    @contextlib.contextmanager
    def _wait_for_server(self, action: str) -> Iterator[None]:
        """Prefect's worker gives up after four minutes without a server, and kills its runs; ours waits for it."""
        try:
            yield
        except (httpx.TransportError, httpx.HTTPStatusError) as failure:
            if isinstance(failure, httpx.HTTPStatusError) and failure.response.status_code < 500:
                raise
            log.warning("the Prefect server does not answer: could not %s (%s)", action, failure or type(failure).__name__)

    async def run(self, flow_run: FlowRun, configuration: Any, task_status: Any = None) -> ProcessWorkerResult:
        """Run a flow run's process, known in `processes` while it lives."""

        class StartedNotice:
            """Prefect's status, which also keeps the number of the process."""

            def started(_, pid: int) -> None:  # noqa: N805
                self.processes[flow_run.id] = pid
                task_status.started(pid)

        try:
            return await super().run(flow_run, configuration, StartedNotice())
        finally:
            self.processes.pop(flow_run.id, None)

    def drain(self) -> None:
        """Take no new runs; end once those under way have."""
        if not self.draining:
            self.draining = True
            log.warning("draining: no new runs; waiting for %d runs to end", len(self.mine))

    def hurry(self) -> None:
        """End the runs under way, and with them the work."""
        self.drain()
        if not self.hurried:
            self.hurried = True
            log.warning("stopping at once: %d runs are ended, and go on when a worker runs again", len(self.mine))

    @property
    def mine(self) -> set[UUID]:
        """The runs that have a process here, or are about to."""
        return set(self.processes) | self._submitting_flow_run_ids


Worker.type = ProcessWorker.type  # what the pool's is


async def _hookless(flow_run: FlowRun, **_: Any) -> Flow[Any, Any]:
    """A flow without hooks for cancelled and crashed runs, as all of ours are: to look for them, Prefect imports the flow in the worker, and a
    cancelled run waits for it."""
    return flow(name="without-hooks", validate_parameters=False)(_nothing)  # a run may be called what no flow may


def _nothing() -> None: ...


def main(told_by_stdin: bool) -> None:
    """Work until told to stop. `told_by_stdin`: the parent process writes `drain` or `stop` there, and its end is our end too."""
    if not device.devices():
        os.environ.setdefault("HANLIN_DEVICES", "cpu")  # without a GPU, one run at a time trains on the processors
    process_worker.load_flow_from_flow_run = _hookless
    worker = Worker(name=socket.gethostname(), work_pool_name=POOL)
    if told_by_stdin:
        threading.Thread(target=_listen, args=(worker,), daemon=True).start()
    anyio.run(serve, worker)


async def serve(worker: Worker) -> None:
    """Work until drained. A second signal ends the runs first."""
    cut_off: set[UUID] = set()
    # signals are ours to the very end: one that comes while runs are being ended must not end us first
    with anyio.open_signal_receiver(signal.SIGINT, signal.SIGTERM) as received:

        async def obey() -> None:
            async for _ in received:
                worker.hurry() if worker.draining else worker.drain()

        async def end_when_drained() -> None:
            while not worker.draining or worker.mine:
                if worker.hurried:  # told by us: Prefect would kill their supervisors, and the children outlive them
                    for run, pid in worker.processes.items():
                        if run not in cut_off:
                            cut_off.add(run)
                            with contextlib.suppress(ProcessLookupError):
                                os.kill(pid, signal.SIGTERM)
                await anyio.sleep(0.2)
            work.cancel_scope.cancel()

        async with anyio.create_task_group() as around:
            around.start_soon(obey)
            async with anyio.create_task_group() as work:
                work.start_soon(end_when_drained)
                work.start_soon(_watch_runs, worker)
                work.start_soon(worker.start)
            with (
                contextlib.suppress(Exception),
                anyio.move_on_after(10),
            ):  # the server may be gone; the next worker finds them then
                await _reschedule(cut_off)
            around.cancel_scope.cancel()


async def _reschedule(runs: set[UUID]) -> None:
    async with get_client() as client:
        for run in runs:
            await _schedule_again(client, run, "its worker was stopped; the run goes on when a worker runs again")


async def limit_devices(client: PrefectClient) -> None:
    """Set limits, which the UI shows, of one training job for each device of this machine."""
    kinds = collections.Counter(name.partition(":")[0] for name in device.devices())
    for kind, count in kinds.items():
        await client.upsert_global_concurrency_limit_by_name(device.limit_name(kind), count)


async def _watch_runs(worker: Worker) -> None:
    limited = False
    while True:
        try:
            async with get_client() as client:
                if not limited:
                    await limit_devices(client)
                    limited = True
                await restart_lost_runs(client, worker)
        except Exception as failure:  # the server is away; look again later
            log.debug("could not look for lost runs: %s", failure)
        await anyio.sleep(LOOK)


async def restart_lost_runs(client: PrefectClient, worker: Worker) -> None:
    """Restart the runs of the pool that have lost their process, and settle those that were being cancelled."""
    if worker.draining:
        return
    online = {w.name for w in await client.read_workers_for_work_pool(POOL) if w.status == WorkerStatus.ONLINE}
    states = [StateType.RUNNING, StateType.PENDING, StateType.CANCELLING, StateType.PAUSED, StateType.CRASHED]
    unsettled = FlowRunFilter(state=FlowRunFilterState(type=FlowRunFilterStateType(any_=states)))
    pool = WorkPoolFilter(name=WorkPoolFilterName(any_=[POOL]))
    runs: list[FlowRun] = []
    while page := await client.read_flow_runs(flow_run_filter=unsettled, work_pool_filter=pool, limit=PAGE, offset=len(runs)):
        runs += page
    for run in runs:
        owner, state = run.labels.get(OWNER), run.state
        assert state is not None
        age = now("UTC") - state.timestamp
        if run.id in worker.mine:
            # signs of life were missed while the server was away; one that has just crashed is still ending
            if state.is_crashed() and run.id in worker.processes and age > ENDING:
                log.warning("run %s was reported as lost, but its process is alive", run.name)
                await client.set_flow_run_state(run.id, Running(message="its process is alive"), force=True)
            continue
        mine, lost = owner == worker.name, owner not in online
        if mine and _gone(run) and (await client.read_flow_run(run.id)).state_id != run.state_id:
            continue  # it ended by itself meanwhile, and has said how
        if state.is_crashed():
            if (mine or lost) and age < RECENT:
                await _restart(client, run)
        elif state.is_cancelling() and ((mine and _gone(run)) or lost):
            await client.set_flow_run_state(run.id, Cancelled(message="cancelled; its worker had ended"), force=True)
        elif mine and state.name != "Suspended" and _gone(run) and not (state.is_pending() and age < STALE):
            await client.set_flow_run_state(run.id, Crashed(message="its worker ended"), force=True)
            await _restart(client, run)
        elif owner is None and state.is_pending() and age > STALE:
            await _schedule_again(client, run.id, "its worker ended before the run began")


async def _restart(client: PrefectClient, run: FlowRun) -> None:
    """Schedule a crashed run again, later each time; after so many crashes it is left to people."""
    crashes = sum(state.is_crashed() for state in await client.read_flow_run_states(run.id))
    if crashes <= RESTARTS:
        log.warning("run %s lost its process; it is started again", run.name)
        for task in await client.read_task_runs(flow_run_filter=FlowRunFilter(id=FlowRunFilterId(any_=[run.id]))):
            if task.state is not None and task.state.is_running():  # nobody is left to say so
                await client.set_task_run_state(task.id, Crashed(message="its process ended"), force=True)
        await _schedule_again(
            client, run.id, f"started again after a crash, the {_ordinal(crashes)} of this run", delay=5 * 4 ** (crashes - 1)
        )


async def _schedule_again(client: PrefectClient, run: UUID, why: str, delay: float = 0) -> None:
    state = AwaitingRetry(scheduled_time=now("UTC") + datetime.timedelta(seconds=delay), message=why)
    await client.set_flow_run_state(run, state, force=True)


def _ordinal(number: int) -> str:
    return {1: "first", 2: "second", 3: "third"}.get(number, f"{number}th")


def _gone(run: FlowRun) -> bool:
    """True where a run's process on this machine has ended. Its supervisor ends it within `GRACE` seconds of its worker's end.

    A process is the run's where its environment says so: its number may be another supervisor's by now, as in a container, where numbers
    begin again with every start. One that has ended but whose parent has not waited for it yet (a zombie) has no command.
    """
    try:
        process = Path(f"/proc/{int(run.infrastructure_pid or '')}")
        command, environment = (process / "cmdline").read_bytes(), (process / "environ").read_bytes()
    except (ValueError, OSError):  # nobody has the number, somebody else's process has it, or it ended as we looked
        return True
    # what supervises has had another name, and a run may be older than its worker's code
    return b"supervis" not in command or f"{RUN}={run.id}".encode() not in environment.split(b"\0")


def _listen(worker: Worker) -> None:
    """Pass the words of the parent process on to the worker, and its end.

    Not as signals: of two that follow each other at once, only one may arrive.
    """
    for word in _words():
        if word == "stop":
            break
        worker.drain()
    threading.Timer(GRACE + 20, os._exit, [1]).start()  # whatever hangs, we do not stay
    worker.hurry()


def _words() -> Iterator[str]:
    while line := sys.stdin.readline():
        yield line.strip()
    yield "stop"
