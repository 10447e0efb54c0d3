"""Compute to a loss: how many of the tokens that the Tiny LLM recipe takes our default needs for the same validation loss.

A decoder of 4.9 million parameters (`tiny` with 8,192 tokens) on one corpus: real Chinese web pages and encyclopaedias where
HANLIN_REAL_DATA names their folder, else the sample corpus. Theirs: AdamW at 3e-4, warm-up 0.05, cosine, weight decay 0.01, on windows that
ignore where documents end. Ours: what somebody gets who writes the preset and the data, with nothing else said but how many tokens.

A rate that falls to zero makes losses along the way no measure of anything, so each figure is the end of a run planned to end there: theirs at
all of the tokens, ours at a half and a quarter of them. The tokens needed are interpolated between these on a logarithmic scale. Both have our
batch (theirs would be no step at all: 262,144 tokens), the same first weights and the same windows of validation. Their model is judged as
it was trained, with documents that see each other, which it is better at (by 0.06 after 100,000 tokens).

`--home FOLDER` keeps finished runs and checkpoints there: broken off, the benchmark goes on where it was.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import math
import os
import random
import shutil
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.bench import close, playground
from benchmarks.lives import cpu, live, result
from models import presets, scaling

VOCABULARY, CONTEXT = 8192, 256
TINY_LLM = {"optimizer": "adamw", "learning_rate": 3e-4, "schedule": "cosine", "warmup": 0.05, "weight_decay": 0.01}
BAR = 0.5  # of their tokens
# run → share of the tokens, layout of the corpus, parameters beside preset, tokens and seed
PLAN: dict[str, tuple[float, str, dict[str, Any]]] = {
    "theirs": (1.0, "plain", TINY_LLM),
    "ours at a half": (0.5, "packed", {}),
    "ours at a quarter": (0.25, "packed", {}),
}
# format → files of HANLIN_REAL_DATA
FILES = {
    "text": ["pretrain/skypile_*.jsonl", "pretrain/wanjuan_*.jsonl", "pretrain/wikipedia-cn-*.json"],
    "baike": ["qa/563w_baidubaike_sample.json"],
    "wiki": ["wiki/zhwiki-2018-*.xml.bz2"],
}


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--tokens", type=int, default=300_000, help="that the recipe is given")
    options.add_argument("--seeds", type=int, nargs="*", default=[1, 2, 3])
    options.add_argument("--home", type=Path, help="folder that keeps what is done")
    options.add_argument("--together", type=int, default=1, help="runs at a time, of a thread each")
    given = options.parse_args()
    with contextlib.nullcontext(given.home) if given.home else playground() as home:
        corpus = prepare(home / "corpus", given.tokens)
        runs = [
            (home / f"{given.tokens}" / f"seed{seed}", corpus, given.tokens, seed, *run)
            for seed in given.seeds
            for run in PLAN.items()
        ]
        with ThreadPoolExecutor(given.together) as pool:
            done = list(pool.map(lambda run: train(*run), runs))
        found = [compare(seed, dict(zip(PLAN, done[at * len(PLAN) :], strict=False))) for at, seed in enumerate(given.seeds)]
    worst = {name: max(row[name] for row in found) for name in ("tokens", "wall", "cpu")}
    close(
        "compute",
        round(worst["tokens"], 3),
        "of the tokens of AdamW 3e-4 with a cosine and plain packing, for its final loss (the worst seed)",
        f"at most {BAR}, {len(given.seeds)} seeds",
        worst["tokens"] <= BAR and len(found) >= 3,
        tokens=given.tokens,
        **scale(dict(zip(PLAN, done, strict=False))),
        shares=[round(row["tokens"], 3) for row in found],
        at_half=[round(row["at_half"], 3) for row in found],
        theirs=[round(row["theirs"], 3) for row in found],
        wall_ratio=round(worst["wall"], 3),
        cpu_ratio=round(worst["cpu"], 3),
    )


def compare(seed: int, runs: dict[str, dict[str, float]]) -> dict[str, float]:
    """The shares of their tokens and of their time that ours takes."""
    for name, run in runs.items():
        print(f"seed {seed}, {name}: {run['tokens']:,} tokens in {run['steps']} steps of {run['batch']} · {CONTEXT} at {run['learning_rate']:g}; "
              f"validation {run['eval_loss']:.4f}; {1 / run['cpu']:,.0f} tokens a second of processors", flush=True)  # fmt: skip
    theirs, half, quarter = (runs[name] for name in PLAN)
    share = needed(*(run["eval_loss"] for run in (theirs, half, quarter)))
    found = {"tokens": share} | {how: share * half[how] / theirs[how] for how in ("wall", "cpu")}
    print(
        f"seed {seed}: {found['tokens']:.2f} of the tokens, {found['wall']:.2f} of the time, {found['cpu']:.2f} of the processor's",
        flush=True,
    )
    return found | {"at_half": half["eval_loss"], "theirs": theirs["eval_loss"]}


def scale(runs: dict[str, dict[str, float]]) -> dict[str, dict[str, float]]:
    """The length of each run: its steps, and its tokens a parameter that works on them (20 are the best for a compute budget)."""
    body = presets.find("tiny").body()
    return {
        "steps": {name: run["steps"] for name, run in runs.items()},
        "tokens_per_parameter": {name: round(run["tokens"] / body, 3) for name, run in runs.items()},
    }


def _batch(tokens: int) -> int:
    """Sequences a step that ours would take for as many tokens."""
    return scaling.batch_sequences(scaling.compute(presets.find("tiny").body(), tokens), CONTEXT)


def needed(target: float, half: float, quarter: float) -> float:
    """Share of the tokens at which ours ends at `target`, from its ends at a half and a quarter; a quarter where less would do."""
    if half >= quarter:
        return math.inf if target < half else 0.5
    return max(0.25, 0.5 * 2 ** ((half - target) / (quarter - half)))


def train(
    home: Path, corpus: dict[str, Path], tokens: int, seed: int, name: str, plan: tuple[float, str, dict[str, Any]]
) -> dict[str, float]:
    """The engine on a job in a process of its own, unless it has ended before; its result, and seconds a token."""
    from tasks import pretrain
    from tasks.artifacts.stage import Job, Resources
    from tasks.processes.training import description

    home, (share, layout, asked) = home / name.replace(" ", "-"), plan
    batch = {"batch_tokens": CONTEXT * _batch(tokens)} if asked else {}
    if not (home / "done").exists():
        params = {"preset": "tiny", "tokens": round(share * tokens), "seed": seed} | asked | batch
        job = Job(out=home / "out", scratch=home / "scratch", resources=Resources(device="cpu", threads=1, checkpoint_steps=10))
        folders = {"packed": corpus[layout], "tokenizer": corpus["tokenizer"]}
        described = description("pretrain", pretrain.METHOD, job, pretrain.Params(**params), shards=True, **folders)
        (home / "job.json").write_text(json.dumps(described), "utf-8")
        live(home)
        shutil.rmtree(home / "scratch")
        (home / "done").touch()
    said = result(home)
    each = said["tokens"] / said["steps"]
    return said | {"wall": said["seconds_per_step"] / each, "cpu": cpu(home) / (said["steps"] - said["resumed_from"]) / each}


# the corpus


def prepare(home: Path, tokens: int) -> dict[str, Path]:
    """Folders by role: tokenizer, packed, and plain: the same tokens as one endless document."""
    from tasks import pack
    from tasks.artifacts.stage import Job
    from tasks.data.rows import Writer, content, row_id
    from tests import tiny

    folders = {name: home / name for name in ("rows", "tokenizer", "packed", "plain")}
    if not (home / "done").exists():
        texts = sorted({(row["title"] or "", row["text"]) for row in documents(home)})
        random.Random(1).shuffle(texts)
        cut = max(1, len(texts) // 20)
        for side, part in (("valid", texts[:cut]), ("train", texts[cut:])):
            with Writer(folders["rows"] / "pretrain" / f"{side}.parquet", "documents") as writer:
                for title, text in part:
                    row = {"source": "corpus", "title": title, "text": text, "lang": "zh", "meta": "{}"}
                    writer.add({"id": row_id(*content("documents", row)), **row})
        tiny.make_tokenizer(folders["tokenizer"], folders["rows"], vocab_size=VOCABULARY)
        pack.run(Job(folders["packed"], home / "scratch"), pack.Params(), rows=folders["rows"], tokenizer=folders["tokenizer"])
        shutil.copytree(folders["packed"], folders["plain"], dirs_exist_ok=True)
        for side in ("train", "valid"):
            ends = np.load(folders["packed"] / f"{side}.offsets.npy")
            np.save(folders["plain"] / f"{side}.offsets.npy", ends[[0, -1]])
        (home / "done").touch()
    size = json.loads((folders["packed"] / "pack.json").read_text("utf-8"))["splits"]["train"]["tokens"]
    print(f"{size:,} tokens of {os.environ.get('HANLIN_REAL_DATA', 'the sample corpus')}, {tokens / size:.2f} passes", flush=True)
    return folders


def documents(home: Path) -> Iterator[dict[str, Any]]:
    from tasks import sample
    from tasks.data.rows import Drop
    from tasks.formats.registry import reader

    raw, files = os.environ.get("HANLIN_REAL_DATA"), FILES
    if not raw:
        raw, files = str(home / "raw"), {"wiki": ["wiki/*.bz2"]}
        sample.write_corpus(Path(raw), sample.Params(size="20MB"))
    for name, patterns in files.items():
        paths = sorted(path for pattern in patterns for path in Path(raw).glob(pattern))
        if not paths:
            raise SystemExit(f"{raw} has none of {', '.join(patterns)}")
        for path in paths:
            yield from (row for row in reader(name).read(path) if not isinstance(row, Drop))


if __name__ == "__main__":
    main()
