"""A world that grows by one dump: what a re-training runs again, what it costs beside a full run, and what the gate makes of its model.

    python -m benchmarks.retrain --size 1MB --files 4

The sample world's wiki dump is cut into files; the last arrives late. What a re-training costs is held against the first run, which had less
to read and so flatters the full run. A worse candidate is planted (a learning rate that ruins what was learned), killed in its pretraining,
and started again. A Prefect server runs beside all of it; CPU time is that of all processes.
"""

from __future__ import annotations

import argparse
import json
import signal
import time
from pathlib import Path
from typing import Any

from benchmarks.bench import Hanlin, close, last_json, playground, prefect_server, timed
from benchmarks.new_shard import cpu, cut
from tasks import sample
from tasks.artifacts.store import Store

RECIPE = """
extends: tiny
name: grown
raw: {raw}
evaluate: {{max_questions: 200, max_documents: 64, max_prompts: 16}}
resources: {{checkpoint_steps: 4, threads: 1}}
gate: {{min_stop_rate: 0, max_repetition: 1, max_empty: 1}}   # a model of this size does not speak yet
"""
WORSE = ["sft.learning_rate=0.3"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", default="1MB", help="of the sample world")
    parser.add_argument("--files", type=int, default=4, help="that its dump is cut into")
    asked = parser.parse_args()
    with playground() as folder, prefect_server(folder / "prefect") as url:
        raw, recipe = folder / "raw", folder / "recipe.yaml"
        sample.write_corpus(raw, sample.Params(size=asked.size))
        *_, last = cut(next(raw.glob("wiki/*.bz2")), asked.files)
        recipe.write_text(RECIPE.format(raw=raw), "utf-8")
        grown = Hanlin(folder / "store", PREFECT_API_URL=url)
        store = Store(grown.store)

        aside = last.rename(folder / last.name)
        first = retrain(grown, recipe)
        idle, nothing = timed(retrain, grown, recipe)
        aside.rename(last)
        planned = plan(grown, recipe)
        better = retrain(grown, recipe)
        promoted = store.tags()["prod"]
        killed = kill_in_pretraining(grown, recipe)
        resumed = plan(grown, recipe, *WORSE)
        worse = retrain(grown, recipe, "--force", *WORSE)
        refused = store.tags()
        print(grown("rollback", "--why", "tried out").stdout)
        back = store.tags()["prod"][-1]["key"]

    show("one dump file more", planned, better, first)
    show("a worse candidate, killed in pretraining and started again", resumed, worse, first)
    print(f"first: {first['why']}\nthen:  {nothing['why']} ({idle:.1f} s)\nmore:  {better['why']}\nworse: {worse['why']}\n")
    extract, pretrain = better["stages"]["extract-zhwiki"], better["stages"]["pretrain"]
    checks = {
        "the first healthy model is promoted": first["verdict"] == "promoted",
        "nothing new ends the run before any stage": nothing["verdict"] == "nothing new" and not nothing["artifacts"],
        "only the new file's shards are extracted": 0 < extract["built"] < extract["reused"] + extract["built"]
        and extract["reused"] > 0,
        "the other sources are hits": all(
            better["stages"][name]["hit"] for name in better["stages"] if name.startswith("ingest-")
        ),
        "the tokenizer is pinned": "tokenizer" not in better["stages"] and "tokenizer" in first["stages"],
        "pretraining goes on, over a share of the tokens": pretrain["start"]
        and pretrain["tokens"] < first["stages"]["pretrain"]["tokens"] / 2,
        "the better model is promoted": better["verdict"] == "promoted" and len(promoted) == 2,
        "the killed pretraining is resumed": killed and resumed["pretrain"] == "RESUME",
        "the worse model is refused": worse["verdict"] == "refused" and refused["prod"] == promoted,
        "and kept": any(tag.startswith("candidate@") for tag in refused),
        "roll back restores the first model": back == first["artifacts"]["dpo"]["key"],
    }
    for check, holds in checks.items():
        print(f"{'ok ' if holds else 'BAD'} {check}")
    seconds = [sum(stage["seconds"] for stage in run["stages"].values()) for run in (better, first)]
    close(
        "retrain",
        round(better["cpu"] / first["cpu"], 3),
        "of a full run's CPU time",
        "only what is new runs; a worse candidate is refused, a better one promoted, roll back restores the old",
        all(checks.values()),
        stage_seconds=[round(one, 1) for one in seconds],
        pretrain_seconds=[pretrain["seconds"], first["stages"]["pretrain"]["seconds"]],
        idle_seconds=round(idle, 1),
        size=asked.size,
        files=asked.files,
    )


def retrain(hanlin: Hanlin, recipe: Path, *more: str) -> dict[str, Any]:
    """A re-training: its verdict, CPU seconds, and for each stage what its record says of this build."""
    used = cpu()
    outcome = last_json(hanlin("retrain", str(recipe), *more, "--json").stdout)
    stages = {}
    for name, artifact in outcome["artifacts"].items():
        record = json.loads((hanlin.store / "records" / f"{artifact['key']}.json").read_text("utf-8"))
        shards = record["made"].get("shards", {"built": 0, "reused": 0})
        seconds = 0.0 if artifact["reused"] else record["made"]["seconds"]
        more_of_it = {"start": "start" in record["lineage"], "tokens": record["stats"].get("tokens")}
        stages[name] = {"hit": artifact["reused"], "seconds": seconds, **shards, **more_of_it}
    return outcome | {"stages": stages, "cpu": cpu() - used}


def plan(hanlin: Hanlin, recipe: Path, *overrides: str) -> dict[str, str]:
    """Stage → HIT, MISS or RESUME."""
    told = last_json(hanlin("plan", str(recipe), *overrides, "--retrain", "--json").stdout)
    return {step["name"]: step["status"] for step in told["stages"]}


def kill_in_pretraining(hanlin: Hanlin, recipe: Path) -> bool:
    """Start the worse candidate and kill it -9 once its pretraining has a checkpoint; whether there was one."""
    there = set(hanlin.store.glob("work/*/scratch/checkpoints/step-*"))
    process = hanlin.start("retrain", str(recipe), "--force", *WORSE)
    while process.poll() is None and set(hanlin.store.glob("work/*/scratch/checkpoints/step-*")) <= there:
        time.sleep(0.1)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    return process.returncode == -signal.SIGKILL


def show(title: str, planned: dict[str, str], run: dict[str, Any], full: dict[str, Any]) -> None:
    """A row a stage: what was planned, what it took, and what the same stage took in a full run."""
    print(f"{title}\n{'stage':<18} {'plan':<8} {'re-training':>36} {'full run':>12}")
    for name, stage in run["stages"].items():
        shards = f", {stage['built']} shards built, {stage['reused']} reused" if stage["built"] or stage["reused"] else ""
        took = "hit" if stage["hit"] else f"{stage['seconds']:.1f} s{shards}"
        whole = f"{full['stages'][name]['seconds']:.1f} s" if name in full["stages"] else "–"
        print(f"{name:<18} {planned.get(name, '–'):<8} {took:>36} {whole:>12}")
    print(f"{'CPU of all':<18} {'':<8} {run['cpu']:>34.1f} s {full['cpu']:>10.1f} s\n")


if __name__ == "__main__":
    main()
