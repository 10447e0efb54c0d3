"""A node of the graph as a Prefect task: Cached where its artifact is in the store, Completed where it was built.

Prefect's own result cache stays off: its default key holds the run's id, and the store is the one truth.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from typing import Any

from prefect import Task, task
from prefect.artifacts import create_progress_artifact, create_table_artifact, update_progress_artifact
from prefect.cache_policies import NO_CACHE
from prefect.client.schemas.objects import State
from prefect.states import Completed

from flows.graph import Node
from flows.plan import duration
from tasks.build import Built, Drift, Input, build
from tasks.stage import Progress, Resources
from tasks.store import Record, Store

LOG_EVERY = 10.0  # seconds between progress lines in the run's log
SHOW_EVERY = 2.0  # seconds between updates of the progress artifact (each costs client and server about 50 ms of a core)

watchers: list[Callable[[str, Progress], None]] = []  # told of every step, such as the terminal's live line


def stage_task(
    node: Node, store: Store, inputs: dict[str, Input], resources: Resources, *, refresh: bool, drift: Drift, by: dict[str, str]
) -> Task[[], Any]:
    """The Prefect task of a node, named as the node is. Takes no arguments, so that Prefect has nothing to inspect or to store."""

    def run() -> State[Any]:
        with Reporter(node.name) as reporter:
            return _state(
                build(
                    store,
                    node.stage,
                    node.params,
                    inputs,
                    resources,
                    name=node.name,
                    refresh=refresh,
                    drift=drift,
                    progress=reporter,
                    run=by,
                )
            )

    return task(name=node.name, task_run_name=node.name, cache_policy=NO_CACHE, persist_result=False)(run)


def _state(built: Built) -> State[Any]:
    """Publish the record as a table and end in a state that says where the artifact came from."""
    record = built.record
    key = f"record-{record.stage}"
    create_table_artifact(_facts(built), key=key, description=f"# {record.title}\n`{record.key}`")
    log = logging.getLogger(f"hanlin.{record.stage}")
    seconds = duration(record.made["seconds"])
    if built.reused:
        message = f"reused {record.key[:12]}, which took {seconds}"
        log.info(message, extra={"done": "cached"})
        return Completed(name="Cached", message=f"{message}; its record is the artifact {key}", data=record.ref)
    pieces = record.made.get("shards", {"built": 0, "reused": 0})
    lent = f", {pieces['reused']} of {pieces['reused'] + pieces['built']} shards reused" if pieces["reused"] else ""
    message = f"built {record.key[:12]} in {seconds}, {record.bytes / 1e6:,.2f} MB{lent}"
    log.info(message, extra={"done": "built"})
    return Completed(message=f"{message}; its record is the artifact {key}", data=record.ref)


def _facts(built: Built) -> list[dict[str, str]]:
    """A stage's page in short: what went in, what came out, what was dropped and why, by which code."""
    record: Record = built.record
    made = record.made
    facts = [
        ("result", "reused" if built.reused else "built"),
        ("key", record.key),
        ("content digest", record.digest),
        ("stage version", str(record.identity["version"])),
        ("size", f"{record.bytes / 1e6:,.2f} MB in {len(record.files)} files"),
        ("took", duration(made["seconds"])),
        ("code", made.get("commit", "unknown")[:12] + (" with uncommitted changes" if made.get("dirty") else "")),
        ("made on", f"{made['host']}, {made['machine']}"),
    ]
    facts += [(f"from {role}", key[:12]) for role, key in record.lineage.items()]
    for source, counts in record.stats.get("funnel", {}).items():
        reasons = ", ".join(f"{reason} {count:,}" for reason, count in counts["dropped"].items())
        facts.append(
            (f"rows of {source}", f"{counts['in']:,} in, {counts['kept']:,} kept" + (f"; dropped: {reasons}" if reasons else ""))
        )
    facts += [(name, f"{value:,.6g}") for name, value in record.stats.items() if isinstance(value, int | float)]
    return [{"fact": name, "value": value} for name, value in facts]


class Reporter:
    """Takes a stage's progress to the run's log, to a progress artifact and to the watchers, each at its own pace."""

    def __init__(self, name: str):
        self.name = name
        self._log = logging.getLogger(f"hanlin.{name}")
        self._artifact: Any = None
        self._shown = self._logged = time.monotonic()
        self._latest: Progress | None = None
        self._lock = threading.Lock()

    def __enter__(self) -> Reporter:
        return self

    def __exit__(self, *exc: object) -> None:
        if self._artifact is not None and self._latest is not None:
            self._show(self._latest)

    def __call__(self, now: Progress) -> None:
        for watcher in watchers:
            watcher(self.name, now)
        with self._lock:
            clock, self._latest = time.monotonic(), now
            if clock - self._shown >= SHOW_EVERY:
                self._shown = clock
                self._show(now)
            if clock - self._logged >= LOG_EVERY:
                self._logged = clock
                self._log.info(line(now), extra={"live": True})

    def _show(self, now: Progress) -> None:
        percent = 100 * now.done / now.total if now.total else 0.0
        if self._artifact is None:
            self._artifact = create_progress_artifact(percent, key=f"progress-{self.name}", description=line(now))
        else:
            update_progress_artifact(self._artifact, progress=percent, description=line(now))


def line(now: Progress) -> str:
    """`step 120/400 30%  loss 3.214  lr 1.0e-02  8.1k tok/s  ETA 0:41`"""
    parts = [
        f"{now.unit} {now.done:,.0f}/{now.total:,.0f} {100 * now.done / now.total:.0f}%"
        if now.total
        else f"{now.unit} {now.done:,.0f}"
    ]
    for name, value in now.figures.items():
        if name == "eta":
            parts.append(f"ETA {int(value) // 60}:{int(value) % 60:02d}")
        elif name == "tokens_per_second":
            parts.append(f"{value / 1000:.1f}k tok/s")
        elif name == "lr":
            parts.append(f"lr {value:.1e}")
        else:
            parts.append(f"{name.replace('_', ' ')} {value:.4g}")
    return "  ".join(parts)
