"""Recipes with `download:` sources, planned and run against local servers: what is a hit, what is fetched, what is extracted again."""

from __future__ import annotations

import bz2
import json
import logging
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from flows import recipe as recipes
from flows.graph import graph
from flows.inputs import Records
from flows.origins import fingerprint, source_states
from flows.pins import Pins
from flows.recipe import BadRecipe, Recipe
from flows.run_plan import plan
from flows.traversal import resolved_nodes
from tasks import extract
from tasks.artifacts.build import BuildOptions, Built, build
from tasks.artifacts.store import Store
from tasks.remote.request import REQUESTS, Dump
from tasks.remote.transfer import RetryPolicy
from tests import forks
from tests.faulty import Fault, Server, serving

PAGE = "<page><title>{title}</title><ns>0</ns><id>{id}</id><revision><id>1</id><text>{text}</text></revision></page>"
ROWS = [{"instruction": f"第{n}个问题是什么?", "input": "", "output": f"这是第{n}个问题的回答,它有一点内容。"} for n in range(40)]


def pages(first: int) -> bytes:
    """A part of a dump: five articles from this id on, and another text for another id."""
    texts = [PAGE.format(title=f"条目{n}", id=n, text=f"第{n}条说的是青山脚下的白水河。" * 12) for n in range(first, first + 5)]
    return bz2.compress(f"<mediawiki>\n{''.join(texts)}</mediawiki>".encode())


def parts(*firsts: int) -> dict[str, bytes]:
    return {f"pages-articles-multistream{n}.xml-p{n}00p{n}99.bz2": pages(first) for n, first in enumerate(firsts, 1)}


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    with serving() as server:
        monkeypatch.setenv("HANLIN_DUMPS_URL", server.url)
        monkeypatch.setenv("HF_ENDPOINT", server.url)
        server.dump("zhwiki", "20261001", parts(100, 200))
        rows = "\n".join(json.dumps(row, ensure_ascii=False) for row in ROWS).encode()
        server.dataset("org/belle", "a" * 40, {"README.md": b"#", "data/train.json": rows})
        server.put("/alpaca.json", json.dumps(ROWS[:9], ensure_ascii=False).encode())
        server.put("/exam/地理.csv", ",Question,A,B,C,D,Answer\n0,白水河在哪里?,青山,松江,东湖,石桥,A\n".encode())
        yield server


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "store")


def recipe(server: Server, **changed: Any) -> Recipe:
    sources = {
        "zhwiki": {"format": "wiki", "use": ["pretrain"], "download": {"dump": "zhwiki"}},
        "belle": {"format": "belle", "use": ["sft"], "download": {"hub": "org/belle"}},
        "alpaca": {"format": "alpaca", "use": ["prompts"], "download": {"urls": [f"{server.url}/alpaca.json"]}},
        "exam": {"format": "exam", "use": ["evaluate"], "download": {"urls": [f"{server.url}/exam/地理.csv"]}},
    }
    quick = {"download_retries": 2, "download_backoff": 0.01, "download_silence": 60}
    data = {"name": "fetched", "sources": sources | changed.pop("sources", {}), "resources": quick, **changed}
    assert recipes.check(data) == []
    return Recipe.model_validate(data)


def run(asked: Recipe, store: Store, until: str = "ingest-exam") -> dict[str, Built]:
    """The nodes of a run up to one, in order, as the flow builds them."""
    done: dict[str, Built] = {}
    records: Records = {}
    for resolved in resolved_nodes(graph(asked), store, records):
        name = resolved.node.name
        done[name] = build(store, resolved.request, BuildOptions(asked.resources))
        records[name] = done[name].record
        if name == until:
            break
    return done


def built(done: dict[str, Built]) -> list[str]:
    return [name for name, made in done.items() if not made.reused]


def statuses(asked: Recipe, store: Store) -> dict[str, str]:
    return {step.name: step.status for step in plan(graph(asked), store)}


