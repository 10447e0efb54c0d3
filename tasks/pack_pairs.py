"""Prompts with responses as one run of token ids, which a text-to-text model's pretraining maps into memory and reads at any place.

`<split>.bin` holds each prompt and its response, one after the other; `<split>.offsets.npy` says where each of the two starts, and last
where the run ends: 2 · pairs + 1 places. Ids take two bytes where the vocabulary allows, else four.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tasks.artifacts.stage import Identity, Job, Stats, canonical, stage
from tasks.data.tokens import SPLITS, encoder, join
from tasks.processes import shards

ROWS = 1000  # tokenised in one call


class Params(Identity):
    """Nothing to set: the tokenizer decides, and names the chat template."""


@stage(
    "pack_pairs",
    version=1,
    title="Prompts and responses as one memory-mapped run of tokens",
    params=Params,
    group="model",
    tools=("tokenizers",),
)
def run(job: Job, params: Params, *, rows: Path, tokenizer: Path) -> Stats:
    """Read `rows/text2text/{train,valid}.parquet`; write `train.bin`, `valid.bin`, their offsets and `pack.json`. `ValueError` where there is
    no pair to train on."""
    import pyarrow.parquet as pq

    vocab_size = encoder(tokenizer).get_vocab_size()
    dtype = "uint16" if vocab_size <= 1 << 16 else "uint32"
    pieces = {}
    for split in SPLITS:
        path = rows / "text2text" / f"{split}.parquet"
        groups = pq.ParquetFile(path).metadata
        pieces[split] = [
            shards.Piece(job.shard_key(split, number), (path, number, tokenizer, dtype), groups.row_group(number).num_rows, 0)
            for number in range(groups.num_row_groups)
        ]
    if not sum(piece.size for piece in pieces["train"]):
        raise ValueError(f"{rows / 'text2text' / 'train.parquet'} has no row; give a source the use `text2text` in the recipe")
    found = iter(shards.do(job, pack, [piece for split in SPLITS for piece in pieces[split]], "rows"))
    described: Stats = {"dtype": dtype, "vocab_size": vocab_size, "splits": {}}
    for split in SPLITS:
        join(job, [piece.key for piece in pieces[split]], split, _lengths)
        parts = [next(found) for _ in pieces[split]]
        described["splits"][split] = {name: sum(part[name] for part in parts) for name in ("pairs", "tokens", "characters")}
    (job.out / "pack.json").write_text(canonical(described) + "\n", "utf-8")
    return described


def pack(draft: Path, path: Path, group: int, tokenizer: Path, dtype: str) -> Stats:
    """One row group as `tokens.bin`, with the lengths of each prompt and response, (2 · pairs,), in `lengths.npy`.

    A conversation gives a pair for each of its answers, with all that came before as the prompt.
    """
    import numpy as np
    import pyarrow.parquet as pq
    from transformers import PreTrainedTokenizerFast

    from models.template import exchanges, marked

    encode = PreTrainedTokenizerFast.from_pretrained(tokenizer)
    lengths: list[int] = []
    characters = 0
    with (draft / "tokens.bin").open("wb") as target:
        for batch in pq.ParquetFile(path).iter_batches(ROWS, row_groups=[group], columns=["messages", "meta"]):
            for pairs in exchanges(encode, [marked(row["messages"], row["meta"]) for row in batch.to_pylist()]):
                for side in (side for pair in pairs for side in pair):
                    target.write(np.array(side, np.dtype(dtype).newbyteorder("<")).tobytes())
                    lengths.append(len(side))
            characters += sum(len(turn["content"]) for row in batch["messages"].to_pylist() for turn in row)
    np.save(draft / "lengths.npy", np.array(lengths, "<i8"))
    return {"pairs": len(lengths) // 2, "tokens": sum(lengths), "characters": characters}


def _lengths(home: Path) -> Any:
    import numpy as np

    return np.load(home / "lengths.npy")
