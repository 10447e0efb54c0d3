"""Texts of training rows as a model reads them: a document with its title, each turn of a dialogue, each answer of a pair."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tasks.data.tokens import text_of

if TYPE_CHECKING:
    import pyarrow as pa

PARTS = ("text", "system", "user", "assistant", "chosen", "rejected")  # of a row: what a text is in it
COLUMNS = {  # that hold text or say what it is, by kind of row
    "documents": ["id", "source", "title", "text"],
    "conversations": ["id", "source", "messages"],
    "preferences": ["id", "source", "messages", "chosen", "rejected"],
}


def kind_of(path: Path) -> str:
    """The kind of the rows in a Parquet file of training rows, by its columns."""
    import pyarrow.parquet as pq

    names = set(pq.read_schema(path).names)
    return next(kind for kind in ("documents", "preferences", "conversations") if names >= set(COLUMNS[kind]))


def texts_of(row: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """(part, text) of a row, without empty ones. Turns are stripped, as chat templates have them."""
    if "text" in row:
        texts = [("text", text_of(row))]
    else:
        texts = [(turn["role"], turn["content"].strip()) for turn in row["messages"]]
        texts += [(part, row[part].strip()) for part in ("chosen", "rejected") if part in row]
    return ((part, text) for part, text in texts if text)


def bytes_of(table: pa.Table) -> int:
    """About how many bytes of UTF-8 the texts of some rows have."""
    import pyarrow as pa
    import pyarrow.compute as pc

    total = 0
    for column in table.columns:
        for chunk in column.chunks:
            text = pc.struct_field(chunk.flatten(), "content") if pa.types.is_list(chunk.type) else chunk
            total += pc.sum(pc.binary_length(text)).as_py() or 0
    return total
