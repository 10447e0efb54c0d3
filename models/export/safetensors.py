"""The folder of `hf` with its weights in small shards, for whoever reads safetensors alone or moves them over a network."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from models.export import hf
from models.export.source import Source

SHARD = 500_000_000  # bytes of a file at most, unless one tensor is larger
reader = hf.reader


def write(source: Source, out: Path, precision: str, note: Callable[[str], None]) -> dict[str, Any]:
    """Write the folder; returns a line that uses it."""
    return hf.write(source, out, precision, note, SHARD) | {"use": "safetensors.torch.load_file(FILE)"}
