"""One dump file more on a finished corpus: only its shards are extracted, the rest is reused, and the result is that of a full run.

    python -m benchmarks.new_shard --size 40MB --files 8

The sample world's wiki dump is cut into files. One store has a corpus of all but the last, then the last is added; another builds all of
them at once. Times are of the stages; a Prefect server runs beside both.
"""

from __future__ import annotations

import argparse
import bz2
import json
import resource
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from benchmarks.bench import Hanlin, close, last_json, playground, prefect_server, timed
from tasks import sample

RECIPE = """
name: new-shard
raw: {raw}
sources:
  zhwiki: {{format: wiki, path: wiki/*.bz2, use: [pretrain]}}
  belle: {{format: belle, path: belle/*.json, use: [sft]}}
  exam: {{format: exam, path: exam/*.csv, use: [evaluate]}}
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", default="40MB", help="of the sample world")
    parser.add_argument("--files", type=int, default=8, help="that its dump is cut into")
    asked = parser.parse_args()
    with playground() as folder, prefect_server(folder / "prefect") as url:
        raw = folder / "raw"
        sample.write_corpus(raw, sample.Params(size=asked.size))
        *_, last = cut(next(raw.glob("wiki/*.bz2")), asked.files)
        recipe = folder / "recipe.yaml"
        recipe.write_text(RECIPE.format(raw=raw), "utf-8")
        grown = Hanlin(folder / "grown" / "store", PREFECT_API_URL=url)
        whole = Hanlin(folder / "whole" / "store", PREFECT_API_URL=url)

        aside = last.rename(folder / last.name)
        before = run(grown, recipe)
        aside.rename(last)
        added, full = run(grown, recipe), run(whole, recipe)
    print(f"{'stage':<16} {'one file more':>32} {'all at once':>32}")
    for name, stage in full["stages"].items():
        print(f"{name:<16} {told(added['stages'][name]):>32} {told(stage):>32}")
    print(f"{'whole run':<16} {added['wall']:>30.1f} s {full['wall']:>30.1f} s   wall")
    print(f"{'':<16} {added['cpu']:>30.1f} s {full['cpu']:>30.1f} s   CPU of all processes")
    new = full["stages"]["extract-zhwiki"]["built"] - before["stages"]["extract-zhwiki"]["built"]
    extract = added["stages"]["extract-zhwiki"]
    checks = {
        "only the new file's shards are extracted": new > 0 and extract["built"] == new,
        "all other shards are reused": extract["reused"] == before["stages"]["extract-zhwiki"]["built"],
        "the other sources are hits": all(added["stages"][name]["hit"] for name in ("ingest-belle", "ingest-exam")),
        "every artifact is that of the full run": added["digests"] == full["digests"],
    }
    for check, holds in checks.items():
        print(f"{'ok ' if holds else 'BAD'} {check}")
    close(
        "new_shard",
        round(added["cpu"] / full["cpu"], 3),
        "of a full run's CPU time",
        "only the new shard is extracted, the rest are hits",
        all(checks.values()),
        extracted=extract["built"],
        reused=extract["reused"],
        extract_seconds=[extract["seconds"], full["stages"]["extract-zhwiki"]["seconds"]],
        wall_seconds=[round(added["wall"], 1), round(full["wall"], 1)],
        size=asked.size,
        files=asked.files,
    )


def cut(dump: Path, files: int) -> Iterator[Path]:
    """Cut a dump into files of about as many pages, each a whole dump, beside it; the dump itself goes."""
    with bz2.open(dump, "rt", encoding="utf-8") as lines:
        pages = sum("<page>" in line for line in lines)
    with bz2.open(dump, "rt", encoding="utf-8") as lines:
        head = []
        for line in lines:
            if "<page>" in line:
                break
            head.append(line)
        for number in range(files):
            path = dump.with_name(f"part-{number:03d}.xml.bz2")
            with bz2.open(path, "wt", encoding="utf-8") as out:
                out.writelines(head)
                for _ in range(pages * number // files, pages * (number + 1) // files):
                    out.write(line)
                    while "</page>" not in (line := next(lines)):
                        out.write(line)
                    out.write(line)
                    line = next(lines, "")
                out.write("</mediawiki>\n")
            yield path
    dump.unlink()


def run(hanlin: Hanlin, recipe: Path) -> dict[str, Any]:
    """A corpus run: wall and CPU seconds, and for each stage what its record says of this build."""
    used = cpu()
    wall, done = timed(hanlin, "run", str(recipe), "--flow", "corpus", "--json")
    stages, digests = {}, {}
    for name, artifact in last_json(done.stdout)["artifacts"].items():
        made = json.loads((hanlin.store / "records" / f"{artifact['key']}.json").read_text("utf-8"))["made"]
        shards = made.get("shards", {"built": 0, "reused": 0})
        stages[name] = {"hit": artifact["reused"], "seconds": 0.0 if artifact["reused"] else made["seconds"], **shards}
        if name != "report":  # which tells of the run before
            digests[name] = artifact["digest"]
    return {"wall": wall, "cpu": cpu() - used, "stages": stages, "digests": digests}


def cpu() -> float:
    """Seconds of all child processes that have ended."""
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def told(stage: dict[str, Any]) -> str:
    if stage["hit"]:
        return "hit"
    shards = f", {stage['built']} shards built, {stage['reused']} reused" if stage["built"] or stage["reused"] else ""
    return f"{stage['seconds']:.1f} s{shards}"


if __name__ == "__main__":
    main()
