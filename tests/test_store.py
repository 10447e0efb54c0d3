"""The store's promises: nothing is built twice, nothing half-made is seen, damage is found, and what is needed stays."""

from __future__ import annotations

import dataclasses
import fcntl
import itertools
import json
import multiprocessing
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from tasks.artifacts import digests, lease
from tasks.artifacts.build import StageFailed
from tasks.artifacts.digests import source_digest
from tasks.artifacts.garbage import collect, folder_bytes
from tasks.artifacts.stage import Identity, Resources, canonical, stage
from tasks.artifacts.store import Moved, Store, discard, recipe_key
from tasks.artifacts.tags import history, roll_back
from tests.toys import CountParams, count, double, make_count, make_double
from tests.waiting import PATIENCE, until


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "store")


def test_a_second_build_reuses_the_first(store):
    first, second = make_count(store), make_count(store)
    assert not first.reused and second.reused
    assert second.record == first.record
    assert (store.object(first.record.key) / "all.txt").read_text() == "0\n1\n2"


def test_resources_are_not_part_of_the_key_and_parameters_are(store):
    first = make_count(store)
    assert make_count(store, resources=Resources(workers=7, micro_batch=3, device="cpu")).reused
    assert not make_count(store, upto=4).reused
    assert make_count(store).record.key == first.record.key


def test_equal_bytes_from_a_new_version_leave_what_follows_a_hit(store):
    make_double(store, make_count(store))
    bumped = make_count(store, stage=dataclasses.replace(count, version=2))
    assert not bumped.reused
    assert make_double(store, bumped).reused


def test_other_bytes_rebuild_what_follows(store):
    make_double(store, make_count(store))
    assert not make_double(store, make_count(store, upto=5)).reused


def test_a_new_shard_costs_only_itself(store):
    assert make_count(store, upto=3).record.stats["timing"]["built"] == 3
    assert make_count(store, upto=5).record.stats["timing"]["built"] == 2


@pytest.mark.parametrize("value", [{1, 2}, b"x", object(), float("nan")])
def test_a_key_takes_only_what_json_can_say(value):
    with pytest.raises((TypeError, ValueError)):
        canonical({"value": value})


def test_a_flipped_byte_is_a_miss_and_is_named(store, caplog):
    built = make_count(store)
    path = store.object(built.record.key) / "all.txt"
    path.chmod(0o644)
    path.write_text("0\n1\n9")
    assert any("all.txt has other content" in problem for problem in store.problems(built.record, deep=True))
    again = make_count(store)
    assert not again.reused and again.record.digest == built.record.digest
    assert "all.txt has other content than was published; it will be built again" in caplog.text
    assert make_double(store, again).reused is False
    assert make_count(store).reused


def test_a_lost_object_is_rebuilt_and_nothing_else(store):
    numbers = make_count(store)
    make_double(store, numbers)
    store.object(numbers.record.key).joinpath("all.txt").unlink()
    again = make_count(store)
    assert not again.reused
    assert make_double(store, again).reused


def test_an_object_without_a_record_does_not_exist(store):
    built = make_count(store)
    (store.root / "records" / f"{built.record.key}.json").unlink()
    assert not make_count(store).reused


def test_a_failed_build_publishes_nothing_and_keeps_its_shards(store):
    def fail(job, params):
        count.run(job, params)
        raise ValueError("no luck")

    failing = dataclasses.replace(count, run=fail)
    with pytest.raises(StageFailed, match="count: no luck"):
        make_count(store, stage=failing)
    assert not list((store.root / "objects").glob("*")) and not store.records()
    assert make_count(store).record.stats["timing"]["built"] == 0


def _count_slowly(root: str, results: multiprocessing.Queue) -> None:
    built = make_count(Store(Path(root)), upto=4, pause=0.2)
    results.put((built.reused, built.record.digest))


def test_two_runs_that_want_one_artifact_build_it_once(store):
    context = multiprocessing.get_context("spawn")
    results = context.Queue()
    runs = [context.Process(target=_count_slowly, args=(str(store.root), results)) for _ in range(2)]
    for run in runs:
        run.start()
    found = sorted(results.get(timeout=PATIENCE) for _ in runs)
    for run in runs:
        run.join()
    assert [reused for reused, _ in found] == [False, True]
    assert found[0][1] == found[1][1]


