"""The graph of a run, as data: stages with their parameters and inputs, in order. Flow, plan and benchmarks go through the same graph."""

from __future__ import annotations

from dataclasses import dataclass, replace

from flows import inputs
from flows.inputs import NodeInput
from flows.pins import Pins
from flows.production import Production
from flows.recipe import Flow, Recipe, Source
from flows.run_facts import run_facts
from flows.switched_off import begins_outside, switched_off
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

READING = {stage.name for stage in (sample.run, download.run, extract.run, ingest.run)}


@dataclass(frozen=True)
class Node:
    """One use of a stage in a run: its name there, its parameters, and its inputs by role."""

    name: str
    stage: Stage
    params: Identity
    inputs: dict[str, NodeInput]

    @property
    def needs(self) -> list[str]:
        """The nodes whose artifacts it reads, each once."""
        return list(dict.fromkeys(name for source in self.inputs.values() for name in source.needs))

    @property
    def reads_a_source(self) -> bool:
        """True of what leads to the rows of one source, which no other source's rows are needed for."""
        return self.stage.name in READING and self.stage.group == "data"


def up_to(nodes: list[Node], until: str) -> list[Node]:
    """The nodes up to and with the one of that name; all of them for an empty name."""
    return nodes[: [node.name for node in nodes].index(until) + 1] if until else nodes


def graph(recipe: Recipe, flow: Flow | None = None, *, gated: bool = False, production: Production | None = None) -> list[Node]:
    """The nodes of a run, in an order in which each comes after all it needs. A corpus ends with the split and a report about it.

    `flow` is what to run; None: what the recipe is for. A re-training is `gated`: the gate judges its last model. Where there is a
    `production`, it has that one's tokenizer, pretraining goes on from that one's stable phase, and the gate compares with it.
    """
    flow = flow or recipe.flow
    builder = _Builder(recipe, flow, production)
    rows = builder.add_sources()
    exams = {name: node for name, node in rows.items() if reader(recipe.sources[name].format).kind == "questions"}
    facts = {name: node for name, node in rows.items() if reader(recipe.sources[name].format).kind == "triples"}
    texts = {name: node for name, node in rows.items() if name not in exams | facts}
    questions = {name: node for name, node in exams.items() if "evaluate" in recipe.sources[name].use}

    if "corpus" not in builder.off:
        builder.add_corpus(texts, questions)
    if extracts := any("extract" in recipe.sources[name].use for name in facts):
        builder.add_triples(facts)
    if flow != "corpus":
        begin = builder.add_outside_base() if begins_outside(recipe, flow) else builder.add_pretraining()
        if "evaluate" not in builder.off:
            builder.add_tuned_models(questions, begin)
        if extracts:
            builder.add_triple_extraction(begin)
    if gated:
        builder.add_gate(questions)
    builder.add_report()
    return builder.nodes


