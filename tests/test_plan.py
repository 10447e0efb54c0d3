"""The plan says what a run will do and which field made it so."""

from __future__ import annotations

from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path

import pytest

from flows import run_plan
from flows.estimates import CORE, estimate
from flows.graph import Node, graph
from flows.inputs import Records, folder
from flows.recipe import load
from flows.run_plan import ABSENT, FieldChange, Planned, _reasons, duration, flatten, plan, plan_summary
from flows.traversal import resolved_nodes
from models import presets
from tasks.artifacts.build import BuildOptions, build
from tasks.artifacts.store import Record, Store
from tests.toys import CountParams, DoubleParams, count, double, make_count, make_double


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "store")


def nodes(upto: int = 3, times: int = 2) -> list[Node]:
    return [
        Node("count", count, CountParams(upto=upto), {}),
        Node("double", double, DoubleParams(times=times), {"numbers": folder("count")}),
    ]


def statuses(steps):
    return [step.status for step in steps]


def test_an_empty_store_plans_everything(store):
    steps = plan(nodes(), store)
    assert statuses(steps) == ["MISS", "MISS"]
    assert steps[0].note == "never built in this store" and steps[1].key is None
    assert not store.root.exists()


def test_a_finished_run_is_all_hits_with_its_durations(store):
    make_double(store, make_count(store))
    steps = plan(nodes(), store)
    assert statuses(steps) == ["HIT", "HIT"] and all(step.last_seconds is not None for step in steps)


def test_a_changed_field_is_named_with_old_and_new(store):
    make_double(store, make_count(store))
    steps = plan(nodes(upto=9), store)
    assert statuses(steps) == ["MISS", "MISS"]
    assert [(c.field, c.old, c.new) for c in steps[0].changed] == [("params.upto", 3, 9)]
    assert [(c.field, c.new) for c in steps[1].changed] == [("inputs.numbers", None)]
    assert statuses(plan(nodes(times=5), store)) == ["HIT", "MISS"]


def test_a_recipes_own_artifacts_are_compared_with_first(store):
    own = make_count(store, upto=3).record
    make_count(store, upto=8)
    store.note_run("r", "tiny", {"count": own.key})
    [change] = plan(nodes(upto=9)[:1], store, recipe=load("tiny"))[0].changed
    assert (change.old, change.new) == (3, 9)
    [change] = plan(nodes(upto=9)[:1], store, recipe=load("sample"))[0].changed
    assert (change.old, change.new) == (8, 9), "another recipe has none of its own, and takes the nearest"


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (FieldChange("inputs.files.medical.csv", ABSENT, "a" * 64), "new file medical.csv"),
        (FieldChange("inputs.files.medical.csv", "a" * 64, ABSENT), "file medical.csv is gone"),
        (FieldChange("inputs.files.medical.csv", "a" * 64, "b" * 64), "file medical.csv changed"),
        (FieldChange("inputs.sources.belle", ABSENT, "b" * 64), "new sources belle"),
        (FieldChange("inputs.rows", "a" * 64, "b" * 64), "rows changed"),
        (FieldChange("inputs.rows", "a" * 12, None, True), "rows: not known yet"),
        (FieldChange("params.max_facts", ABSENT, 24), "params.max_facts: not there → 24"),
        (FieldChange("params.warmup", None, 0.1), "params.warmup: none → 0.1"),
    ],
)
def test_a_change_is_told_in_words(change, said):
    assert _reasons([change]) == [said]


