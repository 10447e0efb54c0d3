"""The encoding of a Chinese text file: UTF-8, or an older one (`tasks.files.legacy`), found out line by line and strict.

A byte that its line's encoding does not have becomes a lone surrogate (U+DC80 to U+DCFF), so that a reader can drop the row and keep the rest.
"""

from __future__ import annotations

import codecs
import contextlib
import io
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tasks.data.rows import BrokenFile, CutFile, Drop
from tasks.files.legacy import likeliest, title
from tasks.files.opening import CHUNK, LONGEST, Salvaged, cut_is_broken, decompressed, head_of, inside, what_is

_SURE = 2  # characters of three bytes in UTF-8: text in GBK has more of them by chance, before a bad byte, once in some thousand lines
_LOOK = 4096  # bytes or characters of a line that are looked at
_SAMPLE = 1 << 14  # bytes of lines that are not UTF-8, by which an older encoding is known
_TOLERATED = 0.1  # share of lines in neither encoding: above, the file is not what we think
_MIXED = 0.01  # share of lines in the other encoding: above, files of both were joined


@dataclass(frozen=True)
class Charset:
    """The encoding of most lines, and whether the rest is in the other one."""

    name: str
    mixed: bool = False
    older: str = "gb18030"  # what the lines are in that are not UTF-8

    @property
    def title(self) -> str:
        """Its name as people know it."""
        return title(self.name)

    def decode(self, line: bytes) -> str:
        """A line as text. In a mixed file a line is taken for what it surely is."""
        if line.isascii():
            return line.decode("ascii")
        name = self.name
        if self.mixed:
            name = _kind(line, self.older) or name
        return line.decode(name, "surrogateescape")


def undecoded(text: str) -> bool:
    """True for a text with bytes that are in no encoding we know."""
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        return True
    return False


def not_decoded(place: str, text: str) -> Drop:
    """The Drop of a row with such bytes."""
    return Drop("broken encoding", place, text[:1000].encode("utf-8", "surrogateescape").decode("utf-8", "replace"))


def _kind(line: bytes, older: str) -> str | None:
    """utf-8 or the older encoding, if the line is surely that, else None."""
    try:
        return "utf-8" if _wide(line.decode("utf-8")) > _SURE else None
    except UnicodeDecodeError as error:
        if _is_damaged(line, error):
            return None
    return older if _decodes(line, older) else None


def _is_damaged(line: bytes, error: UnicodeDecodeError) -> bool:
    """True for UTF-8 with a damaged byte."""
    return _wide(line[: min(error.start, _LOOK)].decode("utf-8", "ignore")) > _SURE


def _wide(text: str) -> int:
    """Characters of three and four bytes near the start. Those of two are no evidence: 头痛 in GBK is ͷʹ in UTF-8."""
    return sum(character >= "\u0800" for character in text[:_LOOK])


def charset(path: Path) -> Charset:
    """The encoding of a whole file; BrokenFile where too many lines are in none."""
    if head_of(path, 2) in (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE):
        raise BrokenFile(path, f"it is {what_is(head_of(path))}", "convert it to UTF-8")
    if _is_utf8(path):
        return Charset("utf-8")
    likely = _older(path)
    older = likely or "gb18030"
    counts: dict[str | None, int] = {"utf-8": 0, older: 0, None: 0}
    first = ""
    with contextlib.suppress(CutFile):
        for number, line in enumerate(lines(path), start=1):
            if line.isascii():
                continue
            kind = _kind(line, older)
            if kind is None and (_decodes(line, "utf-8") or _ends_inside_a_character(line, older)):
                continue  # too short to tell, or the end of a file that is cut
            counts[kind] += 1
            first = first or (f"line {number:,} is in neither UTF-8 nor {title(older)}" if kind is None else "")
    name = "utf-8" if counts["utf-8"] >= counts[older] else older
    other = counts[older if name == "utf-8" else "utf-8"]
    if name == older and likely is None:
        first = f"read as {title(older)} it would be rare characters, and some for private use"
    if counts[None] > _TOLERATED * sum(counts.values()) or (name == older and likely is None):
        raise BrokenFile(path, f"{what_is(inside(path))} in no encoding we know: {first}", "convert it to UTF-8")
    return Charset(name, other > _MIXED * counts[str(name)], older)


def guess(start: bytes) -> Charset:
    """The encoding of a file by its first bytes, of which the last line may be cut."""
    try:
        codecs.getincrementaldecoder("utf-8")().decode(start)
    except UnicodeDecodeError:
        return Charset(likeliest([line for line in start.splitlines() if not line.isascii()]) or "gb18030")
    return Charset("utf-8")


def mostly(start: bytes) -> Charset:
    """The encoding of a JSON file by its first bytes: an older one where they are hardly UTF-8, not where a byte is damaged."""
    text = start.decode("utf-8", "replace")
    if start.startswith(codecs.BOM_UTF8) or text.count("\ufffd") <= _TOLERATED * sum(character >= "\u0800" for character in text):
        return Charset("utf-8")
    older = likeliest([line for line in start.splitlines() if not line.isascii()]) if "\ufffd" in text else None
    return Charset(older, mixed=True, older=older) if older else Charset("utf-8")


def _older(path: Path) -> str | None:
    """The older encoding that the lines are in that are not UTF-8; None where they can be in none."""
    held: list[bytes] = []
    size = 0
    with contextlib.suppress(CutFile):
        for line in lines(path):
            try:
                line.decode("utf-8")
            except UnicodeDecodeError as error:
                if _is_damaged(line, error):
                    continue
                held.append(line[: _SAMPLE - size])
                size += len(held[-1])
                if size >= _SAMPLE:
                    break
    return likeliest(held)


def _is_utf8(path: Path) -> bool:
    decoder = codecs.getincrementaldecoder("utf-8")("strict")
    with decompressed(path) as file:
        stream = Salvaged(b"", file)
        try:
            while chunk := stream.read(CHUNK):
                decoder.decode(chunk)
            decoder.decode(b"", final=not stream.cut)  # of a file that is cut, what there is of it decides
        except UnicodeDecodeError:
            return False
    return True


def _decodes(line: bytes, name: str) -> bool:
    try:
        line.decode(name)
    except UnicodeDecodeError:
        return False
    return True


def _ends_inside_a_character(line: bytes, older: str) -> bool:
    """True of a last line that is text up to its last character, of which only a part is there."""
    if line.endswith((b"\n", b"\r")):
        return False
    for name in ("utf-8", older):
        with contextlib.suppress(UnicodeDecodeError):
            codecs.getincrementaldecoder(name)("strict").decode(line, final=False)
            return True
    return False


def lines(path: Path) -> Iterator[bytes]:
    r"""The lines of a file with their ends (\n, \r\n or \r, none of which is part of a character in any of the encodings), without a byte order mark.

    Of a line of more than `LONGEST` bytes only so many come, without an end.
    """
    with cut_is_broken(path), decompressed(path) as file, io.TextIOWrapper(file, "latin-1", newline="") as text:
        start = codecs.BOM_UTF8
        while line := text.readline(LONGEST):
            yield line.encode("latin-1").removeprefix(start)
            start = b""
            if len(line) == LONGEST:
                while line and not line.endswith(("\n", "\r")):
                    line = text.readline(CHUNK)


def too_long(line: bytes) -> bool:
    """True for a line of `lines` that is only the beginning of one."""
    return len(line) >= LONGEST - len(codecs.BOM_UTF8) and not line.endswith((b"\n", b"\r"))
