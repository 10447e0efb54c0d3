"""Two small real stages for tests of the store: one writes numbers, one doubles them."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

from pydantic import Field

from tasks.artifacts.build import BuildOptions, BuildRequest, Built, Input, build
from tasks.artifacts.stage import Identity, Job, Progress, Resources, Stats, fresh, stage
from tasks.artifacts.store import Store


class CountParams(Identity):
    upto: int = Field(default=3, ge=0)
    pause: float = Field(default=0.0, ge=0, description="Seconds to take, so that a test can interrupt")


@stage("count", version=1, title="Count", params=CountParams)
def count(job: Job, params: CountParams) -> Stats:
    built = 0
    keys = [job.shard_key("number", n) for n in range(params.upto)]
    for n, key in enumerate(keys):
        if job.finished(key) is None:
            time.sleep(params.pause)
            with fresh(job.shard_home(key)) as draft:
                (draft / "numbers.parquet").write_text(f"{n}\n")
                (draft / "stats.json").write_text("{}")
            built += 1
        job.progress(Progress(n + 1, params.upto, "number"))
    job.collect(keys)
    (job.out / "all.txt").write_text("\n".join(map(str, range(params.upto))))
    return {"numbers": params.upto, "timing": {"built": built}}


class DoubleParams(Identity):
    times: int = Field(default=2, ge=1)


@stage("double", version=1, title="Double", params=DoubleParams)
def double(job: Job, params: DoubleParams, *, numbers: Path) -> Stats:
    lines = (numbers / "all.txt").read_text().split()
    (job.out / "doubled.txt").write_text(" ".join(str(int(line) * params.times) for line in lines))
    return {}


def make_count(
    store: Store,
    stage=count,
    resources: Resources | None = None,
    progress: Callable[[Progress], None] = lambda now: None,
    **params: object,
) -> Built:
    options = BuildOptions(resources or Resources(), progress=progress)
    return build(store, BuildRequest("count", stage, CountParams(**params), {}), options)


def stay_at(shards: int, until: Callable[[], bool] = lambda: False) -> Callable[[Progress], None]:
    """A build that has finished so many shards and goes no further before it may: it can be killed, or overtaken, at leisure."""

    def stay(now: Progress) -> None:
        while now.done == shards and not until():
            time.sleep(0.05)

    return stay


def make_double(store: Store, numbers: Built, stage=double, **params: object) -> Built:
    record = numbers.record
    inputs = {"numbers": Input(store.object(record.key), record.digest, (record.key,))}
    return build(store, BuildRequest("double", stage, DoubleParams(**params), inputs))