def test_first_everything_then_nothing_then_only_what_is_new(server, store, monkeypatch):
    asked = recipe(server)
    first = run(asked, store, until="dedup")
    assert built(first) == list(first) and "sample" not in first
    assert first["extract-zhwiki"].record.stats["funnel"]["zhwiki"]["kept"] == 10
    assert first["ingest-belle"].record.stats["funnel"]["belle"]["kept"] == 40

    server.seen.clear()
    assert built(run(recipe(server), store, until="dedup")) == []
    assert not [seen for seen in server.gets() if seen.path.endswith((".bz2", "train.json", "alpaca.json", ".csv"))]
    assert {name: status for name, status in statuses(recipe(server), store).items() if name in first} == dict.fromkeys(
        first, "HIT"
    )

    server.dump("zhwiki", "20261101", parts(100, 700))
    steps = {step.name: step for step in plan(graph(recipe(server)), store)}
    [change] = steps["download-zhwiki"].changed
    assert (change.field, change.old, change.new) == ("inputs.upstream.date", "20261001", "20261101")
    assert [name for name in first if steps[name].status != "HIT"] == ["download-zhwiki", "extract-zhwiki", "dedup"]

    done: list[str] = []
    monkeypatch.setattr(extract, "write_shard", _noting(extract.write_shard, done))
    server.seen.clear()
    again = run(recipe(server), store)
    assert built(again) == ["download-zhwiki", "extract-zhwiki"]
    assert [seen.path.rpartition("-")[2] for seen in server.gets(".bz2")] == ["p200p299.bz2"]
    assert done == ["shard"] and again["extract-zhwiki"].record.stats["funnel"]["zhwiki"]["kept"] == 10


def _noting(write_shard: Any, done: list[str]) -> Any:
    def noted(*arguments: Any) -> Any:
        done.append("shard")
        return write_shard(*arguments)

    return noted


def test_a_new_date_with_the_same_pages_extracts_nothing_and_changes_nothing_below(server, store, monkeypatch):
    first = run(recipe(server), store, until="dedup")
    server.dump("zhwiki", "20261101", parts(100, 200))
    done: list[str] = []
    monkeypatch.setattr(extract, "write_shard", _noting(extract.write_shard, done))
    server.seen.clear()
    again = run(recipe(server), store, until="dedup")
    assert built(again) == ["download-zhwiki", "extract-zhwiki"] and done == [] and not server.gets(".bz2")
    assert again["extract-zhwiki"].record.digest == first["extract-zhwiki"].record.digest


def test_the_same_files_on_disk_give_the_same_keys(server, store, tmp_path):
    fetched = run(recipe(server), store)
    for name, folder in {"zhwiki": "wiki/dumps", "belle": "sft/belle", "alpaca": "sft", "exam": "eval"}.items():
        home = store.object(fetched[f"download-{name}"].record.key)
        for file in fetched[f"download-{name}"].record.files:
            target = tmp_path / "raw" / folder / file["path"]
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes((home / file["path"]).read_bytes())
    on_disk = {
        "zhwiki": {"format": "wiki", "use": ["pretrain"], "path": "wiki/**/*.bz2"},
        "belle": {"format": "belle", "use": ["sft"], "path": "sft/belle/data/*.json"},
        "alpaca": {"format": "alpaca", "use": ["prompts"], "path": str(tmp_path / "raw/sft/*.json")},
        "exam": {"format": "exam", "use": ["evaluate"], "path": "eval/*.csv"},
    }
    server.close()
    assert built(run(recipe(server, sources=on_disk, raw=str(tmp_path / "raw")), store)) == []


def test_without_a_network_the_newest_copy_is_used_and_said(server, store, caplog):
    run(recipe(server), store)
    server.dump("zhwiki", "20261101", parts(100, 700))
    newest = run(recipe(server), store)
    server.close()
    with caplog.at_level(logging.WARNING):
        again = run(recipe(server), store)
    assert built(again) == [] and again["download-zhwiki"].record.key == newest["download-zhwiki"].record.key
    assert "no connection" in caplog.text and "the newest in the store: 20261101, of 20" in caplog.text


