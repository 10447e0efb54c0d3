"""This tree beside an earlier commit, in turn on one machine (before, now, before, now): ratios of processor time and of the clock.

Processor time is that of all processes that a command leaves behind, servers included. A commit has a work tree and an environment of its own,
both made in a temporary folder; `--python` names an environment that is there already. Parts, each of which can be asked for by `--only`:

sample       `hanlin run sample` from an empty store; the same, fully reused, without and with a server; `hanlin plan`; one question to `hanlin chat`
data         all stages from raw files to the split, for a corpus of `--size`; and the tokenizer's after it
generation   the rejected answers of a trained model, made again
suite        all tests
extraction   `benchmarks.extract`, which has a bar of its own
"""

from __future__ import annotations

import argparse
import contextlib
import ctypes
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.bench import ROOT, close, last_json, playground, prefect_server

BEFORE = "5967e01"
SUBREAPER = 36  # PR_SET_CHILD_SUBREAPER: orphans below this process become its children, and their time is counted
MEASURES = ("processor", "clock")
# measure → the largest ratio that is let pass
BARS: dict[str, dict[str, float]] = {
    "sample, built": {"processor": 0.5, "clock": 0.5},
    "sample, reused": {"processor": 0.4, "clock": 0.4},
    "sample, reused, with a server": {"processor": 0.4},
    "plan": {"processor": 0.5, "clock": 0.5},
    "chat": {"processor": 0.5, "clock": 0.5},
    "data": {"processor": 0.5},
    "tokenizer": {"processor": 0.4},
    "generation": {"processor": 0.5},
    "suite": {"processor": 0.4},
}
SECONDS = {"sample, reused, with a server": 5.0, "plan": 3.0, "chat": 5.0}  # of processor time, at most


@dataclass(frozen=True)
class Use:
    """Seconds of processor time and of the clock."""

    processor: float
    clock: float

    def __sub__(self, other: Use) -> Use:
        return Use(self.processor - other.processor, self.clock - other.clock)


@dataclass
class Checkout:
    """A tree of the code with the environment and the folders that its commands run in."""

    code: Path
    python: Path
    home: Path
    uses: dict[str, list[Use]] = field(default_factory=dict)  # what was measured → each time

    def env(self, **more: str) -> dict[str, str]:
        """Its own store and Prefect database; modules are compiled once and kept, as they are for a user."""
        ours = {
            "PYTHONPATH": str(self.code),
            "HANLIN_STORE": str(self.home / "store"),
            "PREFECT_HOME": str(self.home / "prefect"),
        }
        kept = {name: value for name, value in os.environ.items() if name not in ("PYTHONDONTWRITEBYTECODE", "PREFECT_API_URL")}
        return kept | ours | more

    def hanlin(self, *arguments: str, **more: str) -> Use:
        """One command, from its start to the end of the last process that it left behind."""
        return spent([str(self.python), "-m", "flows.cli", *arguments], self.code, self.env(**more))

    def note(self, what: str, use: Use) -> None:
        print(f"  {what:<32} {self.home.name:<8} {use.processor:8.1f} s of processor, {use.clock:8.1f} s", flush=True)
        self.uses.setdefault(what, []).append(use)


