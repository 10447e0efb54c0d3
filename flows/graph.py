"""The pipeline as data: which stages, with which parameters, from which inputs. The flow walks it, and so does the plan."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

from flows.recipe import Recipe, matches
from tasks import dedup, dpo, evaluate, extract, ingest, pack, pretrain, rejected, report, sample, sft, split, tokenizer
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


def graph(recipe: Recipe) -> list[Node]:
    """The nodes of a run, in an order in which each comes after all it needs."""
    nodes: list[Node] = []

    def add(name: str, stage: Stage, params: Identity, **roles: Role) -> str:
        nodes.append(Node(name, stage, params, roles))
        return name

    if not recipe.raw:
        add("sample", sample.run, recipe.sample)
    rows: dict[str, str] = {}
    for name, source in recipe.sources.items():
        files = _sample_files(source.path) if not recipe.raw else _raw_files(recipe, source.path)
        if source.format == "wiki":
            params: Identity = extract.Params(
                source=name, simplify=source.simplify, tolerate_truncation=source.tolerate_truncation
            )
            rows[name] = add(f"extract-{name}", extract.run, params, files=files)
        else:
            params = ingest.Params(source=name, format=source.format, simplify=source.simplify)
            rows[name] = add(f"ingest-{name}", ingest.run, params, files=files)

    exams = {name: node for name, node in rows.items() if recipe.sources[name].format == "exam"}
    texts = {name: node for name, node in rows.items() if name not in exams}
    uses = {name: list(recipe.sources[name].use) for name in texts}
    questions = {name: node for name, node in exams.items() if "evaluate" in recipe.sources[name].use}

    add("dedup", dedup.run, recipe.dedup, sources=_folders(texts))
    add("filter", filters.run, recipe.filter, rows=_folder("dedup"), questions=_folders(questions))
    add("split", split.run, recipe.split.model_copy(update={"use": uses}), rows=_folder("filter"))
    add("tokenizer", tokenizer.run, recipe.tokenizer, rows=_folder("split"))
    add("pack", pack.run, pack.Params(), rows=_folder("split"), tokenizer=_folder("tokenizer"))
    add("pretrain", pretrain.run, recipe.pretrain, packed=_folder("pack"), tokenizer=_folder("tokenizer"))
    add("sft", sft.run, recipe.sft, model=_folder("pretrain"), rows=_folder("split"))
    add("rejected", rejected.run, recipe.rejected, model=_folder("sft"), rows=_folder("split"))
    add("dpo", dpo.run, recipe.dpo, model=_folder("sft"), pairs=_folder("rejected"))
    models = {name: name for name in ("pretrain", "sft", "dpo")}
    add(
        "evaluate",
        evaluate.run,
        recipe.evaluate,
        models=_folders(models),
        rows=_folder("split"),
        pairs=_folder("rejected"),
        questions=_folders(questions),
    )
    before = [node.name for node in nodes]
    titled = recipe.report.model_copy(update={"recipe": recipe.name})
    add("report", report.run, titled, artifacts=_folders({n: n for n in before}), statistics=_statistics(before))
    return nodes


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
    """Files on disk. Named in the key by their path below `raw`, so that the folder can move."""

    def resolve(store: Store, made: Made) -> Input:
        root = recipe.raw_folder()
        digest = store.digests(Path("/"), f"raw-{text_digest(str(root.absolute()))[:16]}")
        found = matches(root, pattern)
        if not found:
            raise ValueError(f"no file {root / pattern}; correct sources.*.path or fetch the file")
        return files_input({_below(root, path): (path, digest(path.absolute())) for path in found})

    return Role((), resolve)


def _below(root: Path, path: Path) -> str:
    return str(path.relative_to(root)) if path.is_relative_to(root) else path.name


def _sample_files(pattern: str) -> Role:
    """Files of the sample corpus: each source depends on its own files only, not on the whole artifact."""

    def resolve(store: Store, made: Made) -> Input:
        record = made["sample"]
        found = {f["path"]: f["sha256"] for f in record.files if fnmatch(f["path"], pattern)}
        if not found:
            raise ValueError(f"the sample corpus has no file {pattern}; it has {', '.join(f['path'] for f in record.files)}")
        home = store.object(record.key)
        return files_input({path: (home / path, sha256) for path, sha256 in found.items()}, (record.key,))

    return Role(("sample",), resolve)


def _statistics(nodes: list[str]) -> Role:
    """What the records say of the run so far, written where the report can read it."""

    def resolve(store: Store, made: Made) -> Input:
        facts: dict[str, Any] = {
            name: {
                "stage": made[name].identity["stage"],
                "title": made[name].title,
                "key": made[name].key,
                "digest": made[name].digest,
                "version": made[name].identity["version"],
                "bytes": made[name].bytes,
                "lineage": made[name].lineage,
                "reproducibility": made[name].reproducibility,
                "stats": {key: value for key, value in made[name].stats.items() if key != "timing"},
            }
            for name in nodes
        }
        return Input(store.note(facts), None)  # all of it follows from the artifacts, which are in the key

    return Role(tuple(nodes), resolve)
