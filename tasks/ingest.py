"""Stage `ingest`: raw rows of one source, in any format but a wiki dump → normalised rows with an id."""

from __future__ import annotations

import functools
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Literal, Protocol

from pydantic import AfterValidator, Field

from tasks.artifacts.stage import Choice, Identity, Job, Stats, stage
from tasks.data.rows import Drop, Row, content
from tasks.data.writing import summed, write_shard
from tasks.formats import registry
from tasks.formats.accounting import in_parts
from tasks.formats.records import with_columns
from tasks.formats.registry import Format
from tasks.processes.reading import LeftOut, by_shard, sha256, tolerant
from tasks.text import quality, script
from tasks.text.escapes import unescaped
from tasks.text.ledger import NO_LEDGER, Ledger
from tasks.text.normalise import normalise, storable


def readers() -> dict[str, str]:
    """Format → module of its reader, for all but wiki dumps, which the stage `extract` reads."""
    return {name: module for name, module in registry.modules().items() if name != "wiki"}


def _checked(name: str) -> str:
    if name == "wiki":
        raise ValueError("wiki dumps are read by the stage extract, which makes text of their markup")
    return name


class Params(Identity):
    """The parameters that define the rows, besides the files."""

    source: str = Field(min_length=1, max_length=64, pattern=r"^[\w.-]+$", description="Name of the source, kept in every row")
    format: Annotated[Format, AfterValidator(_checked)] = Field(description="Layout of the files; `hanlin sniff` lists all")
    columns: dict[str, str] = Field(
        default_factory=dict, description="Names of the format's fields → the names that the files give them"
    )
    normalise: bool = Field(
        default=True, description="One spelling of white space, width, punctuation and escapes; nothing else of the text changes"
    )
    simplify: bool = Field(
        default=True, description="Traditional → simplified Chinese characters (OpenCC, with exceptions); Japanese stays"
    )
    same_title: float = Field(
        default=0.9,
        ge=0,
        le=1,
        description="Likeness (Dice of their characters) of a title and the question below it from which only the longer is asked (ChatLM)",
    )
    cut: Literal["file", "blank line", "line"] = Field(
        default="file", description="Of plain text, what a document is: a file, what stands between blank lines, or a line"
    )
    max_document: int = Field(
        default=200_000,
        ge=1,
        le=100_000_000,
        description="Longest document, in characters; a text file that is longer becomes several",
    )
    split: bool = Field(default=True, description="Documents of rows that are longer become several, too")
    tolerate_truncation: bool = Field(
        default=False, description="Keep the whole rows of a file before the place where it is cut, instead of refusing the file"
    )
    broken: Literal["fail", "skip"] = Field(
        default="fail", description="Files that cannot be read: fail names them all, and skip goes on without any row of theirs"
    )


@stage(
    "ingest",
    version=6,
    title="Read, check and normalise rows",
    params=Params,
    section="rows",
    tools=("opencc", "jieba"),
    choice=Choice("format", readers),
)
def run(job: Job, params: Params, *, files: list[Path]) -> Stats:
    """`files` in the given order → `<kind>/*.parquet`, `dropped/*.parquet`."""
    reader = registry.reader(params.format)
    work = functools.partial(write_shard, params.source, reader.kind, conversion(params))
    read, identity = with_columns(reader.read, params.columns), run.identity(params, {})
    if reader.cuts:
        read = functools.partial(read, cut=params.cut, longest=params.max_document)
    if reader.kind == "documents" and params.split:
        read = functools.partial(in_parts, read, params.max_document)
    if reader.joined:  # then a shard is defined by all of them
        read = functools.partial(read, beside=files)
        identity |= {"files": [sha256(path) for path in files]}
    if params.tolerate_truncation:
        read = functools.partial(tolerant, read)
    left_out: LeftOut | None = [] if params.broken == "skip" else None
    shards = by_shard(job, files, reader.kind, read, work, identity, reader.named, left_out)
    return summed(params.source, shards) | ({"left_out": left_out} if left_out else {})


