"""RetNet as a model: its forms agree, padding and documents bend its time, and transformers takes it for one of its own."""

from __future__ import annotations

import copy
import math
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open
from torch import Tensor
from transformers import AutoModel, AutoModelForCausalLM, DynamicCache

from models import losses, presets
from models.architectures.retnet import RetNet
from models.architectures.retnet.configuration import FORMS, RetNetConfig
from models.architectures.retnet.modelling import RetNetForCausalLM, RetNetModel
from models.decoding import answer
from models.loading import load
from models.sampling import Sampling
from models.score import Scorer
from tests import corpus
from tests.test_train import job, log
from tests.test_train import run as run_engine

CLOSE = 1e-5  # in float32


@pytest.fixture(autouse=True, scope="module")
def one_thread() -> Iterator[None]:
    """Steps this small only wait for one another on two."""
    RetNet.register()
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def model(seed: int = 0, **config: Any) -> RetNetForCausalLM:
    """Two layers with chunks of 8, and weights large enough that every token matters."""
    torch.manual_seed(seed)
    sizes = {
        "vocab_size": 97,
        "hidden_size": 32,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "chunk_size": 8,
        "pad_token_id": 0,
    }
    return RetNetForCausalLM(RetNetConfig(**sizes | {"initializer_range": 0.1} | config)).eval()


def tokens(*shape: int, seed: int = 1) -> Tensor:
    return torch.randint(2, 97, shape, generator=torch.Generator().manual_seed(seed))


def apart(a: Tensor, b: Tensor) -> float:
    return (a - b).abs().max().item()


# the model


def run(net: RetNetForCausalLM, form: str, ids: Tensor, **inputs: Tensor) -> list[Tensor]:
    """Logits, the states of all layers, and all gradients."""
    net.config.form = form
    net.zero_grad()
    said = net(ids, labels=ids, use_cache=True, **inputs)
    said.loss.backward()
    states = torch.stack([layer.state for layer in said.past_key_values.layers])
    return [said.logits, states, torch.cat([p.grad.flatten() for p in net.parameters() if p.grad is not None])]


@pytest.mark.parametrize("options", [{}, {"glu": True, "hidden_act": "silu", "value_size": 32, "tie_word_embeddings": True}])
@pytest.mark.parametrize("length", [1, 2, 7, 8, 9, 53])
def test_the_forms_of_a_model_agree(length: int, options: dict[str, Any]) -> None:
    net, ids = model(**options), tokens(2, length)
    right = run(net, "recurrent", ids)
    for form in ("chunkwise", "parallel"):
        for one, other in zip(run(net, form, ids), right, strict=True):
            assert apart(one, other) < CLOSE


@pytest.mark.parametrize("form", FORMS)
def test_packed_documents_do_not_see_each_other(form: str) -> None:
    net = model(form=form)
    parts = [tokens(1, length, seed=length) for length in (5, 1, 20, 11)]
    packed, places = torch.cat(parts, 1), torch.cat([torch.arange(part.shape[1]) for part in parts])[None]
    with torch.no_grad():
        whole = net(packed, position_ids=places, use_cache=False).logits
        alone = torch.cat([net(part, use_cache=False).logits for part in parts], 1)
        masked = net(packed, position_ids=places, attention_mask=torch.ones_like(packed), use_cache=True).logits
        other = packed.clone()
        other[:, 6:26] = tokens(1, 20, seed=99)
        changed = net(other, position_ids=places, use_cache=False).logits
    assert apart(whole, alone) < CLOSE and apart(masked, alone) < CLOSE
    assert torch.equal(changed[:, :6], whole[:, :6]) and torch.equal(changed[:, 26:], whole[:, 26:])  # to the last bit
    assert apart(changed[:, 6:26], whole[:, 6:26]) > 0.1


@pytest.mark.parametrize("form", FORMS)
def test_no_gradient_crosses_from_a_document_to_another(form: str) -> None:
    net = model(form=form)
    vectors = torch.randn(1, 30, 32, requires_grad=True)
    places = torch.cat([torch.arange(13), torch.arange(17)])[None]
    net(inputs_embeds=vectors, position_ids=places, use_cache=False).logits[:, 13:].sum().backward()
    assert vectors.grad is not None and vectors.grad[:, :13].eq(0).all() and vectors.grad[:, 13:].ne(0).any()


