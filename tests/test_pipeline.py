"""The whole pipeline, as an operator runs it: the tiny recipe from raw files to report, then what a second run may and may not do.

One run is shared by all tests here. It talks to a real Prefect server with a database on disk.
"""

from __future__ import annotations

import itertools
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import urllib.request
from pathlib import Path
from typing import Any

import pytest

from flows import recipe as recipes
from flows.graph import graph
from tasks.artifacts.store import Store
from tests import forks
from tests.waiting import until

ROOT = Path(__file__).parent.parent
AFTER_SFT = ["sft", "rejected", "reference", "dpo", "evaluate", "report"]
pytestmark = pytest.mark.slow


PLACES = [
    (f"{a}{b}镇", thing)
    for a, thing in zip("青白红黄", ("茶叶", "石桥", "古塔", "梅花"), strict=True)
    for b in "山水云林沙石泉湖溪谷"
]
ONE_THREAD = "resources.threads=1"  # beside the suite's other process, threads that wait for a core wait long


class Runs:
    """`hanlin` on one store and one Prefect server."""

    def __init__(self, folder: Path, api: str):
        self.folder, self.api, self.store = folder, api, Store(folder / "store")
        self.env = os.environ | {
            "HANLIN_STORE": str(self.store.root),
            "PREFECT_API_URL": api,
            "PREFECT_HOME": str(folder / "prefect"),
        }

    def hanlin(self, *arguments: str, code: int = 0, **env: str) -> str:
        done = forks.run("flows.cli", *arguments, env=self.env | env)
        assert done.returncode == code, done.stdout + done.stderr
        return done.stdout + (done.stderr if code else "")

    def run(self, *overrides: str) -> dict[str, Any]:
        return json.loads(self.hanlin("run", "tiny", ONE_THREAD, *overrides, "--json").splitlines()[-1])

    def plan(self, *overrides: str) -> list[dict[str, Any]]:
        return json.loads(self.hanlin("plan", "tiny", *overrides, "--json"))["stages"]

    def ask(self, what: str, **filters: Any) -> list[dict[str, Any]]:
        request = urllib.request.Request(
            f"{self.api}/{what}/filter", json.dumps(filters).encode(), {"Content-Type": "application/json"}
        )
        return json.load(urllib.request.urlopen(request))

    def task_states(self, outcome: dict[str, Any]) -> dict[str, str]:
        """Of a run's stages, once all have ended: the server records task runs from events, a moment later."""

        def tasks() -> list[dict[str, Any]]:
            return self.ask("task_runs", flow_runs={"id": {"any_": [outcome["run_id"]]}})

        def states() -> dict[str, str]:
            return {task["name"]: task["state_name"] for task in tasks()}

        everything = ["COMPLETED"] * len(outcome["artifacts"])
        until(lambda: [task["state_type"] for task in tasks()] == everything, seen=states, every=0.5)
        return states()


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory, prefect_api: str) -> Runs:
    return Runs(tmp_path_factory.mktemp("pipeline"), prefect_api)


@pytest.fixture(scope="module")
def first(runs: Runs) -> dict[str, Any]:
    return runs.run()


def built(outcome: dict[str, Any]) -> list[str]:
    return [name for name, artifact in outcome["artifacts"].items() if not artifact["reused"]]


def test_the_first_run_builds_every_stage_and_ends_with_a_report(runs, first):
    names = [node.name for node in graph(recipes.load("tiny"))]
    assert first["status"] == "completed" and built(first) == names
    page = Path(first["report"]).read_text("utf-8")
    assert "<svg" in page and not re.search(r'(src|href)="https?:', page)
    figures = json.loads((Path(first["report"]).parent / "figures.json").read_text("utf-8"))
    assert figures["adds_up"] is True


def test_every_funnel_adds_up_and_each_stage_takes_what_the_last_one_kept(runs, first):
    records = {name: runs.store.record(artifact["key"]) for name, artifact in first["artifacts"].items()}
    for record in records.values():
        for counts in record.stats.get("funnel", {}).values():
            assert counts["in"] == counts["kept"] + sum(counts["dropped"].values())
    for source in records["dedup"].stats["funnel"]:
        read = next(r for name, r in records.items() if name in (f"extract-{source}", f"ingest-{source}"))
        chain = [record.stats["funnel"][source] for record in (read, records["dedup"], records["filter"], records["split"])]
        assert all(a["kept"] == b["in"] for a, b in itertools.pairwise(chain)), source


def test_the_second_run_reuses_everything_and_says_so(runs, first):
    second = runs.run()
    assert built(second) == []
    assert {name: a["digest"] for name, a in second["artifacts"].items()} == {
        name: a["digest"] for name, a in first["artifacts"].items()
    }
    states = runs.task_states(second)
    assert set(states.values()) == {"Cached"} and len(states) == len(second["artifacts"])


def test_prefect_shows_stages_with_their_records_the_plan_first_and_the_figures_last(runs, first):
    assert set(runs.task_states(first).values()) == {"Completed"}
    artifacts = runs.ask("artifacts", sort="CREATED_DESC", artifacts={"flow_run_id": {"any_": [first["run_id"]]}})
    keys = [artifact["key"] for artifact in reversed(artifacts)]
    assert keys[0] == "plan" and keys[-2:] == ["figures", "report"]
    assert {f"record-{name}" for name in first["artifacts"]} <= set(keys)
    assert {"progress-pretrain", "progress-sft", "progress-dpo"} <= set(keys)
    with_task = [a for a in artifacts if a["key"].startswith("record-")]
    assert all(a["task_run_id"] for a in with_task)


