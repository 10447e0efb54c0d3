"""The promotion of a judged candidate: it replaces the model in production, an operator is asked first, or it is refused and kept aside."""

from __future__ import annotations

import json
import logging
import time
from dataclasses import dataclass, field
from typing import Any

from prefect import runtime
from prefect.client.schemas.objects import State
from prefect.events import emit_event
from prefect.flow_runs import suspend_flow_run
from prefect.input import RunInput
from prefect.states import Completed
from pydantic import Field

from flows.execution import Outcome
from flows.recipe import Recipe
from flows.server import watched
from tasks.artifacts.store import Moved, Moves, Record, Store
from tasks.metrics.bootstrap import gain_as_share


@dataclass(frozen=True)
class Judged:
    """A re-training up to its gate: its artifacts, and the moves of the tag whose model its candidate was compared with."""

    artifacts: Outcome
    moves: Moves
    tag: str
    news: list[str] = field(default_factory=list)  # the sources that were new, in words


class Approval(RunInput):
    """The form in which an operator approves or refuses a promotion."""

    approve: bool = Field(
        title="Promote the candidate",
        description="Yes: the tag moves to the candidate, which is then the model in production. No: the candidate is kept under a tag of its own",
    )
    note: str = Field(default="", max_length=1000, title="Reason", description="Kept in the history of the tag")


def answerable() -> bool:
    """True of a run of a deployment, whose question an operator can answer in the Prefect UI."""
    return runtime.deployment.id is not None and watched()


def check_approvable() -> None:
    """Raises `ValueError` where no operator could answer, before anything is spent."""
    if not answerable():
        raise ValueError(
            "approve suspends the run until an operator answers in the Prefect UI, which needs a run of a deployment: start it there "
            "(`hanlin up`), or leave approve out"
        )


def conclude(store: Store, recipe: Recipe, run_id: str, judged: Judged, approve: bool, wait_hours: float) -> State[Any]:
    """Move the tag, ask an operator, or keep the candidate aside. Returns the flow's final state, which says which and why."""
    last = next(name for name in ("dpo", "sft", "pretrain") if name in judged.artifacts)
    candidate = _record(store, judged.artifacts[last]["key"])
    verdict = json.loads((store.object(judged.artifacts["gate"]["key"]) / "verdict.json").read_text("utf-8"))
    facts = {
        "run": run_id,
        "gate": judged.artifacts["gate"]["key"],
        "figures": {m["name"]: {name: m[name] for name in ("old", "new", "low", "high", "verdict")} for m in verdict["measures"]},
    }
    if not verdict["promote"]:
        return _aside(store, recipe, judged, candidate, "; ".join(verdict["refused"]), facts)
    why = _why(verdict, judged.news)
    doubts = "; ".join(verdict["asks"])
    if doubts and not (approve or answerable()):
        return _aside(store, recipe, judged, candidate, f"an operator has to decide: {doubts}", facts, name="Undecided")
    if approve or doubts:
        why = f"{doubts}; otherwise {why}" if doubts else why
        aside = _candidate_tag(store, candidate, f"waits for an operator: {why}", facts)
        answer: Approval = suspend_flow_run(
            wait_for_input=Approval.with_initial_data(description=_question(judged, candidate, verdict, why)),
            timeout=max(1, round(3600 * wait_hours)),
            key="promotion",
        )
        operator = f"an operator{f': {answer.note}' if answer.note else ''}"
        if not answer.approve:
            store.untag(aside)
            return _aside(store, recipe, judged, candidate, f"refused by {operator}", facts)
        store.untag(aside)
        why = f"approved by {operator}; {why}"
    try:
        store.tag(judged.tag, candidate, why, seen=judged.moves, **facts)
    except Moved as moved:
        return _aside(store, recipe, judged, candidate, f"{moved}, so it was judged against another model; run again", facts)
    store.note_more(run_id, finished=True, promoted=judged.tag)
    old = f" over {judged.moves[-1]['key'][:12]}" if judged.moves else ", the first"
    _announce("promoted", recipe, candidate, why)
    return final_state("Promoted", f"{judged.tag} → {candidate.stage} {candidate.key[:12]}{old}: {why}", judged.artifacts)


def final_state(name: str, message: str, artifacts: Outcome) -> State[Any]:
    """The final state of a re-training that reached a decision: Promoted, Refused, Undecided or Nothing new."""
    logging.getLogger("hanlin.retrain").info(message, extra={"done": "built" if name == "Promoted" else "cached"})
    return Completed(name=name, message=message, data={"verdict": name.lower(), "why": message, "artifacts": artifacts})


def _aside(
    store: Store, recipe: Recipe, judged: Judged, candidate: Record, why: str, facts: dict[str, Any], name: str = "Refused"
) -> State[Any]:
    """Keep a refused or undecided candidate under a tag of its own."""
    tag = _candidate_tag(store, candidate, f"{name.lower()}: {why}", facts)
    store.note_more(facts["run"], finished=True, refused_as=tag)
    _announce("refused", recipe, candidate, why)
    remedy = f"kept as {tag}; `hanlin artifacts tag {tag} {judged.tag}` promotes it all the same"
    return final_state(name, f"{candidate.stage} {candidate.key[:12]} does not take over: {why} ({remedy})", judged.artifacts)


def _candidate_tag(store: Store, candidate: Record, why: str, facts: dict[str, Any]) -> str:
    """`candidate@2026.11.29-084512`; a candidate that already has such a tag keeps it."""
    for tag, moves in store.tags().items():
        if tag.startswith("candidate@") and moves[-1]["key"] == candidate.key:
            if moves[-1]["why"] == why:
                return tag
            store.untag(tag)
    tag = time.strftime("candidate@%Y.%m.%d-%H%M%S")
    store.tag(tag, candidate, why, **facts)
    return tag


def _why(verdict: dict[str, Any], news: list[str]) -> str:
    """The reason of a promotion in one line: the measures that are better, and the sources with new data."""
    better = [f"{m['title']} {m['old']:.3f} → {m['new']:.3f}" for m in verdict["measures"] if m["verdict"] == "better"]
    reason = f"better: {', '.join(better)}; nothing worse beyond noise" if better else "nothing worse beyond noise"
    return (reason if verdict["measures"] else "healthy, and the first one") + (f"; new: {', '.join(news)}" if news else "")


def _question(judged: Judged, candidate: Record, verdict: dict[str, Any], why: str) -> str:
    """The text above the operator's form, in Markdown: the reason, and every measure of both models."""
    rows = [
        f"| {m['title']} | {m['old']:.3f} | {m['new']:.3f} | {100 * gain_as_share(m, 'change'):+.1f} {'%' if m['unit'] == 'percent' else 'points'} "
        f"| {m['verdict']} |"
        for m in verdict["measures"]
    ]
    table = ["| measure | production | candidate | gain | |", "|---|---|---|---|---|", *rows] if rows else []
    lines = [f"## Shall {candidate.stage} {candidate.key[:12]} take over as {judged.tag}?", "", why, "", *table]
    return "\n".join([*lines, "", "Both models' answers are on the gate's page, an artifact of this run."])


def _record(store: Store, key: str) -> Record:
    record = store.record(key)
    assert record is not None, "the run has just made or reused it"
    return record


def _announce(outcome: str, recipe: Recipe, candidate: Record, why: str) -> None:
    """Emit the event hanlin.model.promoted or hanlin.model.refused, on which automations can act."""
    emit_event(
        f"hanlin.model.{outcome}",
        resource={"prefect.resource.id": f"hanlin.recipe.{recipe.name}"},
        payload={"recipe": recipe.name, "key": candidate.key, "why": why},
    )
