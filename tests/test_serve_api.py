"""The HTTP API over a real engine with a tiny random model, through a real server: shapes, statuses, access, and models that change."""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import torch

from models import adapters, template
from models.decoding import answer
from models.engines.registry import Place, start
from models.loading import load
from models.sampling import Sampling, greedy_config
from models.serve import access, prompts, server
from models.serve.access import LARGEST
from models.serve.api import PAGE, app
from models.serve.responses import ChatCompletion, Completion, Models
from models.serve.schemas import CompletionRequest
from models.serve.served import Loaded, Served, ServedModel
from models.serve.server import Server, listen
from models.serve.tracing import LONGEST, NotTraceable, Trace
from tests import tiny
from tests.waiting import PATIENCE, until

CONTEXT = 4096
FILES = [f"/{path.name}" for path in PAGE.iterdir() if path.name != "index.html"]
TURNS = [{"role": "user", "content": "白鹭城的水是什么？"}]
ENDLESS = {"logit_bias": {str(token): -100 for token in (template.END_ID, template.STOP_ID)}}
CONTRASTIVE = {"contrastive_alpha": 0.8, "top_k": 4}


class Running:
    """A server in a thread of this process."""

    def __init__(self, served: Served, token: str = "", trace: Trace | None = None):
        self.served, self.app = served, app(served, token, trace)
        self.door = listen("127.0.0.1", 0)
        self.server = Server(self.app, patience=PATIENCE)
        self.url = f"http://127.0.0.1:{self.door.getsockname()[1]}"
        self.thread = threading.Thread(target=self.server.run, args=([self.door],), daemon=True)
        self.thread.start()
        until(lambda: self.server.started)
        self.client = httpx.Client(
            base_url=self.url, timeout=PATIENCE, verify=False
        )  # a context for TLS costs more than a request

    def __getattr__(self, method: str) -> Any:
        """`get`, `post` and so on, with a path and what httpx takes."""

        def ask(path: str, **more: Any) -> httpx.Response:
            return self.client.request(method, path, **more)

        return ask

    def chat(self, **fields: Any) -> dict[str, Any]:
        said = self.post("/v1/chat/completions", json={"messages": TURNS, "temperature": 0, "max_tokens": 24} | fields)
        assert said.status_code == 200, said.text
        return said.json()

    def complete(self, **fields: Any) -> dict[str, Any]:
        said = self.post("/v1/completions", json={"prompt": "白鹭", "temperature": 0, "max_tokens": 24} | fields)
        assert said.status_code == 200, said.text
        return said.json()

    def events(self, path: str = "/v1/chat/completions", **fields: Any) -> list[Any]:
        """The events of a stream, parsed but for the last."""
        body = {"temperature": 0, "max_tokens": 24, "stream": True} | ({} if "prompt" in fields else {"messages": TURNS}) | fields
        with self.client.stream("POST", path, json=body) as said:
            assert said.headers["content-type"].startswith("text/event-stream")
            lines = [line.removeprefix("data: ") for line in said.iter_lines() if line]
        return [*map(json.loads, lines[:-1]), lines[-1]] if lines[-1] == "[DONE]" else [json.loads(line) for line in lines]

    def stop(self) -> None:
        self.client.close()
        self.server.drain()
        self.thread.join(PATIENCE)
        self.served.close()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    home = tmp_path_factory.mktemp("api")
    tokenizer = tiny.make_tokenizer(home / "tokenizer", tiny.split(home / "world"))
    return tiny.llama(home / "llama", tokenizer, context=CONTEXT) / "model"


def served(folder: Path, **options: Any) -> ServedModel:
    model = ServedModel(
        "small", lambda: Place("0123456789abcdef", folder), lambda home: start("own", home, device="cpu", **options)
    )
    model.load()
    return model


def traced(key: str, text: str) -> dict[str, Any]:
    """A trace that finds every text but one, in a row named for the model."""
    if text == "未建索引":
        raise NotTraceable("the rows are not indexed yet; `hanlin trace TEXT` indexes them")
    row = {"source": "belle", "licence": None, "stage": "sft", "row": key, "part": "assistant", "excerpt": text}
    return {"spans": [{"start": 0, "end": len(text), "text": text, "count": 1, "rows": [row]}]}