@pytest.mark.parametrize("form", FORMS)
def test_padding_on_any_side_changes_nothing(form: str) -> None:
    net, ids = model(form=form), tokens(1, 21)
    with torch.no_grad():
        bare = net(ids, use_cache=True)
        for before, inside, after in ((9, 0, 0), (0, 0, 9), (3, 4, 6)):
            mask = torch.tensor([[0] * before + [1] * 10 + [0] * inside + [1] * 11 + [0] * after])
            padded = torch.full(mask.shape, 5)
            padded[mask.bool()] = ids[0]
            counted = mask.cumsum(1) - 1
            for places in (None, *(counted.masked_fill(mask == 0, filler) for filler in (0, 1, 50))):  # `generate` fills in 0
                said = net(padded, attention_mask=mask, position_ids=places, use_cache=True)
                assert apart(said.logits[mask.bool()][None], bare.logits) < CLOSE
                assert apart(said.past_key_values.layers[1].state, bare.past_key_values.layers[1].state) < CLOSE


def test_a_prompt_read_in_pieces_is_the_prompt_read_at_once() -> None:
    net, ids = model(), tokens(2, 40)
    mask = torch.ones_like(ids)
    mask[0, :13] = 0  # the first piece of the first row is all padding
    with torch.no_grad():
        whole = net(ids, attention_mask=mask, use_cache=False).logits
        cache, said = None, []
        for start, end in ((0, 11), (11, 30), (30, 31), (31, 32), (32, 40)):
            part = net(ids[:, start:end], attention_mask=mask[:, :end], past_key_values=cache, use_cache=True)
            cache = part.past_key_values
            said.append(part.logits)
    assert cache is not None and cache.get_seq_length() == 40
    assert apart(torch.cat(said, 1)[mask.bool()], whole[mask.bool()]) < CLOSE


def test_gradient_checkpointing_changes_no_gradient() -> None:
    net, ids = model().train(), tokens(2, 30)
    net(ids, labels=ids, use_cache=False).loss.backward()
    plainly = [p.grad.clone() for p in net.parameters() if p.grad is not None]
    net.zero_grad()
    net.gradient_checkpointing_enable()
    calls: list[int] = []
    net.model.layers[0].mlp.register_forward_pre_hook(lambda *_: calls.append(1))
    net(ids, labels=ids).loss.backward()
    assert len(calls) == 2  # read again on the way back
    assert all(torch.equal(p.grad, g) for p, g in zip(net.parameters(), plainly, strict=True))


def test_bfloat16_keeps_its_states_and_decays_in_float32() -> None:
    net, ids = model(), tokens(2, 60)
    with torch.no_grad():
        exact = net(ids, use_cache=True)
        with torch.autocast("cpu", torch.bfloat16):
            mixed = net(ids, use_cache=True)
        low = copy.deepcopy(net).to(torch.bfloat16)(ids, use_cache=True)
    for said in (mixed, low):
        assert said.logits.dtype == torch.bfloat16
        assert all(layer.state.dtype == torch.float32 for layer in said.past_key_values.layers)
        assert (said.logits.float() - exact.logits).norm() < 0.03 * exact.logits.norm()


@pytest.mark.parametrize("inputs", [{}, {"position_ids": torch.arange(20)[None] % 9, "attention_mask": torch.ones(2, 20)}])
def test_training_compiles_into_one_graph(inputs: dict[str, Tensor]) -> None:
    net, ids = model(), tokens(2, 20)
    torch._dynamo.reset()
    compiled = torch.compile(net, fullgraph=True, backend="aot_eager")
    assert apart(compiled(ids, use_cache=False, **inputs).logits, net(ids, use_cache=False, **inputs).logits) < CLOSE


def test_the_fused_loss_is_the_models_own() -> None:
    net, ids = model(), tokens(3, 30)
    right = net(ids, labels=ids, use_cache=False).loss
    losses.fuse(net)
    assert (net(input_ids=ids, labels=ids) / (3 * 29)).item() == pytest.approx(right.item(), rel=1e-5)


# decoding


def left_padded() -> dict[str, Tensor]:
    ids = tokens(3, 19)
    mask = torch.ones_like(ids)
    mask[0, :12], mask[1, :3] = 0, 0
    return {"input_ids": ids.masked_fill(mask == 0, 0), "attention_mask": mask}


@pytest.mark.parametrize(
    "how",
    [{"do_sample": False}, {"do_sample": True, "top_p": 0.9}, {"do_sample": False, "num_beams": 4, "num_return_sequences": 2}],
)
def test_generation_from_states_is_generation_from_the_whole_text(how: dict[str, Any]) -> None:
    net = model()
    said = []
    for use_cache in (True, False):
        torch.manual_seed(3)
        said.append(net.generate(**left_padded(), max_new_tokens=20, use_cache=use_cache, **how))
    assert torch.equal(*said)
    assert len({tuple(row[19:]) for row in said[0].tolist()}) > 1  # it does say something


