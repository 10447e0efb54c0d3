"""A program that is forked for the suite (tests/forks.py) sees what one sees that begins in the usual way."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests import forks

SEEN = """
import json, os, sys
seen = {"env": dict(os.environ), "folder": os.getcwd(), "arguments": sys.argv[1:], "path": sys.path, "name": __name__}
print(json.dumps(seen | {"stdin": os.read(0, 1).decode()}))
print("and an error", file=sys.stderr)
sys.exit(3)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="programs are forked on Linux alone")
def test_a_forked_program_sees_what_any_sees(tmp_path: Path) -> None:
    (tmp_path / "seen.py").write_text(SEEN)
    env = {"PATH": os.environ["PATH"], "PYTHONPATH": f"{tmp_path}:{forks.ROOT}", "LC_ALL": "C.UTF-8"}
    forked = forks.run("seen", "a", "b c", env=env, folder=tmp_path)
    command = [sys.executable, "-m", "seen", "a", "b c"]
    usual = subprocess.run(command, cwd=tmp_path, env=env, stdin=subprocess.DEVNULL, capture_output=True, text=True)
    assert json.loads(forked.stdout) == json.loads(usual.stdout)
    assert (forked.returncode, forked.stderr) == (usual.returncode, usual.stderr) == (3, "and an error\n")


@pytest.mark.skipif(sys.platform != "linux", reason="programs are forked on Linux alone")
def test_a_forked_program_has_the_modules_of_its_tree(tmp_path: Path) -> None:
    (tmp_path / "flows").mkdir()
    (tmp_path / "flows" / "__init__.py").touch()
    (tmp_path / "flows" / "cli.py").write_text("print(__file__)")
    said = forks.run("flows.cli", env=os.environ | {"PYTHONPATH": str(tmp_path)}, folder=tmp_path)
    assert said.stdout.strip() == str(tmp_path / "flows" / "cli.py")
