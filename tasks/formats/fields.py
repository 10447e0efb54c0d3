"""The fields of a record: cells as text, the first of several names, and what is left over as `meta`."""

from __future__ import annotations

import contextlib
import json
import math
from collections.abc import Iterable
from typing import Any

from tasks.data.rows import Drop
from tasks.files.charset import undecoded

META = ("id", "category", "kind", "class", "dataset", "lang", "name", "department")
_json = json.JSONEncoder(ensure_ascii=False).encode
_META_LENGTH = 200  # characters: what is longer describes nothing


def as_text(value: Any) -> str:
    """A cell as text: null and NaN are empty, numbers are written out, anything nested is no text and counts as empty."""
    if isinstance(value, str):
        return value
    if isinstance(value, bytes):
        return "" if undecoded(text := value.decode("utf-8", "surrogateescape")) else text
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        return ""
    return str(value)


def from_json(value: Any) -> Any:
    """A list that a table has as JSON in a string, as that list; everything else as it is."""
    if isinstance(value, str) and value.lstrip()[:1] == "[":
        with contextlib.suppress(ValueError, RecursionError):
            return json.loads(value)
    return value


def first_of(record: dict[str, Any], names: Iterable[str]) -> Any:
    """The first of these fields that is there, else None."""
    for name in names:
        if record.get(name) is not None:
            return record[name]
    return None


def unknown_schema(record: dict[str, Any]) -> Drop:
    """The Drop of a record whose fields are those of another format."""
    return Drop("unknown schema", f"it has the fields {', '.join(map(str, record))}")


def meta_of(
    record: dict[str, Any], more: dict[str, Any] | None = None, names: Iterable[str] = META, length: int = _META_LENGTH
) -> str:
    """The column `meta` of a row, a JSON object: these fields of the record, where they are numbers or not too long, and `more`."""
    texts = {name: as_text(record[name]) for name in names if record.get(name) is not None}
    values = {
        name: text if isinstance(record[name], str | bytes) else record[name]
        for name, text in texts.items()
        if 0 < len(text) <= length
    }
    return _json({**values, **more} if more else values)
