"""The adapter to vLLM, which is not installed here. What it refuses is real. How it talks to vLLM is checked against a stand-in with the
documented signatures of `LLM`, `SamplingParams` and `LLM.generate`, behind which a real model answers: that shows which prompts, stops and
limits are handed over and what is made of the tokens that come back, and nothing of vLLM's own arithmetic, sampler or speed."""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoModelForSeq2SeqLM, AutoTokenizer

from flows.recipe import BadRecipe, load
from models import generate, presets, vllm_engine
from tasks.artifacts.digests import sources
from tests import tiny
from tests.test_generate import job
from tests.test_versions import stages

HERE = pytest.mark.skipif(vllm_engine.find_spec("vllm") is not None, reason="vllm is installed")


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("vllm")
    made = tiny.make_tokenizer(folder / "tokenizer", tiny.split(folder / "world"))
    tiny.llama(folder / "knows", made, steps=60, context=160)
    return folder


@dataclass
class SamplingParams:
    temperature: float = 1.0
    top_p: float = 1.0
    max_tokens: int | None = 16
    stop_token_ids: list[int] | None = None
    seed: int | None = None
    detokenize: bool = True


class LLM:
    """Greedy answers of the model in the folder, one prompt after the other."""

    asked: list[tuple[dict[str, Any], SamplingParams]]

    def __init__(self, model: str, *, dtype: str, seed: int, generation_config: str):
        assert (dtype, generation_config) == ("float32", "vllm") and 0 <= seed < 1 << 32
        self.model = AutoModelForCausalLM.from_pretrained(model)
        LLM.asked = []

    def generate(
        self, prompts: list[dict[str, Any]], sampling_params: list[SamplingParams], *, use_tqdm: bool = True
    ) -> list[SimpleNamespace]:
        assert not use_tqdm
        LLM.asked += zip(prompts, sampling_params, strict=True)
        made = []
        for prompt, params in zip(prompts, sampling_params, strict=True):
            ids = torch.tensor([prompt["prompt_token_ids"]])
            settings = {
                "max_new_tokens": params.max_tokens,
                "eos_token_id": params.stop_token_ids,
                "pad_token_id": 0,
                "do_sample": False,
            }
            tokens = self.model.generate(ids, attention_mask=torch.ones_like(ids), **settings)[0, ids.size(1) :].tolist()
            made.append(SimpleNamespace(outputs=[SimpleNamespace(token_ids=tuple(tokens))]))
        return made


@pytest.fixture
def stand_in(monkeypatch: pytest.MonkeyPatch) -> None:
    module = ModuleType("vllm")
    module.__dict__.update(LLM=LLM, SamplingParams=SamplingParams, __version__="0", __spec__=ModuleSpec("vllm", None))
    monkeypatch.setitem(sys.modules, "vllm", module)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)


def rows(folder: Path) -> dict[tuple[int, float], dict[str, Any]]:
    lines = [json.loads(line) for path in folder.iterdir() for line in path.open(encoding="utf-8")]
    return {(row["prompt"], row["temperature"]): row for row in lines}


def test_the_batches_and_answers_are_those_of_the_other_engine(home: Path, tmp_path: Path, stand_in: None) -> None:
    """Greedily, where both must say the same; a prompt without room included."""
    wanted = {"temperatures": [0.0]}
    generate.generate(job(home, tmp_path / "here", **wanted))
    assert generate.generate(job(home, tmp_path / "there", engine="vllm", device="auto", **wanted)) == {
        "answers": 9,
        "engine": "vllm 0",
    }
    assert rows(tmp_path / "there") == rows(tmp_path / "here")
    assert {path.name for path in (tmp_path / "there").iterdir()} == {path.name for path in (tmp_path / "here").iterdir()}


def test_what_is_asked_of_it(home: Path, tmp_path: Path, stand_in: None) -> None:
    generate.generate(job(home, tmp_path / "out", engine="vllm", device="auto", temperatures=[0.0, 0.7], top_p=0.9))
    assert len(LLM.asked) == 16, "the prompt that leaves no room is not handed over"
    assert {(params.temperature, params.top_p, params.max_tokens) for _, params in LLM.asked} == {(0.0, 1.0, 40), (0.7, 0.9, 40)}
    assert len({params.seed for _, params in LLM.asked}) == 16, "a seed for each answer"
    assert not any(params.detokenize for _, params in LLM.asked)


def test_a_lost_batch_is_made_again_and_nothing_else(home: Path, tmp_path: Path, stand_in: None) -> None:
    asked = job(home, tmp_path / "out", engine="vllm", device="auto", temperatures=[0.0])
    generate.generate(asked)
    before = rows(tmp_path / "out")
    min((tmp_path / "out").iterdir()).unlink()
    generate.generate(asked)
    assert len(LLM.asked) <= 4 and rows(tmp_path / "out") == before


@HERE
def test_without_the_package_it_is_refused_before_anything_is_loaded(home: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="vllm is not installed here; pip install vllm"):
        generate.generate(job(home, tmp_path / "out", engine="vllm", device="auto"))


@pytest.mark.parametrize("preset", ["t5-tiny", "retnet-tiny"])
def test_an_architecture_that_it_lacks_is_refused(home: Path, tmp_path: Path, stand_in: None, preset: str) -> None:
    tokenizer = AutoTokenizer.from_pretrained(home / "tokenizer")
    kind = AutoModelForSeq2SeqLM if preset.startswith("t5") else AutoModelForCausalLM
    kind.from_config(presets.build(preset, len(tokenizer), 64)).save_pretrained(tmp_path / "model")
    tokenizer.save_pretrained(tmp_path / "model")
    with pytest.raises(ValueError, match=f"vllm, which cannot run {preset.partition('-')[0]}"):
        generate.generate(job(home, tmp_path / "out", engine="vllm", device="auto", model=str(tmp_path / "model")))


@pytest.mark.parametrize(
    ("recipe", "told"),
    [
        ("sample", "the package vllm is not installed here"),
        ("chatlm-t5-0.2b-tiny", "not t5-tiny; set it to transformers"),
        ("retnet-1.3b-tiny", "not retnet-tiny; set it to transformers"),
    ],
)
@HERE
def test_a_recipe_is_refused_before_anything_is_trained(recipe: str, told: str) -> None:
    with pytest.raises(BadRecipe) as refused:
        load(recipe, ["rejected.engine=vllm"])
    assert [told in problem for problem in refused.value.problems] == [True]


def test_the_adapter_is_code_of_what_it_generates_and_of_nothing_else() -> None:
    reached = {
        variant: vllm_engine.__name__ in sources(stage.modules(value))
        for stage in stages().values()
        for variant, value in stage.variants().items()
    }
    assert [variant for variant, there in reached.items() if there] == ["rejected[vllm]"]
    assert {"rejected[transformers]", "pretrain", "evaluate"} <= reached.keys()
