from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional
from transformers import AutoModelForCausalLM, AutoModelForSeq2SeqLM

from models import losses, presets


def both(
    hidden: torch.Tensor, weight: torch.Tensor, labels: torch.Tensor
) -> list[tuple[torch.Tensor, torch.Tensor, torch.Tensor]]:
    """(loss, gradient of hidden, gradient of weight) of ours and of torch's."""
    found = []
    for loss_of in (
        lambda h, w: losses.linear_cross_entropy(h, w, labels),
        lambda h, w: functional.cross_entropy(
            (h @ w.T).flatten(0, -2), labels.flatten(), ignore_index=losses.IGNORE, reduction="sum"
        ),
    ):
        h, w = hidden.clone().requires_grad_(), weight.clone().requires_grad_()
        loss = loss_of(h, w)
        (loss * 0.5).backward()
        assert h.grad is not None and w.grad is not None
        found.append((loss.detach(), h.grad, w.grad))
    return found


@settings(max_examples=40, deadline=None)
@given(rows=st.integers(1, 40), numbers=st.integers(1, 400), ignored=st.integers(0, 39), seed=st.integers(0, 99))
def test_loss_and_gradients_are_those_of_the_whole_softmax(rows: int, numbers: int, ignored: int, seed: int) -> None:
    drawn = torch.Generator().manual_seed(seed)
    hidden, weight = 3 * torch.randn(1, rows, 8, generator=drawn), torch.randn(17, 8, generator=drawn)
    labels = torch.randint(0, 17, (1, rows), generator=drawn)
    labels[:, :ignored] = losses.IGNORE
    before = losses.SLICE_NUMBERS["cpu"]
    losses.SLICE_NUMBERS["cpu"] = numbers  # slices of 1 to 23 rows
    try:
        ours, whole = both(hidden, weight, labels)
    finally:
        losses.SLICE_NUMBERS["cpu"] = before
    for mine, theirs in zip(ours, whole, strict=True):
        torch.testing.assert_close(mine, theirs, rtol=1e-4, atol=1e-4)


def test_large_logits_do_not_overflow() -> None:
    ours, whole = both(torch.full((4, 2), 300.0), torch.tensor([[1.0, 1.0], [-1.0, 1.0], [2.0, 2.0]]), torch.tensor([0, 1, 2, 0]))
    assert torch.isfinite(ours[0]) and ours[0] == whole[0]


def test_a_bfloat16_product_stays_close() -> None:
    torch.manual_seed(0)
    hidden, weight, labels = torch.randn(64, 32), torch.randn(100, 32), torch.randint(0, 100, (64,))
    exact = losses.linear_cross_entropy(hidden, weight, labels)
    with torch.autocast("cpu", torch.bfloat16):
        rough = losses.linear_cross_entropy(hidden, weight, labels)
    assert rough.dtype == torch.float32 and rough != exact
    assert rough.item() == pytest.approx(exact.item(), rel=0.01)


@pytest.mark.parametrize("name", ["tiny", "t5-tiny"])
def test_a_fused_model_returns_the_sum_of_its_own_loss(name: str) -> None:
    torch.manual_seed(0)
    config = presets.build(name, 300, 32)
    model = (AutoModelForSeq2SeqLM if config.is_encoder_decoder else AutoModelForCausalLM).from_config(config)
    ids = torch.randint(4, 300, (2, 32))
    labels = ids.clone()
    labels[0, :20] = losses.IGNORE
    mean = model(input_ids=ids, labels=labels).loss
    losses.fuse(model)
    counted = (losses.targets(model, labels) != losses.IGNORE).sum()
    torch.testing.assert_close(model(input_ids=ids, labels=labels) / counted, mean)


def test_experts_add_their_balance_in_training_alone() -> None:
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(presets.build("tiny-moe", 300, 32, balance=0.5))
    ids = torch.randint(4, 300, (2, 32))
    mean = model(input_ids=ids, labels=ids).loss
    losses.fuse(model)
    even = (model(input_ids=ids, labels=ids) / (2 * 31) - mean) / 0.5
    assert 1.0 < even.item() < 1.6  # a new router is nearly even
    model.eval()
    torch.testing.assert_close(model(input_ids=ids, labels=ids) / (2 * 31), mean)
    assert model.expert_use.shape == (4, 8)
    assert model.balance.item() == pytest.approx(even.item(), rel=1e-3)
    torch.testing.assert_close(model.expert_use.sum(1), torch.ones(4))


def test_balance_is_one_where_even_and_the_number_of_experts_where_not() -> None:
    even = torch.eye(4).repeat(3, 1) * 20
    one = torch.zeros(12, 4).index_fill(1, torch.tensor([2]), 20.0)
    assert losses.balance((even,), 1, 1).item() == pytest.approx(1.0)
    assert losses.balance((one,), 1, 1).item() == pytest.approx(4.0)
    # layers that favour different experts do not make up for one another
    other = torch.zeros(12, 4).index_fill(1, torch.tensor([0]), 20.0)
    assert losses.balance((one, other), 1, 1).item() == pytest.approx(4.0)
    # padding has no say
    mask = torch.tensor([[1] * 4 + [0] * 8])
    mixed = torch.cat([even[:4], one[:8]])
    assert losses.balance((mixed,), 1, 1, mask).item() == pytest.approx(1.0)


def test_experts_lose_the_same_however_a_batch_is_cut() -> None:
    """Rows of one length and padded ones: the sum over pieces, in training, is the loss of the whole."""
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(presets.build("tiny-moe", 300, 32, balance=0.5)).train()
    losses.fuse(model)
    ids = torch.randint(4, 300, (4, 24))
    mask = torch.ones_like(ids)
    mask[1, 15:], mask[3, 8:] = 0, 0
    labels = ids.masked_fill(mask == 0, losses.IGNORE)
    whole = model(input_ids=ids, labels=labels, attention_mask=mask)
    for cut in (1, 3):
        pieces = [slice(at, at + cut) for at in range(0, 4, cut)]
        parts = [model(input_ids=ids[at], labels=labels[at], attention_mask=mask[at]) for at in pieces]
        torch.testing.assert_close(sum(parts), whole, rtol=1e-6, atol=1e-4)


def test_balance_pulls_tokens_from_the_favourite() -> None:
    logits = torch.zeros(64, 4).index_fill(1, torch.tensor([1]), 2.0).requires_grad_()
    losses.balance((logits,), 1, 1).sum().backward()
    assert logits.grad is not None and (logits.grad[:, 1] > 0).all() and (logits.grad[:, 0] < 0).all()
