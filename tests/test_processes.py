"""Several training processes, started as the pipeline starts them, and what they learn against what one does."""

from __future__ import annotations

import importlib
import inspect
import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from models import checkpoint, optim, sharding
from models import job as jobs
from models.shardable import unfit
from tasks.artifacts.stage import Job, Resources
from tasks.pretrain import Params
from tasks.processes import launcher, runner, training
from tasks.processes.training import DPO, Lora
from tasks.sft import Params as SFTParams
from tests import corpus
from tests.test_train import ROOT, job, kill_after, log, run

pytestmark = pytest.mark.usefixtures("small_presets")


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    return corpus.build(tmp_path_factory.mktemp("corpus"))


def spawn(home: Path, resources: Resources, stay: int = 0) -> subprocess.Popen[str]:
    """The engine in several processes, which stay at their step number `stay` (0: at none) until they are signalled."""
    (home / "out").mkdir(exist_ok=True)
    command = [sys.executable, *launcher.launch_command(resources), "tests.staying", str(home / "job.json")]
    quiet = {"stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL, "text": True}
    return subprocess.Popen(command, cwd=ROOT, env=os.environ | {"OMP_NUM_THREADS": "1", "HANLIN_STAY_AT": str(stay)}, **quiet)


SETTINGS: dict[str, Any] = {"steps": 12, "eval_steps": 6, "log_steps": 1, "learning_rate": 2e-3}


@pytest.fixture(scope="module")
def one(folders: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What one process learns."""
    home = tmp_path_factory.mktemp("one")
    run(job(folders, home, **SETTINGS))
    return home


def same(one: Path, other: Path) -> None:
    """The same batches, so the same losses, and in the end the same model."""
    rows, others = log(one), log(other)
    assert [row["step"] for row in others] == [row["step"] for row in rows]
    for name in ("loss", "eval_loss"):
        assert [row[name] for row in others if name in row] == pytest.approx([row[name] for row in rows if name in row], abs=1e-5)
    whole, joined = (load_file(home / "out" / "model" / "model.safetensors") for home in (one, other))
    assert whole.keys() == joined.keys()
    assert max((whole[name] - joined[name]).abs().max().item() for name in whole) < 1e-3


@pytest.mark.slow
def test_two_processes_learn_what_one_does_and_stop_after_the_same_step(
    folders: dict[str, Path], one: Path, tmp_path: Path
) -> None:
    two = {"processes": 2, "checkpoint_steps": 1000, "device": "cpu"}
    job(folders, tmp_path, **SETTINGS, resources=two)
    launched = spawn(tmp_path, Resources(**two), 3)
    stopped = kill_after(launched, 3, lambda events: launched.send_signal(signal.SIGTERM))
    assert [event["event"] for event in stopped if event["event"] in ("result", "error")] == ["error"]
    newest = checkpoint.newest(tmp_path / "scratch" / "checkpoints")
    assert newest is not None and checkpoint.step_of(newest) == 3
    events = kill_after(spawn(tmp_path, Resources(**two)), 1 << 30, lambda events: None)
    assert [event["event"] for event in events].count("result") == 1, "one of them speaks"
    assert (events[-1]["processes"], events[-1]["resumed_from"]) == (2, checkpoint.step_of(newest))
    same(one, tmp_path)


@pytest.mark.slow
def test_two_processes_share_a_model_in_shards_that_one_began_and_ends(
    folders: dict[str, Path], one: Path, tmp_path: Path
) -> None:
    """Checkpoints and what is published are whole, whoever wrote them."""
    asked = iter(range(1, 100))
    assert run(job(folders, tmp_path, **SETTINGS), lambda: next(asked) == 3)[0] is None
    two = {"processes": 2, "parallel": "fsdp", "device": "cpu"}
    job(folders, tmp_path, **SETTINGS, resources=two)
    result = kill_after(spawn(tmp_path, Resources(**two)), 1 << 30, lambda events: None)[-1]
    assert (result["processes"], result["shards"], result["resumed_from"]) == (2, True, 3)
    same(one, tmp_path)
    shutil.rmtree(tmp_path / "out")
    shutil.rmtree(checkpoint.place(tmp_path / "scratch" / "checkpoints", 12))
    last, _ = run(job(folders, tmp_path, **SETTINGS))
    assert last is not None and 5 < last["resumed_from"] < 12, "from what two wrote in shards"
    same(one, tmp_path)


def test_a_matrix_in_shards_takes_the_step_that_it_takes_whole(tmp_path: Path) -> None:
    """Muon needs the matrix; a mesh of one process has all of it in its one shard."""
    import torch.distributed as dist
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.tensor import Shard, distribute_tensor

    torch.manual_seed(0)
    shapes, steps = [(6, 4), (6, 4), (3, 4, 5)], 3
    start = [torch.randn(shape) for shape in shapes]
    gradients = [[torch.randn(shape) for shape in shapes] for _ in range(steps)]
    dist.init_process_group("gloo", store=dist.FileStore(str(tmp_path / "store"), 1), rank=0, world_size=1)
    try:
        mesh = init_device_mesh("cpu", (1,))
        found = []
        for shard in (lambda value: value.clone(), lambda value: distribute_tensor(value.clone(), mesh, [Shard(0)])):
            made = [torch.nn.Parameter(shard(value)) for value in start]
            optimizer = optim.MuonAdamW(
                [{"params": made[:2], "kind": "muon", "weight_decay": 0.1}, {"params": made[2:], "kind": "adamw"}], lr=0.02
            )
            for step in gradients:
                for p, gradient in zip(made, step, strict=True):
                    p.grad = shard(gradient)
                optimizer.step()
            found.append([sharding.whole(p.detach()) for p in made])
        assert all(torch.equal(one, other) for one, other in zip(*found, strict=True))
    finally:
        dist.destroy_process_group()


def test_machines_are_told_where_to_meet(monkeypatch: pytest.MonkeyPatch) -> None:
    said = " ".join(launcher.launch_command(Resources(processes=8, machines=2, meet="node0:29400", parallel="fsdp"), 1))
    assert "fsdp.yaml --num_processes 8 --num_machines 2 --machine_rank 1 --main_process_ip node0 " in said
    assert said.endswith("--main_process_port 29400 --module")
    monkeypatch.delenv("MASTER_PORT", raising=False)
    monkeypatch.setenv("MASTER_ADDR", "10.0.0.1")
    said = " ".join(launcher.launch_command(Resources(processes=8, machines=2)))
    assert "--machine_rank 0 --main_process_ip 10.0.0.1 --main_process_port 29500" in said
    monkeypatch.delenv("MASTER_ADDR")
    with pytest.raises(ValueError, match="machines needs meet"):
        Resources(processes=8, machines=2)


UNFIT = [
    ("pretrain", Params(optimizer="adafactor"), True, "shards muon and adamw, not adafactor"),
    ("pretrain", Params(preset="t5-0.2b"), True, "a T5 does not train in shards: its encoder, its decoder and its head share"),
    ("sft", SFTParams(lora=Lora(bits=4)), True, "shards full-precision bases only, not one in 4 bits"),
    ("dpo", DPO(), False, "dpo does not train in shards"),
]


@pytest.mark.parametrize(("stage", "params", "shards", "match"), UNFIT)
def test_what_does_not_go_in_shards_is_trained_whole_and_says_so(
    tmp_path: Path, stage: str, params: Any, shards: bool, match: str
) -> None:
    said = list[str]()
    reason = unfit(stage, params, None, shards=shards)
    settled = launcher.effective(Resources(processes=2, parallel="fsdp"), reason, said.append)
    assert (settled.parallel, settled.processes, len(said)) == ("ddp", 2, 1) and match in said[0]
    assert launcher.effective(settled, reason, said.append) is settled and len(said) == 1
    place = Job(tmp_path / "out", tmp_path / "scratch", settled)
    described = training.description(stage, f"models.methods.{stage}", place, params, shards=shards)
    (tmp_path / "job.json").write_text(json.dumps(described))
    read = jobs.read(tmp_path / "job.json")
    with pytest.raises(ValueError, match=f"{match}.*resources.parallel: ddp"):
        sharding.check(jobs.typed(read, jobs.method_of(read)[0]))


def test_what_goes_in_shards_stays_in_shards(tmp_path: Path) -> None:
    """What an SFT goes on from decides: a Llama is cut, a T5 is not."""
    asked, said = Resources(processes=2, parallel="fsdp"), list[str]()
    for kind, parallel in (({"model_type": "llama"}, "fsdp"), ({"model_type": "t5", "is_encoder_decoder": True}, "ddp")):
        (tmp_path / "config.json").write_text(json.dumps(kind))
        reason = unfit("sft", SFTParams(), tmp_path, shards=True)
        assert launcher.effective(asked, reason, said.append).parallel == parallel
    assert len(said) == 1


def test_a_stage_that_is_not_cut_is_launched_in_whole_models(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Through the launcher: a pipeline that shards its pretraining does not die in its DPO."""
    (tmp_path / "played.py").write_text(
        "import json, os\n"
        "if os.environ['RANK'] == '0':\n"
        "    print(json.dumps({'event': 'result', 'sharded': os.environ.get('ACCELERATE_USE_FSDP', 'false')}))\n"
    )
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    found = {}
    (tmp_path / "job.json").write_text("{}")
    for whole in ("", "dpo does not train in shards"):
        resources = Resources(processes=2, parallel="fsdp", device="cpu")
        played = runner.run("played", tmp_path / "job.json", job=Job(tmp_path, tmp_path, resources), processes=2, whole=whole)
        found[whole] = played["sharded"]
    assert found == {"": "true", "dpo does not train in shards": "false"}


@pytest.mark.parametrize(
    ("stage", "cut"), [("pretrain", True), ("sft", True), ("dpo", False), ("reward", False), ("reference", False)]
)
def test_a_stage_knows_whether_its_trainer_goes_in_shards(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stage: str, cut: bool
) -> None:
    """Told before the processes start; here they are none that train."""
    monkeypatch.setattr(launcher, "launch_command", lambda *resources: ["-c", "raise SystemExit(1)"])
    said = list[str]()
    resources = Resources(processes=2, parallel="fsdp", device="cpu", threads=1)
    module = importlib.import_module(f"tasks.{stage}")
    folders = {
        name: tmp_path
        for name, p in inspect.signature(module.run.run).parameters.items()
        if p.kind is p.KEYWORD_ONLY and p.default is p.empty
    }
    with pytest.raises(runner.ChildFailed):
        module.run(Job(tmp_path / "out", tmp_path / "scratch", resources, log=said.append), module.Params(), **folders)
    assert any("resources.parallel: ddp for this stage" in line for line in said) is not cut


@pytest.mark.parametrize("name", ["ddp", "fsdp"])
def test_the_configurations_are_what_accelerate_reads(name: str) -> None:
    from accelerate.commands.config.config_args import load_config_from_file

    found = load_config_from_file(str(launcher.CONFIGS / f"{name}.yaml"))
    assert found.distributed_type == {"ddp": "MULTI_GPU", "fsdp": "FSDP"}[name] and found.mixed_precision == "no"
    assert name == "ddp" or found.fsdp_config["fsdp_version"] == 2
