"""The three training stages in a row, on the invented corpus; SFT and DPO against figures worked out by hand."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from transformers import AutoModelForCausalLM, AutoModelForSeq2SeqLM, AutoTokenizer

from models import dataset, presets, template, train
from models.job import read
from tasks import dpo, pretrain, reference, sft
from tasks.artifacts.stage import Job, Progress, Resources
from tasks.processes import training
from tasks.processes.training import Tuning
from tests import corpus

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("small_presets")]

BASE = {"precision": "float32", "log_steps": 1, "eval_steps": 100, "batch_size": 8}

PRETRAINED = pretrain.Params(context=64, tokens=40_000, batch_tokens=1024)


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The corpus, and a little pretrained model."""
    found = dict(corpus.build(tmp_path_factory.mktemp("corpus")))
    home = tmp_path_factory.mktemp("pretrain")
    given = {"packed": found["packed"], "tokenizer": found["tokenizer"]}
    _trained("pretrain", home, home / "out", PRETRAINED, {}, given)
    return found | {"model": home / "out" / "model"}


def tuned(
    stage: str,
    folders: dict[str, Path],
    home: Path,
    params: Tuning,
    stopping: Callable[[], bool] = lambda: False,
    start: Path | None = None,
    **resources: Any,
) -> dict[str, Any] | None:
    """Train as a stage does, in this process."""
    inputs = {role: folders[role] for role in ("model", {"sft": "rows", "dpo": "pairs", "reward": "pairs"}[stage])}
    if stage == "dpo" and "reference" in folders:
        inputs["reference"] = folders["reference"]
    elif stage == "dpo":
        _trained("reference", home, home / "reference", params, resources, inputs)
        inputs["reference"] = home / "reference"
    inputs |= {"start": start} if start else {}
    return _trained(stage, home, home / "out", params, resources, inputs, stopping)


def _trained(
    stage: str,
    home: Path,
    out: Path,
    params: Tuning | pretrain.Params,
    resources: dict[str, Any],
    inputs: dict[str, Path],
    stopping: Callable[[], bool] = lambda: False,
) -> dict[str, Any] | None:
    job = Job(out=out, scratch=home / "scratch", resources=Resources(**{"device": "cpu"} | resources))
    described = training.description(stage, f"models.methods.{stage}", job, params, shards=stage in ("pretrain", "sft"), **inputs)
    (home / f"{stage}.json").write_text(json.dumps(described), "utf-8")
    return train.run(read(home / f"{stage}.json"), lambda event, **fields: None, stopping)


def log(home: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (home / "out" / "log.jsonl").read_text().splitlines()]


def column(home: Path, name: str) -> list[float]:
    return [row[name] for row in log(home) if name in row]


def log_probability(model: Any, prompt: list[int], answer: list[int]) -> float:
    with torch.no_grad():
        logits = model(input_ids=torch.tensor([prompt + answer])).logits[0, len(prompt) - 1 : -1]
    return -torch.nn.functional.cross_entropy(logits, torch.tensor(answer), reduction="sum").item()


# the stages, as the pipeline runs them


def test_pretraining_learns_and_reports(folders: dict[str, Path], tmp_path: Path) -> None:
    """The true preset, by the stage itself in its child process."""
    lines: list[str] = []
    seen: list[Progress] = []
    job = Job(
        out=tmp_path / "out",
        scratch=tmp_path / "scratch",
        resources=Resources(device="cpu", threads=1),
        log=lines.append,
        progress=seen.append,
    )
    stats = pretrain.run(job, PRETRAINED, packed=folders["packed"], tokenizer=folders["tokenizer"])
    assert stats["eval_loss"] < 1.0 < math.log(400) and stats["steps"] == 39
    assert any(line.startswith("tiny: N = 1,771,200") for line in lines)
    assert not [line for line in lines if "Traceback" in line or "Warning" in line]
    assert seen[-1].done == 39 and seen[-1].figures["tokens_per_second"] > 0


