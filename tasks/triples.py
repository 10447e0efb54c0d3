"""Triple extraction as something to learn: texts with their triples become prompts with answers, and some are kept to be scored on.

A text is asked for once: of equal ones (blind to width, case and punctuation) the first stays, and those that are scored come first, so that
nothing is learned that is scored. Whether a row is held out depends on its text alone, through a hash.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from pydantic import Field

from tasks.artifacts.stage import Identity, Job, Progress, Stats, stage
from tasks.data.excerpts import excerpt
from tasks.data.rows import Writer, files, read
from tasks.data.uses import Draw
from tasks.text import fold, relations

Row = dict[str, Any]


class Params(Identity):
    scored: tuple[str, ...] = Field(
        default=(),
        description="Sources that are scored and never learned from; without one, the rows held out for validation are",
    )
    max_characters: int = Field(default=512, ge=8, le=100_000, description="Longest text; a longer one is left out")
    stated: bool = Field(
        default=True, description="Leave out triples whose subject or object is not in the text: they cannot be read out of it"
    )
    valid_share: float = Field(default=0.05, gt=0, le=0.5, description="Share of the texts held out for validation")
    valid_max: int = Field(default=2000, ge=1, le=10_000_000, description="Most texts held out, in rows")
    seed: int = Field(default=23333, ge=0, lt=2**63, description="Seed of the hash that draws the held-out texts")


@stage("triples", version=3, title="Triples as prompts and answers", params=Params)
def run(job: Job, params: Params, *, sources: dict[str, Path]) -> Stats:
    """`sources` hold `triples/*.parquet`. Writes conversations of one turn, whose answer is `relations.answer` of the triples: `sft/train.parquet`,
    `sft/valid.parquet` and `scored/rows.parquet`, and `dropped/`. `ValueError` where nothing is left to learn from or to score on."""
    import numpy as np

    scored = {name for name in sources if name in params.scored}
    order = [*sorted(sources, key=lambda name: name not in scored)]  # stable: the scored ones first
    draw = Draw(params.valid_share, params.valid_max)
    for source in order:
        if source not in scored:
            texts = read(files(sources[source], kind="triples"), columns=["text"])
            draw.add(np.fromiter((_hash(params.seed, each["text"]) for each in texts), np.uint64))
    valid = draw.held_out()
    funnel: dict[str, Any] = {}
    predicates = {side: Counter[str]() for side in ("train", "valid", "scored")}
    unstated = done = 0
    with ExitStack() as stack:
        paths = {"train": "sft/train", "valid": "sft/valid", "scored": "scored/rows"}
        out = {side: stack.enter_context(Writer(job.out / f"{path}.parquet", "conversations")) for side, path in paths.items()}
        dropped = stack.enter_context(Writer(job.out / "dropped" / "00000.parquet", "dropped"))
        seen: set[int] = set()
        for source in order:
            count = funnel[source] = {"in": 0, "kept": 0, "dropped": {}}
            for row in read(files(sources[source], kind="triples")):
                count["in"] += 1
                stated_triples = [(one["subject"], one["predicate"], one["object"]) for one in row["triples"]]
                triples = relations.stated(row["text"], stated_triples) if params.stated else stated_triples
                hashed = _hash(params.seed, row["text"])
                if reason := _objection(params, row, triples, hashed in seen):
                    count["dropped"][reason] = count["dropped"].get(reason, 0) + 1
                    text = excerpt(row["text"])
                    dropped.add({"id": row["id"], "source": source, "reason": reason, "detail": "", "excerpt": text})
                    continue
                seen.add(hashed)
                count["kept"] += 1
                unstated += len(stated_triples) - len(triples)
                conversation = _conversation(row, triples)
                side = "scored" if source in scored else "valid" if hashed in valid else "train"
                for to in (side, "scored") if side == "valid" and not scored else (side,):
                    out[to].add(conversation)
                    predicates[to].update(predicate for _, predicate, _ in triples)
                done += 1
                job.progress(Progress(done, 0, "text"))
        rows = {side: writer.rows for side, writer in out.items()}
    for side, what in (("train", "to learn from"), ("scored", "to score on")):
        if not rows[side]:
            raise ValueError(
                f"no text with triples is left {what} (of {', '.join(sources)}: {funnel}); give more rows, or a source of triples for it"
            )
    return {
        "funnel": funnel,
        "rows": rows,
        "unstated_triples": unstated,
        "relations": {side: dict(sorted(counts.items())) for side, counts in predicates.items()},
    }


def _hash(seed: int, text: str) -> int:
    key = fold.dedup_key(text) or text
    return int.from_bytes(hashlib.blake2b(f"{seed}\x1f{key}".encode("utf-8", "surrogatepass"), digest_size=8).digest(), "little")


def _objection(params: Params, row: Row, triples: list[relations.Triple], again: bool) -> str:
    """The reason for which a row is dropped; empty where it is kept."""
    if again:
        return "exact duplicate"
    if len(row["text"]) > params.max_characters:
        return "too long"
    return "" if triples else "no triple that the text states"


def _conversation(row: Row, triples: list[relations.Triple]) -> Row:
    turns = (("user", relations.extraction_prompt(row["text"])), ("assistant", relations.written_triples(triples)))
    messages = [{"role": role, "content": text} for role, text in turns]
    return {"id": row["id"], "source": row["source"], "messages": messages, "meta": "{}"}
