"""Readers of raw data: one module a format.

A reader has `KIND`, the kind of row it yields (see `tasks.rows`), and `read(path)`, which yields rows without `id` and `source`, in file order,
holding a few rows in memory at a time. A row that is no good is a `Drop` with its reason; a file that is no good raises `BrokenFile`.
`NAMED` says that rows depend on the file's name, not only on its bytes.
"""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Protocol, cast

from tasks.rows import Drop, Kind

FORMATS = {
    "wiki": "a MediaWiki XML export (.xml, .bz2, .gz, .xz)",
    "belle": "BELLE instructions and dialogues, JSON Lines: instruction/input/output, conversations, input/target",
    "zhihu": "Zhihu-KOL Parquet: INSTRUCTION, RESPONSE, METADATA",
    "webtext": "webtext2019zh and baike_qa questions with answers, JSON Lines: title/desc/content or title/desc/answer",
    "medical": "Chinese medical dialogue, CSV in GB18030 or UTF-8: department, title, ask, answer",
    "alpaca": "Alpaca instructions, JSON array or JSON Lines: instruction/input/output",
    "preference": "better and worse answers, JSON, Parquet or TSV: prompt/chosen/rejected and their kin, or ranked answers",
    "exam": "multiple choice, one CSV a subject, as in CMMLU and C-Eval: question, A, B, C, D, answer",
    "triples": "DuIE, JSON Lines: text, spo_list",
    "baike": "Baidu Baike articles, JSON Lines: title, summary, sections",
    "text": "plain text, one document a file, or JSON, JSON Lines and Parquet with a text column, one a row",
}


class Reader(Protocol):
    KIND: Kind
    NAMED: bool

    def read(self, path: Path) -> Iterator[dict[str, Any] | Drop]: ...


def reader(name: str) -> Reader:
    """The reader of a format. ValueError, with the names there are, for an unknown one."""
    if name not in FORMATS:
        raise ValueError(f"no such format: {name!r}; known are {', '.join(FORMATS)}")
    return cast(Reader, importlib.import_module(f"tasks.sources.{name}"))
