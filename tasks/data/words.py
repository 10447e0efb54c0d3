"""Words of Chinese text and their counts."""

from __future__ import annotations

import hashlib
import re
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from importlib.util import find_spec
from itertools import groupby, islice
from pathlib import Path
from typing import Any

from models.pretokenizer import pretokenizer
from tasks.artifacts.stage import Stats
from tasks.data.tokens import text_of

COLUMNS = {
    "pretrain": ("title", "text"),
    "text2text": ("messages",),
    "sft": ("messages",),
    "prompts": ("messages",),
    "pairs": ("messages", "chosen", "rejected"),
}
RUN = 4_000_000  # characters counted as one shard, on average: some seconds of work
BATCH = 100  # rows decoded at a time
SLICE = 1 << 16  # characters cut by the pattern at a time: a text is as long as a book, or longer
HELD = 50_000  # distinct pieces of the pattern held before they are cut into words: in Chinese, most occur once
LONGEST = 64  # characters of a word; what is longer (a key, a picture in letters) is counted in parts
CLAUSE = 2_000  # characters that jieba takes at a time; its memory grows with them
_HAN = "\u4e00-\u9fd5"  # the characters of jieba's dictionary
_OTHER = rf"[^\W\d_A-Za-z{_HAN}]"  # any other letter
# what jieba takes: Han, and the Latin letters beside it, since it knows words like T恤; but never half of Müller
_CHINESE = re.compile(rf"((?:(?<![^\W\d_])[A-Za-z]++)?[{_HAN}](?:[{_HAN}]++|[A-Za-z]++(?!{_OTHER}))*+)")
# what Python and every version of Unicode take for the same: letters, figures, white space and marks of which Chinese text is made
_LETTERS = (
    "A-Za-z\u00c0-\u00d6\u00d8-\u00f6\u00f8-\u017e\u0391-\u03a1\u03a3-\u03c9\u0410-\u044f\u3041-\u3096\u30a1-\u30fa\u4e00-\u9fa5"
    "\uff21-\uff3a\uff41-\uff5a"
)
_FIGURES = "0-9\u2160-\u217f\u2460-\u249b\uff10-\uff19"
_SPACES = " \t\n\r\u00a0\u2002-\u200a\u3000"
_MARKS = (
    "!-/:-@[-`{-~\u00a7\u00a9\u00ae\u00b0\u00b1\u00b7\u00d7\u00f7\u2010-\u2027\u2030-\u205e\u2100\u2103\u2190-\u2193\u2200-\u22ff\u2500-\u25ff\u3001-\u3003"
    "\u3008-\u3020\uff01-\uff0f\uff1a-\uff20\uff3b-\uff40\uff5b-\uff65\uffe5"
)
_COMMON = re.compile(f"[{_LETTERS}{_FIGURES}{_SPACES}{_MARKS}]*+")
# the pre-tokenizer's pattern (models/pretokenizer.py) for these characters: in them, it cuts the same pieces in a twentieth of the time
_PIECE = re.compile(
    f"'(?:[sStTmMdD]|[rR][eE]|[vV][eE]|[lL][lL])|[^\\r\\n{_LETTERS}{_FIGURES}]?[{_LETTERS}]++|[{_FIGURES}]"
    f"| ?[^{_SPACES}{_LETTERS}{_FIGURES}]++[\\r\\n]*+|[{_SPACES}]*[\\r\\n]++|[{_SPACES}]+(?![^{_SPACES}])|[{_SPACES}]++"
)
_SEAM = re.compile(
    "(?<=[\u4e00-\u9fa5])(?=[，。])|(?<=\\n)(?=[\u4e00-\u9fa5])"
)  # no piece reaches over these places, whatever stands around


@dataclass(frozen=True)
class Run:
    """Consecutive rows of one source in a file of the split, `first` to `stop`."""

    path: Path
    use: str
    first: int
    stop: int
    characters: int
    digest: str  # of the texts


def read_counts(folder: Path, most: int | None = None) -> Iterator[tuple[str, int]]:
    """(word, count) of an artifact of this stage, the most frequent first."""
    import pyarrow.parquet as pq

    def every() -> Iterator[tuple[str, int]]:
        for batch in pq.ParquetFile(folder / "words.parquet").iter_batches():
            yield from zip(batch["word"].to_pylist(), batch["count"].to_pylist(), strict=True)

    return islice(every(), most)


def strings(use: str, row: dict[str, Any]) -> list[str]:
    """The texts of a row of the split: a document as the model reads it, every turn, both answers."""
    if use == "pretrain":
        return [text_of(row)]
    return [turn["content"] for turn in row["messages"]] + [row[side] for side in COLUMNS[use][1:]]


def split_texts(
    path: Path, use: str, first: int = 0, stop: int | None = None, source: str = ""
) -> Iterator[tuple[str, list[str]]]:
    """(source, texts) of the rows `first` to `stop` of a split's file, or of one source; none where the split has no such file."""
    import pyarrow.compute as pc
    import pyarrow.parquet as pq

    if not path.exists():
        return
    file = pq.ParquetFile(path)
    start = 0
    for group in range(file.num_row_groups):
        end = start + file.metadata.row_group(group).num_rows
        if end > first and (stop is None or start < stop):
            at = start
            for batch in file.iter_batches(BATCH, row_groups=[group], columns=["source", *COLUMNS[use]]):
                skipped = max(0, first - at)
                rows = batch.slice(skipped, None if stop is None else max(0, stop - at - skipped))
                for row in (rows.filter(pc.equal(rows["source"], source)) if source else rows).to_pylist():
                    yield row["source"], strings(use, row)
                at += len(batch)
                if stop is not None and at >= stop:
                    return
        start = end


