from __future__ import annotations

import bz2
import json
import lzma
import math
from itertools import takewhile
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer, normalizers
from transformers import AutoTokenizer

from models import template, vocabulary
from models.pretokenizer import PATTERN, pretokenizer
from tasks import tokenizer
from tasks.artifacts.stage import Job, Resources
from tasks.data import words as counting
from tasks.data.tokens import encoder
from tests import tiny

METHODS: dict[str, dict[str, Any]] = {
    "bpe": {},
    "words": {"method": "words", "word_threshold": 2},
    "splits": {"method": "words", "word_threshold": 2, "all_splits": True},
    "characters": {"method": "characters"},
}


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny.split(tmp_path_factory.mktemp("world"))


@pytest.fixture(scope="module")
def counted(world: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny.make_counts(tmp_path_factory.mktemp("counts") / "out", world)


@pytest.fixture(scope="module")
def made(world: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny.make_tokenizer(tmp_path_factory.mktemp("tokenizer") / "out", world)


@pytest.fixture(scope="module", params=METHODS)
def each(request: pytest.FixtureRequest, world: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The artifact of every method."""
    return tiny.make_tokenizer(tmp_path_factory.mktemp(request.param) / "out", world, **METHODS[request.param])


def job(folder: Path, **more: Any) -> Job:
    return Job(folder / "out", folder / "scratch", **({"resources": tiny.ONE} | more))


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def texts(world: Path) -> list[str]:
    """The validation texts, all uses."""
    return [
        text
        for use in counting.COLUMNS
        for _, parts in counting.split_texts(world / use / "valid.parquet", use)
        for text in parts
    ]


# -- what every method makes ----------------------------------------------------------------------------------------------


def test_transformers_loads_it_with_special_tokens_and_template(each):
    loaded = AutoTokenizer.from_pretrained(each)
    assert loaded.convert_tokens_to_ids(list(template.SPECIAL_TOKENS)) == list(range(len(template.SPECIAL_TOKENS)))
    assert (loaded.pad_token, loaded.eos_token) == (template.PAD, template.END)
    assert loaded.pad_token_id != loaded.eos_token_id
    assert loaded.decode([template.STOP_ID], skip_special_tokens=True) == ""
    turns = tiny.turns("白鹭城")
    assert loaded.apply_chat_template(turns)["input_ids"] == template.encode(loaded, [turns])[0][0]
    assert len(loaded) == encoder(each).get_vocab_size() == json.loads((each / "report.json").read_text())["vocab_size"]


@settings(max_examples=150, deadline=None)
@given(text=st.text(max_size=60) | st.text(st.sampled_from("旁边水的柳河<|im_end>0xE4▁ \n\tab1，é\u0301"), max_size=40))
def test_any_text_comes_back_from_its_tokens(each, text):
    raw = encoder(each)
    assert raw.decode(raw.encode(text).ids, skip_special_tokens=False) == text


def test_what_looks_like_a_special_token_or_a_byte_is_text(each):
    raw = encoder(each)
    for text in ("a<|im_end|>b", "<|pad|>", "<0xE4><0x0A>"):
        ids = raw.encode(text).ids
        assert not set(ids) & set(range(len(template.SPECIAL_TOKENS))) and len(ids) > 5
        assert raw.decode(ids, skip_special_tokens=False) == text


def test_other_programs_know_the_pattern_by_name(each):
    """llama.cpp has no other way to cut text as we do."""
    described = json.loads((each / "tokenizer.json").read_text())
    steps = described["pre_tokenizer"].get("pretokenizers", [described["pre_tokenizer"]])
    assert steps[0]["type"] == "Split" and steps[0]["pattern"] == {"Regex": PATTERN} and steps[0]["behavior"] == "Isolated"
    assert [step["type"] for step in steps[1:]] in ([], ["ByteLevel"]) and described["normalizer"] is None
    assert json.loads((each / "report.json").read_text())["pattern"] == "qwen2"


def test_no_token_crosses_what_encoding_cuts(each):
    """Learned from words and used on the pattern's pieces: a token that the pattern would cut could never be used."""
    loaded = encoder(each)
    for number, raw in vocabulary.spellings(loaded).items():
        text = vocabulary.readable(raw)
        if number >= len(template.SPECIAL_TOKENS) and "<0x" not in text:
            assert len(pretokenizer().pre_tokenize_str(text)) == 1, text


# -- byte pairs -----------------------------------------------------------------------------------------------------------


def test_a_merge_inside_a_word_works_inside_a_longer_piece_and_not_across_pieces(tmp_path):
    sentence = "我们在北京大学读书"
    tiny.write(tmp_path / "w" / "sft" / "train.parquet", "conversations", [conversation(f"{sentence}，3北京4。\n", 9)])
    raw = encoder(tiny.make_tokenizer(tmp_path / "made", tmp_path / "w", vocab_size=400))
    assert [piece for piece, _ in pretokenizer().pre_tokenize_str(sentence)] == [sentence]  # one piece, five words
    cut = [raw.decode([number]) for number in raw.encode(sentence).ids]
    assert cut == ["我们", "在", "北京大学", "读书"]
    shown = {vocabulary.readable(spelled) for spelled in vocabulary.spellings(raw).values()}
    assert {"我们", "北京大学", "读书"} <= shown and "我们在" not in shown  # words, no phrases, though it repeats nine times
    for left, right in (("北京", "4"), ("3", "北京")):  # pieces of the pattern are never merged
        assert raw.encode(left + right).ids == raw.encode(left).ids + raw.encode(right).ids


def conversation(text: str, times: int) -> dict[str, Any]:
    return {"messages": [{"role": "user", "content": text}] * times, "meta": "{}"}


def test_bytes_are_the_same_however_it_is_run(world, counted, made, tmp_path):
    again = job(tmp_path, resources=Resources(threads=2, workers=2, memory_gb=0.3))
    tokenizer.run(again, tokenizer.Params(vocab_size=320), counts=counted, rows=world)
    assert contents(again.out) == contents(made)


def test_a_small_text_gives_a_smaller_vocabulary_and_says_so(world, counted, tmp_path):
    said: list[str] = []
    stats = tokenizer.run(job(tmp_path, log=said.append), tokenizer.Params(vocab_size=20_000), counts=counted, rows=world)
    assert 300 < stats["vocab_size"] < 1000
    assert len(said) == 1 and "20000" in said[0]


def test_special_tokens_of_a_recipe_follow_the_templates_own(world, tmp_path):
    folder = tiny.make_tokenizer(tmp_path / "made", world, special_tokens=["<|tool|>"])
    loaded = AutoTokenizer.from_pretrained(folder)
    number = loaded.convert_tokens_to_ids("<|tool|>")
    assert number == len(template.SPECIAL_TOKENS) and loaded.decode([number], skip_special_tokens=True) == ""
    assert number not in encoder(folder).encode("<|tool|>").ids
    with pytest.raises(ValueError, match="special_tokens"):
        tokenizer.Params(special_tokens=["tool"])


def test_what_marks_the_turns_of_the_template_is_special(world, tmp_path):
    """Role tokens are one token each, which no raw text makes; the ids of the others stay as they are."""
    folder = tiny.make_tokenizer(tmp_path / "made", world, template="roles", special_tokens=["<|tool|>"])
    loaded = AutoTokenizer.from_pretrained(folder)
    marks = ["<|system|>", "<|user|>", "<|assistant|>", "<|tool|>"]
    assert loaded.convert_tokens_to_ids([*template.SPECIAL_TOKENS, *marks]) == list(range(8))
    said = loaded.apply_chat_template([{"role": "user", "content": "<|assistant|>"}], add_generation_prompt=True)["input_ids"]
    assert [said.count(number) for number in (5, 6)] == [1, 1] and loaded.decode(
        said, skip_special_tokens=True
    ).strip() == "< |assistant|>"
    assert tokenizer.specials(tokenizer.Params()) == list(template.SPECIAL_TOKENS)


# -- words and characters -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("all_splits", [False, True], ids=["unigram", "splits"])
@settings(max_examples=60, deadline=None)
@given(
    table=st.dictionaries(st.text("中国人民大学ab", min_size=1, max_size=7), st.integers(1, 5000), min_size=1, max_size=25),
    threshold=st.integers(1, 1000),
)
def test_every_word_is_one_token(all_splits, table, threshold):
    entries = vocabulary.frequent(table.items(), vocabulary.characters(table.items()), threshold, 10_000)
    expected = {word for word, count in table.items() if count >= threshold}
    assert {word for word in entries if len(word) > 1} == {word for word in expected if len(word) > 1}
    assert set("".join(expected)) <= set(entries)
    if not entries:
        return
    build = vocabulary.of_splits if all_splits else vocabulary.of_words
    raw = build(entries, template.SPECIAL_TOKENS)
    for word in entries:
        assert len(pretokenizer().pre_tokenize_str(word)) == 1
        assert raw.encode(word).tokens == [word]


def test_all_splits_alone_leave_words_that_no_merge_leads_to():
    """Four characters without a half in the vocabulary, as 国务院: the construction as SCCLM has it cannot make them."""
    entries = dict.fromkeys(["中", "国", "务", "院", "国务院", "中国务院"], 10)
    bare = {(a[:n], a[n:]): 0 for a in entries for n in range(1, len(a)) if a[:n] in entries and a[n:] in entries}
    assert vocabulary.merged("国务院", bare) == ["国", "务", "院"]
    assert vocabulary.of_splits(entries, []).encode("国务院").tokens == ["国务院"]


@settings(max_examples=60, deadline=None)
@given(
    table=st.dictionaries(st.text("中国人民大学", min_size=1, max_size=7), st.integers(1, 5000), min_size=1, max_size=25),
    room=st.integers(0, 40),
)
def test_parts_that_words_are_joined_of_fit_into_the_vocabulary(table, room):
    entries = vocabulary.frequent(table.items(), vocabulary.characters(table.items()), 1, room)
    raw = vocabulary.of_splits(entries, template.SPECIAL_TOKENS, room)
    learned = list(raw.get_vocab(with_added_tokens=False).keys() - {*template.SPECIAL_TOKENS, *vocabulary.BYTES})
    assert len(learned) <= room
    kept = list(takewhile(learned.__contains__, entries))
    assert all(raw.encode(word).tokens == [word] for word in kept)


def test_a_vocabulary_is_no_larger_than_asked_for_with_all_splits():
    words = dict.fromkeys(["中国人民", "大学学生", "国务院", "工作人员"], 10)
    table = [*words.items()]
    entries = vocabulary.frequent(table, vocabulary.characters(table), 1, 100)
    whole = vocabulary.of_splits(entries, [], None).get_vocab_size()
    parts = whole - len(vocabulary.BYTES) - len(entries)
    assert parts > 2
    tight = vocabulary.of_splits(entries, [], len(entries) + parts - 1)
    assert whole - 5 <= tight.get_vocab_size() < whole


def test_a_word_that_is_rarer_than_its_parts_is_still_one_token_and_no_more():
    entries = {"是": 10**6, "的": 10**6, "是的": 1500}
    raw = vocabulary.of_words(entries, ["<|p|>"])
    scores = dict(json.loads(raw.to_str())["model"]["vocab"])
    assert 0 < scores["是的"] - (scores["是"] + scores["的"]) < 0.001
    assert raw.encode("是的").tokens == ["是的"]


def test_a_word_that_is_likelier_than_its_parts_keeps_its_own_score():
    entries = {"中": 10, "国": 10, "中国": 980}
    scores = dict(json.loads(vocabulary.of_words(entries, []).to_str())["model"]["vocab"])
    assert scores["中国"] == math.log(0.98) and scores["中"] == math.log(0.01)


def test_the_threshold_keeps_words_and_characters_that_reach_it(world, counted, tmp_path):
    stats = tokenizer.run(
        job(tmp_path), tokenizer.Params(method="words", word_threshold=6, vocab_size=1000), counts=counted, rows=world
    )
    table = dict(counting.read_counts(counted))
    alone = vocabulary.characters(table.items())
    expected = {word for word, count in table.items() if len(word) > 1 and count >= 6} | {c for c, n in alone.items() if n >= 6}
    learned = encoder(tmp_path / "out").get_vocab()
    assert set(learned) == {*template.SPECIAL_TOKENS, *vocabulary.BYTES, *expected}
    assert stats["vocab_size"] == len(template.SPECIAL_TOKENS) + 256 + len(expected)


def test_the_most_frequent_win_where_the_vocabulary_is_full_and_no_word_stands_without_its_characters():
    table = {"中国": 50, "人民": 40, "大学": 30}
    entries = vocabulary.frequent(table.items(), vocabulary.characters(table.items()), 1, 5)
    assert list(entries) == ["中", "国", "中国", "人", "民"]
    assert entries == {"中": 0, "国": 0, "中国": 50, "人": 40, "民": 40}


def test_no_word_that_often_is_said(world, counted, tmp_path):
    with pytest.raises(ValueError, match="no word occurs 1500 times"):
        tokenizer.run(job(tmp_path), tokenizer.Params(method="words"), counts=counted, rows=world)


# -- report ---------------------------------------------------------------------------------------------------------------


def test_the_report_counts_by_source(world, made):
    report = json.loads((made / "report.json").read_text())
    source = report["sources"]["world"]
    held = texts(world)
    assert source["texts"] == source["exact"] == len(held) == 2 + 2 * 2 + 2 * 2
    assert source["characters"] == sum(map(len, held))
    encoded = [encoder(made).encode(text) for text in held]
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


def test_single_bytes_are_counted_where_characters_fall_into_them(world, tmp_path):
    folder = tiny.make_tokenizer(tmp_path / "made", world, method="characters", min_frequency=6)
    row = json.loads((folder / "report.json").read_text())["sources"]["world"]
    known = encoder(folder).get_vocab()
    fallen = sum(len(character.encode()) for text in texts(world) for character in text if character not in known)
    assert row["single_bytes"] == fallen > 0


def test_a_source_without_validation_rows_is_reported_on_its_training_rows(world, counted, tmp_path):
    rows = tiny.split(tmp_path / "world")
    few = [{"title": "", "text": f"小来源第{n}句", "lang": "zh", "meta": "{}", "source": "few"} for n in range(3)]
    old = pq.read_table(rows / "pretrain" / "train.parquet").to_pylist()
    tiny.write(rows / "pretrain" / "train.parquet", "documents", [*old, *few])
    found = tokenizer.run(job(tmp_path), tokenizer.Params(vocab_size=300), counts=counted, rows=rows)["sources"]
    assert found["few"]["texts"] == 3 and found["few"]["characters"] == sum(len(row["text"]) for row in few)
    assert found["world"]["texts"] == len(texts(rows))


def test_people_can_read_the_report(each):
    page = (each / "report.md").read_text()
    report = json.loads((each / "report.json").read_text())
    assert f"{report['vocab_size']:,} tokens" in page and "| world | 10 | all |" in page
    assert "`水`" in page and ("`旁边`" in page) == (report["method"] != "characters")
    assert "\ufffd" not in page
    if report["method"] == "bpe":
        assert report["incomplete"]["tokens"] > 0 and all("<0x" in token for token in report["incomplete"]["sample"])


def test_bytes_that_make_no_character_are_shown_as_such():
    assert vocabulary.readable("中".encode()[1:] + "国 a".encode() + b"\xe4") == "<0xB8><0xAD>国 a<0xE4>"
    assert vocabulary.readable(b"") == "" and vocabulary.readable(b"\xff") == "<0xFF>"


@given(st.binary(max_size=30))
def test_readable_is_text_where_the_bytes_are(raw):
    try:
        assert vocabulary.readable(raw) == raw.decode()
    except UnicodeDecodeError:
        assert "<0x" in vocabulary.readable(raw)


def test_a_text_that_does_not_come_back_is_an_error(world, made):
    broken = Tokenizer.from_file(str(made / "tokenizer.json"))
    broken.normalizer = normalizers.Replace("江", "河")
    with pytest.raises(RuntimeError, match="source world does not come back"):
        tokenizer.report_on(broken, world, first=260, strict=True)


# -- real text ------------------------------------------------------------------------------------------------------------


def real_texts(path: Path, most: int) -> list[str]:
    """The first `most` bytes of a real file's text in slices, however it is packed; bytes that are no text are left out."""
    if path.suffix == ".parquet":
        batch = next(pq.ParquetFile(path).iter_batches(most >> 10))
        return ["\n".join(str(value) for value in row.values()) for row in batch.to_pylist()]
    opener = {".bz2": bz2.open, ".xz": lzma.open}.get(path.suffix, open)
    with opener(path, "rb") as source:
        raw = source.read(most)
    text = raw.decode("utf-8", "ignore")
    if 3 * len(text) < len(raw) < most:
        text = raw.decode("gb18030", "ignore")
    return [text[start : start + 50_000] for start in range(0, len(text), 50_000)]


@pytest.mark.parametrize("name", METHODS)
def test_all_real_files_come_back(real_data, tmp_path, name):
    """Emoji, odd spaces, control characters, Japanese, markup: learned from Zhihu, read back from everything."""
    answers = pq.read_table(real_data / "qa" / "zhihu_kol_train-00000-of-00005_sample.parquet").column("RESPONSE").to_pylist()
    rows = tmp_path / "rows"
    tiny.write(rows / "sft" / "train.parquet", "conversations", [conversation(text, 1) for text in answers[:300]])
    method = METHODS[name] | ({"word_threshold": 20} if "words" in METHODS[name].values() else {})
    folder = tiny.make_tokenizer(tmp_path / "made", rows, vocab_size=4000, **method)
    row = json.loads((folder / "report.json").read_text())["sources"]["world"]
    assert row["characters_per_token"] > {"bpe": 1.2, "characters": 0.9}.get(name, 1.0)
    raw = encoder(folder)
    read = 0
    for path in sorted(path for path in real_data.rglob("*") if path.is_file()):
        texts = real_texts(path, (1 << 17) if name == "bpe" else (1 << 15))
        read += sum(map(len, texts))
        back = raw.decode_batch(
            [one.ids for one in raw.encode_batch_fast(texts, add_special_tokens=False)], skip_special_tokens=False
        )
        assert back == texts, path
    assert read > 1_000_000
