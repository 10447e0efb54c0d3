"""A publication in a folder."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from tasks.publication.bundle import MARK, Bundle, marked


def check(folder: Path) -> None:
    """Raise `ValueError` where a folder holds something that is no earlier publication."""
    if folder.exists() and not folder.is_dir():
        raise ValueError(f"{folder} is a file; name a folder")
    if folder.is_dir() and any(folder.iterdir()) and not _earlier(folder):
        raise ValueError(
            f"{folder} is not empty, and holds no publication of Hanlin ({MARK}), so nothing is written over it; name another folder"
        )


def write(made: Bundle, folder: Path) -> None:
    """Write the files; those of an earlier publication that this one has not are removed. Killed half-way, the same call ends it."""
    check(folder)
    before = set(_earlier(folder))
    folder.mkdir(parents=True, exist_ok=True)
    for path, what in sorted(
        made.files.items(), key=lambda one: one[0] != MARK
    ):  # the mark first: from then on the folder is ours
        target = folder / path
        target.parent.mkdir(parents=True, exist_ok=True)
        draft = target.with_name(f".{target.name}.part")
        if isinstance(what, bytes):
            draft.write_bytes(what)
        else:
            shutil.copyfile(what, draft)
        os.replace(draft, target)
    for path in before - set(made.files):
        (folder / path).unlink(missing_ok=True)


def _earlier(folder: Path) -> list[str]:
    """The files of the publication that a folder holds, without those that lead out of it."""
    mark = folder / MARK
    names = marked(mark.read_text("utf-8")) if mark.is_file() else []
    return [name for name in names if not Path(name).is_absolute() and ".." not in Path(name).parts]
