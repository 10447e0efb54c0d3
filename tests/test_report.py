"""The report page, rendered from the statistics and the folders of an invented run."""

from __future__ import annotations

import dataclasses
import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from lxml import html

from flows import recipe as recipes
from flows import run_facts
from flows.inputs import report_entries
from tasks.artifacts.stage import Identity, Job, Stats, stage
from tasks.artifacts.store import Record, Store
from tasks.data import contract
from tasks.data.rows import Writer
from tasks.metrics.intervals import wilson
from tasks.pages import data_section, ui_tables
from tasks.pages.render import percent, size
from tests.invented import EVIL, MODELS, Run, scores, written
from tests.toys import count, make_count

Rendered = tuple[Run, str, dict[str, Any]]  # a run, its page, its figures


@pytest.fixture
def made(tmp_path: Path) -> Run:
    return Run(tmp_path / "run")


@pytest.fixture(scope="module")
def rendered(tmp_path_factory: pytest.TempPathFactory) -> Rendered:
    """A whole run, with its page and its figures."""
    home = tmp_path_factory.mktemp("report")
    run = Run(home / "run")
    return run, *run.render(home / "out")


def text_of(page: str) -> str:
    """What a reader sees, white space folded."""
    return " ".join(html.fromstring(page).text_content().replace("\u00a0", " ").split())


def test_the_page_opens_with_a_verdict_in_words(rendered: Rendered) -> None:
    _, page, _ = rendered
    [verdict] = html.fromstring(page).find_class("verdict")
    said = " ".join(verdict.text_content().replace("\u00a0", " ").split())
    assert said.startswith(
        "After DPO, the right one of a question's choices is the likeliest to the model in 57.5 % of 120 questions, which it need not write. "
        "Guessing gives 25.0 % and the 95 % interval is 48.6 % to 66.0 %"
    )
    assert "so this is better than guessing; after pretraining it was 32.5 % and after fine-tuning it was 55.8 %." in said
    assert "1.52 bits a byte (1.41 after pretraining; why it rises)" in said
    assert "in 79.0 % of 90 held-out pairs, against 58.0 % before." in said and "93.8 % of its answers come to an end" in said
    assert "1,372 rows were read and 1,072 were used for training; every other row has a reason." in said


@pytest.mark.parametrize(("right", "words"), [((20, 12), "no better than guessing can explain"), ((5, 4), "worse than guessing")])
def test_the_verdict_does_not_flatter(made: Run, tmp_path: Path, right: tuple[int, int], words: str) -> None:
    found = scores()
    low, high = wilson(sum(right), 120)
    found["models"]["dpo"]["questions"]["all"] |= {"accuracy": sum(right) / 120, "low": low, "high": high}
    made.write("evaluate", "scores.json", found)
    assert f"so this is {words}" in text_of(made.render(tmp_path / "out")[0])


def test_free_answers_about_facts_lead_and_every_shown_one_is_marked(made: Run, tmp_path: Path) -> None:
    found = scores()
    share = {"n": 40, "correct": 18, "accuracy": 0.45, "low": 0.307, "high": 0.602, "chance": 0.125}
    for model in found["models"].values():
        model["facts"] = {"all": share, "kinds": {"小镇 · 特产": share}}
    row = {
        "source": "facts",
        "messages": [{"role": "user", "content": "甲镇的特产是什么？"}],
        "prompt": "甲镇的特产是什么？",
        "reference": "竹编",
    }
    said = {"answers": {"sft": "青瓷。", "dpo": "竹编。"}, "right": {"sft": False, "dpo": True}}
    made.write("evaluate", "scores.json", found)
    made.write("evaluate", "facts.json", [row | said])
    page, figures = made.render(tmp_path / "out")
    [verdict] = html.fromstring(page).find_class("verdict")
    assert " ".join(verdict.text_content().replace("\u00a0", " ").split()).startswith(
        "Asked in free words for 40 facts that its texts tell, the model answers 45.0 % right (95 % interval 30.7 % to 60.2 %)."
    )
    assert page.count("✓ right") == page.count("✗ wrong") == 1 and "小镇 · 特产" in page
    assert {row["model"] for row in figures["rows"] if row["figure"] == "right free answer"} == set(found["models"])


def test_the_page_shows_every_artifact_with_its_version_and_digest(rendered: Rendered) -> None:
    made, page, _ = rendered
    for name, node in made.nodes.items():
        assert page.count(f">{name}</text>") == 2, "once in the wide drawing, once in the narrow one"
        assert node["key"][:16] in page and page.count(node["digest"][:7]) >= 3
    edges = sum(len(node["lineage"]) for node in made.nodes.values())
    for drawing in html.fromstring(page).find_class("graph"):
        assert len(drawing.findall("path")) == edges


def ancestry(page: str) -> list[dict[str, list[str]]]:
    """The boxes of the wide and of the narrow picture of the lineage: first line → lines and title."""
    return [
        {
            box.find("title").text + "|" + box.find("text")[0].text: [line.text for line in box.find("text")]
            for box in drawing.findall("g")
        }
        for drawing in html.fromstring(page).find_class("ancestry")
    ]


