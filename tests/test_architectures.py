"""Every architecture through the engine: it learns, stops and goes on exactly, keeps packed documents apart, and loads from disk."""

from __future__ import annotations

import json
import math
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from transformers import AutoModelForCausalLM, AutoModelForSeq2SeqLM, AutoTokenizer, Trainer

from models import dataset, losses, presets
from tasks import pack_pairs
from tasks.artifacts.stage import Job
from tests import corpus
from tests.test_train import job, log, prepared, run
from tests.test_train import losses as losses_of

pytestmark = pytest.mark.usefixtures("small_presets")

DECODERS: dict[str, dict[str, Any]] = {
    "llama": {"preset": "tiny"},
    "grouped heads, normalised": {"preset": "tiny", "kv_heads": 1, "qk_norm": True},
    "moe": {"preset": "tiny-moe"},
    "retnet": {"preset": "retnet-tiny"},
}
ALL = DECODERS | {"t5": {"preset": "t5-tiny", "learning_rate": 3e-3}}


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    found = dict(corpus.build(tmp_path_factory.mktemp("corpus")))
    home = tmp_path_factory.mktemp("pairs")
    shutil.copytree(found["rows"] / "sft", home / "rows" / "text2text")
    job = Job(out=home / "out", scratch=home / "scratch")
    pack_pairs.run(job, pack_pairs.Params(), rows=home / "rows", tokenizer=found["tokenizer"])
    return found | {"pairs-rows": home / "rows", "packed-pairs": job.out}


class Death(BaseException):
    """Nobody catches it, so nothing is saved."""


def dying(pieces: int) -> Callable[..., Any]:
    """A trainer's step over one piece of a batch that does not survive piece number `pieces`."""
    step, number = Trainer.training_step, iter(range(1, 100))

    def training_step(*arguments: Any) -> Any:
        if next(number) == pieces:
            raise Death
        return step(*arguments)

    return training_step


def folders_of(folders: dict[str, Path], name: str) -> dict[str, Path]:
    return folders | ({"packed": folders["packed-pairs"]} if name == "t5" else {})


