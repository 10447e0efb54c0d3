"""The report page's section on triple extraction, made ready for its template: each triple right or wrong, and those that were missed."""

from __future__ import annotations

from typing import Any

from tasks.text import relations
from tasks.text.relations import Triple

WHO = {"extractor": "pretrained", "extractor-fresh": "new weights"}  # what was tuned for the task


def compared_answers(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Texts with what they state and what each model said: `said` is (triple, whether it is right), or None where the answer is malformed."""
    texts = []
    for row in rows:
        truth = [_triple(one) for one in row["reference"]]
        models = {}
        for name, answer in row["answers"].items():
            triples = None if answer["triples"] is None else [_triple(one) for one in answer["triples"]]
            right = {relations.normal_form(one) for one in truth}
            got = {relations.normal_form(one) for one in triples or ()}
            models[name] = {
                "text": answer["text"],
                "said": None if triples is None else [(one, relations.normal_form(one) in right) for one in triples],
                "missed": [one for one in truth if relations.normal_form(one) not in got],
            }
        texts.append({"source": row["source"], "text": row["text"], "truth": truth, "models": models})
    return texts


def _triple(one: list[str]) -> Triple:
    subject, predicate, obj = one
    return subject, predicate, obj


def triple_tiles(scores: dict[str, Any]) -> list[dict[str, str]]:
    """The last model's figure, for the top of the page."""
    if not scores:
        return []
    name, last = list(scores["models"].items())[-1]
    others = [f"{WHO.get(other, other)}: {100 * one['f1']:.1f} %" for other, one in scores["models"].items() if other != name]
    return [
        {
            "what": "Triples found (F1)",
            "big": f"{100 * last['f1']:.1f}\u00a0%",
            "more": "; ".join([*others, f"of {last['true']:,} triples in {last['texts']:,} texts"]),
        }
    ]


def triple_figures(scores: dict[str, Any]) -> list[dict[str, Any]]:
    """Rows for the table of key figures."""
    rows = []
    for name, score in scores.get("models", {}).items():
        rows.append(
            {
                "figure": "triple F1",
                "model": name,
                "value": score["f1"],
                "low": score["low"],
                "high": score["high"],
                "n": score["texts"],
            }
        )
        for figure in ("precision", "recall"):
            rows.append(
                {
                    "figure": f"triple {figure}",
                    "model": name,
                    "value": score[figure],
                    "low": None,
                    "high": None,
                    "n": score["texts"],
                }
            )
        malformed = {"figure": "malformed answers", "model": name, "value": score["malformed"]}
        rows.append(malformed | {"low": None, "high": None, "n": score["texts"]})
    return rows