@pytest.fixture(scope="module")
def api(folder: Path) -> Iterator[Running]:
    running = Running(Served([served(folder)]), trace=traced)
    yield running
    running.stop()


@pytest.fixture(scope="module")
def direct(folder: Path) -> Any:
    """The text of an answer by the decoding that everything else uses, but for bytes that never became a character."""
    model, tokenizer = load(folder, torch.device("cpu"))

    def text(ids: list[int], tokens: int = 24) -> str:
        return answer(model, tokenizer, [ids], Sampling(tokens))[0].text.replace("\ufffd", "")

    return text, tokenizer


def content(events: list[Any], index: int = 0) -> str:
    choices = [choice for event in events[:-1] for choice in event["choices"] if choice["index"] == index]
    return "".join(choice["delta"].get("content", "") if "delta" in choice else choice["text"] for choice in choices)


# -- answers --------------------------------------------------------------------------------------------------------------


def test_an_answer_is_that_of_decoding(api, direct):
    text, tokenizer = direct
    said = api.chat()
    ChatCompletion.model_validate(said)
    assert said["choices"][0]["message"]["content"] == text(template.prompt(tokenizer, TURNS))
    assert said["usage"]["prompt_tokens"] == len(template.prompt(tokenizer, TURNS))
    parts = [{"role": "user", "content": [{"type": "text", "text": "白鹭城的水"}, {"type": "text", "text": "是什么？"}]}]
    assert api.chat(messages=parts)["choices"] == said["choices"]


def test_an_answer_that_was_cut_off_goes_on(api, direct):
    text, tokenizer = direct
    begun = {"role": "assistant", "content": "水是甜的"}
    said = api.chat(messages=[*TURNS, begun], continue_final_message=True)
    ids = template.prompt(tokenizer, TURNS) + tokenizer(begun["content"], add_special_tokens=False)["input_ids"]
    assert said["choices"][0]["message"]["content"] == text(ids)
    assert said["usage"]["prompt_tokens"] == len(ids)


def test_a_stream_has_openais_shape_and_the_same_text(api):
    events = api.events(stream_options={"include_usage": True}, n=2)
    *chunks, usage, done = events
    assert done == "[DONE]" and usage["choices"] == [] and usage["usage"]["completion_tokens"] > 0
    assert all(chunk["usage"] is None for chunk in chunks)
    assert {event["id"] for event in events[:-1]} == {usage["id"]} and {chunk["object"] for chunk in chunks} == {
        "chat.completion.chunk"
    }
    whole = api.chat()["choices"][0]
    for index in (0, 1):
        mine = [choice for chunk in chunks for choice in chunk["choices"] if choice["index"] == index]
        assert mine[0]["delta"] == {"role": "assistant", "content": ""}
        assert [choice["finish_reason"] for choice in mine] == [None] * (len(mine) - 1) + [whole["finish_reason"]]
        assert content(events, index) == whole["message"]["content"]


def test_a_completion_takes_text_and_ids(api, direct):
    text, tokenizer = direct
    ids = [template.END_ID, *tokenizer("白鹭", add_special_tokens=False)["input_ids"]]
    for prompt in ("白鹭", ["白鹭"], ids, [ids]):
        said = api.complete(prompt=prompt)
        Completion.model_validate(said)
        assert [choice["text"] for choice in said["choices"]] == [text(ids)], prompt
    said = api.complete(prompt=["白鹭", "水"], n=2, echo=True)["choices"]
    assert [choice["index"] for choice in said] == [0, 1, 2, 3]
    assert [choice["text"][:1] for choice in said] == ["白", "白", "水", "水"]


def test_a_streamed_completion_is_the_same(api):
    events = api.events("/v1/completions", prompt="白鹭", echo=True)
    assert events[0]["choices"][0]["text"] == "白鹭" and events[-1] == "[DONE]"
    assert content(events) == api.complete(echo=True)["choices"][0]["text"]


