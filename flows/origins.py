"""The states of a recipe's sources, now and when last read: the difference is the new data that re-training looks for."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from flows.graph import Node, graph
from flows.recipe import Recipe, Source
from tasks.artifacts.build import text_digest
from tasks.artifacts.stage import Digest
from tasks.artifacts.store import Record, Store
from tasks.publication.licences import SAMPLE
from tasks.remote.request import request_kind


@dataclass(frozen=True)
class SourceState:
    """A source and two of its states: `now`, and `stored`, from which the newest artifact was made (None: there is none)."""

    source: str
    format: str
    kind: str  # dump, hub, urls, files, sample
    now: str
    stored: str | None
    change: str = ""  # from stored to now, in words; empty where there is none

    @property
    def new(self) -> bool:
        """True where the source has changed since its newest artifact."""
        return self.now != self.stored


def fingerprint(recipe: Recipe, source: str, store: Store) -> str:
    """The state of one source: a dump's date, a commit, what URLs serve, or a hash of the files. Equal as long as nothing is new."""
    return next(state for state in source_states(recipe, store) if state.source == source).now


def source_states(
    recipe: Recipe, store: Store, *, nodes: Sequence[Node] | None = None, records: Sequence[Record] | None = None
) -> list[SourceState]:
    """Every source's state, in the recipe's order. Looks moving downloads up once; without a network they stay what they are in the store.

    `nodes` are those of a run about to start, which then sees the same state of the world. `records` are the artifacts to compare with:
    those of an earlier run, else all that the store has. Raises ValueError for a source that can neither be looked up nor be found in
    the store.
    """
    by_name = {node.name: node for node in nodes or graph(recipe)}
    records = [record for record in store.records() if not record.collected] if records is None else list(records)
    return [_state(recipe, name, source, by_name, store, records) for name, source in recipe.sources.items()]


def source_facts(recipe: Recipe, node: Node) -> dict[str, str]:
    """Facts about the files that a node reads which no artifact's key has: licence, address and date, from the recipe. Empty for other nodes."""
    if node.stage.name == "base" and recipe.base:
        return {"licence": recipe.base.licence}
    name = getattr(node.params, "source", None)
    if node.stage.name not in ("extract", "ingest") or name not in recipe.sources:
        return {}
    source = recipe.sources[name]
    if recipe.sampled(source):
        return {"licence": SAMPLE, "url": "", "date": ""}
    return {"licence": source.licence, "url": source.url, "date": source.date}


def _state(recipe: Recipe, name: str, source: Source, nodes: dict[str, Node], store: Store, records: list[Record]) -> SourceState:
    if recipe.sampled(source):
        earlier = [record for record in records if record.identity["stage"] == "sample"]
        now, stored = (
            text_digest(recipe.sample.model_dump(mode="json")),
            [text_digest(r.identity["params"]) for r in earlier[-1:]],
        )
        before = stored[0] if stored else None
        change = "" if now == before else "the sample corpus with other settings" if before else "the sample corpus"
        return SourceState(name, source.format, "sample", now[:16], before and before[:16], change)
    node = next(nodes[f"{stage}-{name}"] for stage in ("download", "extract", "ingest") if f"{stage}-{name}" in nodes)
    if source.download:  # by the request: another source may have fetched it
        role, params = "upstream", node.params.model_dump(mode="json")
        earlier = [r for r in records if r.identity["params"] == params]
    else:
        role, earlier = "files", [r for r in records if r.stage == node.name]
    stored_digest = earlier[-1].identity["inputs"][role] if earlier else None
    now_digest = node.inputs[role].resolve(store, {}).digest
    now, before = _short(now_digest), stored_digest and _short(stored_digest)
    change = "" if now == before else _change(stored_digest, now_digest)
    return SourceState(name, source.format, request_kind(source.download) or "files", now, before, change)


def rows_in_words(before: Record | None, after: Record) -> str:
    """The rows that a source has more or fewer than before; empty where they are as many, or were never counted."""
    read = [sum(counts["in"] for counts in record.stats.get("funnel", {}).values()) for record in (before, after) if record]
    difference = read[-1] - (read[0] if before else 0)
    if not difference:
        return ""
    return f"{difference:,} rows" if difference > 0 else f"{-difference:,} rows fewer"


def _change(before: Digest | None, after: Digest | None) -> str:
    """Two states of a source's files in words: `1 file more: new.json`, `the dump of 20261101 (before: 20261001)`."""
    new = dict(after) if isinstance(after, list) else {}
    old = dict(before) if isinstance(before, list) else {}
    if len(new) == 1 and next(iter(new)) in ("date", "commit"):
        ((what, state),) = new.items()
        known = f" (before: {str(old[what])[:12]})" if what in old else ""
        return f"{'the dump of' if what == 'date' else 'commit'} {str(state)[:12]}{known}"
    kinds = {
        "more": [name for name in new if name not in old],
        "changed": [name for name in new if name in old and new[name] != old[name]],
        "gone": [name for name in old if name not in new],
    }
    parts = [f"{len(names)} file{'s' if len(names) > 1 else ''} {kind}: {_some(names)}" for kind, names in kinds.items() if names]
    return "; ".join(parts) or "other files"


def _some(names: Sequence[str]) -> str:
    """Up to three names, and the number of the others."""
    return ", ".join(names[:3]) + (f" and {len(names) - 3} others" if len(names) > 3 else "")


def _short(digest: Digest | None) -> str:
    """A date or a commit as it is; all else as the beginning of a hash."""
    if isinstance(digest, list) and len(digest) == 1 and digest[0][0] in ("date", "commit"):
        return digest[0][1]
    return text_digest(digest)[:16]
