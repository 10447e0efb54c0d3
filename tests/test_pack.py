from __future__ import annotations

import json
from itertools import chain, pairwise
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer
from tokenizers import models as tokenizer_models

from models.template import END_ID, SPECIAL_TOKENS
from tasks import pack
from tasks.artifacts.stage import Job, Resources
from tasks.data import mixture, rows
from tasks.data import tokens as token_runs
from tasks.trace.texts import draws_of, last_draws
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
    raw = token_runs.encoder(tokenizer)
    for split in ("train", "valid"):
        found = documents(tmp_path / "out", split)
        expected = [token_runs.text_of(row) for row in rows.read([world / "pretrain" / f"{split}.parquet"])]
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
    assert token_runs.text_of({"title": title, "text": text}) == read


@given(st.lists(st.integers(0, 40), max_size=30))
def test_gulps_keep_every_text_and_its_order_and_stay_small(sizes):
    texts = [(str(number), "水" * size) for number, size in enumerate(sizes)]
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(token_runs, "GULP", 50)
        found = list(token_runs.gulps(texts))
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


# -- mixing -------------------------------------------------------------------------------------------------------------

SIZES = {"zh": 60, "en": 20, "code": 4}  # documents of each source, of very different lengths


@pytest.fixture(scope="module")
def sources(made, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A split whose documents come source after source."""
    folder = tmp_path_factory.mktemp("mix") / "rows"
    for side, times in (("train", 1), ("valid", 0)):
        with rows.Writer(folder / "pretrain" / f"{side}.parquet", "documents") as out:
            for source, count in SIZES.items():
                for number in range(count * times):
                    text = f"{source}{number}。" + "河水流过石桥。" * (1 + number % 7)
                    out.add({"id": rows.row_id(text), "source": source, "title": "", "text": text, "lang": "zh", "meta": "{}"})
    return folder


def mixed(folder: Path, world: Path, tokenizer: Path, **params) -> tuple[dict, list[str]]:
    """The statistics and the documents' texts, in the order of the run of tokens; what was logged is in `folder / "log"`."""
    said: list[str] = []
    job = Job(folder / "out", folder / "scratch", tiny.ONE, log=said.append)
    stats = pack.run(job, pack.Params(**params), rows=world, tokenizer=tokenizer)
    (folder / "log").write_text("\n".join(said))
    raw = token_runs.encoder(tokenizer)
    return stats, [raw.decode(ids[:-1]) for ids in documents(folder / "out", "train")]


def source_of(text: str) -> str:
    return next(source for source in SIZES if text.startswith(source))


def test_weights_are_shares_of_the_tokens(made, sources, tmp_path):
    stats, found = mixed(tmp_path, sources, made[1], weights={"zh": 7, "en": 3, "code": 0.5})
    tokens = stats["splits"]["train"]["sources"]
    lengths = np.diff(np.load(tmp_path / "out" / "train.offsets.npy"))
    counted = {source: sum(n for n, text in zip(lengths, found, strict=True) if source_of(text) == source) for source in SIZES}
    assert tokens == counted and sum(tokens.values()) == stats["splits"]["train"]["tokens"] == lengths.sum()
    longest = lengths.max()
    for source, weight in {"zh": 7, "en": 3, "code": 0.5}.items():
        assert abs(tokens[source] - weight / 10.5 * lengths.sum()) <= longest, "exact to a document"
    assert stats["splits"]["train"]["documents"] == len(found)
    assert stats["splits"]["train"]["characters"] == sum(map(len, found))
    assert stats["splits"]["train"]["bytes_utf8"] == sum(len(text.encode()) for text in found)
    assert json.loads((tmp_path / "out" / "pack.json").read_text())["mix"] == stats["mix"]


def test_the_largest_source_is_there_once_and_the_others_are_repeated_to_match_it(made, sources, tmp_path):
    stats, found = mixed(tmp_path, sources, made[1], weights={"zh": 3, "en": 2, "code": 0.3})
    of = {row["group"]: row for row in stats["mix"]}
    assert of["zh"]["passes"] == 1 and 1 < of["en"]["passes"] <= 4 and of["en"]["left_out"] == 0
    copies = {text: found.count(text) for text in found}
    assert {n for text, n in copies.items() if source_of(text) == "zh"} == {1}
    en = [n for text, n in copies.items() if source_of(text) == "en"]
    assert max(en) - min(en) <= 1 and len(en) == SIZES["en"], "no document is read twice more often than another"
    assert of["en"]["repeated"] == sum(n > 1 for n in en)
    assert "mix: en is" in (tmp_path / "log").read_text()


def test_a_source_that_may_not_be_repeated_further_cuts_the_others(made, sources, tmp_path):
    stats, found = mixed(tmp_path, sources, made[1], weights={"zh": 1, "en": 1, "code": 1}, max_repeats=2)
    of = {row["group"]: row for row in stats["mix"]}
    assert of["code"]["passes"] == 2 and of["zh"]["passes"] < 1 and of["zh"]["left_out"] > 0
    assert of["zh"]["left_out"] == SIZES["zh"] - len({text for text in found if source_of(text) == "zh"})
    said = (tmp_path / "log").read_text()
    assert "code would have to be repeated more than 2 times" in said and "documents left out" in said


@pytest.mark.parametrize("weights", [{"zh": 1, "en": 1, "code": 1}, {"zh+en": 3, "code": 1}, {"zh": 5, "en": 1, "code": 0.1}])
def test_what_was_left_out_is_known_from_its_number(made, sources, tmp_path, weights):
    stats, found = mixed(tmp_path, sources, made[1], weights=weights, max_repeats=1, seed=7)
    left_out = {row["group"]: row["left_out"] for row in stats["mix"]}
    path = sources / "pretrain" / "train.parquet"
    last = last_draws(path, left_out, 7)
    documents = list(rows.read([path]))
    draws = draws_of([row["id"] for row in documents], 7).tolist()
    taken = {row["text"] for row, draw in zip(documents, draws, strict=True) if draw <= last.get(row["source"], draw)}
    assert any(left_out.values()) and taken == set(found)


def test_sources_may_share_a_weight_in_the_proportions_they_have(made, sources, tmp_path):
    plain = packed(tmp_path / "plain", sources, made[1])["splits"]["train"]["sources"]
    stats, _ = mixed(tmp_path / "mixed", sources, made[1], weights={"zh+code": 7, "en": 3})
    tokens = stats["splits"]["train"]["sources"]
    assert tokens["code"] / tokens["zh"] == pytest.approx(plain["code"] / plain["zh"], rel=0.35)
    assert (tokens["zh"] + tokens["code"]) / tokens["en"] == pytest.approx(7 / 3, rel=0.02)


def test_a_mixed_run_is_not_source_after_source(made, sources, tmp_path):
    _, found = mixed(tmp_path, sources, made[1], weights={"zh": 1, "en": 1, "code": 0.2})
    names = [source_of(text) for text in found]
    changes = sum(a != b for a, b in pairwise(names))
    assert changes > len(names) / 4 and set(names[: len(names) // 4]) >= {"zh", "en"}


def test_row_groups_and_buckets_change_no_byte_of_a_mix_and_the_seed_does(made, sources, tmp_path, monkeypatch):
    weights = {"zh": 2, "en": 2, "code": 0.3}

    def bytes_of(name: str, world: Path = sources, **params) -> tuple[bytes, bytes]:
        mixed(tmp_path / name, world, made[1], weights=weights, **params)
        out = tmp_path / name / "out"
        return (out / "train.bin").read_bytes(), (out / "train.offsets.npy").read_bytes()

    first = bytes_of("first")
    assert bytes_of("again") == first != bytes_of("other", seed=1)
    monkeypatch.setattr(mixture, "BUCKET", 100)
    left = tmp_path / "buckets" / "scratch" / "buckets"
    left.mkdir(parents=True)
    (left / "000000.bin").write_bytes(b"of a run that was killed")
    assert bytes_of("buckets") == first
    monkeypatch.setattr(rows, "ROW_GROUP", 7)
    with rows.Writer(tmp_path / "cut" / "pretrain" / "train.parquet", "documents") as out:
        for row in rows.read([sources / "pretrain" / "train.parquet"]):
            out.add(row)
    rows.Writer(tmp_path / "cut" / "pretrain" / "valid.parquet", "documents").close()
    assert bytes_of("groups", tmp_path / "cut") == first
    assert not (tmp_path / "groups" / "scratch" / "buckets").exists()


def test_without_weights_every_document_is_there_once_in_the_order_of_the_split(made, sources, tmp_path):
    stats, found = mixed(tmp_path, sources, made[1])
    assert found == [token_runs.text_of(row) for row in rows.read([sources / "pretrain" / "train.parquet"])]
    assert "mix" not in stats


def test_all_that_is_wrong_with_weights_is_said_at_once(made, sources, tmp_path):
    with pytest.raises(ValueError) as told:
        mixed(tmp_path, sources, made[1], weights={"zh": 1, "zh+fr": 2})
    message = str(told.value)
    assert "'fr' has a weight, but no source of that name" in message and "'zh' is named 2 times" in message
    assert "'en' has no weight" in message and "'code' has no weight" in message


@settings(max_examples=200)
@given(
    st.lists(st.tuples(st.floats(0.01, 100), st.lists(st.integers(1, 900), min_size=1, max_size=40)), min_size=1, max_size=5),
    st.integers(1, 5),
)
def test_a_plan_keeps_to_the_weights_and_to_the_most_repeats(sources, most):
    weights = {str(number): weight for number, (weight, _) in enumerate(sources)}
    tokens = {}
    for number, (_, sizes) in enumerate(sources):
        tokens[str(number)] = np.zeros(1 << mixture.BINS, np.int64)
        for place, size in enumerate(sizes):
            tokens[str(number)][place * 997 % (1 << mixture.BINS)] += size
    portions = mixture.plan(weights, tokens, most)
    whole = sum(portion.taken for portion in portions.values())
    slack = 900 * len(sources)
    for name, portion in portions.items():
        assert 0 <= portion.taken <= most * portion.available
        assert abs(portion.taken - weights[name] / sum(weights.values()) * whole) <= slack
    once = [portion for portion in portions.values() if portion.taken >= portion.available]
    assert once, "some source is there whole"
    if all(portion.passes < most for portion in portions.values()):
        assert min(portion.taken - portion.available for portion in portions.values()) >= -900, (
            "and where nothing stops it, all are"
        )
