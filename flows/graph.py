"""The pipeline as data: which stages, with which parameters, from which inputs. The flow walks it, and so does the plan."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from flows import inputs as roles
from flows.inputs import Role
from flows.pins import Pins
from flows.production import Production
from flows.recipe import Flow, Recipe
from tasks import (
    base,
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
from tasks.artifacts.stage import Identity, Stage
from tasks.formats.registry import reader


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

    def add(name: str, stage: Stage, params: Identity, **reads: Role) -> str:
        nodes.append(Node(name, stage, params, reads))
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
            files = roles.downloaded(add(f"download-{name}", download.run, asked, upstream=roles.pin(pins, f"sources.{name}")))
        else:
            files = roles.sample_files(source.path) if recipe.sampled(source) else roles.raw_files(recipe, source.path)
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

    exams = {name: node for name, node in rows.items() if reader(recipe.sources[name].format).kind == "questions"}
    facts = {name: node for name, node in rows.items() if reader(recipe.sources[name].format).kind == "triples"}
    texts = {name: node for name, node in rows.items() if name not in exams | facts}
    uses = {name: list(recipe.sources[name].use) for name in texts}
    questions = {name: node for name, node in exams.items() if "evaluate" in recipe.sources[name].use}

    if texts or not facts:
        add("dedup", dedup.run, recipe.dedup, sources=roles.folders(texts))
        add("filter", filters.run, recipe.filter, rows=roles.folder("dedup"), questions=roles.folders(questions))
        add("split", split.run, recipe.split.model_copy(update={"use": uses}), rows=roles.folder("filter"))
    if learned := any("extract" in recipe.sources[name].use for name in facts):
        scored = tuple(name for name in facts if "evaluate" in recipe.sources[name].use)
        shape = recipe.extraction.rows.model_copy(update={"scored": scored})
        add("triples", triples.run, shape, sources=roles.folders(facts))
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
        artifacts=roles.folders({n: n for n in before}),
        statistics=roles.statistics(before),
        contracts=roles.contracts(recipe, before),
    )
    return nodes


def _pretrained(recipe: Recipe, add: Callable[..., str], production: Production | None) -> str:
    """From the split's rows to a new model; returns its node."""
    start = {}
    if production:
        tokens, learns = roles.kept(production.tokenizer), production.horizon(recipe.pretrain)
        start = {"start": roles.kept(production.pretrain)} if production.warm else {}
    else:
        add("counts", counts.run, counts.Params(), rows=roles.folder("split"))
        outside = {"base": roles.outside_tokenizer(recipe.tokenizer.base)} if recipe.tokenizer.base else {}
        learned = recipe.tokenizer.model_copy(update={"base": ""})  # what it holds is in the key, not where it lies
        add("tokenizer", tokenizer.run, learned, counts=roles.folder("counts"), rows=roles.folder("split"), **outside)
        tokens, learns = roles.folder("tokenizer"), recipe.pretrain
    packing = (pack_pairs.run, pack_pairs.Params()) if recipe.pretrain.text2text else (pack.run, recipe.pack)
    add("pack", *packing, rows=roles.folder("split"), tokenizer=tokens)
    return add("pretrain", pretrain.run, learns, packed=roles.folder("pack"), tokenizer=tokens, **start)


def _outside_base(recipe: Recipe, add: Callable[..., str], pins: Pins) -> str:
    """From a folder or the hub to a model that can be tuned; returns its node."""
    assert recipe.base
    if asked := recipe.base.asked():
        fetched = add("base-files", download.run, download.Params(asked=asked.moving()), upstream=roles.pin(pins, "base"))
        files = roles.downloaded(fetched)
    else:
        files = roles.model_folder(recipe.base.folder())
    reads = {"files": files}
    if recipe.base.extend:
        add("counts", counts.run, counts.Params(), rows=roles.folder("split"))
        grown = recipe.tokenizer.model_copy(update={"method": "extend", "vocab_size": recipe.base.extend, "base": ""})
        own = roles.named(files, "tokenizer.json")
        add("tokenizer", tokenizer.run, grown, counts=roles.folder("counts"), rows=roles.folder("split"), base=own)
        reads["tokenizer"] = roles.folder("tokenizer")
    return add("base", base.run, base.Params(chat=recipe.base.chat), **reads)


def _models(recipe: Recipe, add: Callable[..., str], questions: dict[str, str], begin: str) -> None:
    """From the model to begin with to evaluated models. What no source of the recipe serves is left out."""
    used = {use for source in recipe.sources.values() for use in source.use}
    models = {begin: begin}
    pairs = {}
    if "sft" in used:
        start = {"start": roles.start(recipe, begin)} if recipe.base and recipe.base.start and recipe.flow == "finetune" else {}
        models["sft"] = add("sft", sft.run, recipe.sft, model=roles.folder(begin), rows=roles.folder("split"), **start)
    if "sft" in used and used & {"prompts", "pairs"}:
        add("rejected", rejected.run, recipe.rejected, model=roles.folder("sft"), rows=roles.folder("split"))
        pairs = {"pairs": roles.folder("rejected")}
        if recipe.reward:
            add("reward", reward.run, recipe.reward, model=roles.folder(begin), **pairs)
        add("reference", reference.run, reference.Params.of(recipe.dpo), model=roles.folder("sft"), **pairs)
        models["dpo"] = add("dpo", dpo.run, recipe.dpo, model=roles.folder("sft"), reference=roles.folder("reference"), **pairs)
    params = recipe.evaluate
    if recipe.base and begin == "base" and not recipe.base.chat:
        params = params.model_copy(update={"base": (*params.base, "base")})
    reads = {"models": roles.folders(models), "rows": roles.folder("split"), "questions": roles.folders(questions)}
    add("evaluate", evaluate.run, params, **reads, **pairs)


def _extraction(recipe: Recipe, add: Callable[..., str], begin: str) -> None:
    """The model to begin with, tuned for extracting triples, and new weights of its shape beside it where that is asked for."""
    asked = recipe.extraction
    models = {}
    if asked.fresh:
        add("fresh", fresh.run, fresh.Params(seed=asked.sft.seed), model=roles.folder(begin))
        models["extractor-fresh"] = add(
            "extractor-fresh", sft.run, asked.sft, model=roles.folder("fresh"), rows=roles.folder("triples")
        )
    models["extractor"] = add("extractor", sft.run, asked.sft, model=roles.folder(begin), rows=roles.folder("triples"))
    add("extraction", extraction.run, asked.scores, models=roles.folders(models), rows=roles.folder("triples"))


def _gate(recipe: Recipe, add: Callable[..., str], questions: dict[str, str], production: Production | None) -> None:
    """The run's last model against the one in production, which is scored on this run's rows."""
    against = {}
    if production:
        add(
            "evaluate-prod",
            evaluate.run,
            recipe.evaluate.model_copy(update={"base": ()}),
            models=roles.kept_as("prod", production.model),
            rows=roles.folder("split"),
            pairs=roles.folder("rejected"),
            questions=roles.folders(questions),
        )
        against = {"prod": roles.folder("evaluate-prod")}
    add("gate", gate.run, recipe.gate, candidate=roles.folder("evaluate"), **against)
