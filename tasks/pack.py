"""Documents as one long run of token ids, which training maps into memory and reads at any place.

`<split>.bin` holds the ids of every document, each followed by the end-of-document token; `<split>.offsets.npy` says where each document
starts, and last where the run ends. Ids take two bytes where the vocabulary allows, else four.

Without weights every document is there once, in the order of the split. With weights the training run is mixed by them (`tasks/data/mixture.py`).
"""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import Field

from tasks.artifacts.stage import Identity, Job, Stats, canonical, stage
from tasks.data import mixture
from tasks.processes import shards

if TYPE_CHECKING:
    from tokenizers import Tokenizer

SPLITS = ("train", "valid")
ROWS = 500  # rows read at a time
GULP = 1 << 20  # characters tokenised in one call: enough for every core, and some hundred megabytes of tokens with their places


class Params(Identity):
    weights: dict[str, Annotated[float, Field(gt=0, le=1e6)]] = Field(
        default_factory=dict,
        description="Source → its share of the tokens, in proportion to the others (7 and 3 are 70 % and 30 %); `a+b: 7` lets two sources "
        "share a weight. Every source with the use `pretrain` needs one. Empty: every document once",
    )
    max_repeats: int = Field(
        default=4, ge=1, le=100, description="Times a document of a source that is short of its share is read at most, in passes"
    )
    seed: int = Field(default=23333, ge=0, lt=2**63, description="Seed of the order that weights mix the documents in")


def text_of(row: dict[str, Any]) -> str:
    """What a model reads of a document: its title on a line of its own, unless the text opens with it, then its text."""
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


@stage("pack", version=2, title="Documents as one memory-mapped run of tokens", params=Params, tools=("tokenizers",))
def run(job: Job, params: Params, *, rows: Path, tokenizer: Path) -> Stats:
    """Write `train.bin`, `valid.bin`, their offsets and `pack.json`. `ValueError` where there is no document to train on."""
    import pyarrow.parquet as pq

    vocab_size, end = encoder(tokenizer).get_vocab_size(), end_of(tokenizer)
    dtype = "uint16" if vocab_size <= 1 << 16 else "uint32"
    pieces = {}
    for split in SPLITS:
        path = rows / "pretrain" / f"{split}.parquet"
        layout = pq.read_metadata(path)
        groups = [layout.row_group(number) for number in range(layout.num_row_groups)]
        pieces[split] = [
            shards.Piece(job.shard_key(split, number), (path, number, tokenizer, dtype), group.num_rows, 0)
            for number, group in enumerate(groups)
        ]
    if not sum(piece.size for piece in pieces["train"]):
        raise ValueError(f"{rows / 'pretrain' / 'train.parquet'} has no document; give a source the use `pretrain` in the recipe")
    # pieces of no bytes are done in this process: the tokenizer uses every core by itself
    found = iter(shards.do(job, _pack, [piece for split in SPLITS for piece in pieces[split]], "documents"))
    described: Stats = {"dtype": dtype, "vocab_size": vocab_size, "end_id": end, "splits": {}}
    for split in SPLITS:
        keys = [piece.key for piece in pieces[split]]
        parts = [next(found) for _ in keys]
        if split == "train" and params.weights:
            homes = [mixture.Piece(job.shard_home(key), sorted(part["sources"])) for key, part in zip(keys, parts, strict=True)]
            itemsize = 2 if dtype == "uint16" else 4
            done = mixture.mixed(
                homes, params.weights, params.max_repeats, params.seed, itemsize, job.out / split, job.scratch / "buckets"
            )
            described |= {"mix": done["groups"]}
            parts = [done["totals"]]
            for line in mixture.told(done["groups"], params.max_repeats):
                job.log(line)
        else:
            join(job, keys, split, lambda home: _documents(home)["tokens"])
        described["splits"][split] = _sum(parts)
    totals = described["splits"]
    (job.out / "pack.json").write_text(canonical(described) + "\n", "utf-8")
    return described | {"characters_per_token": totals["train"]["characters_per_token"]}


def _pack(draft: Path, path: Path, group: int, tokenizer: Path, dtype: str) -> Stats:
    """One row group as `tokens.bin`, with what mixing must know of each of its documents in `documents.npy`."""
    import numpy as np
    import pyarrow.parquet as pq

    encode, end = encoder(tokenizer).encode_batch_fast, end_of(tokenizer)
    row_ids = pq.ParquetFile(path).read_row_group(group, columns=["id"])["id"].to_pylist()
    hashes = [int.from_bytes(hashlib.blake2b(id.encode(), digest_size=8).digest(), "little") for id in row_ids]
    found: list[tuple[int, int, int, int]] = []
    names: list[str] = []
    sources: dict[str, int] = {}
    with (draft / "tokens.bin").open("wb") as target:
        for batch in gulps(texts_of(path, "pretrain", [group])):
            for (source, text), encoded in zip(batch, encode([text for _, text in batch], add_special_tokens=False), strict=True):
                ids = np.array([*encoded.ids, end], dtype=np.dtype(dtype).newbyteorder("<"))
                target.write(ids.tobytes())
                found.append((len(ids), hashes[len(found)], len(text), len(text.encode("utf-8"))))
                names.append(source)
                sources[source] = sources.get(source, 0) + len(ids)
    assert len(found) == len(hashes), "a document is a text"
    number = {source: place for place, source in enumerate(sorted(sources))}
    rows = [(tokens, number[name], *rest) for name, (tokens, *rest) in zip(names, found, strict=True)]
    documents = np.array(rows, mixture.FIELDS)
    np.save(draft / mixture.DOCUMENTS, documents)
    totals = {name: int(documents[name].sum()) for name in ("tokens", "characters")}
    return {**totals, "documents": len(documents), "bytes_utf8": int(documents["bytes"].sum()), "sources": sources}


def _documents(home: Path) -> Any:
    import numpy as np

    return np.load(home / mixture.DOCUMENTS)


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


def _sum(parts: list[Stats]) -> Stats:
    total = {name: sum(part[name] for part in parts) for name in ("tokens", "documents", "characters", "bytes_utf8")}
    names = sorted({name for part in parts for name in part["sources"]})
    sources = {name: sum(part["sources"].get(name, 0) for part in parts) for name in names}
    words = max(1, total["tokens"] - total["documents"])  # the end-of-document tokens stand for no character
    return {**total, "characters_per_token": round(total["characters"] / words, 4), "sources": sources}
