"""Near duplicates: are planted pairs found and nothing else, and how fast, beside text-dedup's MinHash and datasketch.

    python -m benchmarks.near_duplicates --pairs 3000 --documents 150000

Quality is judged by similarities counted with Python's sets, on pairs planted with edits of 1 in 30 characters (anywhere, and in runs, as when
a phrase is changed), in short answers and in long articles, among as many unrelated texts. Speed is that of whole processes, from a Parquet
file to the rows that stay, with the same number of processes, on sample rows, planted copies, and real answers where HANLIN_REAL_DATA names
the folder.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
from pathlib import Path
from typing import Any

from benchmarks import texts
from benchmarks.bench import close, peers, playground
from benchmarks.watch import Watched, say, watched

EDITS = 1 / 30
LEAST = 0.8  # similarity of a pair that counts
BAR_QUALITY, BAR_SPEED = 0.95, 3.0
EDITED = {"anywhere": texts.spread, "in runs": texts.in_runs}
REAL = {  # of the folder: file, format
    "zhihu": ("qa/zhihu_kol_train-00000-of-00005_sample.parquet", "zhihu"),
    "medical": ("medical/样例_内科5000-6000.csv", "medical"),
    "alpaca": ("sft/alpaca_chinese_zh-data-part-00.json", "alpaca"),
    "belle": ("sft/belle/train_2M_CN_sample.json", "belle"),
}


def similarity(one: str, other: str) -> float:
    """Jaccard similarity of the sets of character 5-grams."""
    both = [{text[place : place + 5] for place in range(len(text) - 4)} for text in (one, other)]
    return len(both[0] & both[1]) / max(1, len(both[0] | both[1]))


# -- quality --------------------------------------------------------------------------------------------------------------


def quality(home: Path, length: str, edits: str, pairs: int) -> dict[str, Any]:
    """Recall of `dedup`, and precision of what it calls near duplicates. A pair is true if it was planted and is similar enough.

    Two answers whose letters agree are exact duplicates, also where the punctuation of a short one makes it less similar.
    """
    from tasks import dedup
    from tasks.artifacts.stage import Job, Resources
    from tasks.data.rows import Writer, files, read

    dice = random.Random(f"{length} {edits}")
    rows: dict[str, str] = {}
    true = set()
    for number in range(pairs):
        original = texts.text(dice, dice.randint(*texts.LENGTHS[length]))
        copy = texts.edited(original, dice, EDITED[edits](len(original), EDITS, dice))
        rows |= {f"a{number}": original, f"b{number}": copy, f"c{number}": texts.text(dice, dice.randint(*texts.LENGTHS[length]))}
        if similarity(original, copy) >= LEAST:
            true.add(number)
    with Writer(home / "rows" / "documents" / "00000.parquet", "documents") as out:
        for name, text in rows.items():
            out.add({"id": name, "source": "made", "title": "", "text": text, "lang": "zh", "meta": "{}"})
    job = Job(home / "out", home / "scratch", Resources())
    dedup.run(job, dedup.Params(), sources={"made": home / "rows"})
    found = list(read(files(job.out, kind="dropped")))
    called = {(row["id"], row["detail"].split()[1]) for row in found}
    right = {int(one[1:]) for one, other in called if one[1:] == other[1:] and {one[0], other[0]} == {"a", "b"}}
    exact = {int(row["id"][1:]) for row in found if row["reason"] == "exact duplicate"} & right
    return {
        "pairs": pairs,
        "true": len(true),
        "called": len(called),
        "recall": len(right & true) / max(1, len(true)),
        "precision": len(right & (true | exact)) / max(1, len(called)),
    }


def all_quality(pairs: int) -> float:
    """Prints a table; returns the least figure where any pair is true."""
    least = 1.0
    for length, share in {"answers": 1, "articles": 10}.items():
        for edits in EDITED:
            with playground() as home:
                found = quality(home, length, edits, max(100, pairs // share))
            print(
                f"{length:<9} edits {edits:<9} {found['pairs']:>6,} planted, {found['true']:>6,} at {LEAST} or more, {found['called']:>6,} found: "
                f"recall {found['recall']:.4f}, precision {found['precision']:.4f}"
            )
            if found["true"]:
                least = min(least, found["recall"], found["precision"])
            elif found["called"]:
                least = 0.0
    return least


# -- speed ----------------------------------------------------------------------------------------------------------------


def collect(home: Path, documents: int) -> tuple[list[str], dict[int, int]]:
    """Texts, and the places of planted copies with those of their originals."""
    from tasks import ingest, sample
    from tasks.artifacts.stage import Job
    from tasks.data.rows import batches, files
    from tasks.duplicates.similarity import compared_texts

    sample.write_corpus(home / "raw", sample.Params(size=f"{max(1, documents // 700)}MB"))
    found = {
        name: (home / "raw", next((home / "raw" / name).glob("*")).relative_to(home / "raw"), name)
        for name in ("zhihu", "medical", "belle")
    }
    if real := os.environ.get("HANLIN_REAL_DATA"):
        found |= {f"real-{name}": (Path(real), Path(path), form) for name, (path, form) in REAL.items()}
    everything: list[str] = []
    for name, (root, path, form) in found.items():
        job = Job(home / "rows" / name, home / "scratch" / name)
        ingest.run(job, ingest.Params(source=name, format=form), files=[root / path])
        for kind in ("documents", "conversations"):
            for file in files(job.out, kind=kind):
                for batch in batches(file):
                    everything += [text.replace("\x1f", "\n") for text in compared_texts(kind, batch)]
        print(f"{name:<16} {len(everything):>8,} texts so far")
    dice = random.Random(2)
    dice.shuffle(everything)
    everything = everything[:documents]
    copies: dict[int, int] = {}
    for place in dice.sample(range(len(everything)), len(everything) // 20):
        original = everything[place]
        copy = texts.edited(original, dice, texts.in_runs(len(original), EDITS, dice)) if original else ""
        if similarity(original, copy) >= LEAST:
            copies[len(everything)] = place
            everything.append(copy)
    return everything, copies


def ours(home: Path, processes: int) -> None:
    """In a process of its own."""
    from tasks import dedup
    from tasks.artifacts.stage import Job, Resources
    from tasks.data.rows import files, read

    for left in ("ours", "ours.scratch"):
        shutil.rmtree(home / left, ignore_errors=True)
    job = Job(home / "ours", home / "ours.scratch", Resources(workers=processes, threads=processes))
    dedup.run(job, dedup.Params(), sources={"texts": home})
    kept = [int(row["id"]) for row in read(files(job.out, kind="documents"), columns=["id"])]
    (home / "ours.json").write_text(json.dumps(kept), "utf-8")
    say(kept=len(kept))


def text_dedup(home: Path, name: str, processes: int) -> Watched:
    arguments = ["--path", "parquet", "--data_files", home / f"{name}.parquet", "--split", "train", "--column", "text"]
    arguments += ["--output", home / name, "--cache_dir", home / f"{name}.cache", "--num_proc", processes]
    return watched("text_dedup.minhash", *arguments, python=str(peers()))


def speed(home: Path, documents: int, processes: int) -> float:
    """Prints a table; returns the least ratio of documents a second to a peer that sees characters."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    from tasks.data.rows import Writer

    found, copies = collect(home, documents)
    with Writer(home / "documents" / "00000.parquet", "documents") as out:
        for number, text in enumerate(found):
            out.add({"id": str(number), "source": "texts", "title": "", "text": text, "lang": "zh", "meta": "{}"})
    numbers = list(range(len(found)))
    pq.write_table(pa.table({"text": found, "number": numbers}), home / "words.parquet")
    pq.write_table(pa.table({"text": [" ".join(text) for text in found], "number": numbers}), home / "characters.parquet")
    print(
        f"{len(found):,} texts, {sum(map(len, found)):,} characters, {len(copies):,} planted copies at {LEAST} or more; {processes} processes"
    )
    runs = {
        "ours": watched("benchmarks.near_duplicates", "--ours", home, "--processes", processes),
        "text-dedup, as it comes": text_dedup(home, "words", processes),
        "text-dedup, characters": text_dedup(home, "characters", processes),
        "datasketch": watched(
            "benchmarks.peer_dedup", home / "words.parquet", home / "datasketch.json", processes, python=str(peers())
        ),
    }
    again = watched("benchmarks.near_duplicates", "--ours", home, "--processes", processes)
    kept = {"ours": _listed(home / "ours.json"), "datasketch": _listed(home / "datasketch.json")}
    kept |= {
        f"text-dedup, {what}": _saved(home / name) for what, name in {"as it comes": "words", "characters": "characters"}.items()
    }
    wall, cpu = (runs["ours"].seconds + again.seconds) / 2, (runs["ours"].cpu + again.cpu) / 2
    ratios = []
    for name, run in runs.items():
        recall = sum(not {copy, original} <= kept[name] for copy, original in copies.items()) / max(1, len(copies))
        each = (run.seconds / wall, run.cpu / cpu)
        print(
            f"{name:<24} {run.seconds:>7.1f} s {run.cpu:>7.1f} s of processor {len(found) / run.seconds:>8,.0f} documents/s {run.peak:>6.2f} GB, "
            f"{len(found) - len(kept[name]):>6,} dropped, recall {recall:.3f}; ours is {each[0]:.1f} times as fast, {each[1]:.1f} by processor time"
        )
        if name in ("text-dedup, characters", "datasketch"):
            ratios += each
    return min(ratios)


