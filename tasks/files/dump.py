"""The pages of a MediaWiki export as bytes, from any stretch of the file.

A page is found by its tags, which cannot occur inside it because the export escapes them; this is many times as fast as an XML parser. A
stretch owns the pages whose `<page>` begins in it, wherever they end, so that a file may be cut anywhere: a plain one at every so many bytes, a
multistream bz2 at the streams' beginnings, which need no index to be found. Memory is bounded: of a page its newest revision is held, and of
that not more than `LONGEST` bytes.
"""

from __future__ import annotations

import bz2
import re
from collections.abc import Iterator
from pathlib import Path

from tasks.data.rows import BrokenFile, Drop
from tasks.files.opening import CHUNK, CUT, decompressed, head_of, what_is

LONGEST = 16 << 20  # bytes of XML; MediaWiki saves no page above 2 MiB of text, which escaping makes six times as long at worst
STRETCH = 4 << 20  # bytes of a bz2 file, 16 to 30 MB of XML: some two seconds of work
PLAIN_STRETCH = 32 << 20  # bytes of a plain file
_TAIL = 1024  # bytes that the last stretch has at least, so that no border runs through the closing tag
_HEAD = 4096  # bytes kept of a revision that is too long: its number and time
_STREAM = re.compile(rb"BZh[1-9]1AY&SY")  # a bz2 stream that is not empty
_TAG = re.compile(rb"</?(?:page|revision)>")
_REVISION = re.compile(rb"<id>([0-9]{1,18})</id>.*?<timestamp>([^<]*)</timestamp>", re.DOTALL)

Page = tuple[bytes, bytes | None, int]  # what stands before the revisions, the newest revision or None, its size


class NoExport(BrokenFile):
    """A file that is no MediaWiki export."""


def starts(path: Path) -> list[int]:
    """The first bytes of a file's stretches, by its content alone. Empty for a large file that can only be decompressed from its beginning."""
    head, size = head_of(path, 1 << 16), path.stat().st_size
    kind = what_is(head)
    if kind == "a bzip2 file":
        places = [0]
        while (start := _next_stream(path, places[-1] + STRETCH)) is not None:
            places.append(start)
        if len(places) > 1 and size - places[-1] < _TAIL:
            places.pop()
        return places if len(places) > 1 or size <= STRETCH else []
    if kind in ("a gzip file", "an xz file", "a Zstandard file"):
        return [0] if size <= STRETCH else []
    return list(range(0, max(1, size - _TAIL), PLAIN_STRETCH)) if b"<mediawiki" in head or b"<page>" in head else [0]


def _next_stream(path: Path, start: int) -> int | None:
    with path.open("rb") as file:
        file.seek(start)
        rest = b""
        while chunk := file.read(CHUNK):
            data = rest + chunk
            if match := _STREAM.search(data):
                return start - len(rest) + match.start()
            rest, start = data[-9:], start + len(chunk)
    return None


def pages(path: Path, start: int = 0, end: int | None = None, tolerate_truncation: bool = False) -> Iterator[Page | Drop]:
    """The pages of a stretch, the whole file if it has no bounds.

    A stretch that ends in mid-page or mid-stream raises BrokenFile; with `tolerate_truncation` its whole pages before the cut are kept and a
    Drop with the reason "file cut" stands for the rest.
    """
    scan = _Scan(path, _chunks(path, start, end), first=start == 0)
    try:
        yield from scan.pages()
        whole = scan.ended or end is not None or _bare(path)
        cut = "it ends in mid-page" if scan.torn else "" if whole else "it ends without </mediawiki>"
    except CUT as error:
        cut = f"its compressed data ends too early ({error})"
    except OSError as error:
        if error.errno is not None:
            raise
        cut = f"its compressed data is damaged ({error})"
    if cut:
        of = f" of the part that starts at byte {start:,} of the file" if start else ""
        where = f"{cut}, at byte {scan.base + len(scan.buffer):,} of the XML, after {scan.count:,} whole pages{of}"
        if not tolerate_truncation:
            raise BrokenFile(path, where, "download it again, or set tolerate_truncation to keep the whole pages")
        yield Drop("file cut", where)


def _bare(path: Path) -> bool:
    """True for a file of pages alone, without the element around them: it has no end of its own."""
    with decompressed(path) as file:
        head = file.read(1 << 16)
    first = head.find(b"<page>")
    return first >= 0 and b"<mediawiki" not in head[:first]


Chunk = bytes | None  # None: here the stretch ends; what follows serves to finish its last page


def _chunks(path: Path, start: int, end: int | None) -> Iterator[Chunk]:
    kind = what_is(head_of(path))
    if kind == "a bzip2 file":
        yield from _streams(path, start, end)
    elif start == 0 and end is None:
        with decompressed(path) as file:
            while chunk := file.read1(CHUNK):
                yield chunk
    else:
        with path.open("rb") as file:
            file.seek(start)
            remaining = (end or path.stat().st_size) - start
            while remaining > 0 and (chunk := file.read(min(CHUNK, remaining))):
                remaining -= len(chunk)
                yield chunk
            yield None
            while chunk := file.read(CHUNK):
                yield chunk


