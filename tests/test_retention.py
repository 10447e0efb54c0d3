"""Retention: three forms of one sum."""

from __future__ import annotations

from typing import Any

import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from models.architectures.retnet import retention
from tests.test_retnet import CLOSE, apart


def plain(q: Tensor, k: Tensor, v: Tensor, real: Tensor, first: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
    """Equation 6 as it stands, in float64, a token at a time."""
    q, k, v, state = q.double(), k.double(), v.double(), state.double()
    gamma = 1 - 2.0 ** (-5 - torch.arange(q.shape[1], dtype=torch.float64))
    out = torch.zeros_like(v)
    for row in range(q.shape[0]):
        s = state[row]
        for t in range(q.shape[2]):
            s = s * 0 if first[row, t] else s
            if real[row, t]:
                s = gamma[:, None, None] * s + k[row, :, t, :, None] * v[row, :, t, None, :]
            out[row, :, t] = (q[row, :, t, None, :] @ s).squeeze(1)
        state = torch.cat([state[:row], s[None], state[row + 1 :]])
    return out, state


def forms(chunk: int) -> dict[str, Any]:
    def chunks(of: int, q: Tensor, k: Tensor, v: Tensor, real: Tensor, first: Tensor, state: Tensor) -> Any:
        decay = retention.decays(retention.log_decay(q.shape[1]), q.shape[2], of, real, first)
        return retention.chunkwise(q, k, v, decay, state, keep=True)

    def steps(q: Tensor, k: Tensor, v: Tensor, real: Tensor, first: Tensor, state: Tensor) -> Any:
        return retention.recurrent(q, k, v, retention.steps(retention.log_decay(q.shape[1]), q.shape[2], real, first), state)

    return {
        "recurrent": steps,
        "parallel": lambda q, *rest: chunks(q.shape[2], q, *rest),
        "chunkwise": lambda *all: chunks(chunk, *all),
    }


@settings(max_examples=40, deadline=None)
@given(st.data())
def test_values_states_and_gradients_are_those_of_the_definition(data: st.DataObject) -> None:
    length, chunk = data.draw(st.integers(1, 70), "length"), data.draw(st.integers(1, 90), "chunk")
    torch.manual_seed(data.draw(st.integers(0, 1000), "seed"))
    rows, heads, d, e = 2, 3, 8, 12
    real = torch.rand(rows, length) >= data.draw(st.sampled_from([0, 0.3]), "padding")
    first = real & (torch.rand(rows, length) < data.draw(st.sampled_from([0, 0.1]), "documents"))
    state = torch.randn(rows, heads, d, e) * data.draw(st.booleans(), "state")
    q, k, v = (
        torch.randn(rows, heads, length, d),
        torch.randn(rows, heads, length, d) * d**-0.5,
        torch.randn(rows, heads, length, e),
    )
    given = [x.requires_grad_() for x in (q, k, v, state)]
    weigh, last = torch.randn(rows, heads, length, e), torch.randn(rows, heads, d, e)

    def found(form: Any) -> list[Tensor]:
        out, after = form(q, k, v, real, first, state)
        gradients = torch.autograd.grad((out * weigh).sum() + (after * last).sum(), given, allow_unused=True)
        return [out, after, *(torch.zeros_like(x) if g is None else g for x, g in zip(given, gradients, strict=True))]

    right = found(plain)
    for name, form in forms(chunk).items():
        for what, one, other in zip(("values", "state", "dq", "dk", "dv", "dstate"), found(form), right, strict=True):
            largest = max(1.0, other.abs().max().item())
            assert apart(one, other) < CLOSE * largest, f"{name} {what}: {apart(one, other):.1e} of {largest:.1f}"


def test_decays_of_long_sequences_stay_finite() -> None:
    """The fastest head's γ^−n overflows float32 behind 2,800 tokens."""
    decay = retention.decays(retention.log_decay(1), 3000, 3000, torch.ones(1, 3000, dtype=torch.bool))
    assert decay.inside.isfinite().all() and decay.inside[0, 0, 0, -1, -1] == 1 and decay.inside[0, 0, 0, 0, -1] == 0


def test_no_state_is_held_for_a_position() -> None:
    """The largest tensor of a training step is far below T · d · e a head, what retnet-1.3B-toy allocates."""

    class Largest(TorchDispatchMode):
        numbers = 0

        def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            made = func(*args, **(kwargs or {}))
            for x in tree_leaves(made):
                if isinstance(x, Tensor):
                    self.numbers = max(self.numbers, x.untyped_storage().nbytes() // x.element_size())
            return made

    length, heads, d, e, chunk = 512, 2, 32, 64, 32
    q, k, v = (torch.randn(1, heads, length, width, requires_grad=True) for width in (d, d, e))
    with Largest() as seen:
        out, _ = retention.chunkwise(q, k, v, retention.decays(retention.log_decay(heads), length, chunk))
        out.sum().backward()
    # the states before each chunk, or the values themselves
    assert seen.numbers == max(heads * (length // chunk) * d * e, heads * length * e) == heads * length * d * e // 32