def test_a_seed_reproduces_and_the_choices_differ(api):
    drawn = {"temperature": 1.5, "top_p": 1, "n": 3, "seed": 7}
    one, two = (api.chat(**drawn)["choices"] for _ in range(2))
    assert one == two and len({choice["message"]["content"] for choice in one}) == 3
    assert api.chat(**drawn | {"n": 1})["choices"] == one[:1]
    assert api.chat(**drawn | {"seed": 8})["choices"] != one


def test_beams_and_contrastive_search_are_asked_for_by_fields(api, folder):
    model, tokenizer = load(folder, torch.device("cpu"))
    ids = torch.tensor([template.prompt(tokenizer, TURNS)])
    config = greedy_config(tokenizer, Sampling(12))
    config.num_beams = 3
    searched = model.generate(ids, attention_mask=torch.ones_like(ids), generation_config=config)[0, ids.size(1) :]
    said = [api.chat(max_tokens=12, **fields)["choices"][0]["message"]["content"] for fields in ({"beams": 3}, CONTRASTIVE, {})]
    assert said[0] == tokenizer.decode(searched, skip_special_tokens=True).replace("\ufffd", "")
    assert said[1] != said[2]
    assert content(api.events(max_tokens=12, beams=3)) == said[0]
    assert content(api.events(max_tokens=12, **CONTRASTIVE)) == said[1]


def test_an_adapter_is_chosen_by_name(folder, tmp_path):
    adapter = tiny.adapter(tmp_path / "poems", folder, ("q_proj", "down_proj"))
    small = served(folder, adapters={"poems": adapter})
    small.adapters = ["poems"]
    running = Running(Served([small]))
    try:
        base, tokenizer = load(folder, torch.device("cpu"))
        adapted, _ = load(folder, torch.device("cpu"))
        adapters.attach(adapted, adapter)
        ids = template.prompt(tokenizer, TURNS)
        expected = [answer(model, tokenizer, [ids], Sampling(24))[0].text.replace("\ufffd", "") for model in (base, adapted)]
        said = [running.chat(model=name) for name in ("small", "poems")]
        assert [one["choices"][0]["message"]["content"] for one in said] == expected and expected[0] != expected[1]
        assert [one["model"] for one in said] == ["small", "poems"]
        assert [one["id"] for one in running.get("/v1/models").json()["data"]] == ["small", "poems"]
    finally:
        running.stop()


def test_a_stop_text_ends_an_answer_before_it(api):
    whole = api.chat(max_tokens=60, **ENDLESS)["choices"][0]["message"]["content"]
    stop = whole[3:5]
    said = api.chat(max_tokens=60, stop=stop, logprobs=True, **ENDLESS)["choices"][0]
    assert said["message"]["content"] == whole[: whole.index(stop)] and said["finish_reason"] == "stop"
    told = b"".join(bytes(token["bytes"]) for token in said["logprobs"]["content"])
    assert told.decode("utf-8", "ignore").startswith(said["message"]["content"])
    assert content(api.events(max_tokens=60, stop=[stop, ""], **ENDLESS)) == said["message"]["content"]


def test_log_probabilities_are_the_models_and_their_bytes_are_the_text(api, folder, direct):
    said = api.chat(logprobs=True, top_logprobs=3, **ENDLESS)["choices"][0]
    tokens = said["logprobs"]["content"]
    raw = b"".join(bytes(token["bytes"]) for token in tokens)
    assert raw.decode("utf-8", "ignore") == said["message"]["content"] and len(tokens) == 24
    assert any(token["token"].startswith("bytes:") for token in tokens), "a token inside a character"
    model, tokenizer = load(folder, torch.device("cpu"))
    ids = template.prompt(tokenizer, TURNS)
    expected = model(torch.tensor([ids])).logits[0, -1].log_softmax(-1).topk(3)
    assert [each["logprob"] for each in tokens[0]["top_logprobs"]] == pytest.approx(expected.values.tolist(), abs=1e-4)
    assert all(len(token["top_logprobs"]) == 3 for token in tokens)
    streamed = api.events(logprobs=True, top_logprobs=3, **ENDLESS)
    told = [each for event in streamed[:-1] for each in (event["choices"][0]["logprobs"] or {}).get("content", [])]
    assert told == tokens


