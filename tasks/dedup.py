"""Duplicates across all sources: exact ones by a hash, near ones by MinHash over character n-grams, checked by their true similarity.

Two rows are exact duplicates if their letters, digits and Han characters agree, and near duplicates if their sets of n-grams of these
have a Jaccard similarity of `threshold` or more. Of duplicates the best row stays: the longest, then the one of the source that the recipe
names first, then the first. Rows are taken from best to worst and one goes only if it is a duplicate of a row that stays, so a chain of small
differences (a ~ b ~ c) never removes a row unlike all that stay.

Texts pass through memory in batches; DuckDB holds ids and hashes.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from pydantic import Field, model_validator

from tasks import database, duplicates, minhash, shards
from tasks.rows import EXCERPT, ROW_GROUP, Writer, files
from tasks.stage import Identity, Job, Stats, stage
from tasks.text import normalise, privacy

if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa
    from duckdb import DuckDBPyConnection
    from numpy.typing import NDArray

KINDS = ("documents", "conversations", "preferences")
BATCH = 2_000  # rows whose text is held as Python strings at a time
EXAMPLES = 10  # clusters shown to a person
SHOWN = 5  # rows of such a cluster
SIGNATURES = "signatures.parquet"


class Params(Identity):
    ngram: int = Field(5, ge=2, le=20, description="Characters in an n-gram; texts shorter than one are only compared exactly")
    permutations: int = Field(128, ge=16, le=1024, description="MinHash permutations; a multiple of `bands`")
    bands: int = Field(
        16,
        ge=2,
        le=128,
        description="LSH bands; 16 of 8 find a pair at similarity 0.85 with probability 0.994, at 0.9 with 0.9999",
    )
    threshold: float = Field(0.85, ge=0.5, le=1.0, description="Jaccard similarity from which two rows are near duplicates")

    @model_validator(mode="after")
    def _bands_divide(self) -> Self:
        if self.permutations % self.bands:
            raise ValueError(f"permutations ({self.permutations}) must be a multiple of bands ({self.bands})")
        return self


def judged(kind: str, row: dict[str, Any]) -> list[str]:
    """The strings of a row that its duplicates are judged by: a document's text, every turn, both answers."""
    if kind == "documents":
        return [row["text"]]
    turns = [turn["content"] for turn in row["messages"]]
    return turns if kind == "conversations" else [*turns, row["chosen"], row["rejected"]]


_JUDGED = {"documents": ["text"], "conversations": ["messages"], "preferences": ["messages", "chosen", "rejected"]}  # columns


def _key(parts: list[str]) -> str:
    return "\n".join(normalise.dedup_key(part) for part in parts)


@dataclass(frozen=True)
class _Input:
    """One input file. Its rows are numbered from `first`, over all files of the kind in recipe order."""

    path: Path
    kind: str
    source: str
    first: int
    rows: int
    signed: str  # the key of the shard with its hashes


@stage("dedup", version=1, title="Remove duplicates", params=Params)
def run(job: Job, params: Params, *, sources: dict[str, Path]) -> Stats:
    """`sources`, in recipe order, hold `<kind>/*.parquet`; so does the result, in input order, with what went in `dropped/`.

    Kinds that only the evaluation reads (questions, triples) are left out. Raises `ValueError` where no source holds any other.
    """
    inputs = _inputs(job, params, sources)
    pieces = [
        shards.Piece(one.signed, (one.path, one.kind, params.model_dump()), one.rows, one.path.stat().st_size) for one in inputs
    ]
    shards.do(job, sign, pieces, "row")
    funnel: dict[str, dict[str, Any]] = {one.source: {"in": 0, "kept": 0, "dropped": {}} for one in inputs}
    sizes: Counter[str] = Counter()
    examples: dict[str, list[dict[str, Any]]] = {}
    with database.opened(job) as db:
        for kind in KINDS:
            of_kind = [one for one in inputs if one.kind == kind]
            if not of_kind:
                continue
            duplicates.load(db, ((one.source, one.first, job.shard_home(one.signed) / SIGNATURES) for one in of_kind))
            duplicates.exact(db)
            duplicates.pairs(db, params.bands)
            members = duplicates.members(db)
            job.log(f"{kind}: {len(members):,} rows may be near duplicates and are compared")
            with _shingles(job.scratch / "shingles.bin", of_kind, members, params.ngram) as shingles:
                duplicates.near(db, shingles, params.threshold)
            duplicates.verdict(db)
            sizes.update(duplicates.sizes(db))
            examples[kind] = _examples(db, of_kind)
            for one in of_kind:
                _write(db, job, one, inputs.index(one), funnel[one.source])
    by_size = dict(sorted(sizes.items(), key=lambda size: int(size[0].partition("–")[0])))
    return {"funnel": funnel, "clusters": {"sizes": by_size, "examples": examples}}


