"""The lineage of an artifact: every stage, source, file, licence, filter and commit that it came from, by the records' inputs.

It reads records alone, so it tells of artifacts whose files were collected, and of stages that it does not know. Of what was in a record that is
gone, only the key is left.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Any

from tasks.artifacts.store import Record, Store
from tasks.publication.licences import SAMPLE, UNKNOWN
from tasks.remote.request import Dump, Hub, Model, Urls

READS = ("extract", "ingest")  # stages that read the files of one source
# stage → the uses of a split's rows that it learns from (tasks/data/uses.py)
LEARNS = {"pack": {"pretrain"}, "pack_pairs": {"text2text"}, "sft": {"sft"}, "rejected": {"prompts", "pairs"}}
QUESTIONS = "questions"  # the role of what is searched for in rows, and never learned from


@dataclass(frozen=True)
class Step:
    """One artifact on the way, and `reads`, its inputs: role → key."""

    record: Record
    reads: dict[str, str]

    @property
    def name(self) -> str:
        return self.record.stage

    @property
    def kind(self) -> str:
        """The stage, where `name` is the node that ran it: `ingest-belle` is an `ingest`."""
        return str(self.record.identity.get("stage", self.record.stage))

    @property
    def commit(self) -> str:
        """The commit it was made by, with a + where that had uncommitted changes; empty where it is not known."""
        made = self.record.made
        return made.get("commit", "") and made["commit"][:12] + ("+" if made.get("dirty") else "")

    @property
    def day(self) -> str:
        return time.strftime("%Y-%m-%d", time.gmtime(self.record.made.get("finished", 0)))


@dataclass(frozen=True)
class Origin:
    """The place and state of a source's files, or of a base model's: as far as a download's record or a recipe says them."""

    kind: str  # dump, hub, model, urls, sample, files
    where: str  # a URL, without query; empty where nobody said it
    state: str  # a dump's date, a commit, a date that a recipe gives; empty where nobody said it
    name: str = ""  # of a dataset or model of the hub


@dataclass(frozen=True)
class SourceLineage:
    """One source of rows, or a model from outside: its origin, its files (name, sha256), and what became of its rows."""

    name: str
    key: str
    format: str
    licence: str
    origin: Origin
    files: tuple[tuple[str, str], ...]
    uses: tuple[str, ...]  # as the split has them
    learned: bool  # whether the artifact learned from it
    rows: dict[str, dict[str, Any]] = field(default_factory=dict)  # step → {in, kept, dropped}

    @property
    def read(self) -> int:
        return next((counts["in"] for counts in self.rows.values()), 0)

    @property
    def kept(self) -> int:
        return [*self.rows.values()][-1]["kept"] if self.rows else 0


@dataclass(frozen=True)
class Lineage:
    """An artifact's steps, each after those that it reads and the artifact last; its sources; and the keys whose records are gone."""

    steps: list[Step]
    sources: list[SourceLineage]
    gone: list[str]

    @property
    def target(self) -> Step:
        return self.steps[-1]

    @property
    def bases(self) -> list[SourceLineage]:
        """The models from outside that it began with."""
        return [source for source in self.sources if source.format == "model"]

    def of_kind(self, *kinds: str) -> list[Step]:
        return [step for step in self.steps if step.kind in kinds]


def lineage(store: Store, record: Record) -> Lineage:
    """The lineage of a record's artifact."""
    steps, gone = _walk(store, record)
    by_key = {step.record.key: step for step in steps}
    learned = _learned(steps)
    sources = []
    for step in steps:
        if step.kind in READS:
            sources.append(_source(store, step, by_key, learned, steps))
        elif step.kind == "base" or _with_outside_vocabulary(step):
            sources.append(_outside(store, step, by_key))
    return Lineage(steps, sources, gone)


def _with_outside_vocabulary(step: Step) -> bool:
    return step.kind == "tokenizer" and "base" in step.record.identity["inputs"] and "base" not in step.reads


def _walk(store: Store, record: Record) -> tuple[list[Step], list[str]]:
    """The steps in an order in which each comes after those that it reads, without recursion: a chain of re-trainings is long."""
    steps: dict[str, Step] = {}
    gone: dict[str, None] = {}
    known: dict[str, Record | None] = {record.key: record}
    waiting = [record.key]
    while waiting:
        key = waiting[-1]
        one = known.setdefault(key, store.record(key))
        if one is None:
            gone[key] = None
        ahead = [below for below in one.lineage.values() if below not in steps and below not in gone] if one else []
        if ahead:
            waiting += reversed(ahead)
            continue
        waiting.pop()
        if one and key not in steps:
            steps[key] = Step(one, dict(one.lineage))
    return list(steps.values()), list(gone)


