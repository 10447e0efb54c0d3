"""Pieces of a data stage on a Ray cluster, through Prefect's task runner for it: each piece is a task run of the flow, on whatever machine.

The stage's code is the same, and so are its bytes. The machines must see the store and the raw files at the same paths, and have Hanlin
installed.
"""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Callable
from concurrent.futures import Executor, Future
from typing import Any

from prefect import task
from prefect.cache_policies import NO_CACHE
from prefect.client.schemas.objects import State

from tasks.artifacts.stage import Resources

STORE_MEMORY = (
    1_000_000_000  # bytes for Ray's own store of objects on this machine: rows on their way to a worker; results are files
)


def cluster(resources: Resources) -> Callable[[int], Executor] | None:
    """What makes the workers that `resources.runner` asks for; None where they are processes of this machine.

    Raises `ValueError` where what they need is not installed.
    """
    if resources.runner == "processes":
        return None
    if importlib.util.find_spec("prefect_ray") is None:
        raise ValueError(
            "resources.runner is ray, and prefect-ray is not installed; pip install 'hanlin[ray]', or set runner: processes"
        )
    return lambda processes: OnRay(resources.ray_address, processes)


class OnRay(Executor):
    """Prefect's `RayTaskRunner` with the interface of an executor. Without an address it starts a cluster of `processes` on this machine,
    which ends with `shutdown`."""

    def __init__(self, address: str, processes: int):
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
        from prefect_ray import RayTaskRunner

        local = {"num_cpus": processes, "object_store_memory": STORE_MEMORY, "include_dashboard": False}
        quiet = {"log_to_driver": False, "logging_level": "ERROR"}
        self._runner = RayTaskRunner(address or None, init_kwargs=quiet if address else quiet | local)
        self._runner.__enter__()

    def submit(self, work: Callable[..., Any], /, *given: Any, **named: Any) -> Future[Any]:
        """Start a call of a module's function somewhere. Its result must be small; an error is raised by the future."""
        piece = task(name="piece", task_run_name="piece", cache_policy=NO_CACHE, persist_result=False)(_do)
        theirs: Any = self._runner.submit(piece, {"call": _Call(work, given, named)})
        ours: Future[Any] = Future()

        def settle(done: Future[State[Any]]) -> None:
            if ours.set_running_or_notify_cancel():
                try:
                    ours.set_result(done.result().result(raise_on_failure=True))
                except BaseException as failure:
                    ours.set_exception(failure)

        theirs.wrapped_future.future().add_done_callback(settle)
        return ours

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """Leave the cluster; one that was started here ends, with what runs on it."""
        self._runner.__exit__(None, None, None)


class _Call:
    """A call and its arguments. Not a collection: Prefect would look into each of thousands of rows."""

    def __init__(self, work: Callable[..., Any], given: tuple[Any, ...], named: dict[str, Any]):
        self.work, self.given, self.named = work, given, named


def _do(call: _Call) -> Any:
    return call.work(*call.given, **call.named)
