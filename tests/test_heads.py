"""Heads of T5s: shared or their own as the weights have it, and read alike by the two generations of transformers."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM, AutoModelForSeq2SeqLM, LlamaConfig, LlamaForCausalLM

from models import adapters, heads, importer, loading, random_weights
from models import job as jobs
from tasks import sft, tokenizer
from tasks.artifacts.stage import Job
from tasks.processes.training import Lora
from tests import corpus, outside, tiny
from tests.test_training_stages import BASE, tuned

FOUR = {"transformers_version": "4.57.6", "scale_decoder_outputs": None}  # what such a version wrote, and did not


def imported(files: Path, home: Path, grown: Path | None = None) -> Path:
    """As the stage's child does it, in this process."""
    job = {"files": str(files), "out": str(home), "tokenizer": str(grown) if grown else None, "chat": False}
    importer.import_model(job)
    return home


def logits(home: Path, *, generation: int) -> torch.Tensor:
    """Logits of the model in a folder as a generation of transformers reads it: 5 is the one that is installed; 4 takes the configuration's
    word for what the head is, and divides what a shared one reads."""
    model = AutoModelForSeq2SeqLM.from_pretrained(home, dtype=torch.float32).eval()
    ids, labels = torch.arange(4, 23)[None], torch.arange(30, 45)[None]
    described, saved = loading.described(home), load_file(home / "model.safetensors")
    with torch.no_grad():
        if generation == 5:
            return model(input_ids=ids, labels=labels).logits
        begun = torch.cat([torch.full((1, 1), described["decoder_start_token_id"]), labels[:, :-1]], 1)
        read = model.encoder(input_ids=ids).last_hidden_state
        said = model.decoder(input_ids=begun, encoder_hidden_states=read, use_cache=False).last_hidden_state
        shared = described.get("tie_word_embeddings", described["model_type"] != "mt5")
        weight = (saved["shared.weight"] if shared else saved["lm_head.weight"]).float()
        return (said * (said.size(-1) ** -0.5 if shared else 1)) @ weight.T


CASES = [
    ("t5", True, FOUR | {"tie_word_embeddings": False}, 4),  # T5 1.1
    ("t5", True, {"scale_decoder_outputs": False}, 5),  # the same, saved once more by transformers 5
    ("t5", True, {}, 5),  # divided by √d, and its own: no version 4 can say so
    ("t5", False, FOUR | {"tie_word_embeddings": None}, 4),
    ("t5", False, {}, 5),
    ("t5", False, {"scale_decoder_outputs": False}, 5),  # shared, and not divided
    ("mt5", True, FOUR | {"tie_word_embeddings": False}, 4),
    ("mt5", True, FOUR | {"tie_word_embeddings": None}, 4),
    ("mt5", True, {}, 5),
    ("mt5", False, FOUR | {"tie_word_embeddings": True}, 4),
    ("mt5", False, {}, 5),
    ("umt5", False, FOUR | {"tie_word_embeddings": None}, 4),
    ("umt5", False, {}, 5),
]


@pytest.mark.parametrize(("kind", "own", "described", "made_by"), CASES)
def test_a_base_is_read_as_it_was_meant_and_alike_by_both_generations(
    tmp_path: Path, kind: str, own: bool, described: dict[str, Any], made_by: int
) -> None:
    files = outside.text2text(tmp_path / "files", kind, own=own, **described)
    meant = logits(files, generation=made_by)
    home = imported(files, tmp_path / "home")
    for generation in (4, 5):
        torch.testing.assert_close(logits(home, generation=generation), meant, rtol=1e-5, atol=1e-5)
    again = tmp_path / "again"
    loading.load(home, torch.device("cpu"))[0].save_pretrained(again)
    for generation in (4, 5):
        torch.testing.assert_close(logits(again, generation=generation), meant, rtol=1e-5, atol=1e-5)


def test_a_head_of_its_own_counts_though_nothing_says_so(tmp_path: Path) -> None:
    """By the rule of its family: what such a head reads is not divided."""
    plain = outside.text2text(tmp_path / "plain", **FOUR | {"tie_word_embeddings": False})
    for name, said in (("silent", None), ("wrong", True)):
        home = imported(outside.text2text(tmp_path / name, **FOUR | {"tie_word_embeddings": said}), tmp_path / f"{name}-home")
        for generation in (4, 5):
            torch.testing.assert_close(logits(home, generation=generation), logits(plain, generation=4), rtol=1e-5, atol=1e-5)


def test_a_base_that_says_what_it_is_comes_in_with_its_bytes(tmp_path: Path) -> None:
    for name, own, tied in (("own", True, False), ("shared", False, True)):
        files = outside.text2text(tmp_path / name, own=own, **FOUR | {"tie_word_embeddings": tied})
        home = imported(files, tmp_path / f"{name}-home")
        for file in ("config.json", "model.safetensors"):
            assert (home / file).read_bytes() == (files / file).read_bytes()


