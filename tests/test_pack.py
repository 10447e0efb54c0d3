from __future__ import annotations

import json
from itertools import chain, pairwise
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import Tokenizer
from tokenizers import models as tokenizer_models

from models.template import END_ID, SPECIAL_TOKENS
from tasks import pack, rows
from tasks.stage import Job, Resources
from tests import tiny


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    home = tmp_path_factory.mktemp("pack")
    world = tiny.split(home / "world")
    return world, tiny.make_tokenizer(home / "tokenizer", world)


def packed(folder: Path, world: Path, tokenizer: Path, resources: Resources = tiny.ONE) -> dict:
    return pack.run(Job(folder / "out", folder / "scratch", resources), pack.Params(), rows=world, tokenizer=tokenizer)


def documents(folder: Path, split: str, dtype: str = "<u2") -> list[list[int]]:
    ids = np.fromfile(folder / f"{split}.bin", dtype=dtype)
    offsets = np.load(folder / f"{split}.offsets.npy")
    assert offsets.dtype == np.int64 and offsets[0] == 0 and offsets[-1] == len(ids)
    return [ids[start:end].tolist() for start, end in pairwise(offsets)]


def test_documents_come_back_from_the_run_of_tokens(made, tmp_path):
    world, tokenizer = made
    stats = packed(tmp_path, world, tokenizer)
    raw = pack.encoder(tokenizer)
    for split in ("train", "valid"):
        found = documents(tmp_path / "out", split)
        expected = [pack.text_of(row) for row in rows.read([world / "pretrain" / f"{split}.parquet"])]
        assert [ids[-1] for ids in found] == [END_ID] * len(expected)
        assert [raw.decode(ids[:-1]) for ids in found] == expected
        counted = stats["splits"][split]
        assert counted["tokens"] == sum(map(len, found)) == sum(counted["sources"].values())
        assert counted["documents"] == len(expected)
        assert counted["characters"] == sum(map(len, expected))
        assert counted["bytes_utf8"] == sum(len(text.encode()) for text in expected)
    assert json.loads((tmp_path / "out" / "pack.json").read_text()) == {
        name: stats[name] for name in ("dtype", "vocab_size", "end_id", "splits")
    }
    assert stats["dtype"] == "uint16" and stats["vocab_size"] == 320


def test_row_groups_and_threads_change_no_byte(made, tmp_path, monkeypatch):
    world, tokenizer = made
    packed(tmp_path / "one", world, tokenizer)
    monkeypatch.setattr(rows, "ROW_GROUP", 2)
    packed(tmp_path / "two", tiny.split(tmp_path / "pieces"), tokenizer, Resources(threads=2, workers=2))
    for path in sorted((tmp_path / "one" / "out").iterdir()):
        assert path.read_bytes() == (tmp_path / "two" / "out" / path.name).read_bytes(), path.name


def test_a_finished_piece_is_not_tokenised_again(made, tmp_path, monkeypatch):
    monkeypatch.setattr(rows, "ROW_GROUP", 2)
    world, tokenizer = tiny.split(tmp_path / "world"), made[1]
    whole, first = pack._pack, []

    def killed_at_the_third(draft, path, group, *rest):
        first.append(group)
        if len(first) == 3:
            raise KeyboardInterrupt
        return whole(draft, path, group, *rest)

    monkeypatch.setattr(pack, "_pack", killed_at_the_third)
    with pytest.raises(KeyboardInterrupt):
        packed(tmp_path, world, tokenizer)
    second = []
    monkeypatch.setattr(pack, "_pack", lambda draft, path, group, *rest: second.append(group) or whole(draft, path, group, *rest))
    packed(tmp_path, world, tokenizer)
    assert first == [0, 1, 2] and second == [2, 0]  # the rest of train, and valid
    assert len(documents(tmp_path / "out", "train")) == len(tiny.PLACES) - 2


def test_a_special_token_spelled_in_a_text_is_no_end_of_document(made, tmp_path):
    for split in ("train", "valid"):
        text = [{"title": "", "text": "a<|endoftext|>b", "lang": "zh", "meta": "{}"}]
        tiny.write(tmp_path / "rows" / "pretrain" / f"{split}.parquet", "documents", text)
    packed(tmp_path, tmp_path / "rows", made[1])
    (ids,) = documents(tmp_path / "out", "train")
    assert ids.count(END_ID) == 1 and ids[-1] == END_ID


def test_a_large_vocabulary_takes_four_bytes(made, tmp_path):
    vocab = {token: number for number, token in enumerate(SPECIAL_TOKENS)}
    vocab |= {f"token{number}": number for number in range(len(vocab), 70_000)} | {"水": 70_000}
    (tmp_path / "large").mkdir()
    Tokenizer(tokenizer_models.BPE(vocab=vocab, merges=[])).save(str(tmp_path / "large" / "tokenizer.json"))
    stats = packed(tmp_path, made[0], tmp_path / "large")
    assert stats["dtype"] == "uint32"
    found = documents(tmp_path / "out", "train", "<u4")
    assert set(chain.from_iterable(found)) == {70_000, END_ID}


@pytest.mark.parametrize(
    ("title", "text", "read"),
    [
        ("石桥镇", "它在柳河旁边。", "石桥镇\n它在柳河旁边。"),
        ("石桥镇", "石桥镇在柳河旁边。", "石桥镇在柳河旁边。"),
        ("", "无题", "无题"),
        (None, "无题", "无题"),
    ],
)
def test_a_title_stands_before_a_text_that_does_not_open_with_it(title, text, read):
    assert pack.text_of({"title": title, "text": text}) == read


@given(st.lists(st.integers(0, 40), max_size=30))
def test_gulps_keep_every_text_and_its_order_and_stay_small(sizes):
    texts = [(str(number), "水" * size) for number, size in enumerate(sizes)]
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(pack, "GULP", 50)
        found = list(pack.gulps(texts))
    assert list(chain.from_iterable(found)) == texts
    assert all(sum(len(text) for _, text in gulp[:-1]) < 50 for gulp in found)


def test_without_documents_there_is_nothing_to_pack(made, tmp_path):
    for split in ("train", "valid"):
        tiny.write(tmp_path / "rows" / "pretrain" / f"{split}.parquet", "documents", [])
    with pytest.raises(ValueError, match="use `pretrain`"):
        packed(tmp_path, tmp_path / "rows", made[1])


def test_a_folder_without_a_tokenizer_is_named(made, tmp_path):
    with pytest.raises(ValueError, match=r"tokenizer\.json is missing"):
        packed(tmp_path, made[0], tmp_path)
