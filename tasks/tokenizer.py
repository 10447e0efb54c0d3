"""Text → a byte-level BPE tokenizer that any `transformers` program loads.

Words are counted first, and the merges are learned from the counts (`models/bpe.py`). A word is a piece of the Qwen2 pattern, and where
that holds Chinese, what jieba cuts it into: without the cut, merges run across word boundaries and the vocabulary fills with phrases
of boilerplate (at equal size a small model did worse on them by 2.5 % bits per character). Text is encoded with the Qwen2 pattern alone,
so jieba is needed in training only, and other programs that know the pattern read the tokenizer.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Iterable
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import Field

from tasks import shards
from tasks.pack import encoder, gulps, texts_of
from tasks.stage import Identity, Job, Stats, fresh, stage

if TYPE_CHECKING:
    import jieba
    from tokenizers import Tokenizer

# the pattern of Qwen2's tokenizer.json: contractions, a run of letters with the mark before it, one digit, marks, line breaks, spaces
PATTERN = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"

COUNTED = 1  # raised when words are cut in another way, so that older counts are not reused
SHOWN = 24  # tokens shown in the report


class Params(Identity):
    vocab_size: int = Field(default=6400, ge=300, le=1_000_000, description="Tokens, with the special tokens and the 256 bytes")
    min_frequency: int = Field(default=2, ge=1, description="Times a pair must occur to become a token")
    max_words: int = Field(
        default=500_000,
        ge=1000,
        description="Distinct words learned from, the most frequent first; bounds memory, about 1 kB each",
    )


@stage("tokenizer", version=1, title="Byte-level BPE from word counts", params=Params, tools=("tokenizers", "jieba"))
def run(job: Job, params: Params, *, rows: Path) -> Stats:
    """Learn from the training texts of `pretrain` and `sft`, and report on the validation texts.

    `ValueError` where there is no text. `RuntimeError` where a validation text does not come back from its tokens letter by letter.
    """
    words, counted = _words(job, rows)
    tokenizer = _learn(words, params)
    tokenizer.save(str(job.out / "tokenizer.json"))
    _describe(job.out)
    report = _report(encoder(job.out), rows) | counted
    if report["vocab_size"] < params.vocab_size:
        job.log(
            f"the text has only enough pairs for {report['vocab_size']} tokens of the {params.vocab_size} asked for; "
            "the model gets the smaller vocabulary (lower tokenizer.min_frequency or give more text for a larger one)"
        )
    (job.out / "report.json").write_text(json.dumps(report, ensure_ascii=False, indent=1, sort_keys=True) + "\n", "utf-8")
    return {name: report[name] for name in ("vocab_size", "distinct_words", "words", "sources", "longest")}


def _words(job: Job, rows: Path) -> tuple[Path, Stats]:
    """Count the words of the training texts. The table is published, and serves later artifacts of other sizes from the same text."""
    import pyarrow.parquet as pq

    files = [(kind, rows / kind / "train.parquet") for kind in ("pretrain", "sft")]
    key = job.shard_key("words", COUNTED, [[kind, _sha256(path)] for kind, path in files])
    if job.finished(key) is None:
        pieces = []
        for kind, path in files:
            layout = pq.read_metadata(path)
            for number in range(layout.num_row_groups):
                group = layout.row_group(number)
                arguments = (path, kind, number, job.scratch / "jieba")
                pieces.append(shards.Piece(job.shard_key(key, kind, number), arguments, group.num_rows, group.total_byte_size))
        (job.scratch / "jieba").mkdir(exist_ok=True)
        shards.do(job, _count, pieces, "rows")
        _segmenter.cache_clear()  # a hundred megabytes that the flow process need not keep
        with fresh(job.shard_home(key)) as draft:
            _merge(job, [job.shard_home(piece.key) / "words.parquet" for piece in pieces], draft)
    job.collect([key])
    counted = job.finished(key)
    assert counted is not None, "what was just written is finished"
    if not counted["words"]:
        raise ValueError(f"{rows} has no text to learn a tokenizer from; give a source the use `pretrain` or `sft` in the recipe")
    return job.shard_home(key) / "words.parquet", counted


def _count(draft: Path, path: Path, kind: str, group: int, cache_folder: Path) -> Stats:
    import pyarrow as pa
    import pyarrow.parquet as pq

    counts = count_words((text for _, text in texts_of(path, kind, [group])), cache_folder)
    ordered = sorted(counts.items())
    table = pa.table(
        {"word": pa.array([word for word, _ in ordered], pa.string()), "count": pa.array([n for _, n in ordered], pa.int64())}
    )
    pq.write_table(table, draft / "words.parquet", compression="zstd")
    return {"distinct_words": len(ordered)}


def count_words(texts: Iterable[str], cache_folder: Path) -> Counter[str]:
    """How often each word occurs. `cache_folder` takes jieba's compiled dictionary."""
    from tokenizers import Regex, pre_tokenizers

    cut = pre_tokenizers.Split(Regex(PATTERN), "isolated").pre_tokenize_str
    pieces: Counter[str] = Counter()
    for text in texts:
        pieces.update(piece for piece, _ in cut(text))
    words: Counter[str] = Counter()
    segmenter = _segmenter(cache_folder)
    for piece, count in pieces.items():
        if piece.isascii():
            words[piece] += count
        else:
            # no HMM: it invents words from letter statistics, three times as many, and they split no better
            for word in segmenter.cut(piece, HMM=False):
                words[word] += count
    return words


