"""Candidates: the rows that may be duplicates of others by their hashes alone, and at last the verdict on each. Pure functions of a partition,
in DuckDB, over the signatures of all files.

A row is known by its **rank**, one integer of which the smaller is the better: the longer row first (`keep` says whether length counts), then the
one with the smaller number, that is of the earlier source, then of the earlier place. Every function writes one Parquet file into its folder
and needs nothing but the paths it is given, so that partitions may be done anywhere, in any order.
"""

from __future__ import annotations

import glob
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from tasks.artifacts.stage import Stats
from tasks.duplicates.units import BandPartition, Budget, Keep, Partition, Settings, SignatureFile
from tasks.processes.database import connect

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

NUMBER_BITS = 40  # of a rank, the lower ones: the row's number
LONGEST = 1 << 22  # characters from which rows count as equally long
NUMBER = f"& {(1 << NUMBER_BITS) - 1}"  # SQL: a rank's row number
NEIGHBOURS = (
    8  # better rows next to it in its bucket, besides the best, that a row is compared with: linear work in buckets of any size
)
EXAMPLES = 10  # clusters shown to a person
SHOWN = 5  # rows of such a cluster


def exact_duplicates(
    draft: Path, signatures: Sequence[SignatureFile], settings: Settings, share: Partition, budget: Budget
) -> Stats:
    """`exact.parquet`: rank and keeper of every row whose 128-bit hash a better row has. Partitioned by hash."""
    with connect(draft / "duckdb", budget.memory, budget.threads) as db:
        _rows(db, signatures, settings.keep)
        mine = f"high % {share.parts} = {share.part}"
        return copy_to(
            db,
            draft / "exact.parquet",
            f"""
            SELECT rank, keeper FROM rows JOIN (
                SELECT high, low, min(rank) AS keeper FROM rows WHERE {mine} GROUP BY high, low HAVING count(*) > 1
            ) USING (high, low) WHERE {mine} AND rank <> keeper
            """,
        )


def candidate_pairs(
    draft: Path,
    signatures: Sequence[SignatureFile],
    settings: Settings,
    repeats: Sequence[Path],
    share: BandPartition,
    budget: Budget,
) -> Stats:
    """`pairs.parquet`: ranks worse and better of rows that share a bucket in one of the partition's bands. Partitioned by the bucket's hash.

    A row meets the best of its bucket and its nearest better ones: all of them in a bucket of up to `NEIGHBOURS` + 1. Larger buckets are mostly
    of rows that share a template; what else two of them have in common brings them together in other bands. `repeats` are the files of
    `exact_duplicates`, whose rows are left out.
    """
    nearest = ", ".join(f"lag(rank, {step}) OVER mates" for step in range(1, NEIGHBOURS + 1))
    with connect(draft / "duckdb", budget.memory, budget.threads) as db:
        _rows(db, signatures, settings.keep)
        db.execute(f"CREATE TABLE gone AS SELECT rank FROM {files_sql(repeats)}")
        needed = ", ".join(f"band_{band}" for band in share.bands)
        db.execute(
            f"""
            CREATE TABLE mine AS SELECT rank, band, hashes[band] AS bucket
            FROM (SELECT rank, [{needed}] AS hashes FROM rows ANTI JOIN gone USING (rank) WHERE band_0 IS NOT NULL)
            CROSS JOIN (SELECT unnest(range(1, {len(share.bands) + 1})) AS band) WHERE hashes[band] % {share.parts} = {share.part}
            """
        )
        return copy_to(
            db,
            draft / "pairs.parquet",
            f"""
            SELECT DISTINCT worse, better FROM (
                SELECT rank AS worse, unnest([first_value(rank) OVER mates, {nearest}]) AS better FROM mine
                SEMI JOIN (SELECT band, bucket FROM mine GROUP BY band, bucket HAVING count(*) > 1) USING (band, bucket)
                WINDOW mates AS (PARTITION BY band, bucket ORDER BY rank)
            ) WHERE better <> worse
            """,
        )


def candidate_rows(draft: Path, pairs: Sequence[Path], share: Partition, budget: Budget) -> Stats:
    """`members.parquet`: the numbers of all rows in some pair, sorted."""
    with connect(draft / "duckdb", budget.memory, budget.threads) as db:
        query = f"SELECT DISTINCT unnest([worse, better]) {NUMBER} AS number FROM {files_sql(pairs)} ORDER BY number"
        return copy_to(db, draft / "members.parquet", query)


