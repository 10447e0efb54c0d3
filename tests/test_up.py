"""Tests of the operator's side: settings, `prefect.yaml`, forms, refusals, reports over http; and `hanlin up` itself, once."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import email.policy
import errno
import http.server
import json
import os
import re
import signal
import socket
import socketserver
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient

from flows import corpus, deployments, form, long_form, pipeline, profile, up, web
from flows import recipe as recipes
from flows.execution import failure_message
from flows.graph import graph
from flows.short_form import AS_RECIPE
from flows.stage_task import temporary
from tasks.artifacts.build import StageFailed
from tasks.artifacts.lease import LeaseLost
from tasks.artifacts.store import Store
from tests import forks, tiny
from tests.waiting import PATIENCE, port, until

ROOT = Path(__file__).parent.parent


# -- settings -----------------------------------------------------------------------------------------------------------


def test_the_server_profile(monkeypatch):
    monkeypatch.setenv("HANLIN_PASSWORD", "secret")
    server = profile.server("127.0.0.1", 4321, "postgres://me:pw@db/hanlin")
    assert server["PREFECT_SERVER_CONCURRENCY_LEASE_STORAGE"].endswith("filesystem")
    assert server["PREFECT_SERVER_API_PORT"] == "4321" and server["PREFECT_SERVER_ANALYTICS_ENABLED"] == "false"
    assert server["PREFECT_SERVER_DATABASE_CONNECTION_URL"] == "postgresql+asyncpg://me:pw@db/hanlin"
    client = profile.client("http://127.0.0.1:4321/api")
    assert server["PREFECT_SERVER_API_AUTH_STRING"] == client["PREFECT_API_AUTH_STRING"] == "hanlin:secret"


def test_what_the_operator_has_set_stays(monkeypatch):
    monkeypatch.setenv("PREFECT_FLOWS_HEARTBEAT_FREQUENCY", "45")
    monkeypatch.delenv("HANLIN_PASSWORD", raising=False)
    monkeypatch.setenv("PREFECT_SERVER_API_AUTH_STRING", "me:mine")
    client = profile.client("http://x/api")
    assert client["PREFECT_FLOWS_HEARTBEAT_FREQUENCY"] == "45" and client["PREFECT_API_AUTH_STRING"] == "me:mine"


def test_a_database_of_another_kind_is_refused_without_its_password():
    with pytest.raises(ValueError, match="db/x: not a database") as refused:
        profile.database_url("mysql://me:pw@db/x")
    assert "pw" not in str(refused.value)


@pytest.mark.parametrize(
    ("host", "password", "warned"), [("0.0.0.0", "", True), ("0.0.0.0", "x", False), ("127.0.0.1", "", False)]
)
def test_an_open_door_is_warned_of(monkeypatch, capsys, host, password, warned):
    for name in ("PREFECT_API_URL", "PREFECT_SERVER_API_AUTH_STRING", "PREFECT_API_AUTH_STRING"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HANLIN_PASSWORD", password)
    up.warn_operator(up.Options(host=host))
    assert ("WARNING" in capsys.readouterr().out) == warned


def test_a_port_that_is_taken_is_said():
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        assert "another program listens there" in (up.address_problem(up.Options(port=other.getsockname()[1])) or "")
    assert "no address of this machine" in (up.address_problem(up.Options(host="no.such.host.invalid")) or "")


def test_a_second_call_finds_the_first(tmp_path, capsys):
    with up.only_one(tmp_path) as notes:
        assert notes is not None
        json.dump({"pid": 42, "address": "http://127.0.0.1:1", "store": "/s", "worker": True, "since": 0.0}, notes)
        notes.flush()
        with up.only_one(tmp_path) as second:
            assert second is None
            assert up.show_running(tmp_path, up.Options(port=4210)) == 0
    said = capsys.readouterr().out
    assert "http://127.0.0.1:1 (does not answer), process 42" in said and "needs a PREFECT_HOME of its own" in said
    with up.only_one(tmp_path) as again:
        assert again is not None


# -- prefect.yaml -------------------------------------------------------------------------------------------------------

DEPLOYMENTS = deployments.declared()["deployments"]


@pytest.mark.parametrize("deployment", DEPLOYMENTS, ids=[d["name"] for d in DEPLOYMENTS])
def test_every_deployment_can_be_loaded_and_has_its_place(deployment):
    from prefect import Flow
    from prefect.flows import load_flow_from_entrypoint

    flow = load_flow_from_entrypoint(deployment["entrypoint"])
    assert isinstance(flow, Flow)
    assert f"{flow.fn.__module__}:{flow.fn.__qualname__}" == deployment["entrypoint"]  # a run recorded as its own finds it again
    pools = {pool["name"]: [queue["name"] for queue in pool["queues"]] for pool in deployments.declared()["work_pools"]}
    assert deployment["work_pool"]["work_queue_name"] in pools[deployment["work_pool"]["name"]]
    assert deployment["pull"] == [] and deployment["tags"][:1] == [profile.TAG] and deployment["description"]


def test_one_declaration_at_the_root_and_in_the_package():
    assert (ROOT / "prefect.yaml").read_bytes() == deployments.FILE.read_bytes()
    assert [pool["name"] for pool in deployments.declared()["work_pools"]] == [profile.POOL]


def test_the_rule_about_lost_runs_waits_for_three_signs_of_life_and_more():
    from prefect.events.schemas.automations import AutomationCore

    [rule] = [a for a in deployments.declared()["automations"] if a["name"] == "hanlin-lost-runs"]
    parsed = AutomationCore.model_validate(rule)
    assert parsed.trigger.within.total_seconds() >= 3 * profile.HEARTBEAT
    assert parsed.trigger.expect == {"prefect.flow-run.*"}  # a pause or a suspension is an event, too


# -- forms --------------------------------------------------------------------------------------------------------------


def schema(flow: Any) -> dict[str, Any]:
    from prefect.utilities.callables import parameter_schema

    return parameter_schema(flow).model_dump()


@pytest.mark.parametrize("flow", [pipeline.named, corpus.named])
def test_the_short_form_is_a_choice_and_few_fields(flow):
    fields = schema(flow)["properties"]
    assert list(fields)[:5] == ["recipe", "file", "name", "raw", "sources"] and len(fields) <= 13
    assert fields["recipe"]["enum"] == recipes.names() and fields["recipe"]["default"] == long_form.PREFILLED
    assert fields["changes"]["type"] == "array" and fields["drift"]["enum"] == ["warn", "rebuild", "fail"]
    assert all(field["description"] and "anyOf" not in field for field in fields.values())


def test_the_long_form_has_titles_descriptions_and_starts_from_a_recipe_that_runs():
    whole = schema(pipeline.pipeline)
    prefilled = whole["properties"]["recipe"]["default"]
    # the same work as by name, sources in the same order, whatever order their names come back in
    shuffled = prefilled | {"sources": dict(sorted(prefilled["sources"].items()))}
    by_form, by_name = graph(form.filled_recipe(shuffled)), graph(recipes.load(long_form.PREFILLED))
    assert [(node.name, node.params) for node in by_form] == [(node.name, node.params) for node in by_name]
    for name, section in whole["definitions"]["Recipe"]["properties"].items():
        assert section["title"] and (name in {"name", "raw", "sources"} or prefilled[name] is None), f"{name} is not closed"
    undescribed = [
        f"{name}.{field}"
        for name, definition in whole["definitions"].items()
        for field, what in definition.get("properties", {}).items()
        if not what.get("description")
    ]
    assert not undescribed


@pytest.mark.parametrize("flow", ["pipeline", "corpus", "finetune"])
def test_no_group_of_the_long_form_has_two_fields_of_one_label_or_a_field_that_must_stay_empty(flow):
    whole = long_form.model(flow).model_json_schema()
    for name, group in {"the form": whole, **whole["$defs"]}.items():
        labels = Counter(field.get("title", label).casefold() for label, field in group.get("properties", {}).items())
        assert max(labels.values(), default=1) == 1, f"{name}: {labels.most_common(2)}"
    assert "use" not in whole["$defs"]["Split"]["properties"]
    assert ("base" in whole["properties"]) == (flow == "finetune")


def test_a_section_that_is_opened_keeps_what_was_not_filled_in():
    closed, opened = (form.filled_recipe(long_form.start("pipeline") | more) for more in ({}, {"sft": {"epochs": 7}}))
    assert opened.sft == closed.sft.model_copy(update={"epochs": 7}) and opened.pretrain == closed.pretrain


def test_the_short_form_stands_for_changes_of_the_recipe(tmp_path):
    for name in ("poems.txt", "poems.json", "问答.json"):
        (tmp_path / name).write_text("春眠不觉晓。\n\n处处闻啼鸟。", "utf-8")
    mine = [
        {"format": "text", "path": "poems.txt", "use": ["pretrain"]},
        {"format": "alpaca", "path": "poems.json", "use": ["sft"]},
        {"format": "alpaca", "path": "问答.json", "use": ["sft"]},
    ]
    short = {"name": "mine", "raw": str(tmp_path), "sources": mine, "size": "16m", "tokens": "200k", "device": "cpu"}
    recipe = form.chosen_recipe("tiny", ["pretrain.batch_tokens=4096"], **short)
    assert list(recipe.sources) == ["poems", "poems-2", "alpaca"] and recipe.sources["alpaca"].path == "问答.json"
    assert (recipe.name, recipe.raw, recipe.pretrain.preset, recipe.pretrain.tokens) == ("mine", str(tmp_path), "16m", 200_000)
    assert recipe.pretrain.batch_tokens == 4096 and recipe.resources.device == "cpu"
    untouched = {"name": "", "raw": "", "sources": [], "size": AS_RECIPE, "tokens": "", "device": AS_RECIPE}
    assert form.chosen_recipe("tiny", **untouched) == recipes.load("tiny")


def test_both_forms_make_the_same_recipe():
    short = form.chosen_recipe("tiny", ["pretrain.tokens=2048"])
    long = form.filled_recipe(short.model_dump(mode="json"))
    assert short == long


def test_a_path_that_is_no_recipe_is_refused():
    with pytest.raises(recipes.BadRecipe, match=r"a recipe is a \.yaml file"):
        form.chosen_recipe("tiny", file="/etc/passwd")
    with pytest.raises(recipes.BadRecipe, match=r"no recipe /no/such\.yaml"):
        form.chosen_recipe("tiny", file="/no/such.yaml")


# -- applied to a server ------------------------------------------------------------------------------------------------


class Server:
    """The API of a server that holds what `prefect.yaml` declares."""

    def __init__(self, api: str):
        self.api, self.env = api, profile.client(api)
        self.names = deployments.apply(self.env)

    def call(self, path: str, body: Any = None, method: str = "POST") -> Any:
        answer = httpx.request(method, f"{self.api}/{path}", json=body, timeout=PATIENCE)
        return answer.json() if answer.content else None

    def deployment(self, name: str) -> dict[str, Any]:
        return next(found for found in self.call("deployments/filter", {}) if found["name"] == name)

    def start(self, name: str, **parameters: Any) -> dict[str, Any]:
        return self.call(f"deployments/{self.deployment(name)['id']}/create_flow_run", {"parameters": parameters})


@pytest.fixture(scope="module")
def server(prefect_api: str) -> Server:
    return Server(prefect_api)


def test_all_that_is_declared_is_there(server):
    assert [name.split("/")[1] for name in server.names] == [deployment["name"] for deployment in DEPLOYMENTS]
    queues = {queue["name"]: queue["priority"] for queue in server.call("work_queues/filter", {})}
    assert queues["data"] < queues["training"] < queues["upkeep"]


@pytest.mark.parametrize(
    ("deployment", "parameters", "field"),
    [
        ("pipeline", {"recipe": "tinny"}, "recipe"),
        ("pipeline", {"drift": "maybe"}, "drift"),
        ("pipeline-form", {"recipe": {"dedup": {"threshold": 7}}}, "recipe.dedup.threshold"),
        ("corpus-form", {"recipe": {"filter": {"max_kana": "many"}}}, "recipe.filter.max_kana"),
        ("pipeline", {"tokens": "many"}, "tokens"),
        ("pipeline", {"sources": [{"format": "txt", "path": "a", "use": ["sft"]}]}, "sources[0].format"),
    ],
)
def test_a_wrong_value_is_refused_with_its_field(server, deployment, parameters, field):
    if deployment.endswith("-form"):
        closed = server.deployment(deployment)["parameter_openapi_schema"]["properties"]["recipe"]["default"]
        parameters = {"recipe": closed | parameters["recipe"]}
    assert f"field '{field}'" in server.start(deployment, **parameters)["detail"]


def test_a_right_form_starts_a_run_with_the_tag_that_is_watched(server):
    form_ = server.deployment("pipeline-form")["parameter_openapi_schema"]["properties"]["recipe"]["default"]
    assert profile.TAG in server.start("pipeline-form", recipe=form_)["tags"]


def test_schedules_become_runs(server):
    """Prefect's server needs a database library that its scheduler works with."""
    upkeep = server.deployment("upkeep")
    server.call(f"deployments/{upkeep['id']}/schedule", {"min_runs": 2})
    wanted = {"deployments": {"id": {"any_": [upkeep["id"]]}}, "flow_runs": {"state": {"type": {"any_": ["SCHEDULED"]}}}}
    assert any(run["auto_scheduled"] for run in server.call("flow_runs/filter", wanted))


