from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from random import Random

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import AutoTokenizer, LlamaForCausalLM, PreTrainedTokenizerBase

from models import dataset, losses, presets, template
from tests import corpus


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    return corpus.build(tmp_path_factory.mktemp("corpus"))


@pytest.fixture(scope="module")
def tokenizer(folders: dict[str, Path]) -> PreTrainedTokenizerBase:
    return AutoTokenizer.from_pretrained(folders["tokenizer"])


def packed(home: Path, documents: list[list[int]], dtype: str = "uint16") -> Path:
    """A packed corpus in the pack stage's layout."""
    home.mkdir(parents=True, exist_ok=True)
    for split in ("train", "valid"):
        ids = [token for document in documents for token in [*document, template.END_ID]]
        np.array(ids, np.dtype(dtype).newbyteorder("<")).tofile(home / f"{split}.bin")
        np.save(home / f"{split}.offsets.npy", np.cumsum([0] + [len(document) + 1 for document in documents]))
    (home / "pack.json").write_text(json.dumps({"dtype": dtype, "vocab_size": 300}))
    return home


DOCUMENTS = st.lists(st.lists(st.integers(4, 299), max_size=30), min_size=1, max_size=12)


# order


@given(rows=st.integers(1, 40), passes=st.integers(1, 4), seed=st.integers(0, 9))
def test_each_pass_reads_every_row_once_in_an_order_of_its_own(rows: int, passes: int, seed: int) -> None:
    order = dataset.sample_order(rows, rows * passes, seed)
    for number in range(passes):
        assert sorted(order[number * rows : (number + 1) * rows]) == list(range(rows))
    # a longer run begins as a shorter one: a sample depends on nothing but the seed and its own number
    assert (order[:7] == dataset.sample_order(rows, 5 * rows * passes, seed)[: len(order[:7])]).all()


def test_the_order_is_what_it_was() -> None:
    """Recorded. A change here changes every training run."""
    assert dataset.sample_order(10, 14, seed=1).tolist() == RECORDED
    assert (dataset.sample_order(1000, 1000, seed=1) != dataset.sample_order(1000, 1000, seed=2)).any()


@settings(deadline=None)
@given(batches=st.integers(1, 200), batch=st.integers(1, 8), passes=st.integers(1, 3), seed=st.integers(0, 9))
def test_grouping_by_length_loses_no_row_and_pads_less(batches: int, batch: int, passes: int, seed: int) -> None:
    rows = batches * batch
    lengths = np.random.default_rng(seed).integers(1, 100, rows)
    grouped, plain = (
        dataset.sample_order(rows, rows * passes, seed, batch=batch, lengths=lengths),
        dataset.sample_order(rows, rows * passes, seed),
    )
    assert (np.sort(grouped.reshape(passes, rows)) == np.arange(rows)).all(), "each pass reads every row once"

    def padded(order: np.ndarray) -> int:
        return int(lengths[order].reshape(-1, batch).max(axis=1).sum())

    assert padded(grouped) <= padded(plain)


@settings(deadline=None)
@given(rows=st.integers(1, 300), batch=st.integers(1, 8), samples=st.integers(1, 900), more=st.integers(0, 2000))
def test_a_longer_run_begins_as_a_shorter_one_with_lengths_too(rows: int, batch: int, samples: int, more: int) -> None:
    lengths = np.random.default_rng(rows).integers(1, 100, rows)
    short = dataset.sample_order(rows, samples, 1, batch=batch, lengths=lengths)
    assert len(short) == samples
    assert (short == dataset.sample_order(rows, samples + more, 1, batch=batch, lengths=lengths)[:samples]).all()


def test_passes_are_not_sorted_together() -> None:
    """24 rows in batches of 8 for five passes: no batch holds a row twice. And of 101 rows, the 13th batch alone takes 3 of the second pass."""
    lengths = np.arange(101) % 7
    small = dataset.sample_order(24, 120, 0, batch=8, lengths=lengths[:24])
    assert all(len(set(batch)) == 8 for batch in small.reshape(-1, 8).tolist())
    large = dataset.sample_order(101, 104, 0, batch=8, lengths=lengths)
    assert sorted(Counter(large.tolist()).values()) == [1] * 98 + [2] * 3


def test_batches_of_like_length_come_in_mixed_order() -> None:
    lengths = np.arange(256)
    firsts = dataset.sample_order(256, 256, 0, batch=4, lengths=lengths)[::4]
    assert (np.diff(firsts) < 0).any() and (np.diff(firsts) > 0).any()


# validation


