"""Documents that are plain text already: a text file is one document; JSON, JSON Lines and Parquet hold one a row."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tasks.rows import BrokenFile, Drop, Kind
from tasks.sources.opening import cut_is_broken, decompressed, encoding_of, head_of, json_rows, parquet_rows, what_is
from tasks.sources.turns import first_of, known, text_of

KIND: Kind = "documents"
NAMED = True  # a text file's title is its name

_TEXT = ("text", "content", "completion", "raw_content")
_META = ("path", "book", "chapter", "url", "date", "author")
_LONGEST = 256 << 20  # characters: a longer text file is a corpus, not a document


def read(path: Path) -> Iterator[dict[str, Any] | Drop]:
    """Documents, from files that may be compressed. JSON is known by its name (.json, .jsonl, with .gz and the like), Parquet by its content."""
    suffixes = [suffix.lower() for suffix in path.suffixes]
    if head_of(path).startswith(b"PAR1"):
        yield from known(path, map(_row, parquet_rows(path)), "text or content")
    elif any(suffix in (".json", ".jsonl", ".ndjson") for suffix in suffixes):
        rows = (row if isinstance(row, Drop) else _row(row) for row in json_rows(path))
        yield from known(path, rows, "text or content")
    else:
        yield _file(path)


def _row(record: dict[str, Any]) -> dict[str, Any] | Drop:
    text = first_of(record, _TEXT)
    if text is None:
        empty = any(name in record for name in _TEXT)
        return Drop("no text") if empty else Drop("unknown schema", f"it has the fields {', '.join(map(str, record))}")
    title, body = text_of(record.get("title")).strip(), text_of(text)
    if not body.strip():
        return Drop("no text", "", title)
    meta = {name: record[name] for name in _META if isinstance(record.get(name), str | int | float)}
    return {"title": title, "text": body, "lang": "", "meta": json.dumps(meta, ensure_ascii=False)}


def _file(path: Path) -> dict[str, Any] | Drop:
    encoding = encoding_of(path)
    with cut_is_broken(path), decompressed(path) as file, io.TextIOWrapper(file, encoding, "strict") as opened:
        text = opened.read(_LONGEST + 1)
    if len(text) > _LONGEST:
        raise BrokenFile(path, "it is one text of more than 256 million characters", "write one document a line, as JSON Lines")
    if "\0" in text:
        raise BrokenFile(path, f"text was expected, but it is {what_is(head_of(path))}")
    title = path.name.split(".")[0]
    return {"title": title, "text": text, "lang": "", "meta": "{}"} if text.strip() else Drop("no text", "", title)
