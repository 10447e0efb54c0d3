"""Splitting: one prompt, one side; enough validation rows and not too many; and what a source is used for."""

from __future__ import annotations

import hashlib
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from tasks import split
from tasks.artifacts.stage import Job, Resources
from tasks.data import rows as row_files
from tasks.data import uses
from tasks.data.rows import SCHEMAS, Writer, files, read, row_id
from tasks.data.uses import SERVES
from tasks.text import fold, prompts

DECODER = {"wiki": ["pretrain"], "zhihu": ["pretrain", "sft"], "belle": ["sft", "prompts"], "ranked": ["pairs"]}


def article(title: str, text: str, source: str = "wiki") -> tuple[str, dict[str, Any]]:
    return "documents", {"id": row_id(title, text), "source": source, "title": title, "text": text, "lang": "zh", "meta": "{}"}


def dialogue(*turns: str, source: str = "belle", system: str = "") -> tuple[str, dict[str, Any]]:
    messages = [{"role": "system", "content": system}] if system else []
    messages += [{"role": "assistant" if place % 2 else "user", "content": turn} for place, turn in enumerate(turns)]
    return "conversations", {"id": row_id(*turns), "source": source, "messages": messages, "meta": "{}"}


def ranking(prompt: str, chosen: str, rejected: str, source: str = "ranked") -> tuple[str, dict[str, Any]]:
    row = dialogue(prompt, source=source)[1]
    return "preferences", {**row, "id": row_id(prompt, chosen, rejected), "chosen": chosen, "rejected": rejected}


def artifact(home: Path, rows: list[tuple[str, dict[str, Any]]]) -> Path:
    """Rows as the filter leaves them: two files a kind."""
    for kind in {kind for kind, _ in rows}:
        of_kind = [row for each, row in rows if each == kind]
        for number, part in enumerate((of_kind[::2], of_kind[1::2])):
            with Writer(home / kind / f"{number:05d}.parquet", kind) as out:
                for row in part:
                    out.add(row)
    return home


def build(home: Path, rows: list[tuple[str, dict[str, Any]]], **params: Any) -> tuple[Path, dict[str, Any]]:
    job = Job(home / "out", home / "scratch", Resources(workers=1))
    return job.out, split.run(job, split.Params(**params), rows=artifact(home / "rows", rows))


def ids(out: Path, use: str, side: str) -> list[str]:
    return [row["id"] for row in read([out / use / f"{side}.parquet"])]


def prompt_hash(seed: int, kind: str, row: dict[str, Any]) -> int:
    (found,) = uses.prompt_hashes(seed, kind, pa.RecordBatch.from_pylist([row], SCHEMAS[kind])).tolist()
    return int(found)


def many(source: str, count: int, name: str = "题") -> list[tuple[str, dict[str, Any]]]:
    return [dialogue(f"{name}{number}是什么？", f"答案{number}", source=source) for number in range(count)]


# -- sides --------------------------------------------------------------------------------------------------------------


def test_rows_with_one_prompt_are_on_one_side_whatever_their_source_and_use(tmp_path: Path) -> None:
    rows: list[tuple[str, dict[str, Any]]] = []
    for number in range(300):
        rows += [
            article(f"词条{number}", f"正文{number}"),
            dialogue(f"词条{number}？", "答", source="zhihu"),  # a question mark more
            dialogue(f"词条{number}", f"另答{number}"),
            dialogue(f"词条{number}", f"再答{number}", source="zhihu"),
            ranking(f"词条{number}", "好", "坏"),
        ]
    out, stats = build(tmp_path, rows, use=DECODER, valid_share=0.1, valid_max=60)
    side: dict[str, str] = {}
    for use, sides in stats["uses"].items():
        assert sides["valid"] and sides["train"]
        for each in sides:
            for row in read([out / use / f"{each}.parquet"]):
                found = next(
                    number for kind, original in rows if original["id"] == row["id"] for number in [_number(kind, original)]
                )
                assert side.setdefault(found, each) == each


def _number(kind: str, row: dict[str, Any]) -> str:
    return row["title"] if kind == "documents" else row["messages"][0]["content"].removesuffix("？")


