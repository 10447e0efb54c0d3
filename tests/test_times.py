"""The page about a run's times adds up to the whole of it."""

from pathlib import Path

import pytest

from docs import times
from tasks.artifacts.store import Record, Store


def record(stage: str, started: float, finished: float, run: str = "one") -> Record:
    made = {"started": started, "finished": finished, "seconds": finished - started, "machine": "toy", "flow_run": run}
    key, nothing = stage.ljust(64, "0"), {"identity": {}, "lineage": {}, "files": [], "stats": {}, "reproducibility": "bitwise"}
    return Record.model_validate({"key": key, "digest": "", "stage": stage, "title": stage, "made": made, **nothing})


def test_the_rows_add_up_to_the_run_and_data_stages_are_one_of_them() -> None:
    records = [record("sample", 0, 2), record("split", 3, 4), record("pretrain", 4, 14), record("report", 15, 16)]
    for chinese in (False, True):
        told = times.rows(records, chinese)
        assert [took for _, took, _ in told] == [3, 10, 1, 2] and sum(took for _, took, _ in told) == times.whole(records)
        assert "`sample`" in told[0][0] and "`split`" in told[0][0] and "16" in times.page(records, chinese)


def test_only_a_run_that_built_all_of_its_stages_is_told_of(tmp_path: Path) -> None:
    store = Store(tmp_path)
    both = [record("sample", 0, 2), record("pretrain", 2, 5)]
    for one in both:
        store.put(one)
    artifacts = {one.stage: one.key for one in both}
    store.note_run("two", "sample", artifacts, finished=True)
    with pytest.raises(ValueError, match="no finished run of sample that built all of its stages"):
        times.built(store)
    store.note_run("one", "sample", artifacts, finished=True)
    assert [one.stage for one in times.built(store)] == ["sample", "pretrain"]
