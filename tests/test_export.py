"""Exports in GGUF: read back by llama.cpp, compared with the model, and refused where llama.cpp would be another model."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, LlamaConfig, PreTrainedConfig, Qwen2MoeConfig

from flows import exporting
from models import presets, template
from models.export import awkward, exporter, formats, gguf, modelfile
from models.export.source import Source
from tasks import export
from tasks.artifacts.build import Input
from tasks.artifacts.stage import Job
from tasks.artifacts.store import Store
from tests import tiny


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> Path:
    home = tmp_path_factory.mktemp("tokenizer")
    return tiny.make_tokenizer(home / "tokenizer", tiny.split(home / "world"))


@pytest.fixture(scope="module")
def trained(tokenizer: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The artifact of a Llama that knows its world."""
    return tiny.llama(tmp_path_factory.mktemp("trained"), tokenizer, steps=40)


def preset(folder: Path, tokenizer: Path, name: str = "tiny", seed: int = 0, **options: Any) -> Path:
    """A random model of a preset, far enough from its start that its answers differ."""
    loaded = AutoTokenizer.from_pretrained(tokenizer)
    return of_config(folder, loaded, presets.build(name, len(loaded), 128, **options), seed)


def of_config(folder: Path, loaded: Any, config: PreTrainedConfig, seed: int = 0) -> Path:
    torch.manual_seed(seed)
    model = AutoModelForCausalLM.from_config(config)
    with torch.no_grad():
        for name, weight in model.named_parameters():
            weight.mul_(4.0) if weight.dim() > 1 else weight.add_(torch.randn_like(weight) * (0.2 if "norm" in name else 0.1))
    model.save_pretrained(folder)
    loaded.save_pretrained(folder)
    return folder


def exported(model: Path, out: Path, precision: str = "f32", to: str = "gguf") -> dict[str, Any]:
    job = {"model": str(model), "out": str(out), "scratch": str(out.parent), "to": to, "precision": precision}
    return exporter.export(job)


def equal(figures: dict[str, Any], name: str) -> bool:
    return figures[name]["equal"] == figures[name]["of"] > 0


def test_the_texts_are_two_hundred_and_awkward() -> None:
    texts = awkward.texts()
    assert len(texts) == 200 == len(set(texts))
    assert {"\u3000", "\u00a0", "\u2003", "\r\n", "<|im_end|>"} <= set(texts)


def test_a_llama_in_gguf_is_the_same_model(trained: Path, tmp_path: Path) -> None:
    stats = exported(trained, tmp_path / "out")
    figures = stats["comparison"]
    assert all(equal(figures, part) for part in ("ids", "template", "greedy")), figures
    assert figures["ids"]["of"] == 200 and figures["greedy"]["of"] == 20
    assert figures["log_probabilities"]["largest_difference"] < 1e-4
    assert stats["file"] == "model-F32.gguf" and set(stats["sizes"]) == {"model-F32.gguf", "Modelfile"}
    assert (tmp_path / "out" / "model-F32.gguf").stat().st_mode & 0o777 == 0o644


@pytest.mark.parametrize(
    "options", [{"qk_norm": True, "kv_heads": 1}, {"qkv_bias": True}, {"kv_heads": 1}], ids=["qwen3", "qwen2", "gqa"]
)
def test_every_llama_like_architecture_is_the_same_model(tokenizer: Path, tmp_path: Path, options: dict[str, Any]) -> None:
    figures = exported(preset(tmp_path / "model", tokenizer, **options), tmp_path / "out")["comparison"]
    assert all(equal(figures, part) for part in ("ids", "template", "greedy")), figures
    assert figures["log_probabilities"]["largest_difference"] < 1e-4


def test_experts_whose_weights_are_not_divided_are_the_same_model(tokenizer: Path, tmp_path: Path) -> None:
    model = preset(tmp_path / "model", tokenizer, "tiny-moe-undivided")
    figures = exported(model, tmp_path / "out")["comparison"]
    assert all(equal(figures, part) for part in ("ids", "template", "greedy")), figures
    assert figures["log_probabilities"]["largest_difference"] < 1e-4
    stats = exported(model, tmp_path / "rounded", "q8_0")
    assert equal(stats["comparison"], "ids") and stats["comparison"]["log_probabilities"]["mean_kl"] < 0.1
    assert stats["types"]["F32"] == 4 * 4 + 1, "norms, the shared expert's gate and the router of each layer, and the last norm"


