"""An operator's work, tried on a real `hanlin up` with the recipe `tiny`: a run started in the browser, killed and cancelled runs, runs side by side,
and mistakes. `python -m benchmarks.operate [SCENARIO …]`; the browser needs node, playwright-core (PLAYWRIGHT_HOME) and chromium.
"""

from __future__ import annotations

import argparse
import contextlib
import http.server
import json
import logging
import os
import re
import signal
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from benchmarks.bench import ROOT, close, playground
from tasks import sample
from tasks.artifacts.store import Store

LIVE = ("SCHEDULED", "PENDING", "RUNNING", "CANCELLING")
ENDED = ("COMPLETED", "FAILED", "CRASHED", "CANCELLED")
SICK = ["gate.min_stop_rate=0", "gate.max_repetition=1", "gate.max_empty=1"]  # what a model of so few steps may be
OFTEN = ["resources.checkpoint_steps=2"]  # of 40 steps: early enough to be interrupted


class Operator:
    """`hanlin up` in a folder of its own, and the API as the UI talks to it."""

    def __init__(self, folder: Path, port: int, *options: str, **env: str):
        self.folder, self.address = folder, f"http://127.0.0.1:{port}"
        self.store = Store(folder / "store")
        homes = {"PREFECT_HOME": str(folder / "prefect"), "HANLIN_STORE": str(self.store.root), "PYTHONPATH": str(ROOT)}
        self.env = {k: v for k, v in os.environ.items() if k != "PREFECT_API_URL"} | homes | env
        self.port, self.shots, self.options = port, folder, options
        self.process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Operator:
        self.folder.mkdir(parents=True, exist_ok=True)
        command = [sys.executable, "-m", "flows.cli", "up", "--port", str(self.port), *self.options]
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

    def start(self, name: str, title: str | None = None, **parameters: Any) -> str:
        """A run of a deployment, as the form's button starts it. Its id."""
        body = {"parameters": parameters, "state": {"type": "SCHEDULED"}} | ({"name": title} if title else {})
        answer = self.call(f"deployments/{self.deployment(name)}/create_flow_run", body)
        assert "id" in answer, answer
        return answer["id"]

    def run(self, run: str) -> dict[str, Any]:
        return self.call(f"flow_runs/{run}")

    def finish(self, run: str, patience: float = 1500) -> dict[str, Any]:
        wait_for(lambda: self.run(run)["state"]["type"] not in LIVE, patience)
        return self.run(run)

    def tasks(self, run: str) -> list[tuple[str, str]]:
        """(stage, how it ended) of every task run of a run, in order of their start, those of earlier attempts included."""
        wanted = {"flow_runs": {"id": {"any_": [run]}}, "sort": "EXPECTED_START_TIME_ASC"}
        return [(task["name"].split(" · ")[0], task["state_name"]) for task in self.call("task_runs/filter", wanted)]

    def _log(self, run: str) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = []
        wanted = {"logs": {"flow_run_id": {"any_": [run]}}, "sort": "TIMESTAMP_ASC"}
        while page := self.call("logs/filter", wanted | {"limit": 200, "offset": len(found)}):
            found += page
        return found

    def lines(self, run: str) -> list[str]:
        """The lines of a run's log that are ours, as the server has them."""
        return [line["message"] for line in self._log(run) if line["name"].startswith("hanlin.")]

    def errors(self, run: str) -> list[str]:
        """The lines of a run's log that are errors, or speak of a crash."""
        return [line["message"] for line in self._log(run) if line["level"] >= logging.ERROR or "rash" in line["message"]]

    def made(self, run: str) -> dict[str, str]:
        """Stage → key of what a finished run used."""
        notes = [note for note in self.store.runs() if note["run"] == run]
        return notes[0]["artifacts"] if notes else {}

    def artifact(self, run: str, key: str) -> str:
        """The newest artifact of a run under a key."""
        wanted = {"artifacts": {"flow_run_id": {"any_": [run]}, "key": {"any_": [key]}}, "sort": "CREATED_DESC"}
        return self.call("artifacts/filter", wanted)[0]["id"]

    def record(self, run: str, stage: str) -> dict[str, Any]:
        """The record of what a finished run used for a stage."""
        record = self.store.record(self.made(run)[stage])
        assert record is not None
        return record.model_dump()

    def worker(self) -> int:
        """The worker's process, a child of `hanlin up`."""
        assert self.process is not None
        found = children(self.process.pid, "flows.cli worker")
        assert found, "no worker runs"
        return found[0]

    def in_training(self, run: str, stage: str = "pretrain") -> None:
        """Wait until a stage of a run has a checkpoint and is still at work."""
        wait_for(lambda: (stage, "Running") in self.tasks(run), 1500)
        home = self.store.root / "work"
        wait_for(lambda: any(home.glob("*/scratch/checkpoints/step-*")), 900, every=0.05)
        assert self.trainers()

    def trainers(self) -> list[int]:
        """Processes of the training engine that work in this store, as the locks on their folders say."""
        said = [path.read_text("utf-8").strip() for path in (self.store.root / "work").glob("*/scratch/trainer.lock")]
        return [int(pid) for pid in said if pid and Path(f"/proc/{pid}").exists()]


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


