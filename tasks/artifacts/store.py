"""The artifact store: immutable folders with a record each, addressed by what they were made from.

objects/<key>/       the files, read-only once published
work/<key>/          resumable scratch: finished shards, checkpoints
records/<key>.json   what it is, from what, how, when, by which code; what has no record does not exist
tags/<name>.json     a name for an artifact, and every move it made
leases/<key>         one builder at a time
runs/<id>.json       which artifacts a run used, so that the last runs are not garbage
notes/<digest>.json  facts that the report reads
sources/<key>.json   licence, address and date of an artifact's files, as the last recipe that used it says
said/<what>          warnings that are given once a store
seen/<key>.json      size, times and inode of files whose hash is known: a later look costs a stat
"""

from __future__ import annotations

import contextlib
import getpass
import hashlib
import json
import os
import shutil
import time
import uuid
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict

from tasks.artifacts.lease import Lease, lease
from tasks.artifacts.stage import canonical

SCHEMA = 1  # of keys and records; a new one voids every artifact
Files = list[dict[str, Any]]  # [{path, size, sha256}], sorted by path
Moves = list[dict[str, Any]]  # [{key, digest, stage, at, by, why, …}] of a tag, oldest first


class Moved(RuntimeError):
    """A tag points elsewhere than when it was looked at."""


def store_folder() -> Path:
    """The folder of the store: HANLIN_STORE, else ./store."""
    return Path(os.environ.get("HANLIN_STORE") or "store").absolute()


class ArtifactRef(BaseModel):
    """A reference to an artifact, which tasks pass to one another instead of data."""

    model_config = ConfigDict(frozen=True)

    stage: str
    key: str
    digest: str


class Record(BaseModel):
    """All that is known of an artifact. `identity` made its key; the rest is for people and for upkeep."""

    schema_version: int = SCHEMA
    key: str
    digest: str
    stage: str
    title: str
    identity: dict[str, Any]
    lineage: dict[str, str]  # role → key of the artifact it came from
    files: Files
    stats: dict[str, Any]
    shards: dict[str, dict[str, Any]] = {}
    made: dict[str, Any]  # commit, machine, versions, resources, times: never part of the key
    reproducibility: str
    collected: bool = False  # its files were removed by garbage collection; kept for lineage

    @property
    def ref(self) -> ArtifactRef:
        return ArtifactRef(stage=self.stage, key=self.key, digest=self.digest)

    @property
    def bytes(self) -> int:
        return sum(file["size"] for file in self.files)


def recipe_key(identity: dict[str, Any]) -> str:
    """Known before running: sha256 of the canonical JSON of all that defines the result. 64 hexadecimal digits."""
    return hashlib.sha256(canonical({"schema": SCHEMA, **identity}).encode()).hexdigest()


def content_digest(files: Files) -> str:
    """Known after running: sha256 over the sorted (path, size, sha256) of the files. Equal content, equal digest, whatever made it."""
    return hashlib.sha256(canonical([[f["path"], f["size"], f["sha256"]] for f in files]).encode()).hexdigest()