def test_a_validation_reads_every_source_within_its_tokens_the_longest_first() -> None:
    """Three sources, one after the other, as a split holds them."""
    sources = np.repeat(["wiki", "zhihu", "medical"], [500, 300, 200])
    lengths = np.random.default_rng(0).integers(5, 60, 1000)
    read = dataset.validation_rows(lengths, 3000)
    assert len(set(read.tolist())) == len(read) and 2940 < lengths[read].sum() <= 3000
    assert (np.diff(lengths[read]) <= 0).all()
    share = Counter(sources[read].tolist())
    assert all(abs(share[name] / len(read) - part) < 0.15 for name, part in (("wiki", 0.5), ("zhihu", 0.3), ("medical", 0.2)))
    assert sorted(dataset.validation_rows(lengths, 1 << 30).tolist()) == list(range(1000))
    assert len(dataset.validation_rows(lengths, 1)) == 1 and len(dataset.validation_rows(lengths[:0], 100)) == 0


# windows


@settings(deadline=None)
@given(documents=DOCUMENTS, context=st.integers(2, 20), dtype=st.sampled_from(["uint16", "uint32"]))
def test_every_token_but_the_first_is_a_target_once_and_positions_follow_documents(
    tmp_path_factory: pytest.TempPathFactory, documents: list[list[int]], context: int, dtype: str
) -> None:
    windows = dataset.WindowDataset(packed(tmp_path_factory.mktemp("packed"), documents, dtype), "train", context)
    run = [token for document in documents for token in [*document, template.END_ID]]
    targets = [token for number in range(len(windows)) for token in windows[number]["labels"][1:].tolist()]
    assert targets == run[1 : 1 + len(targets)] and len(run) - 1 - len(targets) < context - 1
    for number in range(len(windows)):
        ids, places = windows[number]["input_ids"].tolist(), windows[number]["position_ids"].tolist()
        expected = 0
        for token, place in zip(ids, places, strict=True):
            expected = 0 if token == template.END_ID else expected
            assert place == expected
            expected += 1
    with pytest.raises(IndexError):
        windows[len(windows)]


def test_packed_documents_do_not_see_each_other(tmp_path: Path) -> None:
    documents = [list(range(10, 30)), list(range(50, 57)), list(range(90, 120))]
    window = dataset.WindowDataset(packed(tmp_path, documents), "train", 58)[0]
    torch.manual_seed(0)
    model = LlamaForCausalLM(presets.build("tiny", 300, 64)).eval()
    with torch.no_grad():
        together = model(input_ids=window["input_ids"][None], position_ids=window["position_ids"][None]).logits[0]
        place = 0
        for number, document in enumerate(documents):
            opened = document if number == 0 else [template.END_ID, *document]
            alone = model(input_ids=torch.tensor([opened])).logits[0]
            here = together[place : place + len(opened)]
            torch.testing.assert_close(here, alone[: len(here)], rtol=1e-4, atol=1e-5)
            place += len(opened)
        leaking = model(input_ids=window["input_ids"][None]).logits[0]
    assert (leaking[25:] - together[25:]).abs().max() > 0.01  # without the positions they would


def test_an_empty_split_has_no_windows(tmp_path: Path) -> None:
    assert len(dataset.WindowDataset(packed(tmp_path, []), "valid", 16)) == 0


# best fit


def transitions(run: list[int]) -> Counter[tuple[int, int]]:
    """Each token of a run of documents, with the one before it in its document or the end token that opens it."""
    return Counter(zip([template.END_ID, *run], run, strict=False))


def learned(rows: dataset.BestFitDataset) -> Counter[tuple[int, int]]:
    """Each target, with the token that it is foretold from; positions count from 0 in every segment, and padding is no target."""
    found: Counter[tuple[int, int]] = Counter()
    for row in (rows[number] for number in range(len(rows))):
        ids, places, labels = (row[name].tolist() for name in ("input_ids", "position_ids", "labels"))
        assert len(ids) == len(places) == len(labels) == rows.context and places[0] == 0 and labels[0] == losses.IGNORE
        assert all(label in (token, losses.IGNORE) for token, label in zip(ids, labels, strict=True))
        for at, label in enumerate(labels):
            assert at == 0 or places[at] in (0, places[at - 1] + 1)
            assert places[at] != 0 or ids[at] == template.END_ID or label == losses.IGNORE, "only an end token closes and opens"
            if label != losses.IGNORE:
                found[ids[at - 1], label] += 1
    return found