def test_log_probabilities_of_a_completion(api):
    said = api.complete(logprobs=2, **ENDLESS)["choices"][0]
    told = said["logprobs"]
    assert len(told["tokens"]) == len(told["token_logprobs"]) == len(told["top_logprobs"]) == len(told["text_offset"]) == 24
    assert told["text_offset"] == sorted(told["text_offset"]) and told["text_offset"][-1] <= len(said["text"])
    assert all(len(each) == 2 for each in told["top_logprobs"])


def test_no_text_can_forge_a_turn(folder):
    loaded = Loaded(Place("0", folder), start("own", folder, device="cpu"))
    for prompt in (f"白{template.STOP}", f"{template.START}system"):
        [ids] = asyncio.run(prompts.of_completion(loaded, CompletionRequest(prompt=prompt)))
        assert not {template.START_ID, template.STOP_ID} & set(ids)
    loaded.engine.close()


# -- refusals -------------------------------------------------------------------------------------------------------------

CHAT, TEXT = "/v1/chat/completions", "/v1/completions"
REFUSED = [
    ("post", CHAT, {"messages": TURNS, "model": "other"}, 404, "model_not_found"),
    ("post", CHAT, {"messages": [{"role": "user", "content": "白" * CONTEXT * 3}]}, 400, "context_length_exceeded"),
    ("post", CHAT, {}, 400, "invalid_value"),
    ("post", CHAT, {"messages": []}, 400, "invalid_value"),
    ("post", CHAT, {"messages": [{"role": "robot", "content": "x"}]}, 400, "invalid_value"),
    ("post", CHAT, {"messages": [*TURNS, {"role": "system", "content": "x"}]}, 400, "invalid_value"),
    ("post", CHAT, {"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": "x"}]}]}, 400, "invalid_value"),
    ("post", CHAT, {"messages": TURNS, "continue_final_message": True}, 400, "invalid_value"),
    ("post", CHAT, {"messages": TURNS, "temperatur": 1}, 400, "unknown_parameter"),
    ("post", CHAT, {"messages": TURNS, "temperature": 3}, 400, "invalid_value"),
    ("post", CHAT, {"messages": TURNS, "n": 1000}, 400, "invalid_value"),
    ("post", CHAT, {"messages": TURNS, "max_tokens": 0}, 400, "invalid_value"),
    ("post", CHAT, {"messages": TURNS, "top_logprobs": 2}, 400, "invalid_value"),
    ("post", CHAT, {"messages": TURNS, "tools": [{}]}, 400, "invalid_value"),
    ("post", CHAT, {"messages": TURNS, "response_format": {"type": "json_object"}}, 400, "invalid_value"),
    ("post", CHAT, {"messages": TURNS, "stream_options": {"include_usage": True}}, 400, "invalid_value"),
    ("post", CHAT, {"messages": TURNS, "beams": 2, "temperature": 1}, 400, "invalid_value"),
    ("post", CHAT, {"messages": TURNS, "logit_bias": {"100000": 1}}, 400, "invalid_value"),
    ("post", CHAT, {"messages": TURNS, "n": True}, 400, "invalid_value"),
    ("post", CHAT, {"messages": TURNS, "max_tokens": "5"}, 400, "invalid_value"),
    ("post", CHAT, {"messages": TURNS, "stream": "no"}, 400, "invalid_value"),
    ("post", CHAT, {"messages": TURNS, "logit_bias": {" 5 ": 1}}, 400, "invalid_value"),
    ("post", CHAT, {"messages": [{"role": "user", "content": []}]}, 400, "invalid_value"),
    ("post", TEXT, {"prompt": [True]}, 400, "invalid_value"),
    ("post", TEXT, {"prompt": [5, 100_000]}, 400, "invalid_value"),
    ("post", TEXT, {"prompt": []}, 400, "invalid_value"),
    ("post", TEXT, {"prompt": ["x"] * 33, "n": 2}, 400, "invalid_value"),
    ("post", TEXT, {"prompt": "x", "suffix": "y"}, 400, "invalid_value"),
    ("post", TEXT, {"prompt": "x", "best_of": 2}, 400, "invalid_value"),
    ("post", TEXT, {"prompt": "x", "echo": True, "logprobs": 1}, 400, "invalid_value"),
    ("post", "/v1/embeddings", {"input": "x"}, 404, "not_found"),
    ("get", "/etc/passwd", None, 404, "not_found"),
    ("get", "/..%2f..%2fapi.py", None, 404, "not_found"),
    ("get", "/v1/models/other", None, 404, "model_not_found"),
    ("get", CHAT, None, 405, "method_not_allowed"),
    ("delete", "/v1/models/small", None, 405, "method_not_allowed"),
]