def test_notifications_ship_switched_off(server):
    """An automation for each notification and block, and a block of each kind to write an address into."""
    there = {a["name"]: a for a in server.call("automations/filter", {}) if a["name"] != "hanlin-lost-runs"}
    kinds, told = ("webhook", "slack", "mail"), ("hanlin-failed-run", "hanlin-waiting-run")
    assert set(there) >= {f"{one}-{kind}" for one in told for kind in kinds}
    blocks = {block["id"]: block["name"] for block in server.call("block_documents/filter", {})}
    for name, automation in there.items():
        if name.startswith(told):
            [action] = automation["actions"]
            assert blocks[action["block_document_id"]] == f"hanlin-{name.rpartition('-')[2]}" and not automation["enabled"]


def test_a_time_zone_that_is_none_is_refused_before_anything_starts():
    with pytest.raises(ValueError, match="--timezone Mars/Olympus: no such time zone"):
        up.up(up.Options(timezone="Mars/Olympus"))


def test_a_second_start_leaves_what_the_operator_switched(server):
    def schedules() -> dict[str, bool]:
        return {one["slug"]: one["active"] for name in ("retrain", "upkeep") for one in server.deployment(name)["schedules"]}

    before = schedules()
    retrain = server.deployment("retrain")
    [weekly] = [one for one in retrain["schedules"] if one["slug"] == "weekly"]
    server.call(f"deployments/{retrain['id']}/schedules/{weekly['id']}", {"active": not weekly["active"]}, "PATCH")
    [rule] = [a for a in server.call("automations/filter", {}) if a["name"] == "hanlin-lost-runs"]
    server.call(f"automations/{rule['id']}", {"enabled": False}, "PATCH")
    mine = {"schedule": {"cron": "1 2 * * 3", "timezone": "Europe/Berlin"}}
    [look] = [one for one in server.deployment("upkeep")["schedules"] if one["slug"] == "weekly-look"]
    assert look["schedule"]["timezone"] == deployments.zone("") and look["parameters"] == {"dry_run": True, "verify": False}
    server.call(f"deployments/{server.deployment('upkeep')['id']}/schedules/{look['id']}", mine, "PATCH")
    slack = next(b for b in server.call("block_documents/filter", {}) if b["name"] == "hanlin-slack")
    address = {"data": {"url": "https://hooks.slack.com/services/A/B/C"}}
    server.call(f"block_documents/{slack['id']}", address, "PATCH")

    assert deployments.apply(server.env) == server.names
    assert schedules() == before | {"weekly": not weekly["active"]}
    [look] = [one for one in server.deployment("upkeep")["schedules"] if one["slug"] == "weekly-look"]
    assert {key: look["schedule"][key] for key in ("cron", "timezone")} == mine["schedule"]
    kept = server.call("block_documents/filter", {"include_secrets": True})
    assert next(b for b in kept if b["id"] == slack["id"])["data"]["url"] == address["data"]["url"]
    [again] = [a for a in server.call("automations/filter", {}) if a["name"] == "hanlin-lost-runs"]
    assert again["id"] == rule["id"] and again["enabled"] is False


