"""A stage's code may not change silently: either its version is bumped, or somebody says why its meaning is the same.

python -m tests.test_versions STAGE "why the meaning is the same"      (or ALL)
"""

from __future__ import annotations

import importlib
import json
import pkgutil
import sys
from pathlib import Path

import pytest

import tasks
from tasks.artifacts.digests import ACCEPTED, ROOT, Sources, source_digest
from tasks.artifacts.stage import Stage


def stages() -> dict[str, Stage]:
    modules = [importlib.import_module(f"tasks.{info.name}") for info in pkgutil.iter_modules(tasks.__path__) if not info.ispkg]
    return {found.name: found for module in modules for found in vars(module).values() if isinstance(found, Stage)}


def digests(stage: Stage, root: Path = ROOT, read: Sources | None = None) -> dict[str, str]:
    """Variant → digest of the code that builds it."""
    return {name: source_digest(stage.modules(value), root, read) for name, value in stage.variants().items()}


@pytest.mark.parametrize("name", sorted(stages()))
def test_code_changes_with_a_version_or_a_reason(name):
    stage, known = stages()[name], json.loads(ACCEPTED.read_text("utf-8")).get(name, {})
    if known.get("today") != digests(stage):
        assert known.get("version") == stage.version, (
            f"{name} is new at version {stage.version}: run python -m tests.test_versions {name} 'new version'"
        )
        pytest.fail(
            f"the code of stage {name} changed at the same version {stage.version}. If it makes other artifacts now, bump its version; "
            f"if not, run: python -m tests.test_versions {name} 'why its meaning is the same'"
        )
    assert known["version"] == stage.version


def accept(name: str, why: str) -> None:
    """Take today's code as meaning what the code before it meant; of a new version, as the first."""
    known = json.loads(ACCEPTED.read_text("utf-8"))
    for stage in stages().values() if name == "ALL" else [stages()[name]]:
        before, today = known.get(stage.name, {}), digests(stage)
        same = before.get("same", {}) if before.get("version") == stage.version else {}
        earlier = (
            set(before.get("today", {}).values()) - set(today.values()) if same or before.get("version") == stage.version else ()
        )
        known[stage.name] = {"version": stage.version, "today": today, "same": same | dict.fromkeys(sorted(earlier), why)}
    ACCEPTED.write_text(json.dumps(known, indent=1, ensure_ascii=False, sort_keys=True) + "\n", "utf-8")


if __name__ == "__main__":
    accept(sys.argv[1], sys.argv[2])
