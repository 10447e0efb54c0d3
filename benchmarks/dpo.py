"""DPO: the first loss of a T5 is ln 2, every loss is TRL's, and on the sample corpus the better answers become likelier while what the
models write stays as healthy as it was.

Two whole runs, of a Llama and of a T5, with a larger held-out share than their recipes have, so that a difference can show. Preference
accuracy is that of the implicit reward, as TRL and the DPO paper have it: the share of held-out pairs in which the better answer has become
likelier by more than the worse one, against the half that it is before a step was taken. Beside it, how often the better answer is the likelier
one by itself, before and after, with McNemar's exact test: of a pair whose sides differ in length that says more of the length than of DPO.
Stop rate and repetition are those of greedy answers to all held-out prompts, with the 95 % interval of their change. Losses are compared
on the Llama of the run, after its SFT, on pairs of the run. `--store FOLDER` keeps the runs, so that a second call reuses them.
"""

from __future__ import annotations

import argparse
import json
import math
from pathlib import Path
from typing import Any, get_args

import torch

from benchmarks.bench import close, playground, stages
from models import dataset as data
from models import preference, train
from models.job import read
from models.loading import load
from tasks import dpo
from tasks.artifacts.stage import Job, Resources
from tasks.metrics.health import Bounds
from tasks.metrics.intervals import wilson
from tasks.processes import training

RECIPES = {"Llama": "sample", "T5": "chatlm-t5-0.2b-tiny"}
HELD_OUT = ("split.valid_share=0.15", "evaluate.max_prompts=0", "evaluate.max_pairs=0")
FIRST, SAME = 1e-6, 1e-5  # how far the first loss may be from ln 2, and a loss from TRL's, relatively
KINDS = get_args(dpo.Params.model_fields["loss_type"].annotation)
ALLOWED = Bounds()  # of health
SMOOTHED = ("robust", "exo_pair", "aot", "aot_unpaired")


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--store", type=Path, help="of the runs; empty: one for the length of the benchmark")
    given = options.parse_args()
    with playground() as folder:
        found = {}
        for name, recipe in RECIPES.items():
            made = stages(given.store or folder / "store", recipe, *HELD_OUT, until="evaluate")
            found[name] = compared(name, json.loads((made["evaluate"] / "scores.json").read_text("utf-8")))
            if name == "T5":
                first = first_loss(made, folder / "first")
                print(f"T5, first loss: {first:.9f}, {abs(first - math.log(2)):.1e} from ln 2", flush=True)
            else:
                off = parity(made["sft"] / "model", made["rejected"] / "preferences" / "train.parquet", folder / "trl")
    worst = max(off, key=lambda kind: off[kind])
    print(f"{len(off)} losses against TRL's: {', '.join(f'{kind} {value:.0e}' for kind, value in off.items())}")
    reached = min(one["accuracy"] for one in found.values())
    close(
        "dpo",
        round(100 * reached, 1),
        "% of held-out pairs preferred rightly after DPO, the least of Llama and T5",
        f"above 50 with 95 % confidence, no fewer better answers likelier than before, stop rate at most {100 * ALLOWED.stop:g} points "
        f"lower, repetition at most {100 * ALLOWED.repetition:g} points higher, first loss of T5 ln 2 to {FIRST:g}, "
        f"every loss TRL's to {SAME:g}",
        all(one["ok"] for one in found.values()) and abs(first - math.log(2)) <= FIRST and off[worst] <= SAME,
        runs=found,
        first_loss=first,
        furthest_loss={worst: float(f"{off[worst]:.1e}")},
    )


def compared(name: str, scores: dict[str, Any]) -> dict[str, Any]:
    """The changes that DPO made, printed and as figures."""
    before, after = (scores["models"][model]["preference"] for model in ("sft", "dpo"))
    test = next(one["preference"] for one in scores["comparisons"] if one["after"] == "dpo")
    health = next(one for one in scores["health"] if one["after"] == "dpo")
    shares = [wilson(round(one["accuracy"] * one["n"]), one["n"]) for one in (before, after)]
    told = " → ".join(
        f"{one['accuracy']:.1%} ({low:.1%} to {high:.1%})" for one, (low, high) in zip((before, after), shares, strict=True)
    )
    low, high = wilson(round(test["grew"] * test["n"]), test["n"])
    print(f"{name}: preference accuracy {test['grew']:.1%} ({low:.1%} to {high:.1%}) of {test['n']} held-out pairs")
    print(
        f"{'':<6}better answer likelier in {told} of {after['n']} pairs; {test['won']} won, {test['lost']} lost, p = {test['p']:.2g}"
    )
    for row in health["figures"]:
        interval = f"{row['low']:+.3f} to {row['high']:+.3f}" if row["low"] is not None else "no interval"
        print(
            f"{'':<6}{row['figure']:<22} {row['before']:.3f} → {row['after']:.3f} ({interval}; bound {row['bound']:+.3f}) {row['state']}"
        )
    stop, repetition = (
        next(row for row in health["figures"] if row["figure"] == name) for name in ("answers that end", "repetition")
    )
    return {
        "accuracy": test["grew"],
        "at_least": low,
        "likelier": [before["accuracy"], after["accuracy"]],
        "p": test["p"],
        "pairs": after["n"],
        "prompts": health["n"],
        "stop": moved(stop, worse=-1),
        "repetition": moved(repetition, worse=1),
        "ok": low > 0.5
        and test["won"] >= test["lost"]
        and stop["change"] >= -ALLOWED.stop
        and repetition["change"] <= ALLOWED.repetition,
    }