@contextlib.contextmanager
def machine(operator: Operator) -> Iterator[subprocess.Popen[bytes]]:
    """A worker as on a machine of its own; with it, all that it started is gone at once, as when the power fails."""
    env = operator.env | {"PREFECT_API_URL": f"{operator.address}/api"}
    said = (operator.folder / "worker.out").open("ab")
    worker = subprocess.Popen([sys.executable, "-m", "flows.cli", "worker"], env=env, stdout=said, stderr=subprocess.STDOUT)
    try:
        yield worker
    finally:
        doomed = [worker.pid]
        for pid in doomed:
            doomed += children(pid, "")
        for pid in doomed:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        worker.wait()


def children(parent: int, text: str) -> list[int]:
    found = []
    for pid in pids():
        with contextlib.suppress(OSError, IndexError):
            if int(Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[1]) == parent and text.encode() in cmdline(
                pid
            ):
                found.append(pid)
    return found


def kill(operator: Operator) -> dict[str, Any]:
    """The worker is killed in the middle of pretraining: the run goes on by itself and ends with the model of an uninterrupted one."""
    run = operator.start("pipeline", recipe="tiny", changes=OFTEN, until="pretrain")
    operator.in_training(run)
    os.kill(operator.worker(), signal.SIGKILL)
    wait_for(lambda: operator.run(run)["run_count"] > 1, 600)
    ended = operator.finish(run)
    tasks = operator.tasks(run)
    got = operator.record(run, "pretrain")
    straight = operator.start("pipeline", recipe="tiny", changes=OFTEN, until="pretrain", refresh=["pretrain"])
    operator.finish(straight)
    expected = operator.record(straight, "pretrain")
    again = sorted({name for name, _ in tasks if sum(task == (name, "Completed") for task in tasks) > 1})
    same = got["digest"] == expected["digest"]
    resumed, afresh = got["stats"]["resumed_from"], expected["stats"]["resumed_from"]
    return {
        "ok": ended["state"]["type"] == "COMPLETED" and same and not again and resumed > 0 == afresh,
        "attempts": ended["run_count"],
        "resumed_from_step": resumed,
        "same_digest": same,
        "built_twice": again,
        "task_runs": tasks,
    }