def test_the_plan_of_a_finished_run_is_all_hits(runs, first):
    assert {step["status"] for step in runs.plan()} == {"HIT"}


def test_a_changed_parameter_touches_its_stage_and_what_follows(runs, first):
    steps = runs.plan("sft.learning_rate=0.00071")
    assert [step["name"] for step in steps if step["status"] != "HIT"] == AFTER_SFT
    [change] = next(step for step in steps if step["name"] == "sft")["changed"]
    assert change["field"] == "params.learning_rate" and change["new"] == 0.00071


def test_resources_touch_nothing(runs, first):
    steps = runs.plan("resources.workers=5", "resources.micro_batch=2", "resources.device=cpu", "resources.memory_gb=1")
    assert {step["status"] for step in steps} == {"HIT"}


def test_a_killed_run_goes_on_where_it_was_with_the_same_losses(runs, first):
    """In a store that has lost its pretraining. The run is killed in the middle of it, after a checkpoint, and started again."""
    lost = first["artifacts"]["pretrain"]["key"]
    log = runs.store.object(lost) / "log.jsonl"
    other = Runs(runs.folder / "killed", runs.api)
    shutil.copytree(runs.store.root, other.store.root)
    (other.store.root / "records" / f"{lost}.json").unlink()
    change = ["resources.checkpoint_steps=5", "--until", "pretrain"]
    process = subprocess.Popen(
        [sys.executable, "-m", "flows.cli", "run", "tiny", ONE_THREAD, *change],
        cwd=ROOT,
        env=other.env,
        stdout=subprocess.DEVNULL,
    )
    until(lambda: list((other.store.work(lost) / "scratch").glob("checkpoints/step-*")), during=process)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert next(step for step in other.plan() if step["name"] == "pretrain")["status"] == "RESUME"
    assert built(other.run(*change)) == ["pretrain"]
    assert (other.store.object(lost) / "log.jsonl").read_bytes() == log.read_bytes()
    assert other.store.record(lost).digest == runs.store.record(lost).digest


def test_verify_finds_damage_and_the_next_run_mends_it_alone(runs, first):
    home = runs.store.object(first["artifacts"]["tokenizer"]["key"])
    path = home / "tokenizer.json"
    path.chmod(0o644)
    text = path.read_bytes()
    path.write_bytes(text[:-10] + bytes([text[-10] ^ 1]) + text[-9:])
    assert "DAMAGED  tokenizer" in runs.hanlin("artifacts", "verify", code=1)
    assert built(runs.run()) == ["tokenizer"]
    assert "none damaged" in runs.hanlin("artifacts", "verify")


def test_chat_answers(runs, first):
    assert runs.hanlin("chat", "dpo", "你好").strip()


def readme_commands() -> list[str]:
    blocks = re.findall(r"```bash\n(.*?)```", (ROOT / "README.md").read_text("utf-8"), re.S)
    lines = [line.split("  #")[0].strip() for block in blocks for line in block.splitlines()]
    shown = [line for line in lines if re.match(r"hanlin (recipes|plan|run|sources|artifacts|chat) ?", line)]
    return [line for line in shown if "-tiny" not in line and "my.yaml" not in line]  # those recipes run by night; the next test


@pytest.mark.parametrize("command", readme_commands())
def test_the_commands_of_the_readme_work(runs, first, command):
    """On the recipe `tiny`, whose run is there; a conversation is left at once."""
    arguments = command.replace("sample", "tiny").split()[1:] + (["你好"] if command.startswith("hanlin chat") else [])
    assert runs.hanlin(*arguments).strip()


def test_the_readmes_way_with_files_of_ones_own_works_as_typed(runs, tmp_path):
    """Up to the rows; `tests/test_switched_off.py` trains on such a folder."""
    folder, recipe = tmp_path / "corpus", tmp_path / "my.yaml"
    folder.mkdir()
    rows = [{"instruction": f"{place}有什么？", "input": "", "output": f"{place}有{thing}。"} for place, thing in PLACES]
    (folder / "chat.json").write_text(json.dumps(rows, ensure_ascii=False), "utf-8")
    (folder / "guide.txt").write_text((ROOT / "docs" / "operate.zh.md").read_text("utf-8"), "utf-8")
    table = "".join(f"内科,{place}的医院,{place}的医院在哪里？,{place}的医院在{thing}旁边。\n" for place, thing in PLACES)
    (folder / "doctor.csv").write_text(f"department,title,ask,answer\n{table}", "gb18030")
    block = section(ROOT / "README.md", "Your own data")
    typed = [line.split("  #")[0].split() for line in block.splitlines() if line.startswith("hanlin ")]
    assert [line[1] for line in typed] == ["sniff", "init", "plan", "run", "run"] and typed[3][3:] == ["--flow", "corpus"]
    for line in typed[:4]:
        named = {"/data/corpus": str(folder), "my.yaml": str(recipe)}
        assert runs.hanlin(*(named.get(word, word) for word in line[1:])).strip()


def section(page: Path, heading: str) -> str:
    """The examples to type below a heading."""
    return page.read_text("utf-8").split(f"## {heading}")[1].split("```bash\n")[1].split("```")[0]


def test_a_bad_recipe_ends_with_code_2_and_no_traceback(runs):
    said = runs.hanlin("run", "tiny", "sft.epochs=-1", "dedup.threshold=7", code=2)
    assert "2 problems" in said and "Traceback" not in said


def test_an_unknown_stage_is_refused(runs, first):
    said = runs.hanlin("run", "tiny", "--until", "sftt", code=2)
    assert (
        said.count("no stage 'sftt'") == 1 and "did you mean sft?" in said and "Traceback" not in said and "Prefect" not in said
    )
