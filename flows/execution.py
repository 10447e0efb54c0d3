"""What every flow over a graph shares: its nodes one after the other as task runs, from the plan to the key figures."""

from __future__ import annotations

import contextlib
import functools
import json
import logging
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from prefect import runtime
from prefect.artifacts import create_link_artifact, create_table_artifact
from prefect.client.schemas.objects import State
from prefect.states import Failed
from prefect.task_engine import TaskRunTimeoutError

from flows.breaches import Gate, Refused
from flows.graph import Node
from flows.inputs import Made, entries
from flows.plan import plan, rows
from flows.recipe import Recipe
from flows.server import report_link
from flows.stage_task import stage_task
from tasks.artifacts.build import Drift, StageFailed, digests, explain
from tasks.artifacts.store import Store, recipe_key, store_folder
from tasks.data import contract
from tasks.pages import ui_tables

Outcome = dict[str, dict[str, Any]]  # node → {key, digest, reused}


def run_name() -> str:
    """The recipe's name is the run's, whether it came as a form, as a name or as a file."""
    given = runtime.flow_run.parameters
    recipe = given.get("recipe")
    if isinstance(recipe, Recipe):
        return recipe.name
    if isinstance(recipe, dict):
        return str(recipe.get("name", "unnamed"))
    return Path(given["file"]).stem if given.get("file") else str(recipe)


def plainly(run: Callable[..., Any]) -> Callable[..., Any]:
    """Make a flow end with its reason as the first line of its state, where the reason is one that a person can mend."""

    @functools.wraps(run)
    def inner(*given: Any, **named: Any) -> Any:
        try:
            return run(*given, **named)
        except (ValueError, OSError, StageFailed) as failure:
            logging.getLogger(f"hanlin.{runtime.flow_run.flow_name}").error("%s", failure)
            return Failed(message=reason(failure), data=failure)

    return inner


def reason(failure: Exception) -> str:
    """What went wrong, all of it in the first line: that is what a list of runs shows."""
    first, *more = str(failure).splitlines() or [type(failure).__name__]
    points = [line.strip().removeprefix("- ") for line in more if line.startswith("  - ")]
    rest = [line for line in more if not line.startswith("  - ")]
    return "\n".join([f"{first}: {'; '.join(points)}" if points else first, *rest])


def walk(
    recipe: Recipe,
    nodes: list[Node],
    *,
    refresh: Sequence[str],
    until: str = "",
    drift: Drift,
    accept: Sequence[str],
    finishes: bool = True,
) -> Outcome:
    """Each node as one task run of this flow run, in order. A task whose artifact is in the store ends as *Cached*.

    The run's first artifact is the plan, its last the key figures. Data stages are held to their contract. `finishes` says whether the
    run is over with its last node, or its flow has yet to conclude something.
    """
    log = logging.getLogger(f"hanlin.{runtime.flow_run.flow_name}")
    for name in recipe.resources.hours:
        if name not in (names := [node.name for node in nodes]):
            raise ValueError(f"resources.hours.{name}: no such stage; its stages: {', '.join(names)}")
    nodes = _until(nodes, until, [*refresh, *accept], recipe)
    for name in accept:
        if not contract.applies(name):
            raise ValueError(f"{name} has no contract that could be accepted: it is no data stage; leave it out of `accept`")
    store = Store(store_folder())
    planned = plan(nodes, store, refresh=refresh, drift=drift)
    about = f"# Plan of {recipe.name}\nStore: `{store.root}`"
    create_table_artifact(rows(planned), key="plan", description=about)

    made: Made = {}
    states: dict[str, State[Any]] = {}
    run = {"flow_run": str(runtime.flow_run.id), "flow_run_name": str(runtime.flow_run.name)}
    gate = Gate(store, recipe, accept, run["flow_run"])
    holds = [step.key for step in planned if step.key]

    def note(at: str, **facts: Any) -> None:
        artifacts = {name: record.key for name, record in made.items()}
        with _explained(at, store):
            store.note_run(run["flow_run"], recipe.name, artifacts, accepted=gate.accepted, holds=holds, **facts)

    with contextlib.ExitStack() as held:
        with _explained(nodes[0].name, store):
            held.enter_context(store.lease(f"run-{run['flow_run']}"))  # while it lives, nothing that it holds is collected
        for node in nodes:
            inputs = {role: given.resolve(store, made) for role, given in node.roles.items()}
            holds.append(recipe_key(node.stage.identity(node.params, digests(inputs))))
            note(node.name)  # before anybody looks for it
            task = stage_task(node, store, inputs, recipe.resources, refresh=node.name in refresh, drift=drift, by=run)
            states[node.name] = task(
                return_state=True, wait_for=[states[name] for name in node.needs]
            )  # the UI draws these as arrows
            try:
                ref = states[node.name].result()  # raises what the stage raised
            except TaskRunTimeoutError as late:
                raise StageFailed(
                    f"{node.name}: not done after the {recipe.resources.hours[node.name]:g} hours that resources.hours gives it; what it "
                    "finished is kept: give it more, and start the run again to go on"
                ) from late
            record = store.record(ref.key)
            assert record is not None, f"{node.name} ended without a record"
            made[node.name] = record
            if contract.applies(node.name):
                try:
                    gate.judge(record)
                except Refused:
                    note(node.name, refused=[node.name])  # used by a run, so not garbage, but never compared with
                    raise
            for key, (about, table) in ui_tables.tables(node.name, entries(made), _folders(store, made)).items():
                create_table_artifact(table, key=key, description=about)
        note(nodes[-1].name, finished=finishes and not until)
    if "gate" in made:
        page = store.object(made["gate"].key) / "report.html"
        link = report_link(made["gate"].key, page)
        create_link_artifact(link, key="gate-page", link_text="Candidate against production", description=f"`{page}`")
    if "report" in made:
        page = store.object(made["report"].key) / "report.html"
        figures = json.loads((page.parent / "figures.json").read_text("utf-8"))
        link = report_link(made["report"].key, page)
        about = f"# Key figures of {recipe.name}\n[Full report]({link}), which is `{page}`"
        create_table_artifact(figures["rows"], key="figures", description=about)
        create_link_artifact(link, key="report", link_text=f"Report of {recipe.name}", description=f"`{page}`")
    reused = {name: state.name == "Cached" for name, state in states.items()}
    log.info("%d stages reused, %d built", sum(reused.values()), len(reused) - sum(reused.values()))
    return {name: {"key": record.key, "digest": record.digest, "reused": reused[name]} for name, record in made.items()}


@contextlib.contextmanager
def _explained(name: str, store: Store) -> Iterator[None]:
    """A store that cannot be written is the stage's failure, in words."""
    try:
        yield
    except OSError as failure:
        raise StageFailed(explain(name, failure, store)) from failure


def _until(nodes: list[Node], until: str, named: Sequence[str], recipe: Recipe) -> list[Node]:
    names = [node.name for node in nodes]
    for name in [*named, *([until] if until else [])]:
        if name not in names:
            raise ValueError(f"no stage {name!r} in recipe {recipe.name}; its stages: {', '.join(names)}")
    return nodes[: names.index(until) + 1] if until else nodes


def _folders(store: Store, made: Made) -> dict[str, Any]:
    return {name: store.object(record.key) for name, record in made.items()}
