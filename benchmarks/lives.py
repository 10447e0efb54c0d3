"""Runs of the training engine as processes that can be made to die: forked from one that has imported torch, which takes longer than a
small run does. What each says goes to `<home>/said`, what it costs to `<home>/cpu`.
"""

from __future__ import annotations

import hashlib
import json
import multiprocessing
import os
import signal
import socket
import sys
import time
from collections import defaultdict
from pathlib import Path
from typing import Any


def live(home: Path, death: str = "", *, watch: str = "", processes: int = 1) -> None:
    """One life of the run that `<home>/job.json` describes: to its end, or to its death at "step.micro-step" (from 0).

    With `watch`, `<watch>.<rank>` gets a line of step and digest for each row that is read.
    """
    os.environ |= {
        "OMP_NUM_THREADS": os.environ.get("OMP_NUM_THREADS", "1"),
        "HF_HUB_OFFLINE": "1",
        "TRANSFORMERS_VERBOSITY": "error",
    }
    multiprocessing.set_forkserver_preload(["models.methods.sft", "models.methods.dpo", "models.trl_trainers"])
    spawn = multiprocessing.get_context("forkserver").Process
    world = {"WORLD_SIZE": str(processes), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(_free_port())} if processes > 1 else {}
    ranks = [world | {"RANK": str(rank), "LOCAL_RANK": str(rank)} if world else {} for rank in range(processes)]
    lives = [spawn(target=_live, args=(home, death, watch, rank)) for rank in ranks]
    for life in lives:
        life.start()
    for life in lives:
        life.join()
        if life.exitcode != (-signal.SIGKILL if death else 0):
            said = (home / "said").read_text("utf-8")[-3000:]
            raise SystemExit(f"{home} ended with {life.exitcode}; death: {death or 'none'}\n{said}")


def log(home: Path) -> list[dict[str, Any]]:
    """The published log of a run."""
    return [json.loads(line) for line in (home / "out" / "log.jsonl").read_text("utf-8").splitlines()]


def result(home: Path) -> dict[str, Any]:
    """The result event of a run that has ended."""
    return next(
        event for line in (home / "said").read_text("utf-8").splitlines() if (event := _event(line)).get("event") == "result"
    )


def cpu(home: Path) -> float:
    """Processor seconds of a run's last life, imports left out."""
    return float((home / "cpu").read_text("utf-8").split()[-1])


def _event(line: str) -> dict[str, Any]:
    return json.loads(line) if line.startswith('{"event"') else {}


def _free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


def _live(home: Path, death: str, watch: str, environment: dict[str, str]) -> None:
    from transformers import Trainer

    from models import train as engine

    os.environ.update(environment)
    said = os.open(home / "said", os.O_CREAT | os.O_WRONLY | os.O_APPEND)
    os.dup2(said, 1)
    os.dup2(said, 2)
    train, seen, began = Trainer.training_step, defaultdict(int), time.process_time()

    def watched(self: Any, model: Any, inputs: dict[str, Any], *more: Any) -> Any:
        step = self.state.global_step
        if death == f"{step}.{seen[step]}":
            os.kill(os.getpid(), signal.SIGKILL)
        seen[step] += 1
        if watch:
            with Path(f"{watch}.{os.environ.get('RANK', '0')}").open("a") as file:
                file.writelines(f"{step} {hashlib.sha256(row.numpy().tobytes()).hexdigest()}\n" for row in inputs["input_ids"])
        return train(self, model, inputs, *more)

    Trainer.training_step = watched
    sys.argv[1:] = [str(home / "job.json")]
    code = engine.main()
    with (home / "cpu").open("a") as file:
        file.write(f"{time.process_time() - began}\n")
    sys.exit(code)
