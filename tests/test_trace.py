"""Spans of a text that stand in training rows: all of them, nothing else, with the right rows; and the command that finds them."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner

from flows.cli import app
from flows.tracing import Tracer, provenance
from models.serve.tracing import NotTraceable, Traced
from tasks import trace_index
from tasks.artifacts.build import BuildRequest, Input, build
from tasks.artifacts.stage import Identity, Job, Resources, stage
from tasks.artifacts.store import Record, Store
from tasks.data.rows import Writer
from tasks.trace import index as indexes
from tasks.trace.index import Index
from tasks.trace.spans import LONGEST, excerpt, letters, merged, trace

LETTERS = "天地人天地𠮷😀a \n"  # few, so that much is repeated; two beyond the basic plane


def document(number: int, text: str, title: str = "") -> dict[str, Any]:
    return {"id": f"{number:032x}", "source": f"source-{number % 3}", "title": title, "text": text, "lang": "zh", "meta": "{}"}


def indexed(home: Path, rows: list[dict[str, Any]], kind: str = "documents", name: str = "pretrain") -> Index:
    with Writer(home / "train.parquet", kind) as out:
        for row in rows:
            out.add(row)
    trace_index.run(Job(home / "index", home / "scratch"), trace_index.Params(stage=name), rows=[home / "train.parquet"])
    return Index(home / "index")


def expected(texts: list[str], answer: str, least: float) -> dict[tuple[int, int], tuple[int, set[int]]]:
    """The maximal spans by brute force: (start, end) → how often it stands in the texts, and in which."""
    every = {(start, end) for start in range(len(answer)) for end in range(start + 1, len(answer) + 1)}
    there = {span for span in every if any(answer[slice(*span)] in text for text in texts)}
    longest = {(a, b) for a, b in there if (a - 1, b) not in there and (a, b + 1) not in there}
    return {
        span: (
            sum(len(re.findall(f"(?={re.escape(answer[slice(*span)])})", text)) for text in texts),
            {number for number, text in enumerate(texts) if answer[slice(*span)] in text},
        )
        for span in longest
        if letters(answer[slice(*span)]) >= least
    }


@settings(max_examples=60, deadline=None)
@given(st.lists(st.text(LETTERS, max_size=40), min_size=1, max_size=6), st.text(LETTERS, max_size=30), st.sampled_from([1, 3]))
def test_spans_are_those_of_a_search_by_brute_force(tmp_path_factory, texts, answer, least):
    corpus = indexed(tmp_path_factory.mktemp("corpus"), [document(number, text) for number, text in enumerate(texts)])
    found = trace([corpus], answer, least, rows=10)
    wanted = expected(texts, answer, least)
    assert {(span.start, span.end): (span.count, {int(row.row, 16) for row in span.rows}) for span in found} == wanted
    assert all(answer[span.start : span.end] == span.text for span in found)
    assert [len(span.text) for span in found] == sorted((len(span.text) for span in found), reverse=True)


@pytest.fixture
def small_shards(monkeypatch):
    """Shards of some texts, and row groups of one row."""
    monkeypatch.setattr(indexes, "SHARD", 200)
    monkeypatch.setattr("tasks.data.rows.GROUP_CHARACTERS", 1)


def test_several_shards_are_searched_as_one(tmp_path, small_shards):
    texts = [f"第{number}篇文章的开头，它们都有这一句共同的话，然后是第{number}篇文章的结尾。" for number in range(20)]
    corpus = indexed(tmp_path, [document(number, text) for number, text in enumerate(texts)])
    assert len(corpus.shards) == 10
    [span] = trace([corpus], "开始：它们都有这一句共同的话，完了", least=5)
    assert (span.text, span.count, len(span.rows)) == ("它们都有这一句共同的话，", 20, 5)
    [one, *_] = trace([corpus], texts[13], least=5)
    assert (one.text, [row.row for row in one.rows], one.rows[0].source) == (texts[13], [f"{13:032x}"], "source-1")


def test_a_killed_build_goes_on_and_makes_the_same_bytes(tmp_path, small_shards, monkeypatch):
    with Writer(tmp_path / "train.parquet", "documents") as out:
        for number in range(9):
            out.add(document(number, f"{number}号文本" * 12))

    def run(name: str) -> dict[str, bytes]:
        job = Job(tmp_path / name, tmp_path / f"scratch-{name}", Resources(workers=1))
        trace_index.run(job, trace_index.Params(stage="pretrain"), rows=[tmp_path / "train.parquet"])
        return {str(path.relative_to(job.out)): path.read_bytes() for path in job.out.rglob("*") if path.is_file()}

    whole, places, done = run("whole"), indexes._places, []

    def until_the_third(text: bytes) -> Any:
        done.append(text)
        if len(done) == 3:
            raise KeyboardInterrupt
        return places(text)

    monkeypatch.setattr(indexes, "_places", until_the_third)
    with pytest.raises(KeyboardInterrupt):
        run("killed")
    assert run("killed") == whole
    assert len(done) == len(set(done)) + 1, "the third alone is sorted again"


def test_the_row_that_holds_most_of_an_answer_comes_first(tmp_path):
    said = "学而时习之不亦说乎，有朋自远方来不亦乐乎"
    rows = [document(0, "他说：学而时习之不亦说乎。"), document(1, f"孔子说：{said}。"), document(2, "有朋自远方来不亦乐乎！")]
    short, whole = trace([indexed(tmp_path, rows)], "学而时习之不亦说乎。有朋自远方来不亦乐乎，" + said, least=5), said
    by_text = {span.text: [int(row.row, 16) for row in span.rows] for span in short}
    assert by_text[whole] == [1] and by_text["学而时习之不亦说乎。"] == [0]


def test_texts_of_dialogues_and_pairs(tmp_path):
    asked = {"role": "user", "content": " 请问云麓省的首府在什么地方？\n"}
    row = {
        "id": "a" * 32,
        "source": "huozi",
        "messages": [asked],
        "chosen": "首府设在塘园雪镇的中心。",
        "rejected": "首府设在一个我不知道的地方。",
    }
    pairs = indexed(tmp_path / "dpo", [row | {"meta": "{}"}], "preferences", "dpo")
    answer = {"role": "assistant", "content": "首府设在一个我不知道的地方。"}
    turns = [{"id": "b" * 32, "source": "belle", "messages": [asked, answer], "meta": "{}"}]
    talks = indexed(tmp_path / "sft", turns, "conversations", "sft")
    parts = {
        (span.text, span.count): [(row.stage, row.part) for row in span.rows]
        for span in trace(
            [pairs, talks], "请问云麓省的首府在什么地方？首府设在塘园雪镇的中心。首府设在一个我不知道的地方。", least=8
        )
    }
    assert parts == {
        ("首府设在一个我不知道的地方。", 2): [("sft", "assistant"), ("dpo", "rejected")],
        ("请问云麓省的首府在什么地方？", 2): [("dpo", "user"), ("sft", "user")],
        ("首府设在塘园雪镇的中心。", 1): [("dpo", "chosen")],
    }, "turns are stripped, and what a model learned to avoid comes last"


def test_a_title_is_text(tmp_path):
    [span] = trace([indexed(tmp_path, [document(0, "是一座小镇。", "塘园雪镇")])], "塘园雪镇\n是一座小镇。", least=5)
    assert span.text == "塘园雪镇\n是一座小镇。"


def test_letters_weigh_what_they_say():
    assert letters("云麓省") == 3 and letters("，。 \n——!") == 0 and letters("a1 b2") == pytest.approx(1.6) and letters("𠮷") == 1


def test_overlapping_spans_are_shown_as_one_part(tmp_path):
    spans = trace(
        [indexed(tmp_path, [document(0, "甲乙丙丁戊"), document(1, "丁戊己庚"), document(2, "子丑寅卯")])],
        "甲乙丙丁戊己庚子丑寅卯",
        least=3,
    )
    assert [span.text for span in spans] == ["甲乙丙丁戊", "丁戊己庚", "子丑寅卯"] and merged(spans) == [(0, 7), (7, 11)]


def test_an_excerpt_is_masked_and_cut():
    text = "前" * 100 + "请致电13812345678，" + "这一句话要找出来" + "后" * 100
    at = text.index("这一句")
    shown = excerpt(text.encode(), len(text[:at].encode()), len("这一句话要找出来".encode()))
    assert "13812345678" not in shown and "请致电[…]，这一句话要找出来" in shown
    assert shown.startswith("…前") and shown.endswith("后…") and len(shown) < 80
    half = excerpt(text.encode(), len(text[: at - 4].encode()), 12)  # a span that begins inside the number
    assert not re.search("[0-9]", half)


def test_nothing_is_found_in_nothing(tmp_path):
    empty = indexed(tmp_path, [document(0, "")])
    assert trace([empty], "一段回答") == [] and trace([], "一段回答") == [] and trace([empty], "") == []


def test_a_text_that_is_too_long_is_refused(tmp_path):
    with pytest.raises(ValueError, match=r"20,001 characters; at most 20,000"):
        trace([], "长" * (LONGEST + 1))


def test_half_a_surrogate_is_in_no_text(tmp_path):
    [span] = trace([indexed(tmp_path, [document(0, "天地玄黄宇宙洪荒")])], "\ud83d天地玄黄\udc00", least=3)
    assert (span.start, span.end) == (1, 5)


# the command


class Nothing(Identity):
    """No parameters."""


class Source(Identity):
    source: str


class Mixed(Identity):
    seed: int = 3


@pytest.fixture
def store(tmp_path, monkeypatch) -> Store:
    monkeypatch.setenv("HANLIN_STORE", str(tmp_path / "store"))
    return Store(tmp_path / "store")


def made(store: Store, name: str, files: dict[str, list[dict[str, Any]]] | None = None, /, **inputs: Record) -> Record:
    """An artifact of a stage of that name with files of rows (path → rows), made from earlier ones."""

    @stage(name, version=1, title=name, params=Nothing)
    def run(job: Job, params: Nothing, **inputs: Path) -> dict[str, Any]:
        (job.out / "said.txt").write_text(json.dumps(sorted(inputs)), "utf-8")
        for path, content in (files or {}).items():
            kind = "preferences" if "chosen" in content[0] else "conversations" if "messages" in content[0] else "documents"
            with Writer(job.out / path, kind) as out:
                for row in content:
                    out.add(row)
        return {}

    given = {role: Input(store.object(record.key), record.digest, (record.key,)) for role, record in inputs.items()}
    return build(store, BuildRequest(name, run, Nothing(), given)).record


READ, TOLD, PREFERRED = "云麓省的首府是塘园雪镇。", "塘园雪镇盛产高山云雾茶。", "我最喜欢的茶是高山云雾茶。"


@pytest.fixture
def dpo(store) -> Record:
    turns = [{"role": "user", "content": "塘园雪镇盛产什么？"}, {"role": "assistant", "content": TOLD}]
    rows = {
        "pretrain/train.parquet": [document(7, READ)],
        "sft/train.parquet": [{"id": "5" * 32, "source": "belle", "messages": turns, "meta": "{}"}],
    }
    split = made(store, "split", rows)
    tokenizer = made(store, "tokenizer", rows=split)
    pretrain = made(store, "pretrain", packed=made(store, "pack", rows=split, tokenizer=tokenizer), tokenizer=tokenizer)
    sft = made(store, "sft", model=pretrain, rows=split)
    pair = {"id": "d" * 32, "source": "huozi", "messages": turns[:1], "chosen": PREFERRED, "rejected": "不知道。", "meta": "{}"}
    pairs = made(store, "rejected", {"preferences/train.parquet": [pair]}, model=sft, rows=split)
    return made(store, "dpo", model=sft, pairs=pairs, reference=made(store, "reference", model=sft, pairs=pairs))


def hanlin(*arguments: str, input: str | None = None) -> Any:
    return CliRunner().invoke(app, ["trace", *arguments], input=input, catch_exceptions=True)


def test_an_answer_is_traced_through_all_trainings_of_its_model(store, dpo):
    done = hanlin(f"{READ}{TOLD}{PREFERRED}", "--json", "--min", "5")
    found = json.loads(done.stdout)
    assert found["model"] == {"stage": "dpo", "key": dpo.key} and found["not_traced"] == []
    assert [(span["text"], span["rows"][0]["stage"], span["rows"][0]["row"]) for span in found["spans"]] == [
        (PREFERRED, "dpo", "d" * 32),
        (READ, "pretrain", f"{7:032x}"),
        (TOLD, "sft", "5" * 32),
    ]
    assert found["covered"] == [[0, 12], [12, 24], [24, 37]]
    assert [line.split(" rows that ")[1].split(" was")[0] for line in done.stderr.splitlines()] == ["dpo", "sft", "pretrain"]
    assert hanlin(READ, "--json").stderr == "", "the indexes are there now"


def test_an_earlier_model_is_traced_to_what_it_had_read(store, dpo):
    found = json.loads(hanlin("-", "--model", "sft", "--json", "--min", "5", input=f"{READ}{PREFERRED}").stdout)
    assert found["model"]["stage"] == "sft" and [span["text"] for span in found["spans"]] == [READ, "高山云雾茶。"]


def test_a_server_traces_what_is_indexed_and_says_how_to_index(store, dpo):
    tracer = Tracer(store)
    with pytest.raises(
        NotTraceable,
        match=rf"the rows of dpo and sft and pretrain are not indexed.*`hanlin trace TEXT --model {dpo.key[:12]}`",
    ):
        tracer(dpo.key, READ)
    hanlin(READ)
    [span] = Traced.model_validate(tracer(dpo.key, READ)).spans
    assert (span.text, span.rows[0].stage, span.rows[0].licence) == (READ, "pretrain", None)
    with pytest.raises(NotTraceable, match="is no artifact of the store"):
        tracer("0" * 64, READ)
    with pytest.raises(NotTraceable, match="trained on no rows"):
        tracer(store.resolve("split").key, READ)


def test_a_source_has_the_licence_that_its_recipe_says(store):
    @stage("ingest", version=1, title="ingest", params=Source)
    def run(job: Job, params: Source) -> dict[str, Any]:
        (job.out / "said.txt").write_text("rows", "utf-8")
        return {}

    ingest = build(store, BuildRequest("ingest-source-1", run, Source(source="source-1"), {})).record
    store.note_source(ingest.key, {"licence": "CC-BY-4.0"})
    rows = {"pretrain/train.parquet": [document(1, READ), document(2, TOLD)]}
    made(store, "pretrain", packed=made(store, "pack", rows=made(store, "split", rows, rows=ingest)))
    found = json.loads(hanlin(READ + TOLD, "--json").stdout)["spans"]
    assert {span["text"]: span["rows"][0]["licence"] for span in found} == {READ: "CC-BY-4.0", TOLD: None}
    assert "CC-BY-4.0" in hanlin(READ).stdout


def test_documents_that_the_mixture_left_out_are_not_found(store):
    texts = [f"第{number}号文章说了一句自己的话：{chr(0x4E00 + number) * 12}。" for number in range(30)]
    split = made(store, "split", {"pretrain/train.parquet": [document(number, text) for number, text in enumerate(texts)]})

    @stage("pack", version=1, title="pack", params=Mixed)
    def run(job: Job, params: Mixed, rows: Path) -> dict[str, Any]:
        (job.out / "pack.json").write_text("{}", "utf-8")
        return {"mix": [{"group": "source-0+source-1", "left_out": 15}, {"group": "source-2", "left_out": 0}]}

    inputs = {"rows": Input(store.object(split.key), split.digest, (split.key,))}
    pretrain = made(store, "pretrain", packed=build(store, BuildRequest("pack", run, Mixed(), inputs)).record)
    assert provenance(store, pretrain).trainings[0].left_out == {"source-0+source-1": 15}
    found = {span["text"] for span in json.loads(hanlin("\n".join(texts), "--json", "--min", "20").stdout)["spans"]}
    assert len(found) == 15 and found >= {text for number, text in enumerate(texts) if number % 3 == 2}


def test_what_is_shown(store, dpo):
    shown = hanlin(f"他说：{READ}").stdout
    assert re.search(r"^model   dpo \w{12}, trained on the rows of dpo \(rejected \w{12}\), sft \(split", shown)
    assert (
        "1 of 10 letters or more; 80 % of the text stands word for word" in shown and f"{7:032x}" in shown and "pretrain" in shown
    )
    assert hanlin("毫不相干的一句话而已，没有人说过。").stdout.endswith(
        "No span of 10 letters or more stands in these rows (--min looks for shorter ones).\n"
    )


def test_the_model_in_production_is_the_one_that_is_meant(store, dpo):
    store.tag("prod", store.resolve("sft"), "a test")
    assert json.loads(hanlin(READ, "--json").stdout)["model"]["stage"] == "sft"


def test_a_model_from_outside_says_what_it_cannot_say(store):
    base = made(store, "base")
    rows = {"sft/train.parquet": [{"id": "5" * 32, "source": "s", "messages": [{"role": "user", "content": READ}], "meta": "{}"}]}
    made(store, "sft", model=base, rows=made(store, "split", rows))
    [line] = [line for line in hanlin(READ).stdout.splitlines() if "not traced" in line]
    assert base.key[:12] in line and "learned before" in line
    assert "was trained on no rows of this store" in str(hanlin(READ, "--model", "base").exception)


def test_mistakes_are_told_in_a_sentence(store, dpo):
    assert "there is no text to trace" in str(hanlin("-", input=" \n").exception)
    assert "no artifact, tag or stage is called 'nobody'" in str(hanlin(READ, "--model", "nobody").exception)
    assert "split" in str(hanlin(READ, "--model", "split").exception) and "no rows" in str(
        hanlin(READ, "--model", "split").exception
    )
    indexes = len([record for record in store.records() if record.identity["stage"] == "trace_index"])
    assert "at most 20,000 are traced" in str(hanlin("长" * (LONGEST + 1)).exception)
    assert len([record for record in store.records() if record.identity["stage"] == "trace_index"]) == indexes, (
        "before any is built"
    )
    rows = store.object(store.resolve("split").key) / "sft" / "train.parquet"
    rows.unlink()
    message = str(hanlin(READ).exception)
    assert (
        "the rows that sft was trained on are gone" in message
        and str(rows) in message
        and "run the recipe again up to `split`" in message
    )


def test_without_models_or_the_package_a_person_is_told_what_to_do(store, monkeypatch):
    assert "has no model to trace an answer of" in str(hanlin(READ).exception)
    monkeypatch.setitem(__import__("sys").modules, "pydivsufsort", None)
    with pytest.raises(ValueError, match=r"pip install 'hanlin\[trace\]'"):
        indexes.suffix_array()
