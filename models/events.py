"""The events of a child process: one JSON object a line on its standard output, which its parent reads (tasks/processes/runner.py).

`progress` has `done`, `total`, `unit` and maybe `figures`; `log` a `text`; the last event is a `result` with the child's own fields, or an
`error` with a `message` for the user.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any


def emit(event: str, **fields: Any) -> None:
    """Send an event to the parent process."""
    print(json.dumps({"event": event, **fields}, ensure_ascii=False), flush=True)


def main(work: Callable[[dict[str, Any]], dict[str, Any]]) -> None:
    """Run a child's work on its job file. A `ValueError` is a user's to read; anything else keeps its traceback."""
    try:
        emit("result", **work(json.loads(Path(sys.argv[1]).read_text("utf-8"))))
    except ValueError as mistake:
        emit("error", message=str(mistake))
        sys.exit(1)