@pytest.mark.nightly
def test_the_chain_ends_in_a_model_that_answers_and_stops(folders: dict[str, Path], tmp_path: Path) -> None:
    def job(name: str) -> Job:
        return Job(out=tmp_path / name / "out", scratch=tmp_path / name / "scratch", resources=Resources(device="cpu", threads=1))

    home = folders["model"].parent
    learned = sft.run(job("sft"), sft.Params(epochs=5, batch_size=16, learning_rate=5e-3), model=home, rows=folders["rows"])
    assert learned["eval_loss"] < 0.3
    given = {"model": tmp_path / "sft" / "out", "pairs": folders["pairs"]}
    params = dpo.Params(batch_size=16, learning_rate=2e-4)
    reference.run(job("reference"), reference.Params.of(params), **given)
    preferred = dpo.run(job("dpo"), params, **given, reference=tmp_path / "reference" / "out")
    assert preferred["eval_accuracy"] > 0.9 and preferred["eval_margin"] > 0.1
    model = AutoModelForCausalLM.from_pretrained(tmp_path / "dpo" / "out" / "model")
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "dpo" / "out" / "model")
    assert model.generation_config.eos_token_id == [template.END_ID, template.STOP_ID] and model.config.use_cache
    prompt = template.prompt(tokenizer, [{"role": "user", "content": "金草生长在哪里?"}])
    said = model.generate(torch.tensor([prompt]), max_new_tokens=30, do_sample=False)[0, len(prompt) :].tolist()
    assert said[-1] == template.STOP_ID and tokenizer.decode(said).startswith("它")


# supervised fine-tuning


@pytest.fixture(scope="module")
def whole_sft(folders: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    home = tmp_path_factory.mktemp("sft")
    assert tuned("sft", folders, home, sft.Params(**BASE, epochs=0.5)) is not None
    return home


def test_the_first_sft_loss_is_the_mean_over_answer_tokens(folders: dict[str, Path], whole_sft: Path) -> None:
    model, tokenizer = AutoModelForCausalLM.from_pretrained(folders["model"]), AutoTokenizer.from_pretrained(folders["model"])
    rows, _ = dataset.conversations(folders["rows"] / "sft" / "train.parquet", tokenizer, 64)
    samples = 8 * len(column(whole_sft, "loss"))
    first = dataset.sample_order(120, samples, seed=1, batch=8, lengths=dataset.lengths(rows))[:8]
    total = count = 0.0
    for row in first:
        conversation = corpus.conversation(int(row))["messages"]
        [(ids, trained)] = template.encode(tokenizer, [conversation])
        end = len(rows[int(row)]["input_ids"])  # 64 tokens hold one or two exchanges
        with torch.no_grad():
            losses = torch.nn.functional.cross_entropy(
                model(input_ids=torch.tensor([ids[:end]])).logits[0, :-1], torch.tensor(ids[1:end]), reduction="none"
            )
        mask = torch.tensor(trained[1:end])
        total, count = total + losses[mask].sum().item(), count + int(mask.sum())
    assert column(whole_sft, "loss")[0] == pytest.approx(total / count, rel=1e-4)


@pytest.mark.parametrize("name", ["chatml", "alpaca", "roles", "vicuna"])
@pytest.mark.parametrize("preset", ["tiny", "tiny-moe", "retnet-tiny", "t5-tiny"])
def test_the_loss_counts_answers_and_their_ends_by_every_template_and_model(
    folders: dict[str, Path], tmp_path: Path, preset: str, name: str
) -> None:
    """A step, against token by token of what the saved template marks as said by the model."""
    tokenizer = AutoTokenizer.from_pretrained(folders["tokenizer"])
    torch.manual_seed(0)
    options = {"balance": 0.0} if preset == "tiny-moe" else {}
    config = presets.build(preset, len(tokenizer), 256, **options)
    kind = AutoModelForSeq2SeqLM if config.is_encoder_decoder else AutoModelForCausalLM
    kind.from_config(config).save_pretrained(tmp_path / "base")
    tokenizer.save_pretrained(tmp_path / "base")
    params = sft.Params(**BASE, epochs=0.07, template=name, max_length=256)
    tuned("sft", folders | {"model": tmp_path / "base"}, tmp_path / "sft", params)

    model = kind.from_pretrained(tmp_path / "base").eval()
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "sft" / "out" / "model")
    rows, _ = (dataset.exchanges if config.is_encoder_decoder else dataset.conversations)(
        folders["rows"] / "sft" / "train.parquet", tokenizer, 256
    )
    first = dataset.sample_order(
        len(rows), 8 * len(column(tmp_path / "sft", "loss")), seed=1, batch=8, lengths=dataset.lengths(rows)
    )[:8]
    total = count = 0.0
    said = set()
    for row in first:
        if config.is_encoder_decoder:
            asked, answer = rows[int(row)]["prompt_ids"], rows[int(row)]["answer_ids"]
            with torch.no_grad():
                each = model(input_ids=torch.tensor([asked]), labels=torch.tensor([answer])).loss * len(answer)
            total, count = total + each.item(), count + len(answer)
            said.add(tokenizer.decode(answer))
            continue
        shown = tokenizer.apply_chat_template(
            corpus.conversation(int(row))["messages"], return_dict=True, return_assistant_tokens_mask=True
        )
        ids, mask = torch.tensor([shown["input_ids"]]), torch.tensor(shown["assistant_masks"][1:]).bool()
        with torch.no_grad():
            each = torch.nn.functional.cross_entropy(model(input_ids=ids).logits[0, :-1], ids[0, 1:], reduction="none")
        total, count = total + each[mask].sum().item(), count + int(mask.sum())
        said.add(tokenizer.decode(ids[0, 1:][mask]))
    stop = "<|im_end|>" if name == "chatml" else "<|endoftext|>"
    assert column(tmp_path / "sft", "loss")[0] == pytest.approx(total / count, rel=1e-4)
    assert all(text.endswith(stop) and not text.startswith(stop) for text in said)