def cancel(operator: Operator) -> dict[str, Any]:
    """A run is cancelled during pretraining: the child is gone within 10 s, the run is Cancelled within 15 s and looks like it, and the next run
    goes on from its checkpoint: its log says so, with loss, speed and time left, and its plot of losses has a past."""
    changes = [*OFTEN, "pretrain.seed=2", "pretrain.tokens=400000"]
    run = operator.start("pipeline", recipe="tiny", changes=changes, until="pretrain")
    operator.in_training(run)
    wait_for(lambda: len([line for line in operator.lines(run) if " loss " in line]) > 1, 300)
    began = time.monotonic()
    operator.call(f"flow_runs/{run}/set_state", {"state": {"type": "CANCELLING"}})
    wait_for(lambda: not operator.trainers(), 120, every=0.05)
    gone = time.monotonic() - began
    cancelled = operator.finish(run, 120)["state"]
    took = time.monotonic() - began
    calm = not operator.errors(run) and {state for _, state in operator.tasks(run)} <= {"Completed", "Cached", "Cancelled"}
    again = operator.start("pipeline", recipe="tiny", changes=changes, until="pretrain")
    ended = operator.finish(again)
    resumed = operator.record(again, "pretrain")["stats"]["resumed_from"]
    said = "\n".join(operator.lines(again))
    words = [word for word in (f"going on from step {resumed} of", " loss ", " tok/s", " ETA ", "100%") if word not in said]
    over = [share for share in map(int, re.findall(r" (\d+)%", said)) if share > 100]
    return {
        "ok": gone <= 10
        and took <= 15
        and calm
        and cancelled["type"] == "CANCELLED"
        and ended["state"]["type"] == "COMPLETED"
        and resumed > 0
        and not words
        and not over,
        "seconds": round(gone, 1),
        "seconds_until_cancelled": round(took, 1),
        "looks_like_a_cancel": calm,
        "resumed_from_step": resumed,
        "missing_in_the_log": words,
    }


def served(operator: Operator) -> dict[str, Any]:
    """The deployment `serve` is cancelled: it drains, and its run is Cancelled without an error."""
    made = operator.start("pipeline", recipe="tiny", until="sft")
    operator.finish(made)
    run = operator.start("serve", models=["sft"], port=0, device="cpu")
    wait_for(lambda: any("/v1/chat/completions" in line for line in operator.lines(run)), 300)
    began = time.monotonic()
    operator.call(f"flow_runs/{run}/set_state", {"state": {"type": "CANCELLING"}})
    ended, took = operator.finish(run, 120)["state"], time.monotonic() - began
    drained = any("no new requests are taken" in line for line in operator.lines(run))
    return {
        "ok": ended["type"] == "CANCELLED" and drained and not operator.errors(run) and took <= 15,
        "state": ended["name"],
        "drained": drained,
        "errors": operator.errors(run),
        "seconds": round(took, 1),
    }


def names(operator: Operator) -> dict[str, Any]:
    """A name that was typed is kept; others say what differs from the recipe, also where the long form was filled in."""
    form = operator.call(f"deployments/{operator.deployment('corpus-form')}")["parameter_openapi_schema"]["properties"]["recipe"][
        "default"
    ]
    form["sample"] = {"size": "300KB"}
    runs = {
        "typed": operator.start("corpus", title="first try", recipe="tiny"),
        "changed": operator.start("corpus", recipe="tiny", changes=["sample.seed=31"]),
        "form": operator.start("corpus-form", recipe=form),
        "same": operator.start("corpus", recipe="tiny"),
    }
    found = {key: operator.finish(run)["name"] for key, run in runs.items()}
    expected = {"typed": "first try", "changed": "tiny · sample.seed=31", "form": f"{form['name']} · sample.size=300KB"}
    return {"ok": found == expected | {"same": found["same"]} and found["same"].startswith("tiny · 20"), "names": found}


def told(operator: Operator) -> dict[str, Any]:
    """A webhook is told of a failed run, once its address is in the block and the automation is on; before, nobody is told anything."""
    heard: list[str] = []

    class Noting(http.server.BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            heard.append(self.rfile.read(int(self.headers["Content-Length"])).decode())
            self.send_response(204)
            self.end_headers()

        def log_message(self, *_: Any) -> None: ...

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Noting) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        [block] = [b for b in operator.call("block_documents/filter", {}) if b["name"] == "hanlin-webhook"]
        address = f"http://127.0.0.1:{server.server_port}/"
        operator.call(f"block_documents/{block['id']}", {"data": {"url": address}, "merge_existing_data": True}, "PATCH")
        wrong = ["sft.epochs=-1"]
        operator.finish(operator.start("pipeline", recipe="tiny", changes=wrong))
        time.sleep(10)
        before = len(heard)
        [rule] = [a for a in operator.call("automations/filter", {}) if a["name"] == "hanlin-failed-run-webhook"]
        operator.call(f"automations/{rule['id']}", {"enabled": True}, "PATCH")
        operator.finish(operator.start("pipeline", recipe="tiny", changes=wrong))
        wait_for(lambda: heard, 60)
        operator.call(f"automations/{rule['id']}", {"enabled": False}, "PATCH")
        server.shutdown()
    return {"ok": before == 0 and "sft.epochs" in heard[0] and operator.address in heard[0], "said": heard[0]}


