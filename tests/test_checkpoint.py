from __future__ import annotations

import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from models import checkpoint

WRITER = """
import sys
from pathlib import Path
from models import checkpoint
folder = Path(sys.argv[1])
folder.mkdir(exist_ok=True)
for step in range(1, 100_000):
    with checkpoint.writing(folder, step, keep=2) as draft:
        for name in ("model", "optimizer", "state"):
            (draft / name).write_bytes(f"{step} {name} ".encode() * 20_000)
    print(step, flush=True)
"""


def write(folder: Path, step: int, keep: int = 3) -> Path:
    with checkpoint.writing(folder, step, keep=keep) as draft:
        (draft / "model").write_text(f"weights of {step}")
    return checkpoint.place(folder, step)


def test_the_newest_are_kept_and_the_newest_is_found(tmp_path: Path) -> None:
    assert checkpoint.newest(tmp_path) is None
    for step in (5, 10, 100, 1000):
        write(tmp_path, step)
    assert [path.name for path in sorted(tmp_path.iterdir())] == ["step-00000010", "step-00000100", "step-00001000"]
    found = checkpoint.newest(tmp_path)
    assert found is not None and checkpoint.step_of(found) == 1000 and (found / "model").read_text() == "weights of 1000"


@pytest.mark.parametrize("harm", ["cut", "other", "gone", "more", "manifest"])
def test_a_damaged_checkpoint_is_passed_over_and_said_so(tmp_path: Path, harm: str) -> None:
    write(tmp_path, 1)
    last = write(tmp_path, 2)
    {
        "cut": lambda: (last / "model").write_text("weights"),
        "other": lambda: (last / "model").write_text("weights of 3"),
        "gone": lambda: (last / "model").unlink(),
        "more": lambda: (last / "extra").write_text("?"),
        "manifest": lambda: (last / "whole.json").write_text("{"),
    }[harm]()
    notes: list[str] = []
    found = checkpoint.newest(tmp_path, notes.append)
    assert found == checkpoint.place(tmp_path, 1)
    name = {"more": "extra", "manifest": "whole.json"}.get(harm, "model")
    assert notes == [f"checkpoint step-00000002 is damaged ({name}); trying the one before it"]
    write(tmp_path, 2)  # written again in its place
    assert checkpoint.newest(tmp_path, notes.append) == last and len(notes) == 1


def test_an_error_while_writing_leaves_no_checkpoint(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="disk is full"), checkpoint.writing(tmp_path, 7, keep=2) as draft:
        (draft / "model").write_text("half")
        raise OSError("disk is full")
    assert checkpoint.newest(tmp_path) is None
    checkpoint.clean(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_kill_at_any_moment_leaves_whole_checkpoints(tmp_path: Path) -> None:
    drawn = random.Random(0)
    for attempt in range(12):
        folder = tmp_path / str(attempt)
        process = subprocess.Popen([sys.executable, "-c", WRITER, str(folder)], stdout=subprocess.PIPE, text=True)
        assert process.stdout is not None
        for _ in range(3):
            said = int(process.stdout.readline())
        time.sleep(drawn.uniform(0, 0.02))  # to fall anywhere in the next write
        process.send_signal(signal.SIGKILL)
        said = max([said, *map(int, process.stdout.read().split())])
        process.wait()
        process.stdout.close()
        notes: list[str] = []
        found = checkpoint.newest(folder, notes.append)
        assert found is not None and notes == []
        step = checkpoint.step_of(found)
        assert said <= step <= said + 1  # what was said to be saved is there
        assert all((found / name).read_bytes() == f"{step} {name} ".encode() * 20_000 for name in ("model", "optimizer", "state"))
        checkpoint.clean(folder)
        assert all(path.name.startswith("step-") for path in folder.iterdir())


def test_what_is_kept_beside_the_newest_stays_as_long_as_they_do(tmp_path: Path) -> None:
    def names() -> list[int]:
        return sorted(checkpoint.step_of(path) for path in tmp_path.iterdir())

    for step, beside in ((1, []), (2, [2]), (3, [2]), (4, [2]), (5, [2])):
        with checkpoint.writing(tmp_path, step, keep=2, beside=beside, needs=beside) as draft:
            (draft / "model").write_text(str(step))
    assert names() == [2, 4, 5]
    with checkpoint.writing(tmp_path, 6, keep=2, beside=[6]) as draft:  # a better one
        (draft / "model").write_text("6")
    assert names() == [2, 4, 5, 6], "the ones before it still name theirs"
    (checkpoint.place(tmp_path, 6) / "model").unlink()
    (checkpoint.place(tmp_path, 2) / "model").unlink()
    notes: list[str] = []
    assert checkpoint.newest(tmp_path, notes.append) is None
    assert notes[1] == (
        "checkpoint step-00000005 is damaged (step-00000002, which it needs, is damaged: model); trying the one before it"
    )
