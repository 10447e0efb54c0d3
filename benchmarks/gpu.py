"""What a GPU does with Hanlin, in at most eight minutes: written once, for the day on which there is one.

- `mfu`: model FLOP utilisation (benchmarks/mfu.py) of pretraining `92m` and `210m`, compiled and not, and of a bare loop; peak memory
- `retnet`: tokens a second of RetNet chunkwise, of the Llama of its size, and of flash-linear-attention's RetNet where that is installed
- `chain`: seconds of SFT, of rejected answers and of DPO of the first preset, as the stages of the recipe `tiny` on its data
- `fsdp`: a bare loop whose layers are sharded (FSDP2), on one device, beside one that is not

Each part is a forked process with a time limit of its own, so that a failure or a hang costs that part alone: it is written down, and the
others go on. `--toy` rehearses all of it on a CPU at a size of seconds, but for the compiler and, without `--chain`, the chain. All figures go
into `--out`. The bar is that every part has a figure.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import multiprocessing
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch

from benchmarks.bench import close, playground, stages, timed
from benchmarks.mfu import name_of, operations, peak
from benchmarks.retnet import pace, training
from benchmarks.throughput import WARM, Setting, take_turns
from models import losses, presets
from models.loading import device_of, has_bf16

WHOLE = 480.0  # seconds in all
Figures = dict[str, Any]


@dataclass(frozen=True)
class Size:
    """How much is measured."""

    device: str
    presets: tuple[str, ...]
    pair: tuple[str, str]  # a RetNet, and the Llama of its size
    lengths: tuple[int, ...]
    context: int
    batch: int
    vocabulary: int
    steps: int
    compiler: bool
    patience: float  # times the time limits


FULL = Size("cuda", ("92m", "210m"), ("retnet-300m", "440m"), (2048, 8192), 1024, 32, 64_798, 8, True, 1)
TOY = Size("cpu", ("tiny",), ("retnet-tiny", "tiny"), (32, 64), 32, 2, 64, 1, False, 30)


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--toy", action="store_true", help="a rehearsal on the CPU")
    options.add_argument("--chain", action=argparse.BooleanOptionalAction, help="with or without the stages after pretraining")
    options.add_argument("--out", type=Path, default=Path("gpu.json"), help="file of all figures")
    given = options.parse_args()
    size = TOY if given.toy else FULL
    works = parts(size, not given.toy if given.chain is None else given.chain)
    started = time.monotonic()
    figures = {}
    for name, (limit, work) in works.items():
        left = WHOLE * size.patience - (time.monotonic() - started)
        figures[name] = (
            within(min(limit * size.patience, left), work) if left > 1 else {"failure": f"no time was left of {WHOLE:.0f} s"}
        )
        print(f"{name}: {json.dumps(figures[name])}", flush=True)
        given.out.write_text(json.dumps(figures, indent=1), "utf-8")
    failed = [name for name, one in figures.items() if "failure" in one]
    seconds = round(time.monotonic() - started)
    close(
        "gpu",
        len(figures) - len(failed),
        f"of {len(figures)} parts in {seconds} s",
        "all",
        not failed,
        failed=failed,
        figures=figures,
    )


def parts(size: Size, chain: bool) -> dict[str, tuple[float, Callable[[], Figures]]]:
    """Name → time limit in seconds, and what is measured; the most wanted first."""
    found: dict[str, tuple[float, Callable[[], Figures]]] = {}
    for preset in size.presets:
        found[f"mfu {preset}"] = 45, partial(utilisation, size, preset, False)
        found[f"mfu {preset} compiled"] = 90, partial(utilisation, size, preset, True)
    for length in size.lengths:
        found[f"retnet at {length}"] = 45, partial(retnet, size, length)
    found["fsdp"] = 45, lambda: fsdp(size)
    if chain:
        found["chain"] = 150, lambda: tuning(size)
    return found


def within(limit: float, work: Callable[[], Figures]) -> Figures:
    """What a forked process found within so many seconds; else `failure`, in words."""
    forks = multiprocessing.get_context("fork")
    ours, theirs = forks.Pipe(duplex=False)
    process = forks.Process(target=_tell, args=(theirs, work), daemon=False)
    process.start()
    theirs.close()
    try:
        figures: Figures = ours.recv() if ours.poll(limit) else {"failure": f"not done within {limit:.0f} s"}
    except EOFError:
        process.join()
        figures = {"failure": f"ended with exit code {process.exitcode}"}
    process.kill()
    process.join()
    return figures


def _tell(line: Any, work: Callable[[], Figures]) -> None:
    try:
        line.send(work())
    except BaseException as failure:
        line.send({"failure": f"{type(failure).__name__}: {failure}", "where": traceback.format_exc()[-2000:]})


def memory(device: torch.device) -> float | None:
    """The most GiB that this process held on the device."""
    return round(torch.cuda.max_memory_allocated() / 2**30, 2) if device.type == "cuda" else None


def utilisation(size: Size, preset: str, compiled: bool) -> Figures:
    """Tokens a second and MFU of our loop and of a bare one, in turns."""
    device = device_of(size.device)
    with playground() as home:
        steps = WARM + size.steps
        setting = Setting(home, preset, size.context, size.batch, size.vocabulary, steps + 1, device)
        setting.resources = {"compile": compiled and size.compiler}
        took = take_turns({"hanlin": setting.ours, "bare": setting.bare}, steps, device)
    top, source = peak(device)
    figures: Figures = {"memory_gib": memory(device), "device": name_of(device), "peak": f"{top:.3g}, {source}"}
    for name, (wall, _) in took.items():
        speed = size.batch * size.context / wall
        figures[name] = {
            "tokens_per_second": round(speed),
            "mfu": speed * operations(preset, size.vocabulary, size.context) / top,
        }
    return figures | {"ratio": round(took["bare"][0] / took["hanlin"][0], 3)}


def retnet(size: Size, length: int) -> Figures:
    """Tokens a second of training steps on one sequence."""
    device = device_of(size.device)
    works = {preset: training(preset, length, device) for preset in size.pair}
    if importlib.util.find_spec("fla"):
        works["flash-linear-attention"] = flash(size, length, device)
    figures: Figures = {} if "flash-linear-attention" in works else {"flash-linear-attention": "not installed"}
    for name, work in works.items():
        seconds = min(pace(work, device)[0] for _ in range(2 + size.steps))  # the first makes ready
        figures[name] = round(length / seconds)
    return figures | {"memory_gib": memory(device)}


def flash(size: Size, length: int, device: torch.device) -> Callable[[], Any]:
    """A training step of flash-linear-attention's RetNet with the sizes of ours."""
    from fla.models import RetNetConfig, RetNetForCausalLM

    ours = presets.build(size.pair[0], 3000, length)
    same = {name: getattr(ours, name) for name in ("vocab_size", "hidden_size", "num_hidden_layers", "intermediate_size")}
    net = RetNetForCausalLM(RetNetConfig(num_heads=ours.num_attention_heads, **same)).to(device, torch.bfloat16)
    ids = torch.randint(0, 3000, (1, length), device=device)

    def work() -> None:
        net(input_ids=ids, labels=ids).loss.backward()
        net.zero_grad()

    return work


