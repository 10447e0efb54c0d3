from __future__ import annotations

import asyncio
import io
import shutil
import time
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM, AutoModelForSeq2SeqLM, AutoTokenizer, GenerationConfig

from benchmarks.serve_models import ARCHITECTURES, SMALL
from models import adapters, presets, template
from models.chat import chat
from models.engines import batch, own
from models.engines.engine import ContextExceeded, QueueFull
from models.engines.memory import Memory, row_size
from models.engines.own import OwnEngine
from models.engines.settings import DecodingSettings
from models.engines.text_stream import TextStream
from models.loading import load
from tests import tiny


def random_model(folder: Path, tokenizer: Path, preset: str, options: dict) -> Path:
    """A model with random weights of some size, so that its answers differ from prompt to prompt."""
    torch.manual_seed(0)
    vocabulary = len(AutoTokenizer.from_pretrained(tokenizer))
    size = replace(presets.find(preset), **SMALL)
    size.register()
    config = size.config(vocabulary, 128, presets.chosen(preset, **options))
    model = (AutoModelForSeq2SeqLM if config.is_encoder_decoder else AutoModelForCausalLM).from_config(config)
    with torch.no_grad():
        for p in model.parameters():
            p.add_(torch.randn_like(p) * (0.05 if p.ndim == 1 else 0.2))
    model.save_pretrained(folder)
    for name in ("tokenizer.json", "tokenizer_config.json", "chat_template.jinja"):
        shutil.copyfile(tokenizer / name, folder / name)
    return folder


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("serve")
    made = tiny.make_tokenizer(folder / "tokenizer", tiny.split(folder / "world"))
    for name, (preset, options) in ARCHITECTURES.items():
        random_model(folder / name, made, preset, options)
    return folder


@pytest.fixture(scope="module", params=list(ARCHITECTURES))
def engine(request, home):
    made = OwnEngine(home / request.param, "cpu", slots=6)
    yield made
    made.close()


@pytest.fixture(scope="module")
def llama(home):
    made = OwnEngine(home / "llama", "cpu", slots=4, queue=8)
    yield made
    made.close()


def prompts(tokenizer, count: int = 8) -> list[list[int]]:
    """Prompts of many lengths."""
    return [
        template.prompt(tokenizer, [{"role": "user", "content": "水边的白鹭城"[:size] * (1 + size % 3)}])
        for size in range(1, count + 1)
    ]


def generated(model, tokenizer, ids: list[int], **settings) -> list[int]:
    """The answer of transformers' `generate` to one prompt, without its stop token."""
    stops = template.stops(tokenizer)
    config = GenerationConfig(
        **{"max_new_tokens": 16, "do_sample": False, "use_cache": True, "eos_token_id": stops, "pad_token_id": 0} | settings,
        decoder_start_token_id=0,
    )
    prompt = torch.tensor([ids])
    out = model.generate(prompt, attention_mask=torch.ones_like(prompt), generation_config=config)[0].tolist()
    answer = out[1:] if model.config.is_encoder_decoder else out[len(ids) :]
    return answer[: next((place for place, token in enumerate(answer) if token in stops), len(answer))]


def answers(engine, asked: list[list[int]], settings: DecodingSettings, seeds=None) -> list[list[int]]:
    """The answers to prompts that are asked all at once."""
    under_way = [engine.submit(ids, settings, seed) for ids, seed in zip(asked, seeds or range(len(asked)), strict=True)]
    return [[token.id for token in generation] for generation in under_way]


def test_together_the_answers_are_those_of_generate_alone(engine):
    asked = prompts(engine.tokenizer)
    expected = [generated(engine.model, engine.tokenizer, ids) for ids in asked]
    assert len({tuple(answer) for answer in expected}) > 3
    assert answers(engine, asked, DecodingSettings(16)) == expected


