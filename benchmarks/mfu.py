"""Model FLOP utilisation of pretraining in bfloat16 with compiled layers, Hanlin against a bare loop; and RetNet's tokens a second against
Llama's at 2,048 and 8,192 tokens.

The share of the device's peak that goes into 6 operations a token for each weight that multiplies, head included and embedding not, and
12 · layers · hidden · context for attention (PaLM, https://arxiv.org/abs/2204.02311, appendix B). The peak of known GPUs is their data
sheet's for dense bfloat16; of others, and of a CPU, what a large product reaches here in the same precision, which is no sheet's peak.

On a GPU: `92m` and `210m` with 64,798 tokens, windows of 1,024; `retnet-300m` against `440m`. On a CPU, which is no place for these: `tiny`
and `16m` with 8,192 tokens and windows of 256; `retnet-tiny` against `tiny`. Without fast bfloat16 it is float32. The closing line says which.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import torch

from benchmarks.bench import close, playground
from benchmarks.retnet import pace, training
from benchmarks.throughput import BARE, WARM, Setting, take_turns
from models import presets
from models.loading import device_of, has_bf16

# operations a second, dense bfloat16; the first name found in the device's counts
PEAKS = {
    **{"B200": 2250e12, "H200": 989e12, "H100": 989e12, "A100": 312e12},
    **{"L40S": 362e12, "L4": 121e12, "A10": 125e12, "4090": 165e12, "3090": 71e12},
}
GPU = {"presets": ["92m", "210m"], "pair": ["retnet-300m", "440m"], "context": 1024, "batch": 32, "vocabulary": 64_798}
CPU = {"presets": ["tiny", "16m"], "pair": ["retnet-tiny", "tiny"], "context": 256, "batch": 8, "vocabulary": 8192}


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--device", choices=["auto", "cpu", "cuda"], default="auto")
    options.add_argument("--presets", nargs="*", help="instead of the two")
    options.add_argument("--batch", type=int, help="sequences a step")
    options.add_argument("--steps", type=int, default=10, help="of each that are counted")
    options.add_argument("--lengths", type=int, nargs="*", default=[2048, 8192], help="tokens of RetNet's and Llama's sequences")
    options.add_argument("--compile", action=argparse.BooleanOptionalAction, default=True)
    options.add_argument("--threads", type=int, default=1)
    given = options.parse_args()
    torch.set_num_threads(given.threads)
    device = device_of(given.device)
    on = GPU if device.type == "cuda" else CPU
    top, source = peak(device)
    print(f"{name_of(device)}: {top / 1e12:.3g}e12 operations/s ({source})", flush=True)

    used, ratios = {}, {}
    for preset in given.presets or on["presets"]:
        batch, context, vocabulary = given.batch or on["batch"], on["context"], on["vocabulary"]
        with playground() as home:
            setting = Setting(Path(home), preset, context, batch, vocabulary, WARM + given.steps + 1, device)
            setting.resources = {"compile": given.compile}
            took = take_turns({"Hanlin": setting.ours, "bare loop": setting.bare}, WARM + given.steps, device)
        how = int(device.type == "cpu")  # a busy machine leaves processor time alone
        ratios[preset] = round(took["bare loop"][how] / took["Hanlin"][how], 3)
        for name, each in took.items():
            speed = batch * context / each[how]
            share = speed * operations(preset, vocabulary, context) / top
            print(f"{preset}, {name}: {speed:,.0f} tokens/s, MFU {share:.1%}", flush=True)
            used |= {preset: round(share, 4)} if name == "Hanlin" else {}
    speeds = {}
    for length in given.lengths:
        for preset in on["pair"]:
            work = training(preset, length, device)
            work()
            times = min(pace(work, device) for _ in range(2))
            speeds[f"{preset} at {length}"] = round(length / times[int(device.type == "cpu")])
            print(
                f"{preset} ({presets.find(preset).body() / 1e6:,.0f}M), {length} tokens: {speeds[f'{preset} at {length}']:,} tokens/s",
                flush=True,
            )
    close(
        "mfu",
        min(ratios.values()),
        "× the speed of a bare loop, compiled" if given.compile else "× the speed of a bare loop",
        f"≥ {BARE} where there is a GPU; MFU and tokens/s are for the log",
        min(ratios.values()) >= BARE,
        mfu=used,
        tokens_per_second=speeds,
        device=name_of(device),
        precision="bfloat16" if has_bf16(device) else "float32",
        peak=f"{top:.3g}, {source}",
    )


def operations(preset: str, vocabulary: int, context: int) -> float:
    """Floating-point operations of a training step for each token."""
    size = presets.find(preset)
    return 6 * (size.body() + vocabulary * size.hidden) + 12 * size.layers * size.hidden * context


def peak(device: torch.device) -> tuple[float, str]:
    """Operations a second at most, and who says so."""
    if device.type == "cuda":
        for name, rate in PEAKS.items():
            if name in torch.cuda.get_device_name():
                return rate, "data sheet"
    size = 8192 if device.type == "cuda" else 1024
    a = torch.randn(size, size, device=device, dtype=torch.bfloat16 if has_bf16(device) else torch.float32)
    best = float("inf")
    for _ in range(8):
        wall, cpu = pace(lambda: a @ a, device)
        best = min(best, cpu if device.type == "cpu" else wall)
    return 2 * size**3 / best, f"a product of {size} × {size} here"


def name_of(device: torch.device) -> str:
    return torch.cuda.get_device_name() if device.type == "cuda" else f"cpu, {torch.get_num_threads()} threads"


if __name__ == "__main__":
    main()
