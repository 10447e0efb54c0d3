"""The split of the filtered rows: by what each source is used for, and into training and validation.

A row's side is decided by its first question, through a hash: all rows that begin with one question are on one side, in every source and for
every use, and with them all branches of a dialogue tree. So no model is trained, at any stage, on a question that it is validated with at
another. The smallest hashes are held out, so rows that come later never move a row from training to validation, as long as the share is the same.
The largest may be set aside as a test side that no stage reads.

An article answers a request for its title where a text-to-text model (T5) pretrains on it; its prompt is still its title, and so is that of
every dialogue that asks with the same template.

Two kinds of pieces: the rows of one file as each use takes them, beside the hash of each row's prompt, and the sides of one use, joined from these.
"""

from __future__ import annotations

import hashlib
import math
from collections import Counter
from collections.abc import Iterable, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import Field

from tasks.artifacts.stage import Identity, Job, Stats, link_or_copy, stage
from tasks.data.excerpts import excerpt
from tasks.data.rows import GROUP_CHARACTERS, ROW_GROUP, SCHEMAS, Writer, batches, content, files
from tasks.data.uses import MAKES, SERVES, Draw, Use, as_answer, as_document, prompt_hashes
from tasks.processes import shards

if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa
    from numpy.typing import NDArray

UNTITLED = "no title to ask about"
PROMPT = "prompt"  # column of the rows of a use before they have a side: the hash of each row's prompt
DROPPED = "dropped"  # beside the uses: the rows without one


class Params(Identity):
    seed: int = Field(
        23333, ge=0, lt=2**63, description="Seed of the hash that draws the validation prompts, and of the title prompts"
    )
    use: dict[str, list[Use]] = Field(
        default_factory=dict,
        description="Source name → what its rows are for; the uses `extract` and `evaluate` need no split, and are not named here",
    )
    valid_share: float = Field(0.02, gt=0, le=0.5, description="Share of prompts held out for validation")
    valid_max: int = Field(
        2000, ge=1, le=10_000_000, description="Most validation rows of one use that are drawn for it, in rows"
    )
    test_share: float = Field(
        0.0, ge=0, le=0.4, description="Share of prompts set aside in test.parquet, which no stage reads; 0: no such file"
    )
    answer_characters: int = Field(
        512,
        ge=16,
        le=1_000_000,
        description="Characters of an article that answer its title (text2text); cut where a sentence ends",
    )


@stage("split", version=4, title="Split into training and validation", params=Params, section="rows")
def run(job: Job, params: Params, *, rows: Path) -> Stats:
    """Write `<use>/{train,valid}.parquet` (and `test.parquet`) for every use that a source has, and `dropped/` for rows without one.

    Raises `ValueError` for a source whose rows are not of a kind that its use takes, and for a use left without a training row.
    """
    found = {kind: files(rows, kind=kind) for kind in SERVES}
    sources = {kind: _sources(paths) for kind, paths in found.items()}
    _check(params, sources, files(rows, kind=DROPPED))
    sides = ("train", "valid", "test") if params.test_share else ("train", "valid")
    with shards.Pool(job) as pool:
        pieces = _conversions(job, params, found)
        counts = pool.do(convert, pieces, "row")
        homes = [job.shard_home(piece.key) for piece in pieces]
        parts = {use: [path for home in homes if (path := home / f"{use}.parquet").exists()] for use in (*MAKES, DROPPED)}
        parts = {use: paths for use, paths in parts.items() if paths or use == DROPPED}
        held_out = job.scratch / "held_out.npy"
        _draw(params, parts, held_out)
        made_of = [run.version, [piece.key for piece in pieces], _digest(held_out), params.test_share]
        joins = [_join(job, use, paths, sides, held_out, params.test_share, made_of) for use, paths in parts.items()]
        joined = dict(zip(parts, pool.do(join, joins, "row"), strict=True))
    for use, piece in zip(parts, joins, strict=True):
        (job.out / use).mkdir()
        for path in sorted(job.shard_home(piece.key).glob("*.parquet")):
            link_or_copy(path, job.out / use / path.name)
    del joined[DROPPED]
    for use, written in joined.items():
        if not written["train"]:
            named = ", ".join(source for source, uses in params.use.items() if use in uses)
            raise ValueError(
                f"use `{use}` has no training row: all rows of {named} are held out for validation; give it more rows"
            )
    funnel = _funnel(sources, counts)
    return {
        "funnel": funnel,
        "uses": {use: {side: _in_order(written[side], funnel) for side in sides} for use, written in joined.items()},
    }


