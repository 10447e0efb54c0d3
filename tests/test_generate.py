from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
import transformers

from models import continuous_batching, decoding, events, generate, loading, template
from models.decoding import Answer, answer
from models.engines.batch import Steps
from models.sampling import Sampling
from tests import tiny

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("generate")
    made = tiny.make_tokenizer(folder / "tokenizer", tiny.split(folder / "world"))
    tiny.llama(folder / "knows", made, steps=60, context=160)
    tiny.llama(folder / "random", made, context=160)
    return folder


@pytest.fixture(scope="module")
def knows(home):
    return loading.load(home / "knows", CPU)


def prompt(tokenizer, place: str) -> list[int]:
    return template.prompt(tokenizer, tiny.turns(place)[:1])


def said(place: str) -> str:
    return tiny.turns(place)[1]["content"]


def test_an_answer_ends_at_the_end_of_turn(knows):
    model, tokenizer = knows
    (found,) = answer(model, tokenizer, [prompt(tokenizer, "石桥镇")], Sampling(48))
    assert found == Answer(said("石桥镇"), len(tokenizer(said("石桥镇"))["input_ids"]) + 1, "stop")


def test_an_answer_without_room_to_end_is_cut_off(knows):
    model, tokenizer = knows
    (found,) = answer(model, tokenizer, [prompt(tokenizer, "石桥镇")], Sampling(5))
    assert found.end == "length" and found.tokens == 5
    assert said("石桥镇").startswith(found.text)


def test_a_prompt_that_leaves_no_room_is_not_read(knows):
    model, tokenizer = knows
    long = template.prompt(tokenizer, [{"role": "user", "content": "水" * 150}])
    found = answer(model, tokenizer, [long, prompt(tokenizer, "云台县")], Sampling(48))
    assert found == [Answer("", 0, "too_long"), answer(model, tokenizer, [prompt(tokenizer, "云台县")], Sampling(48))[0]]
    assert answer(model, tokenizer, [long], Sampling(48)) == [Answer("", 0, "too_long")]


def test_padding_changes_no_answer(home, knows):
    """Of a random model too, whose tokens are nearly tied."""
    for model, tokenizer in (knows, loading.load(home / "random", CPU)):
        prompts = [template.prompt(tokenizer, [{"role": "user", "content": "水" * size}]) for size in (1, 7, 30)]
        together = answer(model, tokenizer, prompts, Sampling(24))
        assert together == [answer(model, tokenizer, [one], Sampling(24))[0] for one in prompts]


@pytest.mark.parametrize("compact", [1, 3])
def test_answers_that_have_ended_leave_the_batch_and_change_no_other(knows, monkeypatch, compact):
    model, tokenizer = knows
    prompts = [prompt(tokenizer, place) for place in tiny.PLACES]
    alone = [answer(model, tokenizer, [one], Sampling(48))[0] for one in prompts]
    monkeypatch.setattr(decoding, "is_supported", lambda model: False)  # as one whose cache has no rows
    rows, plain = [], model.generate
    monkeypatch.setattr(model, "generate", lambda **inputs: rows.append(len(inputs["input_ids"])) or plain(**inputs))
    monkeypatch.setattr(decoding, "COMPACT", compact)
    assert answer(model, tokenizer, prompts, Sampling(48)) == alone
    assert rows[0] == len(prompts) and len(set(rows)) > 2 and rows == sorted(rows, reverse=True)


