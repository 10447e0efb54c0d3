"""A tiny invented corpus in the layouts of the split, tokenizer, pack and rejected stages, for tests of training."""

from __future__ import annotations

import random
from functools import cache
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from tasks import counts, pack, tokenizer
from tasks.artifacts.stage import Job
from tasks.data.rows import SCHEMAS, row_id

PLACES = ["青山", "白水", "云台", "石桥", "松江", "南岭", "北坡", "东湖"]
COLOURS = ["红色", "黄色", "蓝色", "紫色", "白色"]
USES = ["入药", "做菜", "染布", "造纸", "观赏"]
NAMES = [first + second for first in "金银铜铁玉石竹兰" for second in "草花藤木果叶"]


def facts(name: str) -> tuple[str, str, str]:
    """Where a plant grows, its colour and its use: always the same for a name."""
    drawn = random.Random(name)
    return drawn.choice(PLACES), drawn.choice(COLOURS), drawn.choice(USES)


def document(number: int) -> dict[str, str]:
    drawn = random.Random(number)
    names = drawn.sample(NAMES, drawn.randint(1, 6))
    text = "".join("{}生长在{},花是{}的,人们用它{}。".format(name, *facts(name)) for name in names)
    return {"id": row_id(text), "source": "wiki", "title": names[0], "text": text, "lang": "zh", "meta": "{}"}


def exchange(name: str, what: int) -> tuple[str, str]:
    question = [f"{name}生长在哪里?", f"{name}的花是什么颜色?", f"{name}有什么用?"][what]
    return question, ["它生长在{}。", "它的花是{}的。", "人们用它{}。"][what].format(facts(name)[what])


def conversation(number: int) -> dict[str, Any]:
    drawn = random.Random(number)
    messages = []
    for _ in range(drawn.randint(1, 3)):
        question, answer = exchange(drawn.choice(NAMES), drawn.randrange(3))
        messages += [{"role": "user", "content": question}, {"role": "assistant", "content": answer}]
    return {"id": row_id(str(number)), "source": "belle", "messages": messages, "meta": "{}"}


def pair(number: int) -> dict[str, Any]:
    drawn = random.Random(number)
    what, (right, wrong) = drawn.randrange(3), drawn.sample(NAMES, 2)
    question, chosen = exchange(right, what)
    rejected = exchange(wrong, what)[1] + "我不知道。"
    messages = [{"role": "user", "content": question}]
    return {
        "id": row_id(str(number)),
        "source": "belle",
        "messages": messages,
        "chosen": chosen,
        "rejected": rejected,
        "meta": "{}",
    }


def write(path: Path, kind: str, rows: list[dict[str, Any]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.Table.from_pylist(rows, schema=SCHEMAS[kind]), path)


@cache
def build(home: Path, documents: int = 240, rows: int = 120, vocab_size: int = 400) -> dict[str, Path]:
    """Folders by role: rows, tokenizer, packed, pairs."""
    for split, share, start in (("train", 1.0, 0), ("valid", 0.15, 1_000_000)):
        write(
            home / "rows" / "pretrain" / f"{split}.parquet",
            "documents",
            [document(start + n) for n in range(int(documents * share))],
        )
        write(
            home / "rows" / "sft" / f"{split}.parquet",
            "conversations",
            [conversation(start + n) for n in range(int(rows * share))],
        )
        write(
            home / "pairs" / "preferences" / f"{split}.parquet",
            "preferences",
            [pair(start + n) for n in range(int(rows * share))],
        )
    job = Job(out=home / "tokenizer", scratch=home / "scratch-tokenizer")
    counts.run(Job(out=home / "counts", scratch=home / "scratch-counts"), counts.Params(), rows=home / "rows")
    tokenizer.run(job, tokenizer.Params(vocab_size=vocab_size), rows=home / "rows", counts=home / "counts")
    pack.run(
        Job(out=home / "packed", scratch=home / "scratch-pack"), pack.Params(), rows=home / "rows", tokenizer=home / "tokenizer"
    )
    return {name: home / name for name in ("rows", "tokenizer", "packed", "pairs")}