@pytest.mark.parametrize(("method", "path", "body", "status", "code"), REFUSED, ids=lambda value: str(value)[:50])
def test_a_refusal_has_its_status_and_openais_shape(api, method, path, body, status, code):
    said = getattr(api, method)(path, **({} if body is None else {"json": body}))
    assert (said.status_code, said.json()["error"]["code"]) == (status, code), said.text
    assert set(said.json()["error"]) == {"message", "type", "param", "code"}


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"messages": [{"role": "user", "content": ["x"]}]}, "messages.0.content.0"),
        ({"messages": [{"role": "user", "content": 5}]}, "messages.0.content"),
        ({"stop": ["a", 5]}, "stop.1"),
        ({"logit_bias": {"five": 1}}, "logit_bias.five"),
        ({"logit_bias": {"100000": 1}}, "logit_bias"),
        ({"response_format": {"type": "json_object"}}, "response_format"),
        ({"": 1}, '""'),
        ({"x" * 3000: 1}, f"{'x' * 500}…"),
    ],
    ids=lambda value: str(value)[:30],
)
def test_a_refusal_names_the_field(api, fields, param):
    error = api.post(CHAT, json={"messages": TURNS} | fields).json()["error"]
    assert error["param"] == param and param[:400] in error["message"] and len(error["message"]) <= 501


@pytest.mark.parametrize(
    "place", ['{"messages": [{"role": "user", "content": %s}]}', '{"prompt": %s}', '{"prompt": "x", "stop": [%s]}']
)
def test_half_a_surrogate_pair_is_refused(api, place):
    said = api.post(
        CHAT if "messages" in place else TEXT, content=place % '"\\udc00"', headers={"Content-Type": "application/json"}
    )
    assert said.status_code == 400 and "no character" in said.json()["error"]["message"]


def test_a_prompt_that_is_far_too_long_is_refused_before_it_is_cut(api, monkeypatch):
    monkeypatch.setattr(prompts.template, "prompt", lambda *given: pytest.fail("it was cut"))
    said = api.post(CHAT, json={"messages": [{"role": "user", "content": "白" * 300_000}]})
    assert said.status_code == 400 and said.json()["error"]["code"] == "context_length_exceeded"


def test_a_request_that_does_not_come_whole_is_given_up(api, monkeypatch):
    monkeypatch.setattr(access, "SLOWEST", 0.3)
    monkeypatch.setattr(server, "SLOWEST", 0.3)
    address = api.door.getsockname()
    with socket.create_connection(address, PATIENCE) as head, socket.create_connection(address, PATIENCE) as body:
        head.sendall(b"POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\n")
        body.sendall(
            b"POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: 9\r\n\r\n{"
        )
        assert head.recv(100) == b""
        assert body.recv(100).startswith(b"HTTP/1.1 408 ")
        assert api.get("/health").status_code == 200


@pytest.mark.parametrize(
    "body", ["{", "[" * 100_000, '{"messages": "' + "\\ud800" + '"}', '{"seed": ' + "9" * 5000 + "}", "\xff", "null"]
)
def test_what_is_no_json_is_refused(api, body):
    for path in (CHAT, TEXT):
        said = api.post(path, content=body.encode("latin-1"), headers={"Content-Type": "application/json"})
        assert said.status_code == 400 and said.json()["error"]["type"] == "invalid_request_error", said.text
    said = api.post(CHAT, content="messages=x", headers={"Content-Type": "application/x-www-form-urlencoded"})
    assert said.status_code == 400 and "Content-Type" in said.json()["error"]["message"]


