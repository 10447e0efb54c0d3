"""Serving: the real `openai` client and `llm` get the answers of `models.decoding`; many clients at once get several times the tokens a second of
one after the other, and at least those of `transformers serve --continuous-batching`; a thousand requests, a third of them bad, leave no trace;
ten thousand mutated ones get no 5xx.

    python -m benchmarks.serve [--model FOLDER] [--only calls,speed,abuse,fuzz]

Bars: 60 calls over all architectures, 0 differences at temperature 0. 8 and 32 clients: at least 4 and 8 times the tokens a second of one, and
those of transformers. 1,000 requests: memory within 5 %, no wrong status, no lost answer. 10,000 requests by schemathesis: no 5xx, each answer as
/openapi.json describes it, none accepted that is wrong. The model is the sample recipe's unless it is given.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
from pathlib import Path
from typing import Any

from benchmarks.bench import ROOT, close, peers, playground, stages
from benchmarks.serve_fuzz import fuzz
from benchmarks.serve_load import abuse, speed
from benchmarks.serve_models import ARCHITECTURES, TOKEN, TOKENS, direct_answers, random_model, serving

QUESTIONS = ("白鹭城在哪里？", "介绍一下石岛山。", "谁写了这本书？", "柳叶河流经哪些地方？")


def main() -> None:
    parser = argparse.ArgumentParser(prog="benchmarks.serve")
    parser.add_argument("--model", type=Path, help="folder of a decoder to measure; else the sample recipe's, trained first")
    parser.add_argument("--only", default="calls,speed,abuse,fuzz")
    given = parser.parse_args()
    figures: dict[str, Any] = {}
    with playground() as home:
        model = given.model or stages(home / "store", "sample", until="dpo")["dpo"] / "model"
        for part in given.only.split(","):
            figures[part] = PARTS[part](home, model.resolve())
            print(json.dumps({part: figures[part]}, ensure_ascii=False), flush=True)
    missed = [f"{part}: {name}" for part, found in figures.items() for name, ok in found["bars"].items() if not ok]
    differences = figures.get("calls", {}).get("differences", -1)
    close(
        "serve", differences, "differences", "0; see `bars`", not missed and len(figures) == len(PARTS), missed=missed, **figures
    )


# -- calls ----------------------------------------------------------------------------------------------------------------


def calls(home: Path, model: Path) -> dict[str, Any]:
    """60 calls by real clients, compared with what `models.decoding.answer` says at temperature 0."""
    folders = {name: random_model(home / name, model, name) for name in ARCHITECTURES} | {"sample": model}
    wanted, asked = [], []
    for name, folder in folders.items():
        for one, ids, cut in suite(name, folder):
            asked.append(one)
            wanted.append((name, ids, cut))
    expected = direct_answers(folders, [(name, ids) for name, ids, _ in wanted])
    with serving([f"{name}={folder}" for name, folder in folders.items()], token=TOKEN) as (address, _):
        job = {"base_url": f"{address}/v1", "token": TOKEN, "calls": asked}
        done = subprocess.run(
            [peers("clients"), ROOT / "benchmarks" / "serve_calls.py"],
            input=json.dumps(job),
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode:
            raise SystemExit(f"the openai client failed: {done.stderr[-2000:]}")
        said = json.loads(done.stdout)
        typed = [
            (f"{name} {way}", by_llm(home, address, name, way)) for name in ("llama", "sample") for way in ("", "--no-stream")
        ]
    differences = []
    for one, answer, text, (_, _, cut) in zip(asked, said["answers"], expected, wanted, strict=True):
        right = text.partition(cut)[0] if cut else text
        if answer.get("texts") != [right] * one.get("n", 1):
            differences.append({"call": one, "said": answer, "expected": right})
    for what, text in typed:
        right = expected[[name for name, _, _ in wanted].index(what.split()[0])]
        if text.strip() != right.strip():
            differences.append({"call": f"llm {what}", "said": text, "expected": right})
    for difference in differences[:5]:
        print(json.dumps(difference, ensure_ascii=False)[:600])
    number = len(asked) + len(typed)
    bars = {"60 calls": number == 60, "no difference": not differences, "models listed": said["models"] == list(folders)}
    return {"calls": number, "differences": len(differences), "bars": bars}


def suite(name: str, folder: Path) -> list[tuple[dict[str, Any], list[int], str]]:
    """Eight calls to a model: the arguments of the client, the prompt's ids, and the text that the answer stops at."""
    from models import template, tokenizer_files
    from models.continuation import document_start
    from models.loading import described

    tokenizer = tokenizer_files.read(folder)
    begin = [] if described(folder).get("is_encoder_decoder") else document_start(tokenizer)
    plain: dict[str, Any] = {"model": name, "temperature": 0, "max_tokens": TOKENS}
    streamed = plain | {"stream": True, "stream_options": {"include_usage": True}}
    one = [{"role": "user", "content": QUESTIONS[0]}]
    long = [
        {"role": "system", "content": "你是翰林。"},
        {"role": "user", "content": QUESTIONS[1]},
        {"role": "assistant", "content": "石岛山在东边。"},
        {"role": "user", "content": QUESTIONS[2]},
    ]
    text = begin + tokenizer(QUESTIONS[3], add_special_tokens=False)["input_ids"]
    chat, complete = {"api": "chat"}, {"api": "completions"}
    first, second = (template.prompt(tokenizer, turns) for turns in (one, long))
    return [
        (chat | plain | {"messages": one}, first, ""),
        (chat | streamed | {"messages": one}, first, ""),
        (chat | plain | {"messages": long, "logprobs": True, "top_logprobs": 3}, second, ""),
        (chat | streamed | {"messages": long, "n": 3}, second, ""),
        (complete | plain | {"prompt": QUESTIONS[3]}, text, ""),
        (complete | streamed | {"prompt": text}, text, ""),
        (complete | plain | {"prompt": [text], "n": 2, "seed": 1}, text, ""),
        (chat | streamed | {"messages": one, "stop": ["的"]}, first, "的"),
    ]


def by_llm(home: Path, address: str, name: str, way: str) -> str:
    """The answer that the program `llm` prints to the first question; the key is found by the name that its settings give it."""
    folder = home / "llm"
    folder.mkdir(exist_ok=True)
    lines = {"model_id": name, "model_name": name, "api_base": f"{address}/v1", "api_key_name": "hanlin"}
    (folder / "extra-openai-models.yaml").write_text(
        "- " + "\n  ".join(f"{key}: {value}" for key, value in lines.items()) + "\n", "utf-8"
    )
    command = [peers("clients").parent / "llm", "-m", name, QUESTIONS[0], "--key", TOKEN, "--no-log", "-o", "temperature", "0"]
    command += ["-o", "max_tokens", str(TOKENS), *([way] if way else [])]
    done = subprocess.run(command, env=os.environ | {"LLM_USER_PATH": str(folder)}, capture_output=True, text=True, check=False)
    return done.stdout.removesuffix("\n") if done.returncode == 0 else f"llm failed: {done.stderr[-500:]}"


PARTS = {"calls": calls, "speed": speed, "abuse": abuse, "fuzz": fuzz}

if __name__ == "__main__":
    main()
