"""Cards of models and of rows: the header that the hub reads, and the words that people read."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.testing import CliRunner

from flows.cli import app
from tasks.publication.card import card, header_problems
from tests.published import COMMIT, SECRET, Published, add_base, corpus, evaluate, model_files, models


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Published:
    return models(corpus(tmp_path_factory.mktemp("card") / "store"))


def header(text: str) -> dict[str, Any]:
    return dict(yaml.safe_load(text.split("---\n")[1]))


def test_the_header_is_what_the_hub_reads(made: Published) -> None:
    found = header(card(made.store, made.record("dpo"), "hanlin-dpo"))
    assert found["language"] == ["zh"] and found["library_name"] == "transformers" and found["pipeline_tag"] == "text-generation"
    assert found["license"] == "gpl-3.0", "the wiki's text may be passed on under the strictest of the sources' licences"
    assert found["datasets"] == ["BelleGroup/train_2M_CN"] and "base_model" not in found
    assert {"hanlin", "llama", "dpo", "conversational"} <= set(found["tags"])
    [index] = found["model-index"]
    assert index["name"] == "hanlin-dpo"
    values = {result["metrics"][0]["type"]: result["metrics"][0]["value"] for result in index["results"]}
    assert values == {"accuracy": 0.7083, "preference_accuracy": 0.73, "answers_that_end": 0.96, "bits_per_byte": 0.43}


def test_the_card_says_what_it_was_made_of_and_how(made: Published) -> None:
    text = card(made.store, made.record("dpo"), "hanlin-dpo")
    row = next(line for line in text.splitlines() if line.startswith("| wiki |"))
    assert row == (
        "| wiki | pretrain | wiki | https://dumps.wikimedia.org/zhwiki/20261101/ | 20261101 | CC-BY-SA-4.0 OR GFDL-1.3-or-later | 100 | 80 |"
    )
    assert "| filter | 183 | 160 | too short 16, leaked evaluation question 7 |" in text
    assert "| accuracy | exam | 70.8 % | 60.8 % – 80.8 % | 48 | 25.0 % |" in text
    assert (
        "| pretrain | 2026-11-30 | 401,408 | 98 | 0.630 | 0.01 | 1 | float32 | cpu (Linux x86_64, 2 cores) | 0.02 h | 7e+12 |"
        in text
    )
    assert f"{6 * 2_923_200 * (401_408 + 2_000 + 1_000):.2g} floating-point operations in all, by C = 6·N·D" in text
    assert "transformers 5.23.0" in text and COMMIT[:12] in text and "0" * 64 in text
    assert "**GPL-3.0-only** (https://spdx.org/licenses/GPL-3.0-only.html)." in text and "no legal advice" in text
    assert "hanlin serve" in text and "AutoModelForCausalLM" in text and 'name = "hanlin-dpo"' in text


def test_the_weaknesses_are_told_from_figures(made: Published) -> None:
    said = card(made.store, made.record("dpo"))
    assert "It reads 128 tokens at most" in said and "它最多读 128 个词元" in said
    assert "3 of 48 questions of exam stood in the training rows; the 7 rows that held one were dropped." in said
    assert "Of 26 free answers 4.0 % came to no end" in said
    assert "hold 40.0 % of the references' pairs of neighbouring characters (mean of 1 held-out prompts)" in said
    assert "3 phone numbers, addresses and the like were found in the rows and masked" in said
    assert "no better than guessing" not in said
    poor = card(made.store, made.record("pretrain"))
    assert "On exam its accuracy is no better than guessing can explain." in poor
    english, chinese = poor.split("## 中文")
    assert "(no better) |" in english and "（不比乱猜好） |" in chinese and "held-out" not in chinese
    assert "在 exam 上，它的正确率与乱猜没有区别。" in chinese


def test_the_card_is_in_chinese_too(made: Published) -> None:
    text = card(made.store, made.record("dpo"))
    chinese = text.split("## 中文")[1]
    for said in (
        "已知的弱点",
        "成绩",
        "来源与许可证",
        "GPL-3.0-only",
        "belle：https://huggingface.co/datasets/BelleGroup/train_2M_CN",
        "保留 80 行",
        "种子 2",
    ):
        assert said in chinese


def test_neither_rows_nor_machines_are_told(made: Published) -> None:
    for name in ("dpo", "split"):
        text = card(made.store, made.record(name))
        for private in ("秘密", "workstation-7", "s3cret", str(made.store.root), SECRET):
            assert private not in text


def test_a_source_without_a_licence_makes_it_other_and_says_so(tmp_path: Path) -> None:
    made = models(corpus(tmp_path / "store"))
    (made.store.root / "sources" / f"{made.key['ingest-belle']}.json").unlink()
    text = card(made.store, made.record("sft"))
    assert header(text) == {
        **header(text),
        "license": "other",
        "license_name": "see-sources",
        "license_link": "README.md#licence",
    }
    assert "**other**. No licence is known of belle." in text and "belle 的许可证未知" in text
    assert header(card(made.store, made.record("pretrain")))["license"] == "cc-by-sa-4.0"


def test_a_model_that_was_tuned_names_its_base_and_one_without_scores_says_so(tmp_path: Path) -> None:
    made = corpus(tmp_path / "store")
    add_base(made)
    made.add(
        "sft",
        "sft",
        {},
        {"model": "base", "rows": "split"},
        model_files(),
        {"parameters": 596_000_000, "tokens": 7},
        seed=1,
        lora={"rank": 8},
    )
    text = card(made.store, made.record("sft"), "tuned")
    found = header(text)
    assert found["base_model"] == ["Qwen/Qwen3-0.6B-Base"] and "lora" in found["tags"] and "model-index" not in found
    assert found["license"] == "gpl-3.0" and "It was not evaluated." in text
    assert f"It was tuned from `Qwen/Qwen3-0.6B-Base` at commit {'b' * 40}." in text


def test_a_model_of_which_nothing_is_known_says_so(tmp_path: Path) -> None:
    made = Published(tmp_path / "store")
    made.add("export", "export", {"model": [["model.pth", "e" * 64]]}, {}, model_files(), {"use": "…"}, to="hf", precision="same")
    text = card(made.store, made.record("export"))
    assert "what it was made from is not on record" in text and "0 sources" not in text and "It learned from rows" not in text
    assert "**other**. Nothing is known of what it was made from." in text and "来历没有记录" in text


def test_an_export_has_its_model_s_scores_its_own_use_and_how_it_compares(tmp_path: Path) -> None:
    made = models(corpus(tmp_path / "store"))
    figures = {"reader": "llama.cpp 11434", "ids": {"equal": 199, "of": 200}, "template": {"equal": 3, "of": 3}, "greedy": None}
    figures |= {"log_probabilities": {"positions": 24, "largest_difference": 0.11, "mean_kl": 3e-4}}
    stats = {"use": "ollama create NAME -f Modelfile", "comparison": figures}
    made.add(
        "export",
        "export",
        {},
        {"model": "dpo"},
        {"model/tiny.gguf": "gguf", "model/Modelfile": "FROM"},
        stats,
        to="gguf",
        precision="q8_0",
    )
    text = card(made.store, made.record("export"))
    found = header(text)
    assert found["library_name"] == "gguf" and {"gguf", "q8_0", "llama"} <= set(found["tags"]) and found["license"] == "gpl-3.0"
    assert "| accuracy | exam | 70.8 % |" in text and "context 128 tokens" in text
    assert "(`gguf`, q8_0): `ollama create NAME -f Modelfile`" in text and "AutoModelForCausalLM" not in text
    assert "| token ids of texts | 199 of 200 equal |" in text and "by llama.cpp 11434:" in text and "greedy answers" not in text
    assert "largest difference 0.11 nats, mean KL divergence 0.0003, at 24 places" in text


def test_a_corpus_has_a_card_with_its_files_and_without_what_was_dropped(made: Published) -> None:
    text = card(made.store, made.record("split"), "corpus")
    found = header(text)
    assert [config["config_name"] for config in found["configs"]] == ["pretrain", "prompts", "sft"]
    assert found["configs"][0]["data_files"] == [
        {"split": "train", "path": "pretrain/train.parquet"},
        {"split": "validation", "path": "pretrain/valid.parquet"},
    ]
    assert (
        found["license"] == "gpl-3.0"
        and found["size_categories"] == ["n<1K"]
        and found["source_datasets"] == ["BelleGroup/train_2M_CN"]
    )
    assert "| sft | belle | 38 | 2 | 2,090 |" in text and "dropped/" not in text
    assert "exam (searched for, not in the rows)" in text


def test_only_models_and_rows_have_a_card(made: Published) -> None:
    with pytest.raises(ValueError, match=r"evaluate .* is neither a model nor rows; name one of"):
        card(made.store, made.record("evaluate"))


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("no header", "no header"),
        ("---\nlicense: mine\n---\n", "license: mine"),
        ("---\nlicense: other\n---\n", "needs license_name"),
        ("---\nlicense: mit\nlanguage: [Chinese]\n---\n", "language: Chinese"),
        ("---\nlicense: mit\nbase_model: /models/base\n---\n", "base_model: /models/base"),
        (
            "---\nlicense: mit\nmodel-index: [{name: a, results: [{task: {type: t}, dataset: {name: n, type: t}, metrics: [{type: m}]}]}]\n---\n",
            "no value",
        ),
    ],
)
def test_a_header_that_the_hub_would_refuse_is_seen_without_it(text: str, problem: str) -> None:
    assert any(problem in line for line in header_problems(text))


def test_the_newest_evaluation_counts(tmp_path: Path) -> None:
    made = models(corpus(tmp_path / "store"))
    evaluate(made, ("dpo",))
    assert re.search(r"\| accuracy \| exam \| 29.2 %", card(made.store, made.record("dpo")))


def test_the_command_writes_a_file(made: Published, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HANLIN_STORE", str(made.store.root))
    done = CliRunner().invoke(app, ["card", "dpo", "--out", str(tmp_path / "README.md")])
    assert done.exit_code == 0 and (tmp_path / "README.md").read_text("utf-8").startswith("---\ndatasets:")
    assert isinstance(CliRunner().invoke(app, ["card", "dpo", "--out", str(tmp_path / "no" / "README.md")]).exception, ValueError)
