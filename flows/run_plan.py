"""The plan of a run, before anything is spent: HIT, MISS or RESUME for each stage, the field that changed, and the time it is expected to take.

- HIT: the artifact is there and whole.
- RESUME: it is not, but finished shards or checkpoints of it are.
- MISS: it will be built from the start. Below a stage that is yet to run, keys are not known: should it yield the same bytes as
  before, what follows is still a hit.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass, field, replace
from importlib.util import find_spec
from typing import Any, Literal, get_args

from flows.estimates import Estimate, estimate
from flows.graph import Node
from flows.inputs import Records
from flows.recipe import Recipe
from flows.traversal import ResolvedNode, resolved_nodes
from tasks.artifacts.build import Drift, drifted
from tasks.artifacts.stage import Resources
from tasks.artifacts.store import Record, Store
from tasks.pretrain import run as pretraining

ABSENT = "not there"
Status = Literal["HIT", "MISS", "RESUME"]


@dataclass(frozen=True)
class FieldChange:
    """A field that differs from the nearest earlier artifact of the stage. `new` is None where it is `pending`: not known yet. A side that has no
    such field is ABSENT."""

    field: str
    old: Any
    new: Any
    pending: bool = False


@dataclass(frozen=True)
class Planned:
    """One line of the plan: a node, what will happen to it and why."""

    name: str
    status: Status
    key: str | None  # None below a stage that is yet to run
    changed: list[FieldChange] = field(default_factory=list)
    last_seconds: float | None = None
    note: str = ""
    expected: Estimate | None = None  # of what is built; None where nothing is known of it

    def to_json(self) -> dict[str, Any]:
        return {key: value for key, value in asdict(self).items() if key != "note" or value}


def plan(
    nodes: Iterable[Node], store: Store, *, recipe: Recipe | None = None, refresh: Iterable[str] = (), drift: Drift = "warn"
) -> list[Planned]:
    """The plan of a run, in order. Writes nothing but notes of what it hashed, and those only if it can.

    Artifacts that runs of the `recipe` used are compared with before those of others.
    """
    earlier, forced = store.records(), set(refresh)
    own = {key for note in store.runs() if recipe and note["recipe"] == recipe.name for key in note["artifacts"].values()}
    trainings = [record for record in earlier if record.identity["stage"] == pretraining.name]
    resources = recipe.resources if recipe else Resources()
    records: Records = {}
    steps = []
    for resolved in resolved_nodes(nodes, store, records):
        name = resolved.node.name
        alike = [record for record in earlier if record.stage == name]
        alike = [record for record in alike if record.key in own] or alike
        step, record = _planned(resolved, store, alike, name in forced, drift)
        if record is not None:
            records[name] = record
        else:
            step = replace(step, expected=estimate(resolved.node, alike, trainings, resources))
        steps.append(step)
    return steps


def _planned(
    resolved: ResolvedNode, store: Store, earlier: list[Record], forced: bool, drift: Drift
) -> tuple[Planned, Record | None]:
    """A node's line of the plan, and its record where the run will reuse it. `earlier`: the node's records in the store, oldest first."""
    node, key = resolved.node, resolved.key
    seconds = earlier[-1].made.get("seconds") if earlier else None
    if key is None:
        changes = _changes(resolved.request.identity, earlier, resolved.pending)
        return Planned(node.name, "MISS", None, changes, seconds, f"needs {', '.join(resolved.waits_for)} first"), None
    damage: list[str] = []
    record = store.find(key, damaged=damage.append)
    other = drifted(node.stage, node.params, record) if record is not None else None
    code_changed = other is not None and not other.why
    if record is not None and not forced and not (code_changed and drift == "rebuild"):
        note = "reused, though the code of the stage has changed since" if code_changed else ""
        return Planned(node.name, "HIT", key, [], seconds, note), record
    note = (
        damage[0]
        if damage
        else "built again on request (refresh)"
        if forced
        else "built again because its code has changed (drift=rebuild)"
        if code_changed
        else ""
    )
    changes = [] if note else _changes(resolved.request.identity, earlier, {})
    started = any((store.work(key) / "scratch").glob("*")) and not forced
    if not note and not earlier:
        note = "never built in this store"
    return Planned(node.name, "RESUME" if started else "MISS", key, changes, seconds, note), None


def _changes(identity: dict[str, Any], earlier: list[Record], pending: dict[str, list[str]]) -> list[FieldChange]:
    """The fields that differ from the earlier artifact that differs least (among equals the newest)."""
    if not earlier:
        return []
    new = flatten(identity)
    waiting = {f"inputs.{role}" for role in pending}

    def differing(record: Record) -> list[FieldChange]:
        old = flatten(record.identity)
        compared = [f for f in {**old, **new} if not any(f == w or f.startswith(f"{w}.") for w in waiting)]
        return [
            FieldChange(f, old.get(f, ABSENT), new.get(f, ABSENT)) for f in compared if old.get(f, ABSENT) != new.get(f, ABSENT)
        ]

    nearest = min(reversed(earlier), key=lambda record: len(differing(record)))
    later = [FieldChange(f"inputs.{role}", _short(nearest.identity["inputs"].get(role, ABSENT)), None, True) for role in pending]
    return differing(nearest) + later


def _short(digest: Any) -> Any:
    """A digest as people read it: its beginning, or the number of inputs where it is a list."""
    return digest[:12] if isinstance(digest, str) else f"{len(digest)} inputs" if isinstance(digest, list) else digest


def flatten(value: Any, path: str = "") -> dict[str, Any]:
    """Nested fields as dotted names; [name, digest] pairs count as fields of that name."""
    if isinstance(value, dict):
        return {k: v for name, inner in value.items() for k, v in flatten(inner, f"{path}.{name}" if path else name).items()}
    if isinstance(value, list) and value and all(isinstance(pair, list) and len(pair) == 2 for pair in value):
        return {f"{path}.{name}": inner for name, inner in value}
    return {path: value}


def plan_rows(steps: list[Planned]) -> list[dict[str, str]]:
    """The plan as the rows of a table for people."""
    return [
        {
            "stage": step.name,
            "status": step.status,
            "why": "; ".join([*_reasons(step.changed), *([step.note] if step.note else [])]),
            "took last time": duration(step.last_seconds),
            "expected": "reused" if step.status == "HIT" else duration(step.expected.seconds) if step.expected else "not known",
            "key": step.key[:12] if step.key else "–",
        }
        for step in steps
    ]


def off_rows(off: dict[str, str]) -> list[dict[str, str]]:
    """The stages that a recipe goes without, as rows of the same table."""
    return [
        {"stage": stage, "status": "OFF", "why": why, "took last time": "–", "expected": "–", "key": "–"}
        for stage, why in off.items()
    ]


def plan_summary(steps: list[Planned]) -> str:
    """The plan in one sentence, which also says what each status means."""
    counts = {status: sum(step.status == status for step in steps) for status in get_args(Status)}
    meanings = {"HIT": "reused from the store", "RESUME": "begun earlier and continued", "MISS": "built"}
    parts = [f"{counts[status]} {status} ({meaning})" for status, meaning in meanings.items()]
    return f"{len(steps)} stages: {', '.join(parts)}. {_cost(steps)}{_slow_counting(steps)}This is a plan; nothing was run."


def _slow_counting(steps: list[Planned]) -> str:
    """A hint where words are to be counted and rjieba is missing."""
    if find_spec("rjieba") or all(step.name != "counts" or step.status == "HIT" for step in steps):
        return ""
    return "Words are counted by jieba, which takes longer: with rjieba it is faster (pip install 'hanlin[fast]'). "


def _cost(steps: list[Planned]) -> str:
    """`Expected for 13 of 15 stages: about 4:10 min and 0.07 GPU-hours (12 stages as earlier ones took, 1 by FLOPs; not counted: sft, dpo). `"""
    known = [step.expected for step in steps if step.expected]
    unknown = [step.name for step in steps if step.status != "HIT" and not step.expected]
    if not known:
        return "How long that takes is not known: no such stage was built in this store. " if unknown else ""
    hours = sum(each.accelerator_seconds for each in known) / 3600
    origins = {
        "record": "as earlier ones took",
        "FLOPs": "from the FLOPs of its training, at most",
    }
    counts = {name: sum(each.origin == name for each in known) for name in origins}
    parts = [f"{count} {'stage' if count == 1 else 'stages'} {origins[name]}" for name, count in counts.items() if count]
    rest = f"; not counted, since never built here: {', '.join(unknown)}" if unknown else ""
    gpu = f" and {hours:.2g} GPU-hours" if hours else ", no GPU"
    of = f" for {len(known)} of {len(known) + len(unknown)} stages" if unknown else ""
    return f"Expected{of}: about {duration(sum(each.seconds for each in known))}{gpu} ({', '.join(parts)}{rest}). "


def _reasons(changes: list[FieldChange]) -> list[str]:
    """Each change in words: `new file medical.csv`, `rows changed`, `tokenizer: not known yet`, `params.tokens: 400000 → 100000`."""
    return [_reason(change) for change in changes]


def _reason(change: FieldChange) -> str:
    section, _, rest = change.field.partition(".")
    if section != "inputs":
        return f"{change.field}: {_show(change.old)} → {_show(change.new)}"
    if change.pending:
        return f"{rest}: not known yet"
    role, _, name = rest.partition(".")
    what = f"file {name}" if name and role == "files" else f"{role} {name}" if name else role
    if change.old == ABSENT:
        return f"new {what}"
    return f"{what} is gone" if change.new == ABSENT else f"{what} changed"


def _show(value: Any) -> str:
    if value is None:
        return "none"
    text = str(value)
    return text[:12] if len(text) == 64 and not text.strip("0123456789abcdef") else text if len(text) <= 40 else f"{text[:37]}…"


def duration(seconds: float | None) -> str:
    """`3.2 s`, `4:05 min`, `2:30 h`; a dash for None."""
    if seconds is None:
        return "–"
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes}:{rest:02d} min" if minutes < 60 else f"{minutes // 60}:{minutes % 60:02d} h"
