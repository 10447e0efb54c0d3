"""Two processes that train the same write the same bytes, wherever they write them and whatever the seed of their hashes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from peft import LoraConfig
from transformers import LlamaConfig, LlamaForCausalLM

from models import adapters
from models import job as jobs
from tasks.processes import runner, warm
from tests import forks


@pytest.fixture(autouse=True)
def true_servers(monkeypatch: pytest.MonkeyPatch) -> None:
    """Fork servers that begin as they do outside of the suite."""
    monkeypatch.setattr(warm, "Server", forks.TrueServer)


@pytest.mark.slow
def test_every_kind_of_training_writes_the_same_files_by_another_hash_seed_in_another_place_and_warm(tmp_path: Path) -> None:
    places = {"1": tmp_path / "one", "2": tmp_path / "elsewhere" / "two"}
    environment = runner.importable(dict(os.environ)) | {"OMP_NUM_THREADS": "1", "HOME": str(tmp_path / "home")}
    cold = subprocess.Popen(
        [sys.executable, "-m", "tests.every_training", str(places["1"])],
        env=environment | {"PYTHONHASHSEED": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )
    seeded = environment | {"PYTHONHASHSEED": "2"}
    (tmp_path / "job.json").write_text('{"method": "models.methods.sft"}')
    for module, argument in (("models.train", tmp_path / "job.json"), ("tests.every_training", places["2"])):
        child = warm.start(module, [str(argument)], env=seeded, grace=runner.GRACE, locks=[])
        assert child is not None
        with child:
            said = child.stdout.read()
    warm._servers.popitem()[1].end()
    assert child.returncode == 0, said
    assert cold.wait() == 0, cold.communicate()[0].decode()
    assert not (tmp_path / "home").exists()  # nothing is cached there
    one, two = (
        {str(path.relative_to(place)): path for path in place.rglob("*") if path.is_file() and "out" in path.parts}
        for place in places.values()
    )
    assert one.keys() == two.keys()
    assert {name.split("/")[1] for name in one} == {"out"} and len(one) > 100
    assert {name for name in one if one[name].read_bytes() != two[name].read_bytes()} == set()


def llama() -> LlamaForCausalLM:
    return LlamaForCausalLM(
        LlamaConfig(vocab_size=32, hidden_size=16, intermediate_size=16, num_hidden_layers=1, num_attention_heads=1)
    )


def test_a_description_of_adapters_is_in_order_and_names_no_place(tmp_path: Path) -> None:
    """And is read back as it was meant."""
    modules = ("v_proj", "o_proj", "q_proj", "up_proj", "k_proj")
    model = llama()
    model.name_or_path = str(tmp_path / "a" / "base")
    adapters.add(model, jobs.LoraParams(rank=2, alpha=4.0, dropout=0.0, modules=modules, bits=32))
    adapters.save(model, tmp_path / "adapter")
    described = json.loads((tmp_path / "adapter" / "adapter_config.json").read_text("utf-8"))
    assert described["target_modules"] == sorted(modules) and list(described) == sorted(described)
    assert str(tmp_path) not in (tmp_path / "adapter" / "adapter_config.json").read_text("utf-8")
    read = LoraConfig.from_pretrained(str(tmp_path / "adapter"))
    assert (read.r, read.lora_alpha, read.target_modules) == (2, 4.0, set(modules))
    again = llama()
    adapters.attach(again, tmp_path / "adapter")
    adapters.save(again, tmp_path / "again")
    for name in ("adapter_config.json", "adapter_model.safetensors"):
        assert (tmp_path / "again" / name).read_bytes() == (tmp_path / "adapter" / name).read_bytes()
