"""A stranger's path: a fresh clone, README's commands as typed on a folder of three files, to a model that answers and a report. By night."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.test_pipeline import PLACES, ROOT, section
from tests.waiting import PATIENCE


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    """A clone of this checkout as it is committed, with the environment of these tests in place of the one that make sets up."""
    home = tmp_path / "hanlin"
    subprocess.run(["git", "clone", "--quiet", str(ROOT), str(home)], check=True)
    (home / ".venv").symlink_to(sys.prefix)
    return home


def three_files(folder: Path) -> None:
    """Instructions, a text and a table in GB18030."""
    folder.mkdir()
    rows = [{"instruction": f"{place}有什么？", "input": "", "output": f"{place}有{thing}。"} for place, thing in PLACES]
    (folder / "chat.json").write_text(json.dumps(rows, ensure_ascii=False), "utf-8")
    (folder / "guide.txt").write_text((ROOT / "docs" / "operate.zh.md").read_text("utf-8"), "utf-8")
    table = "".join(f"内科,{place}的医院,{place}的医院在哪里？,{place}的医院在{thing}旁边。\n" for place, thing in PLACES)
    (folder / "doctor.csv").write_text(f"department,title,ask,answer\n{table}", "gb18030")


@pytest.mark.nightly
def test_from_a_clone_and_three_files_to_a_chat_without_an_edit(clone: Path, tmp_path: Path) -> None:
    corpus = tmp_path / "corpus"
    three_files(corpus)
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("HANLIN_", "PREFECT_"))}
    env = kept | {"PYTHONPATH": str(clone), "PREFECT_HOME": str(tmp_path / "prefect"), "PWD": str(clone)}

    def typed(line: str) -> str:
        """The output of a line that is typed into a shell in the clone."""
        done = subprocess.run(
            ["sh", "-c", line],
            cwd=clone,
            env=env,
            capture_output=True,
            text=True,
            stdin=subprocess.DEVNULL,
            timeout=12 * PATIENCE,
        )
        assert done.returncode == 0, f"{line}\n{done.stdout}{done.stderr}"
        return done.stdout

    readme = clone / "README.md"
    [path] = re.findall(r"`(export PATH=[^`]+)`", readme.read_text("utf-8"))
    said = ""
    for line in section(readme, "Your own data").splitlines():
        said = typed(f"{path}; {line.replace('/data/corpus', str(corpus))}")
    report, chat = (re.findall(rf"^{what} +(.+)$", said, re.M)[0] for what in ("report", "chat"))
    page = Path(report).read_text("utf-8")
    assert (
        Path(report).is_relative_to(clone / "store")
        and "tokens a second" in page
        and "No multiple-choice question was asked" in page
    )
    assert chat.startswith("hanlin chat "), "the shell finds it by the path that README says"
    assert typed(f"{path}; {chat} 青山镇有什么？").strip()
    by_path = re.findall(r"^chat +(.+)$", typed(".venv/bin/hanlin run my.yaml"), re.M)[0]
    assert by_path.startswith(".venv/bin/hanlin chat ") and typed(f"{by_path} 青山镇有什么？").strip()
    assert subprocess.run(["git", "diff", "--quiet"], cwd=clone, check=False).returncode == 0, "no file was edited"
