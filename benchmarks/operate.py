"""What an operator meets, on a real `hanlin up` with the recipe `tiny`: a run started in the browser, killed and cancelled runs, runs side by side,
and mistakes. `python -m benchmarks.operate [SCENARIO …]`; the browser needs node, playwright-core (PLAYWRIGHT_HOME) and chromium.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from benchmarks.bench import ROOT, close, playground
from tasks.store import Store

LIVE = ("SCHEDULED", "PENDING", "RUNNING", "CANCELLING")
SLOWER = ["pretrain.tokens=122880", "resources.checkpoint_steps=5"]  # 120 steps: long enough to be interrupted


class Operator:
    """`hanlin up` in a folder of its own, and the API as the UI talks to it."""

    def __init__(self, folder: Path, port: int, **env: str):
        self.folder, self.address = folder, f"http://127.0.0.1:{port}"
        self.store = Store(folder / "store")
        homes = {"PREFECT_HOME": str(folder / "prefect"), "HANLIN_STORE": str(self.store.root), "PYTHONPATH": str(ROOT)}
        self.env = {k: v for k, v in os.environ.items() if k != "PREFECT_API_URL"} | homes | env
        self.port = port
        self.process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Operator:
        self.folder.mkdir(parents=True, exist_ok=True)
        command = [sys.executable, "-m", "flows.cli", "up", "--port", str(self.port)]
        self.said = self.folder / "up.out"
        with self.said.open("wb") as said:
            self.process = subprocess.Popen(command, cwd=self.folder, env=self.env, stdout=said, stderr=subprocess.STDOUT)
        wait_for(lambda: "Ctrl-C stops" in self.said.read_text("utf-8") or self.process.poll() is not None, 600)
        assert self.process.poll() is None, self.said.read_text("utf-8")
        return self

    def __exit__(self, *exc: object) -> None:
        assert self.process is not None
        for _ in range(2):  # the second: what still runs is not waited for
            self.process.send_signal(signal.SIGINT)
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.process.wait(3)
        self.process.wait(120)

    def call(self, path: str, body: Any = None, method: str | None = None) -> Any:
        """The API's answer; of a refusal its code and text."""
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(f"{self.address}/api/{path}", data, {"Content-Type": "application/json"}, method=method)
        try:
            with urllib.request.urlopen(request, timeout=60) as answer:
                text = answer.read()
        except urllib.error.HTTPError as refused:
            return {"code": refused.code, "detail": refused.read().decode()}
        return json.loads(text) if text else None

    def deployment(self, name: str) -> str:
        return next(d["id"] for d in self.call("deployments/filter", {}) if d["name"] == name)

    def start(self, name: str, **parameters: Any) -> str:
        """A run of a deployment, as the form's button starts it. Its id."""
        body = {"parameters": parameters, "state": {"type": "SCHEDULED"}}
        return self.call(f"deployments/{self.deployment(name)}/create_flow_run", body)["id"]

    def run(self, run: str) -> dict[str, Any]:
        return self.call(f"flow_runs/{run}")

    def finish(self, run: str, patience: float = 1500) -> dict[str, Any]:
        wait_for(lambda: self.run(run)["state"]["type"] not in LIVE, patience)
        return self.run(run)

    def tasks(self, run: str) -> list[tuple[str, str]]:
        """(stage, how it ended) of every task run of a run, in order of their start, those of earlier attempts included."""
        wanted = {"flow_runs": {"id": {"any_": [run]}}, "sort": "EXPECTED_START_TIME_ASC"}
        return [(task["name"].split(" · ")[0], task["state_name"]) for task in self.call("task_runs/filter", wanted)]

    def made(self, run: str) -> dict[str, str]:
        """Stage → key of what a finished run used."""
        notes = [note for note in self.store.runs() if note["run"] == run]
        return notes[0]["artifacts"] if notes else {}

    def worker(self) -> int:
        """The worker's process, a child of `hanlin up`."""
        assert self.process is not None
        found = children(self.process.pid, "flows.cli worker")
        assert found, "no worker runs"
        return found[0]

    def in_training(self, run: str, stage: str = "pretrain") -> None:
        """Wait until a stage of a run has a checkpoint and is still at work."""
        home = self.store.root / "work"
        wait_for(lambda: any((stage, "Running") == task for task in self.tasks(run)), 1500)
        wait_for(lambda: any(home.glob("*/scratch/checkpoints/step-*")), 900, every=0.05)

    def trainers(self) -> list[int]:
        """Processes of the training engine that work in this store."""
        return [pid for pid in pids() if b"models.engine" in cmdline(pid) and str(self.store.root).encode() in cmdline(pid)]