def lost(operator: Operator) -> dict[str, Any]:
    """A worker's machine dies in the middle of pretraining: the run is Crashed and its place at the device free within minutes, and goes on
    when the machine is back."""

    def places() -> int:
        return sum(limit["active_slots"] for limit in other.call("v2/concurrency_limits/filter", {}))

    with Operator(operator.folder / "lost", operator.port + 2, "--no-worker", HANLIN_DEVICES="cpu") as other:
        with machine(other):
            run = other.start("pipeline", recipe="tiny", changes=OFTEN, until="pretrain")
            other.in_training(run)
            held = places()
        began = time.monotonic()
        wait_for(lambda: not places(), 300)
        free = time.monotonic() - began
        wait_for(lambda: other.run(run)["state"]["type"] == "CRASHED", 300)
        crashed, line = time.monotonic() - began, first_line(other.run(run))
        with machine(other):
            wait_for(lambda: other.run(run)["run_count"] > 1, 300)
            ended = other.finish(run)["state"]["type"]
        resumed = other.record(run, "pretrain")["stats"]["resumed_from"]
    return {
        "ok": held == 1 and free <= 120 and crashed <= 240 and ended == "COMPLETED" and resumed > 0,
        "slot_free_after_seconds": round(free),
        "crashed_after_seconds": round(crashed),
        "first_line": line,
        "resumed_from_step": resumed,
    }


def retry(operator: Operator) -> dict[str, Any]:
    """A stage fails on a broken file; the file is mended, and Retry in the UI runs that stage and what follows."""
    raw = operator.folder / "raw"
    sample.write_corpus(raw, sample.Params(size="300KB", seed=5))
    (broken,) = raw.glob("medical/*.csv")
    whole = broken.read_bytes()
    broken.write_bytes(b'{"this": "is no table"}\n')
    run = operator.start("corpus", recipe="tiny", changes=[f"raw={raw}"])
    line = first_line(operator.finish(run))
    before = operator.tasks(run)
    broken.write_bytes(whole)
    with browser(operator.address, operator.shots) as tell:
        tell("open", path=f"/v2/runs/flow-run/{run}", text="Failed", name="12-failed")
        tell("menu", entry="Retry", name="13-retry")
        tell("confirm", button="Retry", name="14-retried")
        tell("leave")
        wait_for(lambda: operator.run(run)["run_count"] > 1, 120)
        ended = operator.finish(run)["state"]["type"]
        tell("open", path=f"/v2/runs/flow-run/{run}", text="Completed", name="15-after-the-retry")
    again = operator.tasks(run)[len(before) :]
    done = {name for name, state in before if state == "Completed"}
    return {
        "ok": broken.name in line and ended == "COMPLETED" and done == {name for name, state in again if state == "Cached"},
        "first_line": line,
        "cached": sorted(done),
    }


def arrived(operator: Operator) -> dict[str, Any]:
    """`hanlin arrived` starts a re-training through its event."""
    env = operator.env | {"PREFECT_API_URL": f"{operator.address}/api"}
    subprocess.run([sys.executable, "-m", "flows.cli", "arrived", "tiny"], env=env, check=True)
    wanted = {"deployments": {"name": {"any_": ["retrain"]}}, "flow_runs": {"state": {"type": {"not_any_": ["SCHEDULED"]}}}}
    wait_for(lambda: operator.call("flow_runs/filter", wanted), 120)
    (run,) = operator.call("flow_runs/filter", wanted)
    ended = operator.finish(run["id"])
    return {
        "ok": run["parameters"]["recipe"] == "tiny" and ended["state"]["type"] == "COMPLETED",
        "first_line": first_line(ended),
    }


