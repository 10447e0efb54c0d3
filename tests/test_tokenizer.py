from __future__ import annotations

import json
import shutil
from collections import Counter
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer, normalizers
from transformers import AutoTokenizer

from models import template
from tasks import pack, rows, tokenizer
from tasks.pack import encoder
from tasks.stage import Job, Resources
from tests import tiny


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny.split(tmp_path_factory.mktemp("world"))


@pytest.fixture(scope="module")
def made(world: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny.make_tokenizer(tmp_path_factory.mktemp("tokenizer") / "out", world)


def job(folder: Path, **more) -> Job:
    return Job(folder / "out", folder / "scratch", **({"resources": tiny.ONE} | more))


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def test_transformers_loads_it_with_special_tokens_and_template(made):
    loaded = AutoTokenizer.from_pretrained(made)
    assert loaded.convert_tokens_to_ids(list(template.SPECIAL_TOKENS)) == [0, 1, 2, 3]
    assert (loaded.pad_token_id, loaded.eos_token_id) == (template.PAD_ID, template.END_ID)
    assert loaded.decode([template.STOP_ID], skip_special_tokens=True) == ""
    turns = tiny.turns("白鹭城")
    assert loaded.apply_chat_template(turns)["input_ids"] == template.encode(loaded, [turns])[0][0]


@settings(max_examples=200, deadline=None)
@given(text=st.text(max_size=60))
def test_any_text_comes_back_from_its_tokens(made, text):
    raw = encoder(made)
    assert raw.decode(raw.encode(text).ids, skip_special_tokens=False) == text


def test_what_looks_like_a_special_token_is_text(made):
    ids = encoder(made).encode("a<|im_end|>b").ids
    assert template.STOP_ID not in ids and len(ids) > 5


def test_bytes_are_the_same_however_it_is_run(world, made, tmp_path):
    again = job(tmp_path, resources=Resources(threads=2, workers=2, memory_gb=0.3))
    tokenizer.run(again, tokenizer.Params(vocab_size=320), rows=world)
    assert contents(again.out) == contents(made)


def test_words_keep_to_what_jieba_cuts_and_to_the_pattern(tmp_path):
    text = "我们在北京大学读书，2024年 hello\n\n北京大学"
    words = tokenizer.count_words([text], tmp_path)
    assert words == Counter(
        {"我们": 1, "在": 1, "北京大学": 2, "读书": 1, "，": 1, "2": 2, "0": 1, "4": 1, "年": 1, " hello": 1, "\n\n": 1}
    )


def test_jieba_is_silent_and_writes_into_the_scratch_folder_alone(world, tmp_path, capfd, monkeypatch):
    elsewhere = tmp_path / "temporary"
    elsewhere.mkdir()
    monkeypatch.setenv("TMPDIR", str(elsewhere))
    monkeypatch.setattr("tempfile.tempdir", None)
    one = job(tmp_path)
    tokenizer.run(one, tokenizer.Params(vocab_size=300), rows=world)
    assert (one.scratch / "jieba" / "jieba.cache").exists()
    assert not list(elsewhere.iterdir())
    assert capfd.readouterr() == ("", "")


def test_counts_of_parts_add_up_to_the_counts_of_the_whole(tmp_path, monkeypatch):
    monkeypatch.setattr(rows, "ROW_GROUP", 3)
    world = tiny.split(tmp_path / "world")
    assert pq.read_metadata(world / "pretrain" / "train.parquet").num_row_groups > 1
    one = job(tmp_path)
    tokenizer.run(one, tokenizer.Params(), rows=world)
    texts = [text for kind in ("pretrain", "sft") for _, text in pack.texts_of(world / kind / "train.parquet", kind)]
    expected = tokenizer.count_words(texts, one.scratch / "jieba")
    found = [(row["word"], row["count"]) for row in rows.read([one.out / "words" / "00000.parquet"])]
    assert found == sorted(expected.items(), key=lambda item: (-item[1], item[0]))
    assert expected["白鹭城"] == 0 and expected["白鹭"] > 0  # the dictionary has the bird, not the city


def test_another_size_from_the_same_text_counts_nothing_anew(world, tmp_path, monkeypatch):
    first = job(tmp_path / "first")
    tokenizer.run(first, tokenizer.Params(vocab_size=300), rows=world)
    (key,) = first.shards
    monkeypatch.setattr(tokenizer, "count_words", lambda *_: pytest.fail("counted again"))
    lend = {key: lambda folder: shutil.copytree(first.shard_home(key), folder, dirs_exist_ok=True)}
    second = job(tmp_path / "second", find_shard=lend.get)
    assert tokenizer.run(second, tokenizer.Params(vocab_size=310), rows=world)["vocab_size"] == 310


def test_the_report_counts_by_source(world, made):
    report = json.loads((made / "report.json").read_text())
    source = report["sources"]["world"]
    texts = [text for kind in ("pretrain", "sft") for _, text in pack.texts_of(world / kind / "valid.parquet", kind)]
    assert source["texts"] == len(texts) == 2 + 2 * 2
    assert source["characters"] == sum(map(len, texts))
    encoded = [encoder(made).encode(text) for text in texts]
    assert source["tokens"] == sum(len(one.ids) for one in encoded)
    high = [
        token
        for one in encoded
        for token in one.tokens
        if len(token) == 1 and token not in map(chr, range(0x21, 0x7F)) and token not in "ĠĊ"
    ]
    assert source["single_bytes"] == len(high) > 0
    assert source["characters_per_token"] == round(source["characters"] / source["tokens"], 4)
    assert len(report["longest"][0]) >= 2
    assert report["vocab_size"] == 320 and report["words"] > report["distinct_words"]


def test_a_text_that_does_not_come_back_is_an_error(world, made):
    broken = Tokenizer.from_file(str(made / "tokenizer.json"))
    broken.normalizer = normalizers.Replace("江", "河")
    with pytest.raises(RuntimeError, match="source world does not come back"):
        tokenizer._report(broken, world)


def test_a_small_text_gives_a_smaller_vocabulary_and_says_so(world, tmp_path):
    said: list[str] = []
    stats = tokenizer.run(job(tmp_path, log=said.append), tokenizer.Params(vocab_size=20_000), rows=world)
    assert 300 < stats["vocab_size"] < 1000
    assert len(said) == 1 and "20000" in said[0]


def test_without_text_there_is_no_tokenizer(tmp_path):
    for kind, schema in (("pretrain", "documents"), ("sft", "conversations")):
        tiny.write(tmp_path / "empty" / kind / "train.parquet", schema, [])
    with pytest.raises(ValueError, match="no text to learn a tokenizer from"):
        tokenizer.run(job(tmp_path), tokenizer.Params(), rows=tmp_path / "empty")


def test_real_chinese_text_comes_back(real_data, tmp_path):
    """Zhihu answers: emoji, odd spaces, full-width forms."""
    answers = pq.read_table(real_data / "qa" / "zhihu_kol_train-00000-of-00005_sample.parquet").column("RESPONSE").to_pylist()
    documents = [{"title": "", "text": text, "lang": "zh", "meta": "{}"} for text in answers[:300]]
    for side in ("train", "valid"):
        tiny.write(tmp_path / "rows" / "pretrain" / f"{side}.parquet", "documents", documents)
        tiny.write(tmp_path / "rows" / "sft" / f"{side}.parquet", "conversations", [])
    stats = tokenizer.run(job(tmp_path), tokenizer.Params(vocab_size=4000), rows=tmp_path / "rows")
    assert stats["vocab_size"] == 4000
    assert stats["sources"]["world"]["characters_per_token"] > 1.2
