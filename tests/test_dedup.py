"""Deduplication: what counts as a duplicate, which row stays, and that the result is the same on any number of cores."""

from __future__ import annotations

import hashlib
import math
import random
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from tasks import dedup, ingest, minhash, shards
from tasks.rows import SCHEMAS, Writer, files, read
from tasks.stage import Job, Progress, Resources
from tasks.text.normalise import dedup_key

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


def build(home: Path, sources: dict[str, Path], **resources: Any) -> tuple[Job, dict[str, Any]]:
    job = Job(home / "out", home / "scratch", Resources(**{"workers": 1, "threads": 1, **resources}))
    return job, dedup.run(job, dedup.Params(), sources=sources)


def kept(job: Job, kind: str = "documents") -> list[dict[str, Any]]:
    return list(read(files(job.out, kind=kind)))


def dropped(job: Job) -> list[dict[str, Any]]:
    return list(read(files(job.out, kind="dropped")))


def digests(folder: Path) -> dict[str, str]:
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in sorted(folder.rglob("*.parquet"))
    }


# -- MinHash ------------------------------------------------------------------------------------------------------------


def sets(text: str, ngram: int = 5) -> set[str]:
    return {text[place : place + ngram] for place in range(len(text) - ngram + 1)}


@given(st.text(alphabet="天地玄黄a1", max_size=40), st.text(alphabet="天地玄黄a1", max_size=40), st.integers(2, 6))
def test_jaccard_is_that_of_the_sets_of_ngrams(one: str, other: str, ngram: int) -> None:
    both = sets(one, ngram), sets(other, ngram)
    expected = len(both[0] & both[1]) / len(both[0] | both[1]) if both[0] and both[1] else 0.0
    assert minhash.jaccard(minhash.shingles(one, ngram), minhash.shingles(other, ngram)) == pytest.approx(expected)


def test_signatures_agree_as_often_as_the_texts_are_similar() -> None:
    dice = random.Random(5)
    for share in (0.01, 0.03, 0.1):
        text = sentence(dice, 600)
        texts = [text, changed(text, share, dice)]
        signatures = minhash.signatures(texts, 5, 1024)
        similarity = minhash.jaccard(*(minhash.shingles(each, 5) for each in texts))
        error = math.sqrt(similarity * (1 - similarity) / 1024)
        assert abs(float(np.mean(signatures[0] == signatures[1])) - similarity) < 4 * error


def test_a_signature_does_not_depend_on_the_texts_beside_it() -> None:
    dice = random.Random(6)
    texts = [sentence(dice, length) for length in (5, 40_000, 6, 3000, 40_000, 17)]
    together = minhash.signatures(texts, 5, 32)
    apart = np.concatenate([minhash.signatures([text], 5, 32) for text in texts])
    assert (together == apart).all()


def test_signatures_are_the_same_on_every_machine() -> None:
    signatures = minhash.signatures(["天地玄黄宇宙洪荒", "𠮷野家のa1"], 5, 16)
    bands = minhash.band_hashes(signatures, 4)
    assert hashlib.sha256(signatures.tobytes() + bands.tobytes()).hexdigest()[:16] == "311b36679a54f407"


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


def test_a_chain_of_small_changes_keeps_rows_that_are_unlike(tmp_path: Path) -> None:
    dice = random.Random(2)
    chain = [sentence(dice, 400)]
    for place in range(6):  # each link replaces another 24 characters: 0.88 similar to its neighbour, 0.78 to the one after
        chain.append(chain[-1][: place * 60] + sentence(dice, 24) + chain[-1][place * 60 + 24 :])
    job, _ = build(tmp_path, artifacts(tmp_path, chain=[document(text) for text in chain]))
    shingles = [minhash.shingles(text, 5) for text in chain]
    stays = [chain.index(row["text"]) for row in kept(job)]
    assert stays == [0, 2, 4, 6]
    assert all(minhash.jaccard(shingles[one], shingles[other]) < 0.85 for one in stays for other in stays if one != other)
    by_id = {document(text)["id"]: place for place, text in enumerate(chain)}
    for row in dropped(job):
        keeper = row["detail"].split()[1]
        assert minhash.jaccard(shingles[by_id[row["id"]]], shingles[by_id[keeper]]) >= 0.85


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


