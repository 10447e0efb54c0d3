"""Tokens drawn from the nucleus, against transformers' own way to the same distribution."""

from __future__ import annotations

import pytest
import torch
from transformers import TopPLogitsWarper

from models.sampling import Nucleus, draw

DRAWS = 40_000


@pytest.mark.parametrize("temperature", [0.5, 1.3])
@pytest.mark.parametrize("top_p", [0.02, 0.3, 0.7, 0.95, 1.0])
def test_a_token_is_drawn_as_often_as_by_transformers(temperature: float, top_p: float) -> None:
    torch.manual_seed(0)
    scores = torch.randn(1, 20) * 2
    drawn = Nucleus(temperature, top_p)(torch.empty(0), scores.expand(DRAWS, -1)).argmax(1)
    found = drawn.bincount(minlength=20) / DRAWS
    wanted = TopPLogitsWarper(top_p)(torch.empty(0), scores / temperature).softmax(1)[0]
    assert not found[wanted == 0].any(), "a token outside of the nucleus"
    assert (found - wanted).abs().max() < 4 * (0.25 / DRAWS) ** 0.5


def test_rows_are_drawn_by_themselves_whatever_the_precision() -> None:
    torch.manual_seed(0)
    scores = torch.randn(64, 500, dtype=torch.bfloat16) * 3
    kept = TopPLogitsWarper(0.5)(torch.empty(0), scores.float()).isfinite()
    for _ in range(20):
        chosen = Nucleus(1.0, 0.5)(torch.empty(0), scores)
        assert chosen.dtype == scores.dtype and chosen.isfinite().sum(1).eq(1).all()
        assert kept[chosen.isfinite()].all()


def test_equal_rows_get_different_tokens_and_a_seed_the_same_ones() -> None:
    scores = torch.zeros(100, 50)
    torch.manual_seed(3)
    first = Nucleus(1.0, 0.9)(torch.empty(0), scores)
    assert len(set(first.argmax(1).tolist())) > 20
    torch.manual_seed(3)
    assert torch.equal(first, Nucleus(1.0, 0.9)(torch.empty(0), scores))


def test_what_has_no_share_is_never_drawn() -> None:
    shares = torch.tensor([[0.0, 2.0, 0.0, 1.0, 0.0]]).expand(5000, -1)
    assert set(draw(shares, torch.rand(5000, 1))[:, 0].tolist()) == {1, 3}