def wait_for(what: Callable[[], Any], patience: float, every: float = 0.5) -> None:
    until = time.monotonic() + patience
    while not what():
        if time.monotonic() > until:
            raise SystemExit(f"waited {patience:.0f} s in vain")
        time.sleep(every)


def pids() -> list[int]:
    return [int(path.name) for path in Path("/proc").iterdir() if path.name.isdigit()]


def cmdline(pid: int) -> bytes:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ")
    except OSError:
        return b""


def children(parent: int, text: str) -> list[int]:
    found = []
    for pid in pids():
        with contextlib.suppress(OSError, IndexError):
            if int(Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[1]) == parent and text.encode() in cmdline(
                pid
            ):
                found.append(pid)
    return found


def kill(folder: Path, port: int, shots: Path) -> dict[str, Any]:
    """The worker is killed in the middle of pretraining: the run goes on by itself and ends with the same model."""
    with Operator(folder / "straight", port) as straight:
        run = straight.start("pipeline", recipe="tiny", changes=SLOWER, until="pretrain")
        assert straight.finish(run)["state"]["type"] == "COMPLETED"
        expected = {name: straight.store.record(key).digest for name, key in straight.made(run).items()}
    with Operator(folder / "killed", port) as killed:
        run = killed.start("pipeline", recipe="tiny", changes=SLOWER, until="pretrain")
        killed.in_training(run)
        worker = killed.worker()
        os.kill(worker, signal.SIGKILL)
        wait_for(lambda: killed.run(run)["run_count"] > 1, 600)
        ended = killed.finish(run)
        tasks = killed.tasks(run)
        got = {name: killed.store.record(key).digest for name, key in killed.made(run).items()}
        record = killed.store.record(killed.made(run)["pretrain"])
    rebuilt = [name for name in {name for name, _ in tasks} if sum(t == (name, "Completed") for t in tasks) > 1]
    return {
        "ok": ended["state"]["type"] == "COMPLETED" and got == expected and not rebuilt and record.stats["resumed_from"] > 0,
        "attempts": ended["run_count"],
        "resumed_from_step": record.stats["resumed_from"],
        "different": [name for name in expected if expected[name] != got.get(name)],
        "built_twice": rebuilt,
        "task_runs": tasks,
    }


def cancel(folder: Path, port: int, shots: Path) -> dict[str, Any]:
    """A run is cancelled during pretraining: the child is gone within 10 s, and the next run goes on from its checkpoint."""
    with Operator(folder / "cancel", port) as operator:
        run = operator.start("pipeline", recipe="tiny", changes=SLOWER, until="pretrain")
        operator.in_training(run)
        assert operator.trainers()
        began = time.monotonic()
        operator.call(f"flow_runs/{run}/set_state", {"state": {"type": "CANCELLING"}})
        wait_for(lambda: not operator.trainers(), 120, every=0.05)
        gone = time.monotonic() - began
        wait_for(lambda: operator.run(run)["state"]["type"] == "CANCELLED", 120)
        again = operator.start("pipeline", recipe="tiny", changes=SLOWER, until="pretrain")
        ended = operator.finish(again)
        resumed = operator.store.record(operator.made(again)["pretrain"]).stats["resumed_from"]
    return {
        "ok": gone <= 10 and ended["state"]["type"] == "COMPLETED" and resumed > 0,
        "seconds": round(gone, 1),
        "resumed_from_step": resumed,
    }


def two(folder: Path, port: int, shots: Path) -> dict[str, Any]:
    """Two runs of one recipe at once: each artifact is built once."""
    with Operator(folder / "two", port) as operator:
        runs = [operator.start("pipeline", recipe="tiny", until="pretrain") for _ in range(2)]
        states = [operator.finish(run)["state"]["type"] for run in runs]
        tasks = [operator.tasks(run) for run in runs]
    built: dict[str, int] = {}
    for name, state in (task for one in tasks for task in one):
        built[name] = built.get(name, 0) + (state == "Completed")
    return {
        "ok": states == ["COMPLETED"] * 2 and set(built.values()) == {1},
        "stages": len(built),
        "built_twice": [n for n in built if built[n] != 1],
    }


