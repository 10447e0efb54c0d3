"""Preference data: a prompt with a better and a worse answer, under the many names that sets give them, or with a ranking of answers."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tasks.rows import Drop, Kind
from tasks.sources import turns
from tasks.sources.opening import table_rows

KIND: Kind = "preferences"
NAMED = False

_CHOSEN = ("chosen", "response_chosen", "pos_resp", "accepted")
_REJECTED = ("rejected", "reject", "response_rejected", "neg_resp")


def read(path: Path) -> Iterator[dict[str, Any] | Drop]:
    """Pairs from a JSON array, JSON Lines, Parquet, CSV or TSV. Of ranked answers (`output`, best first) the first and the last are taken."""
    rows = (row if isinstance(row, Drop) else _row(row) for row in table_rows(path))
    yield from turns.known(path, rows, "a prompt, chosen and rejected, or output as a list")


def _row(record: dict[str, Any]) -> dict[str, Any] | Drop:
    chosen, rejected = turns.first_of(record, _CHOSEN), turns.first_of(record, _REJECTED)
    ranked = record.get("output")
    if chosen is None and rejected is None:
        if not isinstance(ranked, list):
            return Drop("unknown schema", f"it has the fields {', '.join(map(str, record))}")
        if len(ranked) < 2:
            return Drop("no rejected", f"{len(ranked)} ranked answers")
        chosen, rejected = ranked[0], ranked[-1]
    if (
        isinstance(chosen, list)
        and len(chosen) > 1
        and not any(name in record for name in ("prompt", "conversations", "question", "instruction"))
    ):
        record = {**record, "messages": chosen[:-1]}
    prompt = turns.prompt_of({name: value for name, value in record.items() if name != "output"})
    if isinstance(prompt, Drop):
        return prompt
    better, worse = _answer(chosen), _answer(rejected)
    good = turns.checked([*prompt, {"role": "assistant", "content": better}])
    if isinstance(good, Drop):
        return Drop("no chosen", good.detail, good.excerpt) if good.reason == "no answer" and not better else good
    if not worse:
        return Drop("no rejected", "", good[-2]["content"])
    if better == worse:
        return Drop("chosen equals rejected", "", good[-2]["content"])
    return {"messages": good[:-1], "chosen": better, "rejected": worse, "meta": turns.meta_of(record)}


def _answer(value: Any) -> str:
    """An answer as a string, as {from, value} or {role, content}, or as a dialogue that ends with it."""
    if isinstance(value, list):
        value = value[-1] if value else None
    if isinstance(value, dict):
        value = turns.first_of(value, ("value", "content", "text"))
    return turns.text_of(value).strip()
