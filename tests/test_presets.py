from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoModelForSeq2SeqLM, PreTrainedConfig, PreTrainedModel

from models import presets, scaling, template
from models.architectures import ArchitectureOptions
from models.architectures.llama import Llama
from tasks.pretrain import Params

VOCABULARY = 64_798  # Tiny LLM zh's
# its table says 16.7, 43.3, 92.06, 212.8, 441 and 1480 million; the last digits are its biases of q, k and v
PARAMETERS = {
    "16m": 16_728_120,
    "42m": 43_299_360,
    "92m": 92_051_968,
    "210m": 212_801_280,
    "440m": 441_037_824,
    "1.5b": 1_479_763_968,
}


AT = {"t5-0.2b": (29_298, 187_692_288), "92m-moe": (VOCABULARY, 125_118_976)}  # ChatLM's 187.7 million, counted once each
# retnet-1.3B-toy counts 1.47 billion with its vocabulary of 64,000
AT |= {"retnet-300m": (64_000, 399_801_600), "retnet-1.3b": (64_000, 1_470_203_904), "retnet-2.7b": (64_000, 2_844_428_800)}
AT |= {"tiny": (3000, 2_923_200), "tiny-moe": (3000, 5_141_952), "t5-tiny": (3000, 3_086_208), "retnet-tiny": (3000, 2_923_200)}
AT |= {name: (VOCABULARY, count) for name, count in PARAMETERS.items()}


def model_of(config: PreTrainedConfig) -> PreTrainedModel:
    return (AutoModelForSeq2SeqLM if config.is_encoder_decoder else AutoModelForCausalLM).from_config(config)


@pytest.mark.parametrize("name", AT)
def test_a_preset_has_the_parameters_that_its_name_promises(name: str) -> None:
    vocabulary, count = AT[name]
    with torch.device("meta"):
        model = model_of(presets.build(name, vocabulary))
    assert sum(p.numel() for p in model.parameters()) == count == presets.find(name).parameters(vocabulary)


def test_with_biases_it_is_tiny_llms_92_million() -> None:
    with torch.device("meta"):
        model = model_of(presets.build("92m", VOCABULARY, qkv_bias=True))
    assert sum(p.numel() for p in model.parameters()) == 92_064_256 == PARAMETERS["92m"] + 8 * 3 * 512


@pytest.mark.parametrize("name", [name for name in presets.names() if type(presets.find(name)) is Llama])
@pytest.mark.parametrize("options", [{}, {"qk_norm": True}, {"qkv_bias": True}])
@pytest.mark.parametrize("shared", [False, True])
def test_options_of_the_attention_are_counted(name: str, options: dict[str, Any], shared: bool) -> None:
    """Horizon, rate and batch follow from the count."""
    size = presets.find(name)
    assert isinstance(size, Llama)
    options = options | ({"kv_heads": max(1, size.heads // 4) if size.heads % 4 == 0 else 1} if shared else {})
    with torch.device("meta"):
        model = model_of(presets.build(name, 3000, **options))
    count = sum(p.numel() for p in model.parameters())
    asked = ArchitectureOptions(**options)
    assert (size.parameters(3000, asked), size.body(asked)) == (count, count - 2 * 3000 * size.hidden)


def test_experts_do_the_arithmetic_of_the_dense_model() -> None:
    assert presets.find("tiny-moe").body() == pytest.approx(presets.find("tiny").body(), rel=0.01)  # of what a token meets
    assert presets.find("92m-moe").body() == pytest.approx(presets.find("92m").body(), rel=0.01)


def test_the_stage_offers_every_preset() -> None:
    assert Params.model_json_schema()["properties"]["preset"]["enum"] == presets.names()


@pytest.mark.parametrize(
    "name, options",
    [("tiny", {}), ("tiny", {"kv_heads": 1, "qk_norm": True}), ("tiny-moe", {}), ("t5-tiny", {}), ("retnet-tiny", {})],
)
def test_a_new_model_knows_nothing(name: str, options: dict[str, Any]) -> None:
    torch.manual_seed(0)
    model = model_of(presets.build(name, 5000, 64, **options))
    ids = torch.randint(4, 5000, (4, 64))
    with torch.no_grad():
        loss = model(input_ids=ids, labels=ids).loss.item()
    assert abs(loss - math.log(5000)) < (1.2 if name == "t5-tiny" else 0.1)  # T5 starts with embeddings of size 1


def test_special_ids_are_explicit_and_nothing_is_cached() -> None:
    for name in presets.names():
        config = presets.build(name, 400, 64)
        assert (config.pad_token_id, config.eos_token_id) == (template.PAD_ID, template.END_ID)
        assert config.use_cache is False
    assert presets.build("tiny", 400, 64).max_position_embeddings == 64


def test_options_are_of_the_architecture() -> None:
    config = presets.build("92m", 400, kv_heads=2, qk_norm=True)
    assert (type(config).__name__, config.num_key_value_heads, config.head_dim) == ("Qwen3Config", 2, 64)
    assert presets.build("tiny-moe", 400, balance=0.02).router_aux_loss_coef == 0.02
    assert presets.build("tiny-moe", 400, balance=0.0).router_aux_loss_coef == 0.0  # not left out: switched off
    with pytest.raises(ValueError, match=r"preset 't5-tiny' \(t5\) has no qk_norm; leave it out"):
        presets.build("t5-tiny", 400, qk_norm=True)
    assert type(presets.build("92m", 400, qkv_bias=True)).__name__ == "Qwen2Config"
    with pytest.raises(ValueError, match="qk_norm and qkv_bias are of two architectures"):
        presets.build("92m", 400, qk_norm=True, qkv_bias=True)
    with pytest.raises(ValueError, match=r"kv_heads is 3, which does not divide the preset's 8 heads"):
        presets.build("92m", 400, kv_heads=3)


def test_an_unknown_preset_names_those_there_are() -> None:
    with pytest.raises(ValueError, match=r"no model preset 'big'; there are tiny, 16m"):
        presets.build("big", 400)


def test_the_dial_follows_its_formulas() -> None:
    # DeepSeek LLM (arXiv 2401.02954), equation 1, at 1e17: 0.3118 · 10^(−17/8) and 0.2920 · 10^(17 · 0.3271)
    assert scaling.learning_rate(1e17) == 2.3e-3
    assert scaling.batch_sequences(1e17, 1024) == 64  # 105,000 tokens, the power of two below
    assert scaling.batch_sequences(1e9, 1024) == 4
    assert scaling.horizon(body=1000, corpus_tokens=10_000) == 20_000
    assert scaling.horizon(body=1000, corpus_tokens=1_000) == 4_000
    assert scaling.compute(10, 100) == 6000