# -- reasons ------------------------------------------------------------------------------------------------------------


def test_a_reason_is_one_line():
    with pytest.raises(recipes.BadRecipe) as one:
        form.chosen_recipe("tiny", ["sft.epochs=-1", "dedup.threshold=9"])
    assert (
        failure_message(one.value).splitlines()[0].count(";") == 2 and "sft.epochs" in failure_message(one.value).splitlines()[0]
    )
    assert failure_message(StageFailed("dedup: the disk is full\nlast lines")).splitlines() == [
        "dedup: the disk is full",
        "last lines",
    ]


def because(cause: Exception) -> StageFailed:
    failure = StageFailed("a stage failed")
    failure.__cause__ = cause
    return failure


@pytest.mark.parametrize(
    ("cause", "again"),
    [
        (ConnectionResetError(), True),
        (httpx.ConnectTimeout("slow"), True),
        (LeaseLost("taken over"), True),
        (OSError(116, "Stale file handle"), True),
        (BlockingIOError(errno.EAGAIN, "Resource temporarily unavailable"), True),
        (OSError(28, "No space left on device"), False),
        (FileNotFoundError(2, "no such file"), False),
        (ValueError("a bad file"), False),
    ],
)
def test_what_passes_by_itself_is_tried_again_and_nothing_else(cause, again):
    assert temporary(because(cause)) is again