def test_a_validation_draws_its_rows_from_all_of_the_split(folders: dict[str, Path], tmp_path: Path) -> None:
    """The log has the loss of those rows, as the model before training gives it."""
    tokenizer, model = AutoTokenizer.from_pretrained(folders["model"]), AutoModelForCausalLM.from_pretrained(folders["model"])
    tuned("sft", folders, tmp_path, sft.Params(**BASE | {"eval_tokens": 300}, epochs=0.1, learning_rate=1e-9))
    rows, _ = dataset.conversations(folders["rows"] / "sft" / "valid.parquet", tokenizer, 64)
    read = dataset.validation_rows(dataset.lengths(rows), 300)
    assert 2 < len(read) < len(rows) and read.max() > len(read)
    total = count = 0.0
    for row in (rows[int(number)] for number in read):
        ids, labels = torch.tensor([row["input_ids"]]), torch.tensor(row["labels"])
        with torch.no_grad():
            logits = model(input_ids=ids).logits[0, :-1]
        total += torch.nn.functional.cross_entropy(logits, labels[1:], reduction="sum").item()
        count += int((labels[1:] >= 0).sum())
    assert column(tmp_path, "eval_loss")[-1] == pytest.approx(total / count, rel=1e-4)


def test_an_sft_micro_batch_changes_nothing(folders: dict[str, Path], whole_sft: Path, tmp_path: Path) -> None:
    """Its rows differ in length, so a mean of the pieces' means would be another loss."""
    tuned("sft", folders, tmp_path, sft.Params(**BASE, epochs=0.5), micro_batch=2)
    for name in ("loss", "eval_loss"):
        assert column(tmp_path, name) == pytest.approx(column(whole_sft, name), rel=5e-4)


def test_a_stopped_sft_goes_on_to_the_last_digit(folders: dict[str, Path], whole_sft: Path, tmp_path: Path) -> None:
    asked = iter(range(1, 100))
    assert tuned("sft", folders, tmp_path, sft.Params(**BASE, epochs=0.5), lambda: next(asked) == 3) is None
    tuned("sft", folders, tmp_path, sft.Params(**BASE, epochs=0.5))
    assert (tmp_path / "out" / "log.jsonl").read_bytes() == (whole_sft / "out" / "log.jsonl").read_bytes()


def test_a_loss_that_is_no_number_stops_the_run(folders: dict[str, Path], tmp_path: Path) -> None:
    model, tokenizer = AutoModelForCausalLM.from_pretrained(folders["model"]), AutoTokenizer.from_pretrained(folders["model"])
    with torch.no_grad():
        model.model.layers[0].mlp.up_proj.weight[0, 0] = math.inf
    model.save_pretrained(tmp_path / "broken")
    tokenizer.save_pretrained(tmp_path / "broken")
    with pytest.raises(
        ValueError, match=r"the loss became nan by step 1 \(learning rate .*\); lower learning_rate, or lengthen warmup"
    ):
        tuned("sft", folders | {"model": tmp_path / "broken"}, tmp_path, sft.Params(**BASE))
    assert not list((tmp_path / "scratch").glob("checkpoints/step-*"))


