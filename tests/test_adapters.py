"""Tests of partial training: adapters on bases of 32, 8 and 4 bits, what is not frozen, packed rows, and text-to-text models."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from peft import PeftModel
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM, AutoModelForSeq2SeqLM, AutoTokenizer

from models import adapters, dataset, losses, packing, presets, template
from models import job as jobs
from tasks import sft
from tasks.processes.training import Lora
from tests import corpus
from tests.test_training_stages import BASE, column, tuned

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("small_presets")]

QUICK = BASE | {"learning_rate": 5e-3, "epochs": 0.5, "optimizer": "adamw"}


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The corpus, and new models that know nothing: what is tested here is what changes in them."""
    found = dict(corpus.build(tmp_path_factory.mktemp("corpus")))
    tokenizer = AutoTokenizer.from_pretrained(found["tokenizer"])
    for preset, kind in (("tiny", AutoModelForCausalLM), ("t5-tiny", AutoModelForSeq2SeqLM)):
        torch.manual_seed(0)
        home = tmp_path_factory.mktemp(preset) / "model"
        kind.from_config(presets.build(preset, len(tokenizer), 128)).save_pretrained(home)
        tokenizer.save_pretrained(home)
        found[preset] = home
    return found


def folders_of(folders: dict[str, Path], preset: str) -> dict[str, Path]:
    return folders | {"model": folders[preset]}


def logits(model: Any) -> torch.Tensor:
    ids = torch.randint(4, 400, (2, 24), generator=torch.Generator().manual_seed(1))
    more = {"labels": ids} if model.config.is_encoder_decoder else {}
    with torch.no_grad():
        return model.eval()(input_ids=ids, **more).logits


@pytest.mark.parametrize("preset, kind", [("tiny", AutoModelForCausalLM), ("t5-tiny", AutoModelForSeq2SeqLM)])
def test_the_merged_model_is_the_base_with_its_adapter(folders: dict[str, Path], tmp_path: Path, preset: str, kind: Any) -> None:
    params = sft.Params(**QUICK, lora=Lora(rank=4, dropout=0.1))
    tuned("sft", folders_of(folders, preset), tmp_path, params)
    base = kind.from_pretrained(folders[preset])
    before = logits(base)
    adapted = PeftModel.from_pretrained(base, tmp_path / "out" / "adapter")  # as another program would
    merged = kind.from_pretrained(tmp_path / "out" / "model")
    assert type(merged) is type(kind.from_pretrained(folders[preset]))
    torch.testing.assert_close(logits(merged), logits(adapted), rtol=0, atol=1e-5)
    assert (logits(merged) - before).abs().max() > 1e-2, "and it has learned something"
    losses = column(tmp_path, "loss")
    assert losses[-1] < losses[0]


def test_only_the_modules_asked_for_get_an_adapter(folders: dict[str, Path], tmp_path: Path) -> None:
    tuned("sft", folders_of(folders, "tiny"), tmp_path, sft.Params(**QUICK, lora=Lora(rank=2, modules=("q_proj", "v_proj"))))
    names = {name.split(".")[-3] for name in load_file(tmp_path / "out" / "adapter" / "adapter_model.safetensors")}
    assert names == {"q_proj", "v_proj"}
    before, after = (load_file(home / "model.safetensors") for home in (folders["tiny"], tmp_path / "out" / "model"))
    changed = {name.split(".")[-2] for name in before if not torch.equal(before[name], after[name])}
    assert changed == {"q_proj", "v_proj"}