def test_the_lineage_is_drawn_from_every_file_to_the_last_model(made: Run, tmp_path: Path) -> None:
    address = "https://dumps.wikimedia.org/zhwiki/20261101/"
    made.nodes["extract-wiki"] |= {
        "commit": "0123456789ab+",
        "origin": {
            "kind": "dump",
            "where": address,
            "state": "20261101",
            "licence": "CC-BY-SA-4.0",
            "files": [["wiki.bz2", "a" * 64], ["more.bz2", "b" * 64]],
        },
    }
    page, _ = made.render(tmp_path / "out")
    wide, narrow = ancestry(page)
    assert sorted(wide.values()) == sorted(narrow.values())
    boxes = list(wide.values())
    files = ["dumps.wikimedia.org", "zhwiki/20261101", "wiki.bz2", "and 1 more files"]
    assert files in boxes and [box[0] for box in boxes if box[0] in ("pretrain", "sft", "dpo")] == ["pretrain", "sft", "dpo"]
    [read] = [box for box in boxes if box[0] == "extract-wiki"]
    assert read[1:] == ["CC-BY-SA-4.0", "360 of 412 rows", f"v1 {made.nodes['extract-wiki']['digest'][:7]}", "commit 0123456+"]
    assert ["files of one's own"] in boxes and "licence unknown" in next(box for box in boxes if box[0] == "ingest-belle")
    assert not [box for box in boxes if box[0] in ("tokenizer", "pack", "evaluate", "sample")]
    titles = "\n".join(wide)
    assert f"wiki.bz2 ({'a' * 12})" in titles and "dropped: redirect 40, disambiguation 12" in titles and address in titles
    for drawing in html.fromstring(page).find_class(
        "ancestry"
    ):  # 4 sources, dedup's 3, filter's 2, split, pretrain, sft's 2, rejected's 2, dpo's 2
        assert len(drawing.findall("path")) == 4 + 3 + 2 + 1 + 1 + 2 + 2 + 2


def test_a_run_without_sources_has_no_picture_of_them(made: Run, tmp_path: Path) -> None:
    for name in [name for name in made.nodes if made.nodes[name]["stage"] in ("extract", "ingest")]:
        made.nodes[name]["stage"] = "other"
    assert ancestry(made.render(tmp_path / "out")[0]) == []


@stage("courtesy", version=1, title="Drop rude answers", params=Identity, section="rows")
def courtesy(job: Job, params: Identity, *, rows: Path) -> Stats:
    return {}


@stage("distil", version=1, title="Distillation", params=Identity, group="model", section="training")
def distil(job: Job, params: Identity, *, model: Path) -> Stats:
    return {}


def boxes(page: str) -> dict[str, set[str]]:
    """Node → the classes of its boxes, in the wide drawing and in the narrow one."""
    found: dict[str, set[str]] = {}
    for box in html.fromstring(page).xpath("//svg[contains(@class, 'graph')]/g"):
        found.setdefault(box.find("text").text, set()).add(box.get("class"))
    return found


def test_a_new_data_stage_is_drawn_and_counted_as_it_says_itself(made: Run, tmp_path: Path) -> None:
    left = {source: counts["kept"] for source, counts in made.counts("filter").items()}
    funnel = {source: {"in": count, "kept": count - 3, "dropped": {"rude answer": 3}} for source, count in left.items()}
    made.insert("courtesy", {"funnel": funnel}, ["filter"], courtesy, before="split")
    made.drop("courtesy")
    for counts in made.counts("split").values():
        counts.update({"in": counts["in"] - 3, "kept": counts["kept"] - 3})
    page, figures = made.render(tmp_path / "out")
    assert figures["problems"] == []
    assert figures["funnel"]["wiki"]["courtesy"] == {"in": 328, "kept": 325, "dropped": {"rude answer": 3}}
    table = html.fromstring(page).get_element_by_id("data").find(".//table")
    assert [cell.text for cell in table.findall(".//th")][2:6] == ["ingested", "after dedup", "after filter", "after courtesy"]
    assert boxes(page)["courtesy"] == {"g-data"} and "rude answer" in text_of(page)
    unknown = {**made.nodes["courtesy"], "section": ""}
    made.nodes["courtesy"] = unknown
    assert "filter kept 328 rows, but split took in 325" in made.render(tmp_path / "untold")[1]["problems"][0]


def test_a_new_training_stage_is_drawn_and_shown_as_it_says_itself(made: Run, tmp_path: Path) -> None:
    made.insert("distil", {"steps": 77}, ["sft"], distil, before="rejected")
    made.log("distil", 100, lambda step: 2 - step / 100)
    page, _ = made.render(tmp_path / "out")
    assert boxes(page) == {**boxes(page), "distil": {"g-model"}, "evaluate": {"g-result"}, "dedup": {"g-data"}}
    trained = html.fromstring(page).get_element_by_id("training")
    titles = [title.text.strip() for title in trained.iter("h3")]
    assert titles[:4] == ["pretrain", "sft", "distil", "dpo"]
    assert trained.xpath(".//svg[@aria-label='Loss, distil']") and "77" in trained.text_content()


