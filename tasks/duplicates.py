"""Which row is a duplicate of which: from the hashes of rows to a verdict, as tables in DuckDB.

`load` makes `rows`; then `exact`, `pairs`, `near` and `verdict` each make the table of their name. Only ids and hashes are in the database.
"""

from __future__ import annotations

import glob
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from tasks import minhash

if TYPE_CHECKING:
    import numpy as np
    from duckdb import DuckDBPyConnection
    from numpy.typing import NDArray

NEIGHBOURS = 8  # better rows of its bucket, besides the best, that a row is compared with: linear work in buckets of any size


def load(db: DuckDBPyConnection, signatures: Iterable[tuple[str, int, Path]]) -> None:
    """Table `rows`: number, source, id, characters, high, low, band_0 … Each file comes with its source and the number of its first row."""
    for position, (source, first, path) in enumerate(signatures):
        into = "INSERT INTO rows" if position else "CREATE OR REPLACE TABLE rows AS"
        select = f"SELECT file_row_number + {first} AS number, $source AS source, * EXCLUDE (file_row_number)"
        db.execute(
            f"{into} {select} FROM read_parquet($path, file_row_number = true)",
            {"source": source, "path": glob.escape(str(path))},
        )


def exact(db: DuckDBPyConnection) -> None:
    """Table `exact`: number, keeper. Only hashes seen twice go through the window."""
    db.execute(
        """
        CREATE OR REPLACE TABLE exact AS
        WITH repeated AS (SELECT high, low FROM rows GROUP BY high, low HAVING count(*) > 1)
        SELECT number, keeper FROM (
            SELECT number, first_value(number) OVER (PARTITION BY high, low ORDER BY characters DESC, number) AS keeper
            FROM rows SEMI JOIN repeated USING (high, low)
        ) WHERE number <> keeper
        """
    )


def pairs(db: DuckDBPyConnection, bands: int) -> None:
    """Table `pairs`: worse, better: rows that share a bucket of some band, each with the bucket's best and its nearest better ones.

    Better means longer, then earlier. Exact duplicates are left out.
    """
    nearest = ", ".join(f"lag(number, {step}) OVER bucket" for step in range(1, NEIGHBOURS + 1))
    db.execute("CREATE OR REPLACE TABLE found_pairs (worse BIGINT, better BIGINT)")
    for band in range(bands):  # a band at a time: memory for one band's buckets
        db.execute(
            f"""
            INSERT INTO found_pairs
            WITH left_over AS (SELECT number, characters, band_{band} AS hash FROM rows ANTI JOIN exact USING (number)),
            shared AS (SELECT hash FROM left_over WHERE hash IS NOT NULL GROUP BY hash HAVING count(*) > 1)
            SELECT DISTINCT worse, better FROM (
                SELECT number AS worse, unnest([first_value(number) OVER bucket, {nearest}]) AS better
                FROM left_over SEMI JOIN shared USING (hash)
                WINDOW bucket AS (PARTITION BY hash ORDER BY characters DESC, number)
            ) WHERE better <> worse
            """
        )
    db.execute("CREATE OR REPLACE TABLE pairs AS SELECT DISTINCT worse, better FROM found_pairs")
    db.execute("DROP TABLE found_pairs")


def members(db: DuckDBPyConnection) -> NDArray[np.int64]:
    """Numbers of the rows that are in some pair, sorted."""
    found: NDArray[np.int64] = db.execute(
        "SELECT DISTINCT unnest([worse, better]) AS number FROM pairs ORDER BY number"
    ).fetchnumpy()["number"]
    return found


def near(db: DuckDBPyConnection, shingles: Callable[[int], NDArray[np.uint64]], threshold: float) -> None:
    """Table `near`: number, keeper, similarity. `shingles` gives the set of n-grams of a member, by its number.

    From the best row to the worst: a row goes if its similarity with a better one that stays is at the threshold or above.
    """
    import pyarrow as pa

    keeper: dict[int, tuple[int, float]] = {}
    ordered = db.execute(
        """
        SELECT worse, better FROM pairs JOIN rows w ON w.number = worse JOIN rows b ON b.number = better
        ORDER BY w.characters DESC, worse, b.characters DESC, better
        """
    )
    while some := ordered.fetchmany(100_000):
        for worse, better in some:  # all pairs of better rows came before, so it is known whether `better` stays
            if worse not in keeper and better not in keeper:
                similarity = minhash.jaccard(shingles(worse), shingles(better))
                if similarity >= threshold:
                    keeper[worse] = (better, similarity)
    columns = {
        "number": pa.array(keeper.keys(), pa.int64()),
        "keeper": pa.array((better for better, _ in keeper.values()), pa.int64()),
        "similarity": pa.array((similarity for _, similarity in keeper.values()), pa.float64()),
    }
    db.register("found", pa.table(columns))
    db.execute("CREATE OR REPLACE TABLE near AS SELECT * FROM found")
    db.unregister("found")


def verdict(db: DuckDBPyConnection) -> None:
    """Table `verdict`: number, reason, keeper, similarity of every row that goes. The keeper of an exact duplicate may itself have gone."""
    db.execute(
        """
        CREATE OR REPLACE TABLE verdict AS
        SELECT e.number, 'exact duplicate' AS reason, coalesce(n.keeper, e.keeper) AS keeper, NULL::DOUBLE AS similarity
        FROM exact e LEFT JOIN near n ON n.number = e.keeper
        UNION ALL
        SELECT number, 'near duplicate', keeper, similarity FROM near
        """
    )


def sizes(db: DuckDBPyConnection) -> dict[str, int]:
    """How many clusters have 2, 3–4, 5–8 … rows, the one that stays included."""
    sizes = db.execute(
        """
        SELECT CAST(ceil(log2(size)) AS INTEGER) AS power, count(*) FROM (SELECT count(*) + 1 AS size FROM verdict GROUP BY keeper)
        GROUP BY power ORDER BY power
        """
    ).fetchall()
    return {str(2**power) if power == 1 else f"{2 ** (power - 1) + 1}–{2**power}": count for power, count in sizes}
