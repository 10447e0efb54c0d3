"""Documents that are plain text already: a text file is one document, or one a paragraph or line; JSON, Parquet and tables hold one a row.

What is longer than a document may be becomes several, cut at chapters, paragraphs or sentences: nothing of it is lost.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

from tasks.data.rows import Drop, Row
from tasks.files.charset import Charset, charset, lines, not_decoded, too_long, undecoded
from tasks.files.opening import LONGEST, head_of, inside, what_is
from tasks.files.tables import suffix
from tasks.formats.fields import as_text, first_of, meta_of, unknown_schema
from tasks.formats.records import read_rows
from tasks.formats.registry import TABLES, Reader, Record
from tasks.formats.sniff import others, sniff, wrong_format
from tasks.text.pieces import first_piece, pieces

Cut = Literal["file", "blank line", "line"]

_TEXT = ("text", "content", "completion", "raw_content", "paragraphs", "正文", "内容", "段落")
_TITLE = ("title", "rhythmic", "chapter")
_META = ("path", "book", "chapter", "url", "date", "author")
_ROWS = (".json", ".jsonl", ".ndjson", ".csv", ".tsv")
_JSON = re.compile(rb'\s*(?:\[\s*)?\{\s*"')
_WHOLE = 200_000  # characters of one document, if nobody says how many


def read(path: Path, cut: Cut = "file", longest: int = _WHOLE) -> Iterator[Row | Drop]:
    """Documents, from files that may be compressed. Rows are known by their content, or by the file's name (.json, .csv and the like).

    `cut` says what a document of a text file is: the file, what stands between blank lines, or a line. A longer one than `longest` is several.
    """
    start = inside(path)
    if head_of(path).startswith(b"PAR1") or _JSON.match(start.removeprefix(b"\xef\xbb\xbf")) or (start and suffix(path) in _ROWS):
        yield from read_rows(path, READER)
        return
    if what_is(start or head_of(path)) != "a text file" or ((sniffed := sniff(path)).records and others(sniffed, READER)):
        raise wrong_format(path, READER, "plain text")
    yield from _file(path, cut, longest)


def row(record: Record) -> Row | Drop:
    """A record with a text as a document, without a first line that repeats its title."""
    text = first_of(record, _TEXT)
    if text is None:
        return Drop("no text") if any(name in record for name in _TEXT) else unknown_schema(record)
    title = as_text(first_of(record, _TITLE)).strip()
    if isinstance(text, list):  # poems come line by line, MNBVC in paragraphs {内容, …}
        lines = [first_of(line, _TEXT) if isinstance(line, dict) else line for line in text]
        if text and not any(isinstance(line, str) for line in lines):
            return unknown_schema(record)
        text = "\n".join(map(as_text, lines))
    body = as_text(text)
    first, _, rest = body.lstrip().partition("\n")
    if title and first.strip() == title:  # wiki2019zh begins its texts with the title
        body = rest
    if not body.strip():
        return Drop("no text", "", title)
    return {"title": title, "text": body, "lang": "", "meta": meta_of(record, names=_META, length=1000)}


def _file(path: Path, cut: Cut, longest: int) -> Iterator[Row | Drop]:
    encoding, title = charset(path), path.name.split(".")[0] if cut == "file" else ""
    held, part = "", 0  # a document without others is no part
    for text in _texts(path, encoding, cut, longest):
        if isinstance(text, Drop):
            yield text
        elif text.strip():
            if held:
                part += 1
                yield _document(title, held, encoding.title, part)
            held = text
    yield _document(title, held, encoding.title, part and part + 1)


def _texts(path: Path, encoding: Charset, cut: Cut, longest: int) -> Iterator[str | Drop]:
    """The texts of a file's documents, which joined are the file."""
    waiting = ""
    for number, line in enumerate(lines(path), start=1):
        if too_long(line):
            yield Drop("row too long", f"line {number} has more than {LONGEST >> 20} MB", encoding.decode(line[:1000]))
            continue
        text = encoding.decode(line).replace("\r\n", "\n").replace("\r", "\n")
        waiting += text
        if cut == "line" or (cut == "blank line" and not text.strip()):
            yield from pieces(waiting, longest)
            waiting = ""
        while len(waiting) > 2 * longest:
            end = first_piece(waiting, longest)
            yield waiting[:end]
            waiting = waiting[end:]
    yield from pieces(waiting, longest)


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
    cuts=True,
)
