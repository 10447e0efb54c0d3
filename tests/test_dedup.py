"""Deduplication: what counts as a duplicate, which row stays, and that the result is the same on any number of cores."""

from __future__ import annotations

import hashlib
import math
import random
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from tasks import dedup, ingest
from tasks.artifacts.stage import Job, Resources
from tasks.data.rows import Writer, files, read
from tasks.duplicates import minhash
from tasks.text.fold import dedup_key

COMMON = [chr(code) for code in range(0x4E00, 0x4E00 + 3000)]


def sentence(dice: random.Random, characters: int) -> str:
    return "".join(dice.choices(COMMON, k=characters))


def changed(text: str, share: float, dice: random.Random) -> str:
    """The text with this share of its characters replaced by others."""
    characters = list(text)
    for place in dice.sample(range(len(text)), round(share * len(text))):
        characters[place] = dice.choice([other for other in "甲乙丙丁" if other != characters[place]])
    return "".join(characters)


def document(text: str, name: str = "", title: str = "") -> dict[str, Any]:
    id = hashlib.sha256(f"{name}{title}{text}".encode()).hexdigest()[:32]
    return {"id": id, "source": "", "title": title, "text": text, "lang": "zh", "meta": "{}"}


def conversation(*turns: str, id: str) -> dict[str, Any]:
    messages = [{"role": "assistant" if place % 2 else "user", "content": turn} for place, turn in enumerate(turns)]
    return {"id": id, "source": "", "messages": messages, "meta": "{}"}


def artifacts(home: Path, kind: str = "documents", **sources: list[dict[str, Any]]) -> dict[str, Path]:
    """Sources as ingestion leaves them."""
    for source, rows in sources.items():
        with Writer(home / source / kind / "00000.parquet", kind) as out:
            for row in rows:
                out.add({**row, "source": source})
    return {source: home / source for source in sources}


def build(
    home: Path, sources: dict[str, Path], resources: dict[str, Any] | None = None, **params: Any
) -> tuple[Job, dict[str, Any]]:
    job = Job(home / "out", home / "scratch", Resources(**({"workers": 1, "threads": 1} | (resources or {}))))
    return job, dedup.run(job, dedup.Params(**params), sources=sources)


def similarity(one: str, other: str, ngram: int = 5) -> float:
    """Jaccard similarity of the sets of n-grams, as one would write it down."""
    both = [{text[place : place + ngram] for place in range(len(text) - ngram + 1)} for text in (one, other)]
    return len(both[0] & both[1]) / len(both[0] | both[1]) if both[0] and both[1] else 0.0


def kept(job: Job, kind: str = "documents") -> list[dict[str, Any]]:
    return list(read(files(job.out, kind=kind)))


def dropped(job: Job) -> list[dict[str, Any]]:
    return list(read(files(job.out, kind="dropped")))


def digests(folder: Path) -> dict[str, str]:
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in sorted(folder.rglob("*.parquet"))
    }


# -- which rows go ------------------------------------------------------------------------------------------------------


def test_the_longest_row_stays_then_the_earliest_source_then_the_first_row(tmp_path: Path) -> None:
    text = "长江是中国最长的河流"
    sources = artifacts(
        tmp_path,
        late=[document(text, "late-1"), document(f"{text}。", "late-2")],
        early=[document(f"{text}！", "early-1"), document(f"{text}？", "early-2")],
    )
    job, stats = build(tmp_path, {"early": sources["early"], "late": sources["late"]})
    assert [row["text"] for row in kept(job)] == [f"{text}！"]
    assert stats["funnel"]["late"] == {"in": 2, "kept": 0, "dropped": {"exact duplicate": 2}}
    assert {row["detail"] for row in dropped(job)} == {f"kept {kept(job)[0]['id']} of early"}


def test_rows_that_differ_in_a_sign_are_two(tmp_path: Path) -> None:
    apart = ["-5小于3", "-5小于-3", "1.5小于20", "15小于20", "2+2", "2×2", r"用\d+匹配", r"用\d*匹配", "学C", "学C++"]
    same = ["１．５小于 20。", "2 + 2", "学 c++！"]
    job, stats = build(tmp_path, artifacts(tmp_path, sums=[document(text, str(n)) for n, text in enumerate([*apart, *same])]))
    assert stats["funnel"]["sums"]["dropped"] == {"exact duplicate": 3}
    assert {row["detail"].split()[-1] for row in dropped(job)} == {"sums"}
    assert len(kept(job)) == len(apart)


