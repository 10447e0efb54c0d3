"""The state of a run at a step: the trained weights and the optimizer state, as safetensors by the parameters' names.

A checkpoint holds them, so that a killed run goes on. An artifact holds them too, in a folder of its own (`stable/` of the last step before
a decay, `state/` of the step whose weights were published), so that a later run goes on from there on other data. `state.json` beside them
says of which run they are. Nothing in such a folder tells one run of the same from another.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from models import embeddings, sharding

if TYPE_CHECKING:
    from torch import nn
    from torch.optim import Optimizer

Rows = list[list[int]] | None
WEIGHTS, MOMENTS, FACTS = "weights.safetensors", "moments.safetensors", "state.json"


@dataclass(frozen=True)
class SavedState:
    """The state that a run goes on from. `facts` is what its `state.json` says; `rows` is set where the vocabulary has grown since: for each
    row of the new embeddings, the old ones that it starts from (`embeddings.sources`)."""

    home: Path
    facts: dict[str, Any]
    moments: bool = True  # the optimizer state goes on, too, and not the weights alone
    rows: Rows = None


def trained_parameters(model: nn.Module) -> dict[str, nn.Parameter]:
    """The trained parameters of a model, under their own names. transformers' names of experts on disk are others, which its trainer does not
    read back."""
    return {name: p for name, p in model.named_parameters() if p.requires_grad}


def save(model: nn.Module, optimizer: Optimizer, home: Path, *, write: bool = True) -> None:
    """Write both files. What is frozen is not in them: it comes from where the run began.

    Of a model in shards every process must call it, and only one writes.
    """
    from safetensors.torch import save_file

    parameters = trained_parameters(model)
    weights = {name: _whole(p, write) for name, p in parameters.items()}
    moments = {
        f"{name}/{what}": _whole(value, write)
        for name, p in parameters.items()
        for what, value in sorted(optimizer.state.get(p, {}).items())
    }
    if write:
        save_file({name: p for name, p in weights.items() if p is not None}, home / WEIGHTS)
        save_file({name: moment for name, moment in moments.items() if moment is not None}, home / MOMENTS)


@torch.no_grad()
def load_weights(model: nn.Module, home: Path, rows: Rows = None) -> None:
    """Give a model the trained parameters of a folder, all of them and no others. With `rows`, those of the embeddings move with their
    tokens."""
    from safetensors.torch import load_file

    weights, parameters = load_file(home / WEIGHTS), trained_parameters(model)
    tables = _tables(model)
    assert weights.keys() == parameters.keys(), (
        f"{home / WEIGHTS} holds other parameters: {sorted(weights.keys() ^ parameters.keys())[:3]}"
    )
    for name, p in parameters.items():
        p.copy_(sharding.like(p, embeddings.mapped(weights[name], rows) if rows and name in tables else weights[name]))


@torch.no_grad()
def load_moments(model: nn.Module, optimizer: Optimizer, home: Path, rows: Rows = None) -> None:
    """Give an optimizer the state in a folder. With `rows` that of the embeddings moves with their tokens, as the weights did."""
    from safetensors.torch import load_file

    parameters, tables = trained_parameters(model), _tables(model)
    for name, moment in load_file(home / MOMENTS).items():
        name, _, what = name.rpartition("/")
        assert name in parameters, f"{home / MOMENTS} holds the optimizer state of {name}, which is not trained"
        p = parameters[name]
        if rows and name in tables and moment.ndim and moment.size(0) > 1:  # not a number, nor a mean over all rows
            moment = embeddings.mapped(moment, rows)
        same = moment.shape == p.shape
        optimizer.state[p][what] = sharding.like(p, moment) if same else moment.to(p.device)


def publish(checkpoint: Path, home: Path, facts: dict[str, Any]) -> None:
    """Copy the state of a checkpoint into a folder of an artifact, with its facts."""
    home.mkdir(parents=True)
    digests = {}
    for name in (WEIGHTS, MOMENTS):
        shutil.copyfile(checkpoint / name, home / name)
        digests[name] = digest(home / name)
    (home / FACTS).write_text(json.dumps(facts | {"files": digests}, indent=1, sort_keys=True) + "\n", "utf-8")


def read(home: Path, *, moments: bool = True) -> SavedState:
    """The state that an earlier run published. `ValueError` where a file of it is damaged."""
    facts = json.loads((home / FACTS).read_text("utf-8"))
    damaged = [name for name, was in facts["files"].items() if not (home / name).is_file() or digest(home / name) != was]
    if damaged:
        raise ValueError(f"{home / damaged[0]} is missing or damaged; make that artifact again, or start from another one")
    return SavedState(home, facts, moments)


def misfit(model: nn.Module, home: Path, rows: Rows = None) -> str:
    """The first parameter that a model and a state do not share, in words; empty where the state is the model's."""
    from safetensors import safe_open

    with safe_open(home / WEIGHTS, "pt") as file:
        sizes = {name: list(file.get_slice(name).get_shape()) for name in file.keys()}  # noqa: SIM118  # no mapping
    own = {name: list(p.shape) for name, p in trained_parameters(model).items()}
    for name in _tables(model) & sizes.keys() if rows else ():
        sizes[name][0] = len(rows or ())
    for name in sorted(sizes.keys() | own.keys()):
        if sizes.get(name) != own.get(name):
            return f"{name} is {sizes.get(name, 'missing')} there and {own.get(name, 'missing')} here"
    return ""


def differences(one: dict[str, Any], other: dict[str, Any], names: Sequence[str]) -> str:
    """The facts of these names that differ, in words: `optimizer muon → adamw`."""
    return ", ".join(f"{name} {one.get(name)} → {other.get(name)}" for name in names if one.get(name) != other.get(name))


def digest(path: Path) -> str:
    """The SHA-256 of a file, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _tables(model: nn.Module) -> set[str]:
    """The names of the trained parameters that have a row a token."""
    ids = {id(table.weight) for table in embeddings.tables(model)}
    return {name for name, p in trained_parameters(model).items() if id(p) in ids}


def _whole(value: Tensor, keep: bool) -> Tensor | None:
    """A tensor in the processor's memory, put together from its shards; None where it is not to be kept."""
    tensor = sharding.whole(value)
    return tensor.detach().cpu().contiguous() if keep else None
