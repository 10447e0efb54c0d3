"""A training method of another package, which does what the environment says."""

from __future__ import annotations

import os
from typing import Any

import torch  # noqa: F401  # statements use it

from models.job import PretrainingParams as Params  # noqa: F401  # what every method has


def stated(job: Any, emit: Any, stopping: Any) -> None:
    exec(os.environ["HANLIN_STATEMENT"])
