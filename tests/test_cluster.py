"""Data stages on a Ray cluster of two workers: the same bytes as on processes, and errors that arrive."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator
from pathlib import Path

import pytest
from prefect import flow

from flows import cluster as clusters
from flows import recipe as recipes
from flows.cluster import RayExecutor, cluster
from flows.graph import graph
from flows.inputs import Records
from flows.stage_task import stage_task
from flows.tracker import Tracker
from flows.traversal import resolved_nodes
from tasks import sample
from tasks.artifacts.stage import Resources
from tasks.artifacts.store import Store
from tasks.processes import reading, shards
from tests.waiting import PATIENCE

RAY = Resources(runner="ray", workers=2)
with_ray = pytest.mark.skipif(
    importlib.util.find_spec("prefect_ray") is None, reason="prefect-ray is not installed: pip install 'hanlin[ray]'"
)


@pytest.fixture(scope="module")
def two_workers(prefect_api: str) -> Iterator[None]:
    """A Ray cluster of two workers on this machine. The runner finds it and does not start one of its own."""
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("RAY_USAGE_STATS_ENABLED", "0")
        environment.setenv("RAY_raylet_start_wait_time_s", "300")  # of a machine that has much else to do
        import ray

        quiet = {"log_to_driver": False, "logging_level": "ERROR", "include_dashboard": False}
        # `local`: not what somebody else may have started on this machine
        ray.init("local", num_cpus=2, object_store_memory=200_000_000, namespace="prefect", **quiet)
        yield
        ray.shutdown()


@pytest.fixture
def raw(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Raw files of which every stage makes several pieces, all of them worth a worker."""
    monkeypatch.setattr(reading, "SMALL", 0)
    monkeypatch.setattr(reading, "BATCH_ROWS", 200)
    monkeypatch.setattr(shards, "BIG", 0)
    sample.write_corpus(tmp_path / "raw", sample.Params(size="300KB"))
    return tmp_path / "raw"


def digests(raw: Path, store: Store, resources: Resources) -> dict[str, str]:
    """Digest of each data stage's artifact, built as a flow run."""
    sources = {
        "zhwiki": {"format": "wiki", "path": "wiki/*.bz2", "use": ["pretrain"]},
        "belle": {"format": "belle", "path": "belle/*.json", "use": ["sft"]},
    }
    recipe = recipes.Recipe.model_validate({"name": "clustered", "raw": str(raw), "sources": sources})

    @flow(name="clustered", persist_result=False)
    def run() -> dict[str, str]:
        records: Records = {}
        for resolved in resolved_nodes(graph(recipe, "corpus")[:-1], store, records):
            ref = stage_task(resolved, store, resources, Tracker("toy", "toy", "key"), refresh=False, drift="warn", by={})(
                return_state=True
            ).result()
            records[resolved.node.name] = store.record(ref.key)
        return {name: record.digest for name, record in records.items()}

    return run()


@with_ray
@pytest.mark.slow
def test_two_ray_workers_make_the_same_bytes(
    raw: Path, tmp_path: Path, two_workers: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    starts = []
    begin = RayExecutor.__init__
    monkeypatch.setattr(RayExecutor, "__init__", lambda self, *given: (starts.append(given), begin(self, *given))[1])
    here = digests(raw, Store(tmp_path / "here"), Resources(workers=1))
    there = digests(raw, Store(tmp_path / "there"), RAY)
    assert there == here and list(here) == ["extract-zhwiki", "ingest-belle", "dedup", "filter", "split"]
    assert len(starts) >= 3 and set(starts) == {("", 2)}, "the stages' pieces went to the cluster"


@with_ray
@pytest.mark.slow
def test_an_error_on_a_worker_is_the_callers(two_workers: None) -> None:
    with RayExecutor("", 2) as pool:
        assert [pool.submit(divmod, 7, by).result(PATIENCE) for by in (2, 3)] == [(3, 1), (2, 1)]
        with pytest.raises(ZeroDivisionError):
            pool.submit(divmod, 7, 0).result(PATIENCE)


def test_ray_that_is_not_installed_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(clusters.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ValueError, match=r"pip install 'hanlin\[ray\]', or set runner: processes"):
        cluster(RAY)
    assert cluster(Resources()) is None
