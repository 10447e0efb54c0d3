"""Downloads as a stage: pins, listings, artifacts, reuse and kills, against local servers that play dumps.wikimedia.org and the hub."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import random
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tasks import download
from tasks.artifacts.build import BuildOptions, BuildRequest, Built, Input, StageFailed, build
from tasks.artifacts.stage import Progress, Resources
from tasks.artifacts.store import Store
from tasks.remote.request import Dump, Hub, Pin, Request, Urls
from tasks.remote.transfer import Remote, RetryPolicy, Unavailable
from tasks.remote.upstream import current_pin, list_files
from tests.faulty import Fault, Server, serving
from tests.waiting import PATIENCE, until

QUICK = Resources(download_retries=3, download_backoff=0.01, download_silence=PATIENCE)
ONE, TWO, THREE = (random.Random(n).randbytes(300_000) for n in (1, 2, 3))
PARTS = {"pages-articles-multistream1.xml-p1p100.bz2": ONE, "pages-articles-multistream2.xml-p101p200.bz2": TWO}
INDEX = {"pages-articles-multistream-index1.txt-p1p100.bz2": b"index"}
COMMIT, LATER = "a" * 40, "b" * 40


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    with serving() as server:
        monkeypatch.setenv("HANLIN_DUMPS_URL", server.url)
        monkeypatch.setenv("HF_ENDPOINT", server.url)
        monkeypatch.delenv("HF_TOKEN", raising=False)
        yield server


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "store")


def look_up(asked: Request) -> Pin:
    with Remote(RetryPolicy(retries=1, backoff=0.01, silence=PATIENCE)) as remote:
        return current_pin(remote, asked)


def names(asked: Request, at: Pin | None = None) -> list[str]:
    with Remote(RetryPolicy(retries=1, backoff=0.01, silence=PATIENCE)) as remote:
        return [file.path for file in list_files(remote, asked, at or current_pin(remote, asked))]


def fetch(
    store: Store, asked: Request, at: Pin | None = None, resources: Resources = QUICK, told: list[Progress] | None = None
) -> Built:
    at = at or look_up(asked)
    inputs = {"upstream": Input(store.note(at), [[what, at[what]] for what in sorted(at)])}
    heard = told if told is not None else []
    params = download.Params(asked=asked.moving())
    return build(store, BuildRequest("download-x", download.run, params, inputs), BuildOptions(resources, progress=heard.append))


def contents(store: Store, built: Built) -> dict[str, bytes]:
    home = store.object(built.record.key)
    return {file["path"]: (home / file["path"]).read_bytes() for file in built.record.files}


def named(date: str, files: dict[str, bytes]) -> dict[str, bytes]:
    return {f"zhwiki-{date}-{ending}": body for ending, body in files.items()}


# -- Wikimedia dumps --------------------------------------------------------------------------------------------------


def test_latest_is_the_newest_date_whose_job_is_done(server):
    server.dump("zhwiki", "20261001", PARTS)
    server.dump("zhwiki", "20261101", PARTS)
    server.dump("zhwiki", "20261120", PARTS, status="in-progress")
    assert look_up(Dump(dump="zhwiki")) == {"date": "20261101"}
    assert look_up(Dump(dump="zhwiki", date="20261001")) == {"date": "20261001"}


def test_a_mirror_without_a_listing_of_dates_still_tells_what_is_latest(server):
    server.dump("zhwiki", "20261101", PARTS)
    server.put("/zhwiki/", b"<html>a page without links</html>", type="text/html")
    assert look_up(Dump(dump="zhwiki")) == {"date": "20261101"}
    del server.files["/zhwiki/"]
    assert look_up(Dump(dump="zhwiki")) == {"date": "20261101"}


def test_a_date_without_a_status_has_what_its_checksums_list(server, store):
    server.dump("zhwiki", "20261101", PARTS | INDEX)
    del server.files["/zhwiki/20261101/dumpstatus.json"]
    assert contents(store, fetch(store, Dump(dump="zhwiki"))) == named("20261101", PARTS)
    server.files["/zhwiki/20261101/zhwiki-20261101-pages-articles-multistream1.xml-p1p100.bz2"].body = THREE
    with pytest.raises(StageFailed, match="hashes to sha1:"):
        fetch(Store(store.root.with_name("other")), Dump(dump="zhwiki"))


def test_many_files_or_one(server):
    whole = {"pages-articles-multistream.xml.bz2": ONE + TWO}
    server.dump("zhwiki", "20261101", PARTS | INDEX | whole)
    assert names(Dump(dump="zhwiki")) == sorted(named("20261101", PARTS))
    server.dump("wuuwiki", "20261101", whole | {"pages-articles-multistream-index.txt.bz2": b"index"})
    assert names(Dump(dump="wuuwiki")) == ["wuuwiki-20261101-pages-articles-multistream.xml.bz2"]
    server.dump("zhwiki", "20261101", whole, job="articlesmultistreamdumprecombine")
    assert names(Dump(dump="zhwiki", job="articlesmultistreamdumprecombine")) == sorted(named("20261101", whole))


def test_only_some_parts(server):
    server.dump("zhwiki", "20261101", PARTS)
    assert names(Dump(dump="zhwiki", files=["*stream2.xml*"])) == sorted(named("20261101", PARTS))[1:]
    with pytest.raises(Unavailable, match=r"no file named \*stream3\*; it has zhwiki-20261101"):
        names(Dump(dump="zhwiki", files=["*stream3*"]))


@pytest.mark.parametrize(
    ("asked", "says"),
    [
        (Dump(dump="zhwki"), "there is no wiki zhwki, or no dump of it; did you mean zhwiki?"),
        (
            Dump(dump="zhwiki", job="articledump"),
            "articledump done (20261120: not among its jobs, which are articlesmultistreamdump",
        ),
        (Dump(dump="zhwiki", date="20200101"), "dates there: 20261120, 20261101"),
        (Dump(dump="zhwiki", date="20261120"), "the job articlesmultistreamdump is in-progress"),
    ],
)
def test_what_upstream_does_not_have_is_said_with_what_it_has(server, asked, says):
    server.dump("zhwiki", "20261101", PARTS)
    server.dump("zhwiki", "20261120", PARTS, status="in-progress")
    with pytest.raises(Unavailable) as told:
        names(asked)
    assert says in str(told.value) and server.url in str(told.value)


def test_a_wiki_whose_dumps_are_all_under_way(server):
    server.dump("zhwiki", "20261120", PARTS, status="waiting")
    with pytest.raises(Unavailable, match=r"none of its dates has the job articlesmultistreamdump done \(20261120: waiting"):
        look_up(Dump(dump="zhwiki"))


def test_a_newer_date_that_does_not_know_the_job_yet_is_passed_over(server):
    server.dump("zhwiki", "20261101", PARTS)
    server.dump("zhwiki", "20261120", PARTS, job="metacurrentdump")
    assert look_up(Dump(dump="zhwiki")) == {"date": "20261101"}
    with pytest.raises(Unavailable, match="articlesmultistreamdump is not among its jobs, which are metacurrentdump"):
        names(Dump(dump="zhwiki", date="20261120"))


@pytest.mark.parametrize("told", [b"<html>", b"[]", b'{"jobs": []}', b'{"jobs": {"articlesmultistreamdump": 1}}'])
def test_an_upstream_that_is_none_is_said(server, told):
    server.dump("zhwiki", "20261101", PARTS)
    server.files["/zhwiki/20261101/dumpstatus.json"].body = told
    with pytest.raises(Unavailable, match="HANLIN_DUMPS_URL"):
        look_up(Dump(dump="zhwiki"))
    server.put("/api/datasets/a/b/revision/main", told)
    with pytest.raises(Unavailable, match="HF_ENDPOINT"):
        look_up(Hub(hub="a/b"))


def test_names_that_lead_out_of_the_folder_are_refused(server):
    server.dump("zhwiki", "20261101", PARTS)
    told = json.loads(server.files["/zhwiki/20261101/dumpstatus.json"].body)
    told["jobs"]["articlesmultistreamdump"]["files"] = {"../../evil.xml.bz2": {"size": 1, "sha1": "0" * 40}}
    server.files["/zhwiki/20261101/dumpstatus.json"].body = json.dumps(told).encode()
    with pytest.raises(Unavailable, match="outside its folder"):
        names(Dump(dump="zhwiki"))


def test_a_dump_is_fetched_politely_with_progress(server, store):
    server.dump("zhwiki", "20261101", {f"pages-articles-multistream{n}.xml-p{n}p{n}.bz2": ONE[n:] for n in range(1, 9)})
    for path in server.files:
        if path.endswith(".bz2"):
            server.files[path].faults = [Fault(stall=0.2)]
    told: list[Progress] = []
    built = fetch(store, Dump(dump="zhwiki"), resources=QUICK.model_copy(update={"download_connections": 8}), told=told)
    assert len(contents(store, built)) == 8 and server.most == 2
    assert told[-1].done == told[-1].total == pytest.approx(sum(300_000 - n for n in range(1, 9)) / 1e6)
    assert told[-1].unit == "MB" and told[-1].figures["files"] == 8 and "MB/s" in told[-1].figures
    assert built.record.reproducibility == "external"


# -- the hub ----------------------------------------------------------------------------------------------------------

DATASET = {"README.md": b"# card", ".gitattributes": b"*", "load.py": b"pass", "data/a.json": ONE, "data/b 中.json": TWO}


def test_a_dataset_at_a_revision(server, store):
    server.dataset("org/set", COMMIT, DATASET, lfs=("data/a.json",))
    asked = Hub(hub="org/set")
    assert look_up(asked) == {"commit": COMMIT}
    assert contents(store, fetch(store, asked)) == {"data/a.json": ONE, "data/b 中.json": TWO}
    assert names(Hub(hub="org/set", files=["*.md", "data/b*"])) == ["README.md", "data/b 中.json"]


def test_every_file_of_a_dataset_is_verified_by_its_hash_in_git(server, store):
    server.dataset("org/set", COMMIT, DATASET, lfs=("data/a.json",))
    for path in (f"/cdn/{hashlib.sha256(ONE).hexdigest()}", f"/datasets/org/set/resolve/{COMMIT}/data/b 中.json"):
        whole, server.files[path].body = server.files[path].body, THREE
        with pytest.raises(StageFailed, match=r"hashes to (sha256|git):"):
            fetch(Store(store.root / path.rpartition("/")[2]), Hub(hub="org/set"))
        server.files[path].body = whole


def test_the_token_goes_to_the_hub_and_not_where_it_redirects_to(server, store, monkeypatch):
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    server.dataset("org/set", COMMIT, DATASET, lfs=("data/a.json",))
    with serving() as cdn:
        oid = hashlib.sha256(ONE).hexdigest()
        moved = cdn.put(f"/cdn/{oid}", ONE)
        server.put(f"/datasets/org/set/resolve/{COMMIT}/data/a.json", b"", Fault(redirect=moved))
        fetch(store, Hub(hub="org/set"))
        assert all(seen.headers["authorization"] == "Bearer hf_secret" for seen in server.seen)
        assert [seen for seen in cdn.seen if "authorization" in seen.headers] == [] and len(cdn.seen) == 1
    for path in store.root.rglob("*"):
        assert not path.is_file() or b"hf_secret" not in path.read_bytes()


def test_a_dataset_that_is_not_there_or_not_public(server):
    with pytest.raises(Unavailable, match=r"no dataset org/sett at revision main \(404\).*HF_TOKEN"):
        look_up(Hub(hub="org/sett"))
    server.dataset("org/set", COMMIT, DATASET)
    with pytest.raises(Unavailable, match=r"no file named data/a\.jsn; it has data/a\.json"):
        names(Hub(hub="org/set", files=["data/a.jsn"]))


def test_a_commit_is_not_looked_up(server):
    assert look_up(Hub(hub="org/set", revision=COMMIT)) == {"commit": COMMIT}
    assert look_up(Dump(dump="zhwiki", date="20261101")) == {"date": "20261101"}
    assert look_up(Urls(urls=[{"url": "http://h/a.csv", "sha256": "A" * 64}])) == {"a.csv": f"sha256:{'a' * 64}"}
    assert not server.seen


# -- plain URLs -------------------------------------------------------------------------------------------------------


def test_urls_are_pinned_to_what_they_serve(server, store):
    first, second = (
        server.put("/a.csv", ONE),
        server.put("/x/b.csv?download=1", TWO, etag=None, modified="Sun, 01 Nov 2026 08:00:00 GMT"),
    )
    sure = server.put("/c", THREE)
    asked = Urls(urls=[first, second, {"url": sure, "sha256": hashlib.sha256(THREE).hexdigest(), "name": "c.csv"}])
    assert look_up(asked) == {
        "a.csv": f"etag {server.files['/a.csv'].tag}",
        "b.csv": "modified Sun, 01 Nov 2026 08:00:00 GMT size 300000",
        "c.csv": f"sha256:{hashlib.sha256(THREE).hexdigest()}",
    }
    assert contents(store, fetch(store, asked)) == {"a.csv": ONE, "b.csv": TWO, "c.csv": THREE}


def test_a_url_that_changes_between_look_and_fetch_is_fetched_as_it_is_and_found_again(server, store):
    asked = Urls(urls=[server.put("/a.csv", ONE)])
    at = look_up(asked)
    server.files["/a.csv"].body = TWO
    built = fetch(store, asked, at)
    assert contents(store, built) == {"a.csv": TWO}
    server.seen.clear()
    again = fetch(store, asked)
    assert not again.reused and again.record.digest == built.record.digest and not server.gets()


def test_one_bad_file_does_not_take_the_others_along(server, store):
    good, bad = server.put("/good.csv", ONE), server.put("/bad.csv", TWO, *[Fault(status=404)] * 2)
    with pytest.raises(StageFailed, match=r"1 of 2 files could not be fetched(.|\n)*bad\.csv(.|\n)*404") as told:
        fetch(store, Urls(urls=[bad, good]))
    assert "path:" in str(told.value)
    server.seen.clear()
    server.files["/bad.csv"].faults.clear()
    assert contents(store, fetch(store, Urls(urls=[bad, good]))) == {"bad.csv": TWO, "good.csv": ONE}
    assert not server.gets("/good.csv")


def test_a_server_that_disappears_ends_all_files_at_once(server, store):
    urls = [server.put(f"/{n}.csv", ONE, Fault(after=1000, stall=0.3)) for n in range(6)]
    asked = Urls(urls=urls)
    at = look_up(asked)
    server.close()
    with pytest.raises(StageFailed, match=r"1 of 6 files could not be fetched(.|\n)*no connection"):
        fetch(store, asked, at, resources=QUICK.model_copy(update={"download_connections": 1}))
    assert not store.records()


def test_no_room_is_said_before_anything_is_fetched(server, store):
    server.dump("zhwiki", "20261101", PARTS)
    told = json.loads(server.files["/zhwiki/20261101/dumpstatus.json"].body)
    for about in told["jobs"]["articlesmultistreamdump"]["files"].values():
        about["size"] = 10**18
    server.files["/zhwiki/20261101/dumpstatus.json"].body = json.dumps(told).encode()
    with pytest.raises(StageFailed, match=r"2 files need .* MB are free at .* free space"):
        fetch(store, Dump(dump="zhwiki"))
    assert not server.gets(".bz2")


# -- artifacts --------------------------------------------------------------------------------------------------------


def test_the_same_pin_is_a_hit_however_it_was_asked_for(server, store):
    server.dump("zhwiki", "20261101", PARTS)
    built = fetch(store, Dump(dump="zhwiki"))
    server.seen.clear()
    again = fetch(store, Dump(dump="zhwiki", date="20261101"))
    assert again.reused and again.record.key == built.record.key and not server.seen


def test_a_new_date_fetches_only_what_changed(server, store):
    server.dump("zhwiki", "20261001", PARTS)
    fetch(store, Dump(dump="zhwiki"))
    server.seen.clear()
    server.dump("zhwiki", "20261101", PARTS | {"pages-articles-multistream2.xml-p101p200.bz2": THREE})
    built = fetch(store, Dump(dump="zhwiki"))
    assert not built.reused and len(contents(store, built)) == 2
    assert [seen.path.rpartition("-")[2] for seen in server.gets(".bz2")] == ["p101p200.bz2"]
    assert built.record.stats["timing"]["fetched_bytes"] == len(THREE)


def test_a_new_commit_fetches_only_what_changed(server, store):
    server.dataset("org/set", COMMIT, DATASET, lfs=("data/a.json",))
    first = fetch(store, Hub(hub="org/set"))
    server.dataset("org/set", LATER, DATASET | {"README.md": b"# a better card"}, lfs=("data/a.json",))
    server.seen.clear()
    second = fetch(store, Hub(hub="org/set"))
    assert not second.reused and second.record.digest == first.record.digest
    assert not [seen for seen in server.gets() if "/resolve/" in seen.path or "/cdn/" in seen.path]


def test_equal_files_are_fetched_once(server, store):
    server.dataset("org/set", COMMIT, {"a.json": ONE, "b.json": ONE})
    assert contents(store, fetch(store, Hub(hub="org/set"))) == {"a.json": ONE, "b.json": ONE}
    assert len([seen for seen in server.gets() if "/resolve/" in seen.path]) == 1


def test_a_copy_that_was_damaged_is_fetched_again(server, store):
    server.dump("zhwiki", "20261001", PARTS)
    home = store.object(fetch(store, Dump(dump="zhwiki")).record.key)
    path = next(home.iterdir())
    path.chmod(0o644)
    path.write_bytes(path.read_bytes()[:-1] + b"?")
    server.dump("zhwiki", "20261101", PARTS)
    assert contents(store, fetch(store, Dump(dump="zhwiki"))) == named("20261101", PARTS)


KILLED = """
import sys
from pathlib import Path
from tasks.remote.request import Dump
from tasks.artifacts.stage import Resources
from tasks.artifacts.store import Store
from tests.test_download import QUICK, fetch
fetch(Store(Path(sys.argv[1])), Dump(dump="zhwiki"))
"""


def test_kill_9_in_the_middle_costs_only_the_rest(server, store):
    server.dump("zhwiki", "20261101", PARTS)
    first, second = (f"/zhwiki/20261101/{name}" for name in named("20261101", PARTS))
    server.files[second].faults = [Fault(after=100_000, stall=PATIENCE)]
    process = subprocess.Popen([sys.executable, "-c", KILLED, str(store.root)], cwd=Path(__file__).parent.parent, env=os.environ)
    partial, finished = f"work/*/scratch/partial/{'?' * 32}", "work/*/scratch/shards/*/stats.json"

    def half_way() -> bool:
        """One file is finished, the other has come as far as it will: its bytes lie where those of the first one did before it was whole."""
        sizes = []
        for path in store.root.glob(partial):
            with contextlib.suppress(FileNotFoundError):
                sizes.append(path.stat().st_size)
        return sizes == [100_000] and len(list(store.root.glob(finished))) == 1

    until(half_way, during=process)
    process.send_signal(signal.SIGKILL)
    process.wait()
    sent = server.sent(".bz2")
    assert not store.records() and sent == len(ONE) + 100_000
    built = fetch(store, Dump(dump="zhwiki"))
    assert contents(store, built) == named("20261101", PARTS)
    assert server.sent(".bz2") - sent == len(TWO) - 100_000 == built.record.stats["timing"]["fetched_bytes"]
    assert server.gets(second)[-1].headers["range"] == "bytes=100000-" and len(server.gets(first)) == 1


def test_nothing_but_the_files_is_published(server, store):
    server.dump("zhwiki", "20261101", PARTS)
    built = fetch(store, Dump(dump="zhwiki"))
    home = store.object(built.record.key)
    assert sorted(path.name for path in home.rglob("*")) == sorted(named("20261101", PARTS))
    assert not store.work(built.record.key).exists()
