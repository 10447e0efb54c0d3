"""Exports in the other formats: each is read back by the program that it is for, and is the model."""

from __future__ import annotations

import json
import struct
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from transformers import AutoModelForSeq2SeqLM, AutoTokenizer

from flows import exporting
from models import presets, template
from models.export import formats, hf, llama2c, pth
from models.export.source import Source
from tasks.artifacts.store import Store
from tests import outside
from tests.test_export import equal, exported, preset, tokenizer, trained

__all__ = ["tokenizer", "trained"]


def same(figures: dict[str, Any]) -> None:
    assert all(equal(figures, part) for part in ("ids", "template", "greedy")), figures
    assert figures["log_probabilities"]["largest_difference"] < 1e-4


def small_t5(folder: Path, tokenizer_folder: Path) -> Path:
    loaded = AutoTokenizer.from_pretrained(tokenizer_folder)
    torch.manual_seed(0)
    AutoModelForSeq2SeqLM.from_config(presets.build("t5-tiny", len(loaded))).save_pretrained(folder)
    loaded.save_pretrained(folder)
    return folder


def test_a_folder_for_transformers_is_the_model_with_its_ends_and_its_sampling(trained: Path, tmp_path: Path) -> None:
    stats = exported(trained, tmp_path / "out", "same", "hf")
    same(stats["comparison"])
    assert stats["comparison"]["log_probabilities"]["largest_difference"] == 0
    said = json.loads((tmp_path / "out" / "generation_config.json").read_text())
    assert said["eos_token_id"] == [template.END_ID, template.STOP_ID] and said["pad_token_id"] == template.PAD_ID
    assert said["do_sample"] and said["temperature"] == 0.7
    half = exported(trained, tmp_path / "half", "bfloat16", "hf")
    assert json.loads((tmp_path / "half" / "config.json").read_text())["dtype"] == "bfloat16"
    assert half["sizes"]["model.safetensors"] < 0.6 * stats["sizes"]["model.safetensors"]
    assert 0 < half["comparison"]["log_probabilities"]["mean_kl"] < 0.01


