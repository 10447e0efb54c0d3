"""Losses of pairs against TRL's, and DPO of a text-to-text model against figures worked out by hand."""

from __future__ import annotations

import json
import math
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from transformers import AutoModelForCausalLM, AutoModelForSeq2SeqLM, AutoModelForSequenceClassification, AutoTokenizer

from benchmarks import dpo as bench
from models import dataset, loading, preference, presets, score
from tasks import dpo, reward, sft
from tasks.processes.training import Lora
from tests import corpus
from tests.test_training_stages import BASE, column, log, tuned

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("small_presets")]

QUICK = BASE | {"learning_rate": 3e-3, "epochs": 1.0, "optimizer": "adamw", "sft_weight": 0.0}


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The corpus, and a small T5 that has learned to answer."""
    found = dict(corpus.build(tmp_path_factory.mktemp("corpus")))
    tokenizer = AutoTokenizer.from_pretrained(found["tokenizer"])
    torch.manual_seed(0)
    home = tmp_path_factory.mktemp("t5") / "model"
    AutoModelForSeq2SeqLM.from_config(presets.build("t5-tiny", len(tokenizer))).save_pretrained(home)
    tokenizer.save_pretrained(home)
    learned = tmp_path_factory.mktemp("sft")
    params = sft.Params(**BASE | {"batch_size": 16}, epochs=4, learning_rate=4e-3)
    tuned("sft", found | {"model": home}, learned, params)
    return found | {"model": learned / "out" / "model"}


@pytest.fixture(scope="module")
def preferred(folders: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    home = tmp_path_factory.mktemp("dpo")
    tuned("dpo", folders, home, dpo.Params(**QUICK))
    return home


def test_the_first_text_to_text_loss_is_the_logarithm_of_2(folders: dict[str, Path], preferred: Path) -> None:
    assert column(preferred, "loss")[0] == pytest.approx(math.log(2), abs=1e-6)
    assert column(preferred, "margin")[0] == pytest.approx(0, abs=1e-5)


def test_text_to_text_dpo_prefers_the_better_answer(preferred: Path) -> None:
    margins = column(preferred, "margin")
    assert margins[-1] > 0.1 and column(preferred, "loss")[-1] < 0.5
    assert column(preferred, "eval_accuracy")[-1] > 0.9 and column(preferred, "eval_margin")[-1] > 0.1


def test_the_reference_of_a_text_to_text_model_is_its_own_log_probability(folders: dict[str, Path], preferred: Path) -> None:
    """And neither batch nor padding changes it."""
    model, tokenizer = (
        AutoModelForSeq2SeqLM.from_pretrained(folders["model"]).eval(),
        AutoTokenizer.from_pretrained(folders["model"]),
    )
    rows, _ = dataset.preferences(folders["pairs"] / "preferences" / "train.parquet", tokenizer, 512)
    reference = np.load(preferred / "reference" / "train.npy")
    for number in (0, 50, 119):
        for column_number, side in enumerate(("chosen_ids", "rejected_ids")):
            labels = torch.tensor([rows[number][side]])
            with torch.no_grad():
                mean = model(input_ids=torch.tensor([rows[number]["prompt_ids"]]), labels=labels).loss.item()
            assert reference[number, column_number] == pytest.approx(-mean * labels.numel(), rel=1e-5)


def test_a_text_to_text_micro_batch_changes_nothing(folders: dict[str, Path], tmp_path: Path) -> None:
    for name, micro in (("whole", 0), ("pieces", 2)):
        tuned("dpo", folders, tmp_path / name, dpo.Params(**QUICK | {"epochs": 0.3, "sft_weight": 0.5}), micro_batch=micro)
    for figure in ("loss", "margin", "eval_loss", "eval_accuracy"):
        assert column(tmp_path / "pieces", figure) == pytest.approx(column(tmp_path / "whole", figure), rel=1e-3, abs=1e-6)


def test_a_stopped_text_to_text_dpo_goes_on_to_the_last_digit(folders: dict[str, Path], tmp_path: Path) -> None:
    params = dpo.Params(**QUICK | {"epochs": 0.4, "log_steps": 2, "sft_weight": 0.3}, lora=Lora(rank=4, dropout=0.1))
    asked = iter(range(1, 100))
    assert tuned("dpo", folders, tmp_path / "stopped", params, lambda: next(asked) == 3, micro_batch=4) is None
    tuned("dpo", folders, tmp_path / "stopped", params, micro_batch=4)
    tuned("dpo", folders, tmp_path / "straight", params, micro_batch=4)
    for path in ("log.jsonl", "model/model.safetensors"):
        assert (tmp_path / "stopped" / "out" / path).read_bytes() == (tmp_path / "straight" / "out" / path).read_bytes()


# reward model


def test_a_reward_model_learns_which_answer_is_better(folders: dict[str, Path], tmp_path: Path) -> None:
    home = corpus_model(folders, tmp_path / "base")
    params = reward.Params(**BASE | {"optimizer": "adamw"}, learning_rate=1e-3, epochs=2)
    result = tuned("reward", folders | {"model": home}, tmp_path / "judge", params)
    assert result is not None
    assert column(tmp_path / "judge", "loss")[0] == pytest.approx(math.log(2), abs=0.3)  # a new head knows nothing
    assert result["eval_accuracy"] > 0.9 and column(tmp_path / "judge", "loss")[-1] < 0.4
    judge = AutoModelForSequenceClassification.from_pretrained(tmp_path / "judge" / "out" / "model").eval()
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "judge" / "out" / "model")
    rows, _ = dataset.preferences(folders["pairs"] / "preferences" / "valid.parquet", tokenizer, 128)
    right = 0
    for row in (rows[number] for number in range(len(rows))):
        with torch.no_grad():
            better, worse = (
                judge(input_ids=torch.tensor([row["prompt_ids"] + row[side]])).logits.item()
                for side in ("chosen_ids", "rejected_ids")
            )
        right += better > worse
    assert right / len(rows) == pytest.approx(result["eval_accuracy"], abs=0.1)


def test_a_stopped_reward_model_goes_on_to_the_last_digit(folders: dict[str, Path], tmp_path: Path) -> None:
    given = folders | {"model": corpus_model(folders, tmp_path / "base")}
    params = reward.Params(**BASE | {"log_steps": 2}, learning_rate=1e-3, epochs=0.4)
    asked = iter(range(1, 100))
    assert tuned("reward", given, tmp_path / "stopped", params, lambda: next(asked) == 3, micro_batch=4) is None
    tuned("reward", given, tmp_path / "stopped", params, micro_batch=4)
    tuned("reward", given, tmp_path / "straight", params, micro_batch=4)
    for path in ("log.jsonl", "model/model.safetensors"):
        assert (tmp_path / "stopped" / "out" / path).read_bytes() == (tmp_path / "straight" / "out" / path).read_bytes()


def test_a_reward_model_of_adapters_alone_is_refused() -> None:
    with pytest.raises(ValueError, match="what a reward model judges with is new; leave it out"):
        reward.Params(lora=Lora())


@pytest.mark.parametrize("kind", ["llama", "t5"])
def test_dropout_of_the_model_is_off_and_that_of_adapters_is_not(folders: dict[str, Path], tmp_path: Path, kind: str) -> None:
    """A model from outside may have dropout; what DPO compares must not differ by it."""
    home = tmp_path / "blurred"
    source = folders["model"] if kind == "t5" else corpus_model(folders, tmp_path / "base")
    shutil.copytree(source, home)
    about = json.loads((home / "config.json").read_text("utf-8"))
    about |= {"dropout_rate": 0.3} if kind == "t5" else {"attention_dropout": 0.3}
    (home / "config.json").write_text(json.dumps(about), "utf-8")
    quick = QUICK | {"epochs": 0.1, "log_steps": 1}
    tuned("dpo", folders | {"model": home}, tmp_path / "whole", dpo.Params(**quick))
    assert column(tmp_path / "whole", "loss")[0] == pytest.approx(math.log(2), abs=1e-6)
    seen = []
    for dropout in (0.0, 0.5):
        lora = Lora(rank=4, dropout=dropout)
        tuned("dpo", folders | {"model": home}, tmp_path / str(dropout), dpo.Params(**quick, lora=lora))
        seen.append(column(tmp_path / str(dropout), "loss"))
    assert seen[0][0] == pytest.approx(math.log(2), abs=1e-6) and seen[0][1:] != seen[1][1:]


def test_an_architecture_without_a_reward_head_is_named(folders: dict[str, Path], tmp_path: Path) -> None:
    tokenizer = AutoTokenizer.from_pretrained(folders["tokenizer"])
    home = tmp_path / "retnet"
    AutoModelForCausalLM.from_config(presets.build("retnet-tiny", len(tokenizer), 128)).save_pretrained(home)
    tokenizer.save_pretrained(home)
    with pytest.raises(ValueError, match="is a retnet, of which there is no AutoModelForSequenceClassification"):
        tuned("reward", folders | {"model": home}, tmp_path / "judge", reward.Params(**BASE))


def corpus_model(folders: dict[str, Path], home: Path) -> Path:
    torch.manual_seed(0)
    tokenizer = AutoTokenizer.from_pretrained(folders["tokenizer"])
    AutoModelForCausalLM.from_config(presets.build("tiny", len(tokenizer), 128)).save_pretrained(home)
    tokenizer.save_pretrained(home)
    return home


def test_a_mixture_of_experts_goes_through_dpo_and_still_answers_and_scores(folders: dict[str, Path], tmp_path: Path) -> None:
    tokenizer = AutoTokenizer.from_pretrained(folders["tokenizer"])
    torch.manual_seed(0)
    home = tmp_path / "experts"
    AutoModelForCausalLM.from_config(presets.build("tiny-moe", len(tokenizer), 128)).save_pretrained(home)
    tokenizer.save_pretrained(home)
    tuned("dpo", folders | {"model": home}, tmp_path / "dpo", dpo.Params(**QUICK | {"epochs": 0.2}))
    scorer = score.scorer_of(*loading.load(tmp_path / "dpo" / "out", torch.device("cpu")))
    question, *choices = scorer.encode(["金草生长在哪里?", "青山", "它生长在白水。"])
    (found,) = scorer.choose([([1, *question], choices)])
    assert len(found) == 2 and all(map(math.isfinite, found))


@pytest.fixture(scope="module")
def trl_batch(tmp_path_factory: pytest.TempPathFactory) -> tuple[Any, dict[str, torch.Tensor], preference.Scores]:
    home = corpus.build(tmp_path_factory.mktemp("corpus"))
    model = corpus_model(home, tmp_path_factory.mktemp("llama"))
    return bench.trl_batch(model, home["pairs"] / "preferences" / "train.parquet", tmp_path_factory.mktemp("trl"))


@pytest.mark.parametrize("kind", bench.KINDS)
def test_every_loss_is_trls(trl_batch: tuple[Any, dict[str, torch.Tensor], preference.Scores], kind: str) -> None:
    assert bench.apart(*trl_batch, kind) < bench.SAME


@pytest.mark.parametrize("kind", bench.KINDS)
def test_every_loss_has_a_gradient(trl_batch: tuple[Any, dict[str, torch.Tensor], preference.Scores], kind: str) -> None:
    _, _, scores = trl_batch
    mine = [part.clone().requires_grad_() for part in scores[:2]]
    preference.pair_loss(
        kind, preference.Scores(*mine, *scores[2:]), beta=0.3, smoothing=0.1 if kind in bench.SMOOTHED else 0.0
    ).sum().backward()
    assert all(part.grad.isfinite().all() and part.grad.any() for part in mine)


@pytest.mark.parametrize("kind", ["ipo", "aot"])
def test_another_loss_trains_a_decoder_and_a_t5(
    folders: dict[str, Path], learners: dict[str, Path], tmp_path: Path, kind: str
) -> None:
    smoothing = 0.1 if kind in bench.SMOOTHED else 0.0
    params = dpo.Params(**QUICK | {"epochs": 0.13, "sft_weight": 0.1}, loss_type=kind, label_smoothing=smoothing)
    for name, home in learners.items():
        tuned("dpo", folders | {"model": home / "out" / "model", "reference": home / "reference"}, tmp_path / name, params)
        found = column(tmp_path / name, "loss")
        assert len(found) == 2 and all(map(math.isfinite, found)) and found[0] != found[1], name


@pytest.fixture(scope="module")
def learners(folders: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A decoder and a T5 after a step of DPO; each with the reference that it then is not equal to."""
    homes = {name: tmp_path_factory.mktemp(name) for name in ("decoder", "t5")}
    for name, model in (("decoder", corpus_model(folders, homes["decoder"] / "base")), ("t5", folders["model"])):
        tuned("dpo", folders | {"model": model}, homes[name], dpo.Params(**QUICK | {"epochs": 0.06}))
    return homes


