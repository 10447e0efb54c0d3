"""The conversion of traditional Chinese: what it changes in simplified sentences, what it leaves in traditional ones, and what it costs.

    python -m benchmarks.conversion [--cases testcases.json]

Reads every string of the real files below HANLIN_REAL_DATA, sentence by sentence. Of those in simplified Chinese it shows the characters that
conversion changes, of those in traditional what it leaves, and what both cost. `--cases` names OpenCC's own `test/testcases.json`: a case is right
where the result is what one of OpenCC's configurations for simplified Chinese is to give; plain OpenCC is counted beside ours, and
zhconv-rs if it is installed.
"""

from __future__ import annotations

import argparse
import bz2
import csv
import gzip
import io
import json
import os
import random
import re
import time
from collections import Counter
from collections.abc import Iterator
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from tasks.text import script, t2s

SIMPLIFIED = ("t2s", "tw2s", "hk2s", "tw2sp", "hk2sp")  # OpenCC's configurations that give simplified Chinese
TRADITIONAL = re.compile("komica|poet.tang|vicuna_chat")  # files of it
OTHER = re.compile("jawiki|enwiki|ltgwiki|zhwiki|README")  # of other languages, or of markup and both scripts
_SENTENCE = re.compile(r"[^。！？；\n]*[^。！？；\s][^。！？；\n]*[。！？；\n]?")


def strings(path: Path) -> Iterator[str]:
    """Every string in a JSON, JSON Lines, CSV, Parquet, text or dump file, compressed or not."""
    if path.suffix == ".parquet":
        yield from _inside(pq.read_table(path).to_pylist())
        return
    data = path.read_bytes()
    for suffix, unpack in ((".gz", gzip.decompress), (".bz2", bz2.decompress)):
        data = unpack(data) if path.suffix == suffix else data
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError:
        text = data.decode("gb18030", "replace")
    if ".csv" in path.suffixes:
        csv.field_size_limit(10**9)
        for row in csv.reader(io.StringIO(text)):
            yield from row
    elif ".json" in "".join(path.suffixes):
        yield from _of_json(text)
    else:
        yield from text.split("\n")


def _of_json(text: str) -> Iterator[str]:
    try:
        yield from _inside(json.loads(text))
        return
    except ValueError:
        pass
    for line in text.split("\n"):
        try:
            yield from _inside(json.loads(line))
        except ValueError:
            yield line


def _inside(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        yield from _inside(list(value.values()))
    elif isinstance(value, list):
        for each in value:
            yield from _inside(each)


def files(home: Path, traditional: bool) -> list[Path]:
    """The real files in one script or the other."""
    found = sorted(path for path in home.rglob("*") if path.is_file() and not OTHER.search(path.name))
    return [path for path in found if (TRADITIONAL.search(path.name) is not None) == traditional]


def changes(home: Path) -> tuple[int, int, Counter[str]]:
    """The sentences of the files in simplified Chinese; how many are traditional all the same; what changes in the others, by character."""
    sentences, traditional, changed = 0, 0, Counter[str]()
    for path in files(home, traditional=False):
        for text in strings(path):
            sentences += sum(1 for _ in _SENTENCE.finditer(text))
            simple = script.simplify(text)
            if simple == text:
                continue
            for match in _SENTENCE.finditer(text):
                before, after = match.group(), simple[match.start() : match.end()]
                if before == after:
                    continue
                old, new = telling(before)
                traditional += old > new
                changed.update("" if old > new else [a + b for a, b in zip(before, after, strict=True) if a != b])
    changed.pop("", None)
    return sentences, traditional, changed


def is_printed(text: str) -> bool:
    """True for text of GB 2312 alone."""
    try:
        text.encode("gb2312")
    except UnicodeEncodeError:
        return False
    return True


def telling(text: str) -> tuple[int, int]:
    """How many characters of a text tell that it is traditional, and simplified."""
    kinds = t2s.kinds(text)
    return int((kinds & (t2s.TRADITIONAL | t2s.VARIANT) > 0).sum()), int((kinds & t2s.SIMPLIFIED > 0).sum())


def left(home: Path, count: int) -> tuple[int, Counter[str]]:
    """That many traditional sentences, drawn at random: the characters of them that plain OpenCC would still change after our conversion."""
    every = [
        match.group()
        for path in files(home, traditional=True)
        if "history" not in path.name  # the same pages many times
        for text in strings(path)
        for match in _SENTENCE.finditer(text)
        if len(match.group()) > 8
    ]
    random.Random(0).shuffle(every)
    drawn: list[str] = []
    for sentence in every:
        old, new = telling(sentence)
        if old > new:
            drawn.append(sentence)
        if len(drawn) == count:
            break
    kept = Counter[str]()
    for sentence in drawn:
        simple = script.simplify(sentence)
        kept.update(a + b for a, b in zip(simple, t2s.opencc()(simple), strict=False) if a != b)
    return len(drawn), kept


def cases(path: Path) -> dict[str, int]:
    """How many of OpenCC's cases each of us gets right."""
    lines = re.sub(r"^\s*//.*$", "", path.read_text("utf-8"), flags=re.MULTILINE)
    given = json.loads(re.sub(r",(\s*[}\]])", r"\1", lines))["cases"]
    wanted = {
        case["input"]: {case["expected"][name] for name in SIMPLIFIED if name in case["expected"]}
        for case in given
        if any(name in case["expected"] for name in ("t2s", "tw2s", "hk2s"))
    }
    judges = {"ours": script.simplify, "opencc": t2s.opencc()}
    if find_spec("zhconv_rs"):
        zhconv = import_module("zhconv_rs").zhconv
        judges["zhconv-rs"] = lambda text: str(zhconv(text, "zh-hans"))
    return {"cases": len(wanted)} | {
        name: sum(convert(text) in right for text, right in wanted.items()) for name, convert in judges.items()
    }


def speed(home: Path, traditional: bool) -> float:
    """Nanoseconds of processor time that a character of the real files takes."""
    texts = [text for path in files(home, traditional) for text in strings(path)][::5]
    script.simplify("看著這本書")
    start = time.process_time()
    for text in texts:
        script.simplify(text)
    return (time.process_time() - start) / max(1, sum(map(len, texts))) * 1e9


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cases", type=Path)
    options = parser.parse_args()
    if options.cases:
        print("OpenCC's cases:", cases(options.cases))
    home = Path(os.environ["HANLIN_REAL_DATA"])
    sentences, traditional, changed = changes(home)
    print(
        f"{sentences:,} sentences of simplified files; {traditional:,} are traditional; changed in the others: {changed.total()}"
    )
    print(" ".join(f"{pair}{count}" for pair, count in changed.most_common()))
    drawn, kept = left(home, 1000)
    print(f"{drawn} traditional sentences; OpenCC would still change: {kept.most_common()}")
    for is_traditional in (False, True):
        print(f"{'traditional' if is_traditional else 'simplified'}: {speed(home, is_traditional):.0f} ns a character")


if __name__ == "__main__":
    main()
