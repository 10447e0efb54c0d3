"""Scores of every model of a run, on the same held-out rows, with what chance would give and how sure the figures are.

`scores.json`:

    protocol      how each figure was measured, in words
    reference     {accuracy, bits_per_byte, preference}: what guessing gives (bits: the same probability for every token)
    models        {name: {style, parameters, vocab_size, context, bits_per_byte, questions, preference, generation}}, in their order
      bits_per_byte  {all: {value, bytes, tokens, documents}, sources: {source: the same}}
      questions      {all: {n, correct, accuracy, low, high, chance}, sources: {source: the same}, subjects: {source: {subject: the same}}}
      preference     {n, accuracy, margin, accuracy_per_token, margin_per_token}; null for a base model
      facts          {all: as in questions, kinds: {kind of fact: the same}}: free answers with the right value in them, where facts are known
      generation     {n, stop_rate, empty, too_long, repetition, mean_characters, mean_tokens}
    comparisons   [{before, after, questions: {n, won, lost, p, accuracy_change}, bits_per_byte_change,
                    preference: {n, grew, margin_change, won, lost, p}}]
    health        [{before, after, n, verdict, problems, figures}] of each chat model after another one, as `tasks/metrics/health.py` says

`low` and `high` bound the 95 % Wilson interval. `p` is McNemar's exact test: how likely a split of won and lost questions (or pairs) at least
as uneven is, if neither model is better. A part without rows is null. `questions.parquet` has a row a question and model, `answers.json` and
`facts.json` are lists of `{source, messages, prompt, reference, answers: {model: text}, right: {model: true, false, or null: not known}}`;
`cases.json` has what `tasks/metrics/cases.py` says.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Iterator, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

from pydantic import Field

from tasks.artifacts.stage import Identity, Job, Stats, stage
from tasks.data.sampling import pick
from tasks.metrics import cases, facts
from tasks.metrics.answers import repetition
from tasks.metrics.health import Bounds, check_health
from tasks.metrics.intervals import mcnemar, wilson

STARTS = {"base": "the question and a line break", "chat": "the question as a user's turn"}


class Params(Identity):
    base: tuple[str, ...] = Field(
        default=("pretrain",), description="Models that know no turns: asked in plain text, not through the chat template"
    )
    max_questions: int = Field(default=2000, ge=0, description="Multiple-choice questions, a seeded sample; 0: all")
    max_documents: int = Field(default=256, ge=0, description="Held-out documents, a seeded sample; 0: all")
    document_characters: int = Field(default=2000, ge=1, description="Characters read of each held-out document, from its start")
    max_pairs: int = Field(default=256, ge=0, description="Held-out preference pairs, a seeded sample; 0: all")
    max_prompts: int = Field(default=64, ge=0, description="Held-out prompts that the models answer, a seeded sample; 0: all")
    max_facts: int = Field(
        default=256, ge=0, description="Known facts that the models are asked for in free words, a seeded sample; 0: all"
    )
    max_new_tokens: int = Field(default=128, ge=1, le=8192, description="Tokens after which an answer counts as not stopping")
    samples: int = Field(default=16, ge=0, description="Answers shown side by side")
    batch: int = Field(default=64, ge=1, le=4096, description="Prompts answered at a time")
    seed: int = Field(default=0, ge=0, lt=1 << 32, description="Seed of the samples")
    health: Bounds = Field(
        default_factory=Bounds, description="How much worse answers may become from one chat model to the next"
    )


@stage(
    "evaluate",
    version=6,
    title="Scores of every model",
    params=Params,
    group="result",
    tools=("torch", "transformers"),
    reproducibility="seeded",
)
def run(
    job: Job,
    params: Params,
    *,
    models: dict[str, Path],
    rows: Path | None = None,
    pairs: Path | None = None,
    questions: dict[str, Path] | None = None,
    known: list[Path] | None = None,
) -> Stats:
    """Score the models in their order and write `scores.json`, `questions.parquet`, `answers.json`, `facts.json` and `cases.json`.

    `known` are files of facts that the rows tell (see `tasks/metrics/facts.py`). `ValueError` without a model.
    """
    if not models:
        raise ValueError("evaluate has no model to score; switch on a training stage in the recipe")
    world = facts.Facts(known or [])
    rows_of = _scored_rows(params, rows, pairs, questions or {}) | {"facts": world.prompts(params.max_facts, params.seed)}
    styles = {name: "base" if name in params.base else "chat" for name in models}
    raw = _score(job, params, models, styles, rows_of)
    asked = world.side_by_side(rows_of["facts"], {name: result["facts"] for name, result in raw.items()})

    names = list(models)
    scores: dict[str, Any] = {
        "protocol": _protocol(params, rows_of),
        "reference": _reference(rows_of, raw[names[0]]),
        "models": {name: _summary(rows_of, result) | {"facts": facts.tally(asked, name)} for name, result in raw.items()},
        "comparisons": [compare(before, after, raw[before], raw[after]) for before, after in pairwise(names)],
        "health": [
            {"before": before, "after": after, **health}
            for before, after in pairwise(name for name in names if styles[name] == "chat")
            if (health := check_health(raw[before]["answers"], raw[after]["answers"], params.health))
        ],
    }
    for one in scores["health"]:
        job.log(f"answers of {one['after']} against {one['before']}: {'; '.join([one['verdict'], *one['problems']])}")
    _write_json(job.out / "scores.json", scores)
    shown = rows_of["prompts"][: params.samples]
    _write_json(job.out / "answers.json", world.side_by_side(shown, {name: result["answers"] for name, result in raw.items()}))
    _write_json(job.out / "facts.json", asked)
    cases.write_questions(job.out / "questions.parquet", rows_of["questions"], raw)
    _write_json(job.out / "cases.json", {"rows": cases.case_rows(rows_of), "models": cases.case_values(raw, asked)})
    return {what: scores[what] for what in ("models", "comparisons", "health")}


def _score(
    job: Job, params: Params, models: dict[str, Path], styles: dict[str, str], rows_of: dict[str, list[dict[str, Any]]]
) -> dict[str, dict[str, Any]]:
    """The child's raw scores of every model, with whether each question was answered right."""
    from tasks.processes import runner

    homes = {
        name: job.shard_home(job.shard_key("score", name, params.model_dump(mode="json", exclude={"health"}))) for name in models
    }
    model_jobs = [
        {"name": name, "folder": str(folder), "style": styles[name], "home": str(homes[name])} for name, folder in models.items()
    ]
    settings = {
        "models": model_jobs,
        "max_new_tokens": params.max_new_tokens,
        "batch": params.batch,
        "device": job.resources.device,
    }
    job_file = job.scratch / "score.json"
    job_file.write_text(json.dumps(settings | _job_files(job, rows_of)), "utf-8")
    runner.run("models.score", job_file, job=job)
    raw = {name: _read(home) for name, home in homes.items()}
    for name, result in raw.items():
        result["correct"] = [
            row["picked"] == question["answer"] for row, question in zip(result["questions"], rows_of["questions"], strict=True)
        ]
        result["style"] = styles[name]
    return raw


