"""Retention in three forms: all positions at once, one after the other, and chunk by chunk (Sun et al. 2023, arXiv 2307.08621, section 2).

One head with decay γ reads, for queries and keys (T, d) and values (T, e),

    o_n = Σ_{m ≤ n} γ^{n−m} (q_n · k_m) v_m                  parallel, equation 5
    S_n = γ S_{n−1} + k_nᵀ v_n,   o_n = q_n S_n              recurrent, equation 6

and chunk by chunk (equation 7) the first inside a chunk, plus q_n γ^{τ_n} S for what the chunks before it left, τ_n being n counted from
the chunk's start. The parallel form is the chunkwise one with a single chunk. Between chunks nothing runs token by token either: with U_j
what chunk j adds, the state before chunk i is Σ_{j<i} γ^{t_i−t_j} U_j, one product with a matrix of decays. So a state is held once a
chunk, never once a position.

Two things bend time. A token that is padding adds nothing and lets no time pass, so that a padded row equals the bare one wherever the
padding stands. A token that is the first of a document sees nothing before it. Both are exact zeros: what is hidden cannot leak.

The paper divides by the sum of the decays and by max(|Σ s|, 1) on top (section 2.2, "retention score normalization"), for the sake of low
precision. A head's output is normalised right after (GroupNorm), where any such factor would cancel but for the epsilon; and since the
factor differs from form to form, the epsilon would make the forms differ (by 6e-3, measured with 1e-5). It is left out here, but for the
1/√d, which the caller puts on the keys.

Shapes: q, k (B, H, T, d); v (B, H, T, e); state (B, H, d, e), float32 whatever the rest is, like all decays.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional


def log_decay(heads: int, device: torch.device | None = None) -> Tensor:
    """log γ of each head, (H,): γ = 1 − 2^(−5−h) (equation 8)."""
    powers = torch.arange(heads, dtype=torch.float32, device=device) + 5
    return torch.log1p(-torch.exp2(-powers))


class Decay(NamedTuple):
    """Every power of γ that a sequence needs. The same for all layers; 1 stands for a batch whose rows are alike."""

    inside: Tensor  # (B|1, H, N|1, C, C) from key m to query n of a chunk, zero where n may not see m
    reading: Tensor  # (B|1, H, N, C, 1) from a chunk's start to its query n
    writing: Tensor  # (B|1, H, N, C, 1) from key m to its chunk's end
    between: Tensor  # (B|1, H, N + 1, N) from the end of chunk j to the start of chunk i; row N is the end of all
    carried: Tensor  # (B|1, H, N + 1, 1, 1) from the start of all to the start of chunk i


class Step(NamedTuple):
    """The change of the state at each token, for the recurrent form."""

    keep: Tensor  # (B|1, H, T, 1, 1) factor of the state before it
    add: Tensor  # (B|1, 1, T, 1, 1) 1, or 0 for padding


def decays(gamma: Tensor, length: int, chunk: int, real: Tensor | None = None, first: Tensor | None = None) -> Decay:
    """The powers for `length` tokens in chunks of `chunk`; gamma: log γ, (H,). `real` (B, T): False where a token is padding; `first`
    (B, T): True where a document begins."""
    chunk = min(chunk, length)
    alike = real is None and first is None
    real = torch.ones(1, length, dtype=torch.bool, device=gamma.device) if real is None else real
    first = torch.zeros_like(real) if first is None else first
    rows = -length % chunk  # to the end of the last chunk: padding
    real, first = torch.broadcast_tensors(functional.pad(real, (0, rows)), functional.pad(first, (0, rows)))
    real, first = real.unflatten(1, (-1, chunk)), first.unflatten(1, (-1, chunk))  # (B|1, N, C)
    time, document = real.cumsum(2), first.cumsum(2)
    passed, opened = time[..., -1:], document[..., -1:]
    writing = _power(gamma, passed - time, (document == opened) & real)
    reading = _power(gamma, time, document == 0)
    if alike:  # one chunk stands for all; the padding of the last is kept from the state by `writing`
        time, document, real = time[:, :1], document[:, :1], torch.ones_like(real[:, :1])
        time = torch.arange(1, chunk + 1, device=gamma.device).expand_as(time)
    order = torch.ones(chunk, chunk, dtype=torch.bool, device=gamma.device).tril()
    visible = (document[..., :, None] == document[..., None, :]) & real[..., None, :] & order
    inside = _power(gamma, time[..., :, None] - time[..., None, :], visible)
    after, opened = passed[..., 0].cumsum(1), opened[..., 0].cumsum(1)  # (B|1, N): at the end of each chunk
    start, unopened = functional.pad(after, (1, 0)), functional.pad(opened, (1, 0))  # (B|1, N + 1): before each, and after all
    count = after.shape[1]
    order = torch.ones(count + 1, count, dtype=torch.bool, device=gamma.device).tril(-1)
    alive = (unopened[:, :, None] == opened[:, None, :]) & order
    between = _power(gamma, start[:, :, None] - after[:, None, :], alive)
    carried = _power(gamma, start, unopened == 0)
    return Decay(inside, reading[..., None], writing[..., None], between, carried[..., None, None])


def steps(gamma: Tensor, length: int, real: Tensor | None = None, first: Tensor | None = None) -> Step:
    """The factors for `length` tokens in the recurrent form; arguments as those of `decays`."""
    real = torch.ones(1, length, dtype=torch.bool, device=gamma.device) if real is None else real
    first = torch.zeros_like(real) if first is None else first
    real, first = torch.broadcast_tensors(real, first)
    # γ itself, not exp(log γ), whose last digit would be off the same way at every token
    keep = (1 + torch.expm1(gamma[:, None] * real[:, None])) * ~first[:, None]
    return Step(keep[..., None, None], real[:, None, :, None, None].float())


def _power(gamma: Tensor, time: Tensor, alive: Tensor) -> Tensor:
    """γ^time for each head where `alive`, else 0: (B, …) → (B, H, …)."""
    gamma = gamma.view(-1, *[1] * (time.ndim - 1))
    return torch.exp(gamma * time.clamp(min=0)[:, None]) * alive[:, None]


def chunkwise(
    q: Tensor, k: Tensor, v: Tensor, decay: Decay, state: Tensor | None = None, keep: bool = False
) -> tuple[Tensor, Tensor | None]:
    """Outputs (B, H, T, e) in float32, and the state after the last token if it is to be kept.

    Products run in the type of q; what is added up over chunks is float32. Arithmetic per token: C (d + e) inside the chunk and 2 d e
    for the state, against T (d + e) for one chunk as long as the sequence.
    """
    length, chunk, count = q.shape[2], decay.inside.shape[-1], decay.reading.shape[2]
    q, k, v = (_cut(x, chunk) for x in (q, k, v))  # (B, H, N, C, ·)
    scores = (q @ k.mT) * decay.inside
    out = (scores.to(v.dtype) @ v).float()
    states = count if keep else count - 1  # nobody here reads the state after the last chunk
    before = None  # states before each chunk, (B, H, states + 1, d, e)
    if states:
        added = ((k[:, :, :states] * decay.writing[:, :, :states]).to(k.dtype).mT @ v[:, :, :states]).float()
        before = (decay.between[:, :, : states + 1, :states] @ added.flatten(3)).unflatten(3, added.shape[3:])
    if state is not None:
        carried = decay.carried[:, :, : states + 1] * state[:, :, None]
        before = carried if before is None else before + carried
    if before is not None:
        out = out + ((q * decay.reading).to(q.dtype) @ before[:, :, :count].to(q.dtype)).float()
    after = None if before is None or not keep else before[:, :, -1].clone()  # not a view that keeps all of them alive
    return out.flatten(2, 3)[:, :, :length], after


def recurrent(q: Tensor, k: Tensor, v: Tensor, step: Step, state: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """Outputs (B, H, T, e) and the state after the last token, a token at a time, all in float32.

    What a token reads of itself is added apart, (q · k) v, as the other forms do. At a document's first token it is all there is, and
    GroupNorm then divides by |q · k|, however small: the direction must be exactly v's for the forms to agree there.
    """
    q, k, v = q.float(), k.float(), v.float()
    if state is None:
        state = q.new_zeros(*q.shape[:2], q.shape[3], v.shape[3])
    out = []
    for t in range(q.shape[2]):
        state, key, value = step.keep[:, :, t] * state, step.add[:, :, t] * k[:, :, t, :, None], v[:, :, t, None, :]
        query = q[:, :, t, None, :]
        out.append((query @ state + (query @ key) * value).squeeze(2))
        state = state + key * value
    return torch.stack(out, 2), state


def _cut(x: Tensor, chunk: int) -> Tensor:
    """(B, H, T, ·) → (B, H, N, C, ·), filled up with zeros."""
    rows = -x.shape[2] % chunk
    return (functional.pad(x, (0, 0, 0, rows)) if rows else x).unflatten(2, (-1, chunk))
