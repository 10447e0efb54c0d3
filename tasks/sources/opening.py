"""Opening files that others made: compression, encodings, JSON, CSV and Parquet, a piece at a time, with errors that say what was found."""

from __future__ import annotations

import codecs
import contextlib
import csv
import io
import json
import lzma
import re
import sys
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from tasks.rows import BrokenFile, Drop

CHUNK = 1 << 20  # bytes read at a time
CUT = (EOFError, lzma.LZMAError, zlib.error)  # what the decompressors raise at the end of a file that was cut

_MAGIC = (
    (b"\x1f\x8b", "a gzip file"),
    (b"BZh", "a bzip2 file"),
    (b"\xfd7zXZ\x00", "an xz file"),
    (b"\x28\xb5\x2f\xfd", "a Zstandard file"),
    (b"PK\x03\x04", "a zip archive"),
    (b"Rar!", "a RAR archive"),
    (b"7z\xbc\xaf", "a 7z archive"),
    (b"PAR1", "a Parquet file"),
    (b"%PDF", "a PDF file"),
    (b"version https://git-lfs", "a Git LFS pointer: the data itself was not downloaded"),
    (b"\xff\xfe", "UTF-16 text"),
    (b"\xfe\xff", "UTF-16 text"),
)


def what_is(head: bytes) -> str:
    """A file by its first bytes, in words for a message."""
    if not head:
        return "an empty file"
    for magic, name in _MAGIC:
        if head.startswith(magic):
            return name
    start = head.removeprefix(codecs.BOM_UTF8).lstrip()[:200]
    if re.match(rb"<!doctype html|<html|<head", start, re.IGNORECASE):
        return "an HTML page, as a failed download leaves it"
    if start.startswith((b"<?xml", b"<mediawiki")):
        return "an XML file"
    if start[:1] in (b"{", b"["):
        return "a JSON file"
    if not start:
        return "a file of nothing but white space"
    return "a binary file" if b"\x00" in head else "a text file"


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
    """The bytes of a plain, gzip, bzip2 or xz file, told apart by content, not by name."""
    head = head_of(path)
    if not head:
        raise BrokenFile(path, "it is an empty file")
    with _opener(head)(path, "rb") as file:
        yield file


def _opener(head: bytes) -> Callable[[Path, str], Any]:
    if head.startswith(b"\x1f\x8b"):
        import gzip

        return gzip.open
    if head.startswith(b"BZh"):
        import bz2

        return bz2.open
    return lzma.open if head.startswith(b"\xfd7zXZ") else open


@contextlib.contextmanager
def cut_is_broken(path: Path) -> Iterator[None]:
    """A compressed file that ends early, or holds garbage, is a broken file, not a crash."""
    try:
        yield
    except CUT as error:
        raise BrokenFile(path, f"its compressed data ends too early or is damaged ({error})", "download it again") from None
    except OSError as error:
        if error.errno is not None:  # a disk's error, not the data's
            raise
        raise BrokenFile(path, f"its compressed data is damaged ({error})", "download it again") from None


def encoding_of(path: Path) -> str:
    """utf-8-sig or gb18030 (which holds GBK and GB2312), whichever the whole file decodes in, strictly; BrokenFile if neither does."""
    tries: list[str] = []
    for encoding in ("utf-8-sig", "gb18030"):
        decoder, position = codecs.getincrementaldecoder(encoding)("strict"), 0
        with cut_is_broken(path), decompressed(path) as file:
            try:
                while chunk := file.read(CHUNK):
                    decoder.decode(chunk)
                    position += len(chunk)
                decoder.decode(b"", final=True)
                return encoding
            except UnicodeDecodeError as error:
                tries.append(f"{encoding} fails near byte {position + error.start}")
    what = what_is(head_of(path))
    raise BrokenFile(path, f"{what} in no encoding we know: {', '.join(tries)}", "convert it to UTF-8")