def late(operator: Operator) -> dict[str, Any]:
    """A stage that takes longer than it may ends its run and is not tried again."""
    run = operator.start("pipeline", recipe="tiny", changes=["pretrain.seed=3", "resources.hours={pretrain: 0.001}"])
    line = first_line(operator.finish(run))
    ends = [state for name, state in operator.tasks(run) if name == "pretrain"]
    return {"ok": line.startswith("pretrain: not done after") and ends == ["TimedOut"], "first_line": line}


def two(operator: Operator) -> dict[str, Any]:
    """Two runs of one recipe at once: each artifact is built once."""
    changes = ["sample.seed=99"]
    runs = [operator.start("pipeline", recipe="tiny", changes=changes, until="pretrain") for _ in range(2)]
    states = [operator.finish(run)["state"]["type"] for run in runs]
    built: dict[str, int] = {}
    for name, state in (task for run in runs for task in operator.tasks(run)):
        built[name] = built.get(name, 0) + (state == "Completed")
    wrong = {name: count for name, count in built.items() if count != 1}
    return {"ok": states == ["COMPLETED"] * 2 and not wrong, "stages": len(built), "not_built_once": wrong}


def eight(operator: Operator) -> dict[str, Any]:
    """Eight different small runs at once on SQLite, two of them data runs: all finish."""
    runs = [operator.start("pipeline", recipe="tiny", changes=[f"sample.seed={seed}"], until="pack") for seed in range(20, 26)]
    runs += [operator.start("corpus", recipe="tiny", changes=[f"sample.seed={seed}"]) for seed in (26, 27)]
    states = [operator.finish(run, 3000)["state"] for run in runs]
    logs = "".join(path.read_text("utf-8", errors="replace") for path in (operator.folder / "prefect" / "hanlin").glob("*.log"))
    failed = [state["message"] for state in states if state["type"] != "COMPLETED"]
    return {
        "ok": not failed,
        "finished": 8 - len(failed),
        "locked_lines_in_logs": logs.count("database is locked"),
        "failed": failed,
    }


def mistakes(operator: Operator) -> dict[str, Any]:
    """A bad parameter, a missing path, a full disk: refused with the field's name, or the reason in the first line of the run's state."""
    form = operator.deployment("pipeline-form")
    recipe = operator.call(f"deployments/{form}")["parameter_openapi_schema"]["properties"]["recipe"]["default"]
    recipe["dedup"] = {"threshold": 7}
    body = {"parameters": {"recipe": recipe}, "state": {"type": "SCHEDULED"}}
    refused = operator.call(f"deployments/{form}/create_flow_run", body).get("detail", "")
    cases: dict[str, tuple[dict[str, Any], str]] = {
        "parameter": ({"changes": ["sft.epochs=-1"]}, "sft.epochs"),
        "path": ({"changes": ["sources.zhwiki.path=/no/such/dump.xml.bz2"]}, "/no/such/dump.xml.bz2"),
        "file": ({"file": "/no/such/recipe.yaml"}, "/no/such/recipe.yaml"),
    }
    runs = {name: operator.start("pipeline", recipe="tiny", **given) for name, (given, _) in cases.items()}
    first = {name: first_line(operator.finish(run)) for name, run in runs.items()}
    missing = [name for name, (_, word) in cases.items() if word not in first[name]]
    return {"ok": "recipe.dedup.threshold" in refused and not missing, "form": refused, "first_lines": first}


def own(operator: Operator) -> dict[str, Any]:
    """A stranger's folder of a text, instructions and a table, with neither exam nor preferences: it runs to a model that chats, and the plan and
    the report say what is switched off."""
    world, raw, recipe = (operator.folder / name for name in ("own-world", "own", "own.yaml"))
    sample.write_corpus(world, sample.Params(size="300KB", seed=5))
    raw.mkdir()
    for pattern in ("alpaca/*.json", "medical/*.csv"):
        for path in world.glob(pattern):
            path.rename(raw / path.name)
    talk = json.loads((raw / "alpaca_gpt4_data_zh.json").read_text("utf-8"))
    (raw / "novel.txt").write_text("\n".join(row["output"] for row in talk if row.get("output")) * 4, "utf-8")
    recipe.write_text(hanlin(operator, "sniff", str(raw), "--recipe"), "utf-8")
    run = operator.start(
        "pipeline",
        recipe="tiny",
        file=str(recipe),
        changes=["pretrain.tokens=8192", "pretrain.context=64", "rejected.max_new_tokens=12"],
    )
    ended = operator.finish(run)["state"]
    if ended["type"] != "COMPLETED":
        return {"ok": False, "state": ended["message"], "tasks": operator.tasks(run)}
    off = json.loads(hanlin(operator, "plan", str(recipe), "--json"))["switched_off"]
    report = (operator.store.object(operator.made(run)["report"]) / "report.html").read_text("utf-8")
    return {
        "ok": ended["type"] == "COMPLETED" and list(off) == ["questions"] and "No multiple-choice question was asked" in report,
        "state": ended["message"],
        "switched_off": off,
        "stages": list(operator.made(run)),
    }