def test_what_a_stage_says_of_itself_reaches_the_report_and_is_in_no_key(tmp_path: Path) -> None:
    store = Store(tmp_path / "store")
    record = make_count(store).record
    other = dataclasses.replace(count, group="result", section="rows", step="numbers")
    shown = report_entries({"count": record}, {"count": other})["count"]
    assert (shown["group"], shown["section"], shown["step"]) == ("result", "rows", "numbers")
    shown = report_entries({"count": record}, {"count": count})["count"]
    assert (shown["group"], shown["section"], shown["step"]) == ("data", "", "count")
    assert contract.applies(other) and not contract.applies(count)
    assert make_count(store, stage=other).reused


def test_the_table_of_rows_adds_up_for_every_source(rendered: Rendered) -> None:
    _, page, figures = rendered
    table = html.fromstring(page).get_element_by_id("data").find(".//table")
    numbers = {row[0].text.strip(): [cell.text for cell in row[1:6]] for row in table.findall(".//tbody/tr")}
    assert numbers["wiki"] == ["412", "360", "353", "328", "328"] and numbers["belle"] == ["600", "597", "544", "524", "524"]
    assert numbers["exam"][:2] == ["120", "118"]
    assert [row[-1].text_content() for row in table.findall(".//tbody/tr")] == ["✓"] * 4
    assert figures["adds_up"] is True and figures["problems"] == [] and "does not add up" not in page
    assert figures["funnel"]["wiki"]["filter"] == {"in": 353, "kept": 328, "dropped": {"too short": 25}}
    assert figures["funnel"]["exam"].keys() == {"ingest"}


@pytest.mark.parametrize(
    ("break_it", "problem"),
    [
        (
            lambda made: made.counts("filter")["wiki"].update(kept=320),
            "filter, wiki: of 353 rows 320 were kept and 25 dropped, 8 unaccounted for",
        ),
        (
            lambda made: made.counts("rejected")["belle"].update(kept=70),
            "rejected, belle: of 80 rows 70 were kept and 14 dropped, 4 too many",
        ),
        (lambda made: made.counts("split").pop("zhihu"), "zhihu: filter kept 220 rows, and no later step counted them"),
        (
            lambda made: made.counts("dedup").update(belle={"in": 590, "kept": 544, "dropped": {"exact duplicate": 46}}),
            "belle: ingest-belle kept 597 rows, but dedup took in 590",
        ),
    ],
)
def test_sums_that_do_not_hold_are_said_loudly(made: Run, tmp_path: Path, break_it: Any, problem: str) -> None:
    break_it(made)
    page, figures = made.render(tmp_path / "out")
    [alarm] = html.fromstring(page).find_class("alarm")
    assert "The data does not add up" in alarm.text_content() and problem in alarm.text_content()
    assert page.index('class="alarm"') < page.index('class="verdict"')
    assert "✗" in page and "every other row has a reason" not in page
    assert figures["adds_up"] is False and problem in figures["problems"]


def test_questions_among_other_rows_of_a_source_may_leave_for_the_evaluation(made: Run, tmp_path: Path) -> None:
    with Writer(made.artifacts["ingest-belle"] / "questions" / "00000.parquet", "questions") as out:
        for number in range(7):
            out.add({"id": f"{number}", "source": "belle", "subject": "s", "question": "?", "choices": ["a", "b"], "answer": 0})
    assert made.render(tmp_path / "short")[1]["problems"] == ["belle: ingest-belle kept 590 rows, but dedup took in 597"]
    made.counts("ingest-belle")["belle"].update({"in": 607, "kept": 604})
    assert made.render(tmp_path / "whole")[1]["problems"] == []


def test_text_from_data_stays_text_and_the_page_asks_nobody_for_anything(made: Run, tmp_path: Path) -> None:
    made.nodes["filter"]["title"] = EVIL
    made.counts("filter")["belle"]["dropped"][EVIL] = made.counts("filter")["belle"]["dropped"].pop("too short")
    made.nodes["filter"]["stats"]["lengths"][EVIL] = made.nodes["filter"]["stats"]["lengths"]["wiki"]
    found = scores()
    found["models"]["dpo"]["questions"]["subjects"]["exam"] = {EVIL: found["models"]["dpo"]["questions"]["all"]}
    for model in ("pretrain", "sft"):
        found["models"][model]["questions"]["subjects"] = found["models"]["dpo"]["questions"]["subjects"]
    made.write("evaluate", "scores.json", found)
    made.write(
        "tokenizer",
        "report.json",
        json.loads((made.artifacts["tokenizer"] / "report.json").read_text("utf-8")) | {"longest": [EVIL]},
    )
    page, _ = made.render(tmp_path / "out", recipe=EVIL)
    tree = html.fromstring(page)
    assert not [
        element
        for element in tree.iter()
        if element.tag in ("script", "img", "iframe", "object", "link") and element.get("href") != "data:,"
    ]
    assert tree.text_content().count(EVIL) >= 7
    for element in tree.iter():
        for name, value in element.attrib.items():
            assert not name.startswith("on"), f"<{element.tag} {name}>"
            assert name not in ("src", "href") or value.startswith(("#", "data:")), f"<{element.tag} {name}={value}>"
    assert "url(" not in page.replace("url(#", "") and "@import" not in page
    assert tree.xpath("//meta[@http-equiv='Content-Security-Policy']")[0].get("content").startswith("default-src 'none'")


