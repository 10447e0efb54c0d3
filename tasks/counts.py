"""Word counts of the training texts, which tokenizers are learned from: counted once for all of them.

A word is a piece of the Qwen2 pattern, and where that holds Chinese, what jieba cuts it into: without the cut, merges run across word
boundaries and the vocabulary fills with phrases of boilerplate (at equal size a small model did worse on them by 2.5 % bits per character).
Since words are parts of the pattern's pieces, what is learned inside them works when text is cut by the pattern alone: jieba is needed here
and nowhere else.

Rows are counted in runs of some million characters, each known by its text alone and cut where the text itself says so. Rows that come or
go elsewhere move no cut, so new text costs its own counting only.
"""

from __future__ import annotations

from collections import Counter
from pathlib import Path

from tasks.artifacts.stage import Identity, Job, Stats, canonical, stage
from tasks.data.words import count, runs, segmenter
from tasks.processes import shards

USES = ("pretrain", "text2text", "sft")  # of the split: the texts that words are counted in


class Params(Identity):
    """Counting has nothing to set."""


@stage("counts", version=1, title="Word counts", params=Params, group="model", tools=("tokenizers", "jieba"))
def run(job: Job, params: Params, *, rows: Path) -> Stats:
    """Count the words of the training texts of `pretrain`, `text2text` and `sft`.

    Writes `words.parquet` (word, count; the most frequent first), `counts.json`, and the runs' own counts in `counts/`. `ValueError` where
    there is no text.
    """
    found = [one for use in USES for one in runs(rows / use / "train.parquet", use)]
    if not sum(one.characters for one in found):
        raise ValueError(
            f"{rows} has no text to count words in; give a source the use `pretrain`, `text2text` or `sft` in the recipe"
        )
    cache = job.scratch / "jieba"
    cache.mkdir(exist_ok=True)
    pieces = [
        shards.Piece(
            job.shard_key("words", one.digest),
            (one.path, one.use, one.first, one.stop, cache),
            one.characters,
            3 * one.characters,
        )
        for one in found
    ]
    shards.do(job, count, pieces, "characters")
    segmenter.cache_clear()  # a hundred megabytes that the flow process need not keep
    totals = _merge(job, [job.shard_home(piece.key) / "counts.parquet" for piece in pieces])
    job.collect(list(dict.fromkeys(piece.key for piece in pieces)))
    stats = {**totals, "characters": sum(one.characters for one in found), "rows": sum(one.stop - one.first for one in found)}
    (job.out / "counts.json").write_text(canonical(stats) + "\n", "utf-8")
    return stats | {"runs": len(found)}


def _merge(job: Job, parts: list[Path]) -> Stats:
    """Add up the counts of the runs, in the memory that DuckDB is given. A run that occurs twice counts twice."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    from tasks.processes.database import connect_for_stage

    distinct = total = 0
    schema = pa.schema([("word", pa.string()), ("count", pa.int64())])
    alike: dict[int, list[str]] = {}
    for part, times in Counter(map(str, parts)).items():
        alike.setdefault(times, []).append(part)
    counted = " UNION ALL ".join(f"SELECT word, count * {times} AS count FROM read_parquet($parts{times})" for times in alike)
    with connect_for_stage(job) as database, pq.ParquetWriter(job.out / "words.parquet", schema, compression="zstd") as writer:
        database.execute(
            f"SELECT word, sum(count)::BIGINT AS count FROM ({counted}) GROUP BY word ORDER BY count DESC, word",
            {f"parts{times}": files for times, files in alike.items()},
        )
        while found := database.fetchmany(100_000):
            words, counts = zip(*found, strict=True)
            writer.write_table(pa.table([pa.array(words, pa.string()), pa.array(counts, pa.int64())], schema=schema))
            distinct += len(words)
            total += sum(counts)
    return {"distinct_words": distinct, "words": total}
