"""Going on from an earlier run: its state is kept, published the same however often the run was killed, and given to the next one."""

from __future__ import annotations

import json
import math
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM, AutoTokenizer

from models import adapters, checkpoint, initialisation, optim, training_state
from models import job as jobs
from models.job import TrainingJob
from tasks import pack, sft, tokenizer
from tasks.artifacts.stage import Job, Resources
from tasks.processes import training
from tasks.processes.training import Lora
from tests import corpus
from tests.test_train import job, log, losses, run
from tests.test_training_stages import BASE, column, tuned

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("small_presets")]

QUICK = BASE | {"learning_rate": 5e-3, "epochs": 0.3, "optimizer": "adamw"}
LORA = Lora(rank=4, dropout=0.0)


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    return dict(corpus.build(tmp_path_factory.mktemp("corpus")))


@pytest.fixture(scope="module")
def plateau(folders: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Ten steps whose last four decay: the artifact, the stable state of step 7 in it."""
    home = tmp_path_factory.mktemp("plateau")
    result, _ = run(job(folders, home, steps=10, decay=0.4, eval_steps=100))
    assert result is not None
    return home / "out"


def going_on(folders: dict[str, Path], home: Path, start: Path, **settings: Any) -> TrainingJob[dict[str, Any]]:
    described = job(folders, home, **{"steps": 4, "eval_steps": 100, "decay": 0.5, "learning_rate": None} | settings)
    return replace(described, inputs=described.inputs | {"start": start})


# pretraining


def test_the_plateau_ends_where_the_rate_first_falls() -> None:
    for steps, decay in ((10, 0.4), (60, 0.1), (7, 0.0), (5, 1.0)):
        factor, last = optim.schedule("wsd", steps, 0.0, decay), optim.stable_step("wsd", steps, decay)
        assert last is not None
        assert [factor(step) for step in range(last)] == [1.0] * last and (last == steps or factor(last) < 1)
    assert optim.stable_step("cosine", 10, 0.4) is None and optim.stable_step("constant", 10, 0.4) == 10


def test_the_stable_state_is_that_of_its_step(folders: dict[str, Path], plateau: Path, tmp_path: Path) -> None:
    """A constant rate makes the same steps; and a run that was stopped behind that step publishes the same bytes."""
    facts = json.loads((plateau / "stable" / "state.json").read_text())
    assert (facts["step"], facts["tokens"], facts["preset"], facts["learning_rate"]) == (7, 7 * 256, "tiny", 0.01)
    run(job(folders, tmp_path / "constant", steps=7, schedule="constant", eval_steps=100))
    for name in ("weights.safetensors", "moments.safetensors"):
        assert (tmp_path / "constant" / "out" / "stable" / name).read_bytes() == (plateau / "stable" / name).read_bytes()
    described = job(
        folders,
        tmp_path / "stopped",
        steps=10,
        decay=0.4,
        eval_steps=100,
        resources={"keep_checkpoints": 1, "checkpoint_steps": 1},
    )
    asked = iter(range(1, 100))
    assert run(described, lambda: next(asked) == 9)[0] is None
    kept = tmp_path / "stopped" / "scratch" / "checkpoints"
    assert sorted(path.name for path in kept.iterdir()) == ["step-00000007", "step-00000009"]
    result, _ = run(described)
    assert result is not None and result["resumed_from"] == 9
    for path in sorted(file.relative_to(plateau) for file in plateau.rglob("*") if file.is_file()):
        assert (tmp_path / "stopped" / "out" / path).read_bytes() == (plateau / path).read_bytes(), path


def test_a_damaged_stable_state_is_made_again(folders: dict[str, Path], plateau: Path, tmp_path: Path) -> None:
    described = job(folders, tmp_path, steps=10, decay=0.4, eval_steps=100)
    asked = iter(range(1, 100))
    run(described, lambda: next(asked) == 9)
    (tmp_path / "scratch" / "checkpoints" / "step-00000007" / "weights.safetensors").write_bytes(b"")
    result, events = run(described)
    notes = [event["text"] for event in events if event["event"] == "log"]
    assert any(
        "step-00000009 is damaged (step-00000007, which it needs, is damaged: weights.safetensors)" in note for note in notes
    )
    assert result is not None and result["resumed_from"] == 5
    assert (tmp_path / "out" / "stable" / "weights.safetensors").read_bytes() == (
        plateau / "stable" / "weights.safetensors"
    ).read_bytes()


def test_a_run_goes_on_from_a_plateau(folders: dict[str, Path], plateau: Path, tmp_path: Path) -> None:
    """With its weights and moments, without a warm-up, in the data order of its own seed; and can itself be gone on from."""
    result, events = run(going_on(folders, tmp_path / "one", plateau))
    assert result is not None and result["learning_rate"] == 0.01
    notes = [event["text"] for event in events if event["event"] == "log"]
    assert f"going on from step 7 of {plateau}, after 1,792 tokens" in notes and any("0.01 (as before)" in note for note in notes)
    rows = [row for row in log(tmp_path / "one") if "loss" in row]
    assert [row["learning_rate"] for row in rows] == pytest.approx([0.01, 0.01, 0.01, 0.005])
    # the constant run's eighth step, had it the same batch, is this one's first
    run(job(folders, tmp_path / "longer", steps=8, schedule="constant", eval_steps=100, seed=1))
    described = going_on(folders, tmp_path / "same", plateau, schedule="constant", steps=8, seed=1)
    run(described)
    first = log(tmp_path / "same")[0]["loss"]
    assert first < log(tmp_path / "longer")[0]["loss"] - 0.5, "the same batch, by a model that has learned"
    facts = json.loads((tmp_path / "same" / "out" / "stable" / "state.json").read_text())
    assert (facts["step"], facts["tokens"]) == (15, 15 * 256)
    # stopped after its first step: the moments come from its own checkpoint then
    asked = iter(range(1, 100))
    again = going_on(folders, tmp_path / "again", plateau)
    assert run(again, lambda: next(asked) == 1)[0] is None
    run(again)
    assert (tmp_path / "again" / "out" / "log.jsonl").read_bytes() == (tmp_path / "one" / "out" / "log.jsonl").read_bytes()
    assert (tmp_path / "again" / "out" / "stable" / "moments.safetensors").read_bytes() == (
        tmp_path / "one" / "out" / "stable" / "moments.safetensors"
    ).read_bytes()
    moments = load_file(tmp_path / "one" / "out" / "stable" / "moments.safetensors")
    assert moments["lm_head.weight/step"] == 7 + 3
    run(going_on(folders, tmp_path / "fresh", plateau, fresh_moments=True, learning_rate=0.01, warmup=0.5))
    assert load_file(tmp_path / "fresh" / "out" / "stable" / "moments.safetensors")["lm_head.weight/step"] == 3
    assert (
        losses(tmp_path / "fresh")[0] == losses(tmp_path / "one")[0]
        and losses(tmp_path / "fresh")[2:] != losses(tmp_path / "one")[2:]
    )


def test_embeddings_follow_a_tokenizer_that_has_grown(folders: dict[str, Path], plateau: Path, tmp_path: Path) -> None:
    """Row by row, by the tokens' names, weights and moments alike; what is new starts from its pieces."""
    counted = folders["rows"].parent / "counts"
    grown = Job(out=tmp_path / "tokenizer", scratch=tmp_path / "scratch-tokenizer")
    params = tokenizer.Params(method="extend", vocab_size=440, base=str(folders["tokenizer"]))
    tokenizer.run(grown, params, rows=folders["rows"], counts=counted, base=[folders["tokenizer"] / "tokenizer.json"])
    packed = Job(out=tmp_path / "packed", scratch=tmp_path / "scratch-pack")
    pack.run(packed, pack.Params(), rows=folders["rows"], tokenizer=grown.out)
    given = folders | {"tokenizer": grown.out, "packed": packed.out}
    result, events = run(going_on(given, tmp_path, plateau, learning_rate=1e-12, steps=1, weight_decay=0.0))
    assert result is not None and any("its vocabulary has grown" in event.get("text", "") for event in events)
    vocabularies = [AutoTokenizer.from_pretrained(home).get_vocab() for home in (plateau / "model", tmp_path / "out" / "model")]
    new = vocabularies[1].keys() - vocabularies[0].keys()
    assert len(new) == len(vocabularies[1]) - len(vocabularies[0]) > 5
    before, after = (load_file(home / "stable" / training_state.WEIGHTS) for home in (plateau, tmp_path / "out"))
    for name in ("model.embed_tokens.weight", "lm_head.weight"):
        for token, number in vocabularies[0].items():
            torch.testing.assert_close(after[name][vocabularies[1][token]], before[name][number], rtol=0, atol=1e-9)
    assert losses(tmp_path)[0] < 4 < math.log(440), "what it has learned is still there"


def test_a_start_that_does_not_fit_is_refused(folders: dict[str, Path], plateau: Path, tmp_path: Path) -> None:
    def refused(match: str, start: Path = plateau, given: dict[str, Path] = folders, **settings: Any) -> None:
        with pytest.raises(ValueError, match=match):
            run(going_on(given, tmp_path / "refused", start, **settings))

    refused(r"was trained as another model \(preset tiny → retnet-tiny\)", preset="retnet-tiny")
    refused(r"has moments of muon, and optimizer is adamw; keep that optimizer, or set fresh_moments", optimizer="adamw")
    refused(r"has no stable/ to go on from", start=tmp_path)
    other = corpus.build(tmp_path / "other", documents=30, rows=20, vocab_size=340)
    refused(
        r"does not have the tokenizer that .* was trained with, nor an extension of it: it lacks \d+ of 400 tokens", given=other
    )
    harmed = Path(shutil.copytree(plateau, tmp_path / "harmed"))
    (harmed / "stable" / "moments.safetensors").write_bytes(b"")
    refused(r"stable/moments\.safetensors is missing or damaged", start=harmed)


# the stages after it


@pytest.fixture(scope="module")
def first_sft(folders: dict[str, Path], plateau: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    home = tmp_path_factory.mktemp("first")
    tuned("sft", folders | {"model": plateau / "model"}, home, sft.Params(**QUICK, lora=LORA, keep_state=True))
    return home / "out"


def test_adapters_go_on_with_and_without_their_moments(
    folders: dict[str, Path], plateau: Path, first_sft: Path, tmp_path: Path
) -> None:
    given = folders | {"model": plateau / "model"}
    last = load_file(first_sft / "state" / "weights.safetensors")
    bare = Path(shutil.copytree(first_sft, tmp_path / "bare", ignore=shutil.ignore_patterns("state")))
    for name, start in (("state", first_sft), ("adapter", bare)):
        tuned("sft", given, tmp_path / name, sft.Params(**QUICK, lora=LORA, keep_state=True, seed=2), start=start)
    tuned("sft", given, tmp_path / "new", sft.Params(**QUICK, lora=LORA, seed=2))
    first = {name: column(tmp_path / name, "loss")[0] for name in ("state", "adapter", "new")}
    assert first["state"] == first["adapter"] < first["new"] - 0.1, "the same weights see the same batch"
    steps = {
        name: next(
            value
            for key, value in load_file(tmp_path / name / "out" / "state" / "moments.safetensors").items()
            if key.endswith("/step")
        )
        for name in ("state", "adapter")
    }
    made = len(column(first_sft.parent, "loss"))
    assert steps == {"state": 2 * made, "adapter": made}
    assert all("lora_" in name for name in last)
    facts = json.loads((tmp_path / "state" / "out" / "state" / "state.json").read_text())
    assert facts["step"] == 2 * made


def test_a_whole_model_goes_on_from_its_state(folders: dict[str, Path], plateau: Path, tmp_path: Path) -> None:
    given = folders | {"model": plateau / "model"}
    params = sft.Params(**QUICK | {"learning_rate": 1e-3}, keep_state=True, schedule="constant", warmup=0.0)
    tuned("sft", given, tmp_path / "first", params)
    tuned("sft", given, tmp_path / "second", params, start=tmp_path / "first" / "out")
    one, two = column(tmp_path / "first", "loss"), column(tmp_path / "second", "loss")
    assert two[0] < one[0] and len(one) == len(two)
    with pytest.raises(ValueError, match=r"has neither state/ .* nor adapter/ to go on from; name it as the model"):
        tuned("sft", given, tmp_path / "third", params, start=plateau)


def test_adapters_that_do_not_fit_are_refused(folders: dict[str, Path], plateau: Path, first_sft: Path, tmp_path: Path) -> None:
    given = folders | {"model": plateau / "model"}
    bare = Path(shutil.copytree(first_sft, tmp_path / "bare", ignore=shutil.ignore_patterns("state")))

    def refused(match: str, start: Path, **params: Any) -> None:
        with pytest.raises(ValueError, match=match):
            tuned("sft", given, tmp_path / "refused", sft.Params(**QUICK | params), start=start)

    refused(r"trained something else \(lora .*'rank': 4.* → .*'rank': 8", first_sft, lora=Lora(rank=8))
    refused(r"holds other adapters \(rank is 4 there and 8 in lora\)", bare, lora=Lora(rank=8))
    refused(r"has adapters and no state/, so going on from it trains adapters", bare)
    other = Path(shutil.copytree(plateau / "model", tmp_path / "base"))
    weights = load_file(other / "model.safetensors")
    save_file({name: p + 1 for name, p in weights.items()}, other / "model.safetensors", metadata={"format": "pt"})
    given = folders | {"model": other}
    refused(r"was trained beside another base", first_sft, lora=LORA)
    refused(r"adapters of .* were trained beside another base", bare, lora=LORA)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"use_rslora": True}, r"adapter_config.json has use_rslora, which adapters here do not"),
        ({"target_modules": ".*proj"}, "has target_modules as a pattern"),
        ("empty", r"holds the adapters of another model \(.*lora_A.* is only in the model"),
        ("half", r"holds the adapters of another model \(.*lora_A.* is only in the model"),
        ("more", r"holds the adapters of another model \(extra.lora_A.weight is only there"),
        ("gone", r"has no adapter_model.safetensors \(a pickle is not read\)"),
    ],
)
def test_an_adapter_that_is_not_whole_or_of_another_kind_is_refused(
    folders: dict[str, Path], plateau: Path, first_sft: Path, tmp_path: Path, change: Any, message: str
) -> None:
    """Peft's own folder, which says nothing of its base; whole, it is gone on from."""
    folder = Path(shutil.copytree(first_sft / "adapter", tmp_path / "adapter", ignore=shutil.ignore_patterns("base.json")))
    about, weights = folder / "adapter_config.json", folder / "adapter_model.safetensors"
    model = AutoModelForCausalLM.from_pretrained(plateau / "model")
    adapters.add(model, jobs.LoraParams(**LORA.model_dump()))
    adapters.load_values(model, folder)
    kept = load_file(weights)
    if isinstance(change, dict):
        about.write_text(json.dumps(json.loads(about.read_text("utf-8")) | change), "utf-8")
    elif change == "gone":
        weights.unlink()
    else:
        names = {"empty": [], "half": sorted(kept)[: len(kept) // 2], "more": sorted(kept)}[change]
        changed = {name: kept[name] for name in names}
        if change == "more":
            changed["base_model.model.extra.lora_A.weight"] = torch.zeros(1)
        save_file(changed, weights, metadata={"format": "pt"})
    with pytest.raises(ValueError, match=message):
        adapters.load_values(model, folder)


def test_an_adapter_of_pefts_is_gone_on_from(folders: dict[str, Path], plateau: Path, first_sft: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(first_sft / "adapter", tmp_path / "adapter", ignore=shutil.ignore_patterns("base.json")))
    emitted: list[str] = []
    place = Job(out=tmp_path / "out", scratch=tmp_path / "scratch", resources=Resources(device="cpu"))
    inputs = {"model": plateau / "model", "start": folder}
    described = training.description("sft", sft.METHOD, place, sft.Params(**QUICK, lora=LORA), shards=True, **inputs)
    (tmp_path / "job.json").write_text(json.dumps(described), "utf-8")
    read = jobs.read(tmp_path / "job.json")
    going = jobs.typed(read, jobs.method_of(read)[0])
    initialisation.prepare_model(going, lambda event, **fields: emitted.append(fields.get("text", "")))
    assert f"going on from the adapters of {folder}" in emitted and len(initialisation.start_identity(going)["start"]) == 2


# the best and the last


def test_the_best_weights_survive_rotation_and_are_published(folders: dict[str, Path], tmp_path: Path) -> None:
    """A rate far too high makes the last weights worse than earlier ones."""
    settings: dict[str, Any] = {"steps": 8, "eval_steps": 1, "learning_rate": 0.3, "schedule": "constant", "warmup": 0.0}
    settings |= {"optimizer": "adamw", "keep_stable": False, "resources": {"keep_checkpoints": 1, "checkpoint_steps": 1}}
    last, _ = run(job(folders, tmp_path / "last", **settings))
    assert last is not None
    checked = {row["step"]: row["eval_loss"] for row in log(tmp_path / "last") if "eval_loss" in row}
    best = min(checked, key=lambda step: checked[step])
    assert best < 8 and (last["weights"], last["weights_step"], last["eval_loss"]) == ("last", 8, checked[8])
    assert (last["best_step"], last["best_eval_loss"]) == (best, checked[best])
    kept = sorted(path.name for path in (tmp_path / "last" / "scratch" / "checkpoints").iterdir())
    assert kept == [f"step-{best:08d}", "step-00000008"]

    described = job(folders, tmp_path / "best", weights="best", **settings)
    asked = iter(range(1, 100))
    assert run(described, lambda: next(asked) == best + 1)[0] is None
    assert (checkpoint.place(tmp_path / "best" / "scratch" / "checkpoints", best) / training_state.WEIGHTS).exists()
    found, _ = run(described)
    assert found is not None and (found["weights"], found["weights_step"], found["eval_loss"]) == ("best", best, checked[best])
    weights = load_file(tmp_path / "best" / "scratch" / "checkpoints" / f"step-{best:08d}" / training_state.WEIGHTS)
    published = load_file(tmp_path / "best" / "out" / "model" / "model.safetensors")
    assert all(torch.equal(published[name], p) for name, p in weights.items())
