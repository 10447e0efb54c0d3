"""Tests of the training process with pretraining: in this process where one is enough, and in killed ones where not."""

from __future__ import annotations

import fcntl
import json
import math
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from models import checkpoint, dataset, train
from models.job import TrainingJob, method_of, read, typed
from models.methods import pretrain
from tasks.artifacts.stage import Job, Resources
from tasks.pretrain import METHOD, Params
from tasks.processes import runner, training, warm
from tests import corpus

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("small_presets")]

ROOT = Path(__file__).parent.parent
RUN = {
    "context": 32,
    "batch_tokens": 256,
    "learning_rate": 0.01,
    "precision": "float32",
    "log_steps": 1,
    "eval_steps": 6,
    "eval_tokens": 512,
}


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    return corpus.build(tmp_path_factory.mktemp("corpus"))


def job(
    folders: dict[str, Path], home: Path, steps: int = 12, resources: dict[str, Any] | None = None, **params: Any
) -> TrainingJob[dict[str, Any]]:
    """A pretraining, as its job file in `home` describes it."""
    place = Job(
        out=home / "out",
        scratch=home / "scratch",
        resources=Resources(**{"device": "cpu", "checkpoint_steps": 5} | (resources or {})),
    )
    described = training.description(
        "pretrain",
        METHOD,
        place,
        Params(**RUN | {"tokens": steps * 256} | params),
        shards=True,
        packed=folders["packed"],
        tokenizer=folders["tokenizer"],
    )
    (home / "job.json").write_text(json.dumps(described))
    return read(home / "job.json")


def prepared(described: TrainingJob[dict[str, Any]]) -> Any:
    """The trainer of a pretraining, ready to go."""
    return pretrain.prepare(typed(described, method_of(described)[0]), lambda event, **fields: None)[0]


def run(
    described: TrainingJob[dict[str, Any]], stopping: Callable[[], bool] = lambda: False
) -> tuple[dict[str, Any] | None, list[dict[str, Any]]]:
    """The result and the events of a run in this process."""
    events: list[dict[str, Any]] = []
    described.out.mkdir(parents=True, exist_ok=True)
    return train.run(described, lambda event, **fields: events.append({"event": event, **fields}), stopping), events


def log(home: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (home / "out" / "log.jsonl").read_text().splitlines()]


def losses(home: Path) -> list[float]:
    return [row["loss"] for row in log(home) if "loss" in row]


@pytest.fixture(scope="module")
def whole(
    folders: dict[str, Path], tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, dict[str, Any], list[dict[str, Any]]]:
    """A run that nothing interrupts: its home, result and events."""
    home = tmp_path_factory.mktemp("whole")
    result, events = run(job(folders, home))
    assert result is not None
    return home, result, events


def spawn(home: Path, env: dict[str, str], stay: int = 0) -> warm.Warm | subprocess.Popen[str]:
    """The training process on small presets, warm where it can be, which stays at its step number `stay` (0: at none) until it is signalled."""
    (home / "out").mkdir(exist_ok=True)
    started = ["tests.staying", str(home / "job.json")]
    env = runner.importable(env) | {"PYTHONUNBUFFERED": "1", "HANLIN_STAY_AT": str(stay)}
    child = warm.start(started[0], started[1:], env=env, grace=runner.GRACE, locks=[])
    return child or runner.supervised([sys.executable, "-m", *started], env=env)


def kill_after(
    process: warm.Warm | subprocess.Popen[str], step: int, signalled: Callable[[list[dict[str, Any]]], None]
) -> list[dict[str, Any]]:
    """Have the training process signalled, by its events, once it reports a step, at which it stays; the events until its end."""
    assert process.stdout is not None
    events = []
    with process:
        for line in process.stdout:
            if line.startswith("{"):
                events.append(json.loads(line))
                if events[-1].get("done", 0) >= step:
                    signalled(events)
                    step = 1 << 30
        process.wait()
    return events


def killing(number: signal.Signals) -> Callable[[list[dict[str, Any]]], None]:
    """A signal to the training process itself, not to its supervisor."""
    return lambda events: os.kill(events[0]["pid"], number)


# what a run gives


