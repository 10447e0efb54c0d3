from __future__ import annotations

import json
import sys
import time
from pathlib import Path

import pytest

from models.engines.settings import DecodingSettings
from models.engines.vllm_place import VARIABLE
from models.engines.vllm_server import VLLMServerEngine
from tests import tiny

# speaks vLLM's protocol: token 100 + n for each of the numbers n of the prompt, then the stop token
SERVER = """#!{python}
import json, os, sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

options = dict(zip(sys.argv[3::2], sys.argv[4::2]))
assert sys.argv[1] == "serve" and options["--host"] == "127.0.0.1" and options["--generation-config"] == "vllm"
if "{mood}" == "broken":
    sys.exit("ValueError: this model is too large")

class Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.end_headers()
        self.wfile.write(b'{{"version": "0.33.0"}}')

    def do_POST(self):
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        right = self.headers["Authorization"] == "Bearer " + os.environ["VLLM_API_KEY"]
        if not right or body["temperature"] == 1.25:
            self.send_response(401 if not right else 500)
            self.end_headers()
            self.wfile.write(b"out of memory")
            return
        self.send_response(200)
        self.end_headers()
        answer = [100 + number for number in body["prompt"]] * 10
        for place, token in enumerate(answer[: body["max_tokens"]] + body["stop_token_ids"][:1]):
            ended = "stop" if token in body["stop_token_ids"] else "length" if place + 1 == body["max_tokens"] else None
            best = {{f"token_id:{{token}}": -0.5, "token_id:9": -2.0}}
            logs = {{"tokens": [f"token_id:{{token}}"], "token_logprobs": [-0.5], "top_logprobs": [best]}}
            choice = {{"index": 0, "text": "", "token_ids": [token], "finish_reason": ended}}
            choice["logprobs"] = None if body["logprobs"] is None else logs
            self.wfile.write(b"data: " + json.dumps({{"choices": [choice]}}).encode() + b"\\n\\n")
            if ended:
                break
        self.wfile.write(b"data: [DONE]\\n\\n")

    def log_message(self, *_):
        pass

ThreadingHTTPServer(("127.0.0.1", int(options["--port"])), Handler).serve_forever()
"""


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("vllm")
    made = tiny.make_tokenizer(folder / "tokenizer", tiny.split(folder / "world"))
    return tiny.llama(folder / "random", made) / "model"


def program(folder: Path, mood: str = "") -> str:
    path = folder / "vllm"
    path.write_text(SERVER.format(python=sys.executable, mood=mood))
    path.chmod(0o755)
    return str(path)


def test_requests_go_to_the_server_and_tokens_come_back(home, tmp_path, monkeypatch):
    monkeypatch.setenv(VARIABLE, program(tmp_path))
    engine = VLLMServerEngine(home, slots=2, queue=3)
    try:
        assert engine.name == "vllm 0.33.0"
        under_way = [engine.submit([5, 6, number], DecodingSettings(7), 0) for number in range(7, 10)]
        assert [[token.id for token in one] for one in under_way] == [
            [105, 106, 100 + number, 105, 106, 100 + number, 105] for number in range(7, 10)
        ]
        assert {one.end for one in under_way} == {"length"}
        whole = engine.submit([5], DecodingSettings(30, alternatives=1), 0)
        tokens = list(whole)
        assert (
            len(tokens) == 10 and whole.end == "stop" and tokens[0].logprob == -0.5 and tokens[0].alternatives == ((105, -0.5),)
        )
        with pytest.raises(RuntimeError, match="500: out of memory"):
            list(engine.submit([5], DecodingSettings(3, temperature=1.25), 0))
        with pytest.raises(ValueError, match="no beams"):
            engine.submit([5], DecodingSettings(3, beams=2), 0)
    finally:
        process = engine._process
        engine.close()
    assert process.poll() is not None


def test_a_server_that_does_not_start_is_told_with_its_words(home, tmp_path, monkeypatch):
    monkeypatch.setenv(VARIABLE, program(tmp_path, "broken"))
    begun = time.monotonic()
    with pytest.raises(ValueError, match="ended with 1 before it was ready; its last words: ValueError: this model is too large"):
        VLLMServerEngine(home)
    assert time.monotonic() - begun < 60


def test_what_cannot_be_is_refused_before_anything_starts(home, tmp_path, monkeypatch):
    monkeypatch.setenv(VARIABLE, str(tmp_path / "nowhere"))
    with pytest.raises(ValueError, match="nowhere, which is no program; put vLLM into an environment of its own"):
        VLLMServerEngine(home)
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "retnet"}))
    with pytest.raises(ValueError, match="vLLM cannot run retnet"):
        VLLMServerEngine(tmp_path)
