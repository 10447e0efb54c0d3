"""Curves and scores for TensorBoard, written and read by its own package."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from flows import tracker
from flows.tracker import Tracker, tracker_problem
from tasks.artifacts.stage import Progress
from tasks.artifacts.store import Record, Store


def curve(folder: Path, name: str) -> list[tuple[int, float]]:
    """A curve as TensorBoard reads it."""
    from tensorboard.util import tensor_util

    read = EventAccumulator(str(folder))
    read.Reload()
    return [(event.step, round(float(tensor_util.make_ndarray(event.tensor_proto)), 5)) for event in read.Tensors(name)]


def made(stage: str, key: str, stats: dict[str, Any]) -> Record:
    return Record(
        key=key, digest=key, stage=stage, title="", identity={"stage": stage}, lineage={}, files=[], stats=stats, made={}, reproducibility="seeded"
    )  # fmt: skip


def at(step: int, **figures: float) -> Progress:
    return Progress(step, 40, "step", {"loss": 5 - step / 10, "eta": 9.0, **figures})


def test_a_killed_training_goes_on_in_its_curve_without_a_step_twice(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(tracker.FOLDER, str(tmp_path / "curves"))
    folder = tmp_path / "curves" / "tiny" / "pretrain-0123456789ab"
    killed = Tracker("tiny", "pretrain", "0123456789abcdef")
    for step in (5, 10, 15, 20, 25):  # the checkpoint was at 20
        killed(at(step))
    resumed = Tracker("tiny", "pretrain", "0123456789abcdef")
    resumed(
        Progress(20, 40, "step", past={"loss": [(step, 5 - step / 10) for step in (5, 10, 15, 20)], "eval_loss": [(20, 3.5)]})
    )
    for step in (25, 30, 30, 35, 40):
        resumed(at(step, **({"eval_loss": 1.5} if step == 40 else {})))
    steps = [5, 10, 15, 20, 25, 30, 35, 40]
    assert curve(folder, "loss") == [(step, 5 - step / 10) for step in steps]
    assert curve(folder, "eval_loss") == [(20, 3.5), (40, 1.5)]
    with pytest.raises(KeyError):
        curve(folder, "eta")


def test_an_artifact_that_is_there_is_drawn_from_its_log(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(tracker.FOLDER, str(tmp_path / "curves"))
    store = Store(tmp_path / "store")
    store.object("k" * 64).mkdir(parents=True)
    rows = [{"step": 10, "loss": 2.5, "grad_norm": 1.0}, {"step": 10, "eval_loss": 2.75}, {"step": 20, "loss": 2.25}]
    (store.object("k" * 64) / "log.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")
    for _ in range(2):  # a second run that reuses it adds nothing
        Tracker("tiny", "sft", "k" * 64).finish(made("sft", "k" * 64, {}), store)
    folder = tmp_path / "curves" / "tiny" / f"sft-{'k' * 12}"
    assert curve(folder, "loss") == [(10, 2.5), (20, 2.25)] and curve(folder, "eval_loss") == [(10, 2.75)]


def test_scores_of_an_evaluation_are_a_figure_of_each_model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(tracker.FOLDER, str(tmp_path / "curves"))
    scores = {
        "bits_per_byte": {"all": {"value": 1.5}},
        "questions": {"all": {"accuracy": 0.625}},
        "preference": None,
        "facts": None,
        "generation": None,
    }
    record = made("evaluate", "e" * 64, {"models": {"pretrain": scores, "sft": scores | {"preference": {"accuracy": 0.75}}}})
    Tracker("tiny", "evaluate", "e" * 64).finish(record, Store(tmp_path / "store"))
    home = tmp_path / "curves" / "tiny" / f"evaluate-{'e' * 12}"
    assert curve(home / "pretrain", "evaluation/bits a byte") == [(0, 1.5)]
    assert curve(home / "sft", "evaluation/better answer likelier") == [(1, 0.75)]


def test_it_is_off_by_default_and_its_trouble_stops_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.delenv(tracker.FOLDER, raising=False)
    Tracker("tiny", "pretrain", "k")(at(5))
    (tmp_path / "a file").write_text("")
    monkeypatch.setenv(tracker.FOLDER, str(tmp_path / "a file"))
    one = Tracker("tiny", "pretrain", "k")
    one(at(5))
    one(at(10))
    assert caplog.text.count("the run goes on without it") == 1 and not tracker_problem()
    monkeypatch.setattr(tracker, "find_spec", lambda name: None)
    assert "pip install 'hanlin[track]'" in tracker_problem()
