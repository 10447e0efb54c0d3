"""The fine-tune flow: a model of the hub, QLoRA on a few rows, and going on from what was learned; as a flow run on a real Prefect server."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from transformers import AutoModelForCausalLM, AutoTokenizer

from flows import recipe as recipes
from flows.finetune import finetune
from flows.graph import Node, graph
from flows.recipe import Recipe
from flows.run_plan import plan
from tasks.artifacts.store import Store
from tasks.remote.request import Model
from tasks.remote.transfer import Remote, RetryPolicy, Unavailable
from tasks.remote.upstream import current_pin, list_files
from tests import outside, tiny
from tests.faulty import Server, serving

pytestmark = pytest.mark.slow

NAME, COMMIT = "org/llama", "c" * 40


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    folder = outside.base(tmp_path_factory.mktemp("outside") / "llama")
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@pytest.fixture(scope="module")
def server(files: dict[str, bytes]) -> Iterator[Server]:
    with serving() as server, pytest.MonkeyPatch.context() as environment:
        environment.setenv("HF_ENDPOINT", server.url)
        environment.delenv("HF_TOKEN", raising=False)
        more = {
            "README.md": b"#",
            "pytorch_model.bin": b"pickle",
            "onnx/model.safetensors": b"x",
            "consolidated.safetensors": b"x",
        }
        server.model(NAME, COMMIT, files | more, lfs=("model.safetensors",))
        server.model("org/pickled", COMMIT, {"config.json": b"{}", "tokenizer.json": b"{}", "pytorch_model.bin": b"pickle"})
        yield server


def listed(asked: Model) -> list[str]:
    with Remote(RetryPolicy(retries=1, backoff=0.01)) as remote:
        return [file.path for file in list_files(remote, asked, current_pin(remote, asked))]


def test_of_a_model_only_what_it_is_read_from_is_fetched(server: Server) -> None:
    assert listed(Model(model=NAME)) == [
        "config.json",
        "generation_config.json",
        "model.safetensors",
        "tokenizer.json",
        "tokenizer_config.json",
    ]
    with pytest.raises(
        Unavailable, match=r"has no weights as safetensors, only pytorch_model\.bin, which Hanlin does not read: a pickle runs"
    ):
        listed(Model(model="org/pickled"))
    with pytest.raises(Unavailable, match=r"no model org/missing at revision main \(404\); check both names at .*/models"):
        listed(Model(model="org/missing"))


def recipe(folder: Path, **changed: Any) -> Recipe:
    rows = [{"instruction": f"{n}号，{tiny.QUESTION.format(place)}", "output": tiny.ANSWER.format(place, water, water)} for n in range(6)
            for place, water in tiny.PLACES.items()]  # fmt: skip
    (folder / "belle.json").write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), "utf-8")
    data: dict[str, Any] = {
        "name": "tuned",
        "raw": str(folder),
        "base": {"hub": NAME},
        "sources": {"belle": {"format": "belle", "path": "belle.json", "use": ["sft"]}},
        "dedup": {"threshold": 1.0},
        "split": {"valid_share": 0.2},
        "sft": {
            "lora": {"rank": 4, "bits": 4},
            "batch_size": 8,
            "epochs": 1,
            "log_steps": 1,
            "learning_rate": 0.01,
            "keep_state": True,
        },
        "evaluate": {"max_new_tokens": 8, "max_prompts": 4},
        "resources": {"threads": 1, "workers": 1, "device": "cpu", "memory_gb": 4},
    }
    data = recipes._over(data, changed)
    assert recipes.check(data) == []
    return Recipe.model_validate(data)


@pytest.fixture(scope="module")
def first(server: Server, prefect_api: str, tmp_path_factory: pytest.TempPathFactory) -> tuple[Recipe, Store, dict[str, Any]]:
    folder = tmp_path_factory.mktemp("finetune")
    asked = recipe(folder)
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("HANLIN_STORE", str(folder / "store"))
        return asked, Store(folder / "store"), finetune(asked)


def test_a_model_of_the_hub_learns_to_answer(first: tuple[Recipe, Store, dict[str, Any]]) -> None:
    asked, store, outcome = first
    assert list(outcome) == [node.name for node in graph(asked)]
    assert list(outcome)[-5:] == ["base-files", "base", "sft", "evaluate", "report"]
    home = store.object(outcome["sft"]["key"])
    losses = [
        json.loads(line)["loss"]
        for line in (home / "log.jsonl").read_text().splitlines()
        if '"loss"' in line and '"eval' not in line
    ]
    assert losses[-1] < losses[0]
    model, tokenizer = AutoModelForCausalLM.from_pretrained(home / "model"), AutoTokenizer.from_pretrained(home / "model")
    assert type(model).__name__ == "LlamaForCausalLM" and "User:" in tokenizer.chat_template
    assert {"adapter", "state", "model", "log.jsonl"} <= {path.name for path in home.iterdir()}
    scores = json.loads((store.object(outcome["evaluate"]["key"]) / "scores.json").read_text("utf-8"))
    assert {name: found["style"] for name, found in scores["models"].items()} == {"base": "base", "sft": "chat"}
    page = (store.object(outcome["report"]["key"]) / "report.html").read_text("utf-8")
    assert "LlamaForCausalLM" in page and "There is no pretraining" not in page and "Triple extraction" not in page


def statuses(nodes: list[Node], store: Store) -> dict[str, str]:
    return {step.name: step.status for step in plan(nodes, store)}


def test_what_is_there_is_planned_as_reused_and_a_folder_gives_the_same_model(
    first: tuple[Recipe, Store, dict[str, Any]], files: dict[str, bytes], tmp_path: Path
) -> None:
    asked, store, _ = first
    assert set(statuses(graph(asked), store).values()) == {"HIT"}
    for name, content in files.items():
        (tmp_path / name).write_bytes(content)
    local = asked.model_copy(update={"base": asked.base.model_copy(update={"hub": "", "path": str(tmp_path)})})
    new = {name for name, status in statuses(graph(local), store).items() if status != "HIT"}
    assert new == {"report"}, "which tells of no download"


def test_going_on_from_an_earlier_run_is_a_run_of_its_own(first: tuple[Recipe, Store, dict[str, Any]]) -> None:
    """By stage, key or folder; and a repeated run does not go on from itself."""
    asked, store, outcome = first
    key = outcome["sft"]["key"]
    digests = set()
    for start in ("sft", key[:16], str(store.object(key))):
        more = asked.model_copy(update={"base": asked.base.model_copy(update={"start": start})})
        steps = {step.name: step for step in plan(graph(more), store)}
        assert steps["base"].status == "HIT" and steps["sft"].status == "MISS", start
        assert {change.field for change in steps["sft"].changed} >= {"inputs.start"} or start.startswith("/")
        digests.add(steps["sft"].key)
    assert len(digests) == 2, "stage and key name the same artifact, a folder names its files"
    unknown = asked.model_copy(update={"base": asked.base.model_copy(update={"start": "nobody"})})
    with pytest.raises(ValueError, match=r"base\.start: no artifact, tag or stage is called 'nobody'"):
        plan(graph(unknown), store)


def test_a_run_that_cannot_go_on_says_why_in_its_first_line(
    first: tuple[Recipe, Store, dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    asked, store, _ = first
    monkeypatch.setenv("HANLIN_STORE", str(store.root))
    unknown = asked.model_copy(update={"base": asked.base.model_copy(update={"start": "nobody"})})
    state = finetune(unknown, return_state=True)
    assert state.is_failed() and state.message.splitlines()[0].startswith(
        "base.start: no artifact, tag or stage is called 'nobody'"
    )