class Store:
    """A store at a folder, created when something is first written into it."""

    def __init__(self, root: Path):
        self.root = root.absolute()

    def object(self, key: str) -> Path:
        return self.root / "objects" / key

    def work(self, key: str) -> Path:
        return self.root / "work" / key

    def lease(self, key: str, waiting: Callable[[str], None] = lambda who: None) -> contextlib.AbstractContextManager[Lease]:
        return lease(self.root / "leases" / key, waiting=waiting)

    def first(self, what: str) -> bool:
        """True where nobody has asked this store about `what` before; where the store cannot be written, always."""
        path = self.root / "said" / what
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.touch(exist_ok=False)
        except FileExistsError:
            return False
        except OSError:
            return True
        return True

    # -- records ------------------------------------------------------------------------------------------------------

    def record(self, key: str) -> Record | None:
        """The record of a published artifact, or None. An unreadable record counts as none."""
        try:
            return Record.model_validate_json((self.root / "records" / f"{key}.json").read_bytes())
        except (OSError, ValueError):
            return None

    def records(self) -> list[Record]:
        """Every record, oldest first."""
        records = [self.record(path.stem) for path in (self.root / "records").glob("*.json")]
        return sorted((r for r in records if r is not None), key=lambda r: (r.made.get("finished", 0), r.key))

    def find(self, key: str, damaged: Callable[[str], None] = lambda what: None) -> Record | None:
        """A whole artifact's record. A file whose size, times or inode changed since it was hashed is hashed again, so a
        flipped byte is a miss; `damaged` is told what is wrong."""
        record = self.record(key)
        if record is None or record.collected:
            return None
        problem = next(self.problems(record), None)
        if problem:
            damaged(problem)
            return None
        return record

    def problems(self, record: Record, *, deep: bool = False) -> Iterator[str]:
        """The problems of an artifact's files, a line each. `deep` hashes every byte again."""
        home = self.object(record.key)
        digest = self.digests(home, record.key, deep=deep)
        for file in record.files:
            path = home / file["path"]
            name = f"{record.stage} {record.key[:12]}: {file['path']}"
            if not path.exists():
                yield f"{name} is missing"
            elif path.stat().st_size != file["size"]:
                yield f"{name} has {path.stat().st_size} bytes instead of {file['size']}"
            elif digest(path) != file["sha256"]:
                yield f"{name} has other content than was published"

    def digests(self, home: Path, name: str, *, deep: bool = False) -> Callable[[Path], str]:
        """A function from a file below `home` to its sha256, which remembers (in seen/<name>.json) what it hashed before."""
        notes = self.root / "seen" / f"{name}.json"
        known: dict[str, list[Any]] = {}
        with contextlib.suppress(OSError, ValueError):
            known = json.loads(notes.read_text("utf-8"))

        def digest(path: Path) -> str:
            seal, relative = _seal(path), str(path.relative_to(home))
            if deep or known.get(relative, [None])[:-1] != seal:
                known[relative] = [*seal, sha256_of(path)]
                with contextlib.suppress(OSError):  # a store that cannot be written is still read
                    _write_whole(notes, json.dumps(known))
            return known[relative][-1]

        return digest

    # -- publishing ---------------------------------------------------------------------------------------------------

    def publish(self, out: Path, lease: Lease, **fields: Any) -> Record:
        """Make `out` the artifact: hash and fsync its files, rename it into place, write the record last.

        Raises `LeaseLost` where another builder took over. Whatever stops this half-way leaves no artifact: without a record
        there is none.
        """
        files = list(_listing(out))
        if not files:
            raise AssertionError(f"the stage {fields['stage']} finished without writing a file")
        record = Record(digest=content_digest(files), files=files, **fields)
        lease.check()
        home, notes = self.object(record.key), self.root / "seen" / f"{record.key}.json"
        (self.root / "records" / f"{record.key}.json").unlink(missing_ok=True)
        notes.unlink(missing_ok=True)
        discard(home)
        home.parent.mkdir(parents=True, exist_ok=True)
        os.replace(out, home)
        _fsync(home.parent)
        _write_whole(notes, json.dumps({f["path"]: [*_seal(home / f["path"]), f["sha256"]] for f in files}))
        self.put(record)
        discard(self.work(record.key))
        return record

    def put(self, record: Record) -> None:
        """Write a record; from here on its artifact exists."""
        _write_whole(self.root / "records" / f"{record.key}.json", record.model_dump_json(indent=1))

    # -- names and runs -----------------------------------------------------------------------------------------------

    def tag(self, name: str, record: Record, why: str, *, seen: Moves | None = None, **facts: Any) -> None:
        """Point a name at an artifact; the history of its moves is kept with who, why, and further `facts`.

        `seen` are the moves that the caller decided on: raises `Moved` where somebody has moved the tag since.
        """
        path = self.root / "tags" / f"{name}.json"
        with self.lease(f"tag-{name.replace('/', '-')}"):
            moves = self.tags().get(name, [])
            if moves and moves[-1]["key"] == record.key:
                return
            if seen is not None and moves != seen:
                raise Moved(
                    f"{name} was moved to {moves[-1]['key'][:12] if moves else 'nothing'} by somebody else in the meantime"
                )
            move = {"key": record.key, "digest": record.digest, "stage": record.stage, "at": time.time(), "by": getpass.getuser()}
            _write_whole(path, json.dumps([*moves, move | {"why": why} | facts], indent=1, ensure_ascii=False))

    def untag(self, name: str) -> None:
        (self.root / "tags" / f"{name}.json").unlink()

    def tags(self) -> dict[str, Moves]:
        """Every tag's moves, oldest first; the last one is where it points."""
        home = self.root / "tags"
        moves: dict[str, Moves] = {}
        for path in sorted(home.rglob("*.json")):
            with contextlib.suppress(FileNotFoundError):  # somebody has just removed it
                moves[str(path.relative_to(home))[: -len(".json")]] = json.loads(path.read_text("utf-8"))
        return moves

    def note_run(self, run_id: str, recipe: str, artifacts: dict[str, str], **facts: Any) -> None:
        """Remember which artifacts (node name → key) a run used, and further `facts` of it."""
        note = {"run": run_id, "recipe": recipe, "at": time.time(), "artifacts": artifacts, **facts}
        _write_whole(self.root / "runs" / f"{run_id}.json", json.dumps(note, indent=1, ensure_ascii=False))

    def note_more(self, run_id: str, **facts: Any) -> None:
        """Add facts to what is noted of a run."""
        _write_whole(self.root / "runs" / f"{run_id}.json", json.dumps(self.run(run_id) | facts, indent=1, ensure_ascii=False))

    def run(self, run_id: str) -> dict[str, Any]:
        """The note of a run; empty where there is none."""
        try:
            return json.loads((self.root / "runs" / f"{run_id}.json").read_text("utf-8"))
        except (OSError, ValueError):
            return {}

    def runs(self) -> list[dict[str, Any]]:
        """Every run that was noted, newest first."""
        notes = []
        for path in (self.root / "runs").glob("*.json"):
            with contextlib.suppress(FileNotFoundError):  # garbage collection has just removed it
                notes.append(json.loads(path.read_text("utf-8")))
        return sorted(notes, key=lambda note: -note["at"])

    def note(self, facts: dict[str, Any]) -> Path:
        """A small JSON file for a stage to read, named by its content. A store that cannot be written keeps what it has."""
        text = json.dumps(facts, indent=1, ensure_ascii=False)
        path = self.root / "notes" / f"{hashlib.sha256(text.encode()).hexdigest()[:32]}.json"
        if not path.exists():
            with contextlib.suppress(OSError):
                _write_whole(path, text)
        return path

    def note_source(self, key: str, facts: dict[str, Any]) -> None:
        """Remember what a recipe says of the files that an artifact was read from; what was said before is replaced."""
        if self.source_note(key) != facts:
            _write_whole(self.root / "sources" / f"{key}.json", json.dumps(facts, indent=1, ensure_ascii=False))

    def source_note(self, key: str) -> dict[str, Any]:
        """The facts remembered of an artifact's files; empty where no recipe has said anything."""
        try:
            return json.loads((self.root / "sources" / f"{key}.json").read_text("utf-8"))
        except (OSError, ValueError):
            return {}

    def resolve(self, name: str) -> Record:
        """An artifact by tag, key, digest, or an unambiguous beginning of the latter two. `ValueError` says what there is."""
        moves = self.tags().get(name)
        if moves and (record := self.record(moves[-1]["key"])):
            return record
        matches = [r for r in self.records() if r.key.startswith(name) or r.digest.startswith(name)]
        if len({r.key for r in matches}) == 1 or (matches and len({r.digest for r in matches}) == 1):
            return matches[-1]
        stages = [r for r in self.records() if r.stage == name and not r.collected]
        if stages and not matches:
            return stages[-1]
        what = f"{len(matches)} artifacts begin with {name!r}" if matches else f"no artifact, tag or stage is called {name!r}"
        way = "`hanlin artifacts list` shows what there is"
        if name == "prod":
            way = "`hanlin retrain` puts a model into production, and `hanlin artifacts tag dpo prod` one that is there"
        raise ValueError(f"{what} in {self.root}; {way}")

    def find_shard(self, identity: dict[str, Any]) -> Callable[[str], Callable[[Path], None] | None]:
        """A function from a shard's key to one that copies that shard into a folder, from any artifact of the same stage, version
        and tools that has it."""
        same = ("stage", "version", "tools")
        owners: dict[str, Record] | None = None

        def find(shard: str) -> Callable[[Path], None] | None:
            nonlocal owners
            if owners is None:
                alike = [
                    r for r in self.records() if all(r.identity[field] == identity[field] for field in same) and not r.collected
                ]
                owners = {key: record for record in alike for key in record.shards}
            record = owners.get(shard)
            if record is None or self.find(record.key) is None:
                return None

            def lend(folder: Path) -> None:  # a copy, not a link: damage to one artifact must not be damage to two
                for name in record.shards[shard]["files"]:
                    shutil.copyfile(self.object(record.key) / name, folder / f"{Path(name).parent.name}.parquet")
                (folder / "stats.json").write_text(json.dumps(record.shards[shard]["stats"]), "utf-8")

            return lend

        return find


def _seal(path: Path) -> list[int]:
    """Facts of a file that change when it does: size, times, inode."""
    stat = path.stat()
    return [stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns, stat.st_ino]


def sha256_of(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def discard(path: Path) -> None:
    """Remove a folder tree by first renaming it, so that no reader finds half of it."""
    doomed = path.with_name(
        f".{path.name}.{uuid.uuid4().hex}.gone"
    )  # new each time: what a kill left half removed is in nobody's way
    try:
        os.replace(path, doomed)
    except FileNotFoundError:
        return
    shutil.rmtree(doomed, ignore_errors=True)


def _listing(out: Path) -> Iterable[dict[str, Any]]:
    for path in sorted(p for p in out.rglob("*") if p.is_file()):
        _fsync(path)
        path.chmod(0o444)
        yield {"path": str(path.relative_to(out)), "size": path.stat().st_size, "sha256": sha256_of(path)}


def _write_whole(path: Path, text: str) -> None:
    """A small file that is there whole or not at all, and on the disk when this returns."""
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(f".{path.name}.{os.getpid()}.{time.monotonic_ns()}")
    try:
        with draft.open("w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        os.replace(draft, path)
    finally:
        draft.unlink(missing_ok=True)
    _fsync(path.parent)


def _fsync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
