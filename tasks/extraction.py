"""Scores of triple extraction: each model answers the held-out texts, greedily, and its triples are counted against those the texts state.

`scores.json`:

    protocol     how each figure was measured, in words
    models       {name: {texts, malformed, right, said, true, precision, recall, f1, low, high, relations: {predicate: the same but low, high}}}
    comparisons  [{before, after, f1_change, low, high}]

All counts are exact. A malformed answer, one that is no list of triples, says nothing, so all its triples are missed. `low` and `high` bound the
95 % interval of F1 and of its change, by a bootstrap over texts. `answers.json` has `{source, text, reference, answers: {model: {text, triples}}}`
for the first texts; `triples` are what was read out of an answer, null where it is malformed.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

from pydantic import Field

from tasks.artifacts.stage import Identity, Job, Stats, stage
from tasks.data.sampling import pick
from tasks.text import relations
from tasks.text.relations import TripleScore

DRAWS = 1000  # of the bootstrap (Efron 1979)


class Params(Identity):
    max_rows: int = Field(default=2000, ge=0, le=10_000_000, description="Texts to score on, a seeded sample; 0: all")
    max_new_tokens: int = Field(
        default=256, ge=1, le=8192, description="Tokens after which an answer is cut off, and so malformed"
    )
    batch: int = Field(default=32, ge=1, le=4096, description="Texts answered at a time")
    samples: int = Field(default=12, ge=0, le=1000, description="Texts whose answers are kept to be read")
    seed: int = Field(default=0, ge=0, lt=1 << 32, description="Seed of the samples")


@stage(
    "extraction",
    version=3,
    title="Scores of triple extraction",
    params=Params,
    group="result",
    tools=("torch", "transformers"),
    reproducibility="seeded",
)
def run(job: Job, params: Params, *, models: dict[str, Path], rows: Path) -> Stats:
    """Score the models in their order on `rows/scored/rows.parquet`."""
    from tasks.data.triples import asked

    held_out = list(asked(rows / "scored" / "rows.parquet"))
    truth_of = {row["id"]: truth for row, truth in held_out}
    texts = pick((row for row, _ in held_out), params.max_rows, params.seed)
    truth = [truth_of[row["id"]] for row in texts]
    answers = {name: _answers(job, params, name, folder, texts) for name, folder in models.items()}
    scores = scored(params, answers, truth)
    _write(job.out / "scores.json", scores)
    _write(
        job.out / "answers.json",
        [_to_read(row, truth[place], answers, place) for place, row in enumerate(texts[: params.samples])],
    )
    summary = {
        name: {key: value for key, value in score.items() if key != "relations"} for name, score in scores["models"].items()
    }
    return {"models": summary, "comparisons": scores["comparisons"]}


def scored(params: Params, answers: dict[str, list[str]], truth: Sequence[list[relations.Triple]]) -> dict[str, Any]:
    """`scores.json`: what each model wrote (in the order of the texts) against what the texts state."""
    counted = {name: relations.score_each(texts, truth) for name, texts in answers.items()}
    return {
        "protocol": {
            "answers": f"greedy, at most {params.max_new_tokens} tokens",
            "figures": "micro, over the set of (subject, predicate, object) of each text, blind to case and width; a malformed answer says nothing",
            "intervals": f"95 %, a bootstrap of {DRAWS:,} draws over texts",
            "seed": params.seed,
        },
        "models": {
            name: _figures(relations.total(counts))
            | dict(zip(("low", "high"), interval(counts, seed=params.seed), strict=True))
            | {"relations": {p: _figures(one) for p, one in relations.by_relation(answers[name], truth).items()}}
            for name, counts in counted.items()
        },
        "comparisons": [
            {"before": before, "after": after, "f1_change": _round(_f1(counted[after]) - _f1(counted[before]))}
            | dict(zip(("low", "high"), interval(counted[after], counted[before], seed=params.seed), strict=True))
            for before, after in pairwise(answers)
        ],
    }


def _answers(job: Job, params: Params, name: str, model: Path, texts: Sequence[dict[str, Any]]) -> list[str]:
    """One model's answers, in the order of the texts. Each finished batch of them survives a kill."""
    from tasks.processes import runner

    prompts, out, job_file = (job.scratch / f"{what}-{name}" for what in ("prompts.jsonl", "answers", "generate.json"))
    lines = [json.dumps({"messages": row["messages"][:-1]}, ensure_ascii=False) + "\n" for row in texts]
    prompts.write_text("".join(lines), "utf-8")
    settings = {
        "temperatures": [0.0],
        "top_p": 1.0,
        **params.model_dump(mode="json", include={"max_new_tokens", "batch", "seed"}),
    }
    places = {"model": str(model), "prompts": str(prompts), "out": str(out), "device": job.resources.device}
    job_file.write_text(json.dumps(settings | places), "utf-8")
    runner.run("models.generate", job_file, job=job)
    answers = [""] * len(texts)
    for path in out.glob("*.jsonl"):
        with path.open(encoding="utf-8") as file:
            for answer in map(json.loads, file):
                answers[answer["prompt"]] = answer["text"]
    return answers


def _f1(counts: Sequence[TripleScore]) -> float:
    return relations.total(counts).f1


def interval(counts: Sequence[TripleScore], less: Sequence[TripleScore] | None = None, *, seed: int) -> tuple[float, float]:
    """The middle 95 % of F1 (of what it is above that of `less`, on the same texts) over texts drawn with replacement."""
    import numpy as np

    if not counts:
        return 0.0, 0.0
    drawn = np.random.default_rng(seed).multinomial(len(counts), [1 / len(counts)] * len(counts), size=DRAWS)

    def f1(scores: Sequence[TripleScore]) -> Any:
        right, said, true = (
            drawn @ np.array(column) for column in zip(*((s.right, s.said, s.true) for s in scores), strict=True)
        )
        return 2 * right / np.maximum(1, said + true)

    low, high = np.percentile(f1(counts) - (f1(less) if less else 0.0), (2.5, 97.5))
    return _round(float(low)), _round(float(high))


def _figures(score: TripleScore) -> dict[str, Any]:
    shares = {name: _round(getattr(score, name)) for name in ("precision", "recall", "f1")}
    return {name: getattr(score, name) for name in ("texts", "malformed", "right", "said", "true")} | shares


def _to_read(row: dict[str, Any], truth: list[relations.Triple], answers: dict[str, list[str]], place: int) -> dict[str, Any]:
    prompt = relations.extraction_prompt("\x00")
    text = row["messages"][0]["content"].removeprefix(prompt.partition("\x00")[0])
    parsed = {name: {"text": texts[place], "triples": relations.parse_triples(texts[place])} for name, texts in answers.items()}
    return {"source": row["source"], "text": text, "reference": truth, "answers": parsed}


def _round(value: float) -> float:
    return round(value, 6)


def _write(path: Path, value: object) -> None:
    path.write_text(json.dumps(value, ensure_ascii=False, indent=1) + "\n", "utf-8")