def test_ids_in_the_page_are_unique(rendered: Rendered) -> None:
    _, page, _ = rendered
    ids = re.findall(r'\sid="([^"]+)"', page)
    assert len(ids) > 20 and sorted(ids) == sorted(set(ids))
    assert set(re.findall(r'url\(#([^)]+)\)|href="#([^"]+)"', page)) <= {(i, "") for i in ids} | {("", i) for i in ids}


def test_every_reason_has_rows_to_read_without_personal_data(rendered: Rendered) -> None:
    _, page, _ = rendered
    reasons = {
        element.find_class("name")[0].text: element.findall(".//li")
        for element in html.fromstring(page).get_element_by_id("dropped").iter("details")
    }
    assert set(reasons) >= {
        "redirect",
        "broken json",
        "near duplicate",
        "too short",
        "holds an evaluation question",
        "near_equal",
    }
    assert len(reasons["redirect"]) == 3
    assert len(reasons["near duplicate"]) == 6, "as many of each source"
    near = next(
        element
        for element in html.fromstring(page).get_element_by_id("dropped").iter("details")
        if element.find_class("name")[0].text == "near duplicate"
    )
    assert [group.text_content() for group in near.find_class("of")] == [
        "belle 22 rows, 3.7\u00a0% of its rows, such as",
        "wiki 7 rows, 1.9\u00a0% of its rows, such as",
    ]
    assert reasons["near_equal"][0].text == "No example at hand."
    assert "13812345678" not in page and "电话" in page
    assert "row 0" in reasons["redirect"][0].text_content()


@pytest.mark.parametrize(
    ("gone", "said"),
    [
        (["evaluate"], "no evaluation is part of the run"),
        (["rejected", "dpo"], "There is no preference training (DPO) in this run."),
        (["tokenizer"], "This run trained no tokenizer."),
        (["pretrain", "sft", "rejected", "dpo", "evaluate"], "This run trained no model."),
        (
            ["extract-wiki", "ingest-belle", "ingest-zhihu", "ingest-exam", "dedup", "filter", "split"],
            "No stage of this run counted rows.",
        ),
    ],
)
def test_a_stage_that_is_missing_is_said_to_be(made: Run, tmp_path: Path, gone: list[str], said: str) -> None:
    made.remove(*gone)
    page, figures = made.render(tmp_path / "out")
    assert said in text_of(page)
    assert figures["adds_up"] is True


def test_a_run_of_one_stage_is_a_page(made: Run, tmp_path: Path) -> None:
    made.remove(*[name for name in made.nodes if name != "ingest-zhihu"])
    page, figures = made.render(tmp_path / "out")
    assert "240 rows of 1 source were read." in text_of(page) and "This run split no data" in text_of(page)
    assert [row["figure"] for row in figures["rows"]] == ["rows read", "rows used"] and figures["adds_up"]


def test_an_evaluation_that_asked_nothing_is_a_page(made: Run, tmp_path: Path) -> None:
    found = scores()
    for model in found["models"].values():
        model |= {"questions": None, "preference": None, "bits_per_byte": None, "generation": None}
    found["reference"] = {"accuracy": None, "bits_per_byte": None, "preference": None}
    found["comparisons"] = [
        {"before": "sft", "after": "dpo", "questions": None, "bits_per_byte_change": None, "preference": None}
    ]
    made.write("evaluate", "scores.json", found)
    made.write("evaluate", "answers.json", [])
    page, figures = made.render(tmp_path / "out")
    assert "dpo against sft: nothing was measured of both." in text_of(page)
    found["comparisons"][0]["bits_per_byte_change"] = 0.5
    made.write("evaluate", "scores.json", found)
    assert "dpo against sft: +0.500 bits a byte." in text_of(made.render(tmp_path / "again")[0])
    assert "No answers were kept." in page and {row["figure"] for row in figures["rows"]} == {"rows read", "rows used"}