def test_a_pretraining_is_estimated_by_an_earlier_one_or_by_its_operations(store):
    recipe = load("tiny", ["resources.device=cpu", "resources.threads=2"])
    node = next(node for node in graph(recipe) if node.name == "pretrain")
    first = estimate(node, [], [], recipe.resources)
    body = presets.find("tiny").body()
    assert first.origin == "FLOPs" and first.accelerator_seconds == 0
    assert first.seconds == pytest.approx(6 * body * 40960 / (2 * CORE))
    params = node.params.model_dump(mode="json")
    facts = {"stage": "pretrain", "title": "", "lineage": {}, "files": [], "reproducibility": "seeded", "key": "k", "digest": "d"}
    record = Record(
        identity={"params": params}, stats={"tokens": 40960, "device": "cuda", "processes": 2}, made={"seconds": 30.0}, **facts
    )
    longer = replace(node, params=node.params.model_copy(update={"tokens": 4 * 40960}))
    found = estimate(longer, [record], [record], recipe.resources)
    assert (found.origin, found.seconds, found.accelerator_seconds) == ("record", 120.0, 240.0)
    record.stats["passes"] = 40960 / 6000  # of a corpus of 6,000 tokens
    for length, tokens in (({"tokens": None}, 4 * 6000), ({"tokens": None, "epochs": 2.0}, 2 * 6000)):
        derived = replace(node, params=node.params.model_copy(update=length))
        assert estimate(derived, [record], [record], recipe.resources).seconds == pytest.approx(30.0 * tokens / 40960)
    gone = record.model_copy(update={"identity": {"params": params | {"preset": "of-a-package-that-is-gone"}}})
    assert estimate(longer, [gone], [gone], recipe.resources).seconds == 30.0
    assert estimate(longer, [], [gone], recipe.resources).origin == "FLOPs"


def test_the_plan_says_that_words_are_counted_slowly_where_rjieba_is_missing(monkeypatch):
    steps = [Planned("counts", "MISS", None)]
    assert ("hanlin[fast]" in plan_summary(steps)) == (find_spec("rjieba") is None)
    monkeypatch.setattr(run_plan, "find_spec", lambda name: None)
    assert "hanlin[fast]" in plan_summary(steps)
    assert "hanlin[fast]" not in plan_summary([Planned("counts", "HIT", "key")])


def test_the_plan_in_one_sentence_says_what_each_status_means(store):
    make_count(store)
    said = plan_summary(plan(nodes(), store))
    assert said.startswith("2 stages: 1 HIT (reused from the store), 0 RESUME (begun earlier and continued), 1 MISS (built).")


def test_the_one_loop_resolves_what_is_known_and_names_what_is_not(store):
    records: Records = {}
    first, second = [(r.key, r.waits_for, list(r.request.inputs)) for r in resolved_nodes(nodes(), store, records)]
    assert first == (first[0], [], []) and second == (None, ["count"], [])
    for resolved in resolved_nodes(nodes(), store, records):
        records[resolved.node.name] = build(store, resolved.request, BuildOptions()).record
        assert resolved.key == records[resolved.node.name].key and not resolved.pending
    assert [step.key for step in plan(nodes(), store)] == [record.key for record in records.values()]


def test_the_nearest_earlier_artifact_is_compared(store):
    make_count(store, upto=1, pause=0.01)
    make_count(store, upto=2)
    [change] = plan(nodes(upto=4), store)[0].changed
    assert (change.field, change.old, change.new) == ("params.upto", 2, 4)


def test_unfinished_work_is_resumed(store):
    key = plan(nodes(), store)[0].key
    (store.work(key) / "scratch" / "shards").mkdir(parents=True)
    assert statuses(plan(nodes(), store)) == ["RESUME", "MISS"]
    assert statuses(plan(nodes(), store, refresh=["count"])) == ["MISS", "MISS"]


def test_damage_is_planned_and_named(store):
    built = make_count(store)
    (store.object(built.record.key) / "all.txt").unlink()
    step = plan(nodes(), store)[0]
    assert step.status == "MISS" and "all.txt is missing" in step.note


def test_nested_fields_have_dotted_names():
    assert flatten({"a": {"b": 1, "c": [["x", "1"], ["y", "2"]]}, "d": []}) == {"a.b": 1, "a.c.x": "1", "a.c.y": "2", "d": []}


@pytest.mark.parametrize(
    ("seconds", "text"), [(None, "–"), (3.21, "3.2 s"), (59.9, "59.9 s"), (125, "2:05 min"), (7325, "2:02 h")]
)
def test_durations_read_well(seconds, text):
    assert duration(seconds) == text


def test_the_reference_of_dpo_stays_a_hit_whatever_beta_and_loss():
    asked = [
        {node.name: node for node in graph(load("sample", changes))} for changes in ([], ["dpo.beta=0.3", "dpo.loss_type=ipo"])
    ]
    before, after = ([found[name] for name in ("reference", "dpo")] for found in asked)
    assert before[0].params == after[0].params and before[0].needs == after[0].needs
    assert before[1].params != after[1].params