def conversion(params: Params) -> Callable[..., Row | Drop]:
    """The function that converts each row of a source: to the row that is kept, or to a `Drop`."""
    clean = functools.partial(clean_text, normalised=params.normalise, simplified=params.simplify)
    reader = registry.reader(params.format)
    return functools.partial(_row, reader.kind, clean, same_title=params.same_title if reader.titled else 2.0)


def clean_text(text: str, ledger: Ledger = NO_LEDGER, *, normalised: bool = True, simplified: bool = True) -> str:
    """Normalise and simplify one string as the settings say. Text with kana in it keeps its characters: they are Japanese."""
    text = normalise(unescaped(text, ledger), ledger) if normalised else storable(text, ledger)
    return script.simplify(text, ledger) if simplified and not script.is_japanese(text) else text


class Clean(Protocol):
    """The function that cleans a text of a row."""

    def __call__(self, text: str, ledger: Ledger) -> str: ...


def _row(kind: str, clean: Clean, row: Row, ledger: Ledger = NO_LEDGER, *, same_title: float) -> Row | Drop:
    """One row with every text cleaned, or why nothing is left of it."""
    row = _cleaned(kind, clean, _asked_once(row, same_title, ledger) if same_title <= 1 else row, ledger)
    if kind == "documents":
        row["lang"] = row["lang"] or script.main_language(row["text"])
    if kind == "conversations" and row["messages"][-1]["role"] != "assistant":  # an evaluation question without a reference
        return Drop("no answer", "", row["messages"][0]["content"])
    needed = [row["text"]] if kind == "documents" else content(kind, row)
    if not all(part.strip() for part in needed):
        return Drop("empty once normalised", "", " ".join(needed))
    if kind == "preferences" and row["chosen"] == row["rejected"]:
        return Drop("chosen equals rejected", "once normalised", row["chosen"])
    return row


def _asked_once(row: Row, same_title: float, ledger: Ledger) -> Row:
    """A question whose title says what the lines below it say, as the longer of the two."""
    asked = row["messages"][0]["content"]
    title, _, more = asked.partition("\n")
    if not more or quality.character_similarity(title, more) < same_title:
        return row
    longer = max(more, title, key=len)
    ledger.note("title that says the same", asked, longer)
    return row | {"messages": [row["messages"][0] | {"content": longer}, *row["messages"][1:]]}


def _cleaned(kind: str, clean: Clean, row: Row, ledger: Ledger) -> Row:
    if kind == "triples":
        return _triples(clean, row, ledger)
    if kind == "questions":  # perhaps about characters or marks: asked as it was, and decontamination folds for itself
        clean = storable
    cleaned = dict(row)
    for name in ("title", "text", "chosen", "rejected", "question"):
        if name in row:
            cleaned[name] = clean(row[name], ledger)
    if "messages" in row:
        cleaned["messages"] = [{**turn, "content": clean(turn["content"], ledger)} for turn in row["messages"]]
    for name in ("subject", "meta"):
        if name in row:
            cleaned[name] = storable(row[name])
    if "choices" in row:
        cleaned["choices"] = [clean(choice, ledger) for choice in row["choices"]]
    return cleaned


def _triples(clean: Clean, row: Row, ledger: Ledger) -> Row:
    """A subject or object that stood in the text still has to, so a row whose parts would be spelled differently stays as it was."""
    trial = Ledger(ledger.shown)
    cleaned = _each_text(functools.partial(clean, ledger=trial), row)
    for old, new in zip(row["triples"], cleaned["triples"], strict=True):
        for name in ("subject", "object"):
            if old[name] in row["text"] and new[name] not in cleaned["text"]:
                return _each_text(functools.partial(storable, ledger=ledger), row)
    ledger.take(trial)
    return cleaned


def _each_text(change: Callable[[str], str], row: Row) -> Row:
    return {
        "text": change(row["text"]),
        "triples": [{name: change(part) for name, part in triple.items()} for triple in row["triples"]],
    }