def json_rows(path: Path) -> Iterator[dict[str, Any] | Drop]:
    """The objects of a JSON array or of JSON Lines, compressed or not. A row that is no JSON object is a Drop."""
    good = bad = 0
    with cut_is_broken(path), decompressed(path) as file:
        start = file.read(4096)
        first = start.removeprefix(codecs.BOM_UTF8).lstrip()[:1]
        if first not in (b"{", b"["):
            raise BrokenFile(path, f"JSON was expected, but it is {what_is(start)}")
        rest = _Rest(start, file)
        for value in _array(path, rest) if first == b"[" else _lines(rest):
            if isinstance(value, dict):
                good += 1
                yield value
            elif isinstance(value, Drop):
                bad += 1
                yield value
            else:
                bad += 1
                yield Drop("not an object", f"a JSON {type(value).__name__}", str(value)[:200])
    if bad and not good:
        raise BrokenFile(
            path, f"none of its {bad:,} rows is a JSON object", "write one object a line, or one JSON array of objects"
        )


class _Rest(io.RawIOBase):
    """A stream of which the beginning was read already."""

    def __init__(self, start: bytes, file: io.BufferedReader):
        self.start, self.file = start, file

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        data = self.start[: len(buffer)] or self.file.read(len(buffer))
        self.start = self.start[len(data) :] if self.start else b""
        buffer[: len(data)] = data
        return len(data)


def _lines(rest: _Rest) -> Iterator[Any]:
    for number, raw in enumerate(io.BufferedReader(rest, CHUNK), start=1):
        try:
            line = raw.decode("utf-8-sig" if number == 1 else "utf-8")
        except UnicodeDecodeError as error:
            yield Drop("not UTF-8", f"line {number}, byte {error.start}", raw.decode("utf-8", "replace")[:200])
            continue
        if not line.strip():
            continue
        try:
            yield json.loads(line, strict=False)
        except (json.JSONDecodeError, RecursionError) as error:
            end = "" if raw.endswith(b"\n") else "; the file ends inside this line"
            yield Drop("broken JSON", f"line {number}: {error}{end}", line.strip()[:200])


_ROW_START = re.compile(r"[\]}\"]\s*,\s*(?=[{\[])")
_BETWEEN = re.compile(r"[\s,]*")
_LONGEST = 64 << 20  # characters: an element that is longer is taken for broken


def _array(path: Path, rest: _Rest) -> Iterator[Any]:
    """The elements of a JSON array. After a broken one, reading goes on where the next seems to start."""
    decoder, decode = codecs.getincrementaldecoder("utf-8-sig")("strict"), json.JSONDecoder(strict=False).raw_decode
    buffer, position, number, want, ended = "", 0, 0, CHUNK, False

    def more() -> None:
        nonlocal buffer, position, ended
        chunk = rest.read(want)
        try:
            buffer, position = buffer[position:] + decoder.decode(chunk or b"", final=not chunk), 0
        except UnicodeDecodeError as error:
            raise BrokenFile(path, f"after {number:,} rows it is not UTF-8 ({error.reason})", "convert it to UTF-8") from None
        ended = not chunk

    more()
    position = buffer.index("[") + 1
    while True:
        match = _BETWEEN.match(buffer, position)
        assert match
        position = match.end()
        if position == len(buffer):
            if ended:
                raise BrokenFile(path, f"its JSON array is cut after {number:,} rows", "download it again")
            more()
            continue
        if buffer[position] == "]":
            if buffer[position + 1 :].strip():
                yield Drop(
                    "broken JSON",
                    f"after row {number}: there is more after the end of the array",
                    buffer[position + 1 : position + 200],
                )
            return
        try:
            value, end = decode(buffer, position)
        except RecursionError:
            raise BrokenFile(path, f"row {number + 1:,} of its JSON array is nested too deep") from None
        except json.JSONDecodeError as error:
            unfinished = "Unterminated" in error.msg or error.pos >= len(buffer) - 16
            if unfinished and not ended and len(buffer) - position < _LONGEST:
                want = max(CHUNK, 2 * (len(buffer) - position))  # doubling keeps a long element linear
                more()
                continue
            number += 1
            yield Drop("broken JSON", f"row {number}: {error.msg}", buffer[position : position + 200])
            position, want = max(error.pos - 2, position), CHUNK
            while not (following := _ROW_START.search(buffer, position)):
                if ended:
                    raise BrokenFile(path, f"its JSON array is cut inside row {number:,}", "download it again") from None
                position = max(position, len(buffer) - 64)
                more()
            position = following.end()
            continue
        if end == len(buffer) and not ended:  # a number may go on in the next chunk
            more()
            continue
        want, position, number = CHUNK, end, number + 1
        yield value


