"""`hanlin status`, `runs`, `logs` and `cancel` against a real Prefect server, and without one."""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from flows import run_commands, runs_api
from tasks.artifacts.store import Store


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Store:
    monkeypatch.setenv("HANLIN_STORE", str(tmp_path / "store"))
    (tmp_path / "store").mkdir()
    return Store(tmp_path / "store")


def until(said: Callable[[], str], *wanted: str) -> str:
    """What a command says once it has all that is wanted: Prefect learns of tasks and logs a little later."""
    for _ in range(60):
        if all(one in (text := said()) for one in wanted):
            return text
        time.sleep(0.5)
    raise AssertionError(f"{wanted} not in\n{text}")


def test_a_run_is_seen_while_it_goes_on_and_when_it_failed(
    prefect_api: str, home: Store, capsys: pytest.CaptureFixture[str]
) -> None:
    from prefect import flow, get_run_logger, task
    from prefect.artifacts import create_progress_artifact

    def says(command: Callable[..., None], *arguments: Any, **options: Any) -> str:
        capsys.readouterr()
        command(*arguments, **options)
        return capsys.readouterr().out

    @task(name="pretrain", task_run_name="pretrain · Pretraining")
    def pretrain() -> None:
        create_progress_artifact(30.0, key="progress-pretrain", description="step 3/10 30%  loss 3.21  ETA 0:41")
        shown = until(lambda: says(run_commands.status), "pretrain (0 done)", "loss 3.21", "ETA 0:41")
        assert "watched-77" in shown and "Running" in shown and "\nworker " in shown and str(home.root) in shown
        with pytest.raises(ValueError, match="runs in a terminal; press Ctrl-C there"):
            run_commands.cancel("watched-77")

    @flow(name="pipeline", flow_run_name="watched-77")
    def pipeline() -> None:
        get_run_logger().info("going on from step 3")
        pretrain()
        raise ValueError("the disk is full")

    pipeline(return_state=True)
    shown = " ".join(says(run_commands.runs).split())  # names of other runs may leave the reason a narrow column
    assert "Failed" in shown and "the disk is full" in shown
    until(lambda: says(run_commands.logs, "watched-77"), "going on from step 3", "INFO", "ERROR")
    assert "going on from" not in says(run_commands.logs, "last", level="error")
    found = json.loads(says(run_commands.runs, as_json=True))["runs"][0]
    assert (found["name"], found["kind"]) == ("watched-77", "FAILED")
    assert found["id"][-8:] in says(run_commands.runs, limit=1)
    assert runs_api.Runs(prefect_api).find(found["id"][-8:]).name == "watched-77"
    for wrong, told in {"watched-78": "hanlin runs", "watched-77": "has ended already: Failed"}.items():
        with pytest.raises(ValueError, match=told):
            run_commands.cancel(wrong)
    with pytest.raises(ValueError, match="there is no such level"):
        run_commands.logs("last", level="loud")


def test_a_run_that_waits_is_cancelled(prefect_api: str, home: Store, capsys: pytest.CaptureFixture[str]) -> None:
    from prefect import flow
    from prefect.client.orchestration import get_client
    from prefect.states import Scheduled

    @flow(name="corpus", flow_run_name="waits")
    def corpus() -> None:
        raise AssertionError("it is cancelled before")

    with get_client(sync_client=True) as client:
        run = client.create_flow_run(
            corpus, state=Scheduled(scheduled_time=datetime.now(UTC) + timedelta(hours=2)), name="waits-5"
        )
        many = [str(client.create_flow_run(corpus, name=f"one of many {number}").id) for number in range(17)]
    start = Counter(id[0] for id in many).most_common(1)[0][0]  # of 17, two begin alike
    with pytest.raises(ValueError, match=r"may be any of \d+ runs: .+ \([0-9a-f]{8}\)"):
        runs_api.Runs(prefect_api).find(start)
    run_commands.status()
    assert "wait for their time" in capsys.readouterr().out
    run_commands.cancel("waits-5")
    assert f"waits-5 ({str(run.id)[-8:]}): Cancelled" in capsys.readouterr().out


def test_without_a_server_the_store_tells_what_it_knows(
    home: Store, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("PREFECT_API_URL", "http://127.0.0.1:9/api")
    run_commands.status()
    assert "hanlin run sample" in capsys.readouterr().out
    home.note_run("abcdef0123", "tiny", {"sample": "k1", "split": "k2"})
    with home.lease("run-abcdef0123"):
        run_commands.status()
        shown = capsys.readouterr().out
    assert "`hanlin up`" in shown and "Running" in shown and "split" in shown
    run_commands.runs()
    assert "Stopped" in capsys.readouterr().out
    with pytest.raises(ValueError, match=r"no Prefect server answers at http://127.0.0.1:9/api; `hanlin up` starts one"):
        run_commands.logs("last")
