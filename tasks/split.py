"""The split of the filtered rows: by what each source is used for, and into training and validation.

A row's side is decided by its first question, through a hash: all rows that begin with one question are on one side, in every source and for
every use, and with them all branches of a dialogue tree. So no model is trained, at any stage, on a question that it is validated with at
another. The smallest hashes are held out, so rows that come later never move a row from training to validation, as long as the share is the same.
The largest may be set aside as a test side that no stage reads.

An article answers a request for its title where a text-to-text model (T5) pretrains on it; its prompt is still its title, and so is that of
every dialogue that asks with the same template.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from pydantic import Field

from tasks.artifacts.stage import Identity, Job, Progress, Stats, stage
from tasks.data.excerpts import excerpt
from tasks.data.rows import Writer, content, files
from tasks.data.uses import MAKES, SERVES, Draw, Use, as_answer, as_document, prompt_hash

BATCH = 2_000  # rows in memory at a time
PROMPTS = {  # columns that say what a row's prompt is
    "documents": ["id", "source", "title"],
    "conversations": ["source", "messages"],
    "preferences": ["source", "messages"],
}
UNTITLED = "no title to ask about"


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
    sources = {kind: _sources(files(rows, kind=kind)) for kind in SERVES}
    _check(params, sources)
    total = sum(sum(counts.values()) for counts in sources.values())
    draws: dict[str, Draw] = {}
    for kind, row in _rows_of(job, rows, 0, 2 * total, PROMPTS):
        if uses := _uses(params, kind, row):
            hashed = prompt_hash(params.seed, kind, row)
            for use in uses:
                draws.setdefault(use, Draw(params.valid_share, params.valid_max)).add(hashed)
    valid = set().union(*(draw.held_out() for draw in draws.values()))
    sides = ("train", "valid", "test") if params.test_share else ("train", "valid")

    funnel: dict[str, Any] = {source: {"in": 0, "kept": 0, "dropped": {}} for counts in sources.values() for source in counts}
    amounts: dict[str, Any] = {use: {side: {} for side in sides} for use in MAKES if use in draws}
    with ExitStack() as stack:
        out = {
            (use, side): stack.enter_context(Writer(job.out / use / f"{side}.parquet", MAKES[use]))
            for use in amounts
            for side in sides
        }
        dropped = stack.enter_context(Writer(job.out / "dropped" / "00000.parquet", "dropped"))
        for kind, row in _rows_of(job, rows, total, 2 * total):
            count = funnel[row["source"]]
            count["in"] += 1
            uses = _uses(params, kind, row)
            if not uses:
                reason = _objection(params, kind, row)
                count["dropped"][reason] = count["dropped"].get(reason, 0) + 1
                text = excerpt("\n".join(content(kind, row)))
                dropped.add({"id": row["id"], "source": row["source"], "reason": reason, "detail": "", "excerpt": text})
                continue
            count["kept"] += 1
            hashed = prompt_hash(params.seed, kind, row)
            side = "valid" if hashed in valid else "test" if hashed >= (1 - params.test_share) * 2**64 else "train"
            for use in uses:
                converted = _converted(params, use, kind, row)
                out[use, side].add(converted)
                amount = amounts[use][side].setdefault(row["source"], {"rows": 0, "characters": 0})
                amount["rows"] += 1
                amount["characters"] += _characters(MAKES[use], converted)
    for use, written in amounts.items():
        if not written["train"]:
            named = ", ".join(source for source, uses in params.use.items() if use in uses)
            raise ValueError(
                f"use `{use}` has no training row: all rows of {named} are held out for validation; give it more rows"
            )
    return {"funnel": funnel, "uses": amounts}


def _converted(params: Params, use: str, kind: str, row: dict[str, Any]) -> dict[str, Any]:
    """A row as its use takes it."""
    if kind == "documents":
        return as_answer(row, params.seed, params.answer_characters) if use == "text2text" else row
    return as_document(row) if use == "pretrain" else row


def _characters(kind: str, row: dict[str, Any]) -> int:
    if kind == "documents":
        return len(row["text"])
    return sum(len(turn["content"]) for turn in row["messages"]) + len(row.get("chosen", "")) + len(row.get("rejected", ""))


def _rows_of(
    job: Job, folder: Path, done: int, total: int, columns: dict[str, list[str]] | None = None
) -> Iterator[tuple[str, dict[str, Any]]]:
    """Every row with its kind; progress is told from `done` on."""
    import pyarrow.parquet as pq

    for kind in SERVES:
        for path in files(folder, kind=kind):
            for batch in pq.ParquetFile(path).iter_batches(BATCH, columns=columns[kind] if columns else None):
                job.progress(Progress(done, total, "row"))
                for row in batch.to_pylist():
                    yield kind, row
                done += len(batch)


def _sources(paths: Iterable[Path]) -> Counter[str]:
    """Rows by source."""
    import pyarrow.compute as pc
    import pyarrow.parquet as pq

    counts: Counter[str] = Counter()
    for path in paths:
        for batch in pq.ParquetFile(path).iter_batches(columns=["source"]):
            counts.update({each["values"]: each["counts"] for each in pc.value_counts(batch["source"]).to_pylist()})
    return counts


def _trains(params: Params, source: str) -> list[str]:
    return [use for use in MAKES if use in params.use.get(source, ())]


def _uses(params: Params, kind: str, row: dict[str, Any]) -> list[str]:
    """The uses that a row is written for. A title asks for an article, so one without a title answers nothing."""
    uses = [use for use in _trains(params, row["source"]) if use in SERVES[kind]]
    return [use for use in uses if use != "text2text" or kind != "documents" or (row["title"] or "").strip()]


def _objection(params: Params, kind: str, row: dict[str, Any]) -> str:
    """The reason for which a row without a use is dropped."""
    uses = _trains(params, row["source"])
    if any(use in SERVES[kind] for use in uses):
        return UNTITLED
    return f"no use of this source's {kind}" if uses else "no use of this source"


def _check(params: Params, sources: dict[str, Counter[str]]) -> None:
    """Every use must find rows of a kind that it takes; all problems at once."""
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
            problems.append(
                f"use `{use}` has no rows: nothing of {', '.join(named)} is left; see what the filter dropped, and why"
            )
    if not any(_trains(params, source) for source in params.use):
        problems.append("no source has a use for training")
    if problems:
        raise ValueError("; ".join(problems) + ". Correct `use` of the sources in the recipe, or their files")
