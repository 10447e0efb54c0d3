"""A Ray cluster as the executor of a data stage's pieces, through Prefect's task runner: each piece is a task run on one of its machines.

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
    """The function that starts the executor of `resources.runner`, from a number of workers; None for processes of this machine.

    Raises `ValueError` where its packages are not installed.
    """
    if resources.runner == "processes":
        return None
    if importlib.util.find_spec("prefect_ray") is None:
        raise ValueError(
            "resources.runner is ray, and prefect-ray is not installed; pip install 'hanlin[ray]', or set runner: processes"
        )
    return lambda processes: RayExecutor(resources.ray_address, processes)


class RayExecutor(Executor):
    """Prefect's `RayTaskRunner` with the interface of an executor. Without an address it starts a cluster of `processes` on this machine,
    which ends with `shutdown`."""

    def __init__(self, address: str, processes: int):
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
        from prefect_ray import RayTaskRunner

        local = {"num_cpus": processes, "object_store_memory": STORE_MEMORY, "include_dashboard": False}
        quiet = {"log_to_driver": False, "logging_level": "ERROR"}
        self._runner = RayTaskRunner(address or None, init_kwargs=quiet if address else quiet | local)
        self._runner.__enter__()

    def submit(self, work: Callable[..., Any], /, *arguments: Any, **options: Any) -> Future[Any]:
        """Start a call of a module's function somewhere. Its result must be small; an error is raised by the future."""
        piece = task(name="piece", task_run_name="piece", cache_policy=NO_CACHE, persist_result=False)(_do)
        prefect_future: Any = self._runner.submit(piece, {"call": _Call(work, arguments, options)})
        future: Future[Any] = Future()

        def settle(finished: Future[State[Any]]) -> None:
            if future.set_running_or_notify_cancel():
                try:
                    future.set_result(finished.result().result(raise_on_failure=True))
                except BaseException as failure:
                    future.set_exception(failure)

        prefect_future.wrapped_future.future().add_done_callback(settle)
        return future

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """Leave the cluster; one that was started here ends, with what runs on it."""
        self._runner.__exit__(None, None, None)


class _Call:
    """A call and its arguments. Not a collection: Prefect would look into each of thousands of rows."""

    def __init__(self, work: Callable[..., Any], arguments: tuple[Any, ...], options: dict[str, Any]):
        self.work, self.arguments, self.options = work, arguments, options


def _do(call: _Call) -> Any:
    return call.work(*call.arguments, **call.options)