def test_offline_asks_nobody(server, store, monkeypatch, caplog):
    run(recipe(server), store)
    server.seen.clear()
    monkeypatch.setenv("HANLIN_OFFLINE", "1")
    assert built(run(recipe(server), store)) == [] and not server.seen and "HANLIN_OFFLINE" in caplog.text


def test_without_a_network_and_without_a_copy_every_source_is_named(server, store):
    server.close()
    with pytest.raises(ValueError) as told:
        statuses(recipe(server), store)
    for name in ("zhwiki", "belle", "alpaca", "exam"):
        assert f"sources.{name}: " in str(told.value)
    assert "give files you have as path:" in str(told.value) and server.url in str(told.value)


def test_a_host_that_never_answers_does_not_hold_a_plan(server, store):
    server.files["/zhwiki/"].faults = [Fault(stall=60, after=0)] * 9
    pins = Pins({"sources.zhwiki": Dump(dump="zhwiki")}, RetryPolicy(retries=1, backoff=0.01, silence=30), deadline=0.5)
    with pytest.raises(ValueError, match=r"no answer about the dump zhwiki within 0\.5 s"):
        pins("sources.zhwiki", store)


def test_one_look_serves_a_whole_run(server, store):
    nodes = graph(recipe(server))
    plan(nodes, store)
    looked = len(server.seen)
    server.dump("zhwiki", "20261101", parts(100, 700))
    again = {step.name: step.key for step in plan(nodes, store)}
    assert len(server.seen) == looked
    assert again["download-zhwiki"] != {step.name: step.key for step in plan(graph(recipe(server)), store)}["download-zhwiki"]


def test_what_is_pinned_needs_no_network_once_it_is_there(server, store):
    wiki = {"format": "wiki", "use": ["pretrain"], "download": {"dump": "zhwiki", "date": 20261001}}
    belle = {"format": "belle", "use": ["sft"], "download": {"hub": "org/belle", "revision": "a" * 40}}
    run(recipe(server, sources={"zhwiki": wiki, "belle": belle}), store, until="ingest-belle")
    server.close()
    again = run(recipe(server, sources={"zhwiki": wiki, "belle": belle}), store, until="ingest-belle")
    assert built(again) == []


def test_fingerprints_change_with_what_is_upstream_and_with_files(server, store, tmp_path):
    (tmp_path / "a.json").write_text(json.dumps(ROWS, ensure_ascii=False), "utf-8")
    files = {"alpaca": {"format": "alpaca", "use": ["prompts"], "path": str(tmp_path / "*.json")}}
    seen = [{o.source: o for o in source_states(recipe(server, sources=files), store)}]
    run(recipe(server, sources=files), store)
    seen.append({o.source: o for o in source_states(recipe(server, sources=files), store)})
    server.dump("zhwiki", "20261101", parts(100, 200))
    (tmp_path / "b.json").write_text("[]", "utf-8")
    seen.append({o.source: o for o in source_states(recipe(server, sources=files), store)})
    assert [origin.new for origin in seen[0].values()] == [True] * 4 and [o.new for o in seen[1].values()] == [False] * 4
    assert [name for name, origin in seen[2].items() if origin.new] == ["zhwiki", "alpaca"]
    assert (seen[2]["zhwiki"].now, seen[2]["zhwiki"].stored) == ("20261101", "20261001") and seen[0]["belle"].now == "a" * 40
    assert [origin.kind for origin in seen[0].values()] == ["dump", "hub", "files", "urls"]
    assert fingerprint(recipe(server), "zhwiki", store) == "20261101"