def _scored_rows(
    params: Params, rows: Path | None, pairs: Path | None, questions: dict[str, Path]
) -> dict[str, list[dict[str, Any]]]:
    """The rows that every model is scored on."""
    from tasks.data.rows import files, read

    documents = _documents(rows, params) if rows else []
    held_out = [path for use in ("prompts", "sft") if rows and (path := rows / use / "valid.parquet").exists()]
    prompts: list[dict[str, Any]] = []
    for path in held_out:
        prompts = prompts or pick(read([path]), params.max_prompts, params.seed)
    return {
        "documents": documents,
        "questions": pick(_answered(read(files(*questions.values(), kind="questions"))), params.max_questions, params.seed),
        "pairs": pick(read([pairs / "preferences" / "valid.parquet"]), params.max_pairs, params.seed) if pairs else [],
        "prompts": [
            {"source": row["source"], "messages": row["messages"][:-1], "reference": row["messages"][-1]["content"]}
            for row in prompts
            if row["messages"][-1]["role"] == "assistant" and len(row["messages"]) > 1
        ],
    }


def _answered(questions: Iterable[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """The questions that can be scored: those without an answer serve decontamination alone."""
    return (question for question in questions if question["answer"] is not None)


def _documents(rows: Path, params: Params) -> list[dict[str, Any]]:
    """Held-out texts to predict; of a run that only pretrains text-to-text, the answers to held-out prompts."""
    from tasks.data.rows import read
    from tasks.data.tokens import text_of

    path = rows / "pretrain" / "valid.parquet"
    if path.exists():
        texts = pick(read([path]), params.max_documents, params.seed)
        return [{"source": row["source"], "text": text_of(row)[: params.document_characters]} for row in texts]
    path = rows / "text2text" / "valid.parquet"
    pairs = pick(read([path]), params.max_documents, params.seed) if path.exists() else []
    return [
        {
            "source": row["source"],
            "prompt": row["messages"][0]["content"],
            "text": row["messages"][1]["content"][: params.document_characters],
        }
        for row in pairs
        if len(row["messages"]) == 2
    ]


def _job_files(job: Job, rows_of: dict[str, list[dict[str, Any]]]) -> dict[str, str]:
    """The rows as JSON lines for the child."""
    paths = {what: job.scratch / f"{what}.jsonl" for what in rows_of}
    for what, lines in rows_of.items():
        with paths[what].open("w", encoding="utf-8") as target:
            for row in lines:
                target.write(json.dumps(row, ensure_ascii=False) + "\n")
    return {what: str(path) for what, path in paths.items()}


def _read(home: Path) -> dict[str, Any]:
    return {path.stem: json.loads(path.read_text("utf-8")) for path in sorted(home.glob("*.json"))}


def _protocol(params: Params, rows_of: dict[str, list[dict[str, Any]]]) -> dict[str, Any]:
    return {
        "bits_per_byte": f"minus log2 of the probability of the first {params.document_characters} characters of held-out documents, over their "
        "bytes in UTF-8; each after the end-of-document token, in windows that move on by half a context",
        "questions": "zero-shot; the choice whose text is the likeliest continuation (log-probability per character) of "
        + "; ".join(f"{style} model: {start}" for style, start in STARTS.items()),
        "preference": "log-probability of the chosen minus that of the rejected answer (nats), each with its end of turn; accuracy: share above 0",
        "facts": f"free answers, greedy, at most {params.max_new_tokens} tokens; right: the right value stands in the answer, letter by letter, and "
        "no other value of that kind of fact",
        "generation": f"greedy, at most {params.max_new_tokens} tokens; a base model continues the last question and a line break",
        "seed": params.seed,
        "rows": {what: len(lines) for what, lines in rows_of.items()},
    }


def _reference(rows_of: dict[str, list[dict[str, Any]]], first: dict[str, Any]) -> dict[str, Any]:
    """The scores of guessing. Of bits per byte: what the first model's tokens cost if all in its vocabulary are equally likely."""
    size, tokens = (sum(row[what] for row in first["documents"]) for what in ("bytes", "tokens"))
    return {
        "accuracy": _tally(rows_of["questions"], [False] * len(rows_of["questions"]))["chance"] if rows_of["questions"] else None,
        "bits_per_byte": _round(tokens * math.log2(first["stats"]["vocab_size"]) / size) if size else None,
        "preference": 0.5 if rows_of["pairs"] else None,
    }


def _summary(rows_of: dict[str, list[dict[str, Any]]], result: dict[str, Any]) -> dict[str, Any]:
    return {
        "style": result["style"],
        **result["stats"],
        "bits_per_byte": _bits(rows_of["documents"], result["documents"]),
        "questions": _questions(rows_of["questions"], result["correct"]),
        "preference": _preference(result["pairs"]),
        "generation": _generation(result["answers"]),
    }


def _bits(documents: Sequence[dict[str, Any]], scored: Sequence[dict[str, Any]]) -> dict[str, Any] | None:
    def total(rows: Sequence[dict[str, Any]]) -> dict[str, Any]:
        size, tokens = (sum(row[what] for row in rows) for what in ("bytes", "tokens"))
        return {
            "value": _round(sum(row["bits"] for row in rows) / max(1, size)),
            "bytes": size,
            "tokens": tokens,
            "documents": len(rows),
        }

    if not documents:
        return None
    groups = _grouped([document["source"] for document in documents], scored)
    return {"all": total(scored), "sources": {source: total(rows) for source, rows in groups.items()}}


def _questions(questions: Sequence[dict[str, Any]], correct: Sequence[bool]) -> dict[str, Any] | None:
    if not questions:
        return None
    answered = list(zip(questions, correct, strict=True))
    sources = _grouped([question["source"] for question in questions], answered)
    subjects = {name: _grouped([question["subject"] for question, _ in rows], rows) for name, rows in sources.items()}

    def tally(rows: Sequence[tuple[dict[str, Any], bool]]) -> dict[str, Any]:
        return _tally([question for question, _ in rows], [right for _, right in rows])

    return {
        "all": _tally(questions, correct),
        "sources": {source: tally(rows) for source, rows in sources.items()},
        "subjects": {source: {subject: tally(rows) for subject, rows in groups.items()} for source, groups in subjects.items()},
    }


def _tally(questions: Sequence[dict[str, Any]], correct: Sequence[bool]) -> dict[str, Any]:
    n, right = len(questions), sum(correct)
    low, high = wilson(right, n)
    chance = sum(1 / len(question["choices"]) for question in questions) / n
    shares = {"accuracy": right / n, "low": low, "high": high, "chance": chance}
    return {"n": n, "correct": right} | {name: _round(value) for name, value in shares.items()}


def _preference(pairs: Sequence[dict[str, Any]]) -> dict[str, Any] | None:
    if not pairs:
        return None
    sums, means = _margins(pairs), [_per_token(pair["chosen"]) - _per_token(pair["rejected"]) for pair in pairs]
    return {
        "n": len(pairs),
        "accuracy": _share(margin > 0 for margin in sums),
        "margin": _mean(sums),
        "accuracy_per_token": _share(margin > 0 for margin in means),
        "margin_per_token": _mean(means),
    }


def _generation(answers: Sequence[dict[str, Any]]) -> dict[str, Any] | None:
    if not answers:
        return None
    return {
        "n": len(answers),
        "stop_rate": _share(answer["end"] == "stop" for answer in answers),
        "empty": _share(not answer["text"].strip() for answer in answers),
        "too_long": _share(answer["end"] == "too_long" for answer in answers),
        "repetition": _mean([repetition(answer["text"]) for answer in answers]),
        "mean_characters": _mean([len(answer["text"]) for answer in answers]),
        "mean_tokens": _mean([answer["tokens"] for answer in answers]),
    }


def compare(before: str, after: str, old: dict[str, Any], new: dict[str, Any]) -> dict[str, Any]:
    """One model against the one before it, on the same rows."""
    comparison: dict[str, Any] = {
        "before": before,
        "after": after,
        "questions": None,
        "bits_per_byte_change": None,
        "preference": None,
    }
    if new["correct"]:
        won = sum(now and not then for then, now in zip(old["correct"], new["correct"], strict=True))
        lost = sum(then and not now for then, now in zip(old["correct"], new["correct"], strict=True))
        n = len(new["correct"])
        comparison["questions"] = {
            "n": n,
            "won": won,
            "lost": lost,
            "p": _round(mcnemar(won, lost)),
            "accuracy_change": _round((won - lost) / n),
        }
    if size := sum(row["bytes"] for row in new["documents"]):
        bits = [sum(row["bits"] for row in rows) for rows in (old["documents"], new["documents"])]
        comparison["bits_per_byte_change"] = _round((bits[1] - bits[0]) / size)
    if old["pairs"] and new["pairs"]:
        changes = [now - then for then, now in zip(_margins(old["pairs"]), _margins(new["pairs"]), strict=True)]
        right = [[margin > 0 for margin in _margins(one["pairs"])] for one in (old, new)]
        won = sum(now and not then for then, now in zip(*right, strict=True))
        lost = sum(then and not now for then, now in zip(*right, strict=True))
        comparison["preference"] = {
            "n": len(changes),
            "grew": _share(change > 0 for change in changes),
            "margin_change": _mean(changes),
            "won": won,
            "lost": lost,
            "p": _round(mcnemar(won, lost)),
        }
    return comparison


def _margins(pairs: Sequence[dict[str, Any]]) -> list[float]:
    return [pair["chosen"]["sum"] - pair["rejected"]["sum"] for pair in pairs]


def _per_token(side: dict[str, Any]) -> float:
    return side["sum"] / side["tokens"]


def _mean(values: Sequence[float]) -> float:
    return _round(sum(values) / len(values))


def _share(hits: Iterable[bool]) -> float:
    return _mean([float(hit) for hit in hits])


def _round(value: float) -> float:
    return round(value, 6)


def _grouped(names: Sequence[str], rows: Sequence[Any]) -> dict[str, list[Any]]:
    groups: dict[str, list[Any]] = {name: [] for name in sorted(set(names))}
    for name, row in zip(names, rows, strict=True):
        groups[name].append(row)
    return groups


def _write_json(path: Path, value: object) -> None:
    path.write_text(json.dumps(value, ensure_ascii=False, indent=1) + "\n", "utf-8")