@pytest.mark.parametrize("bits", [32, 4])
def test_the_head_and_the_embeddings_take_adapters_too(folders: dict[str, Path], tmp_path: Path, bits: int) -> None:
    modules = ("embed_tokens", "q_proj", "down_proj", "lm_head")
    params = sft.Params(**QUICK, lora=Lora(rank=4, dropout=0.0, modules=modules, bits=bits))
    tuned("sft", folders_of(folders, "tiny"), tmp_path, params)
    kept = load_file(tmp_path / "out" / "adapter" / "adapter_model.safetensors")
    assert {part for name in kept for part in name.split(".") if part in modules} == set(modules)
    assert all("lora_" in name for name in kept), "nothing of the base is in it"
    assert all(p.abs().max() > 0 for p in kept.values()), "all of them have learned"
    adapted = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(folders["tiny"]), tmp_path / "out" / "adapter")
    merged = AutoModelForCausalLM.from_pretrained(tmp_path / "out" / "model")
    torch.testing.assert_close(logits(merged), logits(adapted), rtol=0, atol=1e-5)
    before, after = (load_file(home / "model.safetensors") for home in (folders["tiny"], tmp_path / "out" / "model"))
    assert {name.split(".")[-2] for name in before if not torch.equal(before[name], after[name])} == set(modules)


def test_the_loss_sees_an_adapter_of_the_head(folders: dict[str, Path]) -> None:
    model = AutoModelForCausalLM.from_pretrained(folders["tiny"])
    adapters.add(model, jobs.LoraParams(rank=4, alpha=8.0, dropout=0.0, modules=("lm_head",), bits=32))
    for name, p in model.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(p, generator=torch.Generator().manual_seed(0))
    ids = torch.randint(4, 400, (2, 24), generator=torch.Generator().manual_seed(1))
    plain = torch.nn.functional.cross_entropy(logits(model)[:, :-1].flatten(0, 1), ids[:, 1:].flatten(), reduction="sum")
    losses.fuse(model)
    loss = model(input_ids=ids, labels=ids)
    assert loss.item() == pytest.approx(plain.item(), rel=1e-5)
    loss.backward()
    assert all(p.grad is not None and p.grad.abs().max() > 0 for p in model.parameters() if p.requires_grad)


@pytest.mark.parametrize("bits", [8, 4])
def test_adapters_learn_on_a_rounded_base_and_are_added_to_the_whole_one(
    folders: dict[str, Path], tmp_path: Path, bits: int
) -> None:
    pytest.importorskip("bitsandbytes", reason="the extra `quant` is not installed")
    result = tuned(
        "sft", folders_of(folders, "tiny"), tmp_path, sft.Params(**QUICK | {"epochs": 1.0}, lora=Lora(rank=4, bits=bits))
    )
    losses = column(tmp_path, "loss")
    assert result is not None and losses[-1] < losses[0] - 0.2
    adapted = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(folders["tiny"]), tmp_path / "out" / "adapter")
    merged = AutoModelForCausalLM.from_pretrained(tmp_path / "out" / "model")
    assert merged.dtype == torch.float32 and not hasattr(merged.config, "quantization_config")
    torch.testing.assert_close(logits(merged), logits(adapted), rtol=0, atol=1e-5)


@pytest.mark.parametrize("bits", [32, 4])
def test_adapters_stopped_go_on_to_the_last_digit(folders: dict[str, Path], tmp_path: Path, bits: int) -> None:
    """Dropout included: the generator's state is part of a checkpoint."""
    params = sft.Params(**QUICK, lora=Lora(rank=4, dropout=0.2, bits=bits))
    asked = iter(range(1, 100))
    assert (
        tuned("sft", folders_of(folders, "tiny"), tmp_path / "stopped", params, lambda: next(asked) == 3, micro_batch=4) is None
    )
    tuned("sft", folders_of(folders, "tiny"), tmp_path / "stopped", params, micro_batch=4)
    tuned("sft", folders_of(folders, "tiny"), tmp_path / "straight", params, micro_batch=4)
    for path in ("log.jsonl", "adapter/adapter_model.safetensors", "model/model.safetensors"):
        assert (tmp_path / "stopped" / "out" / path).read_bytes() == (tmp_path / "straight" / "out" / path).read_bytes()
    kept = tmp_path / "straight" / "scratch" / "checkpoints"
    weights = next(kept.glob("step-*/weights.safetensors"))
    assert weights.stat().st_size < 0.2 * (folders["tiny"] / "model.safetensors").stat().st_size, "the frozen base is not in it"


