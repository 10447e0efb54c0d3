"""Fixtures and settings that several test files share. One Prefect server, in memory, serves each of the processes that run them."""

from __future__ import annotations

import gc
import os
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

os.environ.setdefault("OMP_NUM_THREADS", "1")  # the suite runs on two processes, and threads that wait for a core wait long

# how long an example takes to make or to try says what else the machine does, and nothing of the code
settings.register_profile("search", deadline=None, suppress_health_check=[HealthCheck.too_slow])  # --hypothesis-profile=search
settings.register_profile("hanlin", settings.get_profile("search"), derandomize=True)
settings.load_profile("hanlin")

gc.disable()  # until everything is imported: there is no garbage among modules

SECONDS = "hanlin/seconds"  # in pytest's cache: how long the tests of a file took
_seconds: Counter[str] = Counter()  # of this run


def pytest_configure(config: pytest.Config) -> None:
    """The process that the suite begins with starts the one that forks programs (tests/forks.py); both of its workers ask it."""
    from tests import forks

    if sys.platform != "linux":
        return
    if not hasattr(config, "workerinput"):
        stack = ExitStack()
        stack.enter_context(forks.forking())
        config.add_cleanup(stack.close)
    forks.adopt()


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """The files that took longest in the last run go first, or those with slow tests: a process left alone with one is what a run waits for."""
    slow = {item.path for item in items if item.get_closest_marker("slow")}
    cache = getattr(config, "cache", None)  # it may be switched off
    last = cache.get(SECONDS, {}) if cache else {}
    items.sort(key=lambda item: (-last.get(item.nodeid.split("::")[0], 0.0), item.path not in slow))


def pytest_collection_finish() -> None:
    """What is imported by now stays, so no collection of garbage looks at it again: it takes a third of a second, and each training asks for one."""
    gc.collect()
    gc.freeze()
    gc.enable()


def pytest_unconfigure() -> None:
    gc.unfreeze()  # libraries that count their objects at the end


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    _seconds[report.nodeid.split("::")[0]] += report.duration


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """What is slow, file by file; kept for the order of the next run."""
    if cache := getattr(config, "cache", None):
        cache.set(SECONDS, cache.get(SECONDS, {}) | _seconds)
    terminalreporter.section("slowest 10 files")
    for name, seconds in _seconds.most_common(10):
        terminalreporter.write_line(f"{seconds:.2f}s {name}")


@pytest.fixture(scope="session")
def real_data() -> Path:
    """The folder of real Chinese files that HANLIN_REAL_DATA names."""
    folder = os.environ.get("HANLIN_REAL_DATA")
    if not folder:
        pytest.skip("HANLIN_REAL_DATA is not set; it names a folder of real Chinese files")
    return Path(folder)


@pytest.fixture(scope="module")
def small_presets() -> Iterator[None]:
    """Small models by the names of the smallest presets, for the tests of a file that train in this process (tests/small.py)."""
    from tests import small

    with small.known(small.SMALL):
        yield


@pytest.fixture
def true_presets() -> Iterator[None]:
    """The presets as recipes know them, for a test in such a file."""
    from tests import small

    with small.known(small.TRUE):
        yield


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
