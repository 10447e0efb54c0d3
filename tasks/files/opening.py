"""Opening files that others made: what they are by their first bytes, and their bytes without the compression."""

from __future__ import annotations

import codecs
import contextlib
import io
import lzma
import re
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

from tasks.data.rows import BrokenFile, CutFile

CHUNK = 1 << 20  # bytes read at a time
LONGEST = 16 << 20  # bytes or characters: a row that is longer is dropped, so that none fills the memory
CUT = (EOFError, lzma.LZMAError, zlib.error)  # what the decompressors raise at the end of a file that was cut

_STEP = 1 << 16  # bytes decompressed at a time, where an error loses those that came with it

_MAGIC = (
    (b"\x1f\x8b", "a gzip file"),
    (b"BZh", "a bzip2 file"),
    (b"\xfd7zXZ\x00", "an xz file"),
    (b"\x28\xb5\x2f\xfd", "a Zstandard file"),
    (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", "an Office file, which has to be saved as CSV in UTF-8 first"),
    (b"PK\x03\x04", "a zip archive, which has to be unpacked first"),
    (b"Rar!", "a RAR archive, which has to be unpacked first"),
    (b"7z\xbc\xaf", "a 7z archive, which has to be unpacked first"),
    (b"PAR1", "a Parquet file"),
    (b"%PDF", "a PDF file"),
    (b"version https://git-lfs", "a Git LFS pointer: the data itself was not downloaded"),
    (b"\xff\xfe", "UTF-16 text, which has to be converted to UTF-8"),
    (b"\xfe\xff", "UTF-16 text, which has to be converted to UTF-8"),
)


def what_is(head: bytes) -> str:
    """A file by its first bytes, in words for a message."""
    if not head:
        return "an empty file"
    if head.startswith(b"PK\x03\x04") and (b"[Content_Types].xml" in head or b"_rels/" in head):
        return "an Office file, which has to be saved as CSV in UTF-8 first"
    if head[257:262] == b"ustar":
        return "a tar archive, which has to be unpacked first"
    for magic, name in _MAGIC:
        if head.startswith(magic):
            return name
    start = head.removeprefix(codecs.BOM_UTF8).lstrip()[:200]
    if re.match(rb"<!doctype html|<html|<head", start, re.IGNORECASE):
        return "an HTML page, as a failed download leaves it"
    if start.startswith(b"<mediawiki"):
        return "a MediaWiki export"
    if start.startswith(b"<?xml"):
        return "an XML file"
    if start[:1] in (b"{", b"["):
        return "a JSON file"
    if not start:
        return "a file of nothing but white space"
    return "a binary file" if head.count(0) > len(head) // 100 else "a text file"  # a NUL here and there is dirt


def head_of(path: Path, size: int = 512) -> bytes:
    """The first bytes as they are on disk; BrokenFile if there are none to be had."""
    try:
        with path.open("rb") as file:
            return file.read(size)
    except FileNotFoundError:
        raise BrokenFile(path, "there is no such file", "check the path in the recipe's sources") from None
    except OSError as error:
        raise BrokenFile(path, f"it cannot be read ({error.strerror})", "check the path and its permissions") from None


@contextlib.contextmanager
def decompressed(path: Path) -> Iterator[io.BufferedReader]:
    """The bytes of a plain, gzip, bzip2, xz or Zstandard file, told apart by content, not by name."""
    head = head_of(path)
    if not head:
        raise BrokenFile(path, "it is an empty file")
    with _open(path, head) as file:
        yield file


def _open(path: Path, head: bytes) -> io.BufferedReader:
    if head.startswith(b"\x1f\x8b"):
        import gzip

        return cast(io.BufferedReader, gzip.open(path))
    if head.startswith(b"BZh"):
        import bz2

        return cast(io.BufferedReader, bz2.open(path))
    if head.startswith(b"\xfd7zXZ"):
        return cast(io.BufferedReader, lzma.open(path))
    if head.startswith(b"\x28\xb5\x2f\xfd"):
        return io.BufferedReader(_Zstandard(path), CHUNK)
    return path.open("rb")


class _Zstandard(io.RawIOBase):
    """Arrow's decompressor, which reads frame after frame and tells a cut from an end; it raises OSError without an errno."""

    def __init__(self, path: Path):
        import pyarrow as pa

        self.stream = pa.input_stream(str(path), compression="zstd")

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        return int(self.stream.readinto(memoryview(buffer)[:_STEP]))  # what an error cuts short is lost

    def close(self) -> None:
        if not self.closed:
            self.stream.close()
        super().close()


def inside(path: Path, size: int = 1 << 16) -> bytes:
    """The first bytes without the compression, or as many of them as can be had."""
    pieces: list[bytes] = []
    if not head_of(path):
        return b""
    with contextlib.suppress(*CUT, OSError), decompressed(path) as file:
        while size > 0 and (piece := file.read1(size)):
            pieces.append(piece)
            size -= len(piece)
    return b"".join(pieces)


@contextlib.contextmanager
def cut_is_broken(path: Path) -> Iterator[None]:
    """A compressed file that ends early, or holds garbage, is a broken file, not a crash."""
    try:
        yield
    except (*CUT, OSError) as error:
        if not is_cut(error):
            raise
        raise cut_file(path, error) from None


def is_cut(error: BaseException) -> bool:
    """True of what a decompressor raises where its data ends early or is damaged, and not of a disk's error."""
    return isinstance(error, CUT) or (isinstance(error, OSError) and error.errno is None)


def cut_file(path: Path, error: BaseException) -> CutFile:
    """The error of a compressed file that could be read only so far."""
    return CutFile(path, f"its compressed data ends too early or is damaged ({error})")


class Salvaged(io.RawIOBase):
    """A stream, of which the beginning was read already, that ends where its data is cut: `cut` is then the decompressor's error. Whatever
    came before it is handed on, to the last byte."""

    def __init__(self, start: bytes, file: io.BufferedReader):
        self.start, self.file = start, file
        self.cut: BaseException | None = None

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        if self.start:
            data, self.start = self.start[: len(buffer)], self.start[len(buffer) :]
        else:
            data = self._read(len(buffer))
        buffer[: len(data)] = data
        return len(data)

    def _read(self, size: int) -> bytes:
        """At most so many bytes; none at the end, or where there are no more to be had. A read for more than is at hand would lose what
        came before an error."""
        pieces: list[bytes] = []
        try:
            while size and self.cut is None and (piece := self.file.read1(size)):
                pieces.append(piece)
                size -= len(piece)
        except (*CUT, OSError) as error:
            if not is_cut(error):
                raise
            self.cut = error
        return b"".join(pieces)