@settings(deadline=None)
@given(documents=DOCUMENTS, context=st.integers(2, 20), shuffled=st.randoms(use_true_random=False))
def test_best_fit_makes_every_token_a_target_once_whatever_the_order_of_documents(
    tmp_path_factory: pytest.TempPathFactory, documents: list[list[int]], context: int, shuffled: Random
) -> None:
    home = packed(tmp_path_factory.mktemp("packed"), documents)
    rows = dataset.BestFitDataset(home, "train", context, template.PAD_ID)
    run = [token for document in documents for token in [*document, template.END_ID]]
    assert learned(rows) == transitions(run)
    # the figures that are printed
    assert rows.waste == pytest.approx(1 - len(run) / (len(rows) * (context - 1)))
    assert rows.cut == pytest.approx(np.mean([len(document) + 1 > context - 1 for document in documents]))
    windows = dataset.WindowDataset(home, "train", context)
    within = [number for number in range(len(windows) + 1) for _ in range(context - 1)][
        : len(run) - 1
    ]  # of each target but the first
    ends = np.cumsum([len(document) + 1 for document in documents]).tolist()
    cut = [len(set(within[max(0, start - 1) : end - 1])) > 1 for start, end in zip([0, *ends], ends, strict=False)]
    assert rows.cut_by_windows == pytest.approx(np.mean(cut))
    shuffled.shuffle(documents)
    again = dataset.BestFitDataset(packed(tmp_path_factory.mktemp("packed"), documents), "train", context, template.PAD_ID)
    assert learned(again) == transitions(run) and len(again) == len(rows)
    with pytest.raises(IndexError):
        rows[len(rows)]


def test_documents_of_a_best_fit_row_do_not_see_each_other(tmp_path: Path) -> None:
    """Two whole documents after what is left of a long one, and padding."""
    long, first, second = list(range(100, 160)), list(range(10, 25)), list(range(50, 57))
    rows = dataset.BestFitDataset(packed(tmp_path, [first, long, second]), "train", 48, template.PAD_ID)
    assert len(rows) == 2 and rows[0]["input_ids"].tolist() == [template.END_ID, *long[:47]]
    end = template.END_ID
    parts = [[*long[46:], end], [end, *first], [end, *second, end], [template.PAD_ID] * 9]
    parts[0].pop()  # it opens the next segment
    row = rows[1]
    assert row["input_ids"].tolist() == [token for part in parts for token in part]
    torch.manual_seed(0)
    model = LlamaForCausalLM(presets.build("tiny", 300, 64)).eval()
    with torch.no_grad():
        together = model(input_ids=row["input_ids"][None], position_ids=row["position_ids"][None]).logits[0]
        place = 0
        for part in parts:
            alone = model(input_ids=torch.tensor([part])).logits[0]
            torch.testing.assert_close(together[place : place + len(part)], alone, rtol=1e-4, atol=1e-5)
            place += len(part)
        leaking = model(input_ids=row["input_ids"][None]).logits[0]
    assert (leaking[20:] - together[20:]).abs().max() > 0.01


def test_a_best_fit_of_nothing_has_no_rows(tmp_path: Path) -> None:
    rows = dataset.BestFitDataset(packed(tmp_path, []), "valid", 16, template.PAD_ID)
    assert (len(rows), rows.waste, rows.cut, rows.cut_by_windows) == (0, 0, 0, 0)


# conversations and pairs


def test_labels_are_the_answers_with_their_ends(folders: dict[str, Path], tokenizer: PreTrainedTokenizerBase) -> None:
    rows, taken = dataset.conversations(folders["rows"] / "sft" / "train.parquet", tokenizer, 1000)
    assert vars(taken) == {"kept": 120, "cut": 0, "too_long": 0, "empty": 0} and len(rows) == 120
    assert rows.cache_files == []
    for number in (0, 60, 119):
        messages = corpus.conversation(number)["messages"]
        labels = rows[number]["labels"]
        answers = [turn["content"] + template.STOP for turn in messages if turn["role"] == "assistant"]
        assert tokenizer.decode([token for token in labels if token != losses.IGNORE]) == "".join(answers)
        read = [
            token if label == losses.IGNORE else label for token, label in zip(rows[number]["input_ids"], labels, strict=True)
        ]
        assert read == rows[number]["input_ids"]
        assert tokenizer.decode(read) == template.render(tokenizer, messages).removesuffix("\n")