@pytest.mark.parametrize("name", ALL)
def test_a_stopped_run_goes_on_to_the_last_digit(
    folders: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    """It is asked to stop after step 4, and dies in step 5 with half of its gradients summed up."""
    settings = ALL[name] | {"steps": 6, "eval_steps": 3}
    folders = folders_of(folders, name)
    resources = {"micro_batch": 2 if name == "t5" else 4}  # two pieces a step: of a T5 four pairs have as many tokens
    run(job(folders, tmp_path / "straight", resources=resources, **settings))
    asked = iter(range(1, 100))
    stopped = job(folders, tmp_path / "stopped", resources=resources, **settings)
    assert run(stopped, lambda: next(asked) == 4)[0] is None
    with monkeypatch.context() as patch, pytest.raises(Death):
        patch.setattr(Trainer, "training_step", dying(2))
        run(stopped)
    result, _ = run(stopped)
    assert result is not None and result["resumed_from"] == 4
    for path in ("log.jsonl", "model/model.safetensors", "model/config.json"):
        assert (tmp_path / "stopped" / "out" / path).read_bytes() == (tmp_path / "straight" / "out" / path).read_bytes()
    found = [row["loss"] for row in log(tmp_path / "straight") if "loss" in row]
    assert found[-1] < found[0] - 0.3


@pytest.mark.parametrize("name", DECODERS)
def test_packed_documents_do_not_see_each_other(name: str) -> None:
    """The loss of two documents in one window is the sum of their losses alone."""
    torch.manual_seed(0)
    options = {key: value for key, value in DECODERS[name].items() if key != "preset"}
    model = AutoModelForCausalLM.from_config(presets.build(DECODERS[name]["preset"], 300, 64, **options)).eval()
    losses.fuse(model)
    ids = torch.randint(4, 300, (1, 40))
    first, second = ids[:, :17], ids[:, 17:]
    places = torch.cat([torch.arange(17), torch.arange(23)])[None]
    labels = ids.clone()
    labels[0, 17] = losses.IGNORE  # no document foretells the next one's beginning
    with torch.no_grad():
        alone = sum(model(input_ids=part, labels=part).item() for part in (first, second))
        packed = model(input_ids=ids, labels=labels, position_ids=places).item()
        leaking = model(input_ids=ids, labels=labels).item()
    assert packed == pytest.approx(alone, rel=2e-6)
    assert abs(leaking - alone) > 1e-4 * alone, "the test sees a leak where there is one"


def test_packed_pairs_are_the_conversations_and_are_cut_to_the_context(folders: dict[str, Path]) -> None:
    tokenizer = AutoTokenizer.from_pretrained(folders["tokenizer"])
    expected, _ = dataset.exchanges(folders["pairs-rows"] / "text2text" / "train.parquet", tokenizer, 1000)
    whole, cut = (dataset.PairDataset(folders["packed-pairs"], "train", context) for context in (1000, 9))
    assert [whole[number] for number in range(len(whole))] == [expected[number] for number in range(len(expected))]
    assert whole.lengths.tolist() == dataset.lengths(expected).tolist()
    for number in range(20):
        assert cut[number]["prompt_ids"] == whole[number]["prompt_ids"][-9:]
        assert cut[number]["answer_ids"] == whole[number]["answer_ids"][:9]
        assert cut.lengths[number] == len(cut[number]["prompt_ids"]) + len(cut[number]["answer_ids"])


def test_a_text_to_text_model_learns_and_loads(folders: dict[str, Path], tmp_path: Path) -> None:
    folders = folders_of(folders, "t5")
    result, _ = run(job(folders, tmp_path, steps=25, **ALL["t5"]))
    assert result is not None
    found = losses_of(tmp_path)
    assert abs(found[0] - math.log(400)) < 1.2 and found[-1] < 2
    model = AutoModelForSeq2SeqLM.from_pretrained(tmp_path / "out" / "model").eval()
    valid = dataset.PairDataset(folders["packed"], "valid", 32)
    rows = [valid[int(number)] for number in dataset.validation_rows(valid.lengths, 512)]
    total = tokens = 0.0
    for row in rows:
        with torch.no_grad():
            loss = model(input_ids=torch.tensor([row["prompt_ids"]]), labels=torch.tensor([row["answer_ids"]])).loss.item()
        total, tokens = total + loss * len(row["answer_ids"]), tokens + len(row["answer_ids"])
    assert total / tokens == pytest.approx(result["eval_loss"], rel=1e-4)


@pytest.mark.parametrize("pairs", [1, 3, 7, 13, 23])  # that batch_tokens are worth
def test_a_text_to_text_batch_divides_among_devices(folders: dict[str, Path], tmp_path: Path, pairs: int) -> None:
    folders = folders_of(folders, "t5")
    mean = dataset.PairDataset(folders["packed"], "train", 32).lengths.mean()
    asked = job(folders, tmp_path, batch_tokens=math.ceil(pairs * mean), **ALL["t5"])
    trainer = prepared(asked)
    assert trainer.run.batch == trainer.run.micro == {1: 1, 3: 2, 7: 4, 13: 8, 23: 16}[pairs]


def test_experts_share_the_work_and_the_log_says_so(folders: dict[str, Path], tmp_path: Path) -> None:
    result, _ = run(job(folders, tmp_path, steps=12, preset="tiny-moe"))
    assert result is not None
    rows = [row for row in log(tmp_path) if "eval_loss" in row]
    assert all(0.99 < row["eval_balance"] < row["eval_busiest_expert"] for row in rows)
    assert all(1.0 <= row["eval_busiest_expert"] < 4.0 for row in rows)  # eight experts: 8 would be one that does it all
    use = torch.tensor(result["expert_use"])
    assert use.shape == (2, 8)
    torch.testing.assert_close(use.sum(1), torch.ones(2))
    assert rows[-1]["eval_busiest_expert"] == pytest.approx(use.max().item() * 8)
    model = AutoModelForCausalLM.from_pretrained(tmp_path / "out" / "model").eval()
    windows = dataset.WindowDataset(folders["packed"], "valid", 32)
    batch = dataset.collate([windows[int(number)] for number in dataset.validation_rows(np.full(len(windows), 32), 512)])
    with torch.no_grad():
        loss = model(**batch, use_cache=False).loss.item()
    assert loss == pytest.approx(result["eval_loss"], rel=1e-4)


def test_checkpointing_the_gradient_changes_nothing(folders: dict[str, Path], tmp_path: Path) -> None:
    for name, asked in (("kept", False), ("again", True)):
        run(job(folders, tmp_path / name, steps=3, resources={"gradient_checkpointing": asked}))
    assert log(tmp_path / "again") == log(tmp_path / "kept")


@pytest.mark.slow
def test_a_compiled_model_learns_the_same(folders: dict[str, Path], tmp_path: Path) -> None:
    plain, _ = run(job(folders, tmp_path / "plain", steps=3))
    fast, _ = run(job(folders, tmp_path / "fast", steps=3, resources={"compile": True}))
    assert plain is not None and fast is not None
    assert fast["loss"] == pytest.approx(plain["loss"], rel=1e-4)
    names = [json.loads((tmp_path / run / "out" / "model" / "config.json").read_text()) for run in ("plain", "fast")]
    assert names[0] == names[1] and math.isfinite(fast["loss"])
    one, two = (AutoModelForCausalLM.from_pretrained(tmp_path / run / "out" / "model") for run in ("plain", "fast"))
    assert one.state_dict().keys() == two.state_dict().keys()
