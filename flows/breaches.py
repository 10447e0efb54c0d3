"""The enforcement of data contracts in a flow run: a stage's rows that differ too much from the last run's are a breach.

`contract.on_breach` decides what follows: `warn` says so and goes on, `fail` ends the run, `pause` waits for an operator's yes or no in the
Prefect UI. In each case the artifact stays, so nothing is computed twice when the run is started again.
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
from tasks.data import characters, contract, funnel
from tasks.data.contract import Contract, Verdict

POLL = 5  # seconds between checks for an operator's answer
SAMPLES = 3  # dropped rows or cuts to show for each reason or rule that took more
Samples = dict[tuple[str, str], list[str]]  # (source, figure) → rows or cuts to read


class ContractBroken(StageFailed):
    """The failure of a stage whose result broke its contract; the message says how it did, and how to accept it."""


class Decision(RunInput):
    """The form in which an operator accepts or refuses a breach."""

    accept: bool = Field(
        title="Accept this result",
        description="Yes: the run goes on, and the next run is compared with this result. No: the run ends",
    )
    note: str = Field(default="", max_length=1000, title="Reason", description="Kept in the record of the run")


class ContractEnforcement:
    """The contracts of one run: each data stage's result is judged as the stage ends."""

    def __init__(self, store: Store, recipe: Recipe, accept: Collection[str], run_id: str):
        self.store, self.recipe, self.accept = store, recipe, accept
        self.notes = [note for note in store.runs() if note["run"] != run_id]
        self.accepted: dict[str, str] = {}  # node → who accepted its breach, and why

    def enforce(self, record: Record) -> None:
        """Publish what changed since the last run, and settle a breach. Raises `ContractBroken` where the run may not go on."""
        name = record.stage
        last, settled = contract.last_run(self.store, self.notes, self.recipe.name, record)
        if settled:  # the last run handed on the same, and somebody or something accepted it
            return
        verdict = contract.judge(name, record.stats, self.store.object(record.key), self.recipe.contract, last)
        if not (verdict.changes or verdict.broken):
            return
        samples = samples_to_read(verdict, record, self.store.object(record.key))
        create_table_artifact(change_rows(verdict, samples), key=f"contract-{name}", description=contract_summary(verdict))
        if verdict.breaches:
            self.accepted[name] = _settle(name, verdict, samples, self.recipe.contract, name in self.accept)


def _settle(name: str, verdict: Verdict, samples: Samples, rules: Contract, accepted: bool) -> str:
    """Settle a breach and return who or what accepted it. Raises `ContractBroken` if nobody did."""
    log = logging.getLogger(f"hanlin.{name}")

    def warn(*more: str) -> None:
        for line in [*verdict.breaches, *more]:
            log.warning("contract: %s", line)

    if accepted:
        warn("accepted: `accept` names this stage")
        return "accepted at the start of the run"
    if rules.on_breach == "warn":
        warn("the run goes on (contract.on_breach=warn)")
        return "contract.on_breach=warn"
    breaches = f"{name} broke its contract:\n" + "\n".join(f"  - {line}" for line in verdict.breaches)
    remedy = f"the run ends here and its finished artifacts are kept. Change the recipe or the files, or accept this with `--accept {name}`"
    if rules.on_breach == "fail":
        raise ContractBroken(f"{breaches}\n{remedy} or contract.on_breach=warn")
    if not watched():
        raise ContractBroken(
            f"{breaches}\ncontract.on_breach=pause, but no Prefect server runs in whose UI an operator could answer, so {remedy}, set "
            "contract.on_breach=warn, or start `prefect server start` and run again"
        )
    warn(f"waiting up to {rules.wait_hours:g} hours for an operator's answer in the Prefect UI, run {runtime.flow_run.name}")
    try:
        answer: Decision = pause_flow_run(
            wait_for_input=Decision.with_initial_data(description=operator_question(name, verdict, samples)),
            timeout=max(1, round(3600 * rules.wait_hours)),
            poll_interval=POLL,
            key=f"contract-{name}-{runtime.flow_run.run_count}",  # a run that is tried again asks again
        )
    except FlowPauseTimeout:
        # the server fails a pause that is over in words of its own; a run that goes on fails in ours
        with get_client(sync_client=True) as client:
            client.set_flow_run_state(runtime.flow_run.id, Running(), force=True)
        raise ContractBroken(
            f"{breaches}\nnobody answered within {rules.wait_hours:g} hours (contract.wait_hours); {remedy}"
        ) from None
    note = f": {answer.note}" if answer.note else ""
    if not answer.accept:
        raise ContractBroken(f"{breaches}\nan operator refused it{note}; {remedy}")
    log.warning("contract: an operator accepted it%s", note)
    return f"an operator{note}"


def samples_to_read(verdict: Verdict, record: Record, folder: Path) -> Samples:
    """Some rows, with personal data masked, of each source that broke the contract: dropped ones of each reason that dropped more than last
    time, and cuts of each rule that cut or changed more."""
    broken = {change.source for change in verdict.changes if change.breach}
    grown = [change for change in verdict.changes if change.source in broken and change.change.startswith("+")]
    reasons = {(change.source, change.reason) for change in grown if change.reason}
    stages = funnel.drops({record.stage: {"stats": record.stats}}, {record.stage: folder}, SAMPLES) if reasons else []
    dropped = {
        (group.source, f"dropped: {reason.name}"): [row["excerpt"] or row["detail"] for row in group.examples]
        for stage in stages
        for reason in stage.reasons
        for group in reason.groups
        if (group.source, reason.name) in reasons
    }
    cuts = {
        (change.source, change.what): [
            f"{cut['before']}⟦{cut['cut']}⟧{cut['instead']}{cut['after']}"
            for cut in characters.shown_cuts(folder, change.source, SAMPLES).get(change.rule, [])
        ]
        for change in grown
        if change.rule
    }
    return dropped | cuts


def change_rows(verdict: Verdict, samples: Samples) -> list[dict[str, Any]]:
    """The rows of the table of what changed since the last run, breaches first."""
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
            "rows to read": "\n".join(samples.get((change.source, change.what), [])),
        }
        for change in verdict.changes
    ]


def contract_summary(verdict: Verdict) -> str:
    """The heading of that table, in Markdown."""
    breaches = f"**{len(verdict.breaches)} breaches**" if verdict.breaches else "no breach"
    against = (
        f"Compared with `{verdict.against[:12]}` of the last run: " if verdict.against else "First run, nothing to compare with: "
    )
    return f"# Contract of {verdict.node}\n{against}{breaches}"


def operator_question(name: str, verdict: Verdict, samples: Samples) -> str:
    """The text above the operator's form, in Markdown: the breaches, and sampled rows."""
    lines = [f"## {name} broke its contract", "", *(f"- {_plain(line)}" for line in verdict.breaches)]
    for (source, what), rows in samples.items():
        lines += ["", f"### Rows of {_plain(source)}, {_plain(what)}", *(f"- {_plain(row)}" for row in rows)]
    return "\n".join([*lines, "", f"All that changed is in the artifact `contract-{name}` of this run."])


def _plain(text: str) -> str:
    """Text of the data with the signs of Markdown and HTML escaped, on one line."""
    return "".join(f"\\{sign}" if sign in r"\`*_{}[]()#+!|<>~" else sign for sign in " ".join(text.split()))
