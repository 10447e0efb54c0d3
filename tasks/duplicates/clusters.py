"""Clusters of similar rows: from pairs to the rows that go, each with the row that stays for it. Rows are ranks (see `candidates`): the smaller
is the better."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from tasks.artifacts.stage import Stats
from tasks.duplicates.candidates import NUMBER_BITS, copy_to, files_sql
from tasks.duplicates.units import Budget, Partition, SignatureFile
from tasks.processes.database import connect

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection


def connected_clusters(
    draft: Path, similar: Sequence[Path], signatures: Sequence[SignatureFile], share: Partition, budget: Budget
) -> Stats:
    """Rows that a chain of similar pairs connects are one cluster, of which the best stays.

    `near.parquet`: worse, better, similarity, where worse goes for better and the two were compared; `far.parquet`: worse, better of the others.
    """
    with connect(draft / "duckdb", budget.memory, budget.threads) as db:
        db.execute(f"CREATE TABLE alike AS SELECT * FROM {files_sql(similar)}")
        rounds = _components(db)
        db.execute("CREATE TABLE best AS SELECT label, min(node) AS better FROM labels GROUP BY label")
        db.execute(
            """
            CREATE TABLE verdict AS SELECT node AS worse, best.better, similarity FROM labels JOIN best USING (label)
            LEFT JOIN alike ON alike.worse = node AND alike.better = best.better WHERE node <> best.better
            """
        )
        near = copy_to(db, draft / "near.parquet", "SELECT * FROM verdict WHERE similarity IS NOT NULL")
        far = copy_to(db, draft / "far.parquet", "SELECT worse, better FROM verdict WHERE similarity IS NULL")
    return {"near": near["rows"], "far": far["rows"], "rounds": rounds}


def _components(db: DuckDBPyConnection) -> int:
    """Table `labels`: node, label; nodes have one label if pairs of `alike` connect them. Returns the rounds it took.

    Bögeholz, Brand and Todor, "In-database connected component analysis" (2020): in every round each node joins the neighbour, or itself, that comes
    first in an order drawn anew, and what has joined is one node from then on. A constant share of the nodes goes in each round, in a chain
    as in a star, so that rounds grow with the logarithm of the rows.
    """
    db.execute("CREATE TABLE links AS SELECT DISTINCT worse AS one, better AS other FROM alike")
    db.execute("INSERT INTO links SELECT other, one FROM links")
    db.execute("CREATE TABLE labels AS SELECT DISTINCT one AS node, one AS label FROM links")
    rounds = 0
    while db.execute("SELECT EXISTS (FROM links)").fetchall()[0][0]:
        db.execute(
            f"""
            CREATE OR REPLACE TABLE joined AS SELECT one AS node, arg_min(other, hash(other, {rounds})) AS label
            FROM (SELECT one, other FROM links UNION ALL SELECT DISTINCT one, one FROM links) GROUP BY one
            """
        )
        db.execute(
            """
            CREATE OR REPLACE TABLE labels AS SELECT labels.node, coalesce(joined.label, labels.label) AS label
            FROM labels LEFT JOIN joined ON joined.node = labels.label
            """
        )
        db.execute(
            """
            CREATE OR REPLACE TABLE links AS SELECT DISTINCT a.label AS one, b.label AS other
            FROM links JOIN joined a ON a.node = one JOIN joined b ON b.node = other WHERE a.label <> b.label
            """
        )
        rounds += 1
    return rounds


def similar_clusters(
    draft: Path, similar: Sequence[Path], signatures: Sequence[SignatureFile], share: Partition, budget: Budget
) -> Stats:
    """Rows are taken from best to worst, and one goes only if it is similar to one that stays: `near.parquet`, as above.

    Holds one byte for each row of the kind.
    """
    import numpy as np
    import pyarrow as pa
    import pyarrow.parquet as pq

    is_gone = np.zeros(sum(file.rows for file in signatures), bool)
    numbers = (1 << NUMBER_BITS) - 1
    schema = pa.schema([("worse", pa.int64()), ("better", pa.int64()), ("similarity", pa.float64())])
    near = 0
    with (
        connect(draft / "duckdb", budget.memory, budget.threads) as db,
        pq.ParquetWriter(draft / "near.parquet", schema) as out,
    ):
        ordered = db.sql(f"SELECT worse, better, similarity FROM {files_sql(similar)} ORDER BY worse, better")
        for batch in ordered.to_arrow_reader(50_000):
            rows = []
            for row in zip(*(column.to_pylist() for column in batch.columns), strict=True):
                worse, better = row[0] & numbers, row[1] & numbers
                if (
                    not is_gone[worse] and not is_gone[better]
                ):  # all pairs of better rows came before, so it is known whether `better` stays
                    is_gone[worse] = True
                    rows.append(row)
            if rows:
                out.write_table(pa.table(list(zip(*rows, strict=True)), schema))
            near += len(rows)
    return {"near": near, "far": 0}
