"""Answers and scores of the architectures that are no Llama, against one sequence at a time."""

from __future__ import annotations

import contextlib
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoModelForSeq2SeqLM, AutoTokenizer

from models import decoding, loading, presets, score, template
from models.sampling import Sampling
from tests import tiny

CPU = torch.device("cpu")
NAMES = ["tiny-moe", "retnet-tiny", "t5-tiny"]


@pytest.fixture(scope="module")
def homes(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("models")
    made = tiny.make_tokenizer(folder / "tokenizer", tiny.split(folder / "world"))
    tokenizer = AutoTokenizer.from_pretrained(made)
    for name in NAMES:
        torch.manual_seed(0)
        config = presets.build(name, len(tokenizer), 96)
        model = (AutoModelForSeq2SeqLM if config.is_encoder_decoder else AutoModelForCausalLM).from_config(config)
        with torch.no_grad():  # a new model hardly prefers one token to another
            for p in model.parameters():
                p.mul_(3.0 if p.ndim > 1 else 1.0)
        model.save_pretrained(folder / name / "model")
        tokenizer.save_pretrained(folder / name / "model")
    return {name: folder / name for name in NAMES}


def naive(scorer: score.Scorer, ids: list[int], start: int) -> float:
    """The log-probability of ids[start:] after ids[:start], by the model as it is."""
    scorer.restore()
    with torch.no_grad():
        if scorer.model.config.is_encoder_decoder:
            labels = torch.tensor([ids[start:]])
            total = -scorer.model(input_ids=torch.tensor([ids[:start]]), labels=labels).loss.item() * labels.numel()
        else:
            logits = scorer.model(torch.tensor([ids])).logits[0, start - 1 : -1]
            total = -torch.nn.functional.cross_entropy(logits, torch.tensor(ids[start:]), reduction="sum").item()
    scorer.head.forward = scorer._exact
    return total


@pytest.mark.parametrize("name", NAMES)
def test_scores_are_those_of_single_sequences(homes: dict[str, Path], name: str) -> None:
    scorer = score.scorer_of(*loading.load(homes[name], CPU))
    scorer.fast = contextlib.nullcontext()
    encoded = scorer.encode(["柳河", "水", "青江的水种田", "沙湖旁边，那里的人", "石", "云台县在玉溪旁边"])
    questions = [([1, *encoded[0]], encoded[1:4]), ([1, *encoded[3], *encoded[0]], encoded[:2]), ([1], [encoded[5], encoded[1]])]
    expected = [[naive(scorer, asked + choice, len(asked)) for choice in choices] for asked, choices in questions]
    rows = [([1, *ids], start) for ids, start in zip(encoded, (1, 1, 2, 3, 1, 4), strict=True)]
    singly = [naive(scorer, *row) for row in rows]
    for budget in (2000, 12):  # one batch, several
        scorer.budget = budget
        assert scorer.sums(rows, "text") == pytest.approx(singly, rel=1e-4, abs=1e-3)
        for found, wanted in zip(scorer.choose(questions), expected, strict=True):
            assert found == pytest.approx(wanted, rel=1e-4, abs=1e-3)


@pytest.mark.parametrize("compact", [1, 5, 100])
@pytest.mark.parametrize("name", NAMES)
def test_a_batch_answers_as_each_prompt_alone(
    homes: dict[str, Path], name: str, compact: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However often answers that have ended leave the batch, and generation goes on with the others' caches."""
    monkeypatch.setattr(decoding, "COMPACT", compact)
    model, tokenizer = loading.load(homes[name], CPU)
    prompts = [template.prompt(tokenizer, tiny.turns(place)[:1]) for place in ("石桥镇", "白鹭城")] + [[1, 5], [1, 9, 30, 7, 12]]
    sampling = Sampling(12)
    together = decoding.answer(model, tokenizer, prompts, sampling)
    for prompt, answer in zip(prompts, together, strict=True):
        assert decoding.answer(model, tokenizer, [prompt], sampling) == [answer]
        ids = torch.tensor([prompt])
        config = decoding.greedy_config(tokenizer, sampling)
        made = model.generate(ids, attention_mask=torch.ones_like(ids), generation_config=config)[0].tolist()
        said = made[1:] if model.config.is_encoder_decoder else made[len(prompt) :]
        assert len(said) == answer.tokens


def test_a_document_with_a_prompt_is_its_answer(homes: dict[str, Path]) -> None:
    scorer = score.scorer_of(*loading.load(homes["t5-tiny"], CPU))
    scorer.fast = contextlib.nullcontext()
    (found,) = score.score_documents(scorer, [{"prompt": "石桥镇？", "text": "在柳河旁边。"}])
    prompt = template.prompt(scorer.tokenizer, [{"role": "user", "content": "石桥镇？"}])
    answer = scorer.encode(["在柳河旁边。"])[0]
    assert found["bits"] == pytest.approx(-naive(scorer, prompt + answer, len(prompt)) / 0.6931471805599453, rel=1e-5)
    assert (found["tokens"], found["bytes"]) == (len(answer), 18)