def headline(operator: Operator) -> dict[str, Any]:
    """The report of a run says how often free answers about known facts are right, and marks each shown one."""
    run = operator.start("pipeline", recipe="tiny")
    ended = operator.finish(run)["state"]["type"]
    made = {name: operator.store.object(operator.made(run)[name]) for name in ("report", "evaluate")}
    rows = json.loads((made["report"] / "figures.json").read_text("utf-8"))["rows"]
    free = [row for row in rows if row["figure"] == "right free answer"]
    asked = json.loads((made["evaluate"] / "facts.json").read_text("utf-8"))
    report = (made["report"] / "report.html").read_text("utf-8")
    marks = report.count("✓ right") + report.count("✗ wrong")
    return {
        "ok": ended == "COMPLETED"
        and len(free) == 3
        and all(row["low"] < row["high"] for row in free)
        and marks >= 3 * min(8, len(asked)),
        "free": free,
        "marks": marks,
    }


def first(operator: Operator) -> dict[str, Any]:
    """A first model without a floor in its recipe waits for an operator: it does not go into production unasked, and a yes puts it there."""
    run = operator.start("retrain", recipe="tiny", changes=["name=first", "gate.first_accuracy=null", *SICK], tag="first")
    wait_for(lambda: operator.run(run)["state"]["type"] in ("PAUSED", *ENDED), 1500)
    asked, before = operator.run(run)["state"], list(operator.store.tags())
    if asked["type"] == "PAUSED":
        operator.call(f"flow_runs/{run}/resume", {"run_input": {"approve": True, "note": "seen"}})
        wait_for(lambda: operator.run(run)["state"]["type"] in ENDED, 600)
    ended, line = operator.run(run)["state"]["name"], first_line(operator.run(run))
    promoted = ended == "Promoted" and "approved by an operator: seen" in line and "first" in operator.store.tags()
    return {
        "ok": asked["type"] == "PAUSED" and "first" not in before and promoted and not operator.errors(run),
        "asked": asked["name"],
        "ended": ended,
        "first_line": line,
        "errors": operator.errors(run),
    }


def new_file(operator: Operator) -> dict[str, Any]:
    """The plan names a new file, tells what is not known yet, and what the run is expected to take, in 3 s of processor time."""
    raw, recipe = operator.folder / "grows", operator.folder / "grows.yaml"
    raw.mkdir()
    (raw / "one.txt").write_text("第一座山在北边，山下有河。\n" * 40, "utf-8")
    recipe.write_text(
        f"name: grows\nraw: {raw}\nsources: {{texts: {{format: text, path: '*.txt', use: [pretrain], cut: line}}}}\n", "utf-8"
    )
    operator.finish(operator.start("corpus", recipe="tiny", file=str(recipe)))
    (raw / "two.txt").write_text("第二座山在南边，山下有湖。\n" * 40, "utf-8")
    began = os.times()
    told = hanlin(operator, "plan", str(recipe))
    ended = os.times()
    seconds = (ended.children_user + ended.children_system) - (began.children_user + began.children_system)
    return {
        "ok": "new file two.txt" in told and "not known yet" in told and "Expected: about" in told and seconds <= 3,
        "processor_seconds": round(seconds, 2),
        "plan": told,
    }


