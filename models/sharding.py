"""Training in shards (FSDP2): each process holds a part of every parameter, of its gradient and of its optimizer state.

`accelerate launch` with `models/launch/fsdp.yaml` asks for it. What does not go in shards is refused before anything is trained.
"""

from __future__ import annotations

import os
from typing import Any

import torch
from torch import Tensor
from torch.distributed.tensor import DTensor, distribute_tensor

from models.job import TrainingJob
from models.shardable import unfit


def is_requested() -> bool:
    """True where this process was launched to train in shards."""
    return os.environ.get("ACCELERATE_USE_FSDP", "false") == "true"


def check(job: TrainingJob[Any]) -> None:
    """`ValueError` for a job that cannot be trained in shards."""
    if reason := unfit(job.stage, job.params, job.inputs.get("model"), shards=job.shards):
        raise ValueError(f"resources.parallel: fsdp: {reason}; start it with resources.parallel: ddp")


def enable(trainer: Any) -> None:
    """Make a trainer's accelerator shard, on processors too: accelerate takes the request for GPUs alone.

    Layers compute in autocast, as without shards, and not with weights rounded in advance: the same losses, for more to send.
    """
    from accelerate.state import PartialState
    from accelerate.utils import DistributedType, FullyShardedDataParallelPlugin

    state = trainer.accelerator.state
    if state.distributed_type == DistributedType.MULTI_CPU:
        state.fsdp_plugin = FullyShardedDataParallelPlugin()
        state.distributed_type = DistributedType.FSDP
        PartialState._shared_state["distributed_type"] = DistributedType.FSDP
    assert state.fsdp_plugin.fsdp_version == 2, "models/launch/fsdp.yaml says so"
    state.fsdp_plugin.mixed_precision_policy = None
    trainer.is_fsdp_enabled = True


def autocast(trainer: Any) -> None:
    """Let the model's forward run in the trainer's precision, which accelerate does for whole models alone."""
    if trainer.args.bf16:
        trainer.model.forward = torch.autocast(trainer.args.device.type, torch.bfloat16)(trainer.model.forward)


def is_sharded(model: torch.nn.Module) -> bool:
    """True of a model in shards."""
    return any(isinstance(p, DTensor) for p in model.parameters())


def local(tensor: Tensor) -> Tensor:
    """The part of a tensor that this process holds; all of it where it is in no shards."""
    return tensor.to_local() if isinstance(tensor, DTensor) else tensor


def whole(tensor: Tensor) -> Tensor:
    """A tensor put together from all processes, each of which must ask for it."""
    return tensor.full_tensor() if isinstance(tensor, DTensor) else tensor


def like(p: Tensor, value: Tensor) -> Tensor:
    """A whole tensor on the device of `p`, in shards as `p` is. Nothing is sent: every process has the whole."""
    if isinstance(p, DTensor):
        return distribute_tensor(value.to(p.device_mesh.device_type), p.device_mesh, p.placements, src_data_rank=None)
    return value.to(p.device)
