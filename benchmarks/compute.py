"""Compute to a loss: how many of the tokens that the Tiny LLM recipe takes our default needs for the same validation loss.

A decoder of 4.9 million parameters (`tiny` with 8,192 tokens) on one corpus: real Chinese web pages, encyclopaedia where HANLIN_REAL_DATA
names their folder, else the sample corpus. Theirs: AdamW at 3e-4, warm-up 0.05, cosine, weight decay 0.01, on windows that
ignore where documents end. Ours: what somebody gets who writes the preset and the data, with nothing else said but how many tokens.

A rate that falls to zero makes losses along the way no measure of anything, so each figure is the end of a run planned to end there: theirs at
all of the tokens, ours at a half and a quarter of them. The tokens needed are interpolated between these on a logarithmic scale. Both have our
batch (theirs would be four steps of 262,144 tokens), the same first weights and the same validation documents. Their model is judged with
and without documents that see each other, and the better of the two counts.

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
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.bench import close, playground
from benchmarks.lives import cpu, live, result
from models import presets

VOCABULARY, CONTEXT = 8192, 256
TINY_LLM = {"optimizer": "adamw", "learning_rate": 3e-4, "schedule": "cosine", "warmup": 0.05, "weight_decay": 0.01}
SHARES = (0.5, 0.25)  # of their tokens
BAR = 0.5
VALID = 32_768  # tokens
# format → files of HANLIN_REAL_DATA
FILES = {
    "text": ["pretrain/skypile_*.jsonl", "pretrain/wanjuan_*.jsonl", "pretrain/wikipedia-cn-*.json"],
    "baike": ["qa/563w_baidubaike_sample.json"],
    "wiki": ["wiki/zhwiki-2018-*.xml.bz2"],
}


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--tokens", type=int, default=400_000, help="that the recipe is given")
    options.add_argument("--seeds", type=int, nargs="*", default=[1, 2, 3])
    options.add_argument("--home", type=Path, help="folder that keeps what is done")
    given = options.parse_args()
    with contextlib.nullcontext(given.home) if given.home else playground() as home:
        corpus = prepare(home / "corpus", given.tokens)
        found = [compare(home / f"{given.tokens}" / f"seed{seed}", corpus, given.tokens, seed) for seed in given.seeds]
    worst = {name: max(row[name] for row in found) for name in ("tokens", "wall", "cpu")}
    close(
        "compute",
        round(worst["tokens"], 3),
        "of the tokens of AdamW 3e-4 with a cosine and plain packing, for its final loss (the worst seed)",
        f"at most {BAR}, {len(given.seeds)} seeds",
        worst["tokens"] <= BAR and len(found) >= 3,
        tokens=given.tokens,
        shares=[round(row["tokens"], 3) for row in found],
        at_half=[round(row["at_half"], 3) for row in found],
        theirs=[round(row["theirs"], 3) for row in found],
        wall_ratio=round(worst["wall"], 3),
        cpu_ratio=round(worst["cpu"], 3),
    )


def compare(home: Path, corpus: dict[str, Path], tokens: int, seed: int) -> dict[str, float]:
    """What share of their tokens and time ours takes."""
    plan = {"theirs": (1.0, TINY_LLM, corpus["plain"])} | {
        f"ours at {share:g}": (share, {}, corpus["packed"]) for share in SHARES
    }
    losses, wall, busy = {}, {}, {}
    for name, (share, asked, packed) in plan.items():
        run = home / name.replace(" ", "-")
        batch = {"batch_tokens": CONTEXT * _batch(tokens)} if asked else {}
        said = train(run, packed, corpus["tokenizer"], {"tokens": round(share * tokens), "seed": seed} | asked | batch)
        layouts = [corpus["packed"], packed]
        losses[name] = min(validation(run, layout) for layout in dict.fromkeys(layouts))
        wall[name], busy[name] = said["seconds_per_step"] * said["steps"] / said["tokens"], cpu(run) / said["tokens"]
        print(f"seed {seed}, {name}: {said['tokens']:,} tokens in {said['steps']} steps of {said['batch']} · {CONTEXT} at {said['learning_rate']:g}; "
              f"validation {losses[name]:.4f}, {1 / wall[name]:,.0f} tokens/s", flush=True)  # fmt: skip
    half, quarter = (losses[f"ours at {share:g}"] for share in SHARES)
    share = needed(losses["theirs"], half, quarter)
    speed = {how: each[f"ours at {SHARES[0]:g}"] / each["theirs"] for how, each in (("wall", wall), ("cpu", busy))}
    print(
        f"seed {seed}: {share:.2f} of the tokens, {share * speed['wall']:.2f} of the time, {share * speed['cpu']:.2f} of the processor's",
        flush=True,
    )
    return {"tokens": share, "at_half": half, "theirs": losses["theirs"]} | {how: share * ratio for how, ratio in speed.items()}


def _batch(tokens: int) -> int:
    """Sequences a step that ours would take for as many tokens."""
    return presets.batch_sequences(presets.compute(presets.PRESETS["tiny"].body, tokens), CONTEXT)


def needed(target: float, half: float, quarter: float) -> float:
    """Share of the tokens at which ours ends at `target`, from its ends at a half and a quarter; a quarter where less would do."""
    if half >= quarter:
        return math.inf if target < half else SHARES[0]
    return max(SHARES[1], SHARES[0] * 2 ** ((half - target) / (quarter - half)))


def train(home: Path, packed: Path, tokenizer: Path, params: dict[str, Any]) -> dict[str, Any]:
    """The engine on a job in a process of its own, unless it has ended before; its result."""
    from tasks import pretrain
    from tasks.stage import Resources

    if not (home / "done").exists():
        (home / "out").mkdir(parents=True, exist_ok=True)
        described = {
            "stage": "pretrain",
            "params": pretrain.Params(preset="tiny", **params).model_dump(mode="json"),
            "resources": Resources(device="cpu", threads=1, checkpoint_steps=20).model_dump(mode="json"),
            "inputs": {"packed": str(packed), "tokenizer": str(tokenizer)},
            "out": str(home / "out"),
            "scratch": str(home / "scratch"),
        }
        (home / "job.json").write_text(json.dumps(described), "utf-8")
        live(home)
        shutil.rmtree(home / "scratch")
        (home / "done").touch()
    return result(home)


@torch.no_grad()
def validation(home: Path, packed: Path) -> float:
    """Mean loss of a run's model over the first validation tokens."""
    from transformers import AutoModelForCausalLM

    from models import data, losses

    kept = home / f"loss-{packed.name}"
    if not kept.exists():
        model = AutoModelForCausalLM.from_pretrained(home / "out" / "model").eval()
        losses.fuse(model)
        windows = data.Windows(packed, "valid", CONTEXT)
        rows = range(min(len(windows), VALID // CONTEXT))
        total = sum(model(**data.stack([windows[row]])).item() for row in rows)
        kept.write_text(str(total / ((CONTEXT - 1) * len(rows))))
    return float(kept.read_text())


# the corpus


def prepare(home: Path, tokens: int) -> dict[str, Path]:
    """Folders by role: tokenizer, packed, and plain: the same tokens as one endless document."""
    from tasks import pack
    from tasks.rows import Writer, content, row_id
    from tasks.stage import Job
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
    from tasks.rows import Drop
    from tasks.sources import reader

    raw, files = os.environ.get("HANLIN_REAL_DATA"), FILES
    if not raw:
        raw, files = str(home / "raw"), {"wiki": ["wiki/*.bz2"]}
        sample.write(Path(raw), sample.Params(size="20MB"))
    for name, patterns in files.items():
        paths = sorted(path for pattern in patterns for path in Path(raw).glob(pattern))
        if not paths:
            raise SystemExit(f"{raw} has none of {', '.join(patterns)}")
        for path in paths:
            yield from (row for row in reader(name).read(path) if not isinstance(row, Drop))


if __name__ == "__main__":
    main()