def test_a_umt5_with_a_head_of_its_own_is_refused(tmp_path: Path) -> None:
    files = outside.text2text(tmp_path / "files", "umt5", **FOUR | {"tie_word_embeddings": False})
    with pytest.raises(ValueError, match=r"config\.json: this UMT5 has a head of its own, which transformers 5 divides"):
        imported(files, tmp_path / "home")


def test_a_decoder_whose_configuration_is_wrong_of_its_head_is_put_right(tmp_path: Path) -> None:
    torch.manual_seed(0)
    made = outside.tokenizer()
    config = LlamaConfig(
        vocab_size=len(made), hidden_size=32, intermediate_size=32, num_hidden_layers=1, num_attention_heads=2,
        tie_word_embeddings=False, bos_token_id=1, eos_token_id=2,
    )  # fmt: skip
    LlamaForCausalLM(config).save_pretrained(tmp_path / "files")
    made.save_pretrained(tmp_path / "files")
    path = tmp_path / "files" / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"tie_word_embeddings": True}))
    home = imported(tmp_path / "files", tmp_path / "home")
    assert loading.described(home)["tie_word_embeddings"] is False
    assert (home / "model.safetensors").read_bytes() == (tmp_path / "files" / "model.safetensors").read_bytes()
    assert heads.is_own(AutoModelForCausalLM.from_pretrained(home))


def test_a_head_of_its_own_takes_an_adapter_and_a_shared_one_does_not(tmp_path: Path) -> None:
    lora = jobs.LoraParams(rank=2, alpha=4.0, dropout=0.0, modules=("lm_head",), bits=32)
    own = imported(outside.text2text(tmp_path / "own", scale_decoder_outputs=False), tmp_path / "own-home")
    assert adapters.add(loading.load(own, torch.device("cpu"))[0], lora) == ["lm_head"]
    shared = imported(outside.text2text(tmp_path / "shared", own=False), tmp_path / "shared-home")
    with pytest.raises(ValueError, match="share their weights"):
        adapters.add(loading.load(shared, torch.device("cpu"))[0], lora)


def test_new_weights_of_its_shape_have_a_head_of_their_own(tmp_path: Path) -> None:
    home = imported(outside.text2text(tmp_path / "files", scale_decoder_outputs=False), tmp_path / "home")
    random_weights.reinitialise({"model": str(home), "out": str(tmp_path / "fresh"), "seed": 1})
    saved = load_file(tmp_path / "fresh" / "model.safetensors")
    assert not torch.equal(saved["lm_head.weight"], saved["shared.weight"])
    torch.testing.assert_close(logits(tmp_path / "fresh", generation=4), logits(tmp_path / "fresh", generation=5))
    assert logits(tmp_path / "fresh", generation=5).std() < 3, "it knows nothing, and says so"


def test_a_vocabulary_grows_in_both_tables(tmp_path: Path) -> None:
    files = outside.text2text(tmp_path / "files", scale_decoder_outputs=False)
    world = tiny.split(tmp_path / "world")
    counted = tiny.make_counts(tmp_path / "counts", world)
    params = tokenizer.Params(method="extend", base="somewhere", vocab_size=480)
    job = Job(tmp_path / "grown", tmp_path / "s", tiny.ONE)
    tokenizer.run(job, params, counts=counted, rows=world, base=[files / "tokenizer.json"])
    before, home = load_file(files / "model.safetensors"), imported(files, tmp_path / "home", tmp_path / "grown")
    after = load_file(home / "model.safetensors")
    for name in ("shared.weight", "lm_head.weight"):
        assert len(after[name]) > len(before[name]) and torch.equal(after[name][:300], before[name][:300])
    torch.testing.assert_close(logits(home, generation=4), logits(home, generation=5), rtol=1e-5, atol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("lora", [None, Lora(rank=2, modules=("q", "v", "lm_head"))])
def test_training_keeps_a_head_of_its_own(tmp_path: Path, lora: Lora | None) -> None:
    folders = dict(corpus.build(tmp_path / "corpus"))
    home = imported(outside.text2text(tmp_path / "files", scale_decoder_outputs=False), tmp_path / "home")
    params = sft.Params(**BASE, epochs=0.1, max_length=256, lora=lora, learning_rate=0.01, keep_state=True)
    (tmp_path / "run").mkdir()
    tuned("sft", folders | {"model": home}, tmp_path / "run", params)
    made = tmp_path / "run" / "out" / "model"
    before, after = load_file(home / "model.safetensors"), load_file(made / "model.safetensors")
    assert not torch.equal(after["lm_head.weight"], before["lm_head.weight"])
    assert torch.equal(after["shared.weight"], before["shared.weight"]) == bool(lora)
    torch.testing.assert_close(logits(made, generation=4), logits(made, generation=5), rtol=1e-5, atol=1e-5)
    again, name = tmp_path / "more", "state/weights.safetensors"
    again.mkdir()
    tuned("sft", folders | {"model": home}, again, params, start=tmp_path / "run" / "out")
    assert load_file(again / "out" / name).keys() == load_file(tmp_path / "run" / "out" / name).keys()