def test_figures_hold_the_scores_with_their_intervals(rendered: Rendered) -> None:
    _, _, figures = rendered
    rows = {(row["figure"], row["model"]): row for row in figures["rows"]}
    low, high = wilson(69, 120)
    assert rows["likeliest choice right", "dpo"] == {
        "figure": "likeliest choice right",
        "model": "dpo",
        "value": 69 / 120,
        "low": round(low, 6),
        "high": round(high, 6),
        "n": 120,
    }
    assert rows["bits per byte", "pretrain"]["value"] == 1.4142 and rows["preference accuracy", "sft"]["value"] == 0.58
    assert rows["stop rate", "dpo"]["value"] == 0.9375 and rows["likeliest choice right, guessing", ""]["value"] == 0.25
    assert ("preference accuracy", "pretrain") not in rows, "a base model is not asked"
    assert rows["rows used", ""]["value"] == 1072


def test_equal_inputs_give_equal_bytes_wherever_they_lie_and_whatever_matplotlib_is_set_to(
    rendered: Rendered, made: Run, tmp_path: Path
) -> None:
    import matplotlib

    with matplotlib.rc_context({"font.size": 30, "axes.facecolor": "red", "svg.fonttype": "path", "lines.linewidth": 9}):
        page, figures = made.render(tmp_path / "out")
    assert (page, figures) == rendered[1:]
    assert {path.name for path in (tmp_path / "out").iterdir()} == {"report.html", "figures.json"}


def test_what_differs_from_run_to_run_stays_out(rendered: Rendered, made: Run, tmp_path: Path) -> None:
    made.nodes["pretrain"]["stats"] |= {
        "seconds": 1.5,
        "seconds_per_step": 0.25,
        "device": "cuda",
        "threads": 64,
        "resumed_from": 3,
    }
    assert made.render(tmp_path / "out") == rendered[1:]


def test_the_page_says_when_where_how_long_and_at_what_cost(made: Run, tmp_path: Path) -> None:
    made.about = {
        "recipe": "name: sample\nraw: /data/" + EVIL,
        "stages": [
            {"node": "filter", "finished": 1_796_000_000.0, "seconds": 0.04, "machine": "Linux x86_64, 2 cores"},
            {"node": "pretrain", "finished": 1_796_091_911.0, "seconds": 7500.0, "machine": "Linux x86_64, 64 cores"},
        ],
        "trainings": [
            {
                "node": "pretrain",
                "parameters": 92_000_000,
                "tokens": 2_000_000_000,
                "seconds": 7200.0,
                "tokens_a_second": 277_777.8,
            }
            | {"flops": 1.104e18, "device": "2 × cuda", "accelerator_hours": 4.0}
        ],
        "cards": {"H100": 0.885, "RTX 4090": 5.31},
        "share": 0.35,
        "versions": {"hanlin": "0.1.0, commit 0123456789ab", "python": "3.11.7", "torch": "2.13.0"},
    }
    page = made.render(tmp_path / "out")[0]
    said = text_of(page)
    assert "2026-12-01 02:25 UTC · the stages took 2 h 5 min · Linux x86_64, 2 cores; Linux x86_64, 64 cores · 2 × cuda" in said
    assert "1.1 × 10¹⁸ floating-point operations" in said and "It used 4 h of GPUs." in said
    assert "A single GPU would need 53 min 6 s (H100), 5.3 h (RTX 4090) if it reached 35 % of the bfloat16 peak" in said
    row = next(row.text_content() for row in html.fromstring(page).xpath("//section[@id='run']//tr[td]"))
    assert [cell in row for cell in ("277,778", "2,000,000,000", "2 h", "2 × cuda")] == [True] * 4
    assert "under 0.1 s" in said and "commit 0123456789ab" in said and "raw: /data/<script>" in said and EVIL not in page


def test_a_record_tells_what_its_training_took() -> None:
    record = Record(
        key="k", digest="d", stage="pretrain", title="", identity={}, lineage={}, files=[], shards={}, reproducibility="seeded",
        stats={"steps": 100, "tokens": 1000, "parameters": 50, "seconds": 10.0, "seconds_per_step": 0.5, "resumed_from": 80}
        | {"device": "cuda", "processes": 4},
        made={"finished": 2.0, "seconds": 12.0, "machine": "M", "commit": "c" * 40, "dirty": True, "python": "3.11.7", "versions": {}},
    )  # fmt: skip
    told = run_facts.facts(recipes.load("tiny", ["pretrain.seed=7"]), {"pretrain": record})
    [training] = told["trainings"]
    assert training["seconds"] == 50.0 and training["tokens_a_second"] == 20.0, "what went before the resumption counts"
    assert training["flops"] == 6 * 50 * 1000 and training["device"] == "4 × cuda" and training["accelerator_hours"] == 200 / 3600
    assert told["versions"]["hanlin"].endswith("commit cccccccccccc with uncommitted changes")
    written = yaml.safe_load(told["recipe"])
    assert recipes.Recipe.model_validate(written) == recipes.load("tiny", ["pretrain.seed=7"]) and "dedup" not in written