def test_a_drawn_answer_depends_on_its_seed_and_not_on_its_company(engine):
    asked, settings = prompts(engine.tokenizer), DecodingSettings(12, temperature=1.0, top_p=0.9, top_k=40)
    together = answers(engine, asked, settings)
    assert together == [answers(engine, [ids], settings, [seed])[0] for seed, ids in enumerate(asked)]
    assert together != answers(engine, asked, settings, range(100, 108))


@pytest.mark.parametrize("settings", [{"beams": 3}, {"beams": 4, "length_penalty": 2.0, "repetition_penalty": 1.3}])
def test_beams_find_what_generate_finds(engine, settings):
    asked = prompts(engine.tokenizer, 4)
    found = answers(engine, asked, DecodingSettings(12, **settings))
    options = {"num_beams" if name == "beams" else name: value for name, value in settings.items()}
    assert found == [generated(engine.model, engine.tokenizer, ids, max_new_tokens=12, **options) for ids in asked]


def contrastive(model, ids: list[int], alpha: float, top_k: int, count: int, stops: list[int]) -> list[int]:
    """Equation 5 of the paper word for word: each candidate is read with all that came before it, and nothing is kept from step to step."""
    written: list[int] = []

    def read(more: list[int]) -> tuple[torch.Tensor, torch.Tensor]:
        if model.config.is_encoder_decoder:
            output = model(input_ids=torch.tensor([ids]), decoder_input_ids=torch.tensor([[0, *more]]), output_hidden_states=True)
            return output.logits[0, -1], output.decoder_hidden_states[-1][0]
        output = model(input_ids=torch.tensor([ids + more]), output_hidden_states=True)
        return output.logits[0, -1], output.hidden_states[-1][0]

    with torch.inference_mode():
        while len(written) < count:
            shares = read(written)[0].softmax(0)
            scores = {}
            for token in shares.topk(top_k).indices.tolist():
                hidden = read([*written, token])[1]
                alike = torch.cosine_similarity(hidden[-1:], hidden[:-1], dim=1).max()
                scores[token] = (1 - alpha) * shares[token] - alpha * alike
            best = max(scores, key=scores.__getitem__)
            if best in stops:
                break
            written.append(best)
    return written


def test_contrastive_search_is_the_equation_of_its_paper(engine):
    asked = prompts(engine.tokenizer, 4)
    found = answers(engine, asked, DecodingSettings(8, contrastive_alpha=0.6, top_k=5))
    stops = template.stops(engine.tokenizer)
    assert found == [contrastive(engine.model, ids, 0.6, 5, 8, stops) for ids in asked]
    assert found != answers(engine, asked, DecodingSettings(8))


def test_all_ways_of_decoding_share_a_batch(engine):
    asked = prompts(engine.tokenizer, 6)
    ways = [
        DecodingSettings(10),
        DecodingSettings(10, beams=2),
        DecodingSettings(10, temperature=0.8),
        DecodingSettings(10, contrastive_alpha=0.5, top_k=3),
        DecodingSettings(10, repetition_penalty=1.5, alternatives=2),
        DecodingSettings(10, frequency_penalty=1.0, presence_penalty=0.5),
    ]
    alone = [answers(engine, [ids], way, [7])[0] for ids, way in zip(asked, ways, strict=True)]
    under_way = [engine.submit(ids, way, 7) for ids, way in zip(asked, ways, strict=True)]
    assert [[token.id for token in generation] for generation in under_way] == alone


def test_a_chat_in_the_terminal_says_what_the_engine_does(engine, home, request):
    name, out = request.node.callspec.params["engine"], io.StringIO()
    chat(home / name, "水边", settings=DecodingSettings(12, repetition_penalty=1.2), device="cpu", out=out)
    ids = template.prompt(engine.tokenizer, [{"role": "user", "content": "水边"}])
    text, (tokens,) = TextStream(engine.tokenizer), answers(engine, [ids], DecodingSettings(12, repetition_penalty=1.2))
    assert out.getvalue() == "".join(map(text.put, tokens)) + text.finish() + "\n"


