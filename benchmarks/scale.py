"""Extraction, ingestion, deduplication, filters and the split on sample data of growing size: throughput, memory, and that the cost grows linearly.

python -m benchmarks.scale 100MB 500MB 2GB
"""

from __future__ import annotations

import argparse
import resource
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks.bench import close, playground
from benchmarks.watch import say, watched

SOURCES = {
    "zhwiki": ("wiki", "wiki/*.bz2"),
    "zhihu": ("zhihu", "zhihu/*.parquet"),
    "belle": ("belle", "belle/*.json"),
    "medical": ("medical", "medical/*.csv"),
    "alpaca": ("alpaca", "alpaca/*.json"),
    "huozi": ("preference", "preference/*.json"),
}
LINEAR = 1.25  # times the processor time a byte at the largest size as at the smallest
MEMORY = 1.2  # times resources.memory_gb at most


def clean(home: Path, limit: float) -> None:
    """All stages one after the other in one process, as the flow runs them, with the seconds that each took."""
    from tasks import dedup, extract, ingest, split
    from tasks import filter as filters
    from tasks.artifacts.stage import Job, Resources

    took: dict[str, dict[str, float]] = {}

    def run(name: str, stage: Callable[..., Any], params: Any, **inputs: Any) -> Any:
        before, started = _processor(), time.monotonic()
        stats = stage(Job(home / name, home / "scratch" / name, Resources(memory_gb=limit)), params, **inputs)
        kind = name.partition("-")[0]
        so_far = took.setdefault(kind, {"seconds": 0.0, "cpu": 0.0})
        so_far["seconds"] += time.monotonic() - started
        so_far["cpu"] += _processor() - before
        shutil.rmtree(home / "scratch" / name)
        return stats

    rows = 0
    for source, (form, pattern) in SOURCES.items():
        files = sorted((home / "raw").glob(pattern))
        if form == "wiki":
            stats = run(f"extract-{source}", extract.run, extract.Params(source=source), files=files)
        else:
            stats = run(f"ingest-{source}", ingest.run, ingest.Params(source=source, format=form), files=files)
        rows += stats["funnel"][source]["in"]
    folders = {
        source: home / (f"extract-{source}" if form == "wiki" else f"ingest-{source}") for source, (form, _) in SOURCES.items()
    }
    run("dedup", dedup.run, dedup.Params(), sources=folders)
    left = run("filter", filters.run, filters.Params(), rows=home / "dedup", questions={})
    uses = {
        "zhwiki": ["pretrain"],
        "zhihu": ["pretrain"],
        "belle": ["sft"],
        "medical": ["sft"],
        "alpaca": ["prompts"],
        "huozi": ["pairs"],
    }
    run("split", split.run, split.Params.model_validate({"use": uses}), rows=home / "filter")
    say(rows=rows, kept=sum(counts["kept"] for counts in left["funnel"].values()), took=took)


def _processor() -> float:
    """Seconds of this process and of its children that have ended."""
    both = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(each.ru_utime + each.ru_stime for each in both)


def measured(size: str, limit: float) -> dict[str, float]:
    """Prints what one size took."""
    from tasks.sample import size_bytes

    megabytes = size_bytes(size) / 1e6
    with playground() as home:
        watched("tasks.sample", home / "raw", "--size", size)
        done = watched("benchmarks.scale", "--clean", home, "--memory", limit)
    rows = done.said["rows"]
    speed = f"{megabytes / done.seconds:6.2f} MB/s, {rows / done.seconds:8,.0f} rows/s"
    print(f"{size:>6}: {done.seconds:8.1f} s, {done.cpu:8.1f} s of processor, {speed}, peak {done.peak:.2f} GB")
    print(f"        {rows:,} rows, of which {done.said['kept']:,} are kept")
    for stage, each in done.said["took"].items():
        print(
            f"        {stage:<8} {each['seconds']:8.1f} s, {each['cpu']:8.1f} s of processor, {megabytes / each['seconds']:7.2f} MB/s"
        )
    return {
        "mb": megabytes,
        "seconds": round(done.seconds, 1),
        "cpu": round(done.cpu, 1),
        "peak_gb": round(done.peak, 3),
        "rows": rows,
    }


def main(sizes: list[str], limit: float) -> None:
    found = [measured(size, limit) for size in sizes]
    costs = [each["cpu"] / each["mb"] for each in found]
    print("processor seconds for each MB: " + ", ".join(f"{cost:.3f} at {size}" for cost, size in zip(costs, sizes, strict=True)))
    ok = costs[-1] <= LINEAR * costs[0] and all(each["peak_gb"] <= MEMORY * limit for each in found)
    bar = f"at most {LINEAR} times the cost a byte at the largest size as at the smallest, and {MEMORY} of resources.memory_gb ({limit:g})"
    close("scale", round(costs[-1] / costs[0], 3), "times the cost a byte", bar, ok, sizes=found)


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument(
        "sizes", nargs="*", default=["100MB", "500MB", "2GB"], help="all files together before compression, about"
    )
    parser.add_argument("--memory", type=float, default=2.0, help="resources.memory_gb")
    parser.add_argument("--clean", type=Path, help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.clean:
        clean(asked.clean, asked.memory)
    else:
        main(asked.sizes, asked.memory)
