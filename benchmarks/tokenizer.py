"""A tokenizer from generated Chinese: the memory of all processes of its stages, beside what `tokenizers` takes for the same from text.

Text is drawn from jieba's dictionary, each word as often as it is used, with invented names, numbers, English and punctuation: as in real
Chinese, most clauses occur once and the words are always the same. Then every file below HANLIN_REAL_DATA goes through it and back, markup,
JSON and all: what comes back must be what went in.
"""

from __future__ import annotations

import argparse
import io
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.bench import ROOT, close
from benchmarks.watch import say, watched

MODULE = "benchmarks.tokenizer"
COMMAND = [sys.executable, "-m", MODULE]
SIZE = 32_000  # tokens
LIMIT = 1.5  # GB
WHOLE = 1000  # MB of text that the limit is for
MARKS = "，" * 12 + "。" * 6 + "、；：？！\n"
ENGLISH = "the of data model and learning system network for with AI GDP CPU App".split()


def documents(megabytes: float, seed: int) -> Iterator[str]:
    """Texts of some thousand characters, `megabytes` of UTF-8 together."""
    import jieba

    lines = [line.split(" ") for line in Path(jieba.__file__).with_name("dict.txt").read_text("utf-8").splitlines()]
    words = np.array([line[0] for line in lines], dtype=object)
    upto = np.cumsum([int(line[1]) for line in lines])
    dice = np.random.default_rng(seed)
    size = 0
    while size < megabytes * 1e6:
        drawn = words[upto.searchsorted(dice.integers(upto[-1], size=dice.integers(200, 2000)), side="right")]
        places = range(int(dice.integers(3, 9)), len(drawn), 9)
        marks, chances = dice.integers(len(MARKS), size=len(places)), dice.random(len(places))
        for place, mark, chance in zip(places, marks, chances, strict=True):
            drawn[place] += MARKS[mark]
            if chance < 0.1:
                drawn[place] += "".join(map(chr, dice.integers(0x4E00, 0x9FA5, size=2)))
            elif chance < 0.15:
                drawn[place] += f" {dice.choice(ENGLISH)} "
            elif chance < 0.2:
                drawn[place] += str(dice.integers(3000))
        text = "".join(drawn)
        size += len(text.encode())
        yield text


def write(folder: Path, megabytes: float) -> None:
    """A split's folder. Runs in a process of its own."""
    from tasks.data.rows import Writer, content, row_id

    for side, amount, seed in (("train", megabytes, 1), ("valid", min(2, megabytes / 20), 2)):
        with Writer(folder / "pretrain" / f"{side}.parquet", "documents") as writer:
            for text in documents(amount, seed):
                row = {"source": "generated", "title": "", "text": text, "lang": "zh", "meta": "{}"}
                writer.add({"id": row_id(*content("documents", row)), **row})


def ours(folder: Path) -> None:
    """The two stages, as the flow's process runs them."""
    from tasks import counts, tokenizer
    from tasks.artifacts.stage import Job, Resources

    resources = Resources(memory_gb=LIMIT)
    started = time.monotonic()
    counts.run(Job(folder / "counts", folder / "counts.scratch", resources), counts.Params(), rows=folder)
    counted = time.monotonic()
    params = tokenizer.Params(vocab_size=SIZE)
    job = Job(folder / "made", folder / "made.scratch", resources)
    stats = tokenizer.run(job, params, counts=folder / "counts", rows=folder)
    row = stats["sources"]["generated"]
    say(
        counting_s=round(counted - started, 1),
        learning_s=round(time.monotonic() - counted, 1),
        distinct_words=stats["distinct_words"],
        **{name: row[name] for name in ("characters_per_token", "single_byte_share", "texts", "exact")},
    )


PIECE = 1 << 16  # characters encoded at once


def real(made: Path, home: Path) -> None:
    """Every file there and back, by the tokenizer of a folder."""
    from tasks.data.tokens import encoder

    tokenizer = encoder(made)
    files, characters, tokens, changed = 0, 0, 0, []
    for path in sorted(path for path in home.rglob("*") if path.is_file()):
        same = True
        for text in pieces(path):
            ids = tokenizer.encode(text, add_special_tokens=False).ids
            same &= tokenizer.decode(ids, skip_special_tokens=False) == text
            characters, tokens = characters + len(text), tokens + len(ids)
        files += 1
        changed += [] if same else [str(path.relative_to(home))]
    say(
        files=files,
        million_characters=round(characters / 1e6, 1),
        characters_per_token=round(characters / max(1, tokens), 3),
        changed=changed,
    )


