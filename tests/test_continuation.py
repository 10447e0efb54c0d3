"""Texts and turns of a model from outside whose tokenizer opens every text, marks its first word and fills no batch, as Llama 2's does."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from tokenizers import Tokenizer, processors
from transformers import AutoTokenizer, GenerationConfig, PreTrainedTokenizerBase, PreTrainedTokenizerFast

from models import continuation, dataset, decoding, importer, initialisation, loading, score, template
from models.sampling import Sampling
from tasks import sft
from tests import corpus, test_extend, tiny
from tests import outside as others
from tests.test_training_stages import BASE, tuned

TURNS = [*tiny.turns("石桥镇"), *tiny.turns("白鹭城")]
OWN = (
    "{{ bos_token }}{% for m in messages %}{% if m.role == 'user' %}[INST] {{ m.content }} [/INST]{% else %} {{ m.content }}{{ eos_token }}"
    "{% endif %}{% endfor %}"
)


@pytest.fixture
def llama() -> PreTrainedTokenizerBase:
    made = test_extend.byte_fallback()
    made.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", made.token_to_id("<s>"))])
    return PreTrainedTokenizerFast(tokenizer_object=made, bos_token="<s>", eos_token="</s>", unk_token="<unk>")


def test_a_text_is_opened_as_its_tokenizer_opens_it_and_pieces_join(llama: PreTrainedTokenizerBase) -> None:
    assert continuation.bos_ids(llama) == [llama.bos_token_id]
    whole = llama("the town\n我们 the", add_special_tokens=False)["input_ids"]
    first = llama("the town\n", add_special_tokens=False)["input_ids"]
    assert first + continuation.continuation_ids(llama, ["我们 the"])[0] == whole
    assert llama("我们 the", add_special_tokens=False)["input_ids"] != continuation.continuation_ids(llama, ["我们 the"])[0]


@pytest.mark.parametrize("name", ["alpaca", "vicuna", "roles", "plain"])
@pytest.mark.parametrize("kind", ["llama", "bytes"])
def test_what_is_trained_on_is_what_the_saved_template_gives(
    llama: PreTrainedTokenizerBase, tmp_path: Path, kind: str, name: str
) -> None:
    tokenizer = llama if kind == "llama" else AutoTokenizer.from_pretrained(others.base(tmp_path))
    template.use(tokenizer, name)
    hostile = [{"role": "user", "content": "a</s>b<s>"}, {"role": "assistant", "content": "the tag <s>the town</s> <unk>"}]
    for turns in (TURNS, TURNS[:2], hostile):
        [(ids, trained)] = template.encode(tokenizer, [turns])
        shown = tokenizer.apply_chat_template(turns, return_dict=True, return_assistant_tokens_mask=True)
        assert ids == shown["input_ids"] and trained == [bool(one) for one in shown["assistant_masks"]]
        assert ids.count(tokenizer.eos_token_id) == sum(turn["role"] == "assistant" for turn in turns)
        assert ids.count(tokenizer.bos_token_id) == len(continuation.bos_ids(tokenizer))
        asked = template.prompt(tokenizer, turns[:-1])
        assert ids[: len(asked)] == asked and trained[len(asked)]


def test_a_template_of_its_own_asks_and_is_tuned(llama: PreTrainedTokenizerBase) -> None:
    llama.chat_template = OWN
    template.keep(llama)
    [(ids, trained)] = template.encode(llama, [TURNS])
    assert ids == llama.apply_chat_template(TURNS, return_dict=False)
    said = llama.decode([number for number, counted in zip(ids, trained, strict=True) if counted])
    assert [part.strip() for part in said.split("</s>")] == [TURNS[1]["content"], TURNS[3]["content"], ""]
    assert template.prompt(llama, TURNS[:1]) == llama.apply_chat_template(TURNS[:1], return_dict=False)
    assert template.render(llama, TURNS[:1]).startswith("<s>[INST] ")


def test_a_template_that_rewrites_earlier_turns_is_refused_for_tuning(llama: PreTrainedTokenizerBase) -> None:
    llama.chat_template = OWN.replace(
        "{{ m.content }}{{ eos_token }}", "{% if loop.last %}{{ m.content }}{% endif %}{{ eos_token }}"
    )
    template.keep(llama)
    with pytest.raises(ValueError, match=r"another way once others follow it.*set sft\.template to one of chatml"):
        template.encode(llama, [TURNS])


@pytest.mark.parametrize("chat", [True, False])
def test_a_model_that_knows_turns_keeps_its_template(llama: PreTrainedTokenizerBase, tmp_path: Path, chat: bool) -> None:
    files = others.base(tmp_path / "files")
    about = json.loads((files / "tokenizer_config.json").read_text("utf-8"))
    (files / "tokenizer_config.json").write_text(json.dumps(about | {"chat_template": OWN}), "utf-8")
    importer.import_model({"files": str(files), "out": str(tmp_path / "out"), "tokenizer": None, "chat": chat})
    loaded = AutoTokenizer.from_pretrained(tmp_path / "out")
    asked = loaded.decode(template.prompt(loaded, TURNS[:1]))
    assert ("[INST]" in asked) is chat and ("User:" in asked) is not chat


def test_texts_are_scored_after_what_opens_them(llama: PreTrainedTokenizerBase) -> None:
    from transformers import LlamaConfig, LlamaForCausalLM

    shape: dict[str, Any] = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 1, "num_attention_heads": 2}
    torch.manual_seed(0)
    model = LlamaForCausalLM(LlamaConfig(vocab_size=len(llama), max_position_embeddings=64, **shape)).eval()
    scorer = score.scorer_of(model, llama)
    [found] = score.score_documents(scorer, [{"text": "the town"}])
    scorer.restore()
    ids = llama("the town", return_tensors="pt")["input_ids"]
    with torch.no_grad():
        nats = model(ids, labels=ids).loss.item() * (ids.size(1) - 1)
    assert ids[0, 0] == llama.bos_token_id and found["bits"] == pytest.approx(nats / 0.6931472, rel=1e-4)


@pytest.mark.parametrize("special", [{}, {"pad_token": "</s>"}, {"pad_token": "</s>", "unk_token": "</s>"}])
def test_padding_is_the_same_token_everywhere_and_never_an_end(special: dict[str, str]) -> None:
    found = {}
    for number in range(2):
        tokenizer = PreTrainedTokenizerFast(tokenizer_object=test_extend.byte_level(), eos_token="</s>", **special)
        initialisation.ensure_padding(tokenizer)
        found[number] = tokenizer.pad_token_id
        assert tokenizer.pad_token_id not in template.stops(tokenizer)
    assert found[0] == found[1] == min(set(range(len(tokenizer))) - set(template.stops(tokenizer)))


@pytest.mark.parametrize("name", ["vicuna", "own"])
def test_pairs_of_a_marking_tokenizer_are_the_conversation(llama: PreTrainedTokenizerBase, tmp_path: Path, name: str) -> None:
    from tasks.data.rows import Writer

    if name == "own":
        llama.chat_template = OWN
        template.keep(llama)
    else:
        template.use(llama, name)
    row = {"id": "0" * 32, "source": "s", "messages": TURNS[:1], "chosen": "the town", "rejected": "the river", "meta": "{}"}
    with Writer(tmp_path / "train.parquet", "preferences") as writer:
        writer.add(row)
    [pair], _ = dataset.preferences(tmp_path / "train.parquet", llama, 512)
    [(whole, _)] = template.encode(llama, [[*TURNS[:1], {"role": "assistant", "content": "the town"}]])
    assert whole[: len(pair["prompt_ids"]) + len(pair["chosen_ids"])] == pair["prompt_ids"] + pair["chosen_ids"]


def test_greedy_is_greedy_whatever_a_models_files_say(tmp_path: Path) -> None:
    home = others.base(tmp_path / "base")
    model, tokenizer = loading.load(home, torch.device("cpu"))
    asked = [template.prompt(tokenizer, TURNS[:1])]
    plain = decoding.answer(model, tokenizer, asked, Sampling(24))
    GenerationConfig(repetition_penalty=1.9, do_sample=True, eos_token_id=2, bos_token_id=1).save_pretrained(home)
    model, _ = loading.load(home, torch.device("cpu"))
    assert decoding.answer(model, tokenizer, asked, Sampling(24)) == plain


@pytest.mark.slow
def test_what_is_tuned_keeps_its_own_special_tokens(tmp_path: Path) -> None:
    """Also where it has no padding: what a batch was filled with is nobody's business afterwards."""
    files = others.base(tmp_path / "files")
    made = Tokenizer.from_file(str(files / "tokenizer.json"))
    made.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 1)])
    made.save(str(files / "tokenizer.json"))
    importer.import_model({"files": str(files), "out": str(tmp_path / "base" / "model"), "tokenizer": None, "chat": False})
    folders = corpus.build(tmp_path / "corpus")
    params = sft.Params(**BASE | {"epochs": 0.05, "max_length": 512}, template="vicuna")
    tuned("sft", folders | {"model": tmp_path / "base" / "model"}, tmp_path / "sft", params)
    home = tmp_path / "sft" / "out" / "model"
    about = json.loads((home / "config.json").read_text("utf-8"))
    assert (about["bos_token_id"], about["eos_token_id"], about.get("pad_token_id")) == (1, 2, None)
    loaded = AutoTokenizer.from_pretrained(home)
    assert loaded.pad_token is None and template.prompt(loaded, TURNS[:1])[0] == 1
    assert "User:" in loaded.chat_template