def _streams(path: Path, start: int, end: int | None) -> Iterator[Chunk]:
    """Decompress streams from the one that begins at `start`, `CHUNK` bytes of XML at a time, so that no stream is held whole."""
    with path.open("rb") as file:
        file.seek(start)
        data, marked = file.read(CHUNK), end is None
        while data.startswith(b"BZh"):  # what follows the last stream is padding
            if not marked and file.tell() - len(data) >= (end or 0):
                marked = True
                yield None
            decoder = bz2.BZ2Decompressor()
            while not decoder.eof:
                if piece := decoder.decompress(data, CHUNK):
                    yield piece
                data = file.read(CHUNK) if decoder.needs_input else b""
                if decoder.needs_input and not data:
                    raise EOFError("the last stream has no end")
            data = decoder.unused_data
            if len(data) < 3:
                data += file.read(CHUNK)


class _Scan:
    """Pages of a stretch; `base` is where the buffer begins in the XML, `ended` whether the closing tag was seen."""

    def __init__(self, path: Path, chunks: Iterator[Chunk], first: bool):
        self.path, self.chunks, self.first = path, chunks, first
        self.buffer, self.base, self.at = b"", 0, 0  # bytes before `at` are done with
        self.limit: int | None = None  # where in the XML the stretch ends, once that is known
        self.ended, self.torn, self.count = False, False, 0
        self.error: Exception | None = None

    def pages(self) -> Iterator[Page]:
        """The pages that begin in the stretch."""
        if self.first:
            self.more()
            if b"<mediawiki" not in self.buffer[:4096] and b"<page>" not in self.buffer:
                raise NoExport(self.path, f"a MediaWiki export was expected, but it is {what_is(self.buffer)}")
        while self.seek():
            page = self.page()
            if page is None:
                self.torn = True
                return
            self.count += 1
            yield page

    def seek(self) -> bool:
        """Go behind the next `<page>` of the stretch; False if there is none."""
        while True:
            place = self.buffer.find(b"<page>", self.at)
            if place >= 0:
                self.at = place + 6
                return self.limit is None or self.base + place < self.limit
            self.ended = self.ended or self.buffer.find(b"</mediawiki>", self.at) >= 0
            if self.limit is not None and self.buffer.rfind(b"<", max(self.at, len(self.buffer) - 5)) < 0:
                return False
            self.at = max(self.at, len(self.buffer) - 11)
            if not self.more():
                return False

    def page(self) -> Page | None:
        """Read on to `</page>`; None if the data ends before."""
        if page := self.plain_page():
            return page
        head: bytes | None = None
        newest, size, newest_key = None, 0, ("", 0)
        inside = False
        while True:
            before, length, tag = self.until(inside)
            if not tag:
                return None
            if tag == b"</page>":
                return (before if head is None else head), newest, size
            if tag == b"<page>":  # the last one was never closed
                head, newest = None, None
            elif tag == b"<revision>":
                head = before if head is None else head
            elif inside:
                key = _age(before)
                if newest is None or key >= newest_key:
                    newest, size, newest_key = before, length, key
            inside = tag == b"<revision>"

    def plain_page(self) -> Page | None:
        """A page with one revision and nothing behind it, as most are, if all of it is in the buffer."""
        find, at = self.buffer.find, self.at
        opened, closed, end = find(b"<revision>", at), find(b"</revision>", at), find(b"page>", at)
        if not at <= opened < closed < end or self.buffer[closed + 11 : end].strip() != b"</":
            return None
        self.at = end + 5
        return self.buffer[at:opened], self.buffer[opened + 10 : closed], closed - opened - 10

    def until(self, inside: bool) -> tuple[bytes, int, bytes]:
        """(the bytes before the next tag, how many they are, the tag); the first few only of more than `LONGEST`; no tag where the data ends."""
        searched, skipped, beginning = self.at, 0, b""
        while True:
            tag = self.tag(searched, inside)
            if tag:
                start, end = tag
                length = skipped + start - self.at
                before = beginning or self.buffer[self.at : start]
                self.at = end
                return before, length, self.buffer[start:end]
            searched = max(self.at, len(self.buffer) - 10)
            if len(self.buffer) - self.at > LONGEST or beginning:
                beginning = beginning or self.buffer[self.at : self.at + _HEAD]
                skipped += searched - self.at
                self.at = searched
            searched -= self.at
            if not self.more():
                return b"", 0, b""

    def tag(self, start: int, inside: bool) -> tuple[int, int] | None:
        """The next tag from here on. In a revision, which is long, its end is looked for first, then whether a page ends before that."""
        if inside:
            end = self.buffer.find(b"</revision>", start)
            if self.buffer.find(b"page>", start, end if end >= 0 else len(self.buffer)) < 0:
                return (end, end + 11) if end >= 0 else None
        match = _TAG.search(self.buffer, start)
        return match.span() if match else None

    def more(self) -> bool:
        """Let go of what is done with and append to the rest, at least as much as it is, so that a long page stays linear; False at the end.

        Where the data ends early, what comes before is had first, and the error is raised by the next call.
        """
        if self.error:
            raise self.error
        rest = self.buffer[self.at :]
        self.base, self.at = self.base + self.at, 0
        pieces, have, chunk = [rest], 0, b""  # type: list[bytes], int, Chunk
        try:
            while have < max(1, len(rest)) and (chunk := next(self.chunks, b"")):
                pieces.append(chunk)
                have += len(chunk)
        except (*CUT, OSError) as error:
            self.error = error
            if not have:
                raise
        self.buffer = b"".join(pieces)
        if chunk is None:
            self.limit = self.base + len(self.buffer)
        return have > 0 or chunk is None


def _age(revision: bytes) -> tuple[str, int]:
    """A key that sorts revisions: the time, then the number."""
    match = _REVISION.search(revision[:_HEAD])
    return (match.group(2).decode("utf-8", "replace"), int(match.group(1))) if match else ("", 0)
