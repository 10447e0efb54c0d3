"""The command `hanlin sniff`: what the reader keeps and drops, encoding and rows, folders, and a first recipe that validates."""

from __future__ import annotations

import gzip
import json
import re
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml
from typer.testing import CliRunner

from flows import recipe as recipes
from flows.cli import app
from flows.graph import graph
from flows.paths import matching_files
from flows.sniffing import recipe_text
from tasks.data.rows import Drop
from tasks.formats import registry
from tasks.formats import trial as trials
from tasks.formats.trial import trial


def lines(path: Path, *records: dict[str, Any]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(record, ensure_ascii=False) + "\n" for record in records), "utf-8")
    return path


def run(*arguments: str) -> str:
    outcome = CliRunner().invoke(app, ["sniff", *arguments], env={"COLUMNS": "400"})
    assert outcome.exit_code == 0, outcome.output
    return " ".join(outcome.output.split())


GOOD = {"instruction": "问", "output": "答"}
LIKED, DISLIKED = {"prompt": "问", "completion": "答", "label": True}, {"prompt": "问", "completion": "错", "label": False}


def test_what_the_reader_keeps_and_drops_is_told(tmp_path: Path) -> None:
    path = lines(tmp_path / "a.jsonl", *[LIKED] * 5, *[DISLIKED] * 3, {"prompt": "问", "completion": ""})
    found = trial(path)
    assert (found.format, found.kept, found.dropped, found.whole) == ("belle", 5, {"not to be learned": 3, "no answer": 1}, True)
    assert (found.encoding, found.rows) == ("UTF-8", "9")
    told = run(str(path))
    assert "5 of 9" in told and "not to be learned 3, no answer 1" in told and told.endswith("belle, alpaca, text")


def test_the_reader_that_keeps_most_is_named(tmp_path: Path) -> None:
    pairs = {"prompt": "问", "chosen": "好", "rejected": "坏"}
    assert trial(lines(tmp_path / "a.jsonl", *[GOOD] * 30, pairs)).format == "belle"
    mixed = trial(lines(tmp_path / "b.jsonl", pairs, *[GOOD] * 30))
    assert (mixed.format, mixed.kept, mixed.dropped) == ("belle", 30, {"unknown schema": 1})


def test_rows_after_the_first_thousand_are_counted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = lines(tmp_path / "a.jsonl", *[GOOD] * 1500)
    found = trial(path)
    assert (found.kept, found.whole, found.rows) == (1000, False, "1,500")
    assert "1,000 of the first 1,000" in run(str(path))
    pq.write_table(pa.Table.from_pylist([GOOD] * 1200), tmp_path / "a.parquet")
    assert (trial(tmp_path / "a.parquet").rows, trial(tmp_path / "a.parquet").encoding) == ("1,200", "")
    monkeypatch.setattr(trials, "_WHOLE", 1000)
    assert trial(path).rows == "over 1,000"


def test_what_no_reader_knows_says_what_can_be_done(tmp_path: Path) -> None:
    for text, hint in (
        ("query,reply\n一,二\n", "a source can say so \\(columns\\)"),
        ("今天天气怎么样？,今天是晴天。\n明天呢？,明天有雨。\n", "give it a header line"),
    ):
        (tmp_path / "a.csv").write_text(text, "utf-8")
        assert re.search(hint, trial(tmp_path / "a.csv").fault)


@pytest.mark.parametrize("mark", [";", "\t", ","])
def test_a_table_may_be_parted_by_other_marks(tmp_path: Path, mark: str) -> None:
    (tmp_path / "a.csv").write_text(f"instruction{mark}output\n问{mark}答\n", "utf-8")
    assert (trial(tmp_path / "a.csv").format, trial(tmp_path / "a.csv").kept) == ("belle", 1)


