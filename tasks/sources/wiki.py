"""MediaWiki XML exports, as dumps.wikimedia.org and Special:Export write them: one document an article, in raw wikitext.

Of a full history only the newest revision of a page is kept. Pages outside the article namespace, redirects, pages that are no wikitext and
pages too long for an article are Drops.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator
from dataclasses import dataclass
from json.encoder import encode_basestring
from pathlib import Path

from tasks.data.rows import Drop, Row
from tasks.files import dump
from tasks.formats.registry import Reader
from tasks.formats.sniff import wrong_format

BATCH = 16 << 20  # bytes of XML that are handed over at once where a file can only be read from its beginning

_HEAD = re.compile(rb"\s*<title>([^<]*)</title>\s*<ns>([^<]*)</ns>\s*<id>([^<]*)</id>")
_NUMBERS = re.compile(rb"<id>([0-9]{1,18})</id>.*?<timestamp>([^<]*)</timestamp>", re.DOTALL)
_MODEL, _WIKITEXT = re.compile(rb"<model>([^<]*)</model>"), b"<model>wikitext</model>"
_REDIRECT = re.compile(
    r"\s*#(?:redirect|重定向|重新導向|重新导向|転送|リダイレクト|넘겨주기)\s*[:：]?\s*\[\[([^\]\n]*)\]\]", re.IGNORECASE
)
_TARGET = re.compile(r'<redirect title="([^"]*)"')
_NUMBER = re.compile(r"&#(x[0-9a-fA-F]{1,8}|[0-9]{1,8});")


def read(path: Path, tolerate_truncation: bool = False) -> Iterator[Row | Drop]:
    """Articles: title, text (wikitext), lang "", meta {page, revision, timestamp}.

    A file that ends in mid-page or mid-stream raises BrokenFile; with `tolerate_truncation` the whole pages before the cut are kept and a
    Drop with the reason "file cut" stands for the rest.
    """
    yield from map(_row, _pages(path, tolerate_truncation=tolerate_truncation))


@dataclass(frozen=True)
class Stretch:
    """The rows of a stretch of a file, read by whoever iterates."""

    path: Path
    start: int
    end: int | None
    tolerate_truncation: bool

    def __iter__(self) -> Iterator[Row | Drop]:
        return map(_row, _pages(self.path, self.start, self.end, self.tolerate_truncation))


@dataclass(frozen=True)
class PageBatch:
    """The rows of pages that were found already, made by whoever iterates."""

    pages: list[dump.Page | Drop]

    def __iter__(self) -> Iterator[Row | Drop]:
        return map(_row, self.pages)


def article_batches(path: Path, tolerate_truncation: bool = False) -> Iterator[tuple[Stretch | PageBatch, bool]]:
    """The rows of a file in batches, each with whether it is the last: in stretches that workers read by themselves where the file can be entered in
    its middle (plain XML, multistream bz2), else in pages found here. The batches depend on the file's bytes alone."""
    starts: list[int | None] = [*dump.starts(path)]
    if starts:
        for start, end in itertools.pairwise([*starts, None]):
            yield Stretch(path, start or 0, end, tolerate_truncation), end is None
        return
    held: list[dump.Page | Drop] = []
    size = 0
    for page in _pages(path, tolerate_truncation=tolerate_truncation):
        if size >= BATCH:
            yield PageBatch(held), False
            held, size = [], 0
        held.append(page)
        size += 0 if isinstance(page, Drop) else len(page[0]) + len(page[1] or b"")
    yield PageBatch(held), True


def _pages(path: Path, start: int = 0, end: int | None = None, tolerate_truncation: bool = False) -> Iterator[dump.Page | Drop]:
    """`dump.pages`, with an error that says which format reads a file that is no export."""
    try:
        yield from dump.pages(path, start, end, tolerate_truncation)
    except dump.NoExport:
        raise wrong_format(path, READER) from None


def _row(page: dump.Page | Drop) -> Row | Drop:
    """A page as a row, or why it is none. What can be told from the bytes is, before anything is decoded."""
    if isinstance(page, Drop):
        return page
    head, revision, size = page
    fields = _HEAD.match(head)
    title, space, number = [part.decode("utf-8", "replace") for part in fields.groups()] if fields else _fields(head)
    title = unescape_xml(title).strip()
    if not title or not space:
        return Drop("incomplete page", "it has no <title>" if not title else "it has no <ns>", title)
    if space.strip() != "0":
        return Drop("not an article", f"namespace {space.strip()}", title)
    if b"<redirect" in head:
        target = _TARGET.search(head.decode("utf-8", "replace"))
        return Drop("redirect", unescape_xml(target.group(1)) if target else "", title)
    if revision is None:
        return Drop("incomplete page", "it has no whole <revision>", title)
    if size > dump.LONGEST:
        return Drop("page too long", f"{size:,} bytes", title)
    start = revision.find(b"<text")
    inner = revision.find(b">", start) + 1
    end = revision.find(b"</text>", inner)
    if start < 0 or end < 0:
        return Drop("no text", "deleted" if b'deleted="deleted"' in revision else "", title)
    if not revision.startswith(_WIKITEXT, revision.find(b"<model>"), start):
        model = _MODEL.search(revision, 0, start) or _MODEL.search(revision, end)
        if model and model.group(1) != b"wikitext":
            return Drop("not wikitext", model.group(1).decode("utf-8", "replace"), title)
    text = unescape_xml(revision[inner:end].decode("utf-8", "replace"))
    if "#" in text[:100] and (redirect := _REDIRECT.match(text)):
        return Drop("redirect", redirect.group(1), title)
    if not text or text.isspace():
        return Drop("no text", "", title)
    numbers = _NUMBERS.search(revision, 0, start)
    revised, stamp = [part.decode("utf-8", "replace") for part in numbers.groups()] if numbers else ("", None)
    meta = f'{{"page": {_json(number or None)}, "revision": {_json(revised or None)}, "timestamp": {_json(stamp)}}}'
    return {"title": title, "text": text, "lang": "", "meta": meta}


def _json(text: str | None) -> str:
    return "null" if text is None else encode_basestring(text)


def _fields(head: bytes) -> Iterator[str]:
    """Title, namespace and number of a page whose head is not in the usual order; "" for what it lacks."""
    text = head.decode("utf-8", "replace")
    for name in ("title", "ns", "id"):
        match = re.search(rf"<{name}>([^<]*)</{name}>", text)
        yield match.group(1) if match else ""


def unescape_xml(text: str) -> str:
    """XML's own entities only: `&amp;nbsp;` of the file is `&nbsp;` of the wikitext, which is not ours to resolve here."""
    if "&" not in text:
        return text
    text = text.replace("&lt;", "<").replace("&gt;", ">").replace("&quot;", '"').replace("&apos;", "'")
    if "&#" in text:
        text = _NUMBER.sub(_character, text)
    return text.replace("&amp;", "&")


def _character(match: re.Match[str]) -> str:
    """A numeric reference's character; the whole of it must be decimal or hexadecimal. Nothing for what Unicode lacks."""
    digits = match.group(1)
    number = int(digits[1:], 16) if digits[0] == "x" else int(digits)
    return chr(number) if 0 < number < 0x110000 and not 0xD800 <= number < 0xE000 else ""


READER = Reader(
    description="a MediaWiki XML export (.xml, .bz2, .gz, .xz, .zst)",
    kind="documents",
    expects="a MediaWiki export",
    containers=("a MediaWiki export",),
    rarity=100,
    read=read,
)
