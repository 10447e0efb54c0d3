"""The web page of `hanlin serve`, every control of it, in a real browser on a real server: `python -m benchmarks.page [CHECK …]`.

The models are those of the recipe `tiny`, or the newest ones of `--store`. Needs node, playwright-core (PLAYWRIGHT_HOME) and chromium, as
`benchmarks/operate.py` does. Pictures of the page go to `--shots`.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from benchmarks.bench import ROOT, close, playground, stages
from benchmarks.operate import wait_for
from tasks.processes.runner import supervised

MODELS = ["dpo", "sft"]
TOKEN = "sesame-opens"


@contextlib.contextmanager
def server(store: Path, port: int, token: str = "") -> Iterator[str]:
    """`hanlin serve` on a store. Gives its address."""
    address = f"http://127.0.0.1:{port}/"
    env = os.environ | {"HANLIN_STORE": str(store), "PYTHONPATH": str(ROOT), "HANLIN_TOKEN": token}
    with supervised(
        [sys.executable, "-m", "flows.cli", "serve", *MODELS, "--port", str(port)], env=env, stdout=subprocess.DEVNULL
    ):
        wait_for(lambda: answers(f"{address}health"), 300)
        yield address


def answers(address: str) -> bool:
    try:
        with urllib.request.urlopen(address, timeout=5) as answer:
            return answer.status == 200
    except (urllib.error.URLError, OSError):
        return False


def tried(store: Path, shots: Path, port: int, checks: Sequence[str] = ()) -> Iterator[dict[str, Any]]:
    """The checks whose names have one of the words, or all of them, on two servers of a store's models."""
    shots.mkdir(parents=True, exist_ok=True)
    env = os.environ | {"HANLIN_STORE": str(store), "PYTHONPATH": str(ROOT)}
    for model in MODELS:  # what the page asks for its "Where from?"
        command = [sys.executable, "-m", "flows.cli", "trace", "程九思是星原省人。", "--model", model]
        subprocess.run(command, env=env, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    with server(store, port) as address, server(store, port + 1, TOKEN) as guarded:
        command = ["node", str(ROOT / "benchmarks" / "page.mjs"), address, guarded, TOKEN, str(shots.absolute()), *checks]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as browser:
            assert browser.stdout
            yield from map(json.loads, browser.stdout)


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument(
        "checks", nargs="*", metavar="CHECK", help="words of the names of the checks to make; all where none is given"
    )
    options.add_argument("--store", type=Path, help="a store with the models of an earlier run")
    options.add_argument("--port", type=int, default=14220)
    options.add_argument("--shots", type=Path, default=Path("page-shots"), help="folder for pictures of the page")
    given = options.parse_args()
    found = []
    with playground() as folder:
        store = given.store or folder / "store"
        if not given.store:
            stages(store, "tiny", until="dpo")
        for one in tried(store, given.shots, given.port, given.checks):
            print(json.dumps(one, ensure_ascii=False), flush=True)
            found.append(one)
    failed = [one["check"] for one in found if not one["ok"]]
    close(
        "page",
        len(found) - len(failed),
        "checks",
        f"all {len(found)}",
        bool(found) and not failed,
        failed=failed,
        shots=str(given.shots),
    )


if __name__ == "__main__":
    main()
