"""The progress of a running stage, for people: a progress artifact, a plot of the losses, lines in the run's log.

A thread of its own sends the latest figures to Prefect, so a server that is slow or away never holds up training.
"""

from __future__ import annotations

import base64
import contextvars
import logging
import threading
import time
from collections.abc import Callable
from typing import Any

from prefect.artifacts import create_image_artifact, create_progress_artifact, update_progress_artifact
from prefect.client.orchestration import get_client
from prefect.client.schemas.actions import ArtifactUpdate

from flows.server import watched
from tasks.artifacts.stage import Progress
from tasks.pages import plots

LOG_EVERY = 10.0  # seconds between progress lines in the run's log; the first comes as soon as there is something to show, and the last at the end
SHOW_EVERY = 2.0  # seconds between updates of the progress artifact (each costs client and server about 50 ms of a core)
UNWATCHED = 60.0  # the same where the server has no page to look at and ends with the run: the terminal has a line of its own
PLOT_EVERY = 10.0  # seconds between drawings of the losses, and a hundred times what one took, whichever is more
CURVES = {"loss": "training", "eval_loss": "validation"}  # figures that are drawn, and what they are called

watchers: list[Callable[[str, Progress], None]] = []  # called at every step, such as the terminal's live line


class Reporter:
    """The receiver of a stage's progress: it passes it on to the run's log, its artifacts and the watchers, each at its own pace."""

    def __init__(self, name: str):
        self.name = name
        self._log = logging.getLogger(f"hanlin.{name}")
        self._began = time.monotonic()
        self._logged = self._began + SHOW_EVERY - LOG_EVERY
        self._latest: Progress | None = None
        self._told: Progress | None = None
        self._lasts = False  # long enough to be shown, even if it ends before the next look
        self._points: dict[str, list[tuple[float, float]]] = {figure: [] for figure in CURVES}
        self._progress: Any = None
        self._plot: Any = None
        self._plotted, self._drawing = 0.0, 0.0
        self._done = threading.Event()
        self._show_every = SHOW_EVERY if watched() else UNWATCHED
        # the thread has this run's context, so what it makes belongs to the run and its task
        self._thread = threading.Thread(target=contextvars.copy_context().run, args=(self._keep_showing,), daemon=True)

    def __enter__(self) -> Reporter:
        self._thread.start()
        return self

    def __exit__(self, *exc: object) -> None:
        if self._latest is not None and self._latest is not self._told and self._lasts:
            self._tell(self._latest)
        self._done.set()
        self._thread.join(timeout=30)

    def __call__(self, now: Progress) -> None:
        for watcher in watchers:
            watcher(self.name, now)
        for figure, points in self._points.items():
            points += now.past.get(figure, ())
            if figure in now.figures:
                points.append((now.done, now.figures[figure]))
        clock, self._latest = time.monotonic(), now
        self._lasts = clock - self._began >= SHOW_EVERY
        if clock - self._logged >= LOG_EVERY:
            self._logged = clock
            self._tell(now)

    def _tell(self, now: Progress) -> None:
        self._told = now
        self._log.info(progress_line(now), extra={"live": True})

    @property
    def _shown(self) -> bool:
        """True of a stage that people can see: one that lasts, and each training, however short."""
        return bool(self._progress or self._lasts or self._points["loss"])

    def _keep_showing(self) -> None:
        previous: Progress | None = None
        while True:
            last = self._done.wait(self._show_every)
            now = self._latest
            if now is not None and (now is not previous or last) and (self._shown or not last):
                previous = now
                try:
                    self._show(now)
                    self._draw(last)
                except Exception as failure:  # the server's trouble is not the stage's
                    self._log.debug("progress could not be sent to the server: %s", failure)
            if last:
                return

    def _show(self, now: Progress) -> None:
        percent = 100 * now.share
        if self._progress is None:
            self._progress = create_progress_artifact(percent, key=f"progress-{self.name}", description=progress_line(now))
        else:
            update_progress_artifact(self._progress, progress=percent, description=progress_line(now))

    def _draw(self, last: bool) -> None:
        if len(self._points["loss"]) < 2 or (
            not last and time.monotonic() - self._plotted < max(PLOT_EVERY, 100 * self._drawing)
        ):
            return
        started = time.monotonic()
        picture = loss_picture(self.name, self._points)
        self._plotted, self._drawing = time.monotonic(), time.monotonic() - started
        if self._plot is None:
            self._plot = create_image_artifact(picture, key=f"loss-{self.name}", description=f"# Loss of {self.name}")
        else:
            with get_client(sync_client=True) as client:
                client.update_artifact(self._plot, ArtifactUpdate(data=picture))


def loss_picture(name: str, points: dict[str, list[tuple[float, float]]]) -> str:
    """The losses so far as a picture inside an address (`data:image/svg+xml;…`)."""
    lines = [
        plots.Line(
            CURVES[figure],
            [step for step, _ in series],
            [value for _, value in series],
            colour,
            "points" if len(series) < 3 else "line",
        )
        for colour, (figure, series) in enumerate(points.items(), 1)
        if series
    ]
    svg = plots.standalone(plots.curves(f"loss-{name}", lines, y="loss"))
    return f"data:image/svg+xml;base64,{base64.b64encode(svg.encode()).decode()}"


def progress_line(now: Progress) -> str:
    """`step 120/400 30%  loss 3.214  lr 1.0e-02  8.1k tok/s  ETA 0:41`"""
    parts = [
        f"{now.unit} {now.done:,.0f}/{now.total:,.0f} {100 * now.share:.0f}%" if now.total else f"{now.unit} {now.done:,.0f}"
    ]
    for name, value in now.figures.items():
        if name == "eta":
            parts.append(f"ETA {clock(value)}")
        elif name == "tokens_per_second":
            parts.append(f"{value / 1000:.1f}k tok/s")
        elif name == "lr":
            parts.append(f"lr {value:.1e}")
        else:
            parts.append(f"{name.replace('_', ' ')} {value:.4g}")
    return "  ".join(parts)


def clock(seconds: float) -> str:
    """`0:41`, `2:05:00`"""
    minutes, rest = divmod(int(seconds), 60)
    return f"{minutes}:{rest:02d}" if minutes < 60 else f"{minutes // 60}:{minutes % 60:02d}:{rest:02d}"
