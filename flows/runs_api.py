"""Runs as an operator wants to see them: asked of Prefect's API where a server runs, else read from the store."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import httpx

from flows import profile
from flows.run_plan import duration
from flows.server import GLANCE, healthy, known_server
from tasks.artifacts.lease import is_held
from tasks.artifacts.store import Store

ENDED = ("COMPLETED", "FAILED", "CRASHED", "CANCELLED")
ACTIVE = ("RUNNING", "PENDING", "PAUSED", "CANCELLING")
PAGE = 200  # the most rows that Prefect's API gives at once
NO_SERVER = "no Prefect server answers{at}; `hanlin up` starts one, or set PREFECT_API_URL to one that runs"


@dataclass(frozen=True)
class Run:
    """A run for people. `at`: when it started, or will start, in seconds since 1970; `took`: its seconds so far."""

    id: str
    name: str
    flow: str
    state: str  # Prefect's name for it, such as Running, or Promoted
    kind: str  # Prefect's type: RUNNING, COMPLETED, …
    at: float
    took: float
    why: str  # the first line of what its state says
    deployment: str | None = None

    @property
    def short(self) -> str:
        """The end of its id, which tells runs apart: ids of runs that are planned together begin alike."""
        return self.id[-8:]

    @property
    def ended(self) -> bool:
        """True once nothing more happens."""
        return self.kind in ENDED

    @property
    def when(self) -> str:
        """The time of its start, by this machine's clock."""
        return time.strftime("%m-%d %H:%M", time.localtime(self.at)) if self.at else "–"

    @property
    def age(self) -> str:
        """`3:10 min ago`, `in 2:00 h`."""
        passed = time.time() - self.at
        return f"{duration(passed)} ago" if passed >= 0 else f"in {duration(-passed)}"


