"""Tests of the training job: what a stage writes is what its method reads, strictly, and a method is found by its name alone."""

from __future__ import annotations

import importlib
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from models import job as jobs
from tasks import dpo, pretrain, reward, sft
from tasks.artifacts.digests import sources
from tasks.artifacts.stage import Job, Resources
from tasks.processes import training
from tasks.processes.training import Lora

EVERY = {"learning_rate": 1, "warmup": 0.5, "seed": 7}
PARAMS = {
    "pretrain": pretrain.Params(**EVERY, preset="tiny-moe", balance=0.02, tokens=10**6, context=64),
    "sft": sft.Params(**EVERY, lora=Lora(modules=("q_proj", "v_proj")), packing=True),
    "dpo": dpo.Params(**EVERY, loss_type="robust", label_smoothing=0.1, lora=Lora(bits=8)),
    "reference": dpo.Params(max_length=32),
    "reward": reward.Params(**EVERY, freeze=("model.layers.0.*",), template="plain"),
}


def written(home: Path, stage: str = "sft", method: str = "") -> dict[str, Any]:
    """A job as the stage describes it."""
    place = Job(out=home / "out", scratch=home / "scratch", resources=Resources(processes=2, micro_batch=4))
    method = method or f"models.methods.{stage}"
    return json.loads(json.dumps(training.description(stage, method, place, PARAMS[stage], shards=True, model=home)))


def read(home: Path, described: dict[str, Any]) -> jobs.TrainingJob[Any]:
    (home / "job.json").write_text(json.dumps(described), "utf-8")
    job = jobs.read(home / "job.json")
    return jobs.typed(job, jobs.method_of(job)[0])


@pytest.mark.parametrize("stage", list(PARAMS))
def test_a_job_is_read_as_it_was_written(tmp_path: Path, stage: str) -> None:
    """To the letter: its parameters are in every checkpoint's identity, and a run goes on only from its own."""
    described = written(tmp_path, stage)
    job = read(tmp_path, described)
    assert isinstance(job.params, jobs.TrainingParams) and json.dumps(job.params.as_json()) == json.dumps(described["params"])
    assert (job.stage, job.resources.processes, job.resources.micro_batch, job.shards) == (stage, 2, 4, True)
    assert (job.inputs, job.folder("model"), job.out) == ({"model": tmp_path}, tmp_path, tmp_path / "out")
    with pytest.raises(ValueError, match=f"stage {stage} has no input rows; it has model"):
        job.folder("rows")


@pytest.mark.parametrize(
    ("path", "value", "match"),
    [
        (("params", "batch_size"), None, r"params of stage sft \(models\.methods\.sft\): batch_size is missing\. Write the job"),
        (("params", "batch"), 8, "batch is unknown"),
        (("params", "seed"), "1", "seed is wrong: Input should be a valid integer"),
        (("params", "lora"), {"rank": 8}, "lora.alpha is missing; lora.dropout is missing; "),
        (("resources", "workers"), 2, r"job\.json: resources\.workers is unknown"),
        (("shards",), None, "shards is missing"),
        (("inputs", "model"), 7, r"inputs\.model is wrong"),
        (("title",), "SFT", "title is unknown"),
    ],
)
def test_a_field_that_is_missing_unknown_or_of_another_type_is_named(
    tmp_path: Path, path: tuple[str, ...], value: Any, match: str
) -> None:
    described = written(tmp_path)
    *above, last = path
    place = described
    for name in above:
        place = place[name]
    if value is None:
        del place[last]
    else:
        place[last] = value
    with pytest.raises(ValueError, match=match):
        read(tmp_path, described)


@pytest.mark.parametrize(
    ("method", "match"),
    [
        ("models.train", "is no training method; name a module of models.methods or of another package"),
        ("models.methods", "is no training method"),
        ("models.methods.deep.sft", "is no training method"),
        ("tasks.sft", "is no training method"),
        ("sft", "is no training method"),
        ("models.methods.orpo", "is not installed here"),
        ("nowhere.orpo", "is not installed here"),
        ("models.methods.common", "lacks Params or a function common"),
    ],
)
def test_only_a_method_is_imported(tmp_path: Path, method: str, match: str) -> None:
    with pytest.raises(ValueError, match=f"method {method} of stage sft {match}"):
        read(tmp_path, written(tmp_path, method=method))


def test_a_method_of_another_package_trains(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In a process of its own, which imports no other method."""
    (tmp_path / "outsider").mkdir()
    (tmp_path / "outsider" / "__init__.py").touch()
    (tmp_path / "outsider" / "orpo.py").write_text(
        "import sys\n"
        "from models.job import TuningParams as Params\n"
        "def orpo(job, emit, stopping):\n"
        "    emit('log', text=f'{job.params.epochs} passes')\n"
        "    return {'methods': [name for name in sys.modules if name.startswith('models.methods')]}\n"
    )
    described = written(tmp_path, "reward", "outsider.orpo")
    (tmp_path / "job.json").write_text(json.dumps(described), "utf-8")
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setenv("PYTHONPATH", f"{tmp_path}:{Path(jobs.__file__).parents[1]}")
    command = [sys.executable, "-m", "models.train", str(tmp_path / "job.json")]
    said = subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()
    assert json.loads(said[0]) == {"event": "log", "text": "1.0 passes"}
    result = json.loads(said[1])
    assert (result["event"], result["methods"]) == ("result", []) and result["seconds"] >= 0


def test_what_the_launcher_asks_needs_no_torch() -> None:
    command = "import sys; import models.job, models.shardable; assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", command], check=True)


@pytest.mark.parametrize(
    ("module", "stages"),
    [
        *((f"models.methods.{stage}", {stage}) for stage in PARAMS),
        ("models.methods.preferences", {"dpo", "reference"}),
        ("models.reward", {"reward"}),
        ("models.trl_trainers", {"sft", "dpo", "reference"}),
        ("models.methods.common", set(PARAMS)),
    ],
)
def test_a_method_is_the_source_of_its_own_stage(module: str, stages: set[str]) -> None:
    assert {stage for stage in PARAMS if module in sources([f"tasks.{stage}"])} == stages
    assert f"models.methods.{min(stages)}" == importlib.import_module(f"tasks.{min(stages)}").METHOD
