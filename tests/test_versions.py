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
from tasks.stage import Stage

KNOWN = Path(__file__).parent / "stage_sources.json"


def stages() -> dict[str, Stage]:
    modules = [importlib.import_module(f"tasks.{info.name}") for info in pkgutil.iter_modules(tasks.__path__) if not info.ispkg]
    return {found.name: found for module in modules for found in vars(module).values() if isinstance(found, Stage)}


@pytest.mark.parametrize("name", sorted(stages()))
def test_code_changes_with_a_version_or_a_reason(name):
    stage, known = stages()[name], json.loads(KNOWN.read_text("utf-8"))
    if known.get(name, {}).get("digest") != stage.source_digest:
        assert known.get(name, {}).get("version") == stage.version, (
            f"{name} is new at version {stage.version}: run python -m tests.test_versions {name} 'new version'"
        )
        pytest.fail(
            f"the code of stage {name} changed at the same version {stage.version}. If it makes other artifacts now, bump its version; "
            f"if not, run: python -m tests.test_versions {name} 'why its meaning is the same'"
        )
    assert known[name]["version"] == stage.version


def accept(name: str, why: str) -> None:
    known = json.loads(KNOWN.read_text("utf-8")) if KNOWN.exists() else {}
    for stage in stages().values() if name == "ALL" else [stages()[name]]:
        if known.get(stage.name, {}).get("digest") != stage.source_digest:
            known[stage.name] = {"version": stage.version, "digest": stage.source_digest, "why": why}
    KNOWN.write_text(json.dumps(known, indent=1, ensure_ascii=False, sort_keys=True) + "\n", "utf-8")


if __name__ == "__main__":
    accept(sys.argv[1], sys.argv[2])