def _learned(steps: list[Step]) -> dict[str, set[str]]:
    """Key of a data artifact → the uses whose rows the last step learned from, `*` for all of its rows.

    A corpus contains all that it reads; a model learned from what stages of `LEARNS` took from a split. What is only searched for (exam
    questions), or only counted for a vocabulary, is not learned.
    """
    learned: dict[str, set[str]] = {step.record.key: set() for step in steps}
    kinds = {step.record.key: step.kind for step in steps}
    if not any(kind in LEARNS or kind == "base" for kind in kinds.values()):
        learned[steps[-1].record.key].add("*")
    for step in reversed(steps):
        for role, key in step.reads.items():
            if key not in learned or role.split(".")[0] in (QUESTIONS, "tokenizer", "counts"):
                continue
            if step.kind in LEARNS and role == "rows":
                learned[key] |= LEARNS[step.kind] if kinds[key] == "split" else {"*"}
            elif step.kind not in ("counts", "tokenizer"):
                learned[key] |= learned[step.record.key]
    return learned


def source_origin(store: Store, step: Step, by_key: dict[str, Step]) -> SourceLineage:
    """The source that a step read, as far as its record, that of its download and the recipe's word tell; without what became of its rows."""
    params, note = step.record.identity["params"], store.source_note(step.record.key)
    origin = _origin(step, by_key, note)
    return SourceLineage(
        params["source"],
        step.record.key,
        params.get("format", "wiki"),
        SAMPLE if origin.kind == "sample" else note.get("licence", UNKNOWN),
        origin,
        tuple((file, digest) for file, digest in step.record.identity["inputs"].get("files", ())),
        (),
        False,
    )


def _source(store: Store, step: Step, by_key: dict[str, Step], learned: dict[str, set[str]], steps: list[Step]) -> SourceLineage:
    source = source_origin(store, step, by_key)
    uses: list[str] = []
    taken = False
    for other in steps:
        if other.kind in ("split", "triples") and step.record.key in _below(other, by_key):
            of = other.record.identity["params"].get("use", {}).get(source.name, ["extract"] if other.kind == "triples" else [])
            uses += [use for use in of if use not in uses]
            taken |= bool(learned[other.record.key] & {*of, "*"})
    if not uses:
        taken = "*" in learned[step.record.key]
    return replace(source, uses=tuple(uses), learned=taken, rows=_rows(source.name, step, by_key, steps))


def _below(step: Step, by_key: dict[str, Step]) -> set[str]:
    """The keys of all that a step came from, without what was only searched for."""
    found, waiting = set[str](), [step.record.key]
    while waiting:
        key = waiting.pop()
        if key in by_key and key not in found:
            found.add(key)
            waiting += [below for role, below in by_key[key].reads.items() if role.split(".")[0] != QUESTIONS]
    return found


def _rows(name: str, step: Step, by_key: dict[str, Step], steps: list[Step]) -> dict[str, dict[str, Any]]:
    """The counts of a source's rows at each step that came from it and counted them."""
    return {
        other.name: counts
        for other in steps
        if (counts := other.record.stats.get("funnel", {}).get(name))
        and (other is step or step.record.key in _below(other, by_key))
    }


def _outside(store: Store, step: Step, by_key: dict[str, Step]) -> SourceLineage:
    """A model, or a tokenizer, from outside."""
    inputs = step.record.identity["inputs"]
    files = inputs.get("files", inputs.get("base", ()))
    note = store.source_note(step.record.key)
    origin = _origin(step, by_key, note)
    return SourceLineage(
        origin.name or step.name,
        step.record.key,
        "model" if step.kind == "base" else "tokenizer",
        note.get("licence", UNKNOWN),
        origin,
        tuple((file, digest) for file, digest in files) if isinstance(files, list) else (),
        (),
        step.kind == "base",
    )


