"""Stage `download`: files from elsewhere, at a pin, whole and verified.

The artifact's key is made of the request and of the pin, so nothing new upstream is a hit. A file that an earlier artifact or an
earlier attempt has, by checksum or by the state its URL was in, is taken from there.
"""

from __future__ import annotations

import json
import shutil
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from pydantic import Field

from tasks.artifacts.stage import Identity, Job, Progress, Resources, Stats, fresh, link_or_copy, stage
from tasks.artifacts.store import sha256_of
from tasks.remote import partial
from tasks.remote.request import Dump, Request
from tasks.remote.transfer import Remote, RemoteFile, RetryPolicy, Unavailable, Unreachable
from tasks.remote.upstream import failures, hub_headers, in_threads, list_files

POLITE = 2  # connections that dumps.wikimedia.org allows an address


class Params(Identity):
    """The request that defines the result, besides the pin."""

    asked: Request = Field(description="A dump, a dataset or URLs, without the state they are in")


@stage("download", version=1, title="Download files", params=Params, reproducibility="external")
def run(job: Job, params: Params, *, upstream: Path) -> Stats:
    """`upstream`, the pin as a JSON object → the files, by the names they have upstream."""
    request, began = params.asked, time.monotonic()
    with Remote(retry_policy(job.resources), job.log) as remote:
        files = list_files(remote, request, json.loads(upstream.read_text("utf-8")))
        homes = {_names(job, file)[0]: home for file in files if (home := _there(job, file))}
        missing = {key: file for file in files if (key := _names(job, file)[0]) not in homes}
        if homes:
            job.log(f"{len(files) - len(missing)} of {len(files)} files are there already")
        _room(job, list(missing.values()))
        meter = _Meter(missing, len(files))

        def fetch(key: str, file: RemoteFile) -> Path:
            try:
                return _fetch(job, remote, key, file, lambda have, total: meter.at(key, have, total), hub_headers(request))
            except (Unreachable, OSError):
                remote.stop.set()  # neither another file nor another connection would fare better
                raise

        def tick() -> None:
            try:
                job.progress(meter.now())
            except BaseException:
                remote.stop.set()
                raise

        many = job.resources.download_connections
        calls = [lambda item=item: fetch(*item) for item in missing.items()]
        results = in_threads(calls, min(many, POLITE) if isinstance(request, Dump) else many, tick)
    if wrong := failures(results):
        _give_up(wrong, len(files))
    homes |= {key: home for key, home in zip(missing, results, strict=True) if isinstance(home, Path)}
    for file in files:
        _publish(job, file, homes[_names(job, file)[0]])
    job.progress(meter.now())
    size = sum(_about(homes[_names(job, file)[0]])["size"] for file in files)
    timing = {"fetched_files": len(missing), "fetched_bytes": meter.came, "seconds": round(time.monotonic() - began, 1)}
    return {"files": len(files), "bytes": size, "timing": timing}


def retry_policy(resources: Resources) -> RetryPolicy:
    """The patience of transfers, as the resources set it."""
    return RetryPolicy(resources.download_retries, resources.download_backoff, silence=resources.download_silence)


def _names(job: Job, file: RemoteFile, *checksums: str) -> list[str]:
    """The keys a file is found by: what it hashes to, and what its URL serves. The first is the one it is brought here under."""
    hashed = [job.shard_key("file", checksum) for checksum in (file.checksum, *checksums) if checksum]
    return list(dict.fromkeys([*hashed, job.shard_key("file", file.url, file.state)]))


def _there(job: Job, file: RemoteFile) -> Path | None:
    """The folder in which an earlier attempt or artifact has this file, whole; None where there is none."""
    for key in _names(job, file) if file.state else _names(job, file)[:-1]:  # a URL that tells no state may serve anything by now
        if job.finished(key) is not None:
            home = job.shard_home(key)
            if sha256_of(_content(home)) == _about(home)["sha256"]:
                return home
            shutil.rmtree(home)
    return None


