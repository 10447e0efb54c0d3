"""JSON as data sets come in it: one object a line, one array of objects, or objects written over several lines; a piece at a time."""

from __future__ import annotations

import codecs
import io
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tasks.data.rows import ENDS_INSIDE, BrokenFile, CutFile, Drop
from tasks.files.charset import Charset, mostly, not_decoded, undecoded
from tasks.files.opening import CHUNK, LONGEST, Salvaged, cut_file, decompressed, what_is

_PEEK = 1 << 16  # bytes that tell the three layouts apart
_JSON = json.JSONDecoder(strict=False)  # line breaks and tabs inside strings are let through
_BAD = (ValueError, RecursionError)  # not JSON, a number of too many digits, nested too deep


def json_rows(path: Path) -> Iterator[dict[str, Any] | Drop]:
    """The objects of a JSON array, of JSON Lines or of pretty-printed objects, compressed or not. A row that is no JSON object is a Drop; a file
    that is cut raises CutFile after its last whole row."""
    good, bad, why = 0, 0, ""
    with decompressed(path) as file:
        stream = Salvaged(b"", file)
        start = stream.read(_PEEK)
        if not start and stream.cut:
            raise cut_file(path, stream.cut)
        first = start.removeprefix(codecs.BOM_UTF8).lstrip()[:1]
        if first not in (b"{", b"["):
            raise BrokenFile(path, f"JSON was expected, but it is {what_is(start)}")
        stream.start = start
        rest = io.BufferedReader(stream, CHUNK)
        by_line = not _printed(start) if first == b"{" else _talks(start)
        encoding = mostly(start)
        for value in _lines(rest, stream, encoding) if by_line else _Values(path, rest, stream, first == b"[", encoding.name):
            if isinstance(value, list) and _is_talk(value):
                value = {"messages": value}
            if isinstance(value, dict):
                good += 1
                yield value
                continue
            row = value if isinstance(value, Drop) else Drop("not an object", f"a JSON {type(value).__name__}", str(value)[:200])
            bad, why = bad + 1, why or f"{row.reason}, {row.detail}"
            yield row
        if stream.cut:
            raise cut_file(path, stream.cut)
    if bad and not good:
        raise BrokenFile(
            path,
            f"none of its {bad:,} rows is a JSON object (the first: {why})",
            "write one object a line, or one JSON array of objects",
        )


def _is_talk(value: list[Any]) -> bool:
    """True for a dialogue that is a row by itself, as XTuner has it: a list of turns, each with its speaker."""
    return bool(value) and all(
        isinstance(turn, dict) and ("role" in turn or "from" in turn) and not {"content", "value"}.isdisjoint(turn)
        for turn in value
    )


def _talks(start: bytes) -> bool:
    """True where each line is a dialogue. One array of them is like any other array."""
    lines = start.removeprefix(codecs.BOM_UTF8).split(b"\n", 1)
    if len(lines) < 2 and len(start) == _PEEK:
        return False
    try:
        value = _JSON.decode(lines[0].decode("utf-8", "replace"))
    except _BAD:
        return False
    return isinstance(value, list) and _is_talk(value)


def _printed(start: bytes) -> bool:
    """True where an object goes over several lines: the first line is none, and the second goes on with a name or ends it."""
    lines = [line.strip() for line in start.removeprefix(codecs.BOM_UTF8).split(b"\n") if line.strip()]
    if len(lines) < 2 or lines[1][:1] not in (b'"', b"}"):
        return False
    try:
        _JSON.decode(lines[0].decode("utf-8", "replace"))
    except _BAD:
        return True
    return False


def _lines(rest: io.BufferedReader[Any], stream: Salvaged, encoding: Charset) -> Iterator[Any]:
    number = 0
    while raw := rest.readline(LONGEST):
        number += 1
        if len(raw) == LONGEST and not raw.endswith(b"\n"):
            yield Drop("row too long", f"line {number} has more than {LONGEST >> 20} MB", raw[:1000].decode("utf-8", "replace"))
            while (raw := rest.readline(CHUNK)) and not raw.endswith(b"\n"):
                pass
            continue
        if stream.cut and not raw.endswith(b"\n"):
            return
        line = encoding.decode(raw).lstrip("\ufeff")
        if undecoded(line):
            torn = not raw.endswith(b"\n") and not line.rstrip().endswith("}")
            yield not_decoded(f"line {number} is not {encoding.title}" + (f"; {ENDS_INSIDE} this line" if torn else ""), line)
            continue
        if not line.strip():
            continue
        try:
            yield _JSON.decode(line)
        except _BAD as error:
            end = "" if raw.endswith(b"\n") else f"; {ENDS_INSIDE} this line"
            yield Drop("broken JSON", f"line {number}: {error}{end}", line.strip()[:1000])


_BETWEEN = re.compile(r"[\s,\ufeff]*")
_FIRST = re.compile(r'\{\s*("(?:[^"\\\n]|\\.)*")\s*:')
_NAMES = 16  # first names that are remembered
_CLOSED = re.compile(r"\]\s*\Z")
_LAST = re.compile(r"\}[\s,]*\]\s*\Z")
_ELEMENT = re.compile(r"[\]}\"]\s*,\s*(?=[{\[])")


