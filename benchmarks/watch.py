"""The resources that a command and all processes below it take: memory at the peak, wall time, processor time."""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.bench import ROOT


@dataclass(frozen=True)
class Watched:
    peak: float  # GB, over all processes together (PSS)
    seconds: float
    cpu: float  # seconds
    said: dict[str, Any]  # the last line it printed


def watched(module: str, *arguments: object, python: str = sys.executable, every: float = 0.1) -> Watched:
    """Run `python -m module arguments`, which may print a line of JSON at the end. Memory is looked at `every` so many seconds."""
    before, started = resource.getrusage(resource.RUSAGE_CHILDREN), time.monotonic()
    command = [python, "-m", module, *map(str, arguments)]
    env = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    peak = 0
    with tempfile.TemporaryFile("w+") as out, tempfile.TemporaryFile("w+") as err:
        child = subprocess.Popen(command, cwd=ROOT, env=env, stdout=out, stderr=err, text=True)
        while child.poll() is None:
            peak = max(peak, sum(map(pss, family(child.pid))))
            time.sleep(every)
        said, complained = (file.seek(0) or file.read() for file in (out, err))
    if child.returncode:
        raise SystemExit(f"{' '.join(command)} ended with {child.returncode}\n{said}\n{complained}")
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return Watched(
        peak / 1e9,
        time.monotonic() - started,
        cpu,
        json.loads(last) if (last := said.strip().rpartition("\n")[2]).startswith("{") else {},
    )


def say(**facts: Any) -> None:
    """The closing line of a child of a benchmark."""
    print(json.dumps(facts, ensure_ascii=False), flush=True)


def family(parent: int) -> list[int]:
    """A process and all below it."""
    found = [parent]
    for pid in found:
        try:
            for thread in Path(f"/proc/{pid}/task").iterdir():
                found += map(int, (thread / "children").read_text().split())
        except OSError:  # it has ended
            continue
    return found


def pss(pid: int) -> int:
    """Bytes that a process holds, what it shares counted by its share."""
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith("Pss:")), 0)