def test_smoothing_that_would_do_nothing_is_refused() -> None:
    with pytest.raises(ValueError, match="label_smoothing does nothing to loss_type sigmoid"):
        dpo.Params(label_smoothing=0.1)
    with pytest.raises(ValueError, match="exo_pair needs a label_smoothing above 0"):
        dpo.Params(loss_type="exo_pair")


# how far the model has moved


def test_kl_is_that_of_whole_distributions_at_each_token_of_an_answer(folders: dict[str, Path], preferred: Path) -> None:
    """Of the finished model to the one it began with, pair by pair and without padding."""
    home = preferred / "out" / "model"
    now, then = (AutoModelForSeq2SeqLM.from_pretrained(folder).eval() for folder in (home, folders["model"]))
    rows, _ = dataset.preferences(folders["pairs"] / "preferences" / "valid.parquet", AutoTokenizer.from_pretrained(home), 512)
    each = []
    for row in (rows[number] for number in range(len(rows))):
        for side in ("chosen_ids", "rejected_ids"):
            given = {"input_ids": torch.tensor([row["prompt_ids"]]), "labels": torch.tensor([row[side]])}
            with torch.no_grad():
                p, q = (torch.distributions.Categorical(logits=model(**given).logits[0]) for model in (now, then))
            each += torch.distributions.kl_divergence(p, q).tolist()
    assert column(preferred, "eval_kl")[-1] == pytest.approx(sum(each) / len(each), rel=1e-3) and min(each) > 0


@pytest.mark.parametrize("lora", [None, Lora(rank=4, dropout=0.0)])
def test_a_decoders_kl_grows_with_the_steps(folders: dict[str, Path], tmp_path: Path, lora: Lora | None) -> None:
    given = folders | {"model": corpus_model(folders, tmp_path / "base")}
    params = dpo.Params(**QUICK | {"epochs": 0.3, "eval_steps": 1, "log_steps": 1}, lora=lora, warmup=0.4)
    tuned("dpo", given, tmp_path / "dpo", params)
    kl = column(tmp_path / "dpo", "eval_kl")
    assert len(kl) == len(column(tmp_path / "dpo", "loss")) == 4 and 0 < kl[0] < kl[-1]
    assert {"chosen_reward", "rejected_reward", "eval_chosen_reward"} <= set().union(*map(dict.keys, log(tmp_path / "dpo")))
