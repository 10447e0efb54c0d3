"""The inputs of a node, as data: each names the nodes it needs, and knows how their records become paths and content digests."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

from flows.paths import expanded, matching_files
from flows.pins import Pins
from flows.recipe import Recipe
from tasks import base, sft
from tasks.artifacts.build import Input, files_input, text_digest
from tasks.artifacts.stage import Stage
from tasks.artifacts.store import Record, Store
from tasks.data import contract
from tasks.publication.lineage import READS, Step, source_origin

Records = dict[str, Record]  # node name → the record of its artifact, for the nodes known so far
Resolve = Callable[[Store, Records], Input]


@dataclass(frozen=True)
class NodeInput:
    """One input of a node: the names of the nodes it needs, and the function that turns their records into paths and digests."""

    needs: tuple[str, ...]
    resolve: Resolve


def earlier_artifact(record: Record) -> NodeInput:
    """An artifact of an earlier run."""
    return NodeInput((), lambda store, records: Input(store.object(record.key), record.digest, (record.key,)))


def earlier_artifact_as(name: str, record: Record) -> NodeInput:
    """An artifact of an earlier run, as the one folder of a mapping by name."""
    return NodeInput((), lambda store, records: Input({name: store.object(record.key)}, [[name, record.digest]], (record.key,)))


def folder(node: str) -> NodeInput:
    """The folder of a node's artifact."""
    return NodeInput(
        (node,), lambda store, records: Input(store.object(records[node].key), records[node].digest, (records[node].key,))
    )


def folders(nodes: dict[str, str]) -> NodeInput:
    """The folders of several nodes' artifacts, by name. Their order counts: among equal rows the earlier source wins."""

    def resolve(store: Store, records: Records) -> Input:
        return Input(
            {name: store.object(records[node].key) for name, node in nodes.items()},
            [[name, records[node].digest] for name, node in nodes.items()],
            tuple(records[node].key for node in nodes.values()),
        )

    return NodeInput(tuple(nodes.values()), resolve)


def raw_files(recipe: Recipe, pattern: str) -> NodeInput:
    """The raw files of one source on this machine's disk. Raises `ValueError` when resolved, where the pattern matches none."""

    def resolve(store: Store, records: Records) -> Input:
        root = recipe.raw_folder()
        digest = store.digests(Path("/"), f"raw-{text_digest(str(root.absolute()))[:16]}")
        files = [path.absolute() for path in matching_files(root, pattern)]
        if not files:
            raise ValueError(f"no file {root / pattern}; correct sources.*.path or fetch the file")
        return _files({path: digest(path) for path in files})

    return NodeInput((), resolve)


def outside_tokenizer(folder: str) -> NodeInput:
    """The file tokenizer.json of a tokenizer from outside."""

    def resolve(store: Store, records: Records) -> Input:
        path = expanded(folder).absolute() / "tokenizer.json"
        if not path.is_file():
            raise ValueError(f"no file {path}; correct tokenizer.base, or put the tokenizer there")
        return _files({path: store.digests(Path("/"), f"outside-{text_digest(str(path))[:16]}")(path)})

    return NodeInput((), resolve)


def model_files(folder: Path) -> NodeInput:
    """The files of a folder from which a model is read."""

    def resolve(store: Store, records: Records) -> Input:
        if problems := base.problems(folder):
            raise ValueError(f"base.path: {'; '.join(problems)}")
        digest = store.digests(Path("/"), f"outside-{text_digest(str(folder))[:16]}")
        return _files({path: digest(path) for path in base.chosen(folder)})

    return NodeInput((), resolve)


def earlier_tuning(recipe: Recipe, begin: str) -> NodeInput:
    """An earlier fine-tuning of the model of node `begin`, to go on from: a folder, or an artifact of the store.

    Where the name means this very run's own result (the newest `sft`, once it has run), it stands for the one that the result went on from,
    so that a repeated run is reused.
    """
    assert recipe.base
    name, folder = recipe.base.start, recipe.base.start_folder()

    def resolve(store: Store, records: Records) -> Input:
        if folder:
            nested = (path for part in ("adapter", "state") for path in (folder / part).rglob("*"))
            paths = sorted(path for path in (*nested, *folder.glob("adapter_*")) if path.is_file())
            digest = store.digests(Path("/"), f"start-{text_digest(str(folder))[:16]}")
            return Input(folder, [[str(path.relative_to(folder)), digest(path)] for path in paths])
        try:
            record = store.resolve(name)
        except ValueError as unknown:
            raise ValueError(f"base.start: {unknown}") from None
        inputs = {"model": records[begin].digest, "rows": records["split"].digest}
        identity = {"stage": sft.run.name, "params": recipe.sft.model_dump(mode="json")}
        while identity.items() <= record.identity.items() and inputs.items() <= record.identity["inputs"].items():
            if "start" not in record.lineage or (earlier := store.record(record.lineage["start"])) is None:
                break
            record = earlier
        return Input(store.object(record.key), record.digest, (record.key,))

    return NodeInput((begin, "split"), resolve)