MISTAKES = {
    "{dump: zhwiki, date: 2026x}": "download.date: not in the right form: ",
    "{dump: zhwiki, dates: 20261101}": "download.dates: unknown field; did you mean 'date'?",
    "{dump: zhwiki, hub: a/b}": "download: needs one of dump:",
    "{}": "download: needs one of dump:",
    "": "zhwiki: needs path: (files that you have) or download:",
    "7": "download: needs one of dump:",
    "{hub: a/b, revisions: main}": "download.revisions: unknown field; did you mean 'revision'?",
    "{urls: []}": "download.urls: list should have at least 1 item",
    "{urls: ['ftp://h/x']}": "download.urls.0.url: not in the right form: ",
    "{urls: ['https://me:secret@h/x']}": "download.urls.0.url: not in the right form: ",
    "{urls: ['http://h/x', 'http://g/x']}": "would both be saved as x; give one of them a name",
    "{urls: ['http://h/']}": "http://h/ ends in no file name; give it a name",
    "{urls: [{url: 'http://h/x', sha256: 12}]}": "download.urls.0.sha256: needs a text; where it looks like a number",
}


@pytest.mark.parametrize(("mistake", "message"), MISTAKES.items())
def test_a_mistake_in_a_download_is_named_with_its_path(mistake, message):
    with pytest.raises(BadRecipe) as told:
        recipes.load("tiny", [f"sources.zhwiki={{format: wiki, use: [pretrain], download: {mistake}}}"])
    assert message in str(told.value) and len(told.value.problems) == 1


def test_all_mistakes_of_downloads_are_told_at_once():
    with pytest.raises(BadRecipe) as told:
        recipes.load(
            "tiny",
            [
                "sources.zhwiki={format: wiki, use: [pretrain], download: {dump: ZH, job: '?'}}",
                "sources.belle.download={hub: a/b}",
                "sources.exam={format: exam, use: [evaluate]}",
            ],
        )
    assert len(told.value.problems) == 4 and "sources.belle: has both path: and download:; keep one" in told.value.problems


@pytest.mark.parametrize("model", REQUESTS.values())
def test_every_field_of_a_download_has_a_description(model):
    assert all(field.description for field in model.model_fields.values())


def test_dates_are_read_however_yaml_does():
    for written in ("20261101", "2026-11-01", "'20261101'"):
        asked = recipes.load(
            "tiny", [f"sources.zhwiki={{format: wiki, use: [pretrain], download: {{dump: zhwiki, date: {written}}}}}"]
        )
        assert asked.sources["zhwiki"].download.date == "20261101"
        assert Recipe.model_validate(json.loads(asked.model_dump_json())) == asked  # as Prefect keeps it


@pytest.mark.slow
def test_an_operator_runs_it(server, tmp_path, prefect_api):
    """`hanlin plan`, `run`, `sources`, as processes, with a server that is not at its best."""
    path = tmp_path / "fetched.yaml"
    path.write_text(yaml.safe_dump(recipe(server).model_dump(mode="json", exclude_defaults=True), allow_unicode=True), "utf-8")
    [wiki] = [name for name in server.files if name.endswith("p100p199.bz2")]
    server.files[wiki].faults = [Fault(status=503, retry_after="1"), Fault(after=100)]
    env = os.environ | {
        "HANLIN_STORE": str(tmp_path / "store"),
        "PREFECT_API_URL": prefect_api,
        "PREFECT_HOME": str(tmp_path / "prefect"),
    }

    def hanlin(*arguments: str) -> Any:
        said = forks.run("flows.cli", *arguments, env=env)
        assert said.returncode == 0, said.stdout + said.stderr
        return json.loads(said.stdout.splitlines()[-1])

    def statuses() -> dict[str, str]:
        return {step["name"]: step["status"] for step in hanlin("plan", str(path), "--json")["stages"]}

    assert statuses()["download-zhwiki"] == "MISS"
    hanlin("run", str(path), "--until", "extract-zhwiki", "--json")
    assert statuses()["extract-zhwiki"] == "HIT"
    server.dump("zhwiki", "20261101", parts(100, 700))
    assert statuses()["download-zhwiki"] == "MISS"
    told = {source["source"]: source for source in hanlin("sources", str(path), "--json")["sources"]}
    assert told["zhwiki"] == {
        "source": "zhwiki",
        "format": "wiki",
        "kind": "dump",
        "now": "20261101",
        "stored": "20261001",
        "change": "the dump of 20261101 (before: 20261001)",
        "new": True,
    }