class Runs:
    """The runs of a Prefect server. Its methods raise `ValueError` where the server refuses, `ConnectionError` where it is gone."""

    def __init__(self, url: str):
        self.url = url
        user, _, password = (profile.auth() or "").partition(":")
        self.client = httpx.Client(base_url=url, auth=(user, password) if user else None, timeout=20)
        self._flows: dict[str, str] = {}

    def ask(self, path: str, **body: Any) -> Any:
        """The answer to a POST."""
        try:
            answer = self.client.post(path, json=body)
        except httpx.TransportError as failure:
            raise ConnectionError(0, f"the Prefect server does not answer ({failure})", self.url) from None
        if answer.status_code in (401, 403):
            raise ValueError(f"the Prefect server at {self.url} wants a password; set HANLIN_PASSWORD to it")
        if answer.is_error:
            raise ValueError(f"the Prefect server at {self.url} refuses ({answer.status_code}): {answer.text[:300]}")
        return answer.json()

    def latest(self, limit: int = 20, kinds: tuple[str, ...] = ()) -> list[Run]:
        """The latest runs, of some types of state where `kinds` are given."""
        wanted = {"state": {"type": {"any_": list(kinds)}}} if kinds else {}
        rows = self.ask("/flow_runs/filter", sort="START_TIME_DESC", limit=min(limit, PAGE), flow_runs=wanted)
        return [self._run(row) for row in rows]

    def find(self, name: str) -> Run:
        """A run by its name (the latest of several), the beginning or end of its id, or `last`. `ValueError` names what there is."""
        if name == "last":
            runs = self.latest(1, ACTIVE + ENDED)
        else:
            wanted = {"name": {"any_": [name]}}
            rows = self.ask("/flow_runs/filter", sort="START_TIME_DESC", limit=1, flow_runs=wanted)
            runs = (
                [self._run(rows[0])]
                if rows
                else [run for run in self.latest(PAGE) if run.id.startswith(name.lower()) or run.id.endswith(name.lower())]
            )
        if len(runs) > 1 and name != "last":
            several = ", ".join(f"{run.name} ({run.short})" for run in runs[:5]) + (", …" if len(runs) > 5 else "")
            raise ValueError(f"{name} may be any of {len(runs)} runs: {several}; give the name of one, or the id in its brackets")
        if not runs:
            raise ValueError(f"no run {name!r} on {self.url}; `hanlin runs` lists them")
        return runs[0]

    def stage(self, run: Run) -> tuple[str, str]:
        """The stage under way, with how many are done, and its progress in words; both empty where nothing is under way."""
        rows = self.ask("/task_runs/filter", sort="EXPECTED_START_TIME_DESC", limit=PAGE, flow_runs={"id": {"any_": [run.id]}})
        done = sum(row["state_type"] == "COMPLETED" for row in rows)
        now = next((row["name"].split(" · ")[0] for row in rows if row["state_type"] in ("RUNNING", "PENDING")), "")
        if not now:
            return "", ""
        wanted = {"flow_run_id": {"any_": [run.id]}, "key": {"any_": [f"progress-{now}"]}}
        notes = self.ask("/artifacts/filter", sort="UPDATED_DESC", limit=1, artifacts=wanted)
        return f"{now} ({done} done)", notes[0]["description"] if notes else ""

    def lines(self, run: Run, after: int = 0, level: int = 0) -> Iterator[dict[str, Any]]:
        """The log of a run from line number `after` on, oldest first."""
        wanted = {"flow_run_id": {"any_": [run.id]}, "level": {"ge_": level}}
        while rows := self.ask("/logs/filter", sort="TIMESTAMP_ASC", limit=PAGE, offset=after, logs=wanted):
            yield from rows
            after += len(rows)

    def cancel(self, run: Run) -> None:
        """Ask for the end of a run; one that has not started ends at once."""
        kind, name = ("CANCELLED", "Cancelled") if run.kind == "SCHEDULED" else ("CANCELLING", "Cancelling")
        state = {"type": kind, "name": name, "message": "cancelled by `hanlin cancel`"}
        answer = self.ask(f"/flow_runs/{run.id}/set_state", state=state, force=False)
        if answer["status"] not in ("ACCEPT", "WAIT"):
            raise ValueError(f"{run.name} cannot be cancelled: {(answer.get('details') or {}).get('reason') or answer['status']}")

    def workers(self) -> list[str]:
        """The names of the workers that are there for our runs."""
        rows = self.ask(f"/work_pools/{profile.POOL}/workers/filter", limit=PAGE)
        return [row["name"] for row in rows if row["status"] == "ONLINE"]

    def _run(self, row: dict[str, Any]) -> Run:
        state = row["state"] or {"name": "–", "type": "PENDING", "message": ""}
        at = row["start_time"] or row["expected_start_time"]
        return Run(
            row["id"],
            row["name"],
            self._flow(row["flow_id"]),
            state["name"],
            state["type"],
            datetime.fromisoformat(at.replace("Z", "+00:00")).timestamp() if at else 0.0,
            row["estimated_run_time"],
            (state["message"] or "").splitlines()[0] if state["message"] else "",
            row["deployment_id"],
        )

    def _flow(self, flow_id: str) -> str:
        if flow_id not in self._flows:
            self._flows |= {row["id"]: row["name"] for row in self.ask("/flows/filter", limit=PAGE)}
        return self._flows.get(flow_id, "–")


def server() -> Runs | None:
    """The runs of the server that is configured, or that runs on this machine; None where none answers."""
    url = os.environ.get("PREFECT_API_URL") or known_server()
    return Runs(url) if url and healthy(url, 10 * GLANCE) else None


def required_server() -> Runs:
    """As `server`; `ValueError` where none answers."""
    if (runs := server()) is None:
        url = os.environ.get("PREFECT_API_URL")
        raise ValueError(NO_SERVER.format(at=f" at {url}" if url else ""))
    return runs


def noted_runs(store: Store) -> list[dict[str, Any]]:
    """The runs that the store knows of, newest first, as rows of a table: also those of servers that are gone."""
    rows = []
    for note in store.runs():
        alive = is_held(store.root / "leases" / f"run-{note['run']}")
        rows.append(
            {
                "run": note["run"][-8:],
                "recipe": note["recipe"],
                "state": "Running" if alive else "Finished" if note.get("finished") else "Stopped",
                "last stage": next(reversed(note["artifacts"]), "–"),
                "stages": len(note["artifacts"]),
                "noted": time.strftime("%m-%d %H:%M", time.localtime(note["at"])),
            }
        )
    return rows
