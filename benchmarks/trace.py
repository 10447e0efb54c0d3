"""Tracing: are planted sentences found with the right row, how long does an answer take, and what does the index cost, as the corpus grows.

    python -m benchmarks.trace 10MB 100MB 1GB --tantivy 100MB

The corpus is invented (`texts.py`): clauses of which each stands many times in a gigabyte, in rows of 100 to 3,000 characters. A hundred
sentences that stand nowhere else are planted in rows of their own; each is asked for in the middle of an answer of other clauses. Answers are
timed with the index out of the page cache, as after a restart of the machine, and in it: the bar is for these, by processor time. Up to the
size that `--tantivy` names, the same is asked of tantivy, with an index of character 4-grams and an exact comparison of what it finds.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import statistics
import time
from pathlib import Path
from typing import Any

from benchmarks import texts
from benchmarks.bench import close, peers, playground
from benchmarks.watch import Watched, say, watched

PLANTS, COLD = 100, 20  # asked for, and of these with the index out of memory
BAR = 0.5  # seconds an answer
AROUND = 120  # characters of the answer before and after what is planted
ROW = (10, 330)  # clauses of a row


def write(home: Path, size: int) -> None:
    """Write a corpus of documents as the split has it, with the plants and the answers that ask for them."""
    import numpy as np
    import pyarrow as pa

    from tasks.data.rows import SCHEMAS, Writer

    dice, draw = random.Random(size), np.random.default_rng(size)
    clauses = texts.clauses()
    plants = [{"sentence": sentence(dice), "row": f"{number:032x}"} for number in dice.sample(range(size // 6000), PLANTS)]
    planted = {plant["row"]: plant["sentence"] for plant in plants}
    rows = written = 0
    with Writer(home / "train.parquet", "documents") as out:
        while written < size:
            batch: list[dict[str, str]] = []
            for _ in range(2000):
                words = [clauses[number] for number in draw.integers(0, len(clauses), draw.integers(*ROW))]
                row = f"{rows:032x}"
                if row in planted:
                    words.insert(len(words) // 2, planted[row])
                text = "".join(words)
                batch.append({"id": row, "source": "invented", "title": "", "text": text, "lang": "zh", "meta": "{}"})
                rows += 1
                written += len(text.encode())
                if written >= size:
                    break
            out.write(pa.Table.from_pylist(batch, SCHEMAS["documents"]))
    assert rows > size // 6000, "every plant is in a row"
    for plant in plants:
        plant["answer"] = texts.text(dice, AROUND) + plant["sentence"] + texts.text(dice, AROUND)
    (home / "plants.json").write_text(json.dumps(plants, ensure_ascii=False), "utf-8")
    say(bytes=written, rows=rows)


def sentence(dice: random.Random) -> str:
    """A sentence of characters drawn one by one, as no clause has them."""
    return "".join(chr(dice.randint(0x4E00, 0x9FA5)) for _ in range(dice.randint(16, 30)))


def index(home: Path) -> None:
    from tasks import trace_index
    from tasks.artifacts.stage import Job

    say(
        **trace_index.run(
            Job(home / "index", home / "scratch"), trace_index.Params(stage="pretrain"), rows=[home / "train.parquet"]
        )
    )


def ask(home: Path) -> None:
    """Ask for each plant, first with nothing of the index in memory."""
    from tasks.trace.index import Index
    from tasks.trace.spans import trace

    plants = json.loads((home / "plants.json").read_text("utf-8"))
    opened: list[Index] = []
    right = 0
    seconds: dict[str, list[float]] = {"cold": [], "warm": []}
    processor: list[float] = []
    for state, took in seconds.items():
        for plant in plants[:COLD] if state == "cold" else plants:
            if state == "cold":
                opened.clear()
                forget(home / "index")
            started, before = time.monotonic(), time.process_time()
            opened = opened or [Index(home / "index")]
            spans = trace(opened, plant["answer"])
            took.append(time.monotonic() - started)
            processor += [time.process_time() - before] if state == "warm" else []
            right += state == "warm" and found(plant, [(span.text, [row.row for row in span.rows]) for span in spans])
    say(right=right, cpu=summary(processor), **{state: summary(took) for state, took in seconds.items()})


def found(plant: dict[str, str], spans: list[tuple[str, list[str]]]) -> bool:
    """True where a span holds the planted sentence, and its first row is the one where it was planted."""
    return any(plant["sentence"] in text and rows[:1] == [plant["row"]] for text, rows in spans)


def summary(took: list[float]) -> dict[str, float]:
    return {"median": round(statistics.median(took), 4), "most": round(max(took), 4)}


def forget(home: Path) -> None:
    """Take files out of the page cache."""
    for path in home.rglob("*"):
        if path.is_file():
            descriptor = os.open(path, os.O_RDONLY)
            os.fsync(descriptor)
            os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
            os.close(descriptor)


def measured(size: int, with_tantivy: bool) -> dict[str, Any]:
    with playground() as home:
        corpus = watched("benchmarks.trace", "--write", home, "--size", size).said
        built = watched("benchmarks.trace", "--index", home)
        asked = watched("benchmarks.trace", "--ask", home)
        result = {
            "MB": size / 1e6,
            "rows": corpus["rows"],
            "suffix array": told("suffix array", home / "index", built, asked, corpus),
        }
        if with_tantivy:
            made = watched("benchmarks.peer_trace", "--index", home, python=str(peers()))
            answered = watched("benchmarks.peer_trace", "--ask", home, python=str(peers()))
            result["tantivy"] = told("tantivy", home / "tantivy", made, answered, corpus)
    return result


def told(name: str, home: Path, built: Watched, asked: Watched, corpus: dict[str, Any]) -> dict[str, Any]:
    """Prints what one index cost and found."""
    disk = sum(path.stat().st_size for path in home.rglob("*") if path.is_file()) / corpus["bytes"]
    facts = {
        "index_seconds": round(built.seconds, 1),
        "index_cpu": round(built.cpu, 1),
        "index_peak_gb": round(built.peak, 2),
        "disk_a_byte": round(disk, 2),
        "ask_peak_gb": round(asked.peak, 2),
        **asked.said,
    }
    print(
        f"{corpus['bytes'] / 1e6:>8,.0f} MB  {name:<13} indexed in {built.seconds:>7.1f} s ({built.cpu:>7.1f} s of processor), "
        f"{built.peak:.2f} GB of memory, {disk:.2f} bytes of disk a byte; {asked.said['right']} of {PLANTS} right; an answer "
        f"{asked.said['warm']['median']:.3f} s (at most {asked.said['warm']['most']:.3f}), not in memory yet {asked.said['cold']['median']:.3f} s "
        f"(at most {asked.said['cold']['most']:.3f})",
        flush=True,
    )
    return facts


def main(sizes: list[int], tantivy: int) -> None:
    results = [measured(size, size <= tantivy) for size in sizes]
    ours = [result["suffix array"] for result in results]
    slowest = max(each["cpu"]["most"] for each in ours)
    ok = all(each["right"] == PLANTS for each in ours) and slowest <= BAR and max(sizes) >= 1e9
    bar = f"{PLANTS} of {PLANTS} planted sentences with their row, at most {BAR} s of processor an answer at 1 GB"
    close("trace", slowest, "s of processor, the slowest answer", bar, ok, sizes=results)


if __name__ == "__main__":
    from tasks.sample import size_bytes

    parser = argparse.ArgumentParser()
    parser.add_argument("sizes", nargs="*", default=["10MB", "100MB", "1GB"], help="text of the corpus")
    parser.add_argument("--tantivy", default="10MB", help="the largest size at which tantivy is asked, too")
    for step in ("--write", "--index", "--ask"):
        parser.add_argument(step, type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--size", type=int, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.write:
        write(given.write, given.size)
    elif given.index:
        index(given.index)
    elif given.ask:
        ask(given.ask)
    else:
        main([size_bytes(size) for size in given.sizes], size_bytes(given.tantivy))
