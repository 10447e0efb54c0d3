"""The Prefect task of a node of the graph: it ends as Cached where the artifact is in the store, as Completed where it was built.

Prefect's own result cache stays off: its default key holds the run's id, and the store is the one truth.
"""

from __future__ import annotations

import contextlib
import errno
import logging
from collections.abc import Iterator
from typing import Any
from uuid import UUID

import httpx
from prefect import Task, task
from prefect.artifacts import create_table_artifact
from prefect.cache_policies import NO_CACHE
from prefect.client.orchestration import get_client
from prefect.client.schemas.objects import State
from prefect.concurrency.sync import concurrency
from prefect.exceptions import ObjectNotFound, TerminationSignal
from prefect.states import Cancelled, Completed, Failed
from prefect.task_engine import TaskRunTimeoutError

from flows.cluster import cluster
from flows.live import Reporter
from flows.record_facts import record_facts
from flows.run_plan import duration
from flows.tracker import Tracker
from flows.traversal import ResolvedNode
from tasks.artifacts.build import BuildOptions, Built, Drift, StageFailed, build
from tasks.artifacts.lease import LeaseLost
from tasks.artifacts.stage import Progress, Resources
from tasks.artifacts.store import Store
from tasks.processes import device

RETRY_DELAYS = [10, 60, 300]  # seconds before each new try of a stage that failed for a temporary reason
LEASE = 60  # seconds after which a killed run's place on a device is free again
TEMPORARY = {
    errno.EIO,
    errno.ESTALE,
    errno.EAGAIN,
    errno.EBUSY,
    errno.ENOLCK,
    errno.ETIMEDOUT,
    errno.ECONNRESET,
    errno.ENETDOWN,
    errno.ENETUNREACH,
    errno.EHOSTUNREACH,
}


def stage_task(
    resolved: ResolvedNode,
    store: Store,
    resources: Resources,
    tracker: Tracker,
    *,
    refresh: bool,
    drift: Drift,
    by: dict[str, str],
) -> Task[[], Any]:
    """The Prefect task of a node. Takes no arguments, so that Prefect has nothing to inspect or to store.

    It ends in a state whose message is the reason in one sentence. A failure that is likely to be temporary is tried again; one that a person
    must correct is not, nor a stage that took longer than `resources.hours`. `by`: the flow run, for the record.
    """
    name, stage = resolved.node.name, resolved.node.stage

    def run() -> State[Any]:
        try:
            with Reporter(name) as reporter:

                def progress(now: Progress) -> None:
                    reporter(now)
                    tracker(now)

                options = BuildOptions(
                    resources,
                    refresh=refresh,
                    drift=drift,
                    progress=progress,
                    cluster=cluster(resources),
                    slot=lambda: _slot(name, resources),
                    run=by,
                )
                built = build(store, resolved.request, options)
            tracker.finish(built.record, store)
        except StageFailed as failure:
            return Failed(message=str(failure), data=failure)
        except TerminationSignal:
            if not _cancelling(by["flow_run"]):
                raise  # its worker was stopped, say; the run goes on when there is one again
            message = "the run was cancelled; what is finished of this stage is kept"
            logging.getLogger(f"hanlin.{name}").info(message)
            logging.getLogger("prefect.task_runs").addFilter(_no_error)
            return Cancelled(message=message)
        return _state(built, store)

    hours = resources.hours.get(name)
    return task(
        name=name,
        task_run_name=f"{name} · {stage.title}",
        cache_policy=NO_CACHE,
        persist_result=False,
        retries=len(RETRY_DELAYS),
        retry_delay_seconds=RETRY_DELAYS,
        retry_jitter_factor=0.2,
        retry_condition_fn=_should_retry,
        timeout_seconds=3600 * hours if hours else None,
    )(run)


def _should_retry(task: Any, task_run: Any, state: State[Any]) -> bool:
    """True for a failure of the network, the store's disk or a lock; False for one that a person must correct, or a time-out."""
    failure = state.result(raise_on_failure=False)
    return isinstance(failure, BaseException) and not isinstance(failure, TaskRunTimeoutError) and temporary(failure)


def temporary(failure: BaseException | None) -> bool:
    """True for an error that is likely to be gone in a while, by its own type or that of one of its causes."""
    while failure is not None:
        if isinstance(failure, ConnectionError | TimeoutError | LeaseLost | httpx.TransportError):
            return True
        if isinstance(failure, httpx.HTTPStatusError) and failure.response.status_code >= 500:
            return True
        if isinstance(failure, OSError) and failure.errno in TEMPORARY:
            return True
        failure = failure.__cause__
    return False


def _no_error(record: logging.LogRecord) -> bool:
    """A filter of Prefect's log, which calls every end but a completed one an error."""
    if record.getMessage().startswith("Finished in state Cancelled"):
        record.levelno, record.levelname = logging.INFO, "INFO"
    return True


def _cancelling(flow_run: str) -> bool:
    """True of a run that somebody has cancelled; False, too, where the server cannot be asked."""
    try:
        with get_client(sync_client=True) as client:
            state = client.read_flow_run(UUID(flow_run)).state
    except (httpx.HTTPError, ObjectNotFound):
        return False
    return state is not None and (state.is_cancelling() or state.is_cancelled())


@contextlib.contextmanager
def _slot(name: str, resources: Resources) -> Iterator[None]:
    """A training's place on the devices of this machine, as a concurrency limit of the server, which `hanlin worker` sets."""
    limit, places = device.limit(resources)
    if not limit or not _limited(limit):
        yield
        return
    logging.getLogger(f"hanlin.{name}").debug("waiting for %d places of the limit %s", places, limit)
    with concurrency(limit, occupy=places, lease_duration=LEASE, strict=False, raise_on_lease_renewal_failure=False):
        yield


def _limited(limit: str) -> bool:
    """True where the server has this concurrency limit."""
    try:
        with get_client(sync_client=True) as client:
            client.read_global_concurrency_limit_by_name(limit)
    except ObjectNotFound:
        return False
    return True


def _state(built: Built, store: Store) -> State[Any]:
    """The task's final state, which says whether the artifact was reused or built; its record is published as a table."""
    record = built.record
    key = f"record-{record.stage}"
    facts = [{"fact": "result", "value": "reused" if built.reused else "built"}, *record_facts(record, store)]
    create_table_artifact(facts, key=key, description=f"# {record.title}\n`{record.key}`")
    log = logging.getLogger(f"hanlin.{record.stage}")
    seconds = duration(record.made["seconds"])
    if built.reused:
        message = f"reused {record.key[:12]}, which took {seconds} to build"
        log.info(message, extra={"done": "cached"})
        return Completed(name="Cached", message=f"{message}; its record is the artifact {key}", data=record.ref)
    shards = record.made.get("shards", {"built": 0, "reused": 0})
    share = f", {shards['reused']} of {shards['reused'] + shards['built']} shards reused" if shards["reused"] else ""
    message = f"built {record.key[:12]} in {seconds}, {record.bytes / 1e6:,.2f} MB{share}"
    log.info(message, extra={"done": "built"})
    return Completed(message=f"{message}; its record is the artifact {key}", data=record.ref)
