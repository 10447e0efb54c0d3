"""The chain on real files (the folder that HANLIN_REAL_DATA names): it ends with a report whose row counts add up for every source."""

from __future__ import annotations

import json
import os

from benchmarks.bench import Hanlin, close, playground, timed


def main() -> None:
    if not os.environ.get("HANLIN_REAL_DATA"):
        close(
            "real_sample",
            0,
            "sources",
            "row counts add up",
            False,
            why="HANLIN_REAL_DATA is not set; it names the folder of real files",
        )
    with playground() as folder:
        hanlin = Hanlin(folder / "store")
        seconds, outcome = timed(hanlin.run, "real-sample")
        wrong, rows = [], 0
        for name in outcome["artifacts"]:
            record = json.loads((hanlin.store / "records" / f"{outcome['artifacts'][name]['key']}.json").read_text("utf-8"))
            for source, counts in record["stats"].get("funnel", {}).items():
                dropped = sum(counts["dropped"].values())
                rows += counts["in"]
                print(f"{name:<24} {source:<16} {counts['in']:>7,} in = {counts['kept']:>7,} kept + {dropped:>6,} dropped")
                if counts["in"] != counts["kept"] + dropped:
                    wrong.append(f"{name} {source}")
        sources = [name for name in outcome["artifacts"] if name.startswith(("extract-", "ingest-"))]
        figures = json.loads(
            (hanlin.store / "objects" / outcome["artifacts"]["report"]["key"] / "figures.json").read_text("utf-8")
        )
    ok = not wrong and figures["adds_up"] and outcome["status"] == "completed"
    close(
        "real_sample",
        len(sources),
        "real sources",
        "every source's row counts add up",
        ok,
        wrong=wrong,
        seconds=round(seconds),
        rows_counted=rows,
    )


if __name__ == "__main__":
    main()
