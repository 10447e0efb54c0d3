"""Texts of training rows as a model reads them: a document with its title, each turn of a dialogue, each answer of a pair."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tasks.data import mixture
from tasks.data.tokens import text_of

if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa
    from numpy.typing import NDArray

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


def last_draws(path: Path, left_out: Mapping[str, int], seed: int) -> dict[str, int]:
    """The mixture's draw (`mixture.drawn`) of each source up to which its documents were taken: all but so many of each group (`a+b`) of
    sources. Sources of which none was left out are not in it; −1: none was taken."""
    import numpy as np
    import pyarrow.parquet as pq

    groups = {name: members for name, members in mixture.groups(dict.fromkeys(left_out, 1.0)).items() if left_out[name]}
    own: dict[str, list[NDArray[np.uint64]]] = {name: [np.zeros(0, np.uint64)] for name in groups}
    for batch in pq.ParquetFile(path).iter_batches(10_000, columns=["id", "source"]) if groups else ():
        draws, sources = draws_of(batch["id"].to_pylist(), seed), np.array(batch["source"].to_pylist())
        for name, members in groups.items():
            own[name].append(draws[np.isin(sources, members)])
    last: dict[str, int] = {}
    for name, members in groups.items():
        draws = np.sort(np.concatenate(own[name]))
        taken = len(draws) - left_out[name]
        last |= dict.fromkeys(members, int(draws[taken - 1]) if taken > 0 else -1)
    return last


def draws_of(ids: list[str], seed: int) -> NDArray[np.uint64]:
    """The mixture's draws of documents, by their ids."""
    import numpy as np

    return mixture.drawn(np.array([mixture.id_hash(id) for id in ids], np.uint64), seed)
