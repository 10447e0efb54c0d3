"""Stage `extract`: wiki dumps → one plain-text document an article."""

from __future__ import annotations

import functools
import json
import re
from pathlib import Path
from typing import Literal

from pydantic import Field

from tasks.artifacts.stage import Identity, Job, Stats, stage
from tasks.data.rows import Drop, Row
from tasks.data.writing import summed, write_shard
from tasks.files import dump
from tasks.processes.reading import LeftOut, by_batch
from tasks.sources import wiki
from tasks.text import script
from tasks.text.functions import PageFacts
from tasks.text.ledger import NO_LEDGER, Ledger
from tasks.text.normalise import normalise
from tasks.text.quality import character_count
from tasks.text.wikitext import WikitextOptions, WikitextPage


class Params(Identity):
    """The parameters that define the articles, besides the files."""

    source: str = Field(min_length=1, max_length=64, pattern=r"^[\w.-]+$", description="Name of the source, kept in every row")
    simplify: bool = Field(
        default=True, description="Traditional → simplified Chinese characters (OpenCC, with exceptions); Japanese stays"
    )
    min_characters: int = Field(
        default=50, ge=1, le=100_000, description="Articles with less text than this are dropped, in characters"
    )
    tables: Literal["drop", "text"] = Field(
        default="drop", description="Tables: leave them out, or a line a row, each cell with its header"
    )
    infoboxes: Literal["drop", "facts"] = Field(
        default="drop", description="Infoboxes: leave them out, or a line a fact, as 名称：值, before the article's text"
    )
    tolerate_truncation: bool = Field(
        default=False, description="Keep the whole pages of a dump that was cut, instead of refusing the file"
    )

    broken: Literal["fail", "skip"] = Field(
        default="fail", description="Files that cannot be read: fail names them all, and skip goes on without any page of theirs"
    )

    @property
    def options(self) -> WikitextOptions:
        """The parts of a page that become text."""
        return WikitextOptions(self.tables, self.infoboxes)


@stage(
    "extract",
    version=7,
    title="Extract articles from wiki dumps",
    params=Params,
    section="rows",
    step="ingest",
    tools=("opencc", "jieba", "mwparserfromhell"),
)
def run(job: Job, params: Params, *, files: list[Path]) -> Stats:
    """`files`, MediaWiki XML exports in the given order → `documents/*.parquet`, `dropped/*.parquet`."""
    batches = functools.partial(wiki.article_batches, tolerate_truncation=params.tolerate_truncation)
    work = functools.partial(write_shard, params.source, wiki.READER.kind, functools.partial(_article, params))
    sizes = [wiki.BATCH, dump.STRETCH, dump.PLAIN_STRETCH]
    left_out: LeftOut | None = [] if params.broken == "skip" else None
    shards = by_batch(job, files, batches, work, [run.identity(params, {}), sizes], left_out=left_out)
    return summed(params.source, shards) | ({"left_out": left_out} if left_out else {})


# pages that list the meanings of a word
_DISAMBIGUATION = re.compile(
    r"\{\{\s*(?:(?:template|模板):)?\s*(?:disambig(?:uation)?(?:[ -]?cleanup)?|disamb|dab|hndis|geodis|roaddis|schooldis|letterdis|numberdis"
    r"|(?:人名|地名|同名|姓氏|歧义|數字|数字|學校|学校)?消歧[义義][页頁]?|曖昧さ回避|aimai)\s*(?:\||\}\})",
    re.IGNORECASE,
)


def _article(params: Params, row: Row, ledger: Ledger = NO_LEDGER) -> Row | Drop:
    """Wikitext → plain text, or why the article is not kept. The language is judged by the text, not by the markup around it."""
    title = row["title"] if _SIMPLE_TITLE.fullmatch(row["title"]) else normalise(row["title"])
    if _DISAMBIGUATION.search(row["text"]):
        return Drop("disambiguation page", "", title)
    page = WikitextPage(row["text"], params.options, PageFacts(row["title"], _timestamp(row["meta"])), ledger)
    language = script.main_language(page.text)
    convert = script.simplify if params.simplify and language != "ja" else None
    text = normalise(page.converted(convert), ledger)
    if character_count(text[: 4 * params.min_characters]) < params.min_characters:  # of a long text this is enough
        size = character_count(text)
        if size < params.min_characters:
            return Drop("too short", f"{size} characters", f"{title}: {text}")
    if convert and title not in text:  # what stands in a converted text is converted
        title = convert(title)
    ledger.change("title", row["title"], title)
    return {**row, "title": title, "text": text, "lang": language}


def _timestamp(meta: str) -> str:
    """The time of a page's revision, "" if that is not known."""
    plain = _STAMP.search(meta)
    return plain.group(1) if plain else json.loads(meta)["timestamp"] or ""


_STAMP = re.compile(r'"timestamp": "([0-9TZ:-]+)"\}$')
_SIMPLE_TITLE = re.compile("[\u4e00-\u9fff]+")  # nothing to normalise in it
