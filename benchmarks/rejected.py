"""Rejected answers: how many more a second in batches that are refilled than one by one, and what a `kill -9` loses.

The SFT model of a recipe answers prompts of its validation and training rows, sampled at one temperature, in the same precision and on the
same cores both ways: each prompt by a `generate` of transformers, and all of them as the stage does it. The ways take turns; the best of each
counts. Then the stage's child is killed at random moments and started again until it is done: shards that were reported and are not there
any more are lost, and at most the one under way may have to be made again. What comes out must be what an uninterrupted run gives.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import math
import random
import subprocess
import sys
import tempfile
import time
from itertools import islice
from pathlib import Path
from typing import Any

import torch

from benchmarks.bench import close, playground, stages
from models import generate, template
from models.decoding import SHARD, Answer
from models.loading import context_of, device_of, has_bf16, load
from models.sampling import Sampling, greedy_config
from models.threads import threads
from tasks.data.rows import read
from tasks.rejected import Params

FASTER = 8.0
WAYS = ("one by one", "batches")


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--recipe", default="sample", help="whose SFT model answers")
    options.add_argument("--set", nargs="*", default=[], help="what is different from the recipe, as field=value")
    options.add_argument("--store", type=Path, help="of the run; empty: one for the length of the benchmark")
    options.add_argument("--prompts", type=int, default=512)
    options.add_argument("--alone", type=int, default=64, help="of the prompts to answer one by one, every so manieth by length")
    options.add_argument("--tokens", type=int, default=48, help="of an answer, at most")
    options.add_argument("--batch", type=int, default=Params().batch)
    options.add_argument("--repeats", type=int, default=2)
    options.add_argument("--kills", type=int, default=5)
    options.add_argument("--device", choices=["auto", "cpu", "cuda"], default="auto")
    given = options.parse_args()
    with playground() as folder:
        made = stages(given.store or folder / "store", given.recipe, *given.set, until="sft")
        device = device_of(given.device)
        model, tokenizer = load(made["sft"], device)
        if has_bf16(device):
            model = model.to(torch.bfloat16)
        turns = asked(made["split"], model, tokenizer, given.prompts, given.tokens)
        prompts = folder / "prompts.jsonl"
        prompts.write_text("".join(json.dumps({"messages": one}, ensure_ascii=False) + "\n" for one in turns), "utf-8")
        job = {"model": str(made["sft"]), "prompts": str(prompts), "temperatures": [1.0], "top_p": 0.95}
        job |= {"max_new_tokens": given.tokens, "batch": given.batch, "seed": 1, "device": given.device}

        pace, busy = speed(job, model, tokenizer, turns, folder, given.alone, given.repeats)
        lost, kept, same = kills(job, folder, given.kills)
    print(f"{given.kills} kills: {lost} of {kept} reported shards lost; answers {'as' if same else 'not as'} in a straight run")
    figure = pace["batches"] / pace["one by one"]
    close(
        "rejected",
        round(figure, 2),
        "× the answers/s of one-by-one generate",
        f"≥ {FASTER:g}, and a kill loses no finished shard",
        figure >= FASTER and lost == 0 and same,
        by_processor_time=round(busy["one by one"] / busy["batches"], 2),
        answers_per_second={way: round(value, 2) for way, value in pace.items()},
        batch=given.batch,
        shards_lost=lost,
        kills=given.kills,
    )


def asked(rows: Path, model: Any, tokenizer: Any, limit: int, tokens: int) -> list[list[dict[str, str]]]:
    """The first conversations of the split that leave room for an answer, without their last one."""
    uses = [rows / use / f"{side}.parquet" for side in ("valid", "train") for use in ("prompts", "sft")]
    turns = [row["messages"][:-1] for row in islice(read([path for path in uses if path.exists()]), 4 * limit)]
    ids = template.encode(tokenizer, turns, reply=True)
    return [one for one, (found, _) in zip(turns, ids, strict=True) if len(found) + tokens <= context_of(model)][:limit]


def speed(
    job: dict[str, Any], model: Any, tokenizer: Any, turns: list[list[dict[str, str]]], folder: Path, alone: int, repeats: int
) -> tuple[dict[str, float], dict[str, float]]:
    """Each way's answers a second, and its processor seconds an answer. Loading the model counts for the batches, as in the stage."""
    ids = [found for found, _ in template.encode(tokenizer, turns, reply=True)]
    some = sorted(ids, key=len)[:: max(1, len(ids) // alone)]  # of every length, so that their mean stands for all
    sampling = Sampling(job["max_new_tokens"], job["temperatures"][0], job["top_p"])
    encoder = int(model.config.is_encoder_decoder)  # whose answer follows a token that begins it, instead of the prompt
    wall, busy = dict.fromkeys(WAYS, math.inf), dict.fromkeys(WAYS, math.inf)

    def one_by_one() -> list[str]:
        config = greedy_config(tokenizer, sampling)
        config.update(do_sample=True, temperature=sampling.temperature, top_p=sampling.top_p, top_k=0)
        ends = []
        for seed, one in enumerate(some):
            asked = torch.tensor([one], device=model.device)
            torch.manual_seed(seed)
            with torch.inference_mode(), threads(model, 1):
                made = model.generate(asked, attention_mask=torch.ones_like(asked), generation_config=config)[0]
            ends.append(Answer.of(tokenizer, made[0 if encoder else len(one) :].tolist()[encoder:], config.eos_token_id).end)
        return ends

    def in_batches() -> list[str]:
        out = Path(tempfile.mkdtemp(dir=folder))
        with contextlib.redirect_stdout(io.StringIO()):
            generate.generate(job | {"out": str(out)})
        return [json.loads(line)["end"] for path in finished(out) for line in path.open(encoding="utf-8")]

    ends: list[str] = []
    for _ in range(repeats):
        for way, work in zip(WAYS, (one_by_one, in_batches), strict=True):
            started, used = time.perf_counter(), time.process_time()
            ends = work()
            wall[way] = min(wall[way], (time.perf_counter() - started) / len(ends))
            busy[way] = min(busy[way], (time.process_time() - used) / len(ends))
    stopped = sum(end == "stop" for end in ends) / len(ends)
    print(
        f"{model.num_parameters() / 1e6:.1f} M parameters, {model.dtype}; {len(ids)} prompts, {stopped:.0%} of the answers end by themselves"
    )
    for way in WAYS:
        print(f"{way:<12} {1 / wall[way]:8.2f} answers/s, {1e3 * busy[way]:8.1f} ms of processor an answer", flush=True)
    return {way: 1 / seconds for way, seconds in wall.items()}, busy


def kills(job: dict[str, Any], folder: Path, wanted: int) -> tuple[int, int, bool]:
    """(shards lost, shards reported, whether all answers are those of a straight run)."""
    straight, out = folder / "straight", folder / "killed"
    with contextlib.redirect_stdout(io.StringIO()):
        generate.generate(job | {"out": str(straight)})
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
                event = json.loads(line)
                told = event["done"] // (SHARD * job["batch"]) if event["event"] == "progress" else told
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
