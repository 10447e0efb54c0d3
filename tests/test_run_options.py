"""Checks of what a run is asked for beside its recipe: made before anything starts, and told with the near name."""

from __future__ import annotations

import re

import pytest

from flows import devices
from flows.devices import missing_device
from flows.graph import graph
from flows.recipe import load
from flows.run_options import check_options, check_plan_options


@pytest.mark.parametrize(
    ("options", "said"),
    {
        '{"until": "spilt"}': "until: no stage 'spilt' in recipe tiny; did you mean split?",
        '{"until": "ingest"}': "did you mean ingest-zhihu or",
        '{"until": "SFT "}': "until: no stage 'SFT ' in recipe tiny; did you mean sft?",
        '{"until": "reward"}': "until: recipe tiny has no stage 'reward': its section `reward` is not there",
        '{"refresh": ["zzz"]}': "refresh: no stage 'zzz' in recipe tiny; its stages: sample, ",
        '{"accept": ["dedpu"]}': "did you mean dedup?",
        '{"accept": ["sft"]}': "accept: sft has no contract",
        '{"drift": "wran"}': "drift: 'wran' is none of warn, rebuild, fail; did you mean warn?",
    }.items(),
)
def test_a_typo_is_refused_with_the_near_name(options: str, said: str) -> None:
    recipe = load("tiny")
    with pytest.raises(ValueError, match=re.escape(said)):
        check_options(recipe, graph(recipe), **eval(options))


def test_a_stage_that_is_switched_off_is_refused_with_the_reason() -> None:
    recipe = load("tiny", [f"sources.{name}.use=[pretrain]" for name in ("belle", "medical", "alpaca", "huozi")])
    with pytest.raises(ValueError, match="recipe tiny has no stage 'rejected': no source has the use prompts or pairs"):
        check_options(recipe, graph(recipe), until="rejected")


def test_the_options_of_a_plan_are_checked() -> None:
    recipe = load("tiny")
    with pytest.raises(ValueError, match="did you mean rebuild"):
        check_plan_options(recipe, graph(recipe), [], "", "rebiuld")
    with pytest.raises(ValueError, match="did you mean dedup"):
        check_plan_options(recipe, graph(recipe), ["dedpu"], "", "warn")


def test_all_mistakes_are_told_together_and_right_options_pass(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(devices, "GPU_FILES", ())
    recipe = load("tiny", ["resources.hours.pretrian=3", "resources.device=cuda"])
    with pytest.raises(ValueError, match=r"^3 problems; nothing was run") as refused:
        check_options(recipe, graph(recipe), until="sfft")
    assert "this machine has no GPU" in str(refused.value) and "did you mean pretrain?" in str(refused.value)
    recipe = load("tiny")
    check_options(recipe, graph(recipe), until="split", refresh=["sft"], accept=["dedup"], drift="rebuild")


def test_a_device_is_missing_only_where_that_is_certain(monkeypatch: pytest.MonkeyPatch) -> None:
    cuda = "cuda"
    monkeypatch.setattr(devices, "GPU_FILES", ("/dev/null",))
    monkeypatch.setattr(devices, "_built_for_cpus", lambda: False)
    assert missing_device(cuda) == ""
    monkeypatch.setattr(devices, "_built_for_cpus", lambda: True)
    assert "built for CPUs" in missing_device(cuda)
    assert missing_device("auto") == ""


def test_torch_says_itself_whether_it_is_built_for_cpus() -> None:
    import torch

    assert devices._built_for_cpus() == (torch.version.cuda is None and torch.version.hip is None)