def test_a_killed_build_is_taken_over_at_once_and_keeps_its_shards(store):
    code = f"from tests.toys import *; make_count(Store(Path({str(store.root)!r})), upto=50, progress=stay_at(3))"
    killed = subprocess.Popen([sys.executable, "-c", code], cwd=Path(__file__).parent.parent)
    shards = store.root / "work"
    until(lambda: len(list(shards.glob("*/scratch/shards/*/stats.json"))) == 3, during=killed)
    killed.send_signal(signal.SIGKILL)
    killed.wait()
    assert not store.records()
    assert make_count(store, upto=50).record.stats["timing"]["built"] == 47


def test_a_lease_of_a_silent_host_is_taken_over_and_its_holder_notices(tmp_path, monkeypatch):
    monkeypatch.setattr(lease, "BEATS", 0)  # seconds that it is watched for before
    path = tmp_path / "lease"
    now = {"token": "theirs", "host": "elsewhere", "pid": 1, "alive": time.time()}
    path.write_text(json.dumps(now))
    assert lease.is_held(path)
    path.write_text(json.dumps(now | {"alive": time.time() - lease.TAKEOVER - 1}))
    assert not lease.is_held(path)
    with lease.lease(path) as held:
        held.check()
        path.write_text(json.dumps(now).ljust(256))
        with pytest.raises(lease.LeaseLost, match="elsewhere"):
            held.check()


def test_two_that_look_whether_a_lease_is_held_do_not_take_each_other_for_its_holder(tmp_path):
    path = tmp_path / "lease"
    path.touch()
    with path.open() as other:
        fcntl.flock(other, fcntl.LOCK_SH)
        assert not lease.is_held(path)
        fcntl.flock(other, fcntl.LOCK_EX)
        assert lease.is_held(path)


def test_a_lost_lease_publishes_nothing(store):
    def robbed(job, params):
        [path] = (store.root / "leases").glob("*")
        path.write_text(json.dumps({"token": "x", "host": "elsewhere", "pid": 1, "alive": time.time()}).ljust(256))
        return count.run(job, params)

    with pytest.raises(StageFailed, match="taken over"):
        make_count(store, stage=dataclasses.replace(count, run=robbed))
    assert not store.records()


@pytest.mark.parametrize(("drift", "reused"), [("warn", True), ("rebuild", False)])
def test_code_drift_is_a_policy(store, caplog, drift, reused):
    from tasks.artifacts.build import BuildOptions, BuildRequest, build

    built = make_count(store)
    store.put(built.record.model_copy(update={"made": {**built.record.made, "source": "other"}}))
    request = BuildRequest("count", count, CountParams(), {})
    again = build(store, request, BuildOptions(drift=drift))
    assert again.reused is reused
    assert "has changed since it was made" in caplog.text
    if drift == "warn":
        with pytest.raises(StageFailed, match="raise the version"):
            build(store, request, BuildOptions(drift="fail"))


