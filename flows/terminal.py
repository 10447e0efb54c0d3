"""The view of a run in a terminal: a line for each finished stage, and a live line for the one under way."""

from __future__ import annotations

import importlib
import json
import logging
import os
import shlex
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

from flows.console import command
from tasks.artifacts.stage import Progress
from tasks.artifacts.store import Store, store_folder

if TYPE_CHECKING:
    from flows.recipe import Recipe

ARROWS = {"bits per byte": " ↓"} | dict.fromkeys(
    ("right free answer", "likeliest choice right", "preference accuracy", "stop rate", "triple F1"), " ↑"
)  # which way is better
SHARES = ("right free answer", "likeliest choice right", "preference accuracy", "stop rate")
CHAT = 4  # questions of the short chat at the end
MARKS = {"cached": "=", "built": "+"}


class Terminal(logging.Handler):
    """A log handler that keeps a live line below the log where the output is a terminal. Where it is not, progress comes as lines of the log."""

    def __init__(self, stream: TextIO):
        super().__init__(logging.INFO)
        self.stream, self.live = stream, stream.isatty()
        self._pending = ""
        self._drawn = 0.0

    def emit(self, record: logging.LogRecord) -> None:
        if self.live and getattr(record, "live", False):
            return
        mark = MARKS.get(getattr(record, "done", ""), "!" if record.levelno >= logging.WARNING else " ")
        self.say(record.name.removeprefix("hanlin."), record.getMessage(), mark)

    def say(self, name: str, text: str, mark: str = " ") -> None:
        """Write one line: a mark, the name of a stage, a text."""
        self._write(f"{mark} {name:<20} {text}\n")

    def watch(self, name: str, now: Progress) -> None:
        """Redraw the live line with a stage's progress, a few times a second."""
        from flows.live import progress_line

        if self.live and time.monotonic() - self._drawn > 0.2:
            self._drawn = time.monotonic()
            self._write(f"> {name:<20} {progress_line(now)}"[: os.get_terminal_size(self.stream.fileno()).columns - 1])

    def end(self) -> None:
        """Remove the live line."""
        self._write("\n" if self._pending else "")

    def _write(self, text: str) -> None:
        erase = "\r\x1b[2K" if self._pending else ""
        self._pending = "" if text.endswith("\n") else text
        self.stream.write(erase + text)
        self.stream.flush()


def run_in_terminal(recipe: Recipe, flow: str, options: dict[str, Any], as_json: bool) -> int:
    """Run a flow (pipeline, corpus, finetune or retrain) in this process with its options, and show it.

    Returns the exit code: 0, or 1 where a stage failed, 130 where it was interrupted.
    """
    terminal = _terminal(sys.stderr if as_json else sys.stdout)
    from flows.server import api

    outcome: dict[str, Any] = {"status": "failed", "run_id": None, "report": None, "artifacts": {}}
    try:
        # one module alone: Prefect describes the parameters of every flow that it meets, half a second for a form
        with api(lambda: importlib.import_module(f"flows.{flow}")) as url:
            from prefect import tags

            from flows.live import watchers
            from flows.profile import TAG

            watchers.append(terminal.watch)
            terminal.say("run", f"recipe {recipe.name}, store {store_folder()}, Prefect at {url}")
            with tags(TAG):
                state = getattr(importlib.import_module(f"flows.{flow}"), flow)(recipe, **options, return_state=True)
            outcome["run_id"] = str(state.state_details.flow_run_id)
            outcome |= state.result() if flow == "retrain" else {"artifacts": state.result()}
            outcome["status"] = "completed"
    except KeyboardInterrupt:
        print("\nhanlin: interrupted; finished shards and checkpoints are kept, run the same command to go on", file=sys.stderr)
        outcome["status"] = "interrupted"
    except Exception as failure:
        from tasks.artifacts.build import StageFailed

        if not isinstance(failure, StageFailed | ValueError | OSError | RuntimeError):
            raise
        from flows.breaches import ContractBroken

        advice = (
            ""
            if isinstance(failure, ContractBroken)
            else "\nhanlin: run the same command again to go on from here; finished stages are kept"
        )
        print(f"\nhanlin: {failure}{advice}", file=sys.stderr)
        outcome["error"] = str(failure)
    if "report" in outcome["artifacts"]:
        _show_result(terminal.stream, outcome)
    if as_json:
        print(json.dumps(outcome, ensure_ascii=False))
    return {"completed": 0, "interrupted": 130}.get(outcome["status"], 1)


