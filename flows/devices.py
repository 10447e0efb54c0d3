"""The devices of this machine, looked for without torch, which takes seconds to load."""

from __future__ import annotations

import platform
import sys
from importlib.util import find_spec
from pathlib import Path

DEVICES = ("auto", "cpu", "cuda", "mps")
GPU_FILES = ("/dev/nvidiactl", "/dev/nvidia0", "/dev/kfd", "/dev/dxg", "/dev/nvmap")  # NVIDIA, AMD, Windows, Tegra

USED = 0.35  # share of an accelerator's peak that training of small models gets
PEAKS = {  # operations a second of accelerators, dense bfloat16 (half precision of older ones), as their data sheets have them
    "H200": 9.9e14,
    "H100": 9.9e14,
    "A100": 3.1e14,
    "L40": 1.8e14,
    "4090": 1.65e14,
    "3090": 7.1e13,
    "V100": 1.25e14,
    "T4": 6.5e13,
}
OTHER = 5e13  # of an accelerator that is not named above


def check_device(device: str, numbered: bool = False) -> None:
    """Raise `ValueError` for a name that is no device's, and for one that is certainly not here; cuda:1 is the second of several."""
    kind, _, number = device.partition(":")
    if device not in DEVICES and not (numbered and kind == "cuda" and number.isdecimal()):
        raise ValueError(f"--device {device}: there is no such device; devices: {', '.join(DEVICES)}")
    if missing := missing_device(kind):
        raise ValueError(f"--device {device}: {missing}")


def missing_device(device: str) -> str:
    """The reason why this machine certainly lacks the device of this name, found without torch; empty where it may have it."""
    if device == "cuda" and sys.platform.startswith("linux") and not any(Path(file).exists() for file in GPU_FILES):
        return "this machine has no GPU; set it to auto or cpu, or run on one that has"
    if device == "cuda" and _built_for_cpus():
        return "the torch that is installed here is built for CPUs; install one for GPUs, or set it to cpu"
    if device == "mps" and (sys.platform, platform.machine()) != ("darwin", "arm64"):
        return "this machine is not a Mac with an Apple GPU; set it to auto or cpu"
    return ""


def _built_for_cpus() -> bool:
    """True of a torch without CUDA and without ROCm, by the version file that it is built with."""
    place = find_spec("torch")
    try:
        lines = (Path(place.origin).parent / "version.py").read_text("utf-8") if place and place.origin else ""
    except OSError:
        return False
    return "cuda: Optional[str] = None" in lines and "hip: Optional[str] = None" in lines
