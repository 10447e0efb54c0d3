"""Rejected answers: how many more a second in sorted batches than one by one, and what a `kill -9` loses.

The SFT model of a recipe answers prompts of its validation and training rows, sampled at one temperature, in the same precision and on the
same cores both ways: each prompt by a `generate` of its own, and all of them as the stage does it. The ways take turns; the best of each
counts. Then the stage's child is killed at random moments and started again until it is done: batches that were reported and are not there
any more are lost, and at most the one under way may have to be made again. What comes out must be what an uninterrupted run gives.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import random
import subprocess
import sys
import time
from itertools import islice
from pathlib import Path
from typing import Any

import torch

from benchmarks.bench import close, playground, stages
from models import generate, template
from models.generate import Sampling, answer, device_of, has_bf16, load
from tasks.rejected import Params
from tasks.rows import read

FASTER = 8.0


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--recipe", default="sample", help="whose SFT model answers")
    options.add_argument("--set", nargs="*", default=[], help="what is different from the recipe, as field=value")
    options.add_argument("--store", type=Path, help="of the run; empty: one for the length of the benchmark")
    options.add_argument("--prompts", type=int, default=256)
    options.add_argument("--alone", type=int, default=64, help="of the prompts to answer one by one, every so manieth by length")
    options.add_argument("--tokens", type=int, default=48, help="of an answer, at most")
    options.add_argument("--batch", type=int, default=Params().batch)
    options.add_argument("--repeats", type=int, default=2)
    options.add_argument("--kills", type=int, default=5)
    options.add_argument("--device", choices=["auto", "cpu", "cuda"], default="auto")
    given = options.parse_args()
    with playground() as folder:
        made = stages(given.store or folder / "store", given.recipe, *given.set, until="sft")
        model, rows = made["sft"], made["split"]
        prompts = folder / "prompts.jsonl"
        prompts.write_text(
            "".join(json.dumps({"messages": turns}, ensure_ascii=False) + "\n" for turns in asked(rows, given.prompts))
        )
        job = {"model": str(model), "prompts": str(prompts), "temperatures": [1.0], "top_p": 0.95, "max_new_tokens": given.tokens}
        job |= {"batch": given.batch, "seed": 1, "device": given.device}

        pace = speed(job, folder, given.alone, given.repeats)
        ratio = pace["batches"] / pace["one by one"]
        lost, kept, same = kills(job, folder, given.kills)
    print(
        f"{given.kills} kills: {lost} of {kept} reported batches lost; the answers are {'' if same else 'not '}those of a straight run"
    )
    close(
        "rejected",
        round(ratio, 2),
        "× the answers/s of one-by-one generate",
        f"≥ {FASTER:g}, and a kill loses no finished batch",
        ratio >= FASTER and lost == 0 and same,
        answers_per_second={way: round(value, 2) for way, value in pace.items()},
        batch=given.batch,
        batches_lost=lost,
        kills=given.kills,
    )


def asked(rows: Path, limit: int) -> list[list[dict[str, str]]]:
    """The first conversations of the split that DPO's prompts come from, without their last answer."""
    paths = [
        path for side in ("valid", "train") for use in ("prompts", "sft") if (path := rows / use / f"{side}.parquet").exists()
    ]
    return [row["messages"][:-1] for row in islice(read(paths), limit)]


def speed(job: dict[str, Any], folder: Path, alone: int, repeats: int) -> dict[str, float]:
    """Answers a second each way, loading aside."""
    device = device_of(job["device"])
    model, tokenizer = load(Path(job["model"]), device)
    if has_bf16(device):
        model = model.to(torch.bfloat16)
    with Path(job["prompts"]).open(encoding="utf-8") as lines:
        ids = [found for found, _ in template.encode(tokenizer, [json.loads(line)["messages"] for line in lines], reply=True)]
    some = sorted(ids, key=len)[:: max(1, len(ids) // alone)]  # of every length, so that their mean stands for all
    sampling = Sampling(job["max_new_tokens"], job["temperatures"][0], job["top_p"])
    best: dict[str, float] = {}
    stops = 0.0
    for number in range(repeats):
        started = time.perf_counter()
        said = [answer(model, tokenizer, [one], sampling, seed)[0] for seed, one in enumerate(some)]
        took = {"one by one": (time.perf_counter() - started) / len(some)}
        stops = sum(one.end == "stop" for one in said) / len(said)
        started = time.perf_counter()
        with contextlib.redirect_stdout(io.StringIO()):
            generate.work(job | {"out": str(folder / f"speed{number}")})
        took["batches"] = (time.perf_counter() - started) / len(ids)  # loading the model included: the stage does so too
        best = {way: min(seconds, best.get(way, seconds)) for way, seconds in took.items()}
    words = f"{model.num_parameters() / 1e6:.1f} M parameters, {model.dtype}, {torch.get_num_threads()} threads"
    print(f"{words}; {len(ids)} prompts, {stops:.0%} of the answers end by themselves")
    for way, seconds in best.items():
        print(f"{way:<12} {1 / seconds:8.2f} answers/s", flush=True)
    return {way: 1 / seconds for way, seconds in best.items()}


def kills(job: dict[str, Any], folder: Path, wanted: int) -> tuple[int, int, bool]:
    """(batches lost, batches reported, whether all answers are those of a straight run)."""
    straight, out = folder / "straight", folder / "killed"
    with contextlib.redirect_stdout(io.StringIO()):
        generate.work(job | {"out": str(straight)})
    path = folder / "job.json"
    path.write_text(json.dumps(job | {"out": str(out)}), "utf-8")
    chance = random.Random(1)
    command = [sys.executable, "-m", "models.generate", str(path)]
    lost = reported = 0
    for _ in range(wanted):
        before, told = len(finished(out)), 0
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
            assert process.stdout is not None
            for line in process.stdout:
                told += line.startswith('{"event": "progress"')
                if told > before:
                    break
            time.sleep(chance.uniform(0, 0.5))  # into the batch that follows
            process.kill()
        reported += told - before
        lost += max(0, told - len(finished(out)))
    subprocess.run(command, stdout=subprocess.DEVNULL, check=True)
    same = [{one.name: one.read_bytes() for one in finished(home)} for home in (straight, out)]
    return lost, reported, same[0] == same[1]


def finished(out: Path) -> list[Path]:
    return sorted(out.glob("*.jsonl")) if out.exists() else []


if __name__ == "__main__":
    main()
