"""MediaWiki XML exports, as dumps.wikimedia.org and Special:Export write them: one document an article, in raw wikitext.

A page is found by its tags, which cannot occur inside it because the export escapes them; this is several times as fast as an XML parser and
holds one revision in memory. Of a full history only the newest revision of a page is kept. Pages outside the article namespace, redirects
and pages that are no wikitext are Drops.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from io import BufferedReader
from pathlib import Path
from typing import Any

from tasks.rows import BrokenFile, Drop, Kind
from tasks.sources.opening import CHUNK, CUT, decompressed, what_is

KIND: Kind = "documents"
NAMED = False

_TOKEN = re.compile(rb"</?(?:page|revision)>|</mediawiki>")
_REVISION = re.compile(r"<id>(\d+)</id>.*?<timestamp>([^<]*)</timestamp>", re.DOTALL)
_TEXT = re.compile(r"<text([^>]*)>(.*?)</text>", re.DOTALL)
_MODEL = re.compile(r"<model>([^<]*)</model>")
_REDIRECT = re.compile(
    r"\s*#(?:redirect|重定向|重新導向|重新导向|転送|リダイレクト|넘겨주기)\s*[:：]?\s*\[\[([^\]\n]*)\]\]", re.IGNORECASE
)
_TARGET = re.compile(r'<redirect title="([^"]*)"')
_NUMBER = re.compile(r"&#(x[0-9a-fA-F]+|\d+);")


def read(path: Path, tolerate_truncation: bool = False) -> Iterator[dict[str, Any] | Drop]:
    """Articles: title, text (wikitext), lang "", meta {page, revision, timestamp}.

    A file that ends in mid-page or mid-stream raises BrokenFile; with `tolerate_truncation` the whole pages before the cut are kept and a
    Drop with the reason "file cut" stands for the rest.
    """
    pages, scan = 0, _Scan(path)
    try:
        with decompressed(path) as file:
            for head, revision in scan.pages(file):
                pages += 1
                yield _article(head, revision)
        cut = "" if scan.ended else "it ends without </mediawiki>"
    except CUT as error:
        cut = f"its compressed data ends too early ({error})"
    except OSError as error:
        if error.errno is not None:
            raise
        cut = f"its compressed data is damaged ({error})"
    if cut:
        where = f"{cut}, at byte {scan.position:,} of the XML, after {pages:,} whole pages"
        if not tolerate_truncation:
            raise BrokenFile(path, where, "download it again, or set tolerate_truncation to keep the whole pages")
        yield Drop("file cut", where)


class _Scan:
    """Pages of an XML stream; `position` counts bytes of XML, `ended` is whether the closing tag was seen."""

    def __init__(self, path: Path):
        self.path, self.position, self.ended = path, 0, False
        self.error: Exception | None = None

    def pages(self, file: BufferedReader) -> Iterator[tuple[str, str]]:
        """(what stands before the revisions, the newest revision) of each page."""
        head: bytes | None = None
        newest, newest_key, inside = b"", ("", 0), False
        for before, tag in self.tags(file):
            if tag == b"<page>":
                head, newest, newest_key = None, b"", ("", 0)
            elif tag == b"<revision>":
                head = before if head is None else head
                inside = True
            elif tag == b"</revision>" and inside:
                key = _age(before)
                if not newest or key >= newest_key:
                    newest, newest_key = before, key
                inside = False
            elif tag == b"</page>":
                yield (before if head is None else head).decode("utf-8", "replace"), newest.decode("utf-8", "replace")
                inside = False
            elif tag == b"</mediawiki>":
                self.ended = True

    def tags(self, file: BufferedReader) -> Iterator[tuple[bytes, bytes]]:
        """(the bytes since the last tag, the tag)."""
        buffer = self.more(file, CHUNK)
        if b"<mediawiki" not in buffer[:4096] and b"<page>" not in buffer:
            raise BrokenFile(self.path, f"a MediaWiki export was expected, but inside is {what_is(buffer[:512])}")
        start = searched = 0
        while True:
            match = _TOKEN.search(buffer, searched)
            if match:
                yield buffer[start : match.start()], match.group()
                start = searched = match.end()
                continue
            self.position += start
            rest = buffer[start:]
            chunk = self.more(file, max(CHUNK, len(rest)))  # doubling keeps a long page linear
            if not chunk:
                self.position += len(rest)
                return
            buffer, start, searched = rest + chunk, 0, max(0, len(rest) - 16)

    def more(self, file: BufferedReader, size: int) -> bytes:
        """Up to `size` more bytes. Where the data ends early, what comes before is returned first, and the error raised by the next call."""
        if self.error:
            raise self.error
        pieces: list[bytes] = []
        try:
            while size > 0 and (piece := file.read1(size)):
                pieces.append(piece)
                size -= len(piece)
        except (*CUT, OSError) as error:
            self.error = error
            if not pieces:
                raise
        return b"".join(pieces)


def _age(revision: bytes) -> tuple[str, int]:
    """What orders revisions: the time, then the number."""
    match = _REVISION.search(revision[:4096].decode("utf-8", "replace"))
    return (match.group(2), int(match.group(1))) if match else ("", 0)


def _field(name: str, text: str) -> str | None:
    start = text.find(f"<{name}>")
    end = text.find(f"</{name}>", start)
    return unescape(text[start + len(name) + 2 : end]).strip() if 0 <= start < end else None


def unescape(text: str) -> str:
    """XML's own entities only: `&amp;nbsp;` of the file is `&nbsp;` of the wikitext, which is not ours to resolve here."""
    if "&" not in text:
        return text
    text = text.replace("&lt;", "<").replace("&gt;", ">").replace("&quot;", '"').replace("&apos;", "'")
    if "&#" in text:
        text = _NUMBER.sub(_character, text)
    return text.replace("&amp;", "&")


def _character(match: re.Match[str]) -> str:
    number = int(match.group(1)[1:], 16) if match.group(1)[0] == "x" else int(match.group(1))
    return chr(number) if 0 < number < 0x110000 and not 0xD800 <= number < 0xE000 else ""


def _article(head: str, revision: str) -> dict[str, Any] | Drop:
    title, space = _field("title", head), _field("ns", head)
    if not title or space is None:
        return Drop("incomplete page", "it has no <title>" if not title else "it has no <ns>", title or "")
    if space != "0":
        return Drop("not an article", f"namespace {space}", title)
    if "<redirect" in head:
        target = _TARGET.search(head)
        return Drop("redirect", unescape(target.group(1)) if target else "", title)
    if not revision:
        return Drop("incomplete page", "it has no whole <revision>", title)
    found = _TEXT.search(revision)
    if not found:
        return Drop("no text", "deleted" if 'deleted="deleted"' in revision else "", title)
    model = _MODEL.search(revision)
    if model and model.group(1) != "wikitext":
        return Drop("not wikitext", model.group(1), title)
    text = unescape(found.group(2))
    redirect = _REDIRECT.match(text)
    if redirect:
        return Drop("redirect", redirect.group(1), title)
    if not text.strip():
        return Drop("no text", "", title)
    numbers = _REVISION.search(revision)
    meta = {"page": _field("id", head), "revision": numbers and numbers.group(1), "timestamp": numbers and numbers.group(2)}
    return {"title": title, "text": text, "lang": "", "meta": json.dumps(meta, ensure_ascii=False)}
