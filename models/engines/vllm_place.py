"""The place of vLLM: an environment of its own, named by the variable HANLIN_VLLM as its `vllm` command or its Python; without it, a `vllm`
on the PATH."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

VARIABLE = "HANLIN_VLLM"


def vllm_command() -> list[str]:
    """The command that starts vLLM. `ValueError` where there is none."""
    named = os.environ.get(VARIABLE, "")
    found = shutil.which(named or "vllm")
    if not found:
        there = f"{VARIABLE} is {named}, which is no program" if named else f"no vllm is on the PATH, and {VARIABLE} is not set"
        raise ValueError(
            f"{there}; put vLLM into an environment of its own (python -m venv /opt/vllm; /opt/vllm/bin/pip install vllm) and set "
            f"{VARIABLE}=/opt/vllm/bin/vllm"
        )
    return [found, "-m", "vllm.entrypoints.cli.main"] if Path(found).name.startswith("python") else [found]