def test_the_same_file_twice_counts_twice(tmp_path: Path) -> None:
    """Units of the same bytes share their signatures."""
    sources = artifacts(
        tmp_path, raw=[document(text, str(n)) for n, text in enumerate(["长江发源于青藏高原。", "黄河流入渤海。"])]
    )
    folder = sources["raw"] / "documents"
    (folder / "00001.parquet").write_bytes((folder / "00000.parquet").read_bytes())
    job, stats = build(tmp_path, sources)
    assert stats["funnel"] == {"raw": {"in": 4, "kept": 2, "dropped": {"exact duplicate": 2}}}
    assert (len(kept(job)), len(dropped(job))) == (2, 2)


def test_near_duplicates_are_found_and_unrelated_texts_are_not(tmp_path: Path) -> None:
    """300 characters and more with 1 % changed, anywhere; against as many texts that share topic words and phrases, but not their wording."""
    dice = random.Random(1)
    originals = [document(sentence(dice, dice.randint(300, 800)), str(number)) for number in range(300)]
    copies = [document(changed(row["text"], 0.01, dice), "copy") for row in originals]
    phrases = [sentence(dice, 12) for _ in range(40)]
    unrelated = [document("，".join(dice.sample(phrases, 8)) + sentence(dice, 300)) for _ in range(300)]
    job, stats = build(tmp_path, artifacts(tmp_path, first=originals, second=copies, third=unrelated))
    assert stats["funnel"]["first"]["kept"] == stats["funnel"]["third"]["kept"] == 300
    assert stats["funnel"]["second"]["dropped"] == {"near duplicate": 300}
    partner = {copy["id"]: original["id"] for copy, original in zip(copies, originals, strict=True)}
    assert all(row["detail"].startswith(f"kept {partner[row['id']]} of first, similarity 0.") for row in dropped(job))
    assert stats["clusters"]["sizes"] == {"2": 300}


@pytest.fixture(scope="module")
def chain() -> list[str]:
    """Each link replaces another 24 characters: 0.87 similar to its neighbour, 0.75 to the one after."""
    dice = random.Random(2)
    texts = [sentence(dice, 400)]
    for place in range(6):
        texts.append(texts[-1][: place * 60] + sentence(dice, 24) + texts[-1][place * 60 + 24 :])
    return texts


def test_one_row_stays_of_a_chain_of_small_changes(chain: list[str], tmp_path: Path) -> None:
    job, stats = build(tmp_path, artifacts(tmp_path, chain=[document(text) for text in chain]))
    assert [row["text"] for row in kept(job)] == [chain[0]]
    assert stats["funnel"]["chain"]["dropped"] == {"near duplicate": 6}
    by_id = {document(text)["id"]: text for text in chain}
    for row in dropped(job):  # those compared with the row that stays, and those far down the chain alike
        assert row["detail"] == f"kept {kept(job)[0]['id']} of chain, similarity {similarity(chain[0], by_id[row['id']]):.3f}"
    [example] = stats["clusters"]["examples"]["documents"]
    assert example["size"] == 7
    assert [row["id"] for row in example["dropped"]] == [document(text)["id"] for text in chain[:2:-1]], "the least alike"


def test_with_similar_a_chain_keeps_rows_that_are_unlike(chain: list[str], tmp_path: Path) -> None:
    job, _ = build(tmp_path, artifacts(tmp_path, chain=[document(text) for text in chain]), clusters="similar")
    stays = [chain.index(row["text"]) for row in kept(job)]
    assert stays == [0, 2, 4, 6]
    by_id = {document(text)["id"]: text for text in chain}
    for row in dropped(job):
        assert similarity(by_id[row["id"]], by_id[row["detail"].split()[1]]) >= 0.8


@pytest.mark.parametrize("clusters", ["connected", "similar"])
def test_the_first_source_comes_before_length_where_the_recipe_says_so(clusters: str, tmp_path: Path) -> None:
    text = sentence(random.Random(12), 300)
    rows = [document(text[:280], "a"), document(text, "b"), document(f"{text[:280]}！！", "c")]
    job, _ = build(tmp_path, artifacts(tmp_path, one=rows[:1], two=rows[1:]), clusters=clusters, keep="first")
    assert [row["id"] for row in kept(job)] == [rows[0]["id"]]
    assert {row["id"]: row["reason"] for row in dropped(job)} == {
        rows[1]["id"]: "near duplicate",
        rows[2]["id"]: "exact duplicate",
    }


@pytest.mark.parametrize("clusters", ["connected", "similar"])
def test_the_best_row_of_a_cluster_stays_wherever_it_stands(clusters: str, tmp_path: Path) -> None:
    dice = random.Random(8)
    text = sentence(dice, 300)
    rows = [document(text[:290], "a"), document(text, "b"), document(text[5:], "c")]
    job, _ = build(tmp_path, artifacts(tmp_path, one=rows[:1], two=rows[1:]), clusters=clusters)
    assert [row["id"] for row in kept(job)] == [rows[1]["id"]]
    same_length = [document(changed(text, 0.005, dice), str(number)) for number in range(3)]
    job, _ = build(tmp_path / "ties", artifacts(tmp_path / "ties", one=same_length[:2], two=same_length[2:]), clusters=clusters)
    assert [row["id"] for row in kept(job)] == [same_length[0]["id"]], "the first of the first source"