def test_a_rise_of_bits_is_explained_where_there_is_one(rendered: Rendered, made: Run, tmp_path: Path) -> None:
    said = text_of(rendered[1])
    assert "bits a byte more than pretrain. That is to be expected" in said and "why it rises" in said
    found = scores()
    for model in found["models"].values():
        model["bits_per_byte"]["all"]["value"] = 1.4
    made.write("evaluate", "scores.json", found)
    said = text_of(made.render(tmp_path / "out")[0])
    assert "to be expected" not in said and "why it rises" not in said


@pytest.mark.parametrize("log", ["", '{"step": 3, "loss": NaN, "grad_norm": Infinity}\n', '{"step": 1, "loss": 75100.0}\n'])
def test_odd_logs_are_a_page(made: Run, tmp_path: Path, log: str) -> None:
    (made.artifacts["pretrain"] / "log.jsonl").write_text(log, "utf-8")
    page = made.render(tmp_path / "out")[0]
    assert "NaN" not in page and ("This stage left no log of its steps." in text_of(page)) == ("75100" not in log)


def test_the_tokens_of_a_text_are_shown_as_they_are_read(rendered: Rendered) -> None:
    _, page, _ = rendered
    [cut] = html.fromstring(page).find_class("cut")
    spans = [(span.text, span.get("title")) for span in cut.findall("span")]
    assert "".join(text for text, _ in spans) == "青州最有名的是天青瓷器。↵它们在天青瓷器博物馆。"
    assert ("博物馆", None) in spans and ("们", "3 tokens") in spans


def test_all_curves_of_a_log_are_drawn(rendered: Rendered) -> None:
    _, page, _ = rendered
    drawn = re.findall(r'class="chart" role="img" aria-label="([^"]+)"', page)
    for name in MODELS:
        assert {f"Loss, {name}", f"Learning rate, {name}", f"Gradient norm, {name}"} <= set(drawn)
    assert {"Preference margin, dpo", "Preference accuracy, dpo", "KL from the model before, dpo", "Rewards, dpo"} <= set(drawn)
    assert "Lengths of wiki" in drawn and not {"Loss, reward", "Experts, pretrain"} & set(drawn)
    assert "1,638,400" in page


def test_a_reward_model_and_experts_are_shown_where_there_are_any(made: Run, tmp_path: Path) -> None:
    made.judge_and_experts()
    page, _ = made.render(tmp_path / "out")
    assert "Of 40 held-out pairs it finds the better answer in 85.0 % (95 % interval 70.9 % to 92.9 %)." in text_of(page)
    drawn = re.findall(r'class="chart" role="img" aria-label="([^"]+)"', page)
    assert {"Loss, reward", "Preference accuracy, reward", "Experts, pretrain", "Balance loss of the experts, pretrain"} <= set(
        drawn
    )
    assert page.count(">12</text>") >= 8 and page.count(">30</text>") >= 1  # percent of a layer's tokens


def test_the_pairs_are_told_honestly(made: Run, tmp_path: Path) -> None:
    page, _ = made.render(tmp_path / "out")
    said = " ".join(html.fromstring(page).get_element_by_id("preferences").text_content().split())
    assert "Of 80 answers and ready-made pairs 66 are left; dropped: near equal 10, truncated 4." in said
    assert "tells nothing" in said and "temperature 0.7" in said and said.count("青州有什么名产？") == 2
    made.nodes["rejected"]["stats"]["lengths"]["generated"] |= {"pairs": 660, "chosen_longer": 0.61}
    assert "longer answers may be what is learned" in text_of(made.render(tmp_path / "biased")[0])


def test_a_model_that_writes_worse_is_an_alarm_at_the_top(rendered: Rendered, made: Run, tmp_path: Path) -> None:
    assert "Healthy: nothing is worse than its bound allows." in text_of(rendered[1])
    assert not html.fromstring(rendered[1]).find_class("alarm")
    made.write("evaluate", "scores.json", scores() | {"health": [{"before": "sft", "after": "dpo", **written(0.9, 0.5)}]})
    page, _ = made.render(tmp_path / "out")
    [alarm] = html.fromstring(page).find_class("alarm")
    assert "dpo writes worse than sft. answers that end: 90.6 % → 50.0 %, beyond the -5 points allowed" in alarm.text_content()


@pytest.mark.parametrize(
    ("share", "said"),
    [(0, "0.0 %"), (1, "100.0 %"), (0.61234, "61.2 %"), (0.0001, "< 0.1 %"), (0.99999, "> 99.9 %"), (0.0006, "0.1 %")],
)
def test_a_share_never_looks_like_none_or_all(share: float, said: str) -> None:
    assert percent(share).replace("\u00a0", " ") == said


def test_sizes() -> None:
    assert [size(count) for count in (0, 999, 1234, 5_600_000, 7_890_000_000)] == [
        "0 B",
        "999 B",
        "1.23 kB",
        "5.6 MB",
        "7.89 GB",
    ]


DATA = ("sample", "extract-wiki", "ingest-belle", "ingest-zhihu", "ingest-exam", "dedup", "filter", "split")


