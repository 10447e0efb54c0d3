"""The data contracts: what one row of each kind looks like on disk.

Every data artifact is a folder of Parquet files, one sub-folder a kind (`documents/`, `conversations/`, …), with the rows that a
rule removed in `dropped/` and cuts within kept rows in `ledger/`. `meta` is a JSON object as text, because its keys differ from source to source.
"""

from __future__ import annotations

import hashlib
import json
from array import array
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from itertools import accumulate
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
    # cuts of the ledger to read: what a rule took out of a kept row, what it left instead, and what stands around it
    "ledger": pa.schema([(name, pa.string()) for name in ("source", "rule", "detail", "before", "cut", "instead", "after")]),
    # every row that a rule removed, with the rule's name and what it saw
    "dropped": pa.schema([(name, pa.string()) for name in ("id", "source", "reason", "detail", "excerpt")]),
}

Row = dict[str, Any]  # column → value
UNLEARNED = "unlearned"  # key of a conversation's `meta`: the numbers of the turns that no model may learn (models/template.py knows it, too)
LEFT_OUT = "left_out"  # beside the columns of a row as a reader made it: pairs of a rule and the text that it left out
LONGEST = 500  # characters of a Drop's detail and excerpt
ENDS_INSIDE = "the file ends inside"  # in the detail of a Drop: this line, this row
ROW_GROUP = 20_000  # rows: large enough for DuckDB to scan well, small enough to hold in memory
GROUP_CHARACTERS = 4_000_000  # of text in a row group at most, as long as a row has fewer
BATCH_ROWS, BATCH_BYTES = 2_000, 3_000_000  # of a batch that is read: the second is about, by the average of its row group


@dataclass(frozen=True)
class Drop:
    """A row that a rule removes. `reason` is one of few (it is counted), `detail` is what the rule saw."""

    reason: str
    detail: str = ""
    excerpt: str = ""

    def __post_init__(self) -> None:
        """A long detail or excerpt is cut, since many Drops are in memory at a time."""
        object.__setattr__(self, "detail", self.detail[:LONGEST])
        object.__setattr__(self, "excerpt", self.excerpt[:LONGEST])


class BrokenFile(ValueError):
    """A file that is not what its reader expects, or that ends too early. Names the file, and what to do."""

    def __init__(self, path: Path, what: str, then: str = "replace the file, or take it out of the recipe's sources"):
        super().__init__(f"{path}: {what}; {then}")
        self.path, self.what, self.then = path, what, then

    def __reduce__(self) -> tuple[type[BrokenFile], tuple[Path, str, str]]:
        """A worker's error has to reach its parent as it is."""
        return type(self), (self.path, self.what, self.then)


class CutFile(BrokenFile):
    """A file that ends too early, or is damaged from some place on: every whole row before that was read when this is raised."""

    def __init__(
        self,
        path: Path,
        what: str,
        then: str = "download it again, or set tolerate_truncation to keep the whole rows before the cut",
    ):
        super().__init__(path, what, then)


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


def texts(kind: str, row: dict[str, Any]) -> list[str]:
    """The strings of a row that people and models read: what the ledger counts."""
    if kind == "documents":
        return [row["title"], row["text"]]
    if kind == "questions":
        return [row["question"], *row["choices"]]
    if kind == "triples":
        return [row["text"], *(part for triple in row["triples"] for part in triple.values())]
    turns = [turn["content"] for turn in row["messages"]]
    return turns if kind == "conversations" else [*turns, row["chosen"], row["rejected"]]


@dataclass
class Writer:
    """Writes rows of one kind into one Parquet file, a row group at a time; closing it makes the file whole."""

    path: Path
    kind: str
    rows: int = 0
    _characters: int = 0  # of the buffer
    _buffer: list[dict[str, Any]] = field(default_factory=list)
    _file: pq.ParquetWriter | None = None

    def add(self, row: dict[str, Any]) -> None:
        self._buffer.append(row)
        self.rows += 1
        self._characters += _characters(row)
        if len(self._buffer) >= ROW_GROUP or self._characters >= GROUP_CHARACTERS:
            self._flush()

    def _flush(self) -> None:
        self.write(_table(self._buffer, SCHEMAS[self.kind]))
        self._buffer.clear()
        self._characters = 0

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


def _characters(row: dict[str, Any]) -> int:
    """About how long a row is."""
    size = sum([len(value) for value in row.values() if isinstance(value, str)])
    return size + sum([len(turn["content"]) for turn in row["messages"]]) if "messages" in row else size


def batches(path: Path, columns: list[str] | None = None, groups: range | None = None) -> Iterator[pa.RecordBatch]:
    """A Parquet file in batches of bounded size, however large its row groups are (`groups`: only these)."""
    with pq.ParquetFile(path, buffer_size=1 << 20) as file:  # a column chunk streams through the buffer
        for group in groups if groups is not None else range(file.num_row_groups):
            about = file.metadata.row_group(group)
            fit = BATCH_BYTES * about.num_rows // max(1, about.total_byte_size)
            yield from file.iter_batches(max(1, min(BATCH_ROWS, fit)), [group], columns)


def _table(rows: list[dict[str, Any]], schema: pa.Schema) -> pa.Table:
    """Rows as a table."""
    columns = [_column([row.get(field.name) for row in rows], field.type) for field in schema]
    return pa.Table.from_arrays(columns, schema=schema)


def _column(values: list[Any], kind: pa.DataType) -> pa.Array:
    """Values as an array, what is nested one level after the other: several times as fast as `pa.array`, which besides imports pandas if that
    is installed, 0.2 s in each process."""
    if kind == pa.string():
        builder = pa.lib.StringBuilder()
        builder.append_values(values)
        return builder.finish()
    if pa.types.is_list(kind) and None not in values:
        ends = array("i", accumulate(map(len, values), initial=0))
        offsets = pa.Array.from_buffers(pa.int32(), len(ends), [None, pa.py_buffer(ends)])
        return pa.ListArray.from_arrays(
            offsets, _column([item for value in values for item in value], kind.value_type), type=kind
        )
    if pa.types.is_struct(kind) and None not in values:
        parts = [_column([value.get(field.name) for value in values], field.type) for field in kind]
        return pa.StructArray.from_arrays(parts, fields=list(kind))
    return pa.array(values, kind)


def files(*folders: Path, kind: str) -> list[Path]:
    """The Parquet files of one kind in data artifacts, in a fixed order."""
    return [path for folder in folders for path in sorted((folder / kind).glob("*.parquet"))]


def read(paths: Iterable[Path], columns: list[str] | None = None) -> Iterable[dict[str, Any]]:
    """Rows as dicts, a batch in memory at a time."""
    for path in paths:
        for batch in batches(path, columns):
            yield from batch.to_pylist()