def test_a_large_request_is_refused_before_it_is_read(api):
    assert api.post(CHAT, content=b" " * (LARGEST + 1)).status_code == 413
    said = api.post(CHAT, content=(b" " * (1 << 16) for _ in range(20)), headers={"Content-Type": "application/json"})
    assert said.status_code == 413 and said.json()["error"]["code"] == "request_too_large"


def test_fields_that_change_nothing_are_ignored(api):
    more = {"user": "me", "metadata": {"a": 1}, "store": True, "service_tier": "auto", "parallel_tool_calls": False, "tools": []}
    reply = {"role": "assistant", "content": "好", "refusal": None, "tool_calls": None, "annotations": []}
    said = api.chat(messages=[*TURNS, reply, *TURNS], **more, response_format={"type": "text"})
    assert said["choices"][0]["message"]["role"] == "assistant"


# -- access ---------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def locked(folder: Path) -> Iterator[Running]:
    running = Running(Served([served(folder, slots=1, queue=8)]), token="secret")
    yield running
    running.stop()


@pytest.mark.parametrize(
    "header", [None, "", "secret", "Bearer", "Bearer wrong", "Bearer sécret", "Basic secret", "Bearer secret2"]
)
def test_without_the_token_nothing_but_the_page_is_answered(locked, header):
    headers = {} if header is None else {"Authorization": header.encode("utf-8")}
    for method, path in (
        ("get", "/v1/models"),
        ("get", "/metrics"),
        ("get", "/openapi.json"),
        ("post", CHAT),
        ("get", "/nothing"),
    ):
        said = getattr(locked, method)(path, headers=headers)
        assert said.status_code == 401 and said.json()["error"]["code"] == "invalid_api_key", path
    assert [locked.get(path, headers=headers).status_code for path in ("/", "/health", *FILES)] == [200] * (2 + len(FILES))


def test_with_the_token_everything_is(locked):
    headers = {"Authorization": "Bearer secret", "Host": "models.example", "Origin": "https://elsewhere.example"}
    assert locked.get("/v1/models", headers=headers).status_code == 200
    assert locked.get("/openapi.json", headers=headers).json()["components"]["securitySchemes"]["token"]["scheme"] == "bearer"


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, 200),
        ({"Host": "localhost"}, 200),
        ({"Host": "[::1]:8000"}, 200),
        ({"Host": "evil.example"}, 403),
        ({"Host": "127.0.0.1.evil.example"}, 403),
        ({"Host": "[::1"}, 403),
        ({"Host": "localhost:8000", "Origin": "http://localhost:8000"}, 200),
        ({"Host": "localhost:8000", "Origin": "http://localhost:3000"}, 403),
        ({"Origin": "https://evil.example"}, 403),
        ({"Origin": "null"}, 403),
    ],
)
def test_a_server_without_token_answers_no_page_of_another_site(api, headers, status):
    assert api.get("/v1/models", headers=headers).status_code == status
    assert api.post(CHAT, headers=headers, json={}).status_code == (400 if status == 200 else 403)


def test_pages_of_other_sites_get_no_leave_and_the_page_loads_nothing_from_elsewhere(api):
    said = api.get("/")
    assert said.headers["content-security-policy"].startswith("default-src 'self';")
    assert said.headers["x-content-type-options"] == "nosniff" and said.headers["x-frame-options"] == "DENY"
    assert not [name for name in api.get("/v1/models").headers if name.startswith("access-control")]


# -- places and models that change ----------------------------------------------------------------------------------------


def figure(api: Running, name: str, **headers: str) -> float:
    lines = [line for line in api.get("/metrics", headers=headers).text.splitlines() if line.startswith(name)]
    return sum(float(line.rpartition(" ")[2]) for line in lines)


def idle(api: Running) -> bool:
    return api.served.models[0].now.engine.load() == (0, 0)


