"""The upkeep flow: it verifies the store, removes what nothing needs, and forecasts the disk. Run it with `hanlin upkeep`, or on its schedule.

Artifacts that are tagged, needed for a rollback, leased or in use stay, whatever the settings say.
"""

from __future__ import annotations

import datetime
import logging
import shutil
import time
from typing import Annotated, Any

from prefect import flow, task
from prefect.artifacts import create_markdown_artifact, create_table_artifact
from prefect.cache_policies import NO_CACHE
from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import FlowRunFilter
from prefect.client.schemas.objects import State
from prefect.client.schemas.sorting import FlowRunSort
from prefect.states import Completed, Failed
from pydantic import Field

from flows.execution import reports_mistakes
from flows.run_names import flow_and_differences, keeps_typed_name
from tasks.artifacts.forecast import Forecast, forecast
from tasks.artifacts.garbage import Garbage, collect
from tasks.artifacts.store import Store, store_folder

TABLE_ROWS = 500  # most rows of a table: the UI draws them all
DAY = 86400.0

Days = Annotated[float, Field(ge=0)]
Runs = Annotated[int, Field(ge=0)]


@flow(name="upkeep", flow_run_name=keeps_typed_name(flow_and_differences), persist_result=False, validate_parameters=False)
@reports_mistakes
def upkeep(
    dry_run: bool = False,
    verify: bool = True,
    keep_runs: Runs = 5,
    keep_earlier: Runs = 1,
    scratch_days: Days = 14.0,
    candidate_days: Days = 30.0,
    flow_run_days: Days = 0.0,
    warn_days: Days = 14.0,
) -> State[Any]:
    """Verifies every artifact, lists and removes those that nothing needs, and forecasts when the disk is full.

    Args:
        dry_run: List what would be removed, and remove nothing.
        verify: Read every file again and compare its hash with the recorded one; without it, only files that were changed since are read. A damaged
            artifact fails this run; the next run that needs it builds it again.
        keep_runs: Number of latest runs whose artifacts are kept.
        keep_earlier: Number of earlier artifacts of each tag that are kept, for a rollback.
        scratch_days: Days for which unfinished shards and checkpoints are kept after their last change.
        candidate_days: Days for which re-trained models that were refused are kept.
        flow_run_days: Age in days from which finished flow runs are removed from the Prefect server; 0: they are all kept.
        warn_days: Fail this run, so that notifications on failed runs are sent, if the disk will be full within this number of days.
    """
    store, log = Store(store_folder()), logging.getLogger("hanlin.upkeep")
    damaged = _damaged(store, deep=verify)
    if not dry_run:
        _forget_candidates(store, candidate_days)
    rules = {"keep_runs": keep_runs, "keep_earlier": keep_earlier, "scratch_days": scratch_days}
    planned = _collected(store, dry_run=True, **rules)
    removed = [] if dry_run else _collected(store, dry_run=False, **rules)
    pruned = 0 if dry_run or not flow_run_days else _pruned(flow_run_days)
    space = _forecast(store)
    freed = sum(piece.bytes for piece in planned if dry_run) or sum(piece.bytes for piece in removed)
    sentences = [
        f"{len(damaged)} artifacts are damaged"
        if damaged
        else "every artifact is whole"
        if verify
        else "no file is missing or was changed",
        f"{freed / 1e6:,.1f} MB {'would be' if dry_run else 'were'} freed",
        space.line,
        *([f"{pruned} flow runs were removed from Prefect"] if pruned else []),
    ]
    message = "; ".join(sentences)
    log.info(message)
    outcome = {"damaged": damaged, "freed": freed, "pieces": len(planned if dry_run else removed), "forecast": vars(space)}
    soon = space.days is not None and space.days < warn_days
    if damaged or soon:
        return Failed(message=f"{'the disk is nearly full; ' if soon else ''}{message}", data=outcome)
    return Completed(message=message, data=outcome)


def _task(name: str, work: Any) -> Any:
    """A step as a task run, so that the run's page shows it with its time."""
    return task(name=name, task_run_name=name, cache_policy=NO_CACHE, persist_result=False)(work)()


def _damaged(store: Store, *, deep: bool) -> list[str]:
    """The damage of every artifact, a line each, as a step of the run. `deep` reads every byte; else only files that were changed
    since they were last read."""

    def work() -> list[str]:
        records = [record for record in store.records() if not record.collected]
        rows, every_problem = [], []
        for record in records:
            problems = list(store.problems(record, deep=deep))
            every_problem += problems
            if problems:
                rows.append({"artifact": f"{record.stage} {record.key[:12]}", "what is wrong": "; ".join(problems)})
        total = sum(record.bytes for record in records)
        how = "read" if deep else "looked at, and read where a file was changed"
        about = f"# Verified\n{len(records)} artifacts, {total / 1e6:,.1f} MB {how}: {len(rows) or 'none'} damaged"
        if rows:
            create_table_artifact(rows[:TABLE_ROWS], key="upkeep-damaged", description=about)
        else:
            create_markdown_artifact(about, key="upkeep-damaged")
        return every_problem

    return _task("verify" if deep else "look", work)


def _collected(store: Store, *, dry_run: bool, **rules: Any) -> list[Garbage]:
    """The artifacts and remains that are removed, or in a dry run would be, as a step of the run."""
    name = "dry run" if dry_run else "collect"

    def work() -> list[Garbage]:
        pieces = collect(store, dry_run=dry_run, **rules)
        total = f"{len(pieces)} pieces, {sum(piece.bytes for piece in pieces) / 1e6:,.1f} MB"
        about = f"# {'Can be removed' if dry_run else 'Removed'}\n{total}"
        key = "upkeep-plan" if dry_run else "upkeep-collected"
        if pieces:
            largest = sorted(pieces, key=lambda piece: -piece.bytes)
            rows = [{"what": piece.what, "MB": f"{piece.bytes / 1e6:,.2f}"} for piece in largest[:TABLE_ROWS]]
            create_table_artifact(rows, key=key, description=about)
        else:
            create_markdown_artifact(about, key=key)
        return pieces

    return _task(name, work)


def _forget_candidates(store: Store, days: float) -> None:
    """Remove the tags of refused candidates that have not moved for so many days."""
    for tag, moves in store.tags().items():
        if tag.startswith("candidate@") and time.time() - moves[-1]["at"] > days * DAY:
            store.untag(tag)


def _forecast(store: Store) -> Forecast:
    """The forecast of the disk, as a step of the run."""

    def work() -> Forecast:
        space = forecast(store.records(), free=shutil.disk_usage(store.root if store.root.exists() else store.root.parent).free)
        create_table_artifact(
            space.rows(), key="upkeep-forecast", description=f"# The disk of the store\n`{store.root}`: {space.line}"
        )
        return space

    return _task("forecast", work)


def _pruned(days: float) -> int:
    """The number of finished flow runs, older than so many days, that were removed from Prefect."""

    def work() -> int:
        before = (datetime.datetime.now(datetime.UTC) - datetime.timedelta(days=days)).isoformat()
        old = FlowRunFilter.model_validate(
            {"end_time": {"before_": before}, "state": {"type": {"any_": ["COMPLETED", "FAILED", "CRASHED", "CANCELLED"]}}}
        )
        removed = 0
        with get_client(sync_client=True) as client:
            while runs := client.read_flow_runs(flow_run_filter=old, sort=FlowRunSort.END_TIME_DESC, limit=100):
                for run in runs:
                    client.delete_flow_run(run.id)
                removed += len(runs)
        return removed

    return _task("prune flow runs", work)
