"""The pieces of deduplication: derived once, with all that defines them in their keys; they survive a kill, on any partition and any number of
cores, with signatures kept, in bounded memory."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import random
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from benchmarks.watch import family, pss
from tasks import dedup
from tasks.artifacts.build import BuildOptions, BuildRequest, Input, build
from tasks.artifacts.digests import ROOT
from tasks.artifacts.stage import Job, Progress, Resources
from tasks.artifacts.store import Store
from tasks.data.rows import SCHEMAS, Writer, files, read
from tasks.duplicates import plan, similarity, units
from tasks.duplicates.plan import DedupPlan
from tasks.duplicates.units import BandPartition, Signing
from tasks.processes import shards, workers
from tests.test_dedup import changed, digests, document, sentence


@pytest.fixture(scope="module")
def mixed(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Three sources with duplicates of both sorts across them, in several files, of which one has several row groups."""
    dice, home = random.Random(7), tmp_path_factory.mktemp("mixed")
    texts = [sentence(dice, dice.randint(3, 400)) for _ in range(600)]
    for source in ("one", "two", "three"):
        for number in range(2):
            with Writer(home / source / "documents" / f"{number:05d}.parquet", "documents") as out:
                for place, text in enumerate(dice.sample(texts, 250)):
                    out.add({**document(changed(text, 0.008, dice), source + str(number)), "source": source})
                    if source == "one" and place % 60 == 59:
                        out._flush()
    return {source: home / source for source in ("one", "two", "three")}


def deduplicated(home: Path, sources: dict[str, Path], **resources: Any) -> tuple[Job, dict[str, Any]]:
    job = Job(home / "out", home / "scratch", Resources(**({"workers": 1, "threads": 1} | resources)))
    return job, dedup.run(job, dedup.Params(), sources=sources)


@pytest.fixture(scope="module")
def straight(mixed: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, str], dict[str, Any]]:
    """What comes of them: digests of the files, statistics."""
    job, stats = deduplicated(tmp_path_factory.mktemp("one [of*two]'s"), mixed)  # a path that looks like a pattern
    assert stats["funnel"]["three"]["dropped"]["near duplicate"] > 50
    return digests(job.out), stats


