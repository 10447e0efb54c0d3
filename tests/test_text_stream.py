from __future__ import annotations

import gc
import random
import weakref

import pytest
from tokenizers import Tokenizer, decoders, normalizers, pre_tokenizers
from tokenizers.models import BPE
from transformers import PreTrainedTokenizerFast

from models.bpe import byte_alphabet
from models.engines import text_stream
from models.engines.text_stream import TextStream

TEXTS = [
    "翰林院在北京。",
    "a b  c\n\n  第二行 ",
    "表情😀和𠀀字",
    "\ufffd是模型自己写的",
    " 前面有空格",
    "",
    "é́ñ",
    "\ufffd",
    "云<|im_end|>雨",
]


def byte_level() -> PreTrainedTokenizerFast:
    """A tokenizer of single bytes, two special tokens and an added one that is none."""
    vocabulary = {character: number for number, character in enumerate(sorted(byte_alphabet()))}
    tokenizer = Tokenizer(BPE(vocabulary, []))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    wrapped = PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token="<|im_end|>", pad_token="<|pad|>")
    wrapped.add_tokens(["翰林"])
    return wrapped


def pieces() -> PreTrainedTokenizerFast:
    """A tokenizer as SentencePiece makes them: ▁ for a space, a token for some characters, bytes for all others."""
    names = ["<unk>", "<s>", "</s>", *(f"<0x{byte:02X}>" for byte in range(256)), "▁", "翰", "林", "a", "b", "c", "▁a"]
    model = BPE({name: number for number, name in enumerate(names)}, [("▁", "a")], unk_token="<unk>", byte_fallback=True)
    tokenizer = Tokenizer(model)
    tokenizer.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    tokenizer.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    )
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token="</s>", bos_token="<s>", unk_token="<unk>")


@pytest.fixture(params=[byte_level, pieces], ids=["byte_level", "pieces"])
def tokenizer(request):
    return request.param()


def streamed(tokenizer, ids, stop=()) -> tuple[str, TextStream]:
    stream = TextStream(tokenizer, stop)
    given = "".join(stream.put(token) for token in ids) + stream.finish()
    assert given == stream.text
    return given, stream


@pytest.mark.parametrize("text", TEXTS)
def test_the_stream_of_a_text_is_what_the_tokenizer_decodes(tokenizer, text):
    ids = tokenizer(text, add_special_tokens=False)["input_ids"]
    given, _ = streamed(tokenizer, ids)
    assert given == tokenizer.decode(ids, skip_special_tokens=True)


def test_half_a_character_waits_for_its_other_half(tokenizer):
    ids = tokenizer("水a", add_special_tokens=False)["input_ids"]
    stream = TextStream(tokenizer)
    given = [stream.put(token) for token in ids]
    assert "水" in given and given[-1] == "a" and all("\ufffd" not in text for text in given)


def test_bytes_that_never_become_a_character_are_left_out(tokenizer):
    first, second, third, letter = tokenizer("水c", add_special_tokens=False)["input_ids"][-4:]
    for broken, text in [
        ([first], ""),
        ([first, second, letter], "c"),
        ([third, letter], "c"),
        ([first, first, second, third], "水"),
    ]:
        assert "\ufffd" in tokenizer.decode(broken) and streamed(tokenizer, broken)[0] == text


def test_random_tokens_give_all_whole_characters_and_no_replacement(tokenizer):
    """`tokenizers` may lose whole characters beside broken ones; of what it finds, all is here."""
    draw = random.Random(0)
    for _ in range(200):
        ids = [draw.randrange(len(tokenizer)) for _ in range(draw.randrange(12))]
        given, decoded = streamed(tokenizer, ids)[0], tokenizer.decode(ids, skip_special_tokens=True)
        rest = iter(given)
        assert "\ufffd" not in given and all(character in rest for character in decoded.replace("\ufffd", ""))


def test_an_answer_ends_before_its_stop_text(tokenizer):
    ids = tokenizer("一二三。四五。", add_special_tokens=False)["input_ids"]
    for stop, expected in [(("。",), "一二三"), (("四五", "二三"), "一"), (("三。四",), "一二"), (("七", ""), "一二三。四五。")]:
        given, stream = streamed(tokenizer, ids, stop)
        assert given.strip() == expected and stream.stopped == (expected != "一二三。四五。")
    _, stream = streamed(tokenizer, ids, ("。",))
    assert stream.put(ids[-4]) == "" == stream.finish()


def test_what_may_begin_a_stop_text_is_held_back_until_it_is_none(tokenizer):
    stream = TextStream(tokenizer, ["aab"])
    (a,), (b,), (c,) = (tokenizer(f"c{letter}", add_special_tokens=False)["input_ids"][-1:] for letter in "abc")
    assert [stream.put(token).strip() for token in (c, a, a, a, c, a)] == ["c", "", "", "a", "aac", ""]
    assert stream.finish() == "a"
    assert [stream.put(token) for token in (a, a, b, c)] == ["", "", "", ""] and stream.stopped


def test_a_token_beyond_the_vocabulary_has_no_text(tokenizer):
    assert streamed(tokenizer, [len(tokenizer) + 5])[0] == ""


def test_a_stream_keeps_no_tokenizer_alive(tokenizer):
    other = byte_level()
    reference = weakref.ref(other)
    TextStream(other)
    assert other in text_stream.SPELLINGS
    del other
    gc.collect()
    assert reference() is None
