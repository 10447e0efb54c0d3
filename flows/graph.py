"""The pipeline as data: which stages, with which parameters, from which inputs. The flow walks it, and so does the plan."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

from flows.pins import Pins
from flows.production import Production
from flows.recipe import Flow, Recipe, matches
from tasks import (
    base,
    contract,
    counts,
    dedup,
    download,
    dpo,
    evaluate,
    extract,
    extraction,
    fresh,
    gate,
    ingest,
    pack,
    pack_pairs,
    pretrain,
    reference,
    rejected,
    report,
    reward,
    sample,
    sft,
    split,
    tokenizer,
    triples,
)
from tasks import filter as filters
from tasks.build import Input, files_input, text_digest
from tasks.stage import Identity, Stage
from tasks.store import Record, Store

Made = dict[str, Record]  # node name → the record of its artifact, for the nodes known so far
Resolve = Callable[[Store, Made], Input]


@dataclass(frozen=True)
class Role:
    """One input of a node: the nodes it needs, and how to turn their records into paths and digests."""

    needs: tuple[str, ...]
    resolve: Resolve


@dataclass(frozen=True)
class Node:
    """One use of a stage in a run."""

    name: str
    stage: Stage
    params: Identity
    roles: dict[str, Role]

    @property
    def needs(self) -> list[str]:
        return list(dict.fromkeys(name for role in self.roles.values() for name in role.needs))


def graph(recipe: Recipe, flow: Flow | None = None, *, gated: bool = False, production: Production | None = None) -> list[Node]:
    """The nodes of a run, in an order in which each comes after all it needs. A corpus ends with the split and a report about it.

    `flow` is what to run; None: what the recipe is for. A re-training is `gated`: the gate judges its last model. Where there is a
    `production`, it has that one's tokenizer, pretraining goes on from that one's stable phase, and the gate compares with it.
    """
    flow = flow or recipe.flow
    nodes: list[Node] = []

    def add(name: str, stage: Stage, params: Identity, **roles: Role) -> str:
        nodes.append(Node(name, stage, params, roles))
        return name

    if any(recipe.sampled(source) for source in recipe.sources.values()):
        add("sample", sample.run, recipe.sample)
    fetched = recipe.base.asked() if recipe.base and flow == "finetune" else None
    pins = Pins(
        {f"sources.{name}": source.download for name, source in recipe.sources.items() if source.download}
        | ({"base": fetched} if fetched else {})
    )
    rows: dict[str, str] = {}
    for name, source in recipe.sources.items():
        if source.download:
            asked = download.Params(asked=source.download.moving())
            files = _downloaded(add(f"download-{name}", download.run, asked, upstream=_pin(pins, f"sources.{name}")))
        else:
            files = _sample_files(source.path) if recipe.sampled(source) else _raw_files(recipe, source.path)
        if source.format == "wiki":
            params: Identity = extract.Params(
                source=name,
                simplify=source.simplify,
                tables=source.tables,
                infoboxes=source.infoboxes,
                tolerate_truncation=source.tolerate_truncation,
            )
            rows[name] = add(f"extract-{name}", extract.run, params, files=files)
        else:
            params = ingest.Params(source=name, format=source.format, simplify=source.simplify, same_title=source.same_title)
            rows[name] = add(f"ingest-{name}", ingest.run, params, files=files)

    exams = {name: node for name, node in rows.items() if recipe.sources[name].format == "exam"}
    facts = {name: node for name, node in rows.items() if recipe.sources[name].format == "triples"}
    texts = {name: node for name, node in rows.items() if name not in exams | facts}
    uses = {name: list(recipe.sources[name].use) for name in texts}
    questions = {name: node for name, node in exams.items() if "evaluate" in recipe.sources[name].use}

    if texts or not facts:
        add("dedup", dedup.run, recipe.dedup, sources=_folders(texts))
        add("filter", filters.run, recipe.filter, rows=_folder("dedup"), questions=_folders(questions))
        add("split", split.run, recipe.split.model_copy(update={"use": uses}), rows=_folder("filter"))
    if learned := any("extract" in recipe.sources[name].use for name in facts):
        scored = tuple(name for name in facts if "evaluate" in recipe.sources[name].use)
        shape = recipe.extraction.rows.model_copy(update={"scored": scored})
        add("triples", triples.run, shape, sources=_folders(facts))
    if flow != "corpus":
        outside = flow == "finetune" and recipe.base and not recipe.base.pretrain
        begin = _outside_base(recipe, add, pins) if outside else _pretrained(recipe, add, production)
        if texts:
            _models(recipe, add, questions, begin)
        if learned:
            _extraction(recipe, add, begin)
    if gated:
        _gate(recipe, add, questions, production)
    before = [node.name for node in nodes]
    titled = recipe.report.model_copy(update={"recipe": recipe.name})
    add(
        "report",
        report.run,
        titled,
        artifacts=_folders({n: n for n in before}),
        statistics=_statistics(before),
        contracts=_contracts(recipe, before),
    )
    return nodes


def _pretrained(recipe: Recipe, add: Callable[..., str], production: Production | None) -> str:
    """From the split's rows to a new model; returns its node."""
    start = {}
    if production:
        tokens, learns = _kept(production.tokenizer), production.horizon(recipe.pretrain)
        start = {"start": _kept(production.pretrain)} if production.warm else {}
    else:
        add("counts", counts.run, counts.Params(), rows=_folder("split"))
        outside = {"base": _outside(recipe.tokenizer.base)} if recipe.tokenizer.base else {}
        learned = recipe.tokenizer.model_copy(update={"base": ""})  # what it holds is in the key, not where it lies
        add("tokenizer", tokenizer.run, learned, counts=_folder("counts"), rows=_folder("split"), **outside)
        tokens, learns = _folder("tokenizer"), recipe.pretrain
    packing = (pack_pairs.run, pack_pairs.Params()) if recipe.pretrain.text2text else (pack.run, recipe.pack)
    add("pack", *packing, rows=_folder("split"), tokenizer=tokens)
    return add("pretrain", pretrain.run, learns, packed=_folder("pack"), tokenizer=tokens, **start)