# -- reports over http ----------------------------------------------------------------------------------------------------


def test_reports_are_served_and_nothing_else(tmp_path, monkeypatch):

    store, key = Store(tmp_path), "ab" * 32
    store.object(key).mkdir(parents=True)
    (store.object(key) / "report.html").write_text("<p>a report</p>", "utf-8")
    monkeypatch.setenv("HANLIN_STORE", str(tmp_path))
    monkeypatch.delenv("PREFECT_SERVER_API_AUTH_STRING", raising=False)
    app = FastAPI()
    web.add_reports(app)
    browser = TestClient(app)
    answer = browser.get(f"{web.REPORTS}/{key}")
    assert (
        answer.status_code == 200
        and answer.text == "<p>a report</p>"
        and "default-src 'none'" in answer.headers["content-security-policy"]
    )
    assert browser.get(f"{web.REPORTS}/{'cd' * 32}").status_code == 404
    assert browser.get(f"{web.REPORTS}/..%2f..%2fetc").status_code == 404
    monkeypatch.setenv("PREFECT_SERVER_API_AUTH_STRING", "hanlin:secret")
    for given in ("", "Basic nonsense", "Bearer aGFubGluOnNlY3JldA==", f"Basic {base64.b64encode(b'hanlin:wrong').decode()}"):
        assert browser.get(f"{web.REPORTS}/{key}", headers={"Authorization": given}).status_code == 401
    right = f"Basic {base64.b64encode(b'hanlin:secret').decode()}"
    assert browser.get(f"{web.REPORTS}/{key}", headers={"Authorization": right}).status_code == 200


