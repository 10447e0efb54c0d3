"""The training process: `python -m models.train job.json`, alone or under `accelerate launch`.

`models/job.py` describes the job file. The process prints JSON lines (`tasks/processes/runner.py` says which); only the first of several
processes prints and saves. SIGTERM ends the run after the step under way, with a checkpoint and exit code 75; started again with the same
job file it goes on as if nothing had happened.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import signal
import sys
import time
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from models.job import Emit, Stats, Stopping, TrainingJob, method_of, read, typed

LOCK_SECONDS = 60  # that an earlier trainer on the same scratch gets to end
STOPPED = 75  # EX_TEMPFAIL: start me again
CUDA_ALLOCATION = 2  # cudaErrorMemoryAllocation
FAILED_ALLOCATIONS = (
    "DefaultCPUAllocator: can't allocate memory",
    "MPS backend out of memory",
    "Triton Error [CUDA]: out of memory",
)  # of torch 2.13 and its Triton, plain RuntimeErrors


def main() -> int:
    """Train as the job file named on the command line says. The exit code: 0, 1 after an error, 75 where the run was stopped."""
    first = os.environ.get("RANK", "0") == "0"
    events = os.fdopen(os.dup(sys.stdout.fileno()), "w", encoding="utf-8")
    sys.stdout = sys.stderr  # whatever a library prints is no event

    def emit(event: str, **fields: Any) -> None:
        """Tell the parent process, if this is the first of several."""
        if first:
            print(json.dumps({"event": event, **fields}, ensure_ascii=False), file=events, flush=True)

    signals: list[int] = []
    try:
        job = read(Path(sys.argv[1]))
        with alone(job.scratch) if first else contextlib.nullcontext():
            quiet(job.scratch)
            signal.signal(signal.SIGTERM, lambda number, frame: signals.append(number))
            result = run(job, emit, lambda: bool(signals))
    except ValueError as mistake:
        emit("error", message=str(mistake))
        return 1
    except (RuntimeError, MemoryError) as failure:
        if not is_out_of_memory(failure):
            raise
        cause = (str(failure) or type(failure).__name__).splitlines()[0]
        emit("error", message=f"out of memory ({cause}); lower resources.micro_batch, which changes nothing but the speed")
        return 1
    if result is None:
        emit("error", message="stopped by a signal, with a checkpoint saved; the same run, started again, goes on from there")
        return STOPPED
    emit("result", **result)
    return 0


def run(job: TrainingJob[dict[str, Any]], emit: Emit, stopping: Stopping = lambda: False) -> Stats | None:
    """Train as a job says and return the statistics; None if it was stopped. `ValueError` is for the user."""
    from transformers import set_seed

    began = time.monotonic()
    method, train = method_of(job)
    described = typed(job, method)
    set_seed(described.params.seed)
    stats = train(described, emit, stopping)
    return stats if stats is None else stats | {"seconds": time.monotonic() - began}


def is_out_of_memory(failure: RuntimeError | MemoryError) -> bool:
    """True of a failed allocation, by its class; by the driver's code, or by the allocator that names itself, where torch raises
    no class of its own. Other errors speak of memory, too: an illegal access to it is no lack of it."""
    import torch

    if isinstance(failure, MemoryError | torch.OutOfMemoryError):
        return True
    if isinstance(failure, torch.AcceleratorError):
        return getattr(failure, "error_code", None) == CUDA_ALLOCATION
    return any(text in str(failure) for text in FAILED_ALLOCATIONS)


@contextlib.contextmanager
def alone(scratch: Path) -> Iterator[None]:
    """Hold the folder's lock, so that an orphan and its successor never write the same checkpoints. `ValueError` after a minute."""
    scratch.mkdir(parents=True, exist_ok=True)
    with (scratch / "trainer.lock").open("a+") as lock:
        deadline = time.monotonic() + LOCK_SECONDS
        while True:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() > deadline:
                    lock.seek(0)
                    holder = lock.read().strip()
                    raise ValueError(
                        f"another trainer (process {holder}) still works in {scratch}; end it, or wait until it is done"
                    ) from None
                time.sleep(0.2)
        lock.truncate(0)
        lock.write(f"{os.getpid()}\n")
        lock.flush()
        yield


def quiet(scratch: Path) -> None:
    """Set the environment before the libraries are imported: no network, no caches in the user's home, no bars and no advice."""
    os.environ.update(
        {
            "HF_HOME": str(scratch / "cache"),
            "HF_HUB_OFFLINE": "1",
            "HF_HUB_DISABLE_TELEMETRY": "1",
            "TRANSFORMERS_VERBOSITY": "error",
            "TRANSFORMERS_NO_ADVISORY_WARNINGS": "1",
            "DATASETS_VERBOSITY": "error",
            "TQDM_DISABLE": "1",
        }
    )
    if "WORLD_SIZE" not in os.environ:  # one process drives one device; several would be wrapped in nn.DataParallel
        os.environ["CUDA_VISIBLE_DEVICES"] = os.environ.get("CUDA_VISIBLE_DEVICES", "0").split(",")[0]
    warnings.filterwarnings("ignore")


if __name__ == "__main__":
    sys.exit(main())
