from __future__ import annotations

import io
import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from transformers import AutoModelForCausalLM, LlamaForCausalLM

from models import optim, presets
from models.job import ScheduleName

pytestmark = pytest.mark.usefixtures("small_presets")


def model(tied: bool = False) -> LlamaForCausalLM:
    torch.manual_seed(0)
    config = presets.build("tiny", 300, 32)
    config.num_hidden_layers, config.tie_word_embeddings = 2, tied
    return LlamaForCausalLM(config)


def learn(trained: LlamaForCausalLM, optimizer: torch.optim.Optimizer, steps: range) -> None:
    """Steps with made-up gradients, the same for the same step."""
    for step in steps:
        drawn = torch.Generator().manual_seed(step)
        for p in trained.parameters():
            p.grad = torch.randn(p.shape, generator=drawn)
        optimizer.step()


@pytest.mark.parametrize("tied", [False, True])
def test_every_parameter_is_in_one_group_and_tables_are_not_muons(tied: bool) -> None:
    trained = model(tied)
    hidden, rest = optim.groups(trained, "muon", 0.1)
    assert len(hidden["params"]) == 2 * 7 and len(rest["params"]) == 2 * 2 + 1 + (1 if tied else 2)
    assert sum(p.numel() for group in (hidden, rest) for p in group["params"]) == sum(p.numel() for p in trained.parameters())
    tables = {id(trained.get_input_embeddings().weight), id(trained.get_output_embeddings().weight)}
    assert tables <= set(map(id, rest["params"]))
    assert (hidden["kind"], hidden["weight_decay"], rest["kind"], rest["weight_decay"]) == ("muon", 0.1, "adamw", 0.0)


def test_frozen_parameters_are_in_no_group() -> None:
    trained = model()
    trained.get_input_embeddings().weight.requires_grad_(False)
    grouped = [p for group in optim.groups(trained, "adamw", 0.1) for p in group["params"]]
    assert len(grouped) == len(list(trained.parameters())) - 1


@pytest.mark.parametrize("precision, tolerance", [(torch.bfloat16, 0.0), (torch.float32, 5e-3)])
def test_a_step_is_that_of_torchs_muon_and_adamw(precision: torch.dtype, tolerance: float) -> None:
    """torch's Muon multiplies in bfloat16 always, so in that precision nothing may differ."""
    ours, theirs = model(), model()
    learn(ours, optim.MuonAdamW(optim.groups(ours, "muon", 0.1), lr=0.02, precision=precision), range(4))
    hidden, rest = optim.groups(theirs, "muon", 0.1)
    learn(
        theirs,
        torch.optim.Muon(hidden["params"], lr=0.02, weight_decay=0.1, momentum=0.95, adjust_lr_fn="match_rms_adamw"),
        range(4),
    )
    learn(theirs, torch.optim.AdamW(rest["params"], lr=0.02, betas=(0.9, 0.95), weight_decay=0.0), range(4))
    for mine, other in zip(ours.parameters(), theirs.parameters(), strict=True):
        torch.testing.assert_close(mine, other, rtol=1e-5, atol=max(tolerance, 1e-6))


def test_experts_are_orthogonalised_each_by_itself() -> None:
    torch.manual_seed(0)
    experts = AutoModelForCausalLM.from_config(presets.build("tiny-moe", 300, 32))
    stacks = {name: p for name, p in experts.named_parameters() if p.ndim == 3}
    assert {name.rpartition(".")[2] for name in stacks} == {"gate_up_proj", "down_proj"} and len(stacks) == 2 * 2
    before = {name: p.detach().clone() for name, p in stacks.items()}
    learn(experts, optim.make(experts, "muon", lr=0.02, weight_decay=0.0, precision=torch.float32), range(1))
    for name, p in stacks.items():
        step = (before[name] - p.detach()) / (0.02 * 0.2 * math.sqrt(max(p.shape[1:])))
        values = torch.linalg.svdvals(step)  # (experts, values)
        assert values.shape[0] == 8 and values.min() > 0.3 and values.max() < 1.4, name