def eight(folder: Path, port: int, shots: Path) -> dict[str, Any]:
    """Eight different small runs at once on SQLite: all finish."""
    with Operator(folder / "eight", port) as operator:
        runs = [
            operator.start("pipeline", recipe="tiny", changes=[f"sample.seed={seed}", "sample.size=300KB"], until="pack")
            for seed in range(6)
        ]
        runs += [operator.start("corpus", recipe="tiny", changes=[f"sample.seed={seed}"]) for seed in (10, 11)]
        states = [operator.finish(run, 3000)["state"] for run in runs]
        logs = "".join(
            path.read_text("utf-8", errors="replace") for path in (operator.folder / "prefect" / "hanlin").glob("*.log")
        )
    failed = [state["message"] for state in states if state["type"] != "COMPLETED"]
    return {
        "ok": not failed,
        "finished": 8 - len(failed),
        "locked_lines_in_logs": logs.count("database is locked"),
        "failed": failed,
    }


def mistakes(folder: Path, port: int, shots: Path) -> dict[str, Any]:
    """A bad parameter, a missing path and a full disk: the reason is in the first line of the run's state, or the form refuses."""
    full = folder / "full"
    full.mkdir(parents=True)
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=3m", "tmpfs", str(full)], capture_output=True).returncode == 0
    first: dict[str, str] = {}
    with Operator(folder / "mistakes", port) as operator:
        form = operator.deployment("pipeline-form")
        schema = operator.call(f"deployments/{form}")["parameter_openapi_schema"]["properties"]["recipe"]["default"]
        wrong = json.loads(json.dumps(schema))
        wrong["dedup"]["threshold"] = 7
        body = {"parameters": {"recipe": wrong}, "state": {"type": "SCHEDULED"}}
        refused = operator.call(f"deployments/{form}/create_flow_run", body)
        cases = {
            "parameter": {"changes": ["sft.epochs=-1"]},
            "path": {"changes": ["sources.zhwiki.path=/no/such/dump.xml.bz2"]},
            "file": {"file": "/no/such/recipe.yaml"},
        }
        for name, given in cases.items():
            state = operator.finish(operator.start("pipeline", recipe="tiny", **given))["state"]
            first[name] = (state["message"] or "").splitlines()[0]
    if mounted:
        try:
            with Operator(folder / "disk", port, HANLIN_STORE=str(full / "store")) as operator:
                state = operator.finish(operator.start("corpus", recipe="tiny", changes=["sample.size=2MB"]))["state"]
                first["disk"] = (state["message"] or "").splitlines()[0]
        finally:
            subprocess.run(["umount", str(full)], check=False)
    words = {"parameter": "sft.epochs", "path": "/no/such/dump.xml.bz2", "file": "/no/such/recipe.yaml", "disk": "disk is full"}
    named = "recipe.dedup.threshold" in refused.get("detail", "")
    ok = named and all(words[name] in line for name, line in first.items()) and (mounted or "disk" not in first)
    return {"ok": ok, "form": refused, "first_lines": first, "disk_tried": mounted}


class Browser:
    """A page of chromium, told what to do one line at a time."""

    def __init__(self, address: str, shots: Path):
        command = ["node", str(ROOT / "benchmarks" / "operate.mjs"), address, str(shots)]
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def __call__(self, command: str, **given: Any) -> dict[str, Any]:
        assert self.process.stdin and self.process.stdout
        self.process.stdin.write(json.dumps({"command": command, **given}) + "\n")
        self.process.stdin.flush()
        answer = json.loads(self.process.stdout.readline())
        if not answer["ok"]:
            raise SystemExit(f"the browser could not {command} {given}: {answer['error']}")
        return answer


@contextlib.contextmanager
def browser(address: str, shots: Path) -> Iterator[Browser]:
    shots.mkdir(parents=True, exist_ok=True)
    one = Browser(address, shots)
    try:
        yield one
    finally:
        assert one.process.stdin
        one.process.stdin.close()
        one.process.wait(60)


SCENARIOS = {"kill": kill, "cancel": cancel, "two": two, "eight": eight, "mistakes": mistakes}


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("scenarios", nargs="*", default=list(SCENARIOS), choices=[*SCENARIOS, []])
    options.add_argument("--port", type=int, default=14210)
    options.add_argument("--shots", type=Path, default=Path("operate-shots"))
    given = options.parse_args()
    found = {}
    with playground() as folder:
        for name in given.scenarios:
            found[name] = SCENARIOS[name](folder / name, given.port, given.shots)
            print(name, json.dumps(found[name], ensure_ascii=False), flush=True)
    passed = sum(result["ok"] for result in found.values())
    close("operate", passed, "scenarios", f"all {len(found)}", passed == len(found), **found)


if __name__ == "__main__":
    main()
