"""The launcher of several training processes, on this machine and on others: `accelerate launch`, with a configuration of ours."""

from __future__ import annotations

import os
from collections.abc import Callable

from tasks.artifacts.digests import ROOT
from tasks.artifacts.stage import Resources

CONFIGS = ROOT / "models" / "launch"
PORT = "29500"  # torch's own choice, where machines must know it beforehand


def effective(resources: Resources, whole: str, log: Callable[[str], None]) -> Resources:
    """The resources in effect: `ddp` instead of `fsdp` where `whole` says why a stage needs whole models. Of one recipe, pretraining may go in
    shards, and DPO does not."""
    if resources.parallel == "fsdp" and whole:
        log(f"resources.parallel: ddp for this stage instead of fsdp, so each process holds the whole model: {whole}")
        return resources.model_copy(update={"parallel": "ddp"})
    return resources


def launch_command(resources: Resources, machine: int = 0) -> list[str]:
    """The arguments that start the processes of a machine, between `python` and a module's name. The first, 0, has the process that reports.

    With `--cpu`, `accelerate launch` starts one process, whatever it is told; without it, as many as it is told, and the training process says
    which device they train on.
    """
    arguments = ["-m", "accelerate.commands.launch", "--config_file", str(CONFIGS / f"{resources.parallel}.yaml")]
    arguments += ["--num_processes", str(resources.processes), "--num_machines", str(resources.machines)]
    port = "0"  # a free one
    if resources.machines > 1:
        host, _, port = resources.meet.rpartition(":")
        host, port = host or os.environ["MASTER_ADDR"], port or os.environ.get("MASTER_PORT", PORT)
        arguments += ["--machine_rank", str(machine), "--main_process_ip", host]
    return [*arguments, "--main_process_port", port, "--module"]