def test_a_prompt_without_room_is_refused_with_numbers(llama):
    with pytest.raises(ContextExceeded, match="128 tokens, and the model reads 128"):
        llama.submit([5] * 128, DecodingSettings(4), 0)
    (answer,) = answers(llama, [[5] * 126], DecodingSettings(50))
    assert len(answer) <= 2


def test_a_full_queue_refuses_and_a_cancelled_answer_makes_room(llama):
    asked = prompts(llama.tokenizer, 1)[0]
    settings = DecodingSettings(90, logit_bias=dict.fromkeys(template.stops(llama.tokenizer), -100.0))
    running = [llama.submit(asked, settings, 0) for _ in range(4)]
    while llama.load()[0] < 4:
        time.sleep(0.01)
    waiting = [llama.submit(asked, settings, 0) for _ in range(8)]
    with pytest.raises(QueueFull, match="wait already"):
        for _ in range(12):
            waiting.append(llama.submit(asked, settings, 0))
    for generation in [*running, *waiting]:
        generation.cancel()
    for generation in [*running, *waiting]:
        list(generation)
    assert {generation.end for generation in running} <= {"cancelled", "length"}
    while llama.load() != (0, 0):
        time.sleep(0.01)


def test_without_a_queue_as_many_are_taken_as_have_rows(home):
    engine = OwnEngine(home / "llama", "cpu", slots=2, queue=0)
    never = DecodingSettings(90, logit_bias=dict.fromkeys(template.stops(engine.tokenizer), -100.0))
    running = [engine.submit([5, 6], never, 0) for _ in range(2)]
    with pytest.raises(QueueFull):
        engine.submit([5, 6], never, 0)
    assert [len(list(generation)) for generation in running] == [90, 90]
    while engine.load() != (0, 0):
        time.sleep(0.01)
    assert answers(engine, [[5, 6]], DecodingSettings(2))
    engine.close()


def test_settings_at_their_edges_are_greedy_and_spoil_no_batch(engine):
    asked = prompts(engine.tokenizer, 4)
    (plain,) = answers(engine, asked[:1], DecodingSettings(8))
    beside = [engine.submit(ids, DecodingSettings(8, temperature=1.0), 1) for ids in asked]
    for edge in ({"temperature": 1e-300}, {"temperature": 1e-40}, {"temperature": 2.0, "top_p": 1e-300}):
        assert answers(engine, asked[:1], DecodingSettings(8, **edge)) == [plain]
    assert all([token.id for token in generation] for generation in beside)


def test_answers_wait_for_memory_and_one_that_never_fits_is_refused(home, engine, request):
    name, asked = request.node.callspec.params["engine"], prompts(engine.tokenizer)
    expected = answers(engine, asked, DecodingSettings(16, alternatives=0))
    size = row_size(engine._batch)
    for cache in (8 * size.of([(1, 80, 80)]), 2 * size.of([(1, 80, 80)])):
        tight = OwnEngine(home / name, "cpu", slots=8, memory=Memory(cache))
        held, step = [], tight._batch.step

        def watched(*given, step=step, held=held, rows=tight._batch.rows):
            made = step(*given)
            held.append(rows.held)
            return made

        tight._batch.step = watched
        under_way = [tight.submit(ids, DecodingSettings(16), 0) for ids in asked]
        assert [[token.id for token in generation] for generation in under_way] == expected
        assert 0 < max(held) <= cache
        with pytest.raises(ValueError, match=r"may need .* of memory .* ask for fewer tokens or beams"):
            tight.submit(asked[0], DecodingSettings(120, beams=8), 0)
        tight.close()