def test_the_same_bytes_on_any_number_of_cores(
    mixed: dict[str, Path], straight: tuple[dict[str, str], dict[str, Any]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shards, "BIG", 0)  # worker processes even for a small input
    job, stats = deduplicated(tmp_path, mixed, workers=2, threads=2)
    assert (digests(job.out), stats) == straight


def test_the_same_bytes_on_any_partition(
    mixed: dict[str, Path], straight: tuple[dict[str, str], dict[str, Any]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(plan, "PARTITION", 400)
    monkeypatch.setattr(plan, "AT_ONCE", 8000)
    monkeypatch.setattr(plan, "COMPARISONS", 100)
    monkeypatch.setattr(similarity, "CHARACTERS", 2000)
    parts = []
    monkeypatch.setattr(
        shards.Pool,
        "do",
        lambda self, work, pieces, unit, do=shards.Pool.do: parts.append(len(pieces)) or do(self, work, pieces, unit),
    )
    job, stats = deduplicated(tmp_path, mixed)
    assert (digests(job.out), stats) == straight
    assert parts[1] == 4, "partitions of the hashes"
    assert parts[2] == 4 * 4, "of the bands"
    assert parts[5] > 3, "of the pairs"


def test_a_large_file_is_many_pieces(
    mixed: dict[str, Path], straight: tuple[dict[str, str], dict[str, Any]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(units, "UNIT_BYTES", 30_000)
    signed: list[tuple[str, range]] = []
    sign = similarity.sign
    monkeypatch.setattr(
        similarity,
        "sign",
        lambda draft, unit, signing: signed.append((unit.path.name, unit.groups)) or sign(draft, unit, signing),
    )
    job, stats = deduplicated(tmp_path, mixed)
    assert len(signed) > 8
    assert sum(pq.read_metadata(path).num_rows for path in files(job.out, kind="documents")) == sum(
        counts["kept"] for counts in straight[1]["funnel"].values()
    )
    assert stats == straight[1]


def test_a_killed_run_goes_on_where_it_was(
    mixed: dict[str, Path], straight: tuple[dict[str, str], dict[str, Any]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Killed over and over, each time a few pieces further on: in the end every piece was done once."""
    done: list[str] = []
    do_one = shards._do_one
    monkeypatch.setattr(shards, "_do_one", lambda home, *rest: do_one(home, *rest) or done.append(home.name))
    kills = 0
    while True:
        so_far = len(done)

        def stop(progress: Progress, so_far: int = so_far) -> None:
            if len(done) >= so_far + 3:
                raise KeyboardInterrupt

        job = Job(tmp_path / str(kills), tmp_path / "scratch", Resources(workers=1, threads=1), progress=stop)
        try:
            stats = dedup.run(job, dedup.Params(), sources=mixed)
            break
        except KeyboardInterrupt:
            kills += 1
    assert kills > 5
    assert len(done) == len(set(done)), "no piece was done twice"
    assert (digests(job.out), stats) == straight


def test_rows_of_an_earlier_build_are_not_signed_again(
    mixed: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A source more costs its own signatures; its rows are still compared with those of the others."""
    signed: list[Path] = []
    sign = similarity.sign
    monkeypatch.setattr(similarity, "sign", lambda draft, unit, signing: signed.append(unit.path) or sign(draft, unit, signing))
    store = Store(tmp_path / "store")

    def made(*names: str, **params: Any) -> dict[str, Any]:
        sources = {name: mixed[name] for name in names}
        given = Input(sources, [[name, name] for name in names])
        request = BuildRequest("dedup", dedup.run, dedup.Params(**params), {"sources": given})
        return build(store, request, BuildOptions(Resources(workers=1))).record.stats

    made("one", "two")
    assert len(signed) == 4
    signed.clear()
    stats = made("one", "two", "three")
    assert {path.parent.parent.name for path in signed} == {"three"}
    assert len(signed) == 2
    _, fresh = deduplicated(tmp_path / "fresh", mixed)
    assert stats == fresh
    signed.clear()
    assert made("one", "two", "three", threshold=0.9)["funnel"] != stats["funnel"]
    assert signed == [], "another threshold is another comparison"
    made("one", "two", ngram=4)
    assert len(signed) == 4


def test_rows_pass_unchanged_with_their_schema(mixed: dict[str, Path], tmp_path: Path) -> None:
    job, _ = deduplicated(tmp_path, mixed)
    before = {row["id"]: row for row in read(files(*mixed.values(), kind="documents"))}
    assert all(row == before[row["id"]] for row in read(files(job.out, kind="documents")))
    for path in files(job.out, kind="documents"):
        assert pq.read_schema(path).equals(SCHEMAS["documents"])


# -- keys ---------------------------------------------------------------------------------------------------------------


def planned(home: Path, sources: dict[str, Path]) -> DedupPlan:
    """The plan of the documents of these sources, of which no step is done."""
    params = dedup.Params()
    job = Job(home / "out", home / "scratch", Resources(workers=1, threads=1))
    signing = Signing(params.ngram, params.permutations, params.bands)
    return DedupPlan(job, dedup.run.version, params, signing, units.units(job, dedup.run.version, signing, sources))


def test_every_key_is_hashed_once(mixed: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    hashed: list[str] = []
    shard_key = Job.shard_key
    monkeypatch.setattr(Job, "shard_key", lambda job, *identity: hashed.append(shard_key(job, *identity)) or hashed[-1])
    job, _ = deduplicated(tmp_path, mixed)
    pieces = {home.name for home in (job.scratch / "shards").iterdir()}
    assert len(pieces) == 25, "of 6 files: 6 to sign, 6 texts and 6 results, and 7 more steps of one piece"
    assert len(hashed) == len(set(hashed)) == len(pieces) + 1, "and the identity of the one plan"
    assert pieces < set(hashed)


def test_keys_are_what_they_always_were(mixed: dict[str, Path], tmp_path: Path) -> None:
    """Canonical JSON of the step's name, the plan's identity and the partition or unit: records and half-finished work hold such keys."""
    job, _ = deduplicated(tmp_path, mixed)
    params = dedup.Params().model_dump(mode="json")

    def key(*identity: Any) -> str:
        text = json.dumps(list(identity), sort_keys=True, ensure_ascii=False, separators=(",", ":"))
        return hashlib.sha256(text.encode()).hexdigest()[:32]

    paths = [(source, path) for source, folder in mixed.items() for path in files(folder, kind="documents")]
    signing = {"bands": 20, "ngram": 5, "permutations": 120}
    signed = [
        key("signatures", dedup.run.version, "documents", hashlib.sha256(path.read_bytes()).hexdigest(), [0, groups], signing)
        for _, path in paths
        for groups in [pq.read_metadata(path).num_row_groups]
    ]
    identity = key(dedup.run.version, params, [[one, source] for one, (source, _) in zip(signed, paths, strict=True)])
    steps = [key(step, identity, 0, 1) for step in ("exact", "members", "compare", "cluster", "unseen", "verdict")]
    steps += [key("pairs", identity, "range(0, 20)", 0, 1)]
    steps += [key(step, identity, number) for step in ("texts", "rows") for number in range(6)]
    assert {home.name for home in (job.scratch / "shards").iterdir()} == {*signed, *steps}


@pytest.mark.parametrize("field", [field.name for field in dataclasses.fields(BandPartition)])
def test_every_field_of_a_partition_is_in_the_key(field: str) -> None:
    share = BandPartition(1, 3, range(4))
    other = {"bands": range(5)}.get(field, 2)
    assert dataclasses.replace(share, **{field: other}).key != share.key


@pytest.mark.parametrize("field", [field.name for field in dataclasses.fields(Signing)])
def test_every_parameter_of_a_signature_is_in_its_key(field: str, mixed: dict[str, Path], tmp_path: Path) -> None:
    job, signing = Job(tmp_path / "out", tmp_path / "scratch"), Signing(5, 120, 20)
    keys = [
        {unit.key for unit in units.units(job, 2, some, mixed)} for some in (signing, dataclasses.replace(signing, **{field: 24}))
    ]
    assert not keys[0] & keys[1]


@pytest.mark.parametrize("argument", [5, 0.8, "longest", range(3), dedup.Params(threshold=0.9)])
def test_an_argument_that_would_not_be_in_the_key_is_refused(argument: Any, mixed: dict[str, Path], tmp_path: Path) -> None:
    """Other parameters than the plan's are such an argument, too."""
    steps = planned(tmp_path, mixed)
    share = BandPartition(0, 1, range(3))
    assert steps._by_partition("some", [share], steps.signature_files, steps.settings)[0].arguments[-2] == share
    with pytest.raises(AssertionError, match=r"step some: .* would not be in the key; make it a field of its partition"):
        steps._by_partition("some", [share], steps.signature_files, argument)
    with pytest.raises(AssertionError, match=r"step some: .* would not be in the key"):
        steps._by_unit("some", 0, steps.units[0], argument)


def test_a_step_that_depends_on_results_is_derived_once_they_are_there(mixed: dict[str, Path], tmp_path: Path) -> None:
    steps = planned(tmp_path, mixed)
    for name in ("pair_count", "texts", "similar_pairs", "cluster_similarities", "results"):
        with pytest.raises(AssertionError, match="the step is done"):
            getattr(steps, name)
    deduplicated(tmp_path, mixed)
    assert [len(pieces) for pieces in (steps.texts, steps.similar_pairs, steps.results)] == [6, 1, 6]
    assert steps.pair_count > 50
    assert steps.texts is steps.texts


# -- memory -------------------------------------------------------------------------------------------------------------


def test_memory_bounds_the_number_of_processes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(workers, "resident", lambda: 100_000_000)
    each = workers.HELD + workers.LEAST

    def crew(memory: int, wanted: int = 8) -> workers.Crew:
        return workers.crew(Job(tmp_path / "out", tmp_path / "scratch", Resources(workers=wanted, memory_gb=memory / 1e9)))

    assert crew(100_000_000 + 3 * each).processes == 3
    assert crew(100_000_000 + 3 * each - 1).processes == 2
    assert crew(100_000_000 + 20 * each).processes == 8
    assert crew(100_000_000 + each - 1, wanted=0).processes == 1, "never none"
    assert crew(4 * 10**9, wanted=1) == workers.Crew(1, 39 * 10**8), "this process alone"
    for memory in (10**9, 4 * 10**9):
        made = crew(memory, wanted=2)
        assert 100_000_000 + made.processes * (workers.HELD + made.memory) <= memory
        assert made.memory >= workers.LEAST


def test_too_little_memory_is_said_before_any_work(mixed: dict[str, Path], tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"resources\.memory_gb=0\.2 is too little: this process holds .*; set at least \d\.\d"):
        deduplicated(tmp_path, mixed, memory_gb=0.2)
    assert not (tmp_path / "scratch" / "shards").exists()


SMALL = """
import json, random, sys
from pathlib import Path
from tasks import dedup; from tasks import filter as filters; from tasks.processes import shards
from tasks.artifacts.stage import Job, Resources

if __name__ == "__main__":
    shards.BIG = 0
    home, limit = Path(sys.argv[1]), Resources(memory_gb=0.4, workers=2)
    first = Job(home / "dedup", home / "scratch", limit)
    stats = dedup.run(first, dedup.Params(), sources={"one": home / "one"})
    filters.run(Job(home / "filter", home / "scratch-2", limit), filters.Params(), rows=first.out, questions={})
    print(json.dumps(stats["funnel"]))
"""


def peak(home: Path, rows: int) -> int:
    """Bytes that deduplication and filters of so many rows take at most, with 0.4 GB, all processes together."""
    dice = random.Random(rows)
    alphabet = [chr(code) for code in range(0x4E00, 0x4E00 + 3000)]
    text = "".join(dice.choices(alphabet, k=2_000_000))
    with Writer(home / "one" / "documents" / "00000.parquet", "documents") as out:
        for number in range(rows):
            start, length = dice.randrange(1_900_000), dice.choice((60, 60, 60, 6000))
            row = text[start : start + length] if number % 5 else f"{text[:300]}{number}{text[300:330]}"
            out.add({"id": f"{number:032x}", "source": "one", "title": "", "text": row, "lang": "zh", "meta": "{}"})
    (home / "small.py").write_text(SMALL, "utf-8")
    command = [sys.executable, str(home / "small.py"), str(home)]
    env = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    child = subprocess.Popen(command, env=env, stdout=subprocess.PIPE, text=True)
    most = 0
    while child.poll() is None:
        most = max(most, sum(map(pss, family(child.pid))))
        time.sleep(0.03)
    assert child.stdout is not None
    assert json.loads(child.stdout.read())["one"]["in"] == rows
    return most


def test_memory_does_not_grow_with_the_rows(tmp_path: Path) -> None:
    """8 MB of text and 30 MB."""
    small, large = peak(tmp_path / "small", 1_500), peak(tmp_path / "large", 6_000)
    assert large < 1.2 * 0.4e9
    assert large - small < 60_000_000
