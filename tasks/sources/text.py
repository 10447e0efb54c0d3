"""Documents that are plain text already: a text file is one document, or several if it is long; JSON, Parquet and tables hold one a row."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tasks.data.rows import Drop, Row
from tasks.files.charset import charset, lines, not_decoded, too_long, undecoded
from tasks.files.opening import LONGEST, head_of, inside, what_is
from tasks.files.tables import suffix
from tasks.formats.fields import as_text, first_of, meta_of, unknown_schema
from tasks.formats.records import read_rows
from tasks.formats.registry import TABLES, Reader, Record
from tasks.formats.sniff import others, sniff, wrong_format

_TEXT = ("text", "content", "completion", "raw_content", "paragraphs")
_TITLE = ("title", "rhythmic", "chapter")
_META = ("path", "book", "chapter", "url", "date", "author")
_ROWS = (".json", ".jsonl", ".ndjson", ".csv", ".tsv")
_JSON = re.compile(rb'\s*(?:\[\s*)?\{\s*"')
_WHOLE = 1 << 20  # characters of one document; a longer file is cut where a paragraph ends


def read(path: Path) -> Iterator[Row | Drop]:
    """Documents, from files that may be compressed. Rows are known by their content, or by the file's name (.json, .csv and the like)."""
    start = inside(path)
    if head_of(path).startswith(b"PAR1") or _JSON.match(start.removeprefix(b"\xef\xbb\xbf")) or (start and suffix(path) in _ROWS):
        yield from read_rows(path, READER)
        return
    if what_is(start or head_of(path)) != "a text file" or ((sniffed := sniff(path)).records and others(sniffed, READER)):
        raise wrong_format(path, READER, "plain text")
    yield from _file(path)


def row(record: Record) -> Row | Drop:
    """A record with a text as a document, without a first line that repeats its title."""
    text = first_of(record, _TEXT)
    if text is None:
        return Drop("no text") if any(name in record for name in _TEXT) else unknown_schema(record)
    title = as_text(first_of(record, _TITLE)).strip()
    body = "\n".join(map(as_text, text)) if isinstance(text, list) else as_text(text)  # poems come line by line
    first, _, rest = body.lstrip().partition("\n")
    if title and first.strip() == title:  # wiki2019zh begins its texts with the title
        body = rest
    if not body.strip():
        return Drop("no text", "", title)
    return {"title": title, "text": body, "lang": "", "meta": meta_of(record, names=_META, length=1000)}


def _file(path: Path) -> Iterator[Row | Drop]:
    encoding, title = charset(path), path.name.split(".")[0]
    pieces: list[str] = []
    size = part = 0
    for number, line in enumerate(lines(path), start=1):
        if too_long(line):
            yield Drop("row too long", f"line {number} has more than {LONGEST >> 20} MB", encoding.decode(line[:1000]))
            continue
        text = encoding.decode(line).replace("\r\n", "\n").replace("\r", "\n")
        pieces.append(text)
        size += len(text)
        if size > _WHOLE and (not text.strip() or size > 2 * _WHOLE):
            part += 1
            yield _document(title, "".join(pieces), encoding.title, part)
            pieces, size = [], 0
    if pieces or not part:
        yield _document(title, "".join(pieces), encoding.title, part and part + 1)


def _document(title: str, text: str, encoding: str, part: int) -> dict[str, Any] | Drop:
    if not text.strip():
        return Drop("no text", "", title)
    if text.count("\0") > len(text) // 100:
        return Drop("binary data", f"part {part or 1}")
    if undecoded(text):
        return not_decoded(f"part {part or 1} is not in {encoding}", text)
    return {"title": title, "text": text, "lang": "", "meta": json.dumps({"part": part} if part else {})}


READER = Reader(
    description="plain text, or rows with a text column, as in wiki2019zh: text, content or completion",
    kind="documents",
    expects="a file with text, content or completion",
    rarity=10,
    row=row,
    read=read,
    containers=(*TABLES, "a text file"),
    named=True,  # a text file's title is its name
)