def test_what_does_not_fit_the_model_or_the_data_is_said(folders: dict[str, Path], tmp_path: Path) -> None:
    with pytest.raises(
        ValueError, match=r"max_length is 100, and the model of .* was trained with a context of 64; lower max_length"
    ):
        tuned("sft", folders, tmp_path, sft.Params(**BASE, max_length=100))
    with pytest.raises(ValueError, match=r"has 120 usable conversations, fewer than one batch of 1000; lower batch_size"):
        tuned("sft", folders, tmp_path, sft.Params(**BASE | {"batch_size": 1000}))
    with pytest.raises(ValueError, match=r"has 0 usable pairs, fewer than one batch of 8"):
        tuned("dpo", folders, tmp_path, dpo.Params(**BASE, max_length=8))


# preferences


@pytest.fixture(scope="module")
def whole_dpo(folders: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    home = tmp_path_factory.mktemp("dpo")
    assert tuned("dpo", folders, home, dpo.Params(**BASE, sft_weight=0.5, learning_rate=1e-3, epochs=0.4)) is not None
    return home


def test_the_first_dpo_loss_is_log_2_and_the_chosen_answers_mean(folders: dict[str, Path], whole_dpo: Path) -> None:
    model, tokenizer = AutoModelForCausalLM.from_pretrained(folders["model"]), AutoTokenizer.from_pretrained(folders["model"])
    rows, _ = dataset.preferences(folders["pairs"] / "preferences" / "train.parquet", tokenizer, 64)
    first = [rows[int(row)] for row in dataset.sample_order(120, 48, seed=1, batch=8, lengths=dataset.lengths(rows))[:8]]
    mean = -sum(log_probability(model, row["prompt_ids"], row["chosen_ids"]) for row in first) / sum(
        len(row["chosen_ids"]) for row in first
    )
    assert column(whole_dpo, "loss")[0] == pytest.approx(math.log(2) + 0.5 * mean, rel=1e-4)
    margins = column(whole_dpo, "margin")
    assert abs(margins[0]) < 1e-4 < margins[-1] and column(whole_dpo, "eval_accuracy")[-1] > 0.9


def test_the_reference_is_the_untrained_model(folders: dict[str, Path], whole_dpo: Path) -> None:
    model, tokenizer = AutoModelForCausalLM.from_pretrained(folders["model"]), AutoTokenizer.from_pretrained(folders["model"])
    rows, _ = dataset.preferences(folders["pairs"] / "preferences" / "train.parquet", tokenizer, 64)
    reference = np.load(whole_dpo / "reference" / "train.npy")
    for number in (0, 50, 119):
        row = rows[number]
        expected = [log_probability(model, row["prompt_ids"], row[side]) for side in ("chosen_ids", "rejected_ids")]
        assert reference[number].tolist() == pytest.approx(expected, rel=1e-4)


def test_a_dpo_micro_batch_changes_nothing(folders: dict[str, Path], whole_dpo: Path, tmp_path: Path) -> None:
    tuned("dpo", folders, tmp_path, dpo.Params(**BASE, sft_weight=0.5, learning_rate=1e-3, epochs=0.4), micro_batch=2)
    for name in ("loss", "eval_loss", "eval_margin", "eval_accuracy"):
        assert column(tmp_path, name) == pytest.approx(column(whole_dpo, name), rel=1e-3)


def test_a_stopped_dpo_goes_on_to_the_last_digit(folders: dict[str, Path], whole_dpo: Path, tmp_path: Path) -> None:
    """Also between two logged steps: its other figures are means over them as well."""
    params = dpo.Params(**BASE | {"log_steps": 3}, sft_weight=0.5, learning_rate=1e-3, epochs=0.4)
    asked = iter(range(1, 100))
    assert tuned("dpo", folders, tmp_path / "stopped", params, lambda: next(asked) == 2) is None
    tuned("dpo", folders, tmp_path / "stopped", params)
    tuned("dpo", folders, tmp_path / "straight", params)
    assert (tmp_path / "stopped" / "out" / "log.jsonl").read_bytes() == (tmp_path / "straight" / "out" / "log.jsonl").read_bytes()
    assert log(tmp_path / "stopped")[-1] == log(whole_dpo)[-1]


@pytest.mark.parametrize("loss_type", ["ipo", "hinge", "robust", "apo_zero", "sigmoid_norm"])
def test_every_other_loss_of_a_pair_runs(folders: dict[str, Path], tmp_path: Path, loss_type: str) -> None:
    params = dpo.Params(
        **BASE, loss_type=loss_type, sft_weight=0.0, label_smoothing=0.1 * (loss_type == "robust"), epochs=0.2, learning_rate=1e-3
    )
    tuned("dpo", folders, tmp_path, params)
    losses = column(tmp_path, "loss")
    assert all(map(math.isfinite, losses)) and losses[-1] != losses[0]