@pytest.mark.parametrize(
    ("encoding", "name"), [("utf-8", "UTF-8"), ("gb18030", "GB18030"), ("big5", "Big5"), ("utf-8-sig", "UTF-8")]
)
@pytest.mark.parametrize("layout", ["lines", "array", "printed"])
def test_json_in_an_older_encoding_is_read(tmp_path: Path, encoding: str, name: str, layout: str) -> None:
    rows = [
        {"instruction": f"第{number}個問題：路徑\\在哪裡", "output": "功能許蓋在這裡，你們可以去看看。"} for number in range(9)
    ]
    texts = [json.dumps(row, ensure_ascii=False, indent=1 if layout == "printed" else None) for row in rows]
    text = f"[{','.join(texts)}]" if layout == "array" else "\n".join(texts)
    (tmp_path / "a.json").write_bytes(text.encode(encoding))
    found = trial(tmp_path / "a.json")
    assert (found.format, found.encoding, found.kept) == ("belle", name, 9)
    assert [
        row["messages"][0]["content"] for row in registry.reader("belle").read(tmp_path / "a.json") if not isinstance(row, Drop)
    ] == [row["instruction"] for row in rows]


@pytest.mark.parametrize(("encoding", "name"), [("utf-8", "UTF-8"), ("gb18030", "GB18030")])
def test_the_encoding_is_told(tmp_path: Path, encoding: str, name: str) -> None:
    (tmp_path / "a.csv").write_bytes("department,title,ask,answer\n内科,头痛,头痛怎么办,多休息\n".encode(encoding))
    found = trial(tmp_path / "a.csv")
    assert (found.format, found.encoding, found.kept) == ("medical", name, 1)


