"""The memory of deduplication and filters, all their processes together, on an input of ten times the limit: at most the limit and a fifth.

python -m benchmarks.memory --limit 0.4 --input 4
"""

from __future__ import annotations

import argparse
import random
import shutil
from pathlib import Path

from benchmarks import texts
from benchmarks.bench import close, playground
from benchmarks.watch import say, watched

KINDS = {"articles": ("documents", 0.7), "answers": ("conversations", 0.3)}  # and their share of the bytes
BAR = 1.2
REMEMBERED = 3_000  # rows that may stand again


def write(home: Path, gigabytes: float) -> None:
    """Two sources, each in one Parquet file; a tenth of the rows stands again as it was, a tenth slightly changed."""
    from tasks.data.rows import Writer, row_id

    for name, (kind, share) in KINDS.items():
        dice = random.Random(name)
        written, seen = 0, [texts.text(dice, texts.LENGTHS[name][0])]
        with Writer(home / name / kind / "00000.parquet", kind) as out:
            while written < share * gigabytes * 1e9:
                chance = dice.random()
                text = texts.text(dice, dice.randint(*texts.LENGTHS[name])) if chance < 0.8 else dice.choice(seen)
                if chance >= 0.9:
                    text = texts.edited(text, dice, texts.spread(len(text), 0.01, dice))
                elif len(seen) < REMEMBERED:
                    seen.append(text)
                else:
                    seen[dice.randrange(REMEMBERED)] = text
                row = {"id": row_id(text, str(written)), "source": name, "meta": "{}"}
                turns = [{"role": "user", "content": "说一说"}, {"role": "assistant", "content": text}]
                out.add(row | ({"messages": turns} if kind == "conversations" else {"title": "", "text": text, "lang": "zh"}))
                written += len(text.encode())
    say(gb=gigabytes)


def clean(home: Path, limit: float) -> None:
    """The two stages, one after the other in one process, as the flow runs them."""
    from tasks import dedup
    from tasks import filter as filters
    from tasks.artifacts.stage import Job, Resources

    resources = Resources(memory_gb=limit)
    first = Job(home / "dedup" / "out", home / "dedup" / "scratch", resources)
    found = dedup.run(first, dedup.Params(), sources={name: home / name for name in KINDS})
    second = Job(home / "filter" / "out", home / "filter" / "scratch", resources)
    left = filters.run(second, filters.Params(), rows=first.out, questions={})
    dropped = {name: counts["dropped"] for name, counts in found["funnel"].items()}
    say(
        rows=sum(counts["in"] for counts in found["funnel"].values()),
        dropped=dropped,
        kept=sum(c["kept"] for c in left["funnel"].values()),
    )


def main(limit: float, gigabytes: float) -> None:
    with playground() as home:
        watched("benchmarks.memory", "--write", home, "--input", gigabytes)
        done = watched("benchmarks.memory", "--clean", home, "--limit", limit)
        shutil.rmtree(home / "dedup")
    print(f"{done.said['rows']:,} rows, {gigabytes:g} GB of text: {done.seconds:,.0f} s, {done.cpu:,.0f} s of processor time")
    print(f"dropped as duplicates: {done.said['dropped']}; kept after the filters: {done.said['kept']:,}")
    print(f"peak {done.peak:.3f} GB of all processes together; resources.memory_gb is {limit:g}")
    enough = gigabytes >= 10 * limit
    bar = f"at most {BAR} of resources.memory_gb, on an input of 10 times as much"
    more = {"peak_gb": round(done.peak, 3), "limit_gb": limit, "input_gb": gigabytes, "seconds": round(done.seconds)}
    close("memory", round(done.peak / limit, 3), "of the limit", bar, enough and done.peak <= BAR * limit, **more)


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--limit", type=float, default=0.4, help="resources.memory_gb")
    parser.add_argument("--input", type=float, default=4, help="GB of text (UTF-8)")
    parser.add_argument("--write", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--clean", type=Path, help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.write:
        write(asked.write, asked.input)
    elif asked.clean:
        clean(asked.clean, asked.limit)
    else:
        main(asked.limit, asked.input)