def runs(path: Path, use: str) -> Iterator[Run]:
    """Cut a file's rows into runs: between sources, and after a row whose hash is small for its length, which is by chance."""
    first = stop = size = 0
    before, digest = "", hashlib.sha256()

    def closed() -> Run:
        return Run(path, use, first, stop, size, digest.hexdigest())

    for source, parts in split_texts(path, use):
        if source != before and stop > first:
            yield closed()
            first, size, digest = stop, 0, hashlib.sha256()
        before = source
        own = hashlib.sha256("\x1e".join(parts).encode()).digest()
        characters = sum(map(len, parts))
        digest.update(own)
        stop, size = stop + 1, size + characters
        if int.from_bytes(own[:8], "little") * RUN < characters << 64:
            yield closed()
            first, size, digest = stop, 0, hashlib.sha256()
    if stop > first:
        yield closed()


def count(draft: Path, path: Path, use: str, first: int, stop: int, cache: Path) -> Stats:
    """Count the words of a run into `counts.parquet`, in the order of the words."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    words = count_words((text for _, parts in split_texts(path, use, first, stop) for text in parts), cache)
    ordered = sorted(words.items())
    table = pa.table(
        {"word": pa.array([word for word, _ in ordered], pa.string()), "count": pa.array([n for _, n in ordered], pa.int64())}
    )
    pq.write_table(table, draft / "counts.parquet", compression="zstd")
    return {"distinct_words": len(ordered)}


def count_words(texts: Iterable[str], cache: Path) -> Counter[str]:
    """The count of each word. `cache` is a folder for jieba's compiled dictionary."""
    cut, segment = pretokenizer().pre_tokenize_str, segmenter(cache)
    pieces: Counter[str] = Counter()
    words: Counter[str] = Counter()
    chinese: Counter[str] = Counter()
    for text in texts:
        for start in range(0, len(text), SLICE):
            pieces.update(_pieces(text[start : start + SLICE], cut))
            if len(pieces) > HELD:
                _cut(pieces, words, chinese, segment)
                pieces.clear()
    _cut(pieces, words, chinese, segment)
    del chinese[_GAP]
    for word, count in chinese.items():
        words[word] += count
    for word in [word for word in words if len(word) > LONGEST]:
        count = words.pop(word)
        for part in _parts(word, LONGEST):
            words[part] += count
    return words


def _pieces(text: str, cut: Callable[[str], list[tuple[str, Any]]]) -> list[str]:
    """The pieces of the pre-tokenizer's pattern. `cut` cuts what has rare characters in it."""
    if _COMMON.fullmatch(text):
        return _PIECE.findall(text)
    pieces: list[str] = []
    for common, parts in groupby(_SEAM.split(text), key=lambda part: _COMMON.fullmatch(part) is not None):
        part = "".join(parts)
        pieces += _PIECE.findall(part) if common else [piece for piece, _ in cut(part)]
    return pieces


_GAP = "\n"  # between pieces that are cut together: none with Chinese in it holds a line break


def _cut(pieces: Counter[str], words: Counter[str], chinese: Counter[str], segment: Callable[[str], Iterable[str]]) -> None:
    """Add the words of pieces to `words`, and those of their Chinese, with gaps, to `chinese`: all pieces of one count are cut together."""
    alike: defaultdict[int, list[str]] = defaultdict(list)
    for piece, count in pieces.items():
        if piece.isascii() or _GAP in piece:
            words[piece] += count
        else:
            alike[count].append(piece)
    for count, some in alike.items():
        parts = _CHINESE.split(_GAP.join(some))
        clauses = parts[1::2]
        if clauses and max(map(len, clauses)) > CLAUSE:
            clauses = [part for clause in clauses for part in _parts(clause, CLAUSE)]
        for found, into in ((_GAP.join(parts[::2]).split(_GAP), words), (segment(_GAP.join(clauses)), chinese)):
            if count == 1:
                into.update(found)
            else:
                for word, times in Counter(found).items():
                    into[word] += count * times
    del words[""]


def _parts(text: str, most: int) -> Iterable[str]:
    return (text[start : start + most] for start in range(0, len(text), most))


@lru_cache(maxsize=1)
def segmenter(cache: Path) -> Callable[[str], Iterable[str]]:
    """Chinese → its words: rjieba where it is installed, which cuts alike (a test holds it to that) and five times as fast, else jieba.

    Without HMM, which invents words from letter statistics, three times as many, and they split no better. jieba is silent here, and keeps
    its compiled dictionary in `cache` instead of the system's temporary folder.
    """
    if find_spec("rjieba"):
        import rjieba

        return lambda text: rjieba.cut(text, False)
    return by_jieba(cache)


def by_jieba(cache: Path) -> Callable[[str], Iterable[str]]:
    import logging
    import warnings

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of jieba's age
        import jieba
    jieba.setLogLevel(logging.CRITICAL)  # a dictionary that it cannot cache is no trouble of ours
    tokenizer = jieba.Tokenizer()
    tokenizer.tmp_dir = str(cache)
    tokenizer.initialize()
    return lambda text: tokenizer.cut(text, HMM=False)