@pytest.fixture
def free() -> Iterator[int]:
    with port() as number:
        yield number


# -- the whole, once ----------------------------------------------------------------------------------------------------


class Up:
    """A real `hanlin up` with a password, and its API."""

    def __init__(self, folder: Path, port: int):
        self.folder, self.port = folder, port
        self.env = {k: v for k, v in os.environ.items() if not k.startswith("PREFECT_")} | {
            "PREFECT_HOME": str(folder / "prefect"),
            "HANLIN_STORE": str(folder / "store"),
            "HANLIN_PASSWORD": "secret",
            "PYTHONPATH": str(ROOT),
        }
        self.said = folder / "said"
        with self.said.open("wb") as said:
            command = [sys.executable, "-m", "flows.cli", "up", "--port", str(port)]
            self.process = subprocess.Popen(command, cwd=folder, env=self.env, stdout=said, stderr=subprocess.STDOUT)

    def call(self, path: str, body: Any = None, method: str | None = None) -> Any:
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(
            f"http://127.0.0.1:{self.port}/{path}", data, {"Content-Type": "application/json"}, method=method
        )
        request.add_header("Authorization", f"Basic {base64.b64encode(b'hanlin:secret').decode()}")
        try:
            with urllib.request.urlopen(request, timeout=PATIENCE) as answer:
                text = answer.read()
                return json.loads(text) if text[:1] in (b"[", b"{") else text
        except urllib.error.HTTPError as refused:
            return {"code": refused.code, "detail": refused.read().decode()}

    def start(self, name: str, title: str | None = None, **parameters: Any) -> Any:
        deployment = next(d for d in self.call("api/deployments/filter", {}) if d["name"] == name)
        body = {"parameters": parameters, "state": {"type": "SCHEDULED"}} | ({"name": title} if title else {})
        return self.call(f"api/deployments/{deployment['id']}/create_flow_run", body)

    def lines(self, run: dict[str, Any]) -> list[dict[str, Any]]:
        """The log of a run."""
        wanted = {"logs": {"flow_run_id": {"any_": [run["id"]]}}, "sort": "TIMESTAMP_ASC"}
        return self.call("api/logs/filter", wanted)

    def says(self, run: dict[str, Any], logger: str, *words: str) -> bool:
        """True once a line of the run's log has all of these words."""
        return any(line["name"] == logger and all(word in line["message"] for word in words) for line in self.lines(run))

    def cancel(self, run: dict[str, Any]) -> None:
        """Cancel a run, which ends as that, with no stage and no line that speaks of a crash."""
        self.call(f"api/flow_runs/{run['id']}/set_state", {"state": {"type": "CANCELLING"}})
        assert self.finish(run)["type"] == "CANCELLED"
        self.until(lambda: self.says(run, "prefect.flow_runs", "Finished in state"))
        assert not [line["message"] for line in self.lines(run) if "rash" in line["message"] or line["level"] >= 40]
        tasks = self.call("api/task_runs/filter", {"flow_runs": {"id": {"any_": [run["id"]]}}})
        assert {task["state_type"] for task in tasks} <= {"COMPLETED", "CANCELLED"}

    def finish(self, run: dict[str, Any]) -> dict[str, Any]:
        """The state that a run ends in."""
        over = {"COMPLETED", "FAILED", "CRASHED", "CANCELLED"}
        self.until(lambda: self.state(run)["type"] in over, run)
        return self.state(run)

    def state(self, run: dict[str, Any]) -> dict[str, Any]:
        return self.call(f"api/flow_runs/{run['id']}")["state"]

    def until(self, condition: Callable[[], bool], run: dict[str, Any] | None = None) -> None:
        def seen() -> str:
            return f"{self.state(run) if run else ''}\n{self.said.read_text()}"

        until(condition, 3 * PATIENCE, during=self.process, seen=seen, every=0.3)


