"""Outside tokenizers are made here as Qwen2's and Llama 2's are: files of their kind, trained on the spot."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from tokenizers import AddedToken, Tokenizer, decoders, normalizers, pre_tokenizers, trainers
from tokenizers import models as kinds
from transformers import AutoModelForCausalLM, AutoTokenizer, LlamaConfig, LlamaForCausalLM, T5Config, T5ForConditionalGeneration

from models import embeddings, template, vocabulary
from models.extend import extend
from models.pretokenizer import pretokenizer
from tasks import pack, pretrain, tokenizer
from tasks.artifacts.stage import Job
from tasks.data.tokens import encoder
from tests import tiny

ENGLISH = ["the river runs beside the town", "people of the town use the water", "他在北京"] * 4
COUNTS = [("我们", 50), ("北京大学", 30), ("大学", 20), (" river", 9), ("白鹭", 3), ("𠮷", 1)]


def byte_level() -> Tokenizer:
    """As Qwen2's: special tokens are not in the model's vocabulary, but take the ids after it."""
    made = Tokenizer(kinds.BPE())
    made.normalizer = normalizers.NFC()
    made.pre_tokenizer = pre_tokenizers.Sequence(
        [pretokenizer(), pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)]
    )
    made.decoder = decoders.ByteLevel()
    made.train_from_iterator(
        ENGLISH, trainers.BpeTrainer(vocab_size=300, initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), show_progress=False)
    )
    names = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
    made.add_special_tokens([AddedToken(name, special=True, normalized=False) for name in names])
    return made


def byte_fallback() -> Tokenizer:
    """As Llama 2's: SentencePiece's marks, unknown characters in bytes, the whole text in one piece."""
    letters = sorted(
        {letter for text in ENGLISH for letter in text.replace(" ", "▁") if letter.isascii() or letter == "▁"} | {"京"}
    )
    vocab = {token: number for number, token in enumerate(["<unk>", "<s>", "</s>", *vocabulary.BYTES, *letters])}
    merges = [("t", "h"), ("th", "e"), ("▁", "the"), ("o", "w"), ("ow", "n")]
    for left, right in merges:
        vocab[left + right] = len(vocab)
    made = Tokenizer(kinds.BPE(vocab=vocab, merges=merges, unk_token="<unk>", fuse_unk=True, byte_fallback=True))
    made.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    made.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    )
    made.add_special_tokens([AddedToken(name, special=True, normalized=False) for name in ("<unk>", "<s>", "</s>")])
    return made


BASES = {"byte_level": byte_level, "byte_fallback": byte_fallback}


@pytest.fixture(params=BASES)
def base(request: pytest.FixtureRequest, tmp_path: Path) -> Tokenizer:
    made = BASES[request.param]()
    made.save(str(tmp_path / "tokenizer.json"))
    return made


def grown(folder: Path, more: int = 40, **options: int) -> Tokenizer:
    old = Tokenizer.from_file(str(folder / "tokenizer.json")).get_vocab_size()
    return extend(
        folder / "tokenizer.json",
        COUNTS,
        **({"vocab_size": old + more, "min_frequency": 2} | options),
        special_tokens=template.SPECIAL_TOKENS,
    )


def test_old_tokens_keep_their_ids_and_new_ones_follow(base, tmp_path):
    new = grown(tmp_path)
    before, after = base.get_vocab(), new.get_vocab()
    assert {token: after[token] for token in before} == before
    assert sorted(after.values()) == list(range(len(after)))
    assert all(after[token] >= len(before) for token in after.keys() - before.keys())
    assert set(template.SPECIAL_TOKENS) <= after.keys() and len(after) > len(before) + len(template.SPECIAL_TOKENS)
    assert Tokenizer.from_str(new.to_str()).get_vocab() == after  # and again, once it was saved and loaded


def test_what_was_learned_is_used_and_old_text_is_cut_as_before(base, tmp_path):
    new = grown(tmp_path)
    known = set(base.get_vocab())
    assert base.encode("我们").tokens != new.encode("我们").tokens
    cut = [new.decode([number]) for number in new.encode("我们，北京大学").ids]
    assert {"我们", "北京大学"} <= {text.strip() for text in cut}
    for text in ("the town", "xyz the"):  # no new pair occurs here
        assert set(new.encode(text).tokens) <= known
        assert new.encode(text).ids == base.encode(text).ids


@pytest.mark.parametrize("text", ["我们 the 白鹭𠮷 river\n", "<|im_end|>", " a  b", "中"])
def test_text_comes_back(base, tmp_path, text):
    new = grown(tmp_path)
    new.encode_special_tokens = True
    assert new.decode(new.encode(text, add_special_tokens=False).ids, skip_special_tokens=False) == text


def test_characters_that_a_base_has_not_become_tokens_the_most_frequent_first(tmp_path):
    byte_fallback().save(str(tmp_path / "tokenizer.json"))
    new = grown(tmp_path, more=4 + 3)
    fresh = sorted(new.get_vocab().items(), key=lambda item: item[1])[-3:]
    assert [token for token, _ in fresh] == ["们", "大", "学"]
    assert "𠮷" not in grown(tmp_path).get_vocab()  # once is not twice


def test_an_extended_base_is_an_artifact_like_another(base, tmp_path):
    world = tiny.split(tmp_path / "world")
    counted = tiny.make_counts(tmp_path / "counts", world)
    out, said = tmp_path / "out", list[str]()
    params = tokenizer.Params(method="extend", base=str(tmp_path), vocab_size=base.get_vocab_size() + 60)
    job = Job(out, tmp_path / "scratch", tiny.ONE, said.append)
    stats = tokenizer.run(job, params, counts=counted, rows=world, base=[tmp_path / "tokenizer.json"])
    loaded = AutoTokenizer.from_pretrained(out)
    assert (loaded.pad_token, loaded.eos_token) == (template.PAD, template.END) and loaded.pad_token_id != loaded.eos_token_id
    assert len(loaded) == stats["vocab_size"] == encoder(out).get_vocab_size()
    turns = tiny.turns("白鹭城")
    assert loaded.decode(loaded.apply_chat_template(turns)["input_ids"]).count(template.STOP) == 2
    report = json.loads((out / "report.json").read_text())
    assert report["sources"]["world"]["exact"] == report["sources"]["world"]["texts"] and not said
    assert "水" in report["sample"] + report["longest"]
    assert report["pattern"] == ("qwen2" if base.normalizer.__class__.__name__ == "NFC" else "")
    plain = sum(len(base.encode(text, add_special_tokens=False).ids) for text in tiny.PLACES)
    assert sum(len(encoder(out).encode(text, add_special_tokens=False).ids) for text in tiny.PLACES) < plain


def test_a_model_of_an_extended_tokenizer_ends_and_pads_with_its_ids(tmp_path):
    """Ids that our own tokenizers have at the front stand elsewhere here; what is at the front are letters."""
    made = byte_level()
    made.save(str(tmp_path / "tokenizer.json"))
    world, home = tiny.split(tmp_path / "world"), tmp_path / "made"
    counted = tiny.make_counts(tmp_path / "counts", world)
    job = Job(home, tmp_path / "scratch", tiny.ONE)
    params = tokenizer.Params(method="extend", base="somewhere", vocab_size=400)
    tokenizer.run(job, params, counts=counted, rows=world, base=[tmp_path / "tokenizer.json"])
    pad, end = (encoder(home).token_to_id(token) for token in (template.PAD, template.END))
    assert min(pad, end) >= 300
    packed, trained = tmp_path / "packed", tmp_path / "trained"
    pack.run(Job(packed, tmp_path / "pack.scratch", tiny.ONE), pack.Params(), rows=world, tokenizer=home)
    ids, offsets = np.fromfile(packed / "train.bin", "<u2"), np.load(packed / "train.offsets.npy")
    assert set(ids[offsets[1:] - 1]) == {end} == {json.loads((packed / "pack.json").read_text())["end_id"]}
    short = pretrain.Params(context=16, tokens=64, batch_tokens=32, preset="tiny")
    pretrain.run(Job(trained, tmp_path / "pretrain.scratch", tiny.ONE), short, packed=packed, tokenizer=home)
    config = AutoModelForCausalLM.from_pretrained(trained / "model").config
    assert (config.pad_token_id, config.eos_token_id, config.bos_token_id) == (pad, end, end)


def test_a_base_that_changes_text_is_said_and_counted(tmp_path):
    made = byte_level()
    made.normalizer = normalizers.Replace("水", "木")
    made.save(str(tmp_path / "tokenizer.json"))
    world = tiny.split(tmp_path / "world")
    said = list[str]()
    params = tokenizer.Params(method="extend", base="somewhere", vocab_size=400)
    job = Job(tmp_path / "out", tmp_path / "scratch", tiny.ONE, said.append)
    counted = tiny.make_counts(tmp_path / "counts", world)
    stats = tokenizer.run(job, params, counts=counted, rows=world, base=[tmp_path / "tokenizer.json"])
    assert stats["sources"]["world"]["exact"] < stats["sources"]["world"]["texts"]
    row = stats["sources"]["world"]
    assert json.loads((tmp_path / "out" / "report.json").read_text())["changed"] == row["texts"] - row["exact"]
    assert any("do not come back" in line for line in said)


@pytest.mark.parametrize(
    ("what", "message"),
    [
        (lambda: Tokenizer(kinds.Unigram([("<unk>", 0.0), ("a", -1.0)], unk_id=0)), "is Unigram; only BPE"),
        (lambda: Tokenizer(kinds.BPE(vocab={"a": 0, "b": 7}, merges=[], byte_fallback=True)), "with holes"),
    ],
)
def test_what_cannot_be_extended_is_refused(tmp_path, what, message):
    what().save(str(tmp_path / "tokenizer.json"))
    with pytest.raises(ValueError, match=message):
        grown(tmp_path)


def test_a_file_that_is_no_tokenizer_is_named(tmp_path):
    (tmp_path / "tokenizer.json").write_text('{"model": 3}')
    with pytest.raises(ValueError, match=r"tokenizer\.json is no tokenizer\.json"):
        extend(tmp_path / "tokenizer.json", COUNTS, vocab_size=400, min_frequency=2, special_tokens=[])


def test_a_size_without_room_is_refused(base, tmp_path):
    with pytest.raises(ValueError, match="leaves no room for new ones"):
        grown(tmp_path, more=1)


def test_a_base_goes_with_the_method_that_extends_it():
    for wrong in ({"method": "extend"}, {"base": "folder"}):
        with pytest.raises(ValueError, match="`base` is the folder"):
            tokenizer.Params(**wrong)


# -- the model's rows -----------------------------------------------------------------------------------------------------


def llama(rows: int, tied: bool) -> LlamaForCausalLM:
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=rows,
        hidden_size=16,
        intermediate_size=32,
        num_hidden_layers=1,
        num_attention_heads=2,
        tie_word_embeddings=tied,
        pad_token_id=None,
        bos_token_id=2,
        eos_token_id=2,
    )
    return LlamaForCausalLM(config)


def t5(rows: int, tied: bool) -> T5ForConditionalGeneration:
    assert tied, "transformers ties every T5"
    torch.manual_seed(0)
    config = T5Config(
        vocab_size=rows,
        d_model=16,
        d_kv=8,
        d_ff=32,
        num_layers=1,
        num_heads=2,
        tie_word_embeddings=tied,
        decoder_start_token_id=0,
    )
    return T5ForConditionalGeneration(config)


def shuffled(old: Tokenizer) -> Tokenizer:
    """The old tokens with other ids, in the reverse order."""
    described = json.loads(old.to_str())
    vocab = {**described["model"]["vocab"], **{token["content"]: token["id"] for token in described["added_tokens"]}}
    last = len(vocab) - 1
    described["model"]["vocab"] = {token: last - number for token, number in vocab.items()}
    for token in described["added_tokens"]:
        token["id"] = last - token["id"]
    described["added_tokens"].sort(key=lambda token: token["id"])
    return Tokenizer.from_str(json.dumps(described))


@pytest.mark.parametrize(("kind", "tied"), [(llama, True), (llama, False), (t5, True)])
@pytest.mark.parametrize("padding", [0, 37])
def test_rows_follow_their_tokens_by_name(base, tmp_path, kind, tied, padding):
    """No row is cut, whether the model had rows to spare or not, and none goes to another token."""
    new = grown(tmp_path)
    for target in (new, shuffled(new)):
        model = kind(base.get_vocab_size() + padding, tied)
        tables = [model.get_input_embeddings().weight.detach().clone(), model.get_output_embeddings().weight.detach().clone()]
        shared = model.get_input_embeddings().weight is model.get_output_embeddings().weight
        fresh = embeddings.resize(model, base, target)
        assert fresh == target.get_vocab_size() - base.get_vocab_size()
        assert model.config.vocab_size == target.get_vocab_size()
        for before, module in zip(tables, (model.get_input_embeddings(), model.get_output_embeddings()), strict=True):
            assert module.weight.shape == (target.get_vocab_size(), 16)
            for token, number in target.get_vocab().items():
                if (row := base.token_to_id(token)) is not None:
                    assert torch.equal(module.weight[number], before[row]), token
                else:
                    pieces = [piece.id for piece in base.model.tokenize(token)]
                    assert torch.allclose(module.weight[number], before[pieces].mean(0), atol=1e-6), token
        assert (model.get_input_embeddings().weight is model.get_output_embeddings().weight) == shared
        assert target.id_to_token(model.config.eos_token_id) == base.id_to_token(2 if kind is llama else 1)


def test_a_model_reads_old_text_as_before(base, tmp_path):
    new = grown(tmp_path)
    model = llama(base.get_vocab_size(), tied=False).eval()
    ids = base.encode("the town").ids
    before = model(torch.tensor([ids])).logits
    embeddings.resize(model, base, new)
    assert new.encode("the town").ids == ids
    assert torch.allclose(model(torch.tensor([ids])).logits[..., : base.get_vocab_size()], before, atol=1e-6)


def test_new_rows_start_as_the_mean_of_their_pieces(tmp_path):
    old, new = byte_level(), None
    old.save(str(tmp_path / "tokenizer.json"))
    new = grown(tmp_path)
    rows = embeddings.sources(old, new)
    number = new.encode("我们").ids[0]
    assert rows[number] == old.encode("我们").ids and len(rows[number]) == 6


def test_alphabets_that_differ_are_refused():
    with pytest.raises(ValueError, match="in bytes and the other in characters"):
        embeddings.sources(byte_level(), byte_fallback())


def test_a_model_that_is_smaller_than_its_tokenizer_is_refused(base, tmp_path):
    with pytest.raises(ValueError, match="give the tokenizer that it was trained with"):
        embeddings.resize(llama(50, tied=True), base, grown(tmp_path))