def _conversions(job: Job, params: Params, found: dict[str, list[Path]]) -> list[shards.Piece[Path, str, Params]]:
    """One piece for each file."""
    import pyarrow.parquet as pq

    meaning = [run.version, params.seed, params.use, params.answer_characters]
    return [
        shards.Piece(
            job.shard_key("convert", kind, _digest(path), *meaning),
            (path, kind, params),
            pq.read_metadata(path).num_rows,
            path.stat().st_size,
        )
        for kind, paths in found.items()
        for path in paths
    ]


def _join(
    job: Job, use: str, parts: list[Path], sides: tuple[str, ...], held_out: Path, test_share: float, made_of: list[Any]
) -> shards.Piece[list[Path], str, tuple[str, ...], Path, float]:
    """The piece that gives one use its sides."""
    import pyarrow.parquet as pq

    return shards.Piece(
        job.shard_key("join", use, *made_of),
        (parts, MAKES.get(use, DROPPED), ("00000",) if use == DROPPED else sides, held_out, test_share),
        sum(pq.read_metadata(path).num_rows for path in parts),
        sum(path.stat().st_size for path in parts),
    )


def _digest(path: Path) -> str:
    with path.open("rb") as raw:
        return hashlib.file_digest(raw, "sha256").hexdigest()


def _draw(params: Params, parts: dict[str, list[Path]], target: Path) -> None:
    """Write the hashes of the prompts that are held out for validation, in order."""
    import numpy as np
    import pyarrow.parquet as pq

    held_out = set[int]()
    for use in parts.keys() - {DROPPED}:
        draw = Draw(params.valid_share, params.valid_max)
        for path in parts[use]:
            for batch in pq.ParquetFile(path).iter_batches(1 << 16, columns=[PROMPT]):
                draw.add(batch[PROMPT].to_numpy())
        held_out |= draw.held_out()
    np.save(target, np.array(sorted(held_out), np.uint64))


def convert(draft: Path, path: Path, kind: str, params: Params) -> Stats:
    """The rows of one file, in `<use>.parquet` as each use takes them, beside the hash of their prompts, and in `dropped.parquet`; the counts."""
    import numpy as np
    import pyarrow as pa
    import pyarrow.parquet as pq

    counts: dict[str, dict[str, Any]] = {}
    with ExitStack() as stack, Writer(draft / f"{DROPPED}.parquet", "dropped") as dropped:
        writers: dict[str, pq.ParquetWriter] = {}
        for batch in batches(path):
            sources = batch.column("source").to_pylist()
            taken = _taken(params, kind, batch, sources)
            kept = np.logical_or.reduce(list(taken.values()))
            prompts = np.zeros(len(batch), np.uint64)
            prompts[kept] = prompt_hashes(params.seed, kind, batch.filter(pa.array(kept)))
            for use, here in taken.items():
                if not here.any():
                    continue
                table = pa.table(_converted(params, use, kind, batch.filter(pa.array(here)))).append_column(
                    PROMPT, pa.array(prompts[here])
                )
                if use not in writers:
                    writer = pq.ParquetWriter(draft / f"{use}.parquet", table.schema, compression="lz4", use_dictionary=False)
                    writers[use] = stack.enter_context(writer)
                writers[use].write_table(table)
            _count(counts, sources, kept)
            for row in batch.filter(pa.array(~kept)).to_pylist():
                reason = _objection(params, kind, row)
                reasons = counts[row["source"]]["dropped"]
                reasons[reason] = reasons.get(reason, 0) + 1
                text = excerpt("\n".join(content(kind, row)))
                dropped.add({"id": row["id"], "source": row["source"], "reason": reason, "detail": "", "excerpt": text})
    return counts


def _taken(params: Params, kind: str, batch: pa.RecordBatch, sources: list[str]) -> dict[str, NDArray[np.bool_]]:
    """Use → which rows are written for it. A title asks for an article, so one without a title answers nothing."""
    import numpy as np

    taken = {}
    for use in SERVES[kind]:
        named = {source for source, uses in params.use.items() if use in uses}
        taken[use] = np.fromiter((source in named for source in sources), bool, len(sources))
        if use == "text2text" and kind == "documents":
            titles = batch.column("title").to_pylist()
            taken[use] &= np.fromiter((bool((title or "").strip()) for title in titles), bool, len(titles))
    return taken