def _inputs(job: Job, params: Params, sources: dict[str, Path]) -> list[_Input]:
    import pyarrow.parquet as pq

    found = []
    for kind in KINDS:
        first = 0
        for source, folder in sources.items():
            for path in files(folder, kind=kind):
                with path.open("rb") as raw:
                    digest = hashlib.file_digest(raw, "sha256").hexdigest()
                rows = pq.read_metadata(path).num_rows
                signed = job.shard_key("signatures", kind, digest, params.model_dump(mode="json", exclude={"threshold"}))
                found.append(_Input(path, kind, source, first, rows, signed))
                first += rows
    if not found:
        raise ValueError(
            f"no source ({', '.join(sources)}) holds {' or '.join(KINDS)}: nothing to deduplicate; add a source to train on"
        )
    return found


def sign(draft: Path, path: Path, kind: str, params: dict[str, Any]) -> Stats:
    """Write `signatures.parquet`: a row's id, characters, 128-bit hash and band hashes (null where it is too short for an n-gram)."""
    import numpy as np
    import pyarrow as pa
    import pyarrow.parquet as pq

    ngram, bands = params["ngram"], params["bands"]
    bands_schema = [(f"band_{band}", pa.uint64()) for band in range(bands)]
    schema = pa.schema(
        [("id", pa.string()), ("characters", pa.int64()), ("high", pa.uint64()), ("low", pa.uint64()), *bands_schema]
    )
    rows = 0
    with pq.ParquetWriter(draft / SIGNATURES, schema, compression="zstd") as out:
        for batch in pq.ParquetFile(path).iter_batches(BATCH, columns=["id", *_JUDGED[kind]]):
            parts = [judged(kind, row) for row in batch.to_pylist()]
            keys = [_key(part) for part in parts]
            hashes = np.frombuffer(b"".join(_exact_hash(*both) for both in zip(keys, parts, strict=True)), "<u8").reshape(-1, 2)
            long = np.array([len(key) >= ngram for key in keys], bool)
            hashed = np.zeros((len(keys), bands), np.uint64)
            texts = [key for key in keys if len(key) >= ngram]
            hashed[long] = minhash.band_hashes(minhash.signatures(texts, ngram, params["permutations"]), bands)
            columns = [batch.column("id"), pa.array([sum(map(len, part)) for part in parts], pa.int64())]
            columns += [pa.array(hashes[:, half]) for half in (0, 1)]
            columns += [pa.array(hashed[:, band], mask=~long) for band in range(bands)]
            out.write_table(pa.table(columns, schema))
            rows += len(keys)
    return {"rows": rows}


def _exact_hash(key: str, parts: list[str]) -> bytes:
    # a row of signs alone (a formula, an emoji) has an empty key, and is then what it is to the letter
    text = key if key.strip() else "\x1f".join(["signs", *parts])
    return hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=16).digest()


@contextmanager
def _shingles(
    home: Path, inputs: list[_Input], members: NDArray[np.int64], ngram: int
) -> Iterator[Callable[[int], NDArray[np.uint64]]]:
    """The n-gram sets of some rows (sorted numbers), in a file while the block lasts; the function reads one by its row's number."""
    import numpy as np

    bounds = [0]
    with home.open("wb") as out:
        for one in inputs:
            first, last = np.searchsorted(members, [one.first, one.first + one.rows])
            for _, row in _picked(one, members[first:last] - one.first, _JUDGED[one.kind]):
                hashed = minhash.shingles(_key(judged(one.kind, row)), ngram)
                out.write(hashed.tobytes())
                bounds.append(bounds[-1] + len(hashed))
    assert len(bounds) == len(members) + 1, "every member is a row of some input"
    ends = np.array(bounds)
    stored = np.memmap(home, np.uint64, "r") if ends[-1] else np.empty(0, np.uint64)

    def of(number: int) -> NDArray[np.uint64]:
        place = int(np.searchsorted(members, number))
        return stored[ends[place] : ends[place + 1]]

    try:
        yield of
    finally:
        home.unlink()


