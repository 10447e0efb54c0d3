"""Training on a machine that is busy: how much slower beside two programs of one thread each than alone, by how OpenMP's threads wait.

The steps of a preset, forward and backward, on all cores, in a process a way, in turns: with OpenMP's default (GNU's here: threads spin at a
barrier), as Hanlin starts its children (a short spin), with threads that sleep at once, and on one thread. On an idle machine, where wall
time is what is asked: elsewhere the other programs slow all of it. The bars are for the children's way: its share beside others, and what it
costs alone. The losses of all ways are compared, since a number of threads that followed the load would have to leave them as they are.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from typing import Any

from benchmarks.bench import ROOT, close, last_json

BESIDE, ALONE = 3.0, 1.02  # the bars: times as slow beside two programs, and as OpenMP's default alone
WARM = 2  # steps that are not counted
CHILDREN = "as children start"
WAYS = {
    "default": {},
    CHILDREN: {"GOMP_SPINCOUNT": "10000"},
    "passive": {"OMP_WAIT_POLICY": "passive"},
    "one thread": {"OMP_NUM_THREADS": "1"},
}


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--preset", default="tiny")
    options.add_argument("--context", type=int, default=128)
    options.add_argument("--batch", type=int, default=16)
    options.add_argument("--steps", type=int, default=10, help="that are counted, each time")
    options.add_argument("--repeats", type=int, default=2)
    options.add_argument("--child", action="store_true", help=argparse.SUPPRESS)
    given = options.parse_args()
    if given.child:
        print(steps(given.preset, given.context, given.batch, given.steps))
        return
    arguments = [f"--{name}={getattr(given, name)}" for name in ("preset", "context", "batch", "steps")]
    alone: dict[str, list[float]] = {way: [] for way in WAYS}
    beside: dict[str, list[float]] = {way: [] for way in WAYS}
    losses: dict[str, str] = {}
    for _ in range(given.repeats):
        for way, env in WAYS.items():
            found = child(env, arguments)
            losses[way] = found["loss"]
            alone[way].append(found["seconds"])
            beside[way].append(child(env, arguments, programs=2)["seconds"])
    best = {way: (min(alone[way]), min(beside[way])) for way in WAYS}
    for way, (quiet, busy) in best.items():
        print(f"{way:<18} {quiet:.3f} s a step alone, {busy:.3f} beside two programs ({busy / quiet:.1f} ×); loss {losses[way]}")
    slower, cost = best[CHILDREN][1] / best[CHILDREN][0], best[CHILDREN][0] / best["default"][0]
    close(
        "busy",
        round(slower, 2),
        "× as slow beside two programs of one thread",
        f"≤ {BESIDE:g}, and alone ≤ {ALONE:g} × OpenMP's default",
        met(slower, cost),
        alone=round(cost, 3),
        seconds={way: [round(one, 4) for one in each] for way, each in best.items()},
        same_losses=len(set(losses.values())) == 1,
    )


def met(slower: float, cost: float) -> bool:
    """True where both bars are met."""
    return slower <= BESIDE and cost <= ALONE


def child(env: dict[str, str], arguments: list[str], programs: int = 0) -> Any:
    """What a process of its own found, with this environment, which OpenMP reads as it is loaded; beside so many programs from when it is
    ready."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(("OMP_", "GOMP_"))}
    command = [sys.executable, "-m", "benchmarks.busy", "--child", *arguments]
    with subprocess.Popen(
        command, cwd=ROOT, env=inherited | env, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdin is not None and process.stdout is not None
        process.stdout.readline()
        with others(programs):
            said, _ = process.communicate("go\n")
    return last_json(said)


@contextlib.contextmanager
def others(count: int) -> Iterator[None]:
    """Other programs that take a core each, for as long as the block lasts."""
    running = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(count)]
    try:
        yield
    finally:
        for program in running:
            program.kill()
            program.wait()


def steps(preset: str, context: int, batch: int, count: int) -> str:
    """Mean seconds of a step, and the last loss to its last digit, as JSON."""
    import json

    import torch
    from transformers import AutoModelForCausalLM

    from models import losses, presets

    torch.manual_seed(1)
    model = AutoModelForCausalLM.from_config(presets.build(preset, 3000, context))
    losses.fuse(model)
    optimiser = torch.optim.AdamW(model.parameters(), lr=1e-3)
    ids = torch.randint(4, 3000, (batch, context))
    started = 0.0
    for number in range(count + WARM):
        if number == WARM:
            print("ready", flush=True)
            sys.stdin.readline()
            started = time.perf_counter()
        loss = model(input_ids=ids, labels=ids) / ids.numel()
        loss.backward()
        optimiser.step()
        optimiser.zero_grad()
    return json.dumps({"seconds": (time.perf_counter() - started) / count, "loss": loss.item().hex()})


if __name__ == "__main__":
    main()