def _count(counts: dict[str, dict[str, Any]], sources: list[str], kept: NDArray[np.bool_]) -> None:
    """Count rows as read and as kept, by source."""
    for (source, stays), number in Counter(zip(sources, kept.tolist(), strict=True)).items():
        count = counts.setdefault(source, {"in": 0, "kept": 0, "dropped": {}})
        count["in"] += number
        count["kept"] += number * stays


def _converted(params: Params, use: str, kind: str, rows: pa.RecordBatch) -> pa.RecordBatch:
    """Rows as their use takes them."""
    import pyarrow as pa

    if kind == "documents" and use == "text2text":
        changed = [as_answer(row, params.seed, params.answer_characters) for row in rows.to_pylist()]
    elif kind == "conversations" and use == "pretrain":
        changed = [as_document(row) for row in rows.to_pylist()]
    else:
        return rows
    return pa.RecordBatch.from_pylist(changed, SCHEMAS[MAKES[use]])


def join(draft: Path, parts: Sequence[Path], kind: str, sides: tuple[str, ...], held_out: Path, test_share: float) -> Stats:
    """The rows of one use in `<side>.parquet`, in the order of `parts`: rows and characters by side and source.

    `held_out` are the prompts of the side `valid`. Rows without a prompt are all of the first side.
    """
    import numpy as np
    import pyarrow as pa

    drawn, last = np.load(held_out), math.ceil((1 - test_share) * 2**64)
    amounts: Stats = {side: {} for side in sides}
    with ExitStack() as stack:
        out = [RowGroups(stack.enter_context(Writer(draft / f"{side}.parquet", kind))) for side in sides]
        for path in parts:
            for batch in batches(path):
                place = np.zeros(len(batch), np.int8)
                if PROMPT in batch.schema.names:
                    prompts = batch.column(PROMPT).to_numpy()
                    place[prompts >= last] = 2
                    place[np.isin(prompts, drawn)] = 1
                    batch = batch.drop_columns([PROMPT])
                for number, side in enumerate(sides):
                    if len(some := batch.filter(pa.array(place == number))):
                        out[number].add(some)
                        _add_amounts(amounts[side], kind, some)
        for groups in out:
            groups.flush()
    return amounts


class RowGroups:
    """Rows in batches, written in the row groups that `Writer` makes of them one by one."""

    def __init__(self, writer: Writer):
        self.writer = writer
        self._waiting: list[pa.RecordBatch] = []
        self._rows = self._characters = 0

    def add(self, batch: pa.RecordBatch) -> None:
        import numpy as np

        characters = np.cumsum(_characters(batch, batch.schema.names))
        start = before = 0
        while start < len(batch):
            full = int(np.searchsorted(characters, before + GROUP_CHARACTERS - self._characters)) + 1
            end = min(start + ROW_GROUP - self._rows, full, len(batch))
            self._waiting.append(batch.slice(start, end - start))
            self._rows += end - start
            self._characters += int(characters[end - 1]) - before
            start, before = end, int(characters[end - 1])
            if self._rows >= ROW_GROUP or self._characters >= GROUP_CHARACTERS:
                self.flush()

    def flush(self) -> None:
        import pyarrow as pa

        if self._waiting:  # one chunk: where chunks end, pages would
            self.writer.write(pa.Table.from_batches(self._waiting).combine_chunks())
            self._waiting, self._rows, self._characters = [], 0, 0


def _add_amounts(amounts: dict[str, dict[str, int]], kind: str, rows: pa.RecordBatch) -> None:
    """Rows, and characters that a model reads, of each source."""

    if kind == "dropped":
        return
    characters = _characters(rows, ["text"] if kind == "documents" else ["messages", "chosen", "rejected"])
    sources = rows.column("source").dictionary_encode()
    for number, source in enumerate(sources.dictionary.to_pylist()):
        here = sources.indices.to_numpy() == number
        amount = amounts.setdefault(source, {"rows": 0, "characters": 0})
        amount["rows"] += int(here.sum())
        amount["characters"] += int(characters[here].sum())


