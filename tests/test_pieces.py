"""Long texts in pieces: nothing is lost, and each piece begins where a reader would begin."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks import ingest
from tasks.data.rows import Drop
from tasks.formats import registry
from tasks.formats.accounting import in_parts
from tasks.text.pieces import pieces

SENTENCE = "河水从山里流出来，绕过村口的老槐树，往东去了。"


def novel(chapters: int, characters: int) -> str:
    dice = random.Random(3)
    return "".join(
        f"第{number}章 山{number}\n\n"
        + "".join(SENTENCE + dice.choice(["", "", "\n", "\n\n"]) for _ in range(characters // len(SENTENCE)))
        + "\n\n"
        for number in range(1, chapters + 1)
    )


@given(st.text("甲乙。，\n 第一章#", max_size=300), st.integers(1, 40))
def test_joined_the_pieces_are_the_text(text: str, longest: int) -> None:
    parts = list(pieces(text, longest))
    assert "".join(parts) == text
    assert all(len(part) <= longest for part in parts)


@pytest.mark.parametrize(
    ("text", "begin"),
    [
        ("".join(f"第{number}回 夜{number}\n{SENTENCE * 20}\n" for number in "一二三四五六"), "第"),
        ("".join(f"## 节{number}\n{SENTENCE * 20}\n\n" for number in range(6)), "## "),
        (f"{SENTENCE * 20}\n\n" * 6, "河水"),
        (f"{SENTENCE * 20}\n" * 6, "河水"),
        (SENTENCE * 120, "河水"),
        ("山" * 3000, "山"),
    ],
)
def test_pieces_begin_where_the_text_does(text: str, begin: str) -> None:
    parts = list(pieces(text, 1000))
    assert len(parts) > 2
    assert "".join(parts) == text
    assert all(part.startswith(begin) for part in parts)
    assert min(map(len, parts)) >= 200


@pytest.mark.parametrize(
    "heading",
    ["CHAPTER II", "Part 2", "卷二 天下", "【第2章】风起", "正文 第2章 风起", "第廿二回 风", "第贰章 风", "（二）", "2、风起", "二、风起", "第2話",
     "番外2 往事", "最终章 归来", "尾声：归来"],
)  # fmt: skip
def test_headings_of_chapters(heading: str) -> None:
    chapter = f"{heading}\n\n" + f"　　{SENTENCE}\n\n" * 20
    parts = list(pieces(chapter * 6, 5 * len(chapter) // 2))
    assert "".join(parts) == chapter * 6 and all(part.startswith(heading) for part in parts)


def rows(path: Path, **params: Any) -> list[dict[str, Any]]:
    reader = registry.reader("text")
    found = list(reader.read(path, **params))
    assert not any(isinstance(row, Drop) for row in found)
    return [row for row in found if not isinstance(row, Drop)]


def test_a_novel_loses_nothing(tmp_path: Path) -> None:
    text = novel(80, 20_000)
    assert len(text) > 1_600_000
    path = tmp_path / "小说.txt"
    path.write_text(text, "utf-8")
    for longest in (200_000, 30_000):
        parts = rows(path, longest=longest)
        assert "".join(row["text"] for row in parts) == text
        assert all(len(row["text"]) <= longest and row["text"].startswith("第") for row in parts)
        assert [json.loads(row["meta"])["part"] for row in parts] == list(range(1, len(parts) + 1))
        assert {row["title"] for row in parts} == {"小说"}


def test_a_novel_in_one_line_loses_nothing(tmp_path: Path) -> None:
    path = tmp_path / "长.txt"
    path.write_text(SENTENCE * 40_000, "utf-8")
    assert "".join(row["text"] for row in rows(path)) == SENTENCE * 40_000


def test_a_text_file_is_cut_as_its_source_says(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_text("甲一\n甲二\n\n\n乙一\n  \n丙一", "utf-8")
    assert [row["text"] for row in rows(path)] == ["甲一\n甲二\n\n\n乙一\n  \n丙一"]
    assert [row["text"].strip() for row in rows(path, cut="blank line")] == ["甲一\n甲二", "乙一", "丙一"]
    assert [row["text"].strip() for row in rows(path, cut="line")] == ["甲一", "甲二", "乙一", "丙一"]
    assert [row["title"] for row in rows(path, cut="line")] == [""] * 4
    path.write_text(f"{SENTENCE * 9}\n{SENTENCE}", "utf-8")
    assert [row["text"].strip() for row in rows(path, cut="line", longest=100)][-1] == SENTENCE


def test_a_long_row_becomes_several_and_its_account_adds_up(tmp_path: Path) -> None:
    from tasks.artifacts.stage import Job, Resources
    from tasks.data.rows import files, read
    from tasks.text.ledger import difference

    text = novel(6, 1000)
    path = tmp_path / "rows.jsonl"
    path.write_text(
        "\n".join(json.dumps(row, ensure_ascii=False) for row in ({"title": "书", "text": text, "x": "废"}, {"text": SENTENCE})),
        "utf-8",
    )

    def build(name: str, **params: Any) -> list[dict[str, Any]]:
        job = Job(tmp_path / name / "out", tmp_path / name / "scratch", Resources(workers=1))
        stats = ingest.run(job, ingest.Params(source="books", format="text", **params), files=[path])
        assert difference(stats["ledger"]["books"]) == 0
        return list(read(files(job.out, kind="documents")))

    parts = build("split", max_document=2500)
    assert len(parts) > 3
    assert "".join("".join(row["text"].split()) for row in parts[:-1]) == "".join(text.split())
    assert all(len(row["text"]) <= 2500 for row in parts)
    assert [json.loads(row["meta"]).get("part") for row in parts] == [*range(1, len(parts)), None]
    assert len(build("whole", max_document=2500, split=False)) == 2


def test_parts_of_rows_are_made_of_documents_alone() -> None:
    drop = Drop("no text")
    assert list(in_parts(lambda path: iter([drop]), 5, Path())) == [drop]


def test_a_recipe_says_how_files_are_cut_and_what_is_too_long(tmp_path: Path) -> None:
    from flows.graph import graph
    from flows.recipe import Recipe

    (tmp_path / "a.txt").write_text("甲", "utf-8")
    source = {"format": "text", "path": str(tmp_path / "a.txt"), "use": ["pretrain"]}
    recipe = Recipe.model_validate(
        {
            "name": "x",
            "sources": {"a": source, "b": {**source, "cut": "blank line"}},
            "filter": {"max_document": 500, "sources": {"b": {"max_document": 90, "too_long": "drop"}}},
        }
    )
    params = {node.name: node.params for node in graph(recipe, "corpus") if node.name.startswith("ingest-")}
    shown = [(each.cut, each.max_document, each.split) for each in params.values() if isinstance(each, ingest.Params)]
    assert shown == [("file", 500, True), ("blank line", 90, False)]
