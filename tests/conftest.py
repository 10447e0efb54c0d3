"""Fixtures and settings that several test files share. One Prefect server, in memory, serves each of the processes that run them."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

os.environ.setdefault("OMP_NUM_THREADS", "1")  # the suite runs on two processes, and threads that wait for a core wait long

# how long an example takes to make or to try says what else the machine does, and nothing of the code
settings.register_profile("hanlin", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("hanlin")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Files with slow tests go first: a process left alone with one at the end is what a run waits for."""
    slow = {item.path for item in items if item.get_closest_marker("slow")}
    items.sort(key=lambda item: item.path not in slow)


@pytest.fixture(scope="session")
def real_data() -> Path:
    """The folder of real Chinese files that HANLIN_REAL_DATA names."""
    folder = os.environ.get("HANLIN_REAL_DATA")
    if not folder:
        pytest.skip("HANLIN_REAL_DATA is not set; it names a folder of real Chinese files")
    return Path(folder)


@pytest.fixture(scope="session")
def prefect_api(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A real Prefect server on an in-memory database (about 7 s to start), with the settings that make a flow run cost 0.1 s."""
    from prefect.settings import (
        PREFECT_API_URL,
        PREFECT_FLOWS_HEARTBEAT_FREQUENCY,
        PREFECT_HOME,
        temporary_settings,
    )

    from flows.server import _deliver, own_server

    memory = "sqlite+aiosqlite:///file::memory:?cache=shared&uri=true&check_same_thread=false"
    home = str(tmp_path_factory.mktemp("prefect"))
    with temporary_settings({PREFECT_HOME: home, PREFECT_FLOWS_HEARTBEAT_FREQUENCY: None}), ExitStack() as stack:
        with pytest.MonkeyPatch.context() as environment:  # the server's own, and nobody else's
            environment.setenv("PREFECT_HOME", home)
            environment.setenv("PREFECT_SERVER_DATABASE_CONNECTION_URL", memory)
            url = stack.enter_context(own_server())
        stack.enter_context(temporary_settings({PREFECT_API_URL: url}))
        yield url
        _deliver()  # what is still on its way to it, while it is there
