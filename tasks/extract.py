"""Stage `extract`: wiki dumps → one plain-text document an article."""

from __future__ import annotations

import functools
import re
from pathlib import Path

from pydantic import Field

from tasks.ingest import summed, write_shard
from tasks.reading import Row, by_shard
from tasks.rows import Drop
from tasks.sources import wiki
from tasks.stage import Identity, Job, Stats, stage
from tasks.text import script
from tasks.text.normalise import normalise
from tasks.text.quality import characters
from tasks.text.wikitext import plain


class Params(Identity):
    """What defines the result, besides the files."""

    source: str = Field(min_length=1, max_length=64, pattern=r"^[\w.-]+$", description="Name of the source, kept in every row")
    simplify: bool = Field(
        default=True, description="Traditional → simplified Chinese characters (OpenCC, with exceptions); Japanese stays"
    )
    min_characters: int = Field(
        default=50, ge=1, le=100_000, description="Articles with less text than this are dropped, in characters"
    )
    tolerate_truncation: bool = Field(
        default=False, description="Keep the whole pages of a dump that was cut, instead of refusing the file"
    )


@stage("extract", version=1, title="Extract articles from wiki dumps", params=Params, tools=("opencc",))
def run(job: Job, params: Params, *, files: list[Path]) -> Stats:
    """`files`, MediaWiki XML exports in the given order → `documents/*.parquet`, `dropped/*.parquet`."""
    read = functools.partial(wiki.read, tolerate_truncation=params.tolerate_truncation)
    work = functools.partial(write_shard, params.source, wiki.KIND, functools.partial(_article, params))
    shards = by_shard(job, files, wiki.KIND, read, work, run.identity(params, {}))
    return summed(params.source, shards)


# pages that list the meanings of a word
_DISAMBIGUATION = re.compile(
    r"\{\{\s*(?:(?:template|模板):)?\s*(?:disambig(?:uation)?(?:[ -]?cleanup)?|disamb|dab|hndis|geodis|roaddis|schooldis|letterdis|numberdis"
    r"|(?:人名|地名|同名|姓氏|歧义|數字|数字|學校|学校)?消歧[义義][页頁]?|曖昧さ回避|aimai)\s*(?:\||\}\})",
    re.IGNORECASE,
)


def _article(params: Params, row: Row) -> Row | Drop:
    """Wikitext → plain text, or why the article is not kept."""
    wikitext, title = row["text"], normalise(row["title"])
    if _DISAMBIGUATION.search(wikitext):
        return Drop("disambiguation page", "", title)
    convert = script.simplify if params.simplify and script.language(wikitext) != "ja" else None
    text = normalise(plain(wikitext, convert))
    size = characters(text)
    if size < params.min_characters:
        return Drop("too short", f"{size} characters", f"{title}: {text}")
    return {**row, "title": convert(title) if convert else title, "text": text, "lang": script.language(text)}