def one_file(files: NodeInput, name: str) -> NodeInput:
    """The files of this name among several."""

    def resolve(store: Store, records: Records) -> Input:
        every = files.resolve(store, records)
        assert isinstance(every.value, list) and isinstance(every.digest, list)
        digests = {path: digest for path, (_, digest) in zip(every.value, every.digest, strict=True) if path.name == name}
        return _files(digests, every.keys)

    return NodeInput(files.needs, resolve)


def sample_files(pattern: str) -> NodeInput:
    """Files of the sample corpus: each source depends on its own files only, not on the whole artifact."""

    def resolve(store: Store, records: Records) -> Input:
        record = records["sample"]
        home = store.object(record.key)
        digests = {home / f["path"]: f["sha256"] for f in record.files if fnmatch(f["path"], pattern)}
        if not digests:
            raise ValueError(f"the sample corpus has no file {pattern}; it has {', '.join(f['path'] for f in record.files)}")
        return _files(digests, (record.key,))

    return NodeInput(("sample",), resolve)


def download_files(node: str) -> NodeInput:
    """The files of a download's artifact."""

    def resolve(store: Store, records: Records) -> Input:
        home = store.object(records[node].key)
        return _files({home / file["path"]: file["sha256"] for file in records[node].files}, (records[node].key,))

    return NodeInput((node,), resolve)


def upstream_pin(pins: Pins, name: str) -> NodeInput:
    """The pinned state of a source elsewhere, from which a download is made."""

    def resolve(store: Store, records: Records) -> Input:
        pin = pins(name, store)
        return Input(store.note(pin), [[what, pin[what]] for what in sorted(pin)])

    return NodeInput((), resolve)


def _files(digests: dict[Path, str], keys: tuple[str, ...] = ()) -> Input:
    """Files and their sha256 as an input. Named in the key by their path below the folder they share, so that the same files are the
    same input wherever they lie: on disk, in the sample corpus, in a download."""
    shared = os.path.commonpath([path.parent for path in digests])
    return files_input({str(path.relative_to(shared)): (path, digest) for path, digest in digests.items()}, keys)


def statistics(stages: Mapping[str, Stage]) -> NodeInput:
    """The statistics of the artifacts of these nodes, each with its stage, as a file for the report."""

    def resolve(store: Store, records: Records) -> Input:
        of_run = {name: records[name] for name in stages}
        known = origins(store, of_run)
        facts = {name: entry | known.get(name, {}) for name, entry in report_entries(of_run, stages).items()}
        return Input(
            store.note(facts), None
        )  # it follows from the artifacts, which are in the key; a licence changes none of them

    return NodeInput(tuple(stages), resolve)


def origins(store: Store, records: Records) -> dict[str, dict[str, Any]]:
    """The commit by which each node's artifact was made; of those that read a source also its origin: kind, address, state, licence, files."""
    steps = {record.key: Step(record, record.lineage) for record in records.values()}
    found: dict[str, dict[str, Any]] = {name: {"commit": steps[record.key].commit} for name, record in records.items()}
    for name, record in records.items():
        if record.identity["stage"] in READS:
            source = source_origin(store, steps[record.key], steps)
            found[name]["origin"] = {**vars(source.origin), "licence": source.licence, "files": source.files}
    return found


def report_entries(records: Records, stages: Mapping[str, Stage]) -> dict[str, dict[str, Any]]:
    """The part of each record that does not differ from machine to machine, by node: identity, sizes, lineage and statistics; and the place
    in the report that its stage asks for."""
    return {
        name: {
            "stage": record.identity["stage"],
            "title": record.title,
            "key": record.key,
            "digest": record.digest,
            "version": record.identity["version"],
            "bytes": record.bytes,
            "lineage": record.lineage,
            "reproducibility": record.reproducibility,
            "group": stages[name].group,
            "section": stages[name].section,
            "step": stages[name].step or stages[name].name,
            "stats": {key: value for key, value in record.stats.items() if key != "timing"},
        }
        for name, record in records.items()
    }


def note(facts: dict[str, Any]) -> NodeInput:
    """Facts that are known of a run beforehand, as a file for the report; a part of its key."""
    return NodeInput((), lambda store, records: Input(store.note(facts), text_digest(facts)))


def contracts(recipe: Recipe, stages: Mapping[str, Stage]) -> NodeInput:
    """The data stages' differences from the last run that made something else, as a file for the report.

    They are part of the report's key, since they do not follow from the artifacts.
    """
    names = [name for name, stage in stages.items() if contract.applies(stage)]

    def resolve(store: Store, records: Records) -> Input:
        notes = store.runs()
        facts = {}
        for name in names:
            last, _ = contract.last_run(store, notes, recipe.name, records[name])
            verdict = contract.judge(name, records[name].stats, store.object(records[name].key), recipe.contract, last)
            facts[name] = verdict.to_json()
        return Input(store.note(facts), text_digest(facts))

    return NodeInput(tuple(names), resolve)
