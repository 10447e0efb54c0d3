"""Re-training on a real Prefect server and a real store: what is new, what is promoted, refused, asked about and rolled back.

The models are toys: a number for how good one is, which grows with the rows that it was made from. Everything around them is real.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import ArtifactFilter, ArtifactFilterFlowRunId
from prefect.exceptions import Pause
from prefect.flow_engine import run_flow
from prefect.flow_runs import resume_flow_run

from flows import inputs
from flows import recipe as recipes
from flows import retrain as retraining
from flows.graph import Node, graph
from flows.production import Production, find_production
from flows.recipe import Recipe
from flows.retrain import retrain
from tasks import gate
from tasks.artifacts.build import BuildRequest, build, files_input
from tasks.artifacts.garbage import collect
from tasks.artifacts.stage import Identity, Job, Stats, stage
from tasks.artifacts.store import Store
from tasks.artifacts.tags import history, roll_back
from tasks.pretrain import Params as PretrainParams
from tests.toys import make_count


class ModelParams(Identity):
    skill: float = 0.5
    vain: bool = False  # never stops talking


@stage("dpo", version=1, title="A toy model", params=ModelParams)
def train(job: Job, params: ModelParams, *, rows: Path) -> Stats:
    (job.out / "model.json").write_text(params.model_dump_json())
    return {}


class NoParams(Identity):
    pass


@stage("evaluate", version=1, title="A toy's scores", params=NoParams)
def score(job: Job, params: NoParams, *, models: dict[str, Path], rows: Path) -> Stats:
    rows = {
        "documents": [],
        "questions": [{"id": str(n), "source": "exam"} for n in range(400)],
        "pairs": [],
        "prompts": [{}] * 20,
    }
    cases: dict[str, Any] = {"rows": rows, "models": {}}
    for name, folder in models.items():
        made = json.loads((folder / "model.json").read_text())
        right = np.random.default_rng(1).random(400) < made["skill"]
        said = [{"stopped": not made["vain"], "empty": False, "repetition": 0.0}] * 20
        cases["models"][name] = {
            "documents": [],
            "questions": [{"correct": bool(r)} for r in right],
            "pairs": [],
            "answers": said,
        }
    (job.out / "cases.json").write_text(json.dumps(cases))
    (job.out / "answers.json").write_text(json.dumps([{"prompt": "p", "answers": dict.fromkeys(models, "a")}]))
    return {}


class World:
    """A raw folder that grows, a store, and how good the next model will be."""

    def __init__(self, home: Path):
        self.floor: float | None = 0.2
        self.home, self.store, self.next = home, Store(home / "store"), ModelParams()
        (home / "raw").mkdir()
        self.grow(20)

    def grow(self, rows: int) -> None:
        lines = [{"instruction": f"第{n}问？", "input": "", "output": f"第{n}答。"} for n in range(rows)]
        (self.home / "raw" / "chat.json").write_text("\n".join(json.dumps(line, ensure_ascii=False) for line in lines), "utf-8")

    def recipe(self) -> Recipe:
        source = {"format": "belle", "path": "*.json", "use": ["sft"]}
        return Recipe.model_validate({"name": "world", "raw": str(self.home / "raw"), "sources": {"chat": source}})

    def nodes(self, recipe: Recipe, store: Store, tag: str, share: float) -> list[Node]:
        rows = inputs.folder("ingest-chat")
        moves = store.tags().get(tag)
        against = {}
        nodes = [
            graph(recipe, "corpus")[0],
            Node("dpo", train, self.next, {"rows": rows}),
            Node("evaluate", score, NoParams(), {"models": inputs.folders({"dpo": "dpo"}), "rows": rows}),
        ]
        if moves:
            prod = inputs.earlier_artifact_as("prod", store.record(moves[-1]["key"]))
            nodes.append(Node("evaluate-prod", score, NoParams(), {"models": prod, "rows": rows}))
            against = {"prod": inputs.folder("evaluate-prod")}
        against["candidate"] = inputs.folder("evaluate")
        return [*nodes, Node("gate", gate.run, gate.Params(resamples=1000, first_accuracy=self.floor), against)]

    def run(self, **options: Any) -> Any:
        return retrain(self.recipe(), **options, return_state=True)

    @property
    def prod(self) -> str:
        return self.store.tags()["prod"][-1]["key"]

    def artifacts(self, state: Any) -> dict[str, Any]:
        chosen = ArtifactFilter(flow_run_id=ArtifactFilterFlowRunId(any_=[state.state_details.flow_run_id]))
        with get_client(sync_client=True) as client:
            return {artifact.key: artifact for artifact in client.read_artifacts(artifact_filter=chosen)}


@pytest.fixture
def world(tmp_path: Path, prefect_api: str, monkeypatch: pytest.MonkeyPatch) -> World:
    monkeypatch.setenv("HANLIN_STORE", str(tmp_path / "store"))
    made = World(tmp_path)
    monkeypatch.setattr(retraining, "retraining_nodes", made.nodes)
    return made


def test_the_first_healthy_model_takes_over_and_then_nothing_is_new(world: World) -> None:
    first = world.run()
    assert first.name == "Promoted" and first.is_completed()
    assert "the first: healthy, and the first one; new: chat (1 file more: " in first.message
    again = world.run()
    assert again.name == "Nothing new" and "all 1 sources are as the last run read them" in again.message
    assert set(world.artifacts(again)) == {"sources"}, "no stage was looked at"
    assert world.run(force=True).name == "Promoted", "forced, it reuses everything"
    assert len(world.store.tags()["prod"]) == 1


def test_a_sick_first_model_does_not_take_over_and_is_not_tried_again(world: World) -> None:
    world.next = ModelParams(vain=True)
    state = world.run()
    assert state.name == "Refused" and "finished answers: 0.000, at least 0.5 wanted" in state.message
    assert "prod" not in world.store.tags() and world.run().name == "Nothing new"


def test_a_first_model_without_a_floor_waits_for_an_operator(world: World) -> None:
    world.floor = None
    state = world.run()
    assert state.name == "Undecided" and "the recipe states no floor for a first one (gate.first_accuracy" in state.message
    assert "prod" not in world.store.tags() and "artifacts tag candidate@" in state.message
    world.floor = 0.9
    world.grow(25)
    below = world.run()
    assert below.name == "Refused" and "at least 0.9 wanted of a first model" in below.message


def test_a_worse_model_is_refused_and_kept_a_better_one_promoted_and_rolled_back(world: World) -> None:
    world.run()
    old = world.prod
    world.grow(25)
    world.next = ModelParams(skill=0.3)
    refused = world.run()
    assert refused.name == "Refused" and "right choices, exam: 0.5" in refused.message
    assert world.prod == old
    [tag] = [tag for tag in world.store.tags() if tag.startswith("candidate@")]
    kept = world.store.resolve(tag)
    assert kept.key == refused.result()["artifacts"]["dpo"]["key"] and tag in refused.message
    assert world.store.tags()[tag][-1]["why"].startswith("refused: right choices")
    assert "right choices, exam" in world.artifacts(refused)["gate"].data
    assert world.run().name == "Nothing new", "a refusal is an end as well"

    world.grow(30)
    world.next = ModelParams(skill=0.7)
    promoted = world.run()
    assert promoted.name == "Promoted" and world.prod not in (old, kept.key)
    move = world.store.tags()["prod"][-1]
    assert move["figures"]["accuracy-exam"]["verdict"] == "better" and move["run"] == str(promoted.state_details.flow_run_id)
    assert "better: right choices, exam" in history(world.store.tags()["prod"])[-1]["why"]
    assert re.search(r"new: chat \(1 file changed: \S+, 5 rows\)", move["why"])
    assert collect(world.store, keep_runs=0, scratch_days=14, dry_run=False)
    assert roll_back(world.store, "prod", "")[0].key == old == world.prod
    assert world.store.find(kept.key), "what was refused stays to be looked at"


def test_a_candidate_judged_against_another_model_does_not_take_over(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    world.run()
    world.grow(30)
    other = make_count(world.store).record
    run_graph = retraining.run_graph

    def meanwhile(*given: Any, **named: Any) -> Any:
        world.store.tag("prod", other, "by hand")
        return run_graph(*given, **named)

    monkeypatch.setattr(retraining, "run_graph", meanwhile)
    state = world.run()
    assert state.name == "Refused" and "was moved to" in state.message and world.prod == other.key


def test_a_killed_run_is_not_the_last_one(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """Between the gate and the tag: the next run finds the sources new, reuses every stage and concludes."""
    world.run()
    world.grow(30)
    world.next = ModelParams(skill=0.7)
    with monkeypatch.context() as killed:
        killed.setattr(retraining, "conclude", lambda *given: 1 / 0)
        assert world.run().is_failed()
    state = world.run()
    assert state.name == "Promoted" and all(made["reused"] for made in state.result()["artifacts"].values())


def test_asking_needs_somebody_to_ask(world: World) -> None:
    state = world.run(approve=True)
    assert state.is_failed()
    with pytest.raises(ValueError, match="needs a run of a deployment"):
        state.result()
    assert not world.store.records(), "nothing was spent"


@pytest.mark.parametrize("approve", [True, False])
def test_an_operator_is_asked_while_no_process_waits(world: World, approve: bool) -> None:
    world.run()
    old = world.prod
    world.grow(30)
    world.next = ModelParams(skill=0.7)
    with get_client(sync_client=True) as client:
        flow_id = client.create_flow(retrain)
        deployment = client.request(
            "POST",
            "/deployments/",
            json={"name": f"asked-{approve}", "flow_id": str(flow_id), "entrypoint": "flows.retrain:retrain"},
        ).json()["id"]
        asked = client.create_flow_run_from_deployment(deployment)

    def go() -> Any:
        with get_client(sync_client=True) as client:
            flow_run = client.read_flow_run(asked.id)
        try:
            return run_flow(
                retrain, flow_run=flow_run, parameters={"recipe": world.recipe(), "approve": True}, return_type="state"
            )
        except Pause as left:  # which ends the process
            return left.state

    waiting = go()
    assert waiting.is_paused() and waiting.name == "Suspended" and world.prod == old
    assert any(tag.startswith("candidate@") for tag in world.store.tags()), "a candidate that waits is not garbage"
    with get_client(sync_client=True) as client:
        form = client.request(
            "GET",
            "/flow_runs/{id}/input/{key}",
            path_params={"id": asked.id, "key": waiting.state_details.run_input_keyset["description"]},
        ).text
    assert "take over as prod?" in form and "right choices, exam" in form
    resume_flow_run(asked.id, run_input={"approve": approve, "note": "看过了"})
    world.grow(40)  # what arrives meanwhile is for the next run
    state = go()
    assert state.name == ("Promoted" if approve else "Refused") and "an operator: 看过了" in state.message
    assert (world.prod == old) is not approve


# -- what goes on from where -----------------------------------------------------------------------------------------------


def test_the_graph_goes_on_from_production() -> None:
    tiny = recipes.load("tiny")
    model, started, tokens = ("m" * 64, "p" * 64, "t" * 64)
    found = Production(*(_record(key) for key in (model, started, tokens)), tokens=40960, share=0.25)
    nodes = {node.name: node for node in graph(tiny, gated=True, production=found)}
    assert not {"counts", "tokenizer"} & set(nodes)
    assert list(nodes)[-4:] == ["evaluate", "evaluate-prod", "gate", "report"]
    keys = {
        role: given.resolve(Store(Path("/nowhere")), {}).keys
        for role, given in nodes["pretrain"].inputs.items()
        if not given.needs
    }
    assert keys == {"tokenizer": (tokens,), "start": (started,)}
    assert nodes["pretrain"].params.tokens == 10240
    assert nodes["evaluate-prod"].inputs["models"].resolve(Store(Path("/nowhere")), {}).digest == [["prod", model]]
    assert {role: nodes["evaluate-prod"].inputs[role].needs for role in ("rows", "pairs", "questions")} == {
        role: nodes["evaluate"].inputs[role].needs for role in ("rows", "pairs", "questions")
    }
    first = [node.name for node in graph(tiny, gated=True)]
    assert first == [*[node.name for node in graph(tiny)][:-1], "gate", "report"]


def _record(key: str) -> Any:
    from tasks.artifacts.store import Record

    return Record(
        key=key, digest=key, stage="s", title="", identity={}, lineage={}, files=[], stats={}, made={}, reproducibility="bitwise"
    )  # fmt: skip


def test_news_of_a_wiki_and_of_rows_are_told_with_their_number(tmp_path: Path) -> None:
    """A dump is extracted, and everything else ingested."""
    store = Store(tmp_path)
    for key, rows in (("extracted", 9), ("before", 3), ("after", 10)):
        store.put(_record(key).model_copy(update={"stats": {"funnel": {"source": {"in": rows, "kept": rows, "dropped": {}}}}}))
    made = {"extract-zhwiki": {"key": "extracted"}, "ingest-chat": {"key": "after"}}
    last = {"artifacts": {"ingest-chat": "before"}}
    told = retraining._news(store, {"zhwiki": "first read", "chat": "1 file more", "unused": "new"}, last, made)
    assert told == ["zhwiki (first read, 9 rows)", "chat (1 file more, 7 rows)", "unused (new)"]


@stage("pretrain", version=1, title="Toy pretraining", params=PretrainParams)
def begin(job: Job, params: PretrainParams, *, tokenizer: list[Path], start: Path | None = None) -> Stats:
    name = "stable" if params.schedule == "wsd" else "model"
    (job.out / name).mkdir()
    (job.out / name / "weights").write_text(str(params.tokens))
    return {"tokens": params.tokens}


@pytest.fixture
def family(tmp_path: Path) -> Callable[..., Store]:
    """A store whose `prod` was pretrained as asked, perhaps in several goes, and then tuned."""

    def make(*goes: dict[str, Any]) -> Store:
        from tasks.artifacts.build import Input

        store = Store(tmp_path / "store")
        tokens = make_count(store).record
        before: Any = None
        for asked in goes:
            inputs = {"tokenizer": Input(store.object(tokens.key), tokens.digest, (tokens.key,))}
            if before:
                inputs["start"] = Input(store.object(before.key), before.digest, (before.key,))
            before = build(store, BuildRequest("pretrain", begin, PretrainParams(**asked), inputs)).record
        roles = {"rows": files_input({"model": (store.object(before.key), before.digest)}, (before.key,))}
        model = build(store, BuildRequest("dpo", train, ModelParams(), roles)).record
        store.put(model.model_copy(update={"lineage": {"model": before.key}}))
        store.tag("prod", model, "")
        return store

    return make


def test_the_share_is_of_the_first_horizon_however_often_it_went_on(family: Callable[..., Store]) -> None:
    store = family({"tokens": 1000}, {"tokens": 250}, {"tokens": 250})
    found = find_production(store, store.tags()["prod"], PretrainParams(), 0.5)
    assert found and found.tokens == 1000 and found.pretrain.stats["tokens"] == 250 and found.tokenizer.stage == "count"
    assert found.horizon(PretrainParams(epochs=3)).tokens == 500 and found.horizon(PretrainParams(tokens=300)).tokens == 150
    anew = find_production(store, store.tags()["prod"], PretrainParams(), 0)
    assert anew and not anew.warm and anew.horizon(PretrainParams(epochs=3)).epochs == 3


@pytest.mark.parametrize(
    ("made", "asked", "message"),
    [
        ({"tokens": 9, "schedule": "cosine"}, {"schedule": "cosine"}, "kept no stable phase"),
        (
            {"tokens": 9},
            {"preset": "16m", "qk_norm": True},
            r"pretrain.preset \(tiny → 16m\), pretrain.qk_norm .* weights then do not fit",
        ),
        ({"tokens": 9}, {"qkv_bias": True}, r"pretrain.qkv_bias \(False → True\) .* weights then do not fit"),
    ],
)
def test_what_cannot_be_gone_on_from_is_told_before_anything_is_spent(
    family: Callable[..., Store], made: dict[str, Any], asked: dict[str, Any], message: str
) -> None:
    store = family(made)
    with pytest.raises(ValueError, match=message):
        find_production(store, store.tags()["prod"], PretrainParams(**asked), 0.25)
    assert find_production(store, store.tags()["prod"], PretrainParams(**asked), 0)


def test_a_production_that_is_damaged_or_no_model_is_told(family: Callable[..., Store]) -> None:
    store = family({"tokens": 9})
    found = find_production(store, store.tags()["prod"], PretrainParams(), 0.25)
    assert found
    (store.object(found.pretrain.key) / "stable" / "weights").unlink()
    with pytest.raises(ValueError, match=r"its pretraining in production, .* stable/weights is missing; `hanlin rollback`"):
        find_production(store, store.tags()["prod"], PretrainParams(), 0.25)
    store.tag("prod", make_count(store).record, "")
    with pytest.raises(ValueError, match="comes from no pretraining"):
        find_production(store, store.tags()["prod"], PretrainParams(), 0.25)
    assert find_production(store, [], PretrainParams(), 0.25) is None