def test_what_cannot_be_read_says_why(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text('[{"instruction": "问", "output": "答"}, {"instruction": "问"', "utf-8")
    told = run(str(tmp_path / "a.json"))
    assert "its JSON array is cut" in told
    (tmp_path / "b.bin").write_bytes(b"\x00\x01\x02\x03" * 50)
    assert run(str(tmp_path / "b.bin")).endswith("none")


def corpus(folder: Path) -> Path:
    """A folder of all kinds of files."""
    for number in range(2):
        lines(
            folder / "sft" / f"part{number}.jsonl",
            *({"instruction": f"第{n}问是什么？", "output": f"第{n}答。"} for n in range(30)),
        )
    lines(folder / "pairs.json", *({"prompt": f"第{n}题", "chosen": "好", "rejected": "坏"} for n in range(30)))
    lines(
        folder / "books" / "书 一.jsonl", *({"title": f"第{n}章", "text": f"这是第{n}章的正文，讲的是山水。"} for n in range(30))
    )
    (folder / "books" / "b.jsonl.gz").write_bytes(gzip.compress(json.dumps({"text": "又一篇文章。"}).encode()))
    (folder / "exam").mkdir()
    for subject in ("law", "art"):
        (folder / "exam" / f"{subject}.csv").write_text("Question,A,B,Answer\n问,甲,乙,A\n", "utf-8")
    (folder / "README.md").write_text("read me, please\n", "utf-8")
    (folder / ".hidden").write_text("{}", "utf-8")
    lines(folder / "odd[1].jsonl", {"title": "题", "summary": "概要", "sections": []})
    lines(folder / "unknown.jsonl", {"foo": 1})
    return folder


def test_a_folder_is_looked_through(tmp_path: Path) -> None:
    told = run(str(corpus(tmp_path / "raw")))
    for name in ("sft/part0.jsonl", "pairs.json", "books/书 一.jsonl", "exam/law.csv", "unknown.jsonl"):
        assert name in told
    assert ".hidden" not in told


def test_a_first_recipe_names_the_files_and_validates(tmp_path: Path) -> None:
    raw = corpus(tmp_path / "raw")
    outcome = CliRunner().invoke(app, ["sniff", str(raw), "--recipe"])
    assert outcome.exit_code == 0, outcome.output
    (tmp_path / "mine.yaml").write_text(outcome.stdout, "utf-8")
    data = yaml.safe_load(outcome.stdout)
    assert data["raw"] == str(raw)
    assert data["sources"]["sft"] == {"format": "belle", "path": "sft/*.jsonl", "use": ["sft"]}
    assert data["sources"]["pairs"] == {"format": "preference", "path": "pairs.json", "use": ["pairs"]}
    assert data["sources"]["exam"] == {"format": "exam", "path": "exam/*.csv", "use": ["evaluate"]}
    assert data["sources"]["odd-1"] == {"format": "baike", "path": "odd[[]1].jsonl", "use": ["pretrain"]}
    assert "unknown.jsonl: JSON Lines with foo" in outcome.stdout and "README" not in outcome.stdout
    assert outcome.stdout.splitlines()[1] == "# hanlin run THIS.yaml"
    loaded = recipes.load(str(tmp_path / "mine.yaml"))
    assert {node.name for node in graph(loaded)} >= {"ingest-sft", "ingest-pairs", "split", "sft", "report"}


def test_init_writes_a_recipe_that_runs_and_overwrites_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    raw = corpus(tmp_path / "My Corpus")
    monkeypatch.chdir(tmp_path)
    outcome = CliRunner().invoke(app, ["init", str(raw)])
    assert outcome.exit_code == 0 and "hanlin run my-corpus.yaml" in outcome.stdout, outcome.output
    assert {node.name for node in graph(recipes.load("my-corpus.yaml"))} >= {"ingest-sft", "split", "sft", "report"}
    for arguments, told in (
        ([str(raw)], "is there already"),
        ([str(raw), "--to", "mine"], "call it mine.yaml"),
        (["nowhere"], "is no folder"),
    ):
        refused = CliRunner().invoke(app, ["init", *arguments])
        assert isinstance(refused.exception, ValueError) and told in str(refused.exception)


def test_a_book_is_cut_into_pieces_that_rules_judge_one_by_one(tmp_path: Path) -> None:
    chapters = [
        f"第{number}章 启程\n\n" + f"他在第{number}天走过了{number}座桥，又写下了一页日记。\n" * 60 for number in range(1, 21)
    ]
    (tmp_path / "novel.txt").write_text("\n".join(chapters), "utf-8")
    for number in range(60):
        (tmp_path / f"note{number}.txt").write_text("今天天气很好，我们去公园散步吧。", "utf-8")
    (tmp_path / "packed").mkdir()
    (tmp_path / "packed" / "B.TXT.GZ").write_bytes(gzip.compress("\n".join(chapters).encode()))
    for number in range(120):
        (tmp_path / "many").mkdir(exist_ok=True)
        (tmp_path / "many" / f"{number}.text").write_text(f"第{number}篇文章。" * 900, "utf-8")
    text = recipe_text(tmp_path, {path: trial(path) for path in sorted(path for path in tmp_path.rglob("*") if path.is_file())})
    data = yaml.safe_load(text)
    few = [name for name, source in data["sources"].items() if "many" not in source["path"]]
    assert len(few) == 2
    assert data["filter"] == {"sources": {name: {"max_document": 2000} for name in few}} and "pieces of at most 2,000" in text
    (tmp_path / "mine.yaml").write_text(text, "utf-8")
    loaded = recipes.load(str(tmp_path / "mine.yaml"))
    nodes = {node.name: node for node in graph(loaded)}
    assert {nodes[f"ingest-{name}"].params.max_document for name in few} == {2000}
    assert {nodes[f"ingest-{name}"].params.max_document for name in set(data["sources"]) - set(few)} == {200_000}


def test_what_is_hidden_is_no_source_unless_its_dot_is_named(tmp_path: Path) -> None:
    """As what macOS writes beside each file."""
    for name in ("a.txt", "._a.txt", ".cache/b.txt", "deep/c.txt"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("今天天气很好，我们去公园散步吧。", "utf-8")

    def found(pattern: str, root: Path = tmp_path) -> set[str]:
        return {str(path.relative_to(tmp_path)) for path in matching_files(root, pattern)}

    assert found("*.txt") == {"a.txt"} and found("**/*.txt") == {"a.txt", "deep/c.txt"}
    assert found("._*.txt") == {"._a.txt"} and found(".cache/*") == {".cache/b.txt"}
    assert found(f"{tmp_path}/**/*.txt", Path("elsewhere")) == {"a.txt", "deep/c.txt"}
    assert found("../*.txt", tmp_path / "deep") == {"deep/../a.txt"}


def test_a_first_recipe_reads_what_there_is_of_a_cut_file(tmp_path: Path) -> None:
    rows = json.dumps([{"instruction": f"第{number}问", "output": "答"} for number in range(9)], ensure_ascii=False)
    (tmp_path / "a.json").write_text(rows[:-20], "utf-8")
    (tmp_path / "b.jsonl").write_text('{"instruction": "问", "output": "答"}\n', "utf-8")
    text = recipe_text(tmp_path, {path: trial(path) for path in sorted(tmp_path.iterdir())})
    sources = yaml.safe_load(text)["sources"]
    assert sources["a"]["tolerate_truncation"] is True and "tolerate_truncation" not in sources["b"]
    assert "#   a.json: its JSON array is cut" in text
    assert all("prompts" not in source["use"] for source in sources.values()), "a cut file is not a long one"


def test_a_recipe_for_dialogues_alone_is_for_the_whole_pipeline(tmp_path: Path) -> None:
    lines(tmp_path / "raw" / "对话.jsonl", *[GOOD] * 30)
    text = CliRunner().invoke(app, ["sniff", str(tmp_path / "raw"), "--recipe"]).stdout
    (tmp_path / "mine.yaml").write_text(text, "utf-8")
    assert text.splitlines()[1] == "# hanlin run THIS.yaml"
    assert yaml.safe_load(text)["sources"] == {"belle": {"format": "belle", "path": "对话.jsonl", "use": ["pretrain", "sft"]}}
    lines(tmp_path / "raw" / "对话.jsonl", *[GOOD] * 300)
    text = CliRunner().invoke(app, ["sniff", str(tmp_path / "raw"), "--recipe"]).stdout
    assert yaml.safe_load(text)["sources"]["belle"]["use"] == ["pretrain", "sft", "prompts"], "enough to be asked again"
    assert recipes.load(str(tmp_path / "mine.yaml")).name == "raw"


def test_a_recipe_needs_one_folder_with_rows(tmp_path: Path) -> None:
    path = lines(tmp_path / "unknown.jsonl", {"foo": 1})
    for arguments, message in (
        (["--recipe"], "needs the folder"),
        ([str(path), "--recipe"], "is for one folder"),
        ([str(tmp_path), "--recipe"], "no reader keeps a row of its files"),
    ):
        outcome = CliRunner().invoke(app, ["sniff", *arguments])
        assert outcome.exit_code and message in str(outcome.exception)


def test_a_workbook_is_named_as_one_and_a_recipe_goes_to_no_folder_that_is_not_there(tmp_path: Path) -> None:
    (tmp_path / "raw").mkdir()
    (tmp_path / "raw" / "表.XLSX").write_bytes(b"PK\x03\x04rest")
    (tmp_path / "raw" / "a.txt").write_text("今天天气很好，我们去公园散步吧。")
    shown = CliRunner().invoke(app, ["sniff", str(tmp_path / "raw")])
    assert "save each sheet as a CSV file" in " ".join(shown.stdout.split()), shown.output
    refused = CliRunner().invoke(app, ["init", str(tmp_path / "raw"), "--to", str(tmp_path / "no" / "x.yaml")])
    assert "there is no folder" in str(refused.exception)
    wrong = CliRunner().invoke(app, ["init", str(tmp_path / "raw"), "--to", str(tmp_path / "x.txt")])
    assert "x.yaml" in str(wrong.exception)