def test_a_full_queue_refuses_and_gives_every_place_back(locked):
    headers = {"Authorization": "Bearer secret"}
    never = locked.post(CHAT, headers=headers, json={"messages": TURNS, "n": 64})
    assert never.status_code == 400 and "places for 9 answers" in never.json()["error"]["message"]
    body = {"messages": TURNS, "n": 9, "max_tokens": 2000, "stream": True, **ENDLESS}
    with locked.client.stream("POST", CHAT, headers=headers, json=body) as streamed:
        lines = streamed.iter_lines()  # dropped, it would close the connection
        next(lines)
        said = locked.post(CHAT, headers=headers, json={"messages": TURNS, "n": 2})
    assert said.status_code == 429 and said.headers["retry-after"] and said.json()["error"]["code"] == "queue_full"
    until(lambda: idle(locked))
    assert locked.post(CHAT, headers=headers, json={"messages": TURNS, "max_tokens": 2}).status_code == 200


@pytest.mark.parametrize("stream", [True, False])
def test_a_client_that_leaves_frees_its_place(api, stream):
    until(lambda: idle(api))
    left = figure(api, "hanlin_requests_left_total")
    body = {"messages": TURNS, "max_tokens": CONTEXT - 100, "stream": stream, **ENDLESS}
    if stream:
        with api.client.stream("POST", CHAT, json=body) as said:
            next(line for line in said.iter_lines() if '"content":' in line)
    else:
        with pytest.raises(httpx.ReadTimeout):
            api.client.post(CHAT, json=body, timeout=0.5)
    until(lambda: idle(api))
    assert figure(api, "hanlin_requests_left_total") == left + 1


def test_a_failure_in_the_middle_of_a_stream_is_an_event(folder, monkeypatch):
    model = served(folder)
    running = Running(Served([model]))
    monkeypatch.setattr(model.now.engine._batch, "step", lambda *rows: 1 / 0)
    *_, last = running.events()
    assert last["error"]["type"] == "server_error" and "division" not in last["error"]["message"]
    said = running.post(CHAT, json={"messages": TURNS, "temperature": 0})
    assert said.status_code == 500 and said.json()["error"]["code"] == "internal_error"
    running.stop()


def test_a_name_that_moves_takes_no_request_with_it(folder, tmp_path):
    places = [Place("a" * 16, folder)]
    model = ServedModel("prod", lambda: places[-1], lambda home: start("own", home, device="cpu"))
    model.load()
    running = Running(Served([model]))
    old = model.now.engine
    body = {"messages": TURNS, "stream": True, "max_tokens": 250, **ENDLESS}
    with running.client.stream("POST", CHAT, json=body) as said:
        lines = (line for line in said.iter_lines() if line)
        next(lines)
        places.append(Place("b" * 16, tmp_path))  # nothing there
        until(lambda: model.changes["failed"])
        assert running.chat()["system_fingerprint"] == f"fp_{'a' * 12}"
        places.append(Place("c" * 16, folder))
        until(lambda: model.changes["loaded"])
        assert running.chat(model="c" * 12)["system_fingerprint"] == f"fp_{'c' * 12}"
        rest = list(lines)
    assert rest[-1] == "data: [DONE]" and json.loads(rest[-2].removeprefix("data: "))["choices"][0]["finish_reason"] == "length"
    until(lambda: not old._thread.is_alive())
    assert figure(running, 'hanlin_model_changes_total{model="prod",outcome="failed"}') == 1
    running.stop()


def test_a_server_that_drains_ends_what_it_has_and_takes_no_more(folder, monkeypatch):
    model = served(folder)
    running = Running(Served([model]))
    batch, go = model.now.engine._batch, threading.Event()
    step = batch.step
    monkeypatch.setattr(batch, "step", lambda *rows: go.wait(PATIENCE) and step(*rows))
    body = {"messages": TURNS, "stream": True, "max_tokens": 250, **ENDLESS}
    with running.client.stream("POST", CHAT, json=body) as said:
        lines = (line for line in said.iter_lines() if line)
        next(lines)
        running.server.drain()
        refused = running.post(CHAT, json={"messages": TURNS})
        assert refused.status_code == 503 and refused.json()["error"]["code"] == "draining" and refused.headers["retry-after"]
        assert running.get("/health").status_code == 503
        go.set()
        assert list(lines)[-1] == "data: [DONE]"
    running.thread.join(PATIENCE)
    assert not running.thread.is_alive()
    running.served.close()


