"""The contract of a data stage, kept: what a flow does when a stage hands on something unlike what the last run did.

`warn` says so and goes on, `fail` ends the run, `pause` waits for an operator's yes or no in the Prefect UI. Whatever happens, the
artifact stays, so nothing is computed twice when the run is started again.
"""

from __future__ import annotations

import logging
from collections.abc import Collection
from pathlib import Path
from typing import Any

from prefect import runtime
from prefect.artifacts import create_table_artifact
from prefect.client.orchestration import get_client
from prefect.exceptions import FlowPauseTimeout
from prefect.flow_runs import pause_flow_run
from prefect.input import RunInput
from prefect.states import Running
from pydantic import Field

from flows.recipe import Recipe
from flows.server import watched
from tasks.artifacts.build import StageFailed
from tasks.artifacts.store import Record, Store
from tasks.data import contract, funnel
from tasks.data.contract import Contract, Verdict

POLL = 5  # seconds between looks for an operator's answer
SAMPLES = 3  # dropped rows shown for each reason that grew
Samples = dict[tuple[str, str], list[str]]  # (source, reason) → rows to read


class Refused(StageFailed):
    """A stage's result that may not be used: the message says what broke the contract, and how to accept it."""


class Decision(RunInput):
    """The form that an operator fills in."""

    accept: bool = Field(
        title="Go on with this result", description="Yes: the run goes on, and the next one is compared with this. No: it ends"
    )
    note: str = Field(default="", max_length=1000, title="Why", description="Kept with the run")


class Gate:
    """Judges each data stage of one run as it ends."""

    def __init__(self, store: Store, recipe: Recipe, accept: Collection[str], run_id: str):
        self.store, self.recipe, self.accept = store, recipe, accept
        self.notes = [note for note in store.runs() if note["run"] != run_id]
        self.accepted: dict[str, str] = {}  # node → who accepted its breach, and why

    def judge(self, record: Record) -> None:
        """Publish what changed, and see to a breach. Raises `Refused` where the run may not go on."""
        name = record.stage
        last, settled = contract.last_run(self.store, self.notes, self.recipe.name, record)
        if settled:  # the last run handed on the same, and somebody or something accepted it
            return
        verdict = contract.judge(name, record.stats, self.store.object(record.key), self.recipe.contract, last)
        if not (verdict.changes or verdict.broken):
            return
        samples = rows_to_read(verdict, record, self.store.object(record.key))
        create_table_artifact(table(verdict, samples), key=f"contract-{name}", description=described(verdict))
        if verdict.breaches:
            self.accepted[name] = _decided(name, verdict, samples, self.recipe.contract, name in self.accept)


def _decided(name: str, verdict: Verdict, samples: Samples, rules: Contract, accepted: bool) -> str:
    """Who accepted the breach; `Refused` if nobody did."""
    log = logging.getLogger(f"hanlin.{name}")

    def tell(*more: str) -> None:
        for line in [*verdict.breaches, *more]:
            log.warning("contract: %s", line)

    if accepted:
        tell("accepted, as asked for")
        return "accepted at the start of the run"
    if rules.on_breach == "warn":
        tell("the run goes on (contract.on_breach=warn)")
        return "contract.on_breach=warn"
    what = f"{name} broke its contract:\n" + "\n".join(f"  - {line}" for line in verdict.breaches)
    kept = f"the run ends here and its finished artifacts are kept. Change the recipe or the files, or accept this with `--accept {name}`"
    if rules.on_breach == "fail":
        raise Refused(f"{what}\n{kept} or contract.on_breach=warn")
    if not watched():
        raise Refused(
            f"{what}\ncontract.on_breach=pause, but no Prefect server runs in whose UI an operator could answer, so {kept}, set "
            "contract.on_breach=warn, or start `prefect server start` and run again"
        )
    tell(f"waiting up to {rules.wait_hours:g} hours for an operator's answer in the Prefect UI, run {runtime.flow_run.name}")
    try:
        answer: Decision = pause_flow_run(
            wait_for_input=Decision.with_initial_data(description=asked(name, verdict, samples)),
            timeout=max(1, round(3600 * rules.wait_hours)),
            poll_interval=POLL,
            key=f"contract-{name}-{runtime.flow_run.run_count}",  # a run that is tried again asks again
        )
    except FlowPauseTimeout:
        # the server fails a pause that is over in words of its own; a run that goes on fails in ours
        with get_client(sync_client=True) as client:
            client.set_flow_run_state(runtime.flow_run.id, Running(), force=True)
        raise Refused(f"{what}\nnobody answered within {rules.wait_hours:g} hours (contract.wait_hours); {kept}") from None
    note = f": {answer.note}" if answer.note else ""
    if not answer.accept:
        raise Refused(f"{what}\nan operator refused it{note}; {kept}")
    log.warning("contract: an operator accepted it%s", note)
    return f"an operator{note}"


def rows_to_read(verdict: Verdict, record: Record, folder: Path) -> Samples:
    """For each source that broke the contract and each reason that dropped more of it than last time, some of the rows, without personal data."""
    broke = {change.source for change in verdict.changes if change.breach}
    wanted = {(c.source, c.reason) for c in verdict.changes if c.reason and c.source in broke and c.change.startswith("+")}
    found = funnel.drops({record.stage: {"stats": record.stats}}, {record.stage: folder}, SAMPLES) if wanted else []
    return {
        (group.source, reason.name): [row["excerpt"] or row["detail"] for row in group.examples]
        for stage in found
        for reason in stage.reasons
        for group in reason.groups
        if (group.source, reason.name) in wanted
    }


def table(verdict: Verdict, samples: Samples) -> list[dict[str, Any]]:
    """What changed as a table for people, breaches first."""
    rows = [
        {"source": "", "figure": line, "last run": "", "this run": "", "change": "", "contract": "✗ broken", "rows to read": ""}
        for line in verdict.broken
    ]
    return rows + [
        {
            "source": change.source,
            "figure": change.what,
            "last run": change.last,
            "this run": change.now,
            "change": change.change,
            "contract": ("✗ " if change.breach else "✓ ") + change.limit if change.limit else "",
            "rows to read": "\n".join(samples.get((change.source, change.reason), [])),
        }
        for change in verdict.changes
    ]


def described(verdict: Verdict) -> str:
    kept = f"**{len(verdict.breaches)} breaches**" if verdict.breaches else "no breach"
    against = (
        f"Compared with `{verdict.against[:12]}` of the last run: " if verdict.against else "First run, nothing to compare with: "
    )
    return f"# Contract of {verdict.node}\n{against}{kept}"


def asked(name: str, verdict: Verdict, samples: Samples) -> str:
    """What the form shows, in Markdown."""
    lines = [f"## {name} broke its contract", "", *(f"- {_plain(line)}" for line in verdict.breaches)]
    for (source, reason), rows in samples.items():
        lines += ["", f"### Rows of {_plain(source)} dropped as *{_plain(reason)}*", *(f"- {_plain(row)}" for row in rows)]
    return "\n".join([*lines, "", f"All that changed is in the artifact `contract-{name}` of this run."])


def _plain(text: str) -> str:
    """Text of data that is no markup: Markdown's and HTML's signs escaped, on one line."""
    return "".join(f"\\{sign}" if sign in r"\`*_{}[]()#+!|<>~" else sign for sign in " ".join(text.split()))