def test_adafactor_learns_and_keeps_no_second_moment_of_a_matrix() -> None:
    trained = model()
    optimizer = optim.make(trained, "adafactor", lr=1e-2, weight_decay=0.0, precision=torch.float32)
    ids = torch.randint(4, 300, (4, 32), generator=torch.Generator().manual_seed(0))
    found = []
    for _ in range(20):
        loss = trained(input_ids=ids, labels=ids).loss
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        found.append(loss.item())
    assert found[-1] < found[0] - 0.5
    state = sum(t.numel() for kept in optimizer.state.values() for t in kept.values() if torch.is_tensor(t))
    assert state < 0.05 * sum(p.numel() for p in trained.parameters())


def test_the_state_comes_back_from_disk_to_the_last_bit() -> None:
    straight, broken = model(), model()
    learn(straight, optim.MuonAdamW(optim.groups(straight, "muon", 0.1), lr=0.02), range(6))
    first = optim.MuonAdamW(optim.groups(broken, "muon", 0.1), lr=0.02)
    learn(broken, first, range(3))
    file = io.BytesIO()
    torch.save({"optimizer": first.state_dict(), "model": broken.state_dict()}, file)
    file.seek(0)
    kept = torch.load(file, weights_only=True)
    resumed = model()
    second = optim.MuonAdamW(optim.groups(resumed, "muon", 0.1), lr=0.5)
    resumed.load_state_dict(kept["model"])
    second.load_state_dict(kept["optimizer"])
    learn(resumed, second, range(3, 6))
    assert all(torch.equal(a, b) for a, b in zip(straight.parameters(), resumed.parameters(), strict=True))


@given(rows=st.integers(2, 24), columns=st.integers(2, 24), seed=st.integers(0, 99))
def test_orthogonalised_matrices_have_singular_values_near_one(rows: int, columns: int, seed: int) -> None:
    matrices = torch.randn(3, rows, columns, generator=torch.Generator().manual_seed(seed))
    # well-conditioned: a singular value of zero stays zero
    u, s, v = torch.linalg.svd(matrices, full_matrices=False)
    values = torch.linalg.svdvals(optim.orthogonalise(u @ torch.diag_embed(s.clamp(min=0.1 * s.max().item())) @ v))
    assert values.min() > 0.6 and values.max() < 1.3


def test_a_warm_up_stable_decay_rate() -> None:
    factor = optim.schedule("wsd", steps=100, warmup=0.1, decay=0.2)
    rates = [factor(step) for step in range(101)]
    assert rates[:3] == [0.1, 0.2, pytest.approx(0.3)] and rates[9:81] == [1.0] * 72
    assert rates[90] == 0.5 and rates[99] == 0.05 and rates[100] == 0.0


def test_a_one_cycle_rate_is_torchs() -> None:
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0)
    theirs = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, 1.0, total_steps=101, pct_start=0.3, div_factor=50, final_div_factor=100, cycle_momentum=False
    )
    ours = optim.schedule("onecycle", steps=100, warmup=0.3, decay=0.2)
    for step in range(100):
        assert ours(step) == pytest.approx(
            optimizer.param_groups[0]["lr"], abs=0.05
        )  # torch puts the peak and the end a step earlier
        optimizer.step()
        theirs.step()


def test_a_cosine_rate_ends_at_a_tenth_and_a_constant_one_stays() -> None:
    cosine = optim.schedule("cosine", steps=100, warmup=0.1, decay=0.2)
    assert cosine(0) == 0.1 and cosine(10) == 1.0 and cosine(55) == pytest.approx(0.55) and cosine(100) == pytest.approx(0.1)
    constant = optim.schedule("constant", steps=100, warmup=0.1, decay=0.2)
    assert constant(4) == 0.5 and constant(99) == 1.0


@given(
    shape=st.sampled_from(["wsd", "cosine", "onecycle", "constant"]),
    steps=st.integers(1, 50),
    warmup=st.floats(0, 0.5),
    decay=st.floats(0, 1),
)
def test_every_step_learns(shape: ScheduleName, steps: int, warmup: float, decay: float) -> None:
    factor = optim.schedule(shape, steps, warmup, decay)
    assert all(0 < factor(step) <= 1 and math.isfinite(factor(step)) for step in range(steps))
