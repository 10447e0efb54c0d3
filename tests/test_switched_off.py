"""Recipes without some of the uses: the stages for them are switched off, said to be, and every other stage stands alone."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from flows import recipe as recipes
from flows.graph import graph
from flows.inputs import Records
from flows.recipe import Recipe
from flows.switched_off import switched_off
from flows.traversal import resolved_nodes
from tasks.artifacts.build import BuildOptions, build
from tasks.artifacts.store import Store
from tests import outside, tiny


def recipe(raw: Path, uses: dict[str, list[str]], base: Path | None = None) -> Recipe:
    """A recipe whose sources are the files of `mine` with these uses."""
    files = {
        "novel": {"format": "text", "path": "novel.txt", "cut": "line"},
        "alpaca": {"format": "alpaca", "path": "alpaca.json"},
        "pairs": {"format": "preference", "path": "pairs.json"},
        "exam": {"format": "exam", "path": "exam.csv"},
    }
    data: dict[str, Any] = {"name": "mine", "raw": str(raw)}
    data["sources"] = {name: files[name] | {"use": use} for name, use in uses.items()}
    small = {"batch_size": 2, "learning_rate": 0.001}
    data |= {
        "sft": small,
        "dpo": small,
        "evaluate": {"max_new_tokens": 4},
        "resources": {"device": "cpu", "threads": 1, "workers": 1},
    }
    if base:
        data["base"] = {"path": str(base)}
    assert recipes.check(data) == []
    return Recipe.model_validate(data)


@pytest.fixture(scope="module")
def mine(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A stranger's folder: a text, instructions, preferences and an exam."""
    folder = tmp_path_factory.mktemp("mine")
    asked = [(tiny.QUESTION.format(place), tiny.ANSWER.format(place, water, water)) for place, water in tiny.PLACES.items()]
    (folder / "novel.txt").write_text("".join(f"{answer * 4}\n" for _, answer in asked), "utf-8")
    rows = [{"instruction": question, "input": "", "output": answer} for question, answer in asked]
    (folder / "alpaca.json").write_text(json.dumps(rows, ensure_ascii=False), "utf-8")
    pairs = [{"prompt": question, "chosen": answer, "reject": "谁也不知道，请去问别人。"} for question, answer in asked]
    (folder / "pairs.json").write_text(json.dumps(pairs, ensure_ascii=False), "utf-8")
    head = ",Question,A,B,C,D,Answer\n"
    waters = list(tiny.PLACES.values())[:4]
    (folder / "exam.csv").write_text(
        head
        + "".join(
            f"{n},地图上的{place}靠着的是,{','.join(waters)},{'ABCD'[n]}\n" for n, place in enumerate(list(tiny.PLACES)[:4])
        ),
        "utf-8",
    )
    return folder


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return outside.base(tmp_path_factory.mktemp("outside") / "llama")


def built(recipe: Recipe, home: Path) -> dict[str, Path]:
    store, records = Store(home), Records()
    for resolved in resolved_nodes(graph(recipe), store, records):
        records[resolved.node.name] = build(store, resolved.request, BuildOptions(recipe.resources)).record
    return {name: store.object(record.key) for name, record in records.items()}


CORPUS = ["dedup", "filter", "split"]
NEW = ["counts", "tokenizer", "pack", "pretrain"]


@pytest.mark.parametrize(
    ("uses", "outside_base", "stages", "off"),
    [
        ({"novel": ["pretrain"], "alpaca": ["sft"]}, False, [*CORPUS, *NEW, "sft", "evaluate"], ["dpo", "questions"]),
        ({"novel": ["pretrain"]}, False, [*CORPUS, *NEW, "evaluate"], ["sft", "dpo", "questions"]),
        ({"novel": ["pretrain"], "pairs": ["pairs"]}, False, [*CORPUS, *NEW, "evaluate"], ["sft", "dpo", "questions"]),
        ({"alpaca": ["sft"]}, True, [*CORPUS, "base", "sft", "evaluate"], ["dpo", "questions"]),
        ({"pairs": ["pairs"]}, True, [*CORPUS, "base", "rejected", "reference", "dpo", "evaluate"], ["sft", "questions"]),
        ({"exam": ["evaluate"]}, True, ["base", "evaluate"], ["corpus", "sft", "dpo"]),
        ({"novel": ["pretrain"], "exam": ["evaluate"]}, True, [*CORPUS, "base", "evaluate"], ["sft", "dpo"]),
    ],
)
def test_a_use_that_no_source_has_switches_its_stages_off(
    mine: Path, model: Path, uses: dict[str, list[str]], outside_base: bool, stages: list[str], off: list[str]
) -> None:
    asked = recipe(mine, uses, model if outside_base else None)
    assert [node.name for node in graph(asked)] == [*(f"ingest-{name}" for name in uses), *stages, "report"]
    assert list(switched_off(asked)) == off


def test_what_nothing_can_be_done_with_is_refused(mine: Path, model: Path) -> None:
    data = recipe(mine, {"alpaca": ["sft"]}, model).model_dump(mode="json", exclude_unset=True)
    (problem,) = recipes.check(data | {"base": None}, "pipeline")
    assert "none has use: [pretrain]" in problem
    assert "base.path" in problem
    data["sources"]["alpaca"]["use"] = []
    assert "none has a use" in "".join(recipes.check(data))


@pytest.mark.nightly
def test_preferences_alone_train_a_model_that_is_there(mine: Path, model: Path, tmp_path: Path) -> None:
    """DPO without fine-tuning, and its page says why there is none."""
    made = built(recipe(mine, {"pairs": ["pairs"]}, model), tmp_path)
    scores = json.loads((made["evaluate"] / "scores.json").read_text("utf-8"))
    assert list(scores["models"]) == ["base", "dpo"]
    page = (made["report"] / "report.html").read_text("utf-8")
    assert "There is no supervised fine-tuning in this run: no source has the use sft." in page
    assert "No multiple-choice question was asked: no source has the use evaluate." in page


def test_an_exam_alone_scores_a_model_that_is_there(mine: Path, model: Path, tmp_path: Path) -> None:
    made = built(recipe(mine, {"exam": ["evaluate"]}, model), tmp_path)
    scores = json.loads((made["evaluate"] / "scores.json").read_text("utf-8"))
    assert scores["models"]["base"]["questions"]["all"]["n"] == 4
    page = (made["report"] / "report.html").read_text("utf-8")
    assert "so nothing is known of what was used for training: no source has a use for training." in page