def test_a_padded_batch_says_what_each_of_its_rows_says_alone() -> None:
    net, batch = model(), left_padded()
    together = net.generate(**batch, max_new_tokens=20, do_sample=False)
    for row, (ids, mask) in enumerate(zip(batch["input_ids"], batch["attention_mask"], strict=True)):
        alone = net.generate(ids[mask.bool()][None], max_new_tokens=20, do_sample=False)
        assert torch.equal(together[row, 19:], alone[0, -20:])


def test_decoding_takes_no_more_memory_for_a_longer_text() -> None:
    net = model()
    sizes = []
    for more in (1, 10, 200):
        made = net.generate(tokens(2, 5), max_new_tokens=more, min_new_tokens=more, do_sample=False, return_dict_in_generate=True)
        assert made.past_key_values.get_seq_length() == 5 + more - 1
        sizes.append(sum(layer.state.untyped_storage().nbytes() for layer in made.past_key_values.layers))
    assert sizes == [2 * 2 * 4 * (8 * 16) * 4] * 3  # layers · rows · heads · d · e numbers of 4 bytes


def test_a_conversation_goes_on_from_the_states_of_its_last_turn() -> None:
    net = model()
    first = net.generate(tokens(2, 9), max_new_tokens=5, do_sample=False, return_dict_in_generate=True)
    more = torch.cat([first.sequences, tokens(2, 11, seed=2)], 1)
    again = net.generate(more, past_key_values=first.past_key_values, max_new_tokens=8, do_sample=False)
    assert torch.equal(again, net.generate(more, max_new_tokens=8, do_sample=False))


def test_a_cache_follows_its_rows() -> None:
    net, ids = model(), tokens(3, 12)
    with torch.no_grad():
        whole = net(torch.cat([ids, ids[:, :1]], 1), use_cache=False).logits[:, -1]

        def after(change: str, argument: Any, rows: list[int]) -> float:
            cache = net(ids, use_cache=True).past_key_values
            getattr(cache, change)(argument)
            return apart(net(ids[rows][:, :1], past_key_values=cache, use_cache=True).logits[:, -1], whole[rows])

        assert after("reorder_cache", torch.tensor([2, 0, 0]), [2, 0, 0]) < CLOSE
        assert after("batch_select_indices", torch.tensor([1]), [1]) < CLOSE
        assert after("batch_repeat_interleave", 2, [0, 0, 1, 1, 2, 2]) < CLOSE
        cache = net(ids, use_cache=True).past_key_values
        assert (cache.batch_size, cache.get_max_length(), cache.is_croppable) == (3, -1, False)
        cache.reset()
        assert cache.get_seq_length() == 0 and apart(net(ids, past_key_values=cache).logits, net(ids).logits) < CLOSE
        with pytest.raises(ValueError, match="cannot forget its last tokens"):
            cache.crop(1)


def test_what_a_retnet_cannot_take_is_said() -> None:
    net, ids = model(), tokens(2, 12)
    with pytest.raises(ValueError, match="past_key_values is a DynamicCache; a RetNet keeps states"):
        net(ids, past_key_values=DynamicCache())
    cache = net(ids, use_cache=True).past_key_values
    with pytest.raises(ValueError, match=r"attention_mask has shape \(2, 1\); give \(batch, 13\)"):
        net(ids[:, :1], attention_mask=torch.ones(2, 1), past_key_values=cache)
    with pytest.raises(ValueError, match="give one of input_ids and inputs_embeds"):
        net()
    with pytest.raises(ValueError, match="stateful"):  # transformers' words
        net.generate(ids, prompt_lookup_num_tokens=3, max_new_tokens=5)
    with pytest.raises(Exception, match="hidden_size is 20, and 4 heads need a multiple of 8: pairs are rotated"):
        RetNetConfig(hidden_size=20, num_attention_heads=4)
    with pytest.raises(Exception, match="form is 'fast'; there are chunkwise, parallel, recurrent"):
        RetNetConfig(form="fast")


# among transformers' own


