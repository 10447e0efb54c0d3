"""The pipeline flow: raw sources → evaluated, aligned chat model.

Each node of the graph is one task run of this flow, in order. A task whose artifact is in the store ends as *Cached*; the flow's first
artifact is the plan, its last the key figures. Run it with `hanlin run RECIPE`, or from a deployment.
"""

from __future__ import annotations

import json
import logging
from typing import Any

from prefect import flow, runtime
from prefect.artifacts import create_link_artifact, create_table_artifact
from prefect.client.schemas.objects import State

from flows.graph import Made, graph
from flows.plan import plan, rows
from flows.recipe import Recipe
from flows.tasks import stage_task
from tasks.build import Drift, StageFailed, explain
from tasks.store import Store, store_folder


@flow(name="pipeline", flow_run_name="{recipe.name}", persist_result=False, validate_parameters=True)
def pipeline(
    recipe: Recipe, refresh: list[str] | None = None, until: str = "", drift: Drift = "warn"
) -> dict[str, dict[str, Any]]:
    """From raw files to an evaluated, aligned chat model; every finished stage is reused.

    Args:
        recipe: What to make, and with which resources.
        refresh: Stages to build again even if their artifact is there.
        until: Last stage to run; empty runs them all.
        drift: What to do where an artifact was made by other code of the same stage version: warn, rebuild or fail.
    """
    log = logging.getLogger("hanlin.pipeline")
    nodes = graph(recipe)
    names = [node.name for node in nodes]
    for name in [*(refresh or []), *([until] if until else [])]:
        if name not in names:
            raise ValueError(f"no stage {name!r} in recipe {recipe.name}; its stages: {', '.join(names)}")
    if until:
        nodes = nodes[: names.index(until) + 1]
    store = Store(store_folder())
    planned = rows(plan(nodes, store, refresh=refresh or [], drift=drift))
    create_table_artifact(planned, key="plan", description=f"# Plan of {recipe.name}\nStore: `{store.root}`")

    made: Made = {}
    states: dict[str, State[Any]] = {}
    run = {"flow_run": str(runtime.flow_run.id), "flow_run_name": str(runtime.flow_run.name)}
    for node in nodes:
        inputs = {role: given.resolve(store, made) for role, given in node.roles.items()}
        task = stage_task(node, store, inputs, recipe.resources, refresh=node.name in (refresh or []), drift=drift, by=run)
        states[node.name] = task(
            return_state=True, wait_for=[states[name] for name in node.needs]
        )  # the UI draws these as arrows
        ref = states[node.name].result()  # raises what the stage raised
        record = store.record(ref.key)
        assert record is not None, f"{node.name} ended without a record"
        made[node.name] = record
        try:
            store.note_run(run["flow_run"], recipe.name, {name: record.key for name, record in made.items()})
        except OSError as failure:
            raise StageFailed(explain(node.name, failure, store)) from failure
    if "report" in made:
        page = store.object(made["report"].key) / "report.html"
        figures = json.loads((page.parent / "figures.json").read_text("utf-8"))
        create_table_artifact(
            figures["rows"], key="figures", description=f"# Key figures of {recipe.name}\nFull report: `{page}`"
        )
        create_link_artifact(page.as_uri(), key="report", link_text=str(page))
    reused = {name: state.name == "Cached" for name, state in states.items()}
    log.info("%d stages reused, %d built", sum(reused.values()), len(reused) - sum(reused.values()))
    return {name: {"key": record.key, "digest": record.digest, "reused": reused[name]} for name, record in made.items()}
