"""The run of a graph inside a flow run: its nodes one after the other as task runs, from the plan to the key figures."""

from __future__ import annotations

import contextlib
import errno
import functools
import json
import logging
import signal
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from prefect import runtime
from prefect.artifacts import create_link_artifact, create_table_artifact
from prefect.client.schemas.objects import State
from prefect.exceptions import TerminationSignal
from prefect.states import Failed
from prefect.task_engine import TaskRunTimeoutError

from flows.breaches import ContractBroken, ContractEnforcement
from flows.graph import Node, up_to
from flows.inputs import Records, report_entries
from flows.origins import source_facts
from flows.recipe import Flow, Recipe
from flows.run_options import check_options
from flows.run_plan import off_rows, plan, plan_rows
from flows.server import report_link
from flows.stage_task import stage_task
from flows.switched_off import switched_off
from flows.tracker import Tracker
from flows.traversal import ResolvedNode, resolved_nodes
from tasks.artifacts.build import Drift, StageFailed, explain
from tasks.artifacts.store import Store, store_folder
from tasks.data import contract
from tasks.pages import ui_tables
from tasks.processes import runner
from tasks.processes.reading import BrokenFiles

Outcome = dict[str, dict[str, Any]]  # node → {key, digest, reused}


def reports_mistakes(run: Callable[..., Any]) -> Callable[..., Any]:
    """A decorator for flows: our log is the run's, and a mistake that a person can correct ends the run in a failed state whose first line is the
    whole mistake."""

    @functools.wraps(run)
    def inner(*arguments: Any, **parameters: Any) -> Any:
        log = logging.getLogger("hanlin")
        log.setLevel(log.level or logging.INFO)  # PREFECT_LOGGING_EXTRA_LOGGERS sets no level, and the usual one is WARNING
        try:
            return run(*arguments, **parameters)
        except (ValueError, OSError, StageFailed) as failure:
            logging.getLogger(f"hanlin.{runtime.flow_run.flow_name}").error("%s", failure)
            return Failed(message=failure_message(failure), data=failure)

    return inner


def failure_message(failure: Exception) -> str:
    """An error's text with its list of points joined into the first line, which is all that a list of runs shows."""
    first, *more = str(failure).splitlines() or [type(failure).__name__]
    points = [line.strip().removeprefix("- ") for line in more if line.startswith("  - ")]
    rest = [line for line in more if not line.startswith("  - ")]
    return "\n".join([f"{first}: {'; '.join(points)}" if points else first, *rest])


def run_graph(
    recipe: Recipe,
    nodes: list[Node],
    *,
    refresh: Sequence[str],
    until: str = "",
    drift: Drift,
    accept: Sequence[str],
    finishes: bool = True,
) -> Outcome:
    """Run each node as one task run of the current flow run, in order. A task whose artifact is in the store ends as *Cached*.

    The flow run's first artifact is the plan, its last the key figures. Data stages are held to their contract. `finishes` says whether the
    run is over with its last node, or its flow has yet to conclude something.
    """
    check_options(recipe, nodes, refresh=refresh, until=until, accept=accept, drift=drift)
    return GraphRun(recipe, up_to(nodes, until), refresh=refresh, drift=drift, accept=accept).run(finishes=finishes and not until)