def moved(row: dict[str, Any], worse: int) -> dict[str, Any]:
    """A health figure and the 95 % interval of its change; `hurt` where all of it lies on the worse side, allowed or not."""
    side = row["low"] if worse > 0 else row["high"]
    return {what: row[what] for what in ("before", "after", "change", "low", "high")} | {
        "hurt": side is not None and worse * side > 0
    }


def first_loss(made: dict[str, Path], home: Path) -> float:
    """The loss of DPO's first step on the run's own pairs, by the stages themselves, without its SFT part."""
    params = dpo.Params(sft_weight=0.0, log_steps=1, batch_size=16, epochs=0.01, max_length=96, precision="float32")
    inputs = {"model": made["sft"] / "model", "pairs": made["rejected"]}
    for stage in ("reference", "dpo"):
        out = home / stage
        job = Job(out=out, scratch=home / "scratch", resources=Resources(device="cpu"))
        described = training.description(stage, f"models.methods.{stage}", job, params, **inputs)
        (home / "job.json").write_text(json.dumps(described), "utf-8")
        train.run(read(home / "job.json"), lambda event, **fields: None)
        inputs["reference"] = out
    log = (home / "dpo" / "log.jsonl").read_text("utf-8").splitlines()
    return next(row["loss"] for row in map(json.loads, log) if "loss" in row)


def parity(model: Path, pairs: Path, home: Path) -> dict[str, float]:
    """Loss → how far ours is from TRL's, relatively."""
    trainer, batch, scores = trl_batch(model, pairs, home)
    return {kind: apart(trainer, batch, scores, kind) for kind in KINDS}


def apart(trainer: Any, batch: dict[str, torch.Tensor], scores: preference.Scores, kind: str) -> float:
    smoothing = 0.1 if kind in SMOOTHED else 0.0
    trainer.loss_types, trainer.loss_weights, trainer.label_smoothing = [kind], [1.0], smoothing
    trainer.model.eval()
    with torch.no_grad():
        theirs = trainer.compute_loss(trainer.model, dict(batch)).item()
    ours = preference.pair_loss(kind, scores, beta=trainer.beta, smoothing=smoothing).mean().item()
    return abs(ours - theirs) / abs(theirs)


def trl_batch(folder: Path, pairs: Path, home: Path) -> tuple[Any, dict[str, torch.Tensor], preference.Scores]:
    """TRL's own trainer on a decoder, a batch of pairs as it collates them, and the same figures worked out row by row. The reference is
    invented: what a loss is made of must differ from it."""
    from trl import DPOConfig, DPOTrainer

    model, tokenizer = load(folder, torch.device("cpu"))
    rows, _ = data.preferences(pairs, tokenizer, 128)
    config = DPOConfig(
        output_dir=str(home), use_cpu=True, bf16=False, gradient_checkpointing=False, report_to=[], max_length=None, beta=0.3,
        precompute_ref_log_probs=True, precompute_ref_batch_size=4,
    )  # fmt: skip

    class Ready(DPOTrainer):
        def _prepare_dataset(self, dataset: Any, *args: Any) -> Any:
            return dataset

        def _precompute_ref_logps(self, dataset: Any, *args: Any) -> Any:
            return dataset

    trainer = Ready(model=model, args=config, train_dataset=rows, processing_class=tokenizer)
    chosen = [rows[number] for number in range(6)]
    sums = {
        side: torch.stack([_answer(model, row["prompt_ids"], row[side]) for row in chosen])
        for side in ("chosen_ids", "rejected_ids")
    }
    noise = torch.randn(2, 6, generator=torch.Generator().manual_seed(1)) * 3
    invented = [value + other for value, other in zip(sums.values(), noise, strict=True)]
    batch = trainer.data_collator(chosen)
    batch |= dict(zip(("ref_chosen_logps", "ref_rejected_logps"), invented, strict=True))
    counts = [torch.tensor([float(len(row[side])) for row in chosen]) for side in sums]
    return trainer, batch, preference.Scores(*sums.values(), *invented, *counts)


def _answer(model: Any, prompt: list[int], answer: list[int]) -> torch.Tensor:
    with torch.no_grad():
        logits = model(input_ids=torch.tensor([prompt + answer])).logits[0, len(prompt) - 1 : -1]
    return -torch.nn.functional.cross_entropy(logits, torch.tensor(answer), reduction="sum")


if __name__ == "__main__":
    main()