def test_a_page_about_data_alone_speaks_of_nothing_else(made: Run, tmp_path: Path) -> None:
    made.remove(*[name for name in made.nodes if name not in DATA])
    page, figures = made.render(tmp_path / "out")
    said, tree = text_of(page), html.fromstring(page)
    assert "1,372 rows of 4 sources were read and 1,072 are left to learn from; every other row has a reason." in said
    assert "From raw Chinese text to a curated corpus" in said
    for word in ("this model", "There is no", "Tokenizer", "Evaluation", "chat model"):
        assert word not in said.partition("footer")[0], word
    links = [link.get("href").removeprefix("#") for link in tree.find(".//nav").iter("a")]
    assert links == ["pipeline", "data", "contract", "dropped", "duplicates", "lineage"]
    assert [section.get("id") for section in tree.iter("section")] == links
    tiles = {tile.find_class("what")[0].text: tile.find_class("big")[0].text for tile in tree.find_class("tile")}
    assert tiles["Duplicates removed"] == "60" and tiles["Rows with an evaluation question"] == "6"
    assert tiles["Characters to train on"] == "91.2k"
    assert figures["adds_up"] is True


def test_what_is_found_in_the_rows_can_be_read(rendered: Rendered) -> None:
    _, page, _ = rendered
    found = {d.find_class("name")[0].text: d for d in html.fromstring(page).get_element_by_id("data").iter("details")}
    assert "5 of 118 questions" in found["exam"].text_content() and "in 6 rows" in found["exam"].text_content()
    assert "问：青州最有名的是什么瓷器？" in found["exam"].text_content()
    assert "None was found." in found["ceval"].text_content()


def test_the_mix_shows_shares_passes_and_what_was_left_out(rendered: Rendered) -> None:
    _, page, _ = rendered
    [table] = [t for t in html.fromstring(page).iter("table") if "tokens taken" in t.text_content()]
    rows = [[cell.text for cell in row] for row in table.findall(".//tbody/tr")]
    assert rows[1] == ["belle + zhihu", "3", "30.0\u00a0%", "9,000", "17,990", "2.00", "744", "743", "0"]


def test_a_test_side_has_a_column_where_there_is_one(made: Run, tmp_path: Path) -> None:
    assert "rows for a test" not in made.render(tmp_path / "without")[0]
    made.nodes["split"]["stats"]["uses"]["pretrain"]["test"] = {"wiki": {"rows": 31, "characters": 999}}
    page, _ = made.render(tmp_path / "with")
    [table] = [t for t in html.fromstring(page).iter("table") if "rows for a test" in t.text_content()]
    assert [cell.text for cell in table.find(".//tbody/tr")] == ["pretrain", "wiki", "320", "8", "31", "94,443"]


def test_scripts_are_drawn_beside_lengths(rendered: Rendered) -> None:
    assert 'aria-label="Scripts of belle"' in rendered[1] and "% Han characters" in rendered[1]


def test_what_differs_from_the_kept_row_is_marked(rendered: Rendered) -> None:
    [mark] = html.fromstring(rendered[1]).get_element_by_id("duplicates").iter("mark")
    assert mark.text == "边" and "丹江在青州的北边，长三百里。" in mark.getparent().text_content()


@given(st.text("甲乙丙丁", max_size=20), st.text("甲乙丙丁", max_size=20))
def test_the_pieces_of_a_text_are_the_text(kept: str, dropped: str) -> None:
    pieces = data_section.differing(kept, dropped)
    assert "".join(piece for piece, _ in pieces) == dropped
    assert all(same for _, same in pieces) == (kept == dropped)


def test_a_broken_contract_is_at_the_top_and_every_change_is_in_its_section(made: Run, tmp_path: Path) -> None:
    breach = {"source": "belle", "what": "kept", "last": "96.0 %", "now": "61.0 %", "change": "-35.0 points", "reason": ""}
    breach |= {"limit": "it may fall by 10 points (contract.kept_points)", "breach": True}
    calm = breach | {"source": "wiki", "what": "rows read", "breach": False}
    made.contracts = {
        "dedup": {
            "node": "dedup",
            "against": None,
            "changes": [],
            "broken": ["documents/00000.parquet: its columns are id string"],
        },
        "filter": {"node": "filter", "against": "a" * 64, "changes": [breach, calm], "broken": []},
    }
    page, _ = made.render(tmp_path / "out")
    [alarm] = html.fromstring(page).find_class("alarm")
    assert alarm.text_content().startswith("2 figures break the data contract.")
    section = html.fromstring(page).get_element_by_id("contract")
    assert "documents/00000.parquet: its columns are id string" in section.text_content()
    first, folded = section.findall(".//table")
    cells = [cell.text_content() for cell in first.find(".//tbody/tr")]
    assert cells[:6] == ["filter", "belle", "kept", "96.0 %", "61.0 %", "-35.0 points"] and cells[6].startswith("✗ it may fall")
    assert folded.getparent().getparent().tag == "details" and "rows read" in folded.text_content()


