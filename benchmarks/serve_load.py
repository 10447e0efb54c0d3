"""Loads for the benchmark of serving: many clients at once against one after the other and against transformers' server, and bad requests among
good ones."""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import httpx

from benchmarks.bench import peers
from benchmarks.serve_models import TOKEN, TOKENS, direct_answers, serving

CLIENTS = (1, 8, 32)
ROUNDS = 3  # of each number of clients, of which the best counts: the machine has other work
PLACES = "白鹭城 石岛山 柳叶河 雪松镇 星原省 临河县 芦白镇 榆林村".split()
ASKED = ("在哪里？", "有什么特产？", "的水从哪里来？", "有多少人？", "的历史是怎样的？")
BAD = 3  # every third request of the abuse is bad
HEADERS = {"Authorization": f"Bearer {TOKEN}"}
Asked = dict[str, Any]


# -- speed ----------------------------------------------------------------------------------------------------------------


def speed(home: Path, model: Path) -> dict[str, Any]:
    """Tokens a second by the number of clients, of ours and of transformers' server, in turns."""
    found: dict[str, Any] = {"ours": {}, "transformers": {}}
    with serving([f"model={model}"], token=TOKEN) as (ours, _), transformers_server(model) as theirs:
        asyncio.run(one_load(ours, "model", 8))
        asyncio.run(one_load(theirs, str(model), 8))
        for _ in range(ROUNDS):
            for clients in CLIENTS:
                for name, address, called in (("ours", ours, "model"), ("transformers", theirs, str(model))):
                    figure = asyncio.run(one_load(address, called, clients))
                    if figure["tokens_per_second"] > found[name].get(clients, {}).get("tokens_per_second", 0):
                        found[name][clients] = figure
        first = asyncio.run(first_tokens(ours, 8))
    rates = {name: {clients: each["tokens_per_second"] for clients, each in figures.items()} for name, figures in found.items()}
    gains = {clients: round(rates["ours"][clients] / rates["ours"][1], 2) for clients in CLIENTS}
    beside = {clients: round(rates["ours"][clients] / rates["transformers"][clients], 2) for clients in CLIENTS}
    bars = {"8 clients, 4 times one": gains[8] >= 4, "32 clients, 8 times one": gains[32] >= 8}
    bars |= {f"{clients} clients, as transformers": beside[clients] >= 1 for clients in CLIENTS[1:]}
    return {
        "tokens_per_second": rates,
        "times_one": gains,
        "times_transformers": beside,
        "first_token_seconds": first,
        "bars": bars,
    }


def requests(number: int) -> list[Asked]:
    """So many different requests of the same work: a text to go on with for `TOKENS` tokens."""
    texts = [place + what for place in PLACES for what in ASKED]
    return [{"prompt": texts[at % len(texts)], "max_tokens": TOKENS, "temperature": 0, "seed": at} for at in range(number)]


async def one_load(address: str, model: str, clients: int) -> dict[str, float]:
    """So many clients at once, each with three requests one after the other."""
    rows = [body | {"model": model} for body in requests(3 * clients)]
    async with httpx.AsyncClient(
        base_url=address, headers=HEADERS, timeout=600, limits=httpx.Limits(max_connections=None)
    ) as http:

        async def client(number: int) -> int:
            tokens = 0
            for body in rows[number::clients]:
                said = await http.post("/v1/completions", json=body)
                assert said.status_code == 200, said.text
                tokens += said.json()["usage"]["completion_tokens"]
            return tokens

        began = time.monotonic()
        tokens = sum(await asyncio.gather(*(client(number) for number in range(clients))))
        seconds = time.monotonic() - began
    return {"tokens_per_second": round(tokens / seconds, 1), "tokens": tokens, "seconds": round(seconds, 2)}


async def first_tokens(address: str, clients: int) -> dict[str, float]:
    """Seconds to the first token of so many streams that begin at once."""
    async with httpx.AsyncClient(base_url=address, headers=HEADERS, timeout=600) as http:

        async def first(body: Asked) -> float:
            began = time.monotonic()
            async with http.stream("POST", "/v1/completions", json=body | {"stream": True}) as said:
                async for line in said.aiter_lines():
                    if line.startswith("data:"):
                        return time.monotonic() - began
            raise AssertionError("a stream without an event")

        seconds = await asyncio.gather(*(first(body) for body in requests(clients)))
    return {"median": round(statistics.median(seconds), 3), "most": round(max(seconds), 3)}


