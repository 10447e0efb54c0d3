"""The lineage of models and corpora, from the records of a store."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from flows import recipe as recipes
from flows.cli import app
from flows.graph import graph
from flows.origins import source_facts
from tasks.publication.lineage import Lineage, lineage, shown_url
from tasks.publication.target import resolve
from tests.published import COMMIT, Published, add_base, corpus, model_files, models


@pytest.fixture
def made(tmp_path: Path) -> Published:
    return models(corpus(tmp_path / "store"))


def found(made: Published, name: str) -> Lineage:
    return lineage(made.store, made.record(name))


def test_a_model_leads_to_every_dump_file_licence_filter_and_commit(made: Published) -> None:
    dpo = found(made, "dpo")
    assert [step.name for step in dpo.steps][-1] == "dpo" and {step.commit for step in dpo.steps} == {COMMIT[:12]}
    order = {step.record.key: number for number, step in enumerate(dpo.steps)}
    assert all(order[key] < order[step.record.key] for step in dpo.steps for key in step.reads.values())
    wiki, belle, own, exam = sorted(dpo.sources, key=lambda source: ["wiki", "belle", "own", "exam"].index(source.name))
    assert (wiki.origin.where, wiki.origin.state) == ("https://dumps.wikimedia.org/zhwiki/20261101/", "20261101")
    assert (belle.origin.where, belle.origin.state) == ("https://huggingface.co/datasets/BelleGroup/train_2M_CN", "a" * 40)
    assert (own.origin.where, own.origin.state) == ("https://example.org/rows.json", "2026-10")
    assert [source.licence for source in (wiki, belle, own)] == ["CC-BY-SA-4.0 OR GFDL-1.3-or-later", "GPL-3.0-only", "MIT"]
    assert wiki.files == (("wiki.bz2", "0" * 64),) and wiki.uses == ("pretrain",)
    assert list(wiki.rows) == ["extract-wiki", "dedup", "filter", "split"] and (wiki.read, wiki.kept) == (100, 80)
    assert (own.read, own.kept) == (50, 36)
    assert [source.learned for source in (wiki, belle, own, exam)] == [True, True, True, False]


def test_a_model_has_learned_from_what_its_own_stages_read(made: Published) -> None:
    learned = {
        name: {source.name for source in found(made, name).sources if source.learned}
        for name in ("pretrain", "sft", "dpo", "rejected", "split")
    }
    assert learned == {
        "pretrain": {"wiki"},
        "sft": {"wiki", "belle"},
        "rejected": {"wiki", "belle", "own"},  # the answers in it are the fine-tuned model's
        "dpo": {"wiki", "belle", "own"},
        "split": {"wiki", "belle", "own"},
    }


def test_collected_artifacts_and_lost_records_are_told(made: Published) -> None:
    made.store.put(made.record("pack").model_copy(update={"collected": True}))
    (made.store.root / "records" / f"{made.key['download-wiki']}.json").unlink()
    dpo = found(made, "dpo")
    assert dpo.gone == [made.key["download-wiki"]]
    wiki = next(source for source in dpo.sources if source.name == "wiki")
    assert wiki.origin.kind == "files" and wiki.learned, "what it was made from is unknown, not what it was used for"


def test_a_retrained_model_leads_through_the_earlier_pretraining(made: Published) -> None:
    made.add("extract-wiki", "extract", {"files": [["wiki-new.bz2", "9" * 64]]}, {}, source="wiki")
    made.add("split", "split", {}, {"rows": "extract-wiki"}, use={"wiki": ["pretrain"]})
    before = made.key["pretrain"]
    made.add("pack", "pack", {}, {"rows": "split", "tokenizer": "tokenizer"})
    made.add(
        "pretrain",
        "pretrain",
        {},
        {"packed": "pack", "tokenizer": "tokenizer", "start": before},
        model_files(),
        preset="tiny",
        again=True,
    )
    again = found(made, "pretrain")
    assert [step.name for step in again.steps].count("pretrain") == 2
    assert sorted(source.files[0][0] for source in again.sources if source.learned) == ["wiki-new.bz2", "wiki.bz2"]


def test_a_base_from_the_hub_an_adapter_and_an_export_are_followed(made: Published) -> None:
    add_base(made)
    made.add(
        "sft",
        "sft",
        {},
        {"model": "base", "rows": "split"},
        model_files(**{"adapter/adapter_config.json": "{}"}),
        seed=1,
        lora={"rank": 8},
    )
    made.add("export", "export", {}, {"model": "sft"}, {"model/tiny.gguf": "gguf"}, to="gguf")
    export = found(made, "export")
    [base] = export.bases
    assert (base.name, base.licence, base.origin.state) == ("Qwen/Qwen3-0.6B-Base", "Apache-2.0", "b" * 40) and base.learned
    assert {source.name for source in export.sources if source.learned} == {"Qwen/Qwen3-0.6B-Base", "belle"}


def test_rows_with_triples_are_learned_from(made: Published) -> None:
    made.add("ingest-duie", "ingest", {"files": [["duie.json", "d" * 64]]}, {}, source="duie", format="triples")
    made.add("triples", "triples", {}, {"sources": "ingest-duie"}, scored=[])
    made.add("extractor", "sft", {}, {"model": "pretrain", "rows": "triples"}, model_files(), seed=1)
    assert {source.name: source.uses for source in found(made, "extractor").sources if source.learned} == {
        "wiki": ("pretrain",),
        "duie": ("extract",),
    }


def test_a_model_is_found_by_tag_stage_key_and_folder(made: Published, tmp_path: Path) -> None:
    record = made.record("dpo")
    made.store.tag("prod", record, "")
    for name in (
        "prod",
        "dpo",
        record.key[:12],
        str(made.store.object(record.key) / "model"),
        str(made.store.object(record.key)),
    ):
        assert resolve(made.store, name).key == record.key
    for name in ("nonesuch", str(tmp_path)):
        with pytest.raises(ValueError, match=r"nonesuch|no artifact of"):
            resolve(made.store, name)


def test_queries_are_not_shown() -> None:
    assert shown_url("https://example.org/a?token=s3cret#x") == "https://example.org/a"


def test_the_command_prints_tables_and_json(made: Published, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HANLIN_STORE", str(made.store.root))
    plain = CliRunner().invoke(app, ["artifacts", "lineage", "dpo"]).output
    for said in (
        "dumps.wikimedia.org/zhwiki/20261101",
        "GPL-3.0-only",
        "too short 16",
        COMMIT[:12],
        "evaluate (not learned from)",
    ):
        assert said in plain
    assert "s3cret" not in plain
    told = json.loads(CliRunner().invoke(app, ["artifacts", "lineage", "dpo", "--json"]).output)
    assert told["artifact"] == made.key["dpo"] and len(told["steps"]) == 16 and "s3cret" not in json.dumps(told)
    assert {source["licence"] for source in told["sources"]} >= {"MIT", "GPL-3.0-only"}


def test_a_recipe_s_licences_reach_the_store_and_no_key(tmp_path: Path) -> None:
    rows = tmp_path / "rows.json"
    rows.write_text('{"instruction": "问", "output": "答"}\n', "utf-8")
    own = "sources.belle={format: belle, path: %s, use: [sft], licence: %s, url: 'https://example.org/x', date: 2026-10}"
    one, other = (recipes.load("sample", [own % (rows, licence)]) for licence in ("MIT", "gpl-3.0"))
    for left, right in zip(graph(one), graph(other), strict=True):
        assert left.params == right.params and left.name == right.name
    facts = {node.name: source_facts(other, node) for node in graph(other)}
    assert facts["ingest-belle"] == {"licence": "GPL-3.0-only", "url": "https://example.org/x", "date": "2026-10"}
    assert facts["extract-zhwiki"]["licence"] == "MIT", "the sample corpus has Hanlin's own"
    assert facts["dedup"] == {} == facts["evaluate"]
    with pytest.raises(ValueError, match="which says where and of when"):
        recipes.load("sample", ["sources.belle={format: belle, download: {hub: a/b}, use: [sft], url: 'https://example.org/x'}"])
    with pytest.raises(ValueError, match=r"sources.belle.licence: no licence is called so; did you mean Apache-2.0\?"):
        recipes.load("sample", ["sources.belle.licence=apache 2.0"])
