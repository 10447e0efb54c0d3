"""Rows of all real files that a reader knows, normalised as ingestion does it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from tasks import ingest
from tasks.data.rows import BrokenFile, Drop, Row, content, row_id
from tasks.formats import registry
from tasks.formats.sniff import sniff
from tasks.sources import wiki
from tasks.text import script, wikitext


def real_rows(folder: Path) -> Iterator[tuple[str, str, Row]]:
    """(file, kind, row) of every file below a folder, in order of their names; what no reader knows, or what is broken, is left out."""
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        name = str(path.relative_to(folder))
        try:
            formats = sniff(path).formats
            for kind, row in _rows(path, formats[0]) if formats else ():
                yield name, kind, {**row, "id": row_id(*content(kind, row)), "source": name}
        except BrokenFile:
            continue


def _rows(path: Path, name: str) -> Iterator[tuple[str, Row]]:
    if name == "wiki":
        for row in wiki.read(path, tolerate_truncation=True):
            if not isinstance(row, Drop):
                text = wikitext.plain_text(row["text"], script.simplify)
                yield "documents", {**row, "text": text, "lang": script.main_language(text)}
        return
    reader, convert = registry.reader(name), ingest.conversion(ingest.Params(source="real", format=name))
    for row in reader.read(path, beside=[path]) if reader.joined else reader.read(path):
        converted = row if isinstance(row, Drop) else convert(row)
        if not isinstance(converted, Drop):
            yield reader.kind, converted