def test_an_answer_can_be_read_in_an_event_loop(llama):
    asked = prompts(llama.tokenizer, 6)
    expected = answers(llama, asked, DecodingSettings(16))

    async def read(ids: list[int]) -> tuple[list[int], str]:
        generation = llama.submit(ids, DecodingSettings(16), 0)
        return [token.id async for token in generation], generation.end

    async def main() -> list[tuple[list[int], str]]:
        return await asyncio.gather(*(read(ids) for ids in asked))

    read_back = asyncio.run(main())
    assert [ids for ids, _ in read_back] == expected and {end for _, end in read_back} <= {"stop", "length"}


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"temperature": -1.0}, "temperature is -1.0; it must be between 0 and 2"),
        ({"temperature": float("nan")}, "temperature is nan"),
        ({"top_p": 0.0}, "top_p is 0.0; it must be above 0"),
        ({"top_k": -1}, "top_k is -1; it must be 0 or more"),
        ({"max_new_tokens": 0}, "max_new_tokens is 0"),
        ({"logit_bias": {100000: 1.0}}, "logit_bias names the token 100000"),
        ({"logit_bias": {1: 101.0}}, "logit_bias of token 1 is 101.0"),
    ],
)
def test_settings_out_of_range_are_refused(llama, settings, words):
    with pytest.raises(ValueError, match=words):
        llama.submit([5], DecodingSettings(**{"max_new_tokens": 4} | settings), 0)


@pytest.fixture(scope="module")
def adapted(home, tmp_path_factory) -> dict[str, Path]:
    """Two adapters with random weights beside the Llama, on other modules each."""
    modules = {"one.a": ("q_proj", "down_proj"), "two": ("v_proj", "o_proj", "lm_head")}
    folder = tmp_path_factory.mktemp("adapter")
    return {name: tiny.adapter(folder / name, home / "llama", modules[name], seed) for seed, name in enumerate(modules)}


def test_adapters_and_their_base_answer_in_one_batch(home, adapted):
    engine = OwnEngine(home / "llama", "cpu", adapters=adapted)
    asked = prompts(engine.tokenizer, 6)
    names = ["", "one.a", "two", "two", "", "one.a"]
    models = {"": load(home / "llama", torch.device("cpu"))[0]}
    for name, folder in adapted.items():
        models[name] = load(home / "llama", torch.device("cpu"))[0]
        adapters.attach(models[name], folder)
    expected = [generated(models[name], engine.tokenizer, ids) for name, ids in zip(names, asked, strict=True)]
    under_way = [engine.submit(ids, DecodingSettings(16), 0, name) for name, ids in zip(names, asked, strict=True)]
    assert [[token.id for token in generation] for generation in under_way] == expected
    assert expected[2] != generated(models[""], engine.tokenizer, asked[2])
    with pytest.raises(ValueError, match="no adapter 'three'"):
        engine.submit([5], DecodingSettings(4), 0, "three")
    engine.close()


def test_an_adapter_of_another_model_is_refused(home, adapted, tmp_path):
    with pytest.raises(ValueError, match="holds no adapter"):
        OwnEngine(home / "llama", "cpu", adapters={"x": tmp_path})
    with pytest.raises(ValueError, match="of another model"):
        OwnEngine(home / "qwen2", "cpu", adapters=adapted | {"one.a": other_shape(adapted["one.a"], tmp_path / "other")})


def other_shape(folder: Path, out: Path) -> Path:
    shutil.copytree(folder, out)
    weights = load_file(out / "adapter_model.safetensors")
    save_file({key: p.repeat(2, 1) for key, p in weights.items()}, out / "adapter_model.safetensors", metadata={"format": "pt"})
    return out


