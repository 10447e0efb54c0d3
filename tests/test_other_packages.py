"""Architectures of other packages: a folder on sys.path that looks installed, its presets found by the entry point group `hanlin.presets`."""

from __future__ import annotations

import importlib
import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
from pydantic import ValidationError

from flows import recipe as recipes
from models import presets
from models.decoding import answer
from models.loading import load
from models.sampling import Sampling
from tasks import pretrain
from tasks.artifacts.stage import Job, Resources
from tests import corpus

ARCHITECTURE = '''
"""Widely-gated Llama: a toy."""

from dataclasses import dataclass

from models.architectures import DECODER, PLAIN, Architecture, ArchitectureOptions


@dataclass(frozen=True)
class Toy(Architecture):
    name = "toy"
    model_types = ("toy",)
    options = ("kv_heads",)
    unsharded = "a toy is too small to train in shards"

    hidden: int
    layers: int

    def body(self, options: ArchitectureOptions = PLAIN) -> int:
        shared = 64 * (options.kv_heads or self.hidden // 64)
        layer = 2 * self.hidden * (self.hidden + shared) + 3 * self.hidden * 4 * self.hidden + 2 * self.hidden
        return self.layers * layer + self.hidden

    def parameters(self, vocab_size: int, options: ArchitectureOptions = PLAIN) -> int:
        return self.body(options) + 2 * vocab_size * self.hidden

    def config(self, vocab_size: int, context: int, options: ArchitectureOptions = PLAIN):
        from toy_presets.modelling import ToyConfig

        return ToyConfig(
            **DECODER,
            vocab_size=vocab_size,
            hidden_size=self.hidden,
            intermediate_size=4 * self.hidden,
            num_hidden_layers=self.layers,
            num_attention_heads=self.hidden // 64,
            num_key_value_heads=options.kv_heads or self.hidden // 64,
            max_position_embeddings=context,
        )

    @classmethod
    def register(cls) -> None:
        from transformers import AutoConfig, AutoModelForCausalLM

        from toy_presets.modelling import ToyConfig, ToyForCausalLM

        AutoConfig.register("toy", ToyConfig, exist_ok=True)
        AutoModelForCausalLM.register(ToyConfig, ToyForCausalLM, exist_ok=True)


PRESETS = {"toy-tiny": Toy(context=32, hidden=128, layers=1)}
'''
MODELLING = """
from transformers import LlamaConfig, LlamaForCausalLM


class ToyConfig(LlamaConfig):
    model_type = "toy"


class ToyForCausalLM(LlamaForCausalLM):
    config_class = ToyConfig
"""
Install = Callable[[str, str], Path]


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Install]:
    """Put a package of a name where Python finds it, in children too, with an entry point to its presets."""
    folder, before = tmp_path / "site", set(sys.modules)
    folder.mkdir()
    monkeypatch.syspath_prepend(folder)
    monkeypatch.setenv("PYTHONPATH", str(folder), prepend=":")

    def put(name: str, code: str) -> Path:
        home, about = folder / name, folder / f"{name}-1.5.dist-info"
        home.mkdir()
        about.mkdir()
        (home / "__init__.py").write_text(code)
        (about / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.5\n")
        (about / "entry_points.txt").write_text(f"[hanlin.presets]\nanything = {name}\n")
        importlib.invalidate_caches()
        presets.registry.cache_clear()
        return home

    yield put
    for name in set(sys.modules) - before:
        if name.startswith("toy_"):
            del sys.modules[name]
    presets.registry.cache_clear()


def test_a_preset_of_another_package_is_trained_loaded_and_answers(install: Install, tmp_path: Path) -> None:
    (install("toy_presets", ARCHITECTURE) / "modelling.py").write_text(MODELLING)
    schema = pretrain.Params.model_json_schema()["properties"]["preset"]
    assert schema["enum"] == presets.names() and schema["enum"][-1] == "toy-tiny"
    assert recipes.load("sample", ["pretrain.preset=toy-tiny"]).pretrain.preset == "toy-tiny"

    folders = corpus.build(tmp_path / "corpus")
    params = pretrain.Params(preset="toy-tiny", kv_heads=1, tokens=24 * 256, batch_tokens=256, learning_rate=0.01, log_steps=4)
    job = Job(tmp_path / "out", tmp_path / "scratch", Resources(device="cpu", threads=1))
    stats = pretrain.run(job, params, packed=folders["packed"], tokenizer=folders["tokenizer"])
    losses = [row["loss"] for row in map(json.loads, (job.out / "log.jsonl").open()) if "loss" in row]
    assert stats["steps"] == 24 and losses[-1] < losses[0] / 1.2

    model, tokenizer = load(job.out, torch.device("cpu"))
    assert type(model).__name__ == "ToyForCausalLM" and model.config.num_key_value_heads == 1
    assert model.num_parameters() == presets.find("toy-tiny").parameters(len(tokenizer), presets.chosen("toy-tiny", kv_heads=1))
    (said,) = answer(model, tokenizer, [tokenizer.encode("银草生长在")], Sampling(6))
    assert said.tokens > 0


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        (["pretrain.qk_norm=true"], "preset 'toy-tiny' (toy) has no qk_norm; it has kv_heads"),
        (["reward={}"], "reward: toy-tiny has no head that scores a text, which llama and moe have"),
        (["rejected.engine=vllm"], "rejected.engine: vllm runs llama and moe, not toy-tiny"),
        (["pretrain.context=null", "sft.max_length=33"], "sft.max_length: 33 tokens are more than the model's context of 32"),
    ],
)
def test_its_capabilities_are_asked_for_before_anything_runs(install: Install, changes: list[str], told: str) -> None:
    install("toy_presets", ARCHITECTURE)
    with pytest.raises(recipes.BadRecipe) as refused:
        recipes.load("sample", ["pretrain.preset=toy-tiny", *changes])
    assert told in str(refused.value)