def test_comments_and_docstrings_are_not_code(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(tmp_path)
    path = tmp_path / "drifting.py"
    same = []
    for text in ["x = 1\n", '"""Doc."""\n# why\nx = 1\n', "x = 2\n"]:
        path.write_text(text)
        same.append(source_digest(["drifting"]))
    assert same[0] == same[1] != same[2]


def test_what_sources_hold_is_kept_for_other_processes_and_never_trusted_beyond_its_text(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(digests, "PARSED", tmp_path / "kept" / "parsed.json")
    path, found = tmp_path / "remembered.py", []
    for text in ("x = 1\n", "x = 1\n", "x = 2\n", "x = 1\n"):
        path.write_text(text)
        digests._known.cache_clear()
        found.append(source_digest(["remembered"]))
    assert found[0] == found[1] == found[3] != found[2]
    kept = json.loads(digests.PARSED.read_text("utf-8"))
    assert len(kept["sources"]) == 2
    monkeypatch.setattr(digests, "_parse", None)
    digests._known.cache_clear()
    assert source_digest(["remembered"]) == found[0], "from what was kept"
    monkeypatch.undo()
    monkeypatch.syspath_prepend(tmp_path)
    for spoiled in (b"{", json.dumps(kept | {"by": "other code"}).encode()):
        monkeypatch.setattr(digests, "PARSED", tmp_path / "kept" / "parsed.json")
        digests.PARSED.write_bytes(spoiled)
        digests._known.cache_clear()
        assert source_digest(["remembered"]) == found[0]
    digests._known.cache_clear()


def test_tags_move_with_their_history_and_names_resolve(store):
    one, two = make_count(store).record, make_count(store, upto=9).record
    store.tag("prod", one, "first")
    store.tag("prod", two, "better")
    assert [move["why"] for move in store.tags()["prod"]] == ["first", "better"]
    assert store.resolve("prod") == store.resolve(two.key[:10]) == store.resolve("count") == two
    with pytest.raises(ValueError, match="no artifact, tag or stage is called 'zzz'"):
        store.resolve("zzz")


def test_a_tag_goes_back_one_promotion_at_a_time(store):
    one, two, three = (make_count(store, upto=n).record for n in (1, 2, 3))
    for record in (one, two, three):
        store.tag("prod", record, "better", figures={"accuracy": 0.5})
    assert roll_back(store, "prod", "it swears") == (two, three)
    assert roll_back(store, "prod", "so does this") == (one, two)
    assert store.resolve("prod") == one
    with pytest.raises(ValueError, match="nothing to roll back to"):
        roll_back(store, "prod", "")
    store.tag("prod", three, "mended")
    assert roll_back(store, "prod", "not yet")[0] == one
    shown = history(store.tags()["prod"])
    assert [(row["from"], row["to"]) for row in shown][2:4] == [(two.key[:12], three.key[:12]), (three.key[:12], two.key[:12])]
    assert shown[3]["why"] == "rolled back: it swears" and store.tags()["prod"][0]["figures"] == {"accuracy": 0.5}


def test_a_tag_does_not_go_back_to_what_was_collected(store):
    one, two = (make_count(store, upto=n).record for n in (1, 2))
    store.tag("prod", one, "")
    store.tag("prod", two, "")
    assert not collect(store, keep_runs=0, scratch_days=14, dry_run=False), "the last one but one stays"
    collect(store, keep_runs=0, scratch_days=14, dry_run=False, keep_earlier=0)
    with pytest.raises(ValueError, match="its files were collected"):
        roll_back(store, "prod", "")


def test_a_tag_that_somebody_else_moved_is_not_moved_again(store):
    one, two = (make_count(store, upto=n).record for n in (1, 2))
    store.tag("prod", one, "first", seen=[])
    with pytest.raises(Moved, match="by somebody else"):
        store.tag("prod", two, "second", seen=[])
    assert store.resolve("prod") == one


def test_what_a_tagged_model_was_trained_from_stays_with_it(store):
    numbers = make_count(store)
    doubled = make_double(store, numbers).record
    store.put(doubled.model_copy(update={"lineage": {"model": numbers.record.key}}))
    other = make_count(store, upto=9).record
    store.tag("prod", store.record(doubled.key), "")
    assert [piece.path.name for piece in collect(store, keep_runs=0, scratch_days=14, dry_run=True)] == [other.key]


def test_what_a_live_run_holds_and_what_a_live_build_reads_stays(store):
    held, read, idle = (make_count(store, upto=n).record for n in (1, 2, 3))
    store.note_run("alive", "recipe", {}, holds=[held.key])
    builds = store.work("e" * 64)
    builds.mkdir(parents=True)
    (builds / "reads").write_text(read.key)
    with store.lease("run-alive"), store.lease(builds.name):
        gone = collect(store, keep_runs=0, scratch_days=0, dry_run=False)
        assert [piece.path.name for piece in gone] == [idle.key]
    gone = collect(store, keep_runs=0, scratch_days=14, dry_run=False)
    assert [piece.path.name for piece in gone] == [*sorted([held.key, read.key], key=[held.key, read.key].index), "alive.json"]
    assert not (store.root / "leases" / "run-alive").exists()


def test_what_is_taken_into_use_while_garbage_goes_stays(store, monkeypatch):
    idle = make_count(store).record
    looks = []

    def taken(store):  # the first look finds nothing in use, the one just before the removal does
        looks.append(store)
        return {idle.key} if len(looks) > 1 else set()

    monkeypatch.setattr("tasks.artifacts.garbage.in_use", taken)
    assert collect(store, keep_runs=0, scratch_days=14, dry_run=False) == []
    assert len(looks) == 2 and store.find(idle.key) == idle


def test_what_is_removed_by_others_while_garbage_is_looked_for_is_no_matter(store):
    """Builds make, publish and discard folders all the time, and runs are forgotten."""
    over = threading.Event()

    def work() -> None:
        for number in itertools.count():
            home = store.work(f"{number % 3}" * 64)
            for shard in range(20):
                (home / "scratch" / str(shard)).mkdir(parents=True)
                (home / "scratch" / str(shard) / "rows").touch()
            store.note_run("run", "recipe", {})
            discard(home)
            (store.root / "runs" / "run.json").unlink()
            if over.is_set():
                return

    others = threading.Thread(target=work)
    others.start()
    try:
        for _ in range(150):
            collect(store, keep_runs=1, scratch_days=1, dry_run=True)
    finally:
        over.set()
        others.join()
    assert folder_bytes(store.work("none")) == 0


def test_what_a_kill_left_half_removed_is_in_nobodys_way(store, monkeypatch):
    """Not even in that of a process with the same number, as in a container that is started again."""
    for _ in range(2):
        (store.root / "x").mkdir(parents=True, exist_ok=True)
        (store.root / "x" / "file").touch()
        with monkeypatch.context() as killed:
            killed.setattr(shutil, "rmtree", lambda *_, **__: None)
            discard(store.root / "x")
        assert not (store.root / "x").exists()


def test_collection_keeps_tags_runs_leases_and_fresh_scratch(store):
    tagged, used, idle = (make_count(store, upto=n).record for n in (1, 2, 3))
    store.tag("prod", tagged, "")
    store.note_run("run", "recipe", {"count": used.key})
    scratch = store.work("f" * 64) / "scratch"
    scratch.mkdir(parents=True)
    (scratch / "checkpoint").write_bytes(b"x" * 1000)

    dry = collect(store, keep_runs=1, scratch_days=14, dry_run=True)
    assert [(piece.path.name, piece.bytes) for piece in dry] == [(idle.key, idle.bytes)]
    assert store.object(idle.key).exists()

    with store.lease(idle.key):
        assert not collect(store, keep_runs=1, scratch_days=14, dry_run=False)
    collect(store, keep_runs=1, scratch_days=0, dry_run=False)
    assert not store.object(idle.key).exists() and not scratch.exists()
    assert store.record(idle.key).collected and store.find(idle.key) is None
    assert store.find(tagged.key) and store.find(used.key)
    assert not make_count(store, upto=3).reused


@pytest.mark.parametrize(
    "failure",
    [OSError(28, os.strerror(28), "somewhere"), OSError("98304 requested and 21008 written"), RuntimeError("… File too large")],
    ids=["python", "numpy", "child"],
)
def test_a_full_disk_is_said_so(store, failure):
    def full(job, params):
        raise failure

    with pytest.raises(StageFailed, match=r"the disk is full.*finished shards and checkpoints are kept"):
        make_count(store, stage=dataclasses.replace(count, run=full))


def test_the_key_is_made_of_stage_version_parameters_and_inputs():
    class Params(Identity):
        seed: int = 1

    @stage("toy", version=1, title="Toy", params=Params)
    def toy(job, params):
        return {}

    base = recipe_key(toy.identity(Params(), {"rows": "a"}))
    others = [
        toy.identity(Params(seed=2), {"rows": "a"}),
        toy.identity(Params(), {"rows": "b"}),
        dataclasses.replace(toy, version=2).identity(Params(), {"rows": "a"}),
        dataclasses.replace(toy, name="other").identity(Params(), {"rows": "a"}),
        dataclasses.replace(toy, tools=("pyarrow",)).identity(Params(), {"rows": "a"}),
    ]
    assert len({base, *map(recipe_key, others)}) == 6
    assert double.name == "double"


def test_the_record_says_which_shards_were_built_and_which_an_earlier_artifact_had(store):
    assert make_count(store, upto=3).record.made["shards"] == {"built": 3, "reused": 0}
    assert make_count(store, upto=5).record.made["shards"] == {"built": 2, "reused": 3}
