"""The number of threads of a step of a model on a CPU."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import torch
from transformers import PreTrainedModel

SHARED = 1e9  # arithmetic of one step (operations) from which several threads are worth it


@contextlib.contextmanager
def threads(model: PreTrainedModel, rows: int) -> Iterator[None]:
    """A context of one thread where a step is too small to share.

    Its threads would wait for one another longer than they compute, and, where another program wants a core, ten times longer (measured on
    two cores: 4 M parameters, 32 rows, 1,250 tokens/s on one thread, 190 on two).
    """
    before = torch.get_num_threads()
    if model.device.type == "cpu" and 2 * rows * model.num_parameters() < SHARED:
        torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)