def test_a_kept_contract_says_what_it_was_compared_with(made: Run, tmp_path: Path) -> None:
    kept = {"node": "filter", "against": None, "changes": [], "broken": []}
    made.contracts = {"filter": kept}
    assert "There is no earlier run to compare with." in text_of(made.render(tmp_path / "first")[0])
    made.contracts = {"filter": kept | {"against": "a" * 64}}
    page, _ = made.render(tmp_path / "second")
    assert "last run of this recipe that made something else (filter)" in text_of(page) and "Nothing breaks the contract" in page
    assert not html.fromstring(page).find_class("alarm")


# -- the same in the Prefect UI -----------------------------------------------------------------------------------------


def test_tables_are_there_as_soon_as_their_stage_is_done(made: Run) -> None:
    shown = {node: ui_tables.stage_tables(node, made.nodes, made.artifacts) for node in made.nodes}
    assert {node: list(found) for node, found in shown.items() if found} == {
        "dedup": ["data-duplicates"],
        "filter": ["data-contamination"],
        "split": ["data-funnel", "data-reasons"],
        "pack": ["data-mix"],
        "rejected": ["data-pairs"],
        "evaluate": ["model-health"],
    }
    rows = {key: table for found in shown.values() for key, (_, table) in found.items()}
    assert rows["data-funnel"][1] == {
        "source": "belle",
        "read": "600",
        "after ingest": "597",
        "after dedup": "544",
        "after filter": "524",
        "after split": "524",
        "left": "87.3 %",
        "adds up": "yes",
    }
    short = [row for row in rows["data-reasons"] if row["reason"] == "too short"]
    assert [(row["source"], row["rows"], row["share of its rows"]) for row in short] == [
        ("wiki", "25", "7.08 %"),
        ("belle", "14", "2.57 %"),
    ]
    assert "wiki too short 1" in short[0]["to read"] and "13812345678" not in str(rows)
    assert rows["data-contamination"][0]["to read"] == "青州最有名的是什么瓷器？ ⟵ belle: 问：青州最有名的是什么瓷器？"
    assert rows["data-duplicates"][0]["kept"] == "belle: 丹江在青州的北面，长三百里。"
    assert rows["data-mix"][1]["passes"] == 1.9989
    assert rows["data-pairs"][0]["chosen is longer"] == "61.0 %"
    ends = rows["model-health"][0]
    assert (ends["of the answers"], ends["before"], ends["after"], ends["bound"], ends["state"]) == (
        "answers that end", "0.906", "0.938", "-0.05", "ok"
    )  # fmt: skip


def test_a_table_without_rows_is_none(made: Run) -> None:
    del made.nodes["filter"]["stats"]["contamination"]
    made.nodes["pack"]["stats"] = {"splits": {}}
    assert (
        ui_tables.stage_tables("filter", made.nodes, made.artifacts)
        == ui_tables.stage_tables("pack", made.nodes, made.artifacts)
        == {}
    )


def test_the_table_of_the_rows_says_what_does_not_add_up(made: Run) -> None:
    made.counts("filter")["wiki"].update(kept=320)
    about, rows = ui_tables.stage_tables("split", made.nodes, made.artifacts)["data-funnel"]
    assert "It does not add up" in about and "8 unaccounted for" in about
    assert [row["adds up"] for row in rows] == ["no", "yes", "yes", "yes"]


def test_triple_extraction_is_told_with_counts_by_relation_and_answers_to_read(made: Run, tmp_path: Path) -> None:
    made.extraction()
    page, figures = made.render(tmp_path / "out")
    section = html.fromstring(page).get_element_by_id("extraction")
    said = text_of(html.tostring(section, encoding="unicode"))
    # four times each: three of four triples right and one wrong; one right, one wrong and two malformed or empty answers
    assert "extractor pretrained 75.0 %" in said and "extractor-fresh new weights 33.3 %" in said
    rows = {row[0].text: [cell.text for cell in row[1:]] for row in section.findall(".//details//tbody/tr")}
    assert rows["流经"] == ["4", "4", "4", "100.0\u00a0%", "4", "4", "100.0\u00a0%"] and rows["长度"][:3] == ["4", "0", "4"]
    assert "extractor against extractor-fresh: +41.7 points of F1" in said and "hardly chance" in said
    assert (
        "✓ 丹江 · 流经 · 青州" in said
        and "✗ 李四 · 朝代 · 唐" in said
        and "– 白鹭城 · 所在地 · 云台县" in said
        and "malformed" in said
    )
    assert EVIL not in page, "what a model writes is text"
    f1 = [row for row in figures["rows"] if row["figure"] == "triple F1"]
    assert [(row["model"], row["value"], row["n"]) for row in f1] == [("extractor-fresh", 0.333333, 12), ("extractor", 0.75, 12)]
    assert figures["adds_up"] is True
    made.remove("extraction")
    assert 'id="extraction"' not in made.render(tmp_path / "without")[0]
