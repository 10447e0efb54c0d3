"""Tokenizers from outside are what their tokenizer.json says, in every class that transformers would make of it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from tokenizers import Regex, Tokenizer, normalizers, pre_tokenizers
from transformers import AutoTokenizer, Qwen2Config, Qwen2ForCausalLM

from models import importer, loading, tokenizer_files, vocabulary
from models.pretokenizer import PATTERN
from tests import outside

TEXTS = ["今天3天，我们去e\u0301公园。", "ＡＢＣ  １２３\n\n\tdef f(x):\n", "한 ﬁ 가", " a"]


def cut(pattern: str) -> Any:
    split = pre_tokenizers.Split(Regex(pattern), "isolated")
    return pre_tokenizers.Sequence([split, pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False, trim_offsets=False)])


OTHERS = {
    "as it is": {},
    "Qwen's cut without its normalisation": {"pre_tokenizer": cut(PATTERN)},
    "Qwen's normalisation without its cut": {"normalizer": normalizers.NFC()},
    "a cut of its own": {"normalizer": normalizers.NFKC(), "pre_tokenizer": cut(r"\p{Han}{1,2}|[^\p{Han}]+")},
}


def qwen(folder: Path, about: dict[str, Any], **parts: Any) -> Path:
    """A little Qwen2 with a tokenizer of these parts; `about` goes into its tokenizer_config.json, and None takes away."""
    made = outside.tokenizer(more=("<|endoftext|>",), **parts)
    torch.manual_seed(0)
    config = Qwen2Config(
        vocab_size=len(made), hidden_size=32, intermediate_size=32, num_hidden_layers=1, num_attention_heads=2,
        num_key_value_heads=2, bos_token_id=1, eos_token_id=2,
    )  # fmt: skip
    Qwen2ForCausalLM(config).save_pretrained(folder)
    made.save_pretrained(folder)
    path = folder / "tokenizer_config.json"
    told = json.loads(path.read_text()) | about
    path.write_text(json.dumps({name: value for name, value in told.items() if value is not None}))
    return folder


@pytest.mark.parametrize("named", [None, "PreTrainedTokenizerFast", "Qwen2Tokenizer", "Qwen2TokenizerFast"])
@pytest.mark.parametrize("kind", OTHERS)
def test_a_qwen2_with_a_tokenizer_that_is_not_qwens_reads_what_its_file_says(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], kind: str, named: str | None
) -> None:
    files, home = qwen(tmp_path / "files", {"tokenizer_class": named}, **OTHERS[kind]), tmp_path / "home"
    importer.import_model({"files": str(files), "out": str(home), "tokenizer": None, "chat": False})
    said = [json.loads(line)["text"] for line in capsys.readouterr().out.splitlines() if '"log"' in line]
    assert [line for line in said if "read as it is" in line and "Qwen2Tokenizer" in line]
    meant = Tokenizer.from_file(str(files / "tokenizer.json"))
    for folder in (files, home):
        _, read = loading.load(folder, torch.device("cpu"))
        assert [read(text)["input_ids"] for text in TEXTS] == [meant.encode(text).ids for text in TEXTS]
        assert len(read) == meant.get_vocab_size() and (read.bos_token, read.eos_token, read.pad_token) == ("<s>", "</s>", None)
        ids = meant.encode(TEXTS[0]).ids
        assert read.decode(ids) == meant.decode(ids, skip_special_tokens=False)
    told = json.loads((home / "tokenizer_config.json").read_text())
    assert told["tokenizer_class"] == "PreTrainedTokenizerFast" and "extra_special_tokens" not in told


def test_qwens_own_tokenizer_is_left_alone(tmp_path: Path) -> None:
    notes: list[str] = []
    parts = {"normalizer": normalizers.NFC(), "pre_tokenizer": cut(PATTERN)}
    about = {"tokenizer_class": "Qwen2Tokenizer", "bos_token": None, "unk_token": None, "pad_token": "<|endoftext|>"}
    read = tokenizer_files.read(qwen(tmp_path, about, **parts), notes.append)
    assert not notes and type(read).__name__ == "Qwen2Tokenizer"


def test_a_tokenizer_of_another_kind_is_read_from_its_file_too(tmp_path: Path) -> None:
    """Words with scores, which Qwen2Tokenizer could make nothing of."""
    made = vocabulary.of_words({"今天": 9, "今": 2, "天": 3, "公园": 5}, ["<|pad|>", "<|endoftext|>"])
    folder = qwen(tmp_path, {"tokenizer_class": "PreTrainedTokenizerFast", "eos_token": "<|endoftext|>", "bos_token": None})
    made.save(str(folder / "tokenizer.json"))
    read = tokenizer_files.read(folder)
    assert read.tokenize("今天公园") == ["今天", "公园"]


def test_a_llama_reads_as_before(tmp_path: Path) -> None:
    notes: list[str] = []
    folder = outside.base(tmp_path)
    assert type(tokenizer_files.read(folder, notes.append)) is type(AutoTokenizer.from_pretrained(folder)) and not notes


def test_files_are_written_in_terms_that_every_generation_has(tmp_path: Path) -> None:
    """And what is read from them and written again is the same."""
    read = outside.tokenizer()
    read.add_special_tokens({"extra_special_tokens": ["<one>", "<two>"]})
    tokenizer_files.save(read, tmp_path / "one")
    told = json.loads((tmp_path / "one" / "tokenizer_config.json").read_text())
    assert told["tokenizer_class"] == "PreTrainedTokenizerFast" and told["additional_special_tokens"] == ["<one>", "<two>"]
    assert not {"extra_special_tokens", *tokenizer_files.OF_ONE_GENERATION} & told.keys()
    again = tokenizer_files.read(tmp_path / "one")
    assert again.extra_special_tokens == ["<one>", "<two>"]
    tokenizer_files.save(again, tmp_path / "two")
    (tmp_path / "three").mkdir()
    tokenizer_files.copy(tmp_path / "one", tmp_path / "three")
    for name in ("tokenizer.json", "tokenizer_config.json"):
        bytes_of = {(tmp_path / folder / name).read_bytes() for folder in ("one", "two", "three")}
        assert len(bytes_of) == 1