def spent(command: Sequence[str], folder: Path, env: dict[str, str]) -> Use:
    """The use of a command with all of its descendants. Its output is shown if it fails, which ends the benchmark."""
    before, began = children(), time.monotonic()
    process = subprocess.Popen(command, cwd=folder, env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    said, _ = process.communicate()
    clock = time.monotonic() - began
    with contextlib.suppress(ChildProcessError):
        while True:
            os.wait()  # whatever it left behind
    if process.returncode:
        sys.exit(f"{' '.join(command)} in {folder} ended with {process.returncode}:\n{said[-4000:]}")
    return Use(children() - before, clock)


def children() -> float:
    """Processor time of all descendants that have ended."""
    use = resource.getrusage(resource.RUSAGE_CHILDREN)
    return use.ru_utime + use.ru_stime


# parts: each measures both trees once


def sample(trees: Sequence[Checkout], size: str) -> None:
    for tree in trees:
        tree.home = fresh(tree.home)
        tree.note("sample, built", tree.hanlin("run", "sample"))
    for tree in trees:
        tree.note("sample, reused", tree.hanlin("run", "sample"))
    for tree in trees:
        tree.note("plan", tree.hanlin("plan", "sample"))
    for tree in trees:
        tree.note("chat", tree.hanlin("chat", "dpo", "你好"))
    for tree in trees:
        with prefect_server(tree.home / "watched") as url:
            # the server is no descendant that ends, so only the run's own processes are counted
            tree.note("sample, reused, with a server", waited(tree, url))


def waited(tree: Checkout, url: str) -> Use:
    """A fully reused run beside a server that goes on."""
    before, began = children(), time.monotonic()
    command = [str(tree.python), "-m", "flows.cli", "run", "sample"]
    subprocess.run(command, cwd=tree.code, env=tree.env(PREFECT_API_URL=url), stdout=subprocess.DEVNULL, check=True)
    return Use(children() - before, time.monotonic() - began)


def data(trees: Sequence[Checkout], size: str) -> None:
    wanted = ("run", "sample", f"sample.size={size}")
    for tree in trees:
        tree.home = fresh(tree.home)
        tree.hanlin(*wanted, "--until", "sample")
    for what, until in (("data", "split"), ("tokenizer", "tokenizer")):
        for tree in trees:
            tree.note(what, tree.hanlin(*wanted, "--until", until))


def generation(trees: Sequence[Checkout], size: str) -> None:
    wanted = ("run", "sample", "--until", "rejected")
    for tree in trees:
        tree.home = fresh(tree.home)
        tree.hanlin(*wanted)
    for tree in trees:
        tree.note("generation", tree.hanlin(*wanted, "--refresh", "rejected") - tree.hanlin(*wanted))


def suite(trees: Sequence[Checkout], size: str) -> None:
    for tree in trees:
        tree.note("suite", spent([str(tree.python), "-m", "pytest", "-q"], tree.code, tree.env()))


PARTS: dict[str, Callable[[Sequence[Checkout], str], None]] = {
    "sample": sample,
    "data": data,
    "generation": generation,
    "suite": suite,
}


def fresh(home: Path) -> Path:
    """An empty folder of the same name as `home`, near it."""
    places = home.parent.parent
    places.mkdir(parents=True, exist_ok=True)
    new = Path(tempfile.mkdtemp(dir=places)) / home.name
    new.mkdir()
    return new


@contextlib.contextmanager
def earlier(commit: str, python: Path | None, folder: Path, tests: bool) -> Iterator[tuple[Path, Path]]:
    """The work tree of a commit, and the interpreter of its environment: its own, made by its own list of versions, unless one is given."""
    code = folder / "code"
    subprocess.run(["git", "-C", str(ROOT), "worktree", "add", "--quiet", "--detach", str(code), commit], check=True)
    try:
        if python is None:
            python = folder / "env" / "bin" / "python"
            subprocess.run([sys.executable, "-m", "venv", str(folder / "env")], check=True)
            pip = [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "-c", "constraints.txt"]
            for wanted in (["torch==2.13.0"], ["--editable", ".[test]" if tests else "."]):
                subprocess.run([*pip, *wanted], cwd=code, check=True)
        yield code, python
    finally:
        subprocess.run(["git", "-C", str(ROOT), "worktree", "remove", "--force", str(code)], check=True)


def ratios(before: dict[str, list[Use]], now: dict[str, list[Use]]) -> dict[str, dict[str, float]]:
    """Ratios: name → measure → this tree's seconds over the earlier one's, of the sums of all rounds."""
    return {
        what: {m: sum(getattr(use, m) for use in now[what]) / sum(getattr(use, m) for use in before[what]) for m in MEASURES}
        for what in now
    }


def missed(found: dict[str, dict[str, float]], now: dict[str, list[Use]]) -> list[str]:
    """The bars that are missed, in words."""
    beyond = [
        f"{what}: {found[what][measure]:.2f} of the {measure} time, at most {bar}"
        for what in found
        for measure, bar in BARS[what].items()
        if found[what][measure] > bar
    ]
    for what, most in SECONDS.items():
        if what in now and (least := min(use.processor for use in now[what])) > most:
            beyond.append(f"{what}: {least:.1f} s of processor time, at most {most:g}")
    return beyond


def extraction(commit: str) -> tuple[dict[str, Any], list[str]]:
    """The closing line of the benchmark of extraction, and its bar where that is missed."""
    process = subprocess.run([sys.executable, "-m", "benchmarks.extract"], cwd=ROOT, stdout=subprocess.PIPE, text=True)
    found = last_json(process.stdout)
    return found, [] if found["ok"] else [f"extraction: {found['figure']} {found['unit']}, {found['bar']}"]


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--commit", default=BEFORE, help="what this tree is compared with")
    options.add_argument("--python", type=Path, help="interpreter of an environment in which that commit runs")
    options.add_argument("--only", choices=[*PARTS, "extraction"], action="append", help="these parts")
    options.add_argument("--rounds", type=int, default=2, help="measurements of each tree, in turn")
    options.add_argument("--size", default="0.5GB", help="size of the corpus of the part `data`")
    chosen = options.parse_args()
    parts = chosen.only or [*PARTS, "extraction"]
    ctypes.CDLL(None).prctl(SUBREAPER, 1, 0, 0, 0)
    with (
        playground() as folder,
        earlier(chosen.commit, chosen.python, folder, tests="suite" in parts) as (code, python),
    ):
        places = folder / "places" / "0"
        before = Checkout(code, python, places / "before")
        now = Checkout(ROOT, Path(sys.executable), places / "now")
        for _ in range(chosen.rounds):
            for part in PARTS:
                if part in parts:
                    PARTS[part]((before, now), chosen.size)
    found = ratios(before.uses, now.uses)
    beyond = missed(found, now.uses)
    more: dict[str, Any] = {}
    if "extraction" in parts:
        more["extraction"], worse = extraction(chosen.commit)
        beyond += worse
    for what, measures in found.items():
        bars = BARS[what]
        said = "  ".join(
            f"{name} {value:.2f}{f' (at most {bars[name]})' if name in bars else ''}" for name, value in measures.items()
        )
        print(f"{what:<34} {said}")
    rounded = {what: {name: round(value, 3) for name, value in measures.items()} for what, measures in found.items()}
    close("beside", len(beyond), "bars missed", "none", not beyond, missed=beyond, ratios=rounded, **more)


if __name__ == "__main__":
    main()
