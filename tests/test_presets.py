from __future__ import annotations

import math
from typing import get_args

import pytest
import torch
from transformers import LlamaForCausalLM

from models import presets, template
from tasks.pretrain import Params

VOCABULARY = 64_798  # Tiny LLM zh's
# its table says 16.7, 43.3, 92.06, 212.8, 441 and 1480 million; the last digits differ by its biases of q, k and v
PARAMETERS = {
    "16m": 16_728_120,
    "42m": 43_299_360,
    "92m": 92_051_968,
    "210m": 212_801_280,
    "440m": 441_037_824,
    "1.5b": 1_479_763_968,
}


@pytest.mark.parametrize("name", PARAMETERS)
def test_a_preset_has_the_parameters_that_its_name_promises(name: str) -> None:
    with torch.device("meta"):
        model = LlamaForCausalLM(presets.build(name, VOCABULARY))
    assert sum(p.numel() for p in model.parameters()) == PARAMETERS[name] == presets.PRESETS[name].parameters(VOCABULARY)


def test_tiny_has_three_million_parameters_with_a_sample_vocabulary() -> None:
    assert presets.PRESETS["tiny"].parameters(3000) == 2_923_200


def test_the_stage_offers_every_preset() -> None:
    assert get_args(Params.model_fields["preset"].annotation) == tuple(presets.PRESETS)


def test_a_new_model_knows_nothing() -> None:
    torch.manual_seed(0)
    model = LlamaForCausalLM(presets.build("tiny", 5000))
    ids = torch.randint(4, 5000, (4, 64))
    with torch.no_grad():
        loss = model(input_ids=ids, labels=ids).loss.item()
    assert abs(loss - math.log(5000)) < 0.1


def test_special_ids_are_explicit_and_nothing_is_cached() -> None:
    config = presets.build("tiny", 400, 64, rope_theta=500.0)
    assert (config.pad_token_id, config.bos_token_id, config.eos_token_id) == (template.PAD_ID, template.END_ID, template.END_ID)
    assert config.use_cache is False and config.max_position_embeddings == 64


def test_an_unknown_preset_names_those_there_are() -> None:
    with pytest.raises(ValueError, match=r"no model preset 'big'; there are tiny, 16m"):
        presets.build("big", 400)


def test_the_dial_follows_its_formulas() -> None:
    # DeepSeek LLM (arXiv 2401.02954), equation 1, at 1e17: 0.3118 · 10^(−17/8) and 0.2920 · 10^(17 · 0.3271)
    assert presets.learning_rate(1e17) == 2.3e-3
    assert presets.batch_sequences(1e17, 1024) == 64  # 105,000 tokens, the power of two below
    assert presets.batch_sequences(1e9, 1024) == 4
    assert presets.horizon(body=1000, corpus_tokens=10_000) == 20_000
    assert presets.horizon(body=1000, corpus_tokens=1_000) == 4_000
    assert presets.compute(10, 100) == 6000
