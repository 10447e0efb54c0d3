"""Signatures and similarity of texts: sign them, set those aside that may be duplicates, and measure how alike two are.

Pure functions of some row groups of a file, or of a partition of pairs. Texts pass through memory in batches.
"""

from __future__ import annotations

import hashlib
import itertools
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tasks.artifacts.stage import Stats
from tasks.data.rows import batches
from tasks.duplicates import minhash
from tasks.duplicates.candidates import NUMBER, files_sql
from tasks.duplicates.minhash import Texts
from tasks.duplicates.units import Budget, Partition, Settings, Signing, Unit
from tasks.processes.database import connect

if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa
    from numpy.typing import NDArray

JUDGED = {"documents": ["text"], "conversations": ["messages"], "preferences": ["messages", "chosen", "rejected"]}  # columns
PAIRS = 4_000  # compared at a time, fewer where they hold more than this many characters:
CHARACTERS = 400_000
OPEN = 256  # files read from at a time


def compared_texts(kind: str, rows: pa.RecordBatch) -> list[str]:
    """The text of each row that duplicates are judged by: a document's text, every turn of a dialogue, a preference's turns and both answers."""
    if kind == "documents":
        texts: list[str] = rows.column("text").to_pylist()
        return texts
    messages = rows.column("messages")
    ends = messages.offsets.to_pylist()
    turns = messages.values.slice(ends[0], ends[-1] - ends[0]).field("content").to_pylist()
    dialogues = [turns[start - ends[0] : end - ends[0]] for start, end in itertools.pairwise(ends)]
    if kind == "preferences":
        answers = zip(rows.column("chosen").to_pylist(), rows.column("rejected").to_pylist(), strict=True)
        dialogues = [[*turns, *both] for turns, both in zip(dialogues, answers, strict=True)]
    return [minhash.PART.join(turns) for turns in dialogues]