@pytest.mark.parametrize(
    ("code", "told"),
    [
        ("import nothing_of_this_name\nPRESETS = {}", "ModuleNotFoundError: No module named 'nothing_of_this_name'"),
        ("PRESETS = {'toy-broken': 3}", "TypeError: it is no dict of names and instances of models.architectures.Architecture"),
        ("", "AttributeError: module 'toy_broken' has no attribute 'PRESETS'"),
        ("import sys\nsys.exit(3)", "SystemExit: 3"),
        (ARCHITECTURE.replace("model_types = ", "types = ", 1), "TypeError: "),
    ],
)
def test_a_package_that_fails_is_named_and_takes_no_other_along(install: Install, code: str, told: str) -> None:
    install("toy_broken", code)
    with pytest.raises(ValidationError) as refused:
        pretrain.Params(preset="toy-broken")
    assert (
        f"the package toy_broken 1.5 offers presets (hanlin.presets: anything = toy_broken) that cannot be read: {told}"
        in str(refused.value)
    )
    assert pretrain.Params(preset="16m").preset == "16m"


def test_a_saved_model_whose_package_fails_names_it(install: Install, tmp_path: Path) -> None:
    install("toy_broken", "1 / 0")
    (tmp_path / "config.json").write_text('{"model_type": "unheard-of"}')
    with pytest.raises(
        ValueError, match=r"model_type 'unheard-of', which neither.*the package toy_broken 1\.5.*ZeroDivisionError"
    ):
        load(tmp_path, torch.device("cpu"))


def test_its_code_is_code_of_what_it_builds(install: Install) -> None:
    home = install("toy_presets", ARCHITECTURE)
    (home / "modelling.py").write_text(MODELLING)
    before = {preset: pretrain.run.source_digest(pretrain.Params(preset=preset)) for preset in ("toy-tiny", "tiny")}
    (home / "modelling.py").write_text(MODELLING + "\nONE = 1\n")
    after = {preset: pretrain.run.source_digest(pretrain.Params(preset=preset)) for preset in before}
    assert after["toy-tiny"] != before["toy-tiny"] and after["tiny"] == before["tiny"]
    assert pretrain.run.variants() == {"pretrain": ""}


def test_a_name_that_two_claim_is_refused_and_both_are_named(install: Install) -> None:
    install("toy_presets", ARCHITECTURE)
    install("toy_tiny", ARCHITECTURE.replace("toy-tiny", "tiny"))
    with pytest.raises(
        ValueError, match=r"preset 'tiny' is offered by Hanlin and by the package toy_tiny 1\.5.*rename its preset"
    ):
        pretrain.Params(preset="tiny")
    assert presets.find("toy-tiny").name == "toy"


def test_presets_are_read_without_torch() -> None:
    code = "import sys; from tasks import pretrain; pretrain.Params.model_json_schema(); print({'torch', 'transformers'} & {*sys.modules})"
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert said.strip() == "set()"