def fsdp(size: Size) -> Figures:
    """Tokens a second of a bare loop with sharded layers beside one without, one process."""
    import torch.distributed as dist
    from torch.distributed.fsdp import fully_shard
    from transformers import AutoModelForCausalLM

    device = device_of(size.device)
    backend = "nccl" if device.type == "cuda" else "gloo"
    dist.init_process_group(backend, store=dist.HashStore(), rank=0, world_size=1)
    figures: Figures = {}
    for name in ("whole", "sharded"):
        net = AutoModelForCausalLM.from_config(presets.build(size.presets[0], size.vocabulary, size.context)).to(device)
        losses.fuse(net)
        if name == "sharded":
            mesh = dist.device_mesh.init_device_mesh(device.type, (1,))
            for layer in net.model.layers:
                fully_shard(layer, mesh=mesh)
            fully_shard(net, mesh=mesh)
        optimiser = torch.optim.AdamW(net.parameters(), lr=1e-3)
        ids = torch.randint(4, size.vocabulary, (size.batch, size.context), device=device)

        def step(net: Any = net, optimiser: Any = optimiser, ids: torch.Tensor = ids) -> None:
            with torch.autocast(device.type, torch.bfloat16, enabled=has_bf16(device)):
                net(input_ids=ids, labels=ids).backward()
            optimiser.step()
            optimiser.zero_grad()

        seconds = min(pace(step, device)[0] for _ in range(WARM + size.steps))
        figures[name] = {"tokens_per_second": round(ids.numel() / seconds), "memory_gib": memory(device)}
    dist.destroy_process_group()
    return figures


def tuning(size: Size) -> Figures:
    """Seconds of each stage after pretraining, and of each of their steps."""
    from tasks.artifacts.store import Store

    with playground() as home:
        changed = [f"pretrain.preset={size.presets[0]}", f"resources.device={size.device}"]
        seconds, made = timed(stages, home / "store", "tiny", *changed, until="dpo")
        figures: Figures = {"all_seconds": round(seconds, 1)}
        for name in ("pretrain", "sft", "rejected", "dpo"):
            record = Store(home / "store").record(made[name].name)
            assert record is not None
            figures[name] = {"seconds": record.made["seconds"], "seconds_per_step": record.stats.get("seconds_per_step")}
            if name == "rejected":
                answers = sum(source["in"] for source in record.stats["funnel"].values())
                figures[name] |= {"answers": answers, "memory_mb": record.made.get("peak_memory_mb")}
    return figures


if __name__ == "__main__":
    main()