@pytest.mark.parametrize(
    ("name", "precision", "label", "kinds"),
    [
        ("tiny", "q8_0", "Q8_0", {"Q8_0", "F32"}),
        ("tiny", "q4_k_m", "Q5_0", {"Q5_0", "Q8_0", "Q6_K", "F32"}),
        ("16m", "q4_0", "F16", {"F16", "Q4_0", "F32"}),
    ],
)
def test_a_quantised_file_is_named_by_what_is_in_it(
    tokenizer: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str, precision: str, label: str, kinds: set[str]
) -> None:
    stats = exported(preset(tmp_path / "model", tokenizer, name), tmp_path / "out", precision)
    assert stats["file"] == f"model-{label}.gguf" and set(stats["types"]) == kinds
    assert equal(stats["comparison"], "ids")
    assert 0 < stats["comparison"]["log_probabilities"]["mean_kl"] < 0.5
    told = "was asked for, and the file is named" in capsys.readouterr().out
    assert told is (label.lower() != precision)


def test_k_quants_come_back_as_they_were_within_their_steps() -> None:
    import gguf as package

    values = np.random.default_rng(0).standard_normal((3, 512), dtype=np.float32)
    for kind, step in ((package.GGMLQuantizationType.Q4_K, 0.3), (package.GGMLQuantizationType.Q6_K, 0.06)):
        packed = gguf._packed(values, kind)
        back = package.quants.dequantize(packed, kind)
        assert back.shape == values.shape and 0 < np.abs(back - values).max() < step


def test_without_the_librarys_function_k_quants_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gguf.ctypes, "CDLL", lambda path: object())
    with pytest.raises(ValueError, match="take q5_0 or q8_0"):
        gguf.quantiser()


@pytest.mark.parametrize(
    ("config", "changed", "said"),
    [
        ({"model_type": "qwen2_moe", "norm_topk_prob": True}, {}, "names end in -undivided"),
        ({"model_type": "t5"}, {}, "--to ctranslate2"),
        ({"model_type": "retnet"}, {}, "export it --to hf"),
        ({"rope_parameters": {"rope_type": "yarn", "factor": 4.0}}, {}, "rope_scaling"),
        ({"attention_bias": True}, {}, "biases"),
        ({"hidden_act": "gelu"}, {}, "silu for granted"),
        ({"model_type": "mistral"}, {}, "convert_hf_to_gguf.py"),
        ({}, {"pre_tokenizer": {"type": "ByteLevel", "use_regex": True, "add_prefix_space": False}}, "another pattern"),
        ({}, {"normalizer": {"type": "NFC"}}, "normalises texts"),
        ({}, {"model": {"type": "Unigram"}}, "no byte-pair encoding"),
    ],
)
def test_what_llama_cpp_would_read_otherwise_is_refused_before_any_work(
    trained: Path, tmp_path: Path, config: dict[str, Any], changed: dict[str, Any], said: str
) -> None:
    home = tmp_path / "model"
    shutil.copytree(trained / "model", home)
    for name, about in (("config.json", config), ("tokenizer.json", changed)):
        path = home / name
        path.write_text(json.dumps(json.loads(path.read_text("utf-8")) | about), "utf-8")
    [problem] = formats.problems(home, "gguf", "f32")
    assert said in problem and "export it" in problem
    with pytest.raises(ValueError, match=said):
        export.run(Job(tmp_path / "out", tmp_path / "s", tiny.ONE), export.Params(to="gguf"), model=home)


def test_a_model_that_writes_nothing_and_files_that_do_not_belong_together_are_refused(trained: Path, tmp_path: Path) -> None:
    home = tmp_path / "model"
    shutil.copytree(trained / "model", home)
    config = json.loads((home / "config.json").read_text("utf-8"))

    def described(**changes: Any) -> None:
        (home / "config.json").write_text(json.dumps(config | changes), "utf-8")

    described(architectures=["LlamaForSequenceClassification"])
    for to in formats.FORMATS:
        assert "judges texts and writes none" in formats.problems(home, to, "")[0]
    described(vocab_size=100)
    assert "the model has embeddings of 100 tokens" in formats.problems(home, "hf", "")[0]
    described(num_hidden_layers=3)
    with pytest.raises(ValueError, match=r"9 of the weights that config.json describes are not in the files"):
        exported(home, tmp_path / "out", "same", "hf")
    assert not (tmp_path / "out").exists(), "nothing is written"
    described()
    (home / "model.safetensors").write_bytes(b"x" * 1000)
    with pytest.raises(ValueError, match=r"model.safetensors is damaged .* copy or fetch it again"):
        exported(home, tmp_path / "out")