def test_an_exact_copy_of_a_near_duplicate_names_the_row_that_stays(tmp_path: Path) -> None:
    dice = random.Random(3)
    long = sentence(dice, 400)
    near = changed(long[:-2], 0.005, dice)
    rows = [document(near, "first"), document(near, "second"), document(long)]
    job, stats = build(tmp_path, artifacts(tmp_path, one=rows))
    assert kept(job)[0]["text"] == long
    assert stats["funnel"]["one"]["dropped"] == {"exact duplicate": 1, "near duplicate": 1}
    assert {row["detail"].split()[1] for row in dropped(job)} == {rows[2]["id"]}


def test_short_texts_and_signs_are_compared_exactly(tmp_path: Path) -> None:
    rows = [document(text, str(place)) for place, text in enumerate(["你好吗", "你好！", "你好", "∑∫", "☆", "☆", "", ""])]
    job, stats = build(tmp_path, artifacts(tmp_path, one=rows))
    assert [row["text"] for row in kept(job)] == ["你好吗", "你好！", "∑∫", "☆", ""]
    assert stats["funnel"]["one"]["dropped"] == {"exact duplicate": 3}


def test_dialogues_are_judged_on_all_turns_and_preferences_on_both_answers(tmp_path: Path) -> None:
    question, answer = "怎样泡一壶好茶？", "水温八十度左右，茶叶三克，先润茶再冲泡，第一泡一分钟即可出汤。"
    rows = [conversation(question, answer, id="a" * 32), conversation(question, answer[::-1], id="b" * 32)]
    rows.append(conversation(question, answer, "谢谢", "不客气，祝您喝茶愉快，有问题随时再来问我。", id="c" * 32))
    sources = artifacts(tmp_path / "talk", "conversations", talk=rows)
    pair = {
        "id": "d" * 32,
        "source": "",
        "messages": rows[0]["messages"][:1],
        "chosen": answer,
        "rejected": "不知道。",
        "meta": "{}",
    }
    pairs = [
        pair,
        {**pair, "id": "e" * 32, "rejected": "这个问题我不会回答，请您去问一位懂得茶道的老师傅吧。"},
        {**pair, "id": "f" * 32},
    ]
    sources |= artifacts(tmp_path / "pairs", "preferences", pairs=pairs)
    job, stats = build(tmp_path, sources)
    assert len(kept(job, "conversations")) == 3
    assert [row["id"][0] for row in kept(job, "preferences")] == ["d", "e"]
    assert stats["funnel"]["pairs"]["dropped"] == {"exact duplicate": 1}


def test_rows_of_one_template_are_not_compared_pair_by_pair(tmp_path: Path) -> None:
    """2000 rows that share nearly every bucket are 2 million pairs."""
    text = sentence(random.Random(4), 400)
    rows = [document(f"{text}{number:04d}") for number in range(2000)]
    said: list[str] = []
    sources = artifacts(tmp_path, one=rows)
    job = Job(tmp_path / "out", tmp_path / "scratch", Resources(workers=1), log=said.append)
    stats = dedup.run(job, dedup.Params(), sources=sources)
    assert len(kept(job)) == 1
    assert int(said[0].split()[1].replace(",", "")) < 50 * 2000
    assert stats["clusters"]["sizes"] == {"1025–2048": 1}


def test_duplicates_among_many_rows_of_one_template_are_found(tmp_path: Path) -> None:
    """1500 rows share two thirds of their text, so that every bucket is crowded; 300 of them stand again, slightly changed."""
    dice = random.Random(9)
    head = sentence(dice, 200)
    rows = [document(head + sentence(dice, 100), str(number)) for number in range(1500)]
    copies = [document(row["text"][:200] + changed(row["text"][200:], 0.03, dice), "copy") for row in dice.sample(rows, 300)]
    _, stats = build(tmp_path, artifacts(tmp_path, one=rows, two=copies))
    assert stats["funnel"]["one"]["kept"] == 1500
    assert stats["funnel"]["two"]["kept"] <= 0.05 * 300


def test_questions_are_not_its_business(tmp_path: Path) -> None:
    question = {
        "id": "a" * 32,
        "source": "",
        "subject": "地理",
        "question": "长江流入哪个海？",
        "choices": ["东海", "南海"],
        "answer": 0,
    }
    exam = artifacts(tmp_path, "questions", exam=[question])
    with pytest.raises(ValueError, match="no source \\(exam\\) holds documents or conversations or preferences"):
        build(tmp_path / "alone", exam)
    _, stats = build(tmp_path / "both", exam | artifacts(tmp_path, wiki=[document("长江")]))
    assert set(stats["funnel"]) == {"wiki"}