class _Values:
    """The elements of a JSON array, or JSON values one after the other.

    After a broken one reading goes on where the next row seems to start: at an object with a first name that a row before had, since an
    object inside a row has other names.
    """

    def __init__(self, path: Path, rest: io.BufferedReader[Any], stream: Salvaged, array: bool, encoding: str):
        self.path, self.rest, self.stream, self.array = path, rest, stream, array
        self.decoder = codecs.getincrementaldecoder("utf-8-sig" if encoding == "utf-8" else encoding)("surrogateescape")
        self.decode = _JSON.raw_decode
        self.buffer, self.at, self.ended = "", 0, False
        self.want, self.number = CHUNK, 0
        self.firsts: dict[str, None] = {}  # the first names of rows, as they are written
        self.comma = False  # whether one stood before the next character
        self.closed: bool | None = None  # whether a bracket ends the file after a broken last row; None without such a row

    def __iter__(self) -> Iterator[Any]:
        if self.array:
            self.peek()
            self.at += 1
        while character := self.peek():
            if not (self.array and character == "]"):
                yield from self.value()
                continue
            self.at += 1
            after, comma = self.peek(), self.comma
            if not after:
                return
            if comma:  # the end of a list inside a broken row
                self.resync(self.at)
            elif after == "[":  # arrays that were joined
                self.at += 1
            else:
                more = self.buffer[self.at : self.at + 1000]
                yield Drop("broken JSON", f"after row {self.number}: there is more after the end of the array", more)
                return
        if self.array and not self.closed and not self.stream.cut:
            where = f"after {self.number:,} rows" if self.closed is None else f"inside row {self.number:,}"
            raise CutFile(self.path, f"its JSON array is cut {where}")

    def more(self) -> None:
        """Read on: the buffer keeps what is not done with and grows by a chunk."""
        chunk = self.rest.read(self.want)
        self.buffer = self.buffer[self.at :] + self.decoder.decode(chunk, final=not chunk)
        self.at, self.ended = 0, not chunk

    def peek(self) -> str:
        """The next character that is neither white space nor a comma, or "" at the end."""
        self.comma = False
        while True:
            match = _BETWEEN.match(self.buffer, self.at)
            assert match
            self.at, self.comma = match.end(), self.comma or "," in match.group()
            if self.at < len(self.buffer):
                return self.buffer[self.at]
            if self.ended:
                return ""
            self.more()

    def value(self) -> Iterator[Any]:
        """The value at hand, a Drop where it is none, or nothing yet where more has to be read."""
        try:
            value, end = self.decode(self.buffer, self.at)
        except _BAD as error:
            place = error.pos if isinstance(error, json.JSONDecodeError) else self.at + 1
            unfinished = isinstance(error, json.JSONDecodeError) and (
                "Unterminated" in error.msg or error.pos >= len(self.buffer) - 16
            )
            length = len(self.buffer) - self.at
            if unfinished and not self.ended and length < LONGEST:
                self.want = max(CHUNK, 2 * length)  # doubling keeps a long row linear
                self.more()
                return
            self.number += 1
            excerpt = self.buffer[self.at : self.at + 1000]
            long = unfinished and not self.ended
            what = error.msg if isinstance(error, json.JSONDecodeError) else str(error)
            self.want = CHUNK
            self.resync(max(place - 2, self.at + 1), in_string="Unterminated string" in what)
            if self.closed is False and (self.array or self.stream.cut):
                return  # the file is cut inside this row, which is said where it ends
            if long:
                yield Drop("row too long", f"row {self.number} has more than {LONGEST >> 20} MB", excerpt)
            else:
                ending = f"; {ENDS_INSIDE} this row" if self.closed is False else ""
                yield Drop("broken JSON", f"row {self.number}: {what}{ending}", excerpt)
            return
        if end == len(self.buffer) and not self.ended:  # a number may go on in the next chunk
            self.more()
            return
        start, self.at, self.want, self.number = self.at, end, CHUNK, self.number + 1
        if undecoded(text := self.buffer[start:end]):
            yield not_decoded(f"row {self.number} has bytes of another encoding", text)
            return
        if len(self.firsts) < _NAMES and (name := _FIRST.match(text)):
            self.firsts[name.group(1)] = None
        yield value

    def resync(self, start: int, in_string: bool = False) -> None:
        """Go to the next row at or after `start`, or to the end of the file if there is none. `in_string`: the broken row seems to end inside a
        string, and a bracket at the end may be of its text."""
        broken = _FIRST.match(self.buffer, self.at)
        firsts = [*self.firsts] or ([broken.group(1)] if broken else [])
        begins = re.compile(rf"\{{\s*(?:{'|'.join(map(re.escape, firsts))})\s*:") if firsts else _ELEMENT
        self.at = min(start, len(self.buffer))
        while not (match := begins.search(self.buffer, self.at)):
            if self.ended:
                self.closed = bool((_LAST if in_string else _CLOSED).search(self.buffer))
                self.at = len(self.buffer)
                return
            self.at = max(self.at, len(self.buffer) - max(map(len, firsts), default=0) - 64)
            self.more()
        self.at = match.start() if firsts else match.end()
