"""The whole test suite on 2 cores: at most 15 minutes."""

from __future__ import annotations

import subprocess
import sys

from benchmarks.bench import ROOT, close, timed


def main() -> None:
    seconds, done = timed(subprocess.run, [sys.executable, "-m", "pytest"], cwd=ROOT)
    close("suite", round(seconds / 60, 2), "minutes", "at most 15, and green", done.returncode == 0 and seconds <= 900)


if __name__ == "__main__":
    main()