def _origin(step: Step, by_key: dict[str, Step], note: dict[str, Any]) -> Origin:
    """The origin of the files of a step: its download's request and pin, the sample corpus, or what a recipe says."""
    above = by_key.get(step.reads.get("files", ""))
    if above and above.kind == "sample":
        return Origin("sample", "", "")
    if not above or above.kind != "download":
        return Origin("files", shown_url(note.get("url", "")), note.get("date", ""))
    asked = above.record.identity["params"]["asked"]
    pin = dict(above.record.identity["inputs"].get("upstream", ()))
    if "dump" in asked:
        date = pin.get("date", "")
        return Origin("dump", f"https://dumps.wikimedia.org/{Dump(**asked).dump}/{date}/", date)
    if "hub" in asked:
        name = Hub(**asked).hub
        return Origin("hub", f"https://huggingface.co/datasets/{name}", pin.get("commit", ""), name)
    if "model" in asked:
        name = Model(**asked).model
        return Origin("model", f"https://huggingface.co/{name}", pin.get("commit", ""), name)
    return Origin("urls", " ".join(shown_url(link.url) for link in Urls(**asked).urls), above.day)


def shown_url(url: str) -> str:
    """A URL as it may be shown to anybody: without its query, in which a token may stand."""
    return url.partition("?")[0].partition("#")[0]


# -- as tables --------------------------------------------------------------------------------------------------------


def to_json(found: Lineage) -> dict[str, Any]:
    """The whole lineage, for scripts."""
    return {
        "artifact": found.target.record.key,
        "sources": [
            {
                "name": source.name,
                "key": source.key,
                "format": source.format,
                "licence": source.licence,
                "origin": vars(source.origin),
                "files": [{"name": name, "sha256": digest} for name, digest in source.files],
                "uses": list(source.uses),
                "learned": source.learned,
                "rows": source.rows,
            }
            for source in found.sources
        ],
        "steps": [
            {
                "stage": step.name,
                "kind": step.kind,
                "version": step.record.identity.get("version"),
                "key": step.record.key,
                "digest": step.record.digest,
                "made": step.day,
                "commit": step.record.made.get("commit", ""),
                "uncommitted_changes": bool(step.record.made.get("dirty")),
                "collected": step.record.collected,
                "reads": step.reads,
                "params": step.record.identity.get("params", {}),
            }
            for step in found.steps
        ],
        "gone": found.gone,
    }


def source_rows(found: Lineage) -> Iterator[dict[str, str]]:
    """The sources as rows of a table for people."""
    for source in found.sources:
        counted = f"{source.kept:,} of {source.read:,}" if source.rows else "–"
        use = ", ".join(source.uses) or (
            "base" if source.format == "model" else "vocabulary" if source.format == "tokenizer" else "evaluate"
        )
        yield {
            "source": source.name,
            "from": " ".join(filter(None, (source.origin.where or source.origin.kind, source.origin.state[:12]))),
            "files": _files_in_words(source),
            "licence": source.licence,
            "used for": use if source.learned else f"{use} (not learned from)",
            "rows kept": counted,
        }


def _files_in_words(source: SourceLineage) -> str:
    names = [name for name, _ in source.files]
    return ", ".join(names[:2]) + (f" and {len(names) - 2} more" if len(names) > 2 else "")


def drop_rows(found: Lineage) -> Iterator[dict[str, str]]:
    """The rows that each filter dropped, as rows of a table for people: the commonest reasons first."""
    for step in found.steps:
        funnel = step.record.stats.get("funnel", {})
        reasons: dict[str, int] = {}
        for counts in funnel.values():
            for reason, count in counts["dropped"].items():
                reasons[reason] = reasons.get(reason, 0) + count
        if funnel:
            yield {
                "step": step.name,
                "in": f"{sum(counts['in'] for counts in funnel.values()):,}",
                "kept": f"{sum(counts['kept'] for counts in funnel.values()):,}",
                "dropped for": ", ".join(
                    f"{why} {count:,}" for why, count in sorted(reasons.items(), key=lambda one: -one[1]) if count
                )
                or "–",
            }


def step_rows(found: Lineage) -> Iterator[dict[str, str]]:
    """The steps as rows of a table for people."""
    names = {step.record.key: step.name for step in found.steps}
    for step in found.steps:
        reads = dict.fromkeys(names.get(key, f"{key[:12]} (record gone)") for key in step.reads.values())
        yield {
            "stage": step.name,
            "version": str(step.record.identity.get("version", "")),
            "key": step.record.key[:12],
            "made": step.day + (" (collected)" if step.record.collected else ""),
            "commit": step.commit or "unknown",
            "reads": ", ".join(reads) or "–",
        }
