"""What a node reads, as data: where an input comes from, and how it becomes paths and digests once what it needs is made."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

from flows.pins import Pins
from flows.recipe import Recipe
from flows.validation import matches
from tasks import base, sft
from tasks.artifacts.build import Input, files_input, text_digest
from tasks.artifacts.store import Record, Store
from tasks.data import contract

Made = dict[str, Record]  # node name → the record of its artifact, for the nodes known so far
Resolve = Callable[[Store, Made], Input]


@dataclass(frozen=True)
class Role:
    """One input of a node: the nodes it needs, and how to turn their records into paths and digests."""

    needs: tuple[str, ...]
    resolve: Resolve


def kept(record: Record) -> Role:
    """An artifact of an earlier run."""
    return Role((), lambda store, made: Input(store.object(record.key), record.digest, (record.key,)))


def kept_as(name: str, record: Record) -> Role:
    """An artifact of an earlier run, in the place of a folder by name."""
    return Role((), lambda store, made: Input({name: store.object(record.key)}, [[name, record.digest]], (record.key,)))


def folder(node: str) -> Role:
    return Role((node,), lambda store, made: Input(store.object(made[node].key), made[node].digest, (made[node].key,)))


def folders(nodes: dict[str, str]) -> Role:
    """Folders by name. Their order counts: among equal rows the earlier source wins."""

    def resolve(store: Store, made: Made) -> Input:
        return Input(
            {name: store.object(made[node].key) for name, node in nodes.items()},
            [[name, made[node].digest] for name, node in nodes.items()],
            tuple(made[node].key for node in nodes.values()),
        )

    return Role(tuple(nodes.values()), resolve)


def raw_files(recipe: Recipe, pattern: str) -> Role:
    """Files on disk."""

    def resolve(store: Store, made: Made) -> Input:
        root = recipe.raw_folder()
        digest = store.digests(Path("/"), f"raw-{text_digest(str(root.absolute()))[:16]}")
        found = [path.absolute() for path in matches(root, pattern)]
        if not found:
            raise ValueError(f"no file {root / pattern}; correct sources.*.path or fetch the file")
        return _files({path: digest(path) for path in found})

    return Role((), resolve)


def outside_tokenizer(folder: str) -> Role:
    """The `tokenizer.json` of an outside tokenizer."""

    def resolve(store: Store, made: Made) -> Input:
        path = Path(os.path.expandvars(folder)).expanduser().absolute() / "tokenizer.json"
        if not path.is_file():
            raise ValueError(f"no file {path}; correct tokenizer.base, or put the tokenizer there")
        return _files({path: store.digests(Path("/"), f"outside-{text_digest(str(path))[:16]}")(path)})

    return Role((), resolve)


def model_folder(folder: Path) -> Role:
    """The files of a folder that a model is read from."""

    def resolve(store: Store, made: Made) -> Input:
        if wrong := base.problems(folder):
            raise ValueError(f"base.path: {'; '.join(wrong)}")
        digest = store.digests(Path("/"), f"outside-{text_digest(str(folder))[:16]}")
        return _files({path: digest(path) for path in base.chosen(folder)})

    return Role((), resolve)


def start(recipe: Recipe, begin: str) -> Role:
    """An earlier fine-tuning to go on from: a folder, or an artifact of the store. Where the name means this very run's own result (the newest
    `sft`, once it has run), it is what that was made from, so that a run that is repeated is reused."""
    assert recipe.base
    named, folder = recipe.base.start, recipe.base.start_folder()

    def resolve(store: Store, made: Made) -> Input:
        if folder:
            inside = (path for name in ("adapter", "state") for path in (folder / name).rglob("*"))
            paths = sorted(path for path in (*inside, *folder.glob("adapter_*")) if path.is_file())
            digest = store.digests(Path("/"), f"start-{text_digest(str(folder))[:16]}")
            return Input(folder, [[str(path.relative_to(folder)), digest(path)] for path in paths])
        try:
            record = store.resolve(named)
        except ValueError as unknown:
            raise ValueError(f"base.start: {unknown}") from None
        same = {"model": made[begin].digest, "rows": made["split"].digest}
        mine = {"stage": sft.run.name, "params": recipe.sft.model_dump(mode="json")}
        while mine.items() <= record.identity.items() and same.items() <= record.identity["inputs"].items():
            if "start" not in record.lineage or (earlier := store.record(record.lineage["start"])) is None:
                break
            record = earlier
        return Input(store.object(record.key), record.digest, (record.key,))

    return Role((begin, "split"), resolve)


def named(files: Role, name: str) -> Role:
    """One of several files, by its name."""

    def resolve(store: Store, made: Made) -> Input:
        found = files.resolve(store, made)
        assert isinstance(found.value, list) and isinstance(found.digest, list)
        kept = {path: digest for path, (_, digest) in zip(found.value, found.digest, strict=True) if path.name == name}
        return _files(kept, found.keys)

    return Role(files.needs, resolve)


def sample_files(pattern: str) -> Role:
    """Files of the sample corpus: each source depends on its own files only, not on the whole artifact."""

    def resolve(store: Store, made: Made) -> Input:
        record = made["sample"]
        home = store.object(record.key)
        found = {home / f["path"]: f["sha256"] for f in record.files if fnmatch(f["path"], pattern)}
        if not found:
            raise ValueError(f"the sample corpus has no file {pattern}; it has {', '.join(f['path'] for f in record.files)}")
        return _files(found, (record.key,))

    return Role(("sample",), resolve)


def downloaded(node: str) -> Role:
    """The files of a download."""

    def resolve(store: Store, made: Made) -> Input:
        home = store.object(made[node].key)
        return _files({home / file["path"]: file["sha256"] for file in made[node].files}, (made[node].key,))

    return Role((node,), resolve)


def pin(pins: Pins, name: str) -> Role:
    """The state that a download is of."""

    def resolve(store: Store, made: Made) -> Input:
        pin = pins(name, store)
        return Input(store.note(pin), [[what, pin[what]] for what in sorted(pin)])

    return Role((), resolve)


def _files(found: dict[Path, str], keys: tuple[str, ...] = ()) -> Input:
    """Files and their digests as an input. Named in the key by their path below the folder they share, so that the same files are the
    same input wherever they lie: on disk, in the sample corpus, in a download."""
    shared = os.path.commonpath([path.parent for path in found])
    return files_input({str(path.relative_to(shared)): (path, digest) for path, digest in found.items()}, keys)


def statistics(nodes: list[str]) -> Role:
    """What the records say of the run so far, written where the report can read it."""

    def resolve(store: Store, made: Made) -> Input:
        facts = entries({name: made[name] for name in nodes})
        return Input(store.note(facts), None)  # all of it follows from the artifacts, which are in the key

    return Role(tuple(nodes), resolve)


def entries(made: Made) -> dict[str, dict[str, Any]]:
    """What records say of their artifacts that does not differ from machine to machine."""
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
            "stats": {key: value for key, value in record.stats.items() if key != "timing"},
        }
        for name, record in made.items()
    }


def contracts(recipe: Recipe, nodes: list[str]) -> Role:
    """How the data stages differ from the last run that made something else. Part of the report's key: it does not follow from the artifacts."""
    data = [name for name in nodes if contract.applies(name)]

    def resolve(store: Store, made: Made) -> Input:
        notes = store.runs()
        facts = {}
        for name in data:
            last, _ = contract.last_run(store, notes, recipe.name, made[name])
            verdict = contract.judge(name, made[name].stats, store.object(made[name].key), recipe.contract, last)
            facts[name] = verdict.to_json()
        return Input(store.note(facts), text_digest(facts))

    return Role(tuple(data), resolve)
