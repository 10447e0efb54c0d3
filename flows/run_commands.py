"""The commands about runs: `hanlin status`, `runs`, `logs` and `cancel`."""

from __future__ import annotations

import json
import shutil
import time
from dataclasses import asdict
from datetime import datetime
from typing import TYPE_CHECKING, Annotated

import typer

from flows.console import store, table

if TYPE_CHECKING:
    from flows.runs_api import Run, Runs

RunName = Annotated[str, typer.Argument(metavar="RUN", help="A run: its name, the beginning or end of its id, or `last`")]
AsJson = Annotated[bool, typer.Option("--json", help="Print the result as one line of JSON, for scripts")]

LOOK = 2.0  # seconds between two looks at a run that goes on
END = 60.0  # seconds that a cancelled run is waited for
LEVELS = {"debug": 10, "info": 20, "warning": 30, "error": 40}


def status(as_json: AsJson = False) -> None:
    """Show what is going on: server and worker, the store, the runs under way with their stage and progress, and what ended last."""
    from flows.runs_api import ACTIVE, ENDED, noted_runs, server

    runs, home = server(), store()
    if runs is None:
        noted = noted_runs(home)
        if as_json:
            print(json.dumps({"server": None, "store": str(home.root), "runs": noted[:20]}, ensure_ascii=False))
            return
        print("server   none answers; `hanlin up` starts one with its UI. What the store knows of runs:")
        print(f"store    {_stored()}\n")
        table(noted[:5]) if noted else print("no runs yet; `hanlin run sample` starts the first")
        return
    active, latest = runs.latest(50, ACTIVE), runs.latest(3, ENDED)
    workers = _workers(runs)
    if as_json:
        told = [asdict(run) | dict(zip(("stage", "progress"), runs.stage(run), strict=True)) for run in active]
        facts = {"server": runs.url, "workers": workers, "store": str(home.root), "active": told}
        print(json.dumps(facts | {"latest": [asdict(run) for run in latest]}, ensure_ascii=False))
        return
    print(f"server   {runs.url.removesuffix('/api')}")
    print(f"worker   {', '.join(workers) or 'none is there, so scheduled runs wait; `hanlin up` or `hanlin worker` starts one'}")
    print(f"store    {_stored()}\n")
    if active:
        table([_active(runs, run) for run in active])
    else:
        print("no run is under way")
    waiting = runs.latest(50, ("SCHEDULED",))
    if waiting:
        print(f"{len(waiting)} wait for their time; next: {min(waiting, key=lambda run: run.at).name}")
    if latest:
        print("\nlast:")
        _list(latest)


def runs(
    limit: Annotated[int, typer.Option(min=1, max=200, help="Number of latest runs to list")] = 20, as_json: AsJson = False
) -> None:
    """List the latest runs that have begun, newest first: name, state, start, duration, and why those that failed did."""
    from flows.runs_api import ACTIVE, ENDED, noted_runs, server

    if (there := server()) is None:
        noted = noted_runs(store())[:limit]
        if as_json:
            print(json.dumps({"server": None, "runs": noted}, ensure_ascii=False))
            return
        table(noted) if noted else print(f"no runs in {store().root}")
        print("\nFrom the store, since no Prefect server answers; `hanlin up` starts one, which has their logs and reasons.")
        return
    found = there.latest(limit, ACTIVE + ENDED)
    if as_json:
        print(json.dumps({"server": there.url, "runs": [asdict(run) for run in found]}, ensure_ascii=False))
    else:
        _list(found) if found else print(f"no runs on {there.url}; `hanlin run sample` starts the first")


def logs(
    run: RunName = "last",
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on until the run ends, or Ctrl-C")] = False,
    level: Annotated[str, typer.Option(help="Least level of the lines: debug, info, warning or error")] = "info",
) -> None:
    """Print the log of a run."""
    from flows.runs_api import required_server

    if level not in LEVELS:
        raise ValueError(f"--level {level}: there is no such level; levels: {', '.join(LEVELS)}")
    there = required_server()
    found, shown = there.find(run), 0
    try:
        while True:
            ended = there.find(found.id).ended
            for line in there.lines(found, shown, LEVELS[level]):
                shown += 1
                at = datetime.fromisoformat(line["timestamp"].replace("Z", "+00:00")).astimezone()
                name = line["name"].removeprefix("hanlin.").removeprefix("prefect.")
                word = next(word for word, least in reversed(LEVELS.items()) if line["level"] >= least or least == 10)
                print(f"{at:%H:%M:%S} {word.upper():<7} {name:<16} {line['message']}", flush=True)
            if ended or not follow:
                break
            time.sleep(LOOK)
    except KeyboardInterrupt:
        return
    if not shown:
        print(f"{found.name} ({found.short}) has no lines in its log")


def cancel(run: RunName) -> None:
    """Cancel a run that is under way or waits. What it finished is kept, and the same recipe goes on from there."""
    from flows.runs_api import required_server

    there = required_server()
    found = there.find(run)
    if found.ended:
        raise ValueError(f"{found.name} ({found.short}) has ended already: {found.state}")
    if found.deployment is None and found.kind != "SCHEDULED":
        raise ValueError(f"{found.name} ({found.short}) runs in a terminal; press Ctrl-C there, which keeps what is finished")
    there.cancel(found)
    until = time.monotonic() + END
    while not (now := there.find(found.id)).ended and time.monotonic() < until:
        time.sleep(0.5)
    if now.ended:
        print(f"{found.name} ({found.short}): {now.state}")
    else:
        print(f"{found.name} ({found.short}) is asked to end, and its worker has not said yet that it did; `hanlin status` tells")


def _active(runs: Runs, run: Run) -> dict[str, str]:
    stage, progress = runs.stage(run)
    about = progress or run.why
    return {
        "run": run.short,
        "name": run.name,
        "flow": run.flow,
        "state": run.state,
        "stage": stage,
        "progress": about,
        "started": run.age,
    }


def _list(runs: list[Run]) -> None:
    from flows.run_plan import duration

    table(
        [
            {
                "run": run.short,
                "name": run.name,
                "flow": run.flow,
                "state": run.state,
                "started": run.when,
                "took": duration(run.took),
                "why": run.why if run.kind != "COMPLETED" or run.state != "Completed" else "",
            }
            for run in runs
        ]
    )


def _workers(runs: Runs) -> list[str]:
    try:
        return runs.workers()
    except ValueError:  # the server has no pool of ours: nobody has run `hanlin up` with it
        return []


def _stored() -> str:
    home = store()
    size = sum(record.bytes for record in home.records() if not record.collected)
    free = shutil.disk_usage(home.root if home.root.exists() else home.root.parent).free
    return f"{home.root}, {size / 1e9:,.2f} GB of results, {free / 1e9:,.0f} GB of the disk free"
