from __future__ import annotations

import time
from pathlib import Path

import pytest

from models import template
from models.engines.engine import ContextExceeded, QueueFull
from models.engines.llama_cpp import LlamaCppEngine
from models.engines.own import OwnEngine
from models.engines.settings import DecodingSettings
from tests import tiny

pytest.importorskip("xllamacpp")


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("llama_cpp")
    made = tiny.make_tokenizer(folder / "tokenizer", tiny.split(folder / "world"))
    return tiny.llama(folder / "knows", made, steps=60, context=160) / "model"


@pytest.fixture(scope="module")
def engine(home):
    made = LlamaCppEngine(home, slots=2, queue=4)
    yield made
    made.close()


def read(generations) -> list[list[int]]:
    return [[token.id for token in generation] for generation in generations]


def test_it_answers_as_our_own_engine_does(home, engine):
    prompts = [template.prompt(engine.tokenizer, tiny.turns(place)[:1]) for place in list(tiny.PLACES)[:6]]
    own = OwnEngine(home, "cpu")
    for settings in (DecodingSettings(40), DecodingSettings(12, repetition_penalty=1.3), DecodingSettings(40, stop=("旁边",))):
        expected = [own.submit(ids, settings, 0) for ids in prompts]
        found = [engine.submit(ids, settings, 0) for ids in prompts]
        assert read(found) == read(expected)
        assert [one.end for one in found] == [one.end for one in expected]
    own.close()


def test_a_drawn_answer_follows_its_seed_and_keeps_half_characters(engine):
    settings = DecodingSettings(40, temperature=2.0, logit_bias=dict.fromkeys(template.stops(engine.tokenizer), -100.0))
    first, same, other = read(engine.submit([5, 6, 7], settings, seed) for seed in (1, 1, 2))
    assert first == same != other and len(first) == 40
    assert "\ufffd" in engine.tokenizer.decode(first)  # tokens that a stream of llama.cpp would lose


def test_log_probabilities_come_with_the_tokens(engine):
    ids = template.prompt(engine.tokenizer, tiny.turns("石桥镇")[:1])
    tokens = list(engine.submit(ids, DecodingSettings(20, alternatives=2), 0))
    told = [token for token in tokens if token.logprob is not None]
    assert len(told) > len(tokens) // 2
    for token in told:
        assert token.alternatives[0] == (token.id, token.logprob) and len(token.alternatives) == 2


def test_what_it_has_not_is_refused(home, engine):
    for settings, words in [
        ({"beams": 2}, "no beams"),
        ({"contrastive_alpha": 0.5}, "no contrastive_alpha"),
        ({"top_p": 2}, "top_p is 2"),
    ]:
        with pytest.raises(ValueError, match=words):
            engine.submit([5], DecodingSettings(4, **settings), 0)
    with pytest.raises(ContextExceeded, match="160 tokens"):
        engine.submit([5] * 160, DecodingSettings(4), 0)
    with pytest.raises(ValueError, match="no adapters here"):
        LlamaCppEngine(home, adapters={"x": home})


def test_a_cancelled_answer_makes_room(engine):
    never = DecodingSettings(150, logit_bias=dict.fromkeys(template.stops(engine.tokenizer), -100.0))
    under_way = [engine.submit([5], never, 0) for _ in range(6)]
    with pytest.raises(QueueFull):
        engine.submit([5], never, 0)
    for generation in under_way:
        generation.cancel()
    assert {generation.end for generation in under_way} == {"cancelled"}
    until = time.monotonic() + 20
    while engine.load() != (0, 0) and time.monotonic() < until:
        time.sleep(0.01)
    assert engine.load() == (0, 0) and len(read([engine.submit([5, 6], DecodingSettings(3), 0)])[0]) <= 3
