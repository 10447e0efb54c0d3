"""Models from outside as what fine-tuning begins with: read, extended, refused."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from tokenizers import Tokenizer
from transformers import AutoModelForCausalLM, AutoTokenizer

from models import importer, template
from tasks import base, tokenizer
from tasks.artifacts.stage import Job
from tests import outside, tiny


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return outside.base(tmp_path_factory.mktemp("outside") / "llama", vocab_size=300)


def imported(files: Path, home: Path, grown: Path | None = None) -> tuple[Path, dict[str, Any]]:
    """As the stage's child does it, in this process."""
    out = home / "out" / "model"
    stats = importer.import_model(
        {"files": str(files), "out": str(out), "tokenizer": str(grown) if grown else None, "chat": False}
    )
    return out, stats


def test_a_model_comes_in_as_it_is_and_loads_like_our_own(tmp_path: Path) -> None:
    files = outside.base(tmp_path / "llama", shards=True)
    (files / "pytorch_model.bin").write_bytes(b"never read")
    job = Job(tmp_path / "out", tmp_path / "scratch", tiny.ONE)
    stats, home = base.run(job, base.Params(), files=base.chosen(files)), job.out / "model"
    assert len(list(files.glob("model-*.safetensors"))) > 1
    for path in files.glob("*.safetensors"):
        assert (home / path.name).read_bytes() == path.read_bytes()
    assert not (home / "pytorch_model.bin").exists()
    model, loaded = AutoModelForCausalLM.from_pretrained(home), AutoTokenizer.from_pretrained(home)
    assert stats["parameters"] == model.num_parameters() and stats["precision"] == "bfloat16"
    assert (stats["architecture"], stats["context"], stats["template"]) == ("LlamaForCausalLM", 512, "vicuna")
    assert loaded.encode("白鹭城") == AutoTokenizer.from_pretrained(files).encode("白鹭城")
    assert template.stops(loaded) == [2], "an answer ends with the model's own end of text"
    assert "User:" in template.render(loaded, tiny.turns("白鹭城"))


def test_an_extended_model_keeps_its_rows_and_special_tokens(folder: Path, tmp_path: Path) -> None:
    world = tiny.split(tmp_path / "world")
    counted = tiny.make_counts(tmp_path / "counts", world)
    params = tokenizer.Params(method="extend", base="somewhere", vocab_size=480)
    tokenizer.run(
        Job(tmp_path / "grown", tmp_path / "s", tiny.ONE), params, counts=counted, rows=world, base=[folder / "tokenizer.json"]
    )
    home, stats = imported(folder, tmp_path, tmp_path / "grown")
    new = AutoTokenizer.from_pretrained(home)
    old = AutoTokenizer.from_pretrained(folder)
    assert stats["new_tokens"] == len(new) - len(old) > 4
    assert (new.eos_token, new.bos_token, new.unk_token) == ("</s>", "<s>", "<unk>")
    assert stats["template"] == "chatml" and template.stops(new)[0] == 2
    before, after = (AutoModelForCausalLM.from_pretrained(where).get_input_embeddings().weight for where in (folder, home))
    assert len(after) == len(new) == stats["vocab_size"]
    for token in ("白", "</s>"):
        row = Tokenizer.from_file(str(folder / "tokenizer.json")).encode(token, add_special_tokens=False).ids[0]
        assert torch.equal(before[row], after[row].to(before.dtype))
    text = tiny.ANSWER.format("白鹭城", "青江", "青江")
    assert len(new.encode(text)) < len(old.encode(text)) and new.decode(new.encode(text, add_special_tokens=False)) == text


def changed(folder: Path, home: Path, file: str, **about: Any) -> Path:
    shutil.copytree(folder, home)
    path = home / file
    told = json.loads(path.read_text()) | about
    path.write_text(json.dumps({name: value for name, value in told.items() if value is not None}))
    return home


@pytest.mark.parametrize(
    ("file", "about", "said"),
    [
        ("config.json", {"auto_map": {"AutoModel": "modeling_x.X"}}, "asks for code of its own"),
        ("tokenizer_config.json", {"auto_map": {"AutoTokenizer": ["x.X", None]}}, "asks for code of its own"),
        ("config.json", {"quantization_config": {"quant_method": "gptq"}}, "rounded already"),
        ("config.json", {"model_type": None}, "names no model_type"),
    ],
)
def test_what_a_folder_says_against_itself_is_told_before_anything_is_run(
    folder: Path, tmp_path: Path, file: str, about: dict[str, Any], said: str
) -> None:
    [problem] = base.problems(changed(folder, tmp_path / "changed", file, **about))
    assert said in problem and file in problem
    with pytest.raises(ValueError, match=said):
        job = Job(tmp_path / "out", tmp_path / "scratch", tiny.ONE)
        base.run(job, base.Params(), files=base.chosen(tmp_path / "changed"))


@pytest.mark.parametrize(
    ("about", "said"),
    [
        ({"model_type": "mystery"}, "'mystery' is nothing that transformers or Hanlin knows"),
        ({"model_type": "bert", "architectures": ["BertForMaskedLM"]}, "BertForMaskedLM is no causal language model"),
        ({"num_hidden_layers": 3}, "weights that its config.json describes are not there"),
        ({"vocab_size": 200}, "not there or of another shape|rows of embeddings"),
    ],
)
def test_what_only_shows_where_the_model_is_read_is_told_in_a_line(
    folder: Path, tmp_path: Path, about: dict[str, Any], said: str
) -> None:
    with pytest.raises(ValueError, match=said):
        imported(changed(folder, tmp_path / "changed", "config.json", **about), tmp_path)


def test_a_tokenizer_without_an_end_is_refused(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="has no end of text"):
        imported(changed(folder, tmp_path / "changed", "tokenizer_config.json", eos_token=None), tmp_path)


def test_a_folder_without_a_model_says_all_that_is_missing(tmp_path: Path) -> None:
    (tmp_path / "pytorch_model.bin").write_bytes(b"pickle")
    found = base.problems(tmp_path)
    assert len(found) == 3 and "no config.json" in found[0] and "no tokenizer.json" in found[1]
    assert "only pytorch_model.bin, which Hanlin does not read: a pickle runs whatever is in it" in found[2]
    assert base.problems(tmp_path / "nowhere") == [
        f"there is no folder {tmp_path / 'nowhere'}; correct the path, or name a model of the hub as base.hub"
    ]