def _outside_base(recipe: Recipe, add: Callable[..., str], pins: Pins) -> str:
    """From a folder or the hub to a model that can be tuned; returns its node."""
    assert recipe.base
    if asked := recipe.base.asked():
        fetched = add("base-files", download.run, download.Params(asked=asked.moving()), upstream=_pin(pins, "base"))
        files = _downloaded(fetched)
    else:
        files = _model_folder(recipe.base.folder())
    roles = {"files": files}
    if recipe.base.extend:
        add("counts", counts.run, counts.Params(), rows=_folder("split"))
        grown = recipe.tokenizer.model_copy(update={"method": "extend", "vocab_size": recipe.base.extend, "base": ""})
        own = _named(files, "tokenizer.json")
        add("tokenizer", tokenizer.run, grown, counts=_folder("counts"), rows=_folder("split"), base=own)
        roles["tokenizer"] = _folder("tokenizer")
    return add("base", base.run, base.Params(), **roles)


def _models(recipe: Recipe, add: Callable[..., str], questions: dict[str, str], begin: str) -> None:
    """From the model to begin with to evaluated models. What no source of the recipe serves is left out."""
    used = {use for source in recipe.sources.values() for use in source.use}
    models = {begin: begin}
    pairs = {}
    if "sft" in used:
        start = {"start": _start(recipe, begin)} if recipe.base and recipe.base.start and recipe.flow == "finetune" else {}
        models["sft"] = add("sft", sft.run, recipe.sft, model=_folder(begin), rows=_folder("split"), **start)
    if "sft" in used and used & {"prompts", "pairs"}:
        add("rejected", rejected.run, recipe.rejected, model=_folder("sft"), rows=_folder("split"))
        pairs = {"pairs": _folder("rejected")}
        if recipe.reward:
            add("reward", reward.run, recipe.reward, model=_folder(begin), **pairs)
        add("reference", reference.run, reference.Params.of(recipe.dpo), model=_folder("sft"), **pairs)
        models["dpo"] = add("dpo", dpo.run, recipe.dpo, model=_folder("sft"), reference=_folder("reference"), **pairs)
    params = recipe.evaluate
    if recipe.base and begin == "base" and not recipe.base.chat:
        params = params.model_copy(update={"base": (*params.base, "base")})
    roles = {"models": _folders(models), "rows": _folder("split"), "questions": _folders(questions)}
    add("evaluate", evaluate.run, params, **roles, **pairs)


def _extraction(recipe: Recipe, add: Callable[..., str], begin: str) -> None:
    """The model to begin with, tuned for extracting triples, and new weights of its shape beside it where that is asked for."""
    asked = recipe.extraction
    models = {}
    if asked.fresh:
        add("fresh", fresh.run, fresh.Params(seed=asked.sft.seed), model=_folder(begin))
        models["extractor-fresh"] = add("extractor-fresh", sft.run, asked.sft, model=_folder("fresh"), rows=_folder("triples"))
    models["extractor"] = add("extractor", sft.run, asked.sft, model=_folder(begin), rows=_folder("triples"))
    add("extraction", extraction.run, asked.scores, models=_folders(models), rows=_folder("triples"))


