"""The re-training flow: if a source has new data, the pipeline continues from the model in production, and a gate decides on promotion.

Run it with `hanlin retrain RECIPE`, on a schedule, or by the event that `hanlin arrived RECIPE` emits. Every finished stage is reused, so
only new shards are processed.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Annotated, Any, TypeAlias

from prefect import flow, runtime
from prefect.artifacts import create_table_artifact
from prefect.client.schemas.objects import State
from pydantic import Field

from flows.execution import Outcome, reports_mistakes, run_graph
from flows.form import (
    Changes,
    RecipeFile,
    RecipeName,
    StageNames,
    chosen_recipe,
    documented,
    filled_recipe,
    recipe_form,
)
from flows.graph import Node, graph
from flows.origins import rows_in_words, source_states
from flows.production import find_production
from flows.promote import Judged, check_approvable, conclude, final_state
from flows.recipe import Recipe
from flows.run_names import keeps_typed_name, recipe_and_differences
from tasks.artifacts.build import Drift
from tasks.artifacts.store import Store, store_folder

Share = Annotated[float, Field(ge=0, le=1)]
Hours = Annotated[float, Field(gt=0, le=8760)]

SUMMARY = "Re-trains the model in production on new data, and promotes the new model if it is not worse. Without new data the run ends at once."


RecipeForm: TypeAlias = recipe_form("pipeline")  # type: ignore[valid-type]


@flow(name="retrain", flow_run_name=keeps_typed_name(recipe_and_differences), persist_result=False, validate_parameters=False)
@reports_mistakes
@documented(SUMMARY)
def retrain(
    recipe: RecipeForm,
    share: Share = 0.25,
    approve: bool = False,
    tag: str = "prod",
    force: bool = False,
    refresh: StageNames = (),
    drift: Drift = "warn",
    accept: StageNames = (),
    wait_hours: Hours = 168.0,
) -> State[Any]:
    return _run(filled_recipe(recipe, "pipeline"), share, approve, tag, force, refresh, drift, accept, wait_hours)


@flow(name="retrain", flow_run_name=keeps_typed_name(recipe_and_differences), persist_result=False, validate_parameters=False)
@reports_mistakes
@documented(SUMMARY)
def named(
    recipe: RecipeName = "sample",
    changes: Changes = (),
    file: RecipeFile = "",
    share: Share = 0.25,
    approve: bool = False,
    tag: str = "prod",
    force: bool = False,
    refresh: StageNames = (),
    drift: Drift = "warn",
    accept: StageNames = (),
    wait_hours: Hours = 168.0,
) -> State[Any]:
    return _run(chosen_recipe(recipe, changes, file, "pipeline"), share, approve, tag, force, refresh, drift, accept, wait_hours)


def retraining_nodes(recipe: Recipe, store: Store, tag: str, share: float) -> list[Node]:
    """The nodes of a re-training. Raises `ValueError` where the model in production cannot be gone on from."""
    if not 0 <= share <= 1:
        raise ValueError(f"share is {share}; it is a share of the pretraining's tokens, from 0 (train from nothing) to 1")
    production = find_production(store, store.tags().get(tag, []), recipe.pretrain, share)
    return graph(recipe, "pipeline", gated=True, production=production)


def _run(
    recipe: Recipe,
    share: float,
    approve: bool,
    tag: str,
    force: bool,
    refresh: Sequence[str],
    drift: Drift,
    accept: Sequence[str],
    wait_hours: float,
) -> State[Any]:
    store, run_id = Store(store_folder()), str(runtime.flow_run.id)
    log = logging.getLogger("hanlin.retrain")
    if "judged" in (earlier := store.run(run_id)):  # it was suspended: its candidate is there, and only the answer was missing
        return conclude(store, recipe, run_id, Judged(**earlier["judged"]), approve, wait_hours)
    if approve:
        check_approvable()
    moves = store.tags().get(tag, [])
    nodes = retraining_nodes(recipe, store, tag, share)
    last = next(
        (n for n in store.runs() if n["recipe"] == recipe.name and n.get("finished") and "evaluate" in n["artifacts"]), {}
    )
    states = source_states(recipe, store, nodes=nodes, records=_records(store, last))
    new = {state.source: state.change for state in states if state.new}
    if not new and not force and (moves or "judged" in last):
        table = [{"source": s.source, "format": s.format, "kind": s.kind, "state": s.now} for s in states]
        create_table_artifact(
            table, key="sources", description=f"# Sources of {recipe.name}\nNone has new data since run {last['run']}"
        )
        return final_state(
            "Nothing new", f"nothing new: all {len(states)} sources are as the last run read them ({_since(last)})", {}
        )
    log.info(
        "sources with new data: %s",
        "; ".join(f"{name} ({change})" for name, change in new.items()) or "none; training all the same",
    )
    artifacts = run_graph(recipe, nodes, refresh=refresh, drift=drift, accept=accept, finishes=False)
    judged = Judged(artifacts=artifacts, moves=moves, tag=tag, news=_news(store, new, last, artifacts))
    store.note_more(run_id, judged=vars(judged))
    return conclude(store, recipe, run_id, judged, approve, wait_hours)


def _news(store: Store, new: dict[str, str], last: dict[str, Any], artifacts: Outcome) -> list[str]:
    """The new data of each source in words, with its rows: `belle (1 file more: new.json, 60 rows)`."""
    told = []
    for source, change in new.items():
        node = next((name for name in (f"ingest-{source}", f"extract-{source}") if name in artifacts), "")
        before, after = (store.record(made.get(node, "")) for made in (last.get("artifacts", {}), _keys(artifacts)))
        rows = rows_in_words(before, after) if after else ""
        told.append(f"{source} ({change}{f', {rows}' if rows else ''})")
    return told


def _keys(artifacts: Outcome) -> dict[str, str]:
    return {name: artifact["key"] for name, artifact in artifacts.items()}


def _records(store: Store, note: dict[str, Any]) -> list[Any]:
    """The records of the artifacts that a run made or used."""
    records = [store.record(key) for key in note.get("artifacts", {}).values()]
    return [record for record in records if record is not None]


def _since(note: dict[str, Any]) -> str:
    import time

    return time.strftime("%Y-%m-%d %H:%M", time.localtime(note["at"]))
