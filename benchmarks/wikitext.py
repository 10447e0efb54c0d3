"""Do the sentences of real articles survive extraction, and no markup with them?

    python -m benchmarks.wikitext [DUMP …]        default: the real dumps below HANLIN_REAL_DATA, and a sample dump

Against plain `mwparserfromhell.parse(text).strip_code()`. What it keeps and is prose has to be in ours: a sentence of at least 12 letters that
ends with 。！？ or, in Latin script, with a full stop, and has no markup left in it. Not prose are tables, captions of pictures, notes, and lists
of sources (sections that `tasks.text.layout` names; they are counted apart). Both sides are converted to simplified characters, by the page's
own rules too, and compared by letters alone. Where a template stood, which strip_code leaves out and we may show, anything may stand.
"""

from __future__ import annotations

import argparse
import contextlib
import html
import os
import re
import tempfile
import unicodedata
from collections.abc import Iterator
from pathlib import Path

import mwparserfromhell

from benchmarks.bench import close
from tasks.data.rows import Drop
from tasks.sources import wiki
from tasks.text import script, variants
from tasks.text.sections import is_appendix
from tasks.text.wikitext import WikitextPage, escaped_twice

HOLE = "\ufffc"
MARKS = ("{{", "}}", "[[", "]]", "-{", "}-", "{|", "|}", "<ref")
BAR = 0.99
FIGURE = ("zhwiki", "komica", "sample")  # the files that the bar is about; the others are shown beside them
NEAR = 400  # letters between two parts of a sentence with a hole, at most: what a template may show

_FILE = re.compile(r"\s*(?:file|image|media|檔案|档案|文件|圖像|图像|圖片|图片|ファイル|画像)\s*:", re.IGNORECASE)
_CATEGORY = re.compile(r"\s*(?:category|分類|分类|カテゴリ)\s*:", re.IGNORECASE)
_SENTENCE = re.compile(r"[^。！？\n]*[。！？]+|[^.。！？\n]{20,}?\.(?=\s|$)")
_MARKUP = re.compile(r"\{\{|\}\}|\[\[|\]\]|-\{|\}-|\{\||\|\}|</?\w|\[https?:|https?://|''|^\s*[|!=]|\|\||&\w+;|\|-|style=|\|")
_LETTERS = re.compile(r"[\W\d_]+")
_CODE = re.compile(r"```.*?```|`[^`\n]*`|\$[^$\n]*\$", re.DOTALL)


def sentences(wikitext: str) -> Iterator[tuple[str, bool]]:
    """(a sentence that strip_code keeps, whether it stands in a list of sources)."""
    code = mwparserfromhell.parse(wikitext)
    for tag in code.filter_tags(
        recursive=True, matches=lambda node: str(node.tag).lower() in ("table", "ref", "gallery", "math")
    ):
        _replace(code, tag, "" if str(tag.tag).lower() != "math" else HOLE)
    for link in code.filter_wikilinks(
        recursive=True, matches=lambda node: _FILE.match(str(node.title)) or _CATEGORY.match(str(node.title))
    ):
        _replace(code, link, "")
    for template in code.filter_templates(recursive=code.RECURSE_OTHERS):
        _replace(code, template, HOLE)
    appendix = 0
    for section in code.get_sections(flat=True, include_lead=True):
        headings = section.filter_headings()
        if headings and (not appendix or headings[0].level <= appendix):
            appendix = headings[0].level if is_appendix(headings[0].title.strip_code()) else 0
        for line in section.strip_code().split("\n"):
            for match in _SENTENCE.finditer(line):
                yield match.group().strip(), bool(appendix)


def _replace(code: mwparserfromhell.wikicode.Wikicode, node: object, text: str) -> None:
    with contextlib.suppress(ValueError):  # it stood in one that is gone already
        code.replace(node, text) if text else code.remove(node)


def letters(text: str) -> str:
    return _LETTERS.sub("", unicodedata.normalize("NFKC", text)).casefold()


def missing(wikitext: str) -> tuple[int, list[str], int, int, list[str]]:
    """(sentences, those that ours lacks, in lists of sources: sentences and those lacking, markup left in ours)."""
    page = WikitextPage(wikitext)
    japanese = script.main_language(page.text) == "ja"
    convert = (lambda text: text) if japanese else script.simplify
    ours = page.converted(None if japanese else script.simplify)
    prose = _CODE.sub(" ", ours)
    left = [mark for mark in MARKS if mark in prose]
    said = letters(ours)
    if escaped_twice(wikitext):
        wikitext = html.unescape(wikitext)  # else its notes and comments would be taken for text
    total = aside = aside_lost = 0
    lost: list[str] = []
    seen: set[str] = set()
    for sentence, appendix in sentences(wikitext):
        if _MARKUP.search(sentence) or len(letters(sentence)) < 12 or sentence in seen:
            continue
        seen.add(sentence)
        wanted = sentence if japanese else convert(variants.apply_rules(page.rules, [sentence])[0])
        kept = _stands(said, [part for part in map(letters, wanted.split(HOLE)) if part])
        if appendix:
            aside, aside_lost = aside + 1, aside_lost + (not kept)
        else:
            total += 1
            lost += [] if kept else [sentence]
    return total, lost, aside, aside_lost, left


def _stands(text: str, parts: list[str]) -> bool:
    """True where the parts stand in the text in this order, near each other."""
    first = text.find(parts[0]) if parts else 0
    while first >= 0:
        at = first + len(parts[0]) if parts else 0
        for part in parts[1:]:
            at = text.find(part, at, at + NEAR + len(part))
            if at < 0:
                break
            at += len(part)
        else:
            return True
        first = text.find(parts[0], first + 1)
    return False


def sample(home: Path) -> Path:
    from tasks import sample as writer

    writer.write_corpus(home, writer.Params(size="3MB"))
    return next((home / "wiki").glob("*.bz2"))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("dumps", type=Path, nargs="*")
    parser.add_argument("--show", type=int, default=10, help="misses to print, of each file")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        dumps = arguments.dumps
        if not dumps:
            real = Path(os.environ.get("HANLIN_REAL_DATA", "/nowhere"))
            dumps = [*sorted((real / "wiki").glob("*.xml*")), sample(Path(folder))]
        shares: dict[str, float] = {}
        marks = 0
        for dump in dumps:
            total = lost = aside = aside_lost = articles = 0
            shown = arguments.show
            for row in wiki.read(dump, tolerate_truncation=True):
                if isinstance(row, Drop):
                    continue
                articles += 1
                count, gone, others, others_gone, left = missing(row["text"])
                total, lost, aside, aside_lost = total + count, lost + len(gone), aside + others, aside_lost + others_gone
                marks += len(left)
                for mark in left:
                    print(f"  MARKUP {mark} in {row['title']}")
                for sentence in gone[: max(shown, 0)]:
                    print(f"  {row['title']}: {sentence[:160]}")
                shown -= len(gone)
            shares[dump.name] = 1 - lost / total if total else 1.0
            print(
                f"{dump.name}: {articles:,} articles, {total:,} sentences, {lost:,} lost, {shares[dump.name]:.2%} kept; "
                f"in lists of sources {aside:,}, {aside - aside_lost:,} kept"
            )
    counted = {name: share for name, share in shares.items() if arguments.dumps or any(part in name for part in FIGURE)}
    figure = min(counted.values())
    close(
        "wikitext", round(figure, 5), "sentences kept, share", f">= {BAR}, and no markup left", figure >= BAR and not marks,
        files={name: round(share, 5) for name, share in shares.items()}, markup_left=marks,
    )  # fmt: skip


if __name__ == "__main__":
    main()