def test_a_shared_head_is_written_where_llama_cpp_wants_one(tokenizer: Path, tmp_path: Path) -> None:
    loaded = AutoTokenizer.from_pretrained(tokenizer)
    shape = {
        "vocab_size": len(loaded),
        "hidden_size": 64,
        "intermediate_size": 96,
        "num_hidden_layers": 1,
        "num_attention_heads": 4,
    }
    more = {
        "num_experts": 4,
        "num_experts_per_tok": 2,
        "moe_intermediate_size": 32,
        "shared_expert_intermediate_size": 64,
        "num_key_value_heads": 2,
    }
    for config in (
        LlamaConfig(**shape, tie_word_embeddings=True, max_position_embeddings=16),
        Qwen2MoeConfig(**shape, **more, tie_word_embeddings=True, max_position_embeddings=128, norm_topk_prob=False),
    ):
        figures = exported(of_config(tmp_path / config.model_type, loaded, config), tmp_path / f"{config.model_type}-out")[
            "comparison"
        ]
        assert figures["log_probabilities"]["largest_difference"] < 1e-4
        assert equal(figures, "greedy"), "no whole question fits into 16 tokens"


def test_a_missing_package_an_unknown_format_and_precision_say_what_to_do(trained: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    home = trained / "model"
    assert "take one of f32, f16" in formats.problems(home, "gguf", "q9")[0]
    assert f"take one of {', '.join(formats.FORMATS)}" in formats.problems(home, "pickle", "")[0]
    monkeypatch.setattr(formats, "find_spec", lambda name: None)
    assert formats.problems(home, "gguf", "") == ["--to gguf needs the packages gguf and xllamacpp: pip install 'hanlin[export]'"]


def test_an_export_that_is_another_model_is_not_kept(tokenizer: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gguf, "pairs", lambda weight, heads: weight)  # rotary positions turn the wrong numbers
    with pytest.raises(ValueError, match=r"otherwise than the model is: log-probabilities that differ by .*not kept"):
        exported(preset(tmp_path / "model", tokenizer), tmp_path / "out")


def test_an_earlier_form_of_the_template_is_written_anew(trained: Path, tmp_path: Path) -> None:
    home = tmp_path / "model"
    shutil.copytree(trained / "model", home)
    (home / "chat_template.jinja").write_text("{{ messages[0].content | trim }}", "utf-8")
    tokenizer = AutoTokenizer.from_pretrained(home)
    template.use(tokenizer, "chatml")
    assert Source(home).chat_template == tokenizer.chat_template


def test_the_modelfile_has_the_template_in_gos_language_and_both_stops(trained: Path) -> None:
    lines = modelfile.text(Source(trained), "model-F32.gguf")
    assert lines.startswith("FROM ./model-F32.gguf\nTEMPLATE")
    assert '{{ if eq .Role "system" }}<|im_start|>system\n{{ .Content }}<|im_end|>\n{{ else if eq .Role "user" }}' in lines
    assert 'PARAMETER stop "<|endoftext|>"\nPARAMETER stop "<|im_end|>"\nPARAMETER num_ctx 96' in lines


def test_an_export_is_an_artifact_and_is_reused(trained: Path, tmp_path: Path) -> None:
    home = Store(tmp_path / "store")
    model = Input(trained, "0" * 64)
    built = exporting.exported(home, model, "gguf")
    assert not built.reused and built.record.stage == "export"
    assert built.record.stats["comparison"]["ids"] == {"equal": 200, "of": 200}
    assert exporting.exported(home, model, "gguf", "f32").reused, "the default by its name"
    folder, out = home.object(built.record.key) / "model", tmp_path / "out"
    exporting.copy(folder, out)
    exporting.copy(folder, out)
    assert {path.name for path in out.iterdir()} == {"model-F32.gguf", "Modelfile"}
    assert all(path.stat().st_mode & 0o777 == 0o644 for path in out.iterdir())
    (out / "notes.txt").write_text("mine")
    with pytest.raises(ValueError, match=r"other files \(notes.txt\)"):
        exporting.copy(folder, out)
    full = tmp_path / "file"
    full.write_text("no folder")
    with pytest.raises(ValueError, match=r"the files are in .*, from which they can be copied"):
        exporting.copy(folder, full / "below")


def test_what_is_no_model_and_where_nothing_can_be_written_is_told_before_any_work(tmp_path: Path) -> None:
    home = Store(tmp_path / "store")
    (tmp_path / "text.pth").write_text("no file of torch")
    (tmp_path / "adapter").mkdir()
    (tmp_path / "adapter" / "adapter_config.json").write_text("{}")
    for name, said in (
        ("text.pth", "is no file of torch.save"),
        ("none.pth", "there is no folder or file"),
        ("adapter", "an export is of a whole model"),
    ):
        with pytest.raises(ValueError, match=said):
            exporting.resolved(home, str(tmp_path / name))
    exporting.check_folder(tmp_path / "new" / "folder")
    assert not (tmp_path / "new").exists()
    with pytest.raises(ValueError, match=r"text.pth is a file; name a folder"):
        exporting.check_folder(tmp_path / "text.pth" / "below")
    with pytest.raises(ValueError, match=r"/proc cannot be written to"):
        exporting.check_folder(Path("/proc/hanlin"))
