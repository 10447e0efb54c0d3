"""The contract between data stages: what moves is named, what moves too far is a breach, and what was refused is no measure."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.artifacts.store import Record, Store
from tasks.data import contract
from tasks.data.contract import Contract, Verdict
from tasks.data.rows import Writer
from tests.toys import make_count

RULES = Contract()


def counts(taken: int, **dropped: int) -> dict[str, Any]:
    return {"in": taken, "kept": taken - sum(dropped.values()), "dropped": dict(dropped)}


def record(stats: dict[str, Any], node: str = "filter") -> Record:
    return Record(
        key="k" * 64,
        digest="d" * 64,
        stage=node,
        title="",
        identity={},
        lineage={},
        files=[],
        stats=stats,
        made={},
        reproducibility="bitwise",
    )


def judge(tmp_path: Path, now: dict[str, Any], last: dict[str, Any] | None = None, node: str = "filter", **rules: Any) -> Verdict:
    """A verdict on funnels alone; the files hold as many rows as the funnel says."""
    home = tmp_path / "artifact"
    written = {"documents": sum(c["kept"] for c in now["funnel"].values())}
    written |= {"dropped": sum(sum(c["dropped"].values()) for c in now["funnel"].values())}
    for kind, rows in written.items():
        with Writer(home / kind / "00000.parquet", kind) as out:
            for number in range(rows):
                texts = {"id": str(number), "source": "s", "title": "", "text": "t", "lang": "zh", "meta": "{}"}
                out.add(
                    texts
                    if kind == "documents"
                    else {"id": str(number), "source": "s", "reason": "r", "detail": "", "excerpt": ""}
                )
    return contract.judge(node, now, home, Contract(**rules), record(last, node) if last else None)


def breaches(verdict: Verdict) -> list[tuple[str, str]]:
    return [(change.source, change.what) for change in verdict.changes if change.breach]


def test_a_first_run_that_adds_up_has_nothing_to_say(tmp_path):
    verdict = judge(tmp_path, {"funnel": {"a": counts(500, short=20)}})
    assert verdict == Verdict("filter", None, [], []) and verdict.breaches == []


def test_the_same_figures_are_no_change(tmp_path):
    stats = {
        "funnel": {"a": counts(500, short=20)},
        "lengths": {"a": {"bounds": [0, 1, 2], "before": [1, 499], "after": [0, 480]}},
    }
    verdict = judge(tmp_path, stats, stats)
    assert verdict.changes == [] and verdict.against == "k" * 64


@pytest.mark.parametrize(
    ("now", "expected"),
    [
        (counts(1000, short=149), [("a", "dropped: short")]),  # 5 % before: five points more for a reason, ten for the whole
        (counts(1000, short=95), []),
        (counts(1000, short=101), [("a", "dropped: short")]),
        (counts(1000, short=160), [("a", "dropped: short"), ("a", "kept")]),
        (counts(1000, short=50, new=51), [("a", "dropped: new")]),
        (counts(1000, short=50, new=45, newer=45, newest=45), [("a", "kept")]),
        (counts(801, short=40), []),
        (counts(790, short=40), [("a", "rows read")]),
        (counts(5000, short=250), []),  # more is welcome
        (counts(1000), []),  # and so is dropping less
    ],
)
def test_shares_and_counts_may_move_so_far(tmp_path, now, expected):
    verdict = judge(tmp_path, {"funnel": {"a": now}}, {"funnel": {"a": counts(1000, short=50)}}, node="ingest-a")
    assert sorted(breaches(verdict)) == expected


def test_every_bound_is_the_recipes(tmp_path):
    now, last = {"funnel": {"a": counts(1000, short=60)}}, {"funnel": {"a": counts(1000, short=50)}}
    assert breaches(judge(tmp_path / "loose", now, last)) == []
    strict = judge(tmp_path / "strict", now, last, kept_points=0.5, reason_points=0.5)
    assert breaches(strict) == [("a", "kept"), ("a", "dropped: short")]
    assert strict.breaches[0] == "a: kept 95.0 % → 94.0 % (-1.0 points); it may fall by 0.5 points (contract.kept_points)"
    assert judge(tmp_path / "zero", last, last, kept_points=0, reason_points=0, rows_percent=0).breaches == []
    assert breaches(judge(tmp_path / "max", now, max_drop_percent=5)) == [("a", "rows dropped")]
    least = judge(tmp_path / "min", now, min_rows=941)
    assert breaches(least) == [("a", "rows kept")]
    assert least.breaches == ["a: rows kept 940; at least 941 must be (contract.min_rows); 60 went as: short"]


def test_what_moved_within_its_bounds_is_told_after_the_breaches(tmp_path):
    now = {"funnel": {"a": counts(1010, short=50), "b": counts(1000, short=500)}}
    last = {"funnel": {"a": counts(1000, short=50), "b": counts(1000, short=50)}}
    changes = judge(tmp_path, now, last).changes
    assert [(c.source, c.what, c.breach) for c in changes] == [
        ("b", "kept", True),
        ("b", "dropped: short", True),
        ("a", "rows read", False),
    ]
    assert (changes[2].last, changes[2].now, changes[2].change) == ("1,000", "1,010", "+1.0 %")
    assert changes[1].reason == "short"


def test_a_source_that_went_is_a_breach_and_one_that_came_is_not(tmp_path):
    now, last = {"funnel": {"b": counts(300)}}, {"funnel": {"a": counts(400)}}
    verdict = judge(tmp_path / "dedup", now, last, node="dedup")
    assert [(c.source, c.now, c.breach) for c in verdict.changes] == [("a", "0", True), ("b", "300", False)]
    assert breaches(judge(tmp_path / "split", now, last, node="split")) == [], "said once"


def test_what_one_stage_dropped_is_not_held_against_the_next(tmp_path):
    now, last = {"funnel": {"a": counts(600, short=30)}}, {"funnel": {"a": counts(1000, short=50)}}
    assert breaches(judge(tmp_path / "ingest", now, last, node="ingest-a")) == [("a", "rows read")]
    assert judge(tmp_path / "filter", now, last).breaches == [] and judge(tmp_path / "filter2", now, last).changes


def test_few_rows_prove_nothing_unless_the_recipe_says_so(tmp_path):
    now, last = {"funnel": {"a": counts(20, short=15)}}, {"funnel": {"a": counts(90)}}
    assert breaches(judge(tmp_path / "few", now, last, node="ingest-a")) == []
    assert len(breaches(judge(tmp_path / "asked", now, last, node="ingest-a", compare_from=20))) == 3


def test_nothing_left_of_a_source_is_a_breach_of_a_first_run_but_not_of_a_split(tmp_path):
    stats = {"funnel": {"a": counts(30, short=30)}}
    assert breaches(judge(tmp_path / "filter", stats)) == [("a", "rows kept")]
    assert breaches(judge(tmp_path / "split", stats, node="split")) == []


def shape(after: list[int], bounds: list[float] | None = None) -> dict[str, Any]:
    return {"bounds": bounds or list(range(len(after) + 1)), "before": after, "after": after}


@pytest.mark.parametrize("name", ["lengths", "scripts"])
def test_histograms_may_shift_so_far(tmp_path, name):
    funnel = {"funnel": {"a": counts(1000)}}
    last = funnel | {name: {"a": shape([500, 500])}}
    assert judge(tmp_path / "near", funnel | {name: {"a": shape([600, 400])}}, last).changes[0].now == "0.10 away"
    assert breaches(judge(tmp_path / "far", funnel | {name: {"a": shape([100, 500, 400])}}, last)) == [
        ("a", f"{name} of kept rows")
    ]
    assert judge(tmp_path / "few", funnel | {name: {"a": shape([9, 0])}}, last).changes == []
    assert judge(tmp_path / "other", funnel | {name: {"a": shape([0, 900], [0, 10, 20])}}, last).changes == []
    bound = {"lengths": "length_shift", "scripts": "script_shift"}[name]
    assert breaches(judge(tmp_path / "strict", funnel | {name: {"a": shape([600, 400])}}, last, **{bound: 0.05}))


@given(*[st.lists(st.integers(0, 1000), min_size=1, max_size=12).filter(sum)] * 2)
def test_the_distance_of_two_histograms(one, other):
    moved = contract.distance(one, other)
    assert 0 <= moved <= 1 + 1e-9
    assert moved == pytest.approx(contract.distance(other, one)) and contract.distance(one, one) == 0
    assert contract.distance([0] * len(one) + other, one) == pytest.approx(1), "nothing in common"


def test_columns_that_a_kind_does_not_have_are_named(tmp_path):
    (tmp_path / "documents").mkdir()
    pq.write_table(pa.table({"id": ["1"], "text": ["t"]}), tmp_path / "documents" / "00000.parquet")
    verdict = contract.judge("filter", {"funnel": {"a": counts(1)}}, tmp_path, RULES, None)
    assert len(verdict.broken) == 1 and verdict.broken[0].startswith(
        "documents/00000.parquet: its columns are id string, text string; documents have id string, source"
    )
    (tmp_path / "signatures").mkdir()
    (tmp_path / "documents" / "00000.parquet").rename(tmp_path / "signatures" / "00000.parquet")
    assert not contract.judge("filter", {"funnel": {}}, tmp_path, RULES, None).broken, "other folders hold something else"


def test_sums_that_do_not_hold_are_named(tmp_path):
    stats = {"funnel": {"a": counts(10, short=2)}}
    assert judge(tmp_path / "whole", stats).broken == []
    missing = contract.judge("filter", {"funnel": {"a": counts(11, short=3)}}, tmp_path / "whole" / "artifact", RULES, None)
    assert missing.broken == ["filter counted 3 rows as dropped, but its files hold 2"]
    lost = {"funnel": {"a": counts(10, short=2) | {"in": 12}}}
    assert judge(tmp_path / "lost", lost).broken == ["a: of 12 rows 8 were kept and 2 dropped, which is not all of them"]


def test_a_split_writes_a_row_for_each_of_its_uses(tmp_path):
    for use, kind in (("pretrain", "documents"), ("text2text", "conversations")):
        with Writer(tmp_path / use / "train.parquet", kind) as out:
            for number in range(3):
                row = {"id": str(number), "source": "a", "meta": "{}"}
                out.add(row | ({"title": "", "text": "", "lang": ""} if kind == "documents" else {"messages": []}))
    uses = {use: {"train": {"a": {"rows": 3, "characters": 0}}} for use in ("pretrain", "text2text")}
    assert contract.judge("split", {"funnel": {"a": counts(3)}, "uses": uses}, tmp_path, RULES, None).broken == []
    uses["pretrain"]["train"]["a"]["rows"] = 4
    assert contract.judge("split", {"funnel": {"a": counts(3)}, "uses": uses}, tmp_path, RULES, None).broken


# -- which run is the last one ------------------------------------------------------------------------------------------


def note(recipe: str, key: str, *, refused: bool = False) -> dict[str, Any]:
    return {"recipe": recipe, "artifacts": {"count": key}, "refused": ["count"] if refused else []}


def test_the_last_run_is_the_newest_accepted_one_of_the_recipe_that_made_something_else(tmp_path):
    store = Store(tmp_path / "store")
    one, two, now = (make_count(store, upto=upto).record for upto in (1, 2, 3))
    same = make_count(store, upto=3, pause=0.001).record
    assert same.digest == now.digest and same.key != now.key

    def last(*notes: dict[str, Any]) -> tuple[str | None, bool]:
        found, settled = contract.last_run(store, notes, "r", now)
        return found.key if found else None, settled

    assert last() == (None, False)
    assert last(note("other", one.key)) == (None, False)
    assert last(note("r", two.key), note("r", one.key)) == (two.key, False)
    assert last(note("r", two.key, refused=True), note("r", one.key)) == (one.key, False)
    assert last({"recipe": "r", "artifacts": {"other": "x"}}, note("r", one.key)) == (one.key, False)
    assert last(note("r", now.key), note("r", one.key)) == (one.key, True), "already accepted"
    assert last(note("r", same.key), note("r", one.key)) == (one.key, True), "by its content"
    assert last(note("r", one.key), note("r", now.key)) == (one.key, False), "once, but not last"
    assert last(note("r", "gone"), note("r", one.key)) == (one.key, False)
