"""RetNet's forms: how far apart they are, and how much faster the chunkwise one is, forward and backward.

Agreement: a two-layer model in float32, values, states of all layers and gradients, for sequences and chunks of every kind of length, and
with documents and padding. Speed, at `--length` tokens: the retention of 8 heads of 64 keys and 128 values by itself, which the bar is
for. What it brings to a model is less, since both forms share the matrices around it (three fifths of the time in retnet-tiny): so the
four layers of retnet-tiny and one layer of 512 are printed beside it. Wall time, the best of several interleaved, and CPU time. Tokens a
second of whole training steps (loss included) against the Llama of the same size follow, at `--against` tokens; on a GPU in bfloat16.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from transformers import AutoModelForCausalLM

from benchmarks.bench import close
from models import losses, presets
from models.architectures.retnet import retention
from models.architectures.retnet.configuration import FORMS, RetNetConfig
from models.architectures.retnet.modelling import RetNetForCausalLM, RetNetModel
from models.loading import device_of

CLOSE, FASTER = 1e-5, 4.0  # the bars


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--length", type=int, default=2048)
    options.add_argument("--repeats", type=int, default=5)
    options.add_argument("--threads", type=int, default=2)
    options.add_argument("--against", type=int, nargs="*", default=[2048, 8192])
    options.add_argument("--presets", nargs=2, default=["retnet-tiny", "tiny"])
    options.add_argument("--device", choices=["auto", "cpu", "cuda"], default="auto")
    given = options.parse_args()
    torch.set_num_threads(given.threads)
    device = device_of(given.device)

    apart = {
        what: max(found[what] for found in map(differences, *zip(*CASES, strict=True)))
        for what in ("values", "states", "gradients")
    }
    print(f"apart at most: {', '.join(f'{what} {value:.1e}' for what, value in apart.items())} ({len(CASES)} cases)", flush=True)

    ratios = {}
    for name, work in {"retention": operator, "retnet-tiny": tiny_layers, "layer of 512": wide_layer}.items():
        ratios[name] = compare(
            name, {form: work(form, given.length, device) for form in ("parallel", "chunkwise")}, given.repeats, device
        )
    for length in given.against:
        works = {preset: training(preset, length, device) for preset in given.presets}
        best = {preset: min(pace(work, device) for _ in range(given.repeats)) for preset, work in works.items()}
        print(
            f"{length} tokens, training: "
            + ", ".join(f"{preset} {length / seconds[0]:,.0f} tokens/s" for preset, seconds in best.items())
        )

    figure = ratios["retention"]
    close(
        "retnet",
        round(figure, 2),
        f"× as fast as the parallel form, forward and backward, {given.length} tokens",
        f"≥ {FASTER:g}, and the forms within {CLOSE:g}",
        figure >= FASTER and max(apart.values()) < CLOSE,
        ratios={name: round(ratio, 2) for name, ratio in ratios.items()},
        apart={what: float(f"{value:.1e}") for what, value in apart.items()},
        device=device.type,
    )


# how far apart

# length, tokens of a chunk, whether in documents, whether padded
CASES = [
    (length, chunk, documents, padded)
    for length, chunk in ((1, 8), (2, 8), (7, 8), (8, 8), (9, 8), (53, 8), (53, 64), (64, 1), (100, 7), (257, 16), (257, 100))
    for documents in (False, True)
    for padded in (False, True)
]


def differences(length: int, chunk: int, documents: bool, padded: bool) -> dict[str, float]:
    """The largest difference of any number from the recurrent form's."""
    torch.manual_seed(length)
    config = RetNetConfig(vocab_size=500, hidden_size=64, num_hidden_layers=2, num_attention_heads=4, chunk_size=chunk)
    net = RetNetForCausalLM(config)
    ids = torch.randint(0, 500, (2, length))
    inputs = {"position_ids": torch.arange(length)[None] % 23} if documents else {}
    if padded:
        inputs["attention_mask"] = torch.ones_like(ids)
        inputs["attention_mask"][0, : length // 3] = 0

    def run(form: str) -> dict[str, Tensor]:
        net.config.form = form
        net.zero_grad()
        said = net(ids, use_cache=True, **inputs)
        torch.nn.functional.cross_entropy(said.logits.flatten(0, 1), ids.flatten()).backward()
        gradients = torch.cat([p.grad.flatten() for p in net.parameters() if p.grad is not None])
        states = torch.stack([layer.state for layer in said.past_key_values.layers])
        return {"values": said.logits, "states": states, "gradients": gradients}

    found = {form: run(form) for form in FORMS}
    return {
        what: max((found[form][what] - right).abs().max().item() for form in FORMS) for what, right in found["recurrent"].items()
    }


# how fast


def operator(form: str, length: int, device: torch.device) -> Callable[[], Any]:
    heads, d, e = 8, 64, 128
    q, k, v = (torch.randn(1, heads, length, width, device=device, requires_grad=True) for width in (d, d, e))
    gamma = retention.log_decay(heads, device)

    def work() -> None:
        decay = retention.decays(gamma, length, length if form == "parallel" else 64)
        out, _ = retention.chunkwise(q, k, v, decay)
        out.sum().backward()

    return work


def layers(config: RetNetConfig, length: int, device: torch.device) -> Callable[[], Any]:
    net = RetNetModel(config).to(device)
    vectors = torch.randn(1, length, config.hidden_size, device=device)
    return lambda: net(inputs_embeds=vectors, use_cache=False).last_hidden_state.sum().backward()


def tiny_layers(form: str, length: int, device: torch.device) -> Callable[[], Any]:
    config = presets.build("retnet-tiny", 4)
    config.form = form
    return layers(config, length, device)


def wide_layer(form: str, length: int, device: torch.device) -> Callable[[], Any]:
    sizes = {"vocab_size": 4, "hidden_size": 512, "num_hidden_layers": 1, "num_attention_heads": 8}
    return layers(RetNetConfig(**sizes, form=form), length, device)


def training(preset: str, length: int, device: torch.device) -> Callable[[], Any]:
    net = AutoModelForCausalLM.from_config(presets.build(preset, 3000, length)).to(device)
    losses.fuse(net)
    ids = torch.randint(0, 3000, (1, length), device=device)

    def work() -> None:
        with torch.autocast(device.type, torch.bfloat16, enabled=device.type == "cuda"):
            net(input_ids=ids, labels=ids).backward()
        net.zero_grad()

    return work


def compare(name: str, works: dict[str, Callable[[], Any]], repeats: int, device: torch.device) -> float:
    """The speed of the second work as a multiple of the first's, by the best of interleaved runs."""
    runs: dict[str, list[tuple[float, float]]] = {form: [] for form in works}
    for _ in range(repeats + 1):
        for form, work in works.items():
            runs[form].append(pace(work, device))
    slow, fast = ([min(times) for times in zip(*each[1:], strict=True)] for each in runs.values())  # the first run makes ready
    told = ", ".join(
        f"{form} {wall * 1e3:.0f} ms ({cpu * 1e3:.0f} CPU)" for form, (wall, cpu) in zip(works, (slow, fast), strict=True)
    )
    print(f"{name}: {told}; {slow[0] / fast[0]:.1f}× ({slow[1] / fast[1]:.1f}× by CPU time)", flush=True)
    return slow[0] / fast[0]


def pace(work: Callable[[], Any], device: torch.device) -> tuple[float, float]:
    """Seconds of wall and of CPU time."""
    started, busy = time.perf_counter(), time.process_time()
    work()
    if device.type == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter() - started, time.process_time() - busy


if __name__ == "__main__":
    main()