def test_weights_in_shards_are_the_same_model(trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from models.export import safetensors

    monkeypatch.setattr(safetensors, "SHARD", 150_000)
    stats = exported(trained, tmp_path / "out", "same", "safetensors")
    same(stats["comparison"])
    shards = sorted((tmp_path / "out").glob("model-*.safetensors"))
    assert len(shards) > 2 and shards[0].name == f"model-00001-of-{len(shards):05d}.safetensors"
    assert all(path.stat().st_mode & 0o777 == 0o644 for path in shards)
    assert json.loads((tmp_path / "out" / "model.safetensors.index.json").read_text())["metadata"]["total_size"] > 300_000


def test_a_retnets_folder_loads_where_hanlin_is_not(tokenizer: Path, tmp_path: Path) -> None:
    model = preset(tmp_path / "model", tokenizer, "retnet-tiny")
    same(exported(model, tmp_path / "out", "same", "hf")["comparison"])
    program = (
        "import sys\nfrom transformers import AutoModelForCausalLM\n"
        "model = AutoModelForCausalLM.from_pretrained(sys.argv[1], trust_remote_code=True)\n"
        "print(type(model).__module__, 'models' in sys.modules)"
    )
    command = [sys.executable, "-P", "-c", program, str(tmp_path / "out")]
    env = {"HF_HUB_OFFLINE": "1", "HF_MODULES_CACHE": str(tmp_path / "modules"), "PATH": ""}
    said = subprocess.run(command, cwd=tmp_path, env=env, capture_output=True, text=True, check=True).stdout
    assert said.startswith("transformers_modules.") and said.endswith("modelling False\n")


def test_a_tokenizer_that_transformers_makes_anew_is_told(
    tokenizer: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    stats = exported(preset(tmp_path / "model", tokenizer, qkv_bias=True), tmp_path / "out", "same", "hf")
    same(stats["comparison"])
    assert "PreTrainedTokenizerFast" in stats["use"] and "Qwen2Tokenizer" in capsys.readouterr().out


@pytest.mark.parametrize(("precision", "share"), [("8bit", 0.7), ("4bit", 0.6)])
def test_a_folder_in_few_bits_is_smaller_and_nearly_the_model(
    trained: Path, tmp_path: Path, precision: str, share: float
) -> None:
    stats = exported(trained, tmp_path / "out", precision, "hf")
    assert equal(stats["comparison"], "ids")
    assert 0 < stats["comparison"]["log_probabilities"]["mean_kl"] < 0.5
    assert json.loads((tmp_path / "out" / "config.json").read_text())["quantization_config"][f"load_in_{precision}"]
    assert stats["sizes"]["model.safetensors"] < share * (trained / "model" / "model.safetensors").stat().st_size


@pytest.mark.parametrize("kind", ["llama", "t5"])
def test_ctranslate2_reads_the_same_model(trained: Path, tokenizer: Path, tmp_path: Path, kind: str) -> None:
    model = trained if kind == "llama" else small_t5(tmp_path / "model", tokenizer)
    same(exported(model, tmp_path / "out", "float32", "ctranslate2")["comparison"])
    stats = exported(model, tmp_path / "rounded", "int8", "ctranslate2")
    assert (
        equal(stats["comparison"], "ids") and stats["sizes"]["model.bin"] < 0.4 * (tmp_path / "out" / "model.bin").stat().st_size
    )
    assert 1e-4 < stats["comparison"]["log_probabilities"]["largest_difference"] < 2


def test_a_t5_whose_shared_head_is_not_divided_is_the_same_in_ctranslate2(tmp_path: Path) -> None:
    model = outside.text2text(tmp_path / "model", own=False, scale_decoder_outputs=False)
    figures = exported(model, tmp_path / "out", "float32", "ctranslate2")["comparison"]
    assert equal(figures, "greedy") and figures["log_probabilities"]["largest_difference"] < 1e-3


def test_a_file_of_torch_goes_there_and_back(trained: Path, tmp_path: Path) -> None:
    stats = exported(trained, tmp_path / "out", "same", "pth")
    same(stats["comparison"])
    file = tmp_path / "out" / "model.pth"
    home = Store(tmp_path / "store")
    built = exporting.exported(home, exporting.resolved(home, str(file)), "hf")
    back = home.object(built.record.key) / "model"
    mine, theirs = Source(trained), Source(back)
    assert mine.shapes == theirs.shapes
    assert all(np.array_equal(mine.tensor(name), theirs.tensor(name)) for name in mine.shapes)
    assert built.record.stats["comparison"]["greedy"]["equal"] == 20


def test_a_state_alone_needs_its_configuration_beside_it(trained: Path, tmp_path: Path) -> None:
    source = Source(trained)
    torch.save({name: source.stored(name) for name in source.shapes}, tmp_path / "state.pth")
    with pytest.raises(ValueError, match=r"put the model's config.json and tokenizer.json .* beside it"):
        pth.unpack(tmp_path / "state.pth", tmp_path / "none")
    for name in formats.BESIDE:
        if (source.home / name).exists():
            (tmp_path / name).write_bytes((source.home / name).read_bytes())
    assert Source(pth.unpack(tmp_path / "state.pth", tmp_path / "back")).shapes == source.shapes
    (tmp_path / "text.pth").write_text("no file of torch")
    with pytest.raises(ValueError, match="without running code in it"):
        pth.unpack(tmp_path / "text.pth", tmp_path / "none")


def test_llama2c_has_the_weights_and_the_tokens_texts(trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    stats = exported(trained, tmp_path / "out", "float32", "llama2c")
    figures = stats["comparison"]
    assert figures["ids"] is None and figures["template"] is None and equal(figures, "greedy")
    assert figures["log_probabilities"]["largest_difference"] < 1e-4
    said = capsys.readouterr().out
    assert "cannot read prompts" in said and "under the root of a norm" in said
    data = (tmp_path / "out" / "tokenizer.bin").read_bytes()
    loaded, place, texts = AutoTokenizer.from_pretrained(trained / "model"), 4, []
    while place < len(data):
        _, length = struct.unpack_from("<fI", data, place)
        texts.append(data[place + 8 : place + 8 + length])
        place += 8 + length
    assert len(texts) == len(loaded) and struct.unpack_from("<I", data)[0] == max(map(len, texts))
    ids = loaded("白鹭城在青江旁边 👍", add_special_tokens=False)["input_ids"]
    assert b"".join(texts[number] for number in ids).decode() == "白鹭城在青江旁边 👍"
    with pytest.raises(ValueError, match="its header describes"):
        (tmp_path / "long.bin").write_bytes((tmp_path / "out" / "model.bin").read_bytes() + bytes(4))
        llama2c.Run(tmp_path / "long.bin")


@pytest.mark.parametrize(
    ("kind", "to", "precision", "said"),
    [
        ("qwen3", "llama2c", "", "export it --to gguf"),
        ("qwen2", "llama2c", "", "pretrain.qkv_bias"),
        ("t5", "llama2c", "", "Llama alone"),
        ("qwen2_moe", "ctranslate2", "", "this is a qwen2_moe"),
        ("retnet", "ctranslate2", "", "export it --to hf"),
        ("retnet", "hf", "4bit", "--dtype bfloat16"),
    ],
)
def test_what_a_format_cannot_hold_is_refused_with_a_way_out(
    tmp_path: Path, kind: str, to: str, precision: str, said: str
) -> None:
    (tmp_path / "config.json").write_text(json.dumps({"model_type": kind}))
    [problem] = formats.problems(tmp_path, to, precision)
    assert said in problem


def test_every_format_has_a_module_and_the_first_precision_rounds_nothing() -> None:
    from models.export.exporter import EXACT

    for name, one in formats.FORMATS.items():
        assert one.precisions[0] in EXACT
        assert (Path(hf.__file__).parent / f"{name}.py").is_file()