def test_the_prompt_of_a_dialogue_is_its_first_question() -> None:
    def hashed(*turns: str, system: str = "") -> int:
        return prompt_hash(1, *dialogue(*turns, system=system))

    assert (
        hashed("你好", "您好", "天气？", "晴")
        == hashed("你好", "您好", "天气？", "雨")
        == hashed("你好！", "您好。", "天气", "晴")
    )
    assert hashed("你好") == hashed("你好", "您好", "天气？") == hashed("你好", "嗨", "下雨吗？", "不", "好")
    assert len({hashed("你好"), hashed("天气？", "您好", "你好"), hashed("你好", system="诗人")}) == 3
    kind, greeted = dialogue("你好", "您好")
    greeted["messages"].insert(0, {"role": "assistant", "content": "欢迎"})
    assert prompt_hash(1, kind, greeted) == hashed("你好"), "nobody asks by greeting"
    assert prompt_hash(1, *ranking("你好", "a", "b")) == hashed("你好", "您好")
    assert prompt_hash(2, *dialogue("你好")) != hashed("你好")
    assert prompt_hash(1, *article("", "一")) != prompt_hash(1, *article("", "二")), (
        "documents without a title are not one prompt"
    )
    assert hashed("？") != hashed("！"), "prompts of signs alone are what they are"


def tree(root: str) -> list[tuple[str, dict[str, Any]]]:
    """The rows of a dialogue tree, as OpenAssistant's two files have them: a dialogue and a pair at each of its questions."""
    rows: list[tuple[str, dict[str, Any]]] = []
    for path in (
        [root],
        [root, "甲", f"{root}细说"],
        [root, "乙", f"{root}再说"],
        [root, "甲", f"{root}细说", "丙", f"{root}谢谢"],
    ):
        rows.append(dialogue(*path, "好的"))
        pair = dialogue(*path, source="ranked")[1]
        rows.append(("preferences", {**pair, "id": row_id(*path, "pair"), "chosen": "好", "rejected": "坏"}))
    return rows


def test_a_dialogue_tree_is_on_one_side(tmp_path: Path) -> None:
    rows = [row for number in range(60) for row in tree(f"第{number}个问题")]
    out, _ = build(tmp_path, rows, use={"belle": ["sft"], "ranked": ["pairs"]}, valid_share=0.1)
    sides: dict[str, list[list[str]]] = {
        side: [
            [turn["content"] for turn in row["messages"]]
            for use in ("sft", "pairs")
            for row in read([out / use / f"{side}.parquet"])
        ]
        for side in ("train", "valid")
    }
    trained = {text for row in sides["train"] for text in row} - {"甲", "乙", "丙", "好的"}
    assert len(sides["valid"]) >= 8 and not [row for row in sides["valid"] if trained & set(row)]


@pytest.mark.parametrize(
    ("count", "share", "most", "low", "high"), [(4000, 0.02, 2000, 50, 115), (4000, 0.5, 100, 100, 100), (20, 0.01, 9, 1, 1)]
)
def test_the_share_and_the_most_of_validation_rows(
    tmp_path: Path, count: int, share: float, most: int, low: int, high: int
) -> None:
    out, _ = build(tmp_path, many("belle", count), use={"belle": ["sft"]}, valid_share=share, valid_max=most)
    assert low <= len(ids(out, "sft", "valid")) <= high
    assert len(ids(out, "sft", "valid")) + len(ids(out, "sft", "train")) == count


def test_few_rows_all_train(tmp_path: Path) -> None:
    out, _ = build(tmp_path, many("belle", 19), use={"belle": ["sft"]}, valid_share=0.5)
    assert (len(ids(out, "sft", "train")), ids(out, "sft", "valid")) == (19, [])


def test_new_rows_never_move_an_old_one_into_validation(tmp_path: Path) -> None:
    use = {"belle": ["sft"]}
    before, _ = build(tmp_path / "before", many("belle", 1500), use=use, valid_max=20)
    after, _ = build(tmp_path / "after", many("belle", 6000), use=use, valid_max=20)
    old = {row["id"] for _, row in many("belle", 1500)}
    assert set(ids(after, "sft", "valid")) & old <= set(ids(before, "sft", "valid"))