def verdict(
    draft: Path,
    signatures: Sequence[SignatureFile],
    settings: Settings,
    repeats: Sequence[Path],
    near: Sequence[Path],
    share: Partition,
    budget: Budget,
) -> Stats:
    """`verdict.parquet`: number, reason, similarity, and id and source of the row that stays instead, of every row that goes, by number.

    `repeats` are the files of `exact_duplicates`, `near` those with worse, better and similarity of near duplicates. The statistics hold the
    number of clusters of 2, 3–4, 5–8 … rows, and of some clusters of near duplicates, in the order of their keepers' ids (hashes, so as good
    as drawn), the rows least like the one that stays.
    """
    with connect(draft / "duckdb", budget.memory, budget.threads) as db:
        _rows(db, signatures, settings.keep)
        db.execute("CREATE TABLE near (rank BIGINT, keeper BIGINT, similarity DOUBLE)")
        if near:
            db.execute(f"INSERT INTO near SELECT worse, better, similarity FROM {files_sql(near)}")
        db.execute(
            f"""
            CREATE TABLE verdict AS
            SELECT e.rank, 'exact duplicate' AS reason, coalesce(n.keeper, e.keeper) AS keeper, NULL::DOUBLE AS similarity
            FROM {files_sql(repeats)} e LEFT JOIN near n ON n.rank = e.keeper
            UNION ALL SELECT rank, 'near duplicate', keeper, similarity FROM near
            """
        )
        db.execute(
            "CREATE TABLE kept AS SELECT rank AS keeper, id, source FROM rows SEMI JOIN verdict ON verdict.keeper = rows.rank"
        )
        stats = copy_to(
            db,
            draft / "verdict.parquet",
            f"SELECT rank {NUMBER} AS number, reason, similarity, id, source FROM verdict JOIN kept USING (keeper) ORDER BY number",
        )
        return stats | {"sizes": _sizes(db), "examples": _examples(db)}


def _sizes(db: DuckDBPyConnection) -> dict[str, int]:
    sizes = db.execute(
        """
        SELECT CAST(ceil(log2(size)) AS INTEGER) AS power, count(*) FROM (SELECT count(*) + 1 AS size FROM verdict GROUP BY keeper)
        GROUP BY power ORDER BY power
        """
    ).fetchall()
    return {str(2**power) if power == 1 else f"{2 ** (power - 1) + 1}–{2**power}": count for power, count in sizes}


def _examples(db: DuckDBPyConnection) -> list[list[float]]:
    """Lists [number of the row that stays, rows of its cluster but for exact duplicates, number of a row that goes, their similarity]."""
    rows = db.execute(
        f"""
        WITH clusters AS (
            SELECT id, keeper, count(*) + 1 AS size FROM near JOIN kept USING (keeper) GROUP BY id, keeper ORDER BY id, keeper LIMIT {EXAMPLES}
        )
        SELECT keeper {NUMBER}, size, rank {NUMBER}, similarity FROM clusters JOIN near USING (keeper)
        QUALIFY row_number() OVER (PARTITION BY keeper ORDER BY similarity, rank) < {SHOWN}
        ORDER BY id, keeper, similarity, rank
        """
    ).fetchall()
    return [list(row) for row in rows]


def _rows(db: DuckDBPyConnection, signatures: Sequence[SignatureFile], keep: Keep) -> None:
    """View `rows`: rank, source and all columns of the signatures. Units of the same bytes have one file of signatures, which is read once and
    has its rows for each of them."""
    length = "characters" if keep == "longest" else "0::BIGINT"
    values = ", ".join(f"({_quoted(str(one.path))}, {_quoted(one.source)}, {one.first}::BIGINT)" for one in signatures)
    paths = list(dict.fromkeys(one.path for one in signatures))
    db.execute(f"CREATE TABLE files AS FROM (VALUES {values}) files(filename, source, first)")
    db.execute(
        f"""
        CREATE VIEW rows AS
        SELECT (({LONGEST} - least({length}, {LONGEST})) << {NUMBER_BITS}) + first + file_row_number AS rank, s.*, source
        FROM {files_sql(paths, ", filename = true, file_row_number = true")} s JOIN files USING (filename)
        """
    )


def files_sql(paths: Sequence[Path], options: str = "") -> str:
    """SQL for the rows of Parquet files; at least one."""
    assert paths, "a table has its columns from a file"
    return f"read_parquet([{', '.join(_quoted(glob.escape(str(path))) for path in paths)}]{options})"


def _quoted(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"


def copy_to(db: DuckDBPyConnection, path: Path, query: str) -> Stats:
    """Write the rows of a query as Parquet; returns their number."""
    count = db.execute(
        f"COPY ({query}) TO {_quoted(str(path))} (FORMAT parquet, COMPRESSION zstd, ROW_GROUP_SIZE 50000)"
    ).fetchall()
    return {"rows": count[0][0]}