def test_a_saved_model_loads_where_only_transformers_and_this_package_are(tmp_path: Path) -> None:
    net, ids = model(), tokens(1, 15)
    net.save_pretrained(tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {"config.json", "generation_config.json", "model.safetensors"}
    script = """
import sys, torch
from transformers import AutoConfig, AutoModel, AutoModelForCausalLM
from models.architectures.retnet import RetNet
RetNet.register()
net = AutoModelForCausalLM.from_pretrained(sys.argv[1])
assert type(AutoConfig.from_pretrained(sys.argv[1])).__name__ == "RetNetConfig"
ids = torch.tensor([[int(token) for token in sys.argv[2].split()]])
assert torch.equal(AutoModel.from_pretrained(sys.argv[1])(ids).last_hidden_state, net.model(ids).last_hidden_state)
print(*net.generate(ids, max_new_tokens=9, do_sample=False)[0].tolist())
"""
    call = [sys.executable, "-c", script, str(tmp_path), " ".join(map(str, ids[0].tolist()))]
    said = subprocess.run(call, capture_output=True, text=True, check=True).stdout
    assert [int(token) for token in said.split()] == net.generate(ids, max_new_tokens=9, do_sample=False)[0].tolist()


@pytest.mark.parametrize("tied", [False, True])
def test_a_saved_model_is_the_same_model(tmp_path: Path, tied: bool) -> None:
    net, ids = model(tie_word_embeddings=tied), tokens(1, 15)
    net.save_pretrained(tmp_path)
    again = AutoModelForCausalLM.from_pretrained(tmp_path)
    assert isinstance(again, RetNetForCausalLM) and torch.equal(again(ids).logits, net(ids).logits)
    assert (again.lm_head.weight is again.model.embed_tokens.weight) == tied
    assert safe_open(tmp_path / "model.safetensors", "pt").keys() == [
        name for name in sorted(net.state_dict()) if not tied or name != "lm_head.weight"
    ]


def test_auto_classes_make_new_ones() -> None:
    config = RetNetConfig(vocab_size=50, hidden_size=16, num_hidden_layers=1, num_attention_heads=2)
    assert isinstance(AutoModel.from_config(config), RetNetModel)
    assert isinstance(AutoModelForCausalLM.from_config(config), RetNetForCausalLM)
    assert (config.value_size, config.intermediate_size, config.chunk_size) == (32, 32, 16)  # √(8 · 16) = 11.3


@pytest.mark.parametrize("name, tied", [("300m", 317_881_600), ("1.3b", 1_339_131_904), ("2.7b", 2_680_588_800)])
def test_presets_keep_the_promise_of_their_names_with_one_embedding_for_both_ends(name: str, tied: int) -> None:
    """retnet-1.3B-toy's are separate (tests/test_presets.py counts those), the paper's are one."""
    config = presets.build(f"retnet-{name}", 64_000)
    config.tie_word_embeddings = True
    with torch.device("meta"):
        net = AutoModelForCausalLM.from_config(config)
        net.tie_weights()
    assert sum(p.numel() for p in net.parameters()) == tied


def test_the_tiny_preset_is_as_large_as_the_tiny_llama() -> None:
    assert presets.find("retnet-tiny").parameters(3000) == presets.find("tiny").parameters(3000)
    assert isinstance(presets.find("retnet-tiny"), RetNet)


def test_the_engine_trains_one_that_answers_and_is_scored(tmp_path: Path) -> None:
    folders = corpus.build(tmp_path / "corpus")
    result, _ = run_engine(job(folders, tmp_path, steps=8, preset="retnet-tiny"))
    assert result is not None and abs(log(tmp_path)[0]["loss"] - math.log(400)) < 0.1  # it knew nothing
    assert result["eval_loss"] < math.log(400) - 1
    net, tokenizer = load(tmp_path / "out", torch.device("cpu"))
    assert isinstance(net, RetNetForCausalLM) and net.config.use_cache
    prompts = [[1, *tokenizer(text)["input_ids"]] for text in ("金草", "银花生长在", "铜藤")]
    said = answer(net, tokenizer, prompts, Sampling(12))
    assert said == [answer(net, tokenizer, [prompt], Sampling(12))[0] for prompt in prompts]
    scorer = Scorer(net, tokenizer)
    scorer.fast = torch.autocast("cpu", enabled=False)
    endings = tokenizer(["白水。", "东湖,花是红色的。"])["input_ids"]
    rows = [(prompt + ending, len(prompt)) for prompt in prompts for ending in endings]
    at_once = [value for sums in scorer.choose([(prompt, endings) for prompt in prompts]) for value in sums]
    assert at_once == pytest.approx(scorer.sums(rows, "choice"), abs=1e-4)
