"""Documents as one long run of token ids, which training maps into memory and reads at any place.

`<split>.bin` holds the ids of every document, each followed by the end-of-document token; `<split>.offsets.npy` says where each document
starts, and last where the run ends. Ids take two bytes where the vocabulary allows, else four.

Without weights every document is there once, in the order of the split. With weights the training run is mixed by them (`tasks/data/mixture.py`).
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import Field

from tasks.artifacts.stage import Identity, Job, Stats, canonical, stage
from tasks.data import mixture
from tasks.data.tokens import SPLITS, encoder, end_of, gulps, join, texts_of
from tasks.processes import shards

if TYPE_CHECKING:
    pass


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


@stage(
    "pack", version=2, title="Documents as one memory-mapped run of tokens", params=Params, group="model", tools=("tokenizers",)
)
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
    statistics = iter(shards.do(job, _pack, [piece for split in SPLITS for piece in pieces[split]], "documents"))
    described: Stats = {"dtype": dtype, "vocab_size": vocab_size, "end_id": end, "splits": {}}
    for split in SPLITS:
        keys = [piece.key for piece in pieces[split]]
        parts = [next(statistics) for _ in keys]
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
    hashes = [mixture.id_hash(id) for id in row_ids]
    documents_found: list[tuple[int, int, int, int]] = []
    names: list[str] = []
    sources: dict[str, int] = {}
    with (draft / "tokens.bin").open("wb") as target:
        for batch in gulps(texts_of(path, "pretrain", [group])):
            for (source, text), encoded in zip(batch, encode([text for _, text in batch], add_special_tokens=False), strict=True):
                ids = np.array([*encoded.ids, end], dtype=np.dtype(dtype).newbyteorder("<"))
                target.write(ids.tobytes())
                documents_found.append((len(ids), hashes[len(documents_found)], len(text), len(text.encode("utf-8"))))
                names.append(source)
                sources[source] = sources.get(source, 0) + len(ids)
    assert len(documents_found) == len(hashes), "a document is a text"
    number = {source: place for place, source in enumerate(sorted(sources))}
    rows = [(tokens, number[name], *rest) for name, (tokens, *rest) in zip(names, documents_found, strict=True)]
    documents = np.array(rows, mixture.FIELDS)
    np.save(draft / mixture.DOCUMENTS, documents)
    totals = {name: int(documents[name].sum()) for name in ("tokens", "characters")}
    return {**totals, "documents": len(documents), "bytes_utf8": int(documents["bytes"].sum()), "sources": sources}


def _documents(home: Path) -> Any:
    import numpy as np

    return np.load(home / mixture.DOCUMENTS)


def _sum(parts: list[Stats]) -> Stats:
    total = {name: sum(part[name] for part in parts) for name in ("tokens", "documents", "characters", "bytes_utf8")}
    names = sorted({name for part in parts for name in part["sources"]})
    sources = {name: sum(part["sources"].get(name, 0) for part in parts) for name in names}
    words = max(1, total["tokens"] - total["documents"])  # the end-of-document tokens stand for no character
    return {**total, "characters_per_token": round(total["characters"] / words, 4), "sources": sources}
