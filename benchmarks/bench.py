"""The benchmarks' common parts: `hanlin` run as a person would, in a store of its own, and a closing line of JSON."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NoReturn

ROOT = Path(__file__).resolve().parent.parent
STAGES_AFTER_SFT = ["sft", "rejected", "reference", "dpo", "evaluate", "report"]


def close(name: str, figure: float, unit: str, bar: str, ok: bool, **more: Any) -> NoReturn:
    """Print the closing line and leave with the exit code that says whether the bar was met."""
    print(json.dumps({"name": name, "figure": figure, "unit": unit, "bar": bar, "ok": ok, **more}, ensure_ascii=False))
    sys.exit(0 if ok else 1)


class Hanlin:
    """The command line on a store, from any checkout of the code."""

    def __init__(self, store: Path, code: Path = ROOT, **env: str):
        self.store, self.code = store, code
        store.parent.mkdir(parents=True, exist_ok=True)
        self.env = (
            os.environ
            | {"HANLIN_STORE": str(store), "PYTHONPATH": str(code), "PREFECT_HOME": str(store.parent / "prefect")}
            | env
        )

    def start(self, *arguments: str) -> subprocess.Popen[str]:
        command = [sys.executable, "-m", "flows.cli", *arguments]
        return subprocess.Popen(command, cwd=self.code, env=self.env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)

    def __call__(self, *arguments: str, code: int | None = 0) -> subprocess.CompletedProcess[str]:
        """Run to the end. Any other exit code than `code` stops the benchmark; None takes any."""
        process = self.start(*arguments)
        out, err = process.communicate()
        if code is not None and process.returncode != code:
            raise SystemExit(f"hanlin {' '.join(arguments)} ended with {process.returncode} instead of {code}\n{out}\n{err}")
        return subprocess.CompletedProcess(arguments, process.returncode, out, err)

    def run(self, recipe: str, *overrides: str) -> dict[str, Any]:
        """A whole run; what `--json` says of it."""
        return last_json(self("run", recipe, *overrides, "--json").stdout)

    def plan(self, recipe: str, *overrides: str) -> dict[str, str]:
        """Stage → HIT, MISS or RESUME."""
        return {step["name"]: step["status"] for step in last_json(self("plan", recipe, *overrides, "--json").stdout)["stages"]}


def stages(store: Path, recipe: str, *overrides: str, until: str = "") -> dict[str, Path]:
    """Build a recipe's stages one after the other, without Prefect: node → folder of its artifact. What the store has is reused."""
    from flows.graph import graph
    from flows.inputs import Records
    from flows.recipe import load
    from flows.traversal import resolved_nodes
    from tasks.artifacts.build import BuildOptions, build
    from tasks.artifacts.store import Store

    parsed, home = load(recipe, overrides), Store(store)
    records: Records = {}
    for resolved in resolved_nodes(graph(parsed), home, records):
        name = resolved.node.name
        seconds, result = timed(build, home, resolved.request, BuildOptions(parsed.resources))
        records[name] = result.record
        print(f"{recipe}: {name} {'reused' if result.reused else f'built in {seconds:.0f} s'}", flush=True)
        if name == until:
            break
    return {name: home.object(record.key) for name, record in records.items()}


def last_json(text: str) -> dict[str, Any]:
    return json.loads(text.strip().splitlines()[-1])


def built(outcome: dict[str, Any]) -> list[str]:
    """The stages of a run that were not reused, in order."""
    return [name for name, artifact in outcome["artifacts"].items() if not artifact["reused"]]


@contextlib.contextmanager
def playground() -> Iterator[Path]:
    """A folder for stores and copies of the code, gone afterwards."""
    with tempfile.TemporaryDirectory(prefix="hanlin-") as folder:
        yield Path(folder)


@contextlib.contextmanager
def prefect_server(home: Path) -> Iterator[str]:
    """A Prefect server as an operator starts it, UI included. Gives its API address."""
    from flows.server import healthy
    from tasks.processes.runner import supervised

    port = 14200
    env = os.environ | {
        "PREFECT_HOME": str(home),
        "PREFECT_SERVER_API_PORT": str(port),
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
    }
    command = [sys.executable, "-m", "prefect", "server", "start", "--host", "127.0.0.1", "--port", str(port)]
    with supervised(command, env=env, stdout=subprocess.DEVNULL):
        url = f"http://127.0.0.1:{port}/api"
        while not healthy(url):
            time.sleep(0.2)
        yield url


def peers(name: str = "peers") -> Path:
    """The python of an environment with the tools that benchmarks measure against (`peers.txt`) or ask with (`clients.txt`), made on first
    use."""
    home, wanted = ROOT / f".venv-{name}", Path(__file__).with_name(f"{name}.txt")
    python, made = home / "bin" / "python", home / wanted.name
    if not made.exists() or made.read_text("utf-8") != wanted.read_text("utf-8"):
        subprocess.run([sys.executable, "-m", "venv", "--clear", str(home)], check=True)
        subprocess.run(
            [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "-r", str(wanted)], check=True
        )
        made.write_text(wanted.read_text("utf-8"), "utf-8")
    return python


def timed(call: Any, *arguments: Any, **named: Any) -> tuple[float, Any]:
    """(seconds, result) of a call."""
    started = time.monotonic()
    result = call(*arguments, **named)
    return time.monotonic() - started, result
