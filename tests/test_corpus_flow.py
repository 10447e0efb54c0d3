"""The corpus flow on a real Prefect server: it runs alone, holds stages to their contract, and an operator decides where it is asked to."""

from __future__ import annotations

import contextvars
import html
import json
import re
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import (
    ArtifactFilter,
    ArtifactFilterFlowRunId,
    FlowRunFilter,
    FlowRunFilterId,
    FlowRunFilterState,
    FlowRunFilterStateType,
)
from prefect.client.schemas.objects import StateType
from prefect.flow_engine import run_flow
from prefect.flow_runs import resume_flow_run
from prefect.states import AwaitingRetry

from flows import breaches, server
from flows import recipe as recipes
from flows.corpus import corpus
from flows.graph import graph
from flows.recipe import BadRecipe, Recipe
from flows.run_plan import plan
from tasks.artifacts.build import StageFailed
from tasks.artifacts.store import Store
from tasks.data.rows import files, read
from tests.waiting import PATIENCE

PAUSED = FlowRunFilter(state=FlowRunFilterState(type=FlowRunFilterStateType(any_=[StateType.PAUSED])))

STAGES = ["ingest-chat", "dedup", "filter", "split", "report"]


class World:
    """A raw folder with one source, and a store; `good` and `bad` rows are written anew for every run."""

    def __init__(self, home: Path):
        self.home, self.store = home, Store(home / "store")
        (home / "raw").mkdir()

    def write(self, good: int, bad: int) -> None:
        drawn = [
            f"{number}号河的源头在哪座山？它流过{number * 7}个村庄，最后到{number * 13 % 997}号湖。" for number in range(good)
        ]
        rows = [
            {"instruction": text, "input": "", "output": f"第{n}座山，在{n * 31 % 1009}号县。"} for n, text in enumerate(drawn)
        ]
        rows += [{"instruction": f"空{number}？", "input": "", "output": ""} for number in range(bad)]
        text = "\n".join(json.dumps(row, ensure_ascii=False) for row in rows)
        (self.home / "raw" / "chat.json").write_text(text, "utf-8")

    def recipe(self, **contract: Any) -> Recipe:
        source = {"format": "belle", "path": "*.json", "use": ["sft"]}
        data = {"name": "world", "raw": str(self.home / "raw"), "sources": {"chat": source}, "contract": contract}
        assert recipes.check(data, "corpus") == []
        return Recipe.model_validate(data | {"dedup": {"threshold": 1.0}})

    def run(self, accept: tuple[str, ...] = (), **contract: Any) -> Any:
        """The flow run's final state."""
        return corpus(self.recipe(**contract), accept=accept, return_state=True)

    def artifacts(self, state: Any) -> dict[str, Any]:
        """Prefect's artifacts of a run, by key."""
        chosen = ArtifactFilter(flow_run_id=ArtifactFilterFlowRunId(any_=[state.state_details.flow_run_id]))
        with get_client(sync_client=True) as client:
            found = client.read_artifacts(artifact_filter=chosen)
        return {artifact.key: artifact for artifact in found}

    def note(self) -> dict[str, Any]:
        return self.store.runs()[0]


@pytest.fixture
def world(tmp_path: Path, prefect_api: str, monkeypatch: pytest.MonkeyPatch) -> World:
    monkeypatch.setenv("HANLIN_STORE", str(tmp_path / "store"))
    monkeypatch.setattr(breaches, "POLL", 0.1)
    return World(tmp_path)


@pytest.fixture
def changed(world: World) -> World:
    """A finished run, and then a file of which a third is bad."""
    world.write(300, 3)
    assert world.run().is_completed()
    world.write(300, 150)
    return world


def test_the_data_half_runs_alone_and_ends_with_a_page_about_data(world: World) -> None:
    world.write(120, 5)
    outcome = world.run().result()
    assert list(outcome) == STAGES
    page = (world.store.object(outcome["report"]["key"]) / "report.html").read_text("utf-8")
    assert "a curated corpus" in page and "Tokenizer" not in page
    rows = list(read([world.store.object(outcome["split"]["key"]) / "sft" / f"{side}.parquet" for side in ("train", "valid")]))
    assert len(rows) == 120


