"""Mutated inputs over all readers and the cleaning of their rows: no crash, no hang, every row kept or counted as dropped.

    python -m benchmarks.fuzz [--count 10000] [--seed 0] [--processes 2]
    python -m benchmarks.fuzz --only 4711        one case again, with its traceback; its file stays in the folder that is named

A case is made of the seed and its number alone: a small true file of one format, spoilt in one to four ways, now and then given to another
reader. It is read, its rows are cleaned and written as the stages `ingest` and `extract` do it, and then counted in as many independent
ways as there are. Only `BrokenFile` may be raised. Cases run in child processes with an alarm and a limit on memory; the parent tells a crash
of native code and a hang that no alarm ends.
"""

from __future__ import annotations

import argparse
import contextlib
import functools
import json
import os
import resource
import signal
import subprocess
import sys
import tempfile
import threading
import time
import traceback
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from benchmarks.bench import close
from benchmarks.inputs import BESIDE, Case, case
from tasks import extract, ingest
from tasks.data import writing
from tasks.data.rows import BrokenFile
from tasks.files.opening import LONGEST, decompressed
from tasks.formats.registry import reader
from tasks.formats.sniff import sniff
from tasks.sources import wiki

ALARM = 20  # seconds of processor time that a case may take, a bomb's 25 MB included
MEMORY = 6 << 30  # bytes of address space of a child
STALL = 120  # seconds without a sign of life after which a child is taken for hung

# checking


def check(one: Case, folder: Path) -> Counter[str]:
    """Read, clean, write and count. AssertionError, or whatever was raised, where something is wrong."""
    path = folder / one.name
    path.write_bytes(one.data)
    if one.format in BESIDE:
        name, text = BESIDE[one.format]
        (folder / name).write_text(text, "utf-8")
    kind = reader(one.format).kind
    assert str(sniff(path))
    rows, broken = _read(one.format, path)
    if one.format == "wiki":
        convert = functools.partial(extract._article, extract.Params(source="s", min_characters=1))
    else:
        convert = ingest.conversion(ingest.Params(source="s", format=one.format))
    stats = writing.write_shard("s", kind, convert, rows, folder / "out")
    lost = stats["in"] - stats["kept"] - sum(stats["dropped"].values())
    written = [pq.read_metadata(folder / "out" / f"{name}.parquet").num_rows for name in (kind, "dropped")]
    assert stats["in"] == len(rows) and not lost, f"{len(rows)} rows were read, {stats} counted"
    assert written == [stats["kept"], stats["in"] - stats["kept"]], f"{written} rows were written, {stats} counted"
    counted = None if broken else independent(one.format, path)
    assert counted is None or counted == len(rows), f"{counted} rows are in the file, {len(rows)} were read"
    return Counter(cases=1, broken=bool(broken), rows=len(rows), kept=stats["kept"], counted=counted is not None)


def _read(name: str, path: Path) -> tuple[list[Any], BrokenFile | None]:
    rows: list[Any] = []
    try:
        for row in reader(name).read(path):
            rows.append(row)
    except BrokenFile as error:
        assert str(error).startswith(str(path)) and "; " in str(error), f"not a message for a person: {error}"
        return rows, error
    if name == "wiki":
        again = [row for batch, _ in wiki.article_batches(path) for row in batch]
        assert again == rows, f"{len(rows)} rows in one go, {len(again)} in stretches"
    return rows, None


def independent(name: str, path: Path) -> int | None:
    """The number of rows of a file, where it can be counted without the reader."""
    if name in BESIDE:
        return None  # several of its rows become one
    head = path.read_bytes()[:4]
    if head == b"PAR1":
        return int(pq.read_metadata(path).num_rows)
    with decompressed(path) as file:
        data = file.read(LONGEST)
    if name == "wiki" or b"\0" in data or len(data) == LONGEST:
        return None
    text = data.removeprefix(b"\xef\xbb\xbf")
    lines = [line for line in text.split(b"\n") if line.replace(b"\xef\xbb\xbf", b"").decode("utf-8", "replace").strip()]
    if text.lstrip()[:1] == b"{" and len(lines) > 1 and lines[1].lstrip()[:1] not in (b'"', b"}"):
        return len(lines)
    if text.lstrip()[:1] in (b"{", b"["):
        try:
            value = json.loads(text.decode("utf-8"), strict=False)
        except (ValueError, RecursionError):
            return None
        return len(value) if isinstance(value, list) else 1
    if name in ("medical", "exam") and b'"' not in data and b"\r" not in data:
        return len([line for line in text.split(b"\n") if line]) - 1
    return None


