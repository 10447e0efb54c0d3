"""Rows of real files (the folder that HANLIN_REAL_DATA names), counted by the readers, against counts made when the files were collected."""

from __future__ import annotations

import os
import tempfile
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from benchmarks.bench import close
from tasks import dedup, ingest
from tasks.artifacts.stage import Job
from tasks.data.rows import BrokenFile, Drop
from tasks.formats.registry import reader
from tasks.sources import wiki

MEDICAL = "medical/样例_内科5000-6000.csv"


def rows(home: Path, name: str, pattern: str) -> tuple[list[dict[str, Any]], Counter[str]]:
    """(rows, why others were dropped) of the files that match."""
    paths = sorted(home.glob(pattern))
    if not paths:
        raise ValueError(f"{home / pattern}: there is no such file; HANLIN_REAL_DATA names the folder of real files")
    found = [row for path in paths for row in reader(name).read(path)]
    return [row for row in found if not isinstance(row, Drop)], Counter(row.reason for row in found if isinstance(row, Drop))


def duplicates(home: Path) -> int:
    """Exact duplicates that the stages find in the medical table."""
    with tempfile.TemporaryDirectory() as folder:
        read = Job(out=Path(folder) / "ingest", scratch=Path(folder) / "1")
        ingest.run(read, ingest.Params(source="medical", format="medical"), files=[home / MEDICAL])
        stats = dedup.run(
            Job(out=Path(folder) / "dedup", scratch=Path(folder) / "2"), dedup.Params(), sources={"medical": read.out}
        )
    return int(stats["funnel"]["medical"]["dropped"]["exact duplicate"])


def cut(home: Path) -> tuple[int, int, int]:
    """Of the truncated dump: the whole pages that the error tells of, those kept or counted where the cut is tolerated, and their articles."""
    path = home / "wiki/jawiki-20230501-truncated-100k-lines.xml.xz"
    told = 0
    try:
        list(wiki.read(path))
    except BrokenFile as error:
        told = int(str(error).partition(" whole pages")[0].rpartition(" ")[2].replace(",", ""))
    found = list(wiki.read(path, tolerate_truncation=True))
    pages = [row for row in found if not isinstance(row, Drop) or row.reason != "file cut"]
    return told, len(pages), sum(not isinstance(row, Drop) for row in pages)


def figures(home: Path) -> Iterator[tuple[str, int, int]]:
    """(what, found, expected)."""
    zhwiki, _ = rows(home, "wiki", "wiki/zhwiki-2018-pages1-24.xml.bz2")
    yield "zhwiki 2018 fragment: articles", len(zhwiki), 14
    komica, dropped = rows(home, "wiki", "wiki/komica-zh-hant-full-history-pages1-50.xml.bz2")
    yield "Komica full history: articles", len(komica), 46
    yield "Komica full history: redirects", dropped["redirect"], 4
    told, pages, articles = cut(home)
    yield "truncated jawiki: whole pages that the error tells of", told, 238
    yield "truncated jawiki: whole pages kept or counted", pages, 238
    yield "truncated jawiki: articles among them", articles, 189
    yield "medical CSV: rows", len(rows(home, "medical", MEDICAL)[0]), 7644
    yield "medical CSV: exact duplicates that dedup finds", duplicates(home), 378
    belle, dropped = rows(home, "belle", "sft/belle/eval_set.json")
    yield "BELLE evaluation set: good rows", len(belle), 1345
    yield "BELLE evaluation set: bad rows", sum(dropped.values()), 5
    duie, dropped = rows(home, "triples", "triples/duie2_train_first4000.json")
    yield "DuIE: rows", len(duie), 4000
    yield "DuIE: triples", sum(len(row["triples"]) for row in duie), 7227
    for name, pattern, expected in (
        ("CMMLU", "eval/cmmlu/test/*.csv", 11_582),
        ("CMMLU, few-shot", "eval/cmmlu/dev/*.csv", 335),
        ("C-Eval", "eval/ceval/val/*.csv", 1346),
        ("C-Eval, few-shot", "eval/ceval/dev/*.csv", 260),
    ):
        questions, dropped = rows(home, "exam", pattern)
        yield f"{name}: questions", len(questions) - sum(dropped.values()), expected


def main() -> None:
    home = os.environ.get("HANLIN_REAL_DATA")
    if not home:
        close("real_counts", 0, "counts", "all", False, why="HANLIN_REAL_DATA is not set; it names the folder of real files")
    right = wrong = 0
    for what, found, expected in figures(Path(home)):
        print(
            f"{'ok ' if found == expected else 'BAD'} {what:<56} {found:>7,}"
            + ("" if found == expected else f", not {expected:,}")
        )
        right, wrong = right + (found == expected), wrong + (found != expected)
    close("real_counts", right, f"counts of {right + wrong}", "all as collected", not wrong)


if __name__ == "__main__":
    main()
