"""One job a device: locks that other processes respect, and that end with whoever holds them."""

from __future__ import annotations

import subprocess
import sys
import threading
from pathlib import Path

import pytest

from tasks.artifacts.stage import Resources
from tasks.processes import device
from tests.waiting import PATIENCE, until

HOLDER = """
import sys, time
from tasks.processes import device
from tasks.artifacts.stage import Resources
with device.hold(Resources(device="cuda")) as held:
    print(held.env["CUDA_VISIBLE_DEVICES"], flush=True)
    time.sleep(3600)
"""


@pytest.fixture(autouse=True)
def locks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HANLIN_LOCKS", str(tmp_path / "locks"))
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)


def holder() -> tuple[subprocess.Popen[str], str]:
    process = subprocess.Popen([sys.executable, "-c", HOLDER], stdout=subprocess.PIPE, text=True)
    assert process.stdout
    return process, process.stdout.readline().strip()


def test_a_second_process_gets_the_other_device_and_a_third_waits_until_one_dies(monkeypatch):
    monkeypatch.setenv("HANLIN_DEVICES", "cuda:0,cuda:1")
    (first, shown), (second, other) = holder(), holder()
    said: list[str] = []
    got: list[dict[str, str]] = []

    def third() -> None:
        with device.hold(Resources(device="cuda"), said.append) as held:
            got.append(held.env)

    waiting = threading.Thread(target=third)
    try:
        assert {shown, other} == {"0", "1"}
        waiting.start()
        until(lambda: said)
        assert not got and "cuda:0, cuda:1 taken" in said[0] and str(first.pid) in said[0]
        second.kill()  # -9: nobody cleans up behind it
        waiting.join(PATIENCE)
        assert got and got[0]["CUDA_VISIBLE_DEVICES"] == other
    finally:
        for process in (first, second):
            process.kill()
            process.wait()


def test_several_processes_of_one_training_take_several_devices_and_no_more_than_there_are(monkeypatch):
    monkeypatch.setenv("HANLIN_DEVICES", "cuda:0,cuda:1,cuda:2")
    with device.hold(Resources(processes=2)) as held:
        assert held.env["CUDA_VISIBLE_DEVICES"] == "0,1" and len(held.locks) == 2
    assert device.limit(Resources(processes=8))[1] == 3


def test_visible_devices_keep_their_names(monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "5,GPU-1a2b")
    assert device.devices() == ["cuda:0", "cuda:1"]
    with device.hold(Resources(device="cuda", processes=2)) as held:
        assert held.env["CUDA_VISIBLE_DEVICES"] == "5,GPU-1a2b"


@pytest.mark.parametrize(
    ("listed", "asked", "fitting"),
    [("cuda:0,cpu", "cpu", ["cpu"]), ("cpu", "auto", ["cpu"]), ("cpu", "cuda", []), ("", "cpu", [])],
)
def test_what_is_given_out_is_configured(monkeypatch, listed, asked, fitting):
    monkeypatch.setenv("HANLIN_DEVICES", listed)
    assert device.candidates(Resources(device=asked))[0] == fitting
    with device.hold(Resources(device=asked)) as held:
        assert held.env == {} and len(held.locks) == len(fitting)