@example([0] * 10 + [1] * 10, 0.5, 20)
@given(st.lists(st.integers(0, 30), min_size=1, max_size=60), st.floats(0.01, 0.5), st.integers(1, 20))
def test_a_draw_takes_the_smallest_hashes_up_to_its_share_and_rows(prompts: list[int], share: float, most: int) -> None:
    hashes = [prompt * 2**59 for prompt in prompts]
    draw = uses.Draw(share, most)
    for start in range(0, len(hashes), 7):
        draw.add(np.array(hashes[start : start + 7], np.uint64))
    drawn = draw.held_out()
    distinct = sorted(set(hashes))
    assert sorted(drawn) == distinct[: len(drawn)]
    if len(hashes) < uses.FEW or len(distinct) < 2:
        assert not drawn
        return
    assert 1 <= len(drawn) < len(distinct)
    if len(drawn) > 1:
        assert sum(hashes.count(prompt) for prompt in drawn) <= most
        assert max(drawn) < share * 2**64
    following = distinct[len(drawn)]
    room = sum(hashes.count(prompt) for prompt in {*drawn, following}) <= most
    assert following == distinct[-1] or not room or following >= share * 2**64


# -- uses ---------------------------------------------------------------------------------------------------------------


def test_a_dialogue_for_pretraining_becomes_a_text(tmp_path: Path) -> None:
    rows = [dialogue("你好", "您好。", "天气？", "晴。", source="zhihu", system="你是诗人")]
    out, stats = build(tmp_path, rows, use={"zhihu": ["pretrain", "sft"]})
    (text,) = read([out / "pretrain" / "train.parquet"])
    assert text["text"] == "你好\n您好。\n\n天气？\n晴。"
    assert text["id"] == ids(out, "sft", "train")[0] == rows[0][1]["id"]
    assert stats["uses"]["pretrain"]["train"] == {"zhihu": {"rows": 1, "characters": 14}}
    assert stats["uses"]["sft"]["train"] == {"zhihu": {"rows": 1, "characters": 14}}, (
        "the system prompt counts, the line breaks do not"
    )
    assert stats["funnel"]["zhihu"] == {"in": 1, "kept": 1, "dropped": {}}, "a row with two uses is one row"


def test_rows_without_a_use_are_dropped_and_say_so(tmp_path: Path) -> None:
    rows = [
        dialogue("你好", "您好"),
        article("甲", "文", source="belle"),
        dialogue("嗨", "好", source="exam"),
        dialogue("嘿", "好", source="other"),
    ]
    out, stats = build(tmp_path, rows, use={"belle": ["sft"], "exam": ["evaluate"]})
    assert stats["funnel"] == {
        "belle": {"in": 2, "kept": 1, "dropped": {"no use of this source's documents": 1}},
        "exam": {"in": 1, "kept": 0, "dropped": {"no use of this source": 1}},
        "other": {"in": 1, "kept": 0, "dropped": {"no use of this source": 1}},
    }
    assert {row["id"] for row in read(files(out, kind="dropped"))} == {row["id"] for _, row in rows[1:]}
    assert sorted(path.name for path in out.iterdir()) == ["dropped", "sft"]


