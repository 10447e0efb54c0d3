"""The values of single examples by which two models are compared, row for row: `cases.json` of an evaluation.

    rows    {documents: [{id, source, bytes}], questions: [{id, source}], pairs: [{id, source, origin: ready | generated}], prompts: [{id, source}],
            facts: [{id, source}]}
    models  {name: {documents: [{bits, guess}], questions: [{correct}], pairs: [{preferred}], answers: [{stopped, empty, repetition}],
             facts: [{right}]}}

`guess` is what a document costs if all tokens are equally likely, in bits. A row's `id` is a hash of all that the models were given of it.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from tasks.artifacts.stage import canonical
from tasks.metrics.answers import repetition

Row = dict[str, Any]


def case_rows(rows: dict[str, list[Row]]) -> dict[str, list[Row]]:
    """The identity of each row: a hash of it, its source, and what its kind adds."""
    more: dict[str, Callable[[Row], Row]] = {
        "documents": lambda row: {"bytes": len(row["text"].encode("utf-8"))},
        "pairs": lambda row: {"origin": _origin(row)},
    }
    return {
        what: [{"id": _id(row), "source": row["source"]} | more.get(what, lambda row: {})(row) for row in of_kind]
        for what, of_kind in rows.items()
    }


def case_values(raw: dict[str, Any], asked: Sequence[Row]) -> dict[str, dict[str, list[Row]]]:
    """Each model's value of each row, from its raw scores, and its answers about the facts `asked`, each right or wrong."""
    return {
        name: {
            "documents": [
                {"bits": round(row["bits"], 6), "guess": round(row["tokens"] * math.log2(scores["stats"]["vocab_size"]), 6)}
                for row in scores["documents"]
            ],
            "questions": [{"correct": right} for right in scores["correct"]],
            "pairs": [{"preferred": pair["chosen"]["sum"] > pair["rejected"]["sum"]} for pair in scores["pairs"]],
            "facts": [{"right": row["right"][name]} for row in asked],
            "answers": [
                {
                    "stopped": row["end"] == "stop",
                    "empty": not row["text"].strip(),
                    "repetition": round(repetition(row["text"]), 6),
                }
                for row in scores["answers"]
            ],
        }
        for name, scores in raw.items()
    }


def write_questions(path: Path, questions: Sequence[Row], raw: dict[str, Any]) -> None:
    """A Parquet file with a row a question and model: what was right, what was picked, and the log-probability of each choice."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    text, number = pa.string(), pa.int32()
    columns = [
        ("id", text),
        ("source", text),
        ("subject", text),
        ("model", text),
        ("answer", number),
        ("picked", number),
        ("correct", pa.bool_()),
    ]
    schema = pa.schema([*columns, ("log_probabilities", pa.list_(pa.float64()))])
    rows = [
        {**{name: question[name] for name in ("id", "source", "subject", "answer")}, "model": model, "correct": right, **row}
        for model, result in raw.items()
        for question, row, right in zip(questions, result["questions"], result["correct"], strict=True)
    ]
    pq.write_table(pa.Table.from_pylist(rows, schema=schema), path, compression="zstd")


def _id(row: Row) -> str:
    return hashlib.sha256(canonical(row).encode()).hexdigest()[:16]


def _origin(pair: Row) -> str:
    return "generated" if json.loads(pair["meta"] or "{}").get("rejected_by") == "model" else "ready"
