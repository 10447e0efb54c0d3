"""A benchmark is green for what its bar says, and for nothing less."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from benchmarks import beside, busy, compute, dpo, gpu, serve_engine, throughput, tokenizer
from models import presets

SAID = {"exact": 9, "texts": 9}
BACK = {"files": 3, "changed": []}


@pytest.mark.parametrize(
    ("given", "ok"),
    [
        ((1000, 1.5, SAID, BACK), True),
        ((200, 0.9, SAID, BACK), False),  # a trial
        ((1000, 1.5, SAID, {}), False),  # HANLIN_REAL_DATA names none
        ((1000, 1.5, SAID, {"files": 0, "changed": []}), False),
        ((1000, 1.6, SAID, BACK), False),
        ((1000, 1.5, {"exact": 8, "texts": 9}, BACK), False),
        ((1000, 1.5, SAID, {"files": 3, "changed": ["a.txt"]}), False),
    ],
)
def test_the_tokenizer_is_measured_on_all_of_the_text_and_on_real_files(given: tuple[Any, ...], ok: bool) -> None:
    assert tokenizer.met(*given) is ok


def test_throughput_on_an_idle_machine_needs_both_times() -> None:
    ratios = {"wall time": {"bare loop": 0.94, "Trainer": 1.1}, "processor time": {"bare loop": 0.96, "Trainer": 1.1}}
    assert throughput.met(ratios, ["processor time"]) and not throughput.met(ratios, ["processor time", "wall time"])
    ratios["wall time"] = {"bare loop": 0.95, "Trainer": 1.0}
    assert not throughput.met(ratios, ["processor time", "wall time"]), "faster than the trainer, not as fast"


def test_runs_of_the_compute_benchmark_say_how_long_they_are() -> None:
    body = presets.find("tiny").body()
    found = compute.scale({"theirs": {"steps": 90, "tokens": 20 * body}, "ours": {"steps": 45, "tokens": body}})
    assert found == {"steps": {"theirs": 90, "ours": 45}, "tokens_per_parameter": {"theirs": 20, "ours": 1}}


@pytest.mark.parametrize(("stop", "repetition", "ok"), [(-0.05, 0.05, True), (-0.06, 0.0, False), (0.0, 0.06, False)])
def test_dpo_may_cost_no_more_health_than_its_bar_says(stop: float, repetition: float, ok: bool) -> None:
    def figure(name: str, change: float) -> dict[str, Any]:
        numbers = {
            "before": 0.5,
            "after": 0.5 + change,
            "change": change,
            "low": change - 0.02,
            "high": change + 0.02,
            "bound": change,
        }
        return {"figure": name, "state": "ok", **numbers}

    scores: dict[str, Any] = {
        "models": {name: {"preference": {"accuracy": share, "n": 100}} for name, share in (("sft", 0.5), ("dpo", 0.7))},
        "comparisons": [{"after": "dpo", "preference": {"n": 100, "grew": 0.9, "won": 25, "lost": 5, "p": 0.001}}],
        "health": [{"after": "dpo", "n": 80, "figures": [figure("answers that end", stop), figure("repetition", repetition)]}],
    }
    found = dpo.compared("Llama", scores)
    assert found["ok"] is ok
    assert (found["stop"]["hurt"], found["repetition"]["hurt"]) == (stop < -0.02, repetition > 0.02), "beyond its interval"


@pytest.mark.parametrize(("grew", "lost", "ok"), [(0.61, 5, True), (0.58, 5, False), (0.9, 26, False)])
def test_dpo_must_beat_chance_and_make_no_better_answer_less_likely(grew: float, lost: int, ok: bool) -> None:
    still = {"before": 0.5, "after": 0.5, "change": 0.0, "low": -0.02, "high": 0.02, "bound": 0.05, "state": "ok"}
    scores: dict[str, Any] = {
        "models": {name: {"preference": {"accuracy": 0.5, "n": 100}} for name in ("sft", "dpo")},
        "comparisons": [{"after": "dpo", "preference": {"n": 100, "grew": grew, "won": 25, "lost": lost, "p": 0.001}}],
        "health": [
            {"after": "dpo", "n": 80, "figures": [{"figure": name, **still} for name in ("answers that end", "repetition")]}
        ],
    }
    assert dpo.compared("Llama", scores)["ok"] is ok


def test_serving_is_measured_against_one_by_one_and_against_transformers() -> None:
    fast, beside = {8: 4.0, 32: 8.0}, {1: 0.5, 8: 1.0, 32: 1.0}
    assert serve_engine.met(fast, beside, 0)
    assert not serve_engine.met(fast | {8: 3.9}, beside, 0) and not serve_engine.met(fast | {32: 7.9}, beside, 0)
    assert not serve_engine.met(fast, beside | {32: 0.9}, 0) and not serve_engine.met(fast, beside, 1)


def test_a_bar_beside_an_earlier_commit_is_missed_by_its_ratio_or_by_its_seconds() -> None:
    before = {"plan": [beside.Use(8.0, 8.0), beside.Use(6.0, 8.0)], "suite": [beside.Use(100.0, 100.0)]}
    now = {"plan": [beside.Use(3.0, 4.0), beside.Use(4.0, 4.0)], "suite": [beside.Use(40.0, 90.0)]}
    assert beside.missed(beside.ratios(before, now), now) == []
    now["plan"].append(beside.Use(1.0, 1.0))
    assert [line.split(":")[0] for line in beside.missed(beside.ratios(before, now), now)] == ["plan", "plan"]
    slow = {"plan": [beside.Use(3.1, 3.1)]}
    assert beside.missed(beside.ratios({"plan": [beside.Use(9.0, 9.0)]}, slow), slow) == [
        "plan: 3.1 s of processor time, at most 3"
    ]


def test_what_a_command_leaves_behind_is_counted(tmp_path: Path) -> None:
    script = "import subprocess, sys; subprocess.Popen([sys.executable, '-c', 'sum(range(10 ** 7))'], start_new_session=True)"
    measured = f"from benchmarks import beside; print(beside.spent([{sys.executable!r}, '-c', {script!r}], '/', None).processor)"
    begin = f"import ctypes; ctypes.CDLL(None).prctl({beside.SUBREAPER}, 1, 0, 0, 0); "
    said = subprocess.run([sys.executable, "-c", begin + measured], cwd=beside.ROOT, capture_output=True, text=True, check=True)
    alone = subprocess.run([sys.executable, "-c", measured], cwd=beside.ROOT, capture_output=True, text=True, check=True)
    assert float(said.stdout) > 1.5 * float(alone.stdout)


def test_what_is_measured_on_a_gpu_is_rehearsed_on_a_cpu(tmp_path: Path) -> None:
    """All but the compiler and the stages, which take minutes."""
    out = tmp_path / "gpu.json"
    done = subprocess.run([sys.executable, "-m", "benchmarks.gpu", "--toy", "--out", str(out)], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    figures = json.loads(out.read_text())
    assert (
        list(figures) == list(gpu.parts(gpu.TOY, chain=False)) and json.loads(done.stdout.splitlines()[-1])["figures"] == figures
    )
    assert figures["mfu tiny"]["hanlin"]["mfu"] > 0 < figures["fsdp"]["sharded"]["tokens_per_second"]


def test_a_part_that_fails_or_hangs_costs_itself_alone() -> None:
    assert gpu.within(60, lambda: {"share": 1 / 0})["failure"] == "ZeroDivisionError: division by zero"
    started = time.monotonic()
    assert gpu.within(0.5, lambda: time.sleep(300) or {})["failure"] == "not done within 0 s"
    assert time.monotonic() - started < 100
    assert gpu.within(60, lambda: sys.exit(3))["failure"] == "SystemExit: 3"
    assert sum(limit for limit, _ in gpu.parts(gpu.FULL, chain=True).values()) < 1.25 * gpu.WHOLE


def test_a_busy_machine_may_cost_its_share_and_an_idle_one_nothing() -> None:
    assert busy.met(3.0, 1.02) and not busy.met(3.1, 1.0) and not busy.met(2.0, 1.03)