def upkeep_in_terminal(options: dict[str, Any]) -> int:
    """Run the upkeep flow in this process. Returns the exit code: 0, or 1 where something is damaged or the disk is nearly full."""
    terminal = _terminal(sys.stdout)
    from flows.server import api

    with api() as url:
        from flows.upkeep import upkeep

        terminal.say("upkeep", f"store {store_folder()}, Prefect at {url}")
        state = upkeep(**options, return_state=True)
    if not state.is_completed():
        print(f"hanlin: {state.message}", file=sys.stderr)
    return 0 if state.is_completed() else 1


def _terminal(stream: TextIO) -> Terminal:
    """A `Terminal` to which the log of the stages goes from now on; Prefect's own lines stay in its run log."""
    os.environ.setdefault("PREFECT_LOGGING_EXTRA_LOGGERS", "hanlin")
    os.environ.setdefault("PREFECT_LOGGING_HANDLERS_CONSOLE_LEVEL", "CRITICAL")
    os.environ.setdefault("PREFECT_SERVER_ANALYTICS_ENABLED", "false")
    terminal = Terminal(stream)
    logging.getLogger("hanlin").addHandler(terminal)
    logging.getLogger("hanlin").setLevel(logging.INFO)
    return terminal


def _show_result(stream: TextIO, outcome: dict[str, Any]) -> None:
    """Write the key figures, a short chat where there is a model, and the path of the report."""
    store = Store(store_folder())
    artifacts = outcome["artifacts"]
    report = store.object(artifacts["report"]["key"]) / "report.html"
    outcome["report"] = str(report)
    figures = json.loads((report.parent / "figures.json").read_text("utf-8"))
    stream.write("\n")
    for row in figures["rows"]:
        shown = _percent if row["figure"].startswith(SHARES) else "{:.3f}".format
        within = f"{shown(row['low'])} to {shown(row['high'])}, " if row["low"] is not None else ""
        interval = f"  ({within}n = {row['n']:,})" if row["n"] else ""
        value = f"{row['value']:,}" if isinstance(row["value"], int) else shown(row["value"])
        stream.write(f"  {row['figure'] + ARROWS.get(row['figure'], ''):<34} {row['model']:<10} {value:>8}{interval}\n")
    if "evaluate" in artifacts:
        stream.write(_short_chat(store.object(artifacts["evaluate"]["key"])))
    stream.write(f"\nreport   {report}\n")
    if "gate" in artifacts:
        outcome["gate"] = str(store.object(artifacts["gate"]["key"]) / "report.html")
        stream.write(f"gate     {outcome['gate']}\n         {outcome['why']}\n")
    if models := [name for name in ("dpo", "sft", "extractor") if name in artifacts]:
        stream.write(f"chat     {command()} chat {artifacts[models[0]]['key'][:12]}\n")
    elif "split" in artifacts:
        stream.write(f"rows     {store.object(artifacts['split']['key'])}\n")
    stream.write(f"more     {command()} --help\n")
    if command() != "hanlin":
        folder = shlex.quote(str(Path(sys.executable).parent))
        stream.write(f"         to type hanlin alone in this terminal: export PATH={folder}:$PATH\n")


def _percent(share: float) -> str:
    return f"{100 * share:.1f} %"


def _short_chat(evaluation: Path) -> str:
    """Some questions with the answers of a run's last model: about facts that it was trained to know where they are known, each marked."""
    scores, answers, facts = (
        json.loads((evaluation / f"{name}.json").read_text("utf-8")) for name in ("scores", "answers", "facts")
    )
    model, score = list(scores["models"].items())[-1]
    rows = (facts or answers)[:CHAT]
    if not rows:
        return ""
    heading = "A short chat with the model:"
    if tally := score["facts"]:
        share = tally["all"]
        heading = (
            f"A short chat with the model. Of {share['n']:,} facts that its texts tell, it answers {share['accuracy']:.0%} right in free words "
            f"({share['low']:.0%} to {share['high']:.0%}):"
        )
    lines = ["", heading]
    for row in rows:
        mark = {True: "  ✓", False: f"  ✗ right: {row['reference']}", None: ""}[row["right"][model]]
        lines += [f"  问 {row['prompt']}", f"  答 {row['answers'][model]}{mark}"]
    return "\n".join(lines) + "\n"