class GraphRun:
    """One run of a graph inside the current flow run: its tasks, its note in the store, and what it publishes for people."""

    def __init__(self, recipe: Recipe, nodes: list[Node], *, refresh: Sequence[str], drift: Drift, accept: Sequence[str]):
        self.recipe, self.nodes, self.refresh, self.drift = recipe, nodes, refresh, drift
        self.store = Store(store_folder())
        self.flow_run = {"flow_run": str(runtime.flow_run.id), "flow_run_name": str(runtime.flow_run.name)}
        self.records: Records = {}
        self.states: dict[str, State[Any]] = {}
        self.held_keys: list[str] = []  # of artifacts that garbage collection leaves alone while the run lives
        self.enforcement = ContractEnforcement(self.store, recipe, accept, self.flow_run["flow_run"])

    def run(self, finishes: bool) -> Outcome:
        """From the plan to the key figures. Raises what a stage raised, and `StageFailed` where the store cannot be written."""
        steps = plan(self.nodes, self.store, recipe=self.recipe, refresh=self.refresh, drift=self.drift)
        self.held_keys = [step.key for step in steps if step.key]
        built = {step.name for step in steps if step.status != "HIT"}
        if any("trl" in node.stage.tools for node in self.nodes if node.name in built):
            runner.expect_training(self.recipe.resources)
        create_table_artifact(
            plan_rows(steps) + off_rows(switched_off(self.recipe, _recipe_flow())),
            key="plan",
            description=f"# Plan of {self.recipe.name}\nStore: `{self.store.root}`",
        )
        with contextlib.ExitStack() as stack:
            with _explained(self.nodes[0].name, self.store):
                stack.enter_context(self.store.lease(f"run-{self.flow_run['flow_run']}"))
            failures: list[StageFailed] = []
            for resolved in resolved_nodes(self.nodes, self.store, self.records):
                if failures and (resolved.key is None or not resolved.node.reads_a_source):
                    continue
                assert resolved.key is not None, "every node before it has its record"
                self.held_keys.append(resolved.key)
                self._note(resolved.node.name)  # before anybody looks for the artifact
                try:
                    self._run_node(resolved)
                except StageFailed as failure:
                    if not resolved.node.reads_a_source or isinstance(failure, ContractBroken) or _is_of_the_store(failure):
                        raise
                    failures.append(failure)  # the other sources are tried before the run ends
            if failures:
                raise _together(failures)
            self._note(self.nodes[-1].name, finished=finishes)
        self._publish_pages()
        reused = {name: state.name == "Cached" for name, state in self.states.items()}
        log = logging.getLogger(f"hanlin.{runtime.flow_run.flow_name}")
        log.info("%d stages reused, %d built", sum(reused.values()), len(reused) - sum(reused.values()))
        return {
            name: {"key": record.key, "digest": record.digest, "reused": reused[name]} for name, record in self.records.items()
        }

    def _run_node(self, resolved: ResolvedNode) -> None:
        """One node as a task run; its record, its contract and its tables."""
        node, resources = resolved.node, self.recipe.resources
        refresh = node.name in self.refresh
        tracker = Tracker(self.recipe.name, node.name, resolved.request.key)
        task = stage_task(resolved, self.store, resources, tracker, refresh=refresh, drift=self.drift, by=self.flow_run)
        state = task(return_state=True, wait_for=[self.states[name] for name in node.needs])  # the UI draws these as arrows
        self.states[node.name] = state
        if state.is_cancelled():
            raise TerminationSignal(signal=signal.SIGTERM)  # as the engine of the flow expects it
        try:
            ref = state.result()  # raises what the stage raised
        except TaskRunTimeoutError as timeout:
            raise StageFailed(
                f"{node.name}: not done after the {resources.hours[node.name]:g} hours that resources.hours gives it; what it "
                "finished is kept: give it more, and start the run again to go on"
            ) from timeout
        record = self.store.record(ref.key)
        assert record is not None, f"{node.name} ended without a record"
        self.records[node.name] = record
        if facts := source_facts(self.recipe, node):
            with _explained(node.name, self.store):
                self.store.note_source(record.key, facts)
        if contract.applies(node.stage):
            try:
                self.enforcement.enforce(record)
            except ContractBroken:
                self._note(node.name, refused=[node.name])  # used by a run, so not garbage, but never compared with
                raise
        stages = {each.name: each.stage for each in self.nodes}
        folders = {name: self.store.object(each.key) for name, each in self.records.items()}
        for key, (about, table) in ui_tables.stage_tables(node.name, report_entries(self.records, stages), folders).items():
            create_table_artifact(table, key=key, description=about)

    def _note(self, node: str, **facts: Any) -> None:
        """Write down in the store what the run has used so far. `node` is whose failure it is if that is not possible."""
        artifacts = {name: record.key for name, record in self.records.items()}
        accepted, run_id = self.enforcement.accepted, self.flow_run["flow_run"]
        with _explained(node, self.store):
            self.store.note_run(run_id, self.recipe.name, artifacts, accepted=accepted, holds=self.held_keys, **facts)

    def _publish_pages(self) -> None:
        """Links to the gate's page and to the report, and the report's key figures, as far as the run made them."""
        if "gate" in self.records:
            page, link = self._page("gate")
            create_link_artifact(link, key="gate-page", link_text="Candidate against production", description=f"`{page}`")
        if "report" in self.records:
            page, link = self._page("report")
            figures = json.loads((page.parent / "figures.json").read_text("utf-8"))
            about = f"# Key figures of {self.recipe.name}\n[Full report]({link}), which is `{page}`"
            create_table_artifact(figures["rows"], key="figures", description=about)
            create_link_artifact(link, key="report", link_text=f"Report of {self.recipe.name}", description=f"`{page}`")

    def _page(self, node: str) -> tuple[Path, str]:
        """A node's page: its file, and the link under which a browser finds it."""
        key = self.records[node].key
        page = self.store.object(key) / "report.html"
        return page, report_link(key, page)


def _recipe_flow() -> Flow:
    """The flow whose graph the current flow run goes through: a re-training's is the pipeline."""
    name = str(runtime.flow_run.flow_name)
    return "corpus" if name == "corpus" else "finetune" if name == "finetune" else "pipeline"


def _is_of_the_store(failure: StageFailed) -> bool:
    """True of a failure that the next stage would meet as well: the disk is full, or the store cannot be written."""
    cause = failure.__cause__
    return isinstance(cause, OSError) and cause.errno in (errno.ENOSPC, errno.EDQUOT, errno.EROFS)


def _together(failures: list[StageFailed]) -> StageFailed:
    """The failures of sources as one, with a point for each file that cannot be read."""
    points = []
    for failure in failures:
        name, _, rest = str(failure).partition(": ")
        causes = failure.__cause__.broken if isinstance(failure.__cause__, BrokenFiles) else [rest]
        points += [(name, " ".join(str(cause).split())) for cause in causes]
    if len(points) == 1:
        return failures[0]
    what = "files cannot be read" if all(isinstance(each.__cause__, BrokenFiles) for each in failures) else "failures"
    names = list(dict.fromkeys(name for name, _ in points))
    told = StageFailed(
        f"{', '.join(names)}: {len(points)} {what} (the work on the rest is kept)\n"
        + "\n".join(f"  - {name}: {why}" for name, why in points)
    )
    told.__cause__ = failures[0]
    return told


@contextlib.contextmanager
def _explained(name: str, store: Store) -> Iterator[None]:
    """Turn an `OSError` of the store into `StageFailed` of the named stage, explained in words."""
    try:
        yield
    except OSError as failure:
        raise StageFailed(explain(name, failure, store)) from failure