def _listed(path: Path) -> set[int]:
    return set(json.loads(path.read_text("utf-8")))


def _saved(folder: Path) -> set[int]:
    """The numbers in a data set as `datasets` saves it."""
    import pyarrow as pa

    found: set[int] = set()
    for path in sorted(folder.glob("*.arrow")):
        with pa.memory_map(str(path)) as source:
            found |= set(pa.ipc.open_stream(source).read_all().column("number").to_pylist())
    return found


def main(pairs: int, documents: int, processes: int) -> None:
    least = all_quality(pairs)
    with playground() as home:
        ratio = speed(home, documents, processes)
    bar = f"recall and precision {BAR_QUALITY} or more; {BAR_SPEED:g} times the documents/s of text-dedup and datasketch"
    ok = least >= BAR_QUALITY and ratio >= BAR_SPEED
    close(
        "near_duplicates",
        round(ratio, 2),
        "times the documents/s, the least ratio",
        bar,
        ok,
        least_recall_or_precision=round(least, 4),
    )


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--pairs", type=int, default=3000, help="planted pairs of short answers; a tenth of that of articles")
    parser.add_argument("--documents", type=int, default=150_000)
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--ours", type=Path, help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.ours:
        ours(asked.ours, asked.processes)
    else:
        main(asked.pairs, asked.documents, asked.processes)