@pytest.mark.usefixtures("true_presets")
def test_the_first_losses_are_what_they_were(folders: dict[str, Path], tmp_path: Path) -> None:
    """Recorded, on tokens that no other stage made. Another machine rounds otherwise, so the comparison widens as the steps go on."""
    packed = tmp_path / "packed"
    packed.mkdir()
    documents = [
        [4 + (start + step * place) % 390 for place in range(40)] + [1] for start in range(0, 390, 10) for step in (1, 3, 7)
    ]
    np.array(documents, "<u2").tofile(packed / "train.bin")
    np.save(packed / "train.offsets.npy", np.arange(len(documents) + 1) * 41)
    for name in ("bin", "offsets.npy"):
        (packed / f"valid.{name}").write_bytes((packed / f"train.{name}").read_bytes())
    (packed / "pack.json").write_text('{"dtype": "uint16", "vocab_size": 400}')
    run(job(folders | {"packed": packed}, tmp_path))
    found = losses(tmp_path)
    assert abs(found[0] - math.log(400)) < 0.1  # a new model knows nothing
    for step, (loss, recorded) in enumerate(zip(found, GOLDEN, strict=True)):
        assert loss == pytest.approx(recorded, rel=1e-4 * 2 ** (step / 2)), f"step {step + 1} of {found}"


def test_the_log_has_a_line_a_step_and_a_validation(whole: tuple[Path, dict[str, Any], list[dict[str, Any]]]) -> None:
    rows = log(whole[0])
    assert [row["step"] for row in rows if "loss" in row] == list(range(1, 13))
    assert [row["step"] for row in rows if "eval_loss" in row] == [6, 12]
    assert all(
        set(row) == ({"step", "eval_loss"} if "eval_loss" in row else {"step", "loss", "learning_rate", "grad_norm"})
        for row in rows
    )
    assert rows[0]["learning_rate"] == 0.01


def test_the_model_loads_anywhere_and_has_the_loss_that_was_reported(
    folders: dict[str, Path], whole: tuple[Path, dict[str, Any], list[dict[str, Any]]]
) -> None:
    home, result, _ = whole
    model = AutoModelForCausalLM.from_pretrained(home / "out" / "model")
    tokenizer = AutoTokenizer.from_pretrained(home / "out" / "model")
    assert (tokenizer.pad_token_id, model.generation_config.eos_token_id, model.generation_config.pad_token_id) == (0, 1, 0)
    assert sum(p.numel() for p in model.parameters()) == result["parameters"]
    windows = dataset.WindowDataset(folders["packed"], "valid", 32)
    batch = dataset.collate([windows[int(number)] for number in dataset.validation_rows(np.full(len(windows), 32), 512)])
    with torch.no_grad():
        loss = model(**batch, use_cache=False).loss.item()
    assert loss == pytest.approx(result["eval_loss"], rel=1e-5)
    assert result["best_eval_loss"] == min(row["eval_loss"] for row in log(home) if "eval_loss" in row)
    assert (result["steps"], result["tokens"], result["precision"], result["loss"]) == (12, 12 * 256, "float32", losses(home)[-1])
    copied = [path.name for path in folders["tokenizer"].iterdir() if path.name != "report.json"]
    copied = [name for name in copied if (home / "out" / "model" / name).exists()]
    assert sorted(copied) == ["chat_template.jinja", "tokenizer.json", "tokenizer_config.json"]
    assert all((home / "out" / "model" / name).read_bytes() == (folders["tokenizer"] / name).read_bytes() for name in copied)