@pytest.mark.parametrize("slots", [1, 3, 5])
def test_an_answer_that_ends_makes_room_for_the_next_prompt_and_changes_no_other(knows, monkeypatch, slots):
    model, tokenizer = knows
    prompts = [prompt(tokenizer, place) for place in tiny.PLACES]
    alone = [answer(model, tokenizer, [one], Sampling(48))[0] for one in prompts]
    rows, step = [], Steps.next
    monkeypatch.setattr(Steps, "next", lambda self, ids: rows.append(len(ids)) or step(self, ids))
    ended: list[int] = []
    assert answer(model, tokenizer, prompts, Sampling(48), slots=slots, done=ended.append) == alone
    assert max(rows) == slots and ended == sorted(ended) and ended[-1] == len(prompts)
    assert len(rows) < -(-len(prompts) // slots) * max(one.tokens for one in alone) or slots == 1


@pytest.mark.parametrize("name", ["knows", "random"])
def test_a_beginning_that_prompts_share_is_read_once_and_changes_no_answer(home, monkeypatch, name):
    model, tokenizer = loading.load(home / name, CPU)
    few = tiny.turns("石桥镇")
    prompts = [template.prompt(tokenizer, [*few, {"role": "user", "content": "水" * size}]) for size in (1, 7, 9, 2)]
    with monkeypatch.context() as without:
        without.setattr(continuous_batching, "LEAST", 1000)
        expected = answer(model, tokenizer, prompts, Sampling(24))
    read: list[torch.Size] = []
    model.register_forward_pre_hook(lambda model, args, inputs: read.append(inputs["input_ids"].shape), with_kwargs=True)
    assert answer(model, tokenizer, prompts, Sampling(24)) == expected
    assert "too_long" not in {one.end for one in expected}
    (one, shared), (four, own) = read[:2]
    assert (one, four) == (1, 4) and shared >= 16 and shared + own == max(map(len, prompts))


def test_a_drawn_answer_depends_on_its_own_seed_alone(home):
    model, tokenizer = loading.load(home / "random", CPU)
    prompts = [prompt(tokenizer, place) for place in ("石桥镇", "云台县", "石桥镇")]
    sampling = Sampling(20, 1.0, 0.9)
    first, other, again = answer(model, tokenizer, prompts, sampling, [1, 2, 3])
    assert first != again, "the same prompt with another seed"
    assert answer(model, tokenizer, prompts[::-1], sampling, [3, 2, 1], slots=2) == [again, other, first]
    assert answer(model, tokenizer, prompts[:1], sampling, [1]) == [first]


def job(home: Path, out: Path, **more) -> dict:
    prompts = out.with_suffix(".jsonl")
    rows = [{"messages": tiny.turns(place)[:1]} for place in tiny.PLACES] + [
        {"messages": [{"role": "user", "content": "水" * 150}]}
    ]
    prompts.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows))
    settings = {"temperatures": [0.0, 1.0], "top_p": 0.95, "max_new_tokens": 40, "batch": 4, "seed": 7, "device": "cpu"}
    return {"model": str(home / "knows"), "prompts": str(prompts), "out": str(out)} | settings | more


def test_what_is_lost_is_made_again_the_same_and_nothing_else(home, tmp_path, capsys):
    out = tmp_path / "answers"
    generate.generate(job(home, out, batch=1))
    shards = sorted(out.iterdir())
    assert len(shards) == 2 * 3, "four batches each"
    before = {path: path.read_bytes() for path in shards}
    lost = [path for path in shards if path.name.startswith("1.0")][1]
    lost.unlink()
    untouched = {path: path.stat().st_mtime_ns for path in shards if path != lost}
    capsys.readouterr()
    generate.generate(job(home, out, batch=1))
    assert {path: path.read_bytes() for path in sorted(out.iterdir())} == before
    assert {path: path.stat().st_mtime_ns for path in untouched} == untouched
    last = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert (last["event"], last["done"], last["total"], last["unit"]) == ("progress", 18, 18, "answer")


def test_every_prompt_is_answered_at_every_temperature(home, tmp_path):
    out = tmp_path / "answers"
    assert generate.generate(job(home, out)) == {"answers": 18, "engine": f"transformers {transformers.__version__}"}
    rows = [json.loads(line) for path in out.iterdir() for line in path.open()]
    assert sorted((row["prompt"], row["temperature"]) for row in rows) == [(n, t) for n in range(9) for t in (0.0, 1.0)]
    by_prompt = {row["prompt"]: row for row in rows if row["temperature"] == 0}
    assert [by_prompt[n]["text"] for n in range(8)] == [said(place) for place in tiny.PLACES]
    assert by_prompt[8]["end"] == "too_long"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"max_new_tokens": 160}, "whole context 160 tokens; lower it"),
        ({"model": "/nowhere"}, "/nowhere holds no model"),
        ({"device": "mps"}, "torch sees no such device"),
    ],
)
def test_a_mistake_is_told_in_one_line(home, tmp_path, monkeypatch, capsys, change, message):
    path = tmp_path / "job.json"
    path.write_text(json.dumps(job(home, tmp_path / "answers", **change)))
    monkeypatch.setattr("sys.argv", ["models.generate", str(path)])
    with pytest.raises(SystemExit):
        events.main(generate.generate)
    (event,) = map(json.loads, capsys.readouterr().out.splitlines())
    assert event["event"] == "error" and message in event["message"]


# chat