def hanlin(operator: Operator, *arguments: str) -> str:
    """The output of a command in the operator's terminal."""
    command = [sys.executable, "-m", "flows.cli", *arguments]
    return subprocess.run(command, env=operator.env, cwd=operator.folder, capture_output=True, text=True, check=True).stdout


def disk(operator: Operator) -> dict[str, Any]:
    """A full disk is the first line, too. The store is a small file system in memory, which takes root to mount."""
    full = operator.folder / "full"
    full.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(full)], check=True)
    try:
        with Operator(operator.folder / "disk", operator.port + 1, HANLIN_STORE=str(full / "store")) as other:
            line = first_line(other.finish(other.start("corpus", recipe="tiny", changes=["sample.size=4MB"])))
    finally:
        subprocess.run(["umount", str(full)], check=False)
    return {"ok": "the disk is full" in line, "first_line": line}


def first_line(run: dict[str, Any]) -> str:
    return ((run["state"]["message"] or "").splitlines() or [""])[0]


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


def page(operator: Operator) -> dict[str, Any]:
    """In a browser: the form, a run started from it with one change, its page while it trains and at its end, and the report."""
    with browser(operator.address, operator.shots) as tell:
        named, form = operator.deployment("pipeline"), operator.deployment("pipeline-form")
        tell("open", path=f"/v2/deployments/deployment/{form}/run", text="Deduplication", name="1-full-form")
        tell("open", path=f"/v2/deployments/deployment/{named}/run", text="Length of pretraining", name="2-short-form")
        tell("choose", label="recipe", value="tiny")
        tell("fill", label="tokens", value="20k")
        tell("click", button="Submit", name="3-started")
        wanted = {"deployments": {"id": {"any_": [named]}}, "sort": "EXPECTED_START_TIME_DESC", "limit": 1}
        wait_for(lambda: operator.call("flow_runs/filter", wanted), 60)
        found = operator.call("flow_runs/filter", wanted)[0]
        run = found["id"]
        assert found["parameters"]["tokens"] == "20k", found["parameters"]
        operator.in_training(run)
        tell("open", path=f"/v2/runs/flow-run/{run}", text="Artifacts", name="4-run-while-it-trains")
        tell("leave")
        ended = operator.finish(run)
        tell("open", path=f"/v2/runs/flow-run/{run}", text="Completed", name="5-run-at-its-end")
        for number, key in ((6, "plan"), (7, "loss-pretrain"), (8, "record-filter"), (9, "figures")):
            tell("open", path=f"/v2/artifacts/artifact/{operator.artifact(run, key)}", text=key, name=f"{number}-{key}")
        tell("open", path=f"/v2/artifacts/artifact/{operator.artifact(run, 'report')}", text="Report of tiny", name="10-link")
        report = tell("follow", link="Report of tiny", name="11-report")
    return {
        "ok": ended["state"]["type"] == "COMPLETED" and "Hanlin report" in report["title"],
        "report": report,
        "shots": str(operator.shots),
    }


SCENARIOS: dict[str, Callable[[Operator], dict[str, Any]]] = {
    "kill": kill,
    "cancel": cancel,
    "served": served,
    "names": names,
    "told": told,
    "lost": lost,
    "retry": retry,
    "arrived": arrived,
    "late": late,
    "two": two,
    "eight": eight,
    "mistakes": mistakes,
    "own": own,
    "headline": headline,
    "first": first,
    "new_file": new_file,
    "disk": disk,
    "page": page,
}


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("scenarios", nargs="*", metavar="SCENARIO", help=", ".join(SCENARIOS))
    options.add_argument("--port", type=int, default=14210)
    options.add_argument("--shots", type=Path, default=Path("operate-shots"), help="folder for pictures of the UI")
    given = options.parse_args()
    found: dict[str, dict[str, Any]] = {}
    with playground() as folder, Operator(folder, given.port) as operator:
        operator.shots = given.shots.absolute()
        for name in given.scenarios or SCENARIOS:
            found[name] = SCENARIOS[name](operator)
            print(name, json.dumps(found[name], ensure_ascii=False), flush=True)
    passed = sum(result["ok"] for result in found.values())
    close("operate", passed, "scenarios", f"all {len(found)}", passed == len(found), **found)


if __name__ == "__main__":
    main()
