"""Chinese medical dialogue: CSV of department, title, ask, answer, in GB18030 as published."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tasks.rows import BrokenFile, Drop, Kind
from tasks.sources.opening import csv_rows
from tasks.sources.turns import checked, meta_of
from tasks.sources.webtext import question

KIND: Kind = "conversations"
NAMED = False


def read(path: Path) -> Iterator[dict[str, Any] | Drop]:
    """Dialogues of one turn: title and question (once, where one holds the other), then the answer; meta: department."""
    for row in csv_rows(path):
        if isinstance(row, Drop):
            yield row
            continue
        missing = [name for name in ("ask", "answer") if name not in row]
        if missing:
            raise BrokenFile(
                path,
                f"it lacks the columns {', '.join(missing)}; it has {', '.join(row)[:200]}",
                "give the source another format",
            )
        turns = checked(
            [
                {"role": "user", "content": question(row.get("title", ""), row["ask"])},
                {"role": "assistant", "content": row["answer"]},
            ]
        )
        yield turns if isinstance(turns, Drop) else {"messages": turns, "meta": meta_of(row)}
