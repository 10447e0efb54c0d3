"""The cleaning stages drop from the sample corpus what was planted in it: that, for that reason, and nothing else."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest

from tasks import dedup, extract, ingest, sample
from tasks import filter as filters
from tasks.artifacts.stage import Job
from tests.sample_files import SIZE, written

# source in the stages → (format, files, names in plants.json)
SOURCES = {
    "zhwiki": ("wiki", "wiki/*.bz2", ["wiki"]),
    "zhihu": ("zhihu", "zhihu/*.parquet", ["zhihu"]),
    "belle": ("belle", "belle/*.json", ["belle", "belle_chat"]),
    "medical": ("medical", "medical/*.csv", ["medical"]),
    "alpaca": ("alpaca", "alpaca/*.json", ["alpaca"]),
    "huozi": ("preference", "preference/*.json", ["preference"]),
    "triples": ("triples", "triples/*.json", ["triples"]),
    "exam": ("exam", "exam/*.csv", ["exam"]),
}
# reason → what was planted for it, in each of these sources
COMMON = {
    "exact duplicate": "exact_duplicates",
    "near duplicate": "near_duplicates",
    "leaked evaluation question": "leaked_questions",
}
ROWS = COMMON | {"no answer": "empty_answers", "residual HTML": "html", "answer too short": "too_short"}
REASONS: dict[str, dict[str, str]] = {
    "wiki": COMMON
    | {
        "redirect": "redirects",
        "not an article": "other_namespaces",
        "no text": "deleted_texts",
        "disambiguation page": "disambiguations",
        "too short": "too_short",
        "not Chinese": "foreign",
    },
    "zhihu": ROWS,
    "belle": ROWS
    | {
        "no answer": "empty_answers missing_fields",
        "broken JSON": "broken_lines",
        "speaks as another model": "refusals",
        "table": "tables",
        "translation task": "translations",
    },
    "belle_chat": ROWS | {"broken JSON": "broken_lines", "unknown schema": "missing_fields"},
    "medical": ROWS | {"wrong number of columns": "wrong_cells"},
    "alpaca": ROWS | {"no answer": "empty_answers missing_fields", "translation task": "translations"},
    "preference": COMMON
    | {
        "residual HTML": "html",
        "chosen equals rejected": "identical_answers",
        "no chosen": "missing_fields",
        "no rejected": "empty_rejects",
    },
    "triples": {"broken JSON": "broken_lines", "no triples": "empty_lists"},
    "exam": {},
}
PERSONAL = {"phone": "phone_numbers", "id_number": "id_numbers", "email": "emails"}


@pytest.fixture(scope="module")
def cleaned(tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, int], dict[str, Counter[str]], dict[str, Any]]:
    """(plants, what all stages dropped of each source by reason, personal data by source)."""
    home = tmp_path_factory.mktemp("cleaned")

    def job(name: str) -> Job:
        return Job(out=home / name / "out", scratch=home / name / "scratch")

    sample.run(job("sample"), sample.Params(size=SIZE))
    raw, dropped, artifacts = home / "sample/out", {name: Counter[str]() for name in SOURCES}, {}
    for name, (kind, files, _) in SOURCES.items():
        found = sorted(raw.glob(files))
        if kind == "wiki":
            stats = extract.run(job(name), extract.Params(source=name), files=found)
        else:
            stats = ingest.run(job(name), ingest.Params(source=name, format=kind), files=found)
        dropped[name].update(stats["funnel"][name]["dropped"])
        artifacts[name] = home / name / "out"
    exam = {"exam": artifacts.pop("exam")}
    del artifacts["triples"]
    deduped = dedup.run(job("dedup"), dedup.Params(), sources=artifacts)
    filtered = filters.run(
        job("filter"), filters.Params(translations="drop", tables="drop"), rows=home / "dedup/out", questions=exam
    )
    for stats in (deduped, filtered):
        for name, funnel in stats["funnel"].items():
            dropped[name].update(funnel["dropped"])
    return written(raw, "plants"), dropped, filtered["personal_data"]


@pytest.mark.parametrize("source", SOURCES)
def test_dropped_is_what_was_planted(
    cleaned: tuple[dict[str, int], dict[str, Counter[str]], dict[str, Any]], source: str
) -> None:
    plants, dropped, _ = cleaned
    expected: Counter[str] = Counter()
    for prefix in SOURCES[source][2]:
        for reason, names in REASONS[prefix].items():
            expected[reason] += sum(plants.get(f"{prefix}_{name}", 0) for name in names.split())
    assert dropped[source] == +expected


def test_personal_data_is_found(cleaned: tuple[dict[str, int], dict[str, Counter[str]], dict[str, Any]]) -> None:
    plants, _, personal = cleaned
    for source in ("zhwiki", "zhihu", "belle", "medical", "alpaca", "huozi"):
        expected = {kind: sum(plants[f"{prefix}_{name}"] for prefix in SOURCES[source][2]) for kind, name in PERSONAL.items()}
        assert dict(personal[source]) == expected