@contextlib.contextmanager
def transformers_server(model: Path) -> Iterator[str]:
    """`transformers serve --continuous-batching` with the same model, on as many threads as ours."""
    port = 18451
    env = os.environ | {"OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}
    packages = next(
        (peers("clients").parents[1] / "lib").glob("python3*/site-packages")
    )  # it wants the package openai, even to serve
    start = f"import sys; sys.path.append({str(packages)!r}); from transformers.cli.transformers import main; main()"
    command = [sys.executable, "-c", start, "serve", str(model), "--continuous-batching", "--port", str(port)]
    more = [
        "--host",
        "127.0.0.1",
        "--device",
        "cpu",
        "--dtype",
        "float32",
        "--cb-num-blocks",
        "256",
        "--cb-max-batch-tokens",
        "512",
    ]
    process = subprocess.Popen([*command, *more], env=env, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        address = f"http://127.0.0.1:{port}"
        until = time.monotonic() + 300
        while time.monotonic() < until and process.poll() is None:
            with contextlib.suppress(httpx.HTTPError):
                if httpx.get(f"{address}/health").status_code == 200:
                    break
            time.sleep(0.5)
        yield address
    finally:
        process.terminate()
        process.wait()


# -- abuse ----------------------------------------------------------------------------------------------------------------


def abuse(home: Path, model: Path, number: int = 1000, clients: int = 16) -> dict[str, Any]:
    """So many requests, of which a third are malformed, too long, or cut off by their client."""
    from models import template, tokenizer_files

    tokenizer = tokenizer_files.read(model)
    questions = [place + what for place in PLACES for what in ASKED]
    ids = [template.prompt(tokenizer, [{"role": "user", "content": text}]) for text in questions]
    right = dict(zip(questions, direct_answers({"model": model}, [("model", each) for each in ids], 16), strict=True))
    with serving([f"model={model}"], token=TOKEN) as (address, pid):
        memory = [resident(pid)]
        outcomes: list[str] = []
        for part in range(5):
            outcomes += asyncio.run(abused(address, range(part * number // 5, (part + 1) * number // 5), clients, right))
            time.sleep(2)
            memory.append(resident(pid))
        with httpx.Client(base_url=address, headers=HEADERS) as http:
            lines = http.get("/metrics").text.splitlines()
    busy = sum(
        float(line.split()[-1]) for line in lines if line.startswith(("hanlin_requests_running{", "hanlin_requests_waiting{"))
    )
    growth = memory[-1] / memory[1] - 1
    wrong = [outcome for outcome in outcomes if outcome != "right"]
    bars = {"memory within 5 %": growth <= 0.05, "no wrong status, no lost answer": not wrong, "every place is free": busy == 0}
    return {
        "requests": len(outcomes),
        "wrong": wrong[:5],
        "memory_mb": [round(each) for each in memory],
        "growth": round(growth, 4),
        "bars": bars,
    }


async def abused(address: str, numbers: Sequence[int], clients: int, right: dict[str, str]) -> list[str]:
    """The outcomes of some requests: `right`, or what was wrong."""
    limits = httpx.Limits(max_connections=None)
    queue = list(numbers)
    async with httpx.AsyncClient(base_url=address, headers=HEADERS, timeout=600, limits=limits) as http:

        async def client() -> list[str]:
            found = []
            while queue:
                at = queue.pop()
                found.append(await (bad(http, at) if at % BAD == 0 else good(http, at, right)))
            return found

        return [outcome for each in await asyncio.gather(*(client() for _ in range(clients))) for outcome in each]


async def good(http: httpx.AsyncClient, at: int, right: dict[str, str]) -> str:
    question = sorted(right)[at % len(right)]
    body = {"model": "model", "messages": [{"role": "user", "content": question}], "temperature": 0, "max_tokens": 16}
    said = await http.post("/v1/chat/completions", json=body)
    if said.status_code != 200:
        return f"{said.status_code} for a good request: {said.text[:200]}"
    text = said.json()["choices"][0]["message"]["content"]
    return "right" if text == right[question] else f"{text!r} instead of {right[question]!r}"


async def bad(http: httpx.AsyncClient, at: int) -> str:
    """A bad request of one of many kinds, and whether it had the status that it should have."""
    turn = [{"role": "user", "content": "白鹭城"}]
    kinds: list[tuple[int, dict[str, Any]]] = [
        (400, {"content": b'{"messages": ['}),
        (400, {"content": b"\xff\xfe"}),
        (400, {"json": {"messages": [{"role": "user", "content": "白鹭城" * 3000}]}}),
        (400, {"json": {"messages": turn, "temperature": "hot"}}),
        (400, {"json": {"messages": "白鹭城"}}),
        (404, {"json": {"messages": turn, "model": "nobody's"}}),
        (401, {"json": {"messages": turn}, "headers": {"Authorization": "Bearer wrong"}}),
        (413, {"content": b" " * (1 << 21)}),
    ]
    choice = random.Random(at).randrange(2 * len(kinds))
    if choice >= len(kinds):
        return await leave(
            http, {"messages": turn, "max_tokens": 100, "stream": choice % 2 == 0, "logit_bias": {"1": -100, "3": -100}}
        )
    status, asked = kinds[choice]
    asked = {"headers": {"Content-Type": "application/json"}} | asked
    said = await http.post("/v1/chat/completions", **asked)
    shaped = set(said.json().get("error", {})) == {"message", "type", "param", "code"}
    return "right" if said.status_code == status and shaped else f"{said.status_code} instead of {status}: {said.text[:200]}"


async def leave(http: httpx.AsyncClient, body: Asked) -> str:
    """A request whose client leaves after a moment."""
    with contextlib.suppress(httpx.TimeoutException):
        if body["stream"]:
            async with http.stream("POST", "/v1/chat/completions", json=body) as said:
                async for _ in said.aiter_lines():
                    break
        else:
            await http.post("/v1/chat/completions", json=body, timeout=0.05)
    return "right"


def resident(pid: int) -> float:
    """Megabytes of memory that a process has."""
    fields = dict(line.split(":", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines())
    return int(fields["VmRSS"].split()[0]) / 1024
