"""Every recipe's -tiny scale, from raw files to its report, in one store. Minutes each, so `make nightly` runs them.

HANLIN_NIGHTLY names a folder that keeps the store with the reports; else they are gone afterwards.
"""

from __future__ import annotations

import json
import math
import os
from pathlib import Path

import pytest

from benchmarks.bench import Hanlin, built
from flows import recipe as recipes
from flows.graph import graph

TINY = [name for name in recipes.names() if name.endswith("-tiny")]
pytestmark = pytest.mark.nightly


@pytest.fixture(scope="module")
def hanlin(tmp_path_factory: pytest.TempPathFactory) -> Hanlin:
    folder = Path(os.environ.get("HANLIN_NIGHTLY") or tmp_path_factory.mktemp("nightly"))
    return Hanlin(folder.absolute() / "store")


@pytest.mark.parametrize("name", TINY)
def test_a_tiny_recipe_runs_from_raw_files_to_its_report(hanlin: Hanlin, name: str) -> None:
    outcome = hanlin.run(name)
    assert outcome["status"] == "completed" and list(outcome["artifacts"]) == [node.name for node in graph(recipes.load(name))]
    page = Path(outcome["report"])
    print(f"{name}: {page}")
    figures = json.loads((page.parent / "figures.json").read_text("utf-8"))
    assert figures["adds_up"] is True and "<svg" in page.read_text("utf-8")
    assert all(math.isfinite(row["value"]) for row in figures["rows"])
    assert built(hanlin.run(name)) == [], "a second run reuses everything"