@pytest.mark.parametrize(
    ("use", "message"),
    [
        ({"belle": ["pairs"]}, "source belle is for `pairs`, which takes preferences, but it holds conversations"),
        ({"belle": ["sft"], "gone": ["pairs"]}, "use `pairs` has no rows: nothing of gone is left"),
        ({}, "no source has a use for training"),
        ({"belle": ["evaluate"]}, "no source has a use for training"),
    ],
)
def test_a_use_that_cannot_be_served_is_explained(tmp_path: Path, use: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        build(tmp_path, many("belle", 3), use=use)


def test_a_source_that_the_filter_dropped_whole_is_told_with_its_reasons(tmp_path: Path) -> None:
    lost = {"source": "novel", "detail": "", "excerpt": ""}
    rows = [("dropped", lost | {"id": str(number), "reason": "repeats itself"}) for number in range(2)]
    rows += [
        ("dropped", lost | {"id": "2", "reason": "not Chinese"}),
        ("dropped", lost | {"source": "belle", "reason": "too short"}),
    ]
    with pytest.raises(ValueError, match=r"nothing of novel is left \(dropped 2 × repeats itself, dropped 1 × not Chinese\)"):
        build(tmp_path, [*many("belle", 30), *rows], use={"belle": ["sft"], "novel": ["pretrain"]})


def test_a_use_without_a_training_row_is_explained(tmp_path: Path) -> None:
    """The one ranked prompt is held out, because dialogues with the same prompt are."""
    rows = [dialogue(f"题{number}", "答") for number in range(40)]
    out, _ = build(tmp_path / "first", rows, use={"belle": ["sft"]})
    (held,) = read([out / "sft" / "valid.parquet"])
    rows.append(ranking(held["messages"][0]["content"], "好", "坏"))
    with pytest.raises(ValueError, match="use `pairs` has no training row: all rows of ranked are held out"):
        build(tmp_path / "second", rows, use={"belle": ["sft"], "ranked": ["pairs"]})


def test_an_article_answers_its_title_for_a_text_to_text_model(tmp_path: Path) -> None:
    long = "青江流过石桥镇。" * 20
    rows = [article("青江", long), article("", "无题的文字。"), dialogue("你好", "您好", "天气？", "晴")]
    use = {"wiki": ["pretrain", "text2text"], "belle": ["text2text"]}
    out, stats = build(tmp_path, rows, use=use, answer_characters=50)
    asked, chat = read([out / "text2text" / "train.parquet"])
    assert [turn["role"] for turn in asked["messages"]] == ["user", "assistant"]
    assert asked["messages"][0]["content"] == prompts.article_prompt("青江", 23333)
    assert asked["messages"][1]["content"] == "青江流过石桥镇。" * 6, "cut at the end of a sentence"
    assert chat["messages"] == rows[2][1]["messages"], "a dialogue goes as it is"
    assert len(ids(out, "pretrain", "train")) == 2, "an article without a title is still a text"
    assert stats["funnel"]["wiki"] == {"in": 2, "kept": 2, "dropped": {}}


def test_an_article_that_could_only_answer_its_title_and_has_none_is_dropped(tmp_path: Path) -> None:
    out, stats = build(tmp_path, [article("甲", "文"), article(" ", "无题")], use={"wiki": ["text2text"]})
    assert stats["funnel"]["wiki"] == {"in": 2, "kept": 1, "dropped": {split.UNTITLED: 1}}
    assert [row["reason"] for row in read(files(out, kind="dropped"))] == [split.UNTITLED]


@given(st.text(min_size=1, max_size=12).filter(str.strip), st.integers(0, 40))
@example("介绍一下青江", 3)
@example("0`:", 0)  # in quotes, the mark stands between two that are no pair
@example("李白 (唐代)", 1)
def test_a_title_and_every_request_for_it_are_one_prompt(title: str, seed: int) -> None:
    if not fold.dedup_key(title):
        return  # a title of signs alone is what it is
    said = prompt_hash(5, *dialogue(prompts.article_prompt(title, seed)))
    assert prompt_hash(5, *article(title, "文")) == said


def test_a_test_side_is_apart_from_training_and_validation(tmp_path: Path) -> None:
    rows = many("belle", 4000) + many("zhihu", 4000, "问")
    use = {"belle": ["sft"], "zhihu": ["sft", "pretrain"]}
    out, stats = build(tmp_path / "with", rows, use=use, valid_share=0.0025, test_share=0.0875)
    sides = {side: ids(out, "sft", side) for side in ("train", "valid", "test")}
    assert sum(map(len, sides.values())) == len(rows) and len(set().union(*sides.values())) == len(rows)
    prompts_of = {
        side: {row["messages"][0]["content"] for row in read([out / "sft" / f"{side}.parquet"])} for side in ("train", "test")
    }
    assert not prompts_of["train"] & prompts_of["test"]
    assert 0.07 < len(sides["test"]) / len(rows) < 0.105 and 0.001 < len(sides["valid"]) / len(rows) < 0.005
    assert stats["uses"]["pretrain"]["test"]["zhihu"]["rows"] == len(ids(out, "pretrain", "test"))
    without, _ = build(tmp_path / "without", rows, use=use, valid_share=0.0025)
    assert not (without / "sft" / "test.parquet").exists()
    assert ids(without, "sft", "valid") == sides["valid"], "a test side moves no row of the validation"


# -- sums and bytes -----------------------------------------------------------------------------------------------------

ROWS = st.lists(
    st.one_of(
        st.builds(
            article,
            st.text(alphabet="甲乙丙，", max_size=3),
            st.text(alphabet="甲乙", max_size=5),
            st.sampled_from(["wiki", "none"]),
        ),
        st.builds(
            lambda prompt, answer, source: dialogue(prompt, answer, source=source),
            *[st.text("甲乙丙，", max_size=3)] * 2,
            st.sampled_from(["zhihu", "belle", "none"]),
        ),
        st.builds(ranking, *[st.text("甲乙丙，", max_size=3)] * 3, st.sampled_from(["ranked", "none"])),
    ),
    max_size=40,
)


@settings(max_examples=25, deadline=None)
@given(ROWS)
def test_every_row_is_used_or_dropped(rows: list[tuple[str, dict[str, Any]]]) -> None:
    firm = (
        [article(f"定{number}", "文") for number in range(3)]
        + many("zhihu", 3)
        + many("belle", 3)
        + [ranking(f"比{n}", "好", "坏") for n in range(3)]
    )
    with tempfile.TemporaryDirectory() as folder:
        out, stats = build(Path(folder), rows + firm, use=DECODER)
        written = {use: [side for side in ("train", "valid") for _ in ids(out, use, side)] for use in DECODER_USES}
        dropped = len(ids_of_dropped(out))
    assert sum(each["in"] for each in stats["funnel"].values()) == len(rows + firm)
    assert sum(sum(each["dropped"].values()) for each in stats["funnel"].values()) == dropped
    for source, each in stats["funnel"].items():
        assert each["in"] == each["kept"] + sum(each["dropped"].values())
        for use in set(DECODER.get(source, [])):
            counted = sum(side.get(source, {"rows": 0})["rows"] for side in stats["uses"][use].values())
            assert counted == each["kept"]
    for use, sides in written.items():
        assert len(sides) == sum(amount["rows"] for side in stats["uses"][use].values() for amount in side.values())


DECODER_USES = ("pretrain", "sft", "prompts", "pairs")


def ids_of_dropped(out: Path) -> list[str]:
    return [row["id"] for row in read(files(out, kind="dropped"))]


def test_the_same_bytes_again(tmp_path: Path) -> None:
    rows = [
        *many("zhihu", 60),
        *many("belle", 60),
        *(article(f"词{number}", "文") for number in range(60)),
        *[ranking(f"比{n}", "好", "坏") for n in range(30)],
    ]
    outs = [build(tmp_path / name, rows, use=DECODER)[0] for name in ("one", "two")]
    first, second = (
        {str(p.relative_to(out)): hashlib.sha256(p.read_bytes()).digest() for p in out.rglob("*.parquet")} for out in outs
    )
    assert first == second
    assert len(first) == 9


@settings(max_examples=12, deadline=None)
@given(ROWS, st.integers(1, 9), st.integers(1, 60), st.integers(1, 7))
def test_batches_are_written_in_the_row_groups_that_single_rows_make(
    rows: list[tuple[str, dict[str, Any]]], most: int, characters: int, batch: int
) -> None:
    with tempfile.TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        for module in (row_files, split):
            patch.setattr(module, "ROW_GROUP", most)
            patch.setattr(module, "GROUP_CHARACTERS", characters)
        for kind in SERVES:
            some = [row for each, row in rows if each == kind]
            one, many = Path(folder) / f"{kind}.one", Path(folder) / f"{kind}.many"
            with Writer(one, kind) as single, Writer(many, kind) as together:
                groups = split.RowGroups(together)
                for row in some:
                    single.add(row)
                for start in range(0, len(some), batch):
                    groups.add(pa.RecordBatch.from_pylist(some[start : start + batch], SCHEMAS[kind]))
                groups.flush()
            assert pq.read_metadata(one).num_row_groups == pq.read_metadata(many).num_row_groups
            assert one.read_bytes() == many.read_bytes()


@pytest.mark.parametrize("step", ["convert", "join"])
def test_what_was_finished_before_a_kill_is_not_done_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str) -> None:
    rows = [*many("zhihu", 60), *many("belle", 60), *(article(f"词{number}", "文") for number in range(60))]
    use = {"wiki": ["pretrain"], "zhihu": ["sft"], "belle": ["prompts"]}
    whole = getattr(split, step)
    done: list[Path] = []

    def killed_at_the_third(draft: Path, *arguments: Any) -> Any:
        if len(done) == 2:
            raise KeyboardInterrupt
        done.append(draft)
        return whole(draft, *arguments)

    monkeypatch.setattr(split, step, killed_at_the_third)
    with pytest.raises(KeyboardInterrupt):
        build(tmp_path, rows, use=use)
    monkeypatch.setattr(split, step, lambda draft, *arguments: done.append(draft) or whole(draft, *arguments))
    build(tmp_path, rows, use=use)
    assert len(done) == len(set(done)) == 4, "four files, and three uses beside the dropped rows"
    fresh, _ = build(tmp_path / "fresh", rows, use=use)
    for path in files(fresh, kind="sft"):
        assert path.read_bytes() == (tmp_path / "out" / path.relative_to(fresh)).read_bytes()