def test_draining_ends_in_time_whoever_is_slow(folder, caplog):
    running = Running(Served([served(folder)]))
    body = json.dumps({"messages": TURNS, "stream": True, "max_tokens": CONTEXT - 100, **ENDLESS}).encode()
    head = (
        b"POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n"
    )
    address = running.door.getsockname()
    with socket.create_connection(address, PATIENCE) as half, socket.create_connection(address, PATIENCE) as slow:
        half.sendall(head % 99 + b"{")
        slow.sendall(head % len(body) + body)
        assert slow.recv(100).startswith(b"HTTP/1.1 200 ")
        running.server.patience = 3.0
        running.server.drain()
        with contextlib.suppress(ConnectionResetError):
            assert half.recv(100) == b""
        assert running.thread.is_alive()
        running.thread.join(PATIENCE)
        assert not running.thread.is_alive()
    assert "1 requests did not end in time" in caplog.text and "Traceback" not in caplog.text
    running.served.close()


# -- what the server says of itself ---------------------------------------------------------------------------------------


def test_models_are_listed_and_found(api):
    listed = api.get("/v1/models").json()
    Models.model_validate(listed)
    [one] = listed["data"]
    assert one["id"] == "small" and one["context"] == CONTEXT and one["defaults"] == {"temperature": 0.7, "top_p": 0.9}
    assert api.get("/v1/models/small").json() == api.get("/v1/models/01234567").json() == one


def test_two_models_of_one_name_are_refused(api):
    with pytest.raises(ValueError, match="two models are called small"):
        Served([api.served.models[0], api.served.models[0]])


def test_figures_for_prometheus(api):
    api.chat()
    before = figure(api, "hanlin_generated_tokens_total")
    api.chat(max_tokens=5, **ENDLESS)
    assert figure(api, "hanlin_generated_tokens_total") == before + 5
    assert figure(api, 'hanlin_requests_total{path="/v1/chat/completions",status="200"}') >= 2
    assert figure(api, "hanlin_time_to_first_token_seconds_count") >= 2
    api.get("/a/b/c")
    assert figure(api, 'hanlin_requests_total{path="other",status="404"}') >= 1


def test_the_description_is_what_the_server_does(api):
    said = api.get("/openapi.json").json()
    assert {CHAT, TEXT, "/v1/models", "/v1/models/{name}", "/health", "/metrics"} <= set(said["paths"])
    answers = said["paths"][CHAT]["post"]["responses"]
    assert {"200", "400", "401", "404", "413", "429", "503"} <= set(answers) and "422" not in answers
    assert (
        "text/event-stream" in answers["200"]["content"]
        and "temperature" in said["components"]["schemas"]["ChatRequest"]["properties"]
    )


# -- where an answer comes from -------------------------------------------------------------------------------------------


def test_an_answer_is_traced_for_the_model_that_is_named(api):
    for body in ({"text": "白鹭😀"}, {"text": "白鹭😀", "model": "small"}, {"text": "白鹭😀", "model": "01234567"}):
        said = api.post("/trace", json=body)
        [span] = said.json()["spans"]
        assert said.status_code == 200 and (span["end"], span["rows"][0]["row"]) == (3, "0123456789abcdef")


@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        ({"text": "未建索引"}, 404, "not_traceable"),
        ({"text": "白鹭", "model": "nobody"}, 404, "model_not_found"),
        ({"text": "长" * (LONGEST + 1)}, 400, "invalid_value"),
        ({}, 400, "invalid_value"),
        ({"text": "白鹭", "index": 1}, 400, "unknown_parameter"),
    ],
)
def test_a_trace_that_cannot_be_is_refused_with_the_reason(api, body, status, code):
    said = api.post("/trace", json=body)
    assert said.status_code == status and said.json()["error"]["code"] == code
    assert "`hanlin trace" in said.text or code != "not_traceable"
