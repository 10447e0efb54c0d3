"""The start of a child, cold and as a fork of a server that has imported what it needs: processor time of the whole process tree, in turn.

The children import what scoring and what fine-tuning imports, and end. The server's own imports are said beside them: a run pays them once.
"""

from __future__ import annotations

import argparse
import os
import resource
import subprocess
import sys
from pathlib import Path

from benchmarks.bench import close, playground
from tasks.artifacts.stage import Job
from tasks.processes import runner, warm

KINDS = {"scoring": "models.score", "fine-tuning": "models.trl_trainers"}
BAR = 0.1  # of a cold start


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--rounds", type=int, default=3, help="children of each kind, of which the mean is told")
    rounds = options.parse_args().rounds
    took: dict[str, float] = {}
    with playground() as home:
        env = runner._environment(Job(home / "out", home / "scratch"))
        for kind, module in KINDS.items():
            forked(module, env)
            took[f"server, with {kind}"] = before = server_seconds()
            cold = 0.0
            for _ in range(rounds):
                cold += cold_seconds(module, env)
                forked(module, env)
            took[f"{kind}, cold"], took[f"{kind}, warm"] = cold / rounds, (server_seconds() - before) / rounds
    took = {name: round(seconds, 3) for name, seconds in took.items()}
    ratio = max(took[f"{kind}, warm"] / took[f"{kind}, cold"] for kind in KINDS)
    close("warm", round(ratio, 4), "of a cold start", f"at most {BAR}", ratio <= BAR, seconds=took)


def cold_seconds(module: str, env: dict[str, str]) -> float:
    """Processor seconds of a child that begins from nothing, its supervisor's included."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    with runner.supervised([sys.executable, "-m", module], env=env, stdout=subprocess.DEVNULL) as child:
        child.wait()
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def forked(module: str, env: dict[str, str]) -> None:
    """Run a child to its end."""
    child = warm.start(module, [], env=env, grace=runner.GRACE, locks=[])
    assert child is not None, "this machine cannot fork"
    with child:
        child.stdout.read()


def server_seconds() -> float:
    """Processor seconds of the server and of all its children but the last, which it has not taken note of yet."""
    pid = list(warm._servers.values())[-1].process.pid
    fields = Path(f"/proc/{pid}/stat").read_text("utf-8").rsplit(")", 1)[1].split()
    return sum(map(int, fields[11:15])) / os.sysconf("SC_CLK_TCK")


if __name__ == "__main__":
    main()