def _gate(recipe: Recipe, add: Callable[..., str], questions: dict[str, str], production: Production | None) -> None:
    """The run's last model against the one in production, which is scored on this run's rows."""
    against = {}
    if production:
        add(
            "evaluate-prod",
            evaluate.run,
            recipe.evaluate.model_copy(update={"base": ()}),
            models=_kept_as("prod", production.model),
            rows=_folder("split"),
            pairs=_folder("rejected"),
            questions=_folders(questions),
        )
        against = {"prod": _folder("evaluate-prod")}
    add("gate", gate.run, recipe.gate, candidate=_folder("evaluate"), **against)


def _kept(record: Record) -> Role:
    """An artifact of an earlier run."""
    return Role((), lambda store, made: Input(store.object(record.key), record.digest, (record.key,)))


def _kept_as(name: str, record: Record) -> Role:
    """An artifact of an earlier run, in the place of a folder by name."""
    return Role((), lambda store, made: Input({name: store.object(record.key)}, [[name, record.digest]], (record.key,)))


def _folder(node: str) -> Role:
    return Role((node,), lambda store, made: Input(store.object(made[node].key), made[node].digest, (made[node].key,)))


def _folders(nodes: dict[str, str]) -> Role:
    """Folders by name. Their order counts: among equal rows the earlier source wins."""

    def resolve(store: Store, made: Made) -> Input:
        return Input(
            {name: store.object(made[node].key) for name, node in nodes.items()},
            [[name, made[node].digest] for name, node in nodes.items()],
            tuple(made[node].key for node in nodes.values()),
        )

    return Role(tuple(nodes.values()), resolve)


def _raw_files(recipe: Recipe, pattern: str) -> Role:
    """Files on disk."""

    def resolve(store: Store, made: Made) -> Input:
        root = recipe.raw_folder()
        digest = store.digests(Path("/"), f"raw-{text_digest(str(root.absolute()))[:16]}")
        found = [path.absolute() for path in matches(root, pattern)]
        if not found:
            raise ValueError(f"no file {root / pattern}; correct sources.*.path or fetch the file")
        return _files({path: digest(path) for path in found})

    return Role((), resolve)


def _outside(folder: str) -> Role:
    """The `tokenizer.json` of an outside tokenizer."""

    def resolve(store: Store, made: Made) -> Input:
        path = Path(os.path.expandvars(folder)).expanduser().absolute() / "tokenizer.json"
        if not path.is_file():
            raise ValueError(f"no file {path}; correct tokenizer.base, or put the tokenizer there")
        return _files({path: store.digests(Path("/"), f"outside-{text_digest(str(path))[:16]}")(path)})

    return Role((), resolve)


def _model_folder(folder: Path) -> Role:
    """The files of a folder that a model is read from."""

    def resolve(store: Store, made: Made) -> Input:
        if wrong := base.problems(folder):
            raise ValueError(f"base.path: {'; '.join(wrong)}")
        digest = store.digests(Path("/"), f"outside-{text_digest(str(folder))[:16]}")
        return _files({path: digest(path) for path in base.chosen(folder)})

    return Role((), resolve)


def _start(recipe: Recipe, begin: str) -> Role:
    """An earlier fine-tuning to go on from: a folder, or an artifact of the store. Where the name means this very run's own result (the newest
    `sft`, once it has run), it is what that was made from, so that a run that is repeated is reused."""
    assert recipe.base
    named, folder = recipe.base.start, recipe.base.start_folder()

    def resolve(store: Store, made: Made) -> Input:
        if folder:
            paths = sorted(path for name in ("adapter", "state") for path in (folder / name).rglob("*") if path.is_file())
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


def _named(files: Role, name: str) -> Role:
    """One of several files, by its name."""

    def resolve(store: Store, made: Made) -> Input:
        found = files.resolve(store, made)
        assert isinstance(found.value, list) and isinstance(found.digest, list)
        kept = {path: digest for path, (_, digest) in zip(found.value, found.digest, strict=True) if path.name == name}
        return _files(kept, found.keys)

    return Role(files.needs, resolve)


def _sample_files(pattern: str) -> Role:
    """Files of the sample corpus: each source depends on its own files only, not on the whole artifact."""

    def resolve(store: Store, made: Made) -> Input:
        record = made["sample"]
        home = store.object(record.key)
        found = {home / f["path"]: f["sha256"] for f in record.files if fnmatch(f["path"], pattern)}
        if not found:
            raise ValueError(f"the sample corpus has no file {pattern}; it has {', '.join(f['path'] for f in record.files)}")
        return _files(found, (record.key,))

    return Role(("sample",), resolve)


def _downloaded(node: str) -> Role:
    """The files of a download."""

    def resolve(store: Store, made: Made) -> Input:
        home = store.object(made[node].key)
        return _files({home / file["path"]: file["sha256"] for file in made[node].files}, (made[node].key,))

    return Role((node,), resolve)


def _pin(pins: Pins, name: str) -> Role:
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


def _statistics(nodes: list[str]) -> Role:
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


def _contracts(recipe: Recipe, nodes: list[str]) -> Role:
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
