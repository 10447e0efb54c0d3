"""The experiment tracker: curves of trainings and figures of evaluations for TensorBoard, where HANLIN_TENSORBOARD names a folder.

`<folder>/<recipe>/<stage>-<key>` holds an artifact's curves, which are complete at every moment and have no step twice: a training that is gone
on with begins its file anew, with what it has from before, and once it is done, the artifact's own log takes their place.
"""

from __future__ import annotations

import json
import logging
import os
import shutil
from collections.abc import Iterable, Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from tasks.artifacts.stage import Progress
from tasks.artifacts.store import Record, Store

FOLDER = "HANLIN_TENSORBOARD"
TIMES = ("eta",)  # figures of progress that are no curve
SCORES = {  # of a model's evaluation: name of the curve → where its figure stands
    "facts told right": ("facts", "all", "accuracy"),
    "right choice likeliest": ("questions", "all", "accuracy"),
    "better answer likelier": ("preference", "accuracy"),
    "bits a byte": ("bits_per_byte", "all", "value"),
    "answers that end": ("generation", "stop_rate"),
}
Point = tuple[str, float, int]  # curve, value, step


class Tracker:
    """The curves of one artifact, in a folder of their own. Without HANLIN_TENSORBOARD it does nothing; trouble with it never stops a stage."""

    def __init__(self, recipe: str, name: str, key: str):
        self.home = Path(os.environ[FOLDER]).absolute() / recipe / f"{name}-{key[:12]}" if os.environ.get(FOLDER) else None
        self._log = logging.getLogger(f"hanlin.{name}")
        self._writer: Any = None
        self._reached: dict[str, int] = {}  # curve → its last step

    def __call__(self, now: Progress) -> None:
        """Add what a stage that trains tells of its progress."""
        if self.home is None or not (now.past or "loss" in now.figures or "eval_loss" in now.figures):
            return
        try:
            if self._writer is None:
                self._begin(self.home)
            past = ((name, value, int(step)) for name, points in now.past.items() for step, value in points)
            self._add(past)
            self._add((name, value, int(now.done)) for name, value in now.figures.items() if name not in TIMES)
        except OSError as failure:
            self._give_up(failure)

    def finish(self, record: Record, store: Store) -> None:
        """Put the curves of an artifact's log, and the figures of an evaluation, in place of what there is."""
        points = list(_curves(store.object(record.key) / "log.jsonl"))
        models = record.stats.get("models", {}) if record.identity["stage"] == "evaluate" else {}
        if self.home is None or not (points or models):
            return
        try:
            self._close()
            if points:
                self._begin(self.home)
                self._add(points)
                self._close()
            for place, (model, scores) in enumerate(models.items()):
                self._begin(self.home / model)
                self._add((f"evaluation/{name}", value, place) for name, value in _scores(scores))
                self._close()
        except OSError as failure:
            self._give_up(failure)

    def _begin(self, home: Path) -> None:
        from tensorboard.summary import Writer

        shutil.rmtree(home, ignore_errors=True)
        self._writer, self._reached = Writer(str(home)), {}

    def _add(self, points: Iterable[Point]) -> None:
        for name, value, step in points:
            if self._writer is not None and step > self._reached.get(name, -1):
                self._reached[name] = step
                self._writer.add_scalar(name, float(value), step)
        if self._writer is not None:
            self._writer.flush()  # for those who watch, and against a kill

    def _close(self) -> None:
        if self._writer is not None:
            self._writer.close()
        self._writer = None

    def _give_up(self, failure: OSError) -> None:
        self._log.warning("%s: TensorBoard's file cannot be written (%s); the run goes on without it", self.home, failure)
        self.home = self._writer = None


def tracker_problem() -> str:
    """The reason why a tracker that is asked for cannot work; empty where it can, or none is."""
    if os.environ.get(FOLDER) and not find_spec("tensorboard"):
        return f"{FOLDER} is set, and the package tensorboard is not installed: pip install 'hanlin[track]', or unset {FOLDER}"
    return ""


def _curves(log: Path) -> Iterator[Point]:
    """The figures of a training's log, a line of JSON for each step that has some."""
    for line in log.read_text("utf-8").splitlines() if log.is_file() else ():
        row = json.loads(line)
        yield from (
            (name, value, row["step"]) for name, value in row.items() if name != "step" and isinstance(value, int | float)
        )


def _scores(scores: dict[str, Any]) -> Iterator[tuple[str, float]]:
    for name, path in SCORES.items():
        figure: Any = scores
        for part in path:
            figure = (figure or {}).get(part)
        if figure is not None:
            yield name, figure
