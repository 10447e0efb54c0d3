"""Words of Chinese text and their counts."""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from importlib.util import find_spec
from itertools import islice
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
_CHINESE = re.compile(rf"((?:(?<![^\W\d_])[A-Za-z]++)?[{_HAN}](?:[{_HAN}]|[A-Za-z]++(?!{_OTHER}))*+)")


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
    for text in texts:
        for start in range(0, len(text), SLICE):
            pieces.update(piece for piece, _ in cut(text[start : start + SLICE]))
            if len(pieces) > HELD:
                _cut(pieces, words, segment)
                pieces.clear()
    _cut(pieces, words, segment)
    return words


def _cut(pieces: Counter[str], words: Counter[str], segment: Callable[[str], Iterable[str]]) -> None:
    for piece, count in pieces.items():
        if piece.isascii():
            words[piece] += count
            continue
        for number, part in enumerate(_CHINESE.split(piece)):
            for clause in _parts(part, CLAUSE) if number % 2 else [part]:
                for word in segment(clause) if number % 2 else [clause]:
                    words[word] += count
    for word in [word for word in words if not 0 < len(word) <= LONGEST]:
        count = words.pop(word)
        for part in _parts(word, LONGEST):
            words[part] += count


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
