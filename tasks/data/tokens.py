"""Texts as token ids: what of a row is read, tokenised in batches of about equal size, and the pieces joined into one sequence of ids."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tasks.artifacts.stage import Job

if TYPE_CHECKING:
    from tokenizers import Tokenizer


SPLITS = ("train", "valid")
ROWS = 500  # rows read at a time
GULP = 1 << 20  # characters tokenised in one call: enough for every core, and some hundred megabytes of tokens with their places


def text_of(row: dict[str, Any]) -> str:
    """A document as a model reads it: its title on a line of its own, unless the text opens with it, then its text."""
    title, text = row["title"] or "", row["text"]
    return text if not title or text.startswith(title) else f"{title}\n{text}"


def texts_of(path: Path, kind: str, groups: list[int] | None = None) -> Iterator[tuple[str, str]]:
    """(source, text) of a split's file, in its order: documents as `text_of` gives them, conversations turn by turn."""
    import pyarrow.parquet as pq

    columns = ["source", "title", "text"] if kind == "pretrain" else ["source", "messages"]
    for batch in pq.ParquetFile(path).iter_batches(ROWS, row_groups=groups, columns=columns):
        for row in batch.to_pylist():
            for text in [text_of(row)] if kind == "pretrain" else [turn["content"] for turn in row["messages"]]:
                yield row["source"], text


def gulps(texts: Iterable[tuple[str, str]]) -> Iterator[list[tuple[str, str]]]:
    """(source, text) pairs in lists of about `GULP` characters, so that long texts take no more memory than short ones."""
    held: list[tuple[str, str]] = []
    characters = 0
    for source, text in texts:
        held.append((source, text))
        characters += len(text)
        if characters >= GULP:
            yield held
            held, characters = [], 0
    if held:
        yield held


def encoder(folder: Path) -> Tokenizer:
    """The tokenizer of an artifact, for raw text: what looks like a special token in it is text, never the token itself."""
    from tokenizers import Tokenizer

    path = folder / "tokenizer.json"
    if not path.is_file():
        raise ValueError(
            f"{path} is missing, so this is no tokenizer; run the tokenizer stage first, or name the folder that holds it"
        )
    tokenizer = Tokenizer.from_file(str(path))
    tokenizer.encode_special_tokens = True
    return tokenizer


def end_of(folder: Path) -> int:
    """The id of the end-of-document token. `ValueError` where a tokenizer has none."""
    from models.template import END

    found = encoder(folder).token_to_id(END)
    if found is None:
        raise ValueError(
            f"{folder / 'tokenizer.json'} has no token {END}, which ends a document; `tokenizer.method: extend` adds it"
        )
    return found


def join(job: Job, keys: list[str], split: str, lengths_of: Callable[[Path], Any]) -> None:
    """The pieces' `tokens.bin` as one run, with the places where its parts start, by the lengths that a piece's folder tells."""
    import numpy as np

    lengths = [np.zeros(1, dtype="<i8")]
    with (job.out / f"{split}.bin").open("wb") as target:
        for key in keys:
            with (job.shard_home(key) / "tokens.bin").open("rb") as source:
                shutil.copyfileobj(source, target, 1 << 20)
            lengths.append(lengths_of(job.shard_home(key)))
    np.save(job.out / f"{split}.offsets.npy", np.cumsum(np.concatenate(lengths)))