def _fetch(
    job: Job, remote: Remote, key: str, file: RemoteFile, at: Callable[[int, int | None], None], headers: dict[str, str]
) -> Path:
    """Bring one file to where finished shards are."""
    part = job.scratch / "partial" / key
    part.parent.mkdir(exist_ok=True)
    facts = remote.fetch(file, part, headers, at)
    with fresh(job.shard_home(key)) as draft:
        link_or_copy(part, draft / "content")
        (draft / "stats.json").write_text(json.dumps({**facts, "url": file.url}), "utf-8")
    partial.forget(part)
    return job.shard_home(key)


def _publish(job: Job, file: RemoteFile, home: Path) -> None:
    """Under its own name, and to be found by all that is known of it."""
    about = _about(home)
    target = job.out / file.path
    target.parent.mkdir(parents=True, exist_ok=True)
    link_or_copy(_content(home), target)
    served = replace(file, state=about["state"]) if about["state"] else file
    if file.state and not file.checksum and served.state != file.state:
        job.log(
            f"{file.path}: {file.url} serves another state by now than when it was looked up: {served.state}, not {file.state}"
        )
    for key in {*_names(job, file), *_names(job, served, f"sha256:{about['sha256']}")}:
        job.shards[key] = {"files": [file.path], "stats": about}


def _content(home: Path) -> Path:
    """The one file of a shard, whatever the artifact it came from called it."""
    return next(path for path in home.iterdir() if path.name != "stats.json")


def _about(home: Path) -> dict[str, Any]:
    return json.loads((home / "stats.json").read_text("utf-8"))


def _room(job: Job, missing: Sequence[RemoteFile]) -> None:
    """Refuse at once what cannot end well."""
    have = sum(path.stat().st_size for path in (job.scratch / "partial").glob("*"))
    need = sum(file.size or 0 for file in missing) - have
    free = shutil.disk_usage(job.scratch).free
    if need > free:
        raise Unavailable(
            f"{len(missing)} files need {need / 1e6:,.0f} MB, and {free / 1e6:,.0f} MB are free at {job.scratch}; free space "
            "(`hanlin artifacts gc --dry-run` shows what can go), point HANLIN_STORE elsewhere, or ask for fewer files:"
        )


def _give_up(wrong: list[Exception], count: int) -> None:
    """One error for all files that could not be had; the rest is kept."""
    for error in wrong:
        if not isinstance(error, Unavailable):
            raise error
    if len(wrong) == 1 and count == 1:
        raise wrong[0]
    lines = "\n".join(map(str, wrong))
    raise Unavailable(
        f"{len(wrong)} of {count} files could not be fetched (what arrived is kept, and the next run goes on from there); "
        f"files that you have already can be given as path: instead\n{lines}"
    )


class _Meter:
    """Bytes that are here, bytes in all, and how fast they come. Threads write different entries, and none is added."""

    def __init__(self, missing: dict[str, RemoteFile], files: int):
        self._files, self._there = files, files - len(missing)
        self._total = {key: file.size for key, file in missing.items()}
        self._have = dict.fromkeys(missing, 0)
        self._base: dict[str, int | None] = dict.fromkeys(missing)  # what was there when this attempt began is no speed
        self._recent: deque[tuple[float, int]] = deque([(time.monotonic(), 0)], maxlen=20)

    def at(self, key: str, have: int, total: int | None) -> None:
        self._have[key] = have
        if self._base[key] is None:
            self._base[key] = have
        if total is not None:
            self._total[key] = total

    @property
    def came(self) -> int:
        """Bytes that this attempt brought."""
        return sum(self._have.values()) - sum(base or 0 for base in self._base.values())

    def now(self) -> Progress:
        done, known = sum(self._have.values()), [total for total in self._total.values() if total is not None]
        total = sum(known) if len(known) == len(self._total) else 0
        self._recent.append((time.monotonic(), self.came))
        (since, first), (until, last) = self._recent[0], self._recent[-1]
        rate = max(0.0, (last - first) / (until - since)) if until > since else 0.0
        whole = self._there + sum(self._have[key] == size for key, size in self._total.items())
        figures = {"files": float(whole), "of": float(self._files), "MB/s": rate / 1e6}
        return Progress(done / 1e6, total / 1e6, "MB", figures | ({"eta": (total - done) / rate} if total and rate else {}))