def test_what_a_pattern_freezes_stays(folders: dict[str, Path], tmp_path: Path) -> None:
    params = sft.Params(**QUICK, freeze=("encoder.*", "shared.*"))
    tuned("sft", folders_of(folders, "t5-tiny"), tmp_path, params)
    before, after = (load_file(home / "model.safetensors") for home in (folders["t5-tiny"], tmp_path / "out" / "model"))
    changed = {name for name in before if not torch.equal(before[name], after[name])}
    assert changed and all(name.startswith("decoder.") for name in changed)


def test_mistakes_are_explained(folders: dict[str, Path], tmp_path: Path) -> None:
    def run(preset: str, **params: Any) -> None:
        tuned("sft", folders_of(folders, preset), tmp_path, sft.Params(**QUICK, **params))

    with pytest.raises(ValueError, match=r"the model has no linear layer w_pack; it has q_proj, k_proj"):
        run("tiny", lora=Lora(modules=("w_pack",)))
    with pytest.raises(ValueError, match="shared and lm_head of this model share their weights"):
        run("t5-tiny", lora=Lora(modules=("lm_head",)))
    with pytest.raises(ValueError, match=r"no parameter is called 'encoder\.\*'; the model's are model\.embed"):
        run("tiny", freeze=("encoder.*",))
    with pytest.raises(ValueError, match="leave nothing to train"):
        run("tiny", freeze=("*",))
    with pytest.raises(ValueError, match="packing is for decoders"):
        run("t5-tiny", packing=True)
    with pytest.raises(ValueError, match="give one of the two"):
        sft.Params(lora=Lora(), freeze=("lm_head.*",))


# text-to-text


def test_a_text_to_text_row_is_a_prompt_and_an_answer(folders: dict[str, Path]) -> None:
    tokenizer = AutoTokenizer.from_pretrained(folders["t5-tiny"])
    rows, taken = dataset.exchanges(folders["rows"] / "sft" / "train.parquet", tokenizer, 128)
    number = 0
    for conversation in (corpus.conversation(n) for n in range(120)):
        turns = conversation["messages"]
        for place in range(1, len(turns), 2):
            assert tokenizer.decode(rows[number]["prompt_ids"]) == template.render(tokenizer, turns[:place], reply=True)
            assert tokenizer.decode(rows[number]["answer_ids"]) == turns[place]["content"] + template.STOP
            number += 1
    assert number == len(rows) == taken.kept
    batch = dataset.collate_pairs([rows[0], rows[1]], pad_id=0)
    assert batch["labels"].shape[0] == 2 and (batch["input_ids"] == 0).equal(batch["attention_mask"] == 0)


def test_the_first_text_to_text_loss_is_that_of_the_answers(folders: dict[str, Path], tmp_path: Path) -> None:
    """And padding in the batch changes nothing."""
    tuned("sft", folders_of(folders, "t5-tiny"), tmp_path, sft.Params(**QUICK))
    tokenizer, model = (
        AutoTokenizer.from_pretrained(folders["t5-tiny"]),
        AutoModelForSeq2SeqLM.from_pretrained(folders["t5-tiny"]),
    )
    rows, _ = dataset.exchanges(folders["rows"] / "sft" / "train.parquet", tokenizer, 512)
    samples = dataset.sample_order(len(rows), round(0.5 * len(rows) / 8) * 8, 1, batch=8, lengths=dataset.lengths(rows))[:8]
    total = tokens = 0.0
    for row in (rows[int(number)] for number in samples):
        with torch.no_grad():
            found = model(input_ids=torch.tensor([row["prompt_ids"]]), labels=torch.tensor([row["answer_ids"]])).loss.item()
        total, tokens = total + found * len(row["answer_ids"]), tokens + len(row["answer_ids"])
    assert column(tmp_path, "loss")[0] == pytest.approx(total / tokens, rel=1e-4)


