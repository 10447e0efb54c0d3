"""The data contracts: what one row of each kind looks like on disk.

Every data artifact is a folder of Parquet files, one sub-folder a kind (`documents/`, `conversations/`, …), with the rows that a
rule removed in `dropped/`. `meta` is a JSON object as text, because its keys differ from source to source.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import pyarrow as pa
import pyarrow.parquet as pq

Kind = Literal["documents", "conversations", "preferences", "questions", "triples"]

_TURNS = pa.list_(pa.struct([("role", pa.string()), ("content", pa.string())]))

SCHEMAS: dict[str, pa.Schema] = {
    # a text for pretraining
    "documents": pa.schema([(name, pa.string()) for name in ("id", "source", "title", "text", "lang", "meta")]),
    # a dialogue: roles are system, user, assistant
    "conversations": pa.schema([("id", pa.string()), ("source", pa.string()), ("messages", _TURNS), ("meta", pa.string())]),
    # a prompt (messages up to and with the last user turn) with a better and a worse answer
    "preferences": pa.schema(
        [
            ("id", pa.string()),
            ("source", pa.string()),
            ("messages", _TURNS),
            ("chosen", pa.string()),
            ("rejected", pa.string()),
            ("meta", pa.string()),
        ]
    ),
    # multiple choice, for evaluation; `answer` is the index of the right choice
    "questions": pa.schema(
        [
            ("id", pa.string()),
            ("source", pa.string()),
            ("subject", pa.string()),
            ("question", pa.string()),
            ("choices", pa.list_(pa.string())),
            ("answer", pa.int32()),
        ]
    ),
    # relation extraction
    "triples": pa.schema(
        [
            ("id", pa.string()),
            ("source", pa.string()),
            ("text", pa.string()),
            (
                "triples",
                pa.list_(pa.struct([(name, pa.string()) for name in ("subject", "predicate", "object")])),
            ),
        ]
    ),
    # every row that a rule removed, with the rule's name and what it saw
    "dropped": pa.schema([(name, pa.string()) for name in ("id", "source", "reason", "detail", "excerpt")]),
}

EXCERPT = 120  # characters of a dropped row kept for a person to read
ROW_GROUP = 20_000  # rows: large enough for DuckDB to scan well, small enough to hold in memory


@dataclass(frozen=True)
class Drop:
    """A row that a rule removes. `reason` is one of few (it is counted), `detail` is what the rule saw."""

    reason: str
    detail: str = ""
    excerpt: str = ""


class BrokenFile(ValueError):
    """A file that is not what its reader expects, or that ends too early. Names the file, and what to do."""

    def __init__(self, path: Path, what: str, then: str = "replace the file, or take it out of the recipe's sources"):
        super().__init__(f"{path}: {what}; {then}")
        self.path = path


def row_id(*parts: str) -> str:
    """A content hash: equal rows have equal ids in every run. 32 hexadecimal digits (128 bits of sha256)."""
    return hashlib.sha256("\x1f".join(parts).encode("utf-8", "surrogatepass")).hexdigest()[:32]


def content(kind: str, row: dict[str, Any]) -> list[str]:
    """The strings of a row that make it what it is, in order: what its id and its duplicates are judged by."""
    if kind == "documents":
        return [row["title"], row["text"]]
    if kind == "conversations":
        return [part for turn in row["messages"] for part in (turn["role"], turn["content"])]
    if kind == "preferences":
        turns = [part for turn in row["messages"] for part in (turn["role"], turn["content"])]
        return [*turns, row["chosen"], row["rejected"]]
    if kind == "questions":
        return [row["question"], *row["choices"], str(row["answer"])]
    if kind == "triples":
        return [row["text"], json.dumps(row["triples"], ensure_ascii=False, sort_keys=True)]
    raise AssertionError(f"no such kind of row: {kind}")


@dataclass
class Writer:
    """Writes rows of one kind into one Parquet file, a row group at a time; closing it makes the file whole."""

    path: Path
    kind: str
    rows: int = 0
    _buffer: list[dict[str, Any]] = field(default_factory=list)
    _file: pq.ParquetWriter | None = None

    def add(self, row: dict[str, Any]) -> None:
        self._buffer.append(row)
        self.rows += 1
        if len(self._buffer) >= ROW_GROUP:
            self._flush()

    def _flush(self) -> None:
        self.write(pa.Table.from_pylist(self._buffer, schema=SCHEMAS[self.kind]))
        self._buffer.clear()

    def write(self, table: pa.Table) -> None:
        """Append a table that already has the kind's schema."""
        if self._file is None:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self._file = pq.ParquetWriter(self.path, SCHEMAS[self.kind], compression="zstd")
        self._file.write_table(table)

    def close(self) -> None:
        if self._buffer or self._file is None:  # a file without rows is still a file with a schema
            self._flush()
        assert self._file is not None
        self._file.close()

    def __enter__(self) -> Writer:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()


def files(*folders: Path, kind: str) -> list[Path]:
    """The Parquet files of one kind in data artifacts, in a fixed order."""
    return [path for folder in folders for path in sorted((folder / kind).glob("*.parquet"))]


def read(paths: Iterable[Path], columns: list[str] | None = None) -> Iterable[dict[str, Any]]:
    """Rows as dicts, a row group in memory at a time."""
    for path in paths:
        for batch in pq.ParquetFile(path).iter_batches(columns=columns):
            yield from batch.to_pylist()
