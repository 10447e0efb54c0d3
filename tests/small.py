"""Small presets: the smallest ones of recipes, made smaller still, for trainings in which the size of the model is not what is tested.

A step of the optimiser on the presets themselves takes most of the time of a test. The names stay, and so do the kinds of layers.
"""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

from models import presets
from models.architectures import Architecture

SIZES = {
    "tiny": {"hidden": 96, "ffn": 192, "layers": 2},
    "tiny-moe": {"hidden": 96, "ffn": 96, "layers": 2, "expert_ffn": 80},
    "retnet-tiny": {"hidden": 96, "ffn": 192, "layers": 2},
    "t5-tiny": {"hidden": 128, "ffn": 256, "layers": 2, "heads": 2},
}


TRUE = {
    name: preset
    for module in presets.BUILT_IN
    for name, preset in importlib.import_module(module).PRESETS.items()
    if name in SIZES
}
SMALL = {name: replace(preset, **SIZES[name]) for name, preset in TRUE.items()}


@contextmanager
def known(instead: dict[str, Architecture]) -> Iterator[None]:
    """These presets in this process by their names, while in the `with` block."""
    registry = presets.registry().presets
    before = {name: registry[name] for name in instead}
    registry.update(instead)
    try:
        yield
    finally:
        presets.registry().presets.update(before)
