"""Interrupted = straight: `kill -9` of the training engine at random micro-steps, and the rest of the run as if nothing had happened.

For each kind of run one goes straight through; another dies five times, in the first pass over its data and in later ones, most of them
with some of a step's gradients summed up and the others still to come. Each life is a process of its own that runs `models.train` on the
same job file, and kills itself before the micro-step it was told. What is published must be the same bytes: losses, model, adapters,
configurations.

Then the same global batch on one process and on two: the same rows at every step, and losses within 1e-5. Both read micro-batches of the
same size, so that the same sums are rounded.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import random
import shutil
from pathlib import Path
from typing import Any

from benchmarks.bench import close, playground
from benchmarks.lives import live, log

KILLS, FIRST = 5, 2  # of which so many in the first pass
BATCH, MICRO = 8, 2  # rows of a step and of a micro-step
STEPS = 40
CLOSE = 1e-5  # the bar between one process and two
LORA = {"rank": 4, "modules": ["q_proj", "v_proj", "down_proj"]}
# kind → stage, parameters
KINDS: dict[str, tuple[str, dict[str, Any]]] = {
    "llama": ("pretrain", {"preset": "tiny"}),
    "moe": ("pretrain", {"preset": "tiny-moe"}),
    "retnet": ("pretrain", {"preset": "retnet-tiny"}),
    "t5": ("pretrain", {"preset": "t5-tiny", "learning_rate": 0.003}),
    "sft": ("sft", {}),
    "lora": ("sft", {"lora": LORA}),
    "dpo": ("dpo", {}),
}
CONTEXT = 32
PRETRAINING = {"context": CONTEXT, "learning_rate": 0.01}
DOCUMENTS, ROWS = 60, 90  # so few that 40 steps are several passes


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--kinds", nargs="*", default=list(KINDS), choices=list(KINDS))
    options.add_argument("--seed", type=int, default=1)
    options.add_argument(
        "--one-and-two", action=argparse.BooleanOptionalAction, default=True, help="compare one process with two"
    )
    given = options.parse_args()
    with playground() as home:
        folders = corpus(home)
        equal = {}
        for kind in given.kinds:
            straight = job(kind, home / kind / "straight", folders)
            live(straight)
            plan = deaths(kind, given.seed, folders)
            killed = job(kind, home / kind / "killed", folders)
            for step, micro in plan:
                live(killed, f"{step}.{micro}")
            live(killed)
            equal[kind] = fingerprint(straight) == fingerprint(killed)
            losses = [row["loss"] for row in log(straight) if "loss" in row]
            same = sum(a == b for a, b in zip(losses, (row["loss"] for row in log(killed) if "loss" in row), strict=True))
            told = ", ".join(f"{step} ({micro} of {BATCH // MICRO} pieces in)" for step, micro in plan)
            print(f"{kind}: died in steps {told}; {same} of {len(losses)} losses equal, published files "
                  f"{'equal' if equal[kind] else 'DIFFERENT'}", flush=True)  # fmt: skip
            shutil.rmtree(home / kind)
        more = one_and_two(home, folders) if given.one_and_two else {}
    ok = all(equal.values()) and len(equal) == len(KINDS) and more.get("same_order", False) and more["apart"] <= CLOSE
    close(
        "resume",
        sum(equal.values()),
        f"of {len(KINDS)} kinds of runs with {KILLS} kills as without",
        f"all, to the last byte; one process and two: the same rows, losses within {CLOSE:g}",
        ok,
        **more,
    )


# jobs


def corpus(home: Path) -> dict[str, Path]:
    """Folders by role: the invented corpus of the tests, and a little model to tune."""
    from tasks import pack_pairs
    from tasks.artifacts.stage import Job
    from tests import corpus, tiny

    found = dict(corpus.build(home / "corpus", DOCUMENTS, ROWS))
    shutil.copytree(found["rows"] / "sft", home / "pairs" / "text2text")
    packed = Job(out=home / "packed-pairs", scratch=home / "scratch-pairs")
    pack_pairs.run(packed, pack_pairs.Params(), rows=home / "pairs", tokenizer=found["tokenizer"])
    found["packed-pairs"] = packed.out
    return found | {"model": tiny.llama(home / "base", found["tokenizer"]) / "model"}


def job(kind: str, home: Path, folders: dict[str, Path], **changed: Any) -> Path:
    """The home of a run, with its job file and, for DPO, its reference; `changed` resources."""
    from tasks import dpo, pretrain, sft
    from tasks.artifacts.stage import Job, Resources
    from tasks.processes.training import description

    stage, asked = KINDS[kind]
    every = {"log_steps": 1, "eval_steps": 25}
    if stage == "pretrain":
        row = CONTEXT if kind != "t5" else round(row_tokens(folders["packed-pairs"])) + 1
        tokens = {"tokens": STEPS * BATCH * row, "batch_tokens": BATCH * row}
        params: Any = pretrain.Params(**every | PRETRAINING | tokens | asked)
        inputs = {"packed": folders["packed-pairs" if kind == "t5" else "packed"], "tokenizer": folders["tokenizer"]}
    else:
        passes = STEPS * BATCH / ROWS
        params = {"sft": sft.Params, "dpo": dpo.Params}[stage](
            **every, epochs=passes, batch_size=BATCH, learning_rate=0.002, **asked
        )
        inputs = {"model": folders["model"]} | ({"rows": folders["rows"]} if stage == "sft" else {"pairs": folders["pairs"]})
    resources = Resources(**{"device": "cpu", "threads": 1, "micro_batch": MICRO, "checkpoint_steps": 4} | changed)

    def write(name: str, out: Path) -> None:
        place = Job(out=out, scratch=home / "scratch", resources=resources)
        described = description(name, f"models.methods.{name}", place, params, shards=name in ("pretrain", "sft"), **inputs)
        (home / "job.json").write_text(json.dumps(described), "utf-8")

    if stage == "dpo":
        write("reference", home / "reference")
        live(home)
        inputs["reference"] = home / "reference"
    write(stage, home / "out")
    return home


def row_tokens(packed: Path) -> float:
    from models.dataset import PairDataset

    return float(PairDataset(packed, "train", CONTEXT).lengths.mean())


def deaths(kind: str, seed: int, folders: dict[str, Path]) -> list[tuple[int, int]]:
    """(step under way, micro-steps of it that are done), in order: at least three with some done and some not."""
    from models.dataset import PairDataset, WindowDataset

    rows = ROWS
    if KINDS[kind][0] == "pretrain":
        rows = len(
            PairDataset(folders["packed-pairs"], "train", CONTEXT)
            if kind == "t5"
            else WindowDataset(folders["packed"], "train", CONTEXT)
        )
    dice, first = random.Random(f"{kind} {seed}"), rows // BATCH
    assert 2 * FIRST < first < STEPS - KILLS, "the run has no later pass"
    steps = sorted(dice.sample(range(2, first), FIRST) + dice.sample(range(first, STEPS - 1), KILLS - FIRST))
    pieces = [dice.randrange(1, BATCH // MICRO) for _ in range(3)] + [dice.randrange(BATCH // MICRO) for _ in range(KILLS - 3)]
    dice.shuffle(pieces)
    return list(zip(steps, pieces, strict=True))


# what became of them


def fingerprint(home: Path) -> dict[str, str]:
    """Digest of each published file."""
    paths = sorted(path for path in (home / "out").rglob("*") if path.is_file())
    return {str(path.relative_to(home)): hashlib.sha256(path.read_bytes()).hexdigest() for path in paths}


def one_and_two(home: Path, folders: dict[str, Path]) -> dict[str, Any]:
    """The same run on one process and on two, and on one with another micro-batch: what rounding alone does. Of a dense model and of experts,
    whose balance is counted, too."""
    same, furthest = True, {"two": 0.0, "whole": 0.0}
    for kind in ("llama", "moe"):
        found, rows = {}, {}
        for name, processes, micro in (("one", 1, BATCH // 2), ("two", 2, BATCH // 2), ("whole", 1, BATCH)):
            run = job(kind, home / kind / name, folders, processes=processes, micro_batch=micro)
            live(run, watch=str(run / "rows"), processes=processes)
            found[name] = [row["loss"] for row in log(run) if "loss" in row]
            lines = [line.split() for path in sorted(run.glob("rows.*")) for line in path.read_text().splitlines()]
            rows[name] = {step: sorted(row for at, row in lines if at == step) for step in dict(lines)}
        alike = rows["one"] == rows["two"] and all(len(step) == BATCH for step in rows["one"].values())
        apart = {name: max(abs(a - b) for a, b in zip(found["one"], found[name], strict=True)) for name in furthest}
        print(f"{kind}, one process and two: {'the same' if alike else 'OTHER'} rows at each of {len(found['one'])} steps, losses "
              f"{apart['two']:.1e} apart at most; the whole batch in one piece: {apart['whole']:.1e}", flush=True)  # fmt: skip
        same, furthest = same and alike, {name: max(value, apart[name]) for name, value in furthest.items()}
    return {"same_order": same, "apart": furthest["two"], "apart_in_one_piece": float(f"{furthest['whole']:.1e}")}


if __name__ == "__main__":
    main()
