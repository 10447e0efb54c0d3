"""Optimizers: Muon for the hidden matrices and AdamW for the rest, as one; Adafactor; and the learning rate's schedule.

Muon (Keller Jordan, https://kellerjordan.github.io/posts/muon/) replaces the momentum of a matrix by the nearest orthogonal matrix. With
an update scaled to AdamW's usual root mean square (Liu et al., https://arxiv.org/abs/2502.16982) one learning rate serves both halves.
torch.optim.Muon does the same a matrix at a time; here all matrices of one shape go through the iteration as one batch.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim.adamw import adamw

from models import sharding
from models.job import OptimizerName, ScheduleName

NEWTON_SCHULZ = (
    3.4445,
    -4.7750,
    2.0315,
)  # quintic with the steepest slope at zero; 5 rounds bring every singular value to 0.7…1.2
ROUNDS = 5


def orthogonalise(matrices: Tensor) -> Tensor:
    """The nearest (semi-)orthogonal matrices, roughly, of a batch (n, rows, columns); in the precision it is given."""
    a, b, c = NEWTON_SCHULZ
    x = matrices.mT if matrices.size(1) > matrices.size(2) else matrices
    x = x / x.norm(dim=(1, 2), keepdim=True).clamp(min=1e-7)
    for _ in range(ROUNDS):
        gram = x @ x.mT
        x = torch.baddbmm(x, torch.baddbmm(gram, gram, gram, beta=b, alpha=c), x, beta=a)
    return x.mT if matrices.size(1) > matrices.size(2) else x


class MuonAdamW(torch.optim.Optimizer):
    """Muon and AdamW as one optimizer: each group of parameters has a `kind`, "muon" (matrices, or stacks of them: experts) or "adamw".

    Its state is tensors and numbers only.
    """

    def __init__(self, groups: Iterable[dict[str, Any]], *, lr: float, betas: tuple[float, float] = (0.9, 0.95), momentum: float = 0.95,
                 precision: torch.dtype = torch.float32):  # fmt: skip
        defaults = {"kind": "adamw", "lr": lr, "betas": betas, "eps": 1e-8, "momentum": momentum, "weight_decay": 0.0}
        super().__init__(list(groups), defaults)
        self.precision = precision  # of the Newton–Schulz products
        for group in self.param_groups:
            assert group["kind"] in ("muon", "adamw"), group["kind"]
            assert group["kind"] == "adamw" or all(p.ndim in (2, 3) for p in group["params"]), "Muon takes matrices"

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> float | None:
        """Update every parameter that has a gradient."""
        assert closure is None, "one gradient a step"
        for group in self.param_groups:
            parameters = [p for p in group["params"] if p.grad is not None]
            if group["kind"] == "muon":
                self._muon(group, parameters)
            elif parameters:
                self._adamw(group, parameters)
        return None

    def _muon(self, group: dict[str, Any], parameters: list[Tensor]) -> None:
        by_shape: dict[torch.Size, list[Tensor]] = {}
        for p in parameters:
            by_shape.setdefault(p.shape, []).append(p)
        for (*stacked, rows, columns), alike in by_shape.items():
            updates = []
            for p in alike:
                assert p.grad is not None
                state = self.state[p]
                if not state:
                    state["momentum"] = torch.zeros_like(p)
                state["momentum"].lerp_(p.grad, 1 - group["momentum"])
                # Nesterov. A matrix in shards is put together: a part of it has another nearest orthogonal matrix.
                updates.append(sharding.whole(p.grad.lerp(state["momentum"], group["momentum"])))
            # an orthogonal matrix has a root mean square of 1/√longest; AdamW's updates have about 0.2
            scale = 0.2 * math.sqrt(max(rows, columns))
            flat = torch.stack(updates).to(self.precision).view(-1, rows, columns)
            for p, update in zip(alike, orthogonalise(flat).view(-1, *stacked, rows, columns), strict=True):
                p.mul_(1 - group["lr"] * group["weight_decay"])
                p.add_(sharding.like(p, update.to(p.dtype)), alpha=-group["lr"] * scale)

    def _adamw(self, group: dict[str, Any], parameters: list[Tensor]) -> None:
        for p in parameters:
            if not self.state[p]:
                self.state[p] = {
                    "step": torch.zeros((), device=p.device),
                    "mean": torch.zeros_like(p),
                    "square": torch.zeros_like(p),
                }
        states = [self.state[p] for p in parameters]
        adamw(  # number by number, so each process steps the parts that it holds
            [sharding.local(p) for p in parameters],
            [sharding.local(p.grad) for p in parameters if p.grad is not None],
            [sharding.local(state["mean"]) for state in states],
            [sharding.local(state["square"]) for state in states],
            [],
            [state["step"] for state in states],
            foreach=False,
            fused=True,
            amsgrad=False,
            beta1=group["betas"][0],
            beta2=group["betas"][1],
            lr=group["lr"],
            weight_decay=group["weight_decay"],
            eps=group["eps"],
            maximize=False,
        )


def groups(model: nn.Module, kind: OptimizerName, weight_decay: float) -> list[dict[str, Any]]:
    """The groups of a model's trained parameters, each of which is in exactly one: the matrices inside the layers, which decay and which Muon
    takes, and the rest.

    Experts are stacks of matrices, (experts, rows, columns), each of which is orthogonalised by itself.

    Embeddings do not decay: a rare word's row would shrink at every step between two sightings.
    """
    tables = {id(p) for module in model.modules() if isinstance(module, nn.Embedding) for p in module.parameters()}
    head = model.get_output_embeddings() if hasattr(model, "get_output_embeddings") else None
    tables |= {id(p) for p in head.parameters()} if head is not None else set()
    trained = [p for p in model.parameters() if p.requires_grad]
    hidden = [p for p in trained if p.ndim in (2, 3) and id(p) not in tables]
    rest = [p for p in trained if p.ndim not in (2, 3) or id(p) in tables]
    assert sorted(map(id, hidden + rest)) == sorted({id(p) for p in trained}), "a parameter is in no group, or in two"
    both: list[dict[str, Any]] = [
        {"params": hidden, "kind": kind, "weight_decay": weight_decay},
        {"params": rest, "kind": "adamw", "weight_decay": 0.0},
    ]
    return [group for group in both if group["params"]]


def make(
    model: nn.Module, kind: OptimizerName, *, lr: float, weight_decay: float, precision: torch.dtype
) -> torch.optim.Optimizer:
    """The optimizer of a model's trained parameters. `precision` is that of Muon's matrix products.

    Adafactor (https://arxiv.org/abs/1804.04235) keeps a row and a column of second moments for a matrix instead of all of them: what T5
    was trained with. Its rate is relative to a matrix's own size.
    """
    if kind == "adafactor":
        parameters = [
            {"params": group["params"], "weight_decay": group["weight_decay"]} for group in groups(model, "adamw", weight_decay)
        ]
        return torch.optim.Adafactor(parameters, lr=lr)
    return MuonAdamW(groups(model, kind, weight_decay), lr=lr, precision=precision)


def schedule(shape: ScheduleName, steps: int, warmup: float, decay: float) -> Callable[[int], float]:
    """The factor of the peak learning rate at a step (from 0): up over the first `warmup` share of the steps, then by shape.

    wsd (warm-up, stable, decay; Hu et al., https://arxiv.org/abs/2404.06395): flat, then a line to zero over the last `decay` share;
    cosine: half a cosine to a tenth; onecycle: half a cosine up from a fiftieth, then half a cosine down to a five-thousandth (Smith and
    Topin, https://arxiv.org/abs/1708.07120, with ChatLM-mini-Chinese's shares); constant: flat. The last step still learns: the line would
    reach zero one step later.
    """
    rising = max(1, round(warmup * steps))
    falling = max(1, round(decay * steps))

    def factor(step: int) -> float:
        """The factor at a step."""
        up = min(1.0, (step + 1) / rising)
        if shape == "wsd":
            return min(up, max(0, steps - step) / falling)
        if shape == "onecycle":
            low, share = (0.02, step / rising) if step < rising else (0.0002, (steps - step) / max(1, steps - rising))
            return low + (1 - low) * 0.5 * (1 - math.cos(math.pi * share))
        if shape == "cosine" and step >= rising:
            share = min(1.0, (step - rising) / max(1, steps - rising))
            return 0.1 + 0.9 * 0.5 * (1 + math.cos(math.pi * share))
        return up

    return factor


def stable_step(shape: ScheduleName, steps: int, decay: float) -> int | None:
    """The number of steps on the plateau of a rate: all of a constant one's; None for a shape that has no plateau."""
    if shape == "constant":
        return steps
    return steps - max(1, round(decay * steps)) + 1 if shape == "wsd" else None