class _Builder:
    """A graph in the making: each method adds the nodes of one part of it."""

    def __init__(self, recipe: Recipe, flow: Flow, production: Production | None):
        self.recipe, self.flow, self.production = recipe, flow, production
        self.nodes: list[Node] = []
        self.off = switched_off(recipe, flow)
        requests = {f"sources.{name}": source.download for name, source in recipe.sources.items() if source.download}
        base_request = recipe.base.hub_request() if recipe.base and flow == "finetune" else None
        self.pins = Pins(requests | ({"base": base_request} if base_request else {}))

    def add(self, name: str, stage: Stage, params: Identity, **sources: NodeInput) -> str:
        """Add a node, and return its name."""
        self.nodes.append(Node(name, stage, params, sources))
        return name

    def add_sources(self) -> dict[str, str]:
        """Every source's files, read as rows; the node of each source's rows by the source's name."""
        recipe = self.recipe
        if any(recipe.sampled(source) for source in recipe.sources.values()):
            self.add("sample", sample.run, recipe.sample)
        return {name: self._add_source(name, source) for name, source in recipe.sources.items()}

    def _add_source(self, name: str, source: Source) -> str:
        if source.download:
            request = download.Params(asked=source.download.moving())
            pin = inputs.upstream_pin(self.pins, f"sources.{name}")
            files = inputs.download_files(self.add(f"download-{name}", download.run, request, upstream=pin))
        elif self.recipe.sampled(source):
            files = inputs.sample_files(source.path)
        else:
            files = inputs.raw_files(self.recipe, source.path)
        if source.format == "wiki":
            wiki = extract.Params(
                source=name,
                simplify=source.simplify,
                tables=source.tables,
                infoboxes=source.infoboxes,
                tolerate_truncation=source.tolerate_truncation,
                broken=source.broken,
            )
            return self.add(f"extract-{name}", extract.run, wiki, files=files)
        rules = self.recipe.filter.sources.get(name, self.recipe.filter)
        params = ingest.Params(
            source=name,
            format=source.format,
            columns=source.columns,
            simplify=source.simplify,
            same_title=source.same_title,
            cut=source.cut,
            max_document=rules.max_document,
            split=rules.too_long == "split",
            tolerate_truncation=source.tolerate_truncation,
            broken=source.broken,
        )
        return self.add(f"ingest-{name}", ingest.run, params, files=files)

    def add_corpus(self, texts: dict[str, str], questions: dict[str, str]) -> None:
        """From rows to deduplicated, filtered and split rows, none of which holds a question of the evaluation."""
        recipe = self.recipe
        uses = {name: list(recipe.sources[name].use) for name in texts}
        self.add("dedup", dedup.run, recipe.dedup, sources=inputs.folders(texts))
        self.add("filter", filters.run, recipe.filter, rows=inputs.folder("dedup"), questions=inputs.folders(questions))
        self.add("split", split.run, recipe.split.model_copy(update={"use": uses}), rows=inputs.folder("filter"))

    def add_triples(self, facts: dict[str, str]) -> None:
        """Texts with triples, as prompts and answers."""
        scored = tuple(name for name in facts if "evaluate" in self.recipe.sources[name].use)
        params = self.recipe.extraction.rows.model_copy(update={"scored": scored})
        self.add("triples", triples.run, params, sources=inputs.folders(facts))

    def add_pretraining(self) -> str:
        """From the split's rows to a new model; returns its node."""
        recipe, production = self.recipe, self.production
        start = {}
        if production:
            tokens, params = inputs.earlier_artifact(production.tokenizer), production.horizon(recipe.pretrain)
            start = {"start": inputs.earlier_artifact(production.pretrain)} if production.warm else {}
        else:
            outside = {"base": inputs.outside_tokenizer(recipe.tokenizer.base)} if recipe.tokenizer.base else {}
            self._add_tokenizer(
                recipe.tokenizer.model_copy(update={"base": ""}), **outside
            )  # its key has what it holds, not its place
            tokens, params = inputs.folder("tokenizer"), recipe.pretrain
        packing = (pack_pairs.run, pack_pairs.Params()) if recipe.pretrain.text2text else (pack.run, recipe.pack)
        self.add("pack", *packing, rows=inputs.folder("split"), tokenizer=tokens)
        return self.add("pretrain", pretrain.run, params, packed=inputs.folder("pack"), tokenizer=tokens, **start)

    def add_outside_base(self) -> str:
        """From a folder or the hub to a model that can be tuned; returns its node."""
        base_model = self.recipe.base
        assert base_model
        if request := base_model.hub_request():
            params = download.Params(asked=request.moving())
            node = self.add(
                "base-files", replace(download.run, group="model"), params, upstream=inputs.upstream_pin(self.pins, "base")
            )
            files = inputs.download_files(node)
        else:
            files = inputs.model_files(base_model.folder())
        sources = {"files": files}
        if base_model.extend:
            update = {"method": "extend", "vocab_size": base_model.extend, "base": ""}
            self._add_tokenizer(self.recipe.tokenizer.model_copy(update=update), base=inputs.one_file(files, "tokenizer.json"))
            sources["tokenizer"] = inputs.folder("tokenizer")
        return self.add("base", base.run, base.Params(chat=base_model.chat), **sources)

    def _add_tokenizer(self, params: tokenizer.Params, **sources: NodeInput) -> None:
        rows = inputs.folder("split")
        self.add("counts", counts.run, counts.Params(), rows=rows)
        self.add("tokenizer", tokenizer.run, params, counts=inputs.folder("counts"), rows=rows, **sources)

    def add_tuned_models(self, questions: dict[str, str], begin: str) -> None:
        """From the model of node `begin` to evaluated models. What no source of the recipe serves is left out."""
        recipe, rows = self.recipe, inputs.folder("split")
        models = {begin: begin}
        pairs = {}
        if "sft" not in self.off:
            goes_on = recipe.base and recipe.base.start and recipe.flow == "finetune"
            start = {"start": inputs.earlier_tuning(recipe, begin)} if goes_on else {}
            models["sft"] = self.add("sft", sft.run, recipe.sft, model=inputs.folder(begin), rows=rows, **start)
        if "dpo" not in self.off:
            model = inputs.folder("sft" if "sft" in models else begin)
            self.add("rejected", rejected.run, recipe.rejected, model=model, rows=rows)
            pairs = {"pairs": inputs.folder("rejected")}
            if recipe.reward:
                self.add("reward", reward.run, recipe.reward, model=inputs.folder(begin), **pairs)
            self.add("reference", reference.run, reference.Params.of(recipe.dpo), model=model, **pairs)
            models["dpo"] = self.add("dpo", dpo.run, recipe.dpo, model=model, reference=inputs.folder("reference"), **pairs)
        params = recipe.evaluate
        if recipe.base and begin == "base" and not recipe.base.chat:
            params = params.model_copy(update={"base": (*params.base, "base")})
        sources = {"models": inputs.folders(models), "questions": inputs.folders(questions), **self._facts()}
        if "corpus" not in self.off:
            sources["rows"] = rows
        self.add("evaluate", evaluate.run, params, **sources, **pairs)

    def _facts(self) -> dict[str, NodeInput]:
        """The facts that the sample corpus tells, where a source reads it."""
        sampled = any(self.recipe.sampled(source) for source in self.recipe.sources.values())
        return {"known": inputs.sample_files("facts.json")} if sampled else {}

    def add_triple_extraction(self, begin: str) -> None:
        """The model of node `begin`, tuned for extracting triples and scored, beside new weights of its shape where the recipe says so."""
        section, rows = self.recipe.extraction, inputs.folder("triples")
        models = {}
        if section.fresh:
            self.add("fresh", fresh.run, fresh.Params(seed=section.sft.seed), model=inputs.folder(begin))
            name = "extractor-fresh"
            models[name] = self.add(name, sft.run, section.sft, model=inputs.folder("fresh"), rows=rows)
        models["extractor"] = self.add("extractor", sft.run, section.sft, model=inputs.folder(begin), rows=rows)
        self.add("extraction", extraction.run, section.scores, models=inputs.folders(models), rows=rows)

    def add_gate(self, questions: dict[str, str]) -> None:
        """The run's last model against the one in production, which is scored on this run's rows."""
        against = {}
        pairs = {} if "dpo" in self.off else {"pairs": inputs.folder("rejected")}
        if self.production:
            self.add(
                "evaluate-prod",
                evaluate.run,
                self.recipe.evaluate.model_copy(update={"base": ()}),
                models=inputs.earlier_artifact_as("prod", self.production.model),
                rows=inputs.folder("split"),
                questions=inputs.folders(questions),
                **pairs,
                **self._facts(),
            )
            against = {"prod": inputs.folder("evaluate-prod")}
        self.add("gate", gate.run, self.recipe.gate, candidate=inputs.folder("evaluate"), **against)

    def add_report(self) -> None:
        """The page about all that the run made."""
        before = {node.name: node.stage for node in self.nodes}
        self.add(
            "report",
            report.run,
            self.recipe.report.model_copy(update={"recipe": self.recipe.name}),
            artifacts=inputs.folders({name: name for name in before}),
            statistics=inputs.statistics(before),
            contracts=inputs.contracts(self.recipe, before),
            switched_off=inputs.note(self.off),
            about=run_facts(self.recipe, before),
        )
