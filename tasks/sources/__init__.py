"""Readers of raw data: one module a format.

A reader has `KIND`, the kind of row it yields (see `tasks.data.rows`), and `read(path)`, which yields rows without `id` and `source`, in file order,
holding a few rows in memory at a time. A row that is no good is a `Drop` with its reason; a file that is no good raises `BrokenFile`.
`NAMED` says that rows depend on the file's name, not only on its bytes. A reader with `JOINED` makes a row of several files: its `read` is told
which others the source has.

All but the reader of wiki dumps make one row of one record: `row(record)`, out of the `CONTAINERS` that they read.
"""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Protocol, cast

from tasks.data.rows import Drop, Kind

FORMATS = {
    "wiki": "a MediaWiki XML export (.xml, .bz2, .gz, .xz, .zst)",
    "belle": "instructions and dialogues, laid out as in BELLE, Firefly, ShareGPT, MOSS, guanaco, TigerBot, Chinese-Vicuna or Huatuo",
    "zhihu": "Zhihu-KOL Parquet: INSTRUCTION, RESPONSE, METADATA",
    "webtext": "webtext2019zh and baike_qa questions with answers: title/desc/content or title/desc/answer",
    "medical": "Chinese medical dialogue, CSV in GB18030 or UTF-8: department, title, ask, answer; or title, prompt, reply, is_best",
    "cmedqa": "cMedQA2, two CSV tables: question_id, content; ans_id, question_id, content",
    "alpaca": "Alpaca and its translations: instruction/input/output",
    "preference": "better and worse answers: prompt/chosen/rejected and their kin, or ranked answers",
    "exam": "multiple choice, one CSV a subject, as in CMMLU and C-Eval: question, A, B, C, D, answer",
    "triples": "DuIE: text, spo_list",
    "baike": "Baidu Baike articles: title, summary, sections",
    "text": "plain text, or rows with a text column, as in wiki2019zh: text, content or completion",
}
TABLES = ("json", "parquet", "csv", "tsv")  # JSON is an array, JSON Lines or objects over several lines


class Reader(Protocol):
    KIND: Kind
    NAMED: bool

    def read(self, path: Path) -> Iterator[dict[str, Any] | Drop]: ...


class RowReader(Reader, Protocol):
    CONTAINERS: tuple[str, ...]

    def row(self, record: dict[str, Any]) -> dict[str, Any] | Drop: ...


def reader(name: str) -> Reader:
    """The reader of a format. ValueError, with the names there are, for an unknown one."""
    if name not in FORMATS:
        raise ValueError(f"no such format: {name!r}; known are {', '.join(FORMATS)}")
    return cast(Reader, importlib.import_module(f"tasks.sources.{name}"))