def _examples(db: DuckDBPyConnection, inputs: list[_Input]) -> list[dict[str, Any]]:
    """Clusters of near duplicates to read, in the order of the kept rows' ids (hashes, so as good as drawn), each with its unlike-most rows."""
    chosen = db.execute(
        f"""
        WITH kept AS (
            SELECT r.id, n.keeper, count(*) + 1 AS size FROM near n JOIN rows r ON r.number = n.keeper
            GROUP BY r.id, n.keeper ORDER BY r.id, n.keeper LIMIT {EXAMPLES}
        )
        SELECT keeper, size, number, similarity FROM kept JOIN near USING (keeper)
        QUALIFY row_number() OVER (PARTITION BY keeper ORDER BY similarity, number) < {SHOWN}
        ORDER BY kept.id, keeper, similarity, number
        """
    ).fetchall()
    shown = _shown(inputs, {number for keeper, _, worse, _ in chosen for number in (keeper, worse)})
    examples: dict[int, dict[str, Any]] = {}
    for keeper, size, worse, similarity in chosen:
        example = examples.setdefault(keeper, {"size": size, "kept": shown[keeper], "dropped": []})
        example["dropped"].append({**shown[worse], "similarity": round(similarity, 3)})
    return list(examples.values())


def _shown(inputs: list[_Input], numbers: set[int]) -> dict[int, dict[str, str]]:
    """Id, source and excerpt of a few rows, by number."""
    return {
        one.first + place: {"id": row["id"], "source": one.source, "excerpt": _excerpt(one.kind, row)}
        for one in inputs
        for place, row in _picked(one, sorted(n - one.first for n in numbers), ["id", *_JUDGED[one.kind]])
    }


def _excerpt(kind: str, row: dict[str, Any]) -> str:
    """The beginning of a row, for a page that people read: without personal data."""
    return privacy.mask("\n".join(judged(kind, row))[: 4 * EXCERPT])[0][:EXCERPT]


def _write(db: DuckDBPyConnection, job: Job, one: _Input, position: int, funnel: dict[str, Any]) -> None:
    """Copy one input file without the rows that go, which get a row in `dropped/` instead."""
    import numpy as np

    gone = db.execute(
        """
        SELECT v.number - $first, reason, similarity, kept.id, kept.source FROM verdict v JOIN rows kept ON kept.number = v.keeper
        WHERE v.number >= $first AND v.number < $first + $rows ORDER BY v.number
        """,
        {"first": one.first, "rows": one.rows},
    ).fetchall()
    name = f"{position:05d}.parquet"
    with Writer(job.out / one.kind / name, one.kind) as kept, Writer(job.out / "dropped" / name, "dropped") as dropped:
        for start, batch in _batches(one, ROW_GROUP):
            inside = [row for row in gone if start <= row[0] < start + len(batch)]
            places = np.array([row[0] - start for row in inside], np.int64)
            keep = np.ones(len(batch), bool)
            keep[places] = False
            kept.write(batch.filter(keep))
            for (_, reason, similarity, id, source), row in zip(inside, batch.take(places).to_pylist(), strict=True):
                like = "" if similarity is None else f", similarity {similarity:.3f}"
                detail, excerpt = f"kept {id} of {source}{like}", _excerpt(one.kind, row)
                dropped.add({"id": row["id"], "source": one.source, "reason": reason, "detail": detail, "excerpt": excerpt})
    funnel["in"] += one.rows
    funnel["kept"] += one.rows - len(gone)
    for _, reason, *_ in gone:
        funnel["dropped"][reason] = funnel["dropped"].get(reason, 0) + 1


def _picked(one: _Input, places: Sequence[int] | NDArray[np.int64], columns: list[str]) -> Iterator[tuple[int, dict[str, Any]]]:
    """The rows at these places of the file, which are sorted; places outside of it are passed over."""
    import numpy as np

    places = np.asarray(places, np.int64)
    places = places[(places >= 0) & (places < one.rows)]
    for start, batch in _batches(one, BATCH, columns) if len(places) else ():
        here = places[(places >= start) & (places < start + len(batch))]
        yield from zip(here.tolist(), batch.take(here - start).to_pylist(), strict=True)


def _batches(one: _Input, size: int, columns: list[str] | None = None) -> Iterator[tuple[int, pa.Table]]:
    """The file in tables of at most `size` rows, each with the place of its first row."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    start = 0
    for batch in pq.ParquetFile(one.path).iter_batches(size, columns=columns):
        yield start, pa.Table.from_batches([batch])
        start += len(batch)
