"""From pairs of rows to clusters: complete on long chains, and found among planted pairs of any length."""

from __future__ import annotations

import itertools
import random
import tempfile
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks import texts
from tasks.duplicates import clusters
from tasks.duplicates.units import Budget, Partition
from tasks.processes.workers import LEAST
from tests.test_dedup import artifacts, build, document, dropped, similarity

WHOLE, ALONE = Partition(0, 1), Budget(LEAST, 1)
Pairs = list[tuple[int, int]]


def connected(home: Path, pairs: Pairs) -> tuple[dict[int, int], int]:
    """Row → the row that stays for it, and the rounds it took."""
    worse, better = ([side for side, _ in pairs], [side for _, side in pairs])
    pq.write_table(pa.table({"worse": worse, "better": better, "similarity": [0.9] * len(pairs)}), home / "alike.parquet")
    stats = clusters.connected_clusters(home, [home / "alike.parquet"], [], WHOLE, ALONE)
    found: dict[int, int] = {}
    for name in ("near", "far"):
        table = pq.read_table(home / f"{name}.parquet")
        assert table.num_rows == stats[name]
        found |= dict(zip(table["worse"].to_pylist(), table["better"].to_pylist(), strict=True))
        assert all(pair in set(pairs) for pair in found.items()) or name == "far"
    return found, stats["rounds"]


def united(pairs: Pairs) -> dict[int, int]:
    """The same by joining sets one pair at a time."""
    best: dict[int, int] = {}

    def root(row: int) -> int:
        while best.setdefault(row, row) != row:
            row = best[row]
        return row

    for pair in pairs:
        one, other = sorted(map(root, pair))
        best[other] = one
    return {row: root(row) for row in best if root(row) != row}


@settings(max_examples=15, deadline=None)
@given(st.sets(st.tuples(st.integers(0, 30), st.integers(0, 30)).filter(lambda pair: pair[0] > pair[1]), min_size=1, max_size=40))
def test_components_are_those_of_the_pairs(pairs: set[tuple[int, int]]) -> None:
    with tempfile.TemporaryDirectory() as home:
        assert connected(Path(home), sorted(pairs))[0] == united(sorted(pairs))


def test_a_chain_of_any_length_is_one_cluster_in_few_rounds(tmp_path: Path) -> None:
    """Labels that walk one step a round would take 20,000."""
    rows = list(range(20_000))
    found, rounds = connected(tmp_path, [(row + 1, row) for row in rows])
    assert found == dict.fromkeys(range(1, 20_001), 0)
    assert rounds < 40
    random.Random(1).shuffle(rows)
    found, rounds = connected(tmp_path, [(max(pair), min(pair)) for pair in itertools.pairwise(rows)])
    assert found == dict.fromkeys(range(1, 20_000), 0)
    assert rounds < 40


EDITS = {"anywhere": texts.spread, "in runs": texts.in_runs}


@pytest.mark.parametrize("clustering", ["connected", "similar"])
@pytest.mark.parametrize(("length", "pairs", "share", "edits"), [
    ("answers", 700, 1 / 30, "anywhere"),
    ("answers", 500, 1 / 30, "in runs"),
    ("articles", 20, 1 / 30, "in runs"),
    ("articles", 20, 1 / 30, "anywhere"),  # 0.73 similar: none of them counts
    ("articles", 20, 1 / 45, "anywhere"),  # 0.8 similar, or nearly
])  # fmt: skip
def test_planted_pairs_are_found(tmp_path: Path, length: str, pairs: int, share: float, edits: str, clustering: str) -> None:
    """Recall and precision at a similarity of 0.8, counted with Python's sets, among as many unrelated texts."""
    dice = random.Random(4)
    originals = [texts.text(dice, dice.randint(*texts.LENGTHS[length])) for _ in range(pairs)]
    copies = [texts.edited(text, dice, EDITS[edits](len(text), share, dice)) for text in originals]
    unrelated = [texts.text(dice, dice.randint(*texts.LENGTHS[length])) for _ in range(pairs)]
    rows = {
        name: [document(text, name) for text in made] for name, made in (("one", originals), ("two", copies), ("more", unrelated))
    }
    job, _ = build(tmp_path, artifacts(tmp_path, **rows), clusters=clustering)
    place = {row["id"]: (name, number) for name, made in rows.items() for number, row in enumerate(made)}
    called = {frozenset((place[row["id"]], place[row["detail"].split()[1]])): row["reason"] for row in dropped(job)}
    planted = [frozenset((("one", number), ("two", number))) for number in range(pairs)]
    true = {pair for pair, *both in zip(planted, originals, copies, strict=True) if similarity(*both) >= 0.8}
    assert len(called.keys() & true) >= 0.95 * len(true)
    near = {pair for pair, reason in called.items() if reason == "near duplicate"}
    assert len(near & true) >= 0.95 * len(near)
    assert called.keys() <= set(planted)
    assert bool(true) == (length == "answers" or edits == "in runs" or share < 1 / 40)