def sign(draft: Path, unit: Unit, signing: Signing) -> Stats:
    """`signatures.parquet`: id, characters, 128-bit hash and band hashes (null where it is too short for an n-gram) of every row."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    band_fields = [(f"band_{band}", pa.uint32()) for band in range(signing.bands)]
    schema = pa.schema(
        [("id", pa.string()), ("characters", pa.int64()), ("high", pa.uint64()), ("low", pa.uint64()), *band_fields]
    )
    rows = 0
    with pq.ParquetWriter(draft / "signatures.parquet", schema, compression="zstd", use_dictionary=False) as out:
        for batch in batches(unit.path, ["id", *JUDGED[unit.kind]], unit.groups):
            texts = compared_texts(unit.kind, batch)
            folded = minhash.folded(texts)
            long, banded = _banded(minhash.written(folded), signing)
            exact = _exact(minhash.letters(folded), texts)
            columns = [batch.column("id"), pa.array(map(len, texts), pa.int64()), *map(pa.array, exact.T)]
            columns += [pa.array(banded[:, band], mask=~long) for band in range(signing.bands)]
            out.write_table(pa.table(columns, schema))
            rows += len(texts)
    return {"rows": rows}


def _banded(texts: Texts, signing: Signing) -> tuple[NDArray[np.bool_], NDArray[np.uint32]]:
    """True for texts that hold an n-gram, and the band hashes (of the others 0). Shapes (rows), (rows, bands)."""
    import numpy as np

    hashed = minhash.ngrams(texts, signing.ngram)
    long = hashed.lengths > 0
    banded = np.zeros((len(texts), signing.bands), np.uint32)
    whole = Texts(hashed.values, np.concatenate(([0], hashed.bounds[1:][long])))
    banded[long] = minhash.band_hashes(minhash.signatures(whole, signing.permutations), signing.bands)
    return long, banded


def _exact(keys: Texts, texts: list[str]) -> NDArray[np.uint64]:
    """The hash that exact duplicates share. A row of signs alone (a formula, an emoji) has no letters, and is what it is to the letter."""
    import numpy as np

    lettered = keys.where(keys.values != ord(minhash.PART)).lengths > 0
    digests = [
        hashlib.blake2b(keys[place].tobytes(), digest_size=16).digest()
        if some
        else hashlib.blake2b(texts[place].encode("utf-8", "surrogatepass"), digest_size=16, person=b"signs").digest()
        for place, some in enumerate(lettered.tolist())
    ]
    return np.frombuffer(b"".join(digests), "<u8").reshape(-1, 2)


def extract_texts(draft: Path, unit: Unit, number: int, members: Path) -> Stats:
    """`texts.bin`: the code points that count of the rows that are `members`; `places.parquet`: row number, file number, start, length of each.

    `number` is that of the unit, and so of the file.
    """
    import numpy as np
    import pyarrow as pa
    import pyarrow.parquet as pq

    first, end = unit.first, unit.first + unit.rows
    numbers = pq.read_table(members, filters=[("number", ">=", first), ("number", "<", end)]).column("number").to_numpy()
    schema = pa.schema([("number", pa.int64()), ("file", pa.int64()), ("start", pa.int64()), ("length", pa.int64())])
    end_of_texts = 0
    with (
        pq.ParquetWriter(draft / "places.parquet", schema, compression="zstd") as places,
        (draft / "texts.bin").open("wb") as out,
    ):
        for batch in batches(unit.path, JUDGED[unit.kind], unit.groups):
            here = numbers[np.searchsorted(numbers, first) : np.searchsorted(numbers, first + len(batch))]
            texts = minhash.written(minhash.folded(compared_texts(unit.kind, batch.take(pa.array(here - first)))))
            out.write(texts.values.tobytes())
            places.write_table(
                pa.table([here, np.full(len(here), number), end_of_texts + texts.bounds[:-1], texts.lengths], schema)
            )
            end_of_texts += len(texts.values)
            first += len(batch)
    return {"characters": end_of_texts}


def similar_pairs(
    draft: Path,
    pairs: Sequence[Path],
    places: Sequence[Path],
    texts: Sequence[Path],
    settings: Settings,
    share: Partition,
    budget: Budget,
) -> Stats:
    """`alike.parquet`: worse, better and similarity of the pairs at or above the threshold. Partitioned by the better row.

    Similarity is the Jaccard similarity of the sets of n-grams, with white space as one space a run.
    """
    return _compare(draft, pairs, places, texts, settings.ngram, settings.threshold, share, budget)


def all_pairs(
    draft: Path,
    pairs: Sequence[Path],
    places: Sequence[Path],
    texts: Sequence[Path],
    settings: Settings,
    share: Partition,
    budget: Budget,
) -> Stats:
    """`alike.parquet`: worse, better and similarity of every pair. Partitioned by the better row."""
    return _compare(draft, pairs, places, texts, settings.ngram, 0.0, share, budget)


def _compare(
    draft: Path,
    pairs: Sequence[Path],
    places: Sequence[Path],
    texts: Sequence[Path],
    ngram: int,
    least: float,
    share: Partition,
    budget: Budget,
) -> Stats:
    import pyarrow as pa
    import pyarrow.parquet as pq

    schema = pa.schema([("worse", pa.int64()), ("better", pa.int64()), ("similarity", pa.float64())])
    compared = 0
    with (
        connect(draft / "duckdb", budget.memory, budget.threads) as db,
        pq.ParquetWriter(draft / "alike.parquet", schema, compression="zstd") as out,
        _reader(texts) as read,
    ):
        located = db.sql(
            f"""
            SELECT worse, better, w.file AS worse_file, w.start AS worse_start, w.length AS worse_length, b.file, b.start, b.length
            FROM (SELECT DISTINCT worse, better FROM {files_sql(pairs)} WHERE better % {share.parts} = {share.part})
            JOIN {files_sql(places)} w ON w.number = worse {NUMBER} JOIN {files_sql(places)} b ON b.number = better {NUMBER}
            ORDER BY better, worse
            """
        )
        for batch in located.to_arrow_reader(PAIRS):
            columns = {name: batch.column(name).to_numpy() for name in batch.schema.names}
            for some in _chunks(columns["worse_length"] + columns["length"]):
                here = {name: values[some] for name, values in columns.items()}
                similarity = _similarities(here, read, ngram)
                keep = similarity >= least
                out.write_table(pa.table([here["worse"][keep], here["better"][keep], similarity[keep]], schema))
            compared += len(batch)
    return {"compared": compared}


def _chunks(lengths: NDArray[np.int64]) -> Iterator[slice]:
    """Runs of pairs of at most about `CHARACTERS` together."""
    import numpy as np

    chunk = np.cumsum(lengths) // CHARACTERS
    starts = np.flatnonzero(np.diff(chunk, prepend=-1))
    yield from (slice(start, end) for start, end in zip(starts, [*starts[1:], len(lengths)], strict=True))


def _similarities(pairs: dict[str, NDArray[np.int64]], read: Any, ngram: int) -> NDArray[np.float64]:
    import numpy as np

    ranks = np.concatenate([pairs["worse"], pairs["better"]])
    file, start, length = (np.concatenate([pairs[f"worse_{name}"], pairs[name]]) for name in ("file", "start", "length"))
    _, once, which = np.unique(ranks, return_index=True, return_inverse=True)
    points = [read(*place) for place in zip(file[once].tolist(), start[once].tolist(), length[once].tolist(), strict=True)]
    whole = Texts(np.concatenate(points), np.concatenate(([0], np.cumsum(length[once]))))
    one, other = which[: len(pairs["worse"])], which[len(pairs["worse"]) :]
    return minhash.jaccard(minhash.shingles(minhash.ngrams(whole, ngram)), one, other)


@contextmanager
def _reader(files: Sequence[Path]) -> Iterator[Any]:
    """A function of (file number, start, length) → code points. Reads, not maps: mapped pages would count as this process's memory."""
    import numpy as np

    opened: dict[int, int] = {}

    def close() -> None:
        while opened:
            os.close(opened.popitem()[1])

    def read(number: int, start: int, length: int) -> NDArray[np.uint32]:
        if number not in opened:
            if len(opened) >= OPEN:
                close()
            opened[number] = os.open(files[number], os.O_RDONLY)
        return np.frombuffer(os.pread(opened[number], 4 * length, 4 * start), "<u4")

    try:
        yield read
    finally:
        close()