def test_rows_of_one_template_are_not_compared_pair_by_pair(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """2000 rows that share nearly every bucket are 2 million pairs."""
    text = sentence(random.Random(4), 400)
    compared = []
    jaccard = minhash.jaccard
    monkeypatch.setattr(minhash, "jaccard", lambda *both: compared.append(1) or jaccard(*both))
    rows = [document(f"{text}{number:04d}") for number in range(2000)]
    job, stats = build(tmp_path, artifacts(tmp_path, one=rows))
    assert len(kept(job)) == 1
    assert len(compared) < 2500
    assert stats["clusters"]["sizes"] == {"1025–2048": 1}


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
    with pytest.raises(ValidationError, match="permutations \\(100\\) must be a multiple of bands \\(16\\)"):
        dedup.Params(permutations=100)


# -- sums, order, bytes -------------------------------------------------------------------------------------------------

TEXTS = st.lists(st.text(alphabet="春夏秋冬，。a", max_size=12), max_size=12)


@settings(max_examples=20, deadline=None)
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


@pytest.fixture(scope="module")
def mixed(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Three sources with duplicates of both sorts across them, in several files."""
    dice, home = random.Random(7), tmp_path_factory.mktemp("mixed")
    texts = [sentence(dice, dice.randint(3, 400)) for _ in range(600)]
    for source in ("one", "two", "three"):
        for number in range(2):
            rows = [document(changed(text, 0.008, dice), source + str(number)) for text in dice.sample(texts, 250)]
            with Writer(home / source / "documents" / f"{number:05d}.parquet", "documents") as out:
                for row in rows:
                    out.add({**row, "source": source})
    return {source: home / source for source in ("one", "two", "three")}


def test_the_same_bytes_on_any_number_of_cores(mixed: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    job, stats = build(tmp_path / "one [of*two]", mixed)  # a path that looks like a pattern
    assert stats["funnel"]["three"]["dropped"]["near duplicate"] > 50
    monkeypatch.setattr(shards, "BIG", 0)  # worker processes even for a small input
    monkeypatch.setattr(dedup, "BATCH", 64)
    other, same = build(tmp_path / "two", mixed, workers=2, threads=2, memory_gb=0.2)
    assert same == stats
    assert digests(other.out) == digests(job.out)


def test_rows_pass_unchanged_with_their_schema(mixed: dict[str, Path], tmp_path: Path) -> None:
    job, _ = build(tmp_path, mixed)
    before = {row["id"]: row for row in read(files(*mixed.values(), kind="documents"))}
    assert all(row == before[row["id"]] for row in kept(job))
    for path in files(job.out, kind="documents"):
        assert pq.read_schema(path).equals(SCHEMAS["documents"])


def test_a_killed_run_goes_on_where_it_was(mixed: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def stop(progress: Progress) -> None:
        if progress.done > 500:
            raise KeyboardInterrupt

    job, stats = build(tmp_path / "straight", mixed)
    with pytest.raises(KeyboardInterrupt):
        dedup.run(Job(tmp_path / "out", tmp_path / "scratch", Resources(workers=1), progress=stop), dedup.Params(), sources=mixed)
    signed: list[Path] = []
    sign = dedup.sign
    monkeypatch.setattr(dedup, "sign", lambda draft, path, *rest: signed.append(path) or sign(draft, path, *rest))
    resumed, same = build(tmp_path, mixed)
    assert len(signed) == 3, "of six files three were signed before"
    assert same == stats
    assert digests(resumed.out) == digests(job.out)


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
    stays = kept(job, "conversations")
    texts = ["\n".join(dedup_key(turn["content"]) for turn in row["messages"]) for row in stays]
    assert not list(_similar(texts, 0.85)), "two rows that stay are near duplicates"
    assert all(float(row["detail"].split()[-1]) >= 0.85 for row in dropped(job) if row["reason"] == "near duplicate")


def _similar(texts: list[str], threshold: float) -> Any:
    """All pairs at or above a similarity, by prefix filtering: such a pair shares one of each other's rarest n-grams (Chaudhuri 2006)."""
    hashed = [minhash.shingles(text, 5) for text in texts]
    numbers = np.repeat(np.arange(len(hashed)), [len(each) for each in hashed])
    _, places, counts = np.unique(np.concatenate(hashed), return_inverse=True, return_counts=True)
    order = np.lexsort((places, counts[places], numbers))
    bounds = np.searchsorted(numbers, np.arange(len(hashed) + 1))
    holders: dict[int, list[int]] = {}
    for number in range(len(hashed)):
        rarest = places[order[bounds[number] : bounds[number + 1]]]
        rarest = rarest[: len(rarest) - math.ceil(threshold * len(rarest)) + 1].tolist()
        for other in sorted({other for place in rarest for other in holders.get(place, ())}):
            if minhash.jaccard(hashed[number], hashed[other]) >= threshold:
                yield other, number
        for place in rarest:
            holders.setdefault(place, []).append(number)
