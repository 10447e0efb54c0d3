"""Triple extraction as a task: rows to learn from and to score on, new weights of a shape, and scores."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer

from flows import recipe as recipes
from flows.graph import graph
from models import random_weights
from tasks import extraction, triples
from tasks.artifacts.stage import Job
from tasks.data.rows import read
from tasks.text import relations
from tests import tiny

WATER = "旁边的江河"


def source(folder: Path, rows: list[tuple[str, list[tuple[str, str, str]]]]) -> Path:
    made = [
        {"text": text, "triples": [dict(zip(("subject", "predicate", "object"), triple, strict=True)) for triple in given]}
        for text, given in rows
    ]
    tiny.write(folder / "triples" / "00000.parquet", "triples", made)
    return folder


def fact(number: int) -> tuple[str, list[tuple[str, str, str]]]:
    place = f"{'东南西北'[number % 4]}{number}镇"
    return f"{place}在第{number}江旁边。", [(place, WATER, f"第{number}江")]


def shaped(home: Path, sources: dict[str, Path], **params: Any) -> tuple[Path, dict[str, Any]]:
    job = Job(home / "out", home / "scratch", tiny.ONE)
    return job.out, triples.run(job, triples.Params(**params), sources=sources)


def turns(path: Path) -> list[tuple[str, str]]:
    return [tuple(turn["content"] for turn in row["messages"]) for row in read([path])]


def test_every_row_is_learned_from_held_out_or_dropped_with_a_reason(tmp_path: Path) -> None:
    rows = [fact(number) for number in range(60)]
    rows += [fact(3), ("长" * 600, [("长", "是", "长")]), ("无关的话。", [("李白", "职业", "诗人")])]
    rows.append(("李白是诗人。", [("李白", "职业", "诗人"), ("李白", "朝代", "唐")]))
    out, stats = shaped(tmp_path, {"duie": source(tmp_path / "duie", rows)}, valid_share=0.2)
    reasons = {"exact duplicate": 1, "too long": 1, "no triple that the text states": 1}
    assert stats["funnel"]["duie"] == {"in": 64, "kept": 61, "dropped": reasons}
    train, valid = turns(out / "sft" / "train.parquet"), turns(out / "sft" / "valid.parquet")
    assert stats["rows"] == {"train": len(train), "valid": len(valid), "scored": len(valid)} and 5 < len(valid) < 20
    assert turns(out / "scored" / "rows.parquet") == valid and not set(train) & set(valid)
    assert (relations.extraction_prompt("李白是诗人。"), "[(李白,职业,诗人)]") in train + valid and stats["unstated_triples"] == 1
    assert len(list(read([out / "dropped" / "00000.parquet"]))) == 3
    assert sum(stats["relations"]["train"].values()) == len(train)
    again, _ = shaped(tmp_path / "again", {"duie": source(tmp_path / "more", [*rows, fact(99)])}, valid_share=0.2)
    assert set(turns(again / "sft" / "valid.parquet")) >= set(valid), "a row more moves no other"


def test_what_is_scored_is_never_learned_from(tmp_path: Path) -> None:
    learned = source(tmp_path / "train", [fact(number) for number in range(40)])
    test = source(tmp_path / "dev", [fact(number) for number in range(30, 45)])
    out, stats = shaped(tmp_path, {"train": learned, "dev": test}, scored=("dev",))
    assert stats["rows"]["scored"] == 15 and stats["funnel"]["train"]["dropped"] == {"exact duplicate": 10}
    scored = set(turns(out / "scored" / "rows.parquet"))
    assert not scored & {*turns(out / "sft" / "train.parquet"), *turns(out / "sft" / "valid.parquet")}
    with pytest.raises(ValueError, match="no text with triples is left to learn from"):
        shaped(tmp_path / "none", {"train": test, "dev": test}, scored=("dev",))


def test_counts_by_relation_add_up_to_the_whole() -> None:
    truth = [[("李白", "职业", "诗人"), ("李白", "朝代", "唐")], [("杜甫", "职业", "诗人")], [("甲", "朝代", "宋")]]
    said = ["[(李白,职业,诗人),(李白,朝代,宋)]", "胡说", "[(甲,朝代,宋),(甲,职业,官)]"]
    found = relations.by_relation(said, truth)
    assert found["职业"] == relations.TripleScore(right=1, said=2, true=2, malformed=1, texts=2)
    assert found["朝代"] == relations.TripleScore(right=1, said=2, true=2, malformed=0, texts=2)
    whole = relations.score_all(said, truth)
    assert (whole.right, whole.said, whole.true, whole.malformed) == (2, 4, 4, 1)
    assert whole == relations.total(relations.score_each(said, truth))


def test_an_interval_holds_the_figure_and_narrows_with_texts() -> None:
    counts = [
        relations.TripleScore(1, 2, 2, 0, 1),
        relations.TripleScore(2, 2, 3, 0, 1),
        relations.TripleScore(0, 0, 2, 1, 1),
    ] * 10
    low, high = extraction.interval(counts, seed=0)
    assert low < relations.total(counts).f1 < high and high - low > 0.1
    narrow = extraction.interval(counts * 20, seed=0)
    assert narrow[1] - narrow[0] < 0.4 * (high - low)
    assert extraction.interval(counts, counts, seed=0) == (0.0, 0.0)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("model")
    return tiny.llama(folder / "llama", tiny.make_tokenizer(folder / "tokenizer", tiny.split(folder / "world")), context=512)


def test_new_weights_have_the_shape_and_the_tokenizer_and_nothing_learned(model: Path, tmp_path: Path) -> None:
    for name, seed in (("one", 1), ("same", 1), ("other", 2)):
        random_weights.reinitialise({"model": str(model / "model"), "out": str(tmp_path / name), "seed": seed})
    before, one = (AutoModelForCausalLM.from_pretrained(home) for home in (model / "model", tmp_path / "one"))
    assert AutoConfig.from_pretrained(tmp_path / "one").to_dict() == before.config.to_dict() | {
        "_name_or_path": str(tmp_path / "one")
    }
    assert not torch.equal(before.lm_head.weight, one.lm_head.weight) and one.lm_head.weight.std() < 0.03
    weights = {name: (tmp_path / name / "model.safetensors").read_bytes() for name in ("one", "same", "other")}
    assert weights["one"] == weights["same"] != weights["other"]
    old, new = (AutoTokenizer.from_pretrained(home) for home in (model / "model", tmp_path / "one"))
    assert old.get_vocab() == new.get_vocab() and old.chat_template == new.chat_template


def test_models_are_scored_on_what_they_write(model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    out, _ = shaped(tmp_path, {"duie": source(tmp_path / "duie", [fact(number) for number in range(60)])}, valid_share=0.2)
    job = Job(tmp_path / "scored", tmp_path / "s", tiny.ONE)
    params = extraction.Params(max_new_tokens=8, samples=2)
    stats = extraction.run(job, params, models={"a": model, "b": model}, rows=out)
    scores = json.loads((job.out / "scores.json").read_text("utf-8"))
    held_out = len(turns(out / "scored" / "rows.parquet"))
    assert scores["models"]["a"]["texts"] == scores["models"]["a"]["true"] == held_out, "one triple a text"
    assert scores["models"]["a"]["malformed"] == held_out, "a model that knows nothing writes no list"
    assert scores["models"]["a"]["relations"][WATER]["true"] == held_out
    assert stats["comparisons"] == [{"before": "a", "after": "b", "f1_change": 0.0, "low": 0.0, "high": 0.0}]
    shown = json.loads((job.out / "answers.json").read_text("utf-8"))
    assert len(shown) == 2 and shown[0]["answers"]["a"]["triples"] is None and shown[0]["text"].endswith("旁边。")


def recipe(**changed: Any) -> dict[str, Any]:
    sources = {"duie": {"format": "triples", "path": "triples/*.json", "use": ["extract"]}}
    return {"name": "ie", "base": {"pretrain": True}, "sources": sources | changed.pop("sources", {})} | changed


def test_a_recipe_says_what_triples_are_for() -> None:
    dev = {"format": "triples", "path": "triples/dev*.json", "use": ["evaluate"]}
    wiki = {"format": "wiki", "path": "wiki/*.bz2", "use": ["pretrain"]}
    good = recipe(sources={"dev": dev, "wiki": wiki}, extraction={"fresh": True}, pretrain={"context": 512})
    assert recipes.check(good) == []
    nodes = {node.name: node for node in graph(recipes.Recipe.model_validate(good))}
    assert list(nodes)[-5:] == ["fresh", "extractor-fresh", "extractor", "extraction", "report"]
    assert nodes["triples"].params.scored == ("dev",) and nodes["extractor"].inputs["model"].needs == ("pretrain",)
    problems = recipes.check(
        recipe(
            sources={
                "dev": dev | {"use": ["evaluate", "extract"]},
                "wiki": wiki | {"use": ["extract"]},
                "more": dev | {"use": ["sft"]},
            },
            extraction={"fresh": True, "sft": {"lora": {}}, "rows": {"scored": ["dev"]}},
        )
    )
    told = "\n".join(problems)
    for said in (
        "extraction: fresh weights must all be trained",
        "sources.dev.use: what is scored on is not learned from",
        "sources.wiki.use: extract learns from triples, and the format is wiki",
        "sources.more.use: triples are for extract",
        "extraction.rows.scored: decided by sources",
        "none has use: [pretrain]",
    ):
        assert said in told