def csv_rows(path: Path, delimiter: str = ",") -> Iterator[dict[str, str] | Drop]:
    """Rows by header name, the names lower-case and trimmed; GB18030 or UTF-8, found out; quoted cells may hold line breaks."""
    csv.field_size_limit(sys.maxsize)  # the default, 131,072 characters, is shorter than some answers
    encoding = encoding_of(path)
    found = what_is(head_of(path))
    if found in ("a JSON file", "an XML file") or "HTML" in found or "LFS" in found:
        raise BrokenFile(path, f"a table (CSV) was expected, but it is {found}", "give the source another format")
    with cut_is_broken(path), decompressed(path) as file, io.TextIOWrapper(file, encoding, "strict", newline="") as text:
        rows = csv.reader(text, delimiter=delimiter, strict=True)
        try:
            header = [name.strip().lower() for name in next(rows)]
        except (StopIteration, csv.Error):
            raise BrokenFile(path, f"a table with a header line was expected, but it is {what_is(head_of(path))}") from None
        before = rows.line_num
        while True:
            try:
                row = next(rows)
            except StopIteration:
                return
            except csv.Error as error:
                lines = rows.line_num - before
                if "unexpected end" in str(error) and lines > _OPEN_LINES:
                    what = f"a quoted cell that opens after line {before} is never closed, so the last {lines:,} lines cannot be read"
                    raise BrokenFile(path, what, "close the quote") from None
                yield Drop("broken CSV", f"lines {before + 1} to {rows.line_num}: {error}")
            else:
                if len(row) == len(header):
                    yield dict(zip(header, row, strict=True))
                elif any(row):
                    yield Drop(
                        "wrong number of columns",
                        f"line {rows.line_num}: {len(row)}, not {len(header)}",
                        delimiter.join(row)[:200],
                    )
            before = rows.line_num


_OPEN_LINES = 100  # an unclosed quote that swallows more than this is a broken file, not a broken row


def parquet_rows(path: Path, needed: tuple[str, ...] = ()) -> Iterator[dict[str, Any]]:
    """Rows as dicts, 1,000 in memory at a time. BrokenFile where a needed column is missing."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    head = head_of(path)
    if not head.startswith(b"PAR1"):
        raise BrokenFile(path, f"Parquet was expected, but it is {what_is(head)}")
    try:
        file = pq.ParquetFile(path)
    except (pa.ArrowInvalid, OSError) as error:
        raise BrokenFile(
            path, f"its Parquet footer cannot be read ({error}), as when a download was cut", "download it again"
        ) from None
    with file:
        missing = [name for name in needed if name not in file.schema_arrow.names]
        if missing:
            raise BrokenFile(path, f"it lacks the columns {', '.join(missing)}; it has {', '.join(file.schema_arrow.names)}")
        try:
            for batch in file.iter_batches(batch_size=1000):
                yield from batch.to_pylist()
        except (pa.ArrowException, OSError) as error:
            raise BrokenFile(path, f"its data is damaged ({error})", "download it again") from None


def table_rows(path: Path) -> Iterator[dict[str, Any] | Drop]:
    """Rows of a Parquet, JSON, JSON Lines, CSV or TSV file, told apart by content, then by name."""
    head = head_of(path)
    if head.startswith(b"PAR1"):
        yield from parquet_rows(path)
    elif path.suffix.lower() in (".csv", ".tsv"):
        yield from csv_rows(path, "\t" if path.suffix.lower() == ".tsv" else ",")
    else:
        yield from json_rows(path)