def test_it_makes_what_the_pipeline_makes(world: World) -> None:
    tiny = recipes.load("tiny")
    whole, half = graph(tiny), graph(tiny, "corpus")
    names = [node.name for node in half]
    assert names[:-1] == [node.name for node in whole][: len(names) - 1] and names[-2:] == ["split", "report"]
    for one, other in zip(half[:-1], whole, strict=False):
        assert (one.stage, one.params) == (other.stage, other.params)


def test_a_recipe_for_it_needs_no_model_and_one_for_the_pipeline_does(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text("name: mine\nsources:\n  wiki: {format: wiki, path: wiki/*.bz2, use: [text2text]}\n")
    assert recipes.load(str(path), flow="corpus").sources["wiki"].use == ["text2text"]
    with pytest.raises(BadRecipe, match=r"none has use: \[pretrain\]") as told:
        recipes.load(str(path))
    assert "the data half alone: --flow corpus" in str(told.value)
    with pytest.raises(BadRecipe, match="none has a use for training"):
        recipes.load(str(path), ["sources.wiki.use=[evaluate]"], "corpus")


def test_all_that_is_wrong_with_weights_is_a_problem_of_the_recipe() -> None:
    with pytest.raises(BadRecipe, match="3 problems") as told:
        recipes.load("sample", ["pack.weights={zhwiki: 7, enwiki: 3, belle: 1}"])
    said = str(told.value)
    assert "pack.weights: 'enwiki' has a weight" in said and "'belle' has a weight" in said and "'zhihu' has no weight" in said
    assert recipes.load("sample", ["pack.weights={zhwiki: 7, zhihu: 3}"]).pack.weights == {"zhwiki": 7, "zhihu": 3}
    with pytest.raises(BadRecipe, match="greater than 0"):
        recipes.load("sample", ["pack.weights={zhwiki: 7, zhihu: 0}"])


def test_a_second_run_reuses_everything_and_has_nothing_to_say(world: World) -> None:
    world.write(300, 3)
    world.run()
    state = world.run(on_breach="fail")
    assert all(stage["reused"] for stage in state.result().values())
    assert not [key for key in world.artifacts(state) if key.startswith("contract-")]


def test_prefect_shows_what_became_of_the_rows_and_why(changed: World) -> None:
    shown = changed.artifacts(changed.run())
    [row] = json.loads(shown["data-funnel"].data)
    assert (row["read"], row["after ingest"], row["adds up"]) == ("450", "300", "yes")
    [reason] = json.loads(shown["data-reasons"].data)
    assert (reason["stage"], reason["source"], reason["rows"]) == ("ingest-chat", "chat", "150") and "空0" in reason["to read"]


def test_warn_says_what_changed_and_goes_on(changed: World, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level("WARNING", logger="hanlin"):
        state = changed.run(on_breach="warn")
    assert state.is_completed()
    assert "chat: kept 99.0 % → 66.7 % (-32.3 points)" in caplog.text
    table = json.loads(changed.artifacts(state)["contract-ingest-chat"].data)
    assert table[0]["contract"].startswith("✗") and (table[0]["last run"], table[0]["this run"]) == ("99.0 %", "66.7 %")
    assert "空0" in next(row["rows to read"] for row in table if row["figure"].startswith("dropped"))
    assert changed.note()["accepted"] == {"ingest-chat": "contract.on_breach=warn"}
    page = (changed.store.object(state.result()["report"]["key"]) / "report.html").read_text("utf-8")
    assert "break the data contract" in page
    again = changed.run(on_breach="fail")
    assert again.is_completed(), "what was accepted is what the next run is compared with"
    assert all(stage["reused"] for stage in again.result().values()), "and the page still says what had changed"


def test_a_stage_beyond_the_last_one_may_be_accepted(changed: World) -> None:
    assert corpus(changed.recipe(on_breach="warn"), until="ingest-chat", accept=("split",), return_state=True).is_completed()


def test_fail_keeps_what_was_built_and_says_how_to_accept_it(changed: World) -> None:
    for _ in range(2):  # what was refused is no measure for the next run
        state = changed.run(on_breach="fail")
        assert state.is_failed()
        with pytest.raises(StageFailed, match="--accept ingest-chat") as told:
            state.result()
        assert "99.0 % → 66.7 %" in str(told.value)
        assert changed.note()["refused"] == ["ingest-chat"]
    steps = {step.name: step.status for step in plan(graph(changed.recipe(), "corpus"), changed.store)}
    assert steps["ingest-chat"] == "HIT"
    accepted = changed.run(accept=("ingest-chat",), on_breach="fail")
    assert accepted.is_completed() and accepted.result()["ingest-chat"]["reused"]
    assert changed.note()["accepted"] == {"ingest-chat": "accepted at the start of the run"}


@pytest.fixture
def broken(world: World) -> Recipe:
    """Four sources, of which two have a broken file: a cut JSON array beside a whole one, and a Parquet file without its end."""
    world.write(120, 0)
    raw = world.home / "raw"
    rows = [{"instruction": f"甲{n}在哪里？", "input": "", "output": f"在第{n * 7}页的地图上。"} for n in range(40)]
    (raw / "one.array").write_text(json.dumps(rows[:20], ensure_ascii=False), "utf-8")
    (raw / "two.array").write_text(json.dumps(rows[20:], ensure_ascii=False)[:-30], "utf-8")
    table = pa.table({"INSTRUCTION": [row["instruction"] for row in rows], "RESPONSE": [row["output"] for row in rows]})
    pq.write_table(table, raw / "cut.parquet")
    (raw / "cut.parquet").write_bytes((raw / "cut.parquet").read_bytes()[:-100])
    sources = {
        "arrays": {"format": "belle", "path": "*.array", "use": ["sft"]},
        "answers": {"format": "zhihu", "path": "*.parquet", "use": ["sft"]},
        "chat": {"format": "belle", "path": "chat.json", "use": ["sft"]},
    }
    return Recipe.model_validate({"name": "broken", "raw": str(raw), "sources": sources, "dedup": {"threshold": 1.0}})


def test_every_source_is_tried_and_all_broken_files_are_named_at_once(world: World, broken: Recipe) -> None:
    """The sound source behind them is read, and kept; nothing after the sources is tried."""
    state = corpus(broken, return_state=True)
    assert state.is_failed()
    first = state.message.splitlines()[0]
    assert first.startswith("ingest-arrays, ingest-answers: 2 files cannot be read (the work on the rest is kept): ")
    assert "two.array: its JSON array is cut inside row 20" in first and "cut.parquet: its Parquet footer cannot be read" in first
    assert "one.array" not in first
    assert [record.stage for record in world.store.records()] == ["ingest-chat"]
    with pytest.raises(StageFailed, match=r"\n  - ingest-arrays: .*two\.array.*\n  - ingest-answers: .*cut\.parquet"):
        state.result()


def test_one_broken_source_is_named_as_before(world: World, broken: Recipe) -> None:
    whole = broken.model_copy(update={"sources": {name: broken.sources[name] for name in ("answers", "chat")}})
    message = corpus(whole, return_state=True).message
    assert message.startswith(f"ingest-answers: {world.home / 'raw' / 'cut.parquet'}: its Parquet footer cannot be read")


def test_sources_go_on_without_broken_files_and_the_report_names_them(
    world: World, broken: Recipe, caplog: pytest.LogCaptureFixture
) -> None:
    skipping = {name: source.model_copy(update={"broken": "skip"}) for name, source in broken.sources.items()}
    with caplog.at_level("INFO"):
        outcome = corpus(broken.model_copy(update={"sources": skipping}), return_state=True).result()
    page = world.store.object(outcome["report"]["key"]) / "report.html"
    shown = " ".join(re.sub(r"<[^>]*>", "", html.unescape(page.read_text("utf-8"))).split())
    assert "2 files could not be read, and the run went on without them (broken: skip)" in shown
    assert "arrays: two.array: its JSON array is cut inside row 20" in shown
    assert "answers: cut.parquet: its Parquet footer cannot be read" in shown
    figures = json.loads((page.parent / "figures.json").read_text("utf-8"))
    assert [(file["source"], file["file"]) for file in figures["left_out"]] == [
        ("arrays", "two.array"),
        ("answers", "cut.parquet"),
    ]
    assert figures["adds_up"] and str(world.home) not in json.dumps(figures)
    assert any(record.getMessage().startswith("left out (broken: skip): ") for record in caplog.records)
    funnel = {source: counts for entry in world.store.records() for source, counts in entry.stats.get("funnel", {}).items()}
    assert funnel["answers"]["in"] == 0 and funnel["arrays"]["kept"] == 20 and funnel["chat"]["kept"] == 120

    tolerating = {name: source.model_copy(update={"tolerate_truncation": True}) for name, source in skipping.items()}
    outcome = corpus(broken.model_copy(update={"sources": tolerating}), return_state=True).result()
    page = world.store.object(outcome["report"]["key"]) / "report.html"
    shown = " ".join(re.sub(r"<[^>]*>", "", html.unescape(page.read_text("utf-8"))).split())
    assert (
        "1 file could not be read, and the run went on without it" in shown
        and "two.array" not in shown.split("could not")[1][:400]
    )
    rows = list(read(files(world.store.object(outcome["ingest-arrays"]["key"]), kind="conversations")))
    assert len(rows) == 39


def test_a_stage_to_accept_that_is_none_is_refused(world: World) -> None:
    world.write(30, 0)
    with pytest.raises(ValueError, match="no stage 'ingest-chatt'"):
        world.run(accept=["ingest-chatt"]).result()
    with pytest.raises(ValueError, match="report has no contract"):
        world.run(accept=["report"]).result()


def test_bounds_of_a_first_run(world: World) -> None:
    world.write(60, 60)
    with pytest.raises(StageFailed, match=r"rows dropped 50\.0 %; at most 40 % may be"):
        world.run(on_breach="fail", max_drop_percent=40).result()


def test_a_stage_that_takes_too_long_ends_the_run_and_is_not_tried_again(world: World) -> None:
    world.write(300, 3)
    recipe = world.recipe()
    hurried = recipe.model_copy(update={"resources": recipe.resources.model_copy(update={"hours": {"dedup": 1e-5}})})
    state = corpus(hurried, return_state=True)
    assert state.is_failed() and state.message.startswith("dedup: not done after the 1e-05 hours that resources.hours gives it")
    with get_client(sync_client=True) as client:
        runs = client.read_task_runs(flow_run_filter=FlowRunFilter(id=FlowRunFilterId(any_=[state.state_details.flow_run_id])))
    assert {run.name.split(" ")[0]: (run.state.name, run.run_count) for run in runs}["dedup"] == ("TimedOut", 1)
    assert world.run().is_completed()


# -- an operator decides ------------------------------------------------------------------------------------------------


class Pausing:
    """A run in a thread of its own, which waits for an operator."""

    def __init__(self, world: World, retry: Any = None, **contract: Any):
        self.state: Any = None
        self.retry = retry
        context = contextvars.copy_context()
        self.thread = threading.Thread(target=lambda: context.run(self._run, world, contract), daemon=True)
        self.thread.start()

    def _run(self, world: World, contract: dict[str, Any]) -> None:
        if self.retry is None:
            self.state = world.run(on_breach="pause", **contract)
            return
        with get_client(sync_client=True) as client:
            flow_run = client.read_flow_run(self.retry)
        recipe = world.recipe(on_breach="pause")
        self.state = run_flow(corpus, flow_run=flow_run, parameters={"recipe": recipe}, return_type="state")

    def paused(self) -> Any:
        """The flow run, once it waits and its form is there: Prefect saves that after the state, its description last."""
        with get_client(sync_client=True) as client:
            end = time.monotonic() + PATIENCE
            while self.thread.is_alive() and time.monotonic() < end:
                for run in client.read_flow_runs(flow_run_filter=PAUSED):
                    keys = run.state and run.state.type == StateType.PAUSED and run.state.state_details.run_input_keyset
                    if keys and keys["description"] in self.saved(client, run.id):
                        return run
                time.sleep(0.05)
        raise AssertionError(f"the run has not paused: {self.state}")

    @staticmethod
    def saved(client: Any, run: Any) -> set[str]:
        found = client.request(
            "POST", "/flow_runs/{id}/input/filter", path_params={"id": run}, json={"prefix": "paused", "limit": 9}
        )
        return {entry["key"] for entry in found.json()}

    def ended(self) -> Any:
        self.thread.join(PATIENCE)
        assert not self.thread.is_alive()
        return self.state


@pytest.fixture
def settle(prefect_api: str) -> Iterator[None]:
    """No run of this test is left waiting for the next one to find."""
    yield
    with get_client(sync_client=True) as client:
        for run in client.read_flow_runs(flow_run_filter=PAUSED):
            if run.state and run.state.type == StateType.PAUSED:
                client.delete_flow_run(run.id)


@pytest.mark.parametrize("accept", [True, False])
def test_an_operator_sees_what_differs_and_decides(changed: World, settle: None, accept: bool) -> None:
    run = Pausing(changed)
    paused = run.paused()
    with get_client(sync_client=True) as client:
        keyset = paused.state.state_details.run_input_keyset
        asked = client.request("GET", "/flow_runs/{id}/input/{key}", path_params={"id": paused.id, "key": keyset["description"]})
    form = json.loads(asked.text)
    assert "kept 99.0 % → 66.7 %" in str(form) and "空0" in str(form), "what differs, and rows to read"
    assert {artifact for artifact in changed.artifacts(paused.state) if artifact.startswith("contract")} == {
        "contract-ingest-chat"
    }
    resume_flow_run(paused.id, run_input={"accept": accept, "note": "新的来源"})
    state = run.ended()
    if accept:
        assert state.is_completed() and changed.note()["accepted"] == {"ingest-chat": "an operator: 新的来源"}
        assert changed.run(on_breach="fail").is_completed()
        return
    assert state.is_failed() and changed.note()["refused"] == ["ingest-chat"]
    with pytest.raises(StageFailed, match="an operator refused it: 新的来源"):
        state.result()
    kept = changed.store.record(changed.note()["artifacts"]["ingest-chat"])
    assert kept and files(changed.store.object(kept.key), kind="conversations"), "the artifact stays"


def test_a_run_that_is_tried_again_asks_again(changed: World, settle: None) -> None:
    """As with *Retry* in the UI: the same flow run, from the start."""
    run = Pausing(changed)
    first = run.paused()
    resume_flow_run(first.id, run_input={"accept": False, "note": ""})
    assert run.ended().is_failed()
    with get_client(sync_client=True) as client:
        client.set_flow_run_state(first.id, AwaitingRetry(), force=True)
    again = Pausing(changed, retry=first.id)
    assert again.paused().id == first.id
    resume_flow_run(first.id, run_input={"accept": True, "note": ""})
    assert again.ended().is_completed()


def test_nobody_answers(changed: World, settle: None) -> None:
    state = Pausing(changed, wait_hours=1.2 / 3600).ended()
    assert state.is_failed()
    with pytest.raises(StageFailed, match=r"nobody answered within .* hours \(contract.wait_hours\)"):
        state.result()


def test_without_a_ui_a_pause_is_a_failure_that_says_what_to_do(
    changed: World, prefect_api: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server, "_own", [prefect_api])
    state = changed.run(on_breach="pause")
    with pytest.raises(StageFailed, match="no Prefect server runs in whose UI an operator could answer") as told:
        state.result()
    assert "--accept ingest-chat" in str(told.value) and "contract.on_breach=warn" in str(told.value)


def test_text_of_data_is_no_markup_in_the_form() -> None:
    assert breaches._plain("<b>*x*</b>\n# [a](b)") == r"\<b\>\*x\*\</b\> \# \[a\]\(b\)"