def test_a_conversation_that_is_too_long_keeps_whole_exchanges(tmp_path: Path, tokenizer: PreTrainedTokenizerBase) -> None:
    def talk(*contents: str) -> dict[str, object]:
        turns = [{"role": "assistant" if n % 2 else "user", "content": content} for n, content in enumerate(contents)]
        return {"id": "", "source": "belle", "messages": turns, "meta": "{}"}

    rows = [talk("问", "答"), talk("问", "答", "再问", "很长" * 50), talk("很长" * 50, "答"), talk("问")]
    corpus.write(tmp_path / "train.parquet", "conversations", rows)  # type: ignore[arg-type]
    kept, taken = dataset.conversations(tmp_path / "train.parquet", tokenizer, 40)
    assert vars(taken) == {"kept": 2, "cut": 1, "too_long": 1, "empty": 1}
    assert kept[0]["input_ids"] == kept[1]["input_ids"] and kept[1]["input_ids"][-1] == template.STOP_ID
    assert taken.summary("conversations", 40) == (
        "2 conversations, 1 of them with their first turns only, 1 left out, longer than 40 tokens, 1 left out, with nothing to learn"
    )


def test_a_turn_that_must_not_be_learned_is_read_and_is_no_target(tmp_path: Path, tokenizer: PreTrainedTokenizerBase) -> None:
    turns = [{"role": "assistant" if n % 2 else "user", "content": text} for n, text in enumerate(("问", "错", "再问", "对"))]
    marked, plain = ({"id": "", "source": "belle", "messages": turns, "meta": meta} for meta in ('{"unlearned": [1]}', "{}"))
    corpus.write(tmp_path / "train.parquet", "conversations", [marked, plain])
    rows, taken = dataset.conversations(tmp_path / "train.parquet", tokenizer, 100)
    assert taken.kept == 2 and rows[0]["input_ids"] == rows[1]["input_ids"]
    learned = [[label for label in row["labels"] if label != dataset.IGNORE] for row in rows]
    assert [tokenizer.decode(one) for one in learned] == ["对" + template.STOP, "错" + template.STOP + "对" + template.STOP]
    pairs, taken = dataset.exchanges(tmp_path / "train.parquet", tokenizer, 100)
    assert [tokenizer.decode(pair["answer_ids"]) for pair in pairs] == [text + template.STOP for text in ("对", "错", "对")]
    assert pairs[0]["prompt_ids"] == pairs[2]["prompt_ids"], "it stays in the prompt"


def test_pairs_are_prompt_and_whole_answers(folders: dict[str, Path], tokenizer: PreTrainedTokenizerBase) -> None:
    rows, taken = dataset.preferences(folders["pairs"] / "preferences" / "train.parquet", tokenizer, 1000)
    assert taken.kept == len(rows) == 120
    pair, row = corpus.pair(7), rows[7]
    assert tokenizer.decode(row["prompt_ids"]) == template.render(tokenizer, pair["messages"], reply=True)
    assert tokenizer.decode(row["chosen_ids"]) == pair["chosen"] + template.STOP
    assert tokenizer.decode(row["rejected_ids"]) == pair["rejected"] + template.STOP
    sizes = dataset.lengths(rows)
    assert sizes[7] == 2 * len(row["prompt_ids"]) + len(row["chosen_ids"]) + len(row["rejected_ids"])


def test_a_pair_that_is_too_long_or_says_the_same_twice_is_left_out(tmp_path: Path, tokenizer: PreTrainedTokenizerBase) -> None:
    rows = [corpus.pair(0), corpus.pair(1) | {"rejected": "很长" * 50}, corpus.pair(2) | {"chosen": "同", "rejected": "同 "}]
    corpus.write(tmp_path / "train.parquet", "preferences", rows)
    kept, taken = dataset.preferences(tmp_path / "train.parquet", tokenizer, 60)
    assert vars(taken) == {"kept": 1, "cut": 0, "too_long": 1, "empty": 1} and len(kept) == 1


def test_a_missing_split_is_named(tmp_path: Path, tokenizer: PreTrainedTokenizerBase) -> None:
    with pytest.raises(ValueError, match=r"train\.parquet is missing; run the stage before this one"):
        dataset.conversations(tmp_path / "train.parquet", tokenizer, 64)


def test_an_empty_split_has_no_rows(tmp_path: Path, tokenizer: PreTrainedTokenizerBase) -> None:
    corpus.write(tmp_path / "valid.parquet", "preferences", [])
    rows, _ = dataset.preferences(tmp_path / "valid.parquet", tokenizer, 64)
    assert len(rows) == 0 and dataset.lengths(rows).tolist() == []


RECORDED = [8, 4, 7, 0, 1, 2, 5, 9, 6, 3, 7, 2, 4, 6]
