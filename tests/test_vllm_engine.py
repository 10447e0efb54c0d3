"""The adapter to vLLM, which shares no environment with Hanlin and is not installed here. What it refuses is real. How it talks to vLLM is
checked against a program that speaks its protocol, behind which a real model answers: that shows which prompts, stops and limits are handed
over and what is made of the tokens that come back, and nothing of vLLM's own arithmetic, sampler or speed."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from transformers import AutoModelForCausalLM, AutoModelForSeq2SeqLM, AutoTokenizer

from flows.recipe import BadRecipe, load
from models import generate, presets, vllm_engine
from models.engines import vllm_server
from models.engines.vllm_place import VARIABLE
from tasks.artifacts.digests import sources
from tests import tiny
from tests.test_generate import job
from tests.test_versions import stages

# greedy answers of the model in the folder, whatever the temperature; each request goes into a file beside the program
PROGRAM = """#!{python}
import json, sys, threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
import torch
from transformers import AutoModelForCausalLM

options = dict(zip(sys.argv[3::2], sys.argv[4::2]))
model, lock = AutoModelForCausalLM.from_pretrained(sys.argv[2]), threading.Lock()

class Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.end_headers()
        self.wfile.write(b'{{"version": "0"}}')

    def do_POST(self):
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        ids = torch.tensor([body["prompt"]])
        settings = dict(max_new_tokens=body["max_tokens"], eos_token_id=body["stop_token_ids"], pad_token_id=0, do_sample=False)
        with lock, open("{asked}", "a") as file:
            file.write(json.dumps(body) + "\\n")
            tokens = model.generate(ids, attention_mask=torch.ones_like(ids), **settings)[0, ids.size(1):].tolist()
        end = "stop" if tokens[-1] in body["stop_token_ids"] else "length"
        choice = {{"index": 0, "text": "", "token_ids": tokens, "finish_reason": end, "logprobs": None}}
        self.send_response(200)
        self.end_headers()
        self.wfile.write(b"data: " + json.dumps({{"choices": [choice]}}).encode() + b"\\n\\ndata: [DONE]\\n\\n")

    def log_message(self, *_):
        pass

ThreadingHTTPServer(("127.0.0.1", int(options["--port"])), Handler).serve_forever()
"""


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("vllm")
    made = tiny.make_tokenizer(folder / "tokenizer", tiny.split(folder / "world"))
    tiny.llama(folder / "knows", made, steps=60, context=160)
    return folder


@pytest.fixture
def asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The file of what is asked of a program that speaks for vLLM, which ends with the test and not with its process."""
    closers: list[Any] = []
    monkeypatch.setattr(vllm_server.atexit, "register", closers.append)
    path = tmp_path / "vllm"
    path.write_text(PROGRAM.format(python=sys.executable, asked=tmp_path / "asked"))
    path.chmod(0o755)
    monkeypatch.setenv(VARIABLE, str(path))
    yield tmp_path / "asked"
    for close in closers:
        close()


def rows(folder: Path) -> dict[tuple[int, float], dict[str, Any]]:
    lines = [json.loads(line) for path in folder.iterdir() for line in path.open(encoding="utf-8")]
    return {(row["prompt"], row["temperature"]): row for row in lines}


def test_what_is_asked_of_it_and_made_of_its_tokens(home: Path, tmp_path: Path, asked: Path) -> None:
    """Greedily, both engines must say the same; a prompt without room included."""
    generate.generate(job(home, tmp_path / "here", temperatures=[0.0]))
    there = job(home, tmp_path / "there", engine="vllm", device="auto", temperatures=[0.0, 0.7], top_p=0.9)
    assert generate.generate(there) == {"answers": 18, "engine": "vllm 0"}
    answers = rows(tmp_path / "there")
    assert {key: row for key, row in answers.items() if key[1] == 0} == rows(tmp_path / "here")
    bodies = list(map(json.loads, asked.read_text().splitlines()))
    assert len(bodies) == 16, "the prompt that leaves no room is not handed over"
    assert {(body["temperature"], body["top_p"], body["max_tokens"]) for body in bodies} == {(0.0, 1.0, 40), (0.7, 0.9, 40)}
    assert len({body["seed"] for body in bodies}) == 16, "a seed for each answer"


def test_without_vllm_it_is_refused_before_anything_is_loaded(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(VARIABLE, str(tmp_path / "nowhere"))
    with pytest.raises(ValueError, match="nowhere, which is no program; put vLLM into an environment of its own"):
        generate.generate(job(home, tmp_path / "out", engine="vllm", device="auto"))


@pytest.mark.parametrize("preset", ["t5-tiny", "retnet-tiny"])
def test_an_architecture_that_it_lacks_is_refused(home: Path, tmp_path: Path, asked: Path, preset: str) -> None:
    tokenizer = AutoTokenizer.from_pretrained(home / "tokenizer")
    kind = AutoModelForSeq2SeqLM if preset.startswith("t5") else AutoModelForCausalLM
    kind.from_config(presets.build(preset, len(tokenizer), 64)).save_pretrained(tmp_path / "model")
    tokenizer.save_pretrained(tmp_path / "model")
    with pytest.raises(ValueError, match=f"vLLM cannot run {preset.partition('-')[0]}"):
        generate.generate(job(home, tmp_path / "out", engine="vllm", device="auto", model=str(tmp_path / "model")))


@pytest.mark.parametrize(
    ("recipe", "told"),
    [
        ("sample", "nowhere, which is no program"),
        ("chatlm-t5-0.2b-tiny", "not t5-tiny; set it to transformers"),
        ("retnet-1.3b-tiny", "not retnet-tiny; set it to transformers"),
    ],
)
def test_a_recipe_is_refused_before_anything_is_trained(recipe: str, told: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, "/nowhere")
    with pytest.raises(BadRecipe) as refused:
        load(recipe, ["rejected.engine=vllm"])
    assert [told in problem for problem in refused.value.problems] == [True]


def test_the_adapter_is_code_of_what_it_generates_and_of_nothing_else() -> None:
    reached = {
        variant: vllm_engine.__name__ in sources(stage.modules(value))
        for stage in stages().values()
        for variant, value in stage.variants().items()
    }
    assert [variant for variant, there in reached.items() if there] == ["rejected[vllm]"]
    assert {"rejected[transformers]", "pretrain", "evaluate"} <= reached.keys()
