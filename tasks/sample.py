"""Stage `sample`: a small invented Chinese world, written in the true formats of the real sources, with counted dirt.

    python -m tasks.sample OUT --size 200MB --seed 7

The same facts are told in all files. What each file is for decides what a training stage can learn from it: the wiki dump and Zhihu
(for pretraining) state every fact, BELLE and the medical file (SFT) ask about one half of the entities and hardly about the other, Alpaca
and the preferences (DPO) about the other half, and the exam asks about all, in wordings of its own. A larger size adds further entities;
the world that the exam asks about stays the same. Rows are streamed: memory does not grow with the size.

    wiki/*.xml.bz2  belle/*.json  zhihu/*.parquet  medical/*.csv  alpaca/*.json  preference/*.json  exam/<subject>.csv  triples/*.json
    plants.json     {<source>_<what>: how many}; what each means is `tasks.world.dirt.MEANING`
    facts.json      every fact that the exam asks about: entity, kind, attribute, value, a question, and whether SFT teaches it
"""

from __future__ import annotations

import argparse
import json
import re
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from pydantic import Field, ValidationError, field_validator

from tasks.artifacts.stage import Identity, Job, Progress, Stats, stage
from tasks.world import dirt, exam
from tasks.world.prose import World
from tasks.world.qa import AlpacaSource, BelleChatSource, BelleSource, MedicalSource, PreferenceSource, TriplesSource, ZhihuSource
from tasks.world.source import SampleSource, WikiDumpSource

SOURCES: tuple[type[SampleSource[Any]], ...] = (
    WikiDumpSource,
    ZhihuSource,
    BelleSource,
    BelleChatSource,
    MedicalSource,
    AlpacaSource,
    PreferenceSource,
    TriplesSource,
)
CORE_SHARE = 0.9  # of every file's bytes, as long as the size is no larger than the default
CORE_BYTES = 1_800_000  # of the core world at most, in all files: what is said beyond it is about further entities

_UNITS = {"KB": 1_000, "MB": 1_000_000, "GB": 1_000_000_000}
SMALLEST, LARGEST = "200KB", "100GB"


def size_bytes(text: str) -> int:
    """Bytes of a size like `300KB`, `2.5MB` or `1GB` (powers of ten)."""
    match = re.fullmatch(r"(\d+(?:\.\d+)?) ?([KMG]B)", text.strip().upper())
    if not match:
        raise ValueError(f"{text!r} is not a size; write a number and KB, MB or GB, such as 2MB")
    return round(float(match[1]) * _UNITS[match[2]])


class Params(Identity):
    """Seed and size of the sample corpus, and the shares of its world."""

    seed: int = Field(default=7, ge=0, lt=2**63, description="Seed of the world and of all texts")
    size: str = Field(
        default="2MB",
        description=f"All files together before compression, about, from {SMALLEST} to {LARGEST}; KB, MB and GB are powers of ten",
    )
    entities: int = Field(
        default=56, ge=10, le=56, description="Entities that the exam asks about, of five kinds; each has four facts"
    )
    topics: int = Field(
        default=3, ge=0, le=8, description="Wiki pages beside each such entity's own; each states its facts three times"
    )
    sft_share: float = Field(
        default=0.5, ge=0.1, le=0.9, description="Share of these entities that the SFT files ask about; the rest is for DPO"
    )

    @field_validator("size")
    @classmethod
    def _canonical(cls, value: str) -> str:
        """One spelling for one size, since it is part of the artifact's key."""
        if not size_bytes(SMALLEST) <= (size := size_bytes(value)) <= size_bytes(LARGEST):
            raise ValueError(f"size must be from {SMALLEST} to {LARGEST}, not {value}")
        unit = "GB" if size >= _UNITS["GB"] else "MB" if size >= _UNITS["MB"] else "KB"
        return f"{size / _UNITS[unit]:.9f}".rstrip("0").rstrip(".") + unit