@lru_cache(maxsize=1)
def _segmenter(cache_folder: Path) -> jieba.Tokenizer:
    """jieba with its own dictionary, silent, and with its cache where we say instead of the system's temporary folder."""
    import logging
    import warnings

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of jieba's age
        import jieba
    jieba.setLogLevel(logging.CRITICAL)  # a dictionary that it cannot cache is no trouble of ours
    segmenter = jieba.Tokenizer()
    segmenter.tmp_dir = str(cache_folder)
    segmenter.initialize()
    return segmenter


def _merge(job: Job, parts: list[Path], draft: Path) -> None:
    """Add up the counts of the parts, most frequent word first, in the memory that DuckDB is given."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    from tasks.database import opened

    distinct = total = 0
    schema = pa.schema([("word", pa.string()), ("count", pa.int64())])
    with opened(job) as database, pq.ParquetWriter(draft / "words.parquet", schema, compression="zstd") as writer:
        if parts:
            database.execute(
                "SELECT word, sum(count)::BIGINT AS count FROM read_parquet($parts) GROUP BY word ORDER BY count DESC, word",
                {"parts": [str(part) for part in parts]},
            )
            while found := database.fetchmany(100_000):
                words, counts = zip(*found, strict=True)
                writer.write_table(pa.table([pa.array(words, pa.string()), pa.array(counts, pa.int64())], schema=schema))
                distinct += len(words)
                total += sum(counts)
    (draft / "stats.json").write_text(json.dumps({"distinct_words": distinct, "words": total}), "utf-8")


def _learn(words: Path, params: Params) -> Tokenizer:
    from itertools import islice

    from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, pre_tokenizers

    from models import bpe
    from models.template import SPECIAL_TOKENS
    from tasks.rows import read

    counts = islice(((row["word"], row["count"]) for row in read([words])), params.max_words)
    vocab, merges = bpe.train(
        counts, vocab_size=params.vocab_size, min_frequency=params.min_frequency, special_tokens=SPECIAL_TOKENS
    )
    tokenizer = Tokenizer(models.BPE(vocab=vocab, merges=merges))
    # no normaliser: cleaning is the data stages' work, and text must come back as it was
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Split(Regex(PATTERN), "isolated"), pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)]
    )
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens([AddedToken(token, special=True, normalized=False) for token in SPECIAL_TOKENS])
    return tokenizer


def _describe(folder: Path) -> None:
    """What `AutoTokenizer` reads beside `tokenizer.json`."""
    from models import template

    config = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "pad_token": template.PAD,
        "eos_token": template.END,
        "extra_special_tokens": [template.START, template.STOP],
        "clean_up_tokenization_spaces": False,
        "model_max_length": 1 << 30,  # the model's business, not the tokenizer's
    }
    (folder / "tokenizer_config.json").write_text(json.dumps(config, indent=2) + "\n", "utf-8")
    (folder / "chat_template.jinja").write_text(template.CHAT_TEMPLATE, "utf-8")


def _report(tokenizer: Tokenizer, rows: Path) -> Stats:
    """How the tokenizer does on validation texts, by source, and what it learned."""
    sources: dict[str, dict[str, Any]] = {}
    broken_bytes = _bytes_of_characters(tokenizer)
    for kind in ("pretrain", "sft"):
        for batch in gulps(texts_of(rows / kind / "valid.parquet", kind)):
            encoded = [found.ids for found in tokenizer.encode_batch_fast([text for _, text in batch], add_special_tokens=False)]
            decoded = tokenizer.decode_batch(encoded, skip_special_tokens=False)
            for (source, text), ids, back in zip(batch, encoded, decoded, strict=True):
                if back != text:
                    raise RuntimeError(
                        f"a text of source {source} does not come back from its tokens: {text[:60]!r} became {back[:60]!r}"
                    )
                row = sources.setdefault(source, {"texts": 0, "characters": 0, "tokens": 0, "single_bytes": 0})
                row["texts"] += 1
                row["characters"] += len(text)
                row["tokens"] += len(ids)
                row["single_bytes"] += sum(token in broken_bytes for token in ids)
    for row in sources.values():
        row["characters_per_token"] = round(row["characters"] / max(1, row["tokens"]), 4)
        row["single_byte_share"] = round(row["single_bytes"] / max(1, row["tokens"]), 6)
    learned = [text for text in tokenizer.decode_batch([[token] for token in _learned(tokenizer)]) if "\ufffd" not in text]
    step = max(1, len(learned) // SHOWN)
    return {
        "vocab_size": tokenizer.get_vocab_size(),
        "sources": dict(sorted(sources.items())),
        "longest": sorted(learned, key=lambda text: (-len(text), text))[:SHOWN],
        "sample": learned[step // 2 :: step][:SHOWN],  # from the most to the least frequent
    }


def _learned(tokenizer: Tokenizer) -> range:
    """Ids of the merged tokens, in the order in which they were learned."""
    from models.template import SPECIAL_TOKENS

    return range(len(SPECIAL_TOKENS) + 256, tokenizer.get_vocab_size())


def _bytes_of_characters(tokenizer: Tokenizer) -> set[int]:
    """Ids that stand for one byte of a character of several: text that the vocabulary has no token for falls apart into these."""
    from models import bpe

    vocabulary = tokenizer.get_vocab()
    return {vocabulary[character] for character in bpe.byte_alphabet()[0x80:]}


def _sha256(path: Path) -> str:
    with path.open("rb") as source:
        return hashlib.file_digest(source, "sha256").hexdigest()