def pieces(path: Path) -> Iterator[str]:
    """A file's text as it is; of a table in Parquet, its cells."""
    from tasks.files.charset import charset
    from tasks.files.opening import decompressed, head_of

    if head_of(path).startswith(b"PAR1"):
        import pyarrow.parquet as pq

        for batch in pq.ParquetFile(path).iter_batches():
            yield from (str(cell) for column in batch.columns for cell in column.to_pylist() if cell)
        return
    name = charset(path).name
    with decompressed(path) as file, io.TextIOWrapper(file, name, errors="replace", newline="") as text:
        while piece := text.read(PIECE):
            yield piece


def theirs(megabytes: float) -> None:
    """`tokenizers` from text, cut by the same pattern."""
    from tokenizers import Tokenizer, models, pre_tokenizers, trainers

    from models.pretokenizer import pretokenizer

    made = Tokenizer(models.BPE())
    made.pre_tokenizer = pre_tokenizers.Sequence(
        [pretokenizer(), pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)]
    )
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    made.train_from_iterator(
        documents(megabytes, 1), trainers.BpeTrainer(vocab_size=SIZE, initial_alphabet=alphabet, show_progress=False)
    )
    say(tokens=made.get_vocab_size())


def met(megabytes: float, peak: float, said: dict[str, Any], back: dict[str, Any]) -> bool:
    """True where the bar is met: by a run of the whole size, with real files."""
    generated = megabytes >= WHOLE and peak <= LIMIT and said["exact"] == said["texts"]
    return generated and back.get("files", 0) > 0 and not back["changed"]


def main(megabytes: float, peers: list[float]) -> None:
    with tempfile.TemporaryDirectory(prefix="hanlin-") as home:
        subprocess.run([*COMMAND, str(megabytes), "--child", "write", home], cwd=ROOT, check=True)
        mine = watched(MODULE, megabytes, "--child", "ours", home)
        files = os.environ.get("HANLIN_REAL_DATA")
        back = watched(MODULE, 0, "--child", "real", f"{home}/made={files}").said if files else {}
    said = ", ".join(f"{name} {value:,}" for name, value in mine.said.items())
    print(f"Hanlin, {megabytes:g} MB: {mine.peak:.2f} GB, {mine.seconds:.0f} s, {mine.cpu:.0f} s of processors; {said}")
    print(f"real files there and back: {back or 'HANLIN_REAL_DATA names none'}", flush=True)
    grown = {}
    for size in peers:
        found = watched(MODULE, size, "--child", "theirs", "-")
        grown[size] = round(found.peak, 3)
        print(f"tokenizers from text, {size:g} MB: {found.peak:.2f} GB, {found.seconds:.0f} s, {found.cpu:.0f} s of processors")
    if len(peers) > 1:
        slope = (grown[peers[-1]] - grown[peers[0]]) / (peers[-1] - peers[0])
        print(f"growth: {1e3 * slope:.0f} MB of memory for each MB of text, so {slope * megabytes:,.1f} GB at {megabytes:g} MB")
    bar = f"at most {LIMIT} at {WHOLE} MB or more, every text and every file of HANLIN_REAL_DATA (there are some) back exactly"
    close(
        "tokenizer",
        round(mine.peak, 3),
        "GB",
        bar,
        met(megabytes, mine.peak, mine.said, back),
        megabytes=megabytes,
        tokenizers_gb=grown,
        cpu_s=round(mine.cpu),
        real_files=back,
        **mine.said,
    )


if __name__ == "__main__":
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("megabytes", type=float, nargs="?", default=WHOLE, help="of text")
    options.add_argument("--against", type=float, nargs="*", default=[12, 25, 50], help="MB that `tokenizers` is given")
    options.add_argument("--child", nargs=2, help=argparse.SUPPRESS)
    given = options.parse_args()
    match given.child:
        case ["write", folder]:
            write(Path(folder), given.megabytes)
        case ["ours", folder]:
            ours(Path(folder))
        case ["real", folders]:
            real(*map(Path, folders.split("=", 1)))
        case ["theirs", _]:
            theirs(given.megabytes)
        case _:
            main(given.megabytes, given.against)