def _characters(rows: pa.RecordBatch, columns: Iterable[str]) -> NDArray[np.int64]:
    """Characters of each row in these of its columns, of turns those of their contents."""
    import numpy as np
    import pyarrow.compute as pc

    def lengths(column: pa.Array) -> NDArray[np.int64]:
        found: NDArray[np.int64] = pc.fill_null(pc.utf8_length(column), 0).to_numpy().astype(np.int64)
        return found

    total = np.zeros(len(rows), np.int64)
    for name in set(columns) & set(rows.schema.names):
        column = rows.column(name)
        if name == "messages":
            ends = np.concatenate(([0], np.cumsum(lengths(column.flatten().field("content")))))
            offsets = column.offsets.to_numpy() - column.offsets[0].as_py()
            total += ends[offsets[1:]] - ends[offsets[:-1]]
        else:
            total += lengths(column)
    return total


def _in_order(amounts: dict[str, dict[str, int]], sources: Iterable[str]) -> dict[str, dict[str, int]]:
    """The amounts of the sources, in this order."""
    return {source: {name: amounts[source][name] for name in ("rows", "characters")} for source in sources if source in amounts}


def _funnel(sources: dict[str, Counter[str]], counts: Iterable[Stats]) -> dict[str, dict[str, Any]]:
    """The counts of all files, by source."""
    funnel: dict[str, dict[str, Any]] = {
        source: {"in": 0, "kept": 0, "dropped": {}} for counted in sources.values() for source in counted
    }
    for part in counts:
        for source, count in part.items():
            total = funnel[source]
            total["in"] += count["in"]
            total["kept"] += count["kept"]
            for reason, number in count["dropped"].items():
                total["dropped"][reason] = total["dropped"].get(reason, 0) + number
    return funnel


def _sources(paths: Iterable[Path]) -> Counter[str]:
    """Rows by source."""
    import pyarrow.compute as pc
    import pyarrow.parquet as pq

    counts: Counter[str] = Counter()
    for path in paths:
        for batch in pq.ParquetFile(path).iter_batches(columns=["source"]):
            counts.update({each["values"]: each["counts"] for each in pc.value_counts(batch["source"]).to_pylist()})
    return counts


def _reasons(dropped: Sequence[Path], named: Sequence[str]) -> str:
    """The rows of some sources that the stage before dropped, by reason."""
    import pyarrow.compute as pc
    import pyarrow.parquet as pq

    counts: Counter[str] = Counter()
    for path in dropped:
        table = pq.read_table(path, columns=["source", "reason"])
        reasons = table.filter(pc.field("source").isin(list(named)))["reason"]
        counts.update({each["values"]: each["counts"] for each in reasons.value_counts().to_pylist()})
    return ", ".join(f"dropped {count:,} × {reason}" for reason, count in counts.most_common(5))


def _trains(params: Params, source: str) -> list[str]:
    return [use for use in MAKES if use in params.use.get(source, ())]


def _objection(params: Params, kind: str, row: dict[str, Any]) -> str:
    """The reason for which a row without a use is dropped."""
    uses = _trains(params, row["source"])
    if any(use in SERVES[kind] for use in uses):
        return UNTITLED
    return f"no use of this source's {kind}" if uses else "no use of this source"


def _check(params: Params, sources: dict[str, Counter[str]], dropped: Sequence[Path]) -> None:
    """Every use must find rows of a kind that it takes; all problems at once. `dropped`: the rows that the stage before did not keep."""
    problems = []
    fits = {use: [kind for kind in SERVES if use in SERVES[kind]] for use in MAKES}
    for use in MAKES:
        named = [source for source, uses in params.use.items() if use in uses]
        for source in named:
            kinds = [kind for kind in SERVES if sources[kind][source]]
            if kinds and not set(kinds) & set(fits[use]):
                problems.append(
                    f"source {source} is for `{use}`, which takes {' or '.join(fits[use])}, but it holds {' and '.join(kinds)}"
                )
        if named and not any(sources[kind][source] for source in named for kind in SERVES):
            reasons = _reasons(dropped, named) or "none came from the files"
            problems.append(f"use `{use}` has no rows: nothing of {', '.join(named)} is left ({reasons})")
    if not any(_trains(params, source) for source in params.use):
        problems.append("no source has a use for training")
    if problems:
        raise ValueError(
            "; ".join(problems) + ". Correct `use` of the sources in the recipe, the rules of its filter, or the files"
        )