def test_transactions_on_sqlite_wait_for_each_other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Three that read and then write what they read, at once."""
    from prefect.server.database.configurations import AioSqliteConfiguration
    from sqlalchemy import text

    async def add(config: AioSqliteConfiguration) -> None:
        async with await config.session(await config.engine()) as session, config.begin_transaction(session):
            n = (await session.execute(text("SELECT n FROM counted"))).scalar()
            await asyncio.sleep(0.1)
            await session.execute(text(f"UPDATE counted SET n = {n + 1}"))

    async def counted() -> int:
        config = AioSqliteConfiguration(f"sqlite+aiosqlite:///{tmp_path}/counted.db")
        async with (await config.engine()).begin() as connection:
            await connection.execute(text("CREATE TABLE counted (n INTEGER)"))
            await connection.execute(text("INSERT INTO counted VALUES (0)"))
        await asyncio.gather(*(add(config) for _ in range(3)))
        async with (await config.engine()).begin() as connection:
            return (await connection.execute(text("SELECT n FROM counted"))).scalar()

    monkeypatch.setattr(
        AioSqliteConfiguration, "begin_transaction", AioSqliteConfiguration.begin_transaction
    )  # put back at the end
    web.wait_for_locks()
    assert asyncio.run(counted()) == 3


@contextlib.contextmanager
def a_webhook(told: list[str]) -> Iterator[str]:
    """The address of a server that notes what is posted to it."""

    class Noting(http.server.BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            told.append(self.rfile.read(int(self.headers["Content-Length"])).decode())
            self.send_response(204)
            self.end_headers()

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Noting) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/hook"
        server.shutdown()


@contextlib.contextmanager
def a_mail_server(told: list[str]) -> Iterator[str]:
    """The address of a mail server (RFC 5321, as little as a client needs) that notes what is sent to it."""

    class Noting(socketserver.StreamRequestHandler):
        def handle(self) -> None:
            self.wfile.write(b"220 here\r\n")
            for line in self.rfile:
                self.wfile.write(b"354 go on\r\n" if line.upper().startswith(b"DATA") else b"250 well\r\n")
                if line.upper().startswith(b"DATA"):
                    parsed = email.message_from_bytes(b"".join(iter(self.rfile.readline, b".\r\n")), policy=email.policy.default)
                    body = parsed.get_body(("plain", "html"))
                    told.append(f"Subject: {parsed['Subject']}\n{body.get_content() if body else ''}")
                    self.wfile.write(b"250 well\r\n")

    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Noting) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"mailto://127.0.0.1:{server.server_address[1]}"
        server.shutdown()


def tell(here: Up, channel: str, values: dict[str, Any]) -> None:
    """Write an address into a block and switch its automation on, as an operator does in the UI."""
    [block] = [b for b in here.call("api/block_documents/filter", {}) if b["name"] == f"hanlin-{channel}"]
    here.call(f"api/block_documents/{block['id']}", {"data": values}, "PATCH")
    [rule] = [a for a in here.call("api/automations/filter", {}) if a["name"] == f"hanlin-failed-run-{channel}"]
    here.call(f"api/automations/{rule['id']}", {"enabled": True}, "PATCH")


def a_cancelled_training_goes_on_where_it_was(here: Up) -> None:
    """And its log says how it goes: stage, loss, speed, time left, the step from which it goes on. A name that was given is kept."""
    changes = ["sample.seed=4", "pretrain.tokens=4000000", "resources.checkpoint_steps=5"]
    first = here.start("pipeline", "first try", recipe="tiny", changes=changes, until="pretrain")
    here.until(lambda: here.says(first, "hanlin.pretrain", "step ", " loss ", " tok/s", " ETA "), first)
    checkpoints = here.folder / "store" / "work"
    here.until(lambda: any(checkpoints.glob("*/scratch/checkpoints/step-*")), first)
    here.cancel(first)
    assert here.call(f"api/flow_runs/{first['id']}")["name"] == "first try"
    again = here.start("pipeline", recipe="tiny", changes=changes, until="pretrain")
    here.until(lambda: here.says(again, "hanlin.pretrain", "going on from step "), again)
    here.until(lambda: here.says(again, "hanlin.pretrain", "step ", " loss "), again)
    assert here.call(f"api/flow_runs/{again['id']}")["name"] == f"tiny · {', '.join(changes)}, until=pretrain"
    here.cancel(again)


def a_cancelled_server_of_models_drains(here: Up) -> None:
    """It takes no new requests, and its run is no crash."""
    model = tiny.llama(here.folder / "served", tiny.make_tokenizer(here.folder / "tokenizer", tiny.split(here.folder / "world")))
    run = here.start("serve", models=[f"toy={model}"], port=0, device="cpu")
    here.until(lambda: here.says(run, "hanlin.serve", "/v1/chat/completions"), run)
    block = next(line["message"] for line in here.lines(run) if "/v1/chat/completions" in line["message"])
    address = re.search(r"http://[^/ ]+", block)
    assert address is not None
    assert httpx.post(f"{address[0]}/v1/completions", json={"model": "toy", "prompt": "问"}, timeout=PATIENCE).status_code == 200
    here.cancel(run)
    here.until(lambda: all(here.says(run, "hanlin.serve", words) for words in ("no new requests are taken", "stopped")))


@pytest.mark.slow
def test_up_runs_refuses_serves_and_drains(tmp_path, free):
    """A run by name with changes, wrong forms, the report behind the password, a second call, and a stop that waits for the run."""
    here, told, stack = Up(tmp_path, free), [], contextlib.ExitStack()
    try:
        here.until(lambda: "Ctrl-C stops" in here.said.read_text())
        webhook, mail = stack.enter_context(a_webhook(told)), stack.enter_context(a_mail_server(told))
        tell(here, "webhook", {"name": "Hanlin", "url": webhook, "json_data": {"text": "{{subject}} {{body}}"}})
        tell(here, "mail", {"url": f"{mail}?from=hanlin@example.org&to=me@example.org&mode=insecure"})
        with pytest.raises(urllib.error.HTTPError, match="401"):
            urllib.request.urlopen(f"http://127.0.0.1:{free}/api/flows/count")
        refused = here.start("corpus", recipe="tinny")
        assert refused["code"] == 409 and "field 'recipe'" in refused["detail"]
        wrong = here.start("corpus", recipe="tiny", changes=["dedup.threshold=9"])
        run = here.start("corpus", recipe="tiny", changes=["sample.seed=4"])
        state = here.finish(run)
        assert state["type"] == "COMPLETED", state
        bad = here.finish(wrong)
        assert bad["type"] == "FAILED" and "dedup.threshold" in bad["message"].splitlines()[0]
        here.until(lambda: all(any(kind in text and "dedup.threshold" in text for text in told) for kind in ("text", "Subject")))
        artifacts = here.call(
            "api/artifacts/filter", {"artifacts": {"flow_run_id": {"any_": [run["id"]]}, "key": {"any_": ["report"]}}}
        )
        assert here.call(f"api/flow_runs/{run['id']}")["name"] == "tiny · sample.seed=4"
        here.until(lambda: here.says(run, "hanlin.split", "built") and here.says(run, "hanlin.corpus", "stages reused"))
        link = artifacts[0]["data"].split("](")[1].rstrip(")")
        assert link.startswith("/hanlin/reports/") and b"<svg" in here.call(link[1:])

        again = forks.run("flows.cli", "up", env=here.env, folder=tmp_path)
        assert again.returncode == 0 and "up already, since" in again.stdout and str(here.process.pid) in again.stdout

        a_cancelled_training_goes_on_where_it_was(here)
        a_cancelled_server_of_models_drains(here)

        last = here.start("corpus", recipe="tiny", changes=["sample.seed=5"])
        here.until(lambda: here.state(last)["type"] not in ("SCHEDULED", "PENDING"), last)
        here.process.send_signal(signal.SIGTERM)
        here.process.wait(3 * PATIENCE)
        assert here.process.returncode == 0
        assert any(note["run"] == last["id"] and "report" in note["artifacts"] for note in Store(tmp_path / "store").runs())
    finally:
        stack.close()
        while here.process.poll() is None:  # the second one stops at once; of two that follow each other too closely, one is lost
            here.process.send_signal(signal.SIGTERM)
            time.sleep(1)