def test_every_run_validates_on_the_same_rows_from_all_of_the_split(folders: dict[str, Path], tmp_path: Path) -> None:
    rows = len(dataset.WindowDataset(folders["packed"], "valid", 32))
    found = [prepared(job(folders, tmp_path, seed=seed)).run for seed in (1, 2)]
    assert (found[0].eval_order == found[1].eval_order).all() and (found[0].samples != found[1].samples).any()
    assert len(found[0].eval_order) == 16 < rows // 2
    assert {int(row) * 3 // rows for row in found[0].eval_order} == {0, 1, 2}


def test_progress_says_how_far_and_how_fast(whole: tuple[Path, dict[str, Any], list[dict[str, Any]]]) -> None:
    told = [event for event in whole[2] if event["event"] == "progress"]
    assert told[-1]["done"] == told[-1]["total"] == 12 and told[-1]["unit"] == "step"
    checked = [event for event in told if "eval_loss" in event["figures"]]
    assert checked and all(
        set(event["figures"]) - {"eval_loss"} == {"loss", "lr", "tokens_per_second", "eta"} for event in told if event["figures"]
    )
    assert told[-1]["figures"]["loss"] == losses(whole[0])[-1]


@pytest.mark.usefixtures("true_presets")
def test_what_is_left_empty_is_derived_and_explained(folders: dict[str, Path], tmp_path: Path) -> None:
    described = job(folders, tmp_path, batch_tokens=None, learning_rate=None, steps=4)
    result, events = run(described)
    assert result is not None
    text = next(event["text"] for event in events if event["event"] == "log")
    # C = 6 · 1,771,200 · 1024 = 1.1e10: 0.2920 · C^0.3271 = 560 tokens, 16 sequences; 0.3118 · C^-0.125
    assert "C = 6·N·D = 1.1e+10; batch 16 · 32 tokens (0.2920·C^0.3271), 2 steps; learning rate 0.017 (0.3118·C^-0.125)" in text
    assert (result["batch"], result["learning_rate"], result["steps"]) == (16, 0.017, 2)


def test_documents_are_packed_by_best_fit_and_the_waste_is_told(folders: dict[str, Path], tmp_path: Path) -> None:
    """And a run that was stopped goes on to the last digit."""
    asked = {"packing": "best_fit", "tokens": None, "epochs": 0.25}
    result, events = run(job(folders, tmp_path, **asked))
    rows = dataset.BestFitDataset(folders["packed"], "train", 32, 0)
    text = next(event["text"] for event in events if event.get("text", "").startswith("best fit: "))
    assert text == (
        f"best fit: {len(rows):,} rows of 32 tokens, {rows.waste:.2%} of their places empty; {rows.cut:.1%} of the documents are cut, "
        f"where windows would cut {rows.cut_by_windows:.1%}"
    )
    assert result is not None and losses(tmp_path)[-1] < losses(tmp_path)[0] - 0.5
    assert (result["waste"], result["cut"], result["cut_by_windows"]) == (rows.waste, rows.cut, rows.cut_by_windows)
    assert 0 < rows.waste < 0.15 and rows.cut < rows.cut_by_windows
    assert result["steps"] == round(len(rows) / 32) and abs(result["tokens"] - len(rows.tokens) / 4) < 8 * 32
    steps = iter(range(1, 100))
    assert run(job(folders, tmp_path / "stopped", **asked), lambda: next(steps) == 7)[0] is None
    run(job(folders, tmp_path / "stopped", **asked))
    assert log(tmp_path / "stopped") == log(tmp_path)


# what does not change the result


@pytest.mark.parametrize("micro", [2, 3])  # 3 does not divide 8: 2 is taken
def test_the_micro_batch_changes_nothing(
    folders: dict[str, Path], tmp_path: Path, whole: tuple[Path, dict[str, Any], list[dict[str, Any]]], micro: int
) -> None:
    result, _ = run(job(folders, tmp_path, resources={"micro_batch": micro}))
    assert result is not None and result["micro_batch"] == 2
    assert losses(tmp_path) == pytest.approx(losses(whole[0]), rel=2e-4)
    assert log(tmp_path)[-1]["eval_loss"] == pytest.approx(log(whole[0])[-1]["eval_loss"], rel=2e-4)


# leaving off and going on


def test_a_killed_run_goes_on_to_the_last_digit(tmp_path: Path) -> None:
    """`kill -9`, twice, with losses logged every 4 steps, checkpoints every 3 and the second pass over the data under way."""
    settings: dict[str, Any] = {
        "log_steps": 4,
        "eval_steps": 10,
        "steps": 24,
        "precision": "auto",  # bfloat16 where the machine is fast at it; in software it takes minutes
        "resources": {"checkpoint_steps": 3},
    }
    folders = corpus.build(tmp_path / "corpus", documents=80)  # 17 steps
    house = tmp_path / "house"  # a user's home, which stays as it is
    house.mkdir()
    environment = os.environ | {"HOME": str(house), "OMP_NUM_THREADS": "1"}
    environment.pop("HF_HOME", None)
    job(folders, tmp_path / "straight", **settings)
    assert kill_after(spawn(tmp_path / "straight", environment), 1 << 30, killing(signal.SIGKILL))[-1]["event"] == "result"

    job(folders, tmp_path / "killed", **settings)
    starts = []
    for step in (5, 16):  # of each life; the second goes on from step 3
        events = kill_after(spawn(tmp_path / "killed", environment, step), step, killing(signal.SIGKILL))
        assert events[-1]["event"] != "result"
        newest = checkpoint.newest(tmp_path / "killed" / "scratch" / "checkpoints")
        starts.append(checkpoint.step_of(newest) if newest else 0)
    events = kill_after(spawn(tmp_path / "killed", environment), 1 << 30, killing(signal.SIGKILL))
    assert events[-1]["event"] == "result" and events[-1]["resumed_from"] == starts[-1] > starts[0] > 0
    assert (tmp_path / "killed" / "out" / "log.jsonl").read_bytes() == (tmp_path / "straight" / "out" / "log.jsonl").read_bytes()
    for name in ("model.safetensors", "config.json", "generation_config.json"):
        assert (tmp_path / "killed" / "out" / "model" / name).read_bytes() == (
            tmp_path / "straight" / "out" / "model" / name
        ).read_bytes()
    assert list(house.iterdir()) == []
    kept = [
        sorted(path.name for path in (tmp_path / run / "scratch" / "checkpoints").iterdir()) for run in ("killed", "straight")
    ]
    assert kept[0] == kept[1] and 15 in [int(name.removeprefix("step-")) for name in kept[0]], "the end of the plateau among them"
    assert len(kept[0]) <= 4, "the newest two, and the best"


def test_a_terminated_run_saves_after_its_step_and_says_so(folders: dict[str, Path], tmp_path: Path) -> None:
    settings: dict[str, Any] = {"steps": 400, "resources": {"checkpoint_steps": 1000}}
    job(folders, tmp_path, **settings)
    process = spawn(tmp_path, os.environ | {"OMP_NUM_THREADS": "1"}, 2)
    events = kill_after(process, 2, killing(signal.SIGTERM))
    assert process.returncode == 75
    assert events[-1]["event"] == "error" and events[-1]["message"].startswith("stopped by a signal, with a checkpoint saved")
    newest = checkpoint.newest(tmp_path / "scratch" / "checkpoints")
    assert newest is not None and checkpoint.step_of(newest) == 2
    assert next(event["done"] for event in reversed(events) if "done" in event) == 2
    assert list((tmp_path / "out").iterdir()) == []


@pytest.mark.parametrize("after", [1, 11, 12])
def test_a_stop_after_any_step_leaves_no_trace(
    folders: dict[str, Path], tmp_path: Path, whole: tuple[Path, dict[str, Any], list[dict[str, Any]]], after: int
) -> None:
    described = job(folders, tmp_path)
    asked = iter(range(1, 100))
    assert run(described, lambda: next(asked) == after)[0] is None
    result, _ = run(described)
    assert result is not None and result["resumed_from"] == after
    assert (tmp_path / "out" / "log.jsonl").read_bytes() == (whole[0] / "out" / "log.jsonl").read_bytes()


def test_a_run_goes_on_with_another_micro_batch_and_says_what_that_means(
    folders: dict[str, Path], tmp_path: Path, whole: tuple[Path, dict[str, Any], list[dict[str, Any]]]
) -> None:
    asked = iter(range(1, 100))
    run(job(folders, tmp_path), lambda: next(asked) == 4)
    _, events = run(job(folders, tmp_path, resources={"micro_batch": 2}))
    notes = [event["text"] for event in events if event["event"] == "log"]
    assert notes[-1] == "going on from step 4 of 12; last digits may differ from now on (micro_batch 8 → 2)"
    assert losses(tmp_path)[:4] == losses(whole[0])[:4] and losses(tmp_path) == pytest.approx(losses(whole[0]), rel=2e-4)


def test_a_launcher_that_starts_too_few_processes_is_noticed(folders: dict[str, Path], tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"resources\.processes is 2, and 1 was started"):
        run(job(folders, tmp_path, resources={"processes": 2}))


def test_a_checkpoint_of_another_run_is_refused(folders: dict[str, Path], tmp_path: Path) -> None:
    asked = iter(range(1, 100))
    run(job(folders, tmp_path), lambda: next(asked) == 1)
    with pytest.raises(ValueError, match="belongs to a run with other parameters"):
        run(job(folders, tmp_path, seed=2))


# mistakes


def test_two_trainers_never_share_a_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(train, "LOCK_SECONDS", 0.5)
    with train.alone(tmp_path):
        with (
            pytest.raises(ValueError, match=rf"another trainer \(process {os.getpid()}\) still works in"),
            train.alone(tmp_path),
        ):
            pass
        with (tmp_path / "trainer.lock").open() as held, pytest.raises(BlockingIOError):
            fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
    with train.alone(tmp_path):
        pass


def test_too_little_data_is_said_before_anything_is_trained(folders: dict[str, Path], tmp_path: Path) -> None:
    with pytest.raises(
        ValueError, match=r"has \d+ training windows of 32 tokens, fewer than one batch of 4096; lower batch_tokens or context"
    ):
        run(job(folders, tmp_path, batch_tokens=32 * 4096))


def test_a_tokenizer_that_the_corpus_was_not_packed_with_is_refused(folders: dict[str, Path], tmp_path: Path) -> None:
    described = job(folders, tmp_path)
    other = corpus.build(tmp_path / "other", documents=30, rows=20, vocab_size=300)["tokenizer"]
    with pytest.raises(ValueError, match=r"was packed with 400 tokens, and the tokenizer has \d+; pack again"):
        run(replace(described, inputs=described.inputs | {"tokenizer": other}))
    with pytest.raises(ValueError, match=r"has no tokenizer\.json"):
        run(replace(described, inputs=described.inputs | {"tokenizer": tmp_path}))


def _accelerator_error(code: int) -> RuntimeError:
    failure = torch.AcceleratorError(
        "CUDA error: out of memory" if code == 2 else "CUDA error: an illegal memory access was encountered"
    )
    failure.error_code = code
    return failure


def _raised(allocate: Callable[[], Any]) -> Any:
    try:
        return allocate()
    except (RuntimeError, MemoryError) as failure:
        return failure


@pytest.mark.parametrize(
    ("failure", "lacking"),
    [
        (_raised(lambda: torch.empty(1 << 50)), True),  # more than an address has bits for
        (_raised(lambda: np.empty(1 << 50)), True),
        (_raised(lambda: bytearray(1 << 60)), True),
        (torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB"), True),
        (_accelerator_error(2), True),
        (_accelerator_error(700), False),
        (RuntimeError("unable to open shared memory object </torch_1> in read-write mode"), False),
        (_raised(lambda: torch.zeros(2) @ torch.zeros(3)), False),
    ],
)
def test_a_lack_of_memory_is_told_from_other_failures(failure: Exception, lacking: bool) -> None:
    assert isinstance(failure, RuntimeError | MemoryError) and train.is_out_of_memory(failure) is lacking


@pytest.mark.parametrize(
    ("statement", "message"),
    [
        ("torch.empty(1 << 50)", "out of memory ([enforce fail at alloc_cpu.cpp"),
        ("raise MemoryError", "out of memory (MemoryError); lower resources.micro_batch"),
        ("raise RuntimeError('shared memory')", ""),
    ],
)
def test_a_run_without_memory_says_what_to_lower(folders: dict[str, Path], tmp_path: Path, statement: str, message: str) -> None:
    job(folders, tmp_path)
    described = json.loads((tmp_path / "job.json").read_text())
    (tmp_path / "job.json").write_text(json.dumps(described | {"method": "tests.stated"}))
    process = spawn(tmp_path, os.environ | {"OMP_NUM_THREADS": "1", "HANLIN_STATEMENT": statement})
    events = kill_after(process, 1 << 30, killing(signal.SIGKILL))
    assert process.returncode == 1
    assert events[0]["message"].startswith(message) if message else events == []


def test_parameters_that_contradict_each_other_are_refused() -> None:
    with pytest.raises(ValueError, match="tokens and epochs both say how long"):
        Params(tokens=100, epochs=1.0)
    with pytest.raises(ValueError, match="less than one sequence"):
        Params(context=64, batch_tokens=32)
    with pytest.raises(
        ValueError, match=r"batch_tokens \(255\) is less than one sequence of context \(256, that of preset tiny\)"
    ):
        Params(preset="tiny", batch_tokens=255)
    Params(preset="tiny", batch_tokens=256)
    with pytest.raises(ValueError, match="packing is best_fit, which puts documents together, and t5-tiny reads pairs"):
        Params(preset="t5-tiny", packing="best_fit")
    Params(preset="t5-tiny", batch_tokens=255)  # two or more pairs, mostly


GOLDEN = [6.031836, 6.010022, 5.933666, 5.80265, 5.761138, 5.567818, 5.438696, 4.726643, 5.427136, 5.102122, 5.204791, 5.081281]
