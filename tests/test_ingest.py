"""Stage ingest: rows of every format, normalised, with ids and a funnel that adds up."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from tasks import ingest
from tasks.artifacts.stage import Job, Resources
from tasks.data.rows import SCHEMAS, content, files, read, row_id
from tasks.formats.registry import ours, reader
from tasks.processes import reading


def run(
    home: Path, name: str, paths: list[Path], workers: int = 1, **settings: Any
) -> tuple[dict[str, Any], list[dict[str, Any]], Job]:
    job = Job(out=home / "out", scratch=home / "scratch", resources=Resources(workers=workers))
    stats = ingest.run(job, ingest.Params(source=name, format=name, **settings), files=paths)
    kind = reader(name).kind
    rows = list(read(files(job.out, kind=kind)))
    dropped = list(read(files(job.out, kind="dropped")))
    funnel = stats["funnel"][name]
    assert funnel["in"] == funnel["kept"] + sum(funnel["dropped"].values())
    assert (len(rows), len(dropped)) == (funnel["kept"], sum(funnel["dropped"].values()))
    for row in rows:
        assert set(row) == set(SCHEMAS[kind].names)
        assert (row["source"], row["id"]) == (name, row_id(*content(kind, row)))
    return stats, rows, job


def lines(path: Path, *rows: Any) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")
    return path


def test_every_format_but_wiki_can_be_ingested() -> None:
    for name in set(ours()) - {"wiki"}:
        assert ingest.Params(source="a", format=name).format == name
    with pytest.raises(ValidationError, match="wiki dumps are read by the stage extract"):
        ingest.Params(source="a", format="wiki")
    with pytest.raises(ValidationError, match="no such format: 'bele'; did you mean 'belle'"):
        ingest.Params(source="a", format="bele")


def test_dialogues_are_normalised_and_simplified(tmp_path: Path) -> None:
    path = lines(
        tmp_path / "a.json",
        {"instruction": "　數學是什麼?", "input": "Ａ\u200b", "output": "一門學科,\r\n很  有趣."},
        {"instruction": "\u200b", "output": "答"},
        {"instruction": "日本語", "output": "これは繁體の本です"},
        {"instruction": "问", "output": "坏\ud800字"},
        {"instruction": "问", "output": ""},
    )
    stats, rows, _ = run(tmp_path, "belle", [path])
    assert [[turn["content"] for turn in row["messages"]] for row in rows] == [
        ["数学是什么？\nA", "一门学科，\n很有趣。".replace("很有趣", "很 有趣")],
        ["日本语", "これは繁體の本です"],
        ["问", "坏字"],
    ]
    assert stats["funnel"]["belle"]["dropped"] == {"no question": 1, "no answer": 1}


def test_settings_can_be_switched_off(tmp_path: Path) -> None:
    path = lines(tmp_path / "a.json", {"instruction": "數學,好", "output": "坏\ud800  字"})
    _, rows, _ = run(tmp_path, "belle", [path], normalise=False, simplify=False)
    assert [turn["content"] for turn in rows[0]["messages"]] == ["數學,好", "坏  字"]  # what UTF-8 cannot say goes all the same


def test_preferences_that_differ_only_in_spelling_are_no_preference(tmp_path: Path) -> None:
    path = lines(
        tmp_path / "a.json",
        {"prompt": "问", "chosen": "你好,好", "rejected": "你好，好"},
        {"prompt": "问", "chosen": "好", "rejected": "坏"},
    )
    stats, _, _ = run(tmp_path, "preference", [path])
    assert stats["funnel"]["preference"] == {"in": 2, "kept": 1, "dropped": {"chosen equals rejected": 1}}


def test_triples_still_stand_in_their_text(tmp_path: Path) -> None:
    path = lines(
        tmp_path / "a.json",
        {"text": "《甲》是乙寫的,真的", "spo_list": [{"subject": "甲", "predicate": "作者", "object": "乙"}]},
        {"text": "甲.乙公司在北京", "spo_list": [{"subject": "甲.", "predicate": "总部", "object": "北京"}]},
    )
    _, rows, _ = run(tmp_path, "triples", [path])
    assert [row["text"] for row in rows] == ["《甲》是乙写的，真的", "甲.乙公司在北京"]
    assert rows[1]["triples"] == [{"subject": "甲.", "predicate": "总部", "object": "北京"}]


def test_documents_get_their_language(tmp_path: Path) -> None:
    path = lines(
        tmp_path / "a.jsonl", {"text": "这是中文"}, {"text": "This is English"}, {"title": "題", "text": "これはにほんごです"}
    )
    _, rows, _ = run(tmp_path, "text", [path])
    assert [(row["title"], row["lang"]) for row in rows] == [("", "zh"), ("", "en"), ("题", "ja")]


def test_a_question_is_asked_as_it_was(tmp_path: Path) -> None:
    """Cleaning would make these choices the same, or the question another one."""
    asked = [
        ("下列哪一个是繁体字？", ["发", "發", "髪", "友"]),
        ("标点使用正确的一项是", ["他说:你好.", "他说：你好。", "他说，你好", "他说;你好"]),
        ("“Ａ”是全角还是半角？", ["全角Ａ", "半角A", "&lt;", "&amp;lt;"]),
        (r"C语言的转义字符\n表示", ["换行", "\\n", "\\t", "回车"]),
    ]
    rows = [{"question": question, **dict(zip("ABCD", choices, strict=True)), "answer": "B"} for question, choices in asked]
    path = tmp_path / "字.jsonl"
    path.write_text("\n".join(json.dumps(row, ensure_ascii=False) for row in rows), "utf-8")
    _, kept, _ = run(tmp_path, "exam", [path])
    assert [(row["question"], row["choices"]) for row in kept] == asked


def test_a_subject_is_its_file_name(tmp_path: Path) -> None:
    """Two files of the same bytes and different names are two subjects, and a renamed one is read again."""
    table = "Question,A,B,Answer\n问,甲,乙,A\n"
    for name in ("law.csv", "art.csv"):
        (tmp_path / name).write_text(table, "utf-8")
    _, rows, _ = run(tmp_path, "exam", [tmp_path / "law.csv", tmp_path / "art.csv"])
    assert [row["subject"] for row in rows] == ["law", "art"]
    (tmp_path / "law.csv").rename(tmp_path / "sea.csv")
    job = Job(out=tmp_path / "out2", scratch=tmp_path / "scratch")
    ingest.run(job, ingest.Params(source="exam", format="exam"), files=[tmp_path / "sea.csv"])
    assert [row["subject"] for row in read(files(job.out, kind="questions"))] == ["sea"]


def test_personal_data_does_not_get_into_the_dropped_rows(tmp_path: Path) -> None:
    path = lines(
        tmp_path / "a.json", {"instruction": "我的电话13812345678，请回电", "output": ""}, {"instruction": "问", "output": "答"}
    )
    _, _, job = run(tmp_path, "belle", [path])
    assert [row["excerpt"] for row in read(files(job.out, kind="dropped"))] == ["我的电话[电话]，请回电"]


def test_any_number_of_workers_writes_the_same_bytes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reading, "BATCH_ROWS", 7)
    monkeypatch.setattr(reading, "SMALL", 0)
    path = lines(tmp_path / "a.json", *({"instruction": f"問{n}", "output": "答" * (n % 5)} for n in range(50)))
    _, rows, one = run(tmp_path / "1", "belle", [path], workers=1)
    _, _, two = run(tmp_path / "2", "belle", [path], workers=2)
    assert [row["messages"][0]["content"] for row in rows] == [f"问{n}" for n in range(50) if n % 5]
    assert sorted(path.name for path in (one.out / "conversations").iterdir()) == [f"{n:05d}.parquet" for n in range(8)]
    for path in one.out.rglob("*.parquet"):
        assert path.read_bytes() == (two.out / path.relative_to(one.out)).read_bytes()


def test_a_crash_of_a_worker_says_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reading, "SMALL", 0)
    monkeypatch.setattr(reading, "BATCH_ROWS", 1)  # a single batch is done here, without a process
    path = lines(tmp_path / "a.json", {"instruction": "问", "output": "答"}, {"instruction": "又问", "output": "又答"})
    job = Job(out=tmp_path / "out", scratch=tmp_path / "scratch", resources=Resources(workers=2))
    with pytest.raises(RuntimeError, match=r"a worker process died, .*: run again, with fewer resources.workers"):
        reading.by_shard(job, [path], "conversations", reader("belle").read, _die, "identity")


def _die(rows: list[Any], draft: Path) -> dict[str, Any]:
    import os

    os._exit(9)


@pytest.mark.parametrize(
    ("name", "path", "total", "kept"),
    [
        ("belle", "sft/belle/train_2M_CN_sample.json", 1000, 1000),
        ("belle", "sft/belle/train_3.5M_CN_sample.json", 1000, 1000),
        ("zhihu", "qa/zhihu_kol_train-00000-of-00005_sample.parquet", 1000, 1000),
        ("alpaca", "sft/alpaca_chinese_zh-data-part-00.json", 10_021, 10_005),
        ("medical", "medical/样例_内科5000-6000.csv", 7644, 7644),
        ("triples", "triples/duie2_train_first4000.json", 4000, 4000),
        ("preference", "preference/oaast_rm_zh.json", 775, 772),
        ("preference", "preference/dpo_zh_demo.json", 300, 300),
        ("text", "pretrain/skypile_2021-31_zh_head_0000_sample_first800.jsonl", 800, 800),
    ],
)
def test_real_files(tmp_path: Path, real_data: Path, name: str, path: str, total: int, kept: int) -> None:
    stats, rows, _ = run(tmp_path, name, [real_data / path])
    assert (stats["funnel"][name]["in"], stats["funnel"][name]["kept"]) == (total, kept)
    if name == "triples":
        assert sum(len(row["triples"]) for row in rows) == 7227
        assert all(part["subject"] in row["text"] and part["object"] in row["text"] for row in rows for part in row["triples"])


def test_real_exams(tmp_path: Path, real_data: Path) -> None:
    _, rows, _ = run(tmp_path, "exam", sorted((real_data / "eval/cmmlu/test").glob("*.csv")))
    assert len(rows) == 11_582 and len({row["subject"] for row in rows}) == 67
    assert all(0 <= row["answer"] < len(row["choices"]) == 4 for row in rows)