class Hang(BaseException):
    """A case took longer than `ALARM`."""


@contextlib.contextmanager
def alarm(seconds: float) -> Iterator[None]:
    def ring(*_: Any) -> None:
        raise Hang(f"more than {seconds:.0f} s of processor time")

    before = signal.signal(signal.SIGPROF, ring)
    signal.setitimer(signal.ITIMER_PROF, seconds)  # time on the processor: another program's load is no hang
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.signal(signal.SIGPROF, before)


def attempt(one: Case) -> tuple[Counter[str], str]:
    """(counts, "" or what went wrong) of a case."""
    with tempfile.TemporaryDirectory(prefix="fuzz-") as folder:
        try:
            with alarm(ALARM):
                return check(one, Path(folder)), ""
        except (Exception, Hang) as error:
            where = traceback.extract_tb(error.__traceback__)[-1]
            what = f"{type(error).__name__} at {Path(where.filename).name}:{where.lineno}: {' '.join(str(error).split())[:300]}"
            return Counter(cases=1), f"{one.format}, {one.name}: {what}"


def child(seed: int, first: int, step: int, count: int) -> None:
    """Every `step`-th case from `first` on; a line of JSON before and after each."""
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    for number in range(first, count, step):
        print(json.dumps({"at": number}), flush=True)
        one = case(seed, number)
        started = time.monotonic()
        counts, wrong = attempt(one)
        said = {"counts": counts, "wrong": wrong and f"{number}: {wrong}", "seconds": time.monotonic() - started}
        print(json.dumps(said), flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--only", type=int)
    parser.add_argument("--child", type=int, nargs=2, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.child:
        child(args.seed, *args.child, args.count)
        return
    if args.only is not None:
        one = case(args.seed, args.only)
        folder = Path(tempfile.mkdtemp(prefix="fuzz-"))
        print(one.format, folder / one.name, f"{len(one.data):,} bytes", flush=True)
        with alarm(10 * ALARM):
            print(dict(check(one, folder)))
        return
    with ThreadPoolExecutor(args.processes) as pool:
        lanes = list(pool.map(Lane.run, [Lane(args, first) for first in range(args.processes)]))
    counts = sum((lane.counts for lane in lanes), Counter[str]())
    wrong = [what for lane in lanes for what in lane.wrong]
    seconds, number = max(lane.slowest for lane in lanes)
    dropped = counts["rows"] - counts["kept"]
    print(f"{counts['cases']:,} inputs, of which {counts['broken']:,} were broken files")
    print(f"{counts['rows']:,} rows: {counts['kept']:,} kept, {dropped:,} dropped")
    print(f"the rows of {counts['counted']:,} were counted a second way; the slowest, number {number}, took {seconds:.1f} s")
    close(
        "fuzz",
        len(wrong),
        "failures",
        "no crash, no hang, every row counted",
        not wrong,
        inputs=counts["cases"],
        slowest_s=round(seconds, 1),
    )


class Lane:
    """Every `processes`-th case, in a child; one that dies or hangs is followed by one that goes on after the case it was at."""

    def __init__(self, args: argparse.Namespace, first: int):
        self.args, self.at = args, first
        self.counts: Counter[str] = Counter()
        self.wrong: list[str] = []
        self.slowest = (0.0, 0)

    def run(self) -> Lane:
        while self.at < self.args.count:
            code = self.follow()
            if code == 0:
                return self
            self.bad(f"{self.at}: the process died ({code}), or gave no sign of life for {STALL} s")
            self.at += self.args.processes
        return self

    def follow(self) -> int:
        """The exit code of a child that starts at `at`, which moves with it."""
        shared = [f"--count={self.args.count}", f"--seed={self.args.seed}"]
        command = [sys.executable, "-m", "benchmarks.fuzz", *shared, "--child", str(self.at), str(self.args.processes)]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=os.environ | {"OMP_NUM_THREADS": "1"})
        assert process.stdout
        watchdog = threading.Timer(STALL, process.kill)
        watchdog.start()
        for line in process.stdout:
            watchdog.cancel()
            watchdog = threading.Timer(STALL, process.kill)
            watchdog.start()
            said = json.loads(line)
            if "at" in said:
                self.at = said["at"]
                continue
            self.counts.update(said["counts"])
            self.slowest = max(self.slowest, (said["seconds"], self.at))
            if said["wrong"]:
                self.bad(said["wrong"])
        watchdog.cancel()
        return process.wait()

    def bad(self, what: str) -> None:
        print(f"BAD {what}", flush=True)
        self.wrong.append(what)


if __name__ == "__main__":
    main()
