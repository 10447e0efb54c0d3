"""The training engine on small presets as a program that stays at a step: `HANLIN_STAY_AT=3 python -m tests.staying job.json`.

After so many steps of its own it reports them and goes no further until a signal says that it should stop. So a test that kills or stops it
there need not be quick: the engine has not come to its end meanwhile, however fast it is and whatever else the machine does. At 0 it stays at
none.
"""

from __future__ import annotations

import itertools
import os
import sys
import time
from collections.abc import Callable
from typing import Any

from models import train
from tests import small

true_run = train.run


def run(job: Any, emit: Callable[..., None], stopping: Callable[[], bool]) -> Any:
    """As the engine's, which asks `stopping` once after each step."""
    steps, at = itertools.count(1), int(os.environ["HANLIN_STAY_AT"])
    if at:
        emit("log", text="stays", pid=os.getpid())

    def stay() -> bool:
        if next(steps) == at:
            emit("progress", done=at, total=at, unit="step", figures={})
            while not stopping():
                time.sleep(0.01)
        return stopping()

    return true_run(job, emit, stay)


if __name__ == "__main__":
    train.run = run
    with small.known(small.SMALL):
        sys.exit(train.main())