def test_a_failure_ends_only_the_requests_concerned(home, monkeypatch):
    engine = OwnEngine(home / "llama", "cpu", slots=3)
    asked = prompts(engine.tokenizer, 6)
    expected = answers(engine, asked, DecodingSettings(16))
    plain, calls = engine._batch.step, []

    def fails_once(*given):
        calls.append(given)
        if len(calls) == 5:
            raise torch.OutOfMemoryError("no memory")
        return plain(*given)

    monkeypatch.setattr(engine._batch, "step", fails_once)
    under_way = [engine.submit(ids, DecodingSettings(16), 0) for ids in asked]
    outcomes = []
    for generation in under_way:
        try:
            outcomes.append([token.id for token in generation])
        except torch.OutOfMemoryError:
            outcomes.append(None)
    failed = [number for number, outcome in enumerate(outcomes) if outcome is None]
    assert 1 <= len(failed) <= 3
    assert [one for one in outcomes if one is not None] == [one for n, one in enumerate(expected) if n not in failed]
    monkeypatch.setattr(engine._batch, "read", lambda reading: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        list(engine.submit(asked[0], DecodingSettings(4), 0))
    monkeypatch.undo()
    assert answers(engine, asked, DecodingSettings(16)) == expected
    engine.close()


def test_a_closed_engine_ends_what_runs_and_takes_no_more(home):
    engine = OwnEngine(home / "llama", "cpu", slots=1)
    never = DecodingSettings(100, logit_bias=dict.fromkeys(template.stops(engine.tokenizer), -100.0))
    running, waiting = (engine.submit([5, 6], never, 0) for _ in range(2))
    next(iter(running))
    engine.close()
    for generation in (running, waiting):
        with pytest.raises(RuntimeError, match="closed before"):
            list(generation)
    with pytest.raises(RuntimeError, match="is closed"):
        engine.submit([5], never, 0)


def test_log_probabilities_are_those_of_the_model(llama):
    ids = prompts(llama.tokenizer, 1)[0]
    tokens = list(llama.submit(ids, DecodingSettings(6, repetition_penalty=1.5, temperature=1.5, alternatives=3), 3))
    logs = llama.model(torch.tensor([ids + [token.id for token in tokens]])).logits[0].log_softmax(1)
    for place, token in enumerate(tokens):
        row = logs[len(ids) - 1 + place]
        assert token.logprob == pytest.approx(row[token.id].item(), abs=1e-4)
        best = row.topk(3)
        assert [number for number, _ in token.alternatives] == best.indices.tolist()
        assert [log for _, log in token.alternatives] == pytest.approx(best.values.tolist(), abs=1e-4)


def test_an_answer_ends_at_its_stop_text(llama):
    ids = prompts(llama.tokenizer, 1)[0]
    (whole,) = answers(llama, [ids], DecodingSettings(16))
    text = llama.tokenizer.decode(whole, skip_special_tokens=True)
    stop = next(character for character in text[2:] if character != "\ufffd")
    generation = llama.submit(ids, DecodingSettings(16, stop=(stop,)), 0)
    tokens = [token.id for token in generation]
    assert generation.end == "stop" and len(tokens) < len(whole) and tokens == whole[: len(tokens)]


def test_a_long_prompt_is_read_in_chunks_and_gets_the_same_answer(engine, monkeypatch):
    asked = [prompts(engine.tokenizer, 1)[0] * 5, *prompts(engine.tokenizer, 3)]
    expected = answers(engine, asked, DecodingSettings(8))
    monkeypatch.setattr(batch, "CHUNK", 16)
    monkeypatch.setattr(own, "CHUNK", 16)
    assert answers(engine, asked, DecodingSettings(8)) == expected


def test_penalties_and_biases_change_what_is_chosen(llama):
    (ids,) = prompts(llama.tokenizer, 1)
    (plain,) = answers(llama, [ids], DecodingSettings(16))
    (biased,) = answers(llama, [ids], DecodingSettings(16, logit_bias={plain[0]: -100.0, 77: 100.0}))
    assert set(biased) == {77}
    (varied,) = answers(llama, [ids], DecodingSettings(16, frequency_penalty=2.0, presence_penalty=2.0, logit_bias={77: 8.0}))
    assert len(set(varied)) > 4
    penalty = answers(llama, prompts(llama.tokenizer, 4), DecodingSettings(16, repetition_penalty=1.4))
    assert penalty == [
        generated(llama.model, llama.tokenizer, ids, repetition_penalty=1.4) for ids in prompts(llama.tokenizer, 4)
    ]