def test_a_stopped_text_to_text_run_goes_on_to_the_last_digit(folders: dict[str, Path], tmp_path: Path) -> None:
    asked = iter(range(1, 100))
    params = sft.Params(**QUICK | {"optimizer": "adafactor"})
    assert (
        tuned("sft", folders_of(folders, "t5-tiny"), tmp_path / "stopped", params, lambda: next(asked) == 3, micro_batch=4)
        is None
    )
    tuned("sft", folders_of(folders, "t5-tiny"), tmp_path / "stopped", params, micro_batch=4)
    tuned("sft", folders_of(folders, "t5-tiny"), tmp_path / "straight", params, micro_batch=4)
    for path in ("log.jsonl", "model/model.safetensors"):
        assert (tmp_path / "stopped" / "out" / path).read_bytes() == (tmp_path / "straight" / "out" / path).read_bytes()


# packing


@given(lengths=st.lists(st.integers(1, 40), max_size=200))
def test_best_fit_places_every_row_once_within_the_room(lengths: list[int]) -> None:
    sizes = np.array(lengths, int)
    windows = packing.best_fit(sizes, 40)
    assert sorted(row for window in windows for row in window) == list(range(len(lengths)))
    assert all(sizes[window].sum() <= 40 for window in windows)
    # no two windows could have been one
    totals = sorted(int(sizes[window].sum()) for window in windows)
    assert len(totals) < 2 or totals[0] + totals[1] > 40


def test_packed_rows_learn_what_single_ones_do(folders: dict[str, Path], tmp_path: Path) -> None:
    """The validation loss is a mean over the same targets, packed or not."""
    for name, packed in (("single", False), ("packed", True)):
        params = sft.Params(**QUICK | {"learning_rate": 1e-8, "batch_size": 4, "epochs": 0.1}, packing=packed)
        result = tuned("sft", folders_of(folders, "tiny"), tmp_path / name, params)
        assert result is not None
    assert 0 < result["waste"] < 0.2
    assert column(tmp_path / "packed", "eval_loss")[-1] == pytest.approx(column(tmp_path / "single", "eval_loss")[-1], rel=1e-5)


def test_a_packed_row_keeps_its_conversations_apart(folders: dict[str, Path]) -> None:
    tokenizer = AutoTokenizer.from_pretrained(folders["tiny"])
    model = AutoModelForCausalLM.from_pretrained(folders["tiny"]).eval()
    rows, _ = dataset.conversations(folders["rows"] / "sft" / "train.parquet", tokenizer, 128)
    packed = dataset.PackedDataset(rows, 128, tokenizer.pad_token_id)
    number = int(np.argmax([len(window) for window in packed.windows]))
    window = {name: column[None] for name, column in packed[number].items()}
    assert window["input_ids"].shape == (1, 128) and len(packed.windows[number]) > 2
    with torch.no_grad():
        read = model(input_ids=window["input_ids"], position_ids=window["position_ids"], use_cache=False).logits[0]
        start = 0
        for row in packed.windows[number].tolist():
            ids = torch.tensor([rows[row]["input_ids"]])
            torch.testing.assert_close(read[start : start + ids.size(1)], model(input_ids=ids).logits[0], rtol=0, atol=1e-4)
            start += ids.size(1)


def test_every_linear_layer_of_the_layers_is_found() -> None:
    for name, expected in (("tiny", 7), ("t5-tiny", 6)):
        config = presets.build(name, 300, 32)
        model = (AutoModelForSeq2SeqLM if config.is_encoder_decoder else AutoModelForCausalLM).from_config(config)
        found = adapters.linear_names(model)
        assert len(found) == expected and "lm_head" not in found
