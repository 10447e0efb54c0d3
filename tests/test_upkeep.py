"""The upkeep flow tells before it removes, leaves what is needed, finds damage, and forecasts the disk."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pytest
from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import ArtifactFilter, ArtifactFilterFlowRunId

from flows.upkeep import upkeep
from tasks.artifacts.forecast import DAY, forecast
from tasks.artifacts.store import Record, Store
from tests.toys import make_count


@pytest.fixture
def store(tmp_path: Path, prefect_api: str, monkeypatch: pytest.MonkeyPatch) -> Store:
    monkeypatch.setenv("HANLIN_STORE", str(tmp_path / "store"))
    return Store(tmp_path / "store")


def shown(state: Any) -> dict[str, str]:
    chosen = ArtifactFilter(flow_run_id=ArtifactFilterFlowRunId(any_=[state.state_details.flow_run_id]))
    with get_client(sync_client=True) as client:
        found = client.read_artifacts(artifact_filter=chosen)
    return {artifact.key: f"{artifact.description}\n{artifact.data}" for artifact in found}


def test_it_tells_removes_and_keeps_what_is_needed(store: Store) -> None:
    tagged, refused, idle = (make_count(store, upto=n).record for n in (1, 2, 3))
    store.tag("prod", tagged, "")
    store.tag("candidate@2026.01.01-000000", refused, "")

    look = upkeep(dry_run=True, keep_runs=0, candidate_days=0, return_state=True)
    assert look.is_completed() and store.find(idle.key) and store.tags()["candidate@2026.01.01-000000"]
    assert "every artifact is whole" in look.message and "would be freed" in look.message
    page = shown(look)
    assert idle.key[:12] in page["upkeep-plan"] and "upkeep-collected" not in page
    assert "none damaged" in page["upkeep-damaged"] and "days until it is full" in page["upkeep-forecast"]

    clean = upkeep(keep_runs=0, return_state=True)
    assert not store.find(idle.key) and store.find(refused.key) and store.find(tagged.key)
    page = shown(clean)
    assert idle.key[:12] in page["upkeep-plan"] and idle.key[:12] in page["upkeep-collected"]
    upkeep(keep_runs=0, candidate_days=0, return_state=True)
    assert not store.find(refused.key), "a refused candidate goes with its time"
    assert store.find(tagged.key) and list(store.tags()) == ["prod"]


def test_damage_fails_the_run_and_is_named(store: Store) -> None:
    record = make_count(store).record
    path = store.object(record.key) / "all.txt"
    path.chmod(0o644)
    path.write_text("0\n1\n9")
    state = upkeep(dry_run=True, return_state=True)
    assert state.is_failed() and "1 artifacts are damaged" in state.message
    assert "all.txt has other content" in shown(state)["upkeep-damaged"]


def test_a_look_reads_only_what_was_changed(store: Store) -> None:
    """And so costs next to nothing where all is as it was."""
    path = store.object(make_count(store).record.key) / "all.txt"
    was = path.stat()
    path.chmod(0o644)
    assert upkeep(dry_run=True, verify=False, return_state=True).is_completed()
    path.write_text("0\n1\n9"[: was.st_size])
    assert upkeep(dry_run=True, verify=False, return_state=True).is_failed()


def test_a_disk_that_is_nearly_full_fails_the_run(store: Store) -> None:
    make_count(store)
    state = upkeep(dry_run=True, warn_days=1e15, return_state=True)
    assert state.is_failed() and state.message.startswith("the disk is nearly full; every artifact is whole")


def test_finished_flow_runs_are_removed_when_they_are_old(store: Store) -> None:
    first = upkeep(dry_run=True, return_state=True).state_details.flow_run_id
    upkeep(flow_run_days=365, return_state=True)
    with get_client(sync_client=True) as client:
        assert client.read_flow_run(first)
    time.sleep(0.01)
    state = upkeep(flow_run_days=1e-9, return_state=True)
    assert "flow runs were removed from Prefect" in state.message
    with get_client(sync_client=True) as client:
        assert first not in [run.id for run in client.read_flow_runs(limit=200)]


def made(days_ago: float, size: int, *, collected: bool = False) -> Record:
    return Record(
        key=f"{days_ago}", digest="d", stage="s", title="", identity={}, lineage={}, files=[{"path": "x", "size": size, "sha256": ""}],
        stats={}, made={"finished": 1e9 - days_ago * DAY}, reproducibility="bitwise", collected=collected,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("records", "growth", "days"),
    [
        ([], 0, None),
        ([made(10, 500), made(5, 500)], 100, 50),  # since the first one
        ([made(40, 10**9), made(15, 3000)], 100, 50),  # the last 30 days
        ([made(0.1, 100)], 100, 50),  # a young store: a day at least
        ([made(10, 500), made(5, 700, collected=True), made(1, 500)], 100, 50),  # what has gone weighs nothing
        ([made(40, 10**9)], 0, None),
    ],
)
def test_the_forecast_continues_the_growth_of_the_last_days(records: list[Record], growth: float, days: float | None) -> None:
    found = forecast(records, free=5000, now=1e9)
    assert (found.growth, found.days) == pytest.approx((growth, days)) if days else (found.growth, found.days) == (growth, None)
    assert "does not grow" in found.line if days is None else "last 50 days" in found.line