def test_bands_divide_permutations() -> None:
    with pytest.raises(ValidationError, match="permutations \\(90\\) must be a multiple of bands \\(20\\)"):
        dedup.Params(permutations=90)


# -- sums, order, bytes -------------------------------------------------------------------------------------------------

TEXTS = st.lists(st.text(alphabet="春夏秋冬，。a", max_size=12), max_size=12)


@settings(max_examples=10, deadline=None)
@given(st.dictionaries(st.sampled_from(["one", "two", "three"]), TEXTS, min_size=1))
def test_every_row_is_kept_or_dropped_once(texts: dict[str, list[str]]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder)
        rows = {source: [document(text, f"{source}{place}") for place, text in enumerate(each)] for source, each in texts.items()}
        job, stats = build(home, artifacts(home, **rows))
        stays, goes = kept(job), dropped(job)
    for source, each in rows.items():
        counts = stats["funnel"][source]
        assert counts["in"] == len(each) == counts["kept"] + sum(counts["dropped"].values())
        ids = [row["id"] for row in stays if row["source"] == source]
        assert ids == [row["id"] for row in each if row["id"] in ids], "the order of the input"
        assert {row["id"] for row in each} == {*ids, *(row["id"] for row in goes if row["source"] == source)}
        assert len(ids) == counts["kept"]
    keys = [dedup_key(row["text"]) or row["text"] for row in stays]
    assert len(keys) == len(set(keys))
    assert {row["detail"].split()[1] for row in goes} <= {row["id"] for row in stays}


# -- real texts ---------------------------------------------------------------------------------------------------------


def test_real_copies_in_another_layout(real_data: Path, tmp_path: Path) -> None:
    """300 of the Zhihu answers stand again in a file of webtext2019zh's layout."""
    files = {"zhihu": "zhihu_kol_train-00000-of-00005_sample.parquet", "webtext": "rekeyed_zhihu_kol_as_webtext2019zh_300.json"}
    for source, name in files.items():
        job = Job(tmp_path / source, tmp_path / f"{source}-scratch", Resources(workers=1))
        ingest.run(job, ingest.Params(source=source, format=source), files=[real_data / "qa" / name])
    _, stats = build(tmp_path, {source: tmp_path / source for source in files})
    assert stats["funnel"]["zhihu"] == {"in": 1000, "kept": 1000, "dropped": {}}
    assert stats["funnel"]["webtext"] == {"in": 300, "kept": 0, "dropped": {"exact duplicate": 300}}


def test_real_medical_answers(real_data: Path, tmp_path: Path) -> None:
    """The sheet holds 378 exact duplicates; its near duplicates are checked against all pairs."""
    import csv

    with (real_data / "medical" / "样例_内科5000-6000.csv").open(encoding="gb18030", newline="") as sheet:
        rows = [
            conversation(row["title"] + row["ask"], row["answer"], id=f"{number:032d}")
            for number, row in enumerate(csv.DictReader(sheet))
        ]
    job, stats = build(tmp_path, artifacts(tmp_path, "conversations", medical=rows))
    assert stats["funnel"]["medical"]["dropped"]["exact duplicate"] == 378
    texts = [minhash.PART.join(turn["content"] for turn in row["messages"]) for row in kept(job, "conversations")]
    assert not list(_similar(minhash.written(minhash.folded(texts)), 0.8)), "two rows that stay are near duplicates"
    assert all(float(row["detail"].split()[-1]) >= 0.8 for row in dropped(job) if row["reason"] == "near duplicate")


def _similar(texts: minhash.Texts, threshold: float) -> Any:
    """All pairs at or above a similarity, by prefix filtering: such a pair shares one of each other's rarest n-grams (Chaudhuri 2006)."""
    sets = minhash.shingles(minhash.ngrams(texts, 5))
    _, places, counts = np.unique(sets.values, return_inverse=True, return_counts=True)
    order = np.lexsort((places, counts[places], np.repeat(np.arange(len(sets)), sets.lengths)))
    holders: dict[int, list[int]] = {}
    for number in range(len(sets)):
        rarest = places[order[sets.bounds[number] : sets.bounds[number + 1]]]
        rarest = rarest[: len(rarest) - math.ceil(threshold * len(rarest)) + 1].tolist()
        others = np.array(sorted({other for place in rarest for other in holders.get(place, ())}), int)
        alike = minhash.jaccard(sets, np.full(len(others), number), others) >= threshold
        yield from ((int(other), number) for other in others[alike])
        for place in rarest:
            holders.setdefault(place, []).append(number)
