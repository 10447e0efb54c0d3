"""The gate refuses what is worse beyond noise, says what that is, and lets everything else pass."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tasks import gate
from tasks.artifacts.stage import Job
from tasks.evaluate import mcnemar
from tasks.gate import Measure, Params
from tasks.metrics.bootstrap import paired_bootstrap

HOW = {"tolerance": 0.0, "level": 0.95, "resamples": 4000, "seed": 0}


def model(seed: int, *, skill: float = 0.5, bits: float = 100.0, stopped: float = 1.0) -> dict[str, Any]:
    """Values of a model on 300 questions, 60 documents, 80 pairs and 40 prompts; an equal seed and skill is an equal model."""
    draw = np.random.default_rng(seed)
    return {
        "documents": [{"bits": bits * float(size), "guess": 800.0} for size in draw.uniform(0.9, 1.1, 60)],
        "questions": [{"correct": bool(right)} for right in draw.random(300) < skill],
        "pairs": [{"preferred": bool(won)} for won in draw.random(80) < 0.7],
        "answers": [{"stopped": bool(end), "empty": False, "repetition": 0.1} for end in draw.random(40) < stopped],
    }


ROWS = {
    "documents": [{"id": str(n), "source": ("wiki", "zhihu")[n % 2], "bytes": 100} for n in range(60)],
    "questions": [{"id": str(n), "source": "exam"} for n in range(300)],
    "pairs": [{"id": str(n), "source": "s", "origin": ("ready", "generated")[n % 2]} for n in range(80)],
    "prompts": [{"id": str(n), "source": "s"} for n in range(40)],
}


def judged(folder: Path, new: dict[str, Any], old: dict[str, Any] | None, **params: Any) -> tuple[dict[str, Any], str]:
    """(the verdict, the page)"""
    for name, one in (("candidate", new), ("prod", old)):
        (folder / name).mkdir(exist_ok=True)
        other = model(9, skill=0.0)
        models = {"sft": other, "dpo": one} if name == "candidate" else {"prod": one}
        (folder / name / "cases.json").write_text(json.dumps({"rows": ROWS, "models": models}))
        answers = {key: f"<{key}>" for key in models}
        (folder / name / "answers.json").write_text(json.dumps([{"prompt": "石桥镇在哪里？", "answers": answers}]))
    job = Job(folder / "out", folder / "scratch")
    stats = gate.run(
        job, Params(resamples=2000, **params), candidate=folder / "candidate", **({"prod": folder / "prod"} if old else {})
    )
    assert json.loads((folder / "out" / "verdict.json").read_text()) == stats
    return stats, (folder / "out" / "report.html").read_text()


def test_an_equal_model_passes(tmp_path):
    verdict, page = judged(tmp_path, model(1), model(1))
    assert verdict["promote"] and not verdict["refused"]
    assert [m["name"] for m in verdict["measures"]] == [
        "bits-wiki", "bits-zhihu", "accuracy-exam", "preference-generated", "preference-ready", "stop", "repetition",
    ]  # fmt: skip
    assert {m["verdict"] for m in verdict["measures"]} == {"same"} and all(m["change"] == 0 for m in verdict["measures"])
    assert verdict["level"] == round(1 - 0.05 / 7, 6)
    assert "may take over" in page and "&lt;prod&gt;" in page and not re.search(r"<script|(src|href)=.https?:", page)


def test_noise_passes(tmp_path):
    for seed in range(6):
        verdict, _ = judged(tmp_path, model(seed), model(seed + 50))
        assert verdict["promote"], verdict["refused"]


def test_a_worse_model_is_refused_and_told_why(tmp_path):
    verdict, page = judged(tmp_path, model(1, skill=0.3, bits=130, stopped=0.2), model(1, skill=0.5))
    assert not verdict["promote"]
    assert [line.split(":")[0] for line in verdict["refused"]] == [
        "bits per byte, wiki", "bits per byte, zhihu", "right choices, exam", "finished answers", "finished answers",
    ]  # fmt: skip
    assert re.fullmatch(
        r"bits per byte, wiki: [01]\.\d{3} → 1\.\d{3}, worse by 30\.0 % \(\d\d\.\d to \d\d\.\d\)", verdict["refused"][0]
    )
    assert "0.175, at least 0.5 wanted" in verdict["refused"][-1], "the candidate's health as well"
    assert "The candidate is refused" in page and verdict["refused"][0] in page


def test_a_better_model_passes_and_is_told_so(tmp_path):
    verdict, _ = judged(tmp_path, model(1, skill=0.7, bits=90), model(1, skill=0.5))
    assert verdict["promote"]
    assert {m["name"] for m in verdict["measures"] if m["verdict"] == "better"} >= {"bits-wiki", "bits-zhihu", "accuracy-exam"}


def test_a_loss_within_the_tolerance_passes(tmp_path):
    worse, old = model(1, bits=103), model(1)
    assert not judged(tmp_path, worse, old)[0]["promote"]
    assert judged(tmp_path, worse, old, bits_percent=4)[0]["promote"]


def test_the_first_model_need_only_be_healthy(tmp_path):
    verdict, page = judged(tmp_path, model(1), None)
    assert verdict["promote"] and verdict["measures"] == [] and "no model in production" in page
    assert not judged(tmp_path, model(1, bits=900), None)[0]["promote"], "no better than guessing"
    broken = judged(tmp_path, model(1, bits=float("nan")), model(1))[0]
    assert broken["refused"] == ["bits per byte: no number, less than the 8.000 of guessing tokens wanted"]
    assert not judged(tmp_path, model(1, stopped=0.1), None)[0]["promote"]
    assert judged(tmp_path, model(1, stopped=0.1), None, min_stop_rate=0)[0]["promote"]


def test_models_on_other_rows_are_not_compared(tmp_path):
    judged(tmp_path, model(1), model(1))
    cases = json.loads((tmp_path / "prod" / "cases.json").read_text())
    cases["rows"]["questions"][0]["id"] = "another"
    (tmp_path / "prod" / "cases.json").write_text(json.dumps(cases))
    with pytest.raises(AssertionError, match="on the candidate's rows"):
        gate.run(Job(tmp_path / "o", tmp_path / "s"), Params(), candidate=tmp_path / "candidate", prod=tmp_path / "prod")


def test_a_loss_that_few_rows_cannot_prove_is_put_to_an_operator(tmp_path):
    """0.72 → 0.56 of 25 pairs is not the same: the rows could have shown nothing smaller than a third."""
    old = [1.0] * 18 + [0.0] * 7
    [found] = gate.judge(Params(), [Measure("p", "preferred pairs", "points", old, [1.0] * 12 + [0.0] * 11 + [1.0] * 2)])
    assert (found["old"], found["new"], found["verdict"]) == (0.72, 0.56, "unsure")
    assert 0.16 < found["visible"] < 0.5
    assert "worse by 16.0 points, which may be chance: 25 rows show no loss below" in gate._doubt(found)
    [many] = gate.judge(Params(), [Measure("p", "p", "points", old * 40, ([1.0] * 12 + [0.0] * 11 + [1.0] * 2) * 40)])
    assert many["verdict"] == "worse" and many["visible"] < 0.1
    [little] = gate.judge(Params(ask_points=20), [Measure("p", "p", "points", old, [1.0] * 12 + [0.0] * 11 + [1.0] * 2)])
    assert little["verdict"] == "same"


def test_a_first_model_needs_a_floor_that_the_recipe_states(tmp_path):
    verdict, page = judged(tmp_path, model(1, skill=0.35), None)
    assert verdict["promote"] and "states no floor" in verdict["asks"][0] and "An operator has to decide" in page
    assert judged(tmp_path, model(1, skill=0.35), None, first_accuracy=0.2)[0]["asks"] == []
    below, page = judged(tmp_path, model(1, skill=0.35), None, first_accuracy=0.6)
    assert not below["promote"] and "at least 0.6 wanted of a first model" in below["refused"][0] and "refused" in page
    assert not judged(tmp_path, model(1), None, first_bits=0.5)[0]["promote"]


def test_few_rows_are_no_proof():
    """Three documents that all got worse may be chance, however narrow their interval."""
    [found] = gate.judge(Params(), [Measure("b", "b", "percent", [1.0, 1.0, 1.0], [1.5, 1.6, 1.7], [1, 1, 1], True)])
    assert found["high"] < 0 and found["p"] > 0.1 and found["verdict"] == "unsure"


def test_intervals_hold_what_they_promise():
    """Of 200 comparisons of models that truly differ by 0.1, about 5 % of the 95 % intervals miss it."""
    draw = np.random.default_rng(3)
    missed = 0
    for seed in range(200):
        old = draw.normal(0, 1, 60)
        new = old + draw.normal(0.1, 0.5, 60)
        found = paired_bootstrap(old, new, less_is_better=False, **(HOW | {"seed": seed, "resamples": 1000}))
        missed += not found.low <= 0.1 <= found.high
    assert 2 <= missed <= 22


def test_the_sign_test_is_mcnemars_on_right_and_wrong():
    old = [1.0] * 30 + [0.0] * 12 + [1.0] * 50
    new = [0.0] * 30 + [1.0] * 12 + [1.0] * 50
    found = paired_bootstrap(old, new, less_is_better=False, **(HOW | {"resamples": 200_000}))
    assert found.p == pytest.approx(mcnemar(12, 30) / 2, rel=0.1)
    assert (found.n, found.change) == (92, round(-18 / 92, 6))


def test_a_ratio_weighs_its_rows():
    found = paired_bootstrap([10.0, 300.0], [20.0, 300.0], [10.0, 100.0], less_is_better=True, **HOW)
    assert (found.old, found.new, found.change) == pytest.approx((310 / 110, 320 / 110, -10 / 110), abs=1e-6)
    assert paired_bootstrap([1.0], [2.0], less_is_better=True, **HOW) == paired_bootstrap(
        [1.0], [2.0], less_is_better=True, **HOW
    )
