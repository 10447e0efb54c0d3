"""The sample corpus, and readers of its files that owe nothing to the project's own: what its tests look through."""

from __future__ import annotations

import bz2
import csv
import io
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pyarrow.parquet as pq

SIZE = "700KB"

MEDIAWIKI = "{http://www.mediawiki.org/xml/export-0.11/}"


def written(home: Path, name: str) -> Any:
    """One of the two files that say what is in the others: `plants` or `facts`."""
    return json.loads((home / f"{name}.json").read_text("utf-8"))


def pages(home: Path) -> list[dict[str, str | None]]:
    raw = bz2.decompress(next(home.glob("wiki/*.xml.bz2")).read_bytes())
    found: list[dict[str, str | None]] = []
    for page in ElementTree.fromstring(raw).iter(f"{MEDIAWIKI}page"):
        redirect, text = page.find(f"{MEDIAWIKI}redirect"), page.find(f"{MEDIAWIKI}revision/{MEDIAWIKI}text")
        assert text is not None
        found.append(
            {
                "title": page.findtext(f"{MEDIAWIKI}title"),
                "ns": page.findtext(f"{MEDIAWIKI}ns"),
                "redirect": None if redirect is None else redirect.get("title"),
                "text": text.text,
                "deleted": text.get("deleted"),
                "sha1": page.findtext(f"{MEDIAWIKI}revision/{MEDIAWIKI}sha1"),
                "bytes": text.get("bytes"),
            }
        )
    return found


def lines(path: Path) -> list[dict[str, Any] | None]:
    """JSON Lines; None where a line is broken."""
    found: list[dict[str, Any] | None] = []
    for line in path.read_text("utf-8").splitlines():
        try:
            found.append(json.loads(line))
        except ValueError:
            found.append(None)
    return found


def dialogues(home: Path, source: str) -> list[list[str]]:
    """Turns of the question-answer sources; a missing field is an empty turn, and broken rows are left out."""
    if source == "belle":
        return [[r["instruction"] + r["input"], r.get("output", "")] for r in lines(home / "belle/train_2M_CN.json") if r]
    if source == "belle_chat":
        return [[turn["value"] for turn in r.get("conversations", [])] for r in lines(home / "belle/train_3.5M_CN.json") if r]
    if source == "zhihu":
        rows = pq.read_table(next(home.glob("zhihu/*.parquet"))).to_pylist()
        return [[r["INSTRUCTION"], r["RESPONSE"] or ""] for r in rows]
    if source == "medical":
        return [row[2:] for row in medical(home) if len(row) == 4]
    if source == "alpaca":
        return [
            [r["instruction"] + r["input"], r.get("output", "")]
            for r in json.loads((home / "alpaca/alpaca_gpt4_data_zh.json").read_text("utf-8"))
        ]
    rows = json.loads((home / "preference/huozi_rlhf_data.json").read_text("utf-8"))
    return [[r["prompt"], r.get("chosen", ""), r["reject"]] for r in rows]


def medical(home: Path) -> list[list[str]]:
    text = (home / "medical/内科.csv").read_bytes().decode("gb18030")
    return list(csv.reader(io.StringIO(text)))[1:]


def exam(home: Path) -> list[list[str]]:
    found = []
    for path in sorted(home.glob("exam/*.csv")):
        header, *rows = csv.reader(io.StringIO(path.read_text("utf-8")))
        assert header == ["", "Question", "A", "B", "C", "D", "Answer"]
        assert [row[0] for row in rows] == [str(number) for number in range(len(rows))]
        found += [row[1:] for row in rows]
    return found


def articles(home: Path) -> list[str]:
    return [page["text"] for page in pages(home) if page["ns"] == "0" and page["text"] and not page["redirect"]]


def texts(home: Path, source: str) -> list[str]:
    return articles(home) if source == "wiki" else ["\n".join(turns) for turns in dialogues(home, source)]


QA = ("belle", "belle_chat", "zhihu", "medical", "alpaca", "preference")
TEXTS = ("wiki", *QA)


def key(text: str) -> str:
    """A text without what an exact duplicate may differ in."""
    return "".join(character for character in text if character.isalnum())


def raw_bytes(home: Path) -> int:
    total = 0
    for path in home.glob("*/*"):
        if path.suffix == ".bz2":
            total += len(bz2.decompress(path.read_bytes()))
        elif path.suffix == ".parquet":
            total += sum(len((cell or "").encode()) for column in pq.read_table(path).columns for cell in column.to_pylist())
        else:
            total += path.stat().st_size
    return total


def grams(text: str, length: int) -> Iterator[str]:
    return (text[start : start + length] for start in range(len(text) - length + 1))