def write_corpus(
    home: Path, params: Params, report: Callable[[int, int], None] = lambda size_so_far, total: None
) -> dict[str, int]:
    """Write all files below `home`. Returns the content of `plants.json`; tells of progress as (bytes, of bytes)."""
    world, size = World(params.seed, params.entities, params.sft_share), size_bytes(params.size)
    questions = exam.questions(world, params.seed)
    size_so_far = exam.write_exam(questions, home / "exam")
    leaks = exam.leaks(questions, params.seed)
    plants = {"exam_rows": len(questions)}
    shares = sum(kind.share for kind in SOURCES)
    for kind in SOURCES:
        source = kind(world, params.seed, leaks, home)
        if isinstance(source, WikiDumpSource):
            source.topics = params.topics
        before = size_so_far
        # of what is left, since a small corpus overruns where every core entity and every kind of dirt must stand
        budget = max(0, int((size - before) * kind.share / shares))
        shares -= kind.share
        core = min(CORE_SHARE, CORE_BYTES / size)
        size_so_far += source.fill(
            budget,
            int(budget * core),
            lambda written, before=before: report(min(before + written, size), size),  # type: ignore[misc]
        )
        assert source.counts.keys() <= dirt.MEANING.keys(), source.counts.keys() - dirt.MEANING.keys()
        plants |= {f"{source.name}_{what}": count for what, count in sorted(source.counts.items())}
    plants["leaked_questions"] = sum(count for name, count in plants.items() if name.endswith("_leaked_questions"))
    facts = [
        {
            "entity": e.name,
            "kind": e.kind.noun,
            "attribute": a.label,
            "value": value,
            "ask": a.asks[0].format(n=e.name),
            "sft": e.name in world.taught,
        }
        for e in world.core
        for a, value in zip(e.kind.attributes, e.values, strict=True)
    ]
    _write_json(home / "facts.json", facts)
    _write_json(home / "plants.json", plants)
    return plants


def _write_json(path: Path, value: Any) -> None:
    path.write_text(json.dumps(value, ensure_ascii=False, indent=1) + "\n", "utf-8")


@stage("sample", version=2, title="Write the sample corpus", params=Params, tools=("pyarrow", "opencc"))
def run(job: Job, params: Params) -> Stats:
    """No inputs → the files of all sources, the exam, `facts.json` and `plants.json`."""
    plants = write_corpus(job.out, params, lambda done, total: job.progress(Progress(done, total, "byte")))
    rows = {name.removesuffix("_rows"): count for name, count in plants.items() if name.endswith("_rows")}
    job.log(f"sample corpus of {params.size}: " + ", ".join(f"{count:,} rows of {name}" for name, count in rows.items()))
    return {"plants": plants, "rows": rows}


def main(arguments: Sequence[str] | None = None) -> None:
    """The command line: the same corpus, into a folder."""
    parser = argparse.ArgumentParser(
        prog="python -m tasks.sample", description="Write the sample corpus: an invented Chinese world in real formats."
    )
    parser.add_argument("out", type=Path, help="folder to write into; made if it is not there")
    for name, field in Params.model_fields.items():
        parser.add_argument(
            f"--{name.replace('_', '-')}", default=field.default, help=f"{field.description} (default: {field.default})"
        )
    options = vars(parser.parse_args(arguments))
    home = options.pop("out")
    try:
        params = Params(**options)
    except ValidationError as problem:
        parser.error(
            "; ".join(f"--{error['loc'][0]}: {error['msg'].removeprefix('Value error, ')}" for error in problem.errors())
        )
    shown = 0

    def tell(done: int, total: int) -> None:
        nonlocal shown
        if (tenth := done * 10 // total) > shown:
            shown = tenth
            print(f"{done / 1e6:,.1f} of {total / 1e6:,.1f} MB", file=sys.stderr)

    plants = write_corpus(home, params, tell)
    for name, count in plants.items():
        print(f"{name:32} {count:>9,}")


if __name__ == "__main__":
    main()
