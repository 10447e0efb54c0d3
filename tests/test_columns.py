"""Columns: the fields that a source's files call by other names, for any reader of records, checked with the recipe and part of the key."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from flows import recipe as recipes
from flows.form import filled_recipe
from flows.graph import graph
from tasks import ingest
from tasks.artifacts.stage import Job
from tasks.data.rows import Drop, files, read
from tasks.formats.records import renamed, with_columns
from tasks.formats.registry import reader
from tests.test_layouts import said

RECIPE = """
name: mine
raw: {raw}
sources:
  desk: {{format: belle, path: "*.jsonl", use: [sft], columns: {columns}}}
"""


def write(path: Path, *records: dict[str, Any]) -> Path:
    path.write_text("".join(json.dumps(record, ensure_ascii=False) + "\n" for record in records), "utf-8")
    return path


def read_as(path: Path, name: str, **columns: str) -> list[Any]:
    return [
        row if isinstance(row, Drop) else row.get("messages") or row.get("text")
        for row in with_columns(reader(name).read, columns)(path)
    ]


@pytest.mark.parametrize(
    ("record", "columns"),
    [
        ({"question": "一", "reply": "二"}, {"answer": "reply"}),
        ({"标题": "一", "内容": "二"}, {"question": "标题", "answer": "内容"}),
        ({"Title": "一", "Reply": "二"}, {"prompt": "title", "response": "reply"}),
        ({"answer": "一", "question": "二"}, {"answer": "question", "question": "answer"}),
        ({"question": "一", "answer": "错", "reply": "二"}, {"answer": "reply"}),
        (
            {"dialogs": [{"who": "user", "said": "一"}, {"who": "bot", "said": "二"}]},
            {"messages": "dialogs", "role": "who", "content": "said"},
        ),
    ],
)
def test_fields_are_read_by_other_names(tmp_path: Path, record: dict[str, Any], columns: dict[str, str]) -> None:
    path = write(tmp_path / "a.jsonl", record)
    assert read_as(path, "belle", **columns) == [said("一", "二")]


def test_any_reader_of_records_takes_columns(tmp_path: Path) -> None:
    pair = write(tmp_path / "pair.jsonl", {"q": "问", "good": "好", "bad": "坏"})
    (row,) = with_columns(reader("preference").read, {"prompt": "q", "chosen": "good", "rejected": "bad"})(pair)
    assert isinstance(row, dict) and (row["messages"], row["chosen"], row["rejected"]) == (said("问"), "好", "坏")
    assert read_as(write(tmp_path / "text.jsonl", {"body": "一篇文章"}), "text", text="body") == ["一篇文章"]
    (tmp_path / "a.csv").write_text("Q,R\n一,二\n", "utf-8")
    assert read_as(tmp_path / "a.csv", "medical", ask="Q", answer="R") == [said("一", "二")]


def test_names_hold_for_one_reading_alone(tmp_path: Path) -> None:
    mapped = with_columns(reader("belle").read, {"answer": "reply"})(
        write(tmp_path / "a.jsonl", *[{"question": "一", "reply": "二"}] * 3)
    )
    plain = reader("belle").read(
        write(tmp_path / "b.jsonl", {"question": "三", "answer": "四"}, {"question": "五", "answer": "六"})
    )
    first = next(mapped)
    assert isinstance(first, dict) and first["messages"] == said("一", "二")
    assert [row["messages"] for row in plain if isinstance(row, dict)] == [said("三", "四"), said("五", "六")]
    assert [row["messages"] for row in mapped if isinstance(row, dict)] == [said("一", "二")] * 2


def test_a_record_without_the_mapped_field_is_as_it_was() -> None:
    assert renamed({"question": "一", "answer": "二"}, {"answer": "reply"}) == {"question": "一", "answer": "二"}
    assert renamed({"reply": None, "text": "三"}, {"answer": "reply"}) == {"answer": None, "text": "三"}


def test_columns_go_from_the_recipe_to_the_rows(tmp_path: Path) -> None:
    raw = write(tmp_path / "a.jsonl", {"question": "什么是云？", "reply": "水滴。"}).parent
    (tmp_path / "r.yaml").write_text(RECIPE.format(raw=raw, columns="{answer: reply}"), "utf-8")
    recipe = recipes.load(str(tmp_path / "r.yaml"), flow="corpus")
    assert filled_recipe(recipe.model_dump(mode="json"), "corpus") == recipe
    (node,) = [node for node in graph(recipe, flow="corpus") if node.name == "ingest-desk"]
    assert isinstance(node.params, ingest.Params) and node.params.columns == {"answer": "reply"}
    job = Job(out=tmp_path / "out", scratch=tmp_path / "scratch")
    stats = ingest.run(job, node.params, files=[tmp_path / "a.jsonl"])
    assert stats["funnel"]["desk"] == {"in": 1, "kept": 1, "dropped": {}}
    (row,) = read(files(job.out, kind="conversations"))
    assert row["messages"] == said("什么是云？", "水滴。")
    plain = node.params.model_copy(update={"columns": {}})
    assert ingest.run.identity(plain, {}) != ingest.run.identity(node.params, {})


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ("{anwser: reply}", "sources.desk.columns.anwser: format belle has no such field; did you mean 'answer'?"),
        ("{zzz: reply}", "sources.desk.columns.zzz: format belle has no such field; its fields: instruction"),
        ('{answer: ""}', "sources.desk.columns.answer: needs the name that the files give this field"),
        ("{answer: a, question: a}", "sources.desk.columns: a is named twice"),
        ("[answer]", "sources.desk.columns: needs fields of its own"),
        ("{answer: [a]}", "sources.desk.columns.answer: "),
    ],
)
def test_a_mistake_in_columns_is_named(tmp_path: Path, columns: str, message: str) -> None:
    raw = write(tmp_path / "a.jsonl", {"question": "一", "reply": "二"}).parent
    (tmp_path / "r.yaml").write_text(RECIPE.format(raw=raw, columns=columns), "utf-8")
    with pytest.raises(recipes.BadRecipe) as told:
        recipes.load(str(tmp_path / "r.yaml"), flow="corpus")
    assert message in str(told.value)


def test_a_dump_has_no_columns() -> None:
    with pytest.raises(recipes.BadRecipe, match=r"sources.zhwiki.columns: files of format wiki have no columns"):
        recipes.load("sample", ["sources.zhwiki.columns={text: body}"])
