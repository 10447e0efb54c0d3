"""Tests of a running stage's progress, plots and log lines, on a real Prefect server."""

from __future__ import annotations

import pytest
from prefect import flow
from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import ArtifactFilter, ArtifactFilterFlowRunId

from flows import live
from tasks.artifacts.stage import Progress


@pytest.mark.parametrize(
    ("age", "figures", "artifacts"),
    [(0.0, {}, []), (3600.0, {}, ["progress-toy"]), (0.0, {"loss": 1.0}, ["progress-toy"])],
    ids=["short", "long", "training"],
)
def test_a_stage_that_lasts_or_trains_is_shown_even_if_it_ends_before_the_next_look(
    prefect_api, monkeypatch, age, figures, artifacts
):
    """And any other that is over at once is not."""
    monkeypatch.setattr(live, "SHOW_EVERY", 3600.0)

    @flow(name="shown")
    def run() -> None:
        with live.Reporter("toy") as report:
            report._began -= age
            report(Progress(1, 2, "step", figures))

    state = run(return_state=True)
    of_the_run = ArtifactFilter(flow_run_id=ArtifactFilterFlowRunId(any_=[state.state_details.flow_run_id]))
    with get_client(sync_client=True) as client:
        assert [artifact.key for artifact in client.read_artifacts(artifact_filter=of_the_run)] == artifacts


def test_the_losses_of_earlier_attempts_are_drawn_too_and_no_progress_passes_the_whole(prefect_api, monkeypatch):
    """As after a resume: the first report has a past. And an estimate of the whole may have been too small."""
    monkeypatch.setattr(live, "SHOW_EVERY", 3600.0)

    @flow(name="resumed")
    def run() -> None:
        with live.Reporter("toy") as report:
            report._began -= 3600
            past = {"loss": [(10, 3.0), (20, 2.0)], "eval_loss": [(20, 2.5)]}
            report(Progress(20, 30, "step", past=past))
            report(Progress(33, 30, "step", {"loss": 1.0}))

    state = run(return_state=True)
    of_the_run = ArtifactFilter(flow_run_id=ArtifactFilterFlowRunId(any_=[state.state_details.flow_run_id]))
    with get_client(sync_client=True) as client:
        made = {artifact.key: artifact for artifact in client.read_artifacts(artifact_filter=of_the_run)}
    assert made["progress-toy"].data == 100 and "33/30 100%" in made["progress-toy"].description
    expected = live.loss_picture("toy", {"loss": [(10, 3.0), (20, 2.0), (33, 1.0)], "eval_loss": [(20, 2.5)]})
    assert made["loss-toy"].data == expected
